"""The commands `jaxseq translate`, `score` and `export`: their options and output."""

from __future__ import annotations

import json as encoding
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from jaxseq.apps.reading import read_lines
from jaxseq.apps.shown import Shown, show
from jaxseq.apps.text import SPECIALS
from jaxseq.apps.translate.decoding import USUAL, Decoding
from jaxseq.apps.translate.evaluate import pairs_for
from jaxseq.apps.translate.export import CLIENT, PLATFORMS, README, export as write_export
from jaxseq.apps.translate.lines import Line, translate_lines, windows_as_they_come, windows_of
from jaxseq.apps.translate.model import Translation, Translator, load, together
from jaxseq.apps.translate.pictures import check_pictures, draw_attention, draw_gates
from jaxseq.apps.translate.scoring import score_pairs, total
from jaxseq.errors import InputError, quoted
from jaxseq.texts import out, tell
from jaxseq.train import Interrupted

PROMPT = "> "
EXAMPLE = 'jaxseq translate runs/translate "她在看书。"'
NAMED = 50
"""Unknown words that one message names at most; --json tells those of each line."""


def translate(
    run: Positional[Path],
    text: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    decoding: OmitArgPrefixes[Decoding] = USUAL,
    ensemble: tuple[Path, ...] = (),
    prefix: str = "",
    split: bool = True,
    scores: bool = False,
    attention: Path | None = None,
    gates: Path | None = None,
    cell: str | None = None,
    json: bool = False,
) -> None:
    """Translate sentences: arguments, lines of a file or of standard input, or lines typed at a prompt.

    Each line gives one line, in order; a blank one stays blank. Several sentences in a line are translated apart.

    Example: jaxseq translate runs/translate "她在看书。" --attention map.png

    Example: jaxseq translate runs/translate --file sentences.txt --nbest 3

    Example: jaxseq translate runs/translate --ensemble runs/second runs/third < sentences.txt > translations.txt

    Args:
      run: Run folder of a trained translator.
      text: Sentences.
      file: A text file, one sentence a line; .gz is read as well.
      decoding: Settings.
      ensemble: More runs with the same vocabularies; the mean of all their probabilities is used.
      prefix: Text that every translation begins with.
      split: Translate the sentences of a line one by one; --no-split takes a line as one sentence.
      scores: Print the score before each translation, and a tab.
      attention: Write the attention map of the first line here (png, pdf or svg).
      gates: Write the gates of the encoder's first layer, as it reads that line, here; the units that retain most are
        lowest.
      cell: The custom cell, module:cell or file.py:cell, that the run was trained with; its code is run.
      json: Print tokens, probabilities and unknown words as JSON; with a file or standard input an object a line.
    """
    if text and file is not None:
        raise InputError(f"translate: give sentences as arguments or in --file {file}, not both")
    decoding.check()
    check_pictures(attention=attention, gates=gates)
    if not text and file is None and not run.exists():
        raise InputError(f"there is no run {quoted(str(run))}; name the run, then the text: {EXAMPLE}")
    # of several translations the scores tell them apart
    how = _How(decoding, scores or decoding.nbest > 1, json, attention, gates)
    if text:
        translator = _loaded(run, ensemble, cell)
        for number, sentence in enumerate(text, 1):
            # in a file a blank line stays blank; an argument without words is a mistake
            if not translator.source.sentence(sentence).tokens:
                raise InputError(f"sentence {number} ({quoted(sentence)}) is empty; give text to translate")
        done = translate_lines(translator, windows_of(text), decoding, prefix=prefix, split=split)
        _finish(_printed(translator, done, how, set(), as_list=True))
        return
    if file is None and sys.stdin is not None and sys.stdin.isatty():
        _converse(_loaded(run, ensemble, cell), run, how, prefix, split)
        return
    windows: Iterable[Sequence[str]] = ()
    if file is not None:
        windows = windows_of(read_lines(file))
    elif sys.stdin is not None:  # not closed
        windows = windows_as_they_come(sys.stdin)
    translator = _loaded(run, ensemble, cell)
    done = translate_lines(translator, windows, decoding, prefix=prefix, split=split)
    if not _finish(_printed(translator, done, how, set())):
        raise InputError("there is no text to translate; give sentences as arguments, in --file, or on standard input")


