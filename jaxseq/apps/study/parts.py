"""The studied parts of a run: a translator's decoder and encoder, the network of a tutorial's forecast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._layers import bidirectional
from jaxseq._unroll import trace
from jaxseq.apps import run_folder, series, snapshots, text
from jaxseq.apps.custom import find_cell
from jaxseq.apps.forecast.config import KIND as FORECASTER
from jaxseq.apps.forecast.tutorial import model as forecasting
from jaxseq.apps.forecast.tutorial.config import KIND as FORECAST
from jaxseq.apps.forecast.tutorial.data import read_series, times_of
from jaxseq.apps.text import EOS, PAD, SOS
from jaxseq.apps.translate import model as translator
from jaxseq.apps.translate.config import KIND as TRANSLATION, TranslateConfig
from jaxseq.apps.translate.evaluate import pairs_for
from jaxseq.attention import ATTENTIONS, Attention, AttentionCarry
from jaxseq.cells import gru
from jaxseq.errors import InputError
from jaxseq.losses import mean_squared_error
from jaxseq.notation import Array, Params
from jaxseq.seq2seq import Encoded, FeedingCarry, encoder_cell, reader_of, source_vectors
from jaxseq.study import Batch
from jaxseq.study.attention import decompose
from jaxseq.study.part import Part, check_numbers

MOST = 8
"""The most sequences of a study."""

TOGETHER = 64
"""Sentences of a corpus in a batch."""


class Studied(NamedTuple):
    """The subject of a study.

    Fields:
      parts: the cells as they read some sequences.
      subtitle: the model, its training data and its input, in words.
      notes: remarks for the user.
      scores: ``(loss, accuracy)`` of each part on new data, where they are models for the same problem.
      subtitle_zh: in Chinese.
    """

    parts: list[Part]
    subtitle: str
    notes: Sequence[str] = ()
    scores: Sequence[tuple[float, float]] = ()
    subtitle_zh: str = ""


def application_of(run: Path) -> str:
    """Return the kind of a run: a translator's, a forecaster's, or that of the tutorial's forecasters.

    Raises:
      InputError: if it is not a run, or one that cannot be studied.
    """
    kind = run_folder.kind_of(run)
    if kind not in (TRANSLATION, FORECASTER, FORECAST):
        raise InputError(
            f"{run} is a {kind} run, which cannot be studied; give one that jaxseq train or jaxseq forecast wrote"
        )
    return kind


# --- a translator


def of_translator(
    run: Path, lines: Sequence[str], trusted_cell: str | None = None, *, examples: int | None = None
) -> Studied:
    """Return decoder and encoder of a translator as they process given sentences, or some of its own data.

    Each layer of the encoder is a part, once for each direction. With `examples`, half-lives and saturation are taken
    over this many sentences of its data.

    Raises:
      InputError: if the run cannot be loaded or its parameters are not numbers; for an empty sentence, one that is too
        long, or too many.
    """
    model = translator.load(run, trusted_cell)
    check_numbers(str(run / run_folder.MODEL), model.params)
    if len(lines) > MOST:
        raise InputError(f"--text has {len(lines)} sentences; give 1 to {MOST}")
    done = model.translate(list(lines) or _sentences(run, model))
    notes = [f"unknown, read as <unk>: {' '.join(d.unknown)} (in {d.source})" for d in done if d.unknown]
    read = [[*model.source.vocabulary.encode(d.source_tokens[:-1]), EOS] for d in done]
    source = _padded(read)
    mask = source != PAD
    labels = [d.source_tokens for d in done]
    pairs = "; ".join(f"{d.source} → {d.text}" for d in done)
    config = model.config
    kind = config.cell if config.model == "translator" else config.model
    subtitle = f"translator {config.source} → {config.target}, {kind}, trained on {config.name}: {pairs}"
    kept, more = _snapshots(run, model)
    corpus = [] if examples is None else _corpus(run, model, examples)
    decoder = _decoder(model, done, source, mask, labels)
    encoder = _encoder(model, source, mask, labels, _history(run), [(one, one != PAD) for one, _ in corpus])
    made = [decoder._replace(corpus=[_teacher_forced(model, *pair) for pair in corpus]), *encoder]
    subtitle_zh = f"{config.source} → {config.target} 翻译器，{kind}，用 {config.name} 训练：{pairs}"
    return Studied([part._replace(snapshots=kept) for part in made], subtitle, [*notes, *more], subtitle_zh=subtitle_zh)


REPLAYED = 2_000_000_000
"""Most bytes of snapshots that are replayed."""


def _snapshots(run: Path, model: translator.Translator) -> tuple[tuple[list[int], Any] | None, list[str]]:
    """Return the snapshots of a run, None if there are none or they are too large, and a note if too large."""
    count = len(list((run / snapshots.FOLDER).glob("step-*.safetensors")))
    size = count * sum(a.nbytes for a in jax.tree.leaves(model.params))
    if size > REPLAYED:
        return None, [f"its {count} snapshots are {size / 1e9:.1f} GB, too many to replay; move some of them away"]
    return snapshots.read(run, model.params) if count else None, []


Sources = Sequence[tuple[Array, Array]]
"""Source tokens ``[S, B]`` and their mask, of several batches."""


def _encoder(
    model: translator.Translator,
    source: Array,
    mask: Array,
    labels: list[list[str]],
    history: Any,
    corpus: Sources = (),
) -> list[Part]:
    """Return a part for each layer and direction of the encoder."""
    config, back = model.config, [row[::-1] for row in labels]
    inputs = lambda one, there: (  # noqa: E731
        _layer_inputs(model.params, config, one, there) if config.model == "translator" else [model.params.source[one]]
    )
    theirs = [(inputs(one, there), there) for one, there in corpus]

    def made(params: Params) -> list[Part]:
        if config.model != "translator":
            return [Part("encoder", gru, params.encoder, params.source[source], mask, None, labels, history=history)]
        cell, parts = encoder_cell(find_cell(config.cell), params), []
        for n, (layer, xs) in enumerate(zip(params.encoder, _layer_inputs(params, config, source, mask), strict=True)):
            name = f", layer {n + 1}" if len(params.encoder) > 1 else ""
            parts += [
                Part(f"encoder{name}", cell, layer.forward, xs, mask, None, labels, history=history),
                Part(f"encoder, backwards{name}", cell, layer.backward, _turned(xs, mask), mask, None, back),
            ]
        return parts

    def read(n: int) -> list[Batch]:
        """Return the batches that part n reads."""
        layer, backwards = divmod(n, 2)  # of the tutorial's encoder there is one part
        return [Batch(_turned(xs[layer], there) if backwards else xs[layer], None, there) for xs, there in theirs]

    return [
        part._replace(remade=lambda params, n=n: made(params)[n], corpus=read(n))  # type: ignore[misc]
        for n, part in enumerate(made(model.params))
    ]


def _layer_inputs(params: Params, config: TranslateConfig, source: Array, mask: Array) -> list[Array]:
    """Return the input of each layer of the encoder, ``[S, B, ...]``, as the model itself has it."""
    cell, xs = encoder_cell(find_cell(config.cell), params), source_vectors(params, source)
    inputs = []
    for n, layer in enumerate(params.encoder):
        inputs.append(xs)
        outs = bidirectional(cell, layer, xs, mask=mask)[1]
        xs = outs + xs if config.residual and n else outs
    return inputs


def _turned(xs: Array, mask: Array) -> Array:
    """Return each row backwards, its padding still at the end."""
    # below the end of a row any index will do, since the mask hides it
    steps = jnp.arange(mask.shape[0])[:, None]
    return jnp.take_along_axis(xs, jnp.maximum(mask.sum(0)[None] - 1 - steps, 0)[..., None], 0)


def _corpus(run: Path, model: translator.Translator, examples: int) -> list[tuple[Array, Array]]:
    """Return source and target tokens of this many pairs of the run's own data, spread evenly over it, in batches."""
    pairs = _pairs(run, model)
    # evenly over the corpus, whose parts may differ; unique, where it has fewer pairs
    chosen = [pairs[n] for n in np.unique(np.linspace(0, len(pairs) - 1, min(examples, len(pairs))).astype(int))]
    chosen.sort(key=lambda pair: len(pair[0].tokens))  # rows of one batch are then about as long
    batches = []
    for n in range(0, len(chosen), TOGETHER):
        some = chosen[n : n + TOGETHER]
        source, target = [model.source.numbers(s) for s, _ in some], [model.target.numbers(t) for _, t in some]
        batches.append((_padded(source), _padded(target)))
    return batches


