"""One step of any cell on random numbers, from which the purpose of its gates follows.

The purpose of a gate cannot be read off its name. It follows from the equations: an identity between two quantities
that holds to 1e-9 on random numbers in float64 holds always. In this way `jaxseq.study.memory` finds the gate that
retains, `jaxseq.study.timelines` the one that shows, and `jaxseq.study.saturation` the quantities between 0 and 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq.cells import Cell, lift_sequence
from jaxseq.cells._recipe import join, remembered, split
from jaxseq.errors import InputError
from jaxseq.interventions import intervene
from jaxseq.notation import Array, Carry, Key, Params, Tree
from jaxseq.recurrence import over_features
from jaxseq.trees import at, named_leaves, noisy, numpy_generator

EQUAL = 1e-9
"""How near two quantities must be, relative to 1, in float64 on random numbers, to be the same."""


SIZES = 3, 5
"""D and H of the cell that is examined."""


class Drawn(NamedTuple):
    """The arguments of one step: params, an input ``[B, D]`` and the carry before it."""

    params: Params
    x: Tree
    carry: Carry


class Look(NamedTuple):
    """One step of a cell on random numbers, in float64, as NumPy arrays by name; their first axis counts the draws.

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


class Numbers(NamedTuple):
    """The numbers of a step: the cell in two parts (`split`), then as `Drawn`, with a first axis for the draws."""

    static: Any
    held: list[Any]
    params: Params
    carry: Carry
    x: Tree


def numbers_at(cell: Cell, seed: int = 0, size: float = 0.5, draws: int = 1) -> Numbers:
    """Return a random carry and x of that size, with random params; where these give NaN, those of init.

    Raises:
      InputError: if the cell's init needs more than sizes.
    """
    with exact():
        batch = (2, *(3, 2)[: cell.spatial])

        def like(key: Key, x: Array) -> Drawn:
            params = cell.init(key, *SIZES, dtype=jnp.float64)
            return Drawn(params, at(cell.lift(x), 0), cell.initial_carry(params, batch))

        x = jax.ShapeDtypeStruct((1, *batch, SIZES[0]), jnp.float64)
        try:
            shapes = jax.eval_shape(like, jax.eval_shape(lambda: jax.random.key(0)), x)
        except TypeError as error:
            raise InputError(
                f"{cell.name} cannot be made from sizes alone ({error}); which gate retains is then found from "
                "its inputs, keeps_in(cell, params, xs, carry), and passed on as keep"
            ) from error

        def drawn() -> Drawn:
            # one each for params, x, and the noise on params, x and carry
            keys = jax.random.split(jax.random.key(seed), 5)
            x = numpy_generator(keys[1]).standard_normal((1, *batch, SIZES[0]))
            made = like(keys[0], jnp.asarray(x, jnp.float64))
            return Drawn(*map(noisy, keys[2:], made))

        return _numbers(cell, shapes, drawn, seed, size, draws)


def numbers_near(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    seed: int = 0,
    size: float = 0.5,
    draws: int = 1,
) -> Numbers:
    """Return the result of `numbers_at` at the sizes of a run, with random numbers instead of its own.

    Raises:
      InputError: within jit, if such numbers give NaN, so that those of the run are needed.
    """
    xs = lift_sequence(cell, xs)

    def like() -> Drawn:
        start = cell.initial_carry(params, jax.tree.leaves(xs)[0].shape[1:-1]) if carry is None else carry
        return Drawn(params, at(xs, 0), start)

    def drawn() -> Drawn:
        if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((params, carry, xs))):
            raise InputError(
                f"{cell.name}: the purpose of its gates is found from its own numbers; call this outside jit"
            )
        own = jax.tree.map(in_float64, like())
        return own._replace(carry=noisy(jax.random.key(seed), own.carry))

    shapes = jax.eval_shape(like)  # in the dtypes of the run
    with exact():
        return _numbers(cell, shapes, drawn, seed, size, draws)


@remembered
def look_at(cell: Cell, seed: int = 0, size: float = 0.5, draws: int = 1) -> Look:
    """Return one step from the numbers of `numbers_at`.

    Raises:
      InputError: as `numbers_at`.
    """
    return look(numbers_at(cell, seed, size, draws))


def look_near(cell: Cell, params: Params, xs: Tree, carry: Carry | None = None, **options: Any) -> Look:
    """Return one step from the numbers of `numbers_near`.

    Raises:
      InputError: as `numbers_near`.
    """
    return look(numbers_near(cell, params, xs, carry, **options))


def look(numbers: Numbers) -> Look:
    """Return one step from these numbers."""
    with exact():
        ratios, after, named, out = jax.tree.map(np.asarray, _looker(numbers.static)(*numbers[1:]))
    return Look(dict(zip(named_leaves(after), ratios, strict=True)), named_leaves(after), named_leaves(named), out)


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Compute at once, though within jit, and in float64."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


