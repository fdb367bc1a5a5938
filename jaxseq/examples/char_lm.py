"""Train a character language model with the state carried from chunk to chunk, and sample from it.

    python -m jaxseq.examples.char_lm

A step of training takes the next 16 characters. Gradients stop where a chunk begins (truncated backpropagation: the
carry is an argument of the step), but the state is carried on, and with it text that the model read long before.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxseq import decode, losses, shipped, unroll
from jaxseq.affine import Affine
from jaxseq.cells import lstm
from jaxseq.notation import Carry

ROWS, CHUNK, ASCII, adam = 16, 16, 128, optax.adam(1e-2)


def in_chunks(name: str) -> np.ndarray:
    """Return the English half of a shipped corpus, ``[N, CHUNK + 1, ROWS]``; each row continues from chunk to chunk."""
    lines = shipped.find(name).read_text(encoding="utf-8").splitlines()
    text = np.array([ord(c) for line in lines for c in line.split("\t")[0] + "\n"])
    rows = text[: len(text) // ROWS * ROWS].reshape(ROWS, -1).T
    return np.stack([rows[t : t + CHUNK + 1] for t in range(0, len(rows) - CHUNK, CHUNK)])  # chunks share one character


def loss(params: tuple, carry: Carry, text: jax.Array) -> tuple[jax.Array, Carry]:
    """Return the bits of each character after the first, and the final carry."""
    carry, outs = unroll(lstm, params[0], jax.nn.one_hot(text[:-1], ASCII), carry)
    return losses.cross_entropy(params[1](outs), text[1:]).mean() / jnp.log(2.0), carry


@jax.jit
def update(params: tuple, moments: tuple, carry: Carry, chunk: jax.Array) -> tuple[tuple, tuple, Carry]:
    """Take one train step, and return the carry for the next chunk."""
    grads, carry = jax.grad(loss, has_aux=True)(params, carry, chunk)
    changes, moments = adam.update(grads, moments)
    return optax.apply_updates(params, changes), moments, carry


def train(chunks: np.ndarray, hidden: int, epochs: int, carried: bool) -> tuple:
    """Return the params of cell and readout, trained with the state carried on or reset in each chunk."""
    params = (lstm.init(jax.random.key(0), ASCII, hidden), Affine.init(jax.random.key(1), hidden, ASCII, jnp.float32))
    moments = adam.init(params)
    carry = new = lstm.initial_carry(params[0], (ROWS,))
    for chunk in [*chunks] * epochs:
        params, moments, carry = update(params, moments, carry if carried else new, chunk)
    return params


def main(hidden: int = 128, epochs: int = 3) -> dict[tuple[str, str], float]:
    """Train with and without carrying the state on; return the printed bits per character."""
    chunks, held_out = in_chunks("zh-en.tsv"), in_chunks("zh-en-held-out.tsv")
    whole = jnp.concatenate([held_out[:, :-1].reshape(-1, ROWS), held_out[-1:, -1]])  # the same as chunk after chunk
    apart = jnp.concatenate(held_out, axis=1)  # each chunk is a row with its own state
    texts, counts = {"carried": whole, "new": apart}, np.bincount(chunks.ravel(), minlength=ASCII) + 1
    models = {state: train(chunks, hidden, epochs, state == "carried") for state in ("carried", "new")}
    found = {(m, t): float(loss(models[m], None, texts[t])[0]) for m in models for t in texts}
    unigram, carried = -float(np.log2(counts[whole] / counts.sum()).mean()), models["carried"]
    print(
        f"bits for each character of held-out sentences (unigram: {unigram:.2f}); state carried, or new in each chunk:"
    )
    print(*(f"  trained {m:<8} read {t:<8} {bits:.2f}" for (m, t), bits in found.items()), sep="\n")

    def step(carry: Carry, tokens: jax.Array) -> tuple[Carry, tuple]:
        carry, out = lstm.step(carried[0], carry, jax.nn.one_hot(tokens, ASCII))
        return carry, (carried[1](out), ())

    prompt = jnp.array([[ord(c)] * 4 for c in "Where is the key?\nMy father "])  # the same prompt four times
    carry, _ = unroll(lstm, carried[0], jax.nn.one_hot(prompt[:-1], ASCII))
    said = decode.sample(step, carry, prompt[-1], key=jax.random.key(1), temperature=0.5, eos=ord("\n"), max_length=80)
    print(*("My father " + "".join(map(chr, line)).split("\n")[0] for line in said.tokens.T), sep="\n")
    return {("unigram", ""): unigram, **found}


if __name__ == "__main__":
    main()
