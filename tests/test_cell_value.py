"""A cell as a value: compared, hashed, pickled, printed, documented, given to jit, and made in thousands.

And differentiated by the numbers that it was made with.
"""

import copy
import functools
import gc
import inspect
import operator
import pickle
import pydoc
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import pytest
from jax.test_util import check_grads

from jaxseq import InputError, trace, unroll
from jaxseq.cells import CELLS, Cell, gru, lstm, rnn, stack
from jaxseq.cells._recipe import KEPT, join, split
from jaxseq.interventions import clamp, hold_at, intervene
from jaxseq.recurrence import EXACT, scan
from jaxseq.regularisers import recurrent_dropout, zoneout
from jaxseq.testing import Subject, assert_close, cotangent, draw, holes

T, B, D, H = 6, 3, 3, 5


def coupled(value, gate):
    return 1 - gate("f")


def halved(value, gate):
    return value * 0.5


def tripled(params, carry, wx, uh):
    return gru.equations(params, carry, 3 * wx, uh)


MADE = {
    "stack": lambda: stack(lstm, gru),
    "stack, the other way": lambda: stack(gru, lstm),
    "stack of three": lambda: stack(lstm, gru, lstm),
    "stack in a stack": lambda: stack(stack(lstm, gru), lstm),
    "clamp": lambda: clamp(lstm, f=1.0),
    "clamp to another value": lambda: clamp(lstm, f=0.5),
    "clamp another gate": lambda: clamp(lstm, i=1.0),
    "clamp two": lambda: clamp(lstm, i=1.0, f=0.5),
    "clamp a unit": lambda: clamp(lstm, f={2: 1.0}),
    "clamp another unit": lambda: clamp(lstm, f={1: 1.0}),
    "clamp in a stack": lambda: intervene(stack(lstm, gru), {"1.z": hold_at(0.5)}),
    "intervene": lambda: intervene(lstm, {"i": coupled}),
    "intervene by another function": lambda: intervene(lstm, {"i": halved}),
    "zoneout": lambda: zoneout(lstm, {"h": 0.05, "c": 0.5}),
    "zoneout of one rate": lambda: zoneout(lstm, 0.05),
    "recurrent dropout": lambda: recurrent_dropout(gru, "n"),
    "recurrent dropout of r": lambda: recurrent_dropout(gru, "r"),
    "wrapped twice": lambda: zoneout(recurrent_dropout(lstm), 0.1),
    "clockwork": lambda: CELLS["clockwork"].with_(periods=(1, 3)),
    "clockwork of other periods": lambda: CELLS["clockwork"].with_(periods=(1, 2)),
    "other equations": lambda: gru.replace(equations=tripled, name="tripled"),
    "another name": lambda: gru.replace(name="tripled"),
}  # fmt: skip
"""Ways to make a cell: two of the same are one cell, two of different ones are two."""

made = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


def test_every_cell_is_known_by_its_name() -> None:
    for name, cell in CELLS.items():
        for again in (pickle.loads(pickle.dumps(cell)), copy.copy(cell), copy.deepcopy(cell)):
            assert again == cell and hash(again) == hash(cell)
        assert repr(cell) == f"<Cell {name}>"
    everything = [*CELLS.values(), *(make() for make in MADE.values())]
    for n, cell in enumerate(everything):
        assert [m for m, other in enumerate(everything) if other == cell] == [n], cell
    assert len(set(everything)) == len(CELLS) + len(MADE)
    assert lstm != "lstm" and lstm != lstm.equations


@made
def test_a_cell_made_twice_is_one_cell(make) -> None:
    cell = make()
    clear()
    for again in (make(), pickle.loads(pickle.dumps(cell)), copy.deepcopy(cell), copy.copy(cell)):
        assert again == cell and hash(again) == hash(cell) and not again != cell  # noqa: SIM202
        assert repr(again) == repr(cell) == f"<Cell {cell.name}>"
        assert {cell: 1}[again] == 1