def score(
    run: Positional[Path],
    data: tuple[str, ...] | None = None,
    ensemble: tuple[Path, ...] = (),
    cell: str | None = None,
    json: bool = False,
) -> None:
    """Score given translations: the log-probability and the perplexity of each, and of all.

    A pair is printed as log-probability, perplexity, source and target, with tabs between.

    Example: jaxseq score runs/translate --data my-pairs.tsv

    Args:
      run: Run folder of a trained translator.
      data: Pairs to score, given as for training; by default those held out of it.
      ensemble: More runs with the same vocabularies; the mean of all their probabilities is used.
      cell: The custom cell, module:cell or file.py:cell, that the run was trained with; its code is run.
      json: Print as JSON.
    """
    translator = _loaded(run, ensemble, cell)
    where, pairs = pairs_for(translator, data)
    # left out and counted, since `score_pairs` refuses them
    fit = [pair for pair in pairs if not translator.unfit(pair[0])]
    notes = [f"{len(pairs) - len(fit)} pairs have a source that is too long and are left out"] * (len(fit) < len(pairs))
    if not fit:
        raise InputError(f"{where}: no pair can be scored; {'; '.join(notes) or 'the file has no pairs'}")
    found = score_pairs(translator, fit)
    whole = total(found)
    if whole["unknown"]:
        notes.append(f"{whole['unknown']} target words are unknown, and scored as <unk>")
    lines = [f"{one.log_prob:.4f}\t{one.perplexity:.2f}\t{one.source}\t{one.target}" for one in found]
    text = (
        f"{where}: {whole['pairs']} pairs, {whole['tokens']} target tokens, log-probability {whole['log_prob']:.2f}, "
        f"perplexity {whole['perplexity']:.3f}"
    )
    facts = {"data": where, **whole, "scores": [one._asdict() for one in found]}
    show(Shown(facts, "\n".join([*lines, text]), notes), json)


