"""The sum that a state is against NumPy loops; contextual decomposition against the published rules in a NumPy loop."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from reference import sigmoid, unpack

from jaxseq import InputError, trace
from jaxseq.cells import CELLS, gru, lstm, rnn
from jaxseq.interventions import clamp
from jaxseq.study import (
    Contextual,
    Keep,
    contextual,
    contributions,
    keeps_of,
    plot_contextual,
    plot_contributions,
)
from jaxseq.testing import Subject, draw, holes


def test_parts_of_an_lstms_cell_state():
    params, xs, carry = draw(Subject(lstm, hidden_size=4), 5, (2,))
    found = jax.jit(lambda *run: contributions(lstm, *run))(params, xs, carry)
    gates = jax.tree.map(np.asarray, trace(lstm, params, xs, carry)[1].gates)
    for t in range(5):
        for s in range(-1, 5):
            want = np.asarray(carry.c) if s < 0 else gates.i[s] * gates.g[s]
            for later in range(s + 1, t + 1):
                want = want * gates.f[later]
            np.testing.assert_allclose(found.parts[t, s + 1], want if s <= t else 0 * want, rtol=1e-10, atol=1e-15)
    assert found.error < 1e-12


@pytest.mark.parametrize("name", ["mgu", "gla"])
def test_they_add_up_to_the_state_with_padding(name):
    """Of one minus a gate, and of a state that is a matrix."""
    cell = CELLS[name]
    params, xs, carry = draw(Subject(cell), 6, (4,))
    mask = np.asarray(holes(6, (4,)))
    spoilt = jnp.where(mask[..., None], xs, jnp.nan)
    keep = keeps_of(cell)[-1]
    lengths = np.array([np.flatnonzero(row).max(initial=0) for row in mask.T])
    found, last = jax.jit(
        lambda xs: (
            contributions(cell, params, xs, carry, mask=mask, keep=keep),
            contributions(cell, params, xs, carry, mask=mask, keep=keep, steps=lengths[None]),
        )
    )(spoilt)
    states = np.asarray(getattr(trace(cell, params, xs, carry, mask=mask)[1].carries, keep.leaf))
    np.testing.assert_allclose(found.parts.sum(1), states, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found.state, states)
    assert found.error < 1e-12 and last.error < 1e-12
    for b in range(4):
        assert not np.asarray(found.parts)[~mask[:, b], :, b].any()  # at padded steps
        assert not np.asarray(found.parts)[:, 1:, b][:, ~mask[:, b]].any()  # of padded steps
        np.testing.assert_array_equal(last.parts[0, :, b], found.parts[lengths[b], :, b])
    assert np.abs(found.parts[:, 0]).max() > 1e-3


def test_a_gate_held_open_keeps_all():
    """With f = 1 the parts are the written values themselves."""
    cell = clamp(lstm, f=1.0)
    params, xs, carry = draw(Subject(cell, hidden_size=4), 4, (2,))
    found = jax.jit(lambda: contributions(cell, params, xs, carry, keep=Keep("c", "f"), steps=[3]))()
    gates = trace(lstm, params, xs, carry)[1].gates
    np.testing.assert_allclose(found.parts[0, 1], gates.i[0] * gates.g[0], rtol=1e-12)
    np.testing.assert_allclose(found.parts[0, 0], carry.c, rtol=1e-12)
    assert found.error < 1e-12 and found.parts.shape == (1, 5, 2, 4)


def split(a, r, u, b):
    """The linearisation of the paper's section 3.2.2: both orders of r and u, the bias first."""
    shares = []
    for first, second in ((r, u), (u, r)):
        before, middle, end = a(b), a(b + first), a(b + first + second)
        shares.append((middle - before, end - middle))
    return (shares[0][0] + shares[1][1]) / 2, (shares[0][1] + shares[1][0]) / 2, a(b)


def product(p, q, bias_to_span):
    """All nine terms of a product of sums, each given to the span or to the rest."""
    span = rest = 0.0
    for m, left in enumerate(p):
        for n, right in enumerate(q):
            mine = 1 not in (m, n) and ((m, n) != (2, 2) or bias_to_span)
            span, rest = (span + left * right, rest) if mine else (span, rest + left * right)
    return span, rest


def decompose_lstm(params, xs, carry, inside, biases):
    W, U, b = (unpack(np.asarray(a), "i f g o") for a in params)
    beta, gamma = np.zeros_like(carry.h), np.asarray(carry.h)
    beta_c, gamma_c = np.zeros_like(carry.c), np.asarray(carry.c)
    out = []
    for x, here, both in zip(np.asarray(xs), inside, biases, strict=True):
        into = {n: (beta @ U[n] + here * (x @ W[n]), gamma @ U[n] + (not here) * (x @ W[n]), b[n]) for n in "ifgo"}
        i, f, g = split(sigmoid, *into["i"]), split(sigmoid, *into["f"]), split(np.tanh, *into["g"])
        kept, written = product(f, (beta_c, gamma_c, 0.0), False), product(i, g, both)
        beta_c, gamma_c = kept[0] + written[0], kept[1] + written[1]
        o = sigmoid(sum(into["o"]))
        shown = split(np.tanh, beta_c, gamma_c, 0.0)
        beta, gamma = o * shown[0], o * shown[1]
        out.append((beta, beta_c, gamma, gamma_c))
    return [np.stack(a) for a in zip(*out, strict=True)]


