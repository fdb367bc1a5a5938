"""Every reader, given valid files that were altered: it returns a value or raises InputError, and nothing else.

JAXSEQ_FAULT_SECONDS=60 tries each reader for so long, with new files each time, and prints how many it tried.
"""

import contextlib
import gzip
import io
import json
import warnings
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from altering import altered_bytes, altered_json, try_all
from safetensors.numpy import save as save_tensors

from jaxseq import InputError, checkpoint
from jaxseq.apps import run_folder
from jaxseq.apps.forecast import forecaster, panel
from jaxseq.apps.forecast.config import ForecastConfig
from jaxseq.apps.pairs import Form, Origin, Reader
from jaxseq.apps.reading import read_lines, read_text
from jaxseq.apps.text import Vocabulary, saved
from jaxseq.apps.text.tokenisers import Words
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.cells import gru
from jaxseq.files import write_atomic
from jaxseq.inputs import read_bytes
from jaxseq.interop import files
from jaxseq.records import Record
from jaxseq.train import Metrics
from jaxseq.zips import checked_zip, member

PAIRS = "en\tzh\nI read.\t我看书。\nyou\t你\tCC-BY tatoeba\n".encode()
CSV = b'en,zh\n"a, b",c\nd,"e ""f"""\n'
LINES = b'{"en": "a", "zh": "b"}\n{"translation": {"en": "c", "zh": "d"}}\n'
ROWS = "".join(f"{y}-{m:02d}-01,{y - 2000 + m}.5,{m}\n" for y in range(2010, 2013) for m in range(1, 13))
SERIES = [
    f"date,sales,price\n{ROWS}".encode(),
    f"Datum;Umsatz;Preis\n{ROWS}".replace(",", ";").replace(".", ",").encode(),
    f"date\tsales\tprice\n{ROWS}".replace(",", "\t").encode("utf-16"),
    b"day,y\n" + b"".join(b"%02d/01/2020 10:00 PM,%d\n" % (d, d) for d in range(1, 29)),
    b"t,y\n" + b"".join(b"%d,%d\n" % (1577836800 + 3600 * n, n % 24) for n in range(60)),
    gzip.compress(f"date,sales,price\n{ROWS}".encode()),
]
METRICS = b"".join(
    json.dumps(Metrics(n, 0.5, None, 1.0, 2.0, 3.0, {"bleu": 1.0}).flat()).encode() + b"\n" for n in (10, 20)
)


def npz(**arrays):
    into = io.BytesIO()
    np.savez_compressed(into, **arrays)
    return into.getvalue()


def zipped(*names):
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"text " * 20)
    return into.getvalue()


def unzipped(path):
    with checked_zip(read_bytes(path), path) as archive:
        return [member(archive, one) for one in archive.infolist()]


def vocabulary(path):
    return Vocabulary.from_json(read_text(path), path)


def tokenisers(path):
    return saved.load(path.parent, "source")


def config(kind, settings):
    def read(path):
        found = run_folder.read_config(path.parent, kind, settings)
        found.check()
        return found

    return read


def made(tmp_path, kind):
    """Return the config.json of a run with default settings."""
    settings = {"translation": TranslateConfig, "forecaster": ForecastConfig}[kind]()
    run_folder.write_config(tmp_path, kind, settings)
    return (tmp_path / "config.json").read_bytes()


def checkpointed(tmp_path):
    checkpoint.save(tmp_path / "made.safetensors", {"w": jnp.ones((3, 2))}, step=3, ledger=Record()._asdict())
    return (tmp_path / "made.safetensors").read_bytes()


