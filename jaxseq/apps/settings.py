"""Checks of settings, shared by the applications."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from jaxseq.apps.custom import is_code
from jaxseq.errors import InputError

MOST_LAYERS = 64
"""The most layers: each is traced and compiled separately."""
MOST_UNITS = 2**14
"""The most features of an embedding or a hidden state: a square matrix of this size takes 1 GB."""
MOST = 2**31 - 1
"""The largest count: steps and the like are int32."""
SEEDS = 2**32
"""Seeds are below this: with 32-bit numbers, as JAX comes, `jax.random.key` ignores the higher bits of a seed."""


class Default(int):
    """A number that is a default: one given by a user is a plain int, even if both are equal."""


def option(name: str) -> str:
    """Return a setting's name as the command line has it, such as ``--report-every``."""
    return f"--{name.replace('_', '-')}"


def require(right: bool, name: str, wanted: str, config: object) -> None:
    """Refuse a setting unless it is right; `wanted` names the allowed values.

    Raises:
      InputError: naming the setting, its allowed values and its value.
    """
    if not right:
        raise InputError(f"{option(name)} must be {wanted}; got {getattr(config, name)}")


def require_at_least(least: int, names: Iterable[str], config: object) -> None:
    """Refuse the settings of these names that are below `least`.

    Raises:
      InputError: as `require`.
    """
    for name in names:
        require(getattr(config, name) >= least, name, f"at least {least}", config)


def require_at_most(most: int, names: Iterable[str], config: object) -> None:
    """Refuse the settings of these names that are above `most`; one that is None is left to its default.

    Raises:
      InputError: as `require`.
    """
    for name in names:
        value = getattr(config, name)
        require(value is None or value <= most, name, f"at most {most:,}", config)


def check_seed(seed: int) -> None:
    """Check a seed, before anything is drawn from it.

    Raises:
      InputError: if it is negative or above 32 bits.
    """
    if not 0 <= seed < SEEDS:
        raise InputError(f"--seed must be from 0 to {SEEDS - 1}; got {seed}")


def check_unchanged(config: Any, defaults: Any, why: str) -> None:
    """Refuse settings given with a run that has its own: ignoring them silently would mislead.

    A custom cell is allowed: by naming it a user permits the run to import it.

    Raises:
      InputError: naming the first setting that is not the default.
    """
    for field in dataclasses.fields(config):
        given = getattr(config, field.name)
        allowed = field.name == "cell" and is_code(given)
        if given != getattr(defaults, field.name) and not allowed:
            raise InputError(f"{why}; leave out {option(field.name)} (got {given}), or train anew with it")