def _padded(rows: list[list[int]]) -> Array:
    return jnp.asarray(text.pad(rows, max(map(len, rows))))


def _teacher_forced(model: translator.Translator, source: Array, targets: Array) -> Batch:
    """Return the decoder's reading of reference translations."""
    encoded = model.model.encode(model.params, source, source != PAD)
    inputs = jnp.concatenate([jnp.full((1, targets.shape[1]), SOS, targets.dtype), targets[:-1]])
    read = model.model.embed(model.params, inputs)
    return Batch(read, encoded.carry, targets != PAD, model.model.reader(encoded))


def _decoder(
    model: translator.Translator, done: list[translator.Translation], source: Array, mask: Array, labels: Any
) -> Part:
    """Return the decoder fed with its own translations; each step is scored by its token's probability."""
    params, seq = model.params, model.model
    rows = [model.target.vocabulary.encode(d.target_tokens) for d in done]
    ended = text.SPECIALS[EOS]
    rows = [[*row[:-1], EOS] if d.target_tokens[-1:] == [ended] else row for row, d in zip(rows, done, strict=True)]
    targets = _padded(rows)
    inputs = jnp.concatenate([jnp.full((1, targets.shape[1]), SOS, targets.dtype), targets[:-1]])
    real = jnp.asarray(np.arange(targets.shape[0])[:, None] < np.array([len(row) for row in rows]))
    words = [[text.SPECIALS[SOS], *d.target_tokens[:-1]] for d in done]

    def made(params: Params) -> Part:
        encoded, ys = seq.encode(params, source, mask), seq.embed(params, inputs)
        return Part(
            "decoder", seq.reader(encoded), params.decoder, ys, real, encoded.carry, words,
            lambda outs: seq.readout(params, outs, ys), targets, real, model.target.vocabulary.tokens,
        )  # fmt: skip

    part, encoded = made(params), seq.encode(params, source, mask)
    _, seen = trace(part.cell, part.params, part.xs, part.carry, mask=real)
    weights = seq.weights(seen.outs)
    places, scores = weights.shape[-1], None
    if model.config.model == "translator":
        attention = reader_of(params.decoder).attention
        scores = _scores(ATTENTIONS[model.config.attention], attention, encoded, seen.carries)
    else:  # the tutorial's looks at places after the source as well
        labels = [[*row, *[text.SPECIALS[PAD]] * (places - len(row))] for row in labels]
    return part._replace(
        weights=weights if places else None, source=labels if places else (), scores=scores,
        reported=-sum(d.log_prob for d in done), remade=made, own=True,
    )  # fmt: skip


