"""How long a cell remembers: which of its gates retains, the half-life of each unit, and what survives to the end.

Where the new state is ``k * old + what is written``, k is the gate that retains: f of an LSTM, z of a GRU here, and
one minus the update gate elsewhere. `keep_of` does not go by names. It holds a cell's gates at their values and
differentiates the new state along a random direction of the old: a gate that retains is the ratio of the two, unit by
unit. Everything else here takes that gate's values ``[T, B, H]``, from `jaxseq.study.gates_of`.

With the gates of every step known, what a unit retains of its state over the steps t+1 ... T is their product, and a
unit whose gate were always at its geometric mean k~ would have lost half of what it holds after ln(1/2) / ln k~ steps.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.cells import Cell
from jaxseq.errors import InputError, choose
from jaxseq.interventions import intervene
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.testing import Problem, Subject, at, draw, noisy

EQUAL = 1e-9
"""How near a gate and the derivative of the state must be, relative to 1, in float64 on a random problem."""


class Keep(NamedTuple):
    """Which gate retains which part of the carry; their names as in `jaxseq.interventions` (``"0.f"`` in a stack).

    Fields:
      leaf: the part of the carry, ``"c"``.
      gate: the gate, ``"f"``.
      inverted: whether it is one minus the gate that retains.
    """

    leaf: str
    gate: str
    inverted: bool = False

    def of(self, gates: Mapping[str, Array]) -> Array:
        """Return what retains, 1 keeping and 0 erasing, of gates by name (those of `gates_of`)."""
        gate = choose("gate", self.gate, gates)
        return 1 - gate if self.inverted else gate


class HalfLife(NamedTuple):
    """How long each unit retains, each ``[H]``.

    Fields:
      geometric_mean: of the gate that retains, over all real steps.
      half_life: steps until half is lost; inf where nothing is lost, 0 where one step erased all.
      censored: whether the half-life is longer than the longest sequence, so that it was not seen to pass.
    """

    geometric_mean: Array
    half_life: Array
    censored: Array


def keeps_of(cell: Cell, seed: int = 0) -> tuple[Keep, ...]:
    """Return every part of the carry that a gate retains, with that gate, as `keep_of` finds it out.

    Example:
      >>> from jaxseq.cells import lstm, gru, stack
      >>> [(keep.leaf, keep.gate) for keep in keeps_of(stack(lstm, gru))]
      [('0.c', '0.f'), ('1.h', '1.z')]
    """
    return keeps_seen(look_at(cell, seed))


def keep_of(cell: Cell, seed: int = 0) -> Keep | None:
    """Return which gate retains, found out from the cell's equations on a random problem; None where none does.

    A part of the carry is retained by a gate if, all gates held at their values, the derivative of the new one by the
    old one is that gate (or one minus it) and no unit's depends on another's. Works within jit.

    Args:
      cell: a Cell that ``init(key, input_size, hidden_size)`` makes; for another see `keeps_in`.
      seed: of the random problem.

    Raises:
      InputError: if the cell's init needs more than sizes.

    Example:
      >>> from jaxseq.cells import brc, gru, lstm, rnn
      >>> keep_of(lstm)
      Keep(leaf='c', gate='f', inverted=False)
      >>> keep_of(gru).gate, keep_of(rnn)
      ('z', None)
    """
    return next(iter(keeps_of(cell, seed)), None)


def keeps_in(cell: Cell, params: Params, carry: Carry | None, xs: Tree, seed: int = 0) -> tuple[Keep, ...]:
    """Return what `keeps_of` does, near params, carry and ``xs [T, B, D]`` that are given: not within jit.

    For a cell whose init needs more than sizes, such as one that reads a source with attention.
    """
    return keeps_seen(look_near(cell, params, carry, xs, seed))


def half_life(keep: Array, mask: Array | None = None) -> HalfLife:
    """Return each unit's half-life, ln(1/2) / ln k~, with k~ the geometric mean of its gate over steps and batch.

    Args:
      keep: ``[T, B, H]``, the values of the gate that retains. A gate above 1 loses nothing; one below 0, which flips
        the sign of what it retains, gives NaN.
      mask: bool ``[T, B]``, True where a step is real.

    Example:
      >>> import jax.numpy as jnp
      >>> life = half_life(jnp.broadcast_to(jnp.array([0.5, 0.9, 0.99]), (50, 1, 3)))
      >>> [round(float(steps), 4) for steps in life.half_life], life.censored.tolist()
      ([1.0, 6.5788, 68.9676], [False, False, True])
    """
    keep, real = _real(keep, mask)
    logs = jnp.where(real, jnp.log(jnp.where(real, keep, jnp.ones_like(keep))), jnp.zeros_like(keep))
    axes = tuple(range(keep.ndim - 1))
    mean = logs.sum(axes) / jnp.broadcast_to(real, keep.shape).sum(axes, dtype=keep.dtype)
    losing = jnp.where(mean < 0, mean, -jnp.ones_like(mean))
    life = jnp.where(mean < 0, -jnp.log(2.0).astype(keep.dtype) / losing, jnp.full_like(mean, jnp.inf))
    life = jnp.where(jnp.isnan(mean), mean, life)
    longest = jnp.broadcast_to(real, keep.shape).sum(0).max()
    return HalfLife(jnp.exp(mean), life, life > longest.astype(keep.dtype))


def time_constant(keep: Array, mask: Array | None = None) -> Array:
    """Return ``1 / (1 - k)`` of the mean k of each unit, ``[H]``: the steps after which a leak of 1 - k has lost 1/e.

    What a chrono initialisation spreads evenly over 2 ... T_max (Tallec & Ollivier 2018, arXiv:1804.11188).

    Example:
      >>> import jax.numpy as jnp
      >>> time_constant(jnp.full((8, 1, 1), 0.75)).tolist()
      [4.0]
    """
    keep, real = _real(keep, mask)
    axes = tuple(range(keep.ndim - 1))
    count = jnp.broadcast_to(real, keep.shape).sum(axes, dtype=keep.dtype)
    return 1 / (jnp.where(real, 1 - keep, jnp.zeros_like(keep)).sum(axes) / count)


def survival(keep: Array, mask: Array | None = None) -> Array:
    """Return what is left at the end of what a unit held after each step: ``[T, B, H]``, the products of later gates.

    ``survival[t]`` is ``keep[t + 1] * ... * keep[T - 1]``, so that the last is 1: the derivative of the last state by
    the state after step t, as far as it goes through the state itself. Padded steps retain all.

    Example:
      >>> import jax.numpy as jnp
      >>> survival(jnp.full((4, 1, 1), 0.5)).ravel().tolist()
      [0.125, 0.25, 0.5, 1.0]
    """
    keep, real = _real(keep, mask)
    later = jnp.concatenate([jnp.where(real, keep, jnp.ones_like(keep))[1:], jnp.ones_like(keep[:1])])
    return lax.cumprod(later, axis=0, reverse=True)


def named_leaves(tree: Tree) -> dict[str, Any]:
    """Return the leaves of a tree of gates, or of a carry, by name: ``"f"``, and in a stack ``"0.f"``."""
    return {jax.tree_util.keystr(path, simple=True, separator="."): a for path, a in jax.tree.leaves_with_path(tree)}


def over(gate: Any, leaf: Any) -> Any:
    """Return a gate with trailing axes of length 1 up to the rank of what it retains, a matrix for some cells."""
    return over_features(gate, leaf)


def holdable(cell: Cell, leaf: str, *step: Tree) -> tuple[str, ...]:
    """Return the gates that can be held while an old leaf of the carry changes; ``step`` is what `gates` takes.

    Left out are those that nothing in a step uses, and other names of the new leaf itself.
    """
    same: set[str] = set()

    def look(*step: Tree) -> Tree:
        new, _, named = cell.gates(*step)
        state = named_leaves(new)[leaf]
        same.update(name for name, value in named_leaves(named).items() if value is state)
        return named

    def usable(name: str) -> bool:
        try:
            jax.eval_shape(held(cell, (name,)).gates, *step)
        except InputError:
            return False
        return True

    return tuple(name for name in named_leaves(jax.eval_shape(look, *step)) if name not in same and usable(name))


def held(cell: Cell, names: tuple[str, ...]) -> Cell:
    """Return the cell whose gates of these names do not change with what they are computed from, to first order."""
    return intervene(cell, {name: lambda value, gate: lax.stop_gradient(value) for name in names}) if names else cell


class Look(NamedTuple):
    """One step of a cell on a random problem, in float64, as NumPy arrays by name.

    Fields:
      ratios: of each part of the carry, the derivative by its own old value, gates held.
      new: each part of the carry after the step.
      gates: each named quantity.
      out: the output, if it is an array.
    """

    ratios: dict[str, np.ndarray]
    new: dict[str, np.ndarray]
    gates: dict[str, np.ndarray]
    out: np.ndarray | None


@functools.cache
def look_at(cell: Cell, seed: int = 0, size: float = 0.5, batch: int = 2) -> Look:
    """Return one step on a random problem: of any numbers of that size, or if NaN comes of them of those init draws.

    Raises:
      InputError: if the cell's init needs more than sizes.
    """
    with jax.ensure_compile_time_eval(), jax.enable_x64(True), jax.default_matmul_precision("highest"):
        subject = Subject(cell, seed=seed)
        try:
            shapes = jax.eval_shape(lambda: draw(subject, 1, (batch,)))
        except TypeError as error:
            raise InputError(
                f"{cell.name} cannot be made from sizes alone ({error}); which gate retains is then found out from "
                "what it runs on, keeps_in(cell, params, carry, xs), and passed on as keep"
            ) from error
        rng = np.random.default_rng(seed)
        any_numbers = jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 0.5, a.shape), a.dtype), shapes)
        scaled = jax.tree.map(lambda a: a * (size / 0.5), (any_numbers.carry, any_numbers.xs))
        seen = _look(cell, Problem(any_numbers.params, *scaled))
        if all(np.isfinite(a).all() for a in jax.tree.leaves(seen)):
            return seen
        drawn = draw(subject, 1, (batch,))  # slower: random numbers take a second to compile
        return _look(cell, Problem(drawn.params, *jax.tree.map(lambda a: a * (size / 0.5), (drawn.carry, drawn.xs))))


def look_near(cell: Cell, params: Params, carry: Carry | None, xs: Tree, seed: int = 0) -> Look:
    """Return the first step of a run in float64, with noise on the carry it starts from.

    Raises:
      InputError: within jit.
    """
    if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((params, carry, xs))):
        raise InputError(f"{cell.name}: which gate retains is found out from numbers; call this outside jit")
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        exact = lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a  # noqa: E731
        params, carry, xs = jax.tree.map(lambda a: exact(jnp.asarray(a)), (params, carry, xs))
        if carry is None:
            carry = cell.initial_carry(params, jax.tree.leaves(xs)[0].shape[1:-1])
        return _look(cell, Problem(params, noisy(jax.random.key(seed), carry), at(xs, slice(1))))


def _look(cell: Cell, problem: Problem) -> Look:
    @jax.jit
    def look(params: Params, carry: Carry, x: Tree) -> tuple[list[Array], Carry, Tree, Tree]:
        wx, uh = cell.input_terms(params, x), cell.hidden_terms(params, carry)
        leaves, structure = jax.tree.flatten(carry)
        ratios = []
        for n, leaf in enumerate(named_leaves(carry)):
            still = held(cell, holdable(cell, leaf, params, carry, wx, uh))
            along = jnp.sin(1 + jnp.arange(leaves[n].size, dtype=leaves[n].dtype)).reshape(leaves[n].shape)

            def new(old: Array, n: int = n, still: Cell = still) -> Array:
                whole = jax.tree.unflatten(structure, [*leaves[:n], old, *leaves[n + 1 :]])
                return jax.tree.leaves(still.gates(params, whole, wx, uh)[0])[n]

            ratios.append(jax.jvp(new, (leaves[n],), (along,))[1] / along)
        after, out, named = cell.gates(params, carry, wx, uh)
        return ratios, after, named, out if isinstance(out, jax.Array) else None

    seen = look(problem.params, problem.carry, at(problem.xs, 0))
    ratios, after, named, out = jax.tree.map(np.asarray, seen)
    return Look(dict(zip(named_leaves(after), ratios, strict=True)), named_leaves(after), named_leaves(named), out)


def look_for(cell: Cell, params: Params, carry: Carry | None, xs: Tree) -> Look:
    """Return `look_at`, or for a cell that cannot be made from sizes alone `look_near` what it runs on."""
    try:
        return look_at(cell)
    except InputError:
        return look_near(cell, params, carry, xs)


def keeps_seen(seen: Look) -> tuple[Keep, ...]:
    """Return what `keeps_of` does, of a step that was looked at."""
    return tuple(keep for leaf, ratio in seen.ratios.items() for keep in _matching(leaf, ratio, seen.gates))


def _matching(leaf: str, ratio: np.ndarray, named: Mapping[str, np.ndarray]) -> list[Keep]:
    """Return the first gate that is everywhere the ratio, or one minus it; none where the ratio is 0."""
    if not np.abs(ratio).max(initial=0) > EQUAL:
        return []
    for inverted in (False, True):
        for name, gate in named.items():
            if gate.ndim > ratio.ndim or not np.issubdtype(gate.dtype, np.floating):
                continue
            kept = over(1 - gate if inverted else gate, ratio)
            fits = all(a in (1, b) for a, b in zip(kept.shape, ratio.shape, strict=True))
            if fits and np.abs(ratio - kept).max() <= EQUAL:
                return [Keep(leaf, name, inverted)]
    return []


def _real(keep: Array, mask: Array | None) -> tuple[Array, Array]:
    """Return ``keep`` as an array, and the mask over its features."""
    keep = jnp.asarray(keep)
    if keep.ndim < 2:
        raise InputError(f"expected a gate's values [T, B, H]; got the shape {keep.shape}")
    real = jnp.ones(keep.shape[:-1], bool) if mask is None else jnp.asarray(mask)
    if real.dtype != bool or real.shape != keep.shape[: real.ndim]:
        raise InputError(f"expected a mask bool [T, B] = {keep.shape[:-1]}; got {real.dtype} of shape {real.shape}")
    return keep, over_features(real, keep)
