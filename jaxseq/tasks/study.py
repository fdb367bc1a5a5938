"""What the commands study and inspect look at: a run's model on texts or rows, or a small model trained here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import datasets, run_folder, series, text
from jaxseq.attention import ATTENTIONS, Attention, AttentionCarry
from jaxseq.cells import CELLS, Cell
from jaxseq.errors import InputError, choose
from jaxseq.files import write_atomic
from jaxseq.seq2seq import Encoded
from jaxseq.study import compare, outputs
from jaxseq.study.attention import decompose
from jaxseq.study.collect import collect
from jaxseq.study.inspect import render
from jaxseq.study.part import Part
from jaxseq.study.replay import log_spaced
from jaxseq.study.report import page
from jaxseq.study.tasks import TASKS, Task
from jaxseq.tasks import forecast as forecasting
from jaxseq.tasks import translate as translation
from jaxseq.tasks import translator
from jaxseq.tasks.cells import find_cell, is_code, output_size
from jaxseq.tasks.report import Shown
from jaxseq.text import EOS, PAD, SOS
from jaxseq.unroll import trace

SIZES: dict[str, dict[str, int]] = {
    "copy": {"lag": 30, "length": 2, "symbols": 4},
    "reverse": {"length": 6, "symbols": 4},
    "adding": {"length": 20},
    "anbn": {"largest": 10},
    "warped": {"length": 24, "longest": 3, "symbols": 4},
}
"""The sizes at which a task is small enough to be learnt while a person waits."""

STEPS = 1500
"""Train steps of a small model."""

LEARNING_RATE = 1e-2
"""Of Adam."""

BESIDE = ("lstm", "gru", "rnn")
"""What a cell is set beside."""


def study(
    run: Path | None,
    out: Path,
    *,
    lines: Sequence[str] = (),
    rows: str | None = None,
    cell: str | None = None,
    task: str | None = None,
    steps: int = STEPS,
    hidden: int = 32,
    seed: int = 0,
    full: bool = False,
) -> Shown:
    """Write the page of a run, or of a small model trained for it.

    Raises:
      InputError: if there is nothing to study, or a check of the page fails: then nothing is written.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file with -o, such as {out / 'report.html'}")
    options: dict[str, Any] = {
        "lines": lines,
        "rows": rows,
        "cell": cell,
        "task": task,
        "steps": steps,
        "hidden": hidden,
        "seed": seed,
    }
    data = gathered(run, **options)
    made = page(data, full=full)
    write_atomic(out, made)
    left = json.loads(made.partition('id="data">')[2].partition("</script>")[0])["thinned"]
    notes = [f"left out to keep the page below 2 MB: {', '.join(left)}; --full keeps all"] if left else []
    size = len(made.encode())
    facts = {"out": str(out), "bytes": size, "left_out": left, "checks": data["checks"], "hash": data["about"]["hash"]}
    checks = f"{len(data['checks'])} checks hold"
    text = f"wrote {out}: {size / 1e6:.2f} MB, {checks}; open it in a browser, it needs no network"
    return Shown(facts, text, [*data["notes"], *notes])


def inspect(run: Path | None, **options: Any) -> Shown:
    """Show the same numbers in the terminal."""
    data = gathered(run, **options)
    facts = {"parts": [_facts(part) for part in data["parts"]], "checks": data["checks"], "about": data["about"]}
    return Shown(facts, render(data), data["notes"])


def _facts(part: dict[str, Any]) -> dict[str, Any]:
    saturation = {
        g: {side: float(np.mean(s[side])) for side in ("closed", "open")} for g, s in part["saturation"].items()
    }
    half = part["half"] and {name: np.asarray(part["half"][name]).tolist() for name in ("life", "censored", "mean")}
    return {name: part[name] for name in ("name", "cell", "H", "lengths", "keep")} | {
        "half_life": half,
        "saturation": saturation,
    }


