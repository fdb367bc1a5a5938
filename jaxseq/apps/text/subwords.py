"""Subwords: pieces of words that sentencepiece learns, so that rare words are read and written in parts.

The library is chosen for its size (a wheel of 1.7 MB for each of Python 3.11 to 3.13, without dependencies; tokenizers
has 3.4 MB and needs huggingface_hub), and because its model is one file that other tools read. Pieces are those of a
unigram model: the same text gives the same bytes. A very rare character is unknown, as a rare word is among words;
`--unknown copy` can then show it, which would fail if it were spelled in bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

from jaxseq.apps.extra import check_installed
from jaxseq.apps.text.tokenisers import Texts, Tokeniser, pattern_of
from jaxseq.errors import InputError

SPACE = "▁"
"""The character of a piece where a word begins."""
MOST_SENTENCES = 1_000_000
"""The most sentences that pieces are learnt from, evenly spaced, so that memory is bounded."""
_MANY_CHARACTERS = 1_000
"""With more different characters than this, the rarest (0.05% of the text) are left out: each would be a piece."""


@dataclasses.dataclass(frozen=True)
class Subwords(Tokeniser):
    """Pieces of words, which spell a sentence with its spaces.

    Fields:
      size: how many pieces, at most.
      model: of sentencepiece, as its file has it; empty until it has learnt.
    """

    kind: ClassVar[str] = "subwords"
    size: int = 8000
    model: bytes = b""

    def normal(self, written: str) -> str:
        """Return a sentence as its pieces spell it."""
        # a text that has ▁ itself would get a space there when pieces are joined
        return super().normal(written).replace(SPACE, "_")

    def cut(self, written: str) -> list[str]:
        """Return the pieces of a sentence; before learning, its words and characters, which are counted instead."""
        text = self.normal(written)
        if not self.model:
            return re.findall(pattern_of("chars"), text)
        return _processor(self.model).encode(text, out_type=str)

    def joining(self) -> Sequence[tuple[str, str]]:
        """Return the substitutions that make a sentence of pieces with spaces between them."""
        return ((" ", ""), (SPACE, " "), (r"^ +| +$| +(?= )", ""))

    def learn(self, sentences: Texts) -> Self:
        """Return this tokeniser with the pieces of some sentences.

        Raises:
          InputError: if there is no text, or `size` is below the number of its characters.
        """
        made = super().learn(sentences)
        if self.model:
            return made
        model = trained(self.size, map(self.normal, sentences), len(sentences))
        return dataclasses.replace(made, model=model)

    def unlearnt(self) -> Self:
        """Return this tokeniser as it is before it has learnt its pieces."""
        return dataclasses.replace(self, model=b"")

    def facts(self) -> dict[str, Any]:
        """Return the facts that a run saves, apart from the model."""
        return {**super().facts(), "sha256": hashlib.sha256(self.model).hexdigest()}


def check_model(model: bytes) -> None:
    """Check that bytes are a model of sentencepiece.

    Raises:
      InputError: if they are not.
    """
    try:
        right = bool(model) and _processor(model).get_piece_size() > 0
    except RuntimeError:
        right = False
    if not right:
        raise InputError("not a model of sentencepiece")


@functools.lru_cache(maxsize=8)  # both sides of a few runs
def _processor(model: bytes) -> Any:
    check_installed("cutting into subwords", ["sentencepiece"])
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)


def trained(size: int, texts: Iterable[str], count: int) -> bytes:
    """Return the model of at most `size` pieces that `count` normalised sentences teach.

    Of more than `MOST_SENTENCES`, every nth is held in memory and learnt from.

    Raises:
      InputError: as `Subwords.learn`.
    """
    check_installed("--subwords", ["sentencepiece"])
    import sentencepiece

    # evenly spaced: the first million of a corpus may all be of one source
    every = max(1, -(-count // MOST_SENTENCES))
    texts = [text for text in itertools.islice(texts, 0, None, every) if text]
    if not texts:
        raise InputError("--subwords: there is no text to learn subwords from")
    characters = len(set().union(*texts))
    coverage = 1.0 if characters <= _MANY_CHARACTERS else 0.9995
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, vocab_size=size, model_type="unigram",
            normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=coverage,
            # a small text has fewer pieces than asked for; special tokens are the vocabulary's, not the model's
            hard_vocab_limit=False, unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1,
            # sums of several threads differ in the last digit from run to run
            num_threads=1, max_sentence_length=100_000, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise InputError(
            f"--subwords {size} is too small for this text, which has {characters} different characters, "
            # sentencepiece's message begins with a place in its source and ends with the reason
            f"each a piece; try --subwords {max(2 * characters, 1000)} ({str(error)[-120:].strip()})"
        ) from error
    return model.getvalue()
