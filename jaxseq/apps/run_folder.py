"""A run folder: everything that a training writes, in files that other tools can read.

config.json          the settings, defaults included, with the kind of run and the version of jaxseq
model.safetensors    the best parameters
last.safetensors     the latest state of training, with the optimizer's, to resume from
metrics.jsonl        a line for each report
*.vocab.json, *.png, README.md and so on, as the application needs
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from jaxseq import __version__
from jaxseq.apps.custom import is_code
from jaxseq.errors import InputError, nearest, quoted
from jaxseq.files import LOCK, PART, append, contents, hidden, tidy, whole_folder, write_atomic
from jaxseq.inputs import parse_json, read_bytes, understood
from jaxseq.locks import locked, recover
from jaxseq.train import Metrics

CONFIG, MODEL, LAST, METRICS = "config.json", "model.safetensors", "last.safetensors", "metrics.jsonl"
UNFINISHED = "unfinished"
"""The folder within a run in which the next one is prepared."""

AGAIN = "restore it from a copy, or train again"
LARGEST_CONFIG = 2**24
"""Bytes of the largest config.json that is read; ours has 3,000."""

C = TypeVar("C")


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Hold the lock of a run that is written or made; remains of killed processes are finished or removed first.

    Raises:
      InputError: if another process is writing it, as `jaxseq.locks.locked`.
    """
    with locked(path):
        if _is_run(Path(path)):  # in any other folder, other processes may be writing
            tidy(Path(path))
        yield


def check_free(path: Path | str, *, overwrite: bool = False) -> None:
    """Check that a run may be made at `path`, without touching any file there.

    Raises:
      InputError: if the folder holds anything and `overwrite` is not given, or anything other than a run.
    """
    path = Path(path)
    begun = (path / UNFINISHED / CONFIG).exists()
    free = not path.exists() or (path.is_dir() and all(_is_unfinished(one) for one in contents(path)))
    if free and not begun:
        return
    if not free and not _is_run(path):
        raise InputError(f"{path} exists and is not a run; choose another name with --out")
    if not overwrite:
        go_on = f" continue it with --resume {path}," if begun or (path / LAST).exists() else ""
        raise InputError(
            f"the run {path} exists; choose another name with --out,{go_on} or replace it with --overwrite"
        )


@contextlib.contextmanager
def building(path: Path | str, kind: str, config: Any, *, overwrite: bool = False) -> Iterator[Path]:
    """Make a run with its config (a dataclass); it appears, complete, when the block ends without an error.

    Raises:
      InputError: as `check_free` and `writing`, or if the folder cannot be written.
    """
    with writing(path):
        check_free(path, overwrite=overwrite)
        with whole_folder(path) as folder:
            write_config(folder, kind, config)
            yield folder


def create(path: Path | str, kind: str, config: Any, *, overwrite: bool = False) -> Path:
    """Make a run folder with only its config (a dataclass); errors as `building`."""
    with building(path, kind, config, overwrite=overwrite):
        pass
    return Path(path)


