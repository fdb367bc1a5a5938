"""Arrays spread over 8 devices, on Auto and Explicit meshes and in `jax.shard_map`: values and gradients as on one."""

import contextlib
import functools
import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxseq import (
    InputError,
    bidirectional,
    decode,
    init_bidirectional,
    init_layers,
    layers,
    length_mask,
    trace,
    unroll,
)
from jaxseq.attention import ATTENTIONS, additive, reading, with_attention
from jaxseq.cells import CELLS, gru, lstm, stack
from jaxseq.interventions import clamp
from jaxseq.recurrence import RECURRENCES, deferred, scan
from jaxseq.regularisers import zoneout
from jaxseq.seq2seq import translator
from jaxseq.testing import Subject, assert_close, check_cell, loop
from jaxseq.testing.devices import LAYOUTS, Problem, assert_same_on_devices, device_count, kinds, unrolled

ALL = bool(os.environ.get("JAXSEQ_ALL_TESTS"))
PLACES = [(kind, layout) for layout in LAYOUTS for kind in kinds(layout)]
"""On what mesh, and what is spread: 8 pairs, of which everything takes its turn; all with JAXSEQ_ALL_TESTS=1."""

T, B, D, H, S = 2, 8, 3, 8, 4
KEYS = jax.random.split(jax.random.key(0), 6)
XS, SOURCE = jax.random.normal(KEYS[0], (T, B, D)), jax.random.normal(KEYS[1], (S, B, D))
MASK, RESETS = jax.random.bernoulli(KEYS[2], 0.7, (T, B)), jax.random.bernoulli(KEYS[3], 0.4, (T, B))


def by_turn(names, *, every=1):
    """Return ``(name, the places where it is tried)`` of every nth name."""
    turns = itertools.cycle([[place] for place in PLACES])
    return [pytest.param(name, PLACES if ALL else next(turns), id=name) for name in list(names)[:: 1 if ALL else every]]


def check(make, places) -> None:
    """Compare in each place; what one device returns is computed once for each layout."""
    want = {}
    for kind, layout in places:
        want[layout] = assert_same_on_devices("", make(layout), kind, layout, want.get(layout))


def test_there_are_eight_devices() -> None:
    assert device_count() == 8
    assert len(PLACES) == 8


@pytest.mark.parametrize(("name", "places"), by_turn(CELLS, every=10))
def test_every_cell(name: str, places) -> None:
    check(functools.partial(unrolled, Subject(CELLS[name]), RECURRENCES["deferred"]), places)


@pytest.mark.parametrize("name", ["clockwork", "slstm", "tau_gru", "conv_gru"])
def test_cells_that_select_or_reshape_by_rows(name: str) -> None:
    """Their equations need the carry where the inputs are from the first step on, without a reset that moves it."""
    assert_same_on_devices("", unrolled(Subject(CELLS[name]), scan, "units"), "Explicit", "rows")


def test_equations_that_set_a_mesh_of_their_own() -> None:
    """`jnp.repeat` traces under Auto axes, which a jaxpr that is evaluated again must be as well."""
    assert_same_on_devices("", unrolled(Subject(CELLS["on_lstm"]), deferred, "rows"), "Explicit", "rows")


reader = with_attention(gru, additive)
SIZES = {"value_size": D, "units": H, "dtype": jnp.float64}


def attending(recurrence, layout):
    """Return a cell with attention as a problem: it reads a source whose rows are spread as its own."""

    def run(params, xs, source, mask, resets):
        cell = reading(reader, reader.remember(params, source))
        return unroll(cell, params, xs, mask=mask, resets=resets, recurrence=recurrence)

    return Problem(run, reader.init(KEYS[4], D, H, **SIZES), (XS, SOURCE), (MASK, RESETS), (1, 1, 1, 1), (0, 1))


DRIVEN = {name: CELLS[name] for name in ("rnn", "rnn_relu", "lstm", "gru", "gru_cho", "min_gru")} | {
    "stack": stack(lstm, gru), "zoneout": zoneout(lstm, {"h": 0.1}), "clamp": clamp(gru, z=0.5), "attention": None,
}  # fmt: skip


def without_inputs(cell, params, xs, carry, **marks):
    """`forward`, which has no derivative by the inputs."""
    return RECURRENCES["forward"](cell, params, jax.lax.stop_gradient(xs), carry, **marks)


