"""Cells of flax: linen's and nnx's SimpleCell, LSTMCell, OptimizedLSTMCell, GRUCell; linen's MGU and ConvLSTM.

Gates have the same meaning and order as here; most cells have a separate kernel for each gate. The LSTM's biases are
with h, the GRU's with x. The LSTM's carry is (c, h), ours is (h, c). Special cases:

- nnx.GRUCell has no bias inside the reset product, our b_hn: it must be zero to convert a gru to it.
- SimpleCell(residual=True) adds h before the activation: an identity in our U.
- MGUCell is not the paper's (our `mgu`): its f retains, and resets after the product. It is our `gru` with two equal
  gates, and without reset_gate our `ugrnn`. A gru is converted to a GRUCell.
- ConvLSTMCell adds 1 to the forget gate at run time, which ours has in b, so a round trip rounds this bias once; its
  two biases are summed, and the second becomes zero; our peepholes p must be zero to convert to it.

Reference: https://flax.readthedocs.io/en/stable/api_reference/flax.linen/layers.html#recurrent and flax.nnx likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq._layers import Bidirectional
from jaxseq.cells import Cell, GRUParams, LSTMParams, RNNParams, gru, lstm, rnn, rnn_relu, ugrnn
from jaxseq.cells._ugrnn import UGRNNParams
from jaxseq.errors import InputError
from jaxseq.interop.common import (
    Arrays,
    Found,
    Layout,
    check_version,
    conv_lstm_layout,
    flat,
    layout,
    must_be_zero,
    nested,
    read,
    taken_apart,
    written,
)
from jaxseq.notation import Array, Params


def _join(a: Arrays, names: list[str]) -> Array:
    return jnp.concatenate([a[name] for name in names], axis=-1)


def _cut(a: Array, names: list[str]) -> dict[str, Array]:
    return dict(zip(names, jnp.split(a, len(names), axis=-1), strict=True))


def _by_gate(cell: Cell, params_type: Any, inputs: str, hidden: str, biased: str) -> Layout:
    """Return the layout with a kernel for each gate: `inputs` and `hidden` are their names, `biased` have a bias."""
    W, U, b = ([f"{n}/{what}" for n in names.split()] for names, what in
               ((inputs, "kernel"), (hidden, "kernel"), (biased, "bias")))  # fmt: skip

    def read(a: Arrays) -> Params:
        return params_type(_join(a, W), _join(a, U), _join(a, b))  # W [D, G*H], U [H, G*H], b [G*H]

    def write(p: Any) -> dict[str, Array]:
        return {**_cut(p.W, W), **_cut(p.U, U), **_cut(p.b, b)}

    return Layout(cell, dict.fromkeys(W, "D H") | dict.fromkeys(U, "H H") | dict.fromkeys(b, "H"), read, write)


def _gru_by_gate() -> Layout:
    form = _by_gate(gru, lambda W, U, b: (W, U, b), "ir iz in", "hr hz hn", "ir iz in")  # hn has the only bias of h

    def read(a: Arrays) -> Params:
        W, U, b = form.read(a)
        return GRUParams(W, U, b, a["hn/bias"])

    def write(p: GRUParams) -> dict[str, Array]:
        return {**form.write(p), "hn/bias": p.b_hn}

    return Layout(gru, {**form.shapes, "hn/bias": "H"}, read, write)


def _packed(cell: Cell, params_type: Any, G: str, bias: str) -> Layout:
    """Return nnx's layout with one kernel for all gates."""

    def read(a: Arrays) -> Params:
        return params_type(a["dense_i/kernel"], a["dense_h/kernel"], a[bias])

    def write(p: Any) -> dict[str, Array]:
        return {"dense_i/kernel": p.W, "dense_h/kernel": p.U, bias: p.b}

    return Layout(cell, {"dense_i/kernel": f"D {G}H", "dense_h/kernel": f"H {G}H", bias: f"{G}H"}, read, write)


def _packed_gru() -> Layout:
    def parts(W: Array, U: Array, b: Array) -> GRUParams:
        return GRUParams(W, U, b, jnp.zeros_like(U[:, 0]))  # b_hn [H]

    form = _packed(gru, parts, "3", "dense_i/bias")

    def write(p: GRUParams) -> dict[str, Array]:
        must_be_zero("to_nnx", "nnx.GRUCell has no bias to hold b_hn", p.b_hn)
        return form.write(p)

    return form._replace(write=write)


