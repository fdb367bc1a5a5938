"""Retention without a gate: parts of the carry that every step multiplies by the same linear map.

A linear recurrent unit's state is ``s' = lambda * s + written``, with eigenvalues that are parameters: it retains,
though no gate decides how much. The map is found as gates are (`jaxseq.study.memory`), by differentiation: it is a
derivative of the new state by the old one, gates held, that is the same for any state and input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell, lift_sequence
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.study.gradients import is_real
from jaxseq.study.look import EQUAL, exact, held, holdable
from jaxseq.trees import at, named_leaves

LARGEST = 1024
"""Most numbers of state whose eigenvalues are computed."""


class Constant(NamedTuple):
    """Parts of the carry that each step multiplies by one linear map, and adds to.

    Fields:
      leaves: the names of the parts.
      moduli: ``[N]``, of the map's eigenvalues, the largest first: the share of each direction left after a step.
      half_lives: ``[N]``, steps until half is lost, ``ln(1/2) / ln |lambda|``; inf where nothing is lost.
    """

    leaves: tuple[str, ...]
    moduli: np.ndarray
    half_lives: np.ndarray


def constant_map(
    cell: Cell, params: Params, xs: Tree, *, leaves: Sequence[str] | None = None, seed: int = 0
) -> Constant | None:
    """Return the parts that a cell retains without a gate; None for no part, or if the state is too large to tell.

    Args:
      cell: any Cell whose step takes one row.
      params: its parameters, whose own numbers count.
      xs: ``[T, B, D]``, for its sizes alone.
      leaves: the parts of the carry to look at, such as those of one layer, the others being inputs; all by default.
      seed: of the two states and inputs at which derivatives are compared.

    Example:
      >>> from jaxseq.cells import lru, rnn
      >>> xs = jnp.ones((4, 1, 3))
      >>> found = constant_map(lru, lru.init(jax.random.key(0), 3, 5), xs)
      >>> found.leaves, bool((found.moduli < 1).all()), constant_map(rnn, rnn.init(jax.random.key(0), 3, 5), xs)
      (('re', 'im'), True, None)
    """
    # in float64: float32's rounding would make equal derivatives look different
    with exact():
        wide = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64) if is_real(a) else a, tree)  # noqa: E731
        params = wide(jax.tree.map(jnp.asarray, params))
        x = wide(jax.tree.map(jnp.asarray, at(lift_sequence(cell, xs), 0, 0)))
        try:
            start = wide(cell.initial_carry(params))
            real = {name: a for name, a in named_leaves(start).items() if is_real(a)}
            sizes = {name: math.prod(a.shape) for name, a in real.items() if leaves is None or name in leaves}
            if not sizes or sum(sizes.values()) > LARGEST or cell.spatial:
                return None
            rng = np.random.default_rng(seed)
            # counters stay as they are: a random one would be another step
            draw = lambda tree: jax.tree.map(  # noqa: E731
                lambda a: jnp.asarray(rng.normal(0, 0.5, a.shape)) if is_real(a) else a, tree
            )
            # a constant map has the same derivatives at two random places; a gated one does not
            first, second = (_blocks(cell, params, draw(start), draw(x), sizes) for _ in range(2))
        except (TypeError, ValueError):  # it reads a source, or takes more than one row
            return None
    return _of_blocks(first, second, sizes)


def _blocks(cell: Cell, params: Params, carry: Carry, x: Tree, sizes: dict[str, int]) -> dict[str, dict]:
    """Return the derivatives of each new part of the carry by each old one, gates held, as matrices."""
    wx, uh = cell.input_terms(params, x), cell.hidden_terms(params, carry)
    leaves, structure = jax.tree.flatten(carry)
    names = list(named_leaves(carry))
    found = {}
    for name in sizes:
        still = held(cell, holdable(cell, name, params, carry, wx, uh))

        def new(olds: dict[str, Array], name: str = name, still: Cell = still) -> Array:
            given = jax.tree.unflatten(structure, [olds.get(n, a) for n, a in zip(names, leaves, strict=True)])
            return named_leaves(still.equations(params, given, wx, uh)[0])[name].reshape(-1)

        olds = {n: a for n, a in zip(names, leaves, strict=True) if n in sizes}
        # blocks d new[name] / d old[n], all gates held
        by = jax.jacfwd(new)(olds)
        found[name] = {n: np.asarray(a).reshape(sizes[name], sizes[n]) for n, a in by.items()}
    return found


def _of_blocks(first: dict, second: dict, sizes: dict[str, int]) -> Constant | None:
    """Return the map of those parts that depend, by constant numbers, only on themselves and each other."""
    apart = lambda a, b: float(np.abs(a - b).max(initial=0))  # noqa: E731
    kept = [n for n in sizes if all(apart(first[n][m], second[n][m]) <= EQUAL for m in sizes)]
    # a part that reads a varying part varies as well: drop parts until those left read each other alone
    while lost := [n for n in kept if any(apart(first[n][m], 0) > EQUAL for m in sizes if m not in kept)]:
        kept = [n for n in kept if n not in lost]
    # parts that are overwritten whole at each step retain nothing
    kept = [n for n in kept if any(apart(first[n][m], 0) > EQUAL for m in kept)]
    if not kept:
        return None
    moduli = np.sort(np.abs(np.linalg.eigvals(np.block([[first[n][m] for m in kept] for n in kept]))))[::-1]
    if moduli[0] <= EQUAL:
        return None  # a shift register: nilpotent, so all values are gone after some steps
    # ln 0 = -inf is right: an eigenvalue of 0 has the half-life 0
    with np.errstate(divide="ignore"):
        lives = np.where(moduli < 1 - EQUAL, math.log(0.5) / np.log(np.minimum(moduli, 1 - EQUAL)), np.inf)
    return Constant(tuple(kept), moduli, lives)
