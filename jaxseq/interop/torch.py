"""Layers of torch: nn.RNN, nn.LSTM and nn.GRU, also stacked, bidirectional or projected, and their single cells.

torch stores every matrix transposed, ``[G*H, D]``, with blocks in our order, and two biases that are summed. They
become one bias here. Converted back, it is the first and the second is zero, except for the GRU's candidate, which has
two.

Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxseq._layers import Bidirectional
from jaxseq.cells import Cell, GRUParams, LSTMParams, RNNParams, gru, lstm, lstmp, rnn, rnn_relu
from jaxseq.cells._lstmp import LSTMPParams
from jaxseq.errors import InputError
from jaxseq.interop.common import (
    Arrays,
    Found,
    Layout,
    check_version,
    fit,
    layout,
    must_be_zero,
    one_dtype,
    plain_name,
    select,
    taken_apart,
    whole,
    written,
)
from jaxseq.notation import Array, Params


def _simple(cell: Cell, params_type: Any, G: str) -> Layout:
    shapes = {"weight_ih": f"{G}H D", "weight_hh": f"{G}H H", "bias_ih": f"{G}H?", "bias_hh": f"{G}H?"}

    def read(a: Arrays) -> Params:
        return params_type(a["weight_ih"].T, a["weight_hh"].T, a["bias_ih"] + a["bias_hh"])

    def write(p: Any) -> dict[str, Array]:
        return {"weight_ih": p.W.T, "weight_hh": p.U.T, "bias_ih": p.b, "bias_hh": jnp.zeros_like(p.b)}

    return Layout(cell, shapes, read, write)


def _gru() -> Layout:
    def read(a: Arrays) -> Params:
        H = a["weight_hh"].shape[1]
        # r and z only add their two biases; the candidate's second is inside r * (U h + b_hn) and must stay apart
        b = a["bias_ih"].at[: 2 * H].add(a["bias_hh"][: 2 * H])
        return GRUParams(a["weight_ih"].T, a["weight_hh"].T, b, a["bias_hh"][2 * H :])

    def write(p: GRUParams) -> dict[str, Array]:
        # [3H]: zeros for r and z
        second = jnp.pad(p.b_hn, (2 * p.b_hn.shape[0], 0))
        return {"weight_ih": p.W.T, "weight_hh": p.U.T, "bias_ih": p.b, "bias_hh": second}

    return _simple(gru, GRUParams, "3")._replace(read=read, write=write)


def _lstmp() -> Layout:
    form = _simple(lstm, LSTMParams, "4")

    def read(a: Arrays) -> Params:
        W, U, b = form.read(a)
        return LSTMPParams(W, U, b, a["weight_hr"].T)

    def write(p: LSTMPParams) -> dict[str, Array]:
        return {**form.write(p), "weight_hr": p.W_r.T}

    # h has the projected size P, so U reads P features; c has H
    return Layout(lstmp, {**form.shapes, "weight_hh": "4H P", "weight_hr": "P H"}, read, write)


LAYOUTS: dict[str, Layout] = {
    "rnn": _simple(rnn, RNNParams, ""),
    "rnn_relu": _simple(rnn_relu, RNNParams, ""),
    "lstm": _simple(lstm, LSTMParams, "4"),
    "lstmp": _lstmp(),
    "gru": _gru(),
}
"""Layouts of one direction of one layer, by our cell's name."""


