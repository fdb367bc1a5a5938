"""Run folders: nothing is overwritten by accident, and what is read is what some run wrote."""

import dataclasses
import json
import math

import pytest

from jaxseq import InputError, __version__
from jaxseq.apps import run_folder
from jaxseq.train import Metrics


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 3
    names: tuple[str, ...] = ("a", "b")


def report(step: int) -> Metrics:
    return Metrics(step, 1.5, None, 10.0, 0.1, float(step))


@pytest.fixture
def run(tmp_path):
    return run_folder.create(tmp_path / "runs" / "x", "cooking", Config(size=4))


def test_a_config_comes_back(run):
    assert run_folder.read_config(run, "cooking", Config) == Config(size=4)


@pytest.mark.parametrize("older", [{"format": 1}, {"format": 2}, {}])
def test_a_setting_that_came_later_has_its_default(run, older):
    """Runs of jaxseq 0.1 have a number of their format; it says nothing that the settings do not."""
    file = run / run_folder.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | older | {"config": {"size": 4}}))
    assert run_folder.read_config(run, "cooking", Config) == Config(size=4)
    assert run_folder.kind_of(run) == "cooking"
    assert run_folder.create(run, "cooking", Config(), overwrite=True) == run  # it counts as a run


def test_an_existing_run_is_kept_unless_told(run):
    (run / "model.safetensors").write_text("precious")
    with pytest.raises(InputError, match=r"exists; choose another name with --out, or replace it with --overwrite"):
        run_folder.create(run, "cooking", Config())  # a forecast, say: it saves no state to resume from
    (run / "last.safetensors").write_text("precious")
    with pytest.raises(InputError, match=r"exists; choose another name with --out, .*--resume .*--overwrite"):
        run_folder.create(run, "cooking", Config())
    assert (run / "model.safetensors").read_text() == "precious"
    run_folder.create(run, "cooking", Config(), overwrite=True)
    assert not (run / "model.safetensors").exists()


def test_a_folder_that_is_no_run_is_never_replaced(tmp_path):
    (tmp_path / "photos.txt").write_text("precious")
    with pytest.raises(InputError, match="exists and is not a run; choose another name"):
        run_folder.create(tmp_path, "cooking", Config(), overwrite=True)
    with pytest.raises(InputError, match="exists and is not a run"):
        run_folder.create(tmp_path / "photos.txt", "cooking", Config(), overwrite=True)
    for config in ('{"name": "a web page"}', "[]", "not JSON"):  # many projects have a config.json
        (tmp_path / run_folder.CONFIG).write_text(config)
        with pytest.raises(InputError, match="exists and is not a run"):
            run_folder.create(tmp_path, "cooking", Config(), overwrite=True)
    assert (tmp_path / "photos.txt").read_text() == "precious"


def test_an_empty_folder_will_do(tmp_path):
    assert run_folder.create(tmp_path, "cooking", Config()) == tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda about: about | {"kind": "sewing"},
            "is a sewing run; expected a cooking run. Give the folder of another run",
        ),
        (lambda about: about | {"config": {"sise": 4}}, r"unknown setting 'sise': did you mean 'size'\? restore"),
        (
            lambda about: about | {"jaxseq": "99.0", "config": {"size": 4, "shape": 1}},
            f"unknown setting 'shape': jaxseq 99.0 wrote it, this is {__version__}: pip install -U jaxseq",
        ),
        (lambda about: about | {"jaxseq": "0.0.1", "config": {"shape": 1}}, "unknown setting 'shape': restore the"),
        (
            lambda about: {"kind": "cooking"},
            r"config\.json has no 'jaxseq': it belongs to another program, or is damaged; give a",
        ),
        (lambda about: [], "is damaged"),
        (lambda about: about | {"config": None}, "is damaged"),
        (lambda about: about | {"jaxseq": 1}, "is damaged"),
        (lambda about: about | {"config": {"size": "abc"}}, "the setting 'size' should be int, is 'abc'"),
        (lambda about: about | {"config": {"size": None}}, "the setting 'size' should be int, is None"),
        (lambda about: about | {"config": {"size": 4.0}}, "the setting 'size' should be int, is 4.0"),
        (lambda about: about | {"config": {"size": True}}, "the setting 'size' should be int, is True"),
        (lambda about: about | {"config": {"names": "ab"}}, r"'names' should be tuple\[str, ...\], is 'ab'"),
        (lambda about: about | {"config": {"names": [1]}}, r"'names' should be tuple\[str, ...\], is \[1\]"),
    ],
)
def test_configs_that_cannot_be_used(run, change, message):
    file = run / run_folder.CONFIG
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(InputError, match=message):
        run_folder.read_config(run, "cooking", Config)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "7", '"kind"', '{"kind": [], "jaxseq": "1", "config": {}}', "\ud800", '{"a": 1e999}']
)
def test_a_config_of_another_kind_of_json(run, text):
    (run / run_folder.CONFIG).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"config.json (is damaged|has no)"):
        run_folder.kind_of(run)
    with pytest.raises(InputError, match="exists"):
        run_folder.check_free(run)


