"""The laws that every cell and every recurrence obeys; run them on a custom cell by `check_cell(cell)`.

A law compares two ways to compute the same values and gradients, in float64, without knowing a cell's equations. It
cannot detect a swapped gate or a wrong sign: that needs a comparison with an independent implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from jaxseq.cells import Cell
from jaxseq.cells._checks import check_is_cell
from jaxseq.errors import choose
from jaxseq.recurrence import EXACT, Recurrence
from jaxseq.testing.compare import (
    TOLERANCES,
    Case,
    Subject,
    Tolerance,
    assert_close,
    assert_same,
    cotangent,
    difference,
    differentiate,
    draw,
)
from jaxseq.testing.devices import LAWS_OF_DEVICES
from jaxseq.testing.export import LAWS_OF_EXPORT
from jaxseq.testing.laws import LAWS_OF_NUMBERS, holes, loop
from jaxseq.testing.transforms import LAWS_OF_TRANSFORMS
from jaxseq.trees import at, noisy

__all__ = [
    "LAWS",
    "TOLERANCES",
    "Case",
    "Subject",
    "Tolerance",
    "assert_close",
    "assert_same",
    "at",
    "check_cell",
    "cotangent",
    "difference",
    "differentiate",
    "draw",
    "holes",
    "loop",
    "noisy",
]

LAWS: dict[str, Callable[[Subject], None]] = LAWS_OF_NUMBERS | LAWS_OF_TRANSFORMS | LAWS_OF_EXPORT | LAWS_OF_DEVICES
"""Every law by name; each asserts, for a `Subject`, the first line of its docstring."""


def check_cell(
    cell: Cell,
    *,
    input_size: int = 3,
    hidden_size: Any = 5,
    recurrences: Mapping[str, Recurrence] = EXACT,
    seed: int = 0,
    laws: Iterable[str] | None = None,
) -> None:
    """Assert that a cell obeys the laws, under any JAX configuration; float64 is enabled during the call.

    Args:
      cell: a Cell whose params and carry are trees of floating arrays; its input is made by ``cell.lift``.
      input_size: D. Laws use T = 4, B = 2 or T = 6, B = 4: choose other numbers, so that sizes cannot be mistaken for
        each other. Device laws use B = 2 to 8, the number of devices, and a multiple of H.
      hidden_size: H, as the cell's init takes it; a tuple for a `stack` of different sizes.
      recurrences: the recurrences to run the cell by, by name.
      seed: seed of the random params, carry and inputs.
      laws: names in `LAWS`; all of them by default.

    Raises:
      AssertionError: naming the law, the cell, the smallest D and H at which it fails, and the worst difference there
        with its two values, or the exception.
      InputError: if a law is unknown.

    Example:
      >>> from jaxseq.cells import gru
      >>> from jaxseq.testing import check_cell
      >>> check_cell(gru, laws=["input terms", "batch"])
    """
    check_is_cell("check_cell", cell)
    for name in LAWS if laws is None else laws:
        law = choose("law", name, LAWS)
        failed = _failure(law, Subject(cell, input_size, hidden_size, recurrences, seed))
        if failed is None:
            continue
        small = [(1, 1), (1, 2), (2, 1), (2, 2)] if isinstance(hidden_size, int) else []
        at = f"D = {input_size}, H = {hidden_size}"
        for D, H in small:
            smaller = _failure(law, Subject(cell, D, H, recurrences, seed))
            if smaller is not None and input_size >= D and hidden_size >= H:
                failed, at = smaller, f"D = {D}, H = {H}"
                break
        summary = (law.__doc__ or "").partition("\n")[0]
        what = str(failed) if isinstance(failed, AssertionError) else f"{type(failed).__name__}: {failed}"
        raise AssertionError(f"{cell.name} breaks the law {name!r} ({summary}) At {at}: {what}") from failed


def _failure(law: Callable[[Subject], None], subject: Subject) -> Exception | None:
    try:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            law(subject)
    except Exception as error:
        return error
    return None
