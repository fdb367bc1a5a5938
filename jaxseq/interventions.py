"""Interventions on gates: hold, scale or replace any named quantity of a cell's step where it is computed.

One wrapper serves ablation, study and regularisation; cells do not know of it.
`gates` returns the quantities of a step by name. Its jaxpr shows where each is computed and used, so a changed value
can be substituted, and everything that depends on it is recomputed.

A step does not know its index. For changes at chosen steps, the choice travels with the input:
``unroll(intervene_at(lstm, {"f": hold_at(1.0)}), params, at_steps(lstm, xs, [3, 4]))``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from jaxseq.cells import Cell, made
from jaxseq.cells._checks import check_is_cell
from jaxseq.cells._recipe import NUMBERS_ARE_DATA, Made, Recipe
from jaxseq.errors import InputError, choose
from jaxseq.jaxprs import result
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.placement import varying_as
from jaxseq.trees import named_leaves

Change = Callable[[Array, Callable[[str], Array]], Array]
"""``(value, gate) -> value``: the value that replaces the gate's; ``gate(name)`` returns another gate of the same step.
"""


@made
def intervene(cell: Cell, changes: Mapping[str, Change]) -> Cell:
    """Return the cell with gates changed where they are computed; everything that uses them sees the change.

    Args:
      cell: any Cell.
      changes: a function for each gate name, a field of the cell's gates (``"f"``; in a stack ``"0.f"``, layer first).

    Raises:
      InputError: when first run, if no gate has that name, a change alters shape or dtype, two changes depend on each
        other, or nothing in the step uses the gate, so changing it would have no effect.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import trace
      >>> from jaxseq.cells import lstm
      >>> coupled = intervene(lstm, {"i": lambda i, gate: 1 - gate("f")})
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> _, seen = trace(coupled, params, jnp.ones((7, 2, 3)))
      >>> bool(jnp.allclose(seen.gates.i, 1 - seen.gates.f))
      True
    """
    check_is_cell("intervene", cell)

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        return altered(cell, changes, params, carry, wx, uh)

    return cell.replace(equations=equations, name=f"{cell.name} with {', '.join(sorted(changes))} changed")


@made
def clamp(cell: Cell, **values: Any) -> Cell:
    """Return the cell with gates held at values: ``clamp(lstm, f=1.0)`` never forgets.

    Args:
      cell: a Cell of one layer; for a stack, whose gate names contain dots, use `intervene` with `hold_at`.
      values: for each gate a number, an array that broadcasts to ``[B, H]``, or ``{unit: number}`` to hold some units.

    Raises:
      InputError: as `intervene`, and if there is no such unit.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import trace
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> _, seen = trace(clamp(gru, z={2: 1.0}), params, jnp.ones((7, 2, 3)))
      >>> seen.gates.z[:, 0, 2].min().item(), seen.outs[:, 0, 2].max().item()
      (1.0, 0.0)
    """
    if not values:
        raise InputError("clamp: name at least one gate, such as clamp(lstm, f=1.0)")
    return intervene(cell, {name: hold_at(value, name) for name, value in values.items()})


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Hold(Made):
    """The change that replaces a gate by a value, made by `hold_at`.

    Fields:
      value: a number, an array that broadcasts to ``[B, H]``, or ``{unit: number}``.
      name: of the gate, for error messages.
      recipe: the call that made it.
    """

    value: Any
    name: str
    recipe: Recipe | None = dataclasses.field(default=None, init=False)  # a copy made with other fields has no recipe

    def __call__(self, old: Array, gate: Callable[[str], Array]) -> Array:
        """Return the gate replaced by the value."""
        if not isinstance(self.value, Mapping):
            new = jnp.asarray(self.value, old.dtype)
            fits = all(n in (1, o) for n, o in zip(new.shape[::-1], old.shape[::-1], strict=False))
            if new.ndim > old.ndim or not fits:
                raise InputError(
                    f"clamp: {self.name} has the shape {old.shape}, which {new.shape} does not broadcast to"
                )
            return jnp.broadcast_to(new, old.shape)
        H = old.shape[-1]
        if wrong := [unit for unit in self.value if not (isinstance(unit, int | np.integer) and -H <= unit < H)]:
            raise InputError(f"clamp: {self.name} has the units 0 to {H - 1}, got {wrong[0]!r}")
        for unit, number in self.value.items():
            old = old.at[..., unit].set(jnp.asarray(number, old.dtype))
        return old


@made
def hold_at(value: Any, name: str = "gate") -> Hold:
    """Return the change that replaces a gate by a value; see `clamp` for the kinds of values."""
    return Hold(value, name)


NUMBERS_ARE_DATA.update((clamp, hold_at))


class Scheduled(NamedTuple):
    """An input with the steps at which gates are changed, made by `at_steps` for a cell of `intervene_at`.

    Fields:
      x: the cell's own input, ``[T, B, D]``.
      at: ``[T, B, 1]``, or ``[T, B, H]`` for each unit: 1 where the changes apply, 0 elsewhere; or a dict of these by
        gate name.
      values: ``[T, B, H]`` by gate name: replacements at each step, such as the values of another run.
    """

    x: Tree
    at: Tree
    values: dict[str, Array]

    @property
    def checked(self) -> Tree:
        """The part with the features and dtype of the cell's input; `values` have the gates' dtypes."""
        return self.x


def at_steps(
    cell: Cell,
    xs: Tree,
    at: Array | Sequence[int] | Mapping[str, Any],
    values: Mapping[str, Array] | None = None,
) -> Scheduled:
    """Return xs marked with the steps at which gates are changed, for a cell of `intervene_at`.

    Args:
      cell: the Cell that reads xs.
      xs: ``[T, B, D]``.
      at: step indices; or bool ``[T]``, ``[T, B]`` or, for each unit, ``[T, B, H]`` (axes of length 1 are
        broadcast); or a mapping of these by gate name.
      values: ``[T, B, H]`` by gate name; each of these gates gets its values at the chosen steps.

    Raises:
      InputError: if a step is out of range, or the shapes do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxseq.cells import lstm
      >>> at_steps(lstm, jnp.ones((4, 1, 3)), [1, 2]).at[:, 0, 0].tolist()
      [0.0, 1.0, 1.0, 0.0]
    """
    leaf = jax.tree.leaves(xs)[0]
    rows = jnp.shape(leaf)[: jnp.ndim(leaf) - 1 - cell.spatial]
    dtype = jnp.result_type(leaf)
    for name, value in (values := dict(values or {})).items():
        if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise InputError(f"at_steps({cell.name}): values of {name} must be real; got {jnp.result_type(value)}")
        if jnp.shape(value)[: len(rows)] != rows:
            raise InputError(
                f"at_steps({cell.name}): values of {name} must begin with the axes of time and batch, {rows}; got the "
                f"shape {jnp.shape(value)}"
            )
    one = lambda at: _chosen(cell, at, rows, dtype)  # noqa: E731
    chosen = {name: one(a) for name, a in at.items()} if isinstance(at, Mapping) else one(at)
    return Scheduled(xs, chosen, values)


@made
def intervene_at(cell: Cell, changes: Mapping[str, Change] | None = None) -> Cell:
    """Return the cell with gates changed at chosen steps; its input is `Scheduled`, which `at_steps` makes.

    Gates with values in the input take those, and gates in `changes` are changed as by `intervene`. At all other steps,
    and at padded ones, the cell is unchanged. Gradients flow to the values.

    Raises:
      InputError: when first run, as `intervene`; also if nothing is changed, a gate is changed in two ways, or the
        input does not give the steps at which a gate is changed.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import trace
      >>> from jaxseq.cells import lstm
      >>> params, xs = lstm.init(jax.random.key(0), 3, 5), jnp.ones((4, 1, 3))
      >>> cell = intervene_at(lstm, {"f": hold_at(1.0)})
      >>> (trace(cell, params, at_steps(lstm, xs, [1, 2]))[1].gates.f[:, 0, 0] == 1).tolist()
      [False, True, True, False]
    """
    check_is_cell("intervene_at", cell)
    fixed = dict(changes or {})

    def equations(params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Tree, Tree]:
        wx, at, values = wx
        if twice := [name for name in values if name in fixed]:
            raise InputError(f"intervene_at({cell.name}): {twice[0]} has both values and a change; give one of them")
        wanted = fixed | {name: _put(value) for name, value in values.items()}
        if not wanted:
            raise InputError(f"intervene_at({cell.name}): nothing is changed; give changes, or values to at_steps")
        if isinstance(at, Mapping) and (missing := [name for name in wanted if name not in at]):
            raise InputError(f"intervene_at({cell.name}): at_steps did not get the steps of {missing[0]}")
        parts = {name: at[name] if isinstance(at, Mapping) else at for name in wanted}
        there = {name: _where(change, parts[name], name) for name, change in wanted.items()}
        return altered(cell, there, params, carry, wx, uh)

    def input_terms(params: Params, given: Scheduled) -> tuple[Tree, Tree, dict[str, Array]]:
        return cell.input_terms(params, given.x), given.at, given.values

    name = f"{cell.name} changed at chosen steps"
    return cell.replace(equations=equations, input_terms=input_terms, linear="", name=name)


def _chosen(cell: Cell, at: Any, rows: tuple[int, ...], dtype: Any) -> Array:
    """Return 1 at the chosen steps and 0 elsewhere, ``[T, B, 1 or H]``, in the dtype of xs."""
    T = rows[0]
    known = at if isinstance(at, jax.Array) else np.asarray(at)
    if known.size == 0 and known.ndim < 2:  # an empty list has no dtype that tells indices from bools
        known = np.zeros(T, bool)
    if jnp.issubdtype(known.dtype, jnp.integer) and known.ndim < 2:
        if not isinstance(known, jax.core.Tracer) and (wrong := [int(s) for s in np.ravel(known) if not 0 <= s < T]):
            raise InputError(f"at_steps({cell.name}): steps must be from 0 to {T - 1}; got {wrong[0]}")
        steps = jnp.ravel(jnp.asarray(known, jnp.int32))
        known = (jnp.arange(T, dtype=jnp.int32)[:, None] == steps[None]).any(1)
    if known.dtype != bool:
        raise InputError(f"at_steps({cell.name}): at must be numbers of steps, or bool; got {known.dtype}")
    if known.ndim <= len(rows):
        known = known.reshape(*known.shape, *[1] * (len(rows) + 1 - known.ndim))
    fits = all(a in (1, b) for a, b in zip(known.shape[: len(rows)], rows, strict=True))
    if known.ndim > len(rows) + 1 or not fits:
        raise InputError(
            f"at_steps({cell.name}): at must be [T], [T, B] or [T, B, H] with [T, B] = {rows}; got the shape "
            f"{jnp.shape(at)}"
        )
    chosen = jnp.broadcast_to(jnp.asarray(known, dtype), (*rows, known.shape[-1]))
    return chosen.reshape(*rows, *[1] * cell.spatial, known.shape[-1])


def _put(value: Array) -> Change:
    """Return the change that replaces a gate by a value of the same shape."""
    return lambda old, gate: jnp.asarray(value, old.dtype)


def _where(change: Change, at: Array, name: str) -> Change:
    """Return the change applied only where `at`, which broadcasts to the gate, is not 0."""

    def changed(old: Array, gate: Callable[[str], Array]) -> Array:
        new = change(old, gate)
        # extra axes of a gate, such as heads, are between its rows and its units
        there = at.reshape(*at.shape[:-1], *[1] * (old.ndim - at.ndim), at.shape[-1])
        if new.shape != old.shape or there.ndim != old.ndim or at.shape[-1] not in (1, old.shape[-1]):
            raise InputError(
                f"intervene_at: {name} has the shape {old.shape} in a step; got a value of the shape {new.shape}, to "
                f"be put where at, of the shape {at.shape}, is not 0"
            )
        return jnp.where(jnp.broadcast_to(there != 0, old.shape), new, old)

    return changed


def altered(
    cell: Cell, changes: Mapping[str, Change], params: Params, carry: Carry, wx: Tree, uh: Tree
) -> tuple[Carry, Tree, Tree]:
    """Return the results of ``cell.equations(params, carry, wx, uh)``, with some of its gates changed."""
    closed, shapes = jax.make_jaxpr(cell.equations, return_shape=True)(params, carry, wx, uh)
    named, structure = jax.tree.flatten(shapes)
    first = len(named) - len(jax.tree.leaves(shapes[2]))
    names = list(named_leaves(shapes[2]))
    places = dict(zip(names, closed.jaxpr.outvars[first:], strict=True))
    for name in changes:
        choose(f"gate of {cell.name}", name, places)
        # changing a gate that no equation reads, and that is not also another output, would have no effect: an error
        uses = sum(places[name] is v for eqn in closed.jaxpr.eqns for v in eqn.invars)
        shown = sum(place is places[name] for place in closed.jaxpr.outvars)
        if not uses and shown < 2:
            raise InputError(
                f"{cell.name}: nothing in a step is computed from {name!r}, so changing it would change nothing; "
                f"change another of {', '.join(names)}"
            )
    run = _Evaluation(closed, jax.tree.leaves((params, carry, wx, uh)), places, changes, cell.name)
    for eqn in closed.jaxpr.eqns:
        run.value(eqn.outvars[0])  # in order, so recursion into values not yet computed never goes deep
    return jax.tree.unflatten(structure, [run.value(v) for v in closed.jaxpr.outvars])


class _Evaluation:
    """A jaxpr evaluated on demand, so that a change may ask for any other gate."""

    def __init__(
        self, closed: ClosedJaxpr, args: list, places: Mapping[str, Any], changes: Mapping[str, Change], cell: str
    ) -> None:
        jaxpr = closed.jaxpr
        self.known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
        self.producer = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
        self.places, self.cell = places, cell
        self.asked: list[str] = []
        self.waiting = {places[name]: (name, change) for name, change in changes.items()}

    def gate(self, name: str) -> Array:
        """Return a gate of this step, after its change if it has one."""
        return self.value(choose(f"gate of {self.cell}", name, self.places))

    def value(self, v: Any) -> Any:
        """Return the value of a variable."""
        if isinstance(v, Literal):
            return v.val
        if v in self.waiting:
            return self._changed(v)
        if v not in self.known:
            self._compute(v)
        return self.value(v) if v in self.waiting else self.known[v]

    def _compute(self, v: Any) -> None:
        eqn = self.producer[v]
        for out, value in zip(eqn.outvars, result(eqn, [self.value(v) for v in eqn.invars]), strict=True):
            self.known.setdefault(out, value)

    def _changed(self, v: Any) -> Array:
        name, change = self.waiting[v]
        if name in self.asked:
            raise InputError(f"{self.cell}: the changes of {' and '.join(self.asked)} need each other")
        self.asked.append(name)
        if v not in self.known:
            self._compute(v)
        old = self.known[v]
        new = change(old, self.gate)
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise InputError(
                f"{self.cell}: {name} is {old.dtype} of shape {old.shape}; the change made it {new.dtype} of shape "
                f"{new.shape}"
            )
        new = varying_as(new, old)  # a constant is the same everywhere
        self.asked.pop()
        del self.waiting[v]
        self.known[v] = new
        return new
