"""The letters that every docstring, shape comment and error message of this package uses.

| letter | meaning                                                            |
|--------|--------------------------------------------------------------------|
| T      | time steps of a sequence; time is always the leading axis          |
| B      | batch; any number of leading axes, including none                  |
| D      | input features                                                     |
| H      | hidden units                                                       |
| G      | gates packed in one block: 4 in an LSTM, 3 in a GRU                |
| S      | source length of an encoder-decoder                                |
| A      | attention units                                                    |
| Q, K   | features of a query, features of a key (an encoder output)         |
| E      | embedding features                                                 |
| V      | vocabulary size                                                    |

A sequence is ``[T, B, D]``, a mask ``[T, B]`` (True where a step is real), a matrix maps from its first axis to its
second: ``x W`` with ``W [D, G*H]``, ``h U`` with ``U [H, G*H]``. Every function that walks over time returns
``(carry, outputs)`` in that order, as ``jax.lax.scan`` does.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
Key = jax.Array
"""A key of `jax.random.key`; a docstring says which function consumes it."""
Tree = Any
"""A pytree of arrays."""
Params = Any
"""A NamedTuple of arrays, or for a stack a tuple of these; Any, since the type depends on the cell."""
Carry = Any
"""A NamedTuple of arrays ``[B, ...]``, or for a stack a tuple of these. Most have a leaf ``h``; see `jaxseq cells`."""


def wide(dtype: Any) -> Any:
    """Return float32, or the given dtype if it is wider, for exact counts: bfloat16 counts only to 256."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def widened(a: Array) -> Array:
    """Return an array cast to `wide` of its dtype."""
    return a.astype(wide(a.dtype))
