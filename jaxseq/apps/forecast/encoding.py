"""Unpack and decode the bytes of a file that a user names; refuse those that are not text."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from pathlib import Path

from jaxseq.apps.reading import INVISIBLE
from jaxseq.errors import InputError
from jaxseq.inputs import EXPANSION, LARGEST, read_bytes, read_up_to

EXPECTED = "a table as CSV, TSV or Parquet"
SMALL, SMALL_EXPANSION, EXPANSION_FROM = 2**20, 25, 2**21
"""A packed text of fewer bytes than the first may grow by this factor, once it is beyond the last. Tables grow by 3 to
20, long ones with many zeros by more, and cost the time and memory of their rows, however small the file is."""
SIGNATURES = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "a database",
    b"\x93NUMPY": "a NumPy array",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"(\xb5/\xfd": "a zstd archive",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself",
}
"""How files that are not text begin."""
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does, so it comes first
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters: none is meant, and ESC would reach the terminal."""


def unpacked(path: Path) -> bytes:
    """Return the bytes of a file, unpacked where gzip packed them.

    Raises:
      InputError: if the file cannot be read, is a device, is damaged, is larger than `LARGEST`, or grows by a factor
        above `EXPANSION`, if it is small `SMALL_EXPANSION`, beyond `EXPANSION_FROM` bytes.
    """
    if path.is_file() and path.stat().st_size > LARGEST:
        raise too_large(path, LARGEST)
    raw = read_bytes(path, EXPECTED)
    # by its content: a name may lack .gz
    if raw[:2] != b"\x1f\x8b":
        return raw
    factor = SMALL_EXPANSION if len(raw) < SMALL else EXPANSION
    most = min(LARGEST, max(EXPANSION_FROM, factor * len(raw)))
    try:
        # one byte more than is allowed shows that there is more, without unpacking it
        raw = read_up_to(gzip.GzipFile(fileobj=io.BytesIO(raw)), most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is a damaged gzip file ({error}); fetch or pack it again") from error
    if len(raw) > most:
        raise too_large(path, most, "unpack it first if that is intended (gunzip), or ")
    return raw


def too_large(path: Path, most: int, cure: str = "") -> InputError:
    """Return the message for a file that holds more than `most` bytes; another `cure` comes first."""
    return InputError(
        f"{path} holds more than {most:,} bytes; {cure}aggregate the rows first (hours instead of seconds, say)"
    )


def decoded(raw: bytes, path: Path) -> tuple[str, str]:
    r"""Return text with ``\n`` between lines, and the encoding it was in.

    The first that fits: a byte order mark; zero bytes at every other place (UTF-16 without a mark); UTF-8; GB18030,
    where most characters beyond ASCII are among the 3,755 most frequent of Chinese, or its punctuation; latin-1 as
    Windows has it (CP1252), which fits anything.

    Raises:
      InputError: if the bytes are not text, or text of another kind (HTML, JSON).
    """
    for start, what in SIGNATURES.items():
        if raw.startswith(start):
            raise InputError(f"{path} is {what}; expected {EXPECTED}: save or export it as CSV")
    encoding = _encoding(raw)
    if encoding is None:
        raise InputError(f"{path} is a binary file (a zero byte at {raw.index(0)}); expected {EXPECTED}")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is broken {encoding} text (at byte {error.start}); save it again as UTF-8") from error
    # \r alone ends a line of old Mac files
    text = INVISIBLE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    # a text may hold a few by accident; with many it is a binary file that happens to decode
    controls = len(CONTROL.findall(text))
    if controls > 10 and controls > len(text) / 100:
        raise InputError(f"{path} is a binary file ({controls} control characters); expected {EXPECTED}")
    text = CONTROL.sub("", text)
    _check_is_a_table(text.lstrip()[:200].lower(), path)
    return text, encoding


def _encoding(raw: bytes) -> str | None:
    """Return the encoding by the rules of `decoded`, None for a binary file."""
    for mark, name in MARKS.items():
        if raw.startswith(mark):
            return name
    if b"\0" in raw:
        # ASCII in UTF-16 has a zero in every other byte
        start = raw[:4096]
        even, odd = (start[k::2].count(0) / max(1, len(start[k::2])) for k in (0, 1))
        return "utf-16-le" if odd > 0.3 > even else "utf-16-be" if even > 0.3 > odd else None
    # UTF-8 first, since text of another encoding is hardly ever valid UTF-8; GB18030 accepts much of Latin-1
    for name in ("utf-8", "gb18030", "cp1252"):
        try:
            text = raw.decode(name)
        except UnicodeDecodeError:
            continue
        if name != "gb18030" or _is_chinese(text):
            return name
    # CP1252 has five undefined bytes, latin-1 has none
    return "latin-1"


def _is_chinese(text: str) -> bool:
    """Return whether most characters beyond ASCII are in GB 2312's punctuation (row 1) or level 1 (16 to 55)."""
    beyond = [c.encode("gb18030") for c in text[:100_000] if c > "\x7f"]
    common = sum(len(c) == 2 and (c[0] == 0xA1 or 0xB0 <= c[0] <= 0xD7) and c[1] >= 0xA1 for c in beyond)
    return 2 * common > len(beyond)


def _check_is_a_table(start: str, path: Path) -> None:
    if not start:
        raise InputError(f"{path} is empty; expected {EXPECTED}")
    if start.startswith("<"):
        raise InputError(f"{path} is an HTML or XML page; expected {EXPECTED}: download the file that the page links")
    if start.startswith(("{", "[")):
        raise InputError(f"{path} is JSON; expected {EXPECTED}: pandas.read_json makes a DataFrame, which is read too")
