"""The laws: each compares two ways to compute the same for a `Subject`, without knowing a cell's equations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxseq._unroll import trace, unroll
from jaxseq.cells import Cell
from jaxseq.notation import Array, Carry, Params, Tree, wide
from jaxseq.recurrence import Recurrence, over_features, scan
from jaxseq.testing.compare import (
    TOLERANCES,
    Subject,
    assert_close,
    assert_same,
    cotangent,
    differentiate,
    draw,
)
from jaxseq.trees import at


def loop(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
) -> tuple[Carry, Tree]:
    """Run `cell` by a Python loop over ``cell.step``: the slow reference recurrence."""
    outs: list[Tree] = [None] * _steps(xs)
    for t in reversed(range(len(outs))) if reverse else range(len(outs)):
        if resets is not None:
            initial, begins = cell.initial_carry(params, jax.tree.leaves(xs)[0].shape[1:-1]), resets[t]
            carry = jax.tree.map(lambda i, k, b=begins: jnp.where(over_features(b, i), i, k), initial, carry)
        new, out = cell.step(params, carry, at(xs, t))
        if mask is not None:
            real = mask[t]
            new = jax.tree.map(lambda n, o, real=real: jnp.where(over_features(real, n), n, o), new, carry)
            out = jax.tree.map(lambda o, real=real: jnp.where(over_features(real, o), o, jnp.zeros_like(o)), out)
        carry, outs[t] = new, out
    return carry, jax.tree.map(lambda *a: jnp.stack(a), *outs)


def _steps(xs: Tree) -> int:
    return jax.tree.leaves(xs)[0].shape[0]


def holes(T: int, batch_shape: tuple[int, ...]) -> Array:
    """Return a mask ``[T, B]`` with holes as well as final padding; the first row has no real step."""
    # a fixed pattern, not periodic in T or B
    mask = np.sin(np.arange(T * int(np.prod(batch_shape)))).reshape(T, *batch_shape) > -0.3
    mask[(slice(None),) + (0,) * len(batch_shape)] = False
    return jnp.asarray(mask)


def _driven(cell: Cell, recurrence: Recurrence, mask: Array | None, reverse: bool) -> Callable[..., Tree]:
    return lambda params, xs, carry: unroll(cell, params, xs, carry, mask=mask, reverse=reverse, recurrence=recurrence)


def law_loop(s: Subject) -> None:
    """unroll equals a Python loop of step, for any number of batch axes and for sizes all 1."""
    ones = s._replace(input_size=1, hidden_size=jax.tree.map(lambda _: 1, s.hidden_size))
    f, g = (_driven(s.cell, recurrence, None, False) for recurrence in (scan, loop))
    assert_same("[T, B, D]", f, g, *draw(s, 3, (2,)))
    cases: list[tuple[str, Subject, int, tuple[int, ...]]] = [
        ("no batch axis", s, 3, ()),
        ("two batch axes", s, 2, (2, 4)),
        ("sizes all 1", ones, 1, (1,)),
    ]
    for case, subject, T, batch_shape in cases:
        problem = draw(subject, T, batch_shape)
        assert_close(case, jax.jit(f)(*problem), jax.jit(g)(*problem))
    problem, mask = draw(s, 3, (2,)), holes(3, (2,))
    assert_same("masked, reverse", _driven(s.cell, scan, mask, True), _driven(s.cell, loop, mask, True), *problem)


def law_input_terms(s: Subject) -> None:
    """input_terms takes all T at once as it takes one step, and each row of a batch by itself."""
    params, xs, _ = draw(s, 4, (2,))
    whole = s.cell.input_terms(params, xs)
    for t in range(4):
        for b in range(2):
            alone = s.cell.input_terms(params, at(xs, t, b))
            assert_close(f"step {t}, row {b}", at(whole, t, b), alone)


def law_batch(s: Subject) -> None:
    """step of a batch equals vmap of step, over one batch axis and over two."""
    params, xs, carry = draw(s, 1, (2, 4))
    one = lambda carry, x: s.cell.step(params, carry, x)  # noqa: E731
    got, mapped, alone = jax.jit(
        lambda carry, x: (one(carry, x), jax.vmap(jax.vmap(one))(carry, x), one(at(carry, 0), at(x, 0)))
    )(carry, at(xs, 0))
    assert_close("two batch axes", mapped, got)
    assert_close("one batch axis", alone, at(got, 0))


def law_recurrences(s: Subject) -> None:
    """every recurrence equals plain scan, masked or not, in both directions."""
    problem = draw(s, 6, (4,))
    for mask, reverse in itertools.product((None, holes(6, (4,))), (False, True)):
        case = f"{'reverse' if reverse else 'forward'}, {'masked' if mask is not None else 'no mask'}"
        want, want_grads = differentiate(_driven(s.cell, scan, mask, reverse), *problem)
        for name, recurrence in s.recurrences.items():
            if recurrence is not scan:
                got, grads = differentiate(_driven(s.cell, recurrence, mask, reverse), *problem)
                assert_close(f"{name}, {case}, values", got, want)
                assert_close(f"{name}, {case}, gradients", grads, want_grads, TOLERANCES["float64"].gradients)


def law_padding(s: Subject) -> None:
    """padding that is masked equals no padding, NaN in it included; length 0 returns the initial carry."""
    _ragged(s, reverse=False)


def law_reverse(s: Subject) -> None:
    """reverse on padded rows equals flip, run, flip on each row without its padding."""
    _ragged(s, reverse=True)


def _ragged(s: Subject, *, reverse: bool) -> None:
    # a full row, an empty one, and two that end early
    T, lengths = 6, (6, 0, 2, 1)
    params, xs, carry = draw(s, T, (len(lengths),))
    mask = jnp.arange(T)[:, None] < jnp.asarray(lengths)[None, :]
    order = slice(None, None, -1 if reverse else 1)

    def row(params: Params, x: Tree, carry: Carry) -> tuple[Carry, Tree]:
        carry, outs = unroll(s.cell, params, at(x, order), carry)
        pad = lambda a: jnp.pad(a[order], [(0, T - _steps(x))] + [(0, 0)] * (a.ndim - 1))  # noqa: E731
        return carry, jax.tree.map(pad, outs)

    def alone(params: Params, xs: Tree, carry: Carry) -> tuple[Carry, Tree]:
        starts = [at(carry, b) for b in range(len(lengths))]
        rows = [row(params, at(xs, slice(n), b), starts[b]) for b, n in enumerate(lengths)]
        stacked = lambda axis, trees: jax.tree.map(lambda *a: jnp.stack(a, axis), *trees)  # noqa: E731
        return stacked(0, [k for k, _ in rows]), stacked(1, [o for _, o in rows])

    want, want_grads = differentiate(alone, params, xs, carry)
    # NaN in padding reveals any use of it, in values or gradients
    padded = jax.tree.map(lambda x: jnp.where(over_features(mask, x), x, jnp.full_like(x, jnp.nan)), xs)
    for name, recurrence in s.recurrences.items():
        got, grads = differentiate(_driven(s.cell, recurrence, mask, reverse), params, padded, carry)
        assert_close(f"{name}, values", got, want)
        assert_close(f"{name}, gradients", grads, want_grads)
        assert_close(f"{name}, carry of the row of length 0", at(got[0], 1), at(carry, 1), 0.0)


def law_pieces(s: Subject) -> None:
    """a sequence fed in pieces, the carry passed on, equals the sequence fed whole."""
    problem, mask = draw(s, 6, (4,)), holes(6, (4,))
    for name, recurrence in s.recurrences.items():

        def pieces(params: Params, xs: Tree, carry: Carry, recurrence: Recurrence = recurrence) -> tuple[Carry, Tree]:
            outs = []
            for piece in (slice(0, 1), slice(1, 4), slice(4, 6)):
                carry, out = unroll(s.cell, params, at(xs, piece), carry, mask=mask[piece], recurrence=recurrence)
                outs.append(out)
            return carry, jax.tree.map(lambda *a: jnp.concatenate(a), *outs)

        assert_same(name, pieces, _driven(s.cell, recurrence, mask, False), *problem)


def law_resets(s: Subject) -> None:
    """a row with resets equals its pieces run apart: forwards, and backwards under a mask, by every recurrence."""
    T, B = 6, 2
    params, xs, carry = draw(s, T, (B,))
    # for each row: where its pieces begin, and its end; step 2 of the second row is padded
    cuts = ((0, 6), (0, 3, 5, 6))
    resets = jnp.asarray([[t > 0 and t in cuts[b] for b in range(B)] for t in range(T)])
    mask = holes(T, (B,))

    def apart(params: Params, xs: Tree, carry: Carry, reverse: bool, mask: Array | None) -> tuple[Carry, Tree]:
        ends, rows = [], []
        for b, edges in enumerate(cuts):
            pieces = list(itertools.pairwise(edges))
            k, outs = at(carry, b), {}
            fresh = s.cell.initial_carry(params, jax.tree.leaves(xs)[0].shape[2:-1])
            for n, (first, end) in enumerate(reversed(pieces) if reverse else pieces):
                real = None if mask is None else mask[first:end, b]
                x = at(xs, slice(first, end), b)
                k, outs[first] = unroll(
                    s.cell, params, x, fresh if n else k, mask=real, reverse=reverse, recurrence=scan
                )
            ends.append(k)
            rows.append(jax.tree.map(lambda *a: jnp.concatenate(a), *[outs[first] for first, _ in pieces]))
        stacked = lambda axis, trees: jax.tree.map(lambda *a: jnp.stack(a, axis), *trees)  # noqa: E731
        return stacked(0, ends), stacked(1, rows)

    for real, reverse in ((None, False), (mask, True)):  # only the simplest and the hardest case, since each compiles
        case = f"{'reverse' if reverse else 'forward'}, {'masked' if real is not None else 'no mask'}"
        want, want_grads = differentiate(partial(apart, reverse=reverse, mask=real), params, xs, carry)
        for name, recurrence in s.recurrences.items():
            run = partial(unroll, s.cell, mask=real, resets=resets, reverse=reverse, recurrence=recurrence)
            got, grads = differentiate(run, params, xs, carry)
            assert_close(f"{name}, {case}, values", got, want)
            assert_close(f"{name}, {case}, gradients", grads, want_grads, TOLERANCES["float64"].gradients)


def law_traces_once(s: Subject) -> None:
    """step compiles once: the carry it returns has the type of the one it starts from, weak types included."""
    params, xs, _ = draw(s, 4, (2,))
    traced = []

    def step(cell: Cell, params: Params, carry: Carry, x: Array) -> tuple[Carry, Tree]:
        traced.append(jax.tree.map(jax.typeof, carry))
        return cell.step(params, carry, x)

    batch = jax.tree.leaves(xs)[0].shape[1:-1]
    jitted, carry = jax.jit(step, static_argnums=0), s.cell.initial_carry(params, batch)
    for t in range(4):
        carry, _ = jitted(s.cell, params, carry, at(xs, t))
    assert len(traced) == 1, f"traced {len(traced)} times, for the carries {traced}"


def law_dtype(s: Subject) -> None:
    """params have the dtype asked for, outputs the same, the carry the same or float32; bfloat16 is near to float64."""
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float64):
        params, xs, carry = draw(s, 4, (2,), dtype)
        new, out = jax.eval_shape(s.cell.step, params, carry, at(xs, 0))
        kept = (dtype, wide(dtype))  # slowly decaying states are float32
        for what, tree, allowed in (
            ("params", params, (dtype,)),
            ("initial carry", carry, kept),
            ("output", out, (dtype,)),
        ):
            for path, leaf in jax.tree.leaves_with_path(tree):
                where = f"{what}{jax.tree_util.keystr(path)}"
                assert leaf.dtype in allowed, f"{where}: expected {jnp.dtype(dtype)}, got {leaf.dtype}"
        of = lambda tree: jax.tree.map(lambda a: a.dtype, tree)  # noqa: E731
        assert of(new) == of(carry), f"carry: it came as {of(carry)} and is returned as {of(new)}"
    to = lambda dtype, tree: jax.tree.map(lambda a: a.astype(dtype), tree)  # noqa: E731
    both = jax.jit(lambda half: (to(jnp.float64, unroll(s.cell, *half)), unroll(s.cell, *to(jnp.float64, half))))
    # the same bfloat16 values in both: only the arithmetic differs
    got, want = both(tuple(draw(s, 4, (2,), jnp.bfloat16)))
    assert_close("bfloat16", got, want, TOLERANCES["bfloat16"].values)


def law_gradients(s: Subject) -> None:
    """gradients equal finite differences, in reverse mode and in forward mode."""
    problem, mask = draw(s, 3, (2,)), holes(3, (2,))
    for recurrence in s.recurrences.values():
        f = jax.jit(_driven(s.cell, recurrence, mask, False))
        check_grads(f, problem, order=1, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5, eps=1e-5)


def law_forward_mode(s: Subject) -> None:
    """forward mode and reverse mode are each other's transpose."""
    problem = draw(s, 6, (4,))
    along = jax.tree.map(cotangent, problem)
    inner = lambda a, b: sum(jnp.vdot(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))  # noqa: E731
    for name, recurrence in s.recurrences.items():

        def both(p: tuple, v: tuple, recurrence: Recurrence = recurrence) -> tuple[Any, Any]:
            f = _driven(s.cell, recurrence, None, False)
            value, pushed = jax.jvp(f, p, v)
            along = jax.tree.map(cotangent, value)
            return inner(along, pushed), inner(jax.vjp(f, *p)[1](along), v)

        assert_close(name, *jax.jit(both)(tuple(problem), tuple(along)))


