"""Character classes for regular expressions, without brackets: scripts, combining marks, punctuation."""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Iterable

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters."""
KANA = "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
"""Japanese syllables, with the signs that repeat or lengthen one."""
WITHOUT_SPACES = HAN + KANA + (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ecf\u0edc-\u0eff\u0f40-\u0fff\u1000-\u103f\u104c-\u109f\u1780-\u17df"
    "\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"
)  # fmt: skip
"""Letters of scripts that put no space between words: also Thai, Lao, Tibetan, Burmese and Khmer."""
CJK_MARKS = "，。！？、；：「」『』《》〈〉【】〔〕（）～・"
"""Chinese and Japanese punctuation, which is as wide as a character and has no space around it."""
JOINERS = "\u200c\u200d"
"""Zero-width characters that are part of a word's spelling in some scripts, and of an emoji."""


@functools.cache
def combining() -> str:
    """Return the class of characters that combine with the one before: marks of every script, and `JOINERS`."""
    # the planes that have marks: letters and symbols, and the selectors of variants
    planes = (range(0x300, 0x20000), range(0xE0100, 0xE01F0))
    marks = (n for plane in planes for n in plane if unicodedata.category(chr(n)).startswith("M"))
    return _class([*marks, *map(ord, JOINERS)])


def _class(numbers: Iterable[int]) -> str:
    """Return a class of some characters, those that follow each other as a range."""
    found: list[list[int]] = []
    for n in sorted(numbers):
        if found and n == found[-1][1] + 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    assert not found or found[-1][1] <= sys.maxunicode
    return "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in found)
