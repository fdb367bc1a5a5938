"""Files of pairs: every format as people have it, which files words mean, and each fault by its message."""

import csv
import gzip
import io
import json
import re
import sys

import pytest
from hypothesis import given, strategies as st

from jaxseq.apps import reading
from jaxseq.apps.pairs import Form, Origin, Reader, origins, read, read_pairs
from jaxseq.apps.reading import LONGEST_LINE, read_lines, read_text
from jaxseq.apps.translate import data
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.errors import InputError

GERMAN = Form("de", "en", ("de", "en"))
WANT = [("Hallo.", "Hello."), ("Wer?", "Who?")]


# ---------------------------------------------------------------------------------------------- files


def write(folder, data: str | bytes):
    path = folder / "pairs.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    "data",
    [
        "Hi.\t嗨。\tCC-BY 2.0 (France) Attribution: tatoeba.org #1\nRun!\t跑！\t#2\n",
        "Hi.\t嗨。\nRun!\t跑！\n",
        "\ufeffHi.\t嗨。\nRun!\t跑！\n",
        "Hi.\t嗨。\r\nRun!\t跑！\r\n",
        "Hi.\t嗨。\rRun!\t跑！\r",
        "Hi.\t嗨。\nRun!\t跑！",
        "\n\nHi.\t嗨。\n  \nRun!\t跑！\n\n",
        " Hi.\t\u200b嗨。\u200b \nRu\u200dn!\t跑\ufeff！\n",
    ],
    ids=["three columns", "two", "BOM", "CRLF", "CR", "no last newline", "blank lines", "zero-width"],
)
def test_pairs_are_read_however_the_file_is_written(tmp_path, data: str) -> None:
    path = write(tmp_path, data)
    assert read_pairs(path) == [("嗨。", "Hi."), ("跑！", "Run!")]
    assert read_pairs(path, source="en", target="zh") == [("Hi.", "嗨。"), ("Run!", "跑！")]
    assert path.read_bytes() == data.encode()  # what is dropped in reading stays on disk


def test_columns_are_named_by_language(tmp_path) -> None:
    path = write(tmp_path, "salut\thi\n")
    assert read_pairs(path, ("fr", "en"), "en", "fr") == [("hi", "salut")]
    with pytest.raises(InputError, match=r"a header line that names zh and en; got none.*by default fr en"):
        read_pairs(path, ("fr", "en"), "zh", "en")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; expected text"),
        (b"\xef\xbb\xbf \r\n\n", "is empty; expected text"),
        (b"Hi\t\x00\x01", "is a binary file (a zero byte at 3); expected UTF-8 text"),
        (
            b"a\tb\nHi\t\xba\xc3\n",
            "line 2: not UTF-8 (byte 0xba at offset 7); convert it, for example: iconv -f GB18030",
        ),
        (
            b"a\tb\n\nonly\nc\td\nmore\n",
            "line 3: expected en<TAB>zh, with an optional third column for attribution; got 1",
        ),
        (b"a\tb\n\nonly\nc\td\nmore\n", "Lines like it: 2. Correct or remove them"),
        (b"a\tb\tc\td\n", "line 1: expected en<TAB>zh, with an optional third column for attribution; got 4 columns"),
        (
            b"a\tb\n \tb\n",
            "line 2: expected en<TAB>zh, with an optional third column for attribution; got an empty side",
        ),
        ("a\tb\na\t\u200b\n".encode(), "line 2: expected en<TAB>zh"),
    ],
)
def test_a_bad_file_is_explained(tmp_path, data: bytes, message: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_pairs(path)
    assert str(path) in str(caught.value)


def test_what_is_no_file_is_explained(tmp_path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*absent\.txt"):
        read_text(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="is a folder; expected a text file"):
        read_text(tmp_path)


# ---------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"a\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"a\rb\nc", ["a\rb", "c"]),  # a return within a line is no line end where others are
        (b"a\rb\r", ["a", "b"]),
    ],
)
def test_lines_of_a_file(tmp_path, raw: bytes, lines: list[str]) -> None:
    for path, content in ((tmp_path / "a.txt", raw), (tmp_path / "a.txt.gz", gzip.compress(raw, mtime=0))):
        path.write_bytes(content)
        assert list(read_lines(path)) == lines
        assert reading.count_lines(path) == len(lines)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\0\ufeff", codec="utf-8")), min_size=1))
