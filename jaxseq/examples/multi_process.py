"""Train in two processes, each with half the batch, and compare with one process.

    python -m jaxseq.examples.multi_process

Without arguments it starts two copies of itself, which connect by `jax.distributed`, as they would on two machines.
Each creates only its own rows; the mesh spans both, and XLA sums the gradients of the two halves. If one is killed, the
other ends as well, and the program says so.
"""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from jaxseq import unroll
from jaxseq.cells import RNNParams, rnn

PROCESSES, SECONDS = 2, 60


def rows(process: int) -> np.ndarray:
    """Return a process's part of the batch, random walks ``[T, B / 2, 2]``."""
    return 0.1 * np.random.default_rng(process).standard_normal((20, 8, 2), np.float32).cumsum(axis=0)


@jax.jit
def train(params: RNNParams, xs: jax.Array) -> tuple[RNNParams, jax.Array]:
    """Take one gradient step: the first two units predict the next input of ``xs [T, B, 2]``."""

    def loss_of(params: RNNParams) -> jax.Array:
        return ((unroll(rnn, params, xs[:-1])[1][..., :2] - xs[1:]) ** 2).mean()

    loss, grads = jax.value_and_grad(loss_of)(params)
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), loss


def several(params: RNNParams, xs: jax.Array | np.ndarray, steps: int) -> list[list[float]]:
    """Return the loss of each step, and the final U, flattened."""
    losses = []
    for _ in range(steps):
        params, loss = train(params, xs)
        losses.append(float(loss))
    return [losses, np.asarray(params.U).ravel().tolist()]


def worker(process: int, port: int, steps: int) -> None:
    """Run as one of the processes: train with the others, and print the result as JSON, after gloo's banner."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", PROCESSES, process, initialization_timeout=SECONDS)
    mesh = jax.make_mesh((PROCESSES,), ("data",), axis_types=(AxisType.Auto,))
    xs = jax.make_array_from_process_local_data(NamedSharding(mesh, P(None, "data")), rows(process))
    params = jax.device_put(rnn.init(jax.random.key(0), 2, 8), NamedSharding(mesh, P()))
    try:
        print(json.dumps(several(params, xs, steps)))
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # jax raises either when a connection breaks
        print(f"process {process}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        os._exit(1)  # sys.exit would wait minutes for the dead process


def main(steps: int = 100) -> tuple[list, ...]:
    """Train in two processes and in this one; return the losses and U of each, this one first."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", __spec__.name]
    arguments = [[str(process), str(port), str(steps)] for process in range(PROCESSES)]
    children = [subprocess.Popen(command + a, stdout=subprocess.PIPE, text=True) for a in arguments]
    try:
        said = [child.communicate(timeout=SECONDS)[0] for child in children]
    except subprocess.TimeoutExpired:
        sys.exit(f"a process has not ended after {SECONDS} s")
    finally:
        for child in children:
            child.kill()  # no effect on one that has ended
    if failed := [f"process {n} ended with status {c.returncode}" for n, c in enumerate(children) if c.returncode]:
        sys.exit(f"{', '.join(failed)}; start the example again")
    together = [json.loads(lines.splitlines()[-1]) for lines in said]
    alone = several(rnn.init(jax.random.key(0), 2, 8), np.concatenate([rows(0), rows(1)], axis=1), steps)

    print(f"loss {alone[0][0]:.6f} before training, after {steps} steps in one process {alone[0][-1]:.6f}")
    for i, (losses, U) in enumerate(together):
        print(f"process {i}: {losses[-1]:.6f}, U differs by {np.abs(np.subtract(U, alone[1])).max():.1e}")
    return (alone, *together)


if __name__ == "__main__":
    worker(*map(int, sys.argv[1:])) if len(sys.argv) > 1 else main()
