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
from safetensors.numpy import save as save_tensors

from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.inputs import parse_json, read_bytes, understood
from jaxseq.notation import Tree
from jaxseq.tensors import LARGEST, from_safetensors
from jaxseq.trees import leaves_by_path

FORMAT = 2
"""Version of the file layout; newer versions are refused. Format 1, which is still read, has a checksum of the arrays
alone; since format 2 it covers facts, dtypes and shapes too."""


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
    facts = json.loads(json.dumps(facts))  # the checksum is of facts as they will be read back: JSON makes tuples lists
    about = {"format": FORMAT, "sha256": _digest(tensors, facts), "facts": facts}
    write_atomic(path, save_tensors(tensors, metadata={"jaxseq": json.dumps(about)}))


def load(path: Path | str, like: Tree, *, as_numpy: bool = False) -> Tree:
    """Return the pytree that `save` wrote; `like` gives its structure, shapes and dtypes (arrays or their shapes).

    `as_numpy` returns NumPy arrays: JAX would by default make a float64 array float32.

    Raises:
      InputError: if the file is missing, truncated, altered, of a newer version, or of another architecture.
    """
    tensors, _ = _read(Path(path))
    wanted = leaves_by_path(like)
    if missing := sorted(set(wanted) ^ set(tensors)):
        raise InputError(
            f"{path} holds another architecture: it and the model differ in {len(missing)} arrays, first in "
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
    """Return the facts saved with a file; raises as `load` does."""
    return _read(Path(path))[1]["facts"]


def _digest(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any] | None) -> str:
    """Return the checksum of arrays and facts; with None, of the arrays' bytes alone, as in format 1."""
    digest = hashlib.sha256()
    if facts is not None:
        digest.update(json.dumps(facts, sort_keys=True).encode())
    # sorted by name, so the order of writing does not matter
    for name in sorted(tensors):
        about = f"{name}\0{tensors[name].dtype}{tensors[name].shape}\0" if facts is not None else name
        digest.update(about.encode("utf-8", "surrogatepass"))
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


AGAIN = "restore it from a copy, or train again with --overwrite"
"""The advice in messages about a damaged checkpoint."""


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    raw = read_bytes(path, "a checkpoint, in the folder of a run", LARGEST)
    tensors, metadata = from_safetensors(raw, f"the checkpoint {path}")
    if "jaxseq" not in metadata:
        raise InputError(f"{path} is a safetensors file, but jaxseq did not write it; {AGAIN}")
    with understood(f"the checkpoint {path}", AGAIN):
        about = parse_json(metadata["jaxseq"], path, AGAIN)
        version, digest, facts = about["format"], about["sha256"], about["facts"]
        if type(version) is not int or not isinstance(facts, dict):
            raise TypeError("expected a whole number as format and an object as facts")
    if version > FORMAT:
        raise InputError(
            f"{path} has format {version}, this jaxseq reads up to {FORMAT}; upgrade: pip install -U jaxseq"
        )
    if _digest(tensors, facts if version > 1 else None) != digest:
        raise InputError(f"the checkpoint {path} was altered: its contents do not match its checksum; {AGAIN}")
    return tensors, about
