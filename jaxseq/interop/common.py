"""Shared parts of the converters: names and shapes of foreign arrays, combining and splitting layers, versions."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq._layers import Bidirectional
from jaxseq.cells import Cell, conv_lstm, stack
from jaxseq.cells._checks import check_is_cell, check_params
from jaxseq.cells._conv_lstm import ConvLSTMParams
from jaxseq.errors import InputError, nearest
from jaxseq.interop import TESTED
from jaxseq.notation import Array, Params

Arrays = Mapping[str, Array]
"""A library's arrays by name, with nested names joined by "/"."""
Found = tuple[Cell, Params]
"""A layer: a cell, and its params, which are a `Bidirectional` if the layer is bidirectional."""


class Layout(NamedTuple):
    """How a library stores the arrays of a layer.

    Fields:
      cell: our cell.
      shapes: the shape of every array by name, in the letters of `jaxseq.notation`: "4H D", or "D+H 4H". A final "?"
        means that the array may be missing, and is then zeros.
      read: ``(arrays) -> our params``.
      write: ``(our params) -> arrays``.
    """

    cell: Cell
    shapes: Mapping[str, str]
    read: Callable[[Arrays], Params]
    write: Callable[[Params], dict[str, Array]]


# cached, so a loop over many layers warns once
@functools.cache
def check_version(package: str) -> None:
    """Warn once if the installed minor version of a package differs from the tested one."""
    try:
        have = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # parameters can be converted without the library that made them
        return
    tested = TESTED[package]
    # major and minor only: a patch release does not rename arrays
    if have.split(".")[:2] != tested.split(".")[:2]:
        warnings.warn(
            f"jaxseq.interop was tested with {package} {tested}, installed is {have}: compare outputs once before you "
            "rely on converted layers",
            stacklevel=3,
        )


def array(name: str, a: Any) -> Array:
    """Return any array, including torch tensors, as a JAX array of the same dtype.

    Raises:
      InputError: if it is not an array of real numbers, or is float64 where JAX has only float32.
    """
    if hasattr(a, "detach"):  # a tensor of torch
        a = a.detach().cpu()
        # torch's .numpy() refuses bfloat16; every bfloat16 is a float32, so the detour is exact
        a = a.float().numpy().astype(jnp.bfloat16) if str(a.dtype) == "torch.bfloat16" else a.numpy()
    if not isinstance(a, jax.Array):
        a = np.array(a)  # a copy, since the original may be changed in place
    if not jnp.issubdtype(a.dtype, jnp.floating):
        raise InputError(f"{name} has dtype {a.dtype}; weights are real numbers: float32, float64, float16 or bfloat16")
    # without jax_enable_x64 float64 would silently become float32
    converted = jnp.asarray(a)
    if converted.dtype != a.dtype:
        raise InputError(
            f"{name} is {a.dtype}, and JAX would make it {converted.dtype}; call "
            'jax.config.update("jax_enable_x64", True) first, or convert the weights to float32'
        )
    return converted