def from_torch(source: Any, layer: str | None = None, prefix: str | None = None) -> tuple[Any, Params]:
    """Return ``(cell, params)`` of a torch layer.

    Args:
      source: a torch.nn.RNN, LSTM, GRU, RNNCell, LSTMCell or GRUCell; or its state dict of tensors or arrays.
      layer: with a state dict, the kind of layer: rnn, rnn_relu, lstm, lstmp or gru.
      prefix: with the state dict of a larger model, the prefix of the layer's names.

    Returns:
      A cell and its params; for several layers a stack; for a bidirectional layer params that are `Bidirectional`; for
      several of these tuples, which `jaxseq.layers` runs. `batch_first` and `dropout` are not weights: our time axis is
      the first.

    Raises:
      InputError: if it is not a recurrent layer, or if names or shapes are not those of `layer`.

    Example:
      >>> import numpy as np
      >>> names = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
      >>> cell, params = from_torch({n: np.ones(s, np.float32) for n, s in names.items()}, "lstm")
      >>> cell.name, params.W.shape, float(params.b[0])
      ('lstm', (3, 20), 2.0)
    """
    check_version("torch")
    # shapes do not decide: rnn and rnn_relu have the same
    if isinstance(source, Mapping):
        if layer is None:
            raise InputError(f"from_torch: a state dict does not name its layer; give layer: {', '.join(LAYOUTS)}")
        return from_arrays(source, layer, prefix)
    return from_arrays(source.state_dict(), _kind(source))


def _kind(module: Any) -> str:
    from torch import nn

    if isinstance(module, nn.LSTM | nn.LSTMCell):
        # LSTMCell has no proj_size
        return "lstmp" if getattr(module, "proj_size", 0) else "lstm"
    if isinstance(module, nn.GRU | nn.GRUCell):
        return "gru"
    if isinstance(module, nn.RNN | nn.RNNCell):
        return "rnn_relu" if module.nonlinearity == "relu" else "rnn"
    raise InputError(
        f"from_torch: expected a torch.nn.RNN, LSTM or GRU, a cell of theirs, or a state dict; got {type(module)}"
    )


SUFFIX = re.compile(r"(?:^|/)(?:weight|bias)_(?:ih|hh|hr)((?:_l\d+)?(?:_reverse)?)$")
"""Matches the end of a parameter's name; the group is layer and direction."""


def from_arrays(arrays: Mapping[str, Any], layer: str, prefix: str | None = None) -> tuple[Any, Params]:
    """Return ``(cell, params)`` from arrays under torch's names; errors are as for `from_torch`."""
    what = f"from_torch({layer})"
    form = layout("torch", LAYOUTS, layer)
    inside = [name for name in map(plain_name, arrays) if prefix is None or name.startswith(plain_name(prefix))]
    # none found: continue with _l0, so that `select` reports the missing names
    suffixes = sorted({match[1] for name in inside if (match := SUFFIX.search(name))}, key=_place) or ["_l0"]
    known = {f"{name}{suffix}": axes for suffix in suffixes for name, axes in form.shapes.items()}
    chosen = select(what, arrays, known, prefix)
    places = [_place(suffix) for suffix in suffixes]
    # a gap in the layers, or a layer without its second direction
    both = any(backward for _, backward in places)
    if places != [(k, b) for k in range(places[-1][0] + 1) for b in (False, True)[: 1 + both]]:
        raise InputError(f"{what}: layers are missing: there are {', '.join(suffixes)}")
    read = []
    for suffix in suffixes:
        shapes = {f"{name}{suffix}": axes for name, axes in form.shapes.items()}
        found = fit(what, shapes, {name: chosen[name] for name in shapes if name in chosen})
        read.append(one_dtype(what, form.read({name: found[f"{name}{suffix}"] for name in form.shapes})))
    # `read` is layer by layer, in each layer forward then backward
    directions = 1 + both
    made: list[Found] = []
    for k in range(0, len(read), directions):
        made.append((form.cell, Bidirectional(*read[k : k + 2]) if both else read[k]))
        # two directions are concatenated
        size = sum(form.cell.output_size(p) for p in read[k : k + directions])
        for above in read[k + directions : k + 2 * directions]:
            if above.W.shape[0] != size:
                raise InputError(f"{what}: layer {k // directions + 1} takes {above.W.shape[0]} features, not {size}")
    return whole(made)


