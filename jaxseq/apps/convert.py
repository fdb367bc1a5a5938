"""The command `jaxseq convert`: the weights of another library's layer, from a file to a file."""

from __future__ import annotations

from pathlib import Path

import jax

from jaxseq.apps.shown import Shown
from jaxseq.errors import InputError
from jaxseq.locks import locked
from jaxseq.texts import tell
from jaxseq.trees import leaves_by_path


def convert(
    file: Path, library: str, layer: str, out: Path, *, prefix: str | None = None, overwrite: bool = False
) -> Shown:
    """Convert a file; print its contents on standard error first, before anything can fail.

    Raises:
      InputError: if it cannot be read, is not such a layer, or if `out` is there and must not be replaced.
    """
    from jaxseq.interop import files

    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; choose another name, or replace it with --overwrite")
    arrays = files.read_arrays(file)
    width = min(60, max(map(len, arrays)))
    # printed first: a conversion error then follows the names and shapes that it is about
    for name, a in arrays.items():
        tell(f"{name:<{width}}  {a.dtype} {list(a.shape)}", "")
    with jax.enable_x64(True):  # float64 stays float64
        cell, params = files.convert(arrays, library, layer, prefix)
        with locked(out):
            files.save(out, cell, params, library=library, source=file.name)
    # a stack is a plain tuple of cells
    name = "layers(" + ", ".join(c.name for c in cell) + ")" if type(cell) is tuple else cell.name
    ours = {name.lstrip("."): list(a.shape) for name, a in leaves_by_path(params).items()}
    shapes = ", ".join(f"{name} {shape}" for name, shape in ours.items())
    lines = [
        f"{name}, {jax.tree.leaves(params)[0].dtype}, all numbers finite: {shapes}",
        f"{out} is loaded by",
        "    from jaxseq.interop.files import load",
        f"    cell, params = load({str(out)!r})",
        f"and run by {files.describe(cell, params)}, xs being [T, B, D]",
    ]
    found = {name: list(a.shape) for name, a in arrays.items()}
    return Shown({"cell": name, "params": ours, "out": str(out), "found": found}, "\n".join(lines))
