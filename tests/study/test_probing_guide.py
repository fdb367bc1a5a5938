"""The guide's code runs and says what it says."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import jaxseq
from jaxseq import study
from jaxseq.problems import TOMITA


def test_the_guides_code_runs(as_users_have_it, capsys) -> None:
    guide = (Path(jaxseq.__file__).parent / "guide" / "probing.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in guide.split("```python\n")[1:]:
        exec(block.split("```")[0], names)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "{'h': (7, 6, 1), 'z': (7, 6, 1)}"
    machine = names["machine"]  # of a network that was trained
    assert machine.automaton.same_language(TOMITA[1]) and machine.stable and machine.separation > 0.9
    assert said[2] == "(6, 5) (1, 5)" and said[3] == "True 1.0" and said[4] == "digraph automaton {"
    np.testing.assert_allclose(names["outs"], names["effect"].changed, rtol=1e-6)
    assert names["seen"].scores.held_out > names["seen"].shuffled.held_out.max()
    for draw, found in (
        (study.plot_patching, "found"), (study.plot_probe, "seen"), (study.plot_contexts, "contexts"),
        (study.plot_neighbours, "like"), (study.plot_automaton, "machine"),
    ):  # fmt: skip
        assert draw(names[found]).has_data() or draw is study.plot_automaton
    plt.close("all")
