"""Reading files that users name: bytes and text, or a message that says what is wrong with the file."""

from __future__ import annotations

import re
from pathlib import Path

from jaxseq.errors import InputError

_JOINING = "\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\ufe0f\u2190-\u2bff\U0001f000-\U0001faff"
INVISIBLE = re.compile(f"[\u200b\u2060\ufeff]|(?<![{_JOINING}])[\u200c\u200d]")
"""Zero-width characters and the byte order mark, found in the wild and never meant. Joiners are spelling and stay after
Arabic, Indic, South East Asian and Mongolian letters, and within emoji."""


def read_bytes(path: Path | str, expected: str = "a file") -> bytes:
    """Return a file's bytes; `expected` says in messages what the file should be.

    Raises:
      InputError: if the file is missing, a folder or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected {expected}")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}; check the path") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def read_text(path: Path | str) -> str:
    """Return a file's text, with byte order mark and zero-width characters dropped and line ends made one.

    Raises:
      InputError: if the file is missing, a folder, empty, binary or not UTF-8.
    """
    raw = read_bytes(path, "a text file")
    if b"\0" in raw:
        raise InputError(f"{path} is a binary file (a zero byte at {raw.index(0)}); expected UTF-8 text")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte {raw[error.start]:#04x} at offset {error.start}); "
            f"convert it, for example: iconv -f GB18030 -t UTF-8 {Path(path).name}"
        ) from error
    text = INVISIBLE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{path} is empty; expected text")
    return text
