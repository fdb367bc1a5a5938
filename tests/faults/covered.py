"""Fuzz one reader, guided by the lines that each file reaches: ``python tests/faults/covered.py torch 600``.

Needs atheris (pip install atheris, up to Python 3.13), which changes the package's bytecode as it is imported, and so
runs in a process of its own; `test_fuzzing.py` starts one for each reader. A file below 1 MB that raises another
exception than InputError, or takes over 2 s of the processor or 1 GB, is written to the current folder and ends the
run; it becomes a case of the tests.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jaxseq"]):
    from test_altered_files import READERS, accepted

SECONDS, KILOBYTES, LONGEST = 2, 2**20, 2**20


def main(name: str, seconds: str) -> None:
    folder = Path(tempfile.mkdtemp())
    file, contents, read = READERS[name]
    corpus, path = folder / "corpus", folder / "read" / file
    corpus.mkdir()
    path.parent.mkdir()
    for n, raw in enumerate(contents(folder)):
        (corpus / str(n)).write_bytes(raw)
        path.write_bytes(raw)
        accepted(read, path)  # what is imported now is not counted
    usual = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def one(raw: bytes) -> None:
        path.write_bytes(raw)
        begun = time.process_time()
        accepted(read, path)
        if (taken := time.process_time() - begun) > SECONDS:
            raise RuntimeError(f"took {taken:.1f} s")
        if (most := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - usual) > KILOBYTES:
            raise RuntimeError(f"took {most:,} kB")

    # libFuzzer's own limits are of the clock and of all memory, and end what never ends
    limits = [f"-max_len={LONGEST}", "-len_control=100", "-rss_limit_mb=8192", "-timeout=600", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
