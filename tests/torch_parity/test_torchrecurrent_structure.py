"""Cells with structure against torchrecurrent in float64: values and all gradients, biases and carry not zero.

Each of its weights is put into our params by a function, through which our gradients come back in its own layout.
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
from jaxseq.cells import Cell, fast_grnn, fast_rnn, indrnn, indrnn_tanh, minimal_rnn
from jaxseq.cells._antisymmetric_rnn import AntisymmetricRNNParams, antisymmetric_rnn, antisymmetric_rnn_gated
from jaxseq.cells._cornn import CoRNNCarry, CoRNNParams, cornn
from jaxseq.cells._fast_rnn import FastGRNNParams, FastRNNParams
from jaxseq.cells._indrnn import IndRNNParams
from jaxseq.cells._lem import LEMParams, lem
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._minimal_rnn import MinimalRNNParams
from jaxseq.cells._parts import Hidden
from jaxseq.cells._scrn import SCRNCarry, SCRNParams, scrn
from jaxseq.cells._unicornn import UnICORNNCarry, UnICORNNParams, unicornn

H = 5


def reordered(a, order: list[int]):
    """The blocks of the last axis in another order; a bias may have fewer blocks than are asked for: zeros then."""
    blocks = jnp.split(a, a.shape[-1] // H, axis=-1)
    return jnp.concatenate([blocks[k] if k < len(blocks) else jnp.zeros_like(blocks[0]) for k in order], axis=-1)


def step(module, x, state):
    """One step of theirs: ``(output, the new state)``."""
    new = module(x, state if len(state) > 1 else state[0])
    new = new if isinstance(new, tuple) else (new,)
    return new[0], new


def lem_step(module, x, state):
    """Theirs uses the old c for the new h; c' does not depend on c's use there, so that a second call undoes this."""
    c = module(x, state)[1]
    h = module(x, (state[0], c))[0]
    return h, (h, c)


def scrn_step(module, x, state):
    """Theirs feeds back the output, after a tanh; the hidden layer that the paper feeds back is solved from it."""
    y, s = module(x, state)
    y = torch.atanh(y)
    of_s = s @ module.weight_ch[H:].T + module.bias_ch[H:] + module.bias_hh[H:]
    return y, ((y - of_s) @ torch.linalg.inv(module.weight_hh[H:].T), s)


class Pair(NamedTuple):
    ours: Cell
    theirs: Callable[[int, int], torch.nn.Module]
    params: Callable[[Any], Any]
    carry: Any = Hidden
    step: Callable = step
    output: Callable = lambda w, outs: outs


def antisymmetric(w):
    bias_hh = w.bias_hh if len(w.bias_ih) == H else reordered(w.bias_hh, [1, 0])  # gated: of the candidate alone
    return AntisymmetricRNNParams(w.weight_ih.T, w.weight_hh.T, w.bias_ih + bias_hh)


def lem_params(w):
    b = reordered(w.bias_ih, [1, 0, 2, 3]) + jnp.concatenate([reordered(w.bias_hh, [1, 0, 2]), w.bias_ch])
    return LEMParams(reordered(w.weight_ih.T, [1, 0, 2, 3]), reordered(w.weight_hh.T, [1, 0, 2]), w.weight_ch.T, b)


def scrn_params(w):
    (U, V_h), (P, V_s) = jnp.split(w.weight_hh, 2), jnp.split(w.weight_ch, 2)
    b = w.bias_ih + jnp.concatenate([jnp.zeros(H), w.bias_hh[:H] + w.bias_ch[:H]])
    return SCRNParams(w.weight_ih.T, U.T, P.T, V_h.T, V_s.T, b)


def make_scrn(D, H):
    module = torchrecurrent.SCRNCell(D, H)
    module.alpha.requires_grad = False
    return module


PAIRS = {
    "indrnn": Pair(
        indrnn,
        lambda D, H: torchrecurrent.IndRNNCell(D, H, nonlinearity="relu"),
        lambda w: IndRNNParams(w.weight_ih.T, w.vector_u, w.bias_ih + w.bias_hh),
    ),
    "indrnn_tanh": Pair(
        indrnn_tanh,
        torchrecurrent.IndRNNCell,
        lambda w: IndRNNParams(w.weight_ih.T, w.vector_u, w.bias_ih + w.bias_hh),
    ),
    "scrn": Pair(
        scrn.with_(alpha=0.5),
        make_scrn,
        scrn_params,
        SCRNCarry,
        scrn_step,
        lambda w, outs: outs + jnp.broadcast_to(w.bias_hh[H:] + w.bias_ch[H:], outs.shape),
    ),
    "minimal_rnn": Pair(
        minimal_rnn,
        torchrecurrent.MinimalRNNCell,
        lambda w: MinimalRNNParams(w.weight_ih.T, w.weight_hh.T, w.weight_mm.T, w.bias_ih, w.bias_hh),
    ),
    "fast_rnn": Pair(
        fast_rnn,
        torchrecurrent.FastRNNCell,
        lambda w: FastRNNParams(w.weight_ih.T, w.weight_hh.T, w.bias_ih + w.bias_hh, w.alpha, w.beta),
    ),
    "fast_grnn": Pair(
        fast_grnn,
        lambda D, H: torchrecurrent.FastGRNNCell(D, H, nonlinearity="sigmoid"),
        lambda w: FastGRNNParams(w.weight_ih.T, w.weight_hh.T, w.bias_ih + w.bias_hh, w.zeta, w.nu),
    ),
    "antisymmetric_rnn": Pair(
        antisymmetric_rnn.with_(epsilon=0.3, gamma=0.2),
        lambda D, H: torchrecurrent.AntisymmetricRNNCell(D, H, epsilon=0.3, gamma=0.2),
        antisymmetric,
    ),
    "antisymmetric_rnn_gated": Pair(
        antisymmetric_rnn_gated.with_(epsilon=0.3, gamma=0.2),
        lambda D, H: torchrecurrent.GatedAntisymmetricRNNCell(D, H, epsilon=0.3, gamma=0.2),
        antisymmetric,
    ),
    "cornn": Pair(
        cornn.with_(dt=0.2, gamma=1.3, epsilon=0.7),
        lambda D, H: torchrecurrent.coRNNCell(D, H, dt=0.2, gamma=1.3, epsilon=0.7),
        lambda w: CoRNNParams(w.weight_ih.T, w.weight_hh.T, w.weight_ch.T, w.bias_ih + w.bias_hh + w.bias_ch),
        CoRNNCarry,
    ),
    "unicornn": Pair(
        unicornn.with_(dt=0.3, alpha=0.6),
        lambda D, H: torchrecurrent.UnICORNNCell(D, H, dt=0.3, alpha=0.6),
        lambda w: UnICORNNParams(w.weight_ih.T, w.weight_hh, w.weight_ch, w.bias_ih),
        UnICORNNCarry,
    ),
    "lem": Pair(
        lem.with_(dt=0.7), lambda D, H: torchrecurrent.LEMCell(D, H, dt=0.7), lem_params, LSTMCarry, lem_step
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_equals_torchrecurrent(name: str) -> None:
    T, B, D = 7, 4, 3
    pair, rng = PAIRS[name], np.random.default_rng(0)
    module = pair.theirs(D, H).double()
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    for p in trained.values():
        p.data = torch.tensor(rng.normal(size=p.shape) * 0.5)
    start = [torch.tensor(rng.normal(size=(B, H)), requires_grad=True) for _ in pair.carry._fields]
    xs = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    state, outs = tuple(start), []
    for t in range(T):
        out, state = pair.step(module, xs[t], state)
        outs.append(out)
    want = torch.stack(outs)
    (torch.sin(want).sum() + sum(torch.cos(a).sum() * (k + 1) for k, a in enumerate(state))).backward()

    array = lambda a: jnp.asarray(a.detach().numpy())  # noqa: E731
    Weights = NamedTuple("Weights", [(n, Any) for n in trained])
    weights = Weights(*map(array, trained.values()))

    def ours(w, xs, carry):
        last, outs = unroll(pair.ours, pair.params(w), xs, carry)
        return last, pair.output(w, outs)

    def total(w, xs, carry):
        last, outs = ours(w, xs, carry)
        return jnp.sin(outs).sum() + sum(jnp.cos(a).sum() * (k + 1) for k, a in enumerate(last))

    carry = pair.carry(*map(array, start))
    got_last, got = ours(weights, array(xs), carry)
    agree(got, want.detach().numpy(), "outputs")
    for a, b in zip(got_last, state, strict=True):
        agree(a, b.detach().numpy(), "last carry")
    by_weights, by_x, by_carry = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(weights, array(xs), carry)
    agree(by_x, xs.grad.numpy(), "gradient of xs")
    for a, b in zip(by_carry, start, strict=True):
        agree(a, b.grad.numpy(), "gradient of the carry")
    for n, a in by_weights._asdict().items():
        agree(a, trained[n].grad.numpy(), f"gradient of {n}")
