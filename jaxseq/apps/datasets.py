"""Sources of data: bundled files, and corpora fetched from their publishers into a cache."""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from jaxseq import shipped
from jaxseq.apps.extra import INSTALL
from jaxseq.apps.text import CJK
from jaxseq.errors import InputError, choose, nearest, shortened
from jaxseq.files import write_together
from jaxseq.inputs import kind_of_file, read_bytes
from jaxseq.locks import locked
from jaxseq.zips import checked_zip, member as member_of

TIMEOUT = 30
"""Seconds to wait for the publisher's server before giving up."""


class Source(NamedTuple):
    """A published corpus: its address, its file in the archive, and the fewest pairs that a complete copy has."""

    url: str
    member: str
    least: int
    licence: str
    attribution: str


SOURCES = {
    "cmn-eng": Source(
        "https://www.manythings.org/anki/cmn-eng.zip",
        "cmn.txt",
        20_000,
        "CC-BY 2.0 France",
        "Tatoeba (https://tatoeba.org) by way of manythings.org/anki; each line's third column names its authors",
    )
}
"""Corpora that can be fetched, by name."""


class CachedCorpus(NamedTuple):
    """A corpus in the cache and its origin; written as JSON next to the data.

    Fields:
      path: the text in the cache, byte for byte as published.
      pairs: how many pairs it holds.
      sha256: of the text.
      archive_sha256: of the archive that it came in, or None when it came as text.
      url: the publisher's address, or the local file it was added from.
      date: the day it was fetched, ISO.
    """

    name: str
    path: Path
    pairs: int
    sha256: str
    archive_sha256: str | None
    url: str
    date: str
    licence: str
    attribution: str


