"""The guide's code runs and says what it says."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import jaxseq


def test_the_guides_code_runs(as_users_have_it, capsys):
    guide = (Path(jaxseq.__file__).parent / "guide" / "studying.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in guide.split("```python\n")[1:]:
        exec(block.split("```")[0], names)
    plt.close("all")
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("stable, speed") and said[-1].startswith("largest Lyapunov exponent -0.")
    assert sum(line.startswith("gap of completeness") for line in said) == 1
    assert [line.split(": ")[-1] for line in said if "further back" in line] == ["vanishing"] * 4
    assert str(names["roles"]) in " ".join(guide.split())
    assert names["kept"].error < 1e-6 and np.abs(names["parts"].gap).max() < 1e-5
