"""Tokenisers in a run folder: one JSON file and a file for each subword model, all checked when read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxseq.apps.text.casing import Casing
from jaxseq.apps.text.normalising import NORMALISERS
from jaxseq.apps.text.subwords import Subwords, check_model
from jaxseq.apps.text.tokenisers import TOKENISERS, Chars, Simple, Tokeniser, Words
from jaxseq.errors import InputError
from jaxseq.files import write_atomic
from jaxseq.inputs import parse_json, read_bytes, understood

FILE = "tokenisers.json"
KINDS: dict[str, type[Tokeniser]] = {kind.kind: kind for kind in (Simple, Words, Chars, Subwords)}
"""Tokenisers by name."""
CASES = ("lower", "keep", "restore")


def model_file(side: str) -> str:
    """Return the name of the file of a side's subwords."""
    return f"{side}.subwords.model"


def save(path: Path, tokenisers: Mapping[str, Tokeniser]) -> None:
    """Write tokenisers, by the side that each is for, into a folder."""
    # models first: the JSON holds their checksums, and so never names a missing model
    for side, tokeniser in tokenisers.items():
        if isinstance(tokeniser, Subwords):
            write_atomic(path / model_file(side), tokeniser.model)
    facts = {side: tokeniser.facts() for side, tokeniser in tokenisers.items()}
    write_atomic(path / FILE, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")


def load(path: Path, side: str) -> Tokeniser | None:
    """Return the tokeniser of a side that was saved in a folder; None if it has no such file, as earlier runs.

    Raises:
      InputError: if a file is damaged or missing.
    """
    file = path / FILE
    if not file.exists():
        return None
    cure = "restore it from a copy, or train again"
    try:
        with understood(file, cure):
            return _made(parse_json(read_bytes(file), file, cure)[side], path / model_file(side))
    except InputError as error:
        raise InputError(str(error) if cure in str(error) else f"{file}: {error}; {cure}") from error


def _made(facts: dict[str, Any], model: Path) -> Tokeniser:
    """Return a tokeniser from its facts, after a check of each."""
    kind = KINDS[facts["kind"]]
    given = {name: value for name, value in facts.items() if name not in ("kind", "casing", "sha256")}
    fields = {field.name: field.type for field in dataclasses.fields(kind) if field.name not in ("casing", "model")}
    types = {"str": str, "bool": bool, "int": int}
    for name, kind_of in fields.items():
        # not isinstance, by which True is an int
        if type(given[name]) is not types[str(kind_of)]:
            raise TypeError(f"{name} is {given[name]!r}")
    if given["case"] not in CASES or given.get("by", "words") not in TOKENISERS:
        raise ValueError("an unknown case or cut")
    if given.get("normalise", "plain") not in NORMALISERS:
        raise ValueError("an unknown normaliser")
    words, begins = facts["casing"]["words"], facts["casing"]["begins"]
    if not (isinstance(begins, bool) and all(type(a) is str and type(b) is str for a, b in words.items())):
        raise TypeError("casing is not one of words")
    made = kind(**{name: given[name] for name in fields}, casing=Casing(words, begins))
    return dataclasses.replace(made, model=_model(model, facts["sha256"])) if isinstance(made, Subwords) else made


def _model(path: Path, digest: str) -> bytes:
    """Return the bytes of a model, which must be those that were written."""
    model = read_bytes(path, "a model of subwords")
    # before sentencepiece parses the bytes
    if hashlib.sha256(model).hexdigest() != digest:
        raise InputError(f"{path} is not the file that was written")
    check_model(model)
    return model
