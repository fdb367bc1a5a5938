"""Recurrent layers of keras: SimpleRNN, LSTM, GRU, their cells, ConvLSTM2D; RNN of cells, Bidirectional, Sequential.

The LSTM's blocks are packed as ours (keras calls the candidate c), the GRU's as z r h. A GRU with reset_after has two
biases, which are summed except for the candidate's; converted back, the rest of the second is zero. Without reset_after
it is our `gru_cho`. unit_forget_bias changes only how keras draws the bias, not the equations. ConvLSTM2D has no
peepholes: our p must be zero to convert to it.

On JAX, keras 3.15 computes tanh in float32 whatever the dtype of its layer: its float64 outputs are accurate only to
1e-7.

Reference: https://keras.io/api/layers/recurrent_layers/
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseq._layers import Bidirectional
from jaxseq.cells import (
    Cell,
    GRUChoParams,
    GRUParams,
    LSTMParams,
    RNNParams,
    conv_lstm,
    gru,
    gru_cho,
    lstm,
    rnn,
    rnn_relu,
)
from jaxseq.cells._conv_lstm import ConvLSTMParams
from jaxseq.errors import InputError
from jaxseq.interop.common import (
    Arrays,
    Found,
    Layout,
    check_version,
    must_be_zero,
    permute,
    read,
    taken_apart,
    whole,
    written,
)
from jaxseq.notation import Array, Params


def _layout(cell: Cell, params_type: Any, G: str) -> Layout:
    def read(a: Arrays) -> Params:
        return params_type(a["kernel"], a["recurrent_kernel"], a["bias"])

    def write(p: Any) -> dict[str, Array]:
        return {"kernel": p.W, "recurrent_kernel": p.U, "bias": p.b}

    return Layout(cell, {"kernel": f"D {G}H", "recurrent_kernel": f"H {G}H", "bias": f"{G}H?"}, read, write)


def _turned(a: Arrays) -> list[Array]:
    return [permute(a[name], "zrn", "rzn") for name in ("kernel", "recurrent_kernel", "bias")]


def _read_gru(a: Arrays) -> GRUParams:
    W, U, b = _turned(a)
    H = U.shape[0]
    # bias [2, 3H]: of the input, of h. r and z add them; n's second stays inside the reset product, as b_hn
    return GRUParams(W, U, b[0].at[: 2 * H].add(b[1, : 2 * H]), b[1, 2 * H :])


def _write_gru(p: GRUParams) -> dict[str, Array]:
    # [2, 3H], the second row zero for r and z
    b = jnp.stack([p.b, jnp.pad(p.b_hn, (2 * p.b_hn.shape[0], 0))])
    names = {"kernel": p.W, "recurrent_kernel": p.U, "bias": b}
    return {name: permute(a, "rzn", "zrn") for name, a in names.items()}


def _read_cho(a: Arrays) -> GRUChoParams:
    W, U, b = _turned(a)
    H = U.shape[0]
    # the candidate's part acts on r * h, another operand, so it is a separate matrix in ours
    return GRUChoParams(W, U[:, : 2 * H], U[:, 2 * H :], b)


def _write_cho(p: GRUChoParams) -> dict[str, Array]:
    names = {"kernel": p.W, "recurrent_kernel": jnp.concatenate([p.U, p.U_n], axis=1), "bias": p.b}
    return {name: permute(a, "rzn", "zrn") for name, a in names.items()}


def _conv_lstm() -> Layout:
    def read(a: Arrays) -> ConvLSTMParams:
        # [3H]: peepholes of i, f and o
        p = jnp.zeros_like(a["bias"][: a["bias"].shape[0] // 4 * 3])
        return ConvLSTMParams(a["kernel"], a["recurrent_kernel"], a["bias"], p)

    def write(p: ConvLSTMParams) -> dict[str, Array]:
        must_be_zero("to_keras", "ConvLSTM2D has no peepholes to hold p", p.p)
        return {"kernel": p.W, "recurrent_kernel": p.U, "bias": p.b}

    return Layout(conv_lstm, {"kernel": "R C D 4H", "recurrent_kernel": "R C H 4H", "bias": "4H?"}, read, write)


_GRU = {"kernel": "D 3H", "recurrent_kernel": "H 3H"}

LAYOUTS: dict[str, Layout] = {
    "rnn": _layout(rnn, RNNParams, ""),
    "rnn_relu": _layout(rnn_relu, RNNParams, ""),
    "lstm": _layout(lstm, LSTMParams, "4"),
    "conv_lstm": _conv_lstm(),
    "gru": Layout(gru, {**_GRU, "bias": "2 3H?"}, _read_gru, _write_gru),
    "gru_cho": Layout(gru_cho, {**_GRU, "bias": "3H?"}, _read_cho, _write_cho),
}
"""Layouts by our cell's name; gru_cho is a GRU with reset_after=False."""