def test_lines_come_back_as_they_were_written(lines: list[str]) -> None:
    stream = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    assert list(reading.decoded(reading.as_they_come(stream), "here")) == lines


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.txt", b"a\n" + b"b" * (LONGEST_LINE + 1), r"a\.txt, line 2: longer than 1,048,576 bytes"),
        ("a.txt", "ä".encode() * LONGEST_LINE, r"a\.txt, line 1: longer than"),
        ("a.txt", "Hi".encode("utf-16"), r"a\.txt is UTF-16; expected UTF-8\. Convert it.*iconv -f UTF-16"),
        ("a.txt.gz", b"no gzip", r"cannot read .*a\.txt\.gz: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"a\n" * 99, mtime=0)[:-9], r"cannot read .*a\.txt\.gz: Compressed file ended"),
    ],
)
def test_lines_that_cannot_be_read(tmp_path, name: str, raw: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError, match=message):
        list(read_lines(tmp_path / name))


def test_a_small_file_that_grows_beyond_measure_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "EXPANSION_FROM", 1000)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"\n" * 500_000, mtime=0))
    assert path.stat().st_size * reading.EXPANSION < 500_000
    with pytest.raises(InputError, match=r"a\.txt\.gz grows to more than .* bytes, 250 times its size"):
        sum(1 for _ in read_lines(path))


@pytest.mark.parametrize(("stream", "message"), [(None, "is closed"), (True, "is a terminal"), ("", "is empty")])
def test_standard_input_that_has_no_text(monkeypatch, stream, message: str) -> None:
    given = None if stream is None else io.StringIO("")
    if stream is True:
        given.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", given)
    with pytest.raises(InputError, match=f"standard input {message}"):
        list(read_lines("-"))


# ---------------------------------------------------------------------------------------------- formats


def pairs_of(folder, name: str, text: str, form: Form = GERMAN) -> tuple[list[tuple[str, str]], list[str]]:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    reader = Reader(Origin((path,)), form)
    return [(pair.source, pair.target) for pair in reader], reader.notes


def commas(rows) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.tsv", "Hallo.\tHello.\nWer?\tWho?\n", {}),
        ("a.tsv.gz", "Hallo.\tHello.\nWer?\tWho?\n", {}),
        ("a.tsv", "EN\tid\tde\nHello.\t7\tHallo.\nWho?\t8\tWer?\n", {}),
        ("a.tsv", "7\tHello.\tHallo.\n8\tWho?\tWer?\n", {"source_column": "3", "target_column": "2"}),
        ("a.tsv", "id\tleft\tright\n1\tHallo.\tHello.\n2\tWer?\tWho?\n",
         {"source_column": "left", "target_column": "right"}),
        ("a.tsv", "id\tleft\ten\n1\tHallo.\tHello.\n2\tWer?\tWho?\n", {"source_column": "left"}),
        ("a.tsv", "id\tleft\ten\n1\tHallo.\tHello.\n2\tWer?\tWho?\n", {"source_column": "2"}),
        ("a.csv", "Hallo.,Hello.\nWer?,Who?\n", {}),
        ("a.csv", "de,en,a;b\nHallo.,Hello.,x\nWer?,Who?,y\n", {}),
        ("a.tsv", "Hallo.\tHello.\t\nWer?\tWho?\t\n", {}),
        ("a.csv", 'de;en\n"Hallo.";Hello.\n\nWer?;Who?\n', {}),
        ("a.jsonl", '{"de": "Hallo.", "en": "Hello."}\n\n{"en": "Who?", "de": "Wer?"}\n', {}),
        ("a.jsonl.gz", '{"id": 1, "translation": {"de": "Hallo.", "en": "Hello."}}\n'
         '{"translation": {"de": "Wer?", "en": "Who?"}}\n', {}),
        ("a.ndjson", '{"x": {"s": "Hallo."}, "t": "Hello."}\n{"x": {"s": "Wer?"}, "t": "Who?"}\n',
         {"source_column": "x.s", "target_column": "t"}),
    ],
)  # fmt: skip
def test_each_format_gives_the_same_pairs(tmp_path, name: str, text: str, options: dict[str, str]) -> None:
    assert pairs_of(tmp_path, name, text, GERMAN._replace(**options)) == (WANT, [])