def _place(suffix: str) -> tuple[int, bool]:
    number = re.search(r"\d+", suffix)
    return int(number[0]) if number else 0, suffix.endswith("_reverse")


def to_arrays(cell: Any, params: Params) -> dict[str, Array]:
    """Return torch's state dict of a layer, as JAX arrays; errors are as for `to_torch`.

    Example:
      >>> import jax
      >>> from jaxseq.cells import lstm, stack
      >>> two = stack(lstm, lstm)
      >>> to_arrays(two, two.init(jax.random.key(0), 3, 5))["weight_ih_l1"].shape
      (20, 5)
    """
    found = taken_apart("to_torch", cell, params)
    arrays: dict[str, Array] = {}
    for k, (one, own) in enumerate(found):
        both = isinstance(own, Bidirectional)
        if one != found[0][0] or both != isinstance(found[0][1], Bidirectional):
            raise InputError("to_torch: torch's layers are all of one kind; convert different ones separately")
        for p, suffix in zip(own if both else (own,), ("", "_reverse"), strict=False):
            # torch's layers share one hidden_size; ours need not
            if p.U.shape != (found[0][1].forward if both else found[0][1]).U.shape:
                raise InputError("to_torch: torch's layers all have one hidden size; convert different ones separately")
            arrays |= {f"{name}_l{k}{suffix}": a for name, a in written("to_torch", LAYOUTS, one, p)[1].items()}
    return arrays


def to_torch(cell: Any, params: Params, *, bias: bool = True, step: bool = False) -> Any:
    """Return the torch.nn.RNN, LSTM or GRU for a cell, a stack of one kind, or bidirectional layers.

    Args:
      cell: a cell, a stack, or a tuple of cells as `jaxseq.layers` takes it.
      params: its params.
      bias: False for a module without biases; ours must be zero then.
      step: True for the RNNCell, LSTMCell or GRUCell of a single layer.

    Raises:
      InputError: if torch has no such layer.
    """
    check_version("torch")
    import torch

    arrays = to_arrays(cell, params)
    if not bias:
        dropped = [name for name in arrays if name.startswith("bias")]
        must_be_zero("to_torch", "bias=False leaves the bias out", *(arrays.pop(name) for name in dropped))
    first = taken_apart("to_torch", cell, params)[0][0].name
    D, H = arrays["weight_ih_l0"].shape[1], arrays.get("weight_hr_l0", arrays["weight_hh_l0"]).shape[1]
    # of weight_ih_l2_reverse the part after "_l" is "2_reverse"
    layers = 1 + max(_place(name)[0] for name in (name.partition("_l")[2] for name in arrays))
    both = "weight_ih_l0_reverse" in arrays
    if step and (layers > 1 or both or first == "lstmp"):
        raise InputError("to_torch: step=True is for a single layer in one direction, without a projection")
    kind = {"rnn": "RNN", "rnn_relu": "RNN", "lstm": "LSTM", "lstmp": "LSTM", "gru": "GRU"}[first]
    options: dict[str, Any] = {"nonlinearity": "relu" if first == "rnn_relu" else "tanh"} if kind == "RNN" else {}
    if first == "lstmp":
        options["proj_size"] = arrays["weight_hr_l0"].shape[0]
    if not step:
        options |= {"num_layers": layers, "bidirectional": both}
    # single cells have no suffix
    state = {name.removesuffix("_l0") if step else name: _tensor(a) for name, a in arrays.items()}
    dtype = next(iter(state.values())).dtype
    module = getattr(torch.nn, kind + "Cell" * step)(D, H, bias=bias, dtype=dtype, **options)
    # strict by default: a missing or additional array raises
    module.load_state_dict(state)
    return module


def _tensor(a: Array) -> Any:
    import torch

    if a.dtype == jnp.bfloat16:  # a dtype that NumPy lacks
        return torch.from_numpy(np.array(a, np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(a))
