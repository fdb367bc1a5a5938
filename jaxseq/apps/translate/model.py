"""A trained translator: loaded from its run folder, and translating."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint
from jaxseq._unroll import trace
from jaxseq.apps import run_folder, text
from jaxseq.apps.custom import find_cell
from jaxseq.apps.reading import read_text
from jaxseq.apps.text import EOS, PAD, SOS, Vocabulary
from jaxseq.apps.translate.config import KIND, LONGEST, POSITIONS, TranslateConfig
from jaxseq.apps.translate.data import Preparation, Sentence, digest_of, preparations
from jaxseq.cells import gru
from jaxseq.decode import Decoded, greedy
from jaxseq.errors import InputError
from jaxseq.notation import Array, Params
from jaxseq.seq2seq import Seq2Seq, encoder_cell, lookup, source_vectors

if TYPE_CHECKING:
    from jaxseq.study import Keep

LENGTHS = (2, 4, POSITIONS, 20, 40, 80, 160, LONGEST)
"""Source lengths that programs are compiled for; a batch is padded to the next."""
BATCHES = (1, 8, 64, 256)
"""Batch sizes that programs are compiled for."""
SOURCE_VOCABULARY, TARGET_VOCABULARY = "source.vocab.json", "target.vocab.json"


class Translation(NamedTuple):
    """One sentence translated.

    Fields:
      source: as it was given.
      text: the translation.
      source_tokens: what the encoder read, `<eos>` at the end, `<unk>` for unknown ones.
      target_tokens: what the decoder wrote, with `<eos>` if it ended the sentence.
      weights: attention, ``[target, source]`` (``[target, 0]`` for a model without).
      log_prob: of the whole translation, in nats.
      unknown: source tokens that the vocabulary lacks.
    """

    source: str
    text: str
    source_tokens: list[str]
    target_tokens: list[str]
    weights: np.ndarray
    log_prob: float
    unknown: list[str]


class Translator(NamedTuple):
    """A model with its parameters, and how sentences of both languages are prepared for it."""

    config: TranslateConfig
    model: Seq2Seq
    params: Params
    source: Preparation
    target: Preparation

    def translate(self, sentences: Sequence[str]) -> list[Translation]:
        """Translate sentences, in batches of like length, greedily.

        Raises:
          InputError: for an empty sentence, or one longer than the model can read.
        """
        return self.translate_prepared([self.source.sentence(sentence) for sentence in sentences])

    def translate_prepared(self, sentences: Sequence[Sentence]) -> list[Translation]:
        """Translate sentences that `source` has prepared; errors as `translate`."""
        self._check_lengths(sentences)
        rows = [self.source.numbers(sentence) for sentence in sentences]
        done: dict[int, Translation] = {}
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), BATCHES[-1]):
            part = order[start : start + BATCHES[-1]]
            for i, translation in zip(part, self._batch([rows[i] for i in part]), strict=True):
                one = sentences[i]
                done[i] = translation._replace(source=one.written, unknown=self.source.unknown(one))
        return [done[i] for i in range(len(rows))]

    def _check_lengths(self, sentences: Sequence[Sentence]) -> None:
        most = self.config.longest - 1
        for number, (written, _, tokens) in enumerate(sentences, 1):
            shown = repr(written if len(written) <= 40 else written[:40] + "…")
            if not tokens:
                raise InputError(f"sentence {number} ({shown}) is empty; give text to translate")
            if len(tokens) > most:
                raise InputError(
                    f"sentence {number} ({shown}) has {len(tokens)} tokens, the most is {most}; cut it into shorter "
                    "ones"
                )

    def gates(self, sentence: str) -> tuple[list[str], dict[str, np.ndarray], tuple[Keep, ...]]:
        """Return a sentence's tokens, the gates ``[S, H]`` of the encoder's first layer, and which of them retain.

        Raises:
          InputError: for an empty sentence.
        """
        from jaxseq.study import keeps_of

        prepared = self.source.sentence(sentence)
        if not prepared.tokens:
            raise InputError(f"the sentence {sentence!r} is empty; give text to read")
        row, params = jnp.array(self.source.numbers(prepared)), self.params
        if self.config.model == "translator":
            cell, encoder = encoder_cell(find_cell(self.config.cell), params), params.encoder[0].forward
            xs = source_vectors(params, row)
        else:
            cell, encoder, xs = gru, params.encoder, lookup(params.source, row)
        _, seen = trace(cell, encoder, xs)
        gates = {name: np.asarray(values) for name, values in seen.gates._asdict().items()}
        return [*prepared.tokens, text.SPECIALS[EOS]], gates, keeps_of(cell)

    def _batch(self, rows: list[list[int]]) -> list[Translation]:
        longest = max(map(len, rows))
        length = next(n for n in LENGTHS if n >= longest)
        batch = next(n for n in BATCHES if n >= len(rows))
        filled = rows + [[EOS]] * (batch - len(rows))
        decode = _decoder(self.model, self.config.most_target_tokens(length))
        out: Decoded = jax.device_get(decode(self.params, jnp.asarray(text.pad(filled, length))))
        # each row's own bound, not that of its batch
        ends = np.minimum(out.lengths[: len(rows)], [self.config.most_target_tokens(len(row)) for row in rows])
        written = np.arange(len(out.tokens))[:, None] < ends
        log_probs = np.where(written, out.log_probs[:, : len(rows)], 0).sum(0)
        source, target = self.source.vocabulary, self.target.vocabulary
        return [
            Translation(
                source="",
                text=text.detokenise(target.decode(ids[:T])),
                source_tokens=[source.tokens[n] for n in row],
                target_tokens=[target.tokens[n] for n in ids[:T]],
                weights=out.seen[:T, b, : len(row)],
                log_prob=log_prob,
                unknown=[],
            )
            for b, (row, ids, T, log_prob) in enumerate(
                zip(rows, out.tokens.T.tolist(), ends.tolist(), log_probs.tolist(), strict=False)
            )
        ]


@functools.lru_cache(maxsize=4 * len(LENGTHS))  # a few models; more would keep every model alive
def _decoder(model: Seq2Seq, longest: int) -> Callable[[Params, Array], Decoded]:
    """Return the jitted program that translates sources into at most `longest` target tokens."""

    @jax.jit
    def decode(params: Params, source: Array) -> Decoded:
        encoded = model.encode(params, source, source != PAD)
        start = jnp.full(source.shape[1], SOS)
        return greedy(model.step(params, encoded), encoded.carry, start, eos=EOS, max_length=longest, pad=PAD)

    return decode


def load(path: Path | str, trusted_cell: str | None = None) -> Translator:
    """Load the best checkpoint of a translation run; `trusted_cell` names the custom cell that it may import.

    Raises:
      InputError: if there is no such run, or one of its files is damaged or does not fit the others.
    """
    path = Path(path)
    config = run_folder.read_config(path, KIND, TranslateConfig, trusted_cell)
    config.check()
    source, target = (
        Vocabulary.from_json(read_text(path / name), path / name) for name in (SOURCE_VOCABULARY, TARGET_VOCABULARY)
    )
    model = config.build()
    params = best_params(path, config, model, source, target)
    return Translator(config, model, params, *preparations(config, source, target))


def best_params(path: Path, config: TranslateConfig, model: Seq2Seq, source: Vocabulary, target: Vocabulary) -> Params:
    """Return the best parameters that a run has saved.

    Raises:
      InputError: if nothing was saved, or it does not fit the settings or the vocabularies.
    """
    sizes = {"embedding": config.embedding, "hidden": config.hidden}
    like = jax.eval_shape(lambda key: model.init(key, len(source), len(target), **sizes), jax.random.key(0))
    params = checkpoint.load(path / run_folder.MODEL, like)
    words = digest_of(source, target)
    if checkpoint.facts(path / run_folder.MODEL).get("vocabularies", words) != words:
        raise InputError(
            f"{path}: the vocabularies are not those that {run_folder.MODEL} was trained with; restore "
            f"{SOURCE_VOCABULARY} and {TARGET_VOCABULARY} from a copy, or train again"
        )
    return params
