"""Running cells over time: `unroll`, `trace` (every gate of every step) and `length_mask`."""

from __future__ import annotations

import dataclasses
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxseq.cells import Cell, made
from jaxseq.cells._checks import (
    check_carry,
    check_inputs,
    check_is_cell,
    check_mask,
    check_order,
    check_params,
    check_step_returns,
)
from jaxseq.cells._closed import is_closed, is_of_users
from jaxseq.cells._eager import compiled_if_eager
from jaxseq.cells._inputs import check_input_type, lift_sequence
from jaxseq.cells._recipe import join, kept, split
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Params, Tree
from jaxseq.placement import wherever
from jaxseq.recurrence import RECURRENCES, Recurrence, deferred, over_features
from jaxseq.recurrence._scan import fresh_carry
from jaxseq.trees import step_shapes

P = TypeVar("P")
K = TypeVar("K")
O = TypeVar("O")  # noqa: E741, the letter of an output
G = TypeVar("G")


def unroll(
    cell: Cell[P, K, O, G],
    params: P,
    xs: Tree,
    carry: K | None = None,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    recurrence: Recurrence = deferred,
) -> tuple[K, O]:
    """Run a cell over a sequence.

    Args:
      cell: a Cell.
      params: its parameters; outputs have their dtype.
      xs: ``[T, B, D]`` with any number of batch axes, including none (``[T, D]``). A cell that takes more than an array
        (time stamps, missing values) lifts it with ``cell.lift``.
      carry: the state to start from; ``cell.initial_carry`` by default.
      mask: bool ``[T, B]`` (without the spatial axes of a convolutional cell), True where a step is real; see
        `length_mask`. A padded step holds the carry and outputs zeros, whatever xs contains there, even NaN; a row
        without real steps returns its initial carry.
      resets: bool ``[T, B]``, True where a step begins a new sequence: an episode in reinforcement learning, or one of
        several documents packed in a row. The carry is then ``cell.initial_carry`` before that step, padded or not.
        With `reverse` the same resets cut the row into the same pieces, each run from its last step to its first.
      reverse: run from the last step to the first; ``outs[t]`` still belongs to ``xs[t]``. Padded steps hold the carry,
        so a padded batch needs no flipping.
      recurrence: how to run the cell: `jaxseq.recurrence.deferred`, `scan`, `checkpointed`, `newton` (all steps at
        once), `associative` for cells that are linear in their state, or `chunked` for those whose memory is a matrix;
        all compute the same values.

    Returns:
      ``(carry, outs)``: the state after the last step, and the outputs ``[T, B, H]``. Running a sequence in pieces,
      passing the carry on, equals running it whole.

    Raises:
      InputError: if features, axes, dtypes, mask, resets or carry do not match.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import unroll
      >>> from jaxseq.cells import gru
      >>> params = gru.init(jax.random.key(0), 3, 5)
      >>> carry, outs = unroll(gru, params, jnp.ones((7, 2, 3)))
      >>> outs.shape, bool((outs[-1] == carry.h).all())
      ((7, 2, 5), True)
    """
    check_is_cell("unroll", cell)
    if not callable(recurrence):
        raise InputError(
            f"unroll({cell.name}): recurrence must be a function, such as jaxseq.recurrence.scan; got {recurrence!r}. "
            f"By name: jaxseq.RECURRENCES['scan']; known: {', '.join(RECURRENCES)}"
        )
    mask, resets = (a if a is None or isinstance(a, jax.Array) else jnp.asarray(a) for a in (mask, resets))
    return _run(cell, (recurrence, reverse), (params, xs, carry, mask, resets))


@compiled_if_eager
def _run(cell: Cell, options: tuple[Recurrence, bool], data: tuple[Tree, ...]) -> tuple[Carry, Tree]:
    """Check and prepare the arguments of `unroll`, and run the recurrence."""
    (recurrence, reverse), (params, xs, carry, mask, resets) = options, data
    name = f"unroll({cell.name})"
    check_params(name, cell.params_type, params)
    check_order(name, cell, params, xs, carry)
    xs = jax.tree.map(jnp.asarray, xs)
    if isinstance(xs, jax.Array):
        check_inputs(name, params, xs, "[T, B, D]")
    given, xs = xs, lift_sequence(cell, xs)
    check_input_type(name, cell, xs)
    if xs is not given or not isinstance(xs, jax.Array):
        check_inputs(name, params, xs, "[T, B, D]")
    time_and_batch = jax.tree.leaves(xs)[0].shape[:-1]
    if carry is not None:
        check_carry(cell, params, carry, time_and_batch[1:])
    # our own cells were checked by tests; a user's step is traced once, for a message instead of a scan's type error
    if not is_closed(cell) or is_of_users(cell):
        start = cell.initial_carry(params, time_and_batch[1:]) if carry is None else carry
        check_step_returns(name, cell, params, start, step_shapes(xs))
    steps = time_and_batch[: len(time_and_batch) - cell.spatial]
    if mask is not None:
        check_mask(name, mask, steps)
    if resets is not None:
        check_mask(name, resets, steps, "resets", "a step begins a new sequence")
        if reverse:  # in reverse, a piece is entered at its last step, the one before the next piece begins
            resets = jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
    return _drive(cell, recurrence, reverse, (params, xs, carry, mask, resets))


