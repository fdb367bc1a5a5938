"""Find the files that `--data` names: tables of pairs, JSON lines, or a file for each language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxseq.apps import datasets
from jaxseq.apps.reading import STANDARD_INPUT, name_of
from jaxseq.errors import InputError

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


class Origin(NamedTuple):
    """Where one corpus comes from: a file with both languages, or two files, that of the source first."""

    paths: tuple[Path | str, ...]

    @property
    def name(self) -> str:
        """Return the name that messages use."""
        return " and ".join(map(name_of, self.paths))

    @property
    def format(self) -> str:
        """Return ``parallel``, ``json``, ``csv`` or ``table``, by the names of the files."""
        if len(self.paths) == 2:
            return "parallel"
        suffix = Path(_plain(self.paths[0])).suffix.lower()
        return "json" if suffix in JSON_SUFFIXES else "csv" if suffix == ".csv" else "table"


def origins(words: str | Path | Sequence[str], source: str, target: str) -> list[Origin]:
    """Return the corpora that the words of `--data` mean, in order.

    A word is a file, a data set's name, ``-`` for standard input, two files with a comma between them (source, target),
    or the common beginning of the names of two files that end with the languages: ``data/train`` for ``data/train.de``
    and ``data/train.en``. Two words that are such files are one corpus. Each file may end with ``.gz`` as well.

    Raises:
      InputError: for a word that means no corpus, the same corpus twice, or standard input twice.
    """
    left, found = [str(word) for word in ([words] if isinstance(words, str | Path) else words)], []
    while left:
        word = left.pop(0)
        # before each word alone: a.de and a.en are one corpus
        if left and (both := _by_language((word, left[0]), source, target)):
            left.pop(0)
            found.append(Origin(tuple(map(_file, both))))
        else:
            found.append(_origin(word, source, target))
    for n, one in enumerate(found):
        # most likely a slip, which would silently double the weight of these pairs
        if one in found[:n]:
            raise InputError(f"{one.name} is given twice; to train on its pairs more often, use --weights")
    return found


def _origin(word: str, source: str, target: str) -> Origin:
    if word == STANDARD_INPUT:
        return Origin((word,))
    if Path(word).is_file():
        return Origin((Path(word),))
    if "," in word:
        both = tuple(part.strip() for part in word.split(","))
        if len(both) != 2 or not all(both):
            raise InputError(f"{word!r}: expected two files with a comma between them, source and target")
        # the languages in the names decide which is the source; without them the order does
        by_name = _by_language(both, source, target) or both
        return Origin(tuple(map(_file, by_name)))
    sides = [_with_suffix(word, language) for language in (source, target)]
    if all(sides):
        return Origin(tuple(side for side in sides if side))
    try:
        return Origin((datasets.find(word),))
    except InputError as error:
        one = next((side for side in sides if side), None)
        if one is None:
            parent = Path(word).parent
            alike = sorted(str(p) for p in parent.glob(f"{Path(word).name}.*")) if parent.is_dir() and word else []
            # two files with the same beginning may be the sides, named after other languages
            if len(alike) < 2:
                raise
            raise InputError(
                f"there is no file {word}, nor {word}.{source} and {word}.{target}; there are {', '.join(alike[:4])}. "
                "If two of them are the sides, name their languages with --source and --target"
            ) from error
        lacks = target if sides[0] else source
        raise InputError(f"there is {one} but no {word}.{lacks}; expected two parallel files") from error


def _by_language(both: Sequence[str], source: str, target: str) -> tuple[str, str] | None:
    """Return two files, that of the source first, if their names end with the two languages."""
    ends = [Path(_plain(word)).suffix.lower().removeprefix(".") for word in both]
    wanted = [source.lower(), target.lower()]
    if sorted(ends) != sorted(wanted):
        return None
    return both[ends.index(wanted[0])], both[ends.index(wanted[1])]


def _with_suffix(prefix: str, language: str) -> Path | None:
    """Return the file whose name is the prefix and a language, or None."""
    # the plain file first, where both are there
    files = (Path(f"{prefix}.{language}{end}") for end in ("", ".gz"))
    return next((file for file in files if file.is_file()), None)


def _file(word: str) -> Path:
    if Path(word).is_dir():
        raise InputError(f"{word} is a folder; expected a text file, one sentence a line")
    if not Path(word).is_file():
        raise InputError(f"there is no file {word}; check the path")
    return Path(word)


def _plain(path: Path | str) -> str:
    return str(path).removesuffix(".gz")
