"""The study page of the networks that an experiment trained."""

from __future__ import annotations

import jax

from jaxseq.apps.study.small import part_of
from jaxseq.experiments.base import Network
from jaxseq.study.collect import collect
from jaxseq.study.report import Report


def page_of(title: str, subtitle: str, command: str, networks: tuple[Network, ...]) -> Report:
    """Return the page of networks, all of one task, as they read three new sequences.

    Raises:
      InputError: if a network cannot be studied, such as one with weights that are not numbers.
    """
    task = networks[0].task
    batch = task.draw(jax.random.fold_in(jax.random.key(0), 2**31), 3)
    parts = [part_of(one.name, one.cell, task, batch, one.model, one.losses) for one in networks]
    return Report(collect(parts, title=title, subtitle=subtitle, command=command))
