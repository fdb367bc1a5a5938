"""Programs are kept in a folder of one's own, and only by the command line."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxseq.apps import compilation

CODE = """
import jax, jax.numpy as jnp, sys
from jaxseq.apps.compilation import keep_compiled
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
folder = keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if "cache_hits" in event else None)
jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.ones((8, 8))).block_until_ready()
print(folder, len(hits) > 0)
"""


def start(cache: Path, **more: str) -> list[str]:
    env = {k: v for k, v in os.environ.items() if k != compilation.OFF} | {"JAXSEQ_CACHE": str(cache)} | more
    return subprocess.check_output([sys.executable, "-c", CODE], env=env, text=True).split()


def test_the_second_start_finds_what_the_first_compiled(tmp_path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    assert first[0] == second[0] and Path(first[0]).parent == tmp_path / "compiled"
    assert (first[1], second[1]) == ("False", "True")
    assert Path(first[0]).stat().st_mode & 0o077 == 0


def test_it_stays_off_where_asked_or_where_jax_has_a_cache(tmp_path) -> None:
    assert start(tmp_path, **{compilation.OFF: "1"})[0] == "None"
    assert start(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "other"))[0] == "None"
    assert not (tmp_path / "compiled").exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
def test_a_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path))
    monkeypatch.delenv(compilation.OFF, raising=False)
    folder = tmp_path / "compiled" / compilation._processor()
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert compilation.keep_compiled() is None and jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv(compilation.OFF, raising=False)
    assert compilation.keep_compiled() is None and jax.config.jax_compilation_cache_dir is None


def test_importing_jaxseq_sets_nothing() -> None:
    code = "import jax, jaxseq, jaxseq.cli; print(jax.config.jax_compilation_cache_dir)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "None"


def test_programs_that_were_not_used_for_longest_are_removed_above_a_limit(tmp_path, monkeypatch) -> None:
    def fill(folder):
        for n in range(8):  # written in order; the first was used again, last of all
            (folder / f"jit_{n}-cache").write_bytes(bytes(100))
            os.utime(folder / f"jit_{n}-cache", (1000 + (100 if n == 0 else n), 1000 + n))

    def left(folder):
        return sorted(int(path.name[4]) for path in folder.iterdir())

    fill(tmp_path)
    compilation.drop_oldest(tmp_path, most=800, kept=400)
    assert left(tmp_path) == [*range(8)]
    compilation.drop_oldest(tmp_path, most=799, kept=400)
    assert left(tmp_path) == [0, 5, 6, 7]
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(compilation.OFF, raising=False)
    monkeypatch.setattr(compilation.drop_oldest, "__defaults__", (799, 400))
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    folder = tmp_path / "cache" / "compiled" / compilation._processor()
    folder.mkdir(parents=True, mode=0o700)
    fill(folder)
    assert compilation.keep_compiled() == folder and left(folder) == [0, 5, 6, 7]
