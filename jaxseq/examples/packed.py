"""Pack several documents into a row, with resets where they begin; compare with each run alone.

    python -m jaxseq.examples.packed

With documents of different lengths, one per row, half of a batch is padding. Packed one after the other, they fill the
rows. `resets` marks where each begins: the carry is the initial one before that step, so nothing leaks from one
document into the next, neither values nor gradients.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import shipped, unroll
from jaxseq.affine import Affine
from jaxseq.cells import lstm
from jaxseq.losses import cross_entropy

ASCII = 128


def sentences(count: int) -> list[np.ndarray]:
    """Return sentences from all over the shipped corpus, with a newline at both ends, as character ids."""
    lines = shipped.find("zh-en.tsv").read_text(encoding="utf-8").splitlines()
    english = [line.split("\t")[0] for line in lines[:: len(lines) // count]]
    return [np.frombuffer(b"\n" + line.encode("ascii") + b"\n", np.uint8).astype(np.int32) for line in english[:count]]


def pack(documents: list[np.ndarray], T: int) -> tuple[np.ndarray, ...]:
    """Return inputs, targets, mask and resets ``[T, B]``, each document in the first row with room for it."""
    inputs, targets, mask, resets = np.zeros((4, T, len(documents)), np.int32)  # more rows than needed
    filled = np.zeros(len(documents), int)
    for document in sorted(documents, key=len, reverse=True):
        steps = len(document) - 1  # each character but the last is an input, each but the first a target
        b = int(np.argmax(filled + steps <= T))
        here = slice(filled[b], filled[b] + steps)
        inputs[here, b], targets[here, b], mask[here, b], resets[filled[b], b] = document[:-1], document[1:], 1, 1
        filled[b] += steps
    return tuple(a[:, filled > 0] for a in (inputs, targets, mask == 1, resets == 1))


@jax.jit
def loss_and_gradients(params: Any, inputs: Any, targets: Any, mask: Any = None, resets: Any = None) -> tuple[Any, Any]:
    """Return the summed loss of all next characters, and its gradients."""

    def loss(params: Any) -> jax.Array:
        _, outs = unroll(lstm, params[0], jax.nn.one_hot(inputs, ASCII), mask=mask, resets=resets)
        return jnp.sum(cross_entropy(params[1](outs), targets), where=mask)

    return jax.value_and_grad(loss)(params)


def difference(got: Any, want: Any) -> float:
    """Return the worst difference of losses and gradients, relative to the largest entry of each array."""
    apart = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max() / jnp.abs(b).max()), got, want)
    return max(jax.tree.leaves(apart))


def main(count: int = 16, T: int = 96, hidden: int = 64) -> dict[str, float]:
    """Run the documents packed and separately, and return the printed numbers."""
    documents = sentences(count)
    keys = jax.random.split(jax.random.key(0))
    params = (lstm.init(keys[0], ASCII, hidden), Affine.init(keys[1], hidden, ASCII, jnp.float32))
    inputs, targets, mask, resets = pack(documents, T)
    alone = [loss_and_gradients(params, document[:-1], document[1:]) for document in documents]
    want = jax.tree.map(lambda *each: sum(each), *alone)
    with_resets = difference(loss_and_gradients(params, inputs, targets, mask, resets), want)
    without = difference(loss_and_gradients(params, inputs, targets, mask), want)
    padded = count * max(len(document) - 1 for document in documents)
    print(f"{count} documents have {mask.sum()} steps: {mask.size} in rows when packed, {padded} with one in each row")
    print("worst relative difference of loss and gradients from the documents run alone:")
    print(f"  with resets {with_resets:.1e}, without {without:.1e}")
    return {"with": with_resets, "without": without, "saved": 1 - mask.size / padded}


if __name__ == "__main__":
    main()