DRIVERS = {**RECURRENCES, "forward": without_inputs, "steps": loop}
RUNS = [f"{cell} by {name}" for cell in DRIVEN for name in DRIVERS if name not in ("associative", "chunked")]
RUNS += [f"{cell} by associative" for cell in ("min_gru", "lru", "rg_lru")]
RUNS += [f"{cell} by chunked" for cell in ("gla", "deltanet", "mlstm")]


@pytest.mark.parametrize(("name", "places"), by_turn(RUNS, every=8))
def test_every_recurrence(name: str, places) -> None:
    """Compared with itself on one device: that recurrences equal each other is another law."""
    cell, _, recurrence = name.partition(" by ")
    recurrence = DRIVERS[recurrence]
    subject = functools.partial(unrolled, Subject(DRIVEN.get(cell) or CELLS.get(cell)), recurrence)
    check(functools.partial(attending, recurrence) if cell == "attention" else subject, places)


MODEL = translator(gru)
DEEP = translator(  # each option of the model's shape
    lstm, layers=2, decoder_layers=2, residual=True, layer_norm=True, tie="target", input_feeding=True
)
WORDS = jax.random.randint(KEYS[0], (S, B), 3, 9)
REAL = length_mask(jnp.array([4, 2, 3, 4, 1, 4, 2, 3]), S)
TARGET = jax.random.randint(KEYS[1], (T, B), 3, 8)


def over_inputs(run, params):
    run_marked = lambda params, xs, mask, resets: run(params, xs, mask=mask, resets=resets)  # noqa: E731
    return Problem(run_marked, params, (XS,), (MASK, RESETS), (1, 1, 1), (0, 1))


def weights(model):
    return model.init(KEYS[5], 9, 8, embedding=H, hidden=H, dtype=jnp.float64)


def translating(model, *forced):
    """Teacher forcing, all or in part, as a problem."""

    def run(params, source, mask, inputs, *forced):
        return model.decode(params, model.encode(params, source, mask), inputs, *forced)

    given = WORDS, REAL, TARGET, *forced
    return Problem(run, weights(model), (), given, (1,) * len(given), (0, 1))


def written(params, source, mask, write, model, **options):
    encoded = model.encode(params, source, mask)
    start = jnp.ones_like(source[0])
    options |= {"source_mask": mask.T} if "coverage_penalty" in options else {}
    options |= {"prefix": jnp.where(source[:1] % 3 == 0, 5, -1), "filters": (decode.forbid(0), decode.top_k(6))}
    result = write(model.step(params, encoded), encoded.carry, start, eos=2, max_length=6, **options)
    by_row = result.lengths, getattr(result, "scores", ())
    return by_row, (result.tokens, result.log_probs, result.seen)


def writing(write, model=MODEL, **options):
    run = functools.partial(written, write=write, model=model, **options)
    return Problem(run, weights(model), (), (WORDS, REAL), (1, 1), (0, 1), differentiable=False)


