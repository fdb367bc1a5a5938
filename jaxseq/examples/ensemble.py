"""Train 32 networks at 32 learning rates in one program, with vmap, and print the best.

    python -m jaxseq.examples.ensemble

`train` is written for one network. `jax.vmap` makes it train any number of them, each with its own weights, data and
learning rate: a matrix product of one network becomes a batched product of all.
"""

import time

import jax
import jax.numpy as jnp
import optax

from jaxseq import problems, unroll
from jaxseq.affine import Affine
from jaxseq.cells import gru

problem = problems.adding(12)  # add two marked numbers among twelve


def loss(params: tuple, batch: problems.Batch) -> jax.Array:
    """Return the mean squared error of one network on a batch."""
    _, outs = unroll(gru, params[0], batch.xs)
    return problem.loss(params[1](outs), batch)


def train(key: jax.Array, learning_rate: jax.Array, steps: int, hidden: int = 24) -> jax.Array:
    """Train one network and return its error on new data, []."""
    of_cell, of_readout, of_test, of_data = jax.random.split(key, 4)
    params = (
        gru.init(of_cell, problem.input_size, hidden),
        Affine.init(of_readout, hidden, problem.output_size, jnp.float32),
    )
    adam = optax.adam(learning_rate)  # built here, since the learning rate is an argument

    def update(state: tuple, key: jax.Array) -> tuple[tuple, None]:
        params, moments = state
        changes, moments = adam.update(jax.grad(loss)(params, problem.draw(key, 32)), moments)
        return (optax.apply_updates(params, changes), moments), None

    (params, _), _ = jax.lax.scan(update, (params, adam.init(params)), jax.random.split(of_data, steps))
    return loss(params, problem.draw(of_test, 256))


def main(networks: int = 32, steps: int = 300) -> dict[str, jax.Array]:
    """Train the networks, and return their learning rates and errors."""
    rates = jnp.geomspace(1e-4, 1.0, networks)
    keys = jax.random.split(jax.random.key(0), networks)
    start = time.perf_counter()
    errors = jax.jit(jax.vmap(lambda key, rate: train(key, rate, steps)))(keys, rates).block_until_ready()
    seconds = time.perf_counter() - start

    errors = jnp.where(jnp.isfinite(errors), errors, jnp.inf)  # NaN if the learning rate is too high
    best = errors.argmin()
    print(f"{networks} networks on {problem.name}, {steps} steps each: {seconds:.0f} s with compilation")
    print("  learning rate   squared error")
    for n in range(0, networks, max(1, networks // 8)):
        print(f"  {rates[n]:13.5f}   {errors[n]:.5f}")
    print(f"best: {errors[best]:.5f} at {rates[best]:.5f}; always answering 1 has {problem.baseline:.5f}")
    return {"rates": rates, "errors": errors}


if __name__ == "__main__":
    main()
