"""The page of a study: one HTML file that works without a network, with all numbers inside.

`collect` (in `jaxseq.study.collect`) gathers the content; `page` makes the text of the file. Every float array
is base64 of float32 in a JSON script tag; tokens are text in that JSON and reach the page through textContent alone.
"""

from __future__ import annotations

import base64
import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxseq.colours import colour_maps, png
from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.study.checks import check_all
from jaxseq.study.collect import Study
from jaxseq.study.thin import Thinning, fitted, without
from jaxseq.study.views import ORDER

LIMIT = 2_000_000
"""The most bytes of a page, unless everything is requested."""

SCRIPTS = ("program.js", "draw.js", "state.js", "equations.js", "common.js", "figure.js")
"""Scripts that the views use, in this order before the views' own; page.js follows them."""


def page(data: Study, *, full: bool = False) -> str:
    """Return the page, at most `LIMIT` bytes long unless `full`.

    Things left out to fit are named on the page, and in `Report.left_out`.

    Raises:
      InputError: if an invariant of the numbers fails, and if even the thinnest page is over the limit.
    """
    return _thinned(data, full)[0]


def _thinned(data: Study, full: bool) -> tuple[str, list[str], int]:
    """Return the page, the names of things left out of it, and the bytes that it would have with them."""
    # before any text is made: a page whose numbers contradict each other must not exist
    check_all(data.checks)
    text = _assembled(data, [])
    whole = len(text.encode())
    if full or whole <= LIMIT:
        return text, [], whole
    # sizes are those of the file as it is written
    made = lambda parts, left: _assembled(data._replace(parts=parts), left)  # noqa: E731
    left = fitted(data.parts, lambda parts, left: len(made(parts, left).encode()) <= LIMIT)
    text = made(without(data.parts, left), left)
    if (size := len(text.encode())) > LIMIT:
        raise InputError(
            f"study: the page is {size / 1e6:.1f} MB, over the limit of {LIMIT / 1e6:g} MB even with {len(left)} "
            "things left out; study fewer or shorter sequences, or keep all with --full"
        )
    words = texts()["en"]
    return text, [words[f"thin.{one.kind}"].replace("{0}", one.of) for one in left], whole


class Report:
    """A study as a page: `text` is the page, `save` writes it, and a notebook shows it.

    `left_out` names the things left out to keep it at `LIMIT` bytes; `whole` is the bytes that it has with them.

    Example:
      >>> import jax
      >>> from jaxseq.cells import gru
      >>> from jaxseq.study.collect import collect
      >>> from jaxseq.study.part import Part
      >>> params, xs = gru.init(jax.random.key(0), 3, 5), jax.random.normal(jax.random.key(1), (7, 2, 3))
      >>> found = Report(collect([Part("mine", gru, params, xs)], title="my GRU"))
      >>> len(found.text) < LIMIT, found.data.parts[0].keep.gate
      (True, 'z')
    """

    def __init__(self, data: Study, *, full: bool = False) -> None:
        self.data = data
        self.text, self.left_out, self.whole = _thinned(data, full)

    def save(self, path: Path | str) -> None:
        """Write the page atomically."""
        write_atomic(path, self.text)

    def _repr_html_(self) -> str:
        """Return the page in a sandboxed frame, which reaches neither the notebook nor the network."""
        title = html.escape(self.data.about["title"], quote=True)
        return (
            f'<iframe title="{title}" sandbox="allow-scripts" style="width:100%;height:48rem;border:0" '
            f'srcdoc="{html.escape(self.text, quote=True)}"></iframe>'
        )


def _assembled(data: Study, left_out: list[Thinning]) -> str:
    words, maps = texts(), colour_maps()
    scripts = [_file(f"page/{name}") for name in SCRIPTS]
    scripts += [f"{{\n{_file(f'views/{name}.js')}}}" for name in ORDER]  # in blocks: their names stay local
    known = {
        "title": html.escape(data.about["title"]),
        "subtitle": html.escape(data.about["subtitle"]),
        "static_note": html.escape(words["en"]["static.how"]),
        "css": _file("page/page.css"),
        "static": static(data, maps),
        "texts": in_script(words),
        "data": in_script(
            {**data._asdict(), "order": ORDER, "maps": maps, "thinned": [[one.kind, one.of] for one in left_out]}
        ),
        "script": "\n".join([*scripts, _file("page/page.js")]),
    }
    first, *rest = _file("page/template.html").split("{{")
    pieces = [first]
    for piece in rest:  # in one pass: a token "{{css}}" in the data is not taken for a place
        name, _, after = piece.partition("}}")
        pieces += [known[name], after]
    return "".join(pieces).encode("utf-8", "replace").decode()  # halves of characters, which a terminal may give


