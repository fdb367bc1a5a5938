"""Files of torch: weights only, never code."""

import collections

import jax
import pytest
import torch

from jaxseq import InputError
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
        with pytest.raises(InputError, match="is no file of weights alone"):
            files.read_arrays(path)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="is no file of weights alone"):
        files.read_arrays(path)
    torch.save(collections.OrderedDict(step=torch.tensor(3)), path)
    with pytest.raises(InputError, match="holds no arrays"):
        files.read_arrays(path)
