"""Our cells as modules of flax.linen."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen

from jaxseq.cells import Cell
from jaxseq.interop.common import flat, nested
from jaxseq.interop.layers import common
from jaxseq.interop.layers.common import Options
from jaxseq.notation import Carry, Key, Params, Tree


class LinenCell(linen.RNNCellBase):
    """A jaxseq cell as a flax.linen.RNNCellBase; `jaxseq.interop.flax.as_linen` makes a class for each cell.

    Attributes:
      features: hidden size H; for a stack a tuple of sizes if they differ.
      dtype: dtype of the computation: inputs, carry and parameters are cast to it. By default nothing is cast.
      param_dtype: dtype of the parameters.
    """

    cell: ClassVar[Cell]
    options: ClassVar[Options]
    outlines: ClassVar[dict[Any, Params]]
    features: Any
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @linen.compact
    def __call__(self, carry: Carry, inputs: Tree) -> tuple[Carry, Tree]:
        """Take one step: ``(carry, inputs [B, D]) -> (carry, out [B, H])``."""
        like = self._outline(common.input_size(inputs))
        shapes = nested(common.by_name(like))
        made: dict[str, Any] = {}
        # parameters are drawn only in init; in apply they must exist
        if self.is_mutable_collection("params") and not all(self.has_variable("params", name) for name in shapes):
            # one key for all: parameters that a cell draws together, such as a period and a shift within it, depend on
            # # each other
            made = nested(common.by_name(self._draw(self.make_rng("params"), common.input_size(inputs))))

        def first(_: Key, name: str) -> Tree:
            # for existing parameters flax only checks the shapes
            return made[name] if made else jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes[name])

        arrays = flat({name: self.param(name, first, name) for name in shapes})
        params = common.cast(common.from_names(like, arrays), self.dtype)
        return common.step(self.cell, params, carry, common.cast(inputs, self.dtype))

    @linen.nowrap
    def initialize_carry(self, rng: Key, input_shape: tuple[int, ...]) -> Carry:
        """Return the initial carry for inputs of shape ``(*batch, D)``.

        If it depends on parameters (gru_d's contains its mean), a bound module uses its own, as within nn.RNN; an
        unbound one draws new ones from `rng`.
        """
        names = nested(common.by_name(self._outline(input_shape[-1])))
        if self.scope is not None and all(self.has_variable("params", name) for name in names):
            params = self.to_params({name: self.get_variable("params", name) for name in names})
        else:
            params = self._draw(rng, input_shape[-1])
        return common.start(self.cell, common.cast(params, self.dtype), tuple(input_shape[:-1]))

    @linen.nowrap
    def to_params(self, arrays: Mapping[str, Any]) -> Params:
        """Return the cell's parameters as its NamedTuple, from this module's part of the collection."""
        return common.from_names(self._outline(1), flat(arrays))  # the structure is the same for any input size

    @linen.nowrap
    def _outline(self, input_size: int) -> Params:
        sizes = (input_size, self.features, self.param_dtype)
        # on the class, so that init is not traced again for each module
        if sizes not in self.outlines:
            self.outlines[sizes] = common.outline(self.cell, self.options, *sizes)
        return self.outlines[sizes]

    @linen.nowrap
    def _draw(self, key: Key, input_size: int) -> Params:
        return common.draw(self.cell, self.options, key, input_size, self.features, self.param_dtype)

    @property
    def num_feature_axes(self) -> int:
        """The number of non-batch axes of an input: spatial axes and features."""
        return 1 + self.cell.spatial


_CLASSES: weakref.WeakValueDictionary[Any, type[LinenCell]] = weakref.WeakValueDictionary()
"""Cached classes. Modules of one class can be equal, so a compiled function that takes one is found again."""


def linen_class(cell: Cell, options: Options) -> type[LinenCell]:
    """Return the class of a cell's modules; equal arguments return the same class."""
    try:
        found = _CLASSES.get((cell, options))
    except TypeError:  # an unhashable option, such as an array
        return _new_class(cell, options)
    if found is None:
        found = _CLASSES[cell, options] = _new_class(cell, options)
    return found


def _new_class(cell: Cell, options: Options) -> type[LinenCell]:
    fields: dict[str, Any] = {"cell": cell, "options": options, "outlines": {}}
    fields |= {"__module__": __name__, "__doc__": LinenCell.__doc__}
    return type(common.identifier(cell), (LinenCell,), fields)
