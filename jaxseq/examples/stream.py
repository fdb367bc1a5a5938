"""Step through a stream, batch 1, with a jitted step that updates its carry in place, and time it.

    python -m jaxseq.examples.stream

A sensor, a microphone or a game sends one input at a time and needs the answer before the next, so the cell is stepped
instead of unrolled. Donating the carry lets XLA write the new state into the memory of the old one, which can no longer
be read afterwards.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import unroll
from jaxseq.cells import lstm

step = jax.jit(lstm.step, donate_argnums=1)
"""``(params, carry, x [1, D]) -> (carry, out [1, H])``, where the new carry reuses the memory of the old one."""


def stream(step: Callable, params: Any, inputs: np.ndarray) -> tuple[jax.Array, list[float]]:
    """Feed the inputs ``[T, 1, D]`` one at a time; return the outputs ``[T, 1, H]`` and the seconds of each step."""
    carry = lstm.initial_carry(params, (1,))
    outs, seconds = [], []
    for x in inputs:
        start = time.perf_counter()
        carry, out = step(params, carry, x)
        out.block_until_ready()  # wait: JAX returns before the work is done
        seconds.append(time.perf_counter() - start)
        outs.append(out)
    return jnp.stack(outs), seconds


def addresses(carry: Any) -> set[int]:
    """Return the memory addresses of the carry's arrays."""
    return {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(carry)}


def main(steps: int = 2000, eager_steps: int = 50, inputs: int = 16, hidden: int = 64) -> dict[str, float]:
    """Time both ways, compare with `unroll`, and return the printed numbers."""
    params = lstm.init(jax.random.key(0), inputs, hidden)
    xs = np.random.default_rng(0).standard_normal((steps, 1, inputs), np.float32)  # NumPy, like data from outside
    stream(step, params, xs[:2])  # compiles

    outs, seconds = stream(step, params, xs)
    _, eager_seconds = stream(lstm.step, params, xs[:eager_steps])
    _, at_once = unroll(lstm, params, xs)

    carry, _ = step(params, lstm.initial_carry(params, (1,)), xs[0])
    before = addresses(carry)
    carry, _ = step(params, carry, xs[1])

    found = {
        "jitted": 1e6 * median(seconds),
        "eager": 1e6 * median(eager_seconds),
        "difference": float(jnp.abs(outs - at_once).max()),
        "in_place": addresses(carry) == before,
    }
    print(f"LSTM, batch 1, D = {inputs}, H = {hidden}, {steps} steps; microseconds a step, median:")
    print(f"  jitted, carry donated {found['jitted']:8.0f}")
    print(f"  eager                 {found['eager']:8.0f}")
    print(f"largest difference from unroll: {found['difference']:.1e}")
    print(f"the new carry is in the memory of the old one: {'yes' if found['in_place'] else 'no'}")
    return found


if __name__ == "__main__":
    main()
