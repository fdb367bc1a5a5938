"""A carry's numbers grouped into the blocks of a step's Jacobian, and that Jacobian at every step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree, wide
from jaxseq.recurrence._structure import blocks, own
from jaxseq.trees import at

FULL = 64
"""Largest block that "auto" solves for; its Jacobian has the square of this for each row and step."""

CUTS = {"auto": (0, 1, 2), "full": (0,), "diagonal": (1, 2)}
"""For each kind of Jacobian, the cuts of a step's mixing that are tried in turn: none, all but products, all."""


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """How the numbers of a carry form blocks.

    Fields:
      blocks: indices into a row of the carry, an array ``[N, K]`` for each block size.
      rows: number of batch axes of the carry.
      cut: how much of a step's mixing is cut before it is linearised, see `CUTS`; 0 is exact.
    """

    blocks: tuple[np.ndarray, ...]
    rows: int
    cut: int = 0

    @property
    def largest(self) -> int:
        """The size of the largest block."""
        return max((block.shape[1] for block in self.blocks), default=0)

    def linearised(self, news: Callable[[Carry], Carry], olds: Carry) -> tuple[Carry, list[Array]]:
        """Return ``news(olds)``, with olds ``[T, B, ...]``, and for each block size ``A [T, B, N, K, K]``."""
        new, push = jax.linearize(_cheaper(self.cut, news), olds)
        leaves, structure = jax.tree.flatten(olds)
        sizes = [math.prod(a.shape[1 + self.rows :]) for a in leaves]
        ends = np.cumsum(sizes)[:-1]
        # one tangent for the first number of all blocks, one for the second, ...: blocks do not depend on each other
        seeds = np.zeros((self.largest, sum(sizes)), bool)
        for block in self.blocks:
            for j in range(block.shape[1]):
                seeds[j, block[:, j]] = True

        def column(seed: Array) -> list[Array]:
            tangents = []
            for a, part in zip(leaves, jnp.split(seed, ends), strict=True):
                moved = part.reshape((1,) * (1 + self.rows) + a.shape[1 + self.rows :])
                # added to zeros that are sharded like the rows
                tangents.append(jnp.zeros_like(a) + jnp.broadcast_to(moved.astype(a.dtype), a.shape))
            return self.pack(push(jax.tree.unflatten(structure, tangents)))

        columns = jax.vmap(column)(jnp.asarray(seeds))
        return new, [jnp.moveaxis(c[: c.shape[-1]], 0, -1) for c in columns]

    def pack(self, carries: Carry) -> list[Array]:
        """Return carries ``[T, B, ...]`` as blocks: for each size an array ``[T, B, N, K]``, in at least float32."""
        leaves = jax.tree.leaves(carries)
        dtype = wide(max((a.dtype for a in leaves), key=lambda dtype: jnp.finfo(dtype).bits))
        lead = leaves[0].shape[: 1 + self.rows]
        flat = [a.reshape(*lead, math.prod(a.shape[1 + self.rows :])).astype(dtype) for a in leaves]
        whole = flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=-1)
        return [_taken(whole, block) for block in self.blocks]

    def unpack(self, packed: Sequence[Array], like: Carry) -> Carry:
        """Return a packed carry in the shapes and dtypes of a carry ``[T, B, ...]``: the inverse of `pack`."""
        leaves, structure = jax.tree.flatten(like)
        lead = leaves[0].shape[: 1 + self.rows]
        order = np.concatenate([block.ravel() for block in self.blocks])
        if len(packed) == 1 and _is_transposed(self.blocks[0]):
            N, K = self.blocks[0].shape
            whole = jnp.swapaxes(packed[0], -1, -2).reshape(*lead, N * K)
        else:
            flat = [a.reshape(*lead, block.size) for a, block in zip(packed, self.blocks, strict=True)]
            whole = flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=-1)
            whole = whole if (order == np.arange(len(order))).all() else whole[..., np.argsort(order)]
        ends = np.cumsum([math.prod(a.shape[1 + self.rows :]) for a in leaves])[:-1]
        parts = jnp.split(whole, ends, axis=-1)
        return jax.tree.unflatten(
            structure, [p.reshape(a.shape).astype(a.dtype) for p, a in zip(parts, leaves, strict=True)]
        )


def _cheaper(cut: int, step: Callable[[Carry], Carry]) -> Callable[[Carry], Carry]:
    return own(step, products=cut == 1) if cut else step


def _taken(whole: Array, block: np.ndarray) -> Array:
    """Return ``whole[..., block]``, by a reshape if possible."""
    (N, K), lead = block.shape, whole.shape[:-1]
    if block.size == whole.shape[-1]:
        if (block.ravel() == np.arange(N * K)).all():
            return whole.reshape(*lead, N, K)
        if _is_transposed(block):
            return jnp.swapaxes(whole.reshape(*lead, K, N), -1, -2)
    return whole[..., block]


def _is_transposed(block: np.ndarray) -> bool:
    """Return whether each block has one number from each of K leaves of N numbers."""
    N, K = block.shape
    return bool((block.T.ravel() == np.arange(N * K)).all())


def layout_of(
    cell: Cell, params: Params, carry: Carry, xs: Tree, terms: Tree, rows: int, jacobian: str, largest: int = FULL
) -> Layout:
    """Return the blocks of a cell's Jacobian.

    Args:
      cell: the cell.
      params: its parameters.
      carry: the carry before a step.
      xs: ``[T, B, D]``.
      terms: its input terms ``[T, B, ...]``.
      rows: number of batch axes.
      jacobian: "full", "diagonal" or "auto".
      largest: largest block size, unless `jacobian` is "full".

    Raises:
      InputError: if all allowed Jacobians have larger blocks.
    """
    axes = rows if all(isinstance(n, int) for n in jax.tree.leaves(carry)[0].shape[:rows]) else 0
    if axes < rows:  # the number of rows is symbolic: a step without rows has the same blocks
        kind = lambda a, *lead: jax.ShapeDtypeStruct((*lead, *a.shape[len(lead) + rows :]), a.dtype)  # noqa: E731
        alone = jax.tree.map(lambda a: kind(a, a.shape[0]), xs)
        carry, terms = jax.tree.map(kind, carry), jax.eval_shape(cell.input_terms, params, alone)
    found: list[Layout] = []

    def look(params: Params, carry: Carry, terms: Tree) -> None:  # traced, since tracers carry their sharding
        wx = at(terms, 0)
        step = lambda carry: cell.advance(params, carry, wx)[0]  # noqa: E731
        for cut in CUTS[jacobian]:
            found.append(Layout(tuple(blocks(_cheaper(cut, step), carry, axes)), rows, cut))
            if jacobian == "full" or found[-1].largest <= largest:
                return

    jax.eval_shape(look, params, carry, terms)
    if jacobian != "full" and found[-1].largest > largest:
        raise InputError(
            f"newton({cell.name}): a step mixes {found[-1].largest} numbers of its carry other than by products with "
            f"weights, and a Jacobian of this size, for each row and step, is taken only with jacobian='full'. "
            "Use deferred"
        )
    return found[-1]
