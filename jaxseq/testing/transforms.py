"""The laws of JAX's transformations and requirements: eager calls, donation, closures, pickling, strict modes."""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxseq._unroll import trace, unroll
from jaxseq.cells import Cell
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.recurrence import Recurrence
from jaxseq.testing.compare import TOLERANCES, Subject, assert_close, cotangent, differentiate, draw
from jaxseq.testing.laws import holes
from jaxseq.trees import at


def law_eager(s: Subject) -> None:
    """called eagerly a second time with the same shapes, nothing compiles: unroll, trace, step and derivatives."""
    problem, mask = tuple(draw(s, 3, (2,))), holes(3, (2,))
    along = jax.tree.map(cotangent, problem)
    for name, recurrence in s.recurrences.items():
        run = partial(unroll, s.cell, mask=mask, recurrence=recurrence)
        _assert_compiles_once(name, run, *problem)
        _assert_compiles_once(f"{name}, vjp", partial(_pulled, run), *problem)
        if takes_forward_mode(recurrence):
            _assert_compiles_once(f"{name}, jvp", partial(jax.jvp, run), problem, along)
        traced = partial(_traced, s.cell, recurrence)
        _assert_compiles_once(f"{name}, trace", traced, *problem)
        _assert_compiles_once(f"{name}, vjp of trace", partial(_pulled, traced), *problem)
    params, xs, carry = problem
    _assert_compiles_once("step", s.cell.step, params, carry, at(xs, 0))


def _traced(cell: Cell, recurrence: Recurrence, *problem: Tree) -> list[Array]:
    """Return the floating results of `trace`, since gates may have any type."""
    seen = jax.tree.leaves(trace(cell, *problem, recurrence=recurrence))
    return [a for a in seen if jnp.issubdtype(a.dtype, jnp.floating)]


def _pulled(run: Callable[..., Tree], *args: Tree) -> Tree:
    value, pull = jax.vjp(run, *args)
    return pull(value)


def _assert_compiles_once(case: str, call: Callable[..., Tree], *args: Tree) -> None:
    call(*args)
    count = compilations(lambda: call(*args))
    assert not count, f"{case}: the second call compiled {count} programs"


def compilations(call: Callable[[], Any]) -> int:
    """Return the number of programs that XLA compiles during a call."""
    before = _counted()[0]
    call()
    return _counted()[0] - before


