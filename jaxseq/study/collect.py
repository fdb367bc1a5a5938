"""Gather the content of a study's page: of each part the run and its views, with the checks that they rest on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxseq import __version__
from jaxseq.errors import InputError
from jaxseq.study.checks import Check
from jaxseq.study.part import Part, check_numbers
from jaxseq.study.subject import Seen, Subject, look
from jaxseq.study.views import ORDER, view


class Study(NamedTuple):
    """All that a page shows, arrays as they are.

    Fields:
      about: title, subtitle, command, seed, versions, and a hash of the parameters.
      parts: the layers that are studied.
      checks: each with its error, and whether it holds.
    """

    about: dict[str, Any]
    parts: list[Subject]
    checks: list[dict[str, Any]]


def collect(
    parts: Sequence[Part],
    *,
    title: str,
    subtitle: str = "",
    command: str = "",
    seed: int = 0,
    scores: Sequence[tuple[float, float | None]] = (),
    briefly: bool = False,
    title_zh: str = "",
    subtitle_zh: str = "",
    began: Callable[[str], object] = lambda name: None,
) -> Study:
    """Return all that a page shows, arrays as they are.

    A view that cannot be made does not stop the others: its error is in `Subject.failed`, and in its place on the page.

    Args:
      parts: the models, or layers of one, to study.
      title: of the page.
      subtitle: the model and its training data.
      command: that makes the page again.
      seed: of the study.
      scores: ``(loss, accuracy)`` of each part on data that none was trained on, where they are models for the same
        problem: they are then compared. Accuracy may be None.
      briefly: without views that run the cell many times, such as once for each unit and each snapshot.
      title_zh: the title in Chinese; as in English without one.
      subtitle_zh: likewise.
      began: called with the name of each part before it is looked into, such as to show progress.

    Raises:
      InputError: if a part's parameters are not all numbers, or it has nothing to look at.
    """
    if not parts:
        raise InputError("study: there is nothing to study; give a part or more")
    shown: list[Subject] = []
    checks: list[dict[str, Any]] = []
    for n, part in enumerate(parts):
        began(part.name)
        # before any run: NaN in a weight makes every view fail in its own way
        check_numbers(part.name, part.params)
        layers = look(part, before=len(shown), briefly=briefly, score=scores[n] if scores else None)
        subjects, found = _gathered(layers)
        shown += subjects
        checks += found
    # checks over all parts, such as equal numbers of parameters, come after every part was gathered
    together = [check for name in ORDER if hasattr(view(name), "across") for check in view(name).across(shown)]
    about = {
        "title": title, "subtitle": subtitle, "command": command, "seed": seed, "hash": digest(parts),
        "jaxseq": __version__, "jax": jax.__version__, "title_zh": title_zh, "subtitle_zh": subtitle_zh,
    }  # fmt: skip
    return Study(about, shown, [*(check.of("") for check in together), *checks])


def digest(parts: Sequence[Part]) -> str:
    """Return the first of a SHA-256 of all parameters: which weights a page is about."""
    found = hashlib.sha256()
    for part in parts:
        for leaf in jax.tree.leaves((part.params, part.head)):
            found.update(np.ascontiguousarray(leaf).tobytes())
    # 48 bits name a set of weights; the page is not secured by it
    return found.hexdigest()[:12]


def _gathered(layers: Sequence[Seen]) -> tuple[list[Subject], list[dict[str, Any]]]:
    """Return each layer of a part with the data of its views, and the checks of all."""
    subjects = [seen.subject._replace(views=dict.fromkeys(ORDER), failed={}) for seen in layers]
    checks: list[dict[str, Any]] = []
    for name in ORDER:
        made = view(name)
        if layers[0].briefly and getattr(made, "SLOW", False):
            continue
        # a view of a whole part is gathered once, from its first layer, and shared by the others
        whole = getattr(made, "WHOLE", False)
        for seen, subject in zip(layers[:1] if whole else layers, subjects, strict=False):
            try:
                subject.views[name], found = made.gather(seen)
                checks += [check.of(seen.part.name if whole else subject.name) for check in found]
            except Exception as error:  # of any kind: the other views are worth seeing
                subject.failed[name] = (str(error).splitlines() or [type(error).__name__])[0][:300]
        for other in subjects[1:] if whole else ():
            other.views[name] = subjects[0].views[name]
            if name in subjects[0].failed:
                other.failed[name] = subjects[0].failed[name]
    lost = [Check("views", len(one.failed), 0, stops=False).of(one.name) for one in subjects if one.failed]
    return subjects, checks + lost
