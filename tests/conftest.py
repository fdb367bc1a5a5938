"""Strict once, for all tests: no silent promotion of dtype or rank, float64 available, every warning an error."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", os.environ.get("JAXSEQ_TEST_PLATFORM", "cpu"))
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("KERAS_BACKEND", "jax")

# What commands compile in processes of their own is kept for this run of the tests, and nowhere else; not in this one.
if "JAXSEQ_CACHE" not in os.environ:  # a worker has it from the process that started it
    os.environ["JAXSEQ_CACHE"] = tempfile.mkdtemp(prefix="jaxseq-tests-")
    atexit.register(shutil.rmtree, os.environ["JAXSEQ_CACHE"], ignore_errors=True)
os.environ.setdefault("JAXSEQ_NO_COMPILATION_CACHE", "1")

import collections
import contextlib
import importlib.metadata
import importlib.util
import sys

# Tests compile much and compute little: less work for LLVM makes them twice as fast. Nothing else is different.
flags = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if importlib.metadata.version("jaxlib") < "0.11":
    # XLA for CPU of jaxlib 0.10.2 compiles some float64 fusions wrongly (with AVX-512): gradients of a scan come out
    # 15% off at certain sizes, differ from finite differences, and are right without its fusion emitters.
    flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])

import jax
import pytest
from hypothesis import settings
from memory import resident

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)  # so that sharding can be tested
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")  # no TF32 where there is a GPU

settings.register_profile("jaxseq", max_examples=20, deadline=None, derandomize=True)
settings.load_profile("jaxseq")

# torch is a test dependency up to Python 3.11, where its CPU build and the oldest supported jax meet. On a newer
# Python everything else runs, and these as well where somebody has installed torch.
HAS_TORCH = importlib.util.find_spec("torch") is not None
if not HAS_TORCH and sys.version_info < (3, 12):
    raise ImportError('the tests compare with torch, which is missing: pip install ".[test]"')
collect_ignore_glob = [] if HAS_TORCH else ["torch_parity/*"]


# All tests take more than an hour of one core. So that they take ten minutes on two, a Python runs every sixth test of
# a file; of files that cost less or more, and of tests whose cases differ in the cell alone, every nth. On newer
# Pythons, where CI runs the tests a second time with the newest jax, it is others: together they run a third. Tests
# that are named on the command line are all run, and JAXSEQ_ALL_TESTS=1 runs all.
USUALLY = 6
EVERY_NTH = {
    "test_laws_of_the_family": 20,
    "test_linear_is_true": 8,
    "test_padding_changes_nothing": 10,
    "test_deferred_equals_scan_at_small_and_large_batches": 6,
    "test_floats_are_checked_in_the_loop_and_in_its_gradient": 6,
    "test_a_step_is_what_the_docstring_says": 3,
    "test_a_change_in_a_docstring_is_noticed": 3,
    "test_a_cell_that_solves_an_equation_in_each_step": 4,
    "test_every_cells_gates_can_be_changed_to_themselves": 12,
    "test_every_recurrence_works_through_the_noise": 3,
    "test_the_formula_counts_the_parameters": 6,
    "test_examples_in_docstrings": 6,
    "test_equals_keras_and_comes_back": 10,
    "test_equals_linen_and_comes_back": 6,
    "test_equals_nnx_and_comes_back": 6,
    "test_equals_equinox_and_comes_back": 6,
    "test_equals_haiku_and_comes_back": 6,
    "test_equals_torch_and_comes_back": 3,
    "test_every_cell_in_every_library": 16,
    "test_resets_are_the_loop_of_reinforcement_learning": 6,
    "test_output_size_is_the_outputs": 8,
    "test_a_stack_equals_two_unrolls_in_sequence": 6,
    "test_every_cell_runs_over_a_series_or_says_why_not": 4,
    "test_study_lifts_an_array_before_it_looks_at_single_steps": 6,
    "test_in_a_cell_every_attention_is_driven_as_any_cell": 4,
    "test_jit_traces_equal_cells_once": 6,
    "test_every_cell_mixed": 24,
    "test_a_state_in_float32_does_not_drift": 6,
    "test_laws": 10,
    "test_every_attention_trains_and_translates": 10,
    "test_what_runs_cells": 6,
    "test_every_cell_obeys": 10,
    "test_the_page_runs_the_cell_as_jax_does": 28,
    "test_every_init_checks_sizes_and_options_and_shows_them": 4,
}

FILES_EVERY_NTH = {
    **dict.fromkeys(
        (
            "test_structure.py",
            "test_errors.py",
            "test_text.py",
            "test_tokenisers.py",
            "test_pairs.py",
            "test_sentences.py",
            "test_forecast_reading.py",
            "test_forecast_refusals.py",
            "test_datasets.py",
            "test_optimizers.py",
            "test_metrics.py",
            "test_files.py",
            "test_whole_files.py",
            "test_locks.py",
        ),
        1,
    ),
    "test_associative.py": 9,
    "test_attention.py": 9,
    "test_batches.py": 9,
    "test_bench.py": 9,
    "test_cell_value.py": 9,
    "test_chunked.py": 10,
    "test_cli.py": 9,
    "test_crash_points.py": 2,
    "test_clients.py": 9,
    "test_decode.py": 9,
    "test_devices.py": 9,
    "test_examples.py": 9,
    "test_examples_clients.py": 9,
    "test_experiments.py": 9,
    "test_laws.py": 9,
    "test_export.py": 9,
    "test_forecast_command.py": 9,
    "test_forecast_model.py": 9,
    "test_layers_in_use.py": 9,
    "test_newton.py": 9,
    "test_own_cell.py": 9,
    "test_parallel.py": 9,
    "test_preparation.py": 9,
    "test_study_command.py": 9,
    "test_study_forecaster.py": 9,
    "test_study_page.py": 9,
    "test_transforms.py": 9,
    "test_translating.py": 9,
    "test_translator.py": 9,
    "test_translator_options.py": 9,
    "test_translator_training.py": 9,
    "test_unroll.py": 9,
}


def sampled(config) -> bool:
    """Return whether only some of the tests are run."""
    if hasattr(config, "workerinput"):  # a worker of xdist is always given names
        return config.workerinput["sampled"]
    named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.keyword
    return not (named or os.environ.get("JAXSEQ_ALL_TESTS"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    node.workerinput["sampled"] = sampled(node.config)


def pytest_collection_modifyitems(config, items) -> None:
    if not sampled(config):
        return
    turn = int(sys.version_info >= (3, 12))
    seen = collections.Counter[str]()
    kept, left_out = [], []
    for item in items:
        name = item.originalname if item.originalname in EVERY_NTH else item.path.name
        usual = 1 if item.path.parent.name == "torch_parity" else USUALLY  # which only the older Python runs
        n = EVERY_NTH.get(name) or FILES_EVERY_NTH.get(name, usual)
        (kept if seen[name] % n == turn % n else left_out).append(item)
        seen[name] += 1
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


GROWTH = 2**30
full = [2 * GROWTH]
"""Bytes in a process from which it lets go of compiled programs: thousands would fill a small machine's memory."""


