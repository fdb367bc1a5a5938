"""A trained translator: load it from its run folder, and translate."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint
from jaxseq._unroll import trace
from jaxseq.apps import run_folder, text
from jaxseq.apps.custom import find_cell
from jaxseq.apps.text import EOS, UNK, Vocabulary
from jaxseq.apps.translate.batches import batches
from jaxseq.apps.translate.config import KIND, TranslateConfig
from jaxseq.apps.translate.data import digest_of
from jaxseq.apps.translate.decoding import USUAL, Decoding, Written, program
from jaxseq.apps.translate.preparation import (
    SOURCE_VOCABULARY,
    TARGET_VOCABULARY,
    Preparation,
    Sentence,
    load as load_preparations,
)
from jaxseq.cells import Cell, gru
from jaxseq.errors import InputError, quoted
from jaxseq.notation import Params
from jaxseq.seq2seq import Seq2Seq, encoder_cell, lookup, source_vectors


class Translation(NamedTuple):
    """One sentence translated.

    Fields:
      source: as it was given.
      text: the translation.
      source_tokens: the tokens that the encoder read, `<eos>` at the end, `<unk>` for unknown ones.
      target_tokens: the tokens that the decoder wrote, with `<eos>` if it ended the sentence.
      weights: attention, ``[target, source]`` (``[target, 0]`` for a model without).
      log_prob: of the whole translation, in nats.
      unknown: source tokens that the vocabulary lacks.
      score: log_prob with the decoding's penalties; it ranks the translations of the sentence.
      others: the next best translations, if more than one was asked for.
    """

    source: str
    text: str
    source_tokens: list[str]
    target_tokens: list[str]
    weights: np.ndarray
    log_prob: float
    unknown: list[str]
    score: float = 0.0
    others: Sequence[Translation] = ()


class Translator(NamedTuple):
    """A model with its parameters, and the preparation of sentences of both languages.

    Fields:
      config: of its run.
      model: the functions.
      params: the parameters.
      source: how sources are prepared.
      target: how targets are prepared.
      others: translators with the same vocabularies; the probabilities of all are averaged.
      path: the run folder that it was loaded from, or None.
    """

    config: TranslateConfig
    model: Seq2Seq
    params: Params
    source: Preparation
    target: Preparation
    others: tuple[Translator, ...] = ()
    path: Path | None = None

    def translate(
        self, sentences: Sequence[str], decoding: Decoding = USUAL, *, prefix: str = "", batch: int | None = None
    ) -> list[Translation]:
        """Translate sentences in batches of similar length; a translation does not depend on the others.

        It has at most ``2 S + 10`` tokens, S being the length of its source padded to the next of `batches.LENGTHS`.

        Args:
          sentences: at least one.
          decoding: beam search by default.
          prefix: target text that every translation begins with.
          batch: sentences that are translated at once; by default 1, 8 or 64, by their number.

        Raises:
          InputError: for an empty sentence, or one longer than the model can read; for a prefix with an unknown word;
            for settings that cannot be used.
        """
        prepared = [self.source.sentence(sentence) for sentence in sentences]
        return self.translate_prepared(prepared, decoding, prefix=prefix, batch=batch)

    def translate_prepared(
        self,
        sentences: Sequence[Sentence],
        decoding: Decoding = USUAL,
        *,
        prefix: str = "",
        batch: int | None = None,
    ) -> list[Translation]:
        """Translate sentences that `source` has prepared; arguments and errors as `translate`."""
        decoding.check()
        self.check_fit(sentences)
        begun = self._begun(prefix)
        rows = [self.source.numbers(sentence) for sentence in sentences]
        done: dict[int, Translation] = {}
        for one in batches([(len(row),) for row in rows], batch):
            written = self._batch([rows[i] for i in one.filled], one.lengths[0], decoding, begun)
            for b, i in enumerate(one.places):
                done[i] = self._translation(sentences[i], rows[i], written, b, decoding)
        return [done[i] for i in range(len(rows))]

    def check_fit(self, sentences: Sequence[Sentence]) -> None:
        """Check that every sentence can be translated.

        Raises:
          InputError: naming the first that cannot, and why.
        """
        for number, sentence in enumerate(sentences, 1):
            if why := self.unfit(sentence):
                raise InputError(f"sentence {number} ({quoted(sentence.written)}) {why}")

    def unfit(self, sentence: Sentence) -> str:
        """Return why a sentence cannot be translated, or an empty string if it can."""
        most = min(one.config.longest for one in (self, *self.others)) - 1
        if not sentence.tokens:
            return "is empty; give text to translate"
        if len(sentence.tokens) > most:
            return f"has {len(sentence.tokens)} tokens, the most is {most}; split it into shorter ones"
        return ""

    def _begun(self, prefix: str) -> list[int]:
        """Return the token ids of a prefix."""
        if not prefix:
            return []
        sentence = self.target.sentence(prefix)
        if unknown := self.target.unknown(sentence):
            raise InputError(
                f"--prefix {prefix!r}: the translator cannot write {unknown[0]!r}, which is not in its vocabulary; "
                "leave it out"
            )
        # the sentence continues after a prefix, so there is no EOS yet
        return self.target.numbers(sentence)[:-1]

    def _batch(self, rows: list[list[int]], length: int, decoding: Decoding, begun: list[int]) -> Written:
        """Return translations of rows that are padded to one length, on the host."""
        everyone = (self, *self.others)
        longest = min(one.config.most_target_tokens(length) for one in everyone)
        if len(begun) >= longest:
            raise InputError(f"--prefix has {len(begun)} tokens; a translation of this sentence has at most {longest}")
        prefix = salts = None
        if begun:
            prefix = np.full((longest, len(rows)), -1, np.int32)
            prefix[: len(begun)] = np.array(begun)[:, None]
        if decoding.sample:  # draws depend on the sentence, and not on its position
            salts = np.array([zlib.crc32(np.array(row, np.int32).tobytes()) for row in rows], np.uint32)
        # the seed is an argument of the program: a new one compiles nothing
        run = program(tuple(one.model for one in everyone), dataclasses.replace(decoding, seed=0), longest)
        source, seed = text.pad(rows, length), np.uint32(decoding.seed)
        return jax.device_get(run(tuple(one.params for one in everyone), source, prefix, salts, seed))

    def _translation(
        self, sentence: Sentence, row: list[int], written: Written, b: int, decoding: Decoding
    ) -> Translation:
        """Return the best translation of one row of a batch, with the others in its `others`."""
        unknown = self.source.unknown(sentence)
        found = []
        for n in range(written.tokens.shape[2]):
            # a beam may end with fewer translations than were asked for
            if not (T := int(written.lengths[b, n])):
                continue
            ids, weights = written.tokens[:T, b, n].tolist(), np.asarray(written.weights[:T, b, n, : len(row)])
            tokens = [self.target.vocabulary.tokens[token] for token in ids]
            if decoding.unknown == "copy":
                looked = weights[:, : len(sentence.tokens)].argmax(1)  # never at the end of the sentence
                tokens = [
                    sentence.tokens[place] if token == UNK else word
                    for token, word, place in zip(ids, tokens, looked, strict=True)
                ]
            found.append(Translation(
                source=sentence.written,
                text=self.target.join(tokens[:-1] if ids[-1] == EOS else tokens),
                source_tokens=[self.source.vocabulary.tokens[token] for token in row],
                target_tokens=tokens,
                weights=weights,
                log_prob=float(written.log_probs[:T, b, n].sum()),
                unknown=unknown,
                score=float(written.scores[b, n]),
            ))  # fmt: skip
        return found[0]._replace(others=found[1:])

    def gates(self, sentence: str) -> tuple[list[str], dict[str, np.ndarray], Cell]:
        """Return a sentence's tokens, the gates ``[S, H]`` of the encoder's first layer, and its cell.

        Raises:
          InputError: for an empty sentence.
        """
        prepared = self.source.sentence(sentence)
        if not prepared.tokens:
            raise InputError(f"the sentence {quoted(sentence)} is empty; give text to read")
        row, params = jnp.array(self.source.numbers(prepared)), self.params
        if self.config.model == "translator":
            cell, encoder = encoder_cell(find_cell(self.config.cell), params), params.encoder[0].forward
            xs = source_vectors(params, row)
        else:
            cell, encoder, xs = gru, params.encoder, lookup(params.source, row)
        _, seen = trace(cell, encoder, xs)
        gates = {name: np.asarray(values) for name, values in seen.gates._asdict().items()}
        return [*prepared.tokens, text.SPECIALS[EOS]], gates, cell


def load(path: Path | str, trusted_cell: str | None = None) -> Translator:
    """Load the best checkpoint of a translation run; `trusted_cell` names the custom cell that it may import.

    Raises:
      InputError: if there is no such run, or one of its files is damaged or does not fit the others.
    """
    path = Path(path)
    config = run_folder.read_config(path, KIND, TranslateConfig, trusted_cell)
    config.check()
    source, target = load_preparations(path, config)
    model = config.build()
    params = best_params(path, config, model, source.vocabulary, target.vocabulary)
    return Translator(config, model, params, source, target, path=path)


def together(translators: Sequence[Translator]) -> Translator:
    """Return the ensemble of some translators, which averages their probabilities.

    Raises:
      InputError: if their vocabularies or the ways in which they prepare sentences differ.
    """
    first, *others = translators
    for number, other in enumerate(others, 2):
        same = first.config.normalise == other.config.normalise and first.source.same(other.source)
        if not (same and first.target.same(other.target)):
            raise InputError(
                f"an ensemble needs runs with the same vocabularies; those of run {number} are not those of run 1. "
                "Train on the same pairs with another --seed; since that also chooses the pairs that --validation "
                "holds back, use --validation 0"
            )
    return first._replace(others=tuple(others))


def shapes_of(config: TranslateConfig, model: Seq2Seq, source: Vocabulary, target: Vocabulary) -> Params:
    """Return the shapes and dtypes of a model's parameters; nothing is computed."""
    sizes = {"embedding": config.embedding, "hidden": config.hidden}
    return jax.eval_shape(lambda key: model.init(key, len(source), len(target), **sizes), jax.random.key(0))


def best_params(path: Path, config: TranslateConfig, model: Seq2Seq, source: Vocabulary, target: Vocabulary) -> Params:
    """Return the best parameters that a run has saved.

    Raises:
      InputError: if nothing was saved, or it does not fit the settings or the vocabularies.
    """
    params = checkpoint.load(path / run_folder.MODEL, shapes_of(config, model, source, target))
    words = digest_of(source, target)
    if checkpoint.facts(path / run_folder.MODEL).get("vocabularies", words) != words:
        raise InputError(
            f"{path}: the vocabularies are not those that {run_folder.MODEL} was trained with; restore "
            f"{SOURCE_VOCABULARY} and {TARGET_VOCABULARY} from a copy, or train again"
        )
    return params
