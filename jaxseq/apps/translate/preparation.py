"""Prepare sentences of two languages for a translator: text, tokens, ids; learnt once, saved in runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxseq.apps import text
from jaxseq.apps.reading import INVISIBLE, read_text
from jaxseq.apps.text import EOS, Vocabulary, saved
from jaxseq.apps.text.normalising import without_joiners
from jaxseq.apps.text.subwords import Subwords, trained
from jaxseq.apps.text.tokenisers import Chars, Simple, Texts, Tokeniser, Words, without_marks
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.errors import InputError
from jaxseq.files import write_atomic

SOURCE_VOCABULARY, TARGET_VOCABULARY = "source.vocab.json", "target.vocab.json"


class Sentence(NamedTuple):
    """A sentence as it was `written`, the `text` by which it is compared with others, and its `tokens`."""

    written: str
    text: str
    tokens: Sequence[str]


Pair = tuple[Sentence, Sentence]
"""Source and target."""
UNCOUNTED = Vocabulary(())
"""The vocabulary of a preparation until the training sentences are counted."""


class Preparation(NamedTuple):
    """How a sentence of one language becomes token ids; training, evaluation and translation share it."""

    normalise: Callable[[str], str]
    tokeniser: Tokeniser
    vocabulary: Vocabulary = UNCOUNTED

    def sentence(self, written: str) -> Sentence:
        """Normalise and tokenise a sentence; meaningless zero-width characters are dropped."""
        # `written` stays as it was: scores compare with it
        seen = INVISIBLE.sub("", written)
        return Sentence(written, self.normalise(without_joiners(seen)), self.tokeniser.cut(seen))

    def again(self, sentence: Sentence) -> Sentence:
        """Tokenise a sentence again, with a tokeniser that has learnt."""
        return sentence._replace(tokens=self.tokeniser.cut(INVISIBLE.sub("", sentence.written)))

    def join(self, tokens: Sequence[str]) -> str:
        """Return the sentence that tokens spell."""
        return self.tokeniser.join(tokens)

    def numbers(self, sentence: Sentence) -> list[int]:
        """Return a sentence's token ids, EOS at the end."""
        return [*self.vocabulary.encode(without_marks(sentence.tokens, self.vocabulary.numbers)), EOS]

    def unknown(self, sentence: Sentence) -> list[str]:
        """Return a sentence's tokens that the vocabulary lacks."""
        return self.vocabulary.unknown(without_marks(sentence.tokens, self.vocabulary.numbers))

    def same(self, other: Preparation) -> bool:
        """Return whether another prepares sentences in the same way."""
        return (self.tokeniser, self.vocabulary.tokens) == (other.tokeniser, other.vocabulary.tokens)


def preparations(
    config: TranslateConfig, source: Vocabulary = UNCOUNTED, target: Vocabulary = UNCOUNTED
) -> tuple[Preparation, Preparation]:
    """Return how sentences of the source and of the target language are prepared, before anything is learnt."""
    # the same for both sides, though tokenisers differ: pairs are compared by this text
    normalise = text.NORMALISERS[config.normalise]
    return (
        Preparation(normalise, _tokeniser(config, "source"), source),
        Preparation(normalise, _tokeniser(config, "target"), target),
    )


def _tokeniser(config: TranslateConfig, side: str) -> Tokeniser:
    """Return the tokeniser that the settings describe."""
    language, case, by = getattr(config, side), config.case, config.tokens_of(side)
    if side == "source" and case == "restore":  # it is not shown
        case = "lower"
    if config.normalise == "tutorial":
        return Simple(language, case, normalise="tutorial", by=by)
    if by == "subwords":
        return Subwords(language, case, size=config.subwords)
    # a source is never joined, and needs no tokens about its spaces
    return (Words if by == "words" else Chars)(language, case, exact=side == "target")


