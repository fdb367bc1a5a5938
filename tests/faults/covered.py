"""Fuzz one reader, guided by the lines that each file reaches: ``python tests/faults/covered.py torch 600``.

Needs atheris (pip install atheris), which changes the package's bytecode as it is imported, and so is no test by
itself. A file that raises another exception than InputError, or takes over 10 s or 2 GB, is written to the current
folder and ends the run; it becomes a case of the tests.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jaxseq"]):
    from test_altered_files import READERS, accepted


def main(name: str, seconds: str) -> None:
    folder = Path(tempfile.mkdtemp())
    file, contents, read = READERS[name]
    corpus, path = folder / "corpus", folder / "read" / file
    corpus.mkdir()
    path.parent.mkdir()
    for n, raw in enumerate(contents(folder)):
        (corpus / str(n)).write_bytes(raw)

    def one(raw: bytes) -> None:
        path.write_bytes(raw)
        accepted(read, path)

    limits = "-rss_limit_mb=2048 -timeout=10 -max_len=20000 -print_final_stats=1".split()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
