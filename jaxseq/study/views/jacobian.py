"""The stretch of a small change of the state by one step."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from jaxseq._unroll import unroll
from jaxseq.study.checks import Check, jacobian_by_differences
from jaxseq.study.jacobian import LIMIT, decimals, lyapunov, spectrum, step_jacobians
from jaxseq.study.live import reads_source
from jaxseq.study.subject import Seen, Subject
from jaxseq.study.terminal import Screen, folded

WHOLE = True

EIGENVALUES = 1_000_000_000
"""Most of S N³, for N numbers of state, that is spent on the spectra of a page; S steps are shown, or all."""


class Spectra(NamedTuple):
    """Spectra along the first sequence.

    Fields:
      steps: at which there is one.
      radius: the spectral radius.
      singular: the largest singular value.
      real: of the eigenvalues.
      imag: see real.
      lyapunov: the largest exponents, nats a step.
      decimals: the number of their decimals that the steps support.
    """

    steps: Annotated[list[int], "S:T"]
    radius: Annotated[np.ndarray, "S"]
    singular: Annotated[np.ndarray, "S"]
    real: Annotated[np.ndarray, "S N"]
    imag: Annotated[np.ndarray, "S N"]
    lyapunov: np.ndarray
    decimals: int


def gather(seen: Seen) -> tuple[Spectra | None, list[Check]]:
    """Return spectra at all real steps of the first sequence or some; nothing where one would take long."""
    part = seen.part
    real = int(seen.mask[:, 0].sum())
    rows = seen.subject.B if reads_source(part.cell) else 1  # a source has all its rows
    some = lambda tree, axis: jax.tree.map(lambda a: jax.lax.slice_in_dim(a, 0, rows, axis=axis), tree)  # noqa: E731
    xs = jax.tree.map(lambda a: a[:real], some(part.xs, 1))
    start = some(part.start(), 0)
    size = sum(a[0].size for a in jax.tree.leaves(start))
    # eigenvalues of S matrices cost S N^3; their memory is S N^2 numbers of 4 bytes for each row
    count = int(min(real, EIGENVALUES // size**3, LIMIT // (4 * rows * size**2)))
    if count < 1:
        return None, []
    steps = np.unique(np.linspace(0, real - 1, count).round().astype(int))

    @jax.jit
    def look(params: Any, start: Any, xs: Any) -> tuple:
        matrices = step_jacobians(part.cell, params, xs, start, at=steps.tolist())[:, 0]
        # three: enough to see whether any direction grows, and cheap
        exponents = lyapunov(part.cell, params, xs, start, count=3).exponents[0]
        # the state before the last shown step, at which the Jacobian is checked by differences
        before = unroll(part.cell, params, jax.tree.map(lambda a: a[: steps[-1]], xs), start)[0] if steps[-1] else start
        return spectrum(matrices), exponents, matrices[-1], before

    # spectra, exponents and the check's Jacobian from one program
    found, exponents, last, before = look(part.params, start, xs)
    # the page draws real and imaginary parts apart: JSON has no complex numbers
    values = np.asarray(found.eigenvalues)
    data = Spectra(
        steps.tolist(),
        np.asarray(found.radius),
        np.asarray(found.singular_values[:, 0]),
        values.real,
        values.imag,
        np.asarray(exponents),
        decimals(real),
    )
    x = jax.tree.map(lambda a: a[steps[-1]], xs)
    return data, [jacobian_by_differences(part.cell, part.params, before, x, last)]


def lean(_: Spectra) -> None:
    """Return nothing: a thin page goes without."""


def text(_: Subject, data: Spectra | None, screen: Screen) -> list[str]:
    """Return the range of the spectral radius, and the largest exponent."""
    if data is None:
        return []
    low, high, first = data.radius.min(), data.radius.max(), float(data.lyapunov[0])
    factor = f"{math.exp(first):.{data.decimals + 1}g}"  # with no digit that the steps do not support
    said = (
        f"spectral radius of a step {low:.3g} to {high:.3g}, largest Lyapunov exponent of sequence 1 "
        f"{first:.{data.decimals}f}: no gradient grows for long by more than {factor} a step"
    )
    return folded(said, screen.width, "  ")


def facts(_: Subject, data: Spectra | None) -> dict[str, Any]:
    """Return the radii, singular values and exponents."""
    shown = ("steps", "radius", "singular", "lyapunov")
    return {"jacobian": data and {name: getattr(data, name) for name in shown}}