def from_keras(layer: Any) -> tuple[Any, Params]:
    """Return ``(cell, params)`` of a built keras layer, of any backend.

    Args:
      layer: a SimpleRNN, LSTM, GRU, their cells, a ConvLSTM2D, an RNN of such a cell or of a list of them, a
        Bidirectional, or a list or Sequential of all these.

    Returns:
      A cell and its params; for several layers a stack; for a Bidirectional params that are `Bidirectional`; for
      several layers including one of these, tuples, which `jaxseq.layers` runs. Dropout, masking, stateful and
      return_sequences are not weights; our time axis is the first.

    Raises:
      InputError: if it is another layer, is not built, goes backwards, or has an activation that our cells lack.
    """
    check_version("keras")
    return whole(_layers(layer))


def _layers(layer: Any) -> list[Found]:
    from keras import Sequential, layers as kl

    if isinstance(layer, list | tuple):
        return [found for one in layer for found in _layers(one)]
    if isinstance(layer, Sequential):
        return _layers(layer.layers)
    if isinstance(layer, kl.Bidirectional):
        return [_both(layer)]
    if isinstance(layer, kl.StackedRNNCells):
        return _layers(layer.cells)
    # LSTM, GRU and SimpleRNN are RNNs as well, each with its cell
    if isinstance(layer, kl.RNN):
        if layer.go_backwards:
            raise InputError(
                "from_keras: go_backwards does not belong to a cell; convert layer.cell, and unroll(..., reverse=True)"
            )
        return _layers(layer.cell)
    return [_one(layer)]


def _both(layer: Any) -> Found:
    if layer.merge_mode != "concat":
        raise InputError(f"from_keras: our bidirectional layer concatenates; this has merge_mode={layer.merge_mode!r}")
    if layer.forward_layer.go_backwards:
        raise InputError("from_keras: the forward layer of this Bidirectional goes backwards; exchange the two")
    # side.cell instead of side: the backward layer has go_backwards, which is correct here
    (ahead,), (behind,) = (_single(_layers(side.cell)) for side in (layer.forward_layer, layer.backward_layer))
    if ahead[0] != behind[0]:
        raise InputError(f"from_keras: both directions must be the same cell; got {ahead[0].name}, {behind[0].name}")
    return ahead[0], Bidirectional(ahead[1], behind[1])


def _single(found: list[Found]) -> list[Found]:
    if len(found) > 1:
        raise InputError("from_keras: a Bidirectional of several cells cannot be represented; use one for each layer")
    return found


def _one(cell: Any) -> Found:
    from keras import activations, layers as kl

    module, name = type(cell).__module__, type(cell).__name__
    convolves = module.startswith("keras.") and name == "ConvLSTMCell"  # which keras does not export
    if not (convolves or isinstance(cell, kl.SimpleRNNCell | kl.LSTMCell | kl.GRUCell)):
        raise InputError(f"from_keras: expected a SimpleRNN, an LSTM, a GRU, or layers of these; got {type(cell)}")
    if not cell.built:
        raise InputError(f"from_keras: {cell.name} has no weights yet; call it, or its build, first")
    wanted = {"activation": {"tanh": activations.tanh}, "recurrent_activation": {"sigmoid": activations.sigmoid}}
    if isinstance(cell, kl.SimpleRNNCell):
        wanted = {"activation": {"tanh": activations.tanh, "relu": activations.relu}}
    # compare functions instead of names: a user's function may have the same name
    for name, known in wanted.items():
        if getattr(cell, name) not in known.values():
            raise InputError(
                f"from_keras: {cell.name} has {name}={getattr(cell, name).__name__}, "
                f"our cells have {' or '.join(known)}"
            )
    if isinstance(cell, kl.SimpleRNNCell):
        kind = "rnn" if cell.activation is activations.tanh else "rnn_relu"
    elif isinstance(cell, kl.LSTMCell):
        kind = "lstm"
    elif convolves:
        kind = "conv_lstm"
        # our conv_lstm keeps the picture size, so its carry has the size of the input
        plain = cell.rank == 2 and cell.padding == "same" and {*cell.strides, *cell.dilation_rate} == {1}
        if not plain or cell.data_format != "channels_last":
            raise InputError(
                "from_keras: our conv_lstm has pictures of one size: ConvLSTM2D, padding='same', channels last, no "
                "strides, no dilation"
            )
    else:
        kind = "gru" if cell.reset_after else "gru_cho"
    # a layer without a bias has None here: it is left out, and `fit` makes it zeros
    arrays = {name: _value(v) for name in LAYOUTS[kind].shapes if (v := getattr(cell, name)) is not None}
    return read("from_keras", LAYOUTS[kind], arrays)


