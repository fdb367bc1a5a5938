"""Which gate retains, against what the papers' equations say; half-lives and survival against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, unroll
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, gru, lstm, stack
from jaxseq.initializers import chrono
from jaxseq.interventions import clamp, intervene
from jaxseq.study import (
    Keep,
    gates_of,
    half_life,
    keep_of,
    keeps_in,
    keeps_of,
    saturation_of,
    survival,
    time_constant,
)

RETAINS = {
    "lstm": [("c", "f", False)],
    "lstm_peephole": [("c", "f", False)],  # f looks at c, and so depends on it in a second way
    "lstm_cifg": [("c", "f", False)],
    "janet": [("h", "f", False)],
    "gru": [("h", "z", False)],
    "gru_cho": [("h", "z", False)],  # its candidate looks at the old h through a product in gates
    "mgu": [("h", "f", True)],
    "min_gru": [("h", "z", True)],
    "ugrnn": [("h", "z", False)],
    "nbrc": [("h", "c", False)],
    "sru": [("c", "f", False)],
    "qrnn_1": [("c", "f", False)],
    "lem": [("h", "r", True), ("c", "s", True)],
    "slstm": [("c", "f", False), ("n", "f", False)],
    "rnn": [],
    "rnn_relu": [],
    "indrnn": [],
    "cfn": [],  # retains a squashed state: f * tanh(h)
}


@pytest.mark.parametrize("name", RETAINS)
def test_the_gate_that_retains(name: str) -> None:
    assert [tuple(keep) for keep in keeps_of(CELLS[name])] == RETAINS[name]
    assert keep_of(CELLS[name]) == (Keep(*RETAINS[name][0]) if RETAINS[name] else None)


def test_it_does_not_go_by_names() -> None:
    """A GRU whose gate writes where the other retains, under the same name."""

    def equations(params, carry, wx, uh):
        new, out, named = gru.equations(params, carry, wx, uh)
        return new, out, {"new": new.h, "z": 1 - named.z}  # and the state among its gates

    keep = keep_of(gru.replace(equations=equations))
    assert keep == Keep("h", "z", inverted=True) and keep.of({"z": jnp.array(0.25)}) == 0.75


def test_a_state_that_leaks_past_its_gate_is_not_retained_by_it() -> None:
    leaky = intervene(lstm, {"f": lambda f, gate: f})
    assert keep_of(leaky) == Keep("c", "f")

    def equations(params, carry, wx, uh):
        new, out, named = lstm.equations(params, carry, wx, uh)
        return new._replace(c=new.c + 0.1 * carry.c), out, named

    assert keep_of(lstm.replace(equations=equations)) is None


def test_layers_and_clamps() -> None:
    assert keeps_of(stack(lstm, gru)) == (Keep("0.c", "0.f"), Keep("1.h", "1.z"))
    assert keep_of(clamp(lstm, f=0.9)) == Keep("c", "f")


def test_it_is_found_within_jit_and_in_float32(as_users_have_it) -> None:
    cell = gru.replace(name="gru in jit")  # none that is known already

    @jax.jit
    def kept(params, xs):
        return keep_of(cell).of(gates_of(cell, params, xs))

    params = gru.init(jax.random.key(0), 3, 5)
    assert kept(params, jnp.ones((4, 2, 3))).shape == (4, 2, 5)


def test_a_cell_that_sizes_do_not_make() -> None:
    cell = with_attention(lstm, additive)
    with pytest.raises(InputError, match="cannot be made from sizes alone"):
        keep_of(cell)
    params = cell.init(jax.random.key(0), 3, 5, value_size=4, units=6)
    cell = reading(cell, cell.remember(params, jnp.ones((9, 2, 4), jnp.float32)))
    xs = jnp.ones((7, 2, 3), jnp.float32)
    assert keeps_in(cell, params, xs) == (Keep("c", "f"),)
    seen = jax.jit(lambda params: saturation_of(cell, params, xs))(params)
    assert seen["g"] is None and seen["f"].open.shape == (5,)


def test_half_lives_are_those_of_the_closed_form() -> None:
    for f, want in ((0.5, 1.0), (0.9, 6.5788), (0.99, 68.9676)):
        life = half_life(jnp.full((100, 2, 1), f))
        np.testing.assert_allclose(life.half_life, want, rtol=1e-5)
        np.testing.assert_allclose(life.geometric_mean, f, rtol=1e-12)
        assert not life.censored.any()
        np.testing.assert_allclose(f ** float(life.half_life[0]), 0.5, rtol=1e-12)


def test_a_half_life_longer_than_the_sequence_is_censored() -> None:
    keep = jnp.broadcast_to(jnp.array([0.99, 1.0, 0.0, 1.5, -0.5]), (50, 2, 5))
    life = half_life(keep)
    assert life.censored.tolist() == [True, True, False, True, False]
    assert life.half_life[1:4].tolist() == [np.inf, 0.0, np.inf] and np.isnan(life.half_life[4])
    mask = jnp.arange(50)[:, None] < jnp.array([6, 5])[None]
    assert half_life(jnp.full((50, 2, 1), 0.9), mask).censored.tolist() == [True]  # 6.58 steps, and only 6 seen


def test_padding_is_not_counted() -> None:
    keep = jax.random.uniform(jax.random.key(0), (6, 2, 3), minval=0.1)
    mask = jnp.arange(6)[:, None] < jnp.array([6, 2])[None]
    real = np.asarray(keep)[np.asarray(mask)]
    spoilt = jnp.where(mask[..., None], keep, jnp.nan)
    np.testing.assert_allclose(half_life(spoilt, mask).geometric_mean, np.exp(np.log(real).mean(0)), rtol=1e-12)
    np.testing.assert_allclose(time_constant(spoilt, mask), 1 / (1 - real.mean(0)), rtol=1e-12)


def test_survival_is_the_derivative_of_the_last_state() -> None:
    """With i = 0 and o = 1 nothing goes around the cell state: dc_T / dc_t is the product of the forget gates."""
    T = 6
    cell = clamp(lstm, i=0.0, o=1.0)
    params = lstm.init(jax.random.key(0), 3, 4, dtype=jnp.float64)
    params = params._replace(U=jnp.zeros_like(params.U))
    xs = jax.random.normal(jax.random.key(1), (T, 1, 3), jnp.float64)
    start = lstm.initial_carry(params, (1,))._replace(c=jnp.ones((1, 4)))
    mask = (jnp.arange(T) != 3)[:, None]
    left = survival(gates_of(cell, params, xs, start, mask=mask)["f"], mask)
    after = jnp.arange(T)[:, None] > jnp.arange(T)[None]

    def last(c, after):  # a masked step holds the state, so that c is that after each step in turn
        return unroll(cell, params, xs, start._replace(c=c), mask=mask & after[:, None])[0].c.sum()

    want = jax.jit(jax.vmap(jax.grad(last), (None, 1)))(jnp.ones((1, 4)), after)
    np.testing.assert_allclose(left, want, rtol=1e-12)


def test_chrono_spreads_time_constants_evenly() -> None:
    """1 / (1 - f) is uniform on 2 ... T_max, by the Kolmogorov-Smirnov distance; with a bias of 1 it is not."""
    H, longest = 2000, 100
    params = lstm.init(
        jax.random.key(3), 1, H, bias=chrono(longest), forget_bias=0.0, recurrent=lambda k, s, d: jnp.zeros(s, d)
    )
    steps = np.sort(time_constant(gates_of(lstm, params, jnp.zeros((1, 1, 1), jnp.float32))["f"]))
    assert steps.min() >= 2 - 1e-3 and steps.max() <= longest + 1e-2
    apart = np.abs((steps - 2) / (longest - 2) - (np.arange(H) + 0.5) / H).max()
    assert apart < 1.63 / np.sqrt(H)  # the 1% point


def test_what_is_not_a_gate_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[T, B, H\]"):
        half_life(jnp.ones(3))
    with pytest.raises(InputError, match="expected a mask"):
        survival(jnp.ones((3, 2, 4)), jnp.ones((2, 3), bool))
    with pytest.raises(InputError, match="unknown gate"):
        Keep("c", "f").of({"z": jnp.ones(3)})