CELLS = st.text(st.characters(exclude_categories=["C", "Z"], codec="utf-8"), min_size=1).map(lambda t: f"{t} {t}")
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6)


@given(rows=ROWS)
def test_quotes_commas_and_braces_survive_csv_and_json(rows: list[tuple[str, str]], tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    want = [tuple(read._clean(cell) for cell in row) for row in rows]
    if not all(all(row) for row in want):
        return
    assert pairs_of(folder, "a.csv", commas([("de", "en"), *rows]))[0] == want
    objects = "\n".join(json.dumps({"de": a, "en": b}) for a, b in rows)
    assert pairs_of(folder, "a.jsonl", objects)[0] == want


def test_a_cell_of_several_lines_is_one_sentence_and_lines_are_counted(tmp_path) -> None:
    text = 'de,en\n"Hallo,\nWelt.",Hello.\nWer?,\n'
    with pytest.raises(InputError, match=r"a\.csv, line 4: expected 2 columns, with , between them; got an empty side"):
        pairs_of(tmp_path, "a.csv", text)
    assert pairs_of(tmp_path, "a.csv", text[:-6])[0] == [("Hallo, Welt.", "Hello.")]


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.jsonl", '{"de": "a", "en": "b"}\n["de"]', {}, r"a\.jsonl, line 2: expected one JSON object on each line"),
        ("a.jsonl", "[" * 100_000, {}, r"line 1: expected one JSON object on each line"),
        ("a.jsonl", '{"de": "a", "translation": {"fr": "b"}}', {},
         r"line 1: expected text under 'en'; got no such key\. Keys here: de, translation, translation\.fr"),
        ("a.jsonl", '{"de": "a", "en": 7}', {}, r"expected text under 'en'; got 7"),
        ("a.jsonl", '{"de": "a", "en": " "}', {}, r"expected text under 'en'; got ' '"),
        ("a.csv", 'de,en\na,"b\n', {}, r"a\.csv, line 2: expected comma-separated values; got unexpected end"),
        ("a.tsv", "Hallo.\n", {}, r"got 1 column\. Lines like it: 1\. .* give two parallel files:"),
        ("a.tsv", "x\ty\n", {"source": "fr"}, r"line 1: expected a header line that names fr and en; got none"),
        ("a.tsv", "x\ty\n", {"source_column": "left"}, r"expected a column 'left'; got the columns x, y, 2 in all"),
        ("a.tsv", "x\ty\n", {"source_column": "3", "target_column": "1"}, r"expected a column '3'"),
        ("a.tsv", "x\ty\n", {"source_column": "0", "target_column": "1"}, r"expected a column '0'"),
        ("a.tsv", "x\ty\nu\tv\nw\n", {"source_column": "left"}, r"a column 'left'; got the columns x, y, 2 in all"),
        ("a.tsv", "x\ty\nw\na\tb\tc\td\nz\n", {}, r"line 2: .*Lines like it: 2\."),  # not the one with too many
        ("a.tsv", "x\ty\n", {"source_column": "1", "target_column": "1"}, r"are the same column"),
        ("a.tsv", "1\tx\t2\ty\n", {}, r"got 4 columns\. To use such a table, choose the columns by name or number"),
    ],
)  # fmt: skip
def test_faults_of_each_format(tmp_path, name: str, text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pairs_of(tmp_path, name, text, GERMAN._replace(**options))


def test_a_stray_tab_is_reported_and_not_taken_for_attribution(tmp_path) -> None:
    text = "Hallo.\tHello.\tCC-BY 2.0 (France) #7\nGuten\tTag.\tGood day.\nWer?\tWho?\na\tb\tc\td\n"
    pairs, notes = pairs_of(tmp_path, "a.tsv", text)
    assert pairs == WANT
    (note,) = notes
    assert "a.tsv: 2 lines with a column too many, left out" in note and "the first: 2 (Guten<TAB>Tag." in note


def test_a_third_column_of_one_line_is_a_stray_tab(tmp_path) -> None:
    pairs, (note,) = pairs_of(tmp_path, "a.tsv", "Hallo.\tHello.\nGuten\tTag.\tGood day.\nWer?\tWho?\n")
    assert pairs == WANT and "1 line with a column too many" in note


def test_a_third_column_of_all_lines_is_reported_once(tmp_path) -> None:
    pairs, notes = pairs_of(tmp_path, "a.tsv", "Hallo.\tHello.\t0.93\nWer?\tWho?\t0.87\n")
    assert pairs == WANT and len(notes) == 1
    assert "third column, such as '0.93' in line 1, does not look like attribution and is not read" in notes[0]


# ---------------------------------------------------------------------------------------------- parallel files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("a.de", "Hallo.\nWer?\n"), ("a.en", "Hello.\nWho?"), ("src-train.txt", "Hallo.\nWer?\n"),
        ("tgt-train.txt", "Hello.\nWho?\n"), ("b.tsv", "Ja.\tYes.\n"), ("c.jsonl", '{"de": "Nein.", "en": "No."}\n'),
    ):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "z.de.gz").write_bytes(gzip.compress(b"Hallo.\nWer?\n", mtime=0))
    (tmp_path / "z.en.gz").write_bytes(gzip.compress(b"Hello.\nWho?\n", mtime=0))
    return tmp_path