def cache_dir() -> Path:
    """Return the folder for fetched data: ``$JAXSEQ_CACHE``, or the platform's cache folder."""
    if chosen := os.environ.get("JAXSEQ_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "jaxseq" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jaxseq"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxseq"


def find(name: str | Path) -> Path:
    """Return the file that `name` means: a path, else a fetched corpus, else a bundled file.

    Raises:
      InputError: for anything else; the message says how to get it.
    """
    name = str(name)
    # a path comes first: a file named like a data set is meant as that file
    if Path(name).is_file():
        return Path(name)
    if name in SOURCES:
        if (path := _text(name)).is_file():
            return path
        raise InputError(f"{name} is not in the cache yet. Fetch it with: jaxseq data get {name}. {_by_hand(name)}")
    known = shipped.files()
    if name in known:
        return known[name]
    if name and Path(name).exists():
        raise InputError(f"{name} is {kind_of_file(name)}; expected a file")
    names = dict.fromkeys([*SOURCES, *(path.stem for path in known.values())])
    raise InputError(
        f"there is no file {name!r}, and no data set of that name: {nearest(name, names)}known: {', '.join(names)}; "
        "check the path"
    )


def from_anywhere(name: str) -> str:
    """Return a name that `find` understands from any folder: a path from the root, a data set's name as it is."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def get(name: str, sha256: str | None = None) -> CachedCorpus:
    """Download a corpus from its publisher's address, check its content and keep it in the cache.

    The publisher refreshes the file from time to time, so no checksum is built in: the content is checked, and its
    checksum recorded. `sha256` requires one, of the archive or of the text.

    Raises:
      InputError: if it cannot be downloaded or fails the checks; the message gives the address and how to do it by
        hand. The cache is then as it was before.
    """
    source = choose("corpus", name, SOURCES)
    pinned = _pinned(sha256)
    try:
        return _keep(name, _download(source.url), source.url, source.url, pinned)
    except _RejectedError as error:
        raise InputError(f"{error}. {_by_hand(name)}") from error


def add(name: str, path: Path | str, sha256: str | None = None) -> CachedCorpus:
    """Put a file that was downloaded by hand, the archive or the text in it, into the cache, after the same checks.

    Raises:
      InputError: if it cannot be read or fails the checks.
    """
    source = choose("corpus", name, SOURCES)
    pinned = _pinned(sha256)
    path = Path(path)
    raw = read_bytes(path, f"{Path(source.url).name} or the {source.member} in it")
    try:
        return _keep(name, raw, str(path), path.absolute().as_uri(), pinned)
    except _RejectedError as error:
        raise InputError(f"{error}. The expected file is at {source.url}") from error


class _RejectedError(InputError):
    """Data that failed a check; the caller adds what the user can do."""


def _download(url: str) -> bytes:
    """Return the bytes at an address."""
    try:
        import pooch
    except ImportError as error:
        raise _RejectedError(f"downloading needs pooch: {INSTALL}") from error
    # some servers reject the default user agents of HTTP libraries
    agent = {"User-Agent": "Mozilla/5.0 (compatible; jaxseq)"}
    # not streamed: the file is small, and pooch leaves the socket of a refused stream open
    fetch = pooch.HTTPDownloader(headers=agent, timeout=TIMEOUT, stream=False)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # it would log the checksum, which our report has
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(pooch.retrieve(url, None, fname="download", path=folder, downloader=fetch)).read_bytes()
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise _RejectedError(f"cannot download {url}: {error}") from error
    finally:
        logger.setLevel(level)


def _keep(name: str, raw: bytes, where: str, origin: str, pinned: str | None) -> CachedCorpus:
    """Check the bytes that came from `where`; put them into the cache with a record of their origin."""
    source = SOURCES[name]
    text, archive = _unpack(raw, source.member, where), None
    if text is not raw:
        archive, where = hashlib.sha256(raw).hexdigest(), f"{where}, {source.member}"
    digest = hashlib.sha256(text).hexdigest()
    if pinned and pinned not in (digest, archive):
        got = digest if archive is None else f"{archive} (archive) and {digest} (text)"
        raise _RejectedError(f"{where}: wrong sha256: expected {pinned}, got {got}")
    pairs = _check(text, where, source.least)
    today = datetime.date.today().isoformat()
    report = CachedCorpus(name, _text(name), pairs, digest, archive, origin, today, source.licence, source.attribution)
    facts = {**report._asdict(), "path": report.path.name}
    # both files or neither: the record of another text would be wrong
    with locked(report.path), locked(_facts(name)):
        write_together({report.path: text, _facts(name): json.dumps(facts, ensure_ascii=False, indent=2) + "\n"})
    return report


def _unpack(raw: bytes, member: str, where: str) -> bytes:
    """Return the archive's member, or the bytes themselves if they are not an archive."""
    # how every zip file begins
    if not raw.startswith(b"PK"):
        return raw
    try:
        with checked_zip(raw, where) as archive:
            if member not in archive.namelist():
                held = ", ".join(map(shortened, archive.namelist()[:5])) or "nothing"
                raise _RejectedError(f"{where}: expected an archive with {member} in it; it holds {held}")
            return member_of(archive, archive.getinfo(member))
    # an InputError too, whose message already says what to do
    except _RejectedError:
        raise
    except InputError as error:
        raise _RejectedError(f"{error}. Expected a zip file with {member} in it") from error


def _check(raw: bytes, where: str, least: int) -> int:
    """Return how many pairs a text of three columns, English, Chinese and attribution, holds.

    Raises:
      _RejectedError: if it is not UTF-8, a line is of another form, or there are fewer than `least`.
    """
    try:
        # UTF-8 allows zero bytes, so these are looked for first; str.splitlines would also cut at U+2028 and U+0085
        lines = re.split("\r\n|[\r\n]", raw.decode("utf-8-sig")) if b"\0" not in raw else None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _RejectedError(
            f"{where}, line {line}: not UTF-8 (byte {raw[error.start]:#04x} at offset {error.start})"
        ) from error
    if lines is None:
        raise _RejectedError(f"{where} is a binary file (a zero byte at {raw.index(0)}); expected UTF-8 text")
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    wrong = [(number, fault) for number, line in rows if (fault := _fault(line))]
    if wrong:
        number, fault = wrong[0]
        raise _RejectedError(
            f"{where}, line {number}: expected English<TAB>Chinese<TAB>attribution; got {fault}. "
            f"Lines not as expected: {len(wrong)} of {len(rows)}"
        )
    chinese = sum(re.search(rf"\t[^\t]*[{CJK}]", line) is not None for _, line in rows)
    # the publisher's archives of other languages have the same three columns
    if 2 * chinese < len(rows):
        raise _RejectedError(f"{where}: expected Chinese in the second column; {chinese} of {len(rows)} lines have it")
    if len(rows) < least:
        raise _RejectedError(f"{where}: expected at least {least:,} pairs; got {len(rows):,}")
    return len(rows)


def _fault(line: str) -> str:
    """Return the fault of a line, or an empty string."""
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) != 3:
        return f"{len(cells)} column{'s' * (len(cells) != 1)}"
    if not (cells[0] and cells[1]):
        return "an empty side"
    return "" if "tatoeba" in cells[2].lower() else "no attribution to tatoeba.org in the third column"


def _pinned(sha256: str | None) -> str | None:
    """Return a checksum in lower case, without the ``sha256:`` that some tools put before it."""
    if sha256 is None:
        return None
    pinned = sha256.lower().removeprefix("sha256:")
    if re.fullmatch("[0-9a-f]{64}", pinned) is None:
        raise InputError(f"--sha256 must be 64 hexadecimal digits; got {sha256!r} ({len(pinned)})")
    return pinned


def _by_hand(name: str) -> str:
    url = SOURCES[name].url
    return f"By hand: save {url} with a browser, then: jaxseq data add {name} FILE"


def _text(name: str) -> Path:
    return cache_dir() / f"{name}.txt"


def _facts(name: str) -> Path:
    return cache_dir() / f"{name}.json"
