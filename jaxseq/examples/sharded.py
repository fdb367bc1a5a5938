"""Train on 8 devices, the batch and the weights both sharded, and compare with one device.

    python -m jaxseq.examples.sharded

The mesh is 4 x 2. The batch is split in 4 (data parallel); W, U and the biases are split in 2 by columns, and the
readout by rows (tensor parallel). The mesh axes are Auto: from the shardings of parameters and data, XLA infers all
others and the communication. The model code is unchanged.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from jaxseq import unroll
from jaxseq.cells import gru

INPUTS, HIDDEN = 8, 32
optimizer = optax.adam(0.01)


def start() -> dict[str, Any]:
    """Return new parameters of the cell and a linear readout."""
    return {"cell": gru.init(jax.random.key(0), INPUTS, HIDDEN), "out": jnp.zeros((HIDDEN, INPUTS))}


@jax.jit
def train(params: Any, state: optax.OptState, xs: jax.Array) -> tuple[Any, optax.OptState, jax.Array]:
    """Take one train step, to predict the next input of ``xs [T, B, D]``."""

    def loss_of(params: Any) -> jax.Array:
        _, outs = unroll(gru, params["cell"], xs[:-1])
        return jnp.mean((outs @ params["out"] - xs[1:]) ** 2)

    loss, grads = jax.value_and_grad(loss_of)(params)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state, loss


def several(params: Any, xs: jax.Array, steps: int) -> tuple[Any, jax.Array]:
    """Return the parameters after some steps, and the last loss."""
    state = optimizer.init(params)  # sharded like the parameters
    for _ in range(steps):
        params, state, loss = train(params, state, xs)
        loss.block_until_ready()  # with fewer cores than devices, two steps in flight may deadlock
    return params, loss


def main(steps: int = 50) -> dict[str, float]:
    """Train on one device and on all, and return the printed numbers."""
    xs = jnp.cumsum(0.1 * jax.random.normal(jax.random.key(1), (20, 32, INPUTS)), axis=0)
    alone, loss = several(start(), xs, steps)

    mesh = jax.make_mesh((jax.device_count() // 2, 2), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
    columns = jax.tree.map(lambda a: P(*[None] * (a.ndim - 1), "model"), start()["cell"])
    places = jax.tree.map(partial(NamedSharding, mesh), {"cell": columns, "out": P("model", None)})
    xs = jax.device_put(xs, NamedSharding(mesh, P(None, "data")))
    params, sharded_loss = several(jax.device_put(start(), places), xs, steps)

    found = {
        "first": float((xs[1:] ** 2).mean()),  # the loss with a readout of zeros
        "last": float(loss),
        "difference": max(float(abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (alone, params)), strict=True)),
        "parts": len({str(shard.index) for shard in params["cell"].U.addressable_shards}),
    }
    print(f"loss {found['first']:.6f} before training, {steps} steps later {loss:.6f}, on the mesh {sharded_loss:.6f}")
    print(f"largest difference of any parameter: {found['difference']:.1e}")
    print("array shape        on a device")
    for name, a in {**params["cell"]._asdict(), "out": params["out"], "xs": xs}.items():
        print(f"{name:<6}{a.shape!s:<13}{a.sharding.shard_shape(a.shape)!s:<13}{a.sharding.spec}")
    return found


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    main()