def _tied() -> Layout:
    """Return the layout of MGUCell with its reset gate, read as a gru whose gates are both f."""

    def read(a: Arrays) -> Params:
        W, U = (_join(a, [f"{side}{n}/kernel" for n in "ffn"]) for side in "ih")  # f for r, f for z, n
        return GRUParams(W, U, _join(a, ["if/bias", "if/bias", "in/bias"]), a["hn/bias"])

    kernels = {"if/kernel": "D H", "in/kernel": "D H", "hf/kernel": "H H", "hn/kernel": "H H"}
    return Layout(gru, kernels | dict.fromkeys(["if/bias", "in/bias", "hn/bias"], "H"), read, LINEN["gru"].write)


LINEN: dict[str, Layout] = {
    "rnn": _by_gate(rnn, RNNParams, "i", "h", "i"),
    "rnn_relu": _by_gate(rnn_relu, RNNParams, "i", "h", "i"),
    "lstm": _by_gate(lstm, LSTMParams, "ii if ig io", "hi hf hg ho", "hi hf hg ho"),
    "gru": _gru_by_gate(),
    "ugrnn": _by_gate(ugrnn, UGRNNParams, "if in", "hf hn", "if in"),
}
"""linen's layouts, by our cell's name; mgu is flax's MGUCell, which is our gru."""
LINEN["conv_lstm"] = conv_lstm_layout("linen", "ih", "hh", "kernel", "bias")
LINEN["mgu"] = _tied()  # after "gru", so `written` finds GRUCell first: both are our gru

NNX: dict[str, Layout] = {
    "rnn": _packed(rnn, RNNParams, "", "dense_i/bias"),
    "rnn_relu": _packed(rnn_relu, RNNParams, "", "dense_i/bias"),
    "lstm": _by_gate(lstm, LSTMParams, "ii if_ ig io", "hi hf hg ho", "hi hf hg ho"),
    "lstm_optimized": _packed(lstm, LSTMParams, "4", "dense_h/bias"),
    "gru": _packed_gru(),
}
"""nnx's layouts, by our cell's name; lstm_optimized is its OptimizedLSTMCell."""


def _activation(what: str, module: Any, name: str, wanted: dict[str, str]) -> str:
    """Return the entry of `wanted` for a module's activation."""
    known = {jnp.tanh: "tanh", jax.nn.tanh: "tanh", jax.nn.sigmoid: "sigmoid", jax.lax.logistic: "sigmoid"}
    known |= {jax.nn.relu: "relu"}
    given = known.get(getattr(module, name))
    if given not in wanted:
        raise InputError(
            f"{what}: {type(module).__name__} has {name}={getattr(module, name)}, our cells have {' or '.join(wanted)}"
        )
    return wanted[given]


def _name(module: Any) -> str:
    """Return the name of a flax class, "" for any class from elsewhere."""
    return type(module).__name__ if type(module).__module__.partition(".")[0] == "flax" else ""


def _kind(what: str, cell: Any) -> str:
    """Return the layout name of a flax cell."""
    name = _name(cell)
    if name == "ConvLSTMCell":
        if len(cell.kernel_size) != 2 or cell.padding != "SAME" or set(cell.strides or (1,)) != {1}:
            raise InputError(f"{what}: our conv_lstm has pictures of one size: two axes, padding 'SAME', no strides")
        return "conv_lstm"
    if name == "SimpleCell":
        return _activation(what, cell, "activation_fn", {"tanh": "rnn", "relu": "rnn_relu"})
    kinds = {"LSTMCell": "lstm", "OptimizedLSTMCell": "lstm", "GRUCell": "gru", "MGUCell": "mgu"}
    if name not in kinds:
        raise InputError(f"{what}: expected a cell, one of SimpleCell, {', '.join(kinds)}; got {type(cell)}")
    _activation(what, cell, "activation_fn", {"tanh": ""})
    _activation(what, cell, "gate_fn", {"sigmoid": ""})
    return kinds[name]


def _residual(found: Found, cell: Any) -> Found:
    if getattr(cell, "residual", False):
        U = found[1].U
        return found[0], found[1]._replace(U=U + jnp.eye(U.shape[0], dtype=U.dtype))  # h U + h = h (U + 1)
    return found


def _forward_only(what: str, rnn: Any) -> Any:
    """Return the cell of a forward RNN; refuse a reversed one."""
    if rnn.reverse:
        raise InputError(
            f"{what}: reverse=True does not belong to a cell; convert rnn.cell, and unroll(..., reverse=True)"
        )
    return rnn.cell


