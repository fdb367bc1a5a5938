"""What is installed here, and what would be better: facts for a bug report, and advice."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from typing import Any

from jaxseq import __version__


def report() -> dict[str, Any]:
    """Return versions, devices, fonts, the cache folder, what each extra would add, and warnings."""
    import jax

    from jaxseq.datasets import cache_dir
    from jaxseq.plots import chinese_fonts

    fonts = chinese_fonts()
    versions = {name: _version(name) for name in ("jax", "jaxlib", "optax", "numpy", "matplotlib", "safetensors")}
    folder = cache_dir()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    warnings = []
    if versions["jaxlib"] == "0.11.1":
        warnings.append("jaxlib 0.11.1 copies whole buffers for small updates in a loop (jax issue 40101); upgrade it")
    if not fonts:
        warnings.append("no font here has Chinese characters; attention maps will number words. Install one, for "
                        "example fonts-wqy-microhei (Debian, Ubuntu) or Noto Sans CJK")  # fmt: skip
    if not os.access(there, os.W_OK):
        warnings.append(f"the cache folder {folder} cannot be written; set JAXSEQ_CACHE to another")
    return {
        "jaxseq": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "devices": [str(device) for device in jax.devices()],
        "default float": str(jax.numpy.zeros(()).dtype),
        "Chinese fonts": fonts,
        "cache": str(folder),
        "extras": _extras(),
        "warnings": warnings,
    }


def render(facts: dict[str, Any]) -> str:
    """Return a report as aligned lines for people."""
    lines = []
    for name, value in facts.items():
        if name == "versions":
            lines += [f"{package:<14} {version}" for package, version in value.items()]
        elif name == "extras":
            lines += [f"{f'[{extra}]':<14} {text}" for extra, text in value.items()]
        elif name == "warnings":
            lines += [f"! {warning}" for warning in value] or ["all is well"]
        else:
            lines.append(f"{name:<14} {', '.join(value) or 'none' if isinstance(value, list) else value}")
    return "\n".join(lines)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _extras() -> dict[str, str]:
    """Return for each extra of the package what of it is installed, and how to add the rest."""
    try:
        requires = importlib.metadata.requires("jaxseq") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    extras: dict[str, list[str]] = {}
    for requirement in requires:
        if found := re.search(r"extra == ['\"](\w+)['\"]", requirement):
            extras.setdefault(found[1], []).append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    said = {}
    for extra, packages in extras.items():
        missing = [package for package in packages if _version(package) == "missing"]
        have = ", ".join(f"{p} {_version(p)}" for p in packages if p not in missing)
        lack = f'missing {", ".join(missing)}: pip install "jaxseq[{extra}]"' if missing else ""
        said[extra] = "; ".join(part for part in (have, lack) if part)
    return said
