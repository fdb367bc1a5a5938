"""Pytrees of arrays in safetensors files: atomic to write, checked when read, never pickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_tensors

from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.notation import Tree
from jaxseq.trees import leaves_by_path

FORMAT = 1
"""Version of what a file holds; a reader refuses a newer one."""


def save(path: Path | str, tree: Tree, **facts: Any) -> None:
    """Write a pytree of arrays, any dtype, with `facts` (anything JSON can hold) next to it.

    Raises:
      InputError: if the file cannot be written.

    Example:
      >>> import tempfile
      >>> folder = tempfile.TemporaryDirectory()
      >>> save(f"{folder.name}/a.safetensors", {"w": jnp.ones(2)}, step=3)
      >>> load(f"{folder.name}/a.safetensors", {"w": jnp.zeros(2)})["w"].tolist(), facts(f"{folder.name}/a.safetensors")
      ([1.0, 1.0], {'step': 3})
      >>> folder.cleanup()
    """
    tensors = {name: np.asarray(leaf, order="C") for name, leaf in leaves_by_path(tree).items()}
    about = {"format": FORMAT, "sha256": _digest(tensors), "facts": facts}
    write_atomic(path, save_tensors(tensors, metadata={"jaxseq": json.dumps(about)}))


def load(path: Path | str, like: Tree, *, as_numpy: bool = False) -> Tree:
    """Read the pytree that `save` wrote; `like` gives its structure, shapes and dtypes (arrays or their shapes).

    `as_numpy` gives NumPy arrays: jax as it comes would make float32 of a float64 array.

    Raises:
      InputError: if the file is missing, truncated, altered, of a newer version, or of another architecture.
    """
    tensors, _ = _read(Path(path))
    wanted = leaves_by_path(like)
    if missing := sorted(set(wanted) ^ set(tensors)):
        raise InputError(
            f"{path} holds another architecture: it and the model differ in {len(missing)} arrays, the first is "
            f"{missing[0]!r}. Use it with the config.json that was written with it"
        )
    for name, want in wanted.items():
        have = tensors[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            raise InputError(
                f"{path} holds another architecture: {name!r} should be {want.dtype} {tuple(want.shape)}, is "
                f"{have.dtype} {have.shape}. Use it with the config.json that was written with it"
            )
    return jax.tree.unflatten(
        jax.tree.structure(like), [tensors[name] if as_numpy else jnp.asarray(tensors[name]) for name in wanted]
    )


def facts(path: Path | str) -> dict[str, Any]:
    """Return the facts that were saved with a file; errors as `load`."""
    return _read(Path(path))[1]["facts"]


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


DTYPES = {"BF16": jnp.bfloat16, "F16": np.float16, "F32": np.float32, "F64": np.float64, "BOOL": np.bool_}
"""safetensors' names of dtypes; integers are I or U and their bits. Its own NumPy reader knows no bfloat16."""


def array_of(tensor: dict[str, Any]) -> np.ndarray:
    """Return the array of an entry that `safetensors.deserialize` gives."""
    name = tensor["dtype"]
    dtype = DTYPES.get(name) or np.dtype(f"{name[0].lower()}{int(name[1:]) // 8}")
    return np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the checkpoint {path}: {error.strerror}; give the folder of a run") from error
    again = "restore it from a copy, or train again with --overwrite"
    try:
        tensors = {name: array_of(tensor) for name, tensor in deserialize(raw)}
        length = int.from_bytes(raw[:8], "little")
        about = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["jaxseq"])
        version, digest, _ = int(about["format"]), about["sha256"], about["facts"]
    except KeyError as error:
        raise InputError(f"{path} is a safetensors file, but jaxseq did not write it; {again}") from error
    except (SafetensorError, ValueError, TypeError) as error:
        raise InputError(f"the checkpoint {path} is truncated or damaged ({error}); {again}") from error
    if version > FORMAT:
        raise InputError(
            f"{path} has format {version}, this jaxseq reads up to {FORMAT}; upgrade: pip install -U jaxseq"
        )
    if _digest(tensors) != digest:
        raise InputError(f"the checkpoint {path} was altered: its contents do not match its checksum; {again}")
    return tensors, about
