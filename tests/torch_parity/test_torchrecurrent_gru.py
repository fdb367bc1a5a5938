"""Cells like the GRU against torchrecurrent in float64: values and all gradients, biases and carry not zero.

Our parameters are written as functions of torchrecurrent's, and so its gradients are compared as they are.
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
from jaxseq.cells import CELLS
from jaxseq.cells._atr import ATRParams
from jaxseq.cells._cfn import CFNParams
from jaxseq.cells._intersection_rnn import IntersectionRNNParams
from jaxseq.cells._ligru import LiGRUParams
from jaxseq.cells._lstm import LSTMCarry
from jaxseq.cells._mgu import MGUParams
from jaxseq.cells._mut import MUT1Params, MUTParams
from jaxseq.cells._parts import Hidden
from jaxseq.cells._ran import RANParams
from jaxseq.cells._ugrnn import UGRNNParams

H = 5


class Theirs(NamedTuple):
    """What every cell of theirs has, transposed: ``W [D, G*H]``, ``U [H, G*H]`` and two biases."""

    W: jax.Array
    U: jax.Array
    b: jax.Array
    b_h: jax.Array

    @classmethod
    def of(cls, weights: dict[str, Any]) -> "Theirs":
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return cls(*(jnp.asarray(weights[n].detach().numpy()).T for n in names))


def block(a: jax.Array, *order: int) -> jax.Array:
    """Return blocks of H columns in the order given."""
    return jnp.concatenate([a[..., k * H : (k + 1) * H] for k in order], axis=-1)


def mgu(p: Theirs) -> MGUParams:
    return MGUParams(p.W, block(p.U, 0), block(p.U, 1), p.b + p.b_h)


def mut1(p: Theirs) -> MUT1Params:
    """Theirs are packed z r n; the bias inside of the inner tanh is theirs alone."""
    b = jnp.concatenate([block(p.b, 1) + block(p.b_h, 0), block(p.b, 0), block(p.b_h, 1)])
    return MUT1Params(block(p.W, 1, 0, 2), block(p.U, 0), block(p.U, 1), b)


def mut(p: Theirs) -> MUTParams:
    """Theirs are packed z r n."""
    return MUTParams(block(p.W, 1, 0, 2), block(p.U, 1, 0), block(p.U, 2), block(p.b + p.b_h, 1, 0, 2))


def ligru(p: Theirs) -> LiGRUParams:
    return LiGRUParams(p.W, p.U, p.b + p.b_h)


def ugrnn(p: Theirs) -> UGRNNParams:
    """Theirs has the candidate first."""
    return UGRNNParams(*(block(a, 1, 0) for a in (p.W, p.U, p.b + p.b_h)))


def intersection_rnn(p: Theirs) -> IntersectionRNNParams:
    """Theirs are packed n_y n z_y z, and have the input itself in place of x P."""
    return IntersectionRNNParams(*(block(a, 2, 3, 0, 1) for a in (p.W, p.U, p.b + p.b_h)), jnp.eye(H))


def ran(p: Theirs) -> RANParams:
    """Theirs has the content first."""
    return RANParams(block(p.W, 1, 2, 0), p.U, p.b + p.b_h)


def atr(p: Theirs) -> ATRParams:
    """The bias of the hidden transformation is theirs alone."""
    return ATRParams(p.W, p.U, p.b)


def cfn(p: Theirs) -> CFNParams:
    """The bias under the tanh of the input is theirs alone."""
    return CFNParams(p.W, p.U, block(p.b, 0, 1) + p.b_h)


class Kind(NamedTuple):
    """A cell of theirs, our params as a function of its, and a bias that the paper and we do not have."""

    make: Callable[..., torch.nn.Module]
    params: Callable[[Theirs], Any]
    extra: tuple[str, slice] | None = None


KINDS = {
    "mgu": Kind(torchrecurrent.MGUCell, mgu),
    "mut1": Kind(torchrecurrent.MUT1Cell, mut1, ("bias_ih", slice(2 * H, None))),
    "mut2": Kind(torchrecurrent.MUT2Cell, mut),
    "mut3": Kind(torchrecurrent.MUT3Cell, mut),
    "ligru": Kind(torchrecurrent.LiGRUCell, ligru),
    "ugrnn": Kind(torchrecurrent.UGRNNCell, ugrnn),
    "intersection_rnn": Kind(torchrecurrent.IntersectionRNNCell, intersection_rnn),
    "ran": Kind(torchrecurrent.RANCell, ran),
    "atr": Kind(torchrecurrent.ATRCell, atr, ("bias_hh", slice(None))),
    "cfn": Kind(torchrecurrent.CFNCell, cfn, ("bias_ih", slice(2 * H, None))),
}


@pytest.mark.parametrize("name", KINDS)
def test_equals_torchrecurrent(name: str) -> None:
    kind, cell, T, B = KINDS[name], CELLS[name], 7, 4
    D = H if name == "intersection_rnn" else 3
    rng = np.random.default_rng(0)
    module = kind.make(D, H).double()
    weights = dict(module.named_parameters())
    for p in weights.values():
        p.data = torch.tensor(rng.normal(size=p.shape) * 0.5)
    if kind.extra:
        weights[kind.extra[0]].data[kind.extra[1]] = 0
    start = [torch.tensor(rng.normal(size=(B, H)), requires_grad=True) for _ in "hc"[: 1 + (name == "ran")]]
    xs = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    state, outs = tuple(start), []
    for x in xs:
        new = module(x, state if name == "ran" else state[0])
        new = new if isinstance(new, tuple) else (new,)
        state = new[1:] if name == "intersection_rnn" else new  # the only one whose output is not its state
        outs.append(new[0])
    want = torch.stack(outs)
    (torch.sin(want).sum() + sum((torch.cos(a) * (k + 1)).sum() for k, a in enumerate(state))).backward()

    def ours(theirs, xs, carry):
        return unroll(cell, kind.params(theirs), xs, carry)

    def total(theirs, xs, carry):
        last, outs = ours(theirs, xs, carry)
        return jnp.sin(outs).sum() + sum((jnp.cos(a) * (k + 1)).sum() for k, a in enumerate(last))

    carry = (LSTMCarry if name == "ran" else Hidden)(*(jnp.asarray(a.detach().numpy()) for a in start))
    args = (Theirs.of(weights), jnp.asarray(xs.detach().numpy()), carry)
    got_last, got = jax.jit(ours)(*args)
    agree(got, want.detach().numpy(), "outputs")
    for a, b in zip(got_last, state, strict=True):
        agree(a, b.detach().numpy(), "last carry")
    by_params, by_x, by_carry = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*args)
    agree(by_x, xs.grad.numpy(), "gradient of xs")
    for a, b in zip(by_carry, start, strict=True):
        agree(a, b.grad.numpy(), "gradient of the carry")
    grads = {n: p.grad for n, p in weights.items()}
    if kind.extra:
        assert grads[kind.extra[0]][kind.extra[1]].abs().max() > 1e-3  # theirs does depend on it
        grads[kind.extra[0]][kind.extra[1]] = 0
    for field, a, b in zip(Theirs._fields, by_params, Theirs.of(grads), strict=True):
        agree(a, b, f"gradient of {field}")


def test_their_cfn_does_not_go_to_zero_without_input() -> None:
    """Its bias under the tanh is an input that never ends; ours has none, as the paper."""
    module, h = torchrecurrent.CFNCell(3, H).double(), torch.ones(1, H).double()
    for p in module.parameters():
        torch.nn.init.constant_(p, 0.5)
    for _ in range(400):
        h = module(torch.zeros(1, 3).double(), h)
    assert h.abs().min() > 0.5
