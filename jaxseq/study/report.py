"""The page of a study: one HTML file that works without a network, with all numbers inside.

`collect` (in `jaxseq.study.collect`) gathers what the page shows; `page` makes the text of the file. Every float array
is base64 of float32 in a JSON script tag; tokens are text in that JSON and reach the page through textContent alone.
"""

from __future__ import annotations

import base64
import html
import json
import struct
import zlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.study.collect import colour_maps

LIMIT = 2_000_000
"""Most bytes of a page, unless all is asked for."""

SCRIPTS = ("cell.js", "draw.js", "page.js")


def page(data: dict[str, Any], *, full: bool = False) -> str:
    """Return the page, at most `LIMIT` bytes long unless `full`.

    What was left out to make it so is named in ``data["thinned"]``, and on the page.

    Raises:
      InputError: if an invariant of the numbers fails, and if even the thinnest page is over the limit.
    """
    if broken := [check for check in data["checks"] if not check["ok"]]:
        named = "; ".join(f"{c['id']} ({c['part']}): {c['error']:.3g} is above {c['tolerance']:.3g}" for c in broken)
        raise InputError(f"study: the self-check fails, so no page is written: {named}")
    data = {**data, "maps": colour_maps(), "thinned": []}
    text = _assembled(data)
    for name, thin in () if full else THINNINGS:
        if len(text.encode()) <= LIMIT:
            break
        data["parts"] = [thin(n, part) for n, part in enumerate(data["parts"])]
        data["thinned"].append(name)
        text = _assembled(data)
    size = len(text.encode())
    if size > LIMIT and not full:
        raise InputError(
            f"study: the page is {size / 1e6:.1f} MB, over the limit of {LIMIT / 1e6:g} MB even with {len(THINNINGS)} "
            "things left out; study fewer or shorter sequences, or keep all with --full"
        )
    return text


