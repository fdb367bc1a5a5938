"""Sentence length with and without attention, and the map of a reversal (Bahdanau, Cho & Bengio 2015).

Two translators learn to reverse sentences of random symbols, of lengths up to `longest`: the default translator with
additive attention, and one whose decoder gets a single vector at each step, the encoder's last states.

Judged, seed by seed: at the longest trained length the share of correct tokens is larger with attention than without,
and also at twice that length (figure 2: the network with attention, trained up to 30 words, stays above the one
without, also beyond 30); from a quarter of the longest trained length to all of it, the share falls less with attention
than without; and at the longest trained length each row of the map has its largest weight on the anti-diagonal,
``weights[t]`` at S - 1 - t, in at least 95% of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.attention import Attention, additive
from jaxseq.attention._base import batch_first
from jaxseq.cells import gru
from jaxseq.decode import greedy
from jaxseq.experiments.base import Experiment, Found, Row, above, less, more, unjudged
from jaxseq.experiments.data import EOS, FIRST, PAD, SOS
from jaxseq.experiments.training import APART, FIRST_SEED, fit, seeded
from jaxseq.losses import cross_entropy, masked_mean
from jaxseq.notation import Array, Key, Params, Tree
from jaxseq.seq2seq import Seq2Seq, translator

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Settings(NamedTuple):
    """Settings: longest training sentence, symbols, and training."""

    longest: int = 20
    symbols: int = 20
    hidden: int = 64
    embedding: int = 32
    steps: int = 3000
    batch: int = 64
    rate: float = 2e-3
    tested: int = 128
    seeds: int = 10
    first: int = FIRST_SEED


class Summary(NamedTuple):
    """The source of a decoder without attention: ``values [B, 1, 2H]``, one vector; its mask ``[B, 1]``."""

    keys: Array
    values: Array
    mask: Array


def _remember(params: Params, values: Array, mask: Array | None = None) -> Summary:
    values, mask = batch_first(values, mask)
    ahead, back = jnp.split(values, 2, axis=-1)  # the last states of both directions
    last = jnp.maximum(mask.sum(-1) - 1, 0)
    end = jnp.take_along_axis(ahead, last[..., None, None], axis=-2)
    one = jnp.concatenate([end, back[..., :1, :]], axis=-1)
    return Summary(one[..., :0], one, mask[..., :1])


def _attend(params: Params, memory: Summary, state: Tree, query: Array) -> tuple[Tree, tuple[Array, Array]]:
    return state, (memory.values[..., 0, :], memory.keys[..., 0, :])


fixed = Attention(lambda *_, **__: (), _remember, _attend, "fixed", reference="Cho et al. 2014, arXiv:1406.1078")
"""No attention: the context is the encoder's last states at every step, and the weights are empty, ``[B, 0]``."""

MODELS = {"with attention": translator(gru, additive), "without": translator(gru, fixed)}


class Sentences(NamedTuple):
    """Sentences and their reversals: ``source [S, B]``, decoder ``inputs`` and ``targets [S + 1, B]``."""

    source: Array
    inputs: Array
    targets: Array


def reversal(key: Key, lengths: Array, longest: int, symbols: int) -> Sentences:
    """Draw sentences of given ``lengths [B]`` and their reversals, which end with EOS. Consumes `key`."""
    B = lengths.shape[0]
    words = jax.random.randint(key, (longest, B), FIRST, FIRST + symbols)
    steps = jnp.broadcast_to(jnp.arange(longest + 1)[:, None], (longest + 1, B))
    lengths = jnp.broadcast_to(lengths, steps.shape)
    source = jnp.where(steps < lengths, jnp.pad(words, ((0, 1), (0, 0))), PAD)
    back = jnp.take_along_axis(source, jnp.maximum(lengths - 1 - steps, 0), axis=0)
    targets = jnp.where(steps < lengths, back, jnp.where(steps == lengths, EOS, PAD))
    inputs = jnp.concatenate([jnp.full((1, B), SOS), targets[:-1]])
    return Sentences(source[:-1], inputs, targets)


def loss_of(model: Seq2Seq, settings: Settings) -> Any:
    """Return the training loss, ``(params, key) -> loss``."""

    def loss(params: Params, key: Key) -> Array:
        k_lengths, k_words = jax.random.split(key)
        lengths = jax.random.randint(k_lengths, (settings.batch,), 1, settings.longest + 1)
        said = reversal(k_words, lengths, settings.longest, settings.symbols)
        encoded = model.encode(params, said.source, said.source != PAD)
        _, (logits, _) = model.decode(params, encoded, said.inputs)
        return masked_mean(cross_entropy(logits, said.targets), said.targets != PAD)

    return loss


