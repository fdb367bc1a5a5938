"""Parts that most cells have in common, so that a cell's own file is its equations and little else."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._base import affine, zeros_for
from jaxseq.errors import InputError, choose
from jaxseq.initializers import Initializer, glorot, orthogonal, packed, zeros
from jaxseq.notation import Array, Key, Tree

P = TypeVar("P")
K = TypeVar("K")


class Hidden(NamedTuple):
    """The state ``h [B, H]``, which is also the output."""

    h: Array


class Timed(NamedTuple):
    """An input with a time of its own.

    Fields:
      x: ``[B, D]``.
      t: ``[B, 1]``, a time stamp or the time since the last step, as the cell says, in the unit that its parameters
        are in.
    """

    x: Array
    t: Array


def stamped(xs: Array) -> Timed:
    """Return ``xs [T, B, D]`` with the time stamps 0, 1, 2, ..."""
    t = jnp.arange(xs.shape[0], dtype=xs.dtype).reshape(-1, *[1] * (xs.ndim - 1))
    return Timed(xs, jnp.broadcast_to(t, (*xs.shape[:-1], 1)))


def spaced(xs: Array) -> Timed:
    """Return ``xs [T, B, D]`` with a time of 1 between steps."""
    return Timed(xs, jnp.ones_like(xs[..., :1]))


def init_of(
    params_type: Callable[..., P],
    *,
    forget: int | None = None,
    **shapes: str | tuple[str, Initializer],
) -> InitOf[P]:
    """Return an ``init(key, input_size, hidden_size, *, dtype=float32, kernel, recurrent, bias)`` for given shapes.

    A shape is written in the letters of `jaxseq.notation`: ``W="D 4H"`` is a matrix of D rows and four blocks of H
    columns, each block drawn by itself. Parameters whose names begin with W are drawn by `kernel` (Glorot uniform),
    with U by `recurrent` (orthogonal), with b by `bias` (zeros); any other brings its initializer:
    ``p=("3H", uniform(0.1))``. The key is split into one for each parameter, in their order.

    Args:
      params_type: the NamedTuple to build, with a field for each of `shapes`, in the same order.
      forget: which block of b is the forget gate's; init then takes ``forget_bias=1.0``, which is added there.
      shapes: of every parameter.

    Raises:
      InputError: if params_type has other fields than `shapes`, or the same in another order.

    Example:
      >>> from jaxseq.cells import LSTMParams
      >>> init = init_of(LSTMParams, forget=1, W="D 4H", U="H 4H", b="4H")
      >>> init(jax.random.key(0), 3, 5, forget_bias=2.0).U.shape
      (5, 20)
    """
    fields = getattr(params_type, "_fields", ())
    if tuple(shapes) != fields:
        raise InputError(
            f"init_of: {getattr(params_type, '__name__', params_type)} has the fields {', '.join(fields)}; got shapes "
            f"for {', '.join(shapes)}. Give one for each field, in their order"
        )
    return InitOf(params_type, forget, tuple(shapes.items()))


@dataclasses.dataclass(frozen=True)
class InitOf(Generic[P]):
    """What `init_of` returns: a function that can be pickled and compared.

    Fields:
      params_type: the NamedTuple that is built.
      forget: the block of b to which ``forget_bias`` is added, or None.
      shapes: of every parameter, by name.
    """

    params_type: Callable[..., P]
    forget: int | None
    shapes: tuple[tuple[str, str | tuple[str, Initializer]], ...]

    def __call__(
        self,
        key: Key,
        input_size: int,
        hidden_size: int,
        *,
        dtype: Any = jnp.float32,
        kernel: Initializer = glorot,
        recurrent: Initializer = orthogonal,
        bias: Initializer = zeros,
        **options: float,
    ) -> P:
        """Return parameters for D = input_size, H = hidden_size. Consumes `key`.

        Raises:
          InputError: if a size is not a whole number above 0, or an option is unknown.
        """
        name = f"init of {self.params_type.__name__}"
        check_sizes(name, input_size=input_size, hidden_size=hidden_size)
        known = dict.fromkeys(inspect.signature(self).parameters)
        for option in options:
            choose(f"option of {name}:", option, known)
        by_letter = {"W": kernel, "U": recurrent, "b": bias}
        made = {}
        for k, (field, given) in zip(jax.random.split(key, len(self.shapes)), self.shapes, strict=True):
            shape, draw = given if isinstance(given, tuple) else (given, by_letter[field[0]])
            *rows, (blocks, columns) = [_axis(axis, input_size, hidden_size) for axis in shape.split()]
            if rows:
                made[field] = packed(draw, k, (rows[0][0] * rows[0][1], columns), blocks, dtype)
            else:
                made[field] = draw(k, (blocks * columns,), dtype)
        if self.forget is not None:
            block = slice(self.forget * hidden_size, (self.forget + 1) * hidden_size)
            made["b"] = made["b"].at[block].add(options.get("forget_bias", 1.0))
        return self.params_type(**made)

    @property
    def __signature__(self) -> inspect.Signature:
        """The options that this init takes, ``forget_bias`` only where there is a forget gate."""
        own = inspect.signature(InitOf.__call__).parameters
        options = [p for name, p in own.items() if name not in ("self", "options")]
        if self.forget is not None:
            kind = inspect.Parameter.KEYWORD_ONLY
            options.append(inspect.Parameter("forget_bias", kind, default=1.0, annotation="float"))
        return inspect.Signature(options, return_annotation=self.params_type.__name__)


def takes(init: Callable[..., Any], option: str) -> bool:
    """Return whether an init has an option of this name, or passes on whatever it is given."""
    parameters = inspect.signature(init).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def passing_on(init: Callable[..., Any], *to: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of an ``init(key, ..., **options)`` with the options of those it passes them on to."""
    parameters = {p.name: p for p in inspect.signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD}
    for other in to:
        for p in inspect.signature(other).parameters.values():
            if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD):
                parameters.setdefault(p.name, p)
    return inspect.Signature(sorted(parameters.values(), key=lambda p: p.kind))


