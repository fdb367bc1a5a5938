"""Cells inside other people's code: what optax, equinox, orbax, flax, chex, checkify and diffrax make of them.

Each number is compared with a Python loop of `step`, and an optimizer's with its formula.
"""

from functools import partial

import chex
import diffrax
import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import serialization
from flax.training.train_state import TrainState
from jax.experimental import checkify
from jax.flatten_util import ravel_pytree
from problem import random

from jaxseq import CELLS, Cell, decode, interventions, stack, trace, unroll
from jaxseq.cells import GRUCarry, gru, lstm, rnn
from jaxseq.cells._parts import Hidden
from jaxseq.notation import Params
from jaxseq.recurrence import EXACT, scan
from jaxseq.testing import assert_close
from jaxseq.trees import leaves_by_path

T, B, D, H = 3, 4, 3, 5
XS, TARGETS = random(1, T, B, D), random(2, T, B, H)
CELL = stack(lstm, gru)
PARAMS = CELL.init(jax.random.key(0), D, H, dtype=jnp.float64)


def loop(cell, params, xs=XS, carry=None):
    carry = cell.initial_carry(params, xs.shape[1:-1]) if carry is None else carry
    outs = []
    for x in xs:
        carry, out = cell.step(params, carry, x)
        outs.append(out)
    return carry, jnp.stack(outs)


def loss(params, first=0, last=B, *, run=unroll, cell=CELL, **how):
    """Of some rows of the batch."""
    return jnp.mean((run(cell, params, XS[:, first:last], **how)[1] - TARGETS[:, first:last]) ** 2)


plain_loss = partial(loss, run=loop)
plain_grad = jax.jit(jax.grad(plain_loss), static_argnums=(1, 2))
plain_outs = jax.jit(lambda cell, params: loop(cell, params)[1], static_argnums=0)


def down(rate, params, grads):
    return jax.tree.map(lambda p, g: p - rate * g, params, grads)


def train(optimizer, steps, rows=((0, B),)):
    """Take steps of an optimizer, all in one jit, and return the parameters and its state."""

    @jax.jit
    def all_steps(params):
        state = optimizer.init(params)
        for step in range(steps):
            updates, state = optimizer.update(jax.grad(loss)(params, *rows[step % len(rows)]), state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    return all_steps(PARAMS)


class TestOptax:
    def test_multi_steps_is_one_step_of_the_mean_gradient(self):
        halves = (0, 2), (2, 4)
        optimizer = optax.MultiSteps(optax.sgd(0.5), every_k_schedule=2)
        assert_close("half-way", train(optimizer, 1, halves)[0], PARAMS, 0.0)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *(plain_grad(PARAMS, *half) for half in halves))
        assert_close("params", train(optimizer, 2, halves)[0], down(0.5, PARAMS, mean), 1e-7)

    def test_masked_decays_only_matrices(self):
        matrices = jax.tree.map(lambda p: p.ndim == 2, PARAMS)
        optimizer = optax.chain(optax.masked(optax.add_decayed_weights(0.1), matrices), optax.sgd(0.5))
        decayed = jax.tree.map(lambda g, p, yes: g + 0.1 * p * yes, plain_grad(PARAMS), PARAMS, matrices)
        assert_close("params", train(optimizer, 1)[0], down(0.5, PARAMS, decayed))

    def test_multi_transform_by_layers_of_a_stack(self):
        rules = {"frozen": optax.set_to_zero(), "trained": optax.sgd(0.5)}
        params, _ = train(optax.multi_transform(rules, ("frozen", "trained")), 1)
        assert_close("first layer", params[0], PARAMS[0], 0.0)
        assert_close("second layer", params[1], down(0.5, PARAMS[1], plain_grad(PARAMS)[1]))

    def test_schedule_free_is_the_papers(self):
        """Defazio et al. 2024, arXiv:2405.15682, eqs. 4-6, at a constant rate: x is the mean of all z."""
        rate, beta, steps = 0.5, 0.9, 4
        params, state = train(optax.contrib.schedule_free(optax.sgd(rate), rate, b1=beta), steps)
        x = z = y = PARAMS
        for t in range(1, steps + 1):
            z = down(rate, z, plain_grad(y))
            x = jax.tree.map(lambda x, z, t=t: x + (z - x) / t, x, z)
            y = jax.tree.map(lambda x, z: beta * x + (1 - beta) * z, x, z)
        assert_close("where it takes gradients", params, y, 1e-6)  # optax counts in float32
        assert_close("what it returns", optax.contrib.schedule_free_eval_params(state, params), x, 1e-6)

    def test_lbfgs_with_its_line_search(self):
        """The same steps as with the loop's loss; the line search looks several times in each."""

        start = rnn.init(jax.random.key(0), D, H, dtype=jnp.float64)
        optimizer = optax.lbfgs()

        def several(run, steps=3):
            f = partial(loss, run=run, cell=rnn)

            @jax.jit
            def step(params, state):
                value, grad = optax.value_and_grad_from_state(f)(params, state=state)
                updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=f)
                return optax.apply_updates(params, updates), state

            params, state = start, optimizer.init(start)
            for _ in range(steps):
                params, state = step(params, state)
            return params

        params = several(unroll)
        assert_close("params", params, several(loop), 1e-7)
        assert loss(params, cell=rnn) < 0.9 * loss(start, cell=rnn)


