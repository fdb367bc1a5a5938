"""Our cells as modules of flax.nnx."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxseq.cells import Cell
from jaxseq.interop.layers import common
from jaxseq.interop.layers.common import Options
from jaxseq.notation import Carry, Params, Tree


class NnxCell(nnx.RNNCellBase):
    """A jaxseq cell as a flax.nnx.RNNCellBase; see `jaxseq.interop.flax.as_nnx`.

    Attributes:
      params: the cell's parameters, each an nnx.Param: ``layer.params.W``.
    """

    def __init__(
        self,
        cell: Cell,
        options: Options,
        in_features: int,
        hidden_features: Any,
        *,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        # a Cell is a NamedTuple of functions: nnx must not look for arrays in it
        self.cell = nnx.static(cell)
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.dtype = dtype
        self.param_dtype = param_dtype
        made = common.draw(cell, options, rngs.params(), in_features, hidden_features, param_dtype)
        # each leaf its own Param, so that filters, optimizers and checkpoints of nnx see W, U and b
        self.params = nnx.data(jax.tree.map(nnx.Param, made))

    def __call__(self, carry: Carry, inputs: Tree) -> tuple[Carry, Tree]:
        """Take one step: ``(carry, inputs [B, D]) -> (carry, out [B, H])``."""
        return common.step(self.cell, common.cast(self.to_params(), self.dtype), carry, common.cast(inputs, self.dtype))

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None) -> Carry:
        """Return the initial carry for inputs of shape ``(*batch, D)``.

        With `carry_init`, a JAX initializer, each of its arrays is drawn by that with keys from ``rngs``.
        """
        carry = common.start(self.cell, common.cast(self.to_params(), self.dtype), tuple(input_shape[:-1]))
        if carry_init is None:
            return carry
        # Rngs have a stream for each purpose; a single stream is used unchanged
        stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
        return jax.tree.map(lambda a: carry_init(stream(), a.shape, a.dtype), carry)

    @property
    def num_feature_axes(self) -> int:
        """The number of non-batch axes of an input: spatial axes and features."""
        return 1 + self.cell.spatial

    def to_params(self) -> Params:
        """Return the parameters as arrays in the cell's NamedTuple."""
        return jax.tree.map(lambda p: p[...], self.params, is_leaf=lambda p: isinstance(p, nnx.Variable))
