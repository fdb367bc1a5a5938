"""Training on several devices and in several processes: the losses of one device, and one outcome for all."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.apps import parallel, run_folder
from jaxseq.apps.parallel import ParallelConfig, ProcessGroup, joined
from jaxseq.apps.translate import command, train as translate
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.devices import ONE, Devices
from jaxseq.train import Listener, TrainState, chunk, optimizer

V, N, B, K = 12, 20, 8, 3
WORDS = "i you we they see hear seek find a the dog fish book tree now here".split()


def trained(devices, model, config, data, rows):
    """Return the compiled program, the losses and norms of a chunk, and the parameters after it, in float64."""
    optimise = optimizer("sgd", 1.0, clip=1.0)
    run = chunk(translate.loss_of(model, config), optimise, devices=devices)
    params = model.init(jax.random.key(0), V, V, embedding=7, hidden=5, dtype=jnp.float64)
    args = TrainState.create(params, optimise), devices.put(data), rows, jax.random.key(1)
    program = run.lower(*args).compile()
    state, seen = program(*args)
    return program.as_text(), jax.device_get((seen, state.params))


def test_a_step_on_several_devices_is_that_of_one():
    """With dropout, sentences of other lengths, and empty rows."""
    rng = np.random.default_rng(0)
    config = TranslateConfig(dropout=0.3, word_dropout=0.2)
    source, target = (rng.integers(3, V, (6, N)).astype(np.int32) for _ in range(2))
    ends = np.arange(6)[:, None] < rng.integers(1, 7, N)
    data = np.where(ends, source, 0), np.where(ends, target, 0)
    rows = rng.integers(0, N, (K, B)).astype(np.int32)
    rows[1, -3:] = -1
    model = config.build()
    one, want = trained(ONE, model, config, data, rows)
    assert "all-reduce" not in one and logits_of(B, one)
    four, got = trained(Devices(jax.devices()[:4]), model, config, data, rows)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13), got, want)
    assert "all-reduce" in four  # of the gradients
    assert logits_of(B // 4, four) and not logits_of(B, four)


def logits_of(rows, program):
    """Return whether a program computes the logits of so many rows."""
    return re.search(rf"f64\[(\d+,)?{rows},{V}\]", program)


def pairs(folder):
    """Write 40 pairs, and return the settings of a short training on them."""
    rng = np.random.default_rng(1)
    sentences = [" ".join(rng.choice(WORDS, n)) for n in rng.integers(1, 9, 40)]
    lines = "".join(f"{s}\t{' '.join(reversed(s.split()))}\n" for s in sentences)
    (folder / "pairs.tsv").write_text(lines, encoding="utf-8")
    return TranslateConfig(
        data=str(folder / "pairs.tsv"), columns=("en", "xx"), source="en", target="xx", source_tokens="words",
        embedding=8, hidden=8, steps=12, report_every=3, batch=8, buckets=1, validation=0.2, warmup=0,
    )  # fmt: skip


def reports(path):
    return np.array([(r.step, r.loss, r.validation_loss) for r in run_folder.metrics(path)])


def same(path, want):
    """Float32: the order of sums differs, and 12 steps carry the difference on."""
    np.testing.assert_allclose(reports(path), want, rtol=2e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, in_every_thread_of_a_module):
    """Return the settings, and what one device reports in one process."""
    folder = tmp_path_factory.mktemp("alone")
    config = pairs(folder)
    translate.train(config, folder / "run")
    found = reports(folder / "run")
    assert found.shape == (4, 3) and len({*found[:, 1]}) == 4
    return config, found


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


ENVIRONMENT = {
    **os.environ,
    "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2",
    "JAX_ENABLE_X64": "0",
}


TRAINING = """
import signal, sys
from jaxseq.apps.parallel import ParallelConfig, joined
from jaxseq.apps.translate import train as translate
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.errors import InputError
from jaxseq.train import Interrupted, Listener

class Stop(Listener):
    chunks = 0
    def advance(self, steps, loss):
        self.chunks += 1
        if self.chunks == 3:
            signal.raise_signal(signal.SIGINT)

address, number, run, settings = sys.argv[1:]
config = TranslateConfig(**eval(settings))
try:
    with joined(ParallelConfig(None, address, 2, int(number))) as group:
        try:
            translate.train(config, run, listener=Stop() if number == "1" else None, group=group)
        except Interrupted as stopped:
            print(str(stopped).partition(";")[0])
        translate.train(config, run, group=group)
except InputError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture(scope="module")
def both(alone, tmp_path_factory):
    """Return a run of two processes with two devices each, and the status and output of each process.

    The second one is told to stop; then the first one is to begin a run where there is one.
    """
    run = tmp_path_factory.mktemp("both") / "run"
    args = [f"127.0.0.1:{free_port()}", "0", str(run), repr(dataclasses.asdict(alone[0]))]
    started = []
    for args[1] in "01":
        command = [sys.executable, "-c", TRAINING, *args]
        started.append(subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT))
    try:
        said = [one.communicate(timeout=200) for one in started]
    finally:
        for one in started:
            one.kill()
    return run, [(one.returncode, *texts) for one, texts in zip(started, said, strict=True)]


