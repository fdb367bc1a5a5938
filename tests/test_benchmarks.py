"""What the benchmarks compute from times, and what they refuse. No time is a test."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.compare import compare
from benchmarks.timing import CompiledWhileTimedError, compilations, geometric_mean, interleave, noise, ratio


def test_ratios_compilations_and_bounds(tmp_path, capsys):
    rng = np.random.default_rng(0)
    slow, fast = rng.normal(20, 1, 101), rng.normal(10, 0.5, 101)
    value, low, high = ratio(slow, fast)
    assert low < value < high and 1.9 < low < 2 < high < 2.1  # known: 2, give or take the medians' error
    assert ratio(slow, slow) == (1, 1, 1)  # rounds are drawn, so that equal samples are equal
    assert ratio(slow, slow, paired=False).low < 1
    assert np.isnan(ratio([3.0], [2.0]).low) and ratio([3.0], [2.0]).value == 1.5
    assert geometric_mean([([4.0], [1.0]), ([1.0], [4.0])]).value == pytest.approx(1)
    assert noise("it", [10, 10.1, 9.9, 10]) is None and "busy" in noise("it", [5, 10, 15, 20])

    double = jax.jit(lambda x: x * 2)
    with compilations() as compiled:
        double(jnp.ones(3))
        assert compiled() > 0
        before = compiled()
        double(jnp.ones(3))
        assert compiled() == before
    sizes = iter(range(4, 99))
    with pytest.raises(CompiledWhileTimedError):
        interleave({"new shapes": lambda: double(np.ones(next(sizes)))}, 2, at_least=0, pause=0)
    samples = interleave({"a": lambda: double(np.ones(3)), "torch": lambda: None}, 3, at_least=0, pause=0)
    assert {name: len(of) for name, of in samples.items()} == {"a": 3, "torch": 3}

    files = [tmp_path / "before.json", tmp_path / "after.json"]
    for file, ms in zip(files, ([10.0, 11.0, 9.0], [20.0, 21.0, 19.0]), strict=True):
        file.write_text(json.dumps({"benchmark": "layers", "rows": [{"name": "row", "samples": {"jaxseq": ms}}]}))
    assert compare(*files) == 0
    assert compare(*files, at_least=0.4) == 0
    assert compare(*files, at_least=0.6) == 1
    assert "0.50 [" in capsys.readouterr().out
