"""Nonlinear cells in parallel over time: all T steps at once, by Newton's method.

The states of a sequence solve one system of equations, ``h_t = F(h_{t-1}, x_t)`` for all t. Each round improves a guess
of all states:

1. JAX linearises every step at the guess: ``F(h_{t-1}) + A_t (h'_{t-1} - h_{t-1})``;
2. the resulting linear recurrence is solved in depth about 2 log2 T: its solution is the next guess;
3. the rounds end when every state equals the result of its step within a few units in the last place.

Step n is exact after n rounds for any A, so T rounds are always enough. A cell that forgets takes 3 to 10. Leading
steps that agree are not changed again, and a state that is not finite is replaced by the result of its step, so neither
rounding nor overflow can undo progress. Steps that do not agree after `rounds` rounds are computed one by one. So the
result is always that of `scan`, including NaN and infinities. If Newton's method does not converge, it takes as long as
`scan`, and `newton_solution` reports it.

The Jacobian A is block diagonal; `_structure` finds its blocks in the jaxpr of a step. If the blocks are small, A is
exact (DEER). If a matrix mixes more than `FULL` numbers, A has only the effect of each unit on itself (quasi-DEER):
each round is then cheap, and more rounds are needed. The derivative is that of the solution, by the implicit function
theorem: one linear recurrence with the exact A, which JAX transposes. With quasi-DEER this recurrence is also solved in
rounds.

This is meant for accelerators that a batch does not fill; it was not measured on one. Each round has depth about 2 log2
T, and a CPU does all the work. `python -m benchmarks newton` on 2 shared cores, H = 8, B = 1, T = 10000, value and
gradient: 3 to 5 rounds for the cells of ParaRNN, GRU and RNN, with initial and with trained params, a depth of T / 100,
and 1.5 to 4 times the time of `deferred`; 12 rounds for an LSTM with initial params. A trained LSTM and a trained LEM,
which had learnt to add over 50 steps, do not converge in 100 rounds at this length: their perturbations grow with time.

References: Lim, Zhu, Selfridge & Kasim 2024, "Parallelizing non-linear sequential models over the sequence length"
(DEER), arXiv:2309.12252; Gonzalez, Warrington, Smith & Linderman 2024, "Towards scalable and stable parallelization of
nonlinear RNNs" (quasi-DEER, ELK), arXiv:2407.19115; Danieli et al. 2026, "ParaRNN", arXiv:2510.21450.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.cells import Cell
from jaxseq.cells._base import Sourced
from jaxseq.cells._closed import closes_over_traced
from jaxseq.cells._recipe import join, split
from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.placement import room, settled
from jaxseq.recurrence._layout import CUTS, Layout, layout_of
from jaxseq.recurrence._rounds import Limits, linear, olds_of, one_of, solved
from jaxseq.recurrence._scan import hold, reset_carry, restart, scan
from jaxseq.trees import at, step_shapes

Jacobian = Literal["auto", "full", "diagonal"]


class Solution(NamedTuple):
    """The outputs of a sequence, and how Newton's method computed them.

    Fields:
      outs: the outputs, as `newton` returns them.
      rounds: the number of rounds, int32.
      steps: the number of steps taken one by one after the last round, int32; 0 if Newton's method converged, T if it
        was not used.
      residual: ``[B]``, the largest difference between a state and the result of its step, relative to the larger of 1
        and its size; NaN in a row with a state that is not finite.
      block: the size of the largest block of the Jacobian that the rounds used, int32.
    """

    outs: Tree
    rounds: Array
    steps: Array
    residual: Array
    block: Array


def newton(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    jacobian: Jacobian = "auto",
    rounds: int = 100,
    tolerance: float | None = None,
    damping: float = 0.0,
    start: Tree = None,
) -> tuple[Carry, Tree]:
    """Run `cell` over ``xs [T, B, D]`` as `scan` does, in parallel over time by Newton's method.

    Set options by ``recurrence=functools.partial(newton, damping=0.1)``. `scan` runs custom cells whose functions close
    over traced values, and programs exported for any T.

    Args:
      jacobian: "full" uses the whole Jacobian, "diagonal" only the effect of each unit on itself; "auto" uses the whole
        if its blocks have at most 64 numbers.
      rounds: the largest number of rounds; steps that do not agree then are taken one by one.
      tolerance: the largest allowed difference between a state and the result of its step, relative to the larger of 1
        and its size; 16 units in the last place by default.
      damping: above 0, each round solves a damped system (ELK), which takes several times as long. It helps if
        linearised states grow slowly, but not if they explode. Rounds of a tanh network over 64 steps with U of norm
        0.9, 1.2, 1.6 and 2: 6, 9, 21 and 30; with damping 0.03: 6, 7, 56 and 64.
      start: the first guess, a tree like the carry with leaves ``[T, B, ...]``, such as the ``carries`` of `trace` with
        the previous train step's params; zeros by default.

    Raises:
      InputError: if the carry contains integers, an option is out of range, or the blocks are large even for
        "diagonal".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import gru
      >>> from jaxseq.recurrence import newton
      >>> params, xs = gru.init(jax.random.key(0), 3, 5), jnp.ones((1000, 2, 3))
      >>> jax.grad(lambda p: unroll(gru, p, xs, recurrence=newton)[1].sum())(params).U.shape
      (5, 15)
    """
    last, solution = newton_solution(
        cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse,
        jacobian=jacobian, rounds=rounds, tolerance=tolerance, damping=damping, start=start,
    )  # fmt: skip
    return last, solution.outs


def newton_solution(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    jacobian: Jacobian = "auto",
    rounds: int = 100,
    tolerance: float | None = None,
    damping: float = 0.0,
    start: Tree = None,
) -> tuple[Carry, Solution]:
    """Run `cell` as `newton` does; the output is a `Solution`: the outputs, rounds and residual.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import gru
      >>> from jaxseq.recurrence import newton_solution
      >>> params, xs = gru.init(jax.random.key(0), 3, 5), jnp.ones((1000, 2, 3))
      >>> carry, seen = unroll(gru, params, xs, recurrence=newton_solution)
      >>> seen.outs.shape, int(seen.rounds) < 10, int(seen.steps)
      ((1000, 2, 5), True, 0)
    """
    T, *batch = jax.tree.leaves(xs)[0].shape[: -1 - cell.spatial]
    limits = Limits(rounds, tolerance, damping)
    _check(cell, carry, T, limits, jacobian, start)
    static, arrays = split(cell)  # a custom_jvp must not close over anything that it differentiates
    # a bound source has rows: if their number is symbolic, a step without rows cannot be traced
    symbols = [n for n in (batch if arrays or isinstance(params, Sourced) else []) + [T] if not isinstance(n, int)]
    if symbols or not T or closes_over_traced(cell, params, carry, step_shapes(xs)):
        last, outs = scan(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)
        return last, Solution(outs, jnp.int32(0), jnp.int32(T), jnp.zeros(batch, jnp.float32), jnp.int32(0))
    terms = cell.input_terms(params, xs)
    layout = layout_of(cell, params, carry, xs, terms, len(batch), jacobian)
    how = _How(static, layout, limits, reverse)
    bound, initial, sequence = (arrays, params), reset_carry(cell, params, xs, resets), (terms, mask, resets)
    carry = settled(partial(_first, how), carry, bound, initial, sequence)
    guess = jax.tree.map(lambda a: room(T, a), carry) if start is None else jax.tree.map(lax.stop_gradient, start)
    states, found = _solve(how, bound, initial, sequence, carry, guess)
    olds = olds_of(states, carry, reverse)
    if resets is not None:
        olds = jax.vmap(lambda begins, old: restart(begins, initial, old))(resets, olds)
    outs = jax.vmap(lambda old, wx: cell.advance(params, old, wx)[1])(olds, terms)
    outs = hold(mask, outs, jax.tree.map(jnp.zeros_like, outs))
    rounds_taken, steps = (a.astype(jnp.int32) for a in found[:2])
    solution = Solution(outs, rounds_taken, steps, found[2], jnp.int32(layout.largest))
    return at(states, 0 if reverse else -1), solution


class _How(NamedTuple):
    """The static arguments: the cell without its arrays, the blocks of its Jacobian, limits, and the direction."""

    static: Any
    layout: Layout
    limits: Limits
    reverse: bool


def _check(cell: Cell, carry: Carry, T: Any, limits: Limits, jacobian: Jacobian, start: Tree) -> None:
    name = f"newton({cell.name})"
    choose("jacobian", jacobian, CUTS)
    if limits.rounds < 1:
        raise InputError(f"{name}: rounds must be at least 1; got {limits.rounds}")
    if limits.tolerance is not None and not 0 < limits.tolerance < math.inf:
        raise InputError(f"{name}: tolerance must be a number above 0; got {limits.tolerance}")
    if not 0 <= limits.damping < math.inf:
        raise InputError(f"{name}: damping must be a number of at least 0; got {limits.damping}")
    for path, a in jax.tree.leaves_with_path(carry):
        if not jnp.issubdtype(a.dtype, jnp.floating):
            where = f"carry{jax.tree_util.keystr(path)} is {a.dtype}"
            raise InputError(f"{name}: needs a carry of floating numbers, which it linearises; {where}. Use deferred")
    if start is None:
        return
    wanted = jax.tree.map(lambda a: jax.ShapeDtypeStruct((T, *a.shape), a.dtype), carry)
    got = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), start)
    if jax.tree.flatten(got) != jax.tree.flatten(wanted):
        raise InputError(f"{name}: start must be a tree like the carry after each step, {wanted}; got {got}")


def _step(how: _How, bound: tuple, initial: Carry | None, old: Carry, at_t: tuple) -> Carry:
    """Return the carry after one step."""
    (arrays, params), (wx, real, begins) = bound, at_t
    old = restart(begins, initial, old)
    return hold(real, join(how.static, arrays).advance(params, old, wx)[0], old)


def _first(how: _How, carry: Carry, bound: tuple, initial: Carry | None, sequence: tuple) -> Carry:
    """Return the carry after the first step, used only for its type."""
    return _step(how, bound, initial, carry, at(sequence, 0))


def _news(how: _How, bound: tuple, initial: Carry | None, sequence: tuple, olds: Carry) -> Carry:
    """Return the carry after every step, with each step taken from its carry in `olds`."""
    return jax.vmap(lambda old, at_t: _step(how, bound, initial, old, at_t))(olds, sequence)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(
    how: _How, bound: tuple, initial: Carry | None, sequence: tuple, carry: Carry, guess: Carry
) -> tuple[Carry, tuple[Array, Array, Array]]:
    """Return the carry after each step ``[T, B, ...]``, the rounds, the steps and the residual."""
    states, (rounds, steps, residual) = solved(
        partial(_news, how, bound, initial, sequence),
        lambda old, place: _step(how, bound, initial, old, one_of(sequence, place)),
        carry,
        guess,
        how.layout,
        how.limits,
        reverse=how.reverse,
    )
    # as floats: an integer's tangent does not record the axes of a `jax.shard_map` over which it varies
    return states, (rounds.astype(jnp.float32), steps.astype(jnp.float32), residual)


@_solve.defjvp
def _tangents(how: _How, primals: tuple, tangents: tuple) -> tuple:
    bound, initial, sequence, carry, _ = primals
    dbound, dinitial, dsequence, dcarry, _ = tangents
    states, found = _solve(how, *primals)
    olds = olds_of(states, carry, how.reverse)
    terms, *marks = sequence

    def news(bound: tuple, initial: Carry | None, terms: Tree, olds: Carry) -> Carry:
        return _news(how, bound, initial, (terms, *marks), olds)

    # first the tangents from params, inputs and first carry, for all T at once; then the carry's linear recurrence
    dolds = olds_of(jax.tree.map(jnp.zeros_like, states), dcarry, how.reverse)
    moved = jax.jvp(news, (bound, initial, terms, olds), (dbound, dinitial, dsequence[0], dolds))[1]
    dstates = linear(partial(news, bound, initial, terms), olds, moved, how.layout, reverse=how.reverse)
    return (states, found), (dstates, jax.tree.map(jnp.zeros_like, found))
