"""Small inputs that would cost much: each is refused before memory is taken, or read in time that grows as its size."""

import cProfile
import gzip
import io
import json
import os
import random
import resource
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jaxseq import InputError, cli
from jaxseq.apps import datasets, run_folder, sentences
from jaxseq.apps.forecast import panel, table
from jaxseq.apps.forecast.cells import is_number
from jaxseq.apps.pairs.split import connected, split_numbered
from jaxseq.apps.text import plain
from jaxseq.apps.text.casing import beginnings
from jaxseq.apps.text.tokenisers import Words
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.inputs import parse_json, read_bytes
from jaxseq.interop import files
from jaxseq.memory import check_trains
from jaxseq.tensors import from_safetensors

MOST = 2**20
"""Bytes of a hostile file; reading one may take 1 GB at most."""


@pytest.fixture(autouse=True)
def _bounded_memory():
    """Refuse what would take 1 GB more than is in use: a reader that allocates what a header claims fails."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# ---------------------------------------------------------------------------------------------- sizes that are claimed


def header(entry: dict) -> bytes:
    raw = json.dumps({"w": entry}).encode()
    return len(raw).to_bytes(8, "little") + raw


@pytest.mark.parametrize(
    "raw",
    [
        header({"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}),  # 40 GB
        header({"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4]}) + bytes(4),
        header({"dtype": "F32", "shape": [2**31, 2**31, 4], "data_offsets": [0, 0]}),  # 2^64, which wraps round to 0
        header({"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]}),
        header({"dtype": "F32", "shape": [1] * 100, "data_offsets": [0, 4]}) + bytes(4),
        (4 * 10**10).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_header_that_claims_more_than_the_file_has(raw):
    with pytest.raises(InputError, match="is damaged"):
        from_safetensors(raw, "a.safetensors")


def bomb(name: str, size: int) -> bytes:
    """Return a zip file with one file of so many zeros in it."""
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as file:
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    return into.getvalue()


@pytest.fixture(scope="module")
def zeros() -> bytes:
    return bomb("w.npy", 2**29)


def test_a_bomb_in_npz_and_in_zip(zeros, tmp_path):
    assert len(zeros) < MOST
    (tmp_path / "a.npz").write_bytes(zeros)
    for suffix in ("npz", "pt"):
        (tmp_path / f"a.{suffix}").write_bytes(zeros)
        with pytest.raises(InputError, match="grows to more than"):
            files.read_arrays(tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match=r"grows to more than .*cmn\.txt"):
        datasets._unpack(zeros, "cmn.txt", "a.zip")


def test_an_archive_that_lies_about_a_size(tmp_path):
    """The directory says 100 bytes, the packed data are 64 MB: 100 are read, and the checksum does not fit."""
    raw = bomb("w.npy", 2**26)
    at = raw.index(b"PK\x01\x02") + 24
    (tmp_path / "a.npz").write_bytes(raw[:at] + (100).to_bytes(4, "little") + raw[at + 4 :])
    with pytest.raises(InputError, match="is a damaged archive"):
        files.read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_ways_of_packing_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", kind) as archive:
        archive.writestr("w.npy", b"")
    with pytest.raises(InputError, match="packed in another way than deflate"):
        files.read_arrays(tmp_path / "a.npz")


def npy(head: str, data: bytes = b"") -> bytes:
    raw = head.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


@pytest.mark.parametrize(
    "raw",
    [
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,), }\n", bytes(8)),
        npy("(" * 9000),  # of which a reader that evaluates it makes a TokenError or a MemoryError
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"cos\nsystem\n(S'true'\ntR."),
        npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", bytes(4)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n", bytes(4)),
        b"\x93NUMPY\x01\x00\xff\xff",
        b"",
    ],
)
def test_npy_headers_that_nobody_writes(tmp_path, raw):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", raw)
    with pytest.raises(InputError, match="is damaged"):
        files.read_arrays(tmp_path / "a.npz")


def test_a_compressed_table_that_grows_too_much(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"date,y\n" + b"\n" * 2**28))
    assert path.stat().st_size < MOST
    with pytest.raises(InputError, match="holds more than"):
        panel.read(path)


def test_devices_pipes_and_large_files(tmp_path):
    with pytest.raises(InputError, match="/dev/zero is a device; expected a checkpoint"):
        read_bytes("/dev/zero", "a checkpoint")
    (tmp_path / "config.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a device; expected the settings of a run"):
        run_folder.kind_of(tmp_path)
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**40)  # sparse: it takes no room on the disk
    with pytest.raises(InputError, match="holds more than 1,073,741,824 bytes"):
        read_bytes(tmp_path / "large")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is a named pipe; expected a file"):
        datasets.find(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"text"))
    writer.start()
    assert read_bytes(tmp_path / "pipe") == b"text"
    writer.join()


def test_deep_json():
    assert parse_json("[" * 32 + "]" * 32, "a") is not None
    for depth in (34, 900, 100_000):
        with pytest.raises(InputError, match=r"more than 32 levels|too many levels"):
            parse_json("[" * depth + "]" * depth, "a")


@pytest.mark.parametrize(("setting", "most"), [("layers", "64"), ("hidden", "16,384"), ("steps", "2,147,483,647")])
def test_settings_of_absurd_size(setting, most):
    with pytest.raises(InputError, match=f"--{setting} must be at most {most}; got 1000000000000"):
        TranslateConfig(**{setting: 10**12}).check()


def test_parameters_for_which_there_is_no_memory(monkeypatch):
    monkeypatch.setattr("jaxseq.memory.available_bytes", lambda: 1000)
    check_trains({"w": np.ones((2, 31), np.float32)}, "take less")
    with pytest.raises(InputError, match=r"take 1,024 bytes of memory, and 1,000 are free; take less"):
        check_trains({"w": np.ones((2, 32), np.float32)}, "take less")


# ---------------------------------------------------------------------------------------------- work that grows
# At these sizes an algorithm whose work grows as the square of its input takes minutes.


def test_spaces_are_normalised_in_linear_time():
    assert plain("a" + " " * 10**6 + "b" + " \t" * 10**5 + ".") == "a b ."


def first_of_group(source, target):
    """Groups by union and find, written out: the reference."""
    above = {}

    def find(x):
        while above.setdefault(x, x) != x:
            x = above[x]
        return x

    for s, t in zip(source, target, strict=True):
        above[find(("s", s))] = find(("t", t))
    firsts = {}
    return [firsts.setdefault(find(("s", s)), n) for n, s in enumerate(source)]


def test_pairs_that_share_sentences_are_grouped():
    draw = random.Random(0)
    for _ in range(100):
        size = draw.randint(1, 30)
        source, target = ([draw.randrange(size) for _ in range(size)] for _ in range(2))
        assert connected(np.array(source), np.array(target)).tolist() == first_of_group(source, target)


def test_a_chain_of_pairs_is_grouped_in_linear_time():
    """Pair k shares a sentence with pair k + 1, and numbers fall along the chain but for the first: the order in which
    the lowest number, passed on from neighbour to neighbour, takes as many rounds as there are pairs."""
    N = 300_000
    place = np.concatenate([[0], np.arange(N - 1, 0, -1)])  # of pair n in the chain
    source, target = (place + 1) // 2, place // 2
    assert not connected(source, target).any()
    with pytest.raises(InputError, match="too small to split"):
        split_numbered(source, target, 0.1, 0)


class Counted(str):
    """A text that counts the characters of its slices."""

    copied = 0

    def __getitem__(self, place):
        found = super().__getitem__(place)
        Counted.copied += len(found)
        return found


def test_lines_are_cut_into_sentences_in_linear_time():
    line = Counted("Mr. " * 5_000)
    assert sentences.split(line) == [line.strip()] and Counted.copied < 100 * len(line)
    brackets = "（" * 100_000 + "。" + "）" * 100_000
    assert sentences.split(brackets) == [brackets]
    assert sentences.split("a." * 200_000 + " B.") == ["a." * 200_000 + " B."]


def test_a_long_cell_is_not_a_number():
    assert is_number(" -1 234.5e3 % ") and not is_number("1" + " " * 10**6 + "x")


def wide(columns: int, cells: tuple[str, ...]) -> str:
    """Return a table of dates and so many columns, each with these cells."""
    rows = "".join(f"2020-01-{day:02}{f',{cell}' * columns}\n" for day, cell in enumerate(cells, 1))
    return f"date,{','.join(f'c{n}' for n in range(columns))}\n{rows}"


def test_a_table_of_many_columns(tmp_path):
    """As many as are allowed, in less than 1 GB; one more is refused before any is looked at."""
    path = tmp_path / "a.csv"
    path.write_text(wide(table.MOST_COLUMNS - 1, ("1", "2")))
    assert len(panel.read(path).series) == table.MOST_COLUMNS - 1
    path.write_text(wide(table.MOST_COLUMNS, ("1", "2")))
    said = r"has 10,001 columns; at most 10,000 are read\. Write a row for each time and series instead.*--id"
    for source in (path, pd.DataFrame(np.ones((2, 10_001)))):
        with pytest.raises(InputError, match=said):
            panel.read(source)


@pytest.mark.parametrize("cells", [("", ""), ("x", "y"), ("2020-01-01", "2020-01-02")])
def test_a_message_names_some_of_many_columns(tmp_path, cells):
    path = tmp_path / "a.csv"
    path.write_text(wide(3000, cells))
    with pytest.raises(InputError, match=r"no column of numbers to forecast: .* and 2,98[01] others") as refused:
        panel.read(path)
    assert len(str(refused.value)) < 1000


def test_a_parquet_file_of_repetitions(tmp_path):
    """160 MB of zeros in some hundreds of bytes; and one text 100,000 times, which is held once."""
    path = tmp_path / "a.parquet"
    pd.DataFrame({"y": np.zeros(2 * 10**7)}).to_parquet(path, compression="zstd")
    assert path.stat().st_size < MOST
    with pytest.raises(InputError, match="holds more than"):
        panel.read(path)
    pd.DataFrame({"y": ["12\n5", None] * 50_000}).to_parquet(path)
    cells = table.read_table(path).cells["y"]
    assert cells[:2].tolist() == ["12 5", ""] and len({id(cell) for cell in cells}) == 2


def test_work_and_memory_of_a_wide_table_grow_as_its_columns(tmp_path):
    """Calls of functions, and bytes at the peak: of four times as many columns, at most five times as many."""
    calls, peaks = [], []
    for count in (50, 250, 1000):
        rows = "\n".join(f"2020-01-{day:02}" + f",{day}" * count for day in range(1, 4))
        path = tmp_path / f"{count}.csv"
        path.write_text(f"date,{','.join(f'c{n}' for n in range(count))}\n{rows}\n")
        profile = cProfile.Profile()
        tracemalloc.start()
        profile.runcall(panel.read, path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        calls.append(sum(entry.callcount for entry in profile.getstats()))
    assert calls[2] < 5 * calls[1] and peaks[2] < 5 * peaks[1], (calls, peaks)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (MemoryError("Unable to allocate 298. GiB for an array with shape (40, 2000000000)"), "298. GiB"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4294967296 bytes."), "4294967296 bytes"),
    ],
)
def test_memory_that_runs_out_is_said_in_a_sentence(monkeypatch, capsys, error, asked):
    def run(args):
        raise error

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setattr(cli, "available_bytes", lambda: 1000)
    assert cli.main([]) == cli.FAILED
    said = f"not enough memory: {asked} are requested; 1,000 bytes are free. Use smaller sizes"
    assert said in capsys.readouterr().err
    error.args = ("another",)
    if isinstance(error, RuntimeError):  # a mistake of ours keeps its traceback
        with pytest.raises(RuntimeError, match="another"):
            cli.main([])


def test_words_are_cut_in_linear_time():
    """At each of these marks an address may begin, whose first part reaches to the end of the line."""
    marks = "-." * 200_000
    assert "".join(Words("en", "lower").cut(marks)).replace("￭", "") == marks


def test_beginnings_of_sentences_are_found_in_linear_time():
    """A sentence may begin at each bracket, and end at each stop."""
    assert beginnings("x http://" + "(" * 10_000 + "." * 10_000 + " End. Begin") == [0, 20_015]


def test_an_archive_whose_names_are_not_utf_8(tmp_path):
    """zipfile raises UnicodeDecodeError while it opens the archive."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("é.npy", b"")
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(raw.replace("é".encode(), b"\xff\xff"))
    with pytest.raises(InputError, match=r"is a damaged archive \('utf-8' codec"):
        files.read_arrays(tmp_path / "a.npz")
