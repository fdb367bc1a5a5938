"""A trained translator: loaded from its run folder, translating, and measured against references."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint
from jaxseq._unroll import trace
from jaxseq.apps import datasets, run_folder, text
from jaxseq.apps.custom import find_cell
from jaxseq.apps.pairs import INVISIBLE, read_pairs, read_text
from jaxseq.apps.text import EOS, PAD, SOS, Vocabulary
from jaxseq.apps.translate.config import LONGEST, POSITIONS, TranslateConfig
from jaxseq.apps.translate.train import KIND, Corpus, digest_of, kept_pairs, numbered, prepare, tokenise, validator
from jaxseq.cells import gru
from jaxseq.decode import Decoded, greedy
from jaxseq.errors import InputError
from jaxseq.notation import Array, Params
from jaxseq.seq2seq import Seq2Seq, lookup

if TYPE_CHECKING:
    from jaxseq.study import Keep

LENGTHS = (POSITIONS, 20, 40, 80, 160, LONGEST)
"""Source lengths that programs are compiled for; a batch is padded to the next."""
BATCHES = (1, 8, 64, 256)
"""Batch sizes that programs are compiled for."""


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
    """A model with its parameters and vocabularies."""

    config: TranslateConfig
    model: Seq2Seq
    params: Params
    source: Vocabulary
    target: Vocabulary

    def translate(self, sentences: Sequence[str]) -> list[Translation]:
        """Translate sentences, in batches of like length, greedily.

        Raises:
          InputError: for an empty sentence, or one longer than the model can read.
        """
        tokens, most = [self._tokens(sentence) for sentence in sentences], self.config.longest - 1
        for number, (sentence, its) in enumerate(zip(sentences, tokens, strict=True), 1):
            shown = repr(sentence if len(sentence) <= 40 else sentence[:40] + "…")
            if not its:
                raise InputError(f"sentence {number} ({shown}) is empty; give text to translate")
            if len(its) > most:
                raise InputError(
                    f"sentence {number} ({shown}) has {len(its)} tokens, the most is {most}; cut it into shorter ones"
                )
        rows = [[*self.source.encode(its), EOS] for its in tokens]
        done: dict[int, Translation] = {}
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), BATCHES[-1]):
            part = order[start : start + BATCHES[-1]]
            for i, translation in zip(part, self._batch([rows[i] for i in part]), strict=True):
                unknown = self.source.unknown(tokens[i])
                done[i] = translation._replace(source=sentences[i], unknown=unknown)
        return [done[i] for i in range(len(rows))]

    def gates(self, sentence: str) -> tuple[list[str], dict[str, np.ndarray], tuple[Keep, ...]]:
        """Return a sentence's tokens, the gates ``[S, H]`` of the encoder's first layer, and which of them retain.

        Raises:
          InputError: for an empty sentence.
        """
        from jaxseq.study import keeps_of

        tokens = self._tokens(sentence)
        if not tokens:
            raise InputError(f"the sentence {sentence!r} is empty; give text to read")
        cell, own = gru, self.params.encoder
        if self.config.model == "translator":
            cell, own = find_cell(self.config.cell), self.params.encoder[0].forward
        row = jnp.array([*self.source.encode(tokens), EOS])
        _, seen = trace(cell, own, lookup(self.params.source, row))
        gates = {name: np.asarray(values) for name, values in seen.gates._asdict().items()}
        return [*tokens, text.SPECIALS[EOS]], gates, keeps_of(cell)

    def _tokens(self, sentence: str) -> list[str]:
        """Return a sentence's tokens, with what nobody sees dropped as it is from the training text."""
        visible = INVISIBLE.sub("", sentence)
        return text.TOKENISERS[self.config.source_tokens](text.NORMALISERS[self.config.normalise](visible))

    def _batch(self, rows: list[list[int]]) -> list[Translation]:
        longest = max(map(len, rows))
        length = next(n for n in LENGTHS if n >= longest)
        batch = next(n for n in BATCHES if n >= len(rows))
        filled = rows + [[EOS]] * (batch - len(rows))
        decode = _decoder(self.model, self.config.most_target_tokens(length))
        out: Decoded = jax.device_get(decode(self.params, jnp.asarray(text.pad(filled, length))))
        return [self._one(row, out, b) for b, row in enumerate(rows)]

    def _one(self, row: list[int], out: Decoded, b: int) -> Translation:
        T = min(int(out.lengths[b]), self.config.most_target_tokens(len(row)))  # its own bound, not that of its batch
        ids = out.tokens[:T, b]
        return Translation(
            source="",
            text=text.detokenise(self.target.decode(ids)),
            source_tokens=[self.source.tokens[n] for n in row],
            target_tokens=[self.target.tokens[n] for n in ids],
            weights=np.asarray(out.seen[:T, b, : len(row)]),
            log_prob=float(out.log_probs[:T, b].sum()),
            unknown=[],
        )


