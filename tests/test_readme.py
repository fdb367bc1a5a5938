"""The code in README and in docstrings runs, and README's commands are those that CI runs."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import run_readme

import jaxseq

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return run_readme.blocks(README, language)


def bare(code: str) -> dict[str, str]:
    """Return each definition of a module by name, without annotations, docstrings and comments."""
    found = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
            node.body = node.body[ast.get_docstring(node) is not None :]
            found[node.name] = ast.unparse(node)
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = ast.unparse(node.value)
    return found


def test_the_lstm_shown_is_the_lstm():
    """The code next to the equations is that of the module, but for two arguments of the cell that describe it."""
    (shown,) = (bare(block) for block in blocks("python") if "LSTMGates" in block)
    real = bare((ROOT / "jaxseq" / "cells" / "_lstm.py").read_text(encoding="utf-8"))
    assert real.pop("lstm").startswith(shown.pop("lstm").removesuffix(")"))
    assert shown == real and len(shown) == 3


@pytest.mark.parametrize("block", [b for b in blocks("python") if "LSTMGates" not in b])
def test_every_example_runs(block, as_users_have_it, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    for line in run_readme.printed(block):
        assert line in capsys.readouterr().out


MODULES = [m.name for m in pkgutil.walk_packages(jaxseq.__path__, "jaxseq.") if "._data" not in m.name]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings(name, as_users_have_it):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_cells_of_other_libraries_are_counted(monkeypatch):
    """As its table has them; memax, which is not installed here, has its own list."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    equinox, haiku, keras = (pytest.importorskip(name) for name in ("equinox", "haiku", "keras"))
    linen = pytest.importorskip("flax.linen")

    def below(module, base):
        return {n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, base) and v is not base}

    wrappers = {"DeepRNN", "IdentityCore", "ResetCore"}
    layers = {name for name in dir(keras.layers) if re.fullmatch(r"(Simple|Conv)?(RNN|LSTM|GRU)(\dD)?", name)} - {"RNN"}
    counted = {
        "jaxseq": len(jaxseq.CELLS),
        "flax": len(below(linen, linen.RNNCellBase)),
        "haiku": len(below(haiku, haiku.RNNCore) - wrappers),
        "equinox": sum(name.endswith("Cell") for name in dir(equinox.nn)),
        "keras": len(layers),
    }
    if sys.version_info < (3, 12):
        counted["torchrecurrent"] = sum(name.endswith("Cell") for name in dir(pytest.importorskip("torchrecurrent")))
    rows = [line.strip("|").split("|") for line in README.splitlines() if line.startswith("| ")]
    names = next([cell.split()[0] for cell in row[1:]] for row in rows if row[1:] and row[1] == " jaxseq ")
    cells = dict(zip(names, next(row[1:] for row in rows if row[0] == " recurrent cells "), strict=True))
    assert {name: int(cells[name]) for name in counted} == counted
    attentions = next(row[1] for row in rows if row[0].startswith(" attentions"))
    assert int(attentions.split()[0]) == len(jaxseq.ATTENTIONS)


def test_ci_runs_the_readmes_test_command():
    commands = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    (command,) = (line for line in commands if "pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text()


def test_what_the_readme_names_is_there():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
    for name in re.findall(r"`((?:jaxseq|benchmarks|data|tests)/[\w./-]+)`", README):
        assert (ROOT / name).exists(), name


def test_the_library_examples_need_no_extra(tmp_path):
    """CI runs the same script where the bare wheel is installed; here the extra's packages are made to be missing."""
    missing = "tyro tqdm pooch sacrebleu flax haiku equinox keras torch".split()
    script = str(ROOT / "tests" / "run_readme.py")
    code = f"""import runpy, sys
for name in {missing}: sys.modules[name] = None
runpy.run_path({script!r}, run_name="__main__")"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and "ran without any extra" in done.stdout, done.stderr
