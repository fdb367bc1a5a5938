"""Lines of text translated as they come: in order, in bounded memory, each line's sentences apart and joined again.

A blank line stays blank. A line that cannot be translated, being too long, is reported, and the rest goes on.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from jaxseq.apps import sentences
from jaxseq.apps.reading import STANDARD_INPUT, as_they_come, decoded, name_of
from jaxseq.apps.translate.decoding import USUAL, Decoding
from jaxseq.apps.translate.model import BATCHES, Translation, Translator, shortened

WINDOW = 10 * BATCHES[-1]
"""Lines that are read, translated and written at a time: enough to fill batches of several lengths."""
WAIT = 0.05
"""Seconds to wait for another line of a stream before those at hand are translated."""


class Line(NamedTuple):
    """One line: its number from 1, the text, its translation, or the problem that prevented it.

    Both `translation` and `problem` are empty for a blank line.
    """

    number: int
    text: str
    translation: Translation | None
    problem: str = ""


def translate_lines(
    translator: Translator,
    windows: Iterable[Sequence[str]],
    decoding: Decoding = USUAL,
    *,
    prefix: str = "",
    split: bool = True,
) -> Iterator[list[Line]]:
    """Yield the translations of each window of lines, in the order of the lines.

    Args:
      translator: of sentences.
      windows: lists of lines, such as `windows_of` makes.
      decoding: beam search by default.
      prefix: target text that the translation of every line begins with.
      split: translate the sentences of a line apart; else a line is one sentence.

    Raises:
      InputError: as `Translator.translate`, apart from lines that are too long.
    """
    numbers, batch = itertools.count(1), None
    for window in windows:
        if len(window) == WINDOW:  # a long text: batches are filled up, so that each length has one program
            batch = BATCHES[-1]
        yield _translated(translator, [(next(numbers), text) for text in window], decoding, prefix, split, batch)


def _translated(
    translator: Translator,
    lines: Sequence[tuple[int, str]],
    decoding: Decoding,
    prefix: str,
    split: bool,
    batch: int | None,
) -> list[Line]:
    prepared, problems = [], []
    for _, text in lines:
        cut = [translator.source.sentence(one) for one in (sentences.split(text) if split else [text])]
        cut = [one for one in cut if one.tokens]
        why = [f"{shortened(one.written)} {translator.unfit(one)}" for one in cut if translator.unfit(one)]
        prepared.append([] if why else cut)
        problems.append(why[0] if why else "")
    done: dict[tuple[int, int], Translation] = {}
    # a prefix begins a line, and so its first sentence
    for begun, first in ((prefix, True), ("", False)):
        places = [(n, m) for n, cut in enumerate(prepared) for m in range(len(cut)) if not prefix or (m == 0) == first]
        if places and (first or prefix):
            given = [prepared[n][m] for n, m in places]
            translated = translator.translate_prepared(given, decoding, prefix=begun, batch=batch)
            done |= dict(zip(places, translated, strict=True))
    return [
        Line(number, text, joined(text, [done[n, m] for m in range(len(cut))], translator.config.target), problem)
        for n, ((number, text), cut, problem) in enumerate(zip(lines, prepared, problems, strict=True))
    ]


def joined(text: str, parts: Sequence[Translation], language: str) -> Translation | None:
    """Return the translations of the sentences of a line as one; None without any.

    Tokens follow each other, attention maps stand along the diagonal of one, scores are summed. Of several translations
    of each sentence, those of the line are the best of all combinations.
    """
    if len(parts) < 2:
        return parts[0]._replace(source=text) if parts else None
    whole = list(_ranked(parts[0]))
    for part in parts[1:]:
        pairs = ((a, b) for a in whole for b in _ranked(part))
        count = max(len(whole), 1 + len(part.others))
        whole = sorted((_pair(a, b, language) for a, b in pairs), key=lambda one: -one.score)[:count]
    return whole[0]._replace(source=text, others=[one._replace(source=text) for one in whole[1:]])


def _ranked(translation: Translation) -> Iterator[Translation]:
    yield translation._replace(others=())
    yield from translation.others


def _pair(a: Translation, b: Translation, language: str) -> Translation:
    """Return two translations as one."""
    weights = np.zeros(np.add(a.weights.shape, b.weights.shape), a.weights.dtype)
    weights[: len(a.weights), : a.weights.shape[1]] = a.weights
    weights[len(a.weights) :, a.weights.shape[1] :] = b.weights
    return Translation(
        source="",
        text=sentences.join([a.text, b.text], language),
        source_tokens=[*a.source_tokens, *b.source_tokens],
        target_tokens=[*a.target_tokens, *b.target_tokens],
        weights=weights,
        log_prob=a.log_prob + b.log_prob,
        unknown=list(dict.fromkeys([*a.unknown, *b.unknown])),
        score=a.score + b.score,
    )


def windows_of(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield lines in lists of `WINDOW`, the last one shorter."""
    lines = iter(lines)
    while window := list(itertools.islice(lines, WINDOW)):
        yield window


def windows_as_they_come(stream: IO[Any]) -> Iterator[list[str]]:
    """Yield the lines of a stream, up to `WINDOW` at a time: those that are there when no other comes at once.

    So a program that sends a line and waits gets its translation, and a long text is translated in full batches.

    Raises:
      InputError: as `reading.decoded`.
    """
    # a thread reads: a blocking read cannot be given up in another way on every platform
    waiting: queue.Queue[Any] = queue.Queue(2 * WINDOW)

    def read() -> None:
        try:
            for line in decoded(as_they_come(stream), name_of(STANDARD_INPUT)):
                waiting.put(line)
            waiting.put(None)
        except BaseException as error:  # raised again where the lines are used
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    over = False
    while not over:
        window, item = [], waiting.get()
        while isinstance(item, str):
            window.append(item)
            if len(window) == WINDOW:
                break
            try:
                item = waiting.get(timeout=WAIT)
            except queue.Empty:
                break
        if window:
            yield window
        if isinstance(item, BaseException):
            raise item
        over = item is None
