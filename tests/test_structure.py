"""The shape of the package: imports flow one way, little is loaded, every public name is documented."""

import ast
import functools
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxseq

PACKAGE = Path(jaxseq.__file__).parent

LAYERS = """
notation errors
initializers dropout files plots
cells.checks
cells.base
cells.parts
cells.rnn cells.lstm cells.gru
{cells}
cells.stack
cells
recurrence.scan
recurrence.deferred
recurrence.checkpointed recurrence.clipped
recurrence.associative
recurrence
unroll
testing.compare testing.laws testing interventions
regularisers
decode losses forcing train order
attention.base
attention.additive attention.positional attention.luong attention.location attention.coverage
attention.monotonic attention.multi_head attention.cell
attention
seq2seq
tutorial
study.look
study.memory
study.timelines
study.saturation study.attention study.equations study.plots
study.tasks
study.gradients
study.jacobian study.whatif
study.compare
study.replay
study.checks study.colours study.thin
study.part
study.depth
study.collect
study.report study.inspect
study
checkpoint pairs text
interop
interop.common
interop.layers
interop.layers.common
interop.layers.linen interop.layers.nnx interop.layers.equinox interop.layers.haiku
interop.torch interop.flax interop.haiku interop.equinox interop.keras
interop.files
datasets series progress run_folder
compilation
doctor catalogue
tasks tasks.cells tasks.config
tasks.translate tasks.forecast
tasks.translator
tasks.report
tasks.parts
tasks.small
tasks.convert tasks.study
experiments.base experiments.training experiments.letters
experiments.counting experiments.memory experiments.chrono experiments.forget_bias experiments.spectrum
experiments.ablation experiments.vanishing experiments.attention experiments.gates_open
experiments
experiments.page
experiments.report
experiments.command
cli
__main__
"""
"""Lowest first; a module imports from its own line's left or from lines above. A cell needs no line of its own."""

NAMED = set(LAYERS.split()) | {"cells.__init__"}
CELL_FILES = [name for path in PACKAGE.glob("cells/*.py") if (name := f"cells.{path.stem}") not in NAMED]
ROWS = LAYERS.replace("{cells}", "\n".join(sorted(CELL_FILES))).strip().splitlines()
RANK = {name: (row, column) for row, line in enumerate(ROWS) for column, name in enumerate(line.split())}
KNOWS_NO_MODEL = "decode losses forcing train order checkpoint files text pairs series datasets plots".split(" ")
ONLY_NUMPY = "errors order files text pairs series datasets plots doctor".split(" ")


@functools.cache
def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if "_data" not in path.parts
    }


def imports(path: Path) -> set[str]:
    """Every module that a file names in an import, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


@pytest.mark.parametrize("name", sorted(set(modules()) - {"__init__"}))
def test_imports_flow_one_way(name):
    assert name in RANK, f"say in LAYERS where {name} belongs"
    typing_only = {"cells.base"} if name == "cells.checks" else set()
    later = {other for other in own_imports(modules()[name]) - typing_only if RANK[other] >= RANK[name]}
    assert not later, f"{name} imports {later}, which are not below it"


@pytest.mark.parametrize("name", KNOWS_NO_MODEL)
def test_these_know_no_model(name):
    model = {m for m in modules() if m.startswith(("cells", "recurrence", "tasks"))}
    assert not own_imports(modules()[name]) & (model | {"unroll", "attention", "seq2seq", "tutorial"})


@pytest.mark.parametrize("name", ONLY_NUMPY)
def test_these_do_without_jax_at_import(name):
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert not {n for n in named if n.partition(".")[0] in ("jax", "optax")}


def test_importing_jaxseq_loads_little():
    """Neither plots nor optimizers nor the command line's libraries; they are imported where they are used."""
    heavy = "matplotlib torch optax tyro tqdm pooch sacrebleu safetensors".split(" ")
    code = f"import sys, jaxseq; print([m for m in {heavy} if m in sys.modules])"
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
    "unroll.unroll", "unroll.trace", "unroll.bidirectional", "unroll.layers", "cells.stack.stack",
    "cells.stack.drop_between",
    "cells.base.Cell", "cells.exp_rnn.materialise", "cells.base.activate",
    "attention.masked_softmax", "attention.with_attention",
    "attention.local_monotonic", "attention.local_predictive", "attention.location_sensitive", "attention.multi_headed",
    "attention.coverage_loss", "attention.monotonic.expected", "decode.greedy",
    "decode.sample", "losses.cross_entropy", "losses.masked_mean", "losses.until_own_eos", "losses.per_sentence",
    "forcing.schedule", "forcing.draw", "seq2seq.translator", "recurrence.checkpointed.checkpointed",
    "recurrence.deferred.deferred", "recurrence.associative.associative",
    "study.keep_of", "study.half_life", "study.survival", "study.gates_of", "study.ledger", "study.saturation",
    "study.entropy", "study.decompose", "study.explain",
    "order.chunks", "order.chunk_length", "testing.check_cell", "text.plain", "text.tutorial", "text.words",
    "text.chars", "text.detokenise", "series.naive", "series.season_length", "train.optimizer", "checkpoint.save",
]  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_research_code_calls_has_a_doctested_example(name):
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(f"jaxseq.{module}"), attribute)
    assert ">>> " in (inspect.getdoc(inspect.unwrap(value)) or "")


def test_what_all_promises_is_there():
    for module in (jaxseq, jaxseq.attention, jaxseq.cells, jaxseq.recurrence, importlib.import_module("jaxseq.study")):
        assert len(module.__all__) == len(set(module.__all__))
        assert all(hasattr(module, name) for name in module.__all__)


def test_no_module_is_too_long():
    long = {name: count for name, path in modules().items() if (count := len(path.read_text().splitlines())) > 400}
    assert not long
