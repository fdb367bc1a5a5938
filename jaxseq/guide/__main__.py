"""``python -m jaxseq.guide``: print the pages; ``python -m jaxseq.guide build FOLDER``: write the API reference."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxseq.errors import InputError
from jaxseq.guide import FOLDER, pages

USAGE = "python -m jaxseq.guide, or python -m jaxseq.guide build FOLDER"


def main(arguments: Sequence[str]) -> int:
    """Print the pages, or build the reference; return the exit status."""
    try:
        match list(arguments):
            case []:
                print(f"{FOLDER}:")
                for name, title in pages().items():
                    print(f"  {name + '.md':<18} {title}")
            case ["build", folder]:
                from jaxseq.guide._api import build

                built = build(Path(folder))
                print(f"{built.modules} modules, {built.names} public names: {Path(folder) / 'index.html'}")
            case _:
                raise InputError(f"expected {USAGE}; got {' '.join(arguments)!r}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