DRAWN = functools.partial(decode.sample, key=jax.random.key(7))
FUNCTIONS = {
    "trace": lambda: over_inputs(functools.partial(trace, lstm), lstm.init(KEYS[4], D, H, dtype=jnp.float64)),
    "bidirectional": lambda: over_inputs(
        functools.partial(bidirectional, gru), init_bidirectional(KEYS[4], gru, D, H, dtype=jnp.float64)
    ),
    "layers": lambda: over_inputs(
        functools.partial(layers, (gru, lstm)),
        init_layers(KEYS[4], (gru, lstm), D, H, both_ways=(True, False), dtype=jnp.float64),
    ),
    "decode": lambda: translating(MODEL),
    "decode, partly forced": lambda: translating(MODEL, RESETS),
    "greedy": lambda: writing(decode.greedy),
    "beam": lambda: writing(decode.beam, size=3, n_best=2, length_penalty=0.5, coverage_penalty=0.2),
    "decode, deep": lambda: translating(DEEP),
    "sample": lambda: writing(DRAWN),
    "greedy, deep": lambda: writing(decode.greedy, DEEP),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_runs_cells(name: str) -> None:
    if name != "sample":
        check(lambda layout: FUNCTIONS[name](), PLACES if ALL else [("Explicit", "both"), ("shard_map", "both")])
        return
    for kind, layout in PLACES if ALL else [("Explicit", "units"), ("shard_map", "both")]:
        problem, want = FUNCTIONS[name](), None
        if kind == "shard_map":  # a device that draws for its own rows draws other numbers
            parts = np.split(np.arange(B), LAYOUTS[layout](device_count())[0])
            alone = [problem.function(problem.params, WORDS[:, part], REAL[:, part]) for part in parts]
            want = jax.tree.map(lambda *a: np.concatenate(a, axis=min(a[0].ndim - 1, 1)), *alone), ()
        assert_same_on_devices(name, problem, kind, layout, want)


def spread(mesh, tree, *spec):
    return jax.tree.map(lambda a: jax.device_put(a, NamedSharding(mesh, PartitionSpec(*spec))), tree)


PARAMS = lstm.init(KEYS[4], 4, H, dtype=jnp.float64)
INPUTS = jax.random.normal(KEYS[0], (T, B, 4))
CARRY = jax.tree.map(jnp.ones_like, lstm.initial_carry(PARAMS, (B,)))


def slope(params, xs, carry, cell=lstm):
    def loss(params, xs, carry):
        carry, outs = unroll(cell, params, xs, carry, mask=MASK)
        return (outs**2).sum() + carry.h.sum()

    return jax.value_and_grad(loss, argnums=(0, 1))(params, xs, carry)


@pytest.mark.parametrize("set_mesh", [True, False])
def test_an_explicit_mesh_need_not_be_set_nor_all_be_spread(set_mesh: bool) -> None:
    """The mask is whole; rows of xs or of the carry alone are spread, or time, or params over the same devices."""
    want = jax.jit(slope)(PARAMS, INPUTS, CARRY)
    mesh = jax.make_mesh((4, 2), ("rows", "units"))
    params = spread(mesh, PARAMS)
    columns = params._replace(U=spread(mesh, PARAMS.U, None, "units"))
    fully_sharded = params._replace(U=spread(mesh, PARAMS.U, "rows"), W=spread(mesh, PARAMS.W, "rows"))
    rows, time = spread(mesh, INPUTS, None, "rows"), spread(mesh, INPUTS, "units")
    with jax.set_mesh(mesh) if set_mesh else contextlib.nullcontext():
        run = jax.jit(slope)
        for case, *args in (
            ("rows of xs", params, rows, CARRY),
            ("rows of the carry, and columns", columns, INPUTS, spread(mesh, CARRY, "rows")),
            ("time", params, time, CARRY),
            ("params over the devices of the rows", fully_sharded, rows, CARRY),
        ):
            value, gradients = run(*args)
            assert_close(case, (value, gradients), want)
            for ours, its in zip(gradients[0], args[0], strict=True):  # a gradient lies where its parameter does
                assert ours.sharding.is_equivalent_to(its.sharding, its.ndim), f"{case}: {ours.sharding}"


def test_results_are_spread_by_rows_and_eager_calls_are_as_well() -> None:
    mesh = jax.make_mesh((4, 2), ("rows", "units"))
    with jax.set_mesh(mesh):
        params = spread(mesh, PARAMS, "units")._replace(U=spread(mesh, PARAMS.U, None, "units"))
        carry, outs = unroll(lstm, params, spread(mesh, INPUTS, None, "rows"))
        assert carry.c.sharding.spec == PartitionSpec("rows", None)
        assert outs.sharding.spec == PartitionSpec(None, "rows", None)
        carry, out = lstm.step(params, carry, spread(mesh, INPUTS[0], "rows"))
        assert out.sharding.spec == carry.h.sharding.spec == PartitionSpec("rows", None)
        assert lstm.output_size(params) == H
    want = unroll(lstm, PARAMS, jnp.concatenate([INPUTS, INPUTS[:1]]))
    assert_close("eager", jax.device_get((carry, jnp.concatenate([outs, out[None]]))), want)


def test_rows_by_shard_map_on_a_mesh_whose_other_axis_is_explicit() -> None:
    want = jax.jit(slope)(PARAMS, INPUTS, CARRY)
    mesh = jax.make_mesh((4, 2), ("rows", "units"))
    whole, rows = PartitionSpec(), PartitionSpec(None, "rows")

    def run(params, xs, carry, mask):
        def loss(params, xs):
            carry_, outs = unroll(lstm, params, xs, carry, mask=mask)
            return (outs**2).sum() + carry_.h.sum()

        value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(params, xs)
        return jax.lax.psum(value, "rows"), gradients

    with jax.set_mesh(mesh):
        mapped = jax.shard_map(
            run,
            in_specs=(whole, rows, PartitionSpec("rows"), rows),
            out_specs=(whole, (whole, rows)),
            axis_names={"rows"},
        )
        params = spread(mesh, PARAMS)._replace(U=spread(mesh, PARAMS.U, None, "units"))
        xs, mask = spread(mesh, (INPUTS, MASK), None, "rows")  # jax 0.12 wants them where in_specs says
        assert_close(
            "Explicit units", jax.device_get(jax.jit(mapped)(params, xs, spread(mesh, CARRY, "rows"), mask)), want
        )


def test_a_closure_over_an_array_of_the_mesh_is_refused_where_params_are_spread() -> None:
    mesh = jax.make_mesh((4, 2), ("rows", "units"))
    with jax.set_mesh(mesh):
        scale = jnp.full((4 * H,), 0.5)
        cell = lstm.replace(
            input_terms=lambda p, x: lstm.input_terms(p, x) * jnp.broadcast_to(scale, (*x.shape[:-1], 4 * H))
        )
        xs, params = spread(mesh, INPUTS, None, "rows"), spread(mesh, PARAMS)
        assert unroll(cell, params, xs)[1].shape == (T, B, H)  # rows alone may be spread
        params = params._replace(U=spread(mesh, PARAMS.U, None, "units"))
        with pytest.raises(InputError, match=r"uses an array of that mesh which is not in params.*AxisType.Auto"):
            unroll(cell, params, xs)


def leaves_the_carry_where_it_is(cell, params, xs, carry, **rest):
    """A scan as one would write it: zeros go in, the same everywhere, and what comes out is not."""
    start = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), carry)
    return jax.lax.scan(lambda k, x: cell.step(params, k, x), start, xs)


