"""Finding an installed font that has the characters of a text, as figures with Chinese need.

The extra `apps` brings a font for Chinese (Noto Sans SC, from the package pylopdf-fonts-zh-cn), so figures show Chinese
on a machine without such a font. Where that is missing too, Chinese can be shown in `pinyin`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

PACKAGES = tuple(f"pylopdf_fonts_{language}" for language in ("zh_cn", "zh_tw", "jp", "ko", "th", "hi", "he", "ar"))
"""Packages on PyPI that contain only Noto fonts of one language, under the SIL Open Font License."""


def font_for(text: str) -> FontProperties | None:
    """Return an installed font that has every character of `text`, preferably the current one.

    Without such a font it returns None and warns, once for each script, with the packages to install.

    Example:
      >>> font_for("plain").get_name()
      'DejaVu Sans'
    """
    needed = codes(text)
    file = default_font() if needed <= characters(default_font()) else None
    file = file or next((font.fname for font in _fonts_with(needed)), None)
    if file is None:
        _warn({_script(code) for code in needed - characters(default_font())})
        return None
    return FontProperties(fname=file)


def chinese_fonts() -> list[str]:
    """Return the names of installed fonts that have common Chinese characters."""
    return sorted({font.name for font in _fonts_with(codes("我你他的是不了人在有"))})


def pinyin(text: str) -> str | None:
    """Return a text with its Chinese in pinyin, or None where pypinyin is not installed or nothing is Chinese.

    Example:
      >>> pinyin("你好吗")
      'nǐhǎoma'
    """
    if importlib.util.find_spec("pypinyin") is None:
        return None
    from pypinyin import Style, lazy_pinyin  # its dictionaries take a while to read

    said = "".join(lazy_pinyin(text, style=Style.TONE)).translate(_PUNCTUATION)
    return said if said != text else None


_PUNCTUATION = str.maketrans("。，、！？：；（）“”‘’《》", '.,,!?:;()""\'\'""')
"""Chinese punctuation in pinyin."""


def default_font() -> str:
    """Return the file of matplotlib's current font."""
    return str(font_manager.findfont(FontProperties(family=mpl.rcParams["font.family"])))


def _fonts() -> list[font_manager.FontEntry]:
    """Return installed fonts, upright and regular first, except those that draw a box for every character."""
    real = (f for f in font_manager.fontManager.ttflist if "lastresort" not in f.name.replace(" ", "").lower())
    return sorted(real, key=lambda f: (f.style != "normal", str(f.weight) not in ("400", "normal"), f.name))


def _fonts_with(needed: frozenset[int]) -> Iterator[font_manager.FontEntry]:
    """Yield the fonts that have all these characters."""
    found = False
    for notice in (lambda: None, _notice_packaged_fonts, _notice_new_fonts):  # slowest to read, so last
        notice()
        for font in _fonts():
            if needed <= characters(font.fname):
                found = True
                yield font
        if found:
            return


@functools.cache  # once in a process
def _notice_packaged_fonts() -> None:
    """Add the fonts of installed `PACKAGES`, which are not system fonts."""
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(file for file in Path(folder).iterdir() if file.suffix in (".ttf", ".otf")):
                with contextlib.suppress(OSError, RuntimeError):  # a broken file is not a font
                    font_manager.fontManager.addfont(path)


@functools.cache  # once in a process
def _notice_new_fonts() -> None:
    """Add fonts installed since matplotlib cached its font list, which it never refreshes."""
    known = {os.path.realpath(font.fname) for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if os.path.realpath(path) not in known:
            with contextlib.suppress(OSError, RuntimeError):  # a broken file is not a font
                font_manager.fontManager.addfont(path)


@functools.cache
def characters(file: str) -> frozenset[int]:
    """Return the code points that a font file has."""
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):  # a font file that cannot be read covers nothing
        return frozenset()


def codes(text: str) -> frozenset[int]:
    """Return the code points that need a glyph: spaces and invisible marks do not."""
    return frozenset(ord(c) for c in text if unicodedata.category(c) not in ("Zs", "Cc", "Cf"))


def _script(code: int) -> str:
    """Return CJK for a wide character, else the first word of its name, usually its script: THAI, ARABIC."""
    if unicodedata.east_asian_width(chr(code)) in "WF":
        return "CJK"
    return unicodedata.name(chr(code), "unnamed").split()[0]


_warned: set[str] = set()


def _warn(scripts: set[str]) -> None:
    if scripts <= _warned:
        return
    _warned.update(scripts)
    warnings.warn(
        f"no installed font has these characters ({', '.join(sorted(scripts))}), so words are shown in pinyin or by "
        "numbers. For Chinese install jaxseq[apps], which brings a font (pylopdf-fonts-zh-cn), or fonts-wqy-microhei "
        "(Debian, Ubuntu: apt install fonts-wqy-microhei) or Noto Sans CJK (any system); for another script its Noto "
        "Sans; and draw again",
        stacklevel=2,
    )