class Report:
    """A study as a page: `text` is the page, `save` writes it, and a notebook shows it.

    Example:
      >>> import jax
      >>> from jaxseq.cells import gru
      >>> from jaxseq.study.collect import collect
      >>> from jaxseq.study.part import Part
      >>> params, xs = gru.init(jax.random.key(0), 3, 5), jax.random.normal(jax.random.key(1), (7, 2, 3))
      >>> found = Report(collect([Part("mine", gru, params, xs)], title="my GRU"))
      >>> len(found.text) < LIMIT, found.data["parts"][0]["keep"]["gate"]
      (True, 'z')
    """

    def __init__(self, data: dict[str, Any], *, full: bool = False) -> None:
        self.data = data
        self.text = page(data, full=full)

    def save(self, path: Path | str) -> None:
        """Write the page, whole or not at all."""
        write_atomic(path, self.text)

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, which reaches neither the notebook nor the network."""
        title = html.escape(self.data["about"]["title"], quote=True)
        return (
            f'<iframe title="{title}" sandbox="allow-scripts" style="width:100%;height:48rem;border:0" '
            f'srcdoc="{html.escape(self.text, quote=True)}"></iframe>'
        )


def _assembled(data: dict[str, Any]) -> str:
    texts = json.loads(_file("texts.json"))
    known = {
        "title": html.escape(data["about"]["title"]),
        "subtitle": html.escape(data["about"]["subtitle"]),
        "static_note": html.escape(texts["en"]["timelines.how"].partition(" Point ")[0]),
        "css": _file("page.css"),
        "static": static(data),
        "texts": in_script(texts),
        "data": in_script({key: value for key, value in data.items() if key != "notes"}),
        "script": "\n".join(_file(name) for name in SCRIPTS),
    }
    first, *rest = _file("template.html").split("{{")
    pieces = [first]
    for piece in rest:  # in one pass: what is put in is never looked through for places
        name, _, after = piece.partition("}}")
        pieces += [known[name], after]
    return "".join(pieces).encode("utf-8", "replace").decode()  # halves of characters, which a terminal may give


def _file(name: str) -> str:
    return resources.files("jaxseq.study").joinpath("page", name).read_text(encoding="utf-8")


def in_script(value: Any) -> str:
    r"""Return JSON that may stand in a script tag: nothing in it closes the tag or opens a comment.

    Example:
      >>> in_script({"word": "</script><!--"})
      '{"word":"\\u003c/script>\\u003c!--"}'
    """
    text = json.dumps(encoded(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def encoded(value: Any) -> Any:
    """Return a tree with each float array as ``{"shape": [...], "f4": base64}`` and each other array as lists."""
    if isinstance(value, dict):
        return {str(key): encoded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(inner) for inner in value]
    if hasattr(value, "shape") and getattr(value, "ndim", 0) > 0:
        array = np.asarray(value)
        if array.dtype.kind != "f":
            return array.tolist()
        raw = np.ascontiguousarray(array, "<f4").tobytes()
        return {"shape": list(array.shape), "f4": base64.b64encode(raw).decode()}
    if hasattr(value, "item"):
        return encoded(np.asarray(value).item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _without_weights(n: int, part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "live": None, "why": "thinned"} if part.get("live") else part


def _others_without_weights(n: int, part: dict[str, Any]) -> dict[str, Any]:
    return _without_weights(n, part) if n else part


def _others_without_extra(n: int, part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "jacobian": None, "atlas": None, "flow": _line_only(part["flow"])} if n else part


def _line_only(flow: dict[str, Any] | None) -> dict[str, Any] | None:
    return {**flow, "triangle": None} if flow else flow


PER_EXAMPLE = ("gates", "carries", "predictions", "losses", "scored", "xs")


def _cut(a: Any, axis: int, keep: Any) -> Any:
    """Return an array with only some places of an axis; of a dict, of each array in it."""
    if isinstance(a, dict):
        return {name: _cut(one, axis, keep) for name, one in a.items()}
    return None if a is None else np.take(np.asarray(a), keep, axis)


def _first_example(n: int, part: dict[str, Any]) -> dict[str, Any]:
    """Return a part with its first example only."""
    cut = {name: _cut(part[name], 1, [0]) for name in PER_EXAMPLE}
    cut["targets"] = _cut(part["targets"], 1, [0])
    cut["start"] = _cut(part["start"], 0, [0])
    if part["top"]:
        cut["top"] = _cut(part["top"], 1, [0])
    if part["flow"]:
        cut["flow"] = {**part["flow"], "norms": _cut(part["flow"]["norms"], 1, [0])}
        cut["flow"]["triangle"] = _cut(part["flow"]["triangle"], 0, [0])
    if part["live"]:
        cut["live"] = {
            **part["live"],
            "wx": _cut(part["live"]["wx"], 1, [0]),
            "start": _cut(part["live"]["start"], 0, [0]),
        }
    if part["attention"]:
        cut["attention"] = {**part["attention"], "weights": _cut(part["attention"]["weights"], 1, [0])}
        cut["attention"]["source"] = part["attention"]["source"][:1]
        for name in ("scores", "parts", "units"):
            cut["attention"].pop(name, None)
    lists = {name: part[name][:1] for name in ("lengths", "inputs") if part[name]}
    return {**part, **cut, **lists, "B": 1}


def _some_units(n: int, part: dict[str, Any], most: int = 64) -> dict[str, Any]:
    """Return a part with 64 units, evenly spread over the order of their half-lives."""
    H = part["H"]
    if most >= H:
        return part
    places = np.unique(np.linspace(0, H - 1, most).round().astype(int))
    keep = np.sort(np.asarray(part["order"])[places])
    number = {int(unit): at for at, unit in enumerate(keep)}
    cut: dict[str, Any] = {name: _cut(part[name], 2, keep) for name in ("gates", "carries")}
    cut["order"] = [number[int(unit)] for unit in part["order"] if int(unit) in number]
    cut["start"] = _cut(part["start"], 1, keep)
    if part["half"]:
        cut["half"] = {
            **part["half"],
            **{name: _cut(part["half"][name], 0, keep) for name in ("life", "censored", "mean")},
        }
    cut["saturation"] = {
        g: {**s, **{name: _cut(s[name], 0, keep) for name in ("closed", "open")}} for g, s in part["saturation"].items()
    }
    if part["atlas"]:
        cut["atlas"] = {**part["atlas"], "change": _cut(part["atlas"]["change"], 2, keep)}
    return {**part, **cut, "H": len(keep), "numbers": keep.tolist()}


def _last_steps(n: int, part: dict[str, Any], most: int = 200) -> dict[str, Any]:
    """Return a part with the last steps only."""
    T = part["T"]
    if most >= T:
        return part
    keep = np.arange(T - most, T)
    cut: dict[str, Any] = {name: _cut(part[name], 0, keep) for name in (*PER_EXAMPLE, "targets")}
    cut["start"] = {leaf: np.asarray(a)[T - most - 1] for leaf, a in part["carries"].items()}
    cut["top"] = _cut(part["top"], 0, keep) if part["top"] else part["top"]
    if part["flow"]:
        cut["flow"] = {**part["flow"], "norms": _cut(part["flow"]["norms"], 0, keep), "triangle": None}
    if part["attention"]:
        cut["attention"] = {**part["attention"], "weights": _cut(part["attention"]["weights"], 0, keep)}
        for name in ("scores", "parts", "units"):
            cut["attention"].pop(name, None)
    lists = {name: [row[-most:] for row in part[name]] for name in ("inputs",) if part[name]}
    return {
        **part,
        **cut,
        **lists,
        "T": most,
        "jacobian": None,
        "lengths": [max(1, n - T + most) for n in part["lengths"]],
    }


THINNINGS = (
    ("others", _others_without_weights),
    ("extra", _others_without_extra),
    ("examples", _first_example),
    ("live", _without_weights),
    ("units", _some_units),
    ("steps", _last_steps),
)
"""What is left out of a page that is too large, one after the other."""


def static(data: dict[str, Any]) -> str:
    """Return what is seen with scripts off, as SVG: the gates of the first sequence, and half-lives."""
    part, maps = data["parts"][0], data["maps"]
    panels: list[str] = []
    y, wide, tall = 0, 700, 110
    T = part["lengths"][0]
    for name, values in part["gates"].items():
        block = np.asarray(values)[:T, 0, part["order"]].T
        block = np.tanh(block) if name == "a" else block
        signed = name in part["signed"]
        share = (block + 1) / 2 if signed else block
        picture = base64.b64encode(png(share, maps["signed" if signed else "gate"])).decode()
        panels.append(
            f'<text x="0" y="{y + 13}">{html.escape(name)}</text><image x="0" y="{y + 18}" width="{wide}" '
            f'height="{tall}" preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{picture}"><title>{html.escape(name)}</title></image>'
        )
        y += tall + 28
    if part["half"]:
        longest = max(part["lengths"])
        life = [
            longest if part["half"]["censored"][u] else min(part["half"]["life"][u], longest) for u in part["order"]
        ]
        bars = "".join(
            f'<rect x="{n * wide / len(life):.1f}" y="{y + 18 + 60 * (1 - one / longest):.1f}" '
            f'width="{max(0.5, wide / len(life) - 1):.1f}" height="{60 * one / longest:.1f}" fill="#0072b2"/>'
            for n, one in enumerate(life)
        )
        panels.append(f'<text x="0" y="{y + 13}">half-life of each unit, 0 to {longest} steps</text>{bars}')
        y += 88
    said = html.escape(f"gates of {part['name']} over {T} steps")
    return (
        f'<svg viewBox="0 0 {wide} {max(y, 20)}" width="{wide}" height="{max(y, 20)}" role="img" aria-label="{said}">'
        f"{''.join(panels)}</svg>"
    )


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
