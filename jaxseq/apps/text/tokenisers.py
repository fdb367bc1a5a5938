"""Tokenisers: values that normalise a sentence, split it into tokens and join tokens into a sentence.

Joining a translation requires knowing where spaces are. A rule covers most pairs of tokens: no space before a full stop
or between Chinese characters, one between words. Where a sentence breaks the rule, tokenising adds a token, `JOINED` or
`SPACED`. So joining is exact, and ordinary text has no such tokens:

    He said: "Well-known?" (www.a.org)   he said : " well-known ? " ( www.a.org )
    end.Next                             end . ￭ next
    so , it is                           so ￮ , it is
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, Self

from jaxseq.apps.sentences import space
from jaxseq.apps.text.casing import AS_IT_IS, Casing
from jaxseq.apps.text.normalising import NORMALISERS, fold, foldings, widened, without_joiners
from jaxseq.apps.text.scripts import CJK_MARKS, HAN, WITHOUT_SPACES, combining

JOINED, SPACED = "￭", "￮"
"""Tokens for a missing or an added space, where a sentence differs from the rule. `fold` leaves neither in a text."""
_MARKS = frozenset((JOINED, SPACED))

_CHARS = re.compile(rf"[{HAN}]|\d+(?:[.,:]\d+)+|[^\W{HAN}]+(?:['’][^\W{HAN}]+)*|[^\w\s]")


def words(sentence: str) -> list[str]:
    """Return the words of a sentence that is cut at spaces.

    Example:
      >>> words("i am cool  .")
      ['i', 'am', 'cool', '.']
    """
    return sentence.split()


def chars(sentence: str) -> list[str]:
    """Return single Chinese characters, whole words and numbers of other scripts, and punctuation marks.

    Example:
      >>> chars("我有2只猫 。")
      ['我', '有', '2', '只', '猫', '。']
    """
    return _CHARS.findall(sentence)


TOKENISERS = {"words": words, "chars": chars}
"""How `Simple` cuts, by name; each expects a normalised sentence."""


def detokenise(tokens: Sequence[str]) -> str:
    """Return tokens as normal text: no space before punctuation, nor between Chinese characters.

    Example:
      >>> detokenise(["i", "am", "fine", ",", "thanks", "."]), detokenise(["我", "很", "好", "。"])
      ('i am fine, thanks.', '我很好。')
    """
    return substituted(" ".join(tokens), joining("words", ""))


def substituted(text: str, substitutions: Iterable[tuple[str, str]]) -> str:
    """Return a text after some substitutions, each a regular expression and its replacement."""
    for pattern, replacement in substitutions:
        text = re.sub(pattern, replacement, text)
    return text


# ---------------------------------------------------------------------------------------------- the rule of spaces

_NOT_BEFORE, _NOT_AFTER = ".,!?;:)]}%’”›»…。।॥۔؟،؛٪", "([{‘“„‚«‹¿¡$£€#@"
_NOT_AROUND = {"words": "—", "chars": "—'’/_-"}
_OF_LANGUAGE = {
    "fr": (".,)]}%’”…", "([{‘“‚¿¡$£€#@"),
    "de": (".,!?;:)]}%…“‘«”’", "([{„‚»›$£€#@"),
}
"""Characters that have no space before or after them in these languages, where those are others."""


@functools.cache
def rule(kind: str, language: str) -> str:
    """Return an expression that finds the spaces between tokens that a sentence does not have."""
    before, after = _OF_LANGUAGE.get(re.split("[-_]", language.lower())[0], (_NOT_BEFORE, _NOT_AFTER))
    around = re.escape(_NOT_AROUND[kind]) + WITHOUT_SPACES + CJK_MARKS + "“”‘’" * (space(language) == "")
    even = r'(?:[^"]*"[^"]*")*[^"]*$'  # an even number of straight quotes follows
    return (
        rf"(?<=[{re.escape(after)}{around}]) | (?=[{re.escape(before)}{around}])"
        rf'|(?<=") (?=[^"]*"{even})| (?="{even})'  # after an opening quote, before a closing one
    )


@functools.cache
def joining(kind: str, language: str) -> tuple[tuple[str, str], ...]:
    """Return the substitutions that make a sentence of tokens with spaces between them; `kind` is words or chars."""
    # a mark and the spaces around it wait as one character, while the rule is applied to the other spaces
    return (
        (f" {JOINED} ", "\x1e"), (f" {SPACED} ", "\x1f"), (rule(kind, language), ""), (f"[\x1e{JOINED}]", ""),
        (f"[\x1f{SPACED}]", " "), (r"^ +| +$| +(?= )", ""),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- finding tokens

_NETWORK = (
    r"(?:https?://|www\.)(?:(?![\"'<>])[!-~])*[a-zA-Z0-9/]|[a-zA-Z0-9.+_-]{1,64}@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+"
)
"""Addresses of pages and of people, which are one token."""
_DOTTED = rf"(?<!\w)(?:[^\W\d_{WITHOUT_SPACES}]\.){{2,}}"
"""Abbreviations such as e.g. and p.m."""
_APART = re.escape('!?;"()[]{}…—“”‘’„‚«»‹›¿¡।॥۔؟،؛') + CJK_MARKS
"""Punctuation that is a token of its own among words."""


@functools.cache
def pattern_of(kind: str) -> str:
    """Return the regular expression that finds the tokens of a folded sentence; `kind` is words or chars."""
    with_marks = f"[{combining()}]*"
    if kind == "words":
        return rf"{_NETWORK}|{_DOTTED}|(?:[^\s.,:{_APART}]|(?<=\d)[.,:](?=\d))+|\S{with_marks}"
    letters = rf"(?:[^\W{WITHOUT_SPACES}]{with_marks})+"
    # a joiner combines the pictures of one emoji
    return (
        rf"{_NETWORK}|{_DOTTED}|[{WITHOUT_SPACES}]{with_marks}|\d+(?:[.,:]\d+)+|{letters}(?:'{letters})*"
        rf"|\S(?:[{combining()}]|(?<=\u200d)[^\s\w])*"
    )


# ---------------------------------------------------------------------------------------------- tokenisers


class Texts(Protocol):
    """Sentences that can be iterated over more than once: a list, or lines of a file."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...


