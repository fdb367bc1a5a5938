"""Running experiments: figures drawn, verdicts in words, everything written to a folder."""

from __future__ import annotations

import io
import json
import math
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from jaxseq.errors import InputError, choose
from jaxseq.experiments import EXPERIMENTS, Experiment, Found
from jaxseq.experiments.base import VERDICTS
from jaxseq.experiments.page import page_of
from jaxseq.files import cannot_write, write_atomic
from jaxseq.texts import tell

ALL = "all"


class Result(NamedTuple):
    """What the experiments found: `facts` for programs, `text` for people."""

    facts: Any
    text: str


def experiment(name: str, out: Path, *, quick: bool = False, markdown: bool = False) -> Result:
    """Run one experiment, or all, and write what each found into the folder `out`.

    That is ``NAME.json``, the figure ``NAME.png`` and, where cells were trained, a study page ``NAME.html``.

    Raises:
      InputError: if there is no such experiment, or the folder cannot be written.
    """
    choose("experiment", name, {**EXPERIMENTS, ALL: None})
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # found out now, not after an hour
    except OSError as error:
        raise cannot_write(out, error) from error
    every = []
    for one in EXPERIMENTS.values() if name == ALL else [EXPERIMENTS[name]]:
        settings = one.quick if quick else one.full
        tell(f"{one.name}: {settings.seeds} seeds ...")
        begun, busy = time.perf_counter(), time.process_time()
        found = one.run(settings)
        facts = facts_of(one, found, settings, time.perf_counter() - begun, time.process_time() - busy)
        figure = out / f"{one.name}.png"
        write_atomic(figure, picture(one, found))
        facts["figure"] = str(figure)
        facts["page"] = _page(one, found, facts["verdict"], _command(one, quick, out), out)
        write_atomic(out / f"{one.name}.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        tell(f"{one.name}: {facts['verdict']}, {facts['seconds']:.0f} s")
        every.append(facts)
    pages = "\n\n".join([*map(page, every), *([table(every)] if name == ALL else [])])
    return Result(every if name == ALL else every[0], table(every) if markdown else pages)


def _page(one: Experiment, found: Found, verdict: str, command: str, out: Path) -> str | None:
    """Write the study page of the trained networks, or of the first if one of the others fails its checks."""
    for networks in dict.fromkeys((len(found.networks), min(1, len(found.networks)))):
        if networks:
            try:
                studied = page_of(f"{one.name}: {verdict}", one.claim, command, found.networks[:networks])
                studied.save(path := out / f"{one.name}.html")
                return str(path)
            except InputError as error:  # no reason to lose the verdict
                about = f"of all {networks} networks" if networks > 1 else f"of {one.name}"
                tell(f"{one.name}: no study page {about}: {error}")
    return None


def _command(one: Experiment, quick: bool, out: Path) -> str:
    return f"jaxseq experiment {one.name}{' --quick' * quick} --out {out}"


def facts_of(one: Experiment, found: Found, settings: Any, seconds: float, cpu: float) -> dict[str, Any]:
    """Return all that is known of a run, as JSON has it; what is not a number is null."""

    def numbers(values: tuple[float, ...]) -> list[float | None]:
        return [v if math.isfinite(v) else None for v in values]

    rows = [
        {
            "what": row.what, "claimed": row.claimed, "measured": row.measured, "values": numbers(row.values),
            "margins": numbers(row.margins), "verdict": row.verdict,
        }
        for row in found.rows
    ]  # fmt: skip
    return {
        "name": one.name, "claim": one.claim, "source": one.source, "verdict": found.verdict, "rows": rows,
        "seeds": settings.seeds, "quick": settings == one.quick, "settings": settings._asdict(), "seconds": seconds,
        "cpu": cpu, "look": one.look, "page": None,
    }  # fmt: skip


def page(facts: dict[str, Any]) -> str:
    """Return a run in words: claim, source, table, verdict, and where to look further."""
    rows = [("quantity", "claimed", "measured", "verdict")]
    rows += [(row["what"], row["claimed"], row["measured"], row["verdict"]) for row in facts["rows"]]
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    size = "quick settings" if facts["quick"] else "full settings"
    return "\n".join([
        f"{facts['name']}: {facts['verdict']}", f"claim:  {facts['claim']}", f"source: {facts['source']}", "", *lines,
        "", f"{facts['seeds']} seeds, mean ± standard deviation; {size}, {facts['seconds']:.0f} s "
        f"({facts['cpu']:.0f} s of a processor)",
        f"figure: {facts['figure']}",
        f"look inside: {facts['page']}" if facts["page"] else f"look inside such a network: {facts['look']}",
    ])  # fmt: skip


def table(every: list[dict[str, Any]]) -> str:
    """Return the verdicts as a Markdown table."""
    lines = ["| experiment | claim | parts | verdict | seeds | processor |", "|---|---|---|---|---|---|"]
    for facts in every:
        judged = [row["verdict"] for row in facts["rows"] if row["verdict"]]
        parts = ", ".join(f"{judged.count(v)} {v}" for v in VERDICTS if v in judged)
        took = f"{facts['cpu']:.0f} s" if facts["cpu"] < 90 else f"{facts['cpu'] / 60:.1f} min"
        named = "; ".join(re.findall(r"(?:^|; )(.*?\d{4})", facts["source"]))  # authors and year of each
        claim = f"{facts['claim']} ({named})"
        lines.append(f"| {facts['name']} | {claim} | {parts} | {facts['verdict']} | {facts['seeds']} | {took} |")
    return "\n".join(lines)


def picture(one: Experiment, found: Found) -> bytes:
    """Return the figure as PNG."""
    from matplotlib.figure import Figure  # takes a while to import

    figure = Figure((10, 5), layout="constrained")
    found.draw(figure)
    figure.suptitle(f"{one.name}: {found.verdict}", fontsize="medium")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()