def clear() -> None:
    """Forget what the caches of factories hold, so that a cell made again is another object."""
    for factory in (stack, clamp, intervene, hold_at, zoneout, recurrent_dropout):
        factory.cache_clear()


def test_what_is_made_again_is_another_object() -> None:
    """Else the comparison above would be of one object with itself."""
    cell = clamp(lstm, f=1.0)
    assert clamp(lstm, f=1.0) is cell  # as long as it is kept
    clear()
    again = clamp(lstm, f=1.0)
    assert again is not cell and again == cell and hash(again) == hash(cell)


def test_a_pickle_is_read_by_another_process() -> None:
    """Hashes of strings differ from process to process; cells are equal all the same."""
    cells = [lstm, stack(lstm, gru), clamp(lstm, f={2: 1.0}), zoneout(lstm, {"h": 0.05, "c": 0.5})]
    code = (
        "import pickle, sys; cells = pickle.load(sys.stdin.buffer)\n"
        "from jaxseq.cells import lstm, gru, stack; from jaxseq.interventions import clamp\n"
        "assert cells[0] is lstm and cells[1] == stack(lstm, gru) and cells[2] == clamp(lstm, f={2: 1.0})\n"
        "assert {cells[2]: 1}[clamp(lstm, f={2: 1.0})]\n"
        "print(*(cell.name for cell in cells), sep='; ')"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(cells), capture_output=True, check=False)
    assert done.stdout.decode().strip() == "; ".join(cell.name for cell in cells), done.stderr.decode()


def test_a_cell_that_holds_arrays() -> None:
    """It equals one that holds the same arrays, and has no hash: arrays are data, to be passed to what is compiled."""
    values = jnp.full(H, 0.5)
    cell, again, other = clamp(lstm, f=values), clamp(lstm, f=values), clamp(lstm, f=values + 0)
    assert cell == again and cell != other and cell != clamp(lstm, f=0.5)
    with pytest.raises(TypeError, match=r"<Cell lstm with f changed> holds arrays and has no hash"):
        hash(cell)
    static, arrays = split(cell)
    assert [a is values for a in arrays] == [True] and hash(static) == hash(split(other)[0])
    assert static == split(other)[0] != split(clamp(lstm, i=values))[0]
    problem = draw(Subject(lstm), T, (B,))
    want = unroll(clamp(lstm, f=0.5), *problem)
    for one in (cell, pickle.loads(pickle.dumps(cell)), copy.deepcopy(cell), join(static, [values])):
        assert_close("values", unroll(one, *problem), want)
    assert_close("other values", unroll(join(static, [0.5 * values]), *problem), unroll(clamp(lstm, f=0.25), *problem))


def test_replace_and_with() -> None:
    assert stack(lstm, gru).layers == (lstm, gru) and lstm.layers == ()
    assert lstm.replace(name="mine").recipe is None and lstm.replace(name="mine").name == "mine"
    assert zoneout(lstm, 0.5).replace(name="mine") != zoneout(lstm, 0.5)
    assert recurrent_dropout(lstm).with_(gate="i") == recurrent_dropout(lstm, gate="i")
    assert recurrent_dropout(lstm).with_(gate="i") != recurrent_dropout(lstm)
    assert recurrent_dropout(lstm) == recurrent_dropout(lstm, "g") == recurrent_dropout(cell=lstm, gate="g")
    assert hash(recurrent_dropout(lstm)) == hash(recurrent_dropout(cell=lstm, gate="g"))
    with pytest.raises(InputError, match=r"lstm with g dropped.with_: unknown option 'gaet'.*did you mean 'gate'"):
        recurrent_dropout(lstm).with_(gaet="i")
    with pytest.raises(InputError, match=r"gru.with_: unknown option 'bias'"):
        gru.with_(bias=1.0)
    with pytest.raises(InputError, match=r"mine.with_: unknown option 'gate'"):
        lstm.replace(name="mine").with_(gate="i")


