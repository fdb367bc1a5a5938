"""What a type checker knows of the package: of a user's file, checked as strictly as mypy can."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

FILE = Path(__file__).parent / "typing" / "users_file.py"


def test_mypy_strict_accepts_what_is_right_and_refuses_what_is_wrong(tmp_path):
    """Lines that end in ``# error: code ...`` have exactly these errors, and no other line has any."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    marked = {n: line.partition("# error: ")[2].split() for n, line in enumerate(lines, 1) if "# error: " in line}
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", FILE.name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FILE.parent, check=False)
    found = re.findall(r"users_file\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    wanted = Counter((str(n), code) for n, codes in marked.items() for code in codes)
    assert Counter(found) == wanted, done.stdout + done.stderr
    assert len(wanted) >= 7
