"""The guide's pages: their code runs and prints what they say, and what they name is there."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import run_readme

import jaxseq
from benchmarks.measure import PAGE
from benchmarks.report import HEAD
from jaxseq import guide
from jaxseq.cells import CELLS

ROOT = Path(jaxseq.__file__).parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(guide.FOLDER.glob("*.md"))}
PROGRAMS = ("start.md", "idea.md", "gates.md", "custom.md", "jax.md", "weights.md")
ELSEWHERE = ("benchmarking.md", "forecasting.md", "translating.md", "studying.md", "probing.md")
"""Pages whose code needs a run or takes long: their tests are next to those of what they describe."""


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_code_of_a_page_prints_what_it_says(page, as_users_have_it, tmp_path, monkeypatch):
    """From the first block to the last in one program; a block of text after one is all that it prints."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    names, found = {}, run_readme.fences(PAGES[page])
    for number, (language, block) in enumerate(found):
        if language != "python":
            continue
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(block, names)
        after, text = found[number + 1] if number + 1 < len(found) else ("", "")
        assert after != "text" or said.getvalue() == text
        assert all(line in said.getvalue() for line in run_readme.printed(block))
    for saved in re.findall(r'savefig\("(.+?)"', PAGES[page]):
        assert (tmp_path / saved).exists(), saved


def test_every_page_with_code_is_run():
    with_code = {page for page, text in PAGES.items() if "```python" in text}
    assert with_code == {*PROGRAMS, *ELSEWHERE, "gates.zh.md"}


def test_the_chinese_page_has_the_same_code_equations_and_numbers():
    english, chinese = PAGES["gates.md"], PAGES["gates.zh.md"]
    assert run_readme.fences(english) == run_readme.fences(chinese)
    equation = r"^\| `(.+?)` \|"
    assert re.findall(equation, english, re.MULTILINE) == re.findall(equation, chinese, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    text = PAGES[page]
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, part = link.partition("#")
        if path.startswith("http"):
            continue
        target = guide.FOLDER / path if path else guide.FOLDER / page
        assert target.exists(), link
        heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if part else []
        assert not part or part in [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads], link
    for name in re.findall(r"`((?:jaxseq|benchmarks|data|tests)/[\w./-]*\w)(?:::\w+)?`", text):
        assert (ROOT / name).exists(), name
    for module in re.findall(r"python -m (jaxseq\.[\w.]+\w)", text):
        path = ROOT / module.replace(".NAME", "").replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module


def test_every_page_is_in_the_list():
    listed = re.findall(r"\]\((\w[\w.-]*\.md)\)", PAGES["README.md"])
    assert {*listed, "README.md"} == {*PAGES}


def test_measurements_are_the_output_of_the_commands_on_the_page():
    """The page is printed by `benchmarks report`: its head, then sections for commands of `benchmarks measure`."""
    text = PAGES["measurements.md"]
    assert text.startswith(f"{HEAD}\n")
    sections = text.removeprefix(HEAD).split("\n## ")[1:]
    commands = [re.match(r"\w+\n\n```sh\npython -m benchmarks (.+)\n```\n", section)[1] for section in sections]
    assert sorted(commands) == sorted(PAGE.values())
    assert all("\n|---" in section for section in sections)


def test_each_picture_of_a_page_has_a_command_on_it():
    """A block of code or commands on the page names the file that it writes."""
    for page, text in {**PAGES, "the README": (ROOT / "README.md").read_text(encoding="utf-8")}.items():
        code = "\n".join(block for _, block in run_readme.fences(text))
        for picture in re.findall(r'(?:!\[.*?\]\(|<img src=")([^)"]+)', text):
            assert Path(picture).name in code, f"{page}: {picture}"


def test_names_of_the_tables_of_other_libraries_are_there():
    """In the column of jaxseq, a name before a bracket or alone is public."""
    rows = re.findall(r"^\| .+? \| (.+) \|$", PAGES["coming-from.md"], re.MULTILINE)
    known = {*dir(jaxseq), *CELLS, "jnp", "optax", "interop", "cells", "carry"}
    for name in re.findall(r"`([a-z]\w+)[.(]", "\n".join(rows)):
        assert name in known, name
    for path in re.findall(r"`(interop\.\w+\.\w+)", "\n".join(rows)):
        _, module, function = path.split(".")
        assert re.search(rf"^def {function}\(", (ROOT / f"jaxseq/interop/{module}.py").read_text(), re.MULTILINE)


def test_the_reference_is_built_without_a_fault(tmp_path, as_users_have_it):
    """Every public name has a docstring, every name in backquotes is there, and pdoc has no warning."""
    pytest.importorskip("pdoc")
    code = f"from pathlib import Path; from jaxseq.guide._api import build; print(build(Path({str(tmp_path)!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # it sets __all__
    assert done.returncode == 0, done.stderr
    assert not re.search(r"jaxlib|>function</span>", (tmp_path / "jaxseq.html").read_text(encoding="utf-8"))
    assert "c' = f * c + i * g" in (tmp_path / "jaxseq" / "cells.html").read_text(encoding="utf-8")


def test_the_pages_are_listed_and_bad_arguments_are_one_sentence():
    run = lambda *arguments: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "jaxseq.guide", *arguments], capture_output=True, text=True, check=False
    )
    listed = run()
    assert listed.returncode == 0 and "gates.zh.md" in listed.stdout and "步" in listed.stdout
    wrong = run("bake")
    assert wrong.returncode == 2 and "got 'bake'" in wrong.stderr and "Traceback" not in wrong.stderr
