"""All steps at once by Newton's method: against scan, values and all derivatives; its blocks against a Jacobian."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxseq import InputError, trace, unroll
from jaxseq.cells import CELLS, Cell, deltanet, gru, lru, lstm, mlstm, para_gru, para_lstm, rnn
from jaxseq.recurrence import newton, newton_solution, scan
from jaxseq.recurrence._layout import Layout, layout_of
from jaxseq.recurrence._linear import affine_scan, apply, smoothed
from jaxseq.recurrence._structure import blocks
from jaxseq.testing import LAWS, Subject, assert_close, check_cell, differentiate, draw, holes

DIAGONAL = partial(newton, jacobian="diagonal")
DAMPED = partial(newton, damping=0.3)
FEW = partial(newton, rounds=2)
WAYS = {"full": newton, "diagonal": DIAGONAL, "damped": DAMPED, "two rounds": FEW}
OF_DRIVERS = ["recurrences", "padding", "reverse", "pieces", "resets", "gradients", "forward mode", "trace"]
RULES = [(cell, law) for law in OF_DRIVERS for cell in (para_lstm, gru)]


@pytest.mark.parametrize(("cell", "law"), RULES, ids=lambda a: getattr(a, "name", a))
def test_laws(cell: Cell, law: str) -> None:
    """Of a cell whose units do not mix, and of one whose matrix mixes all."""
    check_cell(cell, hidden_size=3, laws=[law], recurrences={"newton": newton})


@pytest.mark.parametrize("law", [law for law in LAWS if law in ("eager", "closures", "strict", "donation", "export")])
def test_laws_of_transforms(law: str) -> None:
    check_cell(para_lstm, hidden_size=3, laws=[law], recurrences={"newton": newton})


@pytest.mark.parametrize("law", ["explicit mesh", "shard_map"])
def test_laws_of_devices(law: str) -> None:
    """Rows that are spread run their rounds where they are, and a device whose rows are done waits for the others."""
    check_cell(para_lstm, hidden_size=4, laws=[law], recurrences={"newton": newton})


def of_both(cell: Cell, recurrence, T: int = 7, **options):
    """Values and gradients by a recurrence, and by scan."""
    problem = draw(Subject(cell, 3, 4), T, (2,))
    run = lambda how: differentiate(lambda *args: unroll(cell, *args, recurrence=how, **options), *problem)  # noqa: E731
    return run(recurrence), run(scan)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "lem", "cornn"])
def test_values_and_gradients_are_those_of_scan(name: str, way: str) -> None:
    marks = {"mask": holes(7, (2,)), "resets": jnp.roll(holes(7, (2,)), 1), "reverse": True}
    got, want = of_both(CELLS[name], WAYS[way], **(marks if name == "lstm" else {}))
    assert_close(way, got, want, 1e-10)


@pytest.mark.parametrize("way", ["full", "diagonal"])
def test_second_derivatives_are_those_of_scan(way: str) -> None:
    """Forward over reverse, and reverse over reverse, along one direction."""
    params, xs, _ = draw(Subject(gru, 2, 3), 4, (1,))
    along = jax.tree.map(jnp.cos, params)

    def curvature(recurrence):
        loss = lambda p: (unroll(gru, p, xs, recurrence=recurrence)[1] ** 3).sum()  # noqa: E731
        slope = lambda p: sum(jnp.vdot(a, b) for a, b in zip(jax.grad(loss)(p), along, strict=True))  # noqa: E731
        forward = jax.jvp(jax.grad(loss), (params,), (along,))[1]
        return forward, jax.grad(slope)(params)

    forward, backward = jax.jit(partial(curvature, WAYS[way]))()
    want = jax.jit(partial(curvature, scan))()[0]
    assert_close("forward over reverse", forward, want, 1e-10)
    assert_close("reverse over reverse", backward, want, 1e-10)


def test_under_vmap_each_ends_by_itself() -> None:
    """Over params, some of which need more rounds than they have: their rest is done step by step."""
    params, xs, carry = draw(Subject(rnn, 2, 3), 12, (2,))
    grown = jax.tree.map(lambda a: jnp.stack([0.1 * a, 4 * a]), params)
    run = lambda how: jax.jit(jax.vmap(lambda p: unroll(rnn, p, xs, carry, recurrence=how)))(grown)  # noqa: E731
    _, seen = run(partial(newton_solution, rounds=5))
    assert seen.steps[0] == 0 < seen.steps[1], seen.steps
    assert_close("vmap", seen.outs, run(scan)[1], 1e-10)


def test_a_program_for_any_number_of_rows() -> None:
    params, xs, _ = draw(Subject(para_lstm, 2, 3), 5, (3,))
    kind = jax.ShapeDtypeStruct((5, *jax.export.symbolic_shape("b"), 2), xs.dtype)
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), params)
    run = lambda how: lambda p, xs: unroll(para_lstm, p, xs, recurrence=how)  # noqa: E731
    program = jax.export.export(jax.jit(run(newton)))(like, kind)
    assert "while" in program.mlir_module()  # it was not left to scan, whose loop over time has no linear system
    assert_close("exported", program.call(params, xs), run(scan)(params, xs), 1e-10)


# --- rounds ----------------------------------------------------------------------------------------------------------


def solution(cell: Cell, problem, **options):
    return jax.jit(lambda p: unroll(cell, *p, recurrence=partial(newton_solution, **options)))(tuple(problem))


def test_a_linear_cell_takes_one_round_and_others_few() -> None:
    for cell, most in ((lru, 1), (para_gru, 7), (gru, 7)):
        _, seen = solution(cell, draw(Subject(cell, 2, 3), 300, (2,)))
        assert int(seen.rounds) <= most and int(seen.steps) == 0, (cell, seen.rounds)
        assert seen.residual.shape == (2,) and float(seen.residual.max()) < 16 * 2.3e-16
    assert int(seen.block) == 3


def chaotic(gain: float = 5.0, T: int = 60):
    """A network whose linearisation explodes: a hundred thousandfold in ten steps."""
    params, xs, carry = draw(Subject(rnn, 2, 4), T, (2,))
    return params._replace(U=gain * jnp.asarray(np.linalg.qr(params.U)[0])), xs, carry


def test_as_many_rounds_as_steps_are_always_enough() -> None:
    """Step n is right after n rounds, whatever the Jacobian: it is 0 here in the second case, or explodes."""
    problem = chaotic()
    want = jax.jit(lambda p: unroll(rnn, *p, recurrence=scan))(problem)
    for jacobian in ("full", "diagonal"):
        _, seen = solution(rnn, problem, jacobian=jacobian, rounds=60)
        assert 8 < int(seen.rounds) <= 60 and int(seen.steps) == 0
        assert_close(jacobian, seen.outs, want[1], 1e-7)  # what a loop and a batch round differently grows as well


def test_what_the_rounds_do_not_reach_is_done_step_by_step_and_said() -> None:
    problem = chaotic()
    last, seen = solution(rnn, problem, rounds=4)
    assert int(seen.rounds) == 4 and 0 < int(seen.steps) <= 56
    assert float(seen.residual.max()) < 1e-14
    want = jax.jit(lambda p: unroll(rnn, *p, recurrence=scan))(problem)
    assert_close("outs", (last, seen.outs), want, 1e-7)


def test_damping_takes_fewer_rounds_where_the_linearisation_grows() -> None:
    """ELK (Gonzalez et al. 2024): by 20% in each step, of a guess that is far away."""
    params, xs, carry = draw(Subject(rnn, 2, 4), 64, (2,))
    U = 1.2 * jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0])
    problem = params._replace(U=U), xs, carry
    plain, damped = (int(solution(rnn, problem, damping=d)[1].rounds) for d in (0.0, 0.03))
    assert damped < plain, (plain, damped)


def alone(gain: float, bias: float, T: int = 30):
    """A network of two units that see themselves only, and no input."""
    params, xs, carry = draw(Subject(rnn, 2, 2), T, (2,))
    return params._replace(W=0 * params.W, U=gain * jnp.eye(2), b=0 * params.b + bias), xs, jax.tree.map(abs, carry)


@pytest.mark.parametrize(("gain", "bias", "most"), [(1.5, 0.0, 30), (1e200, 2.0, 4)], ids=["all agree", "overflow"])
def test_guesses_that_mislead(gain: float, bias: float, most: int) -> None:
    """All zeros but the first agree with their steps, and are wrong; a slope of 1e200 at zero overflows."""
    problem = alone(gain, bias)
    last, seen = solution(rnn, problem)
    assert_close("outs", (last, seen.outs), jax.jit(lambda p: unroll(rnn, *p, recurrence=scan))(problem), 1e-10)
    assert int(seen.rounds) <= most and int(seen.steps) == 0


def test_nan_stays_in_its_row_and_is_never_hidden() -> None:
    params, xs, carry = draw(Subject(gru, 2, 3), 9, (3,))
    broken = xs.at[4, 1].set(jnp.nan)
    last, seen = solution(gru, (params, broken, carry))
    want = jax.jit(lambda: unroll(gru, params, broken, carry, recurrence=scan))()
    np.testing.assert_allclose(seen.outs, want[1], rtol=0, atol=1e-12)  # NaN where scan has it, and nowhere else
    np.testing.assert_allclose(last.h, want[0].h, rtol=0, atol=1e-12)
    assert np.isnan(np.asarray(seen.residual)).tolist() == [False, True, False]
    assert int(seen.steps) == 5  # from the broken step on


def test_states_that_overflow_are_those_of_scan() -> None:
    """A state that grows 1e10 times in each step and reaches infinity."""
    params, xs, carry = jax.tree.map(abs, draw(Subject(CELLS["rnn_relu"], 2, 1), 40, (1,)))
    params = params._replace(U=jnp.full_like(params.U, 1e10))
    got, want = (
        jax.jit(lambda how=how: unroll(CELLS["rnn_relu"], params, xs, carry, recurrence=how))()
        for how in (newton, scan)
    )
    assert np.isinf(want[0].h).all()
    np.testing.assert_allclose(got[1], want[1], rtol=1e-9)


def test_the_last_solution_is_a_better_guess() -> None:
    params, xs, carry = draw(Subject(gru, 2, 3), 50, (2,))
    run = lambda params, start: unroll(gru, params, xs, carry, recurrence=partial(newton_solution, start=start))  # noqa: E731
    _, seen = trace(gru, params, xs, carry, recurrence=newton)
    moved = jax.tree.map(lambda a: a + 1e-4 * jnp.sin(a), params)
    counts = [
        int(jax.jit(run)(*case)[1].rounds) for case in ((params, seen.carries), (moved, seen.carries), (moved, None))
    ]
    assert counts[0] == 0 and counts[1] < counts[2], counts
    _, report = trace(gru, params, xs, carry, recurrence=newton_solution)  # every gate, and how it was found
    assert report.outs.gates.z.shape == (50, 2, 3) and int(report.rounds) > 1


def test_there_is_no_loop_over_time() -> None:
    """Neither forwards nor backwards: what loops are the rounds, and what these do not reach."""
    params, xs, carry = draw(Subject(gru, 2, 3), 16, (2,))
    loss = lambda how: lambda p: unroll(gru, p, xs, carry, recurrence=how)[1].sum()  # noqa: E731
    program = lambda how: str(jax.make_jaxpr(jax.grad(loss(how)))(params))  # noqa: E731
    assert "scan[" in program(scan) and "scan[" not in program(newton) and program(newton).count("while[") == 2


def test_no_steps_at_all() -> None:
    params, xs, carry = draw(Subject(gru), 4, (2,))
    last, outs = unroll(gru, params, xs[:0], carry, recurrence=newton)
    assert outs.shape == (0, 2, 5) and bool((last.h == carry.h).all())


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda cell: cell.name)
def test_the_jacobian_is_zero_outside_of_the_blocks(cell: Cell) -> None:
    """Of every cell, by forward mode at a random carry; numbers of one block are connected by numbers that are not."""
    params, xs, carry = draw(Subject(cell, 3, 4), 1, ())
    wx = jax.tree.map(lambda a: a[0], cell.input_terms(params, xs))
    step = lambda carry: cell.advance(params, carry, wx)[0]  # noqa: E731
    flat, unflatten = ravel_pytree(carry)
    J = np.asarray(jax.jit(jax.jacfwd(lambda a: ravel_pytree(step(unflatten(a)))[0]))(flat))
    found = blocks(step, carry, 0)
    block = np.full(len(flat), -1)
    for n, numbers in enumerate(row for of_size in found for row in of_size):
        assert (block[numbers] == -1).all()
        block[numbers] = n
    assert (block >= 0).all()
    assert not J[block[:, None] != block].any()
    assert cell.linear != "elementwise" or max(of_size.shape[1] for of_size in found) <= 2


def test_blocks_of_known_cells() -> None:
    def found(cell: Cell, H: int = 4):
        params, xs, carry = draw(Subject(cell, 3, H), 1, (2,))
        wx = jax.tree.map(lambda a: a[0], cell.input_terms(params, xs))
        return [b.tolist() for b in blocks(lambda carry: cell.advance(params, carry, wx)[0], carry, 1)]

    assert found(para_gru) == [[[0], [1], [2], [3]]]
    assert found(para_lstm) == [[[0, 4], [1, 5], [2, 6], [3, 7]]]  # (h, c) of each unit
    assert found(lstm) == [[[0, 1, 2, 3, 4, 5, 6, 7]]]
    assert found(deltanet, 2) == [[[0, 2], [1, 3]]]  # columns of S


@pytest.mark.parametrize(
    "mix",
    [
        lambda h: jnp.concatenate([h.sum(axis=-1, keepdims=True), h[..., 1:]], axis=-1),
        lambda h: jnp.concatenate([h[..., :1] + h @ jnp.ones((4, 1)), h[..., 1:]], axis=-1),
        lambda h: h - h.mean(axis=-1, keepdims=True),
        lambda h: h * (h**2).sum(axis=-1, keepdims=True),
        jax.nn.softmax,
        lambda h: jnp.cumsum(h, axis=-1),
        lambda h: jnp.sort(h, axis=-1),
        lambda h: jax.lax.fori_loop(0, 2, lambda _, h: jnp.roll(h, 1, axis=-1), h),
    ],
)
def test_what_mixes_units_is_one_block(mix) -> None:
    assert [b.tolist() for b in blocks(lambda h: jnp.tanh(mix(h)), jnp.arange(8.0).reshape(2, 4), 1)] == [
        [[0, 1, 2, 3]]
    ]


def odd(params, carry, wx, uh):
    """Units 0 1 and 2 3 mix in pairs, unit 4 is alone, its neighbours turned around and padded on the way."""
    h = carry.h
    pairs = jnp.flip(h[..., :4].reshape(*h.shape[:-1], 2, 2), -1).reshape(*h.shape[:-1], 4)
    new = jnp.tanh(h + jnp.pad(pairs, [(0, 0)] * (h.ndim - 1) + [(0, 1)]) + wx)
    return carry._replace(h=new), new, ()


def test_blocks_of_several_sizes_are_solved_at_once() -> None:
    """Of a custom cell: nothing about it is declared."""
    cell = rnn.replace(equations=odd, name="odd")
    params, xs, carry = draw(Subject(cell), 9, (2,))
    wx = cell.input_terms(params, xs)
    layout = layout_of(cell, params, carry, xs, wx, 1, "auto")
    assert [b.tolist() for b in layout.blocks] == [[[4]], [[0, 1], [2, 3]]] and layout.cut == 0
    run = lambda how: differentiate(lambda *args: unroll(cell, *args, recurrence=how), params, xs, carry)  # noqa: E731
    assert_close("odd", run(newton), run(scan), 1e-10)


@pytest.mark.parametrize("order", [[[0, 1], [2, 3], [4, 5]], [[0, 3], [1, 4], [2, 5]], [[5, 0], [2, 4], [1, 3]]])
def test_a_carry_is_packed_and_unpacked(order) -> None:
    layout = Layout((np.asarray(order),), 1)
    carry = {"c": jnp.arange(24.0).reshape(3, 2, 4), "h": -jnp.arange(12.0).reshape(3, 2, 1, 2)}
    (packed,) = layout.pack(carry)
    whole = np.concatenate([np.asarray(carry["c"]), np.asarray(carry["h"]).reshape(3, 2, 2)], axis=-1)
    assert np.array_equal(packed, whole[..., order])
    assert_close("back", layout.unpack([packed], carry), carry, 0.0)


# --- linear systems --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("K", [1, 2, 5])
def test_linear_recurrences(K: int, reverse: bool) -> None:
    """Against a loop; the damped one against the least squares that it minimises, as one dense system."""
    rng, T, damping = np.random.default_rng(K), 6, 0.7
    A, b = rng.normal(size=(T, 2, K, K)), rng.normal(size=(T, 2, K))
    order = range(T)[::-1] if reverse else range(T)
    y, want = np.zeros((2, K)), np.zeros_like(b)
    for t in order:
        want[t] = y = np.einsum("nij,nj->ni", A[t], y) + b[t]
    got = affine_scan([jnp.asarray(A)], [jnp.asarray(b)], reverse=reverse)[0]
    np.testing.assert_allclose(got, want, atol=1e-12)
    np.testing.assert_allclose(
        apply([jnp.asarray(A)], [jnp.asarray(b)])[0], np.einsum("tnij,tnj->tni", A, b), atol=1e-12
    )
    damped = jax.jit(partial(smoothed, reverse=reverse))
    (got,) = damped([jnp.asarray(A)], [jnp.asarray(b)], jnp.asarray(damping))
    for n in range(2):
        whole = np.eye(T * K)
        for before, t in zip(order, list(order)[1:], strict=False):
            whole[t * K : (t + 1) * K, before * K : (before + 1) * K] = -A[t, n]
        normal = whole.T @ whole + damping * np.eye(T * K)
        least = np.linalg.solve(normal, whole.T @ b[:, n].ravel()).reshape(T, K)
        np.testing.assert_allclose(got[:, n], least, atol=1e-12)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"jacobian": "diag"}, "unknown jacobian 'diag': did you mean 'diagonal'"),
        ({"rounds": 0}, r"newton\(gru\): rounds must be at least 1; got 0"),
        ({"tolerance": 0.0}, r"newton\(gru\): tolerance must be a number above 0; got 0"),
        ({"damping": -1.0}, r"newton\(gru\): damping must be a number of at least 0; got -1"),
        (
            {"start": jnp.zeros((4, 2, 5))},
            r"newton\(gru\): start must be a tree like the carry after each step, GRUCarry",
        ),
    ],
)
def test_options_out_of_range(options, said: str) -> None:
    params, xs, _ = draw(Subject(gru), 4, (2,))
    with pytest.raises(InputError, match=said):
        unroll(gru, params, xs, recurrence=partial(newton, **options))


def test_cells_that_newton_cannot_take() -> None:
    params, xs, _ = draw(Subject(mlstm, 3, 9), 4, (2,))
    with pytest.raises(InputError, match=r"newton\(mlstm\): a step mixes 91 numbers of its carry .*jacobian='full'"):
        unroll(mlstm, params, xs, recurrence=newton)

    def equations(params, carry, wx, uh):
        new, out, named = gru.equations(params, carry[0], wx, uh)
        return (new, carry[1] + 1), out, named

    counting = gru.replace(
        initial_carry=lambda p, batch=(): (gru.initial_carry(p, batch), jnp.zeros(batch, int)),
        hidden_terms=lambda p, k: gru.hidden_terms(p, k[0]),
        equations=equations,
        name="counting",
    )
    params, xs, _ = draw(Subject(gru), 4, (2,))
    with pytest.raises(InputError, match=r"newton\(counting\): needs a carry of floating numbers.*carry\[1\] is int64"):
        unroll(counting, params, xs, recurrence=newton)
