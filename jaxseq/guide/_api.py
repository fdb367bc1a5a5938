"""The reference of every public name, made of the docstrings by pdoc (extra ``docs``), and checked.

A build fails, with a list, where a public name has no docstring, where a name in backquotes that begins with
``jaxseq.`` is not there, or where pdoc has a warning.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import re
import sys
import typing
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxseq.cells import CELLS, Cell
from jaxseq.errors import InputError

MODULES = (
    "jaxseq", "jaxseq.cells", "jaxseq.attention", "jaxseq.recurrence", "jaxseq.seq2seq", "jaxseq.decode",
    "jaxseq.losses", "jaxseq.forcing", "jaxseq.train", "jaxseq.optimizers", "jaxseq.order", "jaxseq.checkpoint",
    "jaxseq.initializers", "jaxseq.regularisers", "jaxseq.interventions", "jaxseq.precision", "jaxseq.testing",
    "jaxseq.interop.torch", "jaxseq.interop.flax", "jaxseq.interop.haiku", "jaxseq.interop.equinox",
    "jaxseq.interop.keras", "jaxseq.interop.files", "jaxseq.program", "jaxseq.problems", "jaxseq.study", "jaxseq.plots",
    "jaxseq.errors", "jaxseq.notation",
)  # fmt: skip
"""The modules that research code imports. The applications are used from the command line; the guide describes them."""


class Built(NamedTuple):
    """How many ``modules`` and public ``names`` a reference has."""

    modules: int
    names: int


def build(folder: Path) -> Built:
    """Write the reference into a folder as HTML, and return its size.

    Raises:
      InputError: without pdoc; naming every public name without a docstring and every reference that leads nowhere.
    """
    if importlib.util.find_spec("pdoc") is None:
        raise InputError('the reference is built by pdoc: pip install "jaxseq[docs]"')
    import pdoc
    from pdoc import doc, render

    render.configure(docformat="google", footer_text="jaxseq")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pages = {name: doc.Module(_told(name)) for name in MODULES}
        names = [member for page in pages.values() for member in _members(page)]
        for member in names:
            _described(member)
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            file = folder / f"{name.replace('.', '/')}.html"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_public_names(render.html_module(page, pages)), encoding="utf-8")
        (folder / "index.html").write_text(render.html_index(pages), encoding="utf-8")
        (folder / "search.js").write_text(render.search_index(pages), encoding="utf-8")
    faults = [*_undocumented(names), *_leading_nowhere([*pages.values(), *names])]
    faults += sorted({str(one.message) for one in caught})
    if faults:
        raise InputError(f"{pdoc.__name__}: {len(faults)} faults:\n" + "\n".join(faults))
    return Built(len(pages), len(names))


def _public_names(html: str) -> str:
    """Return a page with ``jax.Array`` for that class' own, private path, and functions by their names alone."""
    dot = '<span class="o">.</span>'
    private = dot.join(f'<span class="n">{name}</span>' for name in ("jax", "jaxlib", "_jax", "Array"))
    public = f'<span class="n">jax</span>{dot}<span class="n">Array</span>'
    html = re.sub(r"&lt;function (\w+)&gt;", r"\1", html.replace(private, public))
    less, name, more = (
        f'<span class="{kind}">{text}</span>' for kind, text in zip("ono", ("&lt;", r"\w+", "&gt;"), strict=True)
    )
    return re.sub(f'{less}<span class="n">function</span> ({name}){more}', r"\1", html)  # a default


def _told(name: str) -> Any:
    """Return a module with ``__all__``: pdoc takes from private modules only the names in it."""
    module: Any = importlib.import_module(name)
    for lazy in {*getattr(module, "__all__", ())} - {*vars(module)}:
        setattr(module, lazy, getattr(module, lazy))  # pdoc looks in the module's dictionary
    if not hasattr(module, "__all__") and hasattr(module, "__path__"):
        public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        module.__all__ = sorted(key for key, value in public.items() if _is_of(name, value))
    if name == "jaxseq":  # the parts that are imported at their first use are pages as well
        module.__all__ = [*dict.fromkeys([*module.__all__, *(path.split(".")[1] for path in MODULES[1:])])]
    for value in [*vars(module).values()]:
        if inspect.isclass(value) and issubclass(value, tuple) and hasattr(value, "_fields"):
            _typed(value)
    return module


def _typed(named: type) -> None:
    """Give the constructor of a NamedTuple, which has no module to look names up in, the types themselves."""
    with contextlib.suppress(NameError, TypeError):  # of names for type checkers alone
        named.__new__.__annotations__ = typing.get_type_hints(named)


def _is_of(package: str, value: Any) -> bool:
    """Return whether a class or function is defined in a package; any other value is, but for a module."""
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__module__.startswith(package)
    return not inspect.ismodule(value)


def _members(page: Any) -> Iterator[Any]:
    """Yield the public members of a module, and those of its classes; no submodules, which are pages of their own."""
    for member in page.members.values():
        if member.kind == "module" or member.name.startswith("_") or isinstance(_value(member), TypeVar):
            continue
        yield member
        if member.kind == "class":
            yield from (one for one in member.own_members if not one.name.startswith("_"))


def _value(member: Any) -> Any:
    return getattr(member, "default_value", None)


def _described(member: Any) -> None:
    """Give a value the text that it has at home, where pdoc, which reads this module's source, sees none.

    A cell's are its equations.
    """
    if member.docstring.startswith(("Alias for field number", "Create new instance of")):
        member.docstring = ""  # Python's own words for the fields of a tuple
    if member.kind != "variable" or member.docstring:
        return
    value = _value(member)
    if isinstance(value, Cell) and value.name in CELLS:
        member.docstring = inspect.getdoc(value) or ""
        return
    from pdoc import doc

    for name, home in [*sys.modules.items()]:
        if name.startswith("jaxseq.") and vars(home).get(member.name) is value:
            there = doc.Module(home).members.get(member.name)
            if there is not None and there.docstring:
                member.docstring = there.docstring
                return


def _undocumented(names: list[Any]) -> Iterator[str]:
    """Yield the names without a docstring; fields of tuples are described by their class."""
    for member in names:
        in_a_tuple = "." in member.qualname and (member.kind == "variable" or member.name == "__init__")
        if not member.docstring.strip() and not in_a_tuple:
            yield f"{member.fullname} has no docstring"


def _leading_nowhere(named: list[Any]) -> Iterator[str]:
    """Yield each name in backquotes that begins with the package's and is not there."""
    for member in named:
        for reference in re.findall(r"`(jaxseq(?:\.\w+)+)`", member.docstring):
            if not _is_there(reference):
                yield f"{member.fullname}: `{reference}` is not there"


def _is_there(reference: str) -> bool:
    parts = reference.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            if not hasattr(value, part):
                return part in getattr(value, "__annotations__", {})
            value = getattr(value, part)
        return True
    return False
