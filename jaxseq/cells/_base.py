"""The `Cell`: three functions that read like a paper's equations; everything else is derived from them.

A gated cell applies an affine map to its input, another to its hidden state, and then equations between gates. Each
part is one function; stepping, unrolling, tracing and every faster way to run the cell are derived from the three.
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
"""Carry of a cell, a NamedTuple of arrays ``[B, ...]``."""
O = TypeVar("O")  # noqa: E741, the letter of an output
"""Output of a cell, usually an array ``[B, H]``."""
G = TypeVar("G")
"""Gates of a cell, a NamedTuple of arrays ``[B, ...]``."""
P_out = TypeVar("P_out", covariant=True)
P_in = TypeVar("P_in", contravariant=True)
K_out = TypeVar("K_out", covariant=True)


class Init(Protocol[P_out]):
    """Makes params: ``(key, input_size, hidden_size, *, dtype=float32, ...) -> params``; consumes `key`."""

    def __call__(self, key: Key, input_size: int, hidden_size: Any, /, *args: Any, **options: Any) -> P_out:
        """Return params for D = input_size, H = hidden_size (for a stack also a tuple, one size for each layer)."""


class InitialCarry(Protocol[P_in, K_out]):
    """Makes the state before the first step: ``(params, batch_shape=()) -> carry``."""

    def __call__(self, params: P_in, batch_shape: tuple[int, ...] = (), /) -> K_out:
        """Return the carry, each leaf ``[*batch_shape, ...]``."""


class Sourced(NamedTuple):
    """Params of a cell that attends to a source, and the memory it reads: see `jaxseq.attention.reading`."""

    params: Params
    memory: Tree


def unsourced(params: Params) -> Params:
    """Return the params without a source, if one is attached."""
    return params.params if isinstance(params, Sourced) else params


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Cell(Made, Generic[P, K, O, G]):
    """A recurrent cell: a value made of pure functions.

    Fields:
      init: ``(key, input_size, hidden_size, *, dtype=float32, ...) -> params``; consumes `key`.
      initial_carry: ``(params, batch_shape=()) -> carry``, zeros unless the paper says otherwise; in the params' dtype,
        or in float32 if that is wider and the state decays slowly.
      input_terms: ``(params, x) -> wx``, the part affine in the input, ``x W + b``. Never sees the carry, and takes any
        leading axes, so it can run for all T at once.
      hidden_terms: ``(params, carry) -> uh``, the part affine in the hidden state, ``h U``: the matrix product that
        every step needs.
      equations: ``(params, carry, wx, uh) -> (carry, out, gates)``, the paper's equations. ``gates`` is a NamedTuple of
        every named quantity of the step; unused gates cost nothing, since XLA removes them.
      name: the cell's name in error messages.
      params_type: the NamedTuple that `init` returns (for a stack a tuple, one for each layer), used to refuse another
        cell's params; None accepts any.
      reference: authors, year and place of the publication.
      linear: "elementwise" if the new carry is affine in the old one, each unit depending only on its own past;
        "matrix" if it is affine but mixes units; "" if it is not affine. Linear cells can run in parallel over time.
      spatial: number of spatial axes of x, just before the features: 2 for pictures ``[B, rows, columns, D]``. Masks
        lack these axes.
      lift: ``(xs [T, B, D]) -> the cell's input``, for a cell whose input is more than an array, such as
        `jaxseq.cells.spaced`: steps one unit of time apart. `unroll` and `step` lift an array automatically, and refuse
        another cell's input.
      layers: the cells of a stack, the lowest first; empty for a single cell.
      features: ``out -> array [B, F]``, the part of the output that the layer above reads, if the output is not a
        single array.
      remember: ``(params, values [S, B, K], mask=None) -> memory``, for a cell that attends to a source; None for
        others. If values is None the source is empty: a single padding position.
      recipe: the call that made the cell, used to compare and pickle it; see `jaxseq.cells.made`.

    Cells are equal if they were made by the same call, or have the same functions. They can be pickled if these
    functions can. ``help(cell)`` shows the equations. There vectors are rows, ``x W`` is a matrix product, ``*`` and
    ``/`` act element by element, and ``h'`` is the new h. A line that begins with a cell's name and a colon, and the
    more indented lines below it, apply to that cell alone, and replace a shared line.

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
    recipe: Recipe | None = dataclasses.field(default=None, init=False)  # a copy made with other fields has no recipe

    def __post_init__(self) -> None:
        # help(lstm) shows an instance's own docstring: that of the module with the equations
        source = sys.modules.get(getattr(self.equations, "__module__", ""))
        object.__setattr__(self, "__doc__", getattr(source, "__doc__", None) or Cell.__doc__)

    def step(self, params: P, carry: K, x: Tree) -> tuple[K, O]:
        """Take one step: ``(params, carry, x [B, D]) -> (carry, out [B, H])``.

        A cell that takes more than an array lifts an array x: one unit of time has passed, and nothing is missing.

        Raises:
          InputError: if x or the carry does not fit the params (features, batch axes, dtype, another cell's carry), or
            the cell needs a time stamp and x has none.
        """
        return _step(self, (), (params, carry, x))

    def advance(self, params: P, carry: K, wx: Tree) -> tuple[K, O, G]:
        """Take the recurrent half of a step, given the input terms: the body of a recurrence's loop."""
        return self.equations(params, carry, wx, self.hidden_terms(params, carry))

    @property
    def takes_array(self) -> bool:
        """Whether x is one array; otherwise it is a tuple such as `jaxseq.cells.Spaced`, which `lift` makes."""
        return self.lift is as_it_is

    def output_size(self, params: P, input_size: int | None = None) -> int:
        """Return the number of features passed to the layer above: H for most cells. Nothing is computed.

        Args:
          params: the cell's parameters.
          input_size: D, for params without a matrix W that shows it.

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
          params: the cell's parameters, or their shapes.
          input_size: D, for params without a matrix W that shows it.

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
    """Check the arguments of `Cell.step`, and take the step."""
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
    """Split the packed last axis ``[..., count * H]`` into `count` arrays ``[..., H]``, one for each gate."""
    return jnp.split(a, count, axis=-1)


def activate(a: Array, names: str) -> list[Array]:
    """Split ``a [..., G*H]`` into G gates and apply to each its activation from `names`, in order.

    Sigmoids and tanhs are one tanh over the whole block, since ``sigmoid(a) = (1 + tanh(a / 2)) / 2``: one loop that
    vectorises on a CPU, instead of G loops that do not. (A sigmoid's absolute error is then the dtype's epsilon; it is
    not a relative error: below 6e-8 it is 0 in float32.)

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
    """Return zeros like `zeros_for`, but in at least float32.

    For the state of a cell that forgets slowly: a step that changes a number by less than 1/256 of it would not change
    a bfloat16 state at all.
    """
    return widened(zeros_for(b, batch_shape, size))