@custom_partitioning
def mean_of_rows(xs):
    """A kernel as one might write it: each device is told to take the mean of its own rows."""
    return jnp.broadcast_to(xs.mean(1, keepdims=True), xs.shape)


def where_they_are(mesh, arguments, result):
    return mesh, lambda xs: mean_of_rows.fun(xs), arguments[0].sharding, (arguments[0].sharding,)


mean_of_rows.def_partition(
    partition=where_they_are,
    infer_sharding_from_operands=lambda mesh, arguments, result: arguments[0].sharding,
    sharding_rule="t b d -> t b d",
)


def centres_by_a_kernel(cell, params, xs, carry, **rest):
    return scan(cell, params, xs - mean_of_rows(jax.lax.stop_gradient(xs)), carry, **rest)


def test_a_kernel_that_sees_the_rows_of_one_device_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"gru breaks the law 'auto mesh'.*rows on 8 x 1 devices, values"):
        check_cell(gru, laws=["auto mesh"], recurrences={"broken": centres_by_a_kernel})


def mixes_rows(params, x):
    return gru.input_terms(params, x) + x.mean()


@pytest.mark.parametrize("law", ["explicit mesh", "shard_map"])
def test_a_recurrence_that_leaves_the_carry_where_it_was_is_noticed(law: str) -> None:
    with pytest.raises(AssertionError, match=f"gru breaks the law '{law}'"):
        check_cell(gru, laws=[law], recurrences={"broken": leaves_the_carry_where_it_is})


def test_a_cell_that_mixes_rows_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"gru breaks the law 'shard_map'.*values"):
        check_cell(gru.replace(input_terms=mixes_rows), laws=["shard_map"], recurrences={"scan": scan})


@pytest.mark.parametrize("name", ["additive", "general"])
@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
def test_an_attentions_params_and_its_source_on_the_same_devices(name: str, axis: int) -> None:
    """Each device has a part of the batch and a part of every matrix, as where parameters are fully sharded."""
    cell = with_attention(gru, ATTENTIONS[name])
    params = cell.init(jax.random.key(0), 8, 8, value_size=8, units=8, dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(1), (3, 8, 8))

    def loss(params, xs):
        return (unroll(reading(cell, cell.remember(params, xs)), params, xs)[1].h ** 2).sum()

    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        where = lambda a: PartitionSpec(*("d" if n == axis and a.ndim == 2 else None for n in range(a.ndim)))  # noqa: E731
        spread = jax.tree.map(lambda a: jax.device_put(a, NamedSharding(mesh, where(a))), params)
        rows = jax.device_put(xs, NamedSharding(mesh, PartitionSpec(None, "d")))
        got = jax.device_get(jax.jit(jax.value_and_grad(loss))(spread, rows))
    assert_close(name, got, jax.device_get(jax.value_and_grad(loss)(params, xs)))