def law_trace(s: Subject) -> None:
    """trace returns the result of unroll; its carries are those after each step, zero where padded."""
    problem, mask = draw(s, 4, (2,)), holes(4, (2,))
    for name, recurrence in s.recurrences.items():

        def traced(params: Params, xs: Tree, carry: Carry, recurrence: Recurrence = recurrence) -> tuple[Carry, Tree]:
            carry, seen = trace(s.cell, params, xs, carry, mask=mask, reverse=True, recurrence=recurrence)
            return carry, seen.outs

        assert_same(name, traced, _driven(s.cell, recurrence, mask, True), *problem)
        last, seen = trace(s.cell, *problem, recurrence=recurrence)
        assert_close(f"{name}, carries[-1]", at(seen.carries, -1), last)


def law_finite(s: Subject) -> None:
    """at zero inputs and the initial carry, values and gradients are finite."""
    problem = draw(s, 2, (2,))
    start = s.cell.initial_carry(problem.params, jax.tree.leaves(problem.xs)[0].shape[1:-1])
    xs = jax.tree.map(jnp.zeros_like, problem.xs)
    value, gradients = differentiate(_driven(s.cell, scan, None, False), problem.params, xs, start)
    for what, tree in (("value", value), ("gradient", gradients)):
        for path, leaf in jax.tree.leaves_with_path(tree):
            wrong = ~np.isfinite(np.asarray(leaf))
            assert not wrong.any(), f"{what}{jax.tree_util.keystr(path)}: {int(wrong.sum())} of {leaf.size} are not"


def law_repeats(s: Subject) -> None:
    """a step computes the same each time: no random numbers of its own, and nothing kept in Python between steps."""
    params, xs, carry = draw(s, 1, (2,))
    first = s.cell.step(params, carry, at(xs, 0))
    s.cell.step(params, jax.tree.map(jnp.ones_like, carry), at(xs, 0))  # state kept in Python shows in the next call
    assert_close("the same step again", s.cell.step(params, carry, at(xs, 0)), first, 0.0)


LAWS_OF_NUMBERS: dict[str, Callable[[Subject], None]] = {
    "loop": law_loop,
    "input terms": law_input_terms,
    "batch": law_batch,
    "recurrences": law_recurrences,
    "padding": law_padding,
    "reverse": law_reverse,
    "pieces": law_pieces,
    "resets": law_resets,
    "traces once": law_traces_once,
    "dtype": law_dtype,
    "gradients": law_gradients,
    "forward mode": law_forward_mode,
    "trace": law_trace,
    "finite": law_finite,
    "repeats": law_repeats,
}
"""Laws of a cell's numbers, by name; each asserts, for a `Subject`, the first line of its docstring."""
