"""Weight files: reads safetensors, npz and torch as arrays (never as code), converts them, and writes ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint, tensors
from jaxseq._layers import Bidirectional
from jaxseq.cells import CELLS
from jaxseq.errors import InputError, choose
from jaxseq.inputs import read_bytes, understood
from jaxseq.interop import equinox, flax, haiku, keras, torch
from jaxseq.interop.common import Found, Layout, array, layout, plain_name, read, taken_apart, whole
from jaxseq.notation import Params


def _reader(library: str, layouts: Mapping[str, Layout]) -> Callable[..., tuple[Any, Params]]:
    def from_arrays(arrays: Mapping[str, Any], layer: str, prefix: str | None = None) -> Found:
        return read(f"{library} {layer}", layout(library, layouts, layer), arrays, prefix)

    # one closure per library; torch has its own function, since its arrays may belong to several layers
    return from_arrays


LIBRARIES: dict[str, Callable[..., tuple[Any, Params]]] = {
    "torch": torch.from_arrays,
    "flax-linen": _reader("flax-linen", flax.LINEN),
    "flax-nnx": _reader("flax-nnx", flax.NNX),
    "haiku": _reader("haiku", haiku.LAYOUTS),
    "equinox": _reader("equinox", equinox.LAYOUTS),
    "keras": _reader("keras", keras.LAYOUTS),
}
"""Converters by library: ``(arrays by name, layer, prefix) -> (cell, params)``."""


def convert(arrays: Mapping[str, Any], library: str, layer: str, prefix: str | None = None) -> tuple[Any, Params]:
    """Return ``(cell, params)`` from a layer's arrays under a library's names.

    Args:
      arrays: arrays by name, as `read_arrays` returns them.
      library: torch, flax-linen, flax-nnx, haiku, equinox or keras.
      layer: our cell's name, such as lstm.
      prefix: prefix of the layer's names in a larger model.

    Raises:
      InputError: if library, layer, names, shapes or dtypes do not fit, or if a number is not finite.

    Example:
      >>> arrays = {"weight_ih": np.ones((8, 3)), "weight_hh": np.ones((8, 2))}
      >>> with jax.enable_x64(True):
      ...     convert(arrays, "equinox", "lstm")[1].W.shape
      (3, 8)
    """
    cell, params = choose("library", library, LIBRARIES)(arrays, layer, prefix)
    for name, a in arrays.items():
        # this layer's only: another part of a larger model, such as an attention mask, may contain an inf
        inside = prefix is None or plain_name(name).startswith(plain_name(prefix) + "/")
        if inside and not np.isfinite(np.asarray(array(name, a))).all():
            raise InputError(f"{name} holds numbers that are not finite: nan or inf; nothing was converted")
    return cell, params


def read_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """Return every array of a file by name, nested names joined by "/"; the suffix decides the format.

    Args:
      path: .safetensors, .npz, or torch's .pt, .pth, .bin or .ckpt, read as weights only: a file that would run code is
        refused.

    Raises:
      InputError: if it cannot be read, or is of another kind.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise InputError(f"{path}: the name of a file of weights ends in one of {', '.join(READERS)}")
    # files are untrusted: the size is bounded before anything is parsed
    found = READERS[path.suffix](read_bytes(path, "a file of weights", tensors.LARGEST), path)
    if not found:
        raise InputError(f"{path} holds no arrays")
    return found


def _torch(raw: bytes, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a torch file without counters, such as of batches seen, which are not weights."""
    found = tensors.from_torch(raw, path)
    return {name: a for name, a in found.items() if jnp.issubdtype(a.dtype, jnp.floating)}


READERS: dict[str, Callable[[bytes, Path], dict[str, np.ndarray]]] = {
    ".safetensors": lambda raw, path: tensors.from_safetensors(raw, path).arrays,
    ".npz": tensors.from_npz,
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), _torch),
}
"""Readers by suffix: ``(bytes, path) -> arrays by name``."""


def save(path: Path | str, cell: Any, params: Params, **facts: Any) -> None:
    """Write one or several layers to a file that `load` can read by itself.

    Args:
      path: a safetensors file, written aside and then renamed.
      cell: a cell of `jaxseq.CELLS`, a stack of these, or a tuple of them as for `jaxseq.layers`.
      params: its params.
      facts: anything JSON can represent, stored with the params.

    Raises:
      InputError: if the file cannot be written, or if a cell is not in `jaxseq.CELLS`.

    Example:
      >>> import tempfile
      >>> from jaxseq.cells import lstm
      >>> folder = tempfile.TemporaryDirectory()
      >>> save(f"{folder.name}/a.safetensors", lstm, lstm.init(jax.random.key(0), 3, 5))
      >>> cell, params = load(f"{folder.name}/a.safetensors")
      >>> cell.name, params.W.shape
      ('lstm', (3, 20))
      >>> folder.cleanup()
    """
    layers = []
    for one, own in taken_apart("save", cell, params):
        # `load` finds a cell by name, so a custom one could be written but never read
        choose("cell", one.name, CELLS)
        both = isinstance(own, Bidirectional)
        # shapes are stored, since options of init change them from the defaults
        shapes = [{name: list(a.shape) for name, a in p._asdict().items()} for p in (own if both else (own,))]
        layers.append({"cell": one.name, "bidirectional": both, "shapes": shapes})
    dtype = str(jax.tree.leaves(params)[0].dtype)
    checkpoint.save(path, params, dtype=dtype, layers=layers, **facts)


def load(path: Path | str) -> tuple[Any, Params]:
    """Return the ``(cell, params)`` that `save` or `jaxseq convert` wrote.

    Raises:
      InputError: if the file is missing, damaged, or of another kind; or if it is float64 and JAX has only float32.
    """
    facts = checkpoint.facts(path)
    # a training checkpoint has the same format but different facts
    if "layers" not in facts:
        raise InputError(f"{path} is a checkpoint, not a converted layer; jaxseq convert writes those")
    # facts are JSON that may have been edited: a KeyError here is a damaged file
    with understood(path, tensors.CURE):
        cell, like = _described(facts, path)
    return cell, checkpoint.load(path, like)


def _described(facts: Mapping[str, Any], path: Path | str) -> Found:
    """Return the cell and the shapes of its params from the facts of a file."""
    dtype = jnp.dtype(facts["dtype"])
    # otherwise the weights would silently be rounded to float32
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError(f'{path} is {dtype}; call jax.config.update("jax_enable_x64", True) first')
    found: list[Found] = []
    for one in facts["layers"]:
        cell = choose("cell", one["cell"], CELLS)
        made = [
            # checkpoint.load compares only shapes and dtypes with the file
            cell.params_type(**{name: jax.ShapeDtypeStruct(tuple(shape), dtype) for name, shape in shapes.items()})
            for shapes in one["shapes"]
        ]
        found.append((cell, Bidirectional(*made) if one["bidirectional"] else made[0]))
    return whole(found)


def describe(cell: Any, params: Params) -> str:
    """Return the `jaxseq` call that runs the result of `load`, as text."""
    if type(cell) is tuple:
        return "jaxseq.layers(cell, params, xs)"
    return f"jaxseq.{'bidirectional' if isinstance(params, Bidirectional) else 'unroll'}(cell, params, xs)"
