"""The command line: a table of commands, and the messages of one that fails.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import re
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
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Chinese still shows the rest
    try:
        if argv is None:
            _starting.over()
        return _status(args)
    except (Interrupted, KeyboardInterrupt) as stopped:
        if argv is None:  # the process ends; a further Ctrl-C would interrupt only its cleaning up
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
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (InputError, OSError) as error:
        return _failed(error)
    except MemoryError as error:
        return _failed(_out_of_memory(error))
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):  # so JAX calls a device or a machine without memory left
            raise
        return _failed(_out_of_memory(error))
    return 0


def _out_of_memory(error: BaseException) -> str:
    """Return the message for an array that memory has no room for."""
    asked = re.search(r"allocat\w* ([\d.,]+ ?[KMGTPE]?i?B(?:ytes)?)", str(error), re.IGNORECASE)
    there = available_bytes()
    return (
        f"there is not enough memory{f': {asked[1]} are asked for' if asked else ''}"
        f"{f'; {there:,} bytes are free' if there else ''}. Take smaller sizes, such as --hidden or --batch"
    )


def commands(preset: str = "default", asked: str = "") -> dict[str, Callable[..., None]]:
    """Return every command by name; a preset, of the command `asked`, decides the defaults of its options and help."""
    # here, since they need the extra `apps`
    from jaxseq.apps import commands as small
    from jaxseq.apps.bench import bench
    from jaxseq.apps.experiment import experiment
    from jaxseq.apps.forecast import command as forecasting
    from jaxseq.apps.study import command as studying
    from jaxseq.apps.translate import command as translation, evaluate_command as measuring, translate_command as using

    presets = {"train": [*translation.PRESETS], "forecast": [*forecasting.PRESETS]}
    choose("preset", preset, dict.fromkeys(presets.get(asked, [*presets["train"], *presets["forecast"]])))
    return {
        "train": _with_preset(translation.train, translation.PRESETS, preset),
        "translate": using.translate,
        "evaluate": measuring.evaluate,
        "score": using.score,
        "export": using.export,
        "forecast": forecasting.command(preset),
        "data": small.data,
        "cells": small.cells,
        "convert": small.convert,
        "study": studying.study_command,
        "inspect": studying.inspect_command,
        "experiment": experiment,
        "bench": bench,
        "doctor": small.doctor,
    }


def _run(args: list[str]) -> None:
    if args[:1] == ["--version"]:
        out(f"jaxseq {__version__}")
        return
    check_installed(__name__)
    from tyro.extras import subcommand_cli_from_dict

    from jaxseq.apps.compilation import keep_compiled
    from jaxseq.apps.options import registry

    table = commands(_preset(args), *args[:1])
    if args and not args[0].startswith("-"):
        choose("command", args[0], table)
    else:
        table = {name: _in_a_line(command) for name, command in table.items()}
    with warnings.catch_warnings(), registry():
        warnings.showwarning = _warn
        keep_compiled()
        subcommand_cli_from_dict(table, prog="jaxseq", description=ABOUT, args=args or ["--help"])


def _in_a_line(command: Callable[..., None]) -> Callable[[], None]:
    """Return a command as the list of all shows it: with the first sentence of its help."""

    def listed() -> None: ...

    whole = getattr(command, "func", command).__doc__  # of a partial
    listed.__doc__ = inspect.cleandoc(whole or "").partition("\n\n")[0]
    return listed


def _preset(args: Sequence[str]) -> str:
    """Return the preset that is asked for: options are parsed only after it has given them their defaults."""
    for at, given in enumerate(args):
        if given.startswith("--preset="):
            return given.partition("=")[2]
        if given == "--preset" and at + 1 < len(args):
            return args[at + 1]
    return "default"


def _with_preset(command: Callable[..., None], presets: dict, preset: str) -> Callable[..., None]:
    """Return a command whose settings default to those of a preset; one of another command leaves it as it is."""
    return functools.partial(command, config=presets.get(preset, presets["default"]))


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning without the line of code that raised it."""
    tell(message)


def _failed(why: object) -> int:
    tell(why)
    return FAILED
