"""Recurrent layers of equinox: nn.LSTMCell and nn.GRUCell, with and without biases.

Matrices are transposed; blocks are in our order; there is one bias, and the GRU's candidate has a second, as in ours.
Both conversions are exact.

Reference: https://docs.kidger.site/equinox/api/nn/rnn/
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from jaxseq.cells import Cell, GRUParams, LSTMParams, gru, lstm
from jaxseq.errors import InputError
from jaxseq.interop.common import Arrays, Found, Layout, check_version, must_be_zero, read, single, written
from jaxseq.notation import Array, Params


def _layout(cell: Cell, params_type: Any, shapes: dict[str, str]) -> Layout:
    def read(a: Arrays) -> Params:
        # the order of `shapes` is that of our params: W, U, b, and b_hn of a gru
        W, U, *biases = (a[name] for name in shapes)
        return params_type(W.T, U.T, *biases)

    def write(p: Any) -> dict[str, Array]:
        return dict(zip(shapes, (p.W.T, p.U.T, *p[2:]), strict=True))

    return Layout(cell, shapes, read, write)


LAYOUTS: dict[str, Layout] = {
    "lstm": _layout(lstm, LSTMParams, {"weight_ih": "4H D", "weight_hh": "4H H", "bias": "4H?"}),
    "gru": _layout(gru, GRUParams, {"weight_ih": "3H D", "weight_hh": "3H H", "bias": "3H?", "bias_n": "H?"}),
}
"""Layouts by our cell's name."""


def from_equinox(module: Any) -> Found:
    """Return ``(cell, params)`` of an equinox.nn.LSTMCell or GRUCell, or of a layer that `as_equinox` made.

    Raises:
      InputError: if it is neither.
    """
    check_version("equinox")
    import equinox

    from jaxseq.interop.layers.equinox import EquinoxCell

    if isinstance(module, EquinoxCell):
        return module.cell, module.params
    kinds = {equinox.nn.LSTMCell: "lstm", equinox.nn.GRUCell: "gru"}
    # type(...) is: a subclass may compute something else
    if type(module) not in kinds:
        raise InputError(f"from_equinox: expected an equinox.nn.LSTMCell or GRUCell; got {type(module)}")
    form = LAYOUTS[kinds[type(module)]]
    # a layer without biases has None here: it is left out, and `fit` makes it zeros
    arrays = {name: a for name in form.shapes if (a := getattr(module, name)) is not None}
    return read("from_equinox", form, arrays)


def to_equinox(cell: Cell, params: Params, *, use_bias: bool = True) -> Any:
    """Return the equinox.nn.LSTMCell or GRUCell; with use_bias=False without biases, which must be zero in ours.

    Raises:
      InputError: if equinox has no such layer, or if a bias that would be left out is not zero.

    Example:
      >>> from jaxseq.cells import lstm
      >>> module = to_equinox(lstm, lstm.init(jax.random.key(0), 3, 5))
      >>> module.weight_ih.shape, from_equinox(module)[0].name
      ((20, 3), 'lstm')
    """
    check_version("equinox")
    import equinox

    cell, params = single("to_equinox", cell, params)
    name, arrays = written("to_equinox", LAYOUTS, cell, params)
    if not use_bias:
        # after the two matrices come the biases
        must_be_zero("to_equinox", "use_bias=False leaves the bias out", *list(arrays.values())[2:])
        arrays = dict(list(arrays.items())[:2])
    kind = {"lstm": equinox.nn.LSTMCell, "gru": equinox.nn.GRUCell}[name]
    D, H = params.W.shape[0], params.U.shape[0]
    # shapes alone: drawn weights would be replaced at once
    empty = equinox.filter_eval_shape(kind, D, H, use_bias, params.W.dtype, key=jax.random.key(0))
    return equinox.tree_at(lambda m: [getattr(m, n) for n in arrays], empty, list(arrays.values()))


def as_equinox(cell: Cell, **options: Any) -> Callable[..., Any]:
    """Return the constructor of an equinox.Module for `cell`, used like equinox.nn.LSTMCell.

    A module is ``as_equinox(cell)(input_size, hidden_size, dtype=None, key=key)``. It takes ``(input, hidden)``, and
    returns ``(hidden, out)``, since some cells' output is not in their state. Its parameters are
    ``layer.params``.

    Args:
      cell: any Cell, such as a stack.
      options: options of the cell's init: ``as_equinox(lstm, forget_bias=0.0)``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxseq.cells import janet
      >>> layer = as_equinox(janet)(3, 5, key=jax.random.key(0))
      >>> run = lambda xs: jax.lax.scan(lambda hidden, x: layer(x, hidden), layer.initial_state(), xs)
      >>> hidden, outs = jax.vmap(run)(jnp.ones((2, 7, 3)))  # [B, T, D]
      >>> outs.shape, layer.params.W.shape
      ((2, 7, 5), (3, 10))
    """
    check_version("equinox")
    from jaxseq.interop.layers import common, equinox

    return partial(equinox.EquinoxCell, cell, common.checked("as_equinox", cell, options))