# --- what is shown of it ---------------------------------------------------------------------------------------------


def test_signatures_say_what_init_takes() -> None:
    options = list(inspect.signature(lstm.init).parameters)
    assert options == ["key", "input_size", "hidden_size", "dtype", "kernel", "recurrent", "bias", "forget_bias"]
    assert inspect.signature(lstm.init).parameters["forget_bias"].default == 1.0
    assert "forget_bias" not in inspect.signature(gru.init).parameters
    for name, cell in CELLS.items():  # and what it says, it does
        parameters = inspect.signature(cell.init).parameters
        given = {
            key: p.default for key, p in parameters.items() if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
        }
        assert "dtype" in given, name
        shapes = jax.eval_shape(functools.partial(cell.init, input_size=D, hidden_size=H, **given), KEY)
        assert shapes == jax.eval_shape(lambda key, cell=cell: cell.init(key, D, H), KEY), name
    with pytest.raises(InputError, match=r"init of GRUParams: (unknown option )?'forget_bias'"):
        gru.init(KEY, D, H, forget_bias=1.0)


KEY = jax.random.key(0)


def test_help_shows_the_equations() -> None:
    text = pydoc.render_doc(lstm, renderer=pydoc.plaintext)
    source = inspect.getmodule(lstm.equations).__doc__
    assert "sigmoid" in source and all(line.strip() in text for line in source.splitlines())
    for name, cell in CELLS.items():
        assert cell.__doc__ == inspect.getmodule(cell.equations).__doc__ != Cell.__doc__, name
    assert rnn.__doc__ != lstm.__doc__


@pytest.mark.parametrize("name", CELLS)
def test_output_size_is_the_outputs(name: str) -> None:
    """For sizes of which none is another's multiple; the heads of some cells share their H."""
    cell, (d, h) = CELLS[name], (7, 12)
    params = jax.eval_shape(lambda: cell.init(KEY, d, h))
    x = jax.ShapeDtypeStruct((2, *(3, 2, 4)[: 1 + cell.spatial], d), jnp.float32)
    _, outs = jax.eval_shape(lambda params, x: unroll(cell, params, x), params, x)
    assert cell.output_size(params, d) == outs.shape[-1]
    if hasattr(params, "W"):
        assert cell.output_size(params) == outs.shape[-1]


def test_output_size_of_made_cells_and_of_what_has_none() -> None:
    deep = stack(lstm, CELLS["lstmp"], gru)
    assert deep.output_size(deep.init(KEY, D, (H, 4, 7))) == 7
    assert stack(lstm, CELLS["lstmp"]).output_size(stack(lstm, CELLS["lstmp"]).init(KEY, D, 8)) != 8  # it projects
    pair = gru.replace(equations=lambda *a: (lambda k, out, named: (k, (out, out), named))(*gru.equations(*a)))
    with pytest.raises(InputError, match="gru: the output is not one array but tuple"):
        pair.output_size(gru.init(KEY, D, H))
    nameless = gru.replace(params_type=None, input_terms=lambda p, x: gru.input_terms(gru.init(KEY, D, H), x))
    with pytest.raises(InputError, match="the input size cannot be read from these params; give input_size"):
        nameless.output_size({"b": jnp.ones(3)})


# --- in compiled functions -------------------------------------------------------------------------------------------


@made
def test_jit_traces_equal_cells_once(make) -> None:
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def size(cell, x):
        traced.append(cell)
        return x * len(cell.name)

    for _ in range(3):
        clear()
        size(make(), 1.0)
    assert len(traced) == 1
    size(lstm, 1.0)
    assert len(traced) == 2


def held(value, problem, recurrence, **options):
    """All that comes of a run whose gates are held at a traced number, array, and number for some units."""
    cell = clamp(lstm, f=value[0], i=value[1], o={1: value[2]})
    return unroll(cell, *problem, recurrence=recurrence, **options)


