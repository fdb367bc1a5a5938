"""Strongly typed cells against torchrecurrent in float64: values and all gradients, biases and carry not zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchrecurrent
from agreement import agree

from jaxseq import unroll
from jaxseq.cells import CELLS
from jaxseq.cells._parts import Hidden
from jaxseq.cells._strongly_typed import TGRUCarry, TLSTMCarry, TRNNParams, TypedParams
from jaxseq.recurrence import scan

KINDS = {
    "t_rnn": (torchrecurrent.TRNNCell, Hidden, TRNNParams),
    "t_gru": (torchrecurrent.TGRUCell, TGRUCarry, TypedParams),
    "t_lstm": (torchrecurrent.TLSTMCell, TLSTMCarry, TypedParams),
}


@pytest.mark.parametrize("name", KINDS)
def test_equals_torchrecurrent(name: str) -> None:
    T, B, D, H = 7, 4, 3, 5
    make, carry_type, params_type = KINDS[name]
    typed = params_type is TypedParams
    rng = np.random.default_rng(0)
    module = make(D, H).double()
    for p in module.parameters():
        p.data = torch.tensor(rng.normal(size=p.shape) * 0.5)
    sizes = (H, D) if typed else (H,)
    start = [torch.tensor(rng.normal(size=(B, size)), requires_grad=True) for size in sizes]
    xs = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    state, outs = tuple(start) if typed else start[0], []
    for t in range(T):
        new = module(xs[t], state)
        out, state = new if name == "t_lstm" else (new[0] if typed else new, new)  # only there h is not in the state
        outs.append(out)
    want = torch.stack(outs)
    last = state if typed else (state,)
    (torch.sin(want).sum() + sum(torch.cos(a).sum() for a in last)).backward()

    weights = dict(module.named_parameters())
    array = lambda a: jnp.asarray(a.detach().numpy())  # noqa: E731
    b = array(weights["bias_ih"]) + (array(weights["bias_hh"]) if typed else 0.0)
    matrices = [array(weights[n]).T for n in ("weight_ih", *["weight_hh"] * typed)]
    params, carry = params_type(*matrices, b), carry_type(*map(array, start))

    def ours(params, xs, carry):
        return unroll(CELLS[name], params, xs, carry, recurrence=scan)

    def total(params, xs, carry):
        last, outs = ours(params, xs, carry)
        return jnp.sin(outs).sum() + sum(jnp.cos(a).sum() for a in last)

    got_last, got = ours(params, array(xs), carry)
    agree(got, want.detach().numpy(), "outputs")
    for a, theirs in zip(got_last, last, strict=True):
        agree(a, theirs.detach().numpy(), "last carry")
    by_params, by_x, by_carry = jax.grad(total, argnums=(0, 1, 2))(params, array(xs), carry)
    agree(by_x, xs.grad.numpy(), "gradient of xs")
    for a, theirs in zip(by_carry, start, strict=True):
        agree(a, theirs.grad.numpy(), "gradient of the carry")
    agree(by_params.W, weights["weight_ih"].grad.numpy().T, "gradient of W")
    agree(by_params.b, weights["bias_ih"].grad.numpy(), "gradient of b")
    if typed:
        agree(by_params.V, weights["weight_hh"].grad.numpy().T, "gradient of V")
