"""How near ours must come to torch, and how near it came."""

import numpy as np

RTOL = 1e-9
worst = [0.0]
"""The largest relative difference since a test began; conftest writes it into the test's report."""


def agree(got, want, what: str) -> None:
    """Compare arrays, relative to the largest entry of the one wanted (or to 1)."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, what
    error = np.abs(got - want).max(initial=0) / max(1.0, np.abs(want).max(initial=0))
    assert error <= RTOL, f"{what}: relative difference {error:.1e}"
    worst[0] = max(worst[0], float(error))
