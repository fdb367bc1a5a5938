"""Train an LSTM of ours as a layer of flax, with nnx and with linen, and compare both with `unroll`.

    python -m jaxseq.examples.in_flax

`as_nnx` and `as_linen` make a layer that is used like flax's own LSTMCell: flax runs it over time, stores its
parameters and trains them. The task is to name, at the end of a sequence, its first input.
"""

import jax
import jax.numpy as jnp
import optax

from jaxseq import unroll
from jaxseq.cells import lstm

try:
    from flax import linen, nnx
except ImportError as error:
    raise SystemExit("This example needs flax: pip install flax") from error
from jaxseq.interop.flax import as_linen, as_nnx, from_nnx

INPUTS, HIDDEN = 3, 16


class Recall(nnx.Module):
    """An LSTM of jaxseq in nnx.RNN, and a linear readout of its last output."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rnn = nnx.RNN(as_nnx(lstm)(INPUTS, HIDDEN, rngs=rngs))
        self.readout = nnx.Linear(HIDDEN, INPUTS, rngs=rngs)

    def __call__(self, xs: jax.Array) -> jax.Array:
        """Return a guess of the first input, ``[B, D]``, from ``xs [B, T, D]``: flax is batch-major."""
        return self.readout(self.rnn(xs)[:, -1])


def train_nnx(xs: jax.Array, steps: int) -> tuple[Recall, list[float]]:
    """Return the trained model and the loss before each step."""
    model = Recall(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)

    @nnx.jit
    def step(model: Recall, optimizer: nnx.Optimizer) -> jax.Array:
        loss, grads = nnx.value_and_grad(lambda model: jnp.mean((model(xs) - xs[:, 0]) ** 2))(model)
        optimizer.update(model, grads)
        return loss

    return model, [float(step(model, optimizer)) for _ in range(steps)]


def main(steps: int = 300) -> dict[str, float]:
    """Train by nnx, move the weights to linen and to `unroll`, and return the printed numbers."""
    xs = jax.random.normal(jax.random.key(1), (32, 6, INPUTS))
    model, losses = train_nnx(xs, steps)
    outs = model.rnn(xs)

    _, params = from_nnx(model.rnn)  # as our cell takes them; unroll is time-major
    _, ours = unroll(lstm, params, jnp.swapaxes(xs, 0, 1))

    layer = linen.RNN(as_linen(lstm)(HIDDEN))
    variables = {"params": {"cell": params._asdict()}}  # linen stores them in a dict, under the same names

    found = {
        "first": losses[0],
        "last": losses[-1],
        "nnx": float(abs(outs - jnp.swapaxes(ours, 0, 1)).max()),
        "linen": float(abs(outs - layer.apply(variables, xs)).max()),
    }
    print(f"an LSTM in nnx.RNN: loss {found['first']:.3f} before training, {found['last']:.5f} after {steps} steps")
    print(f"largest difference of its outputs from unroll {found['nnx']:.1e}, from linen's nn.RNN {found['linen']:.1e}")
    return found


if __name__ == "__main__":
    main()
