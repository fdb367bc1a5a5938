"""Recurrent cores of haiku: VanillaRNN, LSTM, Conv2DLSTM and GRU, as the parameters that hk.transform returns.

The LSTM's blocks are packed i g f o in one matrix for x and h together, and 1 is added to its forget gate at run time:
ours has it in b, so a round trip rounds this bias once. The GRU resets before the product and its update gate is
reversed (1 writes): our `gru_cho` with z's weights negated. The VanillaRNN is a relu network with two biases, which are
summed; converted back, the second is zero. The same holds for the Conv2DLSTM, which has no peepholes: our p must be
zero to convert to it.

Reference: https://dm-haiku.readthedocs.io/en/latest/api.html#recurrent
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp

from jaxseq.cells import Cell, GRUChoParams, LSTMParams, RNNParams, gru_cho, lstm, rnn_relu
from jaxseq.interop.common import (
    Arrays,
    Found,
    Layout,
    check_version,
    conv_lstm_layout,
    flat,
    forget,
    layout,
    permute,
    read,
    single,
    written,
)
from jaxseq.notation import Array, Params


def _read_lstm(a: Arrays) -> LSTMParams:
    w = permute(a["linear/w"], "igfo", "ifgo")
    # [D+H, 4H]: the rows of x first, then the H of h
    W, U = jnp.split(w, [w.shape[0] - w.shape[1] // 4])
    return LSTMParams(W, U, forget(permute(a["linear/b"], "igfo", "ifgo"), 1.0))


def _write_lstm(p: LSTMParams) -> dict[str, Array]:
    w = permute(jnp.concatenate([p.W, p.U]), "ifgo", "igfo")
    return {"linear/w": w, "linear/b": permute(forget(p.b, -1.0), "ifgo", "igfo")}


def _turn(a: Array) -> Array:
    """Negate the first block of ``[..., 3H]``, z: sigmoid(-a) = 1 - sigmoid(a)."""
    return a.at[..., : a.shape[-1] // 3].multiply(-1)


def _read_gru(a: Arrays) -> GRUChoParams:
    W, U, b = (permute(_turn(a[name]), "zrn", "rzn") for name in ("w_i", "w_h", "b"))
    H = U.shape[0]
    return GRUChoParams(W, U[:, : 2 * H], U[:, 2 * H :], b)


def _write_gru(p: GRUChoParams) -> dict[str, Array]:
    # haiku has z r n in one [H, 3H]; the candidate's part acts on r * h, and is separate in ours
    U = jnp.concatenate([p.U, p.U_n], axis=1)
    return {name: _turn(permute(a, "rzn", "zrn")) for name, a in (("w_i", p.W), ("w_h", U), ("b", p.b))}


def _read_vanilla(a: Arrays) -> RNNParams:
    # both biases are just summed before the relu
    return RNNParams(a["linear/w"], a["linear_1/w"], a["linear/b"] + a["linear_1/b"])


def _write_vanilla(p: RNNParams) -> dict[str, Array]:
    return {"linear/w": p.W, "linear/b": p.b, "linear_1/w": p.U, "linear_1/b": jnp.zeros_like(p.b)}


_VANILLA = {"linear/w": "D H", "linear/b": "H", "linear_1/w": "H H", "linear_1/b": "H?"}

LAYOUTS: dict[str, Layout] = {
    "rnn_relu": Layout(rnn_relu, _VANILLA, _read_vanilla, _write_vanilla),
    "lstm": Layout(lstm, {"linear/w": "D+H 4H", "linear/b": "4H"}, _read_lstm, _write_lstm),
    "conv_lstm": conv_lstm_layout("haiku", "input_to_hidden", "hidden_to_hidden", "w", "b"),
    "gru_cho": Layout(gru_cho, {"w_i": "D 3H", "w_h": "H 3H", "b": "3H"}, _read_gru, _write_gru),
}
"""Layouts by our cell's name."""
NAMES = {"rnn_relu": "vanilla_rnn", "lstm": "lstm", "conv_lstm": "conv2_dlstm", "gru_cho": "gru"}
"""haiku's own name of each core."""


def from_haiku(params: Mapping[str, Any], layer: str, prefix: str | None = None) -> Found:
    """Return ``(cell, params)`` of one haiku recurrent core.

    Args:
      params: from hk.transform's init: modules by name, arrays by name in each.
      layer: rnn_relu for a VanillaRNN, lstm, conv_lstm for a Conv2DLSTM, gru_cho for a GRU.
      prefix: the name of the core in the params of a larger model, such as "my_net/lstm_1".

    A DeepRNN has a core for each layer: convert each by its prefix, and `stack` the cells.

    Raises:
      InputError: if names or shapes are not those of `layer`.

    Example:
      >>> from jaxseq.cells import lstm
      >>> theirs = {"lstm/linear": {"w": jnp.ones((3 + 5, 20)), "b": jnp.zeros(20)}}
      >>> cell, params = from_haiku(theirs, "lstm")
      >>> params.U.shape, params.b[::5].tolist()
      ((5, 20), [0.0, 1.0, 0.0, 0.0])
    """
    check_version("dm-haiku")
    return read(f"from_haiku({layer})", layout("haiku", LAYOUTS, layer), flat(params), prefix)


def to_haiku(cell: Cell, params: Params, name: str | None = None) -> dict[str, dict[str, Array]]:
    """Return haiku's params of a core with that name (by default haiku's own).

    Raises:
      InputError: if haiku has no such layer.
    """
    check_version("dm-haiku")
    cell, params = single("to_haiku", cell, params)
    layer, arrays = written("to_haiku", LAYOUTS, cell, params)
    modules: dict[str, dict[str, Array]] = {}
    for own, a in arrays.items():
        # haiku has {module path: {array: value}}; only the last part of our "linear/w" is the array's name
        module, _, last = f"{name or NAMES[layer]}/{own}".rpartition("/")
        modules.setdefault(module, {})[last] = a
    return modules


def as_haiku(cell: Cell, **options: Any) -> Callable[..., Any]:
    """Return the constructor of a haiku.RNNCore for `cell`, used like hk.LSTM.

    A core is ``as_haiku(cell)(hidden_size, input_shape=None, dtype=jnp.float32, name=None)`` within hk.transform; the
    input size is that of the first input. ``initial_state(batch_size)`` is called before haiku has an input: cells
    whose state depends on the input's shape (gru_d, qrnn, t_gru, t_lstm, conv_gru, conv_lstm) need `input_shape`, the
    shape of one input without batch axes. The parameters have our names.

    Args:
      cell: any Cell, such as a stack.
      options: options of the cell's init: ``as_haiku(lstm, forget_bias=0.0)``.

    Example:
      >>> import haiku as hk, jax
      >>> from jaxseq.cells import janet
      >>> def network(xs):
      ...     core = as_haiku(janet)(5)
      ...     return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))
      >>> network, xs = hk.without_apply_rng(hk.transform(network)), jnp.ones((7, 2, 3))  # [T, B, D]
      >>> params = network.init(jax.random.key(0), xs)
      >>> outs, state = network.apply(params, xs)
      >>> outs.shape, params["janet"]["W"].shape
      ((7, 2, 5), (3, 10))
      >>> own = janet.params_type(**params["janet"])  # for jaxseq's own tools, such as unroll
    """
    check_version("dm-haiku")
    from jaxseq.interop.layers import common, haiku

    return partial(haiku.HaikuCore, cell, common.checked("as_haiku", cell, options))
