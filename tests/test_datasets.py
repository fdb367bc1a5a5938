"""Where data comes from: shipped, cached, downloaded. No test here uses the network."""

import errno
import hashlib
import io
import json
import os
import re
import socket
import stat
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from jaxseq import cli, shipped
from jaxseq.apps import datasets
from jaxseq.errors import InputError

URL = "https://www.manythings.org/anki/cmn-eng.zip"
ATTRIBUTION = "CC-BY 2.0 (France) Attribution: tatoeba.org #1 (CM) & #2 (Martha)"


def corpus(pairs: int = 20_000, before: str = "") -> bytes:
    """Return a file of our own in the publisher's form."""
    return (before + "".join(f"Line {n}.\t第{n}行。\t{ATTRIBUTION}\n" for n in range(pairs))).encode()


GOOD = corpus()


def zipped(data: bytes, member: str = "cmn.txt") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_about.txt", "about")
        archive.writestr(member, data)
    return out.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Give each test a cache of its own, in a folder that does not exist yet."""
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path / "deep" / "cache"))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "deep" / "cache"


def point_at(monkeypatch, url: str) -> None:
    monkeypatch.setitem(datasets.SOURCES, "cmn-eng", datasets.SOURCES["cmn-eng"]._replace(url=url))


@pytest.fixture
def server(monkeypatch):
    """Serve `server.answer` (status, body) on a local port in place of the publisher."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            httpd.agents.append(self.headers["User-Agent"])
            status, body = httpd.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    httpd.agents = []
    httpd.answer = (200, zipped(GOOD))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    point_at(monkeypatch, f"http://127.0.0.1:{httpd.server_port}/cmn-eng.zip")
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


# ---------------------------------------------------------------------------------------------- adding by hand


def recorded(cache: Path) -> dict:
    """What the record of the corpus in the cache says."""
    return json.loads((cache / "cmn-eng.json").read_text("utf-8"))


@pytest.mark.parametrize("before", ["", "\ufeff", "\ufeff\n"])
def test_a_text_is_kept_byte_for_byte_with_its_record(tmp_path, cache, before: str) -> None:
    raw = corpus(before=before)
    (tmp_path / "mine.txt").write_bytes(raw)
    report = datasets.add("cmn-eng", tmp_path / "mine.txt")
    assert report.path == cache / "cmn-eng.txt" and report.path.read_bytes() == raw
    assert (report.pairs, report.sha256, report.archive_sha256) == (20_000, sha(raw), None)
    assert report.licence == "CC-BY 2.0 France" and "Tatoeba" in report.attribution
    assert report.url == (tmp_path / "mine.txt").as_uri()
    assert recorded(cache) == {**report._asdict(), "path": "cmn-eng.txt"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", report.date)
    assert sorted(os.listdir(cache)) == ["cmn-eng.json", "cmn-eng.txt"]  # no temporary file is left


def test_an_archive_is_unpacked_and_both_sums_are_recorded(tmp_path) -> None:
    raw = zipped(GOOD)
    (tmp_path / "download").write_bytes(raw)
    report = datasets.add("cmn-eng", tmp_path / "download")
    assert report.path.read_bytes() == GOOD
    assert (report.sha256, report.archive_sha256) == (sha(GOOD), sha(raw))


def test_a_pinned_sum_may_be_the_archives_or_the_texts(tmp_path) -> None:
    raw = zipped(GOOD)
    path = tmp_path / "cmn-eng.zip"
    path.write_bytes(raw)
    for pin in (sha(GOOD), sha(raw), "sha256:" + sha(raw), sha(raw).upper()):
        assert datasets.add("cmn-eng", path, sha256=pin).pairs == 20_000
    with pytest.raises(InputError, match=f"expected {'0' * 64}, got {sha(raw)} .archive. and {sha(GOOD)} .text."):
        datasets.add("cmn-eng", path, sha256="0" * 64)


@pytest.mark.parametrize("pin", ["", "abc", "g" * 64, "0" * 63])
def test_what_is_no_sum_is_refused_before_anything_is_read(pin: str) -> None:
    with pytest.raises(InputError, match="--sha256 must be 64 hexadecimal digits"):
        datasets.add("cmn-eng", "absent", sha256=pin)
    with pytest.raises(InputError, match="--sha256 must be 64 hexadecimal digits"):
        datasets.get("cmn-eng", sha256=pin)


HEAD = f"Hi.\t嗨。\t{ATTRIBUTION}\n"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "expected at least 20,000 pairs; got 0"),
        (corpus(19_999), "expected at least 20,000 pairs; got 19,999"),
        (GOOD + b"alone\n\nalone\n", "line 20001: expected English<TAB>Chinese<TAB>attribution; got 1 column."),
        (GOOD + b"alone\n\nalone\n", "Lines not as expected: 2 of 20002"),
        (corpus(before="Hi.\t嗨。\n"), "line 1: expected English<TAB>Chinese<TAB>attribution; got 2 columns."),
        (
            corpus(before="Hi.\t嗨。\tme\n"),
            "line 1: expected English<TAB>Chinese<TAB>attribution; got no attribution to",
        ),
        (
            corpus(before=f"Hi.\t \t{ATTRIBUTION}\n"),
            "line 1: expected English<TAB>Chinese<TAB>attribution; got an empty",
        ),
        (corpus(before=HEAD) + b"Hi\t\xba\xc3\n", "line 20002: not UTF-8 (byte 0xba at offset "),
        (b"\x89PNG\0\1", "is a binary file (a zero byte at 4); expected UTF-8 text"),
        (b"<html>sign in</html>", "line 1: expected English<TAB>Chinese<TAB>attribution; got 1 column."),
        (
            GOOD.replace("第".encode(), b"no ").replace("行。".encode(), b""),
            "expected Chinese in the second column; 0 of",
        ),
        (zipped(GOOD, "fra.txt"), "expected an archive with cmn.txt in it; it holds _about.txt, fra.txt"),
        (
            zipped(GOOD)[:-40],
            "is a damaged archive (File is not a zip file); fetch or write it again. Expected a zip file with cmn.txt",
        ),
        (zipped(GOOD)[:500] + b"!" + zipped(GOOD)[501:], "is a damaged archive ("),
        (zipped(b"alone"), "cmn.txt, line 1: expected English<TAB>Chinese<TAB>attribution; got 1 column."),
    ],
)
def test_a_file_that_is_not_the_corpus_is_refused_and_the_old_one_kept(tmp_path, cache, raw: bytes, message) -> None:
    path = tmp_path / "given"
    path.write_bytes(GOOD)
    before = datasets.add("cmn-eng", path)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        datasets.add("cmn-eng", path)
    assert str(path) in str(caught.value) and URL in str(caught.value)
    assert recorded(cache) == {**before._asdict(), "path": "cmn-eng.txt"} and before.path.read_bytes() == GOOD
    assert len(os.listdir(cache)) == 2


