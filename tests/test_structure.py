"""The shape of the package: imports flow one way, little is loaded, every public name is documented."""

import ast
import functools
import graphlib
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxseq

PACKAGE = Path(jaxseq.__file__).parent

LAYERS = [
    "_starting errors notation files locks inputs zips tensors texts memory trees shipped initializers dropout fonts "
    "colours plots placement devices jaxprs tokens",
    "cells",
    "recurrence",
    "_unroll _layers affine online precision",
    "attention losses risk decode forcing order optimizers records train checkpoint seq2seq",
    "interventions regularisers testing interop program",
    "problems",
    "study",
    "experiments examples bench",
    "apps cli guide __main__",
]
"""Lowest first; a module imports from its own layer or from those below, and never in a circle."""

RANK = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}
KNOWS_NO_MODEL = [
    "decode", "decode._beam", "decode._filters", "decode._greedy", "decode._score", "decode._step",
    "losses", "risk", "forcing", "optimizers", "records", "train", "order", "checkpoint", "files", "plots",
    "apps.text", "apps.pairs", "apps.series", "apps.datasets",
]  # fmt: skip
ONLY_NUMPY = [
    "errors", "order", "files", "locks", "inputs", "zips", "texts", "fonts", "plots", "apps.text", "apps.pairs",
    "apps.series", "apps.datasets", "apps.doctor",
]  # fmt: skip


@functools.cache
def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if "_data" not in path.parts
    }


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, anywhere in it but for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """The modules of this package among them."""
    found = set()
    for name in imports(path):
        while name.startswith("jaxseq."):
            if name.removeprefix("jaxseq.") in modules():
                found.add(name.removeprefix("jaxseq."))
                break
            name = name.rpartition(".")[0]
    return found


def layer(name: str) -> int:
    """Return the rank of a module's layer: that of its first folder, or of the module itself."""
    first = name.partition(".")[0]
    assert first in RANK, f"say in LAYERS to which layer {name} belongs"
    return RANK[first]


def test_imports_flow_one_way():
    """From a layer to those below, and within a layer without a circle."""
    graph = {name: own_imports(path) - {name} for name, path in modules().items() if name != "__init__"}
    assert len(LAYERS) <= 10
    upward = {(name, other) for name, below in graph.items() for other in below if layer(other) > layer(name)}
    assert not upward, f"these import from a layer above their own: {upward}"
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    list(
        graphlib.TopologicalSorter(
            {n: below - packages for n, below in graph.items() if n not in packages}
        ).static_order()
    )


@pytest.mark.parametrize("name", KNOWS_NO_MODEL)
def test_these_know_no_model(name):
    model = {
        m for m in modules() if m.startswith(("cells", "recurrence", "problems", "apps.translate", "apps.forecast"))
    }
    assert not own_imports(modules()[name]) & (model | {"_unroll", "_layers", "attention", "seq2seq", "apps.tutorial"})


@pytest.mark.parametrize("name", ONLY_NUMPY)
def test_these_do_without_jax_at_import(name):
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {n for n in named if n.partition(".")[0] in ("jax", "optax")}


def test_importing_jaxseq_loads_little():
    """Neither plots nor optimizers nor the command line's libraries; they are imported where they are used."""
    heavy = "matplotlib torch optax tyro tqdm pooch sacrebleu safetensors jax.extend jax.experimental jax.scipy.linalg"
    code = f"import sys, jax; before = {{*sys.modules}}; import jaxseq; print([m for m in {heavy.split()} "
    code += "if m in sys.modules and m not in before])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def public() -> list[tuple[str, object]]:
    """Every public module, function, class and method that this package defines."""
    found: list[tuple[str, object]] = []
    for info in pkgutil.walk_packages([str(PACKAGE)], "jaxseq."):
        if info.name.endswith("__main__") or "._data" in info.name:
            continue
        module = importlib.import_module(info.name)
        found.append((info.name, module))
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != info.name:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                found.append((f"{info.name}.{name}", value))
            if inspect.isclass(value):
                methods = {n: f for n, f in vars(value).items() if inspect.isfunction(f) and not n.startswith("_")}
                found += [(f"{info.name}.{name}.{n}", f) for n, f in methods.items()]
    return found


@pytest.mark.parametrize(("name", "value"), public(), ids=[name for name, _ in public()])
def test_every_public_name_is_documented(name, value):
    text = inspect.getdoc(value) or ""
    assert len(text) > 15 and not text.startswith(f"{getattr(value, '__name__', '')}("), f"{name} has no docstring"


EXAMPLES = [
    "unroll", "trace", "bidirectional", "layers", "init_layers", "length_mask", "stack",
    "cells.drop_between", "cells.Cell", "cells._exp_rnn.materialise", "cells.activate", "cells.made",
    "attention.masked_softmax", "attention.with_attention",
    "attention.reading", "attention._luong.local_m_of", "attention._location.location_of",
    "attention.coverage_loss", "attention._monotonic.expected", "decode.greedy",
    "decode.sample", "decode.beam", "decode.ensemble", "decode.forbid", "decode.top_k", "decode.top_p", "decode.score",
    "losses.cross_entropy", "losses.masked_mean", "losses.until_own_eos", "losses.per_sentence",
    "forcing.schedule", "forcing.draw", "seq2seq.translator", "recurrence.checkpointed",
    "recurrence.deferred", "recurrence.associative", "recurrence.newton", "recurrence.newton_solution",
    "recurrence.chunked", "recurrence.forward", "online.step",
    "study.keep_of", "study.half_life", "study.survival", "study.gates_of", "study.ledger", "study.saturation",
    "study.entropy", "study.decompose", "study.explain", "study.latex", "precision.mixed",
    "program.program", "program.run_numpy",
    "order.chunks", "order.chunk_length", "testing.check_cell", "apps.text.plain", "apps.text.tutorial",
    "apps.text.words", "apps.text.chars", "apps.text.detokenise", "apps.text.normalising.fold",
    "apps.forecast.simple.seasonal_naive", "apps.forecast.simple.filled", "train.optimizer", "checkpoint.save",
    "devices.Devices",
]  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_research_code_calls_has_a_doctested_example(name):
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(f"jaxseq.{module}".rstrip(".")), attribute)
    assert ">>> " in (inspect.getdoc(inspect.unwrap(value)) or "")


def test_what_all_promises_is_there():
    for module in (jaxseq, jaxseq.attention, jaxseq.decode, jaxseq.recurrence, importlib.import_module("jaxseq.study")):
        assert len(module.__all__) == len(set(module.__all__))
        assert all(hasattr(module, name) for name in module.__all__)


def test_no_module_is_too_long():
    long = {name: count for name, path in modules().items() if (count := len(path.read_text().splitlines())) > 400}
    assert not long


def test_no_line_of_a_script_is_too_long():
    """Those of Python are held by the linter."""
    lines = [
        (path.name, n) for path in PACKAGE.rglob("*.js")
        for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if len(line) > 120
    ]  # fmt: skip
    assert not lines


def test_no_two_files_of_tests_have_one_name():
    """Pytest imports them by that name alone, and refuses the second."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