def _value(variable: Any) -> Any:
    from keras import backend, ops

    # on JAX without a copy, and traceable; other backends go through NumPy
    return variable.value if backend.backend() == "jax" else ops.convert_to_numpy(variable)


def to_arrays(cell: Any, params: Params) -> list[Array]:
    """Return the weights of the layer of `to_keras`, in the order of ``layer.set_weights``."""
    arrays: list[Array] = []
    for one, own in taken_apart("to_keras", cell, params):
        for p in own if isinstance(own, Bidirectional) else (own,):
            arrays += written("to_keras", LAYOUTS, one, p)[1].values()
    return arrays


def to_keras(cell: Any, params: Params, *, use_bias: bool = True, picture: tuple[int, int] | None = None) -> Any:
    """Return the built keras layer, with return_sequences; for several layers a Sequential.

    Args:
      cell: a cell, a stack, or a tuple of cells as for `jaxseq.layers`.
      params: its params.
      use_bias: False for layers without biases; ours must be zero then.
      picture: rows and columns for a conv_lstm; keras fixes them when a layer is built.

    Raises:
      InputError: if keras has no such layer.
    """
    check_version("keras")
    import keras

    found = taken_apart("to_keras", cell, params)
    made = [_make(one, own, use_bias) for one, own in found]
    layer = made[0]
    # either direction will do: their W have the same shape
    first = found[0][1].forward if isinstance(found[0][1], Bidirectional) else found[0][1]
    if (found[0][0] == conv_lstm) != (picture is not None):
        raise InputError("to_keras: picture=(rows, columns) must be given for a conv_lstm, and for no other cell")
    # [T, rows, columns, D]: T is open
    shape = (None, *(picture or ()), first.W.shape[-2])
    if len(made) > 1:
        layer = keras.Sequential([keras.Input(shape, dtype=str(first.W.dtype)), *made])
    else:
        # weights exist only after build; the batch size is left open
        layer.build((None, *shape))
    weights = to_arrays(cell, params)
    if not use_bias:
        # each third: kernel, recurrent_kernel, bias
        must_be_zero("to_keras", "use_bias=False leaves the bias out", *weights[2::3])
        del weights[2::3]
    layer.set_weights([np.asarray(a) for a in weights])
    return layer


OPTIONS: dict[str, dict[str, Any]] = {
    "rnn_relu": {"activation": "relu"},
    "conv_lstm": {"padding": "same"},
    "gru": {"reset_after": True},
    "gru_cho": {"reset_after": False},
}
"""Arguments that make keras's class equal to our cell."""


def _make(cell: Cell, params: Params, use_bias: bool) -> Any:
    from keras import layers as kl

    kind = written("to_keras", LAYOUTS, cell, params.forward if isinstance(params, Bidirectional) else params)[0]
    kinds = {"rnn": kl.SimpleRNN, "rnn_relu": kl.SimpleRNN, "lstm": kl.LSTM, "conv_lstm": kl.ConvLSTM2D}
    make = kinds.get(kind, kl.GRU)

    def one(p: Any, **more: Any) -> Any:
        if kind == "conv_lstm":
            more |= {"kernel_size": p.W.shape[:2]}
        common = {"return_sequences": True, "use_bias": use_bias, "dtype": str(p.W.dtype)}
        # [H, G*H], or [R, C, H, 4H] for a convolution: H either way
        return make(p.U.shape[-2], **common, **OPTIONS.get(kind, {}), **more)

    if isinstance(params, Bidirectional):
        backward = one(params.backward, go_backwards=True)
        return kl.Bidirectional(one(params.forward), backward_layer=backward, dtype=str(params.forward.W.dtype))
    return one(params)