def test_lines_of_metrics_that_are_damaged_are_left_out(run):
    run_folder.log(run, report(10))
    whole = (run / run_folder.METRICS).read_bytes()
    for line in (
        b"\xff",
        b"[" * 100_000,
        b"[1]",
        b"{}",
        whole.replace(b"10", b'"10"', 1),
        whole.replace(b"10", b"1e999", 1),
    ):
        (run / run_folder.METRICS).write_bytes(line.strip() + b"\n" + whole)
        assert run_folder.metrics(run) == [report(10)]


def test_no_config_at_all(run, tmp_path):
    (run / run_folder.CONFIG).write_text('{"kind": "coo')
    with pytest.raises(InputError, match="is damaged"):
        run_folder.read_config(run, "cooking", Config)
    with pytest.raises(InputError, match=r"is not a run: there is no file .*config.json"):
        run_folder.read_config(tmp_path, "cooking", Config)


def test_metrics_survive_a_kill_in_the_middle_of_a_line(run):
    for step in (10, 20, 30):
        run_folder.log(run, report(step))
    file = run / run_folder.METRICS
    file.write_text(file.read_text() + '{"step": 40, "lo')
    assert run_folder.metrics(run) == [report(10), report(20), report(30)]
    run_folder.rewind(run, 20)
    assert run_folder.metrics(run) == [report(10), report(20)]
    run_folder.log(run, report(30))
    assert [r.step for r in run_folder.metrics(run)] == [10, 20, 30]


def test_metrics_are_json_whatever_was_measured(run):
    """Neither NaN nor Infinity is JSON: null is written, and read as NaN; a validation loss may be missing."""
    found = report(10)._replace(gradient_norm=math.inf, more={"bleu": math.nan, "perplexity": -math.inf, "count": 3})
    run_folder.log(run, found)
    text = (run / run_folder.METRICS).read_text()
    numbers = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [name for name, value in numbers.items() if value is None] == [
        "validation_loss", "gradient_norm", "bleu", "perplexity",
    ]  # fmt: skip
    (back,) = run_folder.metrics(run)
    assert math.isnan(back.gradient_norm) and math.isnan(back.more["bleu"]) and math.isnan(back.more["perplexity"])
    assert back.validation_loss is None and (back.step, back.loss, back.more["count"]) == (10, 1.5, 3)
    run_folder.rewind(run, 10)
    assert (run / run_folder.METRICS).read_text() == text
    (run / run_folder.METRICS).write_text(text.replace("null", "NaN"))  # as jaxseq 0.1 wrote it
    assert math.isnan(run_folder.metrics(run)[0].more["bleu"])


def test_litter_of_killed_writes_is_removed_when_a_run_is_written(run, tmp_path):
    left = [run / ".model.safetensors.abcdefgh.jaxseq-part", run / "snapshots" / ".step-1.abcdefgh.jaxseq-part"]
    others = [tmp_path / "runs" / ".y.abcdefgh.jaxseq-part", tmp_path / "runs" / "y" / ".a.abcdefgh.jaxseq-part"]
    for path in (*left, *others):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    with pytest.raises(InputError, match="is not a run"), run_folder.building(tmp_path / "runs", "cooking", Config()):
        pass
    assert all(path.exists() for path in (*left, *others))  # a folder of runs, which others may be writing
    with run_folder.writing(run):
        assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)
