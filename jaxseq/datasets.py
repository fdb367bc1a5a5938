"""Data by name: what the package ships, what it can download, and where downloads are kept."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

from jaxseq.errors import InputError, choose
from jaxseq.files import cannot_write, write_atomic
from jaxseq.pairs import read_pairs

SHIPPED = {"zh-en": "zh-en.tsv", "zh-en-held-out": "zh-en-held-out.tsv", "airline": "airline.csv"}
"""Files that come with the package."""


class Source(NamedTuple):
    """A data set on its publisher's server, and what must be true of it."""

    url: str
    member: str
    """The file inside the archive."""
    least: int
    """The fewest pairs that a good copy has; the publisher refreshes it, so that its checksum changes."""
    licence: str


SOURCES = {
    "cmn-eng": Source(
        "https://www.manythings.org/anki/cmn-eng.zip", "cmn.txt", 20_000, "CC-BY 2.0 France, Tatoeba via manythings.org"
    )
}
"""Data sets that can be downloaded."""


class Added(NamedTuple):
    """What was put into the cache: where, its checksum, how many pairs, and its licence."""

    path: Path
    sha256: str
    pairs: int
    licence: str
    origin: str


def shipped(name: str) -> Path:
    """Return the path of a file that comes with the package.

    Raises:
      InputError: for an unknown name.
    """
    file = choose("shipped data", name, SHIPPED)
    here = Path(__file__).parent
    installed = here / "_data" / file  # in a wheel; beside the package in a checkout
    return installed if installed.exists() else here.parent / "data" / file


def cache_dir() -> Path:
    """Return where downloads are kept: $JAXSEQ_CACHE, or the platform's cache folder for jaxseq."""
    if chosen := os.environ.get("JAXSEQ_CACHE"):
        return Path(chosen)
    import pooch  # only here: it brings a network library along

    return Path(pooch.os_cache("jaxseq"))


def find(name: str) -> Path:
    """Return the path of data given by name or path: an existing file, a shipped or a downloaded data set.

    Raises:
      InputError: if there is none; the message says how to get it.
    """
    if name in SHIPPED:
        return shipped(name)
    if name in SOURCES:
        path = cache_dir() / f"{name}.txt"
        if path.exists():
            return path
        raise InputError(f"{name} is not here yet; get it with: jaxseq data get {name}, or {_by_hand(name)}")
    if Path(name).exists():
        return Path(name)
    known = {**SHIPPED, **SOURCES}
    raise InputError(f"there is no file {name!r}, nor data of that name; known names: {', '.join(sorted(known))}")


def get(name: str, sha256: str | None = None) -> Added:
    """Download a data set from its publisher, check it and keep it; `sha256` pins the archive's checksum.

    Raises:
      InputError: without network, or if the content is not what it should be; the message gives the way by hand.
    """
    import pooch

    source = choose("data set", name, SOURCES)
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        downloader = pooch.HTTPDownloader(progressbar=False, timeout=60, headers={"User-Agent": "Mozilla/5.0 (jaxseq)"})
        archive = pooch.retrieve(
            source.url, known_hash=None, fname=f"{name}.zip", path=folder / "download", downloader=downloader
        )
    except OSError as error:  # requests' errors are OSErrors
        raise InputError(f"cannot download {source.url}: {error}. To do it by hand: {_by_hand(name)}") from error
    try:
        return add(name, archive, sha256=sha256, origin=source.url)
    finally:
        Path(archive).unlink(missing_ok=True)  # a later get shall ask the publisher again


def add(name: str, file: Path | str, *, sha256: str | None = None, origin: str | None = None) -> Added:
    """Check a file that was got by hand (the archive, or the text inside it) and keep it under `name`.

    Raises:
      InputError: if it is not the data set: checksum, archive, encoding, columns, attribution, number of pairs.
    """
    source = choose("data set", name, SOURCES)
    file = Path(file)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; to get it by hand: {_by_hand(name)}") from error
    digest = hashlib.sha256(raw).hexdigest()
    if sha256 and digest != sha256.lower():
        raise InputError(f"{file}: its sha256 is {digest}, expected {sha256}; another edition of the data, or damaged")
    content = _unpacked(file, raw, source) if zipfile.is_zipfile(io.BytesIO(raw)) else raw
    folder = cache_dir()
    aside = folder / f".{name}.checking"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        count = _checked(name, file, aside, source)
        write_atomic(folder / f"{name}.txt", content)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        aside.unlink(missing_ok=True)
    added = Added(folder / f"{name}.txt", digest, count, source.licence, origin or str(file.resolve()))
    record = {**added._asdict(), "path": str(added.path), "date": datetime.date.today().isoformat()}
    write_atomic(folder / f"{name}.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return added


def _unpacked(file: Path, raw: bytes, source: Source) -> bytes:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        if source.member not in archive.namelist():
            raise InputError(f"{file}: expected {source.member} inside, found {', '.join(archive.namelist()[:5])}")
        return archive.read(source.member)


def _checked(name: str, file: Path, text: Path, source: Source) -> int:
    try:
        pairs = read_pairs(text)
    except InputError as error:
        raise InputError(f"{file} is not {name}: {error}".replace(str(text), file.name)) from error
    if len(pairs) < source.least:
        raise InputError(f"{file} has {len(pairs)} pairs, expected at least {source.least}; {_by_hand(name)}")
    if "Attribution" not in text.read_text(encoding="utf-8-sig").split("\n", 1)[0]:
        raise InputError(
            f"{file}: the third column, the attribution its licence asks for, is missing; {_by_hand(name)}"
        )
    return len(pairs)


def _by_hand(name: str) -> str:
    return f"open {SOURCES[name].url} in a browser, save the file, then: jaxseq data add {name} FILE"