def everything(words, form: Form = GERMAN) -> list[list[tuple[str, str]]]:
    found = origins(words, form.source, form.target)
    return [[(pair.source, pair.target) for pair in Reader(one, form)] for one in found]


@pytest.mark.parametrize(
    "words",
    ["a", ("a.de", "a.en"), ("a.en", "a.de"), "a.de,a.en", "a.en,a.de", "src-train.txt,tgt-train.txt", "z",
     ("z.de.gz", "z.en.gz"), ("a.de", "z.en.gz")],
)  # fmt: skip
def test_parallel_files_however_they_are_named(folder, words) -> None:
    assert everything(words) == [WANT]


def test_the_case_of_a_language_does_not_matter(folder) -> None:
    assert origins(("a.en", "a.de"), "DE", "En") == origins("a", "de", "en")


def test_several_corpora_in_their_order(folder) -> None:
    assert everything(("b.tsv", "a.de", "a.en", "c.jsonl")) == [[("Ja.", "Yes.")], WANT, [("Nein.", "No.")]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("x", r"there is no file 'x'"),
        ("a.de", r"a\.de, line 1: .*got 1 column"),
        ("a.de,x.en", r"there is no file x\.en"),
        ("a.de,", r"expected two files with a comma between them"),
        ("a.de,folder.en", r"folder\.en is a folder; expected a text file, one sentence a line"),
        ("c", r"there is no file 'c', and no data set of that name"),  # of c.jsonl alone nothing is made
        (("b.tsv", "b.tsv"), r"b\.tsv is given twice; to train on its pairs more often"),
        (("-", "-"), r"standard input is given twice"),
    ],
)
def test_words_that_mean_nothing(folder, words, message: str) -> None:
    (folder / "folder.en").mkdir()
    with pytest.raises(InputError, match=message):
        everything(words)


def test_a_prefix_of_other_languages_says_which_there_are(folder) -> None:
    with pytest.raises(InputError, match=r"no file a, nor a\.fr and a\.it; there are a\.de, a\.en.*--source"):
        origins("a", "fr", "it")
    with pytest.raises(InputError, match=r"there is a\.de but no a\.it; expected two parallel files"):
        origins("a", "de", "it")


def test_unequal_lengths_are_named_before_anything_is_read(folder) -> None:
    (folder / "a.en").write_text("Hello.\n" * 1234)
    with pytest.raises(InputError, match=r"a\.de has 2 lines and a\.en has 1,234 lines; line n of one"):
        next(iter(Reader(*origins("a", "de", "en"), GERMAN)))


