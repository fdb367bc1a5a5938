"""Split a line of text into sentences, and join sentences into a line, without a model or vocabulary.

A sentence ends at ``。！？`` and similar marks anywhere, and at ``.!?…`` before a space. Marks and closing
quotes that follow belong to it. If a full stop may be part of a word, the text is not split there: two sentences
at once are translated less well, half a sentence not at all.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

ANYWHERE = "。｡！？।॥۔؟።။។"
"""Marks that end a sentence whatever follows: Chinese and Japanese, Indic, Arabic, Ethiopic, Burmese, Khmer."""
CLOSING = "”’」』》〉）】)\\]\"'»"
"""Closing characters that may follow a mark and still belong to the sentence."""
PAIRS = dict(zip("“「『（(《【", "”」』）)》】", strict=True))
"""Quotes and brackets; a sentence does not end between the two of a pair."""
UNSPACED = ("zh", "ja", "th", "lo", "km", "my", "yue", "wuu", "cmn")
"""Languages that put no space between sentences, by their first letters."""
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc gen col capt lt sgt rev hon messrs blvd dept inc co ltd corp hr bzw usw "
    "bsp evtl ggf inkl sog mme mlle sra srta uds dott ing avv".split()
)
"""Words after which a full stop does not end a sentence, in lower case, of five European languages."""
NUMBERED = frozenset(
    "no nos nr art fig vol p pp ch cap sec approx ca jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
"""The same, where a number follows."""

_END = re.compile(rf"[{ANYWHERE}][{ANYWHERE}!?…]*[{CLOSING}]*\s*|[.!?…]+[{CLOSING}]*(?:\s+|$)")
_DOTTED = re.compile(r"([^\W\d]{1,2}\.)+[^\W\d]{1,2}")
"""An abbreviation such as e.g, p.m or z.b, its last full stop being the mark."""
LONGEST_ABBREVIATION = 64
"""Characters before a full stop that are searched: more than any abbreviation has, and few in a long line."""


def split(line: str) -> list[str]:
    """Return the sentences of a line, without the spaces around them; an empty list for a blank line.

    Example:
      >>> split("Dr. Smith paid 3.50. Did he? Yes!"), split("你好！我叫汤姆。你呢")
      (['Dr. Smith paid 3.50.', 'Did he?', 'Yes!'], ['你好！', '我叫汤姆。', '你呢'])
    """
    inside = _inside(line)
    sentences, start = [], 0
    for end in _END.finditer(line):
        last = len(end[0].rstrip()) - 1 + end.start()
        if not inside[last] and _ends(line, start, end):
            sentences.append(line[start : end.end()])
            start = end.end()
    return [sentence.strip() for sentence in (*sentences, line[start:]) if sentence.strip()]


def join(sentences: Sequence[str], language: str) -> str:
    """Return sentences of a language as one line, with a space between them if the language uses one.

    Example:
      >>> join(["Hello!", "I am Tom."], "en"), join(["你好！", "我叫汤姆。"], "zh")
      ('Hello! I am Tom.', '你好！我叫汤姆。')
    """
    return space(language).join(sentence for sentence in sentences if sentence)


def space(language: str) -> str:
    """Return the separator between words or sentences of a language: a space or nothing."""
    return "" if re.split("[-_]", language.lower())[0] in UNSPACED else " "


def _ends(line: str, start: int, end: re.Match[str]) -> bool:
    """Return whether the sentence that begins at `start` ends at a mark."""
    if end.end() == len(line):
        return True
    after = line[end.end()]
    if end[0][0] in ANYWHERE:  # a sentence that begins with speech may go on after it: “你好！”他说。
        return not (line[start] in PAIRS and end[0][-1] in CLOSING)
    if after.islower():  # "Stop!" he said; and so on … until now
        return False
    if not end[0].startswith(".") or end[0].startswith(".."):
        return True
    before = line[max(start, end.start() - LONGEST_ABBREVIATION) : end.start()]
    word = re.sub(r"^\W+", "", "" if before[-1:].isspace() else before.rsplit(maxsplit=1)[-1] if before else "").lower()
    initial = len(word) == 1 and word.isalpha() and word != "i"  # J. Smith; but: so do I.
    ordinal = word.isdecimal() and len(word) <= 2  # am 3. Mai
    if word in NUMBERED and after.isdecimal():
        return False
    return not (initial or ordinal or _DOTTED.fullmatch(word) or word in ABBREVIATIONS)


def _inside(line: str) -> list[bool]:
    """Return for each character whether it is between a quote or bracket and its partner."""
    opened, open_at = [0] * (len(line) + 1), []  # the change in the number of open pairs at each character
    for at, character in enumerate(line):
        if character in PAIRS:
            open_at.append(at)
        elif open_at and character == PAIRS[line[open_at[-1]]]:
            opened[open_at.pop()] += 1
            opened[at] -= 1
    return [around > 0 for around in itertools.accumulate(opened[: len(line)])]
