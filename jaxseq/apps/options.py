"""Help and number errors of options: ``PATH (default: none)`` instead of ``{None}|PATH (default: )``."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from jaxseq.errors import quoted

NUMBERS = {"INT": "a whole number", "FLOAT": "a number"}
"""Kinds of numbers, by tyro's name."""


def registry() -> Any:
    """Return tyro's registry, a context manager, with short help texts and errors for numbers."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    made, within = ConstructorRegistry(), False

    def short(info: Any) -> Any:
        nonlocal within
        if within:  # asked by the call below, to get the answer of the other rules
            return None
        within = True
        try:
            spec = ConstructorRegistry.get_primitive_spec(info)
        finally:
            within = False
        if not isinstance(spec, PrimitiveConstructorSpec):
            return spec

        def default(value: Any) -> list[str]:
            return ["none"] if value is None or value in ("", ()) else spec.str_from_instance(value)

        def value(args: list[str]) -> Any:
            try:
                return spec.instance_from_str(args)
            except ValueError as error:
                # Python's own messages speak of literals and bases
                if (kind := NUMBERS.get(spec.metavar.removeprefix("{None}|"))) is None:
                    raise
                raise ValueError(f"expected {kind}; got {quoted(args[0])}") from error

        return dataclasses.replace(
            spec, metavar=readable(spec.metavar), str_from_instance=default, instance_from_str=value
        )

    made.primitive_rule(short)
    return made


def readable(metavar: str) -> str:
    """Return a type as the help shows it: without None, several values as the first and dots.

    Example:
      >>> readable("{None}|PATH"), readable("[PATH [PATH ...]]"), readable("STR|{[STR [STR ...]]}")
      ('PATH', 'PATH ...', 'STR ...')
    """
    # an optional one has None among its values; the default in its help already says that
    metavar = re.sub(r"^\{None\}\|\{(\[.*\])\}$", r"\1", metavar).removeprefix("{None}|")
    several = re.fullmatch(r"(?:(.+)\|\{)?\[(?P<one>\S+) \[(?P=one) \.\.\.\]\](?(1)\})", metavar)
    return f"{several['one']} ..." if several and several[1] in (None, several["one"]) else metavar
