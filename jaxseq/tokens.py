"""A check of token ids against the size of their vocabulary, where the ids are known."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxseq.errors import InputError


def check_tokens(name: str, tokens: Any, size: int) -> None:
    """Check that every token id is from 0 to ``size - 1``. Traced ids have no values yet, and pass.

    Raises:
      InputError: naming the first id out of range, its place, and the size.
    """
    if isinstance(tokens, jax.core.Tracer) or not isinstance(size, int):
        return
    if isinstance(tokens, jax.Array) and not tokens.is_fully_addressable:
        return  # sharded over processes: none has all of them
    ids = np.asarray(jax.device_get(tokens))
    wrong = (ids < 0) | (ids >= size)
    if wrong.any():
        place = tuple(map(int, np.unravel_index(np.argmax(wrong), wrong.shape)))
        raise InputError(
            f"{name}: a token id must be from 0 to {size - 1}, for a vocabulary of {size}; got {ids[place]} at "
            f"{list(place)}. Give unknown words and padding ids of their own"
        )
