"""Short programs to copy from, one idea each: ``python -m jaxseq.examples`` lists them."""

import ast
from pathlib import Path


def descriptions() -> dict[str, str]:
    """Return each example's name and first docstring line, without importing it: some need other libraries."""
    files = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("_"))
    return {path.stem: _first_line(path) for path in files}


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