VALUES = (jnp.float64(0.7), jnp.linspace(0.1, 0.9, H), jnp.float64(0.3))


def plain(value, problem):
    """The same, with the LSTM's equations written out."""
    params, xs, carry = problem
    h, c, outs = carry.h, carry.c, []
    for x in xs:
        a = jnp.split(x @ params.W + h @ params.U + params.b, 4, -1)
        o = jax.nn.sigmoid(a[3]).at[..., 1].set(value[2])
        c = value[0] * c + value[1] * jnp.tanh(a[2])
        h = o * jnp.tanh(c)
        outs.append(h)
    return type(carry)(h, c), jnp.stack(outs)


@pytest.mark.parametrize("recurrence", EXACT.values(), ids=EXACT)
def test_a_clamp_at_a_traced_value_is_differentiated(recurrence) -> None:
    """By the values that it holds, and by params, xs and carry: against the equations, finite differences and scan."""
    problem = draw(Subject(lstm), T, (B,))

    def total(run, value, problem):
        return sum(jnp.vdot(cotangent(a), a) for a in jax.tree.leaves(run(value, problem)))

    ours = functools.partial(total, functools.partial(held, recurrence=recurrence))
    with jax.numpy_rank_promotion("allow"):
        want = jax.value_and_grad(functools.partial(total, plain), argnums=(0, 1))(VALUES, tuple(problem))
    assert_close("gradients", jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(VALUES, tuple(problem)), want)
    check_grads(lambda value: held(value, problem, recurrence), (VALUES,), 1, ("fwd", "rev"), atol=1e-6, rtol=1e-6)

    options = {"mask": holes(T, (B,)), "resets": ~holes(T, (B,)), "reverse": True}
    along = jax.tree.map(cotangent, (VALUES, tuple(problem)))
    pushed, by_scan = (
        jax.jit(lambda at, r=r: jax.jvp(lambda v, p: held(v, p, r, **options), at, along))((VALUES, tuple(problem)))
        for r in (recurrence, scan)
    )
    assert_close("masked, reverse, resets", pushed, by_scan)


@pytest.mark.parametrize("recurrence", EXACT.values(), ids=EXACT)
def test_a_clamp_at_mapped_values_is_one_run_for_each(recurrence) -> None:
    problem = draw(Subject(lstm), T, (B,))
    many = jax.tree.map(lambda v: jnp.stack([v, 0.5 * v, 1 - v]), VALUES)

    @jax.jit
    def gradients(value):
        return jax.value_and_grad(lambda value: (held(value, problem, recurrence)[1] ** 2).sum())(value)

    got = jax.vmap(gradients)(many)
    for n in range(3):
        alone = gradients(jax.tree.map(lambda a, n=n: a[n], many))
        assert_close(f"{n}", jax.tree.map(operator.itemgetter(n), got), alone)


# --- in thousands ----------------------------------------------------------------------------------------------------


def test_a_thousand_cells_are_let_go() -> None:
    """Of 1,000 clamped cells that were traced, and a few that were run, no cache keeps more than its last ones."""
    params, xs = lstm.init(KEY, D, H), jnp.ones((2, 1, D), jnp.float32)
    cells, wrappers = [], []

    def seen(value: float, run) -> None:
        cell = clamp(lstm, f=value)
        cells.append(weakref.ref(cell))
        wrappers.append(weakref.ref(cell.equations))  # closed over by whatever was compiled
        run(cell)

    for n in range(3):
        seen(-1.0 - n, lambda cell: trace(cell, params, xs))
    for n in range(1000):
        seen(n / 1000, lambda cell: jax.eval_shape(lambda p, x: trace(cell, p, x), params, xs))
    gc.collect()
    for kept in (cells, wrappers):
        alive = [ref() is not None for ref in kept]
        assert sum(alive) <= KEPT and not any(alive[: 1003 - KEPT]), sum(alive)
    assert cells[-1]() is not None  # the last are kept: a test of caches that keep nothing would show nothing
