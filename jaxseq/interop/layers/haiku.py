"""Our cells as cores of haiku."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import haiku
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.interop.layers import common
from jaxseq.interop.layers.common import Options
from jaxseq.notation import Carry, Params, Tree


class HaikuCore(haiku.RNNCore):
    """A jaxseq cell as a haiku.RNNCore; see `jaxseq.interop.haiku.as_haiku`."""

    def __init__(
        self,
        cell: Cell,
        options: Options,
        hidden_size: Any,
        *,
        input_shape: Sequence[int] | None = None,
        dtype: Any = jnp.float32,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name or common.identifier(cell))
        self.cell, self.options, self.hidden_size = cell, options, hidden_size
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self.dtype = dtype
        # by input size, which is known only with the first input
        self.outlines: dict[int, Params] = {}

    def __call__(self, inputs: Tree, prev_state: Carry) -> tuple[Tree, Carry]:
        """Take one step: ``(inputs [B, D], prev_state) -> (out [B, H], state)``."""
        state, out = common.step(self.cell, self._params(common.input_size(inputs)), prev_state, inputs)
        return out, state

    def initial_state(self, batch_size: int | None) -> Carry:
        """Return the initial state; a batch size of None means no batch axis.

        Raises:
          InputError: if the state depends on the input's shape or on parameters, and no `input_shape` was given.
        """
        batch = () if batch_size is None else (batch_size,)
        if self.input_shape is not None:
            params = self._params(self.input_shape[-1])
            return common.start(self.cell, params, (*batch, *self.input_shape[:-1]))
        # a state that does not depend on parameters can be made before there is an input
        if self.cell.spatial or not self._always_the_same():
            raise InputError(
                f"as_haiku({self.cell.name}): the first state depends on more than hidden_size, and haiku asks for it "
                "before there is an input; give input_shape, that of one input without batch axes, such as (D,)"
            )
        # then any parameters do, such as zeros
        return common.start(self.cell, self._filled(1, 0.0), batch)

    def _params(self, input_size: int) -> Params:
        like = self._outline(input_size)

        @functools.cache  # drawn once, and only if a parameter is missing: one key for all of them
        def made() -> dict[str, Any]:
            key = haiku.next_rng_key()
            return common.by_name(common.draw(self.cell, self.options, key, input_size, self.hidden_size, self.dtype))

        def parameter(name: str, a: Any) -> Any:
            # init is called only for a parameter that is missing
            return haiku.get_parameter(name, a.shape, a.dtype, init=lambda shape, dtype: made()[name])

        return common.from_names(like, {name: parameter(name, a) for name, a in common.by_name(like).items()})

    def _filled(self, input_size: int, value: float) -> Params:
        return jax.tree.map(lambda a: jnp.full(a.shape, value, a.dtype), self._outline(input_size))

    def _outline(self, input_size: int) -> Params:
        if input_size not in self.outlines:
            self.outlines[input_size] = common.outline(
                self.cell, self.options, input_size, self.hidden_size, self.dtype
            )
        return self.outlines[input_size]

    def _always_the_same(self) -> bool:
        """Return whether the initial state is the same for other parameters and another input size."""
        # array_equal needs concrete values, and haiku usually runs under jit
        with jax.ensure_compile_time_eval():
            small, large = (
                jax.tree.leaves(common.start(self.cell, self._filled(size, float(size)), ())) for size in (1, 2)
            )
            return all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(small, large, strict=True))
