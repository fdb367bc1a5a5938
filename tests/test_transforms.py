"""What JAX does to a program, or asks of one, holds for every cell and recurrence; and the laws notice where not."""

import gc
import multiprocessing
import os
import pickle
import sys
import time
from functools import partial, wraps

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from memory import resident

from jaxseq import bidirectional, init_bidirectional, init_layers, layers, unroll
from jaxseq.attention import ATTENTIONS, additive, with_attention
from jaxseq.cells import CELLS, Cell, MemoryEquations, gru, lstm, made, rnn, stack
from jaxseq.cells._base import Sourced
from jaxseq.interventions import clamp
from jaxseq.recurrence import RECURRENCES, clipped, forward, scan
from jaxseq.regularisers import zoneout
from jaxseq.testing import Subject, assert_close, check_cell, draw
from jaxseq.testing.export import LAWS_OF_EXPORT
from jaxseq.testing.transforms import LAWS_OF_TRANSFORMS, compilations

KEY = jax.random.key(0)
ALL = bool(os.environ.get("JAXSEQ_ALL_TESTS"))
FEWER = sys.version_info >= (3, 12)
LAWS = [*LAWS_OF_TRANSFORMS, *LAWS_OF_EXPORT]


@made
def attending(cell: Cell, attention) -> Cell:
    """A cell that reads a source of 3 positions, the same for every row, in the dtype of its params."""
    whole = with_attention(cell, attention)

    def sourced(params, batch):
        K, dtype = params.C.shape[0], params.C.dtype
        row = jnp.sin(jnp.arange(3 * K, dtype=dtype)).reshape(3, *[1] * len(batch), K)
        mask = jnp.array([True, True, False]).reshape(3, *[1] * len(batch))
        source = jnp.broadcast_to(row, (3, *batch, K)), jnp.broadcast_to(mask, (3, *batch))
        return Sourced(params, whole.remember(params, *source))

    return whole.replace(
        init=lambda key, D, H, **options: whole.init(key, D, H, value_size=H, units=6, **options),
        initial_carry=lambda params, batch=(): whole.initial_carry(sourced(params, batch), batch),
        equations=lambda params, carry, *terms: whole.equations(sourced(params, carry.h.shape[:-1]), carry, *terms),
        remember=None,
        name=f"attending {cell.name}",
    )


NEVER_CLIPS = partial(clipped, limit=1e9)


@wraps(forward)  # by its name the laws know that it has no forward mode
def without_inputs(cell, params, xs, carry, **marks):
    return forward(cell, params, jax.lax.stop_gradient(xs), carry, **marks)


DRIVERS = {**RECURRENCES, "clipped": NEVER_CLIPS, "forward": without_inputs}
CORE = [
    *(CELLS[name] for name in ("rnn", "lstm", "gru", "gru_cho", "lru", "min_gru", "gla")),
    stack(lstm, gru), attending(gru, additive), zoneout(lstm, 0.1), clamp(lstm, f=0.5),
]  # fmt: skip


def every(n: int, cases: list) -> list:
    """All cases if asked for, else every nth, and fewer where the tests run a second time."""
    return cases if ALL else cases[:: 3 * n if FEWER else n]


OF_CELLS = every(59, [(cell, law) for cell in CELLS.values() for law in LAWS])
OF_DRIVERS = every(
    43,
    [
        (cell, name, law)
        for law in LAWS
        for name in DRIVERS
        for cell in CORE
        if {
            "associative": cell.linear == "elementwise",
            "chunked": isinstance(cell.equations, MemoryEquations) and law != "closures",
        }.get(name, True)
    ],
)


@pytest.mark.parametrize(("cell", "law"), OF_CELLS, ids=lambda a: getattr(a, "name", a))
def test_every_cell_obeys(cell: Cell, law: str) -> None:
    check_cell(cell, laws=[law], recurrences={"deferred": RECURRENCES["deferred"]})


@pytest.mark.parametrize(("cell", "recurrence", "law"), OF_DRIVERS, ids=lambda a: getattr(a, "name", a))
def test_every_recurrence_obeys(cell: Cell, recurrence: str, law: str) -> None:
    check_cell(cell, laws=[law], recurrences={recurrence: DRIVERS[recurrence]})


# --- the laws notice -------------------------------------------------------------------------------------------------


def compiles_again():
    def run(cell, params, xs, carry, **rest):
        return scan(cell, params, xs, carry, **rest)

    return run


