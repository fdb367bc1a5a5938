"""Translate lines of text as they come: in order, in bounded memory, sentence by sentence within a line.

A blank line stays blank. A line that is too long is reported, and the others are translated.
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
from jaxseq.apps.translate.batches import BATCHES, size_for
from jaxseq.apps.translate.decoding import USUAL, Decoding
from jaxseq.apps.translate.model import Translation, Translator
from jaxseq.apps.translate.preparation import Sentence
from jaxseq.errors import quoted

WINDOW = 10 * BATCHES[-1]
"""Lines that are read, translated and written at a time: enough to fill batches of several lengths."""
WAIT = 0.05
"""Seconds to wait for another line of a stream before translating those at hand."""


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
      split: translate the sentences of a line one by one; else a line is one sentence.

    Raises:
      InputError: as `Translator.translate`, apart from lines that are too long.
    """
    numbers, batch = itertools.count(1), 1
    for window in windows:
        cuts = [_cut(translator, text, split) for text in window]
        # one size for all lengths, which only grows: each length has one program, or a few where lines come slowly
        batch = max(batch, size_for(sum(len(cut) for cut, _ in cuts)))
        yield _translated(translator, [(next(numbers), text) for text in window], cuts, decoding, prefix, batch)


def _cut(translator: Translator, text: str, split: bool) -> tuple[list[Sentence], str]:
    """Return the sentences of a line, or none and the problem with one of them."""
    cut = [translator.source.sentence(one) for one in (sentences.split(text) if split else [text])]
    # a piece without tokens, such as one of zero-width characters, is dropped
    cut = [one for one in cut if one.tokens]
    why = [f"{quoted(one.written)} {translator.unfit(one)}" for one in cut if translator.unfit(one)]
    return ([], why[0]) if why else (cut, "")


def _translated(
    translator: Translator,
    lines: Sequence[tuple[int, str]],
    cuts: Sequence[tuple[list[Sentence], str]],
    decoding: Decoding,
    prefix: str,
    batch: int,
) -> list[Line]:
    prepared = [cut for cut, _ in cuts]
    done: dict[tuple[int, int], Translation] = {}
    # a prefix begins the line, and so only its first sentence
    for begun, first in ((prefix, True), ("", False)):
        places = [(n, m) for n, cut in enumerate(prepared) for m in range(len(cut)) if not prefix or (m == 0) == first]
        if places and (first or prefix):
            given = [prepared[n][m] for n, m in places]
            translated = translator.translate_prepared(given, decoding, prefix=begun, batch=batch)
            done |= dict(zip(places, translated, strict=True))
    return [
        Line(number, text, joined(text, [done[n, m] for m in range(len(cut))], translator.config.target), problem)
        for n, ((number, text), (cut, problem)) in enumerate(zip(lines, cuts, strict=True))
    ]


def joined(text: str, parts: Sequence[Translation], language: str) -> Translation | None:
    """Join the translations of a line's sentences into one; None if there are none.

    Tokens are joined, attention maps become blocks on a diagonal, scores are summed. With several translations of
    each sentence, those of the line are the best combinations.
    """
    # with its own attention map; only the source is the line as it was given
    if len(parts) < 2:
        return parts[0]._replace(source=text) if parts else None
    whole = list(_ranked(parts[0]))
    for part in parts[1:]:
        pairs = ((a, b) for a in whole for b in _ranked(part))
        # combinations multiply with each sentence, so only the best are kept each time
        count = max(len(whole), 1 + len(part.others))
        whole = sorted((_pair(a, b, language) for a, b in pairs), key=lambda one: -one.score)[:count]
    return whole[0]._replace(source=text, others=[one._replace(source=text) for one in whole[1:]])


def _ranked(translation: Translation) -> Iterator[Translation]:
    yield translation._replace(others=())
    yield from translation.others


def _pair(a: Translation, b: Translation, language: str) -> Translation:
    """Return two translations as one."""
    weights = np.zeros(np.add(a.weights.shape, b.weights.shape), a.weights.dtype)
    # blocks on the diagonal: neither sentence attends to the other
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
    """Yield the lines of a stream, up to `WINDOW` at a time, fewer when no other line arrives at once.

    So a program that sends a line and waits gets its translation, and a long text is translated in full batches.

    Raises:
      InputError: as `reading.decoded`.
    """
    # a thread reads: no other way to abandon a blocking read works on every platform
    # bounded: input that comes faster than it is translated waits in the pipe
    waiting: queue.Queue[Any] = queue.Queue(2 * WINDOW)
    source = _reopened(stream)

    def read() -> None:
        try:
            for line in decoded(as_they_come(source), name_of(STANDARD_INPUT)):
                waiting.put(line)
            waiting.put(None)
        except BaseException as error:  # raised again where the lines are used
            waiting.put(error)

    # a daemon: a read that is blocked must not keep the process alive
    threading.Thread(target=read, daemon=True).start()
    over = False
    while not over:
        # waits as long as it takes for the first line of a window, and `WAIT` seconds for each other
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


def _reopened(stream: IO[Any]) -> IO[Any]:
    """Return a separate file object for a stream that is a file, else the stream.

    At its end, as after Ctrl-C, Python closes sys.stdin, and aborts if a thread is still reading from it.
    """
    try:
        return open(stream.fileno(), "rb", closefd=False)
    except (AttributeError, OSError):  # such as text in memory
        return stream
