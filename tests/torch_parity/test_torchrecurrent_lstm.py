"""Cells like the LSTM against torchrecurrent 0.2.5 and torch in float64: values and all gradients.

Ours is driven from torch's own parameters, so that gradients come out in torch's layout and are compared by name.
Where torchrecurrent deviates from the paper, `undo` takes the deviation out on its side or `read` on ours.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchrecurrent
from agreement import agree

from jaxseq import unroll
from jaxseq.cells import (
    Cell,
    janet,
    lstm_1997,
    lstm_multiplicative,
    lstm_peephole,
    lstm_residual,
    lstm_wmc,
    lstmp,
)
from jaxseq.cells._janet import JANETParams
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._lstm_1997 import LSTM1997Params
from jaxseq.cells._lstm_multiplicative import MultiplicativeLSTMParams
from jaxseq.cells._lstm_peephole import PeepholeParams
from jaxseq.cells._lstm_residual import ResidualLSTMParams
from jaxseq.cells._lstm_wmc import WMCLSTMParams
from jaxseq.cells._lstmp import LSTMPParams
from jaxseq.cells._parts import Hidden

SIZES = [(7, 4, 3, 5), (1, 1, 1, 1)]


class Peer(NamedTuple):
    """A layer of torch's, and how its parameters and states are ours.

    Fields:
      cell: ours.
      layer: theirs, from (D, H).
      read: their parameters and (h, c) by name, to our params and carry.
      write: our final carry, to their h and c.
      undo: their parameters that the paper does not have: set to zero or left at their value, not compared.
    """

    cell: Cell
    layer: Callable[[int, int], torch.nn.Module]
    read: Callable[[dict, Any, Any], tuple]
    write: Callable[[Any], tuple] = tuple
    undo: tuple[str, ...] = ()


def doubled(t: dict, h, c):
    """The paper's squashing functions are 2 tanh(a / 2) and tanh(c / 2); theirs are tanh(a) and tanh(c)."""
    H = h.shape[-1]
    twice = jnp.repeat(jnp.array([1.0, 2.0, 1.0]), H)
    W, U, b = t["weight_ih"].T, t["weight_hh"].T, t["bias_ih"] + t["bias_hh"]
    return LSTM1997Params(W * twice[None], U * twice[None], b * twice), LSTMCarry(h, 2 * c)


def peephole(t: dict, h, c):
    H = h.shape[-1]
    p = t["weight_ph"]
    b = t["bias_ih"] + t["bias_hh"]
    return PeepholeParams(t["weight_ih"].T, t["weight_hh"].T, b, p[: 2 * H], p[2 * H :]), LSTMCarry(h, c)


def one_state(t: dict, h, c):
    del c  # equal to h at the start, as after every step
    return JANETParams(t["weight_ih"].T, t["weight_hh"].T, t["bias_ih"] + t["bias_hh"]), Hidden(h)


def multiplicative(t: dict, h, c):
    b = t["bias_ih"][h.shape[-1] :] + t["bias_mh"]
    return MultiplicativeLSTMParams(t["weight_ih"].T, t["weight_hh"].T, t["weight_mh"].T, b), LSTMCarry(h, c)


def residual(t: dict, h, c):
    H = h.shape[-1]
    W, p = jnp.concatenate([t["weight_ih"].T, t["weight_res"].T], axis=1), t["weight_ph"]
    b = t["bias_ih"] + t["bias_hh"]
    return ResidualLSTMParams(W, t["weight_hh"].T, b, p[: 2 * H], p[2 * H :], t["weight_proj"].T), LSTMCarry(h, c)


def working_memory(t: dict, h, c):
    H = h.shape[-1]
    U_c, b = t["weight_mh"].T, t["bias_ih"] + t["bias_hh"]
    return WMCLSTMParams(t["weight_ih"].T, t["weight_hh"].T, b, U_c[:, : 2 * H], U_c[:, 2 * H :]), LSTMCarry(h, c)


def projected(t: dict, h, c):
    W, U, b = t["weight_ih_l0"].T, t["weight_hh_l0"].T, t["bias_ih_l0"] + t["bias_hh_l0"]
    return LSTMPParams(W, U, b, t["weight_hr_l0"].T), LSTMCarry(h, c)