def torch_files(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": torch.nn.GRU(2, 3).state_dict(), "epoch": 3}, tmp_path / "made.pt")
    return (tmp_path / "made.pt").read_bytes()


READERS = {
    "pairs": ("a.tsv", lambda _: [PAIRS], lambda p: list(Reader(Origin((p,)), Form()))),
    "pairs in CSV": ("a.csv", lambda _: [CSV], lambda p: list(Reader(Origin((p,)), Form()))),
    "pairs in JSON": ("a.jsonl", lambda _: [LINES], lambda p: list(Reader(Origin((p,)), Form()))),
    "compressed lines": ("a.gz", lambda _: [gzip.compress(PAIRS)], lambda p: list(read_lines(p))),
    "vocabulary": ("v.json", lambda _: [Vocabulary(["a", "书"]).to_json().encode()], vocabulary),
    "tokenisers": (
        "tokenisers.json", lambda _: [json.dumps({"source": Words("en", "restore").facts()}).encode()], tokenisers,
    ),
    "translator's config": (
        "config.json", lambda t: [made(t, "translation")], config("translation", TranslateConfig),
    ),
    "forecaster's config": ("config.json", lambda t: [made(t, "forecaster")], config("forecaster", ForecastConfig)),
    "checkpoint": ("c.safetensors", lambda t: [checkpointed(t)], checkpoint.facts),
    "series": ("a.csv", lambda _: SERIES, panel.read),
    "series, their form of dates named": (
        "a.csv", lambda _: SERIES[:1], lambda p: panel.read(p, date_format="%Y-%m-%d"),
    ),
    "safetensors": ("a.safetensors", lambda _: [save_tensors({"a": np.ones((2, 3))})], files.read_arrays),
    "npz": ("a.npz", lambda _: [npz(a=np.ones((2, 3)), b=np.arange(4).T)], files.read_arrays),
    "torch": ("a.pt", lambda t: [torch_files(t)], files.read_arrays),
    "metrics": ("metrics.jsonl", lambda _: [METRICS], lambda p: run_folder.metrics(p.parent)),
    "zip": ("a.zip", lambda _: [zipped("cmn.txt", "_about.txt")], unzipped),
}  # fmt: skip
"""By name: a file's name, ``(folder) -> valid contents``, and what reads it."""


def accepted(read, path) -> bool:
    """Return whether a reader accepts a file; all exceptions but InputError are failures, and so are slow readers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas warns of what we refuse or read
            read(path)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("name", READERS)
def test_altered_files_give_a_value_or_an_input_error(name, tmp_path):
    file, contents, read = READERS[name]
    contents = contents(tmp_path)
    path = tmp_path / "read" / file
    path.parent.mkdir()
    for raw in contents:  # each is valid
        path.write_bytes(raw)
        assert accepted(read, path)

    def attempt(raw):
        path.write_bytes(raw)
        return accepted(read, path)

    print(f"\n{name}: {try_all(altered_bytes(contents), attempt)}")


@pytest.mark.parametrize(("kind", "settings"), [("translation", TranslateConfig), ("forecaster", ForecastConfig)])
def test_altered_settings_give_a_value_or_an_input_error(kind, settings, tmp_path):
    whole, read = json.loads(made(tmp_path, kind)), config(kind, settings)

    def attempt(value):
        write_atomic(tmp_path / "config.json", json.dumps(value))
        return accepted(read, tmp_path / "config.json")

    print(f"\nsettings of {kind}: {try_all(altered_json(whole), attempt)}")


@pytest.fixture
def fitted():
    t = np.arange(60)
    usual = jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")
    with contextlib.ExitStack() as stack:
        for one in usual:
            stack.enter_context(one)
        yield forecaster.fit(50 + t + 10 * np.sin(t * np.pi / 6), horizon=3, season=12, networks=0)


def test_altered_facts_of_a_forecaster_give_a_value_or_an_input_error(fitted, tmp_path):
    """Facts altered on purpose, the checksum made right again: types and sizes are then all that can refuse them."""
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    facts = checkpoint.facts(path)
    rows = [(s.values, s.past, s.future, s.static) for s in fitted.panel.series]

    def attempt(value):
        checkpoint.save(path, {"model": fitted.model, "rows": rows}, **value)
        return accepted(lambda p: forecaster.load(p).predict(), path)

    print(f"\nfacts of a forecaster: {try_all(altered_json(facts), attempt)}")


def test_altered_facts_of_a_layer_give_a_value_or_an_input_error(tmp_path):
    params, path = gru.init(jax.random.key(0), 2, 3), tmp_path / "layer.safetensors"
    files.save(path, gru, params)
    facts = checkpoint.facts(path)

    def attempt(value):
        checkpoint.save(path, params, **value)
        return accepted(files.load, path)

    print(f"\nfacts of a layer: {try_all(altered_json(facts), attempt)}")
