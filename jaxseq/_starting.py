"""Handle Ctrl-C while the command line is being imported, before `cli.main` can: one line, no traceback.

Only the command's own process is affected, until `main` begins; importing jaxseq from Python changes no signal.
"""

import os
import signal
import sys


def _is_command() -> bool:
    """Return whether this process is ``jaxseq ...`` or ``python -m jaxseq ...``."""
    name = os.path.basename(getattr(sys, "argv", [""])[0])
    if name == "-m":  # so it is called until the module is found
        return sys.orig_argv[sys.orig_argv.index("-m") :][1:2] == ["jaxseq"]
    return name.split(".")[0] == "jaxseq"


def _interrupted(number: int, frame: object) -> None:
    """Exit with status 130; nothing has started yet."""
    os.write(2, b"jaxseq: interrupted\n")
    os._exit(130)


def over() -> None:
    """Restore the default handling of Ctrl-C: from here on, `cli.main` catches it."""
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupted)