def closes_over_all(cell, params, xs, carry, **rest):
    run = jax.custom_jvp(lambda params: scan(cell, params, xs, carry, **rest))
    run.defjvp(lambda primals, tangents: jax.jvp(lambda p: scan(cell, p, xs, carry, **rest), primals, tangents))
    return run(params)


def needs_the_length(cell, params, xs, carry, **rest):
    return scan(cell, params, xs, carry, **rest) if len(range(jax.tree.leaves(xs)[0].shape[0])) else None


def one_zero_twice(params, batch_shape=()):
    carry = lstm.initial_carry(params, batch_shape)
    return carry._replace(c=carry.h)


LEAKED = []


def leaks(params, carry, wx, uh):
    LEAKED.append(wx)
    return gru.equations(params, carry, wx, uh)


@pytest.mark.parametrize(
    ("law", "cell", "recurrence"),
    [
        ("eager", lstm, compiles_again()),
        ("donation", lstm.replace(initial_carry=one_zero_twice), scan),
        ("closures", lstm, closes_over_all),
        ("pickle", gru.replace(equations=lambda *args: gru.equations(*args)), scan),
        ("strict", gru.replace(equations=leaks), scan),
        ("export", lstm, needs_the_length),
    ],
)
def test_what_is_broken_is_noticed(law: str, cell: Cell, recurrence) -> None:
    with pytest.raises(AssertionError, match=f"{cell.name} breaks the law '{law}'"):
        check_cell(cell, laws=[law], recurrences={"broken": recurrence})
    LEAKED.clear()


def test_compilations_are_counted() -> None:
    fresh = jax.jit(lambda x: x * 3 + 1)
    x = jnp.ones(7)
    assert [compilations(lambda: fresh(x)) for _ in range(3)] == [1, 0, 0]


# --- eager calls -----------------------------------------------------------------------------------------------------

D, H = 3, 5
XS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, D)))


def total(tree):
    return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("params", "run"),
    [
        (init_bidirectional(KEY, gru, D, H, dtype=float), lambda p: bidirectional(gru, p, XS)),
        (init_layers(KEY, (rnn, gru), D, H, dtype=float), lambda p: layers((rnn, gru), p, XS)),
        (lstm.init(KEY, D, H, dtype=float), lambda p: lstm.step(p, lstm.initial_carry(p, (2,)), XS[0])),
        (lstm.init(KEY, D, H, dtype=float), lambda p: unroll(lstm, p, np.asarray(XS), recurrence=NEVER_CLIPS)),
        (lstm.init(KEY, D, H, dtype=float), lambda p: jax.vmap(partial(unroll, lstm, p))(jnp.stack([XS, XS]))),
    ],
    ids=["bidirectional", "layers", "step", "a partial recurrence", "mapped"],
)
def test_a_second_eager_call_compiles_nothing(params, run) -> None:
    for call in (run, jax.value_and_grad(lambda p: total(run(p)))):
        call(params)
        assert compilations(lambda call=call: call(params)) == 0


def test_an_eager_step_is_one_program() -> None:
    params, x = lstm.init(KEY, D, H, dtype=float), jnp.ones((7, D))  # a batch that no other test has
    carry = lstm.initial_carry(params, (7,))
    assert compilations(lambda: lstm.step(params, carry, x)) == 1


def test_a_thousand_eager_calls_leave_memory_flat() -> None:
    """Values and gradients with 1,000 distinct clamped values: no program and no array is kept for any of them."""
    params = lstm.init(KEY, D, H, dtype=float)

    def call(value: float):
        return jax.value_and_grad(lambda p: total(unroll(clamp(lstm, f=value), p, XS)))(params)

    def calls(first: int, last: int) -> list[int]:
        before = resident()
        compiled = compilations(lambda: [call(n / 1000) for n in range(first, last)])
        gc.collect()
        return [compiled, len(jax.live_arrays()), (resident() - before) // 2**20]

    calls(-100, 0)  # caches fill, of which each keeps its last ones
    arrays = len(jax.live_arrays())
    compiled, left, grown = calls(0, 1000)
    assert compiled == 0 and left <= arrays and grown < 20, (compiled, left - arrays, grown)


def test_an_eager_unroll_costs_at_most_twice_the_compiled_one() -> None:
    """The least of alternating runs of an LSTM with (B, T, D, H) = (1, 10, 64, 64)."""
    params = lstm.init(KEY, 64, 64)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(10, 1, 64)), jnp.float32)
    eager = partial(unroll, lstm)
    least = {eager: np.inf, jax.jit(eager): np.inf}
    for _ in range(100):
        for run in least:
            begun = time.perf_counter()
            for _ in range(10):
                last = run(params, xs)
            jax.block_until_ready(last)
            least[run] = min(least[run], time.perf_counter() - begun)
    there, compiled = least.values()
    assert there < 2 * compiled, f"{there / compiled:.2f} times"