@dataclasses.dataclass(frozen=True)
class Tokeniser:
    """The base class: how a sentence of one language becomes tokens, and tokens a sentence.

    ``join(cut(sentence)) == normal(sentence)`` for those that join exactly, as long as case is not restored.

    Fields:
      language: by its code, such as en.
      case: lower; keep; or restore, which reads lower case and writes capitals.
      casing: for restore, which words have them.
    """

    kind: ClassVar[str]
    language: str = ""
    case: str = "lower"
    casing: Casing = AS_IT_IS

    def normal(self, written: str) -> str:
        """Return a sentence as its tokens spell it."""
        folded = fold(written, self.language)
        return folded if self.case == "keep" else folded.lower()

    def cut(self, written: str) -> list[str]:
        """Return the tokens of a sentence."""
        raise NotImplementedError

    def joining(self) -> Sequence[tuple[str, str]]:
        """Return the substitutions that make a sentence of tokens with spaces between them, apart from case."""
        raise NotImplementedError

    def join(self, tokens: Sequence[str]) -> str:
        """Return the sentence that tokens spell."""
        text = widened(substituted(" ".join(tokens), self.joining()), self.language)
        return self.casing.restored(text) if self.case == "restore" else text

    def finding(self) -> Sequence[tuple[str, str]]:
        """Return the substitutions by which a plain program does what `normal` does, apart from case."""
        return foldings(self.language)

    def pattern(self) -> str:
        """Return a regular expression that finds the tokens after `finding`; empty where none can."""
        return ""

    def learn(self, sentences: Texts) -> Self:
        """Return this tokeniser after it has seen the sentences of the training part: it knows their case."""
        if self.case != "restore":
            return self
        return dataclasses.replace(self, casing=Casing.learn(fold(one, self.language) for one in sentences))

    def facts(self) -> dict[str, Any]:
        """Return the facts that a run saves, apart from large files."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "model"}
        return {"kind": self.kind, **values, "casing": self.casing.facts()}


@dataclasses.dataclass(frozen=True)
class Simple(Tokeniser):
    """Tokens of earlier versions and of the tutorial: a normaliser sets punctuation apart, and spaces are guessed.

    Fields:
      normalise: the normaliser, plain or tutorial.
      by: words or chars.
    """

    kind: ClassVar[str] = "simple"
    normalise: str = "plain"
    by: str = "words"

    def normal(self, written: str) -> str:
        """Return a sentence normalised, without `JOINERS`."""
        return NORMALISERS[self.normalise](without_joiners(written))

    def cut(self, written: str) -> list[str]:
        """Return the tokens of a sentence."""
        return TOKENISERS[self.by](self.normal(written))

    def joining(self) -> Sequence[tuple[str, str]]:
        """Return the substitutions that make a sentence of tokens with spaces between them."""
        return joining("words", "")

    def finding(self) -> Sequence[tuple[str, str]]:
        """Return nothing: a plain program only lower-cases."""
        return ()

    def pattern(self) -> str:
        """Return an expression that finds in a lower-case sentence the tokens that cutting makes of it."""
        marks = '!?;"()。！？，、；：“”（）…'
        if self.by == "chars":
            return _CHARS.pattern
        return rf"[{marks}]|(?<!\d)[.,:]|[.,:](?!\d)|(?:[^\s.,:{marks}]|(?<=\d)[.,:](?=\d))+"


@dataclasses.dataclass(frozen=True)
class Words(Tokeniser):
    """Words, numbers, addresses and punctuation marks.

    Fields:
      exact: put `JOINED` and `SPACED` where a sentence differs from the rule of spaces. A source is never joined
        and needs none.
    """

    kind: ClassVar[str] = "words"
    exact: bool = True

    def cut(self, written: str) -> list[str]:
        """Return the tokens of a sentence."""
        text = self.normal(written)
        found = list(re.finditer(self.pattern(), text))
        tokens = [one[0] for one in found]
        if not self.exact or not tokens:
            return tokens
        # n tokens have n - 1 gaps, so that `found` below is longer by one than the others
        gaps = _expected(tokens, rule(self.kind, self.language))
        marked = tokens[:1]
        for before, after, expected in zip(found, found[1:], gaps, strict=False):
            spaced = before.end() < after.start()
            if spaced != expected:
                marked.append(SPACED if spaced else JOINED)
            marked.append(after[0])
        return marked

    def joining(self) -> Sequence[tuple[str, str]]:
        """Return the substitutions that make a sentence of tokens with spaces between them."""
        return joining(self.kind, self.language)

    def pattern(self) -> str:
        """Return the regular expression that finds the tokens."""
        return pattern_of(self.kind)


@dataclasses.dataclass(frozen=True)
class Chars(Words):
    """Characters of the scripts without spaces, each with its combining marks; words of the others, and marks."""

    kind: ClassVar[str] = "chars"


def _expected(tokens: Sequence[str], dropped: str) -> list[bool]:
    """Return whether there is a space after each token but the last, by the rule alone."""
    without = {match.start() for match in re.finditer(dropped, " ".join(tokens))}
    # at: the place of the space after a token, in the tokens joined by spaces
    found, at = [], -1
    for token in tokens[:-1]:
        at += len(token) + 1
        found.append(at not in without)
    return found


def without_marks(tokens: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return tokens without those of `JOINED` and `SPACED` that are unknown: only the spacing is lost."""
    return [token for token in tokens if token not in _MARKS or token in known]