def recurrent(name: str) -> Callable[[int, int], torch.nn.Module]:
    return lambda D, H: getattr(torchrecurrent, name)(D, H)


PEERS = {
    "OriginalLSTM": Peer(lstm_1997, recurrent("OriginalLSTM"), doubled, lambda k: (k.h, k.c / 2)),
    "PeepholeLSTM": Peer(lstm_peephole, recurrent("PeepholeLSTM"), peephole),
    "JANET": Peer(janet, recurrent("JANET"), one_state, lambda k: (k.h, k.h), undo=("beta",)),
    "MultiplicativeLSTM": Peer(
        lstm_multiplicative, recurrent("MultiplicativeLSTM"), multiplicative, undo=("bias_hh", "bias_ih of m")
    ),
    "ResLSTM": Peer(lstm_residual, recurrent("ResLSTM"), residual),
    "WMCLSTM": Peer(lstm_wmc, recurrent("WMCLSTM"), working_memory, undo=("bias_mh",)),
    "torch, projected to 2": Peer(lstmp, lambda D, H: torch.nn.LSTM(D, H, proj_size=2), projected),
    "torch, projected to 1": Peer(lstmp, lambda D, H: torch.nn.LSTM(D, H, proj_size=1), projected),
}


def array(tensor: torch.Tensor) -> jnp.ndarray:
    return jnp.asarray(tensor.detach().numpy())


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", PEERS)
def test_equals_its_peer(name: str, sizes: tuple[int, int, int, int]) -> None:
    (T, B, D, H), peer = sizes, PEERS[name]
    if name.startswith("torch") and H == 1:
        H = 3  # torch wants a projection smaller than H
    torch.manual_seed(0)
    module = peer.layer(D, H).double()
    theirs = {key.removeprefix("cells.0."): value for key, value in module.named_parameters()}
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for key, value in theirs.items():
            if key == "beta":
                continue  # 1, as in the paper
            value.copy_(torch.tensor(0.6 * rng.normal(size=value.shape)))
            if key in peer.undo:
                value.zero_()
            if f"{key} of m" in peer.undo:
                value[:H] = 0
    P = getattr(module, "proj_size", 0) or H
    h, c = (torch.tensor(rng.normal(size=(1, B, n)), requires_grad=True) for n in (P, H))
    if peer.cell is janet:
        with torch.no_grad():
            c.copy_(h)
    xs = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    outs, last = module(xs, (h, c))
    (torch.sin(outs).sum() + torch.cos(last[0]).sum() + 2 * torch.cos(last[1]).sum()).backward()

    def ours(t, h, c, xs):
        params, start = peer.read(t, h[0], c[0])
        carry, outs = unroll(peer.cell, params, xs, start)
        return outs, peer.write(carry)

    def total(*arguments):
        outs, (h, c) = ours(*arguments)
        return jnp.sin(outs).sum() + jnp.cos(h).sum() + 2 * jnp.cos(c).sum()

    arguments = {key: array(value) for key, value in theirs.items()}, array(h), array(c), array(xs)
    got_outs, got_last = ours(*arguments)
    agree(got_outs, array(outs), "outputs")
    for got, want, what in zip(got_last, last, "hc", strict=True):
        agree(got, array(want)[0], f"last {what}")
    by_params, by_h, by_c, by_xs = jax.grad(total, argnums=(0, 1, 2, 3))(*arguments)
    for key, value in theirs.items():
        if key not in peer.undo:
            got, want = by_params[key], value.grad.numpy()
            start = H if f"{key} of m" in peer.undo else 0
            agree(got[start:], want[start:], f"gradient of {key}")
            assert np.abs(want).max() > 0, f"no gradient reaches {key}: nothing is tested"
    agree(by_xs, xs.grad.numpy(), "gradient of xs")
    if peer.cell is janet:
        agree(by_h, (h.grad + c.grad).numpy(), "gradient of h, which is c")
    else:
        agree(by_h, h.grad.numpy(), "gradient of h")
        agree(by_c, c.grad.numpy(), "gradient of c")
