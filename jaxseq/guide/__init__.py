"""The guide, shipped with the library so that it is at hand without a network: pages of Markdown in this folder.

    python -m jaxseq.guide                   # its pages, and where they are
    python -m jaxseq.guide build api         # the reference of every public name, as a folder of HTML

The reference is made by pdoc: ``pip install "jaxseq[docs]"``.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def pages() -> dict[str, str]:
    """Return the title of each page by its name, in the order of their names."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
    return {name: text.partition("\n")[0].removeprefix("# ") for name, text in found.items()}
