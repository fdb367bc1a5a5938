"""Normalisation of text before it is cut into tokens.

`fold` keeps spelling, case and spaces, and gives characters that look alike one form. `plain` returns the text by
which sentences are compared, in lower case, with spaces around punctuation. `tutorial` is the PyTorch tutorial's rule.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from jaxseq.apps.text.scripts import CJK_MARKS, HAN, JOINERS, KANA

_PUNCTUATION = re.compile(r"\s*((?<!\d)[.,:]|[.,:](?!\d)|[!?;\"()。！？，、；：“”（）…])\s*")
# NFKC of a whole text would also turn ² into 2 and ™ into TM
_SHAPES = re.compile(
    "[\ufb00-\ufb06\ufb1d-\ufdff\ufe70-\ufefc\uff02-\uff07\uff0a\uff0b\uff0d-\uff19\uff1c-\uff1e\uff20-\uff5d\uff5f-\uffef]+"
)
"""Presentation forms of other characters: ligatures, Arabic by position, full-width and half-width."""
_APOSTROPHE = re.compile(r"(?<=\w)[’ʼ](?=\w)")
_FULL_WIDTH = str.maketrans("!?,;:.", "！？，；：。")
_CHINESE = re.compile("zh|cmn|yue|wuu", re.IGNORECASE)
_JAPANESE = re.compile("ja", re.IGNORECASE)
_WIDE = f"{HAN}{KANA}{CJK_MARKS}"
_BY_WIDE = re.compile(f"(?<=[{_WIDE}]) | (?=[{_WIDE}])")
_BEFORE_WIDE = f"{HAN}”’」』》）"
_NO_NAME = r"(?![.a-zA-Z0-9])"  # a full stop that begins an ellipsis, or is inside a name such as 例.com, stays
_NARROW = re.compile(rf"(?<=[{_BEFORE_WIDE}])(?:[!?,;:]+|\.{_NO_NAME})")


def plain(sentence: str) -> str:
    """Return a sentence in lower case (NFKC but for Chinese punctuation), with punctuation set apart by spaces.

    Example:
      >>> plain("I'm  fine, thanks."), plain("我很好。")
      ("i'm fine , thanks .", '我很好 。')
    """
    # NFKC would turn Chinese punctuation into ASCII
    folded = "".join(c if c in "，。！？；：（）…" else unicodedata.normalize("NFKC", c) for c in sentence)
    folded = unicodedata.normalize("NFC", folded.replace("’", "'").replace("‘", "'")).lower()
    # single spaces first: the expression tries each place of a run of spaces to the run's end
    return " ".join(_PUNCTUATION.sub(r" \1 ", " ".join(folded.split())).split())


def tutorial(sentence: str) -> str:
    """Return a sentence as the tutorial has it: lower case, no combining marks, a space before each of ``.!?``.

    Example:
      >>> tutorial(" Où êtes-vous? "), tutorial("我很好。")
      ('ou etes-vous ?', '我很好。')
    """
    decomposed = unicodedata.normalize("NFD", sentence.lower().strip())
    bare = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return re.sub(r"([.!?])", r" \1", bare)


def without_joiners(sentence: str) -> str:
    """Return a sentence without `JOINERS`, which do not distinguish sentences."""
    return re.sub(f"[{JOINERS}]", "", sentence)


NORMALISERS: dict[str, Callable[[str], str]] = {"plain": plain, "tutorial": tutorial}
"""Normalisers by name."""


def fold(sentence: str, language: str = "") -> str:
    """Return a sentence with one form of each character and single spaces; case and spelling stay.

    Composed letters (NFC); ordinary forms of ligatures, of Arabic presentation forms and of full-width or half-width
    characters, apart from Chinese punctuation; a straight apostrophe inside words. In Chinese, ``!?,;:.`` after a
    Chinese character become full-width, and spaces next to Chinese characters are removed, in Japanese too.

    Example:
      >>> fold("It’s  ３ o’clock"), fold("我最帅! 我很好.", "zh")
      ("It's 3 o'clock", '我最帅！我很好。')
    """
    if sentence.isascii():  # nothing below changes ASCII
        return " ".join(sentence.split())
    composed = unicodedata.normalize(
        "NFC", _SHAPES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), sentence)
    )
    folded = _APOSTROPHE.sub("'", " ".join(composed.split()))
    if _CHINESE.match(language):
        # without spaces first: a mark after one would not follow a Chinese character
        folded = widened(_BY_WIDE.sub("", folded), language)
    if _CHINESE.match(language) or _JAPANESE.match(language):
        # in Chinese once more: marks that have become wide may have spaces around them
        folded = _BY_WIDE.sub("", folded)
    return folded


def widened(text: str, language: str) -> str:
    """Return a text with full-width punctuation after Chinese characters, if its language is Chinese.

    Example:
      >>> widened("好!", "zh"), widened("好!", "en")
      ('好！', '好!')
    """
    if not _CHINESE.match(language):
        return text
    return _NARROW.sub(lambda match: match[0].translate(_FULL_WIDTH), text)


def foldings(language: str) -> list[tuple[str, str]]:
    """Return substitutions, pattern and replacement in order, for the common cases of `fold`."""
    found = [(_APOSTROPHE.pattern, "'")]
    if _CHINESE.match(language) or _JAPANESE.match(language):
        found.append((_BY_WIDE.pattern, ""))
    return found + widenings(language)


def widenings(language: str) -> list[tuple[str, str]]:
    """Return the substitutions of `widened` for single marks."""
    if not _CHINESE.match(language):
        return []
    after = rf"(?<=[{_BEFORE_WIDE}])"
    return [(after + re.escape(chr(n)) + _NO_NAME * (n == ord(".")), chr(wide)) for n, wide in _FULL_WIDTH.items()]