def from_linen(module: Any, variables: Mapping[str, Any]) -> Found:
    """Return ``(cell, params)`` of a flax.linen cell, or of an RNN or a Bidirectional of these.

    Args:
      module: an nn.SimpleCell, LSTMCell, OptimizedLSTMCell, GRUCell, MGUCell, ConvLSTMCell, RNN or Bidirectional, or
        one of our cells made by `as_linen`.
      variables: the variables from its init, ``{"params": ...}``.

    Raises:
      InputError: if it is another module, or has activations that our cells lack.
    """
    check_version("flax")
    params = variables.get("params", variables)
    name = _name(module)
    if name == "Bidirectional":
        if module.merge_fn is not type(module).merge_fn:
            raise InputError("from_linen: our bidirectional layer concatenates; this one has another merge_fn")
        (cell, ahead), (other, behind) = (
            _read_linen(getattr(module, side).cell, params[side]["cell"]) for side in ("forward_rnn", "backward_rnn")
        )
        if cell != other:
            raise InputError(f"from_linen: both directions must be the same cell; got {cell.name} and {other.name}")
        return cell, Bidirectional(ahead, behind)
    if name == "RNN":
        return _read_linen(_forward_only("from_linen", module), params["cell"])
    return _read_linen(module, params)


def _read_linen(cell: Any, params: Mapping[str, Any]) -> Found:
    from jaxseq.interop.layers.linen import LinenCell

    if isinstance(cell, LinenCell):
        return cell.cell, cell.to_params(params)
    kind = _kind("from_linen", cell)
    if kind == "mgu" and not cell.reset_gate:
        kind = "ugrnn"
    return _residual(read("from_linen", layout("linen", LINEN, kind), flat(params)), cell)


def to_linen(cell: Cell, params: Params, *, optimized: bool = True) -> tuple[Any, dict[str, Any]]:
    """Return ``(module, variables)``: a flax.linen cell, or for `Bidirectional` params an nn.Bidirectional of RNNs.

    Args:
      cell: a single cell.
      params: its params.
      optimized: for an lstm, OptimizedLSTMCell instead of LSTMCell; the variables are the same.

    Raises:
      InputError: if linen has no such layer.

    Example:
      >>> from jaxseq.cells import gru
      >>> module, variables = to_linen(gru, gru.init(jax.random.key(0), 3, 5))
      >>> type(module).__name__, variables["params"]["hn"]["bias"].shape
      ('GRUCell', (5,))
    """
    check_version("flax")
    from flax import linen

    (cell, params), *more = taken_apart("to_linen", cell, params)
    if more:
        raise InputError("to_linen: flax has no stack; convert each layer by itself")
    if isinstance(params, Bidirectional):
        both = [to_linen(cell, p, optimized=optimized) for p in params]
        ahead, behind = (linen.RNN(module, time_major=True) for module, _ in both)
        inner = [{"cell": variables["params"]} for _, variables in both]
        module = linen.Bidirectional(ahead, behind, time_major=True)
        return module, {"params": dict(zip(("forward_rnn", "backward_rnn"), inner, strict=True))}
    kind, arrays = written("to_linen", LINEN, cell, params)
    name = "OptimizedLSTMCell" if kind == "lstm" and optimized else CLASSES[kind]
    options = {"kernel_size": params.W.shape[:2]} if kind == "conv_lstm" else OPTIONS.get(kind, {})
    module = getattr(linen, name)(params.U.shape[-2], param_dtype=params.W.dtype, **options)
    return module, {"params": nested(arrays)}


CLASSES = {
    "rnn": "SimpleCell",
    "rnn_relu": "SimpleCell",
    "lstm": "LSTMCell",
    "gru": "GRUCell",
    "ugrnn": "MGUCell",
    "conv_lstm": "ConvLSTMCell",
}
"""linen's class names, by our cell's name."""
OPTIONS: dict[str, dict[str, Any]] = {"rnn_relu": {"activation_fn": jax.nn.relu}, "ugrnn": {"reset_gate": False}}
"""Arguments that make linen's class equal to our cell."""


