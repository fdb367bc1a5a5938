"""``python -m jaxseq.guide``: print the pages; ``python -m jaxseq.guide build FOLDER``: write the API reference."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxseq.errors import InputError
from jaxseq.guide import FOLDER, pages
from jaxseq.texts import out, tell

USAGE = "python -m jaxseq.guide, or python -m jaxseq.guide build FOLDER"


def main(arguments: Sequence[str]) -> int:
    """Print the pages, or build the reference; return the exit status."""
    try:
        match list(arguments):
            case []:
                out(f"{FOLDER}:")
                for name, title in pages().items():
                    out(f"  {name + '.md':<18} {title}")
            case ["build", folder]:
                from jaxseq.guide._api import build

                built = build(Path(folder))
                out(f"{built.modules} modules, {built.names} public names: {Path(folder) / 'index.html'}")
            case _:
                raise InputError(f"expected {USAGE}; got {' '.join(arguments)!r}")
    except InputError as error:
        for line in str(error).splitlines():  # a fault of the reference each
            tell(line, "error: ")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
