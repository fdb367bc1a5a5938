"""GRU-like cells with one gate, constant or bistable gates, delays or a searched form, against torchrecurrent 0.2.5.

Values and all gradients, in float64.

Where torchrecurrent is not what the paper says, that is undone first; each case says what. Its file of the recurrent
highway cannot be imported.
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
from jaxseq.cells import Cell
from jaxseq.cells._brc import BRCParams, NBRCParams, brc, nbrc
from jaxseq.cells._lightru import LightRUParams, lightru
from jaxseq.cells._miru import MiRU1Params, MiRUParams, miru, miru1
from jaxseq.cells._nas import NASParams, nas
from jaxseq.cells._sgrn import SGRNParams, sgrn
from jaxseq.cells._sgu import DSGUParams, SGUParams, dsgu, sgu
from jaxseq.cells._star import STARParams, star
from jaxseq.cells._tau_gru import TauGRUParams, tau_gru
from jaxseq.recurrence import scan


class Case(NamedTuple):
    """Our cell, theirs, and how our params are made of their weights (transposed, by name).

    `undo` changes their weights before anything runs; `absent` names those of theirs that have no place in ours, by
    the rows that are left out of the comparison of gradients.
    """

    cell: Cell
    make: Callable[[int, int], torch.nn.Module]
    params: Callable[[dict[str, Any]], Any]
    undo: Callable[[dict[str, torch.Tensor]], None] = lambda weights: None
    absent: Callable[[str, int], int] = lambda name, H: 0


def last_of(b, more):
    """`more` added to the last entries of `b`."""
    return b + jnp.pad(more, (b.shape[0] - more.shape[0], 0))


def first_of(b, more):
    """`more` added to the first entries of `b`."""
    return b + jnp.pad(more, (0, b.shape[0] - more.shape[0]))


class Theano(torch.nn.Module):
    """The hard sigmoid of slope 1/5."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        return (a / 5 + 0.5).clamp(0, 1)


def simple_gated(w) -> dict[str, Any]:
    U_g, U = jnp.split(w["weight_hh"], 2, axis=1)
    return {"W": w["weight_ih"], "U": U, "U_g": U_g, "b": last_of(w["bias_ih"], jnp.split(w["bias_hh"], 2)[1])}


