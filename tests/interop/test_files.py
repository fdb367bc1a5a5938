"""Files of weights, and the command that converts them."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxseq import Bidirectional, InputError, checkpoint, interop, layers
from jaxseq.cells import gru, lstm, stack
from jaxseq.cli import main
from jaxseq.interop import common, equinox, files, flax, haiku, keras
from jaxseq.interop.torch import to_arrays
from jaxseq.testing import difference

D, H = 3, 5


def numpy(arrays):
    return {name: np.array(a) for name, a in arrays.items()}


@pytest.fixture
def params():
    return lstm.init(jax.random.key(0), D, H)


def test_a_file_is_converted_and_loaded(params, tmp_path, capsys):
    source, out = tmp_path / "model.safetensors", tmp_path / "lstm.safetensors"
    save_file(numpy(to_arrays(lstm, params)), source)
    command = ["convert", str(source), "--from", "torch", "--layer", "lstm", "-o", str(out)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "weight_ih_l0  float32 [20, 3]" in said.err
    assert said.out.startswith("lstm, float32, all numbers finite: W [3, 20], U [5, 20], b [20]\n")
    assert "run by jaxseq.unroll(cell, params, xs)" in said.out
    (line,) = (line for line in said.out.splitlines() if "load(" in line)
    names = {"load": files.load}
    exec(line.strip(), names)
    assert names["cell"] == lstm and difference(names["params"], params)[0] == 0

    assert main(command) == 2
    assert "exists; choose another name" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"]["W"] == [3, 20]


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16, jnp.float32])
def test_every_suffix_and_dtype(dtype, params, tmp_path):
    params = jax.tree.map(lambda a: a.astype(dtype), params)
    arrays = numpy(to_arrays(lstm, params))
    save_file(arrays, tmp_path / "a.safetensors")
    found = [files.read_arrays(tmp_path / "a.safetensors")]
    if dtype != jnp.bfloat16:  # npz has none
        np.savez(tmp_path / "a.npz", **arrays)
        found.append(files.read_arrays(tmp_path / "a.npz"))
    for one in found:
        cell, got = files.convert(one, "torch", "lstm")
        assert got.W.dtype == dtype and difference(got, params)[0] == 0
    files.save(tmp_path / "out.safetensors", cell, got)
    assert difference(files.load(tmp_path / "out.safetensors")[1], params)[0] == 0
    if dtype == jnp.float64:
        with jax.enable_x64(False), pytest.raises(InputError, match="is float64; call jax"):
            files.load(tmp_path / "out.safetensors")


def test_layers_of_every_shape_are_loaded_again(tmp_path, capsys):
    keys = jax.random.split(jax.random.key(0), 4)
    low, high = (
        Bidirectional(gru.init(keys[k], size, H), gru.init(keys[k + 1], size, H)) for k, size in ((0, D), (2, 2 * H))
    )
    deep = stack(gru, gru)
    for cell, params in (((gru, gru), (low, high)), (gru, low), (deep, deep.init(keys[0], D, H))):
        save_file(numpy(to_arrays(cell, params)), tmp_path / "a.safetensors")
        command = (
            f"convert {tmp_path}/a.safetensors --from torch --layer gru --out {tmp_path}/b.safetensors --overwrite"
        )
        assert main(command.split()) == 0
        got_cell, got = files.load(tmp_path / "b.safetensors")
        assert got_cell == cell and difference(got, params)[0] == 0
        run = "layers" if type(cell) is tuple else "unroll" if cell == deep else "bidirectional"
        assert f"run by jaxseq.{run}(cell" in capsys.readouterr().out
    assert layers((gru, gru), (low, high), jnp.ones((4, 2, D), jnp.float32))[1].shape == (4, 2, 2 * H)
    with pytest.raises(InputError, match="layers: params must be a tuple of 2"):
        layers((gru, gru), (low,), jnp.ones((4, 2, D)))


def test_names_of_every_library(params):
    from flax import nnx

    module = equinox.to_equinox(lstm, params)
    their_haiku = haiku.to_haiku(lstm, params).items()
    linen = {f"params.{name.replace('/', '.')}": a for name, a in flax.LINEN["lstm"].write(params).items()}
    given = {
        "equinox": ({n: getattr(module, n) for n in ("weight_ih", "weight_hh", "bias")}, "lstm"),
        "flax-linen": (linen, "lstm"),
        "flax-nnx": (common.flat(nnx.to_pure_dict(nnx.state(flax.to_nnx(lstm, params), nnx.Param))), "lstm_optimized"),
        "haiku": ({f"{m}['{n}']": a for m, inner in their_haiku for n, a in inner.items()}, "lstm"),
        "keras": ({v.path: v.value for v in keras.to_keras(lstm, params).trainable_variables}, "lstm"),
    }  # fmt: skip
    assert {"torch", *given} == set(files.LIBRARIES)
    for library, (arrays, layer) in given.items():
        cell, got = files.convert(arrays, library, layer)
        assert cell == lstm and difference(got, params)[0] <= 1e-7


def test_what_cannot_be_converted_says_why(params, tmp_path, capsys):
    good = numpy(to_arrays(lstm, params))

    def said(arrays, *options, name="a.npz"):
        if arrays is not None:
            np.savez(tmp_path / name, **arrays)
        command = ["convert", str(tmp_path / name), "-o", str(tmp_path / "out.safetensors"), *options]
        assert main(command) == 2
        assert not (tmp_path / "out.safetensors").exists()
        return capsys.readouterr().err

    torch_lstm = ("--from", "torch", "--layer", "lstm")
    assert "unknown library 'flax': did you mean 'flax-" in said(good, "--from", "flax", "--layer", "lstm")
    assert "torch has no layer 'lstn': did you mean 'lstm'?" in said(good, "--from", "torch", "--layer", "lstn")
    assert "weight_ih_l0 has the shape (20, 3), expected [3H, D]" in said(good, "--from", "torch", "--layer", "gru")
    assert "unknown array 'weigth_ih_l0': did you mean 'weight_ih_l0'?" in said(
        {**good, "weigth_ih_l0": 1.0}, *torch_lstm
    )
    assert "'weight_hh_l0' is missing" in said({"weight_ih_l0": good["weight_ih_l0"]}, *torch_lstm)
    bad = {**good, "bias_ih_l0": np.full(20, np.nan, np.float32)}
    assert "bias_ih_l0 holds numbers that are not finite" in said(bad, *torch_lstm)
    assert "bias_ih_l0 has dtype int64" in said({**good, "bias_ih_l0": np.zeros(20, np.int64)}, *torch_lstm)
    assert "a.npz is damaged (a part that is not an array of numbers)" in said({"a": np.array([{}])}, *torch_lstm)
    assert "holds no arrays" in said({}, *torch_lstm)
    assert "there is no file" in said(None, *torch_lstm, name="missing.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no such thing")
    assert "b.safetensors is damaged (a header of" in said(None, *torch_lstm, name="b.safetensors")
    (tmp_path / "b.npz").write_bytes(b"no such thing")
    assert "b.npz is a damaged archive" in said(None, *torch_lstm, name="b.npz")
    assert "ends in one of .safetensors, .npz" in said(None, *torch_lstm, name="b.h5")
    checkpoint.save(tmp_path / "run.safetensors", params)
    with pytest.raises(InputError, match="a checkpoint, not a converted layer"):
        files.load(tmp_path / "run.safetensors")


def test_no_library_is_loaded_before_it_is_wanted():
    modules = "files common torch flax haiku equinox keras".split()
    libraries = "torch flax haiku equinox keras".split()
    loaded = f"print([m for m in {libraries} if m in sys.modules])"
    code = f"import sys; from jaxseq.interop import {', '.join(modules)}; {loaded}"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_guide_states_the_versions_tested():
    page = (Path(interop.__file__).parents[1] / "guide" / "weights.md").read_text(encoding="utf-8")
    for package, version in interop.TESTED.items():
        assert f"| {package} | {version} |" in page


def test_another_series_gives_one_warning(params, monkeypatch):
    common.check_version.cache_clear()
    monkeypatch.setitem(interop.TESTED, "equinox", "0.1.2")
    with pytest.warns(UserWarning, match=r"tested with equinox 0\.1\.2, installed is") as seen:
        assert [equinox.to_equinox(lstm, params) for _ in range(2)]
    assert len(seen) == 1
    common.check_version.cache_clear()