def texts() -> dict[str, dict[str, str]]:
    """Return the page's texts by language and name: those of the page, and those of each view.

    Raises:
      ValueError: if two files have a text of one name.
    """
    found: dict[str, dict[str, str]] = {"en": {}, "zh": {}}
    for file in ("page/texts.json", *(f"views/{name}.json" for name in ORDER)):
        for name, both in json.loads(_file(file)).items():
            if name in found["en"]:
                raise ValueError(f"{file}: the text {name!r} is in another file as well")
            for language, text in zip(found, both, strict=True):
                found[language][name] = text
    return found


def _file(name: str) -> str:
    return resources.files("jaxseq.study").joinpath(*name.split("/")).read_text(encoding="utf-8")


def in_script(value: Any) -> str:
    r"""Return JSON that is safe in a script tag: nothing in it closes the tag or opens a comment.

    Example:
      >>> in_script({"word": "</script><!--"})
      '{"word":"\\u003c/script>\\u003c!--"}'
    """
    # allow_nan=False: NaN is not JSON, and `encoded` has replaced it
    text = json.dumps(encoded(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # U+2028 and U+2029 end a line in older JavaScript, though JSON allows them in strings
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def encoded(value: Any) -> Any:
    """Return a tree with each float array as ``{"shape": [...], "f4": base64}`` and each other array as lists.

    A NamedTuple is a dict of its fields.
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): encoded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(inner) for inner in value]
    if hasattr(value, "shape") and getattr(value, "ndim", 0) > 0:
        array = np.asarray(value)
        if array.dtype.kind != "f":
            return array.tolist()
        # little-endian float32, which the page reads as a Float32Array; base64 is a third of the decimal text
        raw = np.ascontiguousarray(array, "<f4").tobytes()
        return {"shape": list(array.shape), "f4": base64.b64encode(raw).decode()}
    if hasattr(value, "item"):
        return encoded(np.asarray(value).item())
    # JSON has no NaN
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def static(data: Study, maps: dict[str, list[str]]) -> str:
    """Return an SVG for readers with scripts off: the gates of the first sequence, and half-lives."""
    part, half = data.parts[0], data.parts[0].views.get("half")
    panels: list[str] = []
    y, wide, tall = 0, 700, 110
    T = part.lengths[0]
    for name, values in part.gates.items():
        block = np.asarray(values)[:T, 0, part.order].T
        signed = name in part.signed
        most = max(1.0, float(np.abs(block).max(initial=0)))
        # -most ... most to 0 ... 1, the range of a colour map
        share = (block / most + 1) / 2 if signed else block
        picture = base64.b64encode(png(share, maps["signed" if signed else "gate"])).decode()
        panels.append(
            f'<text x="0" y="{y + 13}">{html.escape(name)}</text><image x="0" y="{y + 18}" width="{wide}" '
            f'height="{tall}" preserveAspectRatio="none" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{picture}"><title>{html.escape(name)}</title></image>'
        )
        y += tall + 28
    if half is not None:
        longest, steps = half.longest, np.nan_to_num(half.life)  # an undefined one has no bar
        life = [longest if half.censored[u] else min(steps[u], longest) for u in part.order]
        bars = "".join(
            f'<rect x="{n * wide / len(life):.1f}" y="{y + 18 + 60 * (1 - one / longest):.1f}" '
            f'width="{max(0.5, wide / len(life) - 1):.1f}" height="{60 * one / longest:.1f}" fill="#0072b2"/>'
            for n, one in enumerate(life)
        )
        panels.append(f'<text x="0" y="{y + 13}">half-life of each unit, 0 to {longest} steps</text>{bars}')
        y += 88
    said = html.escape(f"gates of {part.name} over {T} steps")
    return (
        f'<svg viewBox="0 0 {wide} {max(y, 20)}" width="{wide}" height="{max(y, 20)}" role="img" aria-label="{said}">'
        f"{''.join(panels)}</svg>"
    )
