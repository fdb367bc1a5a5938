"""Train an LSTM of ours as a core of haiku, reset where an episode ends, and compare it with `unroll`.

    python -m jaxseq.examples.in_haiku

`as_haiku` makes an RNNCore: it runs in hk.dynamic_unroll, and in wrappers such as hk.ResetCore. Several sequences are
packed in each row; the task is to say at each step how many steps ago the sequence began, which needs the resets.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxseq import unroll
from jaxseq.cells import lstm

try:
    import haiku as hk
except ImportError as error:
    raise SystemExit("This example needs haiku: pip install dm-haiku") from error
from jaxseq.interop.haiku import as_haiku

HIDDEN = 16


def network(xs: jax.Array, starts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a guess ``[T, B]`` of the steps since a start, and the core's outputs, ``[T, B, H]``."""
    core = hk.ResetCore(as_haiku(lstm)(HIDDEN))
    outs, _ = hk.dynamic_unroll(core, (xs, starts), core.initial_state(xs.shape[1]))
    return hk.Linear(1)(outs)[..., 0], outs


def ages(starts: jax.Array) -> jax.Array:
    """Return the number of steps since the latest start, ``[T, B]``, divided by 10."""
    t = jnp.arange(len(starts))[:, None]
    return (t - jax.lax.cummax(jnp.where(starts, t, 0))) / 10


def main(steps: int = 300) -> dict[str, float]:
    """Train, compare with `unroll`, and return the printed numbers."""
    xs = jnp.ones((20, 16, 1))
    starts = jax.random.bernoulli(jax.random.key(1), 0.15, xs.shape[:2]).at[0].set(True)
    model: Any = hk.without_apply_rng(hk.transform(network))
    params = model.init(jax.random.key(0), xs, starts)
    optimizer = optax.adam(0.01)
    state = optimizer.init(params)

    @jax.jit
    def step(params: hk.Params, state: optax.OptState) -> tuple[hk.Params, optax.OptState, jax.Array]:
        def loss_of(params: hk.Params) -> jax.Array:
            return jnp.mean((model.apply(params, xs, starts)[0] - ages(starts)) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    losses = []
    for _ in range(steps):
        params, state, loss = step(params, state)
        losses.append(float(loss))

    own = lstm.params_type(**params["lstm"])  # haiku stores them in a dict, under our names
    _, ours = unroll(lstm, own, xs, resets=starts)
    found = {
        "first": losses[0],
        "last": losses[-1],
        "difference": float(abs(model.apply(params, xs, starts)[1] - ours).max()),
    }
    print(f"an LSTM in hk.dynamic_unroll: loss {losses[0]:.3f} before training, {losses[-1]:.5f} after {steps} steps")
    print(f"largest difference of its outputs from unroll with resets {found['difference']:.1e}")
    return found


if __name__ == "__main__":
    main()