def _numbers(cell: Cell, like: Drawn, drawn: Callable[[], Drawn], seed: int, size: float, draws: int) -> Numbers:
    rng = np.random.default_rng(seed)

    def any_of(scale: float, tree: Tree) -> Tree:
        return jax.tree.map(lambda a: _any(rng, scale, (draws, *a.shape), a.dtype), tree)

    static, arrays = split(cell)
    # arrays in the cell, such as a source, belong to the run: random numbers where they are not known within jit
    traced = [isinstance(a, jax.core.Tracer) for a in arrays]
    held = [
        _any(rng, size, a.shape, a.dtype) if unknown else in_float64(a)
        for a, unknown in zip(arrays, traced, strict=True)
    ]
    made = Numbers(static, held, any_of(0.5, like.params), any_of(size, like.carry), any_of(size, like.x))
    # some cells give NaN for any numbers but their own, such as a division by a sum of weights
    seen = _looker(static)(*made[1:])
    if all(np.isfinite(a).all() for a in jax.tree.leaves(seen)):
        return made
    own = drawn()  # slower: random numbers take a second to compile
    larger = jax.tree.map(lambda a: a * (size / 0.5), (own.carry, own.x))
    return Numbers(static, held, *jax.tree.map(lambda a: a[None], (own.params, *larger)))


def _any(rng: np.random.Generator, scale: float, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return random numbers in double precision; of a mask all True, of whole numbers zeros."""
    # a mask of False would switch the step off; a counter starts at 0
    if not jnp.issubdtype(dtype, jnp.inexact):
        return np.full(shape, jnp.issubdtype(dtype, bool), dtype)
    wide = np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64
    return rng.normal(0, scale, shape).astype(wide)


def uneven(a: Array) -> Array:
    """Return a direction for an array in which no two numbers move alike."""
    return jnp.sin(1 + jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape)


def in_float64(a: Any) -> Array:
    """Return an array with float64 instead of another floating type; others stay as they are."""
    a = jnp.asarray(a)
    return a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a


@remembered
def _looker(static: Any) -> Callable[..., tuple[list[Array], Carry, Tree, Tree]]:
    def seen(arrays: list[Array], params: Params, carry: Carry, x: Tree) -> tuple[list[Array], Carry, Tree, Tree]:
        cell = join(static, arrays)
        wx, uh = cell.input_terms(params, x), cell.hidden_terms(params, carry)
        leaves, structure = jax.tree.flatten(carry)
        ratios = []
        for n, leaf in enumerate(named_leaves(carry)):
            still = held(cell, holdable(cell, leaf, params, carry, wx, uh))
            # entries that differ, so that a product with a matrix cannot look like one with a gate
            along = uneven(leaves[n])

            def new(old: Array, n: int = n, still: Cell = still) -> Array:
                whole = jax.tree.unflatten(structure, [*leaves[:n], old, *leaves[n + 1 :]])
                return jax.tree.leaves(still.equations(params, whole, wx, uh)[0])[n]

            # elementwise: J v / v is the gate where J is diagonal, and not constant in v elsewhere
            ratios.append(jax.jvp(new, (leaves[n],), (along,))[1] / along)
        after, out, named = cell.equations(params, carry, wx, uh)
        return ratios, after, named, out if isinstance(out, jax.Array) else None

    # over the draws; arrays of the cell are the same for all
    return jax.jit(jax.vmap(seen, in_axes=(None, 0, 0, 0)))


def numbers_for(cell: Cell, params: Params, xs: Tree, carry: Carry | None = None) -> Numbers:
    """Return `numbers_at`; for a cell that cannot be made from sizes alone, `numbers_near` the run."""
    try:
        return numbers_at(cell)
    except InputError:
        return numbers_near(cell, params, xs, carry)


def look_for(
    cell: Cell, params: Params, xs: Tree, carry: Carry | None = None, *, size: float = 0.5, draws: int = 1
) -> Look:
    """Return `look_at`; for a cell that cannot be made from sizes alone, `look_near` the run."""
    try:
        return look_at(cell, size=size, draws=draws)
    except InputError:
        return look_near(cell, params, xs, carry, size=size, draws=draws)


def over(gate: Any, leaf: Any) -> Any:
    """Return a gate with trailing axes of length 1 up to the rank of its part of the state, a matrix for some cells."""
    return over_features(gate, leaf)


def holdable(cell: Cell, leaf: str, *step: Tree) -> tuple[str, ...]:
    """Return the gates that can be held while an old leaf of the carry changes; ``step`` is given to `equations`.

    Left out are those that nothing in a step uses, and other names of the new leaf itself.
    """
    same: set[str] = set()

    def named_of(*step: Tree) -> Tree:
        new, _, named = cell.equations(*step)
        # a gate that is the new state itself must not be held, or the derivative would be 0
        state = named_leaves(new)[leaf]
        same.update(name for name, value in named_leaves(named).items() if value is state)
        return named

    # intervene raises for a gate that nothing uses
    def usable(name: str) -> bool:
        try:
            jax.eval_shape(held(cell, (name,)).equations, *step)
        except InputError:
            return False
        return True

    return tuple(name for name in named_leaves(jax.eval_shape(named_of, *step)) if name not in same and usable(name))


def held(cell: Cell, names: tuple[str, ...]) -> Cell:
    """Return the cell whose gates of these names do not change with their inputs, to first order."""
    return intervene(cell, {name: lambda value, gate: lax.stop_gradient(value) for name in names}) if names else cell
