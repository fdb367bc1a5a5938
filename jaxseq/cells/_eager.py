"""Eager calls of a cell, compiled: a program is kept for each cell and each shape of its arguments.

Outside of `jax.jit` JAX runs one operation after the other, and compiles a loop anew at every call.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from jaxseq.cells._closed import globals_read, is_closed
from jaxseq.cells._recipe import data_of, is_hashable, join, kept
from jaxseq.errors import InputError
from jaxseq.notation import Array, Tree


def compiled_if_eager(run: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate ``run(cell, options, data)``: a call that no `jax.jit` surrounds is compiled once, with its derivatives.

    It also takes the checks, which look at shapes and dtypes, out of every call but the first. What the functions of a
    custom cell read from their module is compared as well, so that a changed constant is not missed. A cell with a
    closure, which may hold a traced value, runs as it is.

    Args:
      run: pure; `cell` is a Cell, `options` a tuple of static values, `data` a tree of arrays.
    """

    @functools.partial(jax.jit, static_argnums=(0, 1, 2))
    def compiled(static: Hashable, options: tuple[Any, ...], read: Hashable, arrays: list[Array], data: Tree) -> Any:
        return run(join(static, arrays), options, data)

    @functools.wraps(run)
    def call(cell: Any, options: tuple[Any, ...], data: Tree) -> Any:
        static, arrays = data_of(cell)
        if _may_be_kept(cell) and is_closed(options) and all(map(_is_known, jax.tree.leaves((arrays, data)))):
            read = globals_read((cell, options))
            if read is not None and is_hashable(options):
                with contextlib.suppress(InputError):  # raised again below, without what jax adds about its own frames
                    return compiled(static, options, read, arrays, data)
        return run(cell, options, data)

    return call


@kept
def _may_be_kept(cell: Any) -> bool:
    """Return whether a program may be kept for a cell: nothing in it changes, and its static part has a hash."""
    return is_closed(cell) and is_hashable(data_of(cell)[0])


def _is_known(a: Any) -> bool:
    """Return whether a value is an array of known numbers: one that is differentiated or mapped, not compiled for, is.

    What a tracer of jax.grad or jax.vmap wraps is in its `primal` or `val`; those of jax.jit wrap no array.
    """
    if isinstance(a, jax.core.Tracer):
        return _is_known(getattr(a, "primal", getattr(a, "val", None)))
    return isinstance(a, jax.Array | np.ndarray)
