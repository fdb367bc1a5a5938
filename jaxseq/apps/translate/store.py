"""A corpus larger than memory: its token ids in files that training memory-maps, prepared once.

A folder with meta.json (settings, checksums, notes), the vocabularies, the token ids of the training pairs, the start
of each, and the held-back pairs as text. It is built under another name and renamed when complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxseq.apps.pairs import origins
from jaxseq.apps.ragged import Ragged
from jaxseq.apps.reading import STANDARD_INPUT, read_lines, read_text
from jaxseq.apps.text.subwords import Subwords
from jaxseq.apps.translate import data, preparation
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.data import Corpus
from jaxseq.apps.translate.preparation import (
    Pair,
    Preparation,
    Sentence,
    cut_again,
    learnt,
    preparations,
    unlearnt,
)
from jaxseq.apps.translate.spool import Spool, Texts, spooled
from jaxseq.errors import InputError
from jaxseq.files import cannot_write, contents, whole_folder, write_atomic
from jaxseq.inputs import parse_json, understood
from jaxseq.locks import locked

META, HELD, CORPORA = "meta.json", "held.jsonl", "corpora.bin"
FORMAT = 1
SHOWN = 1000
"""Training pairs that measure the translator if none are held back."""


@dataclasses.dataclass(frozen=True)
class StoredCorpus(Corpus):
    """A corpus whose training pairs are in files; `train` makes them from these when they are asked for.

    Fields:
      sides: token numbers of sources and of targets.
      sum: the result of `digest`.
      shown: training pairs that measure a translator where none are held back.
    """

    sides: tuple[Ragged, Ragged] = ()  # type: ignore[assignment]
    sum: str = ""
    shown: Sequence[Pair] = ()

    def digest(self) -> str:
        """Return the checksum of the corpus that was stored when it was prepared."""
        return self.sum

    def numbers(self) -> tuple[Ragged, Ragged]:
        """Return the token ids of sources and targets to train on, mapped from their files."""
        return self.sides

    def measured(self) -> tuple[str, Sequence[Pair]]:
        """Return which pairs measure a translator: for testing, else those held back, else the first."""
        some = dataclasses.replace(self, train=self.shown)
        where, pairs = Corpus.measured(some)
        return (f"trained on, the first {len(pairs)}" if where == "trained on" else where), pairs


class StoredPairs(Sequence[Any]):
    """Training pairs rebuilt from token ids: unknown words are lost, and the text is the tokens with spaces."""

    def __init__(self, sides: tuple[Ragged, Ragged], preparations: tuple[Preparation, Preparation]) -> None:
        self.sides, self.preparations = sides, preparations

    def __len__(self) -> int:
        return len(self.sides[0].starts) - 1

    def __getitem__(self, row: Any) -> Any:
        """Return one pair, or a list of them."""
        if isinstance(row, slice):
            return [self[n] for n in range(*row.indices(len(self)))]
        # counts negative rows from the end, and raises IndexError past it, which ends a loop over a Sequence
        row = range(len(self))[row]
        return tuple(
            Sentence(" ".join(tokens), " ".join(tokens), tokens)
            for side, way in zip(self.sides, self.preparations, strict=True)
            for tokens in [way.vocabulary.decode(side.tokens[side.starts[row] : side.starts[row + 1]])]
        )


def prepare(config: TranslateConfig, given: tuple[Preparation, Preparation] | None = None) -> Corpus:
    """Return the corpus that settings name: prepared in memory, or with ``prepared`` in that folder, once for all runs.

    `given` are preparations that have already learnt, such as those of a run; those of the folder must be equal. With
    ``init_from`` a new folder is made with them; otherwise it learns again, with the same result.

    Raises:
      InputError: as `data.prepare`; if the folder holds something else, pairs of other settings or other files, or
        numbers of other vocabularies, or is damaged.
    """
    if not config.prepared:
        return data.prepare(config, given)
    folder = Path(config.prepared)
    if not (folder / META).exists():
        _built(config, folder, given if config.init_from else None)
    return _opened(config, folder, given)


def _settings(config: TranslateConfig) -> dict[str, Any]:
    """Return the settings that decide the content of a prepared folder: those of text, before those of the model."""
    names = [field.name for field in dataclasses.fields(config)]
    # fields before `model` are those of text; weights and the folder's own name change nothing in it
    names = [name for name in names[: names.index("model")] if name not in ("weights", "prepared")]
    found = {name: getattr(config, name) for name in names}
    if config.validation and not config.dev:
        found["seed"] = config.seed
    # tuples become lists, as they are once meta.json is read
    return json.loads(json.dumps(found))


# ---------------------------------------------------------------------------------------------- building


def _built(config: TranslateConfig, folder: Path, given: tuple[Preparation, Preparation] | None) -> None:
    """Prepare the pairs into a folder, which appears only when complete; or wait for another process that does."""
    with locked(folder, wait=True):
        # another process may have built it while this one waited for the lock
        if (folder / META).exists():
            return
        if folder.is_file() or (folder.is_dir() and contents(folder)):
            raise InputError(f"{folder} exists and does not hold prepared pairs; give --prepared another folder")
        with whole_folder(folder) as made:
            scratch = made.with_name("scratch")  # goes with the temporary folder
            try:
                scratch.mkdir()
                _fill(config, scratch, made, given)
            except OSError as error:
                raise cannot_write(folder, error) from error


def _fill(config: TranslateConfig, scratch: Path, made: Path, given: tuple[Preparation, Preparation] | None) -> None:
    ways = unlearnt(given) if given else preparations(config)
    with spooled(config, scratch, ways) as spool:
        train, held = spool.parts(config)
        ways, rows = _learnt(config, spool, train, ways, given), np.flatnonzero(train)
        for side, (way, name) in enumerate(zip(ways, ("source", "target"), strict=True)):
            _write_numbers(spool.sentences(side, rows), way, made, name)
        _write(made / CORPORA, np.frombuffer(spool.corpora, np.uint16)[rows])
        # pairs for validation and test are kept as text: ids lose unknown words
        shown = np.flatnonzero(held) if held.any() else rows[:SHOWN]
        (made / HELD).write_text("".join(spool.written(row) for row in shown.tolist()), encoding="utf-8")
        preparation.save(made, *ways)
        # meta.json is written last, with the checksums of all others: a folder that has it is complete
        files = {path.name: _sum(path) for path in sorted(made.iterdir())}
        meta = {
            "format": FORMAT, "settings": _settings(config), "given": given is not None, "inputs": _inputs(config),
            "files": files, "pairs": len(rows), "held": int(held.sum()), "digest": spool.digest(train, held),
            "notes": spool.notes,
        }  # fmt: skip
    write_atomic(made / META, json.dumps(meta, indent=2, ensure_ascii=False) + "\n")


def _learnt(
    config: TranslateConfig,
    spool: Spool,
    train: np.ndarray,
    ways: tuple[Preparation, Preparation],
    given: tuple[Preparation, Preparation] | None,
) -> tuple[Preparation, Preparation]:
    """Return preparations that have learnt, or those given, after the spool is cut by the subwords among them."""
    tokenisers = [way.tokeniser for way in given or ways]
    if not given:
        tokenisers = [*learnt(config, tokenisers, [Texts(spool, side, train) for side in (0, 1)])]
    source, target = (way._replace(tokeniser=one) for way, one in zip(given or ways, tokenisers, strict=True))
    for side, way in enumerate((source, target)):
        if isinstance(way.tokeniser, Subwords):
            spool.cut_again(side, train, way)
    if given:
        return given
    sides = [(0, 1)] if config.shared else [(0,), (1,)]
    vocabularies = [spool.vocabulary(each, train, config.min_count) for each in sides]
    return source._replace(vocabulary=vocabularies[0]), target._replace(vocabulary=vocabularies[-1])


def _write_numbers(sentences: Iterator[Sentence], way: Preparation, made: Path, name: str) -> None:
    """Write the token ids of sentences, and where each begins."""
    # half the bytes where the vocabulary allows it
    kind, starts = np.uint16 if len(way.vocabulary) < 2**16 else np.uint32, [np.zeros(1, np.int64)]
    with open(made / f"{name}.tokens", "wb") as file:
        more = True
        while more:
            # in blocks, so that memory is bounded
            rows = [way.numbers(one) for one in itertools.islice(sentences, _BLOCK)]
            more = len(rows) == _BLOCK
            flat = Ragged.of(rows)
            file.write(flat.tokens.astype(kind).tobytes())
            starts.append(flat.starts[1:] + starts[-1][-1])
        file.flush()
        # on disk before meta.json says so
        os.fsync(file.fileno())
    _write(made / f"{name}.starts", np.concatenate(starts))


_BLOCK = 2**16


def _write(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        file.write(array.tobytes())
        file.flush()
        os.fsync(file.fileno())


def _sum(path: Path) -> str:
    """Return the sha256 of a file, which is read in pieces."""
    # in pieces: the file may be larger than memory
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inputs(config: TranslateConfig) -> list[list[Any]]:
    """Return size and checksum of each file of training pairs; standard input has none."""
    found = origins(config.data, config.source, config.target)
    paths = [Path(path) for one in found for path in one.paths if path != STANDARD_INPUT]
    return [[str(path), path.stat().st_size, _sum(path)] for path in paths]


# ---------------------------------------------------------------------------------------------- opening


CURE = "remove the folder to prepare the pairs again"


def _opened(config: TranslateConfig, folder: Path, given: tuple[Preparation, Preparation] | None) -> Corpus:
    meta = _checked(config, folder)
    ways = source, target = preparation.load(folder, config)
    if given and not all(one.same(other) for one, other in zip(ways, given, strict=True)):
        raise InputError(f"{folder} has other vocabularies than the run; give --prepared another folder")
    with understood(folder, CURE):
        # mapped, so that only the pages of a chunk's pairs are read
        sides = _mapped(folder, "source", source), _mapped(folder, "target", target)
        lines = [parse_json(line, folder / HELD, CURE) for line in read_lines(folder / HELD)]
        shown = [(source.sentence(a), target.sentence(b)) for a, b in lines]
    plain = unlearnt(ways)  # by which pairs are filtered
    dev = data.read_corpora(config, config.dev, *plain)[0] if config.dev else []
    test = data.read_sentences(config, config.test, *plain) if config.test else []
    test = data.fit_to_read(config, test)[0] if test else []
    dev, test = cut_again((dev, test), plain, ways)
    corpora = np.fromfile(folder / CORPORA, np.uint16)
    if config.weights:
        config.check_weights(len(origins(config.data, config.source, config.target)))
    notes = [*meta["notes"], *config.notes(len(target.vocabulary))]
    return StoredCorpus(
        StoredPairs(sides, (source, target)), dev or (shown if meta["held"] else []), source, target, notes, test,
        data.weights_of(config, corpora), sides=sides, sum=meta["digest"], shown=shown,
    )  # fmt: skip


def _mapped(folder: Path, name: str, way: Preparation) -> Ragged:
    kind = np.uint16 if len(way.vocabulary) < 2**16 else np.uint32
    files = ((folder / f"{name}.tokens", kind), (folder / f"{name}.starts", np.int64))
    tokens, starts = (np.memmap(path, dtype, "r") for path, dtype in files)
    return Ragged(tokens, starts)


def _checked(config: TranslateConfig, folder: Path) -> dict[str, Any]:
    """Read meta.json; check it, the files next to it, and the files of pairs that still exist."""
    damaged = f"{folder} is damaged: {{}}; {CURE}"
    with understood(folder / META, CURE):
        meta = parse_json(read_text(folder / META), folder / META, CURE)
        known, sums, inputs = dict(meta["settings"]), dict(meta["files"]), [(*one,) for one in meta["inputs"]]
        if not all(isinstance(name, str) for name in (*known, *sums, *(path for path, _, _ in inputs))):
            raise TypeError("names that are not text")
    if meta.get("format") != FORMAT:
        raise InputError(f"{folder} was prepared by another version of jaxseq; give --prepared another folder")
    # sorted below: the first difference is the same each time
    wanted = _settings(config)
    for name in sorted({*known, *wanted}):
        if known.get(name) != wanted.get(name):
            raise InputError(
                f"{folder} was prepared with --{name.replace('_', '-')} {known.get(name)}, not {wanted.get(name)}; "
                "give --prepared another folder, or the same settings"
            )
    # the same id means different words in the vocabularies of a run and of the folder's own pairs
    if bool(meta.get("given")) != bool(config.init_from):
        whose = "a run that --init-from named" if meta.get("given") else "its own pairs, not those of --init-from"
        raise InputError(f"{folder} has the vocabularies of {whose}; give --prepared another folder")
    for name, digest in sums.items():
        if not (folder / name).is_file() or _sum(folder / name) != digest:
            raise InputError(damaged.format(f"{name} has changed since it was written"))
    # the size first, which costs nothing
    for path, size, digest in inputs:  # the pairs may have been prepared elsewhere
        if Path(path).is_file() and (Path(path).stat().st_size != size or _sum(Path(path)) != digest):
            raise InputError(f"{path} has changed since {folder} was prepared; give --prepared another folder")
    return meta