def test_lines_that_are_empty_on_one_side_are_left_out_and_counted(folder) -> None:
    (folder / "a.de").write_text("Hallo.\n\n\nWer?\n\n")
    (folder / "a.en").write_text("Hello.\n\nNobody.\nWho?\nNo one.\n")
    reader = Reader(*origins("a", "de", "en"), GERMAN)
    assert [tuple(pair) for pair in reader] == [("Hallo.", "Hello.", 1), ("Wer?", "Who?", 4)]
    assert reader.notes == ["a.de and a.en: 2 lines empty on one side, left out; the first: 3"]


@pytest.mark.parametrize(
    "text", ["Hallo.\tHello.\nWer?\tWho?\n", '\n{"de": "Hallo.", "en": "Hello."}\n{"de": "Wer?", "en": "Who?"}']
)
def test_standard_input_is_a_table_or_json_lines(monkeypatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert everything("-") == [WANT]


# ---------------------------------------------------------------------------------------------- corpora of a run


def config_of(folder, **options) -> TranslateConfig:
    return TranslateConfig(source="de", target="en", columns=("de", "en"), validation=0.0, **options)


def texts(pairs) -> list[tuple[str, str]]:
    return [(a.text, b.text) for a, b in pairs]


def test_dev_and_test_files_replace_the_split(folder) -> None:
    (folder / "dev.tsv").write_text("Wo?\tWhere?\nWer?\tWho is it?\n")
    (folder / "test.tsv").write_text("Nein!\tNo!\nJa.\tYep.\n")
    config = config_of(folder, data=("a.de", "a.en", "b.tsv"), dev="dev.tsv", test="test.tsv")
    corpus = data.prepare(config)
    assert texts(corpus.train) == [("hallo .", "hello ."), ("wer ?", "who ?"), ("ja .", "yes .")]
    assert texts(corpus.validation) == [("wo ?", "where ?"), ("wer ?", "who is it ?")]
    assert corpus.measured()[0] == "for testing" and texts(corpus.measured()[1]) == texts(corpus.test)
    assert corpus.notes == [
        "1 of 3 training pairs share a sentence with 1 of the 2 of --dev; --leaks remove leaves them out of training",
        "1 of 3 training pairs share a sentence with 1 of the 2 of --test; --leaks remove leaves them out of training",
    ]
    removed = data.prepare(config_of(folder, data=config.data, dev="dev.tsv", test="test.tsv", leaks="remove"))
    assert texts(removed.train) == [("hallo .", "hello .")] and "and are left out of training" in removed.notes[0]
    assert "ja" not in removed.source.vocabulary.tokens


def test_weights_are_shares_of_the_pairs_that_training_sees(folder) -> None:
    config = config_of(folder, data=("a.de", "a.en", "b.tsv"), weights=(1.0, 4.0))
    weights = data.prepare(config).weights
    assert weights.sum() == pytest.approx(3) and weights[:2].sum() * 4 == pytest.approx(weights[2])
    with pytest.raises(InputError, match=r"--weights: expected a number for each corpus of --data; got 3 for 2"):
        data.prepare(config_of(folder, data=("a.de", "a.en", "b.tsv"), weights=(1.0, 4.0, 1.0)))
    with pytest.raises(InputError, match=r"--weights must be above 0 and finite"):
        config_of(folder, data="b.tsv", weights=(-1.0,)).check()


def test_a_test_source_that_the_model_cannot_read_is_left_out_at_once(folder) -> None:
    (folder / "test.tsv").write_text("Nein!\tNo!\n" + "ja " * 400 + "\tYes.\n")
    corpus = data.prepare(config_of(folder, data="b.tsv", test="test.tsv"))
    assert len(corpus.test) == 1 and "--test: 1 pairs have a source of 320 tokens or more" in corpus.notes[0]


def test_a_side_that_is_empty_after_normalisation_is_named(folder) -> None:
    (folder / "e.tsv").write_text("be\tis\n\n \u0301 \tI\t#1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"e\.tsv, line 3: the pair '\u0301' / 'I'.*empty after normalisation"):
        data.prepare(config_of(folder, data="e.tsv", normalise="tutorial"))