def gathered(
    run: Path | None,
    *,
    lines: Sequence[str] = (),
    rows: str | None = None,
    cell: str | None = None,
    task: str | None = None,
    steps: int = STEPS,
    hidden: int = 32,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what `collect` gathers of a run, or of small models trained for the task."""
    notes: list[str] = []
    if run is None:
        if lines or rows is not None:
            raise InputError("study: --text and --rows are for a run; name its folder")
        name, asked = cell or "lstm", task or "copy"
        parts, scores = trained(name, asked, steps=steps, hidden=hidden, seed=seed)
        others = ", ".join(part.name for part in parts)
        about = f"{_task(asked).name}: {others}, as many parameters each, {steps} steps, seed {seed}"
        command = f"jaxseq study --cell {name} --task {asked} --steps {steps} --hidden {hidden} --seed {seed}"
        title = f"{name} on {asked}"
        data = collect(parts, title=title, subtitle=about, command=command, seed=seed, scores=scores)
        return {**data, "notes": notes}
    if task is not None:
        raise InputError(f"study: {run} is a run with its own data; leave out --task, or the run")
    kind = kind_of(run)
    if kind == translation.KIND:
        if rows is not None:
            raise InputError(f"study: {run} is a translator, which reads --text; --rows are a series'")
        parts, subtitle, notes = of_translator(run, lines, cell)
    else:
        if lines:
            raise InputError(f"study: {run} is a forecast, which reads --rows of its series; --text is a translator's")
        parts, subtitle = of_forecast(run, rows, cell)
    command = shlex.join(
        ["jaxseq", "study", str(run), *(["--text", *lines] if lines else []), *(["--rows", rows] if rows else [])]
    )
    data = collect(parts, title=str(run), subtitle=subtitle, command=command)
    return {**data, "notes": notes}


def kind_of(run: Path) -> str:
    """Return what kind of run a folder is.

    Raises:
      InputError: if it is none, or one that cannot be studied.
    """
    file = run / run_folder.CONFIG
    try:
        kind = json.loads(file.read_text(encoding="utf-8"))["kind"]
    except OSError as error:
        raise InputError(
            f"{run} is not a run: cannot read {file} ({error.strerror}); give a folder that a training wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged ({error!r}); restore it from a copy, or train again") from error
    if kind not in (translation.KIND, forecasting.KIND):
        raise InputError(f"{run} is a {kind} run, which cannot be studied; give a translator's or a forecast's")
    return kind


def _task(name: str) -> Task:
    return choose("task", name, TASKS)(**SIZES[name])


def trained(
    name: str, task_name: str, *, steps: int, hidden: int, seed: int
) -> tuple[list[Part], list[tuple[float, float | None]]]:
    """Train a cell and those it is set beside on a task; return them reading three new sequences, and their scores."""
    task, first = _task(task_name), find_cell(name)
    output_size(first, task.input_size, hidden)
    beside = {own: CELLS[own] for own in BESIDE if CELLS[own] is not first}
    keep = log_spaced(steps, 12)
    cells: dict[str, Cell] = {name.rpartition(":")[2] if is_code(name) else name: first, **beside}
    found = compare(cells, task, hidden=hidden, steps=steps, seed=(seed,), keep=keep, learning_rate=LEARNING_RATE)
    batch = task.draw(jax.random.fold_in(jax.random.key(seed), 2**31), 3)
    symbols, tokens, counted = task.symbols, bool(task.symbols), int(batch.scored.sum())
    if tokens:
        seen = np.where(np.asarray(batch.xs).any(-1), np.asarray(batch.xs).argmax(-1), -1)
        inputs = [[symbols[n] if n >= 0 else "" for n in row] for row in seen.T]
        words = [*symbols, "$"][: task.output_size]
    else:
        numbers = np.asarray(batch.xs)
        inputs = [[f"{v:.2f}{'*' if mark else ''}" for v, mark in numbers[:, b]] for b in range(3)]
    parts = []
    for own, one in found.items():
        model = jax.tree.map(lambda a: a[0], one.trained.params)
        kept = jax.tree.map(lambda a: a[0], one.trained.kept)
        losses = np.asarray(one.trained.losses[0])
        shown = np.unique(np.geomspace(1, steps, 120).round().astype(int)) - 1
        parts.append(
            Part(
                own, cells[own], model.cell, cells[own].regular(batch.xs), batch.mask, None, inputs, model.read,
                batch.targets if tokens else batch.targets[..., None], batch.scored, words if tokens else (),
                (model.read.W, model.read.b), history=((shown + 1).tolist(), losses[shown].tolist()),
                swaps={s: jnp.eye(task.input_size)[n] for n, s in enumerate(symbols)} if tokens else None,
                snapshots=(keep, kept), reported=counted * float(task.loss(outputs(cells[own], model, batch), batch)),
            )
        )  # fmt: skip
    return parts, [(float(one.scores.loss[0]), float(one.scores.accuracy[0])) for one in found.values()]


def of_forecast(run: Path, rows: str | None, own: str | None = None) -> tuple[list[Part], str]:
    """Return the first network of a forecast, reading the windows before some rows of its series."""
    model = forecasting.load(run, own)
    found = series.read_csv(datasets.find(model.config.data), date=model.config.date, columns=model.names)
    window, lag, T = model.config.window, model.scaler.lag, len(found.values)
    first = lag + window
    chosen = _rows(rows, first, T) if rows is not None else [first, (first + T - 1) // 2, T - 1]
    scaled = model.scaler.forward(found.values)
    inputs, targets = series.windows(scaled, window)  # [window, N, D], and what follows each
    at = [row - first for row in chosen]
    cell = find_cell(model.config.cell)
    params = jax.tree.map(lambda a: a[0], model.params)
    xs = jnp.asarray(inputs[:, at], jnp.float32)
    nexts = jnp.concatenate([xs[1:], jnp.asarray(targets[at], jnp.float32)[None]])
    names = [_name(t) for t in forecasting.times_of(found)]
    labels = [names[row - window : row] for row in chosen]
    scored = jnp.zeros(xs.shape[:2], bool).at[-1].set(True)
    part = Part(
        cell.name, cell, params.cell, cell.regular(xs), None, None, labels, params.head, nexts, scored,
        (), (params.head.W, params.head.b), history=_history(run),
    )  # fmt: skip
    others = f"the first of {model.config.seeds} networks, before {', '.join(names[row] for row in chosen)}"
    said = f"forecast of {', '.join(model.names)} ({model.config.data}), scaled as the network sees it: {others}"
    return [part], said


def _name(time: Any) -> str:
    return time.date().isoformat() if hasattr(time, "date") else str(time)


def _rows(rows: str, first: int, end: int, most: int = 8) -> list[int]:
    """Return the rows that ``"100"``, ``"100,120"`` or ``"100:104"`` name."""
    try:
        low, colon, high = rows.partition(":")
        chosen = list(range(int(low), int(high))) if colon else [int(one) for one in rows.split(",")]
    except ValueError:
        raise InputError(
            f"--rows is a number, several with commas, or first:end, such as 100:104; got {rows!r}"
        ) from None
    if not chosen or len(chosen) > most:
        raise InputError(f"--rows names {len(chosen)} rows; give 1 to {most}")
    if wrong := [row for row in chosen if not first <= row < end]:
        raise InputError(
            f"--rows: row {wrong[0]} cannot be studied; there are rows 0 to {end - 1}, and the first {first} have no "
            "whole window before them"
        )
    return chosen


def _history(run: Path) -> tuple[list[int], list[float]]:
    reports = run_folder.metrics(run)
    return [r.step for r in reports], [r.loss for r in reports]


def of_translator(run: Path, lines: Sequence[str], own: str | None = None) -> tuple[list[Part], str, list[str]]:
    """Return encoder and decoder of a translator as they work on some sentences: those given, or of its own data."""
    model = translator.load(run, own)
    config = model.config
    lines = list(lines)[:8] or _sentences(model)
    done = model.translate(lines)
    notes = [f"unknown, read as <unk>: {' '.join(d.unknown)} (in {d.source})" for d in done if d.unknown]
    read = [[*model.source.encode(d.source_tokens[:-1]), EOS] for d in done]
    source = jnp.asarray(text.pad(read, max(map(len, read))))
    mask = source != PAD
    labels = [d.source_tokens for d in done]
    pairs = "  ".join(f"{d.source} → {d.text}" for d in done)
    subtitle = f"translator {config.source} → {config.target}, {config.cell}, trained on {config.data}: {pairs}"
    if config.model != "translator":
        cell = CELLS["gru"]
        xs = model.params.source[source]
        return (
            [Part("encoder", cell, model.params.encoder, xs, mask, None, labels, history=_history(run))],
            subtitle,
            notes,
        )
    cell, params = find_cell(config.cell), model.params
    xs = params.source[source]
    lengths = mask.sum(0)
    backwards = jnp.where(mask, lengths[None, :] - 1 - jnp.arange(source.shape[0])[:, None].astype(lengths.dtype), 0)
    turned = jnp.take_along_axis(xs, backwards[..., None], 0)
    ahead = Part("encoder", cell, params.encoder[0].forward, xs, mask, None, labels, history=_history(run))
    back = Part(
        "encoder, backwards", cell, params.encoder[0].backward, turned, mask, None, [row[::-1] for row in labels]
    )
    return [_decoder(model, done, source, mask, labels), ahead, back], subtitle, notes


def _decoder(
    model: translator.Translator, done: list[translator.Translation], source: Any, mask: Any, labels: list[list[str]]
) -> Part:
    """Return the decoder, fed with its own translations, each step scored by how sure it was of what it wrote."""
    params, seq, config = model.params, model.model, model.config
    encoded = seq.encode(params, source, mask)
    rows = [model.target.encode(d.target_tokens) for d in done]
    ended = [
        row if not d.target_tokens or d.target_tokens[-1] != text.SPECIALS[EOS] else [*row[:-1], EOS]
        for row, d in zip(rows, done, strict=True)
    ]
    targets = jnp.asarray(text.pad(ended, max(map(len, ended))))
    inputs = jnp.concatenate([jnp.full((1, targets.shape[1]), SOS, targets.dtype), targets[:-1]])
    real = jnp.asarray(np.arange(targets.shape[0])[:, None] < np.array([len(row) for row in ended]))
    ys = seq.embed(params, inputs)
    _, seen = trace(seq.decoder, encoded.params, encoded.carry, ys, real)
    return Part(
        "decoder", seq.decoder, encoded.params, ys, real, encoded.carry,
        [[text.SPECIALS[SOS], *d.target_tokens[:-1]] for d in done], lambda outs: seq.readout(params, outs, ys),
        targets, real, model.target.tokens, None, seq.weights(seen.outs), labels,
        scores=_scores(ATTENTIONS[config.attention], encoded, seen.carries),
    )  # fmt: skip


def _scores(attention: Attention, encoded: Encoded, carries: Any, most: int = 4) -> dict[str, Any] | None:
    """Return the scores of every step and the largest parts of each; None where they are no sums."""
    before = jax.tree.map(lambda first, a: jnp.concatenate([first[None], a[:-1]]), encoded.carry, carries)
    state = before.attention if isinstance(before, AttentionCarry) else ()
    params, memory = encoded.params.attention, encoded.params.memory
    try:
        found = jax.vmap(lambda query, state: decompose(attention, params, memory, query, state))(before.h, state)
    except InputError:
        return None
    terms = np.asarray(found.terms)
    units = np.argsort(-np.abs(terms), axis=-1, kind="stable")[..., :most]
    scores = np.where(np.isfinite(found.scores), found.scores, 0)
    return {"scores": scores, "parts": np.take_along_axis(terms, units, -1), "units": units.astype(np.float32)}


def _sentences(model: translator.Translator) -> list[str]:
    """Return three sentences of the run's own data, of middling length."""
    _, pairs = translator._pairs_for(model.config, None)
    fit = sorted({source for source, _ in pairs}, key=len)
    middle = fit[len(fit) // 2 :] or fit
    return middle[:3]