def export(
    run: Positional[Path],
    out: Annotated[Path, arg(aliases=["-o"])],
    decoding: OmitArgPrefixes[Decoding] = USUAL,
    ensemble: tuple[Path, ...] = (),
    platforms: tuple[str, ...] = PLATFORMS,
    cell: str | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Write a translator as files that run with JAX alone: programs for any batch and length, weights, vocabularies.

    Example: jaxseq export runs/translate -o model

    Args:
      run: Run folder of a trained translator.
      out: The folder to write.
      decoding: Settings of the beam search that is exported; greedy decoding is exported with it.
      ensemble: More runs with the same vocabularies; the mean of all their probabilities is used.
      platforms: Platforms of the programs: cpu, cuda, rocm or tpu.
      cell: The custom cell, module:cell or file.py:cell, that the run was trained with; its code is run.
      overwrite: Replace an export that is there.
      json: Print the result as JSON.
    """
    made = write_export(_loaded(run, ensemble, cell), out, decoding, platforms=platforms, overwrite=overwrite)
    files = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in made.files.items() if size > 1e5)
    text = (
        f"wrote {out} for {' and '.join(made.platforms)}: {files}, and {README}\n"
        f'try it, with jax and flatbuffers alone: python {out / CLIENT} {out} "…"'
    )
    show(Shown({**made._asdict(), "path": str(out)}, text), json)


class _How(NamedTuple):
    """How translations are printed, and which pictures of the first are drawn."""

    decoding: Decoding
    scores: bool
    json: bool
    attention: Path | None
    gates: Path | None


def _loaded(run: Path, ensemble: Sequence[Path], cell: str | None) -> Translator:
    return together([load(path, cell) for path in (run, *ensemble)])


def _printed(
    translator: Translator, windows: Iterable[list[Line]], how: _How, named: set[str], as_list: bool = False
) -> Iterator[list[Line]]:
    """Yield each window as it is translated, then print it; with `as_list` and JSON, one list at the end.

    Unknown words are added to those that have been `named`.
    """
    facts, pictures = [], how.attention is not None or how.gates is not None
    for window in windows:
        for note in _notes(window, named):
            tell(note)
        yield window  # counted before it is printed: a reader may close the pipe at once
        for line in window:
            # of the first line that has a translation, once
            if pictures and line.translation is not None:
                _draw(translator, line.text, line.translation, how)
                pictures = False
            if how.json and as_list:
                facts.append(_facts(line, how.decoding))
            elif how.json:
                out(encoding.dumps(_facts(line, how.decoding), ensure_ascii=False))
            else:
                out(_said(line.translation, how))
        # a program that sent lines through a pipe waits for these
        sys.stdout.flush()
    if how.json and as_list:
        out(encoding.dumps(facts, indent=2, ensure_ascii=False))


def _finish(windows: Iterable[list[Line]]) -> int:
    """Print all, and return how many lines there were.

    Raises:
      InputError: at the end, if some could not be translated.
      Interrupted: after Ctrl-C; the windows before are printed.
    """
    count, failed = 0, []
    try:
        for window in windows:
            count += len(window)
            failed += [line.number for line in window if line.problem]
    except KeyboardInterrupt:
        # None: the traceback of Ctrl-C tells the user nothing
        raise Interrupted(f"interrupted; {_lines(count)} translated and written") from None
    if failed:
        which = ", ".join(map(str, failed[:5])) + ", …" * (len(failed) > 5)
        raise InputError(
            f"{len(failed)} of {count} lines could not be translated and {'is' if len(failed) == 1 else 'are'} left "
            f"blank: {which}"
        )
    return count


def _lines(count: int) -> str:
    return f"{count or 'no'} line{'s were' if count != 1 else ' was'}"


def _converse(translator: Translator, run: Path, how: _How, prefix: str, split: bool) -> None:
    """Translate each line that is typed, until Ctrl-D or Ctrl-C."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401, arrow keys and history

    config = translator.config
    tell(f"{run} translates from {config.source} to {config.target}; type a sentence and press Enter, end with Ctrl-D")
    # over the whole conversation, so that each unknown word is named once
    named: set[str] = set()
    try:
        while True:
            try:
                # without a prompt where output goes to a file
                line = input(PROMPT if sys.stdout.isatty() else "")
            except UnicodeDecodeError as error:
                tell(f"that line is not {error.encoding} (at byte {error.start}); type it again")
                continue
            done = translate_lines(translator, [[line]], how.decoding, prefix=prefix, split=split)
            for _ in _printed(translator, done, how, named):
                how = how._replace(attention=None, gates=None)  # of the first line
    except EOFError:
        tell("", "")
    except KeyboardInterrupt:
        tell("", "")  # the prompt's line ends
        raise


def _notes(window: Sequence[Line], named: set[str]) -> list[str]:
    """Return each line's problem, and the unknown words that have not been `named` before; they are from now on."""
    notes = [f"line {line.number}: {line.problem}" for line in window if line.problem]
    unknown = [word for line in window if line.translation for word in line.translation.unknown]
    if new := [word for word in dict.fromkeys(unknown) if word not in named]:
        named.update(new)
        more = f", and {len(new) - NAMED} more" * (len(new) > NAMED)
        notes.append(f"unknown, read as <unk>: {' '.join(new[:NAMED])}{more}")
    if guessed := [line.number for line in window if line.translation and _is_guessed(line.translation)]:
        more = f" and {len(guessed) - 1} more" * (len(guessed) > 1)
        notes.append(f"line {guessed[0]}{more}: no word is known, so the translation is a guess")
    return notes


def _is_guessed(done: Translation) -> bool:
    """Return whether the model read nothing but unknown tokens and punctuation."""
    read = "".join(token for token in done.source_tokens if token not in SPECIALS)
    return bool(done.unknown) and not any(map(str.isalnum, read))


def _said(done: Translation | None, how: _How) -> str:
    """Return the lines that are printed for one line of text."""
    if done is None:
        return ""
    if how.decoding.nbest > 1:
        return "\n".join(f"{n}\t{one.score:.4f}\t{one.text}" for n, one in enumerate((done, *done.others), 1))
    return f"{done.score:.4f}\t{done.text}" if how.scores else done.text


def _facts(line: Line, decoding: Decoding) -> dict[str, Any]:
    """Return the facts on one line, for programs."""
    if line.translation is None:
        return {"source": line.text, "text": "", **({"problem": line.problem} if line.problem else {})}
    facts = line.translation._asdict()
    del facts["others"]
    facts["weights"] = np.round(line.translation.weights, 4).tolist()
    if decoding.nbest > 1:
        ranked = (line.translation, *line.translation.others)
        facts["nbest"] = [
            {name: getattr(one, name) for name in ("text", "score", "log_prob", "target_tokens")} for one in ranked
        ]
    return facts


def _draw(translator: Translator, text: str, done: Translation, how: _How) -> None:
    """Draw the pictures that were asked for."""
    notes = []
    if how.attention is not None:
        notes += draw_attention(done, how.attention) or [f"wrote {how.attention}"]
    if how.gates is not None:
        draw_gates(translator, text, how.gates)
        notes.append(f"wrote {how.gates}")
    for note in notes:
        tell(note)
