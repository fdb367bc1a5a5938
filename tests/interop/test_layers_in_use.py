"""What users of a library do with a layer: lengths, directions, transformations, optimizers, checkpoints."""

import gc

import equinox
import haiku
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import linen, nnx
from flax.errors import ScopeParamShapeError
from jax import lax
from problem import random
from test_layers import EVERY

from jaxseq import Bidirectional, InputError, bidirectional, stack, unroll
from jaxseq.cells import CELLS, gru, lstm
from jaxseq.interop.common import flat
from jaxseq.interop.equinox import as_equinox, from_equinox
from jaxseq.interop.flax import as_linen, as_nnx, from_linen, from_nnx
from jaxseq.interop.haiku import as_haiku
from jaxseq.interop.layers.linen import _CLASSES
from jaxseq.testing import assert_close, at

T, B, D, H = 4, 3, 3, 5
LENGTHS = jnp.array([4, 1, 2])
MASK = jnp.arange(T)[:, None] < LENGTHS[None]
XS = random(1, T, B, D)
BATCH_FIRST = jnp.swapaxes(XS, 0, 1)
phased_lstm, gru_d, conv_gru = CELLS["phased_lstm"], CELLS["gru_d"], CELLS["conv_gru"]


def in_linen(cell=lstm, **options):
    """An nn.RNN, a function that applies it, and our params."""
    rnn = linen.RNN(as_linen(cell)(H, param_dtype=jnp.float64), **options)
    variables = rnn.init(jax.random.key(0), BATCH_FIRST)
    return lambda xs, **given: rnn.apply(variables, xs, **given), from_linen(rnn.cell, variables["params"]["cell"])[1]


def in_nnx(cell=lstm, **options):
    rnn = nnx.RNN(as_nnx(cell)(D, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0)), **options)
    return rnn, from_nnx(nnx.RNN(rnn.cell))[1]


@pytest.mark.parametrize("make", [in_linen, in_nnx])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_in_rnn_are_a_mask_here(make, reverse):
    rnn, params = make(return_carry=True, reverse=reverse, keep_order=True)
    carry, outs = rnn(BATCH_FIRST, seq_lengths=LENGTHS)
    want_carry, want = unroll(lstm, params, XS, mask=MASK, reverse=reverse)
    assert_close("carry", carry, want_carry)
    assert_close("outs", jnp.where(MASK[..., None], jnp.swapaxes(outs, 0, 1), 0.0), want)


