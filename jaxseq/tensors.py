"""Readers of untrusted array files: safetensors, npz and torch. Sizes are checked before allocation; no code is run.

Each reader accepts the few parts of its format and refuses all else. A torch file contains a pickle, which is a
program: it may use only the names in `_TorchPickle`, which all refer to our own replacements.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxseq.errors import InputError, quoted
from jaxseq.inputs import DEEPEST, EXPANSION_FROM, parse_json, understood
from jaxseq.zips import checked_zip, member

LARGEST = 2**36
"""Size limit of a file of arrays, in bytes."""
LARGEST_HEADER = 2**26
"""Size limit of a safetensors header and of a torch file's pickle, in bytes: both only describe arrays."""
MOST_NUMBERS = 2**34
"""Largest number of elements in one array."""
DTYPES = {
    "BF16": jnp.bfloat16, "F16": np.float16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
}  # fmt: skip
"""The dtype names of safetensors."""
CURE = "restore it from a copy, or write it again"


class Tensors(NamedTuple):
    """The contents of a file of safetensors: arrays by name, and texts by name."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def from_safetensors(raw: bytes, name: Path | str) -> Tensors:
    """Return the arrays and the metadata of a safetensors file's bytes.

    Layout (https://github.com/huggingface/safetensors#format): 8 bytes, the header's length; the header, JSON; data.

    Raises:
      InputError: if it is cut off, altered, or has arrays that do not fill its data exactly.
    """
    with understood(name, CURE):
        length = int.from_bytes(raw[:8], "little")
        if not 2 <= length <= min(LARGEST_HEADER, len(raw) - 8):
            raise ValueError(f"a header of {length:,} bytes in a file of {len(raw):,}")
        header, data = parse_json(raw[8 : 8 + length], name, CURE), memoryview(raw)[8 + length :]
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError("metadata that is not text")
        arrays, filled = {}, 0
        for key, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, end = entry["data_offsets"]
            if entry["dtype"] not in DTYPES:
                raise InputError(f"{name}: {quoted(key)} is {quoted(entry['dtype'])}; supported: {', '.join(DTYPES)}")
            dtype, shape = np.dtype(DTYPES[entry["dtype"]]), _shape(entry["shape"])
            if start != filled or end - start != math.prod(shape) * dtype.itemsize or end > len(data):
                raise ValueError(f"the array {quoted(key)} is not where its shape says")
            # a copy, so that arrays are writable and the file's bytes are freed
            arrays[key] = np.frombuffer(data[start:end], dtype).reshape(shape).copy()
            filled = end
        if filled != len(data):
            raise ValueError(f"{len(data) - filled} bytes that belong to no array")
    return Tensors(arrays, metadata)


def _shape(sizes: Any) -> tuple[int, ...]:
    """Return an array's shape, which must be a few whole numbers."""
    if not all(type(size) is int and size >= 0 for size in sizes) or len(sizes) > 8:
        raise TypeError(f"a shape of {quoted(sizes)}")
    if math.prod(sizes) > MOST_NUMBERS or any(size > MOST_NUMBERS for size in sizes):
        raise ValueError(f"an array of {quoted(sizes)} numbers")
    return tuple(sizes)


# ---------------------------------------------------------------------------------------------- npz


_NPY_FIELDS = {
    "descr": "'(?P<descr>[<>|=]?[biuf][1248])'",
    "fortran_order": "(?P<fortran_order>True|False)",
    "shape": r"\((?P<shape>[\d, ]*)\)",
}
"""The three entries of a npy header. NumPy's own reader evaluates the header as an arbitrary Python literal."""


def from_npz(raw: bytes, name: Path | str) -> dict[str, np.ndarray]:
    """Return the arrays of a npz file's bytes: numeric arrays only, never objects.

    Raises:
      InputError: if it is damaged, compressed by other than deflate, expands too much, or contains anything but plain
        arrays.
    """
    with understood(name, CURE), checked_zip(raw, name) as archive:
        return {one.filename.removesuffix(".npy"): _npy(member(archive, one)) for one in archive.infolist()}


def _npy(raw: bytes) -> np.ndarray:
    """Return the array of a npy file (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html)."""
    if raw[:6] != b"\x93NUMPY" or raw[6] not in (1, 2, 3):
        raise ValueError("a part that is not a npy file")
    wide = 2 if raw[6] == 1 else 4
    start = 8 + wide + int.from_bytes(raw[8 : 8 + wide], "little")
    header, found = raw[8 + wide : start].decode("latin-1"), {}
    for key, pattern in _NPY_FIELDS.items():
        match = re.search(rf"'{key}'\s?:\s?{pattern}", header[:1000])
        if match is None:
            raise ValueError("a part that is not an array of numbers")
        found[key] = match[key]
    dtype = np.dtype(found["descr"])
    shape = _shape([int(size) for size in found["shape"].replace(" ", "").split(",") if size])
    if len(raw) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(raw) - start:,} bytes for an array {list(shape)} of {dtype}")
    flat = np.frombuffer(raw, dtype, offset=start).astype(dtype.newbyteorder("="))
    return flat.reshape(shape, order="F" if found["fortran_order"] == "True" else "C")


