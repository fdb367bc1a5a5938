"""Files and folders are written whole or not at all, and what a killed process left is finished or removed."""

import errno
import os
from pathlib import Path

import pytest

from jaxseq import InputError, files
from jaxseq.files import BEFORE, MADE, MAKING, MOVING, OWN, PART


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def part(folder: Path, name: str, **held: dict[str, str]) -> Path:
    """Make a temporary folder as a killed process leaves it."""
    temporary = folder / f"{name}abcdef_9{PART}"
    for inner, written in held.items():
        (temporary / inner).mkdir(parents=True)
        for file, text in written.items():
            (temporary / inner / file).write_text(text)
    return temporary


def test_a_replacement_that_was_killed_is_finished_when_it_was_whole(tmp_path):
    run = tmp_path / "run"
    for left in ({MADE: {"a": "new"}, BEFORE: {"a": "old"}}, {MADE: {"a": "new"}}):  # between the renames; before them
        part(tmp_path, ".run.", **left)
        files.settle(run)
        assert tree(tmp_path) == {"run/a": "new"}
    part(tmp_path, ".run.", **{BEFORE: {"a": "older"}})  # after both
    part(tmp_path, ".run.", **{MAKING: {"a": "half"}})  # while it was built
    files.settle(run)
    assert tree(tmp_path) == {"run/a": "new"} and files.results(tmp_path) == ["run"]


def test_what_belongs_to_others_is_left(tmp_path):
    """Of a run of a longer name, of one in the folder, and what users call their own files."""
    others = [part(tmp_path, ".run.a."), part(tmp_path / "run", ".b.")]
    for one in others:
        one.mkdir(parents=True)
    (tmp_path / f".run.tooshort1{PART}").write_text("mine")
    (tmp_path / ".run.abcdefgh.part").write_text("mine")
    (tmp_path / f"run.abcdefgh{PART}").write_text("mine")
    before = {*tmp_path.rglob("*")}
    files.settle(tmp_path / "run")
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ({}, {MADE: {"a": "new", "b": "new"}}),
        ({"b": "new"}, {MOVING: {"a": "new"}}),
        ({"a": "old", "c": "old"}, {MADE: {"a": "new", "b": "new"}}),
        ({"c": "old"}, {MADE: {"a": "new", "b": "new"}, BEFORE: {"a": "old"}}),
    ],
)
def test_a_folder_that_stays_is_filled_to_the_end(tmp_path, there, left):
    """A mount cannot be renamed: files are moved in and out, and a kill at any of them is finished."""
    for name, text in there.items():
        (tmp_path / name).write_text(text)
    part(tmp_path, OWN, **left)
    files.settle(tmp_path)
    assert tree(tmp_path) == {"a": "new", "b": "new"} and len(list(tmp_path.iterdir())) == 2


def test_an_empty_folder_stays_and_a_link_leads_to_the_folder(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    number = (tmp_path / "there").stat().st_ino
    with files.whole_folder(tmp_path / "link") as new:
        (new / "a").write_text("1")
    assert (tmp_path / "there").stat().st_ino == number and (tmp_path / "link").is_symlink()
    with files.whole_folder(tmp_path / "link") as new:
        (new / "b").write_text("2")
    assert tree(tmp_path / "there") == {"b": "2"} and (tmp_path / "link").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"there", "link"}


def test_a_rename_that_fails_leaves_the_old_folder(tmp_path, monkeypatch):
    with files.whole_folder(tmp_path / "run") as new:
        (new / "a").write_text("old")
    replace = os.replace

    def failing(source, target):
        if Path(source).name == MADE:
            raise OSError(errno.EIO, "a fault")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(InputError, match=r"cannot write .*run: a fault"), files.whole_folder(tmp_path / "run") as new:
        (new / "a").write_text("new")
    monkeypatch.undo()
    files.settle(tmp_path / "run")
    assert tree(tmp_path) == {"run/a": "old"} and len(list(tmp_path.iterdir())) == 1


def test_temporary_files_of_a_folder_are_removed_and_never_listed(tmp_path):
    (tmp_path / "snapshots").mkdir()
    litter = [tmp_path / f".model.abcdefgh{PART}", tmp_path / "snapshots" / f".step-1.abcdefgh{PART}"]
    for path in (*litter, tmp_path / "model"):
        path.write_text("x")
    assert files.results(tmp_path) == ["model", "snapshots"]
    files.tidy(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"model", "snapshots"}
