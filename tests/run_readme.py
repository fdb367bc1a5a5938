"""Run the examples of README and of the guide that need no other library: `python tests/run_readme.py` from anywhere.

CI runs it where the bare wheel is installed, without any extra.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
GUIDE = ("start", "idea", "gates", "custom")
OTHERS = ("flax", "haiku", "equinox", "keras", "torch")


def fences(text: str) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block of a Markdown text, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks that are in this language."""
    return [block for of, block in fences(text) if of == language]


def printed(block: str) -> list[str]:
    """Return what a block says that its prints show, in comments after them."""
    return re.findall(r"print\(.*\)  # (.*)$", block, re.MULTILINE)


def library_examples(text: str) -> list[str]:
    """Return the blocks of Python that import jaxseq and none of the other libraries."""
    theirs = re.compile(rf"^(from|import) ({'|'.join(OTHERS)})", re.MULTILINE)
    return [block for block in blocks(text, "python") if "jaxseq" in block and not theirs.search(block)]


if __name__ == "__main__":
    import jaxseq.guide

    texts = [(jaxseq.guide.FOLDER / f"{page}.md").read_text(encoding="utf-8") for page in GUIDE]
    examples = [*library_examples(README.read_text(encoding="utf-8")), *("\n".join(blocks(t, "python")) for t in texts)]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # examples write files
        for example in examples:
            exec(example, {})
        os.chdir(README.parent)
    loaded = [name for name in ("tyro", "tqdm", "pooch", "sacrebleu") if sys.modules.get(name)]
    if loaded or not examples:
        raise SystemExit(f"{len(examples)} examples ran and loaded {loaded}: the library must do without")
    print(f"{len(examples)} examples ran without any extra")
