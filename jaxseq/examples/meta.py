"""Learn a start from which three gradient steps fit a new task (MAML): gradients through gradients.

    python -m jaxseq.examples.meta

A task is a filter, ``y_t = a x_{t-1} + b x_{t-2}``. The network sees only x: it learns a and b only from gradient
steps. The loss after these, on other x, is differentiated with respect to the weights and the carry before them, and to
the step size.
"""

from collections import namedtuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import unroll
from jaxseq.affine import Affine
from jaxseq.cells import gru

T, ROWS, H = 8, 8, 16
adam = optax.adam(1e-2)
Start = namedtuple("Start", "cell readout carry rate")
Start.__doc__ = "Weights of cell and readout, the carry before the first step, and the size of gradient steps."


def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return x and y ``[2, T, ROWS, 1]`` of one task: sequences to adapt to, and others to evaluate on."""
    of_task, of_x = jax.random.split(key)
    a, b = jax.random.normal(of_task, (2,))
    x = jax.random.normal(of_x, (2, T + 2, ROWS, 1))
    return x[:, 2:], a * x[:, 1:-1] + b * x[:, :-2]


def loss(start: Start, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the mean squared error on sequences of one task."""
    carry = jax.tree.map(lambda a: jnp.broadcast_to(a, (ROWS, H)), start.carry)
    return jnp.mean((start.readout(unroll(gru, start.cell, x, carry)[1]) - y) ** 2)


def after(start: Start, keys: jax.Array, steps: int) -> jax.Array:
    """Return the mean of the losses on new tasks, one for each key, after gradient steps on each."""

    def one(key: jax.Array) -> jax.Array:
        (x, y), adapted = draw(key), start
        for _ in range(steps):
            gradients = jax.grad(loss)(adapted, x[0], y[0])  # the gradient of the rate is 0
            adapted = jax.tree.map(lambda p, g: p - start.rate * g, adapted, gradients)
        return loss(adapted, x[1], y[1])

    return jax.vmap(one)(keys).mean()


def learn(start: Start, steps: int, updates: int) -> Start:
    """Return the best start for these gradient steps, found by differentiating through them."""

    def update(state: tuple, keys: jax.Array) -> tuple[tuple, None]:
        changes, moments = adam.update(jax.grad(after)(state[0], keys, steps), state[1])
        return (optax.apply_updates(state[0], changes), moments), None

    keys = jax.random.split(jax.random.key(2), (updates, 8))  # eight tasks for each update
    return jax.jit(lambda state: jax.lax.scan(update, state, keys))((start, adam.init(start)))[0][0]


def main(updates: int = 400, steps: int = 3) -> dict[str, float]:
    """Compare a learned start with the initial one on new tasks, and return the losses."""
    cell, readout = gru.init(jax.random.key(0), 1, H), Affine.init(jax.random.key(1), H, 1, jnp.float32)
    fresh = Start(cell, readout, gru.initial_carry(cell), jnp.float32(0.1))
    learned = learn(fresh, steps, updates)
    tasks = jax.random.split(jax.random.key(3), 200)
    loss_of = jax.jit(lambda start, steps: after(start, tasks, steps), static_argnums=1)
    by_rate = [loss_of(fresh._replace(rate=jnp.float32(rate)), steps) for rate in (0.03, 0.1, 0.2, 0.3)]
    found = {"fresh": min(map(float, by_rate)), "learned": float(loss_of(learned, steps))}
    print(f"mean squared error on 200 new tasks (variance 2), at the start and after {steps} gradient steps:")
    print(f"  fresh start, best of four rates {loss_of(fresh, 0):6.2f} -> {found['fresh']:.2f}")
    print(f"  learned start, rate {learned.rate:4.2f}        {loss_of(learned, 0):6.2f} -> {found['learned']:.2f}")
    return found


if __name__ == "__main__":
    main()
