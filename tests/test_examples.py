"""The examples that need jax, optax and numpy alone: each finds what it says, in a small version of itself."""

import subprocess
import sys

import pytest

from jaxseq.examples import descriptions, stream

pytestmark = pytest.mark.usefixtures("as_users_have_it")


def test_the_list_names_every_example_with_one_line():
    printed = subprocess.check_output([sys.executable, "-m", "jaxseq.examples"], text=True)
    listed = [line for line in printed.splitlines() if line.startswith("  ")]
    assert len(listed) == len(descriptions()) >= 1
    for line, (name, text) in zip(listed, descriptions().items(), strict=True):
        assert line.split()[0] == name and line.endswith(text) and text.endswith(".") and len(line) <= 120


def test_stream():
    found = stream.main(steps=200, eager_steps=5)
    assert found["difference"] < 1e-6
    assert found["in_place"]
    assert found["jitted"] < found["eager"] / 2