def write_config(path: Path, kind: str, config: Any) -> None:
    """Write the config (a dataclass) of a run.

    Raises:
      InputError: if the file cannot be written.
    """
    about = {"kind": kind, "jaxseq": __version__, "config": dataclasses.asdict(config)}
    write_atomic(path / CONFIG, json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def _is_unfinished(path: Path) -> bool:
    """Return whether a path within a run is the folder of the next one, or was left by a process that made it."""
    return path.name == UNFINISHED or (
        path.name.startswith(f"{hidden(Path(UNFINISHED))}.") and path.suffix in (PART, LOCK)
    )


def _is_run(path: Path) -> bool:
    """Return whether a folder is a run: others, which hold a config.json as well, must never be replaced."""
    try:
        about = parse_json(read_bytes(path / CONFIG), CONFIG)
    except InputError:
        return False
    return isinstance(about, dict) and {"jaxseq", "config"} <= set(about) and isinstance(about.get("kind"), str)


def kind_of(path: Path | str) -> str:
    """Return the kind of run in a folder.

    Raises:
      InputError: if there is no run, or its config.json is damaged.
    """
    return _about(path)[0]


def _about(path: Path | str) -> tuple[str, str, dict[str, Any]]:
    """Return a run's kind, the version of jaxseq that wrote it and its settings, as its config.json has them."""
    file = Path(path) / CONFIG
    if not file.exists():  # unless a run was being replaced when its process was killed
        recover(path)
    try:
        raw = read_bytes(file, "the settings of a run", LARGEST_CONFIG)
    except InputError as error:
        raise InputError(f"{path} is not a run: {error}; give a folder that a training wrote") from error
    with understood(file, AGAIN):
        about = parse_json(raw, file, AGAIN)
        if not isinstance(about, dict):
            raise TypeError(f"expected an object, got {quoted(about)}")
        if missing := [name for name in ("kind", "jaxseq", "config") if name not in about]:
            raise InputError(
                f"{file} has no {missing[0]!r}: it belongs to another program, or is damaged; give a folder that a "
                "training wrote, or restore the file from a copy"
            )
        found, version, values = about["kind"], about["jaxseq"], about["config"]
        if not (isinstance(values, dict) and isinstance(version, str) and isinstance(found, str)):
            raise TypeError("expected text as kind and jaxseq, and an object as config")
    return found, version, values


def read_config(path: Path | str, kind: str, config: type[C], trusted_cell: str | None = None) -> C:
    """Return the config of a run as the dataclass `config`.

    A missing setting gets its default: the default of a setting added later must be the earlier behaviour.

    A run may name a custom cell, which is code. Nothing is imported just because a file names it; the caller must name
    the same cell in `trusted_cell`.

    Raises:
      InputError: if there is no run, or one of another kind, or its config.json is damaged or has an unknown setting,
        or it names code that `trusted_cell` does not.
    """
    file = Path(path) / CONFIG
    found, version, values = _about(path)
    if found != kind:
        raise InputError(f"{path} is a {found} run; expected a {kind} run. Give the folder of another run")
    wanted = typing.get_type_hints(config)
    if wrong := sorted(set(values) - set(wanted)):
        raise InputError(f"{file}: unknown setting {quoted(wrong[0])}: {_why_unknown(wrong[0], wanted, version)}")
    # JSON has only lists, no tuples
    lists_to_tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    for name, value in lists_to_tuples.items():
        if not _fits(value, wanted[name]):
            raise InputError(
                f"{file}: the setting {name!r} should be {_type_name(wanted[name])}, is {quoted(values[name])}; {AGAIN}"
            )
    cell = values.get("cell", "")
    # last: any other error in the run is reported before code is trusted
    if is_code(cell) and cell != trusted_cell:
        raise InputError(
            f"{path} was trained with a custom cell, {cell!r}; loading it runs that code. If you trust it, name it: "
            f"--cell {cell}"
        )
    return config(**lists_to_tuples)


def _why_unknown(name: str, known: dict[str, Any], version: str) -> str:
    """Return why a run may have a setting that is unknown here, and what to do."""
    if _numbers_of(version) > _numbers_of(__version__):
        return f"jaxseq {version} wrote it, this is {__version__}: pip install -U jaxseq"
    return f"{nearest(name, known)}restore the file from a copy, or train again"


def _numbers_of(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d{1,9}", version)]


def _type_name(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted).removeprefix("typing.")


def _fits(value: Any, wanted: Any) -> bool:
    """Return whether a value read from JSON is of the type that a dataclass gives its field."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return value in inner
    if origin is tuple:
        of = inner[:1] * len(value) if inner[-1] is ... and isinstance(value, tuple) else inner
        return isinstance(value, tuple) and len(value) == len(of) and all(map(_fits, value, of))
    if inner:  # a union
        return any(_fits(value, one) for one in inner)
    return type(value) in (int, float) if wanted is float else type(value) is wanted  # True is not a number


def log(path: Path, report: Metrics) -> None:
    """Append a report to metrics.jsonl."""
    # appended, so a kill loses at most the last line
    append(path / METRICS, report.line() + "\n")


def metrics(path: Path | str) -> list[Metrics]:
    """Return all reports of a run; a line that is damaged, such as a last one cut short by a kill, is left out.

    Raises:
      InputError: if the file cannot be read.
    """
    file = Path(path) / METRICS
    reports = []
    for line in read_bytes(file).split(b"\n") if file.exists() else []:
        try:
            with understood(file, "it is left out"):
                reports.append(Metrics.of(parse_json(line, file)))
        except InputError:
            continue
    return reports


def rewind(path: Path, step: int) -> None:
    """Drop reports of steps after `step`: a kill between writing a report and saving its state leaves them."""
    lines = [report.line() + "\n" for report in metrics(path) if report.step <= step]
    write_atomic(path / METRICS, "".join(lines))
