"""Learn from an endless stream, an update at every step, in memory that does not grow.

    python -m jaxseq.examples.online

A number comes with a mark, four others follow, and then the network must output the first. Only that step has a loss,
so the network must learn to keep the number over five steps. `jaxseq.online` propagates the derivative of the state
with respect to the parameters along with the state. Without it, each update sees one step: truncated backpropagation of
length 1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxseq import online
from jaxseq.cells import para_gru

PERIOD = 6
"""Steps from one mark to the next; the number is due at the last of them."""


class Learning(NamedTuple):
    """The state between two steps; its size does not grow with the stream."""

    params: Any
    moments: Any
    state: online.State
    wanted: jax.Array


def stream(t: jax.Array, rows: int) -> jax.Array:
    """Return the inputs of a step, ``[B, 3]``: a number that is 1 or -1, the mark, and whether an answer is due."""
    number = jax.random.rademacher(jax.random.fold_in(jax.random.key(1), t), (rows, 1), jnp.float32)
    phase = jnp.array([t % PERIOD == 0, t % PERIOD == PERIOD - 1], jnp.float32)
    return jnp.concatenate([number, jnp.broadcast_to(phase, (rows, 2))], -1)


def learn(steps: int, rows: int, hidden: int, *, truncated: bool, rate: float = 0.02) -> jax.Array:
    """Return the squared errors of the answers ``[steps // PERIOD]``, in the order of the stream."""
    optimizer = optax.adam(rate)
    params = para_gru.init(jax.random.key(0), 3, hidden), 0.1 * jax.random.normal(jax.random.key(2), (hidden,))
    start = online.start(para_gru, params[0], stream(jnp.array(0), rows))

    def update(now: Learning, t: jax.Array) -> tuple[Learning, jax.Array]:
        x, state = stream(t, rows), now.state
        if truncated:  # treat the state as independent of the parameters
            state = state._replace(known=jax.tree.map(jnp.zeros_like, state.known))
        state, out, gradient = online.step(para_gru, now.params[0], state, x)
        wanted = jnp.where(x[:, 1] > 0, x[:, 0], now.wanted)
        error = lambda w, out: jnp.mean(x[:, 2] * (out @ w - wanted) ** 2)  # noqa: E731
        loss, (by_w, by_out) = jax.value_and_grad(error, (0, 1))(now.params[1], out)
        changes, moments = optimizer.update((gradient(by_out), by_w), now.moments)
        return Learning(optax.apply_updates(now.params, changes), moments, state, wanted), loss

    begin = Learning(params, optimizer.init(params), start, jnp.zeros(rows))
    losses = jax.jit(lambda now: lax.scan(update, now, jnp.arange(steps)))(begin)[1]
    return losses[PERIOD - 1 :: PERIOD]


def main(steps: int = 6000, rows: int = 16, hidden: int = 8) -> dict[str, list[float]]:
    """Learn both ways; print and return the mean squared error in each sixth of the stream."""
    found = {}
    for name, truncated in (("online", False), ("one step", True)):
        losses = learn(steps, rows, hidden, truncated=truncated)
        found[name] = [float(part.mean()) for part in jnp.array_split(losses, 6)]
    print(f"squared error of an answer to ±1, in sixths of {steps} steps (an answer of 0 has 1):")
    for name, errors in found.items():
        print(f"  {name:<10}" + "".join(f"{error:8.3f}" for error in errors))
    return found


if __name__ == "__main__":
    main()
