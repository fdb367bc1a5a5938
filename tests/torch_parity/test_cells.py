"""Cells against torch in float64: values and all gradients, biases and carry not zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from agreement import agree

from jaxseq import Bidirectional, bidirectional, unroll
from jaxseq.cells import (
    GRUCarry,
    GRUParams,
    LSTMCarry,
    LSTMParams,
    RNNCarry,
    RNNParams,
    gru,
    lstm,
    rnn,
    rnn_relu,
    stack,
)

SIZES = [(7, 4, 3, 5), (1, 1, 1, 1)]
KINDS = {
    "rnn": (rnn, lambda D, H, **k: torch.nn.RNN(D, H, **k)),
    "rnn_relu": (rnn_relu, lambda D, H, **k: torch.nn.RNN(D, H, nonlinearity="relu", **k)),
    "lstm": (lstm, torch.nn.LSTM),
    "gru": (gru, torch.nn.GRU),
}


def from_torch(name: str, weights: list[torch.Tensor]) -> RNNParams | LSTMParams | GRUParams:
    """W, U and biases of one layer and direction; torch's two biases are one here, but for the GRU's candidate."""
    W, U, b_ih, b_hh = (jnp.asarray(w.detach().numpy()) for w in weights)
    if name != "gru":
        kind = LSTMParams if name == "lstm" else RNNParams
        return kind(W.T, U.T, b_ih + b_hh)
    H = U.shape[1]
    return GRUParams(W.T, U.T, b_ih + b_hh.at[2 * H :].set(0), b_hh[2 * H :])


def gradients(name: str, weights: list[torch.Tensor]) -> list[np.ndarray]:
    """torch's gradients, in the layout of our params."""
    W, U, b_ih, b_hh = (w.grad.numpy() for w in weights)
    return [W.T, U.T, b_ih] + ([b_hh[-U.shape[1] :]] if name == "gru" else [])


def carries(name: str, h, c):
    kind = {"lstm": LSTMCarry, "gru": GRUCarry}.get(name, RNNCarry)
    return kind(h, c) if name == "lstm" else kind(h)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("both", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_equals_torch(name: str, layers: int, both: bool, sizes: tuple[int, int, int, int]) -> None:
    if both and layers == 2:
        return check_two_bidirectional_layers(name, sizes)
    (T, B, D, H), (cell, make) = sizes, KINDS[name]
    torch.manual_seed(0)
    module = make(D, H, num_layers=layers, bidirectional=both).double()
    rng = np.random.default_rng(0)
    directions = layers * (1 + both)
    h, c = (torch.tensor(rng.normal(size=(directions, B, H)), requires_grad=True) for _ in "hc")
    xs = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    lengths = np.linspace(1, T, B).round().astype(int)[::-1].copy()
    mask = jnp.asarray(np.arange(T)[:, None] < lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(lengths))
    outs, last = module(packed, (h, c) if name == "lstm" else h)
    outs, _ = torch.nn.utils.rnn.pad_packed_sequence(outs, total_length=T)
    last = last if name == "lstm" else (last,)
    (torch.sin(outs).sum() + sum((torch.cos(a) * (k + 1)).sum() for k, a in enumerate(last))).backward()

    groups = [module.all_weights[k] for k in range(directions)]
    params = tuple(from_torch(name, g) for g in groups)
    starts = tuple(
        carries(name, jnp.asarray(h[k].detach().numpy()), jnp.asarray(c[k].detach().numpy())) for k in range(directions)
    )

    def ours(params, xs, carry):
        if both:
            return bidirectional(cell, Bidirectional(*params), xs, Bidirectional(*carry), mask=mask)
        if layers > 1:
            return unroll(stack(*[cell] * layers), params, xs, carry, mask=mask)
        (carry,), outs = (lambda r: ((r[0],), r[1]))(unroll(cell, params[0], xs, carry[0], mask=mask))
        return (carry,), outs

    def total(params, xs, carry):
        last, outs = ours(params, xs, carry)
        # a row's outputs at padding are 0 on both sides
        return jnp.sin(outs).sum() + sum(
            (jnp.cos(getattr(one, f)) * (k + 1)).sum()
            for one in last
            for k, f in enumerate("hc"[: 1 + (name == "lstm")])
        )

    x = jnp.asarray(xs.detach().numpy())
    got_last, got_outs = ours(params, x, starts)
    agree(got_outs, outs.detach().numpy(), "outputs")
    for k in range(directions):
        agree(got_last[k].h, last[0][k].detach().numpy(), "last h")
        if name == "lstm":
            agree(got_last[k].c, last[1][k].detach().numpy(), "last c")
    by_params, by_x, by_carry = jax.grad(total, argnums=(0, 1, 2))(params, x, starts)
    agree(by_x, xs.grad.numpy(), "gradient of xs")
    for k in range(directions):
        for ours_, theirs in zip(by_params[k], gradients(name, groups[k]), strict=True):
            agree(ours_, theirs, f"gradient of params {k}")
        agree(by_carry[k].h, h.grad[k].numpy(), "gradient of h")
        if name == "lstm":
            agree(by_carry[k].c, c.grad[k].numpy(), "gradient of c")


def check_two_bidirectional_layers(name: str, sizes: tuple[int, int, int, int]) -> None:
    (T, B, D, H), (cell, make) = sizes, KINDS[name]
    torch.manual_seed(1)
    module = make(D, H, num_layers=2, bidirectional=True).double()
    xs = np.random.default_rng(1).normal(size=(T, B, D))
    want = module(torch.tensor(xs))[0].detach().numpy()
    got = jnp.asarray(xs)
    for layer in range(2):
        params = Bidirectional(*(from_torch(name, module.all_weights[2 * layer + k]) for k in range(2)))
        _, got = bidirectional(cell, params, got)
    agree(got, want, "outputs")
