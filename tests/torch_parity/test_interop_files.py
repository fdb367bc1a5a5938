"""Files of torch: weights only, never code."""

import collections
import zipfile

import jax
import pytest
import torch

from jaxseq import InputError, tensors
from jaxseq.cli import main
from jaxseq.interop import files
from jaxseq.interop.torch import from_torch


class Runs:
    """What a malicious pickle is made of."""

    def __reduce__(self):
        return (print, ("run",))


def test_weights_are_read_and_code_is_not(tmp_path, capsys):
    module = torch.nn.LSTM(3, 5, bidirectional=True)
    path, out = tmp_path / "model.pt", tmp_path / "out.safetensors"
    torch.save({"epoch": 3, "state_dict": module.state_dict()}, path)
    assert main(f"convert {path} --from torch --layer lstm -o {out}".split()) == 0
    assert "run by jaxseq.bidirectional(cell, params, xs)" in capsys.readouterr().out
    cell, params = files.load(out)
    want = from_torch(module)
    assert cell == want[0]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), params, want[1])))

    for holds in ({"a": Runs()}, module):
        torch.save(holds, path)
        with pytest.raises(InputError, match="is not a file of weights alone"):
            files.read_arrays(path)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="is a damaged archive"):
        files.read_arrays(path)
    torch.save(collections.OrderedDict(step=torch.tensor(3)), path)
    with pytest.raises(InputError, match="holds no arrays"):
        files.read_arrays(path)


DTYPES = "float16 bfloat16 float32 float64 int64 int32 int16 int8 uint8 bool".split()


def test_our_reader_reads_what_torch_reads(tmp_path):
    """Views, strides, shared buffers, parameters and every dtype, equal to torch's own reader bit for bit."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tied = torch.nn.Parameter(torch.randn(3, 5))
    tree = {
        **{name: torch.arange(6).reshape(2, 3).to(getattr(torch, name)) for name in DTYPES},
        "transposed": base.T, "slice": base[1:3, ::2], "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4),
        "inner": collections.OrderedDict(a=tied, b=tied), "epoch": 3, "name": "adam", "steps": [1, 2.5, None],
    }  # fmt: skip
    torch.save(tree, tmp_path / "a.pt")
    theirs = torch.load(tmp_path / "a.pt", weights_only=True)
    ours = tensors.from_torch((tmp_path / "a.pt").read_bytes(), "a.pt")
    want = {**{n: t for n, t in theirs.items() if isinstance(t, torch.Tensor)}, "inner/a": tied, "inner/b": tied}
    assert set(ours) == set(want)
    for name, tensor in want.items():
        tensor = tensor.detach()
        assert ours[name].shape == tuple(tensor.shape) and str(ours[name].dtype) == str(tensor.dtype)[6:]
        plain = tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()
        assert (ours[name].astype(plain.dtype) == plain).all()


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    """A stride of 0 makes 3.8 GB of one number, in a file of 1.5 kB."""
    path = tmp_path / "a.pt"
    torch.save({"w": torch.zeros(1).expand(10**9)}, path)
    assert path.stat().st_size < 2000
    with pytest.raises(InputError, match="with 'w' its tensors are more than 4 times larger"):
        files.read_arrays(path)


def test_a_file_of_old_torch_is_refused(tmp_path):
    """Its reader takes as much memory as the file claims before it reads."""
    torch.save({"w": torch.zeros(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"torch 1\.6 and later"):
        files.read_arrays(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01h\x00u.", "levels"),  # a dict in itself
        (b"\x80\x02}r\xff\xff\xff\x7f.", "memo index beyond its size"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x0a\x00\x00\x00.", "damaged"),  # 40 GB of bytes
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"\x80\x02ctorch\nLongStorage\n.", "holds no arrays"),
        (b"\x80\x02ctorch\nLongStorage\n}X\x01\x00\x00\x00aK\x01sb.", "damaged"),  # sets an attribute of a name
        (b"(" * 100_000 + b".", "damaged|alone"),
        (b"", "damaged"),
    ],
)
def test_pickles_that_nobody_writes(tmp_path, pickled, message):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickled)
    with pytest.raises(InputError, match=message):
        files.read_arrays(tmp_path / "a.pt")
