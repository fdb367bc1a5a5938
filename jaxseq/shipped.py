"""The data files that come with the package: inside it in a wheel, next to it in a checkout."""

from __future__ import annotations

from pathlib import Path

from jaxseq.errors import choose

PACKAGE = Path(__file__).parent
SUFFIXES = (".tsv", ".txt", ".csv")
"""The suffixes of data files; scripts and notes next to them are not data."""


def files() -> dict[str, Path]:
    """Return the shipped files by name, each with and without its suffix."""
    folder = next((f for f in (PACKAGE / "_data", PACKAGE.parent / "data") if f.is_dir()), None)
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES) if folder else []
    return {path.stem: path for path in found} | {path.name: path for path in found}


def find(name: str) -> Path:
    """Return the path of a shipped file, named with or without its suffix.

    Raises:
      InputError: if no such file is shipped; the message lists all shipped files.
    """
    return choose("shipped data", name, files())
