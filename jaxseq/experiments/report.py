"""Runs experiments, draws their figures, words their verdicts, and writes everything to a folder."""

from __future__ import annotations

import io
import json
import math
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from jaxseq.bench.timing import machine, sentence
from jaxseq.errors import InputError, choose
from jaxseq.experiments import EXPERIMENTS, Experiment, Found
from jaxseq.experiments.base import VERDICTS, judge
from jaxseq.experiments.blocks import BLOCK, stability
from jaxseq.experiments.page import page_of
from jaxseq.files import cannot_write, write_atomic
from jaxseq.inputs import parse_json, read_bytes
from jaxseq.texts import tell

ALL = "all"


class Result(NamedTuple):
    """The results of experiments: `facts` for programs, `text` for readers."""

    facts: Any
    text: str


def experiment(
    name: str, out: Path, *, quick: bool = False, markdown: bool = False, blocks: int = 1, resume: bool = False
) -> Result:
    """Run one experiment, or all, and write the results into the folder `out`.

    The results are ``NAME.json``, the figure ``NAME.png`` and, where cells were trained, a study page ``NAME.html``.
    With several `blocks` each experiment is repeated with other seeds for each block. Figure and page show the first
    block, the JSON file has all blocks, and a table shows how far the verdicts agree. With `resume`, blocks already in
    the folder with equal settings and versions are not run again.

    Raises:
      InputError: if there is no such experiment, `blocks` is below 1, or the folder cannot be written.
    """
    choose("experiment", name, {**EXPERIMENTS, ALL: None})
    if blocks < 1:
        raise InputError(f"experiment: blocks must be at least 1; got {blocks}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # fail now instead of after an hour
    except OSError as error:
        raise cannot_write(out, error) from error
    every = []
    for one in EXPERIMENTS.values() if name == ALL else [EXPERIMENTS[name]]:
        settings = one.quick if quick else one.full
        done = earlier(out / f"{one.name}.json", settings)[:blocks] if resume else []
        for n in range(len(done), blocks):
            done.append(_block(one, settings._replace(first=settings.first + n * BLOCK), out))
            facts = done[0] | {"blocks": done[1:]}  # written after each block: the next may take an hour
            write_atomic(out / f"{one.name}.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        every.append(done[0] | {"blocks": done[1:]})
    summary = [table(every)] if name == ALL else []
    pages = "\n\n".join([*map(page, every), *summary, *([stability(every)] if blocks > 1 else [])])
    tables = "\n\n".join([table(every), *([stability(every)] if blocks > 1 else []), made(every[0])])
    return Result(every if name == ALL else every[0], tables if markdown else pages)


def earlier(path: Path, settings: Any) -> list[dict[str, Any]]:
    """Return the blocks of an earlier run that begins at `settings.first`, with equal settings and versions.

    A file that is missing, damaged, or has other settings or versions yields no blocks.
    """
    try:
        facts = parse_json(read_bytes(path), path)
        blocks = [facts, *facts["blocks"]]
        same = json.loads(json.dumps(settings._asdict())) == facts["settings"]  # tuples are lists in the file
        return blocks if same and facts["machine"]["versions"] == machine()["versions"] else []
    except (InputError, KeyError, TypeError):
        return []


def _block(one: Experiment, settings: Any, out: Path) -> dict[str, Any]:
    """Run one block of seeds and return its facts; the first block also writes figure and page."""
    tell(f"{one.name}: {settings.seeds} seeds from {settings.first} ...")
    begun, busy = time.perf_counter(), time.process_time()
    found = one.run(settings)
    facts = facts_of(one, found, settings, time.perf_counter() - begun, time.process_time() - busy)
    if settings in (one.quick, one.full):
        figure = out / f"{one.name}.png"
        write_atomic(figure, picture(one, found))
        facts["figure"] = str(figure)
        facts["page"] = _page(one, found, facts["verdict"], _command(one, settings == one.quick, out), out)
    tell(f"{one.name}: {facts['verdict']}, {facts['seconds']:.0f} s")
    return facts


def _page(one: Experiment, found: Found, verdict: str, command: str, out: Path) -> str | None:
    """Write the study page of the trained networks, or of the first alone if another fails its checks."""
    for networks in dict.fromkeys((len(found.networks), min(1, len(found.networks)))):
        if networks:
            try:
                studied = page_of(f"{one.name}: {verdict}", one.claim, command, found.networks[:networks])
                studied.save(path := out / f"{one.name}.html")
                return str(path)
            except InputError as error:  # the verdict stands even without a page
                about = f"of all {networks} networks" if networks > 1 else f"of {one.name}"
                tell(f"{one.name}: no study page {about}: {error}")
    return None


def _command(one: Experiment, quick: bool, out: Path) -> str:
    return f"jaxseq experiment {one.name}{' --quick' * quick} --out {out}"


def facts_of(one: Experiment, found: Found, settings: Any, seconds: float, cpu: float) -> dict[str, Any]:
    """Return the facts of a run for JSON, with null for NaN and infinities."""

    def numbers(values: tuple[float, ...]) -> list[float | None]:
        return [v if math.isfinite(v) else None for v in values]

    quick = settings._replace(first=one.quick.first) == one.quick
    rows = []
    for row, (verdict, p) in zip(found.rows, judge(found.rows), strict=True):
        tested = row.tested
        rows.append({
            "what": row.what, "claimed": row.claimed, "measured": row.measured, "values": numbers(row.values),
            "margins": numbers(row.margins), "kind": row.kind, "evidence": row.evidence,
            "tested": None if tested is None else dict(zip(tested._fields, numbers(tested), strict=True)),
            "p": numbers((p,))[0], "verdict": verdict,
        })  # fmt: skip
    return {
        "name": one.name, "claim": one.claim, "source": one.source, "verdict": one.verdict(found), "rows": rows,
        "seeds": settings.seeds, "first": settings.first, "quick": quick,
        "settings": settings._asdict(), "seconds": seconds, "cpu": cpu, "scale": one.scale, "look": one.look,
        "figure": None, "page": None, "machine": machine(),
    }  # fmt: skip


def page(facts: dict[str, Any]) -> str:
    """Return a run as text: claim, source, table, verdict, and where to look further."""
    rows = [("quantity", "claimed", "measured", "margin [95% interval], effect", "p (Holm)", "verdict")]
    rows += [
        (row["what"], row["claimed"], row["measured"], row["evidence"], _p(row["p"]), row["verdict"])
        for row in facts["rows"]
    ]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    size = "quick settings" if facts["quick"] else "full settings"
    return "\n".join([
        f"{facts['name']}: {facts['verdict']}", f"claim:  {facts['claim']}", f"source: {facts['source']}",
        *([f"scale:  {facts['scale']}"] if facts["scale"] else []), "", *lines, "",
        f"{facts['seeds']} seeds from {facts['first']}, mean ± standard deviation; {size}, {facts['seconds']:.0f} s "
        f"({facts['cpu']:.0f} s of a processor)",
        f"figure: {facts['figure']}",
        f"look inside: {facts['page']}" if facts["page"] else f"look inside such a network: {facts['look']}",
    ])  # fmt: skip


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.2g}" if p >= 1e-4 else "<1e-4"


def table(every: list[dict[str, Any]]) -> str:
    """Return the verdicts as a Markdown table."""
    lines = ["| experiment | claim | parts | verdict | seeds | seconds | processor |", "|---" * 7 + "|"]
    for facts in every:
        judged = [row["verdict"] for row in facts["rows"] if row["verdict"]]
        parts = ", ".join(f"{judged.count(v)} {v}" for v in VERDICTS if v in judged)
        took = f"{facts['seconds']:.0f} s | {facts['cpu']:.0f} s"
        named = "; ".join(re.findall(r"(?:^|; )(.*?\d{4})", facts["source"]))  # authors and year of each
        claim = f"{facts['claim']} ({named})"
        lines.append(f"| {facts['name']} | {claim} | {parts} | {facts['verdict']} | {facts['seeds']} | {took} |")
    return "\n".join(lines)


def made(facts: dict[str, Any]) -> str:
    """Return the machine and the versions of a run, in words."""
    settings = "quick" if facts["quick"] else "full"
    return f"{settings} settings; {sentence(facts['machine'], ('jax', 'jaxlib', 'numpy'))}"


def picture(one: Experiment, found: Found) -> bytes:
    """Return the figure as PNG."""
    from matplotlib.figure import Figure  # imported here: slow

    figure = Figure((10, 5), layout="constrained")
    found.draw(figure)
    figure.suptitle(f"{one.name}: {one.verdict(found)}", fontsize="medium")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()
