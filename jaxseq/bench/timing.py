"""Timing that is robust on a noisy machine: interleaved rounds, intervals of ratios, no unnoticed compilation."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

NOISY = 0.15
"""Inter-quartile spread, as a share of the median, from which a reference is called noisy."""
COMPILED = "/jax/core/compile/backend_compile_duration"
LIBRARIES = "jaxseq jax jaxlib numpy optax torch torchrecurrent flax dm-haiku equinox keras".split()

Thunk = Callable[[], Any]


class CompiledWhileTimedError(RuntimeError):
    """A timed region compiled a program, so its times would include the compiler's."""


class _Counter:
    """Number of programs that this process has compiled since counting began."""

    def __init__(self) -> None:
        self.count, self.listening = 0, False

    def start(self) -> None:
        """Register a JAX listener once, since listeners are process-wide."""
        if not self.listening:
            jax.monitoring.register_event_duration_secs_listener(self._heard)
            self.listening = True

    def _heard(self, event: str, duration_secs: float, **_: Any) -> None:
        self.count += event == COMPILED


_counter = _Counter()


@contextlib.contextmanager
def compilations() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the number of programs compiled since the block began."""
    _counter.start()
    before = _counter.count
    yield lambda: _counter.count - before


def milliseconds(run: Thunk, calls: int = 1) -> float:
    """Return the milliseconds of one call, including waiting for its results."""
    begun = time.perf_counter()
    # awaited in each call: JAX returns before its work is done
    for _ in range(calls):
        jax.block_until_ready(run())
    return (time.perf_counter() - begun) * 1e3 / calls


def interleave(
    thunks: Mapping[str, Thunk],
    rounds: int,
    *,
    warmup: int = 1,
    pause: float = 0.02,
    at_least: float = 5.0,
    may_compile: bool = False,
) -> dict[str, list[float]]:
    """Return for each thunk the milliseconds per call, one sample per round.

    The thunks take turns, so the machine's fluctuations affect all equally; their order rotates by one each round, so
    none always follows the same other.

    Args:
      thunks: thunks by name; names that begin with "torch" run in torch.
      rounds: samples of each.
      warmup: rounds before those, dropped.
      pause: seconds to wait between torch and JAX.
      at_least: minimum milliseconds of a sample; a shorter thunk is called repeatedly.
      may_compile: allow thunks that compile in every call, such as a loop over a new function outside of jit.

    Raises:
      CompiledWhileTimedError: if a program is compiled after the warm-up, and may not be.
    """
    names, before = list(thunks), None
    for name in names:
        jax.block_until_ready(thunks[name]())  # compiles
    calls = {name: max(1, round(at_least / max(milliseconds(thunks[name]), 1e-4))) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    with compilations() as compiled:
        for n in range(-warmup, rounds):
            begun = compiled()
            for name in (names[(i + n) % len(names)] for i in range(len(names))):
                torch = name.startswith("torch")
                # After its work torch's OpenMP threads spin for some milliseconds, waiting for more; so do XLA's, for
                # less. Whoever comes next would share its core with them. We wait until they have gone to sleep, and
                # wake our own with one call that is not timed.
                if before is not None and torch != before:
                    time.sleep(pause)
                    if calls[name] > 1:
                        jax.block_until_ready(thunks[name]())
                took = milliseconds(thunks[name], calls[name])
                before = torch
                if n >= 0:
                    samples[name].append(took)
            if n >= 0 and compiled() > begun and not may_compile:
                raise CompiledWhileTimedError(
                    f"{compiled() - begun} programs were compiled in a timed round of {', '.join(names)}: these would "
                    "be times of the compiler"
                )
    return samples


def median(samples: Sequence[float]) -> float:
    """Return the median."""
    return float(np.median(samples))


def spread(samples: Sequence[float]) -> float:
    """Return the inter-quartile spread."""
    low, high = np.percentile(samples, [25, 75])
    return float(high - low)


class Ratio(NamedTuple):
    """A ratio of two medians with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{n:.2f}" if n < 100 else f"{n:.0f}" for n in self)
        return value if np.isnan(self.low) else f"{value} [{low}, {high}]"


def ratio(above: Sequence[float], below: Sequence[float], *, paired: bool = True, draws: int = 2000) -> Ratio:
    """Return the ratio of the medians, with a bootstrapped 95% interval (NaN where there is only one sample).

    Args:
      above: samples of the numerator.
      below: samples of the denominator.
      paired: the samples come from the same rounds, so rounds are resampled; otherwise each side is resampled
        separately.
      draws: number of bootstrap samples.
    """
    return geometric_mean([(above, below)], paired=paired, draws=draws)


def geometric_mean(
    pairs: Sequence[tuple[Sequence[float], Sequence[float]]], *, paired: bool = True, draws: int = 2000
) -> Ratio:
    """Return the geometric mean of the ratios of medians of several pairs; arguments as `ratio`."""
    value = float(np.exp(np.mean([np.log(np.median(a) / np.median(b)) for a, b in pairs])))
    if any(min(len(a), len(b)) < 2 for a, b in pairs):
        return Ratio(value, np.nan, np.nan)
    rng, total = np.random.default_rng(0), np.zeros(draws)
    for above, below in pairs:
        a, b = np.asarray(above, float), np.asarray(below, float)
        # paired: the same rounds on both sides, so a slow round counts for both
        drawn = rng.integers(len(a), size=(draws, len(a)))
        other = drawn if paired and len(a) == len(b) else rng.integers(len(b), size=(draws, len(b)))
        total += np.log(np.median(a[drawn], axis=1) / np.median(b[other], axis=1))
    low, high = np.exp(np.percentile(total / len(pairs), [2.5, 97.5]))
    return Ratio(value, float(low), float(high))


def noise(what: str, samples: Sequence[float]) -> str | None:
    """Return a warning if the reference's samples vary too much to compare with."""
    share = spread(samples) / median(samples)
    if share <= NOISY:
        return None
    return f"{what}: the middle half of the samples spreads over {share:.0%} of the median; the machine is busy"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Return the facts that timings depend on: processor, cores, devices, versions, load, date."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    torch = sys.modules.get("torch")
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "devices": sorted({device.device_kind for device in jax.devices()}),
        "platform": jax.default_backend(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "torch threads": torch.get_num_threads() if torch else None,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def sentence(at: Mapping[str, Any], libraries: Sequence[str] = LIBRARIES) -> str:
    """Return the facts of `machine` as one line: processor, cores, devices, versions of the libraries named, date."""
    versions = {"Python": at["python"], **{name: at["versions"][name] for name in libraries if name in at["versions"]}}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    count = f"{at['cores']} core{'s' * (at['cores'] != 1)}"
    return f"{at['cpu']}, {count}, {', '.join(at['devices'])}; {listed}; {at['date'][:10]}"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