class Model(equinox.Module):
    """A cell and its parameters side by side: to equinox the cell is a leaf that is not an array."""

    cell: Cell
    params: Params

    def __call__(self, xs):
        return unroll(self.cell, self.params, xs)[1]


class TestEquinox:
    def test_filter_jit_and_filter_grad_of_a_module_that_holds_a_cell(self):
        traces = []

        @equinox.filter_jit
        def value_and_grad(model):
            traces.append(model)
            return equinox.filter_value_and_grad(lambda model: jnp.mean((model(XS) - TARGETS) ** 2))(model)

        for cell in (CELL, stack(lstm, gru)):  # equal, and so compiled once
            value, grads = value_and_grad(Model(cell, PARAMS))
            assert_close("value", value, plain_loss(PARAMS))
            assert_close("grads", grads.params, plain_grad(PARAMS))
        assert len(traces) == 1

    def test_filter_vmap_makes_and_runs_an_ensemble(self):
        keys = jax.random.split(jax.random.key(0), 3)
        make = lambda key: Model(gru, gru.init(key, D, H, dtype=jnp.float64))  # noqa: E731
        models = equinox.filter_vmap(make)(keys)
        outs = equinox.filter_vmap(lambda model, xs: model(xs), in_axes=(equinox.if_array(0), None))(models, XS)
        for key, out in zip(keys, outs, strict=True):
            assert_close("outs", out, plain_outs(gru, make(key).params))

    def test_filter_jit_is_told_to_make_a_cell_that_holds_an_array_itself(self):
        params, half = lstm.init(jax.random.key(0), D, H, dtype=jnp.float64), jnp.full(H, 0.5)
        with pytest.raises(ValueError, match="make it inside the function that is compiled"):
            equinox.filter_jit(lambda cell: unroll(cell, params, XS))(interventions.clamp(lstm, f=half))
        outs = equinox.filter_jit(lambda half: unroll(interventions.clamp(lstm, f=half), params, XS)[1])(half)
        assert_close("outs", outs, loop(interventions.clamp(lstm, f=half), params)[1])


