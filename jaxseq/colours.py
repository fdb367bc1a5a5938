"""Colours shared by figures, the study's page and the terminal.

Colour maps have even steps of lightness, so colour-blind readers can read them.
"""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Any

import numpy as np

INKS = ("#0072b2", "#b34700", "#00734f", "#8a3b78", "#6b5d00")
"""Colours of lines and bars, in order: those of the page's light theme."""


@functools.cache
def colour_map(kind: str) -> Any:
    """Return one of `colour_maps` for matplotlib: ``"gate"``, ``"signed"`` or ``"size"``."""
    import matplotlib

    if kind == "gate":
        return matplotlib.colormaps["viridis"]
    return matplotlib.colors.ListedColormap(colour_maps(256)[kind], name=kind)


def colour_maps(count: int = 64) -> dict[str, list[str]]:
    """Return three colour maps as hex colours, each with one meaning everywhere.

    `gate` is viridis, 0 or closed dark, 1 or open yellow. `signed` goes from blue through white to orange, and `size`
    from white to purple; both are made here in OKLab, with linear lightness.

    Reference: Smith & van der Walt 2015 (viridis); Ottosson 2020, "A perceptual color space" (OKLab).
    """
    import matplotlib

    gate = [matplotlib.colors.to_hex(c) for c in matplotlib.colormaps["viridis"](np.linspace(0, 1, count))]
    at = np.linspace(-1, 1, count + 1)
    hue = np.where(at < 0, np.deg2rad(255), np.deg2rad(55))
    lightness, chroma = 0.97 - 0.5 * np.abs(at), 0.14 * np.abs(at) ** 0.8
    signed = [_hex(L, C * np.cos(h), C * np.sin(h)) for L, C, h in zip(lightness, chroma, hue, strict=True)]
    up = np.linspace(0, 1, count)
    size = [_hex(0.97 - 0.6 * v, 0.15 * v**0.7 * np.cos(5.4), 0.15 * v**0.7 * np.sin(5.4)) for v in up]
    return {"gate": gate, "signed": signed, "size": size}


def _hex(L: float, a: float, b: float) -> str:
    """Return the sRGB colour of OKLab coordinates."""
    long, middle, short = (
        (L + p * a + q * b) ** 3
        for p, q in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
    )
    linear = np.array([
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    ]).clip(0, 1)  # fmt: skip
    sRGB = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(v)):02x}" for v in sRGB)


def png(share: np.ndarray, colours: list[str]) -> bytes:
    """Return a PNG of an array ``[rows, columns]``, 0 to 1, in a colour map of hex colours."""
    table = np.array([[int(c[n : n + 2], 16) for n in (1, 3, 5)] for c in colours], np.uint8)
    at = np.clip(np.nan_to_num(share), 0, 1) * (len(table) - 1)
    index = at.round().astype(np.uint8)
    rows, columns = index.shape
    raw = b"".join(b"\0" + row.tobytes() for row in index)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"PLTE", table.tobytes()),
        chunk(b"IDAT", zlib.compress(raw, 9)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
