"""Tell whether the words of a sentence are in order, by the last real outputs of a bidirectional LSTM.

    python -m jaxseq.examples.classify

Each English sentence appears unchanged and with two neighbouring words swapped, so a bag of words does not help.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import bidirectional, init_bidirectional, length_mask, losses, shipped
from jaxseq.affine import Affine
from jaxseq.cells import lstm

H, adam = 32, optax.adam(5e-3)


def examples(name: str) -> tuple[list[list[str]], np.ndarray]:
    """Return sentences as words, each followed by its copy with two words swapped, and the labels 1, 0, 1, 0, ..."""
    rows, random = [], np.random.default_rng(0)
    for line in shipped.find(name).read_text(encoding="utf-8").splitlines():
        words = line.split("\t")[0].rstrip(".?!").split()
        i = random.integers(max(1, len(words) - 1))
        exchanged = [*words[:i], *words[i : i + 2][::-1], *words[i + 2 :]]
        rows += [words, exchanged] if exchanged != words else []
    return rows, np.arange(1, len(rows) + 1) % 2


def pad(rows: list[list[str]], vocabulary: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return word ids ``[T, B]``, 0 for padding and unknown words, and the lengths of the rows ``[B]``."""
    number, lengths = {word: n for n, word in enumerate(vocabulary, 1)}, np.array([len(row) for row in rows])
    return np.array([[number.get(w, 0) for w in row] + [0] * (lengths.max() - len(row)) for row in rows]).T, lengths


def summary(kind: str, params: tuple, words: jax.Array, lengths: jax.Array) -> jax.Array:
    """Return the features for classification, ``[B, 2H]``."""
    embedded, mask = params[0][words], length_mask(lengths, len(words))
    if kind == "bag of words":
        return jnp.sum(embedded, axis=0, where=mask[..., None])
    _, outs = bidirectional(lstm, params[1], embedded, mask=mask)
    if kind == "last step of the batch":
        return outs[-1]  # zeros in most rows, where this step is padding
    last = jnp.take_along_axis(outs, (lengths - 1)[None, :, None], axis=0)[0]
    return jnp.concatenate([last[:, :H], outs[0, :, H:]], axis=-1)  # the backward direction reads the first word last


def train(kind: str, data: tuple, V: int, steps: int) -> tuple:
    """Return params trained on words, lengths and labels, each with last axis B."""
    keys = jax.random.split(jax.random.key(0), 3)
    embedding = 0.25 * jax.random.normal(keys[0], (V, 2 * H))
    params = (embedding, init_bidirectional(keys[1], lstm, 2 * H, H), Affine.init(keys[2], 2 * H, 2, jnp.float32))

    def loss(params: tuple, words: jax.Array, lengths: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.cross_entropy(params[2](summary(kind, params, words, lengths)), labels).mean()

    def update(state: tuple, batch: jax.Array) -> tuple[tuple, None]:
        changes, moments = adam.update(jax.grad(loss)(state[0], *(jnp.asarray(a)[..., batch] for a in data)), state[1])
        return (optax.apply_updates(state[0], changes), moments), None

    batches = jax.random.randint(jax.random.key(1), (steps, 64), 0, len(data[-1]))
    return jax.jit(lambda state: jax.lax.scan(update, state, batches))((params, adam.init(params)))[0][0]


def main(steps: int = 800) -> dict[str, float]:
    """Train with each summary, and return the accuracies on held-out sentences."""
    (rows, labels), (held_out, wanted) = examples("zh-en.tsv"), examples("zh-en-held-out.tsv")
    vocabulary = sorted({word for row in rows for word in row})
    data, (words, lengths) = (*pad(rows, vocabulary), labels), map(jnp.asarray, pad(held_out, vocabulary))
    found = {"majority": max(wanted.mean(), 1 - wanted.mean())}
    for kind in ("bag of words", "last step of the batch", "last real steps"):
        params = train(kind, data, len(vocabulary) + 1, steps)
        found[kind] = float((params[2](summary(kind, params, words, lengths)).argmax(-1) == wanted).mean())
    print(f"right of {len(held_out)} held-out sentences:", *(f"  {k:<24}{v:.1%}" for k, v in found.items()), sep="\n")
    return found


if __name__ == "__main__":
    main()