def test_two_processes_of_two_devices_report_the_losses_of_one_and_stop_together(alone, both):
    run, ((_, printed, errors), (_, said, others)) = both
    assert printed == said == "stopped at step 9 of 12\n", errors + others
    same(run, alone[1][:3])
    about = json.loads((run / "config.json").read_text(encoding="utf-8"))["config"]
    assert not {"devices", "coordinator", "processes", "process"} & set(about)


def test_what_fails_in_the_first_process_ends_the_other_in_one_sentence(both):
    _, ((status, _, errors), (other, _, others)) = both
    assert (status, other) == (1, 1)
    assert re.fullmatch(r"refused: the run .*run exists; choose another name with --out.*\n", errors)
    assert re.fullmatch(r"refused: process 0 of 2 stopped: the run .*run exists; .*\n", others)


@pytest.mark.usefixtures("in_every_thread")
def test_a_run_goes_on_with_another_number_of_devices(alone, both, tmp_path):
    """Four devices in two processes, then three in one, which do not divide the 8 rows."""
    (config, want), run = alone, shutil.copytree(both[0], tmp_path / "run")
    group = ProcessGroup(Devices(jax.devices()[:3]))
    done = translate.train(config, run, resume=True, group=group)
    same(run, want)
    assert done.record.best == pytest.approx(want[:, 2].min(), rel=2e-5)
    assert len(jax.tree.leaves(done.translator.params)[0].devices()) == 1


@pytest.mark.usefixtures("in_every_thread")
def test_averages_a_plateau_and_accumulated_parts_are_those_of_one_device(alone, tmp_path):
    config = dataclasses.replace(
        alone[0], schedule="plateau", plateau_patience=1, average=2, accumulate=2, best="bleu", steps=6
    )
    translate.train(config, tmp_path / "one")
    group = ProcessGroup(Devices(jax.devices()[:2]))
    translate.train(config, tmp_path / "two", group=group)
    same(tmp_path / "two", reports(tmp_path / "one"))
    translate.train(config, tmp_path / "two", resume=True, steps=12, group=group)
    translate.train(config, tmp_path / "one", resume=True, steps=12)
    same(tmp_path / "two", reports(tmp_path / "one"))
    assert len(reports(tmp_path / "two")) == 4


def test_other_processes_than_the_first_print_and_write_nothing(alone, tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(command, "joined", lambda _: contextlib.nullcontext(ProcessGroup(index=1)))
    monkeypatch.setattr(command.trainer, "train", lambda *args, **options: called.append((args, options)))
    groups = {name: command._part(alone[0], group) for name, group in command.GROUPS.items()}
    command.train(**groups, out=tmp_path / "run")
    assert called[0][0] == (alone[0], tmp_path / "run") and not called[0][1]["group"].first
    assert capsys.readouterr() == ("", "") and not (tmp_path / "run").exists()


@pytest.mark.usefixtures("in_every_thread")
def test_what_cannot_be_is_refused_before_anything_is_written(alone, tmp_path):
    config, _ = alone
    four = ProcessGroup(Devices(jax.devices()[:4]))
    with pytest.raises(InputError, match="--batch 3 is less than the number of devices, 4"):
        translate.train(dataclasses.replace(config, batch=3), tmp_path / "run", group=four)
    with pytest.raises(InputError, match="--batch-tokens 3 is less than the number of devices, 4; raise it"):
        translate.train(dataclasses.replace(config, batch_tokens=3), tmp_path / "run", group=four)
    assert not (tmp_path / "run").exists()


def test_batches_by_tokens_need_no_row_of_batch_for_each_device(tmp_path):
    """--batch then says how many pairs are validated at once, which may be fewer than the devices."""
    four = ProcessGroup(Devices(jax.devices()[:4]))
    config = dataclasses.replace(pairs(tmp_path), batch=2, batch_tokens=72, cell="rnn", hidden=3, embedding=3)
    plan = translate._begun(config, tmp_path / "run", False, Listener(), four)
    assert plan.batches.rows == [72 // 9]
    squares = four.devices.jit(lambda rows: four.devices.rows(rows) ** 2)(np.array([3, 5], np.int32))
    assert squares.tolist() == [9, 25]  # two rows on four devices


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (ParallelConfig(devices=9), r"--devices 9: only 8 found \(cpu\); set XLA_FLAGS=--xla_force_host_platform_"
         r"device_count=9"),
        (ParallelConfig(devices=0), "--devices must be at least 1; got 0"),
        (ParallelConfig(processes=2), "need --coordinator HOST:PORT"),
        (ParallelConfig(coordinator="node1", processes=2, process=0), "must be HOST:PORT, such as .* got node1"),
        (ParallelConfig(coordinator="node1:9876", processes=2, process=2), "from 0 to N - 1; got .* --process 2"),
        (ParallelConfig(coordinator="node1:9876"), "needs --processes N and --process I"),
        (ParallelConfig(coordinator="auto", processes=2), "leave them out"),
    ],
)  # fmt: skip
def test_refusals(config, why):
    with pytest.raises(InputError, match=why), joined(config):
        raise AssertionError("refused too late")


def test_one_process_meets_nobody():
    group = parallel.ALONE
    assert group.first and group.any(True) and not group.any(False) and len(group.devices) == 1
    group.check_same("pairs", "a")
    tree = {"a": jnp.ones(2)}
    assert group.share(tree) is tree
