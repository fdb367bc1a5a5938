"""What a user writes: `mypy --strict` must accept each line here but those that end in a comment with an error code."""

import jax
import jax.numpy as jnp

from jaxseq import Bidirectional, bidirectional, init_bidirectional, stack, trace, unroll
from jaxseq.cells import Cell, GRUCarry, LSTMCarry, LSTMGates, LSTMParams, gru, lstm
from jaxseq.recurrence import checkpointed


def loss(params: LSTMParams, xs: jax.Array, mask: jax.Array) -> jax.Array:
    carry, outs = unroll(lstm, params, xs, mask=mask, recurrence=checkpointed)
    return (carry.c**2).sum() + (outs**2).sum()


params = lstm.init(jax.random.key(0), 3, 5, forget_bias=0.0)
xs = jnp.ones((7, 2, 3))
carry, out = lstm.step(params, lstm.initial_carry(params, (2,)), xs[0])
cell: jax.Array = carry.c
end, seen = trace(lstm, params, xs)
forget: jax.Array = seen.gates.f
states: jax.Array = seen.carries.c
gru_carry: GRUCarry = unroll(gru, gru.init(jax.random.key(1), 3, 5), xs)[0]
both: Bidirectional = init_bidirectional(jax.random.key(2), gru, 3, 5)
last, outs = bidirectional(gru, both, xs)
deep = stack(lstm, gru)
deep_params = deep.init(jax.random.key(3), 3, (5, 4))
mine: Cell[LSTMParams, LSTMCarry, jax.Array, LSTMGates] = lstm
grads: LSTMParams = jax.grad(loss)(params, xs, jnp.ones((7, 2), bool))

carry.hh  # error: attr-defined
seen.gates.z  # error: attr-defined
lstm.init("no", "sizes", 5)  # error: arg-type arg-type
lstm.init(jax.random.key(0), "three", 5)  # error: arg-type
unroll(gru, params, xs)  # error: misc
unroll(lstm, params, xs, gru_carry)  # error: misc
unroll(lstm, params, xs, None, jnp.ones((7, 2), bool))  # error: call-arg