def test_orbax_gives_back_every_cells_params_and_carry(tmp_path):
    """With types and dtypes, from shapes alone."""

    def drawn(name):
        params = CELLS[name].init(jax.random.key(0), D, H, dtype=jnp.bfloat16)
        return params, CELLS[name].initial_carry(params, (B, *(3, 2)[: CELLS[name].spatial]))

    shapes = {name: jax.eval_shape(lambda name=name: drawn(name)) for name in CELLS}
    values = jax.tree.map(lambda a: jnp.asarray(np.arange(1, a.size + 1).reshape(a.shape) % 97, a.dtype), shapes)
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "all", values)
        checkpointer.wait_until_finished()
        assert_close("restored", checkpointer.restore(tmp_path / "all", shapes), values, 0.0)


def test_flax_trains_and_serialises_our_params():
    state = TrainState.create(apply_fn=loss, params=PARAMS, tx=optax.sgd(0.5))
    state = state.apply_gradients(grads=jax.jit(jax.grad(loss))(state.params))
    assert_close("params", state.params, down(0.5, PARAMS, plain_grad(PARAMS)))
    restored = serialization.from_bytes(state, serialization.to_bytes(state))
    assert_close("restored", jax.tree.map(jnp.asarray, restored.params), state.params, 0.0)


CHECKS = checkify.float_checks | checkify.index_checks


class TestCheckify:
    @pytest.mark.parametrize("recurrence", ["deferred", "scan", "checkpointed"])
    def test_floats_are_checked_in_the_loop_and_in_its_gradient(self, recurrence):
        def value_and_grad(params, xs):
            f = lambda params: jnp.sum(unroll(CELL, params, xs, recurrence=EXACT[recurrence])[1] ** 2)  # noqa: E731
            return jax.value_and_grad(f)(params)

        checked = jax.jit(checkify.checkify(value_and_grad, errors=CHECKS))
        error, got = checked(PARAMS, XS)
        assert error.get() is None
        assert_close("as unchecked", got, jax.value_and_grad(lambda p: jnp.sum(loop(CELL, p)[1] ** 2))(PARAMS))
        error, _ = checked(PARAMS, XS.at[1, 1, 0].set(jnp.nan))
        assert "nan generated by primitive" in error.get()

    def test_masks_resets_and_traces_raise_no_alarm(self):
        mask = jnp.arange(T)[:, None] < jnp.array([3, 0, 1, 2])

        def total(params):
            carry, seen = trace(CELL, params, XS, mask=mask, resets=~mask, reverse=True)
            return sum(jnp.sum(a) for a in jax.tree.leaves((carry, seen)))

        error, grads = jax.jit(checkify.checkify(jax.grad(total), errors=CHECKS))(PARAMS)
        assert error.get() is None and jnp.isfinite(ravel_pytree(grads)[0]).all()

    def test_a_check_within_a_cell_is_told(self):
        def equations(params, carry, wx, uh):
            carry, out, gates = rnn.equations(params, carry, wx, uh)
            checkify.check(jnp.all(out < params.b[0]), "unit above the bound")
            return carry, out, gates

        cell = rnn.replace(equations=equations, name="bounded")
        bad = rnn.init(jax.random.key(0), D, H, dtype=jnp.float64)
        good = bad._replace(b=bad.b.at[0].set(2.0))
        for recurrence in EXACT.values():
            checked = jax.jit(checkify.checkify(partial(loss, cell=cell, recurrence=recurrence)))
            assert checked(good)[0].get() is None and "unit above the bound" in checked(bad)[0].get()

        def value_and_error(params):
            """Checked first: of a loop's gradient JAX drops the checks, and of a custom_jvp's, as deferred is."""
            error, value = checkify.checkify(partial(loss, cell=cell, recurrence=scan))(params)
            return value, error

        grad = jax.jit(jax.grad(value_and_error, has_aux=True))
        assert_close("gradient", grad(good)[0], jax.grad(partial(plain_loss, cell=rnn))(good))
        assert grad(good)[1].get() is None and "unit above the bound" in grad(bad)[1].get()

    def test_indices_are_checked_while_decoding(self):
        params = gru.init(jax.random.key(0), D, H, dtype=jnp.float64)
        table, out = random(3, 7, D), random(4, H, 7)

        def step(carry, tokens):
            carry, h = gru.step(params, carry, table[tokens])
            return carry, (h @ out, ())

        def generate(start):
            return decode.greedy(step, gru.initial_carry(params, (2,)), start, eos=1, max_length=6).tokens

        checked = jax.jit(checkify.checkify(generate, errors=CHECKS))
        error, tokens = checked(jnp.array([2, 3]))
        assert error.get() is None and tokens.tolist() == generate(jnp.array([2, 3])).tolist()
        assert "index 9 is out of bounds for axis 0 with size 7" in checked(jnp.array([2, 9]))[0].get()


