"""What a page shows beyond one run of a part: gradients, Jacobians, the atlas of held units, the training replayed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxseq.notation import Array, Carry, Tree
from jaxseq.study.gradients import Nudged, flow, no_nudges, nudged, slope, triangle
from jaxseq.study.jacobian import lyapunov, spectrum, step_jacobians
from jaxseq.study.look import named_leaves
from jaxseq.study.part import Part
from jaxseq.study.saturation import histogram
from jaxseq.study.whatif import atlas, what_if
from jaxseq.unroll import trace, unroll

TRIANGLE = 120
"""Longest sequence whose loss step by time triangle is worked out: it takes a backward pass a step."""

EIGENVALUES = 2_000_000_000
"""Most of T N³, for N numbers of state, that is spent on the spectra of a page; fewer steps are shown beyond it."""

HELD = 100_000_000_000
"""Most floating-point operations that an atlas may take; above, a page has none."""

VALUES = (0.0, 1.0, "mean")

Check = tuple[str, float, float]
"""What is checked, its error, and the most that it may be."""


def depth(part: Part) -> tuple[dict[str, Any], list[Check]]:
    """Return flow, jacobian and atlas of a part, each None where it has none, and the checks of them."""
    found: dict[str, Any] = {"flow": None, "jacobian": None, "atlas": None}
    checks: list[Check] = []
    if part.predict is not None:
        found["flow"], checks = _flow(part)
        found["atlas"] = _atlas(part)
        checks += [("unclamped", _unclamped(part), 1e-6)]
    if part.weights is None:  # where a source is read, a step is not a function of one row alone
        found["jacobian"], more = _jacobian(part)
        checks += more
    return found, checks


def _loss(part: Part) -> Any:
    return lambda carry, outs: part.losses(outs).sum()


def _flow(part: Part) -> tuple[dict[str, Any], list[Check]]:
    arguments = (part.cell, part.params, part.carry, part.xs, part.mask)
    seen = flow(_loss(part), *arguments)
    norms = {name: np.asarray(a) for name, a in seen.norms.items()}
    leaf = "c" if "c" in norms else next(iter(norms))
    T = len(norms[leaf])
    corner = None
    if T <= TRIANGLE:
        all_of = triangle(lambda carry, outs: part.losses(outs), *arguments)
        corner = np.moveaxis(np.asarray(all_of[leaf]), 2, 0)  # [B, S, T]
    slopes = [{"leaf": name, "values": np.asarray(slope(jnp.asarray(a))) / np.log(10)} for name, a in norms.items()]
    found = {"norms": norms, "leaf": leaf, "triangle": corner, "slopes": slopes}
    return found, [("flow", _finite_difference(part, seen, leaf), 2e-2)]


def _finite_difference(part: Part, seen: Any, leaf: str, size: float = 1e-2) -> float:
    """Return how far the largest gradient norm is from what moving that state along it does to the loss, relatively."""
    norms = np.asarray(seen.norms[leaf])
    t, b = np.unravel_index(norms.argmax(), norms.shape)
    norm = float(norms[t, b])
    if norm == 0:
        return 0.0
    zeros = no_nudges(part.cell, part.params, part.xs)
    direction = seen.gradients[leaf][t, b] / norm
    cell, loss = nudged(part.cell), _loss(part)

    @jax.jit
    def moved(by: Array) -> Array:
        names = list(named_leaves(zeros))
        leaves, structure = jax.tree.flatten(zeros)
        at = names.index(leaf)
        leaves[at] = leaves[at].at[t, b].set(direction * by)
        nudges = jax.tree.unflatten(structure, leaves)
        return loss(*unroll(cell, part.params, part.carry, Nudged(part.xs, nudges), part.mask))

    by = jnp.asarray(size, direction.dtype)
    slope_here = (float(moved(by)) - float(moved(-by))) / (2 * size)
    return abs(slope_here - norm) / max(norm, 1e-2)


def _atlas(part: Part) -> dict[str, Any] | None:
    named = named_leaves(jax.eval_shape(lambda: trace(part.cell, part.params, part.carry, part.xs, part.mask)[1].gates))
    runs = sum(a.shape[-1] for a in named.values()) * len(VALUES)
    steps = next(iter(named.values())).shape
    work = runs * steps[0] * steps[1] * 2 * sum(a.size for a in jax.tree.leaves(part.params) if a.ndim == 2)
    sizes = {a.shape[-1] for a in named.values()}
    if work > HELD or len(sizes) > 1:
        return None
    arguments = (part.cell, part.params, part.carry, part.xs, part.mask)
    losses = jax.jit(lambda: atlas(*arguments, loss=_loss(part), values=VALUES).loss)()
    if not losses:
        return None
    change = np.stack([np.asarray(losses[name]) for name in losses])
    return {"gates": list(losses), "values": list(VALUES), "change": change}


def _unclamped(part: Part) -> float:
    """Return by how much the loss changes when a gate is put in its own place."""
    names = named_leaves(jax.eval_shape(lambda: trace(part.cell, part.params, part.carry, part.xs, part.mask)[1].gates))
    arguments = (part.cell, part.params, part.carry, part.xs, part.mask)
    found = what_if(*arguments, changes={next(iter(names)): lambda old, _: old * 1}, loss=_loss(part))
    assert found.loss is not None and found.changed_loss is not None
    return abs(float(found.changed_loss) - float(found.loss)) / max(1.0, abs(float(found.loss)))


def _first(tree: Tree, axis: int) -> Tree:
    """Return only the first row of the batch, which is that axis."""
    return None if tree is None else jax.tree.map(lambda a: jax.lax.slice_in_dim(a, 0, 1, axis=axis), tree)


def _jacobian(part: Part) -> tuple[dict[str, Any] | None, list[Check]]:
    """Return spectra along the first sequence: its real steps, or some of them where there is much to work out."""
    xs, carry = _first(part.xs, 1), _first(part.carry, 0)
    T = jax.tree.leaves(xs)[0].shape[0]
    start = part.cell.initial_carry(part.params, (1,)) if carry is None else carry
    N = sum(a[0].size for a in jax.tree.leaves(start))
    real = T if part.mask is None else int(np.asarray(part.mask)[:, 0].sum())
    count = int(min(real, EIGENVALUES // N**3))
    if count < 1:
        return None, []
    steps = np.unique(np.linspace(0, real - 1, count).round().astype(int))
    xs = jax.tree.map(lambda a: a[:real], xs)
    jacobians = step_jacobians(part.cell, part.params, start, xs, at=steps.tolist())[:, 0]
    seen = spectrum(jacobians)
    values = np.asarray(seen.eigenvalues)
    exponents = lyapunov(part.cell, part.params, start, xs, count=3).exponents[0]
    found = {
        "steps": steps.tolist(), "radius": np.asarray(seen.radius), "singular": np.asarray(seen.singular_values[:, 0]),
        "real": values.real, "imag": values.imag, "lyapunov": np.asarray(exponents), "example": 1,
    }  # fmt: skip
    return found, [("jacobian", _along_one(part, start, xs, jacobians[-1], int(steps[-1])), 1e-3)]


def _along_one(part: Part, start: Carry, xs: Tree, jacobian: Array, t: int, size: float = 1e-2) -> float:
    """Return how far a Jacobian is from what a step does to a small change in one direction."""
    before = jax.tree.map(lambda a: a[:t], xs)
    carry = unroll(part.cell, part.params, start, before)[0] if t else start
    old, unravel = ravel_pytree(carry)
    x = jax.tree.map(lambda a: a[t], xs)
    direction = jax.random.normal(jax.random.key(0), old.shape, old.dtype)
    direction = direction / jnp.linalg.norm(direction)

    def after(by: float) -> Array:
        return ravel_pytree(part.cell.step(part.params, unravel(old + by * direction), x)[0])[0]

    ahead, back, moved = after(size), after(-size), jacobian @ direction
    return float(jnp.abs((ahead - back) / (2 * size) - moved).max() / jnp.maximum(1.0, jnp.abs(moved).max()))


def replayed(part: Part) -> dict[str, Any] | None:
    """Return histograms and means of each gate, and the loss, at each snapshot of a training; None without any."""
    if not part.snapshots:
        return None
    mask = jnp.ones(jax.tree.leaves(part.xs)[0].shape[:2], bool) if part.mask is None else part.mask

    @jax.jit
    def look(params: Any, predict: Any) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        _, seen = trace(part.cell, params, part.carry, part.xs, part.mask)
        gates = {name: a for name, a in named_leaves(seen.gates).items() if a.ndim == 3}
        counts = {name: histogram(a, mask).sum(1) for name, a in gates.items()}
        real = mask[..., None]
        sums = {n: jnp.where(real, a, jnp.zeros_like(a)).sum() / (mask.sum() * a.shape[-1]) for n, a in gates.items()}
        return part._replace(predict=predict).losses(seen.outs).sum(), counts, sums

    rows = [jax.device_get(look(*kept)) for kept in part.snapshots.values()]
    names = [n for n in rows[0][1] if n not in ("g", "n", "a")]
    shares = {n: np.stack([r[1][n] / max(1, r[1][n].sum()) for r in rows]).astype(np.float32) for n in names}
    means = {n: np.array([float(r[2][n]) for r in rows], np.float32) for n in names}
    losses = [float(r[0]) for r in rows]
    return {"steps": list(part.snapshots), "loss": losses, "histograms": shares, "means": means}