def test_the_line_number_is_that_of_an_editor(tmp_path) -> None:
    raw = corpus(before=f"\u2028Hi.\t嗨。\x85\t{ATTRIBUTION}\r\n\r\nalone\r\n")  # what str.splitlines also splits at
    (tmp_path / "given").write_bytes(raw)
    with pytest.raises(InputError, match=r"line 3: .*got 1 column\. Lines not as expected: 1 of 20002"):
        datasets.add("cmn-eng", tmp_path / "given")


def test_what_is_no_file_and_no_corpus_is_explained(tmp_path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*absent; check the path"):
        datasets.add("cmn-eng", tmp_path / "absent")
    with pytest.raises(InputError, match=r"is a folder; expected cmn-eng\.zip or the cmn\.txt in it"):
        datasets.add("cmn-eng", tmp_path)
    for call in (datasets.get, lambda name: datasets.add(name, tmp_path)):
        with pytest.raises(InputError, match="unknown corpus 'cmn-end': did you mean 'cmn-eng'"):
            call("cmn-end")


def test_a_cache_that_cannot_be_written_is_explained(tmp_path, monkeypatch) -> None:
    (tmp_path / "given").write_bytes(GOOD)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot write .*file"):
        datasets.add("cmn-eng", tmp_path / "given")


def test_a_full_disk_leaves_the_old_corpus(tmp_path, cache, monkeypatch) -> None:
    path = tmp_path / "given"
    path.write_bytes(GOOD)
    before = datasets.add("cmn-eng", path)
    path.write_bytes(corpus(20_001))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        datasets.add("cmn-eng", path)
    assert recorded(cache) == {**before._asdict(), "path": "cmn-eng.txt"} and before.path.read_bytes() == GOOD
    assert len(os.listdir(cache)) == 2


# ---------------------------------------------------------------------------------------------- downloading


def test_the_publishers_address_is_the_one_in_the_readme() -> None:
    assert datasets.SOURCES["cmn-eng"].url == URL


def test_get_downloads_checks_and_keeps(server, cache, capfd) -> None:
    raw = server.answer[1]
    report = datasets.get("cmn-eng", sha256=sha(raw))
    assert report.path == cache / "cmn-eng.txt" and report.path.read_bytes() == GOOD
    assert (report.archive_sha256, report.sha256, report.pairs) == (sha(raw), sha(GOOD), 20_000)
    assert report.url == datasets.SOURCES["cmn-eng"].url
    assert stat.S_IMODE(report.path.stat().st_mode) & 0o444 == 0o444 & ~_umask()  # not private, as temporary files are
    assert "jaxseq" in server.agents[0]
    assert capfd.readouterr() == ("", "")  # a library prints nothing


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, b"gone"), "cannot download http://127.0.0.1:[0-9]+/cmn-eng.zip: 404"),
        ((406, b"no"), "cannot download .*: 406"),
        ((200, b"<html>sign in</html>"), "line 1: expected English<TAB>Chinese<TAB>attribution; got 1 column"),
        ((200, zipped(corpus(10))), r"cmn-eng\.zip, cmn\.txt: expected at least 20,000 pairs; got 10"),
        ((200, zipped(GOOD)[:900]), "is a damaged archive"),
    ],
)
def test_a_failed_download_gives_the_address_and_the_way_by_hand(server, cache, answer, message: str) -> None:
    server.answer = answer
    with pytest.raises(InputError, match=message) as caught:
        datasets.get("cmn-eng")
    by_hand = f"By hand: save {datasets.SOURCES['cmn-eng'].url} with a browser, then: jaxseq data add cmn-eng FILE"
    assert str(caught.value).endswith(by_hand)
    assert not cache.exists()


