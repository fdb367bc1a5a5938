"""The affine layer ``x W + b``: a NamedTuple of parameters that can be called."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxseq.cells import affine
from jaxseq.initializers import Initializer, glorot, zeros
from jaxseq.notation import Array, Key


class Affine(NamedTuple):
    """Parameters ``W [D, N]`` and ``b [N]`` of ``x W + b``."""

    W: Array
    b: Array

    @staticmethod
    def init(key: Key, inputs: int, outputs: int, dtype: Any, kernel: Initializer = glorot) -> Affine:
        """Return weights drawn by `kernel` and a bias of zeros. Consumes `key`."""
        return Affine(kernel(key, (inputs, outputs), dtype), zeros(key, (outputs,), dtype))

    def __call__(self, x: Array) -> Array:
        """Return ``x W + b``."""
        return affine(x, self.W, self.b)
