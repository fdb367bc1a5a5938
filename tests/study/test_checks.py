"""The invariants of a study: they hold where the numbers are right, however sharp a loss is, and fail where not."""

import jax
import jax.numpy as jnp
import pytest

from jaxseq import unroll
from jaxseq.cells import rnn
from jaxseq.study import flow, step_jacobians
from jaxseq.study.checks import Run, gradient_by_differences, inputs_by_differences, jacobian_by_differences


@pytest.mark.parametrize("sharp", [1.0, 300.0])
def test_gradients_and_jacobians_are_judged_by_differences(sharp: float) -> None:
    params = rnn.init(jax.random.key(0), 2, 3, dtype=jnp.float64)
    params = params._replace(U=params.U * sharp**0.5)
    xs = jax.random.normal(jax.random.key(1), (3, 1, 2), jnp.float64) / sharp
    run = Run(rnn, params, xs, None, None)

    def loss(carry: object, outs: jax.Array) -> jax.Array:
        return jnp.sin(sharp * outs[-1]).sum()

    seen = flow(*run[:4], mask=run.mask, loss=loss)
    check = gradient_by_differences(loss, run, seen, "h", back=0)
    assert check.error <= check.tolerance
    wrong = seen._replace(norms={"h": 1.1 * seen.norms["h"]})
    check = gradient_by_differences(loss, run, wrong, "h", back=0)
    assert check.error > check.tolerance
    J, before = step_jacobians(*run[:4], at=[0])[0, 0], rnn.initial_carry(params, (1,))
    check = jacobian_by_differences(rnn, params, before, xs[0], J)
    assert check.error <= check.tolerance
    check = jacobian_by_differences(rnn, params, before, xs[0], 1.1 * J)
    assert check.error > check.tolerance


def test_gradients_in_float32_are_judged_in_float64() -> None:
    """A loss near 0 of a network that is sure of its words is so sharp that no step of float32 is small and exact."""
    params = rnn.init(jax.random.key(0), 2, 3, dtype=jnp.float32)
    run = Run(rnn, params, jax.random.normal(jax.random.key(1), (3, 1, 2), jnp.float32))

    def losses(outs: jax.Array) -> jax.Array:
        return jnp.sin(1e4 * outs[-1]).sum(-1)

    def loss(carry: object, outs: jax.Array) -> jax.Array:
        return losses(outs).sum()

    by_inputs = jax.grad(lambda xs: losses(unroll(rnn, params, xs)[1]).sum())(run.xs)
    seen = flow(*run[:4], mask=run.mask, loss=loss)
    for right in (True, False):
        size = jnp.float32(1.0 if right else 1.1)
        check = inputs_by_differences(losses, run, size * (by_inputs * run.xs).sum(-1))
        assert (check.error <= check.tolerance) == right
        wrong = seen._replace(norms={"h": size * seen.norms["h"]})
        check = gradient_by_differences(loss, run, wrong, "h", back=0)
        assert (check.error <= check.tolerance) == right