def check_sizes(name: str, **sizes: Any) -> None:
    """Check that sizes are whole numbers above 0.

    Raises:
      InputError: naming the first that is not.
    """
    for which, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise InputError(f"{name}: {which} must be a whole number above 0; got {size!r}")


def _axis(text: str, D: int, H: int) -> tuple[int, int]:
    """Return ``(blocks, size of one)`` of an axis such as ``"4H"``, ``"D"`` or ``"1"``."""
    found = re.fullmatch(r"(\d*)([DH]?)", text)
    if found is None:
        raise InputError(f"init_of: an axis is a count and D or H, such as 4H; got {text!r}")
    count, letter = found.groups()
    return int(count or 1), {"D": D, "H": H, "": 1}[letter]


def zeros_carry(carry_type: Callable[..., K], like: str = "U") -> ZerosCarry[K]:
    """Return an `initial_carry` whose every leaf is zeros ``[*batch_shape, H]``, with H the rows of ``params.U``.

    Where a cell has no U, `like` names another parameter with H rows.
    """
    return ZerosCarry(carry_type, like)


@dataclasses.dataclass(frozen=True)
class ZerosCarry(Generic[K]):
    """What `zeros_carry` returns: a function that can be pickled and compared."""

    carry_type: Callable[..., K]
    like: str

    def __call__(self, params: object, batch_shape: tuple[int, ...] = ()) -> K:
        """Return the state before the first step: zeros, each ``[*batch_shape, H]``."""
        rows = getattr(params, self.like)
        fields = self.carry_type._fields  # type: ignore[attr-defined]
        return self.carry_type(*(zeros_for(rows, batch_shape, rows.shape[0]) for _ in fields))


class HasAffine(Protocol):
    """Params with ``W [D, G*H]`` and ``b [G*H]``."""

    @property
    def W(self) -> Array:  # noqa: N802, the letter of the papers
        """The matrix of the input."""

    @property
    def b(self) -> Array:
        """The bias."""


class HasRecurrent(Protocol):
    """Params with ``U [H, G*H]``."""

    @property
    def U(self) -> Array:  # noqa: N802, the letter of the papers
        """The matrix of the hidden state."""


class HasHidden(Protocol):
    """A carry with ``h [B, H]``."""

    @property
    def h(self) -> Array:
        """The hidden state."""


def input_affine(params: HasAffine, x: Array) -> Array:
    """Return ``x W + b``, ``[B, G*H]``: the `input_terms` of most cells."""
    return affine(x, params.W, params.b)


def hidden_product(params: HasRecurrent, carry: HasHidden) -> Array:
    """Return ``h U``, ``[B, G*H]``: the `hidden_terms` of most cells."""
    return carry.h @ params.U


def no_hidden_terms(params: object, carry: object) -> Tree:
    """Return nothing: the `hidden_terms` of a cell without a matrix product in its loop."""
    return ()