def _drive(cell: Cell, recurrence: Recurrence, reverse: bool, data: tuple[Tree, ...]) -> tuple[Carry, Tree]:
    params, *rest = data
    # `wherever` moves only its arguments, so arrays that the cell closes over become arguments
    static, arrays = split(cell)

    def run(
        params: Params, xs: Tree, carry: Carry | None, mask: Array | None, resets: Array | None, arrays: list[Array]
    ) -> tuple[Carry, Tree]:
        cell = join(static, arrays)
        if carry is None:  # made in the compiled call: made eagerly, leaf by leaf, it takes a third of the call's time
            carry = fresh_carry(cell, params, xs)
        # zeroed here, though the carry is held later: the gradient of a discarded NaN would still be NaN
        if mask is not None:
            xs = jax.tree.map(lambda x: jnp.where(over_features(mask, x), x, jnp.zeros_like(x)), xs)
        return recurrence(cell, params, xs, carry, mask=mask, resets=resets, reverse=reverse)

    leaf = jax.tree.leaves(data[1])[0]
    batch = leaf.shape[1 : leaf.ndim - 1 - cell.spatial]
    return wherever(run, params, *rest, arrays, first=(1, 0, 1, 1, None), batch=batch)


def length_mask(lengths: Array, T: int) -> Array:
    """Return the mask ``[T, B]`` of rows with these lengths: True at the first ``lengths[b]`` of T steps.

    Args:
      lengths: int ``[B]``, with any number of batch axes, including none.
      T: number of time steps of the padded batch.

    Raises:
      InputError: if lengths are not integers, or a known (untraced) length is not from 0 to T.

    Example:
      >>> import jax.numpy as jnp
      >>> length_mask(jnp.array([3, 0, 1]), 3).astype(int).T.tolist()
      [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    """
    if not (isinstance(T, int | np.integer) or export.is_symbolic_dim(T)):
        raise InputError(f"length_mask: T must be a whole number; got {type(T).__name__}. The order is (lengths, T)")
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise InputError(f"length_mask: lengths must be whole numbers, one for each row; got {lengths.dtype}")
    if not isinstance(lengths, jax.core.Tracer) and lengths.size:
        least, most = int(lengths.min()), int(lengths.max())
        if least < 0 or most > T:
            raise InputError(f"length_mask: lengths must be from 0 to T = {T}; got {most if most > T else least}")
    # [T, 1] against [B]
    steps = jnp.arange(T).reshape(T, *[1] * lengths.ndim)
    return steps < lengths[None].astype(steps.dtype)  # a T of 300 is more than uint8 can count


class Trace(NamedTuple, Generic[O, G, K]):
    """Outputs, gates and carries of every step.

    Fields:
      outs: ``[T, B, H]``, as `unroll` returns them.
      gates: the cell's gates, each ``[T, B, H]`` (for a stack a tuple, one entry for each layer).
      carries: the carry after each step, each leaf ``[T, B, H]``: every ``c_t`` of an LSTM.

    All of them are zero at padded steps.
    """

    outs: O
    gates: G
    carries: K


def trace(
    cell: Cell[P, K, O, G],
    params: P,
    xs: Tree,
    carry: K | None = None,
    *,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    recurrence: Recurrence = deferred,
) -> tuple[K, Trace[O, G, K]]:
    """Run a cell over a sequence as `unroll` does, and return every gate and every carry as well.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq import trace
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> carry, seen = trace(lstm, params, jnp.ones((7, 2, 3)))
      >>> seen.gates.f.shape, seen.carries.c.shape
      ((7, 2, 5), (7, 2, 5))
    """
    check_is_cell("trace", cell)
    # gates are outputs of the same equations; under plain `unroll` they are unused and XLA removes them
    return unroll(_showing(cell), params, xs, carry, mask=mask, resets=resets, reverse=reverse, recurrence=recurrence)


@dataclasses.dataclass(frozen=True)
class Showing:
    """The equations of a cell, with the gates and the new carry in the output.

    Fields:
      shows: the cell. It tells a recurrence that would skip the carries of inner steps that they are wanted.
    """

    shows: Cell

    def __call__(self, params: Params, carry: Carry, wx: Tree, uh: Tree) -> tuple[Carry, Trace, Tree]:
        """Return ``(carry, trace, gates)`` of one step."""
        carry, out, named = self.shows.equations(params, carry, wx, uh)
        return carry, Trace(out, named, carry), named


@made
def showing(cell: Cell) -> Cell:
    """Return the cell with a `Trace` as its output: the same equations, with gates and carry shown."""
    return cell.replace(equations=Showing(cell))


_showing = kept(showing)