@functools.cache
def _decoder(model: Seq2Seq, longest: int) -> Callable[[Params, Array], Decoded]:
    """Return the jitted program that translates sources into at most `longest` target tokens."""

    @jax.jit
    def decode(params: Params, source: Array) -> Decoded:
        encoded = model.encode(params, source, source != PAD)
        start = jnp.full(source.shape[1], SOS)
        return greedy(model.step(params, encoded), encoded.carry, start, eos=EOS, max_length=longest, pad=PAD)

    return decode


def load(path: Path | str, own: str | None = None) -> Translator:
    """Load the best checkpoint of a translation run; `own` names the cell of your own that it may run.

    Raises:
      InputError: if there is no such run, or one of its files is damaged or does not fit the others.
    """
    path = Path(path)
    config = run_folder.read_config(path, KIND, TranslateConfig, own)
    config.check()
    vocabularies = []
    for side in ("source", "target"):
        file = path / f"{side}.vocab.json"
        vocabularies.append(Vocabulary.from_json(read_text(file), file))
    model, (source, target) = config.build(), vocabularies
    sizes = {"embedding": config.embedding, "hidden": config.hidden}
    like = jax.eval_shape(lambda key: model.init(key, len(source), len(target), **sizes), jax.random.key(0))
    params = checkpoint.load(path / run_folder.MODEL, like)
    words = digest_of(source, target)
    if checkpoint.facts(path / run_folder.MODEL).get("vocabularies", words) != words:
        raise InputError(
            f"{path}: the vocabularies are not those that {run_folder.MODEL} was trained with; restore "
            "source.vocab.json and target.vocab.json from a copy, or train again"
        )
    return Translator(config, model, params, source, target)


class Evaluation(NamedTuple):
    """How a translator does on pairs.

    Fields:
      data: which pairs.
      pairs: how many.
      bleu: sacrebleu's corpus BLEU, lower-cased, 0 to 100.
      bleu_signature: how it was computed.
      chrf: sacrebleu's chrF2, lower-cased.
      chrf_signature: how it was computed.
      exact: share of translations equal to the reference, apart from case.
      ended: share of translations that ended with EOS.
      loss: mean over real target tokens, in nats.
      unknown: share of source tokens that the vocabulary lacks.
      examples: ten random ones, (source, reference, translation).
    """

    data: str
    pairs: int
    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    exact: float
    ended: float
    loss: float
    unknown: float
    examples: list[tuple[str, str, str]]


def evaluate(translator: Translator, data: str | None = None, *, examples: int = 10, seed: int = 0) -> Evaluation:
    """Measure a translator on a file of pairs, on the shipped held-out part, or on the run's own validation part.

    Without `data`: the held-out part that comes with the shipped corpus, if trained on that; else the pairs that
    training held back; else, where none were, the training pairs, and the result says so.
    """
    config = translator.config
    where, pairs = pairs_for(config, data)
    results = translator.translate([source for source, _ in pairs])
    references = [reference for _, reference in pairs]
    hypotheses = [result.text for result in results]
    from sacrebleu.metrics import BLEU, CHRF  # takes a while to import

    bleu = BLEU(lowercase=True, tokenize="zh" if config.target == "zh" else "13a")
    chrf = CHRF(lowercase=True)
    normalise = text.NORMALISERS[config.normalise]
    normal = [(normalise(source), normalise(reference)) for source, reference in pairs]
    corpus = Corpus(normal, [], translator.source, translator.target, [])
    read = sum(len(tokenise(config, pair)[0]) for pair in normal)
    same = [h.lower() == r.lower() for h, r in zip(hypotheses, references, strict=True)]
    scores: dict[str, Any] = {
        "bleu": bleu.corpus_score(hypotheses, [references]).score,
        "bleu_signature": str(bleu.get_signature()),
        "chrf": chrf.corpus_score(hypotheses, [references]).score,
        "chrf_signature": str(chrf.get_signature()),
    }
    shown = random.Random(seed).sample(range(len(pairs)), min(examples, len(pairs)))
    return Evaluation(
        data=where,
        pairs=len(pairs),
        exact=float(np.mean(same)),
        ended=float(np.mean([r.target_tokens[-1] == text.SPECIALS[EOS] for r in results])),
        loss=validator(translator.model, numbered(config, corpus, normal, 4), 64)(translator.params),
        unknown=sum(len(r.unknown) for r in results) / read,
        examples=[(pairs[i][0], pairs[i][1], hypotheses[i]) for i in shown],
        **scores,
    )


def pairs_for(config: TranslateConfig, data: str | None = None) -> tuple[str, list[tuple[str, str]]]:
    """Return pairs to measure a translator on, as they are written, and which they are; see `evaluate`."""
    if data is None and config.data == "zh-en":
        data = "zh-en-held-out"
    if data is not None:
        path = datasets.find(data)
        kept_pairs(config, path)  # the same checks as in training
        return data, read_pairs(path, config.columns, config.source, config.target)
    corpus = prepare(config)
    where, pairs = ("held back in training", corpus.validation) if corpus.validation else ("trained on", corpus.train)
    written = [(text.detokenise(a.split()), text.detokenise(b.split())) for a, b in pairs]
    return f"{config.data}, pairs {where}", written
