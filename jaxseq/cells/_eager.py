"""Compiled eager calls of a cell: a program is cached for each cell and each shape of its arguments.

Outside `jax.jit`, JAX runs one operation after the other, and compiles a loop again at every call.
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
    """Decorate ``run(cell, options, data)``: a call outside `jax.jit` is compiled once, with its derivatives.

    The checks, which look at shapes and dtypes, then run only in the first call. What a custom cell's functions read
    from their module is compared too, so a changed constant is noticed. A cell with a closure, which may hold a traced
    value, is not cached.

    Args:
      run: a pure function of `cell`, a Cell; `options`, a tuple of static values; and `data`, a tree of arrays.
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
                with contextlib.suppress(InputError):  # raised again below, without JAX's note about its own frames
                    return compiled(static, options, read, arrays, data)
        return run(cell, options, data)

    return call


@kept
def _may_be_kept(cell: Any) -> bool:
    """Return whether a program may be cached for a cell: nothing in it changes, and its static part is hashable."""
    return is_closed(cell) and is_hashable(data_of(cell)[0])


def _is_known(a: Any) -> bool:
    """Return whether a value is a concrete array, possibly under `jax.grad` or `jax.vmap`, but not `jax.jit`.

    A tracer of jax.grad or jax.vmap wraps its value in `primal` or `val`; those of jax.jit wrap no array.
    """
    if isinstance(a, jax.core.Tracer):
        return _is_known(getattr(a, "primal", getattr(a, "val", None)))
    return isinstance(a, jax.Array | np.ndarray)