# ---------------------------------------------------------------------------------------------- torch


_STORAGES = {
    "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8,
    "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
"""torch's storage type names."""


SHARED = 4
"""A torch file's tensors may total this many times its bytes: some share a buffer, as tied weights do."""


class _View(NamedTuple):
    """A tensor in a torch file: a view of a buffer; ``storage`` is (dtype, buffer name)."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


class _TorchPickle(pickle.Unpickler):
    """Unpickler for a state dict; every name in it must be one of these few."""

    def find_class(self, module: str, name: str) -> Any:
        """Return our replacement of a name."""
        if module == "torch" and name in _STORAGES:
            return name
        known = {  # a new object for each name, since a pickle can set attributes of the objects it is given
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, size, stride, *_: _View(
                storage, offset, size, stride
            ),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        }
        if (module, name) not in known:
            raise InputError(f"it names {quoted(f'{module}.{name}')}, which is not a part of weights")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Return dtype and name of a buffer, of ``("storage", kind, name, device, count)``."""
        kind, name, key, *_ = pid
        if kind != "storage" or not isinstance(key, str):
            raise TypeError("a reference to something other than a buffer")
        return np.dtype(_STORAGES[name]), key


def from_torch(raw: bytes, name: Path | str) -> dict[str, np.ndarray]:
    """Return the arrays of the bytes that ``torch.save(module.state_dict())`` wrote; torch is not needed.

    Keys of nested dicts are joined by "/"; anything that is not a tensor is left out.

    Raises:
      InputError: if it is damaged, older than torch 1.6, names anything but tensors, or has tensors that total more
        than `SHARED` times its size.
    """
    if not raw.startswith(b"PK"):
        raise InputError(
            f"{name} is not a torch file as torch 1.6 and later write them; save module.state_dict() again"
        )
    cure = "save module.state_dict() by itself"
    with understood(name, cure), checked_zip(raw, name) as archive:
        try:
            return _tensors_of(archive, len(raw))
        except (InputError, pickle.UnpicklingError) as error:
            raise InputError(f"{name} is not a file of weights alone ({error}); {cure}") from error


def _tensors_of(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    parts = {one.filename.partition("/")[2]: one for one in archive.infolist()}
    if parts["data.pkl"].file_size > LARGEST_HEADER:
        raise ValueError("its pickle is too large")
    order = member(archive, parts["byteorder"]).decode() if "byteorder" in parts else "little"
    tree = _unpickled(member(archive, parts["data.pkl"]))
    buffers: dict[str, bytes] = {}
    found, left = {}, max(SHARED * size, EXPANSION_FROM)
    for key, view in _leaves(tree, size).items():
        dtype, part = view.storage
        if part not in buffers:
            buffers[part] = member(archive, parts[f"data/{part}"])
        shape = _shape(view.size)
        left -= math.prod(shape) * dtype.itemsize
        if left < 0:  # a stride of 0 makes terabytes of one number
            raise ValueError(f"with {quoted(key)} its tensors are more than {SHARED} times larger than the file")
        numbers = np.frombuffer(buffers[part], dtype)
        found[key] = _strided(numbers.byteswap() if order == "big" else numbers, view, shape).copy()
    return found


def _unpickled(raw: bytes) -> Any:
    """Return the contents of a pickle read by `_TorchPickle`; all opcodes are checked before the first is run."""
    for code, argument, _ in pickletools.genops(raw):
        # the unpickler allocates its memo up to the largest index
        if "PUT" in code.name and isinstance(argument, int) and not 0 <= argument <= len(raw):
            raise ValueError("a pickle with a memo index beyond its size")
    return _TorchPickle(io.BytesIO(raw)).load()


def _leaves(tree: Any, most: int) -> dict[str, _View]:
    """Return the tensors of nested dicts, keys joined by "/"; dicts may be nested, even in a cycle."""
    found: dict[str, _View] = {}
    level, seen = {"": tree}, 0
    for _ in range(DEEPEST):
        below: dict[str, Any] = {}
        for above, one in level.items():
            for key, value in one.items() if isinstance(one, Mapping) else ():
                path = f"{above}/{key}" if above else str(key)
                seen += 1 + len(path) // 64
                if seen > most:
                    raise ValueError("more entries than bytes")
                (found if isinstance(value, _View) else below)[path] = value
        level = {path: value for path, value in below.items() if isinstance(value, Mapping)}
    if level:
        raise ValueError(f"more than {DEEPEST} levels")
    return found


def _strided(buffer: np.ndarray, view: _View, shape: tuple[int, ...]) -> np.ndarray:
    """Return a view of a buffer; it must lie entirely inside the buffer."""
    steps = _shape(view.stride)
    if len(steps) != len(shape) or type(view.offset) is not int or view.offset < 0:
        raise ValueError("a tensor whose strides and sizes differ in number")
    last = view.offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if math.prod(shape) and last >= len(buffer):
        raise ValueError("a tensor beyond the end of its buffer")
    inner = buffer[min(view.offset, len(buffer)) :]
    return np.lib.stride_tricks.as_strided(inner, shape, [step * buffer.itemsize for step in steps], writeable=False)
