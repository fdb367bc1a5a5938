"""Sentences to token numbers and back: normalising, cutting into tokens, vocabularies, padded batches. No jax here."""

from __future__ import annotations

import collections
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxseq.errors import InputError

PAD, SOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<sos>", "<eos>", "<unk>")

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Ranges of Chinese characters, for a regular expression."""
_CHARS = re.compile(rf"[{CJK}]|\d+(?:[.,:]\d+)+|[^\W{CJK}]+(?:['’][^\W{CJK}]+)*|[^\w\s]")
_BEFORE_PUNCTUATION = re.compile(r"\s+([.!?,;:)。！？，、；：）…])")
_BETWEEN_CHINESE = re.compile(rf"(?<=[{CJK}，。！？、；：])\s+(?=[{CJK}\w])|(?<=[\w])\s+(?=[{CJK}])")
_PUNCTUATION = re.compile(r"\s*((?<!\d)[.,:]|[.,:](?!\d)|[!?;\"()。！？，、；：“”（）…])\s*")


def plain(sentence: str) -> str:
    """Lower case, one form of each character (NFKC but for Chinese punctuation), punctuation set apart by spaces.

    Example:
      >>> plain("I'm  fine, thanks."), plain("我很好。")
      ("i'm fine , thanks .", '我很好 。')
    """
    folded = "".join(c if c in "，。！？；：（）…" else unicodedata.normalize("NFKC", c) for c in sentence)
    folded = unicodedata.normalize("NFC", folded.replace("’", "'").replace("‘", "'")).lower()
    return " ".join(_PUNCTUATION.sub(r" \1 ", folded).split())


def tutorial(sentence: str) -> str:
    """The tutorial's: lower case, strip, combining marks dropped, a space before each of ``.!?``, and nothing more.

    Example:
      >>> tutorial(" Où êtes-vous? "), tutorial("我很好。")
      ('ou etes-vous ?', '我很好。')
    """
    decomposed = unicodedata.normalize("NFD", sentence.lower().strip())
    bare = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return re.sub(r"([.!?])", r" \1", bare)


NORMALISERS: dict[str, Callable[[str], str]] = {"plain": plain, "tutorial": tutorial}
"""Normalisers by name."""


def words(sentence: str) -> list[str]:
    """Cut at spaces.

    Example:
      >>> words("i am cool  .")
      ['i', 'am', 'cool', '.']
    """
    return sentence.split()


def chars(sentence: str) -> list[str]:
    """Cut into single Chinese characters, whole words and numbers of other scripts, and punctuation marks.

    Example:
      >>> chars("我有2只猫 。")
      ['我', '有', '2', '只', '猫', '。']
    """
    return _CHARS.findall(sentence)


TOKENISERS: dict[str, Callable[[str], list[str]]] = {"words": words, "chars": chars}
"""Tokenisers by name; each expects a normalised sentence."""


def detokenise(tokens: Sequence[str]) -> str:
    """Return tokens as normal text: no space before punctuation, nor between Chinese characters.

    Example:
      >>> detokenise(["i", "am", "fine", ",", "thanks", "."]), detokenise(["我", "很", "好", "。"])
      ('i am fine, thanks.', '我很好。')
    """
    joined = _BEFORE_PUNCTUATION.sub(r"\1", " ".join(tokens))
    return joined if joined.isascii() else _BETWEEN_CHINESE.sub("", joined)


class Vocabulary:
    """Tokens and their numbers: PAD 0, SOS 1, EOS 2, UNK 3, then tokens by falling frequency.

    Example:
      >>> vocabulary = Vocabulary.build([["a", "b"], ["b"]])
      >>> vocabulary.encode(["b", "a", "c"]), vocabulary.decode([4, 5, 2, 0]), vocabulary.unknown(["c"])
      ([4, 5, 3], ['b', 'a'], ['c'])
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        """Take the tokens that follow the special ones."""
        self.tokens = (*SPECIALS, *tokens)
        self.numbers = {token: number for number, token in enumerate(self.tokens)}
        if len(self.numbers) < len(self.tokens):
            twice = next(t for t, n in collections.Counter(self.tokens).items() if n > 1)
            raise InputError(f"duplicate token {twice!r}")

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """Count the tokens of sentences; those seen fewer than `min_count` times are left to UNK."""
        counts = collections.Counter(token for sentence in sentences for token in sentence)
        return cls([t for t, n in counts.most_common() if n >= min_count and t not in SPECIALS])

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the tokens' numbers, UNK for unknown ones."""
        return [self.numbers.get(token, UNK) for token in tokens]

    def unknown(self, tokens: Iterable[str]) -> list[str]:
        """Return the tokens that are not in the vocabulary."""
        return [token for token in tokens if token not in self.numbers]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """Return the tokens up to EOS, without PAD and SOS."""
        tokens: list[str] = []
        for number in map(int, numbers):
            if number == EOS:
                break
            if number not in (PAD, SOS):
                tokens.append(self.tokens[number])
        return tokens

    def to_json(self) -> str:
        """Return all tokens, special ones first, as a JSON list."""
        return json.dumps(self.tokens, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str, name: Path | str = "vocabulary") -> Vocabulary:
        """Read what `to_json` wrote.

        Raises:
          InputError: if it is not such a list.
        """
        try:
            tokens = json.loads(text)
            right = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        except ValueError:
            right = False
        if not right or tuple(tokens[:4]) != SPECIALS:
            raise InputError(
                f"{name} is damaged: expected a JSON list of tokens that begins with {', '.join(SPECIALS)}"
            )
        try:
            return cls(tokens[4:])
        except InputError as error:
            raise InputError(f"{name} is damaged: {error}") from error


def pad(rows: Sequence[Sequence[int]], length: int | None = None) -> np.ndarray:
    """Return int32 ``[T, N]``, time-major, PAD below each row's end; T is `length` or the longest row's.

    Example:
      >>> pad([[5, 6, 2], [7, 2]]).T.tolist()
      [[5, 6, 2], [7, 2, 0]]
    """
    longest = max(map(len, rows), default=0)
    if length is not None and longest > length:
        raise InputError(f"pad: a sequence has {longest} tokens, more than the length {length}; cut it or pad further")
    out = np.full((longest if length is None else length, len(rows)), PAD, np.int32)
    for column, row in enumerate(rows):
        out[: len(row), column] = row
    return out


class Bucket(NamedTuple):
    """Pairs of like length: ``source [S, N]``, ``target [T, N]``, and ``indices [N]`` of the pairs."""

    source: np.ndarray
    target: np.ndarray
    indices: np.ndarray