def _scores(
    attention: Attention, params: Params, encoded: Encoded, carries: Any, most: int = 4
) -> dict[str, Any] | None:
    """Return the scores of each step and their largest parts; None if scores are not sums."""
    old = jax.tree.map(lambda first, a: jnp.concatenate([first[None], a[:-1]]), encoded.carry, carries)
    before, memory = _of_reader(old), encoded.memory
    memory = memory[0] if type(memory) is tuple else memory  # of each layer; the lowest reads
    state = before.attention if isinstance(before, AttentionCarry) else ()
    try:
        found = jax.vmap(lambda state, h: decompose(attention, params, memory, state, h))(state, before.h)
    except InputError:
        return None
    terms = np.asarray(found.terms)
    units = np.argsort(-np.abs(terms), axis=-1, kind="stable")[..., :most]
    scores = np.where(np.isfinite(found.scores), found.scores, 0)
    return {"scores": scores, "parts": np.take_along_axis(terms, units, -1), "units": units.astype(np.float32)}


def _of_reader(carry: Any) -> Any:
    """Return the carry of the layer that reads, in that of a decoder in layers or with input feeding."""
    while type(carry) is tuple or isinstance(carry, FeedingCarry):
        carry = carry[0]
    return carry


def _sentences(run: Path, model: translator.Translator) -> list[str]:
    """Return three sentences of the run's own data: of a quarter, a half and three quarters of the lengths."""
    pairs = _pairs(run, model)
    fit = sorted({source.written for source, _ in pairs}, key=lambda one: (len(one), one))
    return list(dict.fromkeys(fit[len(fit) * part // 4] for part in (1, 2, 3)))


def _pairs(run: Path, model: translator.Translator) -> Any:
    try:
        return pairs_for(model)[1]
    except InputError as error:
        raise InputError(f"{run}: its own data cannot be read, so give sentences with --text ({error})") from error


# --- a forecast


def of_forecast(
    run: Path, rows: str | None, trusted_cell: str | None = None, *, examples: int | None = None
) -> Studied:
    """Return the first network of a forecast as it reads the windows before some rows of its series.

    With `examples`, half-lives and saturation are taken over this many windows, spread evenly over the series.

    Raises:
      InputError: if the run cannot be loaded or its parameters are not numbers; if a row has no window before it.
    """
    model = forecasting.load(run, trusted_cell)
    check_numbers(str(run / run_folder.MODEL), model.params)
    config = model.config
    found = read_series(config.data, config.date, model.names)
    window, T = config.window, len(found.values)
    # rows that the seasonal difference and the first window take
    first = model.scaler.lag + window
    if first >= T:
        raise InputError(f"{config.data} has {T} rows, and {run} looks back {first}; give the series of its training")
    chosen = _rows(rows, first, T) if rows is not None else sorted({first, (first + T - 1) // 2, T - 1})
    inputs, targets = series.windows(model.scaler.forward(found.values), window)  # [window, N, D], next rows
    at = [row - first for row in chosen]
    cell, params = find_cell(config.cell), jax.tree.map(lambda a: a[0], model.params)
    windows = jnp.asarray(inputs[:, at], jnp.float32)
    # the target of each step is the next row of the window, and of the last the row after it
    nexts = jnp.concatenate([windows[1:], jnp.asarray(targets[at], jnp.float32)[None]])
    reported = len(at) * float(mean_squared_error(forecasting.predict(cell, params, windows), nexts[-1]))
    # unique, where fewer windows are there than asked for
    many = np.unique(np.linspace(0, inputs.shape[1] - 1, min(examples or 1, inputs.shape[1])).astype(int))
    corpus = [Batch(cell.lift(jnp.asarray(inputs[:, many], jnp.float32)))] if examples else []
    names = [time.date().isoformat() if hasattr(time, "date") else str(time) for time in times_of(found)]
    part = Part(
        cell.name, cell, params.cell, cell.lift(windows), inputs=[names[row - window : row] for row in chosen],
        predict=params.head, targets=nexts, scored=jnp.zeros(windows.shape[:2], bool).at[-1].set(True),
        head=(params.head.W, params.head.b), history=_history(run), reported=reported, corpus=corpus,
    )  # fmt: skip
    subtitle = (
        f"forecast of {', '.join(model.names)} ({config.data}), scaled as the network sees it: the first of "
        f"{config.seeds} networks, before {', '.join(names[row] for row in chosen)}"
    )
    subtitle_zh = (
        f"{'、'.join(model.names)}（{config.data}）的预测，数值为网络所见的尺度：{config.seeds} 个网络中的第一个，"
        f"位于 {'、'.join(names[row] for row in chosen)} 之前"
    )
    return Studied([part], subtitle, subtitle_zh=subtitle_zh)


def _rows(rows: str, first: int, end: int) -> list[int]:
    """Return the rows that ``"100"``, ``"100,120"`` or ``"100:104"`` name."""
    try:
        low, colon, high = rows.partition(":")
        chosen = range(int(low), int(high)) if colon else [int(one) for one in rows.split(",")]
    except ValueError:
        raise InputError(
            f"--rows must be a number, several with commas, or first:end, such as 100:104; got {rows!r}"
        ) from None
    if not 1 <= len(chosen) <= MOST:
        raise InputError(f"--rows {rows} names {len(chosen)} rows; give 1 to {MOST}")
    if wrong := [row for row in chosen if not first <= row < end]:
        raise InputError(
            f"--rows: row {wrong[0]} cannot be studied; there are rows 0 to {end - 1}, and the first {first} have no "
            "whole window before them"
        )
    return list(chosen)


def _history(run: Path) -> tuple[list[int], list[float]]:
    reports = run_folder.metrics(run)
    return [r.step for r in reports], [r.loss for r in reports]
