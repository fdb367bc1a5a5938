"""Save a training run with orbax, restore it, and go on bit for bit.

    python -m jaxseq.examples.orbax_checkpoint

Parameters, optimizer state and carry are pytrees of arrays, so orbax stores them directly. To restore them it needs a
tree of shapes and dtypes, which `jax.eval_shape` gives without computing anything. The model predicts the next value of
sine waves in chunks of 20 steps, and passes the carry on from chunk to chunk.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import unroll
from jaxseq.cells import lstm

try:
    import orbax.checkpoint as ocp
except ImportError as error:
    raise SystemExit("This example needs orbax: pip install orbax-checkpoint") from error

CHUNK, BATCH, HIDDEN = 20, 8, 16
optimizer = optax.adam(0.003)


class Run(NamedTuple):
    """Everything that the next step depends on."""

    params: Any
    opt_state: optax.OptState
    carry: Any
    step: jax.Array


def start() -> Run:
    """Return a run before its first step."""
    params: dict[str, Any] = {"cell": lstm.init(jax.random.key(0), 1, HIDDEN), "out": jnp.zeros((HIDDEN, 1))}
    return Run(params, optimizer.init(params), lstm.initial_carry(params["cell"], (BATCH,)), jnp.int32(0))


@jax.jit
def train(run: Run) -> tuple[Run, jax.Array]:
    """Take one train step on the next chunk of 8 sine waves; return the run after it, and its loss."""
    xs = jnp.sin(0.3 * (run.step * CHUNK + jnp.arange(CHUNK + 1)[:, None, None]) + jnp.arange(BATCH)[:, None])

    def loss_of(params: Any) -> tuple[jax.Array, Any]:
        carry, outs = unroll(lstm, params["cell"], xs[:-1], run.carry)
        return jnp.mean((outs @ params["out"] - xs[1:]) ** 2), carry

    (loss, carry), grads = jax.value_and_grad(loss_of, has_aux=True)(run.params)
    updates, opt_state = optimizer.update(grads, run.opt_state)
    return Run(optax.apply_updates(run.params, updates), opt_state, carry, run.step + 1), loss


def main(steps: int = 50) -> dict[str, float]:
    """Train, save, restore, continue both, and return the printed numbers."""
    run = start()
    for _ in range(steps):
        run, before = train(run)

    with tempfile.TemporaryDirectory() as folder, ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(folder) / "run", run)
        checkpointer.wait_until_finished()  # wait: orbax writes in the background
        restored = checkpointer.restore(Path(folder) / "run", jax.eval_shape(start))

    for _ in range(steps):
        run, after = train(run)
        restored, again = train(restored)
    differing = sum(bool((a != b).any()) for a, b in zip(jax.tree.leaves(run), jax.tree.leaves(restored), strict=True))
    print(f"saved and restored {len(jax.tree.leaves(run))} arrays at step {steps}, loss {before:.4f}")
    print(f"step {2 * steps}: loss {after:.8f}, of the restored run {again:.8f}; arrays that differ: {differing}")
    return {"before": float(before), "after": float(after), "again": float(again), "differing": differing}


if __name__ == "__main__":
    main()