def test_both_directions():
    cell = as_linen(gru)(H, param_dtype=jnp.float64)
    layer = linen.Bidirectional(linen.RNN(cell), linen.RNN(cell.clone()))
    variables = layer.init(jax.random.key(0), BATCH_FIRST)
    found, params = from_linen(layer, variables)
    assert found == gru and isinstance(params, Bidirectional)
    want = bidirectional(gru, params, XS)[1]
    assert_close("linen", jnp.swapaxes(layer.apply(variables, BATCH_FIRST), 0, 1), want)

    ahead, behind = (as_nnx(gru)(D, H, param_dtype=jnp.float64, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    layer = nnx.Bidirectional(nnx.RNN(ahead), nnx.RNN(behind))
    want = bidirectional(gru, from_nnx(layer)[1], XS)[1]
    assert_close("nnx", jnp.swapaxes(layer(BATCH_FIRST), 0, 1), want)


def test_transformations_of_linen():
    options = {"variable_broadcast": "params", "split_rngs": {"params": False}, "in_axes": 1, "out_axes": 1}
    layer = linen.scan(linen.remat(as_linen(lstm)), **options)(features=H, param_dtype=jnp.float64)
    carry = layer.initialize_carry(jax.random.key(0), (B, D))
    variables = layer.init(jax.random.key(0), carry, BATCH_FIRST)
    params = as_linen(lstm)(H).to_params(variables["params"])
    got = layer.apply(variables, carry, BATCH_FIRST)
    want = unroll(lstm, params, XS, carry)
    assert_close("scan", (got[0], jnp.swapaxes(got[1], 0, 1)), want)

    several = linen.vmap(
        as_linen(lstm), variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=2
    )(H, param_dtype=jnp.float64)
    variables = several.init(jax.random.key(0), carry, XS[0])
    W = variables["params"]["W"]
    assert W.shape == (2, D, 4 * H) and float(abs(W[0] - W[1]).max()) > 0.1
    _, out = several.apply(variables, carry, XS[0])
    for k in range(2):
        own = as_linen(lstm)(H).to_params(at(variables["params"], k))
        assert_close(f"copy {k}", out[k], lstm.step(own, carry, XS[0])[1])


def test_a_module_of_linen_is_named_and_built_as_linens_own():
    class Network(linen.Module):
        @linen.compact
        def __call__(self, xs):
            xs = linen.RNN(as_linen(lstm)(H))(xs)
            carry = as_linen(gru)(H).initialize_carry(jax.random.key(0), xs[:, 0].shape)
            return as_linen(gru)(H)(carry, xs[:, -1])[1]

    xs = BATCH_FIRST.astype(jnp.float32)
    variables = jax.jit(Network().init)(jax.random.key(0), xs)
    assert set(variables["params"]) == {"lstm_0", "gru_1"}
    assert {n: a.shape for n, a in flat(variables["params"]["gru_1"]).items()} == {
        "W": (H, 3 * H), "U": (H, 3 * H), "b": (3 * H,), "b_hn": (H,)
    }  # fmt: skip
    assert Network().apply(variables, xs).shape == (B, H)
    with pytest.raises(ScopeParamShapeError):
        Network().apply(variables, jnp.ones((B, T, D + 1), jnp.float32))


def test_classes_of_linen_are_one_while_in_use_and_then_gone():
    assert as_linen(lstm, forget_bias=0.5) is as_linen(lstm, forget_bias=0.5)
    assert as_linen(lstm)(H) == as_linen(lstm)(H) and as_linen(lstm)(H) != as_linen(gru)(H)
    before = len(_CLASSES)
    for bias in range(50):
        as_linen(lstm, forget_bias=bias + 0.25)
    gc.collect()
    assert len(_CLASSES) <= before


def test_a_cell_draws_its_parameters_together():
    """A period and a shift within it, by one key: of keys of their own some shifts would exceed their periods."""

    def network(x):
        core = as_haiku(phased_lstm)(50)
        return core(x, core.initial_state(B))

    x, layer = jnp.ones((B, D), jnp.float32), as_linen(phased_lstm)(50)
    in_linen = layer.init(jax.random.key(0), layer.initialize_carry(jax.random.key(0), x.shape), x)["params"]
    in_haiku = haiku.transform(network).init(jax.random.key(0), x)["phased_lstm"]
    for drawn in (in_linen, in_haiku):
        assert bool((drawn["s"] < drawn["tau"]).all())


def test_equinox_draws_what_init_draws():
    layer = as_equinox(lstm, forget_bias=3.0)(D, H, jnp.float64, key=jax.random.key(5))
    want = lstm.init(jax.random.key(5), D, H, dtype=jnp.float64, forget_bias=3.0)
    assert_close("params", layer.params, want, 0.0)
    assert from_equinox(layer) == (lstm, layer.params)
    assert as_equinox(lstm)(D, H, key=jax.random.key(0)).params.W.dtype == jnp.float64  # where JAX has it, as equinox


@pytest.mark.parametrize("forget_bias", [0.0, 2.0])
def test_options_reach_init(forget_bias):
    cell, xs = stack(lstm, lstm), XS.astype(jnp.float32)
    linen_rnn = linen.RNN(as_linen(cell, forget_bias=forget_bias)(features=(H, H)))
    nnx_cell = as_nnx(cell, forget_bias=forget_bias)(D, (H, H), rngs=nnx.Rngs(0))

    def network(xs):
        core = as_haiku(cell, forget_bias=forget_bias)((H, H))
        return haiku.dynamic_unroll(core, xs, core.initial_state(B))

    in_haiku = haiku.transform(network).init(jax.random.key(0), xs)
    assert list(in_haiku) == ["stack_lstm_lstm"]
    assert list(in_haiku["stack_lstm_lstm"]) == ["0/W", "0/U", "0/b", "1/W", "1/U", "1/b"]
    biases = [
        linen_rnn.init(jax.random.key(0), xs)["params"]["cell"]["1"]["b"],
        nnx_cell.params[1].b[...],
        in_haiku["stack_lstm_lstm"]["1/b"],
    ]
    for b in biases:
        assert b.tolist() == [0.0] * H + [forget_bias] * H + [0.0] * 2 * H


def test_dtypes_of_flax():
    """Parameters stay in param_dtype, and all of the computation is in dtype."""
    rnn = linen.RNN(as_linen(lstm)(H, dtype=jnp.bfloat16), return_carry=True)
    variables = rnn.init(jax.random.key(0), BATCH_FIRST)
    carry, outs = rnn.apply(variables, BATCH_FIRST)
    assert variables["params"]["cell"]["W"].dtype == jnp.float32
    assert outs.dtype == carry.c.dtype == jnp.bfloat16
    layer = as_nnx(lstm)(D, H, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    carry, outs = nnx.RNN(layer, return_carry=True)(BATCH_FIRST)
    assert layer.params.W.dtype == jnp.float32
    assert outs.dtype == carry.c.dtype == jnp.bfloat16
    with pytest.raises(InputError, match="nothing is promoted silently"):
        as_nnx(lstm)(D, H, rngs=nnx.Rngs(0))(carry, XS[0])


def test_a_first_carry_of_flax():
    layer = as_linen(gru_d)(H, param_dtype=jnp.float64)
    carry = layer.initialize_carry(jax.random.key(0), (B, D))
    variables = layer.init(jax.random.key(0), carry, XS[0])
    variables["params"]["mean"] = mean = jnp.arange(1.0, D + 1)
    bound = layer.bind(variables).initialize_carry(jax.random.key(0), (B, D))
    assert float(abs(carry.last).max()) == 0 and bound.last.tolist() == [mean.tolist()] * B
    layer = as_nnx(lstm)(D, H, rngs=nnx.Rngs(0))
    ones = layer.initialize_carry((B, D), nnx.Rngs(0), jax.nn.initializers.ones)
    assert ones.h.shape == (B, H) and ones.c.min() == 1 == ones.h.max()
    noise = layer.initialize_carry((B, D), nnx.Rngs(0), jax.nn.initializers.normal())
    assert float(abs(noise.h - noise.c).max()) > 0


def test_times_may_be_given_and_are_counted_otherwise():
    layer = as_equinox(phased_lstm)(D, H, key=jax.random.key(0))
    run = lambda xs: lax.scan(lambda hidden, x: layer(x, hidden), layer.initial_state((B,)), xs)  # noqa: E731
    regular = phased_lstm.lift(XS)
    uneven = regular._replace(t=regular.t**2 + 0.3)
    for xs, same in ((XS, regular), (uneven, uneven)):
        hidden, outs = run(xs)
        carry, want = unroll(phased_lstm, layer.params, same)
        assert_close("outs", outs, want)
        assert_close("carry", hidden.carry, carry)
    assert float(abs(run(uneven)[1] - run(XS)[1]).max()) > 1e-3
    with pytest.raises(InputError, match="this layer counts its steps"):
        layer(XS[0], phased_lstm.initial_carry(layer.params, (B,)))


def test_steps_are_counted_beyond_what_the_dtype_could():
    layer = as_equinox(phased_lstm)(D, H, jnp.bfloat16, key=jax.random.key(0))
    hidden = layer.initial_state()
    hidden = hidden._replace(steps=hidden.steps + 256)
    for _ in range(2):
        hidden, _ = layer(jnp.ones(D, jnp.bfloat16), hidden)
    assert hidden.steps.tolist() == [258]


def test_unrolls_and_wrappers_of_haiku():
    starts = jnp.zeros((T, B), bool).at[2, 1].set(True)

    def network(xs):
        core = as_haiku(lstm)(H, dtype=jnp.float64)
        state = core.initial_state(B)
        dynamic = haiku.dynamic_unroll(core, xs, state)
        static = haiku.static_unroll(core, xs, state)
        resetting = haiku.ResetCore(core)
        reset = haiku.dynamic_unroll(resetting, (xs, starts), resetting.initial_state(B))
        deep = haiku.DeepRNN([core, jax.nn.relu])
        alone = core(xs[0, 0], core.initial_state(None))
        return dynamic, static, reset, haiku.dynamic_unroll(deep, xs, deep.initial_state(B))[0], alone

    network = haiku.without_apply_rng(haiku.transform(network))
    params = network.init(jax.random.key(0), XS)
    assert list(params) == ["lstm"]
    dynamic, static, reset, deep, alone = jax.jit(network.apply)(params, XS)
    own = lstm.params_type(**params["lstm"])
    carry, outs = unroll(lstm, own, XS)
    assert_close("dynamic", dynamic, (outs, carry))
    assert_close("static", static, (outs, carry))
    assert_close("deep", deep, jax.nn.relu(outs))
    assert_close("alone", alone[0], outs[0, 0])
    assert_close("row 0", reset[0][:, 0], outs[:, 0])
    assert_close("row 1, after the reset", reset[0][2:, 1], unroll(lstm, own, XS[2:, 1])[1])


def test_haiku_needs_a_shape_only_where_the_first_state_depends_on_it():
    key = jax.random.key(0)

    def first(name, **options):
        found, cell = [], EVERY[name]
        haiku.transform(lambda: found.append(as_haiku(cell)(H, **options).initial_state(2))).init(key)
        return found[0]

    needing = {"learned", *"conv_gru conv_lstm gru_d qrnn rwkv4 rwkv6 rwkv7 t_gru t_lstm".split()} | {
        "slstm_block",
        "ttt_linear",
    }
    for name in EVERY:
        if name in needing:
            with pytest.raises(InputError, match="give input_shape"):
                first(name)
        else:
            assert jax.tree.leaves(first(name))[0].shape[0] == 2
    assert first("gru_d", input_shape=(D,)).last.shape == (2, D)
    assert first("conv_gru", input_shape=(4, 3, D)).h.shape == (2, 4, 3, H)


def test_training_by_nnx():
    layer = nnx.RNN(as_nnx(lstm)(D, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0)))
    optimizer = nnx.Optimizer(layer, optax.adam(0.02), wrt=nnx.Param)

    @nnx.jit
    def train(layer, optimizer):
        loss, grads = nnx.value_and_grad(lambda layer: jnp.mean((layer(BATCH_FIRST) - 0.3) ** 2))(layer)
        optimizer.update(layer, grads)
        return loss

    losses = [float(train(layer, optimizer)) for _ in range(40)]
    assert losses[-1] < 0.2 * losses[0]


def test_an_ensemble_of_equinox():
    keys = jax.random.split(jax.random.key(0), 3)
    several = equinox.filter_vmap(lambda key: as_equinox(lstm)(D, H, key=key))(keys)
    run = lambda layer: lax.scan(lambda hidden, x: layer(x, hidden), layer.initial_state(), XS[:, 0])[1]  # noqa: E731
    outs = equinox.filter_jit(equinox.filter_vmap(run))(several)
    for k in range(3):
        want = unroll(lstm, at(several.params, k), XS[:, 0])[1]
        assert_close(f"copy {k}", outs[k], want)


@pytest.mark.parametrize("name", ["lstm", "gru", "rhn", "stack"])
def test_checkpoints_by_orbax(name, tmp_path):
    cell = stack(lstm, gru) if name == "stack" else CELLS[name]
    checkpointer = orbax.checkpoint.StandardCheckpointer()
    rnn = linen.RNN(as_linen(cell)(H))
    xs = BATCH_FIRST.astype(jnp.float32)
    variables, other = (rnn.init(jax.random.key(seed), xs) for seed in (0, 1))
    checkpointer.save(tmp_path / "linen", variables)
    layer, new = (as_nnx(cell)(D, H, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    checkpointer.wait_until_finished()
    checkpointer.save(tmp_path / "nnx", nnx.state(layer))
    assert_close("linen", checkpointer.restore(tmp_path / "linen", other), variables, 0.0)
    checkpointer.wait_until_finished()
    nnx.update(new, checkpointer.restore(tmp_path / "nnx", nnx.state(new)))
    assert_close("nnx", new.to_params(), layer.to_params(), 0.0)
    checkpointer.close()


@pytest.mark.parametrize("make", [as_linen, as_nnx, as_equinox, as_haiku])
def test_values_that_are_not_cells_and_a_dtype_among_the_options_are_refused(make):
    with pytest.raises(InputError, match="must be a Cell"):
        make("lstm")
    with pytest.raises(InputError, match="give the dtype when the layer is built"):
        make(lstm, dtype=jnp.float64)


def test_an_option_without_a_hash(as_users_have_it):
    start = np.full(H, 2.0, np.float32)
    bias = lambda key, shape, dtype: jnp.tile(start, shape[0] // H).astype(dtype)  # noqa: E731
    made = as_linen(gru, bias=bias)(H)
    assert made.init(jax.random.key(0), made.initialize_carry(jax.random.key(0), (D,)), jnp.ones(D))
