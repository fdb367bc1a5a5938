"""The report on an installation: sound where all is well, and a report still where something is broken."""

import importlib.metadata
import json
import os
import sys

import jax
import pytest

from jaxseq import __version__, fonts
from jaxseq.apps import doctor

REQUIRES = [
    "jax>=0.10.0",
    "tyro>=1; extra == 'apps'",
    "tyro>=1; extra == 'test'",  # as an extra that brings another is written down
    "pytest>=8.3; extra == 'test'",
    "no-such-package==1; python_version >= '3' and extra == 'test'",
    "torch==2; python_version < '3' and extra == 'bench'",
    'ruff-that-is-not-here>=0.15; extra == "lint"',
]


@pytest.fixture
def versions(monkeypatch):
    """Return a dict of versions that the report believes in; packages that are not in it are looked up."""
    told: dict[str, str] = {}
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: told.get(name) or real(name))
    return told


def test_reports_what_is_here(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path / "not" / "yet"))
    facts = doctor.report()
    assert facts["jaxseq"] == __version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["versions"]["jax"] == jax.__version__
    assert set(facts["versions"]) == {"jax", "jaxlib", "optax", "numpy", "matplotlib", "safetensors"}
    assert facts["backend"] == jax.default_backend()
    assert facts["devices"] == [str(device) for device in jax.devices()]
    assert facts["default float"] == "float64 (x64 on)"  # as conftest sets it
    assert facts["cache"] == f"{tmp_path / 'not' / 'yet'} (writable)"
    assert not (tmp_path / "not").exists()  # looking changes nothing
    assert json.loads(json.dumps(facts)) == facts


def test_x64_off_is_told():
    jax.config.update("jax_enable_x64", False)
    try:
        assert doctor.report()["default float"] == "float32 (x64 off)"
    finally:
        jax.config.update("jax_enable_x64", True)


def test_warns_of_the_jaxlib_that_is_wrong_in_float64(versions):
    versions["jaxlib"] = "0.10.2"
    assert any("float64" in warning for warning in doctor.report()["warnings"])
    versions["jaxlib"] = "0.12.0"
    assert not any("float64" in warning for warning in doctor.report()["warnings"])


def test_warns_of_the_slow_jaxlib_only(versions):
    versions["jaxlib"] = "0.11.1"
    assert any("40101" in warning for warning in doctor.report()["warnings"])
    versions["jaxlib"] = "0.11.2"
    assert not any("40101" in warning for warning in doctor.report()["warnings"])


def test_warns_where_no_font_is_chinese(monkeypatch):
    monkeypatch.setattr(fonts, "chinese_fonts", list)
    facts = doctor.report()
    assert any("fonts-wqy-microhei" in warning for warning in facts["warnings"])
    monkeypatch.setattr(fonts, "chinese_fonts", lambda: ["A Font"])
    facts = doctor.report()
    assert facts["Chinese fonts"] == ["A Font"]
    assert not any("font" in warning for warning in facts["warnings"])


def test_a_cache_folder_that_is_a_file_or_under_one_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("JAXSEQ_CACHE", str(folder))
        facts = doctor.report()
        assert facts["cache"] == f"{folder} (not writable)"
        assert any("JAXSEQ_CACHE" in warning and str(folder) in warning for warning in facts["warnings"])


def test_a_cache_folder_without_permission_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    monkeypatch.setenv("JAXSEQ_CACHE", str(tmp_path))
    assert doctor.report()["cache"].endswith("(not writable)")


def test_a_backend_that_does_not_start_is_a_warning(monkeypatch):
    def broken():
        raise RuntimeError("Unable to initialize backend 'cuda'\nand much more")

    monkeypatch.setattr(jax, "default_backend", broken)
    facts = doctor.report()
    assert facts["devices"] == [] and facts["backend"] == "none"
    assert any("Unable to initialize backend 'cuda'; try" in warning for warning in facts["warnings"])


def test_extras_say_what_is_here_and_how_to_add_the_rest(monkeypatch, versions):
    versions.update(pytest="8.4.0", tyro="1.2")
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)
    assert doctor.report()["extras"] == {
        "apps": "tyro 1.2",
        "test": 'pytest 8.4.0; not installed: no-such-package; pip install "jaxseq[test]"',
        "bench": "nothing to add on this Python",
        "lint": 'not installed: ruff-that-is-not-here; pip install "jaxseq[lint]"',
    }


def test_a_checkout_that_is_not_installed_has_no_extras(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert doctor.report()["extras"] == {}


def test_render_aligns_and_leaves_nothing_out():
    facts = {
        "jaxseq": "1.0", "versions": {"jax": "0.12", "safetensors": "missing"}, "devices": ["a", "b"],
        "Chinese fonts": [], "extras": {"lint": "ruff missing"}, "warnings": ["one", "two " * 30],
    }  # fmt: skip
    lines = doctor.render(facts).split("\n")
    assert lines == [
        "jaxseq         1.0",
        "jax            0.12",
        "safetensors    missing",
        "devices        a, b",
        "Chinese fonts  none",
        "[lint]         ruff missing",
        "! one",
        "! " + " ".join(["two"] * 24),
        "  " + " ".join(["two"] * 6),
    ]


def test_a_whole_report_renders(capsys):
    facts = doctor.report()
    text = doctor.render(facts)
    assert all(version in text for version in facts["versions"].values())
    assert ("no warnings" in text) == (not facts["warnings"])
    assert capsys.readouterr() == ("", "")


def test_glibc_is_told_of_larger_pages_until_it_has_them(monkeypatch):
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "GLIBC_TUNABLES=glibc.malloc.hugetlb=1 saves" in doctor.report()["malloc"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert doctor.report()["malloc"] == "glibc glibc.malloc.hugetlb=1"
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    monkeypatch.delenv("GLIBC_TUNABLES")
    assert doctor.report()["malloc"] == "unknown C library"
