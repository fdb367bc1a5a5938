"""Making a cell's `init`: `init_of` from the parameters' shapes, `checked_init` from a hand-written function.

Both check sizes and options, name the nearest option for an unknown one, and show every option in
``inspect.signature(cell.init)``.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.errors import InputError, nearest
from jaxseq.initializers import Initializer, glorot, orthogonal, packed, zeros
from jaxseq.notation import Array, Key

P = TypeVar("P")

Shape = str | tuple[str, Initializer]
"""A shape in letters, or a pair of it and an initializer."""


class Size(NamedTuple):
    """A letter of shapes, besides D and H, that an option of `init` sets.

    Fields:
      option: the option's name, such as ``"projection"``.
      default: the option's default; None for H.
      part: if default is None, the divisor of H, rounded down but at least 1: 2 for half of H.
      divides: "H" if H must be a multiple of the option, "into" if the letter then is H divided by it; "D" and "into D"
        for D instead of H.
    """

    option: str
    default: int | None = None
    part: int = 1
    divides: Literal["", "H", "into", "D", "into D"] = ""

    def of(self, name: str, D: int, H: int, given: Any) -> int:
        """Return the letter's size for input size D, hidden size H and the given option."""
        size = max(1, H // self.part) if given is None else given
        check_sizes(name, **{self.option: size})
        which, whole = ("input", D) if self.divides.endswith("D") else ("hidden", H)
        if self.divides and whole % size:
            raise InputError(f"{name}: {self.option} must divide the {which} size {whole}; got {size}")
        return whole // size if self.divides.startswith("into") else size


def init_of(
    params_type: Callable[..., P],
    *,
    forget: int | None = None,
    added: Mapping[str, tuple[float, str]] | None = None,
    sizes: Mapping[str, Size] | None = None,
    whole: str = "",
    **shapes: Shape,
) -> InitOf[P]:
    """Return an ``init(key, input_size, hidden_size, *, dtype=float32, kernel, recurrent, bias)`` for given shapes.

    A shape is written in the letters of `jaxseq.notation`: ``W="D 4H"`` is a matrix of D rows and four blocks of H
    columns, each block drawn separately. Parameters whose names begin with W or V are drawn by `kernel` (Glorot
    uniform), with U by `recurrent` (orthogonal), with b by `bias` (zeros); any other needs its own initializer:
    ``p=("3H", uniform(0.1))``. The key is split into one for each parameter, in the order of `shapes`.

    Args:
      params_type: the NamedTuple to build, with a field for each of `shapes`.
      forget: the forget gate's block of b; init then takes ``forget_bias=1.0``, which is added to it.
      added: other options that are added to blocks of biases: ``{"output_bias": (-3.0, "b[1]")}`` has the default -3
        and adds to the second block of b; several blocks are separated by spaces.
      sizes: letters other than D and H, each an option of init: ``{"P": Size("projection", part=2)}``.
      whole: names of matrices, separated by spaces, that are drawn as a whole instead of block by block.
      shapes: the shape of every parameter. A last axis may be a sum, ``"D 4H+2M"``.

    Raises:
      InputError: if params_type has other fields than `shapes`, or a shape cannot be read.

    Example:
      >>> from jaxseq.cells import LSTMParams
      >>> init = init_of(LSTMParams, forget=1, W="D 4H", U="H 4H", b="4H")
      >>> init(jax.random.key(0), 3, 5, forget_bias=2.0).U.shape
      (5, 20)
    """
    fields = getattr(params_type, "_fields", ())
    if sorted(shapes) != sorted(fields):
        raise InputError(
            f"init_of: {getattr(params_type, '__name__', params_type)} has the fields {', '.join(fields)}; got shapes "
            f"for {', '.join(shapes)}. Give one for each field"
        )
    for field, shape in shapes.items():
        if isinstance(shape, str) and field[0] not in "WVUb":
            raise InputError(f"init_of: {field} needs an initializer, such as {field}=({shape!r}, uniform(0.1))")
        for axis in (shape if isinstance(shape, str) else shape[0]).split():
            _terms(axis, dict.fromkeys(["D", "H", *(sizes or {})], 1))
    places = dict(added or {}) if forget is None else {"forget_bias": (1.0, f"b[{forget}]"), **(added or {})}
    return InitOf(
        params_type, tuple(places.items()), tuple((sizes or {}).items()), tuple(whole.split()), tuple(shapes.items())
    )


@dataclasses.dataclass(frozen=True)
class InitOf(Generic[P]):
    """An init made by `init_of`: a function that can be pickled and compared.

    Fields:
      params_type: the NamedTuple to build.
      added: options that are added to blocks of biases: default and blocks, by name.
      sizes: options that set a letter, by letter.
      whole: fields that are drawn as a whole.
      shapes: the shape of every parameter, by name.
      defaults: initializers that replace Glorot, orthogonal and zeros; see `drawn_by`.
    """

    params_type: Callable[..., P]
    added: tuple[tuple[str, tuple[float, str]], ...]
    sizes: tuple[tuple[str, Size], ...]
    whole: tuple[str, ...]
    shapes: tuple[tuple[str, Shape], ...]
    defaults: tuple[tuple[str, Initializer], ...] = ()

    def drawn_by(self, **defaults: Initializer) -> InitOf[P]:
        """Return the init with other defaults for `kernel`, `recurrent` or `bias`."""
        return dataclasses.replace(self, defaults=tuple(defaults.items()))

    def __call__(self, key: Key, input_size: int, hidden_size: int, **options: Any) -> P:
        """Return parameters for D = input_size, H = hidden_size. Consumes `key`.

        Raises:
          InputError: if a size is not a whole number above 0, or an option is unknown.
        """
        name = f"init of {self.params_type.__name__}"
        check_init(name, self.__signature__, key, input_size, hidden_size, options)
        given = {p.name: p.default for p in self.__signature__.parameters.values() if p.kind is p.KEYWORD_ONLY}
        given |= options
        letters = {"D": input_size, "H": hidden_size}
        letters |= {letter: size.of(name, input_size, hidden_size, given[size.option]) for letter, size in self.sizes}
        by_name = {"W": given["kernel"], "V": given["kernel"], "U": given["recurrent"], "b": given["bias"]}
        made, widths = {}, {}
        for k, (field, shape) in zip(jax.random.split(key, len(self.shapes)), self.shapes, strict=True):
            text, draw = shape if isinstance(shape, tuple) else (shape, by_name[field[0]])
            *rows, last = [_terms(axis, letters) for axis in text.split()]
            sides = tuple(sum(blocks * size for blocks, size in terms) for terms in rows)
            made[field] = _draw(draw, k, sides, last, given["dtype"], field in self.whole)
            widths[field] = last[0][1]
        for option, (_, places) in self.added:
            for field, block in re.findall(r"(\w+)\[(\d+)\]", places):
                at = slice(int(block) * widths[field], (int(block) + 1) * widths[field])
                made[field] = made[field].at[at].add(given[option])
        return self.params_type(**made)

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:
        """All options that this init takes, with their defaults."""
        draws = {"kernel": glorot, "recurrent": orthogonal, "bias": zeros, **dict(self.defaults)}
        options = [_option("dtype", jnp.float32, "Any")]
        options += [_option(name, draw, "Initializer") for name, draw in draws.items()]
        options += [_option(name, default, "float") for name, (default, _) in self.added]
        by_option = {size.option: size for _, size in self.sizes}  # two letters may share one option
        options += [
            _option(size.option, size.default, "int | None" if size.default is None else "int")
            for size in by_option.values()
        ]
        return inspect.Signature([*_SIZES, *options], return_annotation=self.params_type.__name__)


def checked_init(name: str, inner: InitOf[Any] | None = None) -> Callable[[Callable[..., P]], Callable[..., P]]:
    """Decorate a hand-written ``init(key, input_size, hidden_size, *, ...)``: sizes and options are checked first.

    Args:
      name: the cell's name, for messages.
      inner: the init that receives ``**options``; its options are shown in the signature too.

    Example:
      >>> @checked_init("mine")
      ... def init(key, input_size, hidden_size, *, scale=1.0):
      ...     return scale * jnp.ones((input_size, hidden_size))
      >>> init(jax.random.key(0), 2, 3, scal=2.0)
      Traceback (most recent call last):
      jaxseq.errors.InputError: init of mine: unknown option 'scal': did you mean 'scale'? It takes scale
    """

    def decorate(function: Callable[..., P]) -> Callable[..., P]:
        signature = passing_on(function) if inner is None else passing_on(function, inner)

        @functools.wraps(function)
        def init(key: Key, input_size: int, hidden_size: int, **options: Any) -> P:
            check_init(f"init of {name}", signature, key, input_size, hidden_size, options)
            return function(key, input_size, hidden_size, **options)

        init.__signature__ = signature  # type: ignore[attr-defined]
        return init

    return decorate


def takes(init: Callable[..., Any], option: str) -> bool:
    """Return whether an init has an option of this name, or takes any ``**options``."""
    parameters = inspect.signature(init).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def passing_on(init: Callable[..., Any], *to: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of an ``init(key, ..., **options)``, with the options of the inits it passes them to."""
    own = inspect.signature(init)
    parameters = {p.name: p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD}
    for other in to:
        for p in inspect.signature(other).parameters.values():
            if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD):
                parameters.setdefault(p.name, p)
    return inspect.Signature(sorted(parameters.values(), key=lambda p: p.kind), return_annotation=own.return_annotation)


def check_init(
    name: str, signature: inspect.Signature, key: Any, input_size: Any, hidden_size: Any, options: Mapping[str, Any]
) -> None:
    """Check the arguments of an init: the key, both sizes, and the names of the options.

    Raises:
      InputError: naming the first that is wrong.
    """
    if not isinstance(key, jax.Array | np.ndarray):
        raise InputError(f"{name}: key must be a random key, such as jax.random.key(0); got {key!r}")
    check_sizes(name, input_size=input_size, hidden_size=hidden_size)
    known = {n: p for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
    for option in options:
        if option not in known:
            raise InputError(f"{name}: unknown option {option!r}: {nearest(option, known)}It takes {', '.join(known)}")
    if "dtype" in options and not jnp.issubdtype(options["dtype"], jnp.inexact):
        raise InputError(
            f"{name}: dtype must be a floating one, such as jnp.float32; got {jnp.dtype(options['dtype'])}"
        )


def check_sizes(name: str, **sizes: Any) -> None:
    """Check that sizes are whole numbers above 0.

    Raises:
      InputError: naming the first that is not.
    """
    for which, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise InputError(f"{name}: {which} must be a whole number above 0; got {size!r}")


def check_range(name: str, value: Any, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Check that a number is from `low` to `high`, or, with `above`, above `low`. Traced numbers pass.

    Raises:
      InputError: naming the range.
    """
    if isinstance(value, jax.core.Tracer):
        return
    scalar = isinstance(value, jax.Array) and value.ndim == 0
    number = scalar or (isinstance(value, int | float | np.number) and not isinstance(value, bool))
    if not (number and math.isfinite(value) and (value > low if above else value >= low) and value <= high):
        least = f"above {low:g}" if above else f"at least {low:g}"
        most = f" and at most {high:g}" if high < math.inf else ""
        raise InputError(f"{name} must be a number {least}{most}; got {value!r}")


def _draw(
    draw: Initializer, key: Key, rows: tuple[int, ...], terms: list[tuple[int, int]], dtype: Any, whole: bool
) -> Array:
    """Return a vector or a matrix whose columns are blocks, each drawn separately unless `whole`."""
    if whole or not rows:
        return draw(key, (*rows, sum(blocks * size for blocks, size in terms)), dtype)
    keys = jax.random.split(key, len(terms)) if len(terms) > 1 else [key]
    drawn = [packed(draw, k, (*rows, size), blocks, dtype) for k, (blocks, size) in zip(keys, terms, strict=True)]
    return jnp.concatenate(drawn, axis=-1)


def _terms(axis: str, letters: Mapping[str, int]) -> list[tuple[int, int]]:
    """Return ``(blocks, size of one)`` of each term of an axis such as ``"4H"``, ``"D"``, ``"1"`` or ``"4H+2M"``."""
    terms = []
    for term in axis.split("+"):
        found = re.fullmatch(r"(\d*)([A-Za-z]?)", term)
        if found is None or not term or found[2] not in {"", *letters}:
            raise InputError(
                f"init_of: an axis is a count and one of the letters {', '.join(letters)}, such as 4H; got {axis!r}"
            )
        terms.append((int(found[1] or 1), letters[found[2]] if found[2] else 1))
    return terms


def _option(name: str, default: Any, annotation: str) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_SIZES = [
    inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
    for name, annotation in (("key", "Key"), ("input_size", "int"), ("hidden_size", "int"))
]
