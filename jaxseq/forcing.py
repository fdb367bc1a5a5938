"""Teacher forcing as data: which decoder steps are fed the true previous token, and the schedule of how often."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Key

Schedule = Callable[[Array], Array]
"""``step -> probability`` of feeding the target's token, both scalars."""


def schedule(kind: str, start: float = 1.0, end: float = 0.0, steps: int = 1) -> Schedule:
    """Return the probability of teacher forcing as a function of the training step.

    ``constant``: `start` throughout. ``linear``: from `start` to `end` over `steps`, then `end`. ``inverse-sigmoid``:
    ``k / (k + exp(step / k))`` scaled to fall from `start` to `end`, with k such that it is halfway at `steps` / 2.

    Reference: Bengio et al. 2015, "Scheduled sampling for sequence prediction with recurrent neural networks",
    arXiv:1506.03099, section 2.4.

    Raises:
      InputError: for an unknown kind, a probability outside [0, 1] or steps below 1.

    Example:
      >>> p = schedule("linear", 1.0, 0.5, steps=100)
      >>> float(p(jnp.int32(0))), float(p(jnp.int32(50))), float(p(jnp.int32(1000)))
      (1.0, 0.75, 0.5)
    """
    if not (0 <= start <= 1 and 0 <= end <= 1):
        raise InputError(f"teacher forcing: probabilities must be in [0, 1]; got start {start}, end {end}")
    if steps < 1:
        raise InputError(f"teacher forcing: the schedule must last at least 1 step; got {steps}")

    def fall(share: Callable[[Array], Array]) -> Schedule:
        return lambda step: end + (start - end) * share(step.astype(jnp.float32))

    k = _rate(max(steps / 2, 3.0))
    return choose(
        "teacher forcing schedule",
        kind,
        {
            "constant": fall(jnp.ones_like),
            "linear": fall(lambda s: jnp.clip(1 - s / steps, 0, 1)),
            "inverse-sigmoid": fall(lambda s: k / (k + jnp.exp(jnp.minimum(s / k, 80.0)))),
        },
    )


def _rate(half: float) -> float:
    """Return the k for which ``k / (k + exp(s / k))`` is 1/2 at s = half: the root of ``k ln k = half``."""
    k = half
    for _ in range(50):  # Newton's method: the function is convex and increasing, so it converges from above
        k -= (k * math.log(k) - half) / (math.log(k) + 1)
    return k


def draw(key: Key, probability: Array, shape: tuple[int, ...], per: str = "step") -> Array:
    """Return bool ``[T, B]``, True where the true token is fed: drawn for each ``step`` or once per ``sequence``.

    Consumes `key`. `shape` is ``(T, B)``.

    Raises:
      InputError: if `per` is neither "step" nor "sequence".

    Example:
      >>> draw(jax.random.key(0), jnp.float32(1.0), (3, 2)).tolist()
      [[True, True], [True, True], [True, True]]
    """
    T, B = shape
    rows = choose("teacher forcing unit", per, {"step": T, "sequence": 1})
    return jnp.broadcast_to(jax.random.bernoulli(key, probability, (rows, B)), (T, B))