def without_the_bias_inside(weights) -> None:
    weights["bias_hh"][: weights["bias_hh"].shape[0] // 2] = 0


def the_bias_inside(name: str, H: int) -> int:
    return H if name == "bias_hh" else 0


def without_branch_3(weights) -> None:
    """Branch 3 adds in theirs and multiplies in ours: it is 0 in both if relu's argument is far below 0, and 0."""
    H = weights["weight_hh"].shape[1]
    weights["weight_hh"][3 * H : 4 * H] = 0
    weights["bias_ih"][3 * H : 4 * H] = -100


def architecture_search(w) -> NASParams:
    H = w["weight_hh"].shape[0]
    other = jnp.repeat(jnp.asarray([1.0, 1, 1, 0, 1, 1, 1, 1]), H)
    return NASParams(w["weight_ih"], w["weight_hh"], (w["bias_ih"] + w["bias_hh"]) * other)


def miru1_params(w) -> MiRU1Params:
    return MiRU1Params(w["weight_ih"], *jnp.split(w["weight_hh"], 2, axis=1), w["bias_ih"] + w["bias_hh"])


def delayed(w) -> TauGRUParams:
    """Their blocks are in the order u z g a, ours u g a z."""
    turn = lambda a: jnp.concatenate([(p := jnp.split(a, 4, axis=-1))[0], *p[2:], p[1]], axis=-1)  # noqa: E731
    U, U_z = jnp.split(turn(w["weight_hh"]), [3 * w["weight_hh"].shape[0]], axis=1)
    return TauGRUParams(turn(w["weight_ih"]), U, U_z, turn(w["bias_ih"] + w["bias_hh"]))


CASES = {
    "lightru": Case(
        lightru,
        torchrecurrent.LightRUCell,
        lambda w: LightRUParams(w["weight_ih"], w["weight_hh"], last_of(w["bias_ih"], w["bias_hh"])),
    ),
    "star": Case(
        star,
        torchrecurrent.STARCell,
        lambda w: STARParams(w["weight_ih"], w["weight_hh"], last_of(w["bias_ih"], w["bias_hh"])),
    ),
    "sgrn": Case(
        sgrn,
        torchrecurrent.SGRNCell,
        lambda w: SGRNParams(w["weight_ih"], w["weight_hh"], w["bias_ih"], w["bias_hh"]),
    ),
    "miru": Case(
        miru,
        torchrecurrent.MiRU2Cell,
        lambda w: MiRUParams(w["weight_ih"], w["weight_hh"], w["bias_ih"] + w["bias_hh"]),
    ),
    "miru1": Case(miru1, torchrecurrent.MiRU1Cell, miru1_params),
    "sgu": Case(
        sgu,
        lambda D, H: torchrecurrent.SGUCell(D, H, gate_nonlinearity=Theano()),
        lambda w: SGUParams(**simple_gated(w)),
        without_the_bias_inside,
        the_bias_inside,
    ),
    "dsgu": Case(
        dsgu,
        lambda D, H: torchrecurrent.DSGUCell(D, H, gate_nonlinearity=Theano()),
        lambda w: DSGUParams(**simple_gated(w), U_o=w["weight_ho"]),
        without_the_bias_inside,
        the_bias_inside,
    ),
    "brc": Case(
        brc,
        torchrecurrent.BRCell,
        lambda w: BRCParams(w["weight_ih"], w["weight_hh"], first_of(w["bias_ih"], w["bias_hh"])),
    ),
    "nbrc": Case(
        nbrc,
        torchrecurrent.NBRCell,
        lambda w: NBRCParams(w["weight_ih"], w["weight_hh"], first_of(w["bias_ih"], w["bias_hh"])),
    ),
    "nas": Case(nas, torchrecurrent.NASCell, architecture_search, without_branch_3),
    "tau_gru": Case(tau_gru, torchrecurrent.tauGRUCell, delayed),
}


def run_theirs(name: str, module: torch.nn.Module, carry: list[torch.Tensor], xs: torch.Tensor):
    """Return the outputs and the final carry's leaves, as ours has them."""
    outs, past = [], list(carry[1].unbind(1)) if name == "tau_gru" else []
    h = carry[0]
    c = carry[1] if name == "nas" else None
    for x in xs:
        if name == "nas":
            h, c = module(x, (h, c))
        elif name == "tau_gru":
            h, past = module(x, h, past[0]), [*past[1:], h]
        else:
            h = module(x, h)
        outs.append(h)
    more = [c] if name == "nas" else [torch.stack(past, 1)] if name == "tau_gru" else []
    return torch.stack(outs), [h, *more]


@pytest.mark.parametrize("sizes", [(6, 4, 3, 5), (1, 1, 1, 1)])
@pytest.mark.parametrize("name", CASES)
def test_equals_torchrecurrent(name: str, sizes: tuple[int, int, int, int]) -> None:
    (T, B, D, H), (cell, make, to_params, undo, absent) = sizes, CASES[name]
    rng = np.random.default_rng(0)
    module = make(D, H).double()
    weights = dict(module.named_parameters())
    with torch.no_grad():
        for w in weights.values():
            w.copy_(torch.tensor(rng.normal(size=w.shape) * 0.5))
        undo(weights)
    ours = {n: jnp.asarray(w.detach().numpy()).T for n, w in weights.items()}
    zeros = cell.initial_carry(to_params(ours), (B,))
    carry = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), zeros)
    xs = jnp.asarray(rng.normal(size=(T, B, D)))

    their_carry = [torch.tensor(np.asarray(a), requires_grad=True) for a in carry]
    their_xs = torch.tensor(np.asarray(xs), requires_grad=True)
    outs, last = run_theirs(name, module, their_carry, their_xs)
    (torch.sin(outs).sum() + sum((torch.cos(a) * (k + 1)).sum() for k, a in enumerate(last))).backward()

    @jax.jit
    def total(ours, xs, carry):
        last, outs = unroll(cell, to_params(ours), xs, carry, recurrence=scan)
        return jnp.sin(outs).sum() + sum((jnp.cos(a) * (k + 1)).sum() for k, a in enumerate(last)), (outs, last)

    (by_weight, by_x, by_carry), (got, ends) = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(
        ours, xs, carry
    )
    agree(got, outs.detach().numpy(), "outputs")
    agree(by_x, their_xs.grad.numpy(), "gradient of xs")
    for k, (end, start) in enumerate(zip(last, their_carry, strict=True)):
        agree(ends[k], end.detach().numpy(), f"last carry {k}")
        agree(by_carry[k], start.grad.numpy(), f"gradient of carry {k}")
    for n, w in weights.items():
        skip = absent(n, H)
        agree(by_weight[n].T[skip:], w.grad.numpy()[skip:], f"gradient of {n}")


def test_torchrecurrents_nas_adds_where_the_authors_cell_multiplies() -> None:
    module, rng = torchrecurrent.NASCell(3, 5).double(), np.random.default_rng(0)
    w = {n: jnp.asarray(a.detach().numpy()).T for n, a in module.named_parameters()}
    params = NASParams(w["weight_ih"], w["weight_hh"], w["bias_ih"] + w["bias_hh"])
    x, h, c = (rng.normal(size=size) for size in (3, 5, 5))
    theirs = module(torch.tensor(x), (torch.tensor(h), torch.tensor(c)))[0].detach().numpy()
    carry = nas.initial_carry(params)._replace(h=jnp.asarray(h), c=jnp.asarray(c))
    assert np.abs(nas.step(params, carry, jnp.asarray(x))[1] - theirs).max() > 1e-3
