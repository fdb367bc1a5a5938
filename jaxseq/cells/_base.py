"""What a recurrent cell is: three functions that read like a paper's equations; everything else is derived.

A gated cell is affine in its input, affine in its hidden state, and then equations between gates. Each part is one
function; stepping, unrolling, tracing and every faster way to run the cell are derived from the three.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._checks import check_step, input_size_of
from jaxseq.cells._eager import compiled_if_eager
from jaxseq.cells._inputs import as_it_is, lift_step
from jaxseq.cells._recipe import Made, Recipe, join, split
from jaxseq.errors import InputError, Registry
from jaxseq.notation import Array, Key, Params, Tree, widened
from jaxseq.placement import wherever
from jaxseq.trees import shapes

P = TypeVar("P")
"""Params of a cell, a NamedTuple of arrays."""
K = TypeVar("K")
"""Its carry, a NamedTuple of arrays ``[B, ...]``."""
O = TypeVar("O")  # noqa: E741, the letter of an output
"""Its output, mostly an array ``[B, H]``."""
G = TypeVar("G")
"""Its gates, a NamedTuple of arrays ``[B, ...]``."""
P_out = TypeVar("P_out", covariant=True)
P_in = TypeVar("P_in", contravariant=True)
K_out = TypeVar("K_out", covariant=True)


class Init(Protocol[P_out]):
    """How params are made: ``(key, input_size, hidden_size, *, dtype=float32, ...) -> params``; consumes `key`."""

    def __call__(self, key: Key, input_size: int, hidden_size: Any, /, *args: Any, **options: Any) -> P_out:
        """Return params for D = input_size, H = hidden_size (for a stack also a tuple, one size for each layer)."""


class InitialCarry(Protocol[P_in, K_out]):
    """How the state before the first step is made: ``(params, batch_shape=()) -> carry``."""

    def __call__(self, params: P_in, batch_shape: tuple[int, ...] = (), /) -> K_out:
        """Return the carry, each leaf ``[*batch_shape, ...]``."""


class Sourced(NamedTuple):
    """Params of a cell that reads a source, with the memory that it reads: see `jaxseq.attention.reading`."""

    params: Params
    memory: Tree


def unsourced(params: Params) -> Params:
    """Return the params alone, whether or not a source is with them."""
    return params.params if isinstance(params, Sourced) else params


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Cell(Made, Generic[P, K, O, G]):
    """A recurrent cell as a value of pure functions, to be passed around like a number.

    Fields:
      init: ``(key, input_size, hidden_size, *, dtype=float32, ...) -> params``; consumes `key`.
      initial_carry: ``(params, batch_shape=()) -> carry``, zeros unless the paper says otherwise; in the dtype of the
        params, or in float32 where that is wider and the state decays slowly.
      input_terms: ``(params, x) -> wx``, the part affine in the input, ``x W + b``. Never sees the carry, and takes
        any leading axes, so that it may run for all T at once.
      hidden_terms: ``(params, carry) -> uh``, the part affine in the hidden state, ``h U``: the matrix product that
        every step needs.
      equations: ``(params, carry, wx, uh) -> (carry, out, gates)``, the paper's equations. ``gates`` is a NamedTuple of
        every named quantity of the step; unused gates cost nothing, since XLA removes them.
      name: what error messages call the cell.
      params_type: the NamedTuple that `init` returns (for a stack a tuple, one for each layer), to refuse another
        cell's params; None takes any.
      reference: authors, year and place of the publication.
      linear: "elementwise" where the new carry is an affine function of the old one and each unit depends on its own
        past only, "matrix" where it is affine but mixes units, "" where it is not affine. Linear cells can be run in
        parallel over time.
      spatial: how many of x's batch axes, counted from the features, are places that the cell mixes: 2 for pictures
        ``[B, rows, columns, D]``. A mask has no such axes.
      lift: ``(xs [T, B, D]) -> the cell's input``, for a cell whose input is more than an array, such as
        `jaxseq.cells.spaced`: steps one unit of time apart. `unroll` and `step` lift an array themselves, and refuse
        the input of another cell.
      layers: the cells of a stack, the lowest first; empty for a single cell.
      features: ``out -> array [B, F]``, the part of the output that the layer above gets, where the output is more
        than an array.
      remember: ``(params, values [S, B, K], mask=None) -> memory``, for a cell that reads a source; None for the
        others. With values None the source is empty: it has one position, which is padding.
      recipe: the call that made the cell, by which it is compared and pickled; see `jaxseq.cells.made`.

    Cells are equal if they were made by the same call, or have the same functions. They can be pickled if these
    functions can, and printed by ``help(cell)``, which shows the equations. There vectors are rows, ``x W`` is a matrix
    product, ``*`` and ``/`` act element by element, and ``h'`` is the new h. A line that begins with the name of a cell
    and a colon is of that cell alone, as are the deeper lines below it, and replaces a line that the cells share.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> carry, out = lstm.step(params, lstm.initial_carry(params, (2,)), jnp.ones((2, 3)))
      >>> out.shape, carry.c.shape, lstm
      ((2, 5), (2, 5), <Cell lstm>)
    """

    init: Init[P]
    initial_carry: InitialCarry[P, K]
    input_terms: Callable[[P, Any], Any]
    hidden_terms: Callable[[P, K], Any]
    equations: Callable[[P, K, Any, Any], tuple[K, O, G]]
    name: str = "cell"
    params_type: Any = None
    reference: str = ""
    linear: Literal["", "elementwise", "matrix"] = ""
    spatial: int = 0
    lift: Callable[[Array], Tree] = as_it_is
    layers: tuple[Cell[Any, Any, Any, Any], ...] = ()
    features: Callable[[Any], Array] = as_it_is
    remember: Callable[..., Any] | None = None
    recipe: Recipe | None = dataclasses.field(default=None, init=False)  # a copy with other fields has none

    def __post_init__(self) -> None:
        # help(lstm) shows an object's own docstring: that of the file with its equations
        source = sys.modules.get(getattr(self.equations, "__module__", ""))
        object.__setattr__(self, "__doc__", getattr(source, "__doc__", None) or Cell.__doc__)

    def step(self, params: P, carry: K, x: Tree) -> tuple[K, O]:
        """Take one step: ``(params, carry, x [B, D]) -> (carry, out [B, H])``.

        A cell that takes more than an array lifts an array x: one unit of time since the last step, nothing missing.

        Raises:
          InputError: if x or the carry does not fit the params (features, batch axes, dtype, another cell's carry), or
            the cell needs a time stamp and x has none.
        """
        return _step(self, (), (params, carry, x))

    def advance(self, params: P, carry: K, wx: Tree) -> tuple[K, O, G]:
        """Take the recurrent half of a step, given the input terms: what a recurrence does in its loop."""
        return self.equations(params, carry, wx, self.hidden_terms(params, carry))

    @property
    def takes_array(self) -> bool:
        """Whether x is one array; otherwise it is a tuple such as `jaxseq.cells.Spaced`, which `lift` makes."""
        return self.lift is as_it_is

    def output_size(self, params: P, input_size: int | None = None) -> int:
        """Return how many features the cell passes on to a layer above: H for most. Nothing is computed.

        Args:
          params: the cell's.
          input_size: D, for params without a matrix W from which it could be read.

        Raises:
          InputError: if D is needed, or the output is not one array.
        """
        shape = jax.eval_shape(self.features, self.shapes(params, input_size)[1])
        if not isinstance(shape, jax.ShapeDtypeStruct):
            raise InputError(f"{self.name}: the output is not one array but {type(shape).__name__}")
        return shape.shape[-1]

    def shapes(self, params: P, input_size: int | None = None) -> tuple[K, O, G]:
        """Return ``(carry, out, gates)`` of a step without batch axes, as shapes and dtypes. Nothing is computed.

        Args:
          params: the cell's, or their shapes.
          input_size: D, for params without a matrix W from which it could be read.

        Raises:
          InputError: if D is needed.
        """
        D = input_size_of(params) if input_size is None else input_size
        if D is None:
            raise InputError(f"{self.name}: the input size cannot be read from these params; give input_size")
        x = jax.ShapeDtypeStruct((1,) * (1 + self.spatial) + (D,), jax.tree.leaves(params)[0].dtype)

        def step(params: P, xs: Array) -> tuple[K, O, G]:
            x = jax.tree.map(lambda a: a[0], self.lift(xs))
            given: Any = params if self.remember is None else Sourced(params, self.remember(params, None))
            carry = self.initial_carry(given, (1,) * self.spatial)
            return self.advance(given, carry, self.input_terms(given, x))

        return jax.eval_shape(step, shapes(params), x)

    def __repr__(self) -> str:
        return f"<Cell {self.name}>"


@compiled_if_eager
def _step(cell: Cell, options: tuple[()], data: tuple[Tree, Tree, Tree]) -> tuple[Tree, Tree]:
    """Check the arguments of `Cell.step`, and take it."""
    params, carry, x = data
    x = lift_step(cell, jax.tree.map(jnp.asarray, x))
    check_step(cell, params, carry, x)
    static, arrays = split(cell)

    def run(params: Tree, carry: Tree, x: Tree, arrays: list[Array]) -> tuple[Tree, Tree]:
        cell = join(static, arrays)
        return cell.advance(params, carry, cell.input_terms(params, x))[:2]

    leaf = jax.tree.leaves(x)[0]
    batch = leaf.shape[: leaf.ndim - 1 - cell.spatial]
    return wherever(run, params, carry, x, arrays, first=(0, 0, None), batch=batch)


ACTIVATIONS: Registry[Callable[[Array], Array]] = Registry(
    "activation",
    {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu, "none": lambda a: a},
)


def affine(x: Array, W: Array, b: Array) -> Array:
    """Return ``x W + b`` for ``x [..., D]``, ``W [D, N]``, ``b [N]``."""
    a = x @ W
    return a + jnp.broadcast_to(b, a.shape)


def blocks(a: Array, count: int) -> list[Array]:
    """Cut the packed last axis ``[..., count * H]`` into `count` arrays ``[..., H]``, one for each gate."""
    return jnp.split(a, count, axis=-1)


def activate(a: Array, names: str) -> list[Array]:
    """Cut ``a [..., G*H]`` into G gates and apply to each the activation that `names` gives for it, in order.

    Sigmoids and tanhs are one tanh over the whole block, since ``sigmoid(a) = (1 + tanh(a / 2)) / 2``: one loop that a
    CPU vectorises, instead of G loops that it does not. (A sigmoid is then exact to the dtype's epsilon, not relative
    to its own size: below 6e-8 it is 0 in float32.)

    Raises:
      UnknownNameError: for a name other than ``sigmoid``, ``tanh``, ``relu`` and ``none``.

    Example:
      >>> i, g = activate(jnp.zeros((2, 6)), "sigmoid tanh")
      >>> i.shape, float(i[0, 0]), float(g[0, 0])
      ((2, 3), 0.5, 0.0)
    """
    kinds = names.split()
    if not set(kinds) <= {"sigmoid", "tanh"}:
        return [ACTIVATIONS[kind](block) for kind, block in zip(kinds, blocks(a, len(kinds)), strict=True)]
    scale = np.repeat([0.5 if kind == "sigmoid" else 1.0 for kind in kinds], a.shape[-1] // len(kinds))
    t = blocks(jnp.tanh(a * jnp.broadcast_to(jnp.asarray(scale, a.dtype), a.shape)), len(kinds))
    return [0.5 + 0.5 * block if kind == "sigmoid" else block for kind, block in zip(kinds, t, strict=True)]


def zeros_for(b: Array, batch_shape: tuple[int, ...], size: int) -> Array:
    """Return zeros ``[*batch_shape, size]`` in the dtype of the parameter `b`."""
    if not isinstance(batch_shape, tuple | list):
        raise InputError(f"initial_carry: batch_shape must be a tuple, such as (4,); got {type(batch_shape).__name__}")
    return jnp.zeros((*batch_shape, size), b.dtype)


def wide_zeros_for(b: Array, batch_shape: tuple[int, ...], size: int) -> Array:
    """Return zeros as `zeros_for`, but in float32 at least.

    This is the state of a cell that forgets slowly: where a step changes a number by less than 1/256 of it, a state in
    bfloat16 does not change at all.
    """
    return widened(zeros_for(b, batch_shape, size))