def pytest_runtest_logfinish() -> None:
    if resident() > full[0]:
        jax.clear_caches()
        full[0] = resident() + GROWTH


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give out tests by file, whose runs, fixtures and compiled programs they share; the laws last, each by itself.

    Marks would do for it (--dist=loadgroup), but that pytest 9.2 no longer lets xdist 3.8 write them into names.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file.endswith("test_laws.py") else file

    return ByFile(config, log)


def pytest_report_header() -> str:
    parity = "collected" if HAS_TORCH else "not collected, torch is not installed"
    return f"jax {jax.__version__}, torch parity: {parity}"


def pytest_terminal_summary(terminalreporter) -> None:
    """Show the worst relative difference from torch of every system, where parity was tested."""
    worst: dict[str, float] = {}
    for report in terminalreporter.getreports(""):  # of teardowns that went well
        for name, value in getattr(report, "user_properties", ()):
            if name == "worst difference from torch" and value > 0:  # some tests compare what cannot differ
                test = report.nodeid.rpartition("::test_")[2]
                system = test.partition("-")[0].rstrip("]").replace("[", " ")
                worst[system] = max(worst.get(system, 0.0), value)
    if worst:
        terminalreporter.section("worst relative difference from torch, values and gradients, float64")
        for system, value in sorted(worst.items()):
            terminalreporter.line(f"{value:.1e}  {system}")


@pytest.fixture
def as_users_have_it():
    """Run as a script would, with jax as it comes: no float64, and promotion allowed."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@contextlib.contextmanager
def jax_as_it_comes():
    """Set what the tests have strict as users have it, in every thread: training compiles in others."""
    usual = {"jax_enable_x64": False, "jax_numpy_dtype_promotion": "standard", "jax_numpy_rank_promotion": "allow"}
    strict = {name: getattr(jax.config, name) for name in usual}
    for name, value in usual.items():
        jax.config.update(name, value)
    yield
    for name, value in strict.items():
        jax.config.update(name, value)


@pytest.fixture
def in_every_thread():
    """As users have jax, not in this thread only."""
    with jax_as_it_comes():
        yield


@pytest.fixture(scope="module")
def in_every_thread_of_a_module():
    """The same for the fixtures of a module too, which are made before those of a test."""
    with jax_as_it_comes():
        yield