def from_nnx(module: Any) -> Found:
    """Return ``(cell, params)`` of a cell of flax.nnx or `as_nnx`, or of an RNN or a Bidirectional of these.

    Raises:
      InputError: if it is another module, or has activations that our cells lack.
    """
    check_version("flax")
    from flax import nnx

    from jaxseq.interop.layers.nnx import NnxCell

    name = _name(module)
    if isinstance(module, NnxCell):
        return module.cell, module.to_params()
    if name == "Bidirectional":
        if module.merge_fn is not signature(nnx.Bidirectional.__init__).parameters["merge_fn"].default:
            raise InputError("from_nnx: our bidirectional layer concatenates; this one has another merge_fn")
        (cell, ahead), (other, behind) = (from_nnx(rnn.cell) for rnn in (module.forward_rnn, module.backward_rnn))
        if cell != other:
            raise InputError(f"from_nnx: both directions must be the same cell; got {cell.name} and {other.name}")
        return cell, Bidirectional(ahead, behind)
    if name == "RNN":
        return from_nnx(_forward_only("from_nnx", module))
    kind = "lstm_optimized" if name == "OptimizedLSTMCell" else _kind("from_nnx", module)
    if kind == "lstm_optimized":
        _kind("from_nnx", module)
    arrays = flat(nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    return _residual(read("from_nnx", NNX[kind], arrays), module)


def to_nnx(cell: Cell, params: Params, *, optimized: bool = True) -> Any:
    """Return a flax.nnx cell, or for `Bidirectional` params an nnx.Bidirectional of RNNs.

    Args:
      cell: a single cell.
      params: its params.
      optimized: for an lstm, OptimizedLSTMCell instead of LSTMCell.

    Raises:
      InputError: if nnx has no such layer, or if a gru's b_hn is not zero.

    Example:
      >>> from jaxseq.cells import gru
      >>> module = to_nnx(gru, gru.init(jax.random.key(0), 3, 5))
      >>> type(module).__name__, module.dense_i.kernel.shape
      ('GRUCell', (3, 15))
    """
    check_version("flax")
    from flax import nnx

    (cell, params), *more = taken_apart("to_nnx", cell, params)
    if more:
        raise InputError("to_nnx: flax has no stack; convert each layer by itself")
    if isinstance(params, Bidirectional):
        ahead, behind = (nnx.RNN(to_nnx(cell, p, optimized=optimized), time_major=True) for p in params)
        return nnx.Bidirectional(ahead, behind, time_major=True)
    layouts = {kind: form for kind, form in NNX.items() if kind != ("lstm" if optimized else "lstm_optimized")}
    kind, arrays = written("to_nnx", layouts, cell, params)
    dtype, name = params.W.dtype, "OptimizedLSTMCell" if kind == "lstm_optimized" else CLASSES[kind]
    options: dict[str, Any] = {"dtype": dtype, "param_dtype": dtype, **OPTIONS.get(kind, {})}
    make = getattr(nnx, name)
    module = nnx.eval_shape(lambda: make(*params.W.shape[:1], *params.U.shape[:1], rngs=nnx.Rngs(0), **options))
    nnx.update(module, nested(arrays))
    return module


def as_linen(cell: Cell, **options: Any) -> Any:
    """Return a flax.linen.RNNCellBase class for `cell`, used like nn.LSTMCell.

    A module is ``as_linen(cell)(features, dtype=None, param_dtype=jnp.float32)``; features is the hidden size, and the
    input size is that of the first input. The parameters have our names in the collection "params". nn.RNN runs it with
    flax's conventions: time is the second axis, outputs of padded steps are not zero, and reverse=True flips the
    inputs.

    Args:
      cell: any Cell, such as a stack.
      options: options of the cell's init: ``as_linen(lstm, forget_bias=0.0)``.

    Example:
      >>> from flax import linen as nn
      >>> from jaxseq.cells import janet
      >>> layer = nn.RNN(as_linen(janet)(features=5))
      >>> xs = jnp.ones((2, 7, 3))  # [B, T, D]
      >>> variables = layer.init(jax.random.key(0), xs)
      >>> layer.apply(variables, xs).shape, variables["params"]["cell"]["W"].shape
      ((2, 7, 5), (3, 10))
      >>> found, params = from_linen(layer, variables)  # for jaxseq's own tools, such as its study
      >>> found.name, params.W.shape
      ('janet', (3, 10))
    """
    check_version("flax")
    from jaxseq.interop.layers import common, linen

    return linen.linen_class(cell, common.checked("as_linen", cell, options))


def as_nnx(cell: Cell, **options: Any) -> Callable[..., Any]:
    """Return the constructor of a flax.nnx.RNNCellBase for `cell`, used like nnx.LSTMCell.

    A module is ``as_nnx(cell)(in_features, hidden_features, dtype=None, param_dtype=jnp.float32, rngs=rngs)``. Its
    parameters are nnx.Params with our names: ``layer.params.W``.

    Args:
      cell: any Cell, such as a stack.
      options: options of the cell's init: ``as_nnx(lstm, forget_bias=0.0)``.

    Example:
      >>> from flax import nnx
      >>> from jaxseq.cells import janet
      >>> layer = nnx.RNN(as_nnx(janet)(3, 5, rngs=nnx.Rngs(0)))
      >>> layer(jnp.ones((2, 7, 3))).shape, layer.cell.params.W.shape
      ((2, 7, 5), (3, 10))
    """
    check_version("flax")
    from jaxseq.interop.layers import common, nnx

    return partial(nnx.NnxCell, cell, common.checked("as_nnx", cell, options))
