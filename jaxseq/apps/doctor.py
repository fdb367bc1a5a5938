"""Facts on this installation for a bug report, and advice on how to improve it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import textwrap
from pathlib import Path
from typing import Any

from jaxseq import __version__

CORE = ("jax", "jaxlib", "optax", "numpy", "matplotlib", "safetensors")
SLOW_JAXLIB = "0.11.1"
WRONG_JAXLIB = "0.10."
APPS = "apps"
WIDTH = 100
"""Characters of a line, after which the next one begins."""
HUGE_PAGES = "glibc.malloc.hugetlb"


def report() -> dict[str, Any]:
    """Return versions, devices, fonts, the cache folder, the packages of each extra, and warnings.

    Everything in it is text, or lists and dictionaries of text, so that it can be written as JSON. It works
    where something is broken too: the warnings then list the facts that are missing.
    """
    from jaxseq.apps.datasets import cache_dir
    from jaxseq.fonts import chinese_fonts

    warnings: list[str] = []
    versions = {name: _version(name) or "missing" for name in CORE}
    if versions["jaxlib"] == SLOW_JAXLIB:
        warnings.append(
            f"jaxlib {SLOW_JAXLIB} copies whole buffers for small in-place updates in a loop (jax issue 40101), "
            "which slows training; install another: pip install -U jax jaxlib"
        )
    if versions["jaxlib"].startswith(WRONG_JAXLIB):
        warnings.append(
            f"jaxlib {versions['jaxlib']} on CPU can return wrong gradients of a scan in float64 (float32 is right); "
            "for work in float64 upgrade (Python 3.12 and newer: pip install -U jax jaxlib), or set "
            "XLA_FLAGS=--xla_cpu_use_fusion_emitters=false"
        )
    machine = _machine(warnings)
    fonts = chinese_fonts()
    if not fonts:
        warnings.append(
            "no font here has Chinese characters, so attention maps will show Chinese in pinyin; install one: "
            "pip install pylopdf-fonts-zh-cn, fonts-wqy-microhei (Debian, Ubuntu) or Noto Sans CJK (any system)"
        )
    folder = cache_dir()
    writable = _can_write(folder)
    if not writable:
        warnings.append(f"the cache folder {folder} cannot be written; set JAXSEQ_CACHE to one that can")
    return {
        "jaxseq": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        **machine,
        "malloc": _malloc(),
        "Chinese fonts": fonts,
        "cache": f"{folder} ({'writable' if writable else 'not writable'})",
        "extras": _extras(),
        "warnings": warnings,
    }


def render(facts: dict[str, Any]) -> str:
    """Return a report as aligned lines for people: a name and its value, warnings last.

    Example:
      >>> print(render({"python": "3.11.2", "versions": {"jax": "0.10.2"}, "devices": [], "warnings": []}))
      python   3.11.2
      jax      0.10.2
      devices  none
      no warnings
    """
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if name == "versions":
            rows += value.items()
        elif name == "extras":
            rows += [(f"[{extra}]", text) for extra, text in value.items()]
        elif name != "warnings":
            rows.append((name, (", ".join(value) or "none") if isinstance(value, list) else str(value)))
    width = max((len(name) for name, _ in rows), default=0)
    lines = [line for name, value in rows for line in _wrapped(f"{name:<{width}}  ", value)]
    warnings = [line for warning in facts["warnings"] for line in _wrapped("! ", warning)]
    return "\n".join([*lines, *(warnings or ["no warnings"])])


def _wrapped(label: str, value: str) -> list[str]:
    """Return a value as lines after its label; the further ones are indented."""
    room: dict[str, Any] = {"initial_indent": label, "subsequent_indent": " " * len(label)}
    return textwrap.wrap(value, WIDTH, break_long_words=False, break_on_hyphens=False, **room) or [label.rstrip()]


def _machine(warnings: list[str]) -> dict[str, Any]:
    """Return where JAX computes and in what type; a backend that does not start is one more warning."""
    try:
        import jax

        # asked of an array, since the type may be set by the environment or by code
        default = str(jax.numpy.zeros(()).dtype)
        return {
            "backend": jax.default_backend(),
            "devices": [str(device) for device in jax.devices()],
            "default float": f"{default} (x64 {'on' if default == 'float64' else 'off'})",
        }
    # a broken jaxlib raises the first, a driver that does not start the second
    except (ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        warnings.append(f"JAX does not start: {reason[0]}; try JAX_PLATFORMS=cpu, or install jax again")
        return {"backend": "none", "devices": [], "default float": "unknown"}


def _malloc() -> str:
    """Return which C library gives out memory, and the setting with which glibc's asks for huge pages.

    `jaxseq bench lstm --shapes 64 100 256 256 --modes gradient --against none` shows both: 19,281 page faults a call
    without it, 887 with it, and in three runs on two machines 1.16, 1.15 and 0.99 times the speed.
    """
    name = platform.libc_ver()[0] or "unknown C library"
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if name != "glibc" or HUGE_PAGES in tunables:
        return f"{name} {tunables}".strip()
    return f"glibc; GLIBC_TUNABLES={HUGE_PAGES}=1 saves 95% of the page faults of large layers, up to 1.16 x the speed"


def _can_write(folder: Path) -> bool:
    """Return whether a folder can be written, or made where it is not there yet."""
    # lexists: a broken link exists as well, and no folder can be made at its path
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    # a file can be made in a folder that one may write to and enter
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, str]:
    """Return for each extra of the package its installed packages, and how to add the rest."""
    from packaging.requirements import Requirement  # which matplotlib brings

    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires("jaxseq") or ()]
    except importlib.metadata.PackageNotFoundError:  # a checkout on the path, not installed
        return {}
    said = {}
    for extra in dict.fromkeys(re.findall(r"extra == ['\"]([\w.-]+)['\"]", " ".join(map(str, requirements)))):
        here = [r for r in requirements if r.marker and _only_in(r, extra)]
        # the other extras bring the packages of apps as well; those of the command line are not listed again
        shared = extra != APPS and [r.name for r in requirements if r.marker and _only_in(r, APPS)]
        found = {r.name: _version(r.name) for r in here if not shared or r.name not in shared}
        have = ", ".join(f"{name} {version}" for name, version in found.items() if version)
        lack = ", ".join(name for name, version in found.items() if not version)
        parts = [have, f'not installed: {lack}; pip install "jaxseq[{extra}]"' if lack else ""]
        said[extra] = "; ".join(filter(None, parts)) or "nothing to add on this Python"
    return said


def _only_in(requirement: Any, extra: str) -> bool:
    """Return whether an extra asks for a package, on this Python and platform, that the core does not."""
    marker = requirement.marker
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