@functools.cache
def _counted() -> list[int]:
    """Return a list with the number of compilations since the first call; it keeps counting."""
    count = [0]

    def heard(event: str, duration_secs: float, **rest: Any) -> None:
        count[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(heard)
    return count


def takes_forward_mode(recurrence: Recurrence) -> bool:
    """Return whether a recurrence has a forward mode; `clipped` and `forward`, with custom gradients, do not."""
    whole = recurrence.func if isinstance(recurrence, partial) else recurrence
    return getattr(whole, "__name__", "") not in ("clipped", "forward")


def law_donation(s: Subject) -> None:
    """a fresh carry, params and optimizer state can be donated: no two leaves share a buffer, and all are used."""
    params, xs, _ = draw(s, 3, (2,))
    fresh = s.cell.init(jax.random.key(s.seed), s.input_size, s.hidden_size)
    batch = jax.tree.leaves(xs)[0].shape[1:-1]
    _assert_apart("params", fresh)
    _assert_apart("initial carry", s.cell.initial_carry(params, batch))

    def train(state: tuple[Params, Params, Carry], xs: Tree, recurrence: Recurrence) -> tuple[Any, Tree]:
        """Take a step of gradient descent with momentum, and pass on the carry."""
        params, momentum, carry = state
        (last, outs), pull = jax.vjp(lambda p: unroll(s.cell, p, xs, carry, recurrence=recurrence), params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, pull((last, outs))[0])
        return (jax.tree.map(lambda p, m: p - 0.1 * m, params, momentum), momentum, last), outs

    for name, recurrence in s.recurrences.items():
        step = partial(train, recurrence=recurrence)
        state = params, jax.tree.map(jnp.zeros_like, params), s.cell.initial_carry(params, batch)
        want = jax.jit(step)(state, xs)
        given = jax.tree.map(jnp.copy, state)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # ignore the warning that a donated buffer was not usable
            got = jax.jit(step, donate_argnums=0)(given, xs)
        kept = [jax.tree_util.keystr(path) for path, a in jax.tree.leaves_with_path(given) if not a.is_deleted()]
        assert not kept, f"{name}: {', '.join(kept)} was donated and is still there"
        assert_close(name, got, want)


def _assert_apart(what: str, tree: Tree) -> None:
    places: dict[int, str] = {}
    for path, a in jax.tree.leaves_with_path(tree):
        if a.size:
            name = jax.tree_util.keystr(path)
            other = places.setdefault(a.unsafe_buffer_pointer(), name)
            assert other == name, f"{what}: {other} and {name} share a buffer"


def law_closures(s: Subject) -> None:
    """a traced value that a custom cell closes over has the gradient of finite differences, also under vmap."""
    values = jnp.asarray([0.9, 0.4])
    for name, recurrence in s.recurrences.items():
        f, slope = _of_a_closure(s, recurrence)
        want = jnp.stack([slope(v) for v in values])
        for way, gradients in _ways(f).items():
            assert_close(f"{name}, {way}", gradients(values), want, FINITE)
        if takes_forward_mode(recurrence):
            pushed = jax.jit(partial(jax.jvp, f))((values[0],), (jnp.ones_like(values[0]),))[1]
            assert_close(f"{name}, jvp", pushed, want[0], FINITE)


def _ways(f: Callable[[Array], Array]) -> dict[str, Callable[[Array], Array]]:
    """Return several ways to compute a function's slopes at several values."""
    return {
        "jit of vmap of grad": jax.jit(jax.vmap(jax.grad(f))),
        "grad of jit": lambda values: jnp.stack([jax.grad(jax.jit(f))(v) for v in values]),
        "grad of vmap": jax.grad(lambda values: jax.vmap(f)(values).sum()),
    }


FINITE = 1e-6
"""Allowed difference of a derivative from a central difference in float64, relative to the larger of 1 and its size."""


def _of_a_closure(s: Subject, recurrence: Recurrence) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return a function of a value that a cell closes over, and its slope by central differences."""
    problem, mask = draw(s, 3, (2,)), holes(3, (2,))

    def f(value: Array) -> Array:
        def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
            carry, out, named = s.cell.equations(params, carry, wx, uh)
            return jax.tree.map(lambda a: value * a, carry), out, named

        cell: Cell = s.cell.replace(equations=equations)
        whole = unroll(cell, *problem, mask=mask, recurrence=recurrence)
        return sum(jnp.vdot(cotangent(a), a) for a in jax.tree.leaves(whole))  # type: ignore[return-value]

    run, e = jax.jit(f), 1e-5
    return f, lambda value: (run(value + e) - run(value - e)) / (2 * e)


def law_pickle(s: Subject) -> None:
    """a cell that was pickled and read again, or copied deeply, is equal, has the same hash and the same numbers."""
    problem = draw(s, 3, (2,))
    want = unroll(s.cell, *problem)
    for what, again in (("pickled", pickle.loads(pickle.dumps(s.cell))), ("copied", copy.deepcopy(s.cell))):
        assert again == s.cell, f"{what}, it is not equal to itself"
        assert hash(again) == hash(s.cell), f"{what}, it has another hash"
        assert_close(what, unroll(again, *problem), want, 0.0)


@contextmanager
def strictest() -> Iterator[None]:
    """Make JAX as strict as possible: it refuses leaked tracers, dtype and rank promotion, and NaN."""
    with (
        jax.checking_leaks(),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.debug_nans(True),
    ):
        yield


def law_strict(s: Subject) -> None:
    """values and gradients are the same where JAX is strictest, without jit, in float32, and without transfers."""
    problem, mask = tuple(draw(s, 3, (2,))), holes(3, (2,))
    for name, recurrence in s.recurrences.items():
        run = lambda *p, r=recurrence: unroll(s.cell, *p, mask=mask, recurrence=r)  # noqa: E731
        want = differentiate(run, *problem)
        with strictest():
            assert_close(f"{name}, strictest", differentiate(run, *problem), want)
        with jax.disable_jit():
            assert_close(f"{name}, jit disabled", differentiate(run, *problem), want)
        half = jax.tree.map(lambda a: a.astype(jnp.float32), problem)
        with jax.enable_x64(False):
            got = differentiate(run, *half)
        assert {a.dtype for a in jax.tree.leaves(got)} == {jnp.dtype("float32")}, f"{name}, x64 off: not float32"
        wide = jax.tree.map(lambda a: a.astype(jnp.float64), got)
        assert_close(f"{name}, x64 off", wide, want, 10 * TOLERANCES["float32"].gradients)
        with jax.transfer_guard("disallow"):  # nothing moves between host and device, not even a cell's constants
            got = differentiate(run, *problem)
        assert_close(f"{name}, without transfers", got, want)
        assert_close(f"{name}, x64 on again", differentiate(run, *problem), want, 0.0)


LAWS_OF_TRANSFORMS: dict[str, Callable[[Subject], None]] = {
    "eager": law_eager,
    "donation": law_donation,
    "closures": law_closures,
    "pickle": law_pickle,
    "strict": law_strict,
}
"""Laws of JAX's transformations, by name; each asserts, for a `Subject`, the first line of its docstring."""
