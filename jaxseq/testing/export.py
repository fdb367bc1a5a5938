"""The law of exported programs with symbolic time and batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from jaxseq._unroll import trace, unroll
from jaxseq.notation import Tree
from jaxseq.recurrence import scan
from jaxseq.testing.compare import TOLERANCES, Case, Subject, assert_close, differentiate, draw
from jaxseq.testing.laws import holes

SIZES = ((1, 3), (4, 2), (35, 1))
"""``(T, B)`` with which exported programs are called; 35 steps are more than one segment of `checkpointed`."""


def law_export(s: Subject) -> None:
    """exported for any time and batch, trace, unroll and its gradients equal plain calls at three sizes."""
    cases = {size: draw(s, size[0], (size[1],)) for size in SIZES}
    wanted: dict[Any, Tree] = {}
    for name, recurrence in s.recurrences.items():
        plain = export.export(jax.jit(_plain(s, recurrence)))(*_for_any_size(*cases[SIZES[0]][:2]))
        hardest = export.export(jax.jit(_hardest(s, recurrence)))(*_for_any_size(*_masked(cases[SIZES[0]])))
        for size, case in cases.items():
            if size not in wanted:
                wanted[size] = jax.jit(_plain(s, scan))(*case[:2]), jax.jit(_hardest(s, scan))(*_masked(case))
            got = plain.call(*case[:2]), hardest.call(*_masked(case))
            assert_close(f"{name}, T and B = {size}", got, wanted[size])
        problem = cases[SIZES[-1]][:2]
        got, want = (differentiate(run, *problem)[1] for run in (plain.call, _plain(s, recurrence)))
        assert_close(f"{name}, gradients", got, want, TOLERANCES["float64"].gradients)


def _plain(s: Subject, recurrence: Any) -> Callable[..., Tree]:
    return lambda params, xs: unroll(s.cell, params, xs, recurrence=recurrence)


def _hardest(s: Subject, recurrence: Any) -> Callable[..., Tree]:
    def run(params: Tree, xs: Tree, carry: Tree, mask: jax.Array, resets: jax.Array) -> Tree:
        of_all = partial(trace, mask=mask, resets=resets, reverse=True, recurrence=recurrence)
        carry, seen = of_all(s.cell, params, xs, carry)
        return carry, jax.tree.leaves(seen)  # gates may have any type, which an exported program cannot return

    return run


def _masked(case: Case) -> tuple[Any, ...]:
    T, B = jax.tree.leaves(case.xs)[0].shape[:2]
    mask = holes(T, (B,))
    return (*case, mask, ~jnp.roll(mask, 1))


def _for_any_size(params: Tree, xs: Tree, carry: Tree = None, *masks: jax.Array) -> tuple[Any, ...]:
    """Return the argument types with symbolic time and batch."""
    t, b = export.symbolic_shape("t, b")
    over = lambda *axes: lambda a: jax.ShapeDtypeStruct((*axes, *a.shape[len(axes) :]), a.dtype)  # noqa: E731
    timed = jax.tree.map(over(t, b), (xs, masks))
    types = jax.tree.map(over(), params), timed[0], jax.tree.map(over(b), carry), *timed[1]
    return types if carry is not None else types[:2]


LAWS_OF_EXPORT: dict[str, Callable[[Subject], None]] = {"export": law_export}
"""Laws of exported programs, by name; each asserts, for a `Subject`, the first line of its docstring."""