class TestDerivatives:
    def test_ravelled_params(self):
        flat, unravel = ravel_pytree(PARAMS)
        assert flat.shape == (sum(a.size for a in leaves_by_path(PARAMS).values()),)
        grad = jax.jit(jax.grad(lambda flat: loss(unravel(flat))))(flat)
        assert_close("grad", unravel(grad), plain_grad(PARAMS))

    def test_hessian(self):
        flat, unravel = ravel_pytree(rnn.init(jax.random.key(0), 1, 2, dtype=jnp.float64))
        square = lambda run: lambda flat: jnp.sum(run(rnn, unravel(flat), XS[..., :1])[1] ** 2)  # noqa: E731
        got, want = (jax.jit(jax.hessian(square(run)))(flat) for run in (unroll, loop))
        assert got.shape == (8, 8)
        assert_close("hessian", got, want)

    def test_jacobians_of_the_carry_are_the_product_of_the_steps(self):
        params, carry = gru.init(jax.random.key(0), D, H, dtype=jnp.float64), GRUCarry(random(5, H))
        xs = XS[:, 0]
        want, at = jnp.eye(H), carry
        for x in xs:
            want = jax.jacfwd(lambda k, x=x: gru.step(params, k, x)[0])(at).h.h @ want
            at, _ = gru.step(params, at, x)
        for jacobian in (jax.jacfwd, jax.jacrev):
            got = jax.jit(jacobian(lambda k: unroll(gru, params, xs, k)[0]))(carry)
            assert_close(jacobian.__name__, got.h.h, want)


@jax.custom_vjp
def quarters(a):
    """Round to quarters; the gradient goes straight through."""
    return jnp.round(4 * a) / 4


quarters.defvjp(lambda a: (quarters(a), None), lambda _, g: (g,))


@pytest.mark.parametrize("recurrence", ["deferred", "scan", "checkpointed"])
def test_a_cell_with_a_straight_through_gradient_of_its_own(recurrence):
    def equations(params, carry, wx, uh):
        carry, out, gates = gru.equations(params, carry, wx, uh)
        return carry._replace(h=quarters(carry.h)), quarters(out), gates

    cell = gru.replace(equations=equations, name="quantised")
    params = gru.init(jax.random.key(0), D, H, dtype=jnp.float64)
    square = lambda run, **how: lambda params: jnp.sum((run(cell, params, XS, **how)[1] - TARGETS) ** 2)  # noqa: E731
    got = jax.jit(jax.value_and_grad(square(unroll, recurrence=EXACT[recurrence])))(params)
    assert_close("value and gradient", got, jax.jit(jax.value_and_grad(square(loop)))(params))


class TestChex:
    def test_equal_cells_are_traced_once(self):
        run = jax.jit(chex.assert_max_traces(lambda cell, xs: unroll(cell, PARAMS, xs)[1], n=1), static_argnums=0)
        for cell in (CELL, stack(lstm, gru)):
            chex.assert_trees_all_close(run(cell, XS), plain_outs(CELL, PARAMS), atol=1e-12)

    def test_value_assertions_inside_jit(self):
        @partial(chex.chexify, async_check=False)
        @jax.jit
        def run(params, xs):
            carry, outs = unroll(CELL, params, xs)
            chex.assert_tree_all_finite((carry, outs))
            return outs

        assert_close("outs", run(PARAMS, XS), plain_outs(CELL, PARAMS))
        with pytest.raises(AssertionError, match="finite"):
            run(PARAMS, XS.at[0, 0, 0].set(jnp.nan))