def learn(
    config: TranslateConfig,
    source: Preparation,
    target: Preparation,
    parts: Sequence[Sequence[Pair]],
    given: tuple[Preparation, Preparation] | None = None,
) -> tuple[Preparation, Preparation, list[list[Pair]]]:
    """Let both preparations learn from the first part; return them, and all parts tokenised by them.

    Args:
      config: the settings.
      source: of sources, as `preparations` made it.
      target: of targets.
      parts: pairs that these have prepared; those of the first are for training.
      given: preparations that have already learnt, such as those of a run; they are used instead.

    Raises:
      InputError: if subwords cannot be learnt.
    """
    if given is None:
        sides = [[pair[n].written for pair in parts[0]] for n in (0, 1)]
        tokenisers = learnt(config, [source.tokeniser, target.tokeniser], sides)
        given = source._replace(tokeniser=tokenisers[0]), target._replace(tokeniser=tokenisers[1])
        # before words are counted: with subwords the vocabulary consists of pieces
        cut = cut_again(parts, (source, target), given)
        vocabularies = _counted(config, cut[0])
        given = given[0]._replace(vocabulary=vocabularies[0]), given[1]._replace(vocabulary=vocabularies[1])
    else:
        cut = cut_again(parts, (source, target), given)
    return *given, cut


def cut_again(
    parts: Sequence[Sequence[Pair]], before: tuple[Preparation, Preparation], after: tuple[Preparation, Preparation]
) -> list[list[Pair]]:
    """Return pairs tokenised again by those tokenisers whose tokens have changed by learning."""
    # learning changes the tokens of subwords; of other tokenisers it changes only capitals
    changed = [
        isinstance(new.tokeniser, Subwords) and new.tokeniser != old.tokeniser
        for old, new in zip(before, after, strict=True)
    ]
    return [
        [(after[0].again(a) if changed[0] else a, after[1].again(b) if changed[1] else b) for a, b in part]
        for part in parts
    ]


def _counted(config: TranslateConfig, pairs: Sequence[Pair]) -> list[Vocabulary]:
    """Return the vocabularies of both sides of some pairs, or twice the one that they share."""
    sources, targets = ([pair[n].tokens for pair in pairs] for n in (0, 1))
    if config.shared:
        # the same vocabulary twice, so that one embedding serves both sides
        return [Vocabulary.build(itertools.chain(sources, targets), config.min_count)] * 2
    return [Vocabulary.build(side, config.min_count) for side in (sources, targets)]


def learnt(config: TranslateConfig, tokenisers: Sequence[Tokeniser], sides: Sequence[Texts]) -> Sequence[Tokeniser]:
    """Let tokenisers learn from the sentences of their sides; shared subwords learn from both."""
    # one set of pieces, learnt from the sentences of both sides
    if config.shared and all(isinstance(one, Subwords) for one in tokenisers):
        texts = (one.normal(written) for one, side in zip(tokenisers, sides, strict=True) for written in side)
        model = trained(config.subwords, texts, sum(map(len, sides)))
        tokenisers = [dataclasses.replace(one, model=model) for one in tokenisers if isinstance(one, Subwords)]
    return [one.learn(side) for one, side in zip(tokenisers, sides, strict=True)]


def unlearnt(given: tuple[Preparation, Preparation]) -> tuple[Preparation, Preparation]:
    """Return preparations as before learning: pairs are read, filtered and split with these."""
    source, target = (
        side._replace(tokeniser=side.tokeniser.unlearnt()) if isinstance(side.tokeniser, Subwords) else side
        for side in given
    )
    return source, target


def save(path: Path, source: Preparation, target: Preparation) -> None:
    """Write vocabularies and tokenisers into a run folder."""
    write_atomic(path / SOURCE_VOCABULARY, source.vocabulary.to_json())
    write_atomic(path / TARGET_VOCABULARY, target.vocabulary.to_json())
    saved.save(path, {"source": source.tokeniser, "target": target.tokeniser})


def load(path: Path, config: TranslateConfig) -> tuple[Preparation, Preparation]:
    """Read the preparations that `save` wrote; a run of an earlier version prepares sentences as it did then.

    Raises:
      InputError: if a file is missing or damaged.
    """
    sides = []
    for side, name in (("source", SOURCE_VOCABULARY), ("target", TARGET_VOCABULARY)):
        tokeniser = saved.load(path, side)
        # runs of earlier versions have no such file, and no subwords
        if tokeniser is None and config.subwords:
            raise InputError(f"there is no file {path / saved.FILE}; restore it from a copy, or train again")
        if tokeniser is None:
            by = getattr(config, f"{side}_tokens")
            # how versions before tokenisers.json cut sentences
            tokeniser = Simple(getattr(config, side), normalise=config.normalise, by=by)
        vocabulary = Vocabulary.from_json(read_text(path / name), path / name)
        sides.append(Preparation(text.NORMALISERS[config.normalise], tokeniser, vocabulary))
    return sides[0], sides[1]
