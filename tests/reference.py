"""What our code is compared with: NumPy loops from papers' equations, and the loop of reinforcement learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import unroll
from jaxseq.cells import Cell
from jaxseq.recurrence import scan
from jaxseq.testing import Subject, at, draw

TOLERANCE = 1e-12


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def check_against(
    cell: Cell,
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    *,
    sizes: tuple[int, int, int, int] = (7, 4, 3, 5),
    hidden_size: Any = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> float:
    """Assert that `cell` computes what a NumPy step does; return the worst relative difference.

    ``step(p, k, x) -> (k, out)`` sees one row of a batch: params, carry and input as the cell's own NamedTuples with
    NumPy arrays in float64 (``k.h [H]``, ``x [D]``), random and without a zero. Outputs of every step and the final
    carry are compared. `options` go to the cell's init.
    """
    T, B, D, H = sizes
    init = cell.init
    if options:
        cell = cell.replace(init=lambda *args, **kwargs: init(*args, **kwargs, **options))
    params, xs, carry = draw(Subject(cell, D, H if hidden_size is None else hidden_size, seed=seed), T, (B,))
    last, outs = jax.jit(lambda *args: unroll(cell, *args, recurrence=scan))(params, xs, carry)
    params, xs, carry, got = jax.tree.map(np.asarray, (params, xs, carry, (last, outs)))
    ends, rows = [], []
    for b in range(B):
        k, seen = jax.tree.map(lambda a, b=b: a[b], carry), []
        for t in range(T):
            k, out = step(params, k, jax.tree.map(lambda a, t=t, b=b: a[t, b], xs))
            seen.append(out)
        ends.append(k)
        rows.append(jax.tree.map(lambda *a: np.stack(a), *seen))
    want = (
        jax.tree.map(lambda *a: np.stack(a), *ends),
        jax.tree.map(lambda *a: np.stack(a, axis=1), *rows),
    )
    assert jax.tree.structure(got) == jax.tree.structure(want)
    worst = 0.0
    for (path, a), b in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True):
        at = f"{cell.name}{jax.tree_util.keystr(path)}"
        assert a.shape == b.shape, f"{at}: ours has the shape {a.shape}, the paper's {b.shape}"
        error = float(np.max(np.abs(a - b)) / max(1.0, np.max(np.abs(b))))
        assert error <= TOLERANCE, f"{at} differs from the paper's equations by {error:.1e}"
        assert np.ptp(b) > 1e-3, f"{at} is the same everywhere: nothing is tested"
        worst = max(worst, error)
    return worst


def unpack(a: np.ndarray, names: str) -> dict[str, np.ndarray]:
    """Return the blocks of a packed last axis by name: ``unpack(p.W, "i f g o")["f"]`` is ``W_f [D, H]``."""
    blocks = names.split()
    return dict(zip(blocks, np.split(a, len(blocks), axis=-1), strict=True))


RESETS = np.sin(3.0 * np.arange(18)).reshape(6, 3) > 0.3
"""``[T, B]``: marks at the first step, at the last, at two in a row, and, with `holes`, at padded ones."""


def episodes(
    cell: Cell, params: Any, xs: Any, carry: Any, *, resets: Any, mask: Any = None, reverse: bool = False
) -> tuple[Any, Any]:
    """The loop of reinforcement learning: where an episode is done, the next begins at the initial carry.

    In reverse it runs over the row turned around, in which a piece begins with the step that was its last.
    """
    turn = lambda tree: jax.tree.map(lambda a: a[::-1], tree) if reverse else tree  # noqa: E731
    where = lambda flag, a, b: jnp.where(flag.reshape(-1, *[1] * (a.ndim - 1)), a, b)  # noqa: E731
    if reverse:
        resets = jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
    xs, done, mask = turn(xs), turn(resets), turn(mask)
    initial, outs = cell.initial_carry(params, jax.tree.leaves(xs)[0].shape[1:-1]), []
    for t in range(len(done)):
        carry = jax.tree.map(lambda i, k, t=t: where(done[t], i, k), initial, carry)
        new, out = cell.step(params, carry, at(xs, t))
        if mask is not None:
            new = jax.tree.map(lambda n, k, t=t: where(mask[t], n, k), new, carry)
            out = jax.tree.map(lambda o, t=t: where(mask[t], o, jnp.zeros_like(o)), out)
        carry = new
        outs.append(out)
    return carry, turn(jax.tree.map(lambda *a: jnp.stack(a), *outs))
