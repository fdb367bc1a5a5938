"""What the derivative of a recurrence does inside its loops and what it leaves for after them, seen in its jaxpr."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from jax.test_util import check_grads

from jaxseq import mixed, unroll
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, gru, lstm, stack
from jaxseq.recurrence import deferred, scan
from jaxseq.recurrence._cuts import PRODUCTS, Cut, cut
from jaxseq.recurrence._products import back_p, gradient_p, product_p
from jaxseq.recurrence._scan import over_time_ahead
from jaxseq.testing import assert_close, differentiate

T, B, D, H, S = 7, 2, 3, 5, 4
KEYS = jax.random.split(jax.random.key(0), 4)
XS = jax.random.normal(KEYS[0], (T, B, D))


def inner(value):
    """Every jaxpr in the parameters of an operation."""
    for v in value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else [value]:
        if hasattr(v, "eqns"):
            yield v
        elif hasattr(v, "jaxpr"):
            yield v.jaxpr
        elif isinstance(v, dict | tuple | list):
            yield from inner(v)


def operations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for j in inner(eqn.params):
            yield from operations(j)


def in_loops(function, *args):
    """The operations inside the loops of a function."""
    loops = [eqn for eqn in operations(jax.make_jaxpr(function)(*args).jaxpr) if eqn.primitive.name == "scan"]
    return [eqn for loop in loops for j in inner(loop.params) for eqn in operations(j)]


def gradient(cell, recurrence):
    def loss(params, xs):
        return (unroll(cell, params, xs, recurrence=recurrence)[1] ** 2).sum()

    return jax.grad(loss)


def weight_gradients(cell, params, recurrence):
    """How many products in the loops sum over the rows, as the gradient of a weight does: no other size is B."""
    ops = in_loops(gradient(cell, recurrence), params, XS)
    return sum(op.primitive.name in PRODUCTS and B not in op.outvars[0].aval.shape for op in ops)


MADE_OF_PRODUCTS = [
    stack(lstm, gru),
    mixed(CELLS["gru_cho"]),
    *(CELLS[n] for n in ("gru_cho", "lstmp", "lem", "mgu", "rhn", "ltc", "gru_d")),
]


@pytest.mark.parametrize("cell", MADE_OF_PRODUCTS, ids=lambda cell: cell.name)
def test_no_gradient_of_a_weight_is_added_up_in_a_loop(cell) -> None:
    options = {"projection": 4} if cell.name == "lstmp" else {}
    params = cell.init(KEYS[1], D, H, dtype=jnp.float64, **options)
    assert weight_gradients(cell, params, scan), "plain scan has some, or this sees nothing"
    assert weight_gradients(cell, params, deferred) == 0


def test_nor_that_of_a_source() -> None:
    cell = with_attention(gru, additive)
    params = cell.init(KEYS[1], D, H, value_size=6, units=7, dtype=jnp.float64)
    source = jax.random.normal(KEYS[2], (S, B, 6))

    def loss(source, how):
        reader = reading(cell, cell.remember(params, source))
        return (unroll(reader, params, XS, recurrence=how)[1].context ** 2).sum()

    for how, found in ((scan, True), (deferred, False)):
        ops = in_loops(jax.grad(lambda source, how=how: loss(source, how)), source)
        shapes = {op.outvars[0].aval.shape for op in ops if op.primitive.name == "dot_general"}
        assert any(sorted(shape) == sorted((S, B, 6)) for shape in shapes) == found


def test_what_parameters_alone_decide_is_computed_once() -> None:
    """U - U^T of an antisymmetric network."""
    cell = CELLS["antisymmetric_rnn"]
    params = cell.init(KEYS[1], D, H, dtype=jnp.float64)
    ops = in_loops(gradient(cell, deferred), params, XS)
    shapes = [op.outvars[0].aval.shape for op in ops if op.primitive.name == "sub"]
    assert (H, H) not in shapes


def test_sums_of_terms_products_and_constants_are_one_value() -> None:
    def equations(bound, old, terms):
        W, V, b, c = bound
        wx, uh = terms
        a = jnp.tanh((old @ W + b) + (wx + uh))
        return jnp.tanh(a @ V + c) * c

    shapes = jax.eval_shape(lambda: (jnp.ones((H, H)), jnp.ones((H, H)), jnp.ones(H), jnp.ones(H)))
    bound = jax.tree.map(lambda s: jnp.ones(s.shape), shapes)
    wide = jax.ShapeDtypeStruct((B, H), jnp.float64)

    def broadcast(bound, old, terms):
        W, V, b, c = bound
        full = tuple(jnp.broadcast_to(v, (B, H)) for v in (b, c))
        return equations((W, V, *full), old, terms)

    found = cut(broadcast, bound, wide, (wide, wide))
    assert [(len(c.terms), len(c.products), len(c.constants)) for c in found.cuts] == [(2, 1, 1), (0, 1, 1)]
    weights, others = found.before(bound)
    assert (len(weights), len(others)) == (4, 1), "W, V, b and c of sums; c again, which is a factor as well"


def test_a_value_used_twice_is_no_part_of_a_sum() -> None:
    wide = jax.ShapeDtypeStruct((B, H), jnp.float64)
    found = cut(lambda bound, old, terms: (terms[0] + terms[1]) * terms[0], (), wide, (wide, wide))
    assert found.cuts == (Cut(terms=(0,)), Cut(terms=(1,)))


def test_an_operand_much_larger_than_its_product_is_not_kept() -> None:
    """The score of additive attention, [B, S, A] for [B, S]."""
    v, wide = jnp.ones(64), jax.ShapeDtypeStruct((B, S, 64), jnp.float64)
    assert not cut(lambda v, old, terms: jnp.tanh(old) @ v, v, wide, ()).products
    small = jax.ShapeDtypeStruct((B, 64), jnp.float64)
    assert len(cut(lambda W, old, terms: jnp.tanh(old) @ W, jnp.ones((64, 3)), small, ()).products) == 1


def test_equations_without_terms_or_weights() -> None:
    """A cell that reads neither its terms nor its params in its equations."""

    def equations(params, carry, wx, uh):
        new = type(carry)(jnp.sin(carry.h))
        return new, new.h, new

    cell = gru.replace(equations=equations)
    params = gru.init(KEYS[1], D, H, dtype=jnp.float64)
    start = type(gru.initial_carry(params))(jax.random.normal(KEYS[3], (B, H)))
    run = lambda how: differentiate(lambda k: unroll(cell, params, XS, k, recurrence=how), start)  # noqa: E731
    assert_close("carry", run(deferred), run(scan))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other platforms do not copy operands of products")
@pytest.mark.parametrize("cell", [lstm, CELLS["gru_cho"]], ids=lambda cell: cell.name)
def test_gradients_of_weights_copy_no_cotangent_transposed(cell) -> None:
    """Only operands [T, B, D] and [T, B, H] are copied with the rows last, not the cotangent of the terms."""
    B, T, D, H = 8, 10, 24, 32
    params, xs = cell.init(KEYS[1], D, H, dtype=jnp.float32), jnp.ones((T, B, D), jnp.float32)
    text = jax.jit(gradient(cell, deferred)).lower(params, xs).compile().as_text()
    turned = {int(size) for size in re.findall(rf"f32\[(\d+),{T * B}\]", text)}
    assert turned <= {D, H}
    assert D in turned, "x is turned, or this sees nothing"


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other platforms do not pack operands of products")
@pytest.mark.parametrize(("rows", "first"), [(4, True), (20, False)])
def test_a_large_weight_is_on_the_left_of_the_backward_loop_where_rows_are_few(rows, first) -> None:
    """Then the cotangent of h is ``U g^T [H, B]``, else ``g U^T [B, H]``."""
    H = 256
    params, xs = lstm.init(KEYS[1], 8, H, dtype=jnp.float32), jnp.ones((3, rows, 8), jnp.float32)
    text = jax.jit(gradient(lstm, deferred)).lower(params, xs).compile().as_text()
    products = re.findall(r"f32\[(\d+,\d+)\][^=\n]* (?:dot\(|fusion\(.*__ynn_fusion)", text)
    assert (f"{H},{rows}" in products, f"{rows},{H}" in products) == (first, not first)


@pytest.fixture
def read_ahead(monkeypatch):
    """A list with one entry for each loop that is traced and reads ahead."""
    found = []

    def spy(*args, **options):
        found.append(args)
        return over_time_ahead(*args, **options)

    monkeypatch.setattr("jaxseq.recurrence._deferred.over_time_ahead", spy)
    return found


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other platforms need not read ahead")
@pytest.mark.parametrize(("name", "ahead"), [("gru", True), ("ugrnn", True), ("lstm", False), ("gru_cho", False)])
def test_terms_are_read_ahead_where_a_step_is_one_loop(name, ahead, read_ahead) -> None:
    cell = CELLS[name]
    params = cell.init(KEYS[1], D, H, dtype=jnp.float64)
    jax.make_jaxpr(lambda p, xs: unroll(cell, p, xs))(params, XS)
    assert bool(read_ahead) == ahead
    assert unroll(cell, params, XS[:0])[1].shape == (0, B, H)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other platforms need not read ahead")
@pytest.mark.parametrize(
    ("name", "size", "masked", "ahead"),
    [("gru", 256, False, True), ("gru", 256, True, False), ("gru", 16, False, False), ("rnn", 512, False, False)],
)
def test_inputs_are_read_ahead_where_two_large_products_are_all_of_a_step(
    name, size, masked, ahead, read_ahead
) -> None:
    cell, rows = CELLS[name], 32
    params = cell.init(KEYS[1], size, size, dtype=jnp.float32)
    xs = jax.random.normal(KEYS[2], (3, rows, size), jnp.float32)
    mask = jnp.ones((3, rows), bool) if masked else None
    jax.make_jaxpr(lambda p, xs: unroll(cell, p, xs, mask=mask))(params, xs)
    assert bool(read_ahead) == ahead
    if ahead:
        for reverse in (False, True):
            run = functools.partial(unroll, cell, params, xs, reverse=reverse)
            assert_close(name, run(), run(recurrence=scan), 1e-5)


def test_derivatives_of_the_three_products_are_each_other() -> None:
    x, g = (jax.random.normal(key, (T, B, n)) for key, n in zip(KEYS[:2], (D, H), strict=True))
    w = jax.random.normal(KEYS[2], (D, H))
    for own, plain, args in (
        (product_p, lambda x, w: x @ w, (x, w)),
        (back_p, lambda g, w: g @ w.T, (g, w)),
        (gradient_p, lambda x, g: jnp.einsum("tbk,tbn->kn", x, g), (x, g)),
    ):
        ours = functools.partial(own.bind, precision=None)
        check_grads(ours, args, order=2, modes=["fwd", "rev"])
        assert_close(own.name, differentiate(ours, *args), differentiate(plain, *args))
        for axes in ((0, None), (None, 0), (0, 0)):
            many = [a if axis is None else jnp.stack([a, 2 * a]) for a, axis in zip(args, axes, strict=True)]
            assert_close(own.name, jax.vmap(ours, axes)(*many), jax.vmap(plain, axes)(*many))