def decompose_gru(params, xs, carry, inside, biases):
    W, U, b = (unpack(np.asarray(a), "r z n") for a in params[:3])
    beta, gamma = np.zeros_like(carry.h), np.asarray(carry.h)
    out = []
    for x, here, both in zip(np.asarray(xs), inside, biases, strict=True):
        wx = {n: x @ W[n] for n in "rzn"}
        r, z = (split(sigmoid, beta @ U[n] + here * wx[n], gamma @ U[n] + (not here) * wx[n], b[n]) for n in "rz")
        hidden = product(r, (beta @ U["n"], gamma @ U["n"], np.asarray(params.b_hn)), False)
        bias = r[2] * np.asarray(params.b_hn)  # counted with the rest by `product`
        n = split(np.tanh, hidden[0] + here * wx["n"], hidden[1] - bias + (not here) * wx["n"], b["n"] + bias)
        kept, written = product(z, (beta, gamma, 0.0), False), product((-z[0], -z[1], 1 - z[2]), n, both)
        beta, gamma = kept[0] + written[0], kept[1] + written[1]
        out.append((beta, gamma))
    return [np.stack(a) for a in zip(*out, strict=True)]


@pytest.mark.parametrize(("cell", "loop"), [(lstm, decompose_lstm), (gru, decompose_gru)])
def test_contextual_decomposition_is_the_published_one(cell, loop):
    """By the paper's rule for the product of biases and by its authors' program's; the parts add up to the state."""
    T = 7
    params, xs, carry = draw(Subject(cell, hidden_size=4), T, (2,))
    run = jax.jit(lambda span, biases: contextual(cell, params, xs, carry, span=span, biases=biases))
    inside = np.isin(np.arange(T), [2, 3, 4])
    states = trace(cell, params, xs, carry)[1].carries
    for biases in (np.zeros(T, bool), np.isin(np.arange(T), [2, 3])):
        found = run(*(jnp.broadcast_to(jnp.asarray(a)[:, None], (T, 2)) for a in (inside, biases)))
        got = [parts[name] for parts in (found.span, found.rest) for name in cell.initial_carry(params)._fields]
        for a, b in zip(got, loop(params, xs, carry, inside, biases), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)
        for name, state in states._asdict().items():
            np.testing.assert_allclose(found.span[name] + found.rest[name], state, rtol=1e-12, atol=1e-14)
    assert np.abs(found.span["h"][:2]).max() < 1e-15 and np.abs(found.span["h"][2:]).min() > 1e-9
    alike = jax.jit(lambda: contextual(cell, params, xs, carry, span=(2, 4)))()
    np.testing.assert_allclose(
        alike.rest["h"], loop(params, xs, carry, inside, np.zeros(T, bool))[-1 if cell is gru else 2]
    )


def test_a_span_of_everything_leaves_nothing_and_padding_is_not_seen():
    params, xs, _ = draw(Subject(gru), 5, (3,))
    mask = holes(5, (3,))
    spoilt = jnp.where(mask[..., None], xs, jnp.nan)
    biases = jnp.ones((5, 3), bool)
    found = jax.jit(lambda: contextual(gru, params, spoilt, mask=mask, span=(0, 4), biases=biases))()
    assert np.abs(found.rest["h"]).max() < 1e-15
    np.testing.assert_allclose(found.span["h"], trace(gru, params, xs, mask=mask)[1].carries.h, rtol=1e-12, atol=1e-14)


def test_what_it_cannot_do_is_refused():
    params, xs = rnn.init(jax.random.key(0), 3, 5, dtype=jnp.float64), jnp.ones((4, 2, 3))
    with pytest.raises(InputError, match="no gate of this cell retains a part of its carry"):
        contributions(rnn, params, xs)
    with pytest.raises(InputError, match="only lstm and gru are decomposed"):
        contextual(rnn, params, xs, span=(0, 1))
    params = gru.init(jax.random.key(0), 3, 5, dtype=jnp.float64)
    with pytest.raises(InputError, match="steps must be from 0 to 3; got 4"):
        contributions(gru, params, xs, steps=[0, 4])
    with pytest.raises(InputError, match=r"steps must be whole numbers \[S\], or \[S, B\] with B = \(2,\)"):
        contributions(gru, params, xs, steps=np.zeros((1, 3), int))
    with pytest.raises(InputError, match=r"span must be \(first, last\) from 0 to 3"):
        contextual(gru, params, xs, span=(2, 4))
    with pytest.raises(InputError, match=r"biases must be bool \[T, B\] = \(4, 2\)"):
        contextual(gru, params, xs, span=(1, 2), biases=jnp.ones(4, bool))


def test_figures_draw_their_numbers():
    from jaxseq.study import Contributions

    parts = np.random.default_rng(0).normal(size=(2, 5, 3, 4))
    found = Contributions(parts, parts.sum(1), np.array([1, 3]), np.array(0.0))
    ax = plot_contributions(found, row=2)
    np.testing.assert_allclose(ax.images[0].get_array(), np.abs(parts[:, :, 2]).sum(-1))
    assert tuple(ax.images[0].get_extent()) == (-1.5, 3.5, 1.5, -0.5)
    np.testing.assert_allclose(plot_contributions(found, unit=3).images[0].get_array(), parts[:, :, 0, 3])
    each = {"h": np.random.default_rng(1).normal(size=(6, 3, 4))}
    ax = plot_contextual(Contextual(each, {"h": -each["h"]}), row=1, unit=2)
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], [each["h"][:, 1, 2], -each["h"][:, 1, 2]])
    with pytest.raises(InputError, match="unknown part of the carry 'c'"):
        plot_contextual(Contextual(each, each), leaf="c")
    plt.close("all")
