"""The command line: a table of commands, and the messages printed when one fails.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import importlib
import inspect
import io
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from jaxseq import __version__, _starting
from jaxseq.apps.extra import INSTALL, MissingPackageError, check_installed
from jaxseq.errors import InputError, choose
from jaxseq.memory import available_bytes
from jaxseq.texts import out, tell
from jaxseq.train import Interrupted

FAILED, INTERRUPTED = 2, 130
ABOUT = """Recurrent cells from scratch in JAX: forecast a series, train a translator, look inside.

Example: jaxseq train && jaxseq translate runs/translate "她在看书。"

Options and more examples of a command: jaxseq COMMAND --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 2 for input that cannot be used, 130 after Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot encode Chinese still shows the rest
    try:
        if argv is None:
            _starting.over()
        return _status(args)
    except (Interrupted, KeyboardInterrupt) as stopped:
        if argv is None:  # the process is ending; another Ctrl-C would only interrupt its cleanup
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _failed(str(stopped) or "interrupted")
        return INTERRUPTED


def _status(args: list[str]) -> int:
    """Run a command and return its exit status.

    Raises:
      KeyboardInterrupt, Interrupted: after Ctrl-C.
    """
    try:
        _run(args)
    except MissingPackageError:
        return _failed(f"the command line needs more packages: {INSTALL}")
    except BrokenPipeError:  # the reader of our output, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (InputError, OSError) as error:
        return _failed(error)
    except MemoryError as error:
        return _failed(_out_of_memory(error))
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):  # JAX's status for a device or machine that is out of memory
            raise
        return _failed(_out_of_memory(error))
    return 0


def _out_of_memory(error: BaseException) -> str:
    """Return the message for an array that does not fit in memory."""
    asked = re.search(r"allocat\w* ([\d.,]+ ?[KMGTPE]?i?B(?:ytes)?)", str(error), re.IGNORECASE)
    there = available_bytes()
    return (
        f"there is not enough memory{f': {asked[1]} are requested' if asked else ''}"
        f"{f'; {there:,} bytes are free' if there else ''}. Use smaller sizes, such as --hidden or --batch"
    )


COMMANDS = {
    "train": "translate.command:command",
    "translate": "translate.translate_command:translate",
    "evaluate": "translate.evaluate_command:evaluate",
    "score": "translate.translate_command:score",
    "export": "translate.translate_command:export",
    "forecast": "forecast.command:command",
    "data": "commands:data",
    "cells": "commands:cells",
    "convert": "commands:convert",
    "study": "study.command:study_command",
    "inspect": "study.command:inspect_command",
    "experiment": "experiment:experiment",
    "bench": "bench:bench",
    "doctor": "commands:doctor",
}
"""The function of each command, in a module of `jaxseq.apps` that is imported when the command is run."""
WITH_PRESETS = ("train", "forecast")
"""Commands whose defaults a preset decides: the function takes the preset's name and returns the command."""


def command(name: str, preset: str = "default") -> Callable[..., None]:
    """Return the function of a command; for one with presets, `preset` decides its defaults.

    Raises:
      InputError: if the preset is unknown.
    """
    module, _, function = COMMANDS[name].partition(":")
    # imported here, since the applications need the extra `apps`
    found = getattr(importlib.import_module(f"jaxseq.apps.{module}"), function)
    return found(preset) if name in WITH_PRESETS else found


def _run(args: list[str]) -> None:
    if args[:1] == ["--version"]:
        out(f"jaxseq {__version__}")
        return
    check_installed(__name__)
    import tyro

    from jaxseq.apps.compilation import keep_compiled
    from jaxseq.apps.options import registry

    with warnings.catch_warnings(), registry():
        warnings.showwarning = _warn
        if not args or args[0].startswith("-"):
            table = {name: _in_a_line(command(name)) for name in COMMANDS}
            tyro.extras.subcommand_cli_from_dict(table, prog="jaxseq", description=ABOUT, args=args or ["--help"])
            return
        name, *given = args
        choose("command", name, COMMANDS)
        if name in WITH_PRESETS and given and not given[0].startswith("-"):
            raise InputError(f"{name} reads a file with --data: jaxseq {name} --data {shlex.join(given)}")
        keep_compiled()
        tyro.cli(command(name, _preset(given)), prog=f"jaxseq {name}", args=given)


def _in_a_line(command: Callable[..., None]) -> Callable[[], None]:
    """Return a command as the list of commands shows it: with the first sentence of its help."""

    def listed() -> None: ...

    whole = getattr(command, "func", command).__doc__  # of a partial
    listed.__doc__ = inspect.cleandoc(whole or "").partition("\n\n")[0]
    return listed


def _preset(args: Sequence[str]) -> str:
    """Return the preset among the arguments, found before they are parsed since it sets the options' defaults."""
    for at, given in enumerate(args):
        if given.startswith("--preset="):
            return given.partition("=")[2]
        if given == "--preset" and at + 1 < len(args):
            return args[at + 1]
    return "default"


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning without the line of code that raised it."""
    tell(message)


def _failed(why: object) -> int:
    tell(why)
    return FAILED
