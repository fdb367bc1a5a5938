"""The guide's page on security: the tests that it names are there, and its numbers are those of the code."""

import ast
import re
from pathlib import Path

import jaxseq
from jaxseq import inputs, tensors
from jaxseq.apps import compilation, reading, run_folder, settings
from jaxseq.apps.forecast import encoding, panel, parquet, steps, table

TESTS = Path(__file__).parents[1]
PAGE = (Path(jaxseq.__file__).parent / "guide" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there():
    named, file = [], ""
    for path, name in re.findall(r"`(?:tests/)?((?:\w+/)?test_\w+\.py)?(?:::(test_\w+))?`", PAGE):
        file = path or file
        if file:
            named.append((file, name))
    assert len({name for _, name in named if name}) >= 10
    for file, name in named:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, f"{file}::{name}"


def test_the_limits_of_the_page_are_those_of_the_code():
    gib = 2**30
    assert (gib, 64 * gib, 2**24) == (inputs.LARGEST, tensors.LARGEST, run_folder.LARGEST_CONFIG)
    assert (inputs.EXPANSION, inputs.EXPANSION_FROM, inputs.DEEPEST) == (250, 2**26, 32)
    assert gib == compilation.MOST and "At most 1 GiB of compiled programs is kept" in " ".join(PAGE.split())
    assert (reading.LONGEST_LINE, settings.MOST_LAYERS, settings.MOST_UNITS) == (2**20, 64, 16_384)
    assert table.MOST_COLUMNS == 10_000 and "| columns of a table | 10,000 |" in PAGE
    assert "1 GiB; files of arrays 64 GiB, `config.json` 16 MiB" in PAGE and "250 times its size, above 64 MiB" in PAGE
    assert (encoding.SMALL, encoding.SMALL_EXPANSION, encoding.EXPANSION_FROM) == (2**20, 25, 2**21)
    assert "(gzip) below 1 MiB | 25 times its size, above 2 MiB |" in PAGE
    assert (parquet.NUMBER, parquet.TEXT, parquet.OBJECT) == (8, 32, 128)
    assert "8 bytes a number or stamp, 32 a text, 128 another cell" in PAGE
    assert (steps.MOST_STEPS, steps.MOST_UNEVEN, panel.FILLED, panel.ROOM) == (10**7, 30_000, 31, 10**6)
    assert "10,000,000 of fixed length, 30,000 others; with `--frequency`, 31 rows due" in PAGE
    assert "| 32 levels |" in PAGE and "| 1 MiB |" in PAGE and "| 64, 16,384 |" in PAGE


def test_the_table_of_names_in_a_pickle():
    reader = tensors._TorchPickle
    assert "a table of 14" in PAGE and len(tensors._STORAGES) == 10
    assert reader.__mro__[1].__module__ == "_pickle"  # the base of C, whose lookups go through find_class
