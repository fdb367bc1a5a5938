"""The examples that need other libraries, several devices or several processes: each finds what it says."""

import json
import runpy
import subprocess
import sys

import numpy as np
import pytest

from jaxseq.examples import export_and_serve, in_equinox, in_flax, in_haiku, multi_process, orbax_checkpoint

pytestmark = pytest.mark.usefixtures("as_users_have_it")


def test_in_flax():
    found = in_flax.main(steps=100)
    assert found["first"] > 0.8 and found["last"] < 0.1
    assert found["nnx"] < 1e-6 and found["linen"] < 1e-6


def test_in_equinox():
    found = in_equinox.main(steps=100)
    assert found["right"] > 0.85
    assert found["difference"] < 1e-6


def test_in_haiku():
    found = in_haiku.main(steps=100)
    assert found["first"] > 0.4 and found["last"] < 0.01
    assert found["difference"] < 1e-6


@pytest.mark.parametrize(
    ("library", "example"),
    [
        ("flax", in_flax),
        ("equinox", in_equinox),
        ("haiku", in_haiku),
        ("orbax", orbax_checkpoint),
        ("flatbuffers", export_and_serve),
    ],
)
def test_a_missing_library_is_told_in_one_sentence(library, example, monkeypatch):
    monkeypatch.setitem(sys.modules, f"{library}.checkpoint" if library == "orbax" else library, None)
    with pytest.raises(SystemExit) as said:
        runpy.run_path(example.__file__)
    assert str(said.value).startswith(f"This example needs {library}: pip install ")


def test_orbax_checkpoint():
    found = orbax_checkpoint.main(steps=10)
    assert found["differing"] == 0 and found["after"] == found["again"] < found["before"]


SHARDED = """
import json, jax
jax.config.update("jax_num_cpu_devices", 8)
from jaxseq.examples import sharded
print(json.dumps(sharded.main(steps=20)))
"""


def test_sharded():
    """In a process of its own, whose jax has not started: the number of devices cannot be changed later."""
    printed = subprocess.check_output([sys.executable, "-c", SHARDED], text=True, timeout=120)
    found = json.loads(printed.splitlines()[-1])
    assert found["parts"] == 2 and found["difference"] < 1e-5 and found["last"] < 0.5 * found["first"]
    assert "xs    (20, 32, 8)  (20, 8, 8)" in printed and "U     (32, 96)     (32, 48)" in printed


def test_multi_process():
    (alone, U), *together = multi_process.main(steps=20)
    assert len(together) == 2 and alone[-1] < 0.5 * alone[0]
    for losses, own in together:
        assert np.abs(np.subtract(losses, alone)).max() < 1e-6
        assert np.abs(np.subtract(own, U)).max() < 1e-6


def test_export_and_serve():
    """The other process answers for three sizes, and could not import this library."""
    differences = export_and_serve.main(hidden=8)
    assert len(differences) == 3 and max(differences) < 1e-6
    assert 'sys.modules["jaxseq"] = None' in export_and_serve.SERVER