def tested(model: Seq2Seq, params: Params, key: Key, length: int, settings: Settings) -> tuple[Array, Array, Array]:
    """Return the share of correct tokens, the share of steps on the anti-diagonal, and one map ``[length, S]``.

    Free-running, on new sentences of one length. Consumes `key`.
    """
    said = reversal(key, jnp.full(settings.tested, length), length, settings.symbols)
    encoded = model.encode(params, said.source, said.source != PAD)
    start = jnp.full(settings.tested, SOS)
    done = greedy(model.step(params, encoded), encoded.carry, start, eos=EOS, max_length=length + 1, pad=PAD)
    right = (done.tokens == said.targets).mean()
    if done.seen.shape[-1] == 0:
        return right, jnp.zeros(()), jnp.zeros((length, length))
    looked = jnp.argmax(done.seen[:length], axis=-1)
    wanted = jnp.broadcast_to(jnp.arange(length)[::-1, None], looked.shape)
    return right, (looked == wanted).mean(), done.seen[:length, 0]


def run(settings: Settings) -> Found:
    """Train both and test them at several lengths."""
    longest = settings.longest
    lengths = tuple(dict.fromkeys(max(1, longest * n // 4) for n in (1, 2, 4, 8)))
    right: dict[str, np.ndarray] = {}
    for name, model in MODELS.items():

        def start(key: Key, model: Seq2Seq = model) -> Params:
            size = FIRST + settings.symbols
            return model.init(key, size, size, embedding=settings.embedding, hidden=settings.hidden)

        keys = seeded(settings.seeds, settings.first)
        trained = fit(jax.vmap(start)(keys), keys, loss_of(model, settings), steps=settings.steps, rate=settings.rate)
        scores = []
        for length in lengths:
            test = jax.vmap(lambda p, k, m=model, n=length: tested(m, p, k, n, settings))
            score, diagonal, maps = jax.jit(test)(trained.params, seeded(settings.seeds, settings.first + APART))
            scores.append(np.asarray(score, float))
            if name == "with attention" and length == longest:
                on_diagonal, shown = np.asarray(diagonal, float), np.asarray(maps[0])
        right[name] = np.stack(scores)
    there, without = right["with attention"], right["without"]
    at = lengths.index(longest)
    drop, drop_without = there[0] - there[at], without[0] - without[at]
    rows: list[Row] = [
        unjudged(f"share right at length {longest}, without attention", without[at]),
        more(f"share right at length {longest}, with attention", there[at], "that without", without[at]),
        unjudged(f"share right at length {lengths[-1]}, without attention", without[-1]),
        more(f"share right at length {lengths[-1]}, with attention", there[-1], "that without", without[-1]),
        unjudged(f"share lost from length {lengths[0]} to {longest}, without attention", drop_without),
        less(f"share lost from length {lengths[0]} to {longest}, with attention", drop, "that without", drop_without),
        above(f"steps that look at the anti-diagonal, length {longest}", on_diagonal, 0.95),
    ]  # fmt: skip
    return Found(tuple(rows), lambda figure: draw(figure, lengths, right, shown, longest))


def draw(figure: Figure, lengths: tuple[int, ...], right: dict[str, np.ndarray], shown: np.ndarray, most: int) -> None:
    """Draw quality against length, and one map."""
    first, second = figure.subplots(1, 2)
    for name, scores in right.items():
        (line,) = first.plot(lengths, scores.mean(1), label=name, marker="o", markersize=3)
        first.fill_between(lengths, scores.min(1), scores.max(1), color=line.get_color(), alpha=0.2, linewidth=0)
    first.axvline(most, color="0.5", linestyle=":", linewidth=1)
    first.set(xlabel="length (dotted: longest in training)", ylabel="share of tokens right", ylim=(0, 1.02))
    first.legend(frameon=False, fontsize="small")
    first.grid(alpha=0.3)
    image = second.imshow(shown, vmin=0, vmax=1, cmap="viridis")
    second.set(xlabel="source position", ylabel="step of the reversal")
    second.set_title("attention", fontsize="medium")
    figure.colorbar(image, ax=second, shrink=0.8)


attention = Experiment(
    "attention",
    "With attention a translator's quality holds up with sentence length, where one that passes a single vector falls; "
    "on a reversal it looks along the anti-diagonal.",
    'Bahdanau, Cho & Bengio 2015, "Neural machine translation by jointly learning to align and translate", '
    "arXiv:1409.0473, section 5.1 and figure 2",
    run, Settings(),
    Settings(longest=10, symbols=10, hidden=32, embedding=16, steps=1200, batch=32, rate=5e-3, tested=64),
    "jaxseq study --cell gru --problem reverse",
)  # fmt: skip