def test_a_wrong_pin_after_a_download_keeps_what_was_there(server, cache) -> None:
    before = datasets.get("cmn-eng")
    server.answer = (200, zipped(corpus(20_001)))
    with pytest.raises(InputError, match=f"wrong sha256: expected {before.sha256}"):
        datasets.get("cmn-eng", sha256=before.sha256)
    assert recorded(cache) == {**before._asdict(), "path": "cmn-eng.txt"}
    assert datasets.get("cmn-eng").pairs == 20_001  # refreshed


def test_without_network_the_message_says_what_to_do(monkeypatch, cache) -> None:
    with socket.socket() as closed:  # bound and not listening: nobody answers here
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/cmn-eng.zip"
        point_at(monkeypatch, url)
        with pytest.raises(
            InputError, match=f"cannot download {url}.*By hand: save {url}.*jaxseq data add cmn-eng FILE"
        ):
            datasets.get("cmn-eng")
    assert not cache.exists()


def test_without_pooch_the_message_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=r"needs pooch: pip install \"jaxseq\[apps\]\".*jaxseq data add cmn-eng FILE"):
        datasets.get("cmn-eng")


# ---------------------------------------------------------------------------------------------- finding


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch) -> None:
    monkeypatch.setenv("JAXSEQ_CACHE", "~/mine")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    assert datasets.cache_dir() == Path("/home/me/mine")
    monkeypatch.setenv("JAXSEQ_CACHE", "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert datasets.cache_dir() == Path("/var/cache/me/jaxseq")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert datasets.cache_dir() == Path("/home/me/.cache/jaxseq")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert datasets.cache_dir() == Path("/home/me/Library/Caches/jaxseq")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert datasets.cache_dir() == Path("/local/jaxseq/Cache")


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """Stand in for the checkout: a package with its data beside it."""
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "repo" / "jaxseq")
    data = tmp_path / "repo" / "data"
    data.mkdir(parents=True)
    for name in ("zh-en.tsv", "zh-en.py", "README.md", "airline.csv"):
        (data / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "repo"


def test_shipped_data_lies_beside_the_package_in_a_checkout_and_inside_it_in_a_wheel(package) -> None:
    assert shipped.find("zh-en") == shipped.find("zh-en.tsv") == package / "data" / "zh-en.tsv"
    (package / "jaxseq" / "_data").mkdir(parents=True)
    (package / "jaxseq" / "_data" / "zh-en.tsv").write_text("x")
    assert shipped.find("zh-en") == package / "jaxseq" / "_data" / "zh-en.tsv"


@pytest.mark.parametrize("name", ["zh-em", "zh-en.py", "README"])
def test_what_is_not_shipped_is_answered_with_what_is(package, name: str) -> None:
    with pytest.raises(InputError, match=r"unknown shipped data .*known: airline, airline\.csv, zh-en, zh-en\.tsv"):
        shipped.find(name)


def test_a_path_comes_before_the_cache_and_the_cache_before_what_is_shipped(package, tmp_path, cache) -> None:
    assert datasets.find("zh-en") == package / "data" / "zh-en.tsv"
    (tmp_path / "zh-en").mkdir()  # a run folder of that name does not hide the corpus
    assert datasets.find("zh-en") == package / "data" / "zh-en.tsv"
    (tmp_path / "given").write_bytes(GOOD)
    assert datasets.find("given") == Path("given")
    assert datasets.find(tmp_path / "given") == tmp_path / "given"
    datasets.add("cmn-eng", "given")
    assert datasets.find("cmn-eng") == cache / "cmn-eng.txt"
    (tmp_path / "cmn-eng").write_text("x")
    assert datasets.find("cmn-eng") == Path("cmn-eng")


def test_what_cannot_be_found_is_answered_with_the_next_move(package, tmp_path) -> None:
    with pytest.raises(
        InputError, match="not in the cache yet. Fetch it with: jaxseq data get cmn-eng. By hand: save " + URL
    ):
        datasets.find("cmn-eng")
    with pytest.raises(
        InputError, match=r"no file 'cmn-egn', .*: did you mean 'cmn-eng'. known: cmn-eng, airline, zh-en;"
    ):
        datasets.find("cmn-egn")
    with pytest.raises(InputError, match="repo is a folder; expected a file"):
        datasets.find("repo")
    with pytest.raises(InputError, match="there is no file ''"):
        datasets.find("")


def test_a_file_is_added_and_never_got(capsys, tmp_path):
    assert cli.main(["data", "get", "cmn-eng", str(tmp_path / "mine.zip")]) == 2
    assert f"jaxseq data add cmn-eng {tmp_path / 'mine.zip'}" in capsys.readouterr().err
