"""The packages of the extra `apps`: the applications need them, the library does not."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

INSTALL = 'pip install "jaxseq[apps]"'
PACKAGES = ("pandas", "pooch", "sacrebleu", "tqdm", "tyro")
"""The import names of the packages that the extra installs."""


class MissingPackageError(ImportError):
    """A package of the extra `apps` is not installed; the message says how to install it."""


def check_installed(needed_by: str, packages: Sequence[str] = PACKAGES) -> None:
    """Check, without importing them, that packages are installed.

    Raises:
      MissingPackageError: naming those that are missing and the command that installs them.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise MissingPackageError(f"{needed_by} needs {', '.join(missing)}: {INSTALL}")
