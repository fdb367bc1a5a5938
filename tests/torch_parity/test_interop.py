"""Layers of torch, converted, in float64: outputs, final carries, and gradients in torch's own layout; and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from agreement import agree
from torch import nn

import jaxseq
from jaxseq import Bidirectional, InputError, bidirectional, layers, stack, unroll
from jaxseq.cells import gru, gru_cho, lstm, rnn, rnn_relu
from jaxseq.interop.torch import from_torch, to_arrays, to_torch

T, B, D, H = 5, 4, 3, 6
KINDS = {
    "rnn": (nn.RNN, {}),
    "rnn_relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "lstmp": (nn.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, {}),
}


def a_module(make, *sizes, **options):
    torch.manual_seed(0)
    return make(*sizes, dtype=torch.float64, **options)


def arrays_of(module) -> dict:
    return {name: jnp.asarray(p.detach().numpy()) for name, p in module.named_parameters()}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", KINDS)
def test_equals_torch_and_comes_back(name: str, depth: int, both: bool, bias: bool) -> None:
    make, options = KINDS[name]
    module = a_module(make, D, H, num_layers=depth, bidirectional=both, bias=bias, **options)
    rng = np.random.default_rng(0)
    directions = depth * (1 + both)
    P = getattr(module, "proj_size", 0) or H
    h = torch.tensor(rng.normal(size=(directions, B, P)), requires_grad=True)
    c = torch.tensor(rng.normal(size=(directions, B, H)), requires_grad=True)
    xs = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    has_c = isinstance(module, nn.LSTM)
    outs, last = module(xs, (h, c) if has_c else h)
    last = last if has_c else (last,)
    (torch.sin(outs).sum() + sum((torch.cos(a) * (k + 1)).sum() for k, a in enumerate(last))).backward()

    def run(arrays, h, c, xs):
        cell, params = from_torch(arrays, name)
        single = type(unroll_carry(cell, params))
        starts = [single(h[k], c[k]) if has_c else single(h[k]) for k in range(directions)]
        if both:
            starts = [Bidirectional(*starts[k : k + 2]) for k in range(0, directions, 2)]
        if both and depth > 1:
            ends, outs = layers(cell, params, xs, tuple(starts))
        elif both:
            ends, outs = bidirectional(cell, params, xs, starts[0])
            ends = (ends,)
        else:
            ends, outs = unroll(cell, params, xs, tuple(starts) if depth > 1 else starts[0])
            ends = ends if depth > 1 else (ends,)
        flat = [end for one in ends for end in (one if both else (one,))]
        return outs, [jnp.stack([getattr(end, f) for end in flat]) for f in "hc"[: 1 + has_c]]

    def total(*args):
        outs, ends = run(*args)
        return jnp.sin(outs).sum() + sum((jnp.cos(a) * (k + 1)).sum() for k, a in enumerate(ends))

    arguments = arrays_of(module), *(jnp.asarray(a.detach().numpy()) for a in (h, c, xs))
    got, ends = jax.jit(run)(*arguments)
    agree(got, outs.detach(), "outputs")
    for end, want in zip(ends, last, strict=True):
        agree(end, want.detach(), "final carry")
    grads = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(*arguments)
    for key, p in module.named_parameters():
        agree(grads[0][key], p.grad, f"gradient of {key}")
    agree(grads[1], h.grad, "gradient of h")
    agree(grads[3], xs.grad, "gradient of xs")
    if has_c:
        agree(grads[2], c.grad, "gradient of c")

    cell, params = from_torch(module)
    back = to_torch(cell, params, bias=bias)
    assert repr(back) == repr(module)
    agree(back(xs, (h, c) if has_c else h)[0].detach(), outs.detach(), "outputs of the module that came back")
    again, read = from_torch(back)
    assert again == cell
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), read, params)))
    for key, p in back.named_parameters():
        n = 2 * H if name == "gru" else None
        if "bias_hh" in key:
            assert not p[:n].any()
        elif "bias" not in key:
            assert torch.equal(p, module.get_parameter(key))


def unroll_carry(cell, params):
    """A carry of one layer and direction."""
    cell, params = (cell[0], params[0]) if type(cell) is tuple else (cell, params)
    carry = cell.initial_carry(params.forward if isinstance(params, Bidirectional) else params)
    return carry if hasattr(carry, "_fields") else carry[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("cell", "make", "options"), [
    (rnn, nn.RNNCell, {}), (rnn_relu, nn.RNNCell, {"nonlinearity": "relu"}), (lstm, nn.LSTMCell, {}),
    (gru, nn.GRUCell, {}),
], ids=["rnn", "rnn_relu", "lstm", "gru"])  # fmt: skip
def test_single_cells(cell, make, options, bias) -> None:
    module = a_module(make, D, H, bias=bias, **options)
    x, h, c = (torch.randn(B, n, dtype=torch.float64) for n in (D, H, H))
    got_cell, params = from_torch(module)
    assert got_cell == cell
    carry = cell.initial_carry(params, (B,))
    want = module(x, (h, c)) if cell is lstm else (module(x, h),)
    last, _ = cell.step(params, type(carry)(*(jnp.asarray(a.numpy()) for a in (h, c)[: len(carry)])), x.numpy())
    for got, wanted in zip(last, want, strict=True):
        agree(got, wanted.detach(), "carry")
    back = to_torch(cell, params, step=True, bias=bias)
    assert repr(back) == repr(module)
    again = back(x, (h, c)) if cell is lstm else (back(x, h),)
    agree(again[0].detach(), want[0].detach(), "the module that came back")


def test_half_precision_and_larger_models() -> None:
    module = nn.Sequential(nn.Linear(2, D), nn.LSTM(D, H)).to(torch.bfloat16)
    state = module.state_dict()
    cell, params = from_torch(state, "lstm", prefix="1")
    assert params.W.dtype == jnp.bfloat16
    back = to_torch(cell, params)
    assert torch.equal(back.weight_ih_l0, module[1].weight_ih_l0)
    with pytest.raises(InputError, match=r"unknown array '0/bias': .*; a layer is under '1': give one as prefix"):
        from_torch(state, "lstm")
    alone = {f"encoder.rnn.{name}": a for name, a in module[1].state_dict().items()}
    assert from_torch(alone, "lstm")[1].W.tolist() == params.W.tolist()


def test_what_torch_has_not_is_refused() -> None:
    with pytest.raises(InputError, match="expected a torch"):
        from_torch(nn.Linear(2, 3))
    state = a_module(nn.GRU, D, H, num_layers=2).state_dict()
    with pytest.raises(InputError, match="does not name its layer; give layer: rnn"):
        from_torch(state)
    with pytest.raises(InputError, match="torch has no layer 'gpu': did you mean 'gru'"):
        from_torch(state, "gpu")
    with pytest.raises(InputError, match=r"weight_ih_l0 has the shape \(18, 3\), expected \[4H, D\]"):
        from_torch(state, "lstm")
    with pytest.raises(InputError, match="unknown array 'weights_hh_l1': did you mean 'weight_hh_l1'"):
        from_torch({(n if n != "weight_hh_l1" else "weights_hh_l1"): a for n, a in state.items()}, "gru")
    with pytest.raises(InputError, match="layers are missing: there are _l0, _l2"):
        from_torch({n.replace("l1", "l2"): a for n, a in state.items()}, "gru")
    wide = a_module(nn.GRU, H + 1, H).state_dict()
    with pytest.raises(InputError, match="layer 1 takes 7 features, not 6"):
        from_torch(state | {n.replace("l0", "l1"): a for n, a in wide.items()}, "gru")

    params = lstm.init(jax.random.key(0), D, H)
    with pytest.raises(InputError, match="bias out, and here it is not zero"):
        to_torch(lstm, params, bias=False)
    with pytest.raises(InputError, match="no such layer as gru_cho"):
        to_torch(gru_cho, gru_cho.init(jax.random.key(0), D, H))
    mixed = stack(lstm, gru)
    with pytest.raises(InputError, match="all of one kind"):
        to_arrays(mixed, mixed.init(jax.random.key(0), D, H))
    deep = stack(lstm, lstm)
    with pytest.raises(InputError, match="all have one hidden size"):
        to_arrays(deep, deep.init(jax.random.key(0), D, (H, H + 1)))
    with pytest.raises(InputError, match="step=True is for a single layer"):
        to_torch(deep, deep.init(jax.random.key(0), D, H), step=True)
    nested = stack(deep, lstm)
    params = nested.init(jax.random.key(0), D, (H, H))
    flat = (*params[0], params[1])
    got, want = to_arrays(nested, params), to_arrays(stack(lstm, lstm, lstm), flat)
    assert list(got) == list(want) and all((got[name] == want[name]).all() for name in want)


def test_the_module_of_a_library_is_an_attribute() -> None:
    assert jaxseq.interop.torch.from_torch is from_torch
    with pytest.raises(AttributeError, match=r"'jaxseq.interop' has no attribute 'tensorflow'"):
        jaxseq.interop.tensorflow  # noqa: B018
