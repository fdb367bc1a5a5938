"""The study page of the networks that an experiment trained."""

from __future__ import annotations

import jax

from jaxseq.experiments.base import Network
from jaxseq.study import Report, collect, part_of


def page_of(title: str, subtitle: str, command: str, networks: tuple[Network, ...]) -> Report:
    """Return the page of networks, all on one problem, reading three new sequences.

    Raises:
      InputError: if a network cannot be studied, such as one with NaN weights.
    """
    problem = networks[0].problem
    batch = problem.draw(jax.random.fold_in(jax.random.key(0), 2**31), 3)
    parts = [part_of(one.name, one.cell, problem, batch, one.params, one.losses) for one in networks]
    return Report(collect(parts, title=title, subtitle=subtitle, command=command))
