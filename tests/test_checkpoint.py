"""Checkpoints: what is written is read, bit for bit; what was damaged is noticed; a failed write loses nothing."""

import errno
import hashlib
import json
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxseq import InputError, checkpoint
from jaxseq.files import write_atomic


class Tree(NamedTuple):
    floats: dict
    step: jax.Array
    empty: tuple


def tree():
    key = jax.random.key(0)
    floats = {
        name: jax.random.normal(key, (3, 2), jnp.dtype(name)) for name in ("float16", "bfloat16", "float32", "float64")
    }
    return Tree(floats, jnp.int32(7), (jnp.zeros((0, 3)), jnp.array([True, False]), jnp.arange(3, dtype=jnp.uint8)))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, tree(), note="中")
    return path


def test_a_round_trip_keeps_every_bit(path):
    got = checkpoint.load(path, jax.eval_shape(tree))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(tree()), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert checkpoint.facts(path) == {"note": "中"}


def test_other_tools_can_read_it(path):
    from safetensors import safe_open

    with safe_open(path, "flax") as file:
        np.testing.assert_array_equal(file.get_tensor(".floats['float32']"), tree().floats["float32"])


def test_facts_shapes_and_dtypes_are_in_the_checksum(path):
    """A header that is altered in one place, every such place tried, is refused: it is longer than the arrays."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    for old, new in (
        (b"\\\\u4e2d", b"\\\\u4e2e"),
        (b'"dtype":"I32"', b'"dtype":"U32"'),
        (b'"shape":[3,2]', b'"shape":[2,3]'),
    ):
        assert old in raw[: 8 + length]
        path.write_bytes(raw.replace(old, new, 1))
        with pytest.raises(InputError, match="was altered: its contents do not match its checksum"):
            checkpoint.facts(path)


def test_a_file_of_format_1_is_read(path):
    """Whose checksum is of names and numbers alone: one that jaxseq 0.3 wrote is still a checkpoint."""
    arrays = {f".floats['{n}']": np.arange(2, dtype=n) for n in ("float32", "float64")}
    digest = hashlib.sha256(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays)))
    about = {"format": 1, "sha256": digest.hexdigest(), "facts": {"step": 3}}
    save_file(arrays, path, metadata={"jaxseq": json.dumps(about)})
    like = {"floats": {n: np.zeros(2, n) for n in ("float32", "float64")}}
    got = checkpoint.load(path, Tree(like["floats"], (), ()), as_numpy=True)
    assert checkpoint.facts(path) == {"step": 3} and got.floats["float64"].tolist() == [0, 1]
    save_file({n: a + 1 for n, a in arrays.items()}, path, metadata={"jaxseq": json.dumps(about)})
    with pytest.raises(InputError, match="was altered"):
        checkpoint.facts(path)


def test_every_truncation_is_noticed(path):
    raw = path.read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(raw), 23), len(raw) - 1]:
        path.write_bytes(raw[:length])
        with pytest.raises(InputError, match=r"is damaged|--overwrite"):
            checkpoint.load(path, tree())


def test_every_altered_byte_of_the_arrays_is_noticed(path):
    raw = path.read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    for at in range(header, len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(InputError, match="was altered: its contents do not match its checksum"):
            checkpoint.load(path, tree())


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (lambda: tree()._replace(step=(jnp.int32(0), jnp.int32(0))), r"another architecture: .*differ in 3 arrays"),
        (lambda: tree()._replace(step=jnp.zeros(2, jnp.int32)), r"'.step' should be int32 \(2,\), is int32 \(\)"),
        (lambda: tree()._replace(step=jnp.float32(0)), r"'.step' should be float32"),
    ],
)
def test_another_architecture_is_refused(path, like, message):
    with pytest.raises(InputError, match=message):
        checkpoint.load(path, like())


def test_missing_foreign_and_newer_files(path, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"there is no file .*b.safetensors"):
        checkpoint.load(tmp_path / "b.safetensors", tree())
    save_file({"a": np.zeros(2)}, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="jaxseq did not write it"):
        checkpoint.load(tmp_path / "c.safetensors", tree())
    abouts = (
        "{}", "[]", '{"format": "x", "sha256": "", "facts": {}}', '{"format": Infinity, "sha256": "", "facts": {}}',
        "[" * 100_000, '{"format": 2, "sha256": "", "facts": []}', '{"format": 2, "sha256": 7, "facts": {}}',
    )  # fmt: skip
    for about in abouts:
        save_file({"a": np.zeros(2)}, tmp_path / "c.safetensors", metadata={"jaxseq": about})
        with pytest.raises(InputError, match=r"is damaged|is not JSON|was altered"):
            checkpoint.load(tmp_path / "c.safetensors", tree())
    monkeypatch.setattr(checkpoint, "FORMAT", 0)
    with pytest.raises(InputError, match="has format 2, this jaxseq reads up to 0; upgrade"):
        checkpoint.load(path, tree())


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_full_disk_loses_nothing(path, monkeypatch, where):
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "write":
        path.parent.chmod(0o700)
        monkeypatch.setattr("tempfile._TemporaryFileWrapper.write", full, raising=False)
    else:
        monkeypatch.setattr(os, where, full)
    with pytest.raises(InputError, match=r"cannot write .*No space left on device.*free some space"):
        checkpoint.save(path, jax.tree.map(lambda a: a + a, tree()._replace(empty=())))
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*No such file or directory"):
        write_atomic(tmp_path / "no" / "a.txt", "text")


def test_written_files_have_the_usual_permissions(tmp_path):
    write_atomic(tmp_path / "a.json", json.dumps({}))
    usual = tmp_path / "b.json"
    usual.write_text("")
    assert (tmp_path / "a.json").stat().st_mode == usual.stat().st_mode