def test_a_cell_stays_what_it_was_when_a_dict_given_to_it_changes() -> None:
    params, units = lstm.init(KEY, D, H, dtype=float), {1: 0.5}
    cell, want = clamp(lstm, f=units), unroll(clamp(lstm, f={1: 0.5}), params, XS)
    units[1] = 0.9
    assert_close("the same cell", unroll(cell, params, XS), want, 0.0)
    assert abs(unroll(clamp(lstm, f=units), params, XS)[0].c - want[0].c).max() > 1e-3


# --- donation, closures, processes -----------------------------------------------------------------------------------


def test_no_two_leaves_of_a_fresh_carry_share_a_buffer() -> None:
    """For every cell, and every attention whose state is in the carry."""
    cells = [*CELLS.values(), *(attending(lstm, a) for a in ATTENTIONS.values())]
    for cell in cells:
        params = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), jax.eval_shape(lambda c=cell: c.init(KEY, D, 6)))
        carry = cell.initial_carry(params, (2, *(3, 2)[: cell.spatial]))
        places = [a.unsafe_buffer_pointer() for a in jax.tree.leaves(carry)]
        assert len(set(places)) == len(places), cell


@pytest.mark.parametrize("name", [name for name in RECURRENCES if name != "chunked"])  # which takes no clamped cell
def test_closures_within_closures(name: str) -> None:
    """Terms and an initial carry that see a traced value, held at another; by the default twice differentiated."""
    cell = CELLS["min_gru"] if name == "associative" else gru
    params = cell.init(KEY, D, H, dtype=float)
    resets = jnp.arange(8).reshape(4, 2) % 3 == 1

    def f(v, held):
        inner = cell.replace(
            input_terms=lambda p, x: jax.tree.map(lambda a: v * a, cell.input_terms(p, x)),
            hidden_terms=lambda p, k: jax.tree.map(lambda a: jnp.cos(v) * a, cell.hidden_terms(p, k)),
            initial_carry=lambda p, batch_shape=(): jax.tree.map(lambda a: a + v, cell.initial_carry(p, batch_shape)),
        )
        return total(unroll(clamp(inner, z={1: held}), params, XS, resets=resets, recurrence=DRIVERS[name]))

    def slopes(g):
        """By central differences, of either value."""
        return (g(0.7 + e, 0.4) - g(0.7 - e, 0.4)) / (2 * e), (g(0.7, 0.4 + e) - g(0.7, 0.4 - e)) / (2 * e)

    e, run, both = 1e-5, jax.jit(f), partial(jax.grad, argnums=(0, 1))
    want = slopes(run)
    assert abs(want[0]) > 0.1 and abs(want[1]) > 0.01
    for way in (both(f), jax.jit(both(f)), both(run), lambda *at: jax.vmap(both(f))(*map(jnp.atleast_1d, at))):
        np.testing.assert_allclose(np.ravel(way(0.7, 0.4)), want, rtol=1e-7)
    if name != "clipped":  # it has no forward mode
        np.testing.assert_allclose(jax.jvp(f, (0.7, 0.4), (1.0, 2.0))[1], want[0] + 2 * want[1], rtol=1e-7)
    if name == "deferred":
        bends = slopes(jax.jit(jax.grad(f)))
        np.testing.assert_allclose(jax.jit(both(jax.grad(f)))(0.7, 0.4), bends, rtol=1e-6)


def unrolled(pickled: bytes):
    """What a worker does."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        cell, params, xs = pickle.loads(pickled)
        return jax.tree.map(np.asarray, unroll(cell, params, xs))


def test_spawned_workers_get_the_same_numbers() -> None:
    jobs = []
    for cell in (lstm, stack(lstm, gru), clamp(lstm, f={1: 0.5})):
        params, xs, _ = draw(Subject(cell), 3, (2,))
        jobs.append(pickle.dumps((cell, params, xs)))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(unrolled, jobs)
    for job, got in zip(jobs, there, strict=True):
        assert_close("worker", got, jax.tree.map(np.asarray, unrolled(job)), 1e-15)