def flat(tree: Any, above: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings, by their keys joined by "/"."""
    if not isinstance(tree, Mapping):
        # a leaf
        return {above: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{above}/{key}" if above else str(key))
    return found


def nested(arrays: Arrays) -> dict[str, Any]:
    """Return the inverse of `flat`."""
    tree: dict[str, Any] = {}
    for name, a in arrays.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = a
    return tree


def plain_name(name: str) -> str:
    """Return a name with "/" between its parts: ``"encoder.rnn['w']"`` becomes ``"encoder/rnn/w"``."""
    # torch joins names by ".", haiku by "/" and "/~/", a key path of JAX writes ['w']
    return re.sub(r"[/.\[\]'\"~]+", "/", name).strip("/")


def select(what: str, arrays: Mapping[str, Any], known: Mapping[str, str], prefix: str | None) -> dict[str, Any]:
    """Return the arrays under `prefix`, with it removed; by default the prefix that all names share is removed.

    Raises:
      InputError: if nothing is there, if a name is unknown, or if a required array is missing.
    """
    arrays = {plain_name(name): a for name, a in arrays.items()}
    if prefix is not None:
        # with the "/", or the prefix "rnn" would also choose "rnn_2"
        start = plain_name(prefix) + "/"
        chosen = {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
        if not chosen:
            hint = nearest(plain_name(prefix), {folder: 1 for name in arrays for folder in _folders(name)})
            raise InputError(f"{what}: no array begins with {prefix!r}; {hint}there are: {', '.join(arrays)}")
        return _complete(what, chosen, known, chosen)
    inner = arrays
    while inner and not _fits(inner, known):
        # remove one folder that all names share, and try again
        heads = {name.partition("/")[0] for name in inner}
        if len(heads) > 1 or any("/" not in name for name in inner):
            # names differ here: the layer is one of several, and the message says which prefixes there are
            return _complete(what, arrays, known, arrays)
        inner = {name.partition("/")[2]: a for name, a in inner.items()}
    return inner or _complete(what, arrays, known, arrays)


def _needed(known: Mapping[str, str]) -> set[str]:
    return {name for name, axes in known.items() if not axes.endswith("?")}


def _fits(names: Iterable[str], known: Mapping[str, str]) -> bool:
    return _needed(known) <= set(names) <= set(known)


def _complete(what: str, chosen: dict[str, Any], known: Mapping[str, str], of: Iterable[str]) -> dict[str, Any]:
    if _fits(chosen, known):
        return chosen
    needed = _needed(known)
    # folders that contain a whole layer: the prefixes that would have worked
    folders = sorted({f for name in of for f in _folders(name) if needed <= _under(f, of)})
    advice = f"; a layer is under {' and '.join(map(repr, folders))}: give one as prefix" if folders else ""
    if unknown := sorted(set(chosen) - set(known)):
        hint = nearest(unknown[0], known)
        raise InputError(f"{what}: unknown array {unknown[0]!r}: {hint}known: {', '.join(known)}{advice}")
    missing = sorted(needed - set(chosen))[0]
    raise InputError(f"{what}: the array {missing!r} is missing; there are: {', '.join(chosen) or 'none'}{advice}")


def _folders(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: k + 1]) for k in range(len(parts))]


def _under(folder: str, names: Iterable[str]) -> set[str]:
    return {name.removeprefix(folder + "/") for name in names if name.startswith(folder + "/")}


def fit(what: str, shapes: Mapping[str, str], arrays: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays, zeros for missing optional ones, after checking each shape against the others.

    Example:
      >>> arrays = fit("layer", {"weight": "4H D", "bias": "4H?"}, {"weight": jnp.ones((8, 3))})
      >>> arrays["bias"].shape
      (8,)
    """
    found = {name: array(f"{what}: {name}", a) for name, a in arrays.items()}
    sizes: dict[str, int] = {}
    # sums last: D of a matrix [D+H, 4H] is known only once H is
    for last in (False, True):
        for name, a in found.items():
            wanted = shapes[name].rstrip("?").split()
            ok = len(wanted) == a.ndim
            # lengths differ only if ok is already False
            for axis, size in zip(wanted, a.shape, strict=False):
                ok = ok and (("+" in axis) != last or _solve(axis, size, sizes))
            if not ok:
                known = ", ".join(f"{letter} = {size}" for letter, size in sorted(sizes.items()))
                expected = f"[{', '.join(wanted)}]" + f", where {known}" * bool(known)
                raise InputError(f"{what}: {name} has the shape {a.shape}, expected {expected}")
    # zeros for missing biases in the dtype of the rest, or `one_dtype` would refuse them
    dtype = next(iter(found.values())).dtype
    for name, axes in shapes.items():
        if name not in found:
            shape = tuple(_size(axis, sizes) for axis in axes.rstrip("?").split())
            found[name] = jnp.zeros(shape, dtype)
    return found


# "4H" is (4, "H"), "H" is (1, "H"), "2" is (2, "")
def _term(text: str) -> tuple[int, str]:
    match = re.fullmatch(r"(\d*)([A-Z]?)", text)
    assert match is not None, text
    return int(match[1] or 1), match[2]


def _size(axis: str, sizes: Mapping[str, int]) -> int:
    return sum(count * sizes.get(letter, 1) for count, letter in map(_term, axis.split("+")))


def _solve(axis: str, size: int, sizes: dict[str, int]) -> bool:
    """Return whether `size` is right; record the size of a new letter."""
    new = [(count, letter) for count, letter in map(_term, axis.split("+")) if letter and letter not in sizes]
    if new:
        # one unknown in an axis at most, since the other letters of a sum are known by then
        ((count, letter),) = new
        # 0 while the rest of the sum is added up
        sizes[letter] = 0
        sizes[letter] = (size - _size(axis, sizes)) // count
        # [D+H, 4H] with fewer rows than H
        if sizes[letter] <= 0:
            del sizes[letter]
            return False
    return _size(axis, sizes) == size


def layout(library: str, layouts: Mapping[str, Layout], layer: str) -> Layout:
    """Return the layout of a layer, given our cell's name.

    Raises:
      InputError: if the library has no such layer.
    """
    if layer not in layouts:
        raise InputError(
            f"{library} has no layer {layer!r}: {nearest(layer, layouts)}our cells that it has: {', '.join(layouts)}"
        )
    return layouts[layer]


def read(what: str, form: Layout, arrays: Mapping[str, Any], prefix: str | None = None) -> Found:
    """Return ``(cell, params)`` of one layer, from a library's arrays by name."""
    params = form.read(fit(what, form.shapes, select(what, arrays, form.shapes, prefix)))
    return form.cell, one_dtype(what, params)


def one_dtype(what: str, params: Params) -> Params:
    """Return params, checked to share a dtype."""
    dtypes = {str(a.dtype) for a in jax.tree.leaves(params)}
    if len(dtypes) > 1:
        raise InputError(f"{what}: the arrays are of several dtypes, {' and '.join(sorted(dtypes))}; cast them to one")
    return params


def whole(found: Sequence[Found]) -> tuple[Any, Params]:
    """Return one ``(cell, params)`` for the layers of a network, lowest first."""
    if len(found) == 1:
        return found[0]
    cells, params = zip(*found, strict=True)
    # a stack's step sees one step at a time, and a backward direction needs the whole sequence: `layers` runs these
    if any(isinstance(p, Bidirectional) for p in params):
        return cells, params
    return stack(*cells), params


def taken_apart(what: str, cell: Any, params: Params) -> list[Found]:
    """Return the inverse of `whole`.

    Raises:
      InputError: if the params are not the cell's.
    """
    # type(...) is: a Cell is a NamedTuple, and so are params; isinstance would take them for tuples of layers
    if type(cell) is not tuple:
        check_is_cell(what, cell)
        if cell.layers and not isinstance(params, Bidirectional):
            check_params(what, cell.params_type, params)
            # a stack in a stack is split too
            return [found for pair in zip(cell.layers, params, strict=True) for found in taken_apart(what, *pair)]
        cell, params = (cell,), (params,)
    if type(params) is not tuple or len(params) != len(cell):
        raise InputError(f"{what}: expected a tuple of {len(cell)} params, one for each cell; got {type(params)}")
    for one, own in zip(cell, params, strict=True):
        check_is_cell(what, one)
        for direction in own if isinstance(own, Bidirectional) else (own,):
            check_params(what, one.params_type, direction)
    return list(zip(cell, params, strict=True))


def single(what: str, cell: Any, params: Params) -> Found:
    """Return a single unidirectional layer unchanged.

    Raises:
      InputError: if it is several layers, or bidirectional.
    """
    found = taken_apart(what, cell, params)
    if len(found) > 1 or isinstance(found[0][1], Bidirectional):
        raise InputError(f"{what}: this library has single layers in one direction only; convert each by itself")
    return found[0]


def written(what: str, layouts: Mapping[str, Layout], cell: Cell, params: Params) -> tuple[str, dict[str, Array]]:
    """Return the name of the layout, and our layer's arrays as a library stores them.

    Raises:
      InputError: if the library has no such layer.
    """
    for name, form in layouts.items():
        # compared by value: a variant of a cell, such as one with another activation, finds no layout
        if form.cell == cell:
            return name, form.write(params)
    raise InputError(f"{what}: there is no such layer as {cell.name}; there are: {', '.join(layouts)}")


def must_be_zero(what: str, why: str, *arrays: Array) -> None:
    """Refuse nonzero arrays, with the reason `why`; traced arrays have no value and pass."""
    for a in arrays:
        if not isinstance(a, jax.core.Tracer) and np.any(np.asarray(a)):
            raise InputError(f"{what}: {why}, and here it is not zero")


def forget(b: Array, by: float) -> Array:
    """Return ``b [4H]``, blocks i f g o, with `by` added to the forget gate's: some libraries add 1 at run time."""
    H = b.shape[0] // 4
    return b.at[H : 2 * H].add(by)


def conv_lstm_layout(library: str, ih: str, hh: str, kernel: str, bias: str) -> Layout:
    """Return the layout of flax's and haiku's convolutional LSTM: i g f o, two biases, 1 added to f, no peepholes."""
    W, U, b, second = f"{ih}/{kernel}", f"{hh}/{kernel}", f"{ih}/{bias}", f"{hh}/{bias}"

    def read(a: Arrays) -> Params:
        # the equations only add the two biases
        both = permute(a[b] + a[second], "igfo", "ifgo")
        w, u = (permute(a[name], "igfo", "ifgo") for name in (W, U))
        # p [3H]: peepholes of i, f and o
        return ConvLSTMParams(w, u, forget(both, 1.0), jnp.zeros_like(both[: both.shape[0] // 4 * 3]))

    def write(p: ConvLSTMParams) -> dict[str, Array]:
        must_be_zero(f"to_{library}", "there are no peepholes to hold p", p.p)
        # -1, since their cell adds 1 to f at run time
        arrays = {W: p.W, U: p.U, b: forget(p.b, -1.0), second: jnp.zeros_like(p.b)}
        return {name: permute(a, "ifgo", "igfo") for name, a in arrays.items()}

    return Layout(conv_lstm, {W: "R C D 4H", U: "R C H 4H", b: "4H?", second: "4H?"}, read, write)


def permute(a: Array, given: str, wanted: str) -> Array:
    """Return the blocks of the last axis reordered from `given` to `wanted`.

    Example:
      >>> permute(jnp.arange(6), "zrn", "rzn").tolist()
      [2, 3, 0, 1, 4, 5]
    """
    parts = dict(zip(given, jnp.split(a, len(given), axis=-1), strict=True))
    return jnp.concatenate([parts[letter] for letter in wanted], axis=-1)
