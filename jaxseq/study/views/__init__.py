"""The views of a study, each in its own files, shown on the page in the order of `ORDER`.

A view NAME is

=============  ==================================================================================================
``NAME.py``    its data, a NamedTuple whose fields name their axes (`jaxseq.study.axes`), and these functions:
               ``gather(seen) -> (data or None, checks)``, and where there is something to say
               ``text(subject, data, screen) -> lines`` of the terminal, ``facts(subject, data) -> dict`` for programs,
               ``across(subjects) -> checks`` of all parts together,
               ``lean(data) -> data or None``, its form in a page that is too large;
               ``SLOW = True`` where it runs the cell many times, so that the terminal does without it,
               ``WHOLE = True`` where all layers of a stack have the same data, which are gathered once
``NAME.js``    ``VIEWS.NAME = { draw(body, data), … }``, and further functions that the page calls
``NAME.json``  its texts, each in English and Chinese: at least ``NAME``, its title, and ``NAME.how``
=============  ==================================================================================================

and one line of `ORDER`. A view that is drawn from the common data of every part gathers `NOTHING`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

ORDER: Sequence[str] = (
    "strip",
    "compare",
    "timelines",
    "ledger",
    "half",
    "contributions",
    "flow",
    "jacobian",
    "connectivity",
    "patching",
    "trajectories",
    "contexts",
    "saturation",
    "attention",
    "whatif",
    "atlas",
    "equation",
    "replay",
)


class Nothing(NamedTuple):
    """The data of a view that needs none of its own."""


NOTHING = Nothing()


def view(name: str) -> ModuleType:
    """Return the module of a view, ``NAME.py``."""
    return importlib.import_module(f"{__name__}.{name}")