class TestDiffrax:
    def test_antisymmetric_rnn_is_eulers_method(self):
        """Its step is one of size epsilon: diffrax.Euler with its vector field gives the same numbers."""
        epsilon = 0.25  # times are then exact
        cell = CELLS["antisymmetric_rnn"].with_(epsilon=epsilon)
        params = cell.init(jax.random.key(0), D, H, dtype=jnp.float64)
        slow = CELLS["antisymmetric_rnn"].with_(epsilon=1.0)  # h + the vector field

        def by_diffrax(params):
            def field(t, h, xs):
                return slow.step(params, Hidden(h), xs[jnp.int32(t / epsilon)])[1] - h

            times = epsilon * jnp.arange(1.0, T + 1)
            saved = diffrax.SaveAt(ts=times)
            return diffrax.diffeqsolve(
                diffrax.ODETerm(field), diffrax.Euler(), 0.0, times[-1], epsilon, jnp.zeros((B, H)), XS, saveat=saved
            ).ys

        square = lambda f: jax.jit(jax.value_and_grad(lambda params: jnp.sum((f(params) - TARGETS) ** 2)))  # noqa: E731
        assert_close("value and gradient", square(by_diffrax)(params), square(lambda p: unroll(cell, p, XS)[1])(params))

    def test_cornn_comes_to_its_differential_equation(self):
        """With half the time step, half the distance from a solver of order 5."""
        params = CELLS["cornn"].init(jax.random.key(0), D, H, dtype=jnp.float64)
        x, start = XS[0], CELLS["cornn"].initial_carry(params, (B,))

        def field(t, carry, _):
            force = jnp.tanh(x @ params.W + carry.h @ params.U + carry.z @ params.U_z + params.b)
            return carry._replace(h=carry.z, z=force - carry.h - carry.z)

        control = diffrax.PIDController(rtol=1e-9, atol=1e-9)
        exact = diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, 2.0, 0.1, start, stepsize_controller=control
        ).ys.h[0]
        apart = []
        for steps in (100, 200):
            still = jnp.broadcast_to(x, (steps, *x.shape))
            carry, _ = unroll(CELLS["cornn"].with_(dt=2.0 / steps), params, still)
            apart.append(float(abs(carry.h - exact).max()))
        assert 1e-5 < apart[1] < 0.02 and 1.9 < apart[0] / apart[1] < 2.1

    @pytest.mark.parametrize("recurrence", ["deferred", "scan", "checkpointed"])
    def test_a_cell_that_solves_an_equation_in_each_step(self, recurrence):
        """A GRU whose state decays between observations: by a solver inside the cell, or by its closed form."""

        def decaying(decay):
            return gru.replace(
                equations=lambda p, k, wx, uh: gru.equations(p, k._replace(h=decay(k.h, p.b_hn)), wx, uh), name="decay"
            )

        def solved(h, rate):
            term = diffrax.ODETerm(lambda t, h, rate: -rate * h)
            return diffrax.diffeqsolve(term, diffrax.Tsit5(), 0.0, 1.0, 0.05, h, rate).ys[0]

        params = gru.init(jax.random.key(0), D, H, dtype=jnp.float64)
        params = params._replace(b_hn=jnp.linspace(0.5, 1.0, H))
        inside, closed = decaying(solved), decaying(lambda h, rate: h * jnp.exp(-rate))
        square = lambda run, cell, **how: (  # noqa: E731
            jax.jit(jax.value_and_grad(lambda params: jnp.sum((run(cell, params, XS, **how)[1] - TARGETS) ** 2)))
        )
        got = square(unroll, inside, recurrence=EXACT[recurrence])(params)
        assert_close("value and gradient", got, square(loop, closed)(params), 1e-7)
