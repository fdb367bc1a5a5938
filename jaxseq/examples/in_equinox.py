"""Train a GRU of ours as a module of equinox, and compare it with `unroll`.

    python -m jaxseq.examples.in_equinox

`as_equinox` makes a module that is called like equinox's own GRUCell: one step of one example, ``(x, hidden)``. The
time loop is `jax.lax.scan`, the batch `jax.vmap`. The task is to say whether the sum of a sequence is above zero.
"""

import jax
import jax.numpy as jnp
import optax

from jaxseq import unroll
from jaxseq.cells import gru

try:
    import equinox as eqx
except ImportError as error:
    raise SystemExit("This example needs equinox: pip install equinox") from error
from jaxseq.interop.equinox import as_equinox
from jaxseq.interop.layers.equinox import EquinoxCell


class Classifier(eqx.Module):
    """A GRU of jaxseq, and a linear readout of its last output."""

    cell: EquinoxCell
    readout: eqx.nn.Linear

    def __init__(self, inputs: int, hidden: int, *, key: jax.Array) -> None:
        keys = jax.random.split(key)
        self.cell = as_equinox(gru)(inputs, hidden, key=keys[0])
        self.readout = eqx.nn.Linear(hidden, 1, key=keys[1])

    def outputs(self, xs: jax.Array) -> jax.Array:
        """Return the cell's outputs ``[T, H]`` over ``xs [T, D]``."""
        _, outs = jax.lax.scan(lambda hidden, x: self.cell(x, hidden), self.cell.initial_state(), xs)
        return outs

    def __call__(self, xs: jax.Array) -> jax.Array:
        """Return the logit of "above zero" for ``xs [T, D]``."""
        return self.readout(self.outputs(xs)[-1])[0]


def loss_of(model: Classifier, xs: jax.Array) -> jax.Array:
    """Return the cross entropy over a batch ``[B, T, D]``."""
    return optax.sigmoid_binary_cross_entropy(jax.vmap(model)(xs), xs.sum((1, 2)) > 0).mean()


def main(steps: int = 200) -> dict[str, float]:
    """Train, compare with `unroll`, and return the printed numbers."""
    model = Classifier(2, 16, key=jax.random.key(0))
    optimizer = optax.adam(0.02)
    state = optimizer.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model: Classifier, state: optax.OptState, key: jax.Array) -> tuple[Classifier, optax.OptState, jax.Array]:
        loss, grads = eqx.filter_value_and_grad(loss_of)(model, jax.random.normal(key, (64, 10, 2)))
        updates, state = optimizer.update(grads, state)
        return eqx.apply_updates(model, updates), state, loss

    losses = []
    for key in jax.random.split(jax.random.key(1), steps):
        model, state, loss = step(model, state, key)
        losses.append(float(loss))

    xs = jax.random.normal(jax.random.key(2), (500, 10, 2))
    _, ours = unroll(gru, model.cell.params, jnp.swapaxes(xs, 0, 1))  # time-major: the batch needs no vmap
    found = {
        "right": float(((jax.vmap(model)(xs) > 0) == (xs.sum((1, 2)) > 0)).mean()),
        "difference": float(abs(jax.vmap(model.outputs)(xs) - jnp.swapaxes(ours, 0, 1)).max()),
    }
    print(f"a GRU in an equinox.Module: loss {losses[0]:.3f} before training, {losses[-1]:.3f} after {steps} steps")
    print(f"right on {found['right']:.1%} of 500 new sequences")
    print(f"largest difference of its outputs from unroll {found['difference']:.1e}")
    return found


if __name__ == "__main__":
    main()
