"""What a page shows beyond one run of a part: gradients, Jacobians, the atlas of held units, the training replayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._unroll import trace, unroll
from jaxseq.notation import Array, Tree
from jaxseq.study._lags import Lags, lags, verdicts
from jaxseq.study._replay import along
from jaxseq.study._saturation import histogram
from jaxseq.study.checks import Check, gradient_by_differences, jacobian_by_differences, own_values, undefined
from jaxseq.study.gradients import Flow, flow, triangle
from jaxseq.study.jacobian import LIMIT, decimals, lyapunov, spectrum, step_jacobians
from jaxseq.study.part import Part, layer_of
from jaxseq.study.whatif import atlas, held_gates
from jaxseq.trees import named_leaves

TRIANGLE = 120
"""Most losses of a triangle, each of which is a backward pass; of more steps some are taken, evenly spread."""

BACKWARD = 20_000_000_000
"""Most floating-point operations of a triangle; there are fewer losses in one of a large model."""

EIGENVALUES = 1_000_000_000
"""Most of S N³, for N numbers of state, that is spent on the spectra of a page; S steps are shown, or all."""

HELD = 100_000_000_000
"""Most floating-point operations that an atlas may take; above, a page has none."""

VALUES = (0.0, 1.0, "mean")
"""What the units of an atlas are held at."""


ENDS = (0.0, 1.0)
"""What whole gates are held at."""


def gradients(part: Part, leaves: Sequence[str]) -> tuple[list[dict[str, Any]], list[Check]]:
    """Return for each layer, whose main part of the carry is one of `leaves`, norms, lags and a triangle of that part.

    The norms are of the gradient of all losses together, the lags of one loss at a time.
    """
    counted = np.asarray(part.counted()).any(-1)
    steps = np.flatnonzero(counted)
    most = int(min(len(steps), TRIANGLE, max(2, BACKWARD // (3 * _forward(part)))))
    steps = steps[np.unique(np.linspace(len(steps) - 1, 0, most).round().astype(int))]

    @jax.jit
    def look(params: Any, xs: Tree) -> tuple[Flow, dict[str, Lags], dict[str, Array]]:
        run = part.run._replace(params=params, xs=xs)
        seen = run.through(flow, loss=part.loss)
        each = run.through(triangle, losses=lambda carry, outs: part.losses(outs), steps=steps.tolist())
        by_lag = {name: lags(norms, part.real(), steps=steps) for name, norms in each.items()}
        return seen, by_lag, {leaf: each[leaf] for leaf in leaves}

    seen, by_lag, corners = look(part.params, part.xs)
    found = []
    for leaf in leaves:
        layer = layer_of(leaf)
        found.append({
            "leaf": leaf,
            "norms": {name: np.asarray(a) for name, a in seen.norms.items() if layer_of(name) == layer},
            "lags": {
                name: [verdict._asdict() for verdict in verdicts(one)]
                for name, one in by_lag.items() if layer_of(name) == layer
            },
            "triangle": np.moveaxis(np.asarray(corners[leaf]), 2, 0),  # [B, S, T]
            "steps": steps.tolist(),
        })  # fmt: skip
    return found, [gradient_by_differences(part.loss, part.run, seen, leaf) for leaf in leaves]


def _forward(part: Part) -> int:
    """Return about how many floating-point operations a run of the part takes."""
    T, B = jax.tree.leaves(part.xs)[0].shape[:2]
    return 2 * T * B * sum(a.size for a in jax.tree.leaves(part.params) if a.ndim == 2)


def held(part: Part, layer: str = "") -> tuple[dict[str, Any] | None, list[Check]]:
    """Return the change of the loss with each unit of each gate of a layer held; None where that would take long."""
    named = named_leaves(jax.eval_shape(lambda: part.run.through(trace)[1].gates))
    named = {name: a for name, a in named.items() if layer_of(name) == layer}
    widths = {a.shape[-1] for a in named.values()}
    runs = sum(a.shape[-1] for a in named.values()) * len(VALUES)
    if runs * _forward(part) > HELD or len(widths) != 1:
        return None, []
    options: dict[str, Any] = {"loss": part.loss, "values": VALUES, "gates": list(named)}
    seen = jax.jit(lambda params: part.run._replace(params=params).through(atlas, **options))(part.params)
    if not seen.loss:
        return None, []
    gates = [name for name in named if name in seen.loss]
    change = np.stack([np.asarray(seen.loss[name]) for name in gates])  # [gates, values, units]
    found = {"gates": gates, "values": list(VALUES), "change": change}
    return found, [own_values(part.loss, part.run, gates), undefined(change)]


def whole_gates(part: Part, gates: Sequence[str]) -> dict[str, Any]:
    """Return the change of the loss with all units of a gate held at 0 and at 1, for each of these gates."""
    options: dict[str, Any] = {"loss": part.loss, "values": ENDS, "gates": gates}
    look = jax.jit(lambda params: part.run._replace(params=params).through(held_gates, **options))
    found = look(part.params)
    return {"values": list(ENDS), "change": {name: np.asarray(found[name]) for name in gates if name in found}}


def jacobians(part: Part) -> tuple[dict[str, Any] | None, list[Check]]:
    """Return spectra along the first sequence, at all of its real steps or some; None where one would take long."""
    real = int(np.asarray(part.real())[:, 0].sum())
    rows = jax.tree.leaves(part.xs)[0].shape[1] if part.weights is not None else 1  # a source has all its rows
    some = lambda tree, axis: jax.tree.map(lambda a: jax.lax.slice_in_dim(a, 0, rows, axis=axis), tree)  # noqa: E731
    xs = jax.tree.map(lambda a: a[:real], some(part.xs, 1))
    start = part.cell.initial_carry(part.params, (rows,)) if part.carry is None else some(part.carry, 0)
    size = sum(a[0].size for a in jax.tree.leaves(start))
    count = int(min(real, EIGENVALUES // size**3, LIMIT // (4 * rows * size**2)))
    if count < 1:
        return None, []
    steps = np.unique(np.linspace(0, real - 1, count).round().astype(int))

    @jax.jit
    def look(params: Any, start: Any, xs: Tree) -> tuple:
        matrices = step_jacobians(part.cell, params, xs, start, at=steps.tolist())[:, 0]
        exponents = lyapunov(part.cell, params, xs, start, count=3).exponents[0]
        before = unroll(part.cell, params, jax.tree.map(lambda a: a[: steps[-1]], xs), start)[0] if steps[-1] else start
        return spectrum(matrices), exponents, matrices[-1], before

    seen, exponents, last, before = look(part.params, start, xs)
    values = np.asarray(seen.eigenvalues)
    found = {
        "steps": steps.tolist(), "radius": np.asarray(seen.radius), "singular": np.asarray(seen.singular_values[:, 0]),
        "real": values.real, "imag": values.imag, "lyapunov": np.asarray(exponents),
        "decimals": decimals(real),
    }  # fmt: skip
    x = jax.tree.map(lambda a: a[steps[-1]], xs)
    return found, [jacobian_by_differences(part.cell, part.params, before, x, last)]


def replayed(part: Part, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the loss, and of these gates a histogram and the mean, at each snapshot of training; None without."""
    if part.snapshots is None:
        return None
    steps, kept = part.snapshots
    real = part.real()

    @jax.jit
    def look(kept: Any, xs: Tree) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        def one(model: Any) -> tuple[Array, dict[str, Array], dict[str, Array]]:
            params, predict = model
            _, seen = part.run._replace(params=params, xs=xs).through(trace)
            found = named_leaves(seen.gates)
            counts = {name: histogram(found[name], real).sum(1) for name in names}
            means = {
                name: found[name].mean(where=jnp.broadcast_to(real[..., None], found[name].shape)) for name in names
            }
            return part._replace(predict=predict).losses(seen.outs).sum(), counts, means

        return along(one, kept)

    loss, counts, means = jax.device_get(look(kept, part.xs))
    shares = {name: (a / a.sum(1, keepdims=True)).astype(np.float32) for name, a in counts.items()}
    return {"steps": list(steps), "loss": loss, "histograms": shares, "means": means}
