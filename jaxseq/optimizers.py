"""Optimizers and learning rate schedules by name, and a learning rate that drops on a plateau."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Params, Tree

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adabelief": optax.adabelief,
    "adagrad": optax.adagrad,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "lamb": optax.lamb,
    "lion": optax.lion,
    "momentum": partial(optax.sgd, momentum=0.9),
    "nadam": optax.nadam,
    "nadamw": optax.nadamw,
    "nesterov": partial(optax.sgd, momentum=0.9, nesterov=True),
    "radam": optax.radam,
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
}
"""Each is called with a learning rate: a number or a function of the step."""
DECAYING = ("adamw", "lamb", "lion", "nadamw")
"""Optimizers with built-in weight decay, decoupled from the gradient (Loshchilov & Hutter 2019,
arXiv:1711.05101)."""


def _inverse_sqrt(rate: float, warmup: int, steps: int) -> optax.Schedule:
    """Return equation 3 of Vaswani et al. 2017, arXiv:1706.03762, scaled to be `rate` at the end of the warm-up."""
    rise = max(warmup, 1)

    def schedule(count: Any) -> Any:
        step = jnp.asarray(count + 1, jnp.float32)  # the paper's first step is 1
        return rate * jnp.minimum(step / rise, jnp.sqrt(rise / step))

    return schedule


def _constant(rate: float, warmup: int, steps: int) -> optax.Schedule:
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), optax.constant_schedule(rate)], [warmup])


def _cosine(rate: float, warmup: int, steps: int) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, max(steps, warmup + 1), rate / 100)


SCHEDULES: dict[str, Callable[[float, int, int], optax.Schedule]] = {
    "constant": _constant,
    "cosine": _cosine,
    "inverse-sqrt": _inverse_sqrt,
    "plateau": _constant,
}
"""Each is called with the peak rate, the warm-up steps and the total steps. ``plateau`` is constant here; `on_plateau`
lowers the scale by which the optimizer multiplies it."""
DEPENDS_ON_STEPS = ("cosine",)
"""Schedules that depend on the total number of steps from the first step on."""


class Scaled(NamedTuple):
    """The state of `scaled`: the factor of every update, float32 ``[]``."""

    plateau_scale: Array


def scaled() -> optax.GradientTransformation:
    """Return a transformation that multiplies updates by the scale in its state, 1 until `rescaled` changes it."""

    def init(params: Params) -> Scaled:
        return Scaled(jnp.ones((), jnp.float32))

    def update(updates: Tree, state: Scaled, params: Params = None) -> tuple[Tree, Scaled]:
        return jax.tree.map(lambda u: state.plateau_scale.astype(u.dtype) * u, updates), state

    return optax.GradientTransformation(init, update)


def rescaled(opt_state: Tree, factor: float) -> Tree:
    """Return an optimizer's state with the scale of `scaled` multiplied by `factor`."""
    return optax.tree.set(opt_state, plateau_scale=scale_of(opt_state) * jnp.asarray(factor, jnp.float32))


def scale_of(opt_state: Tree) -> Array:
    """Return the scale of `scaled` in an optimizer's state, float32 ``[]``, or 1 without one."""
    return optax.tree.get(opt_state, "plateau_scale", jnp.ones((), jnp.float32))


def matrices(params: Params) -> Tree:
    """Return True for each parameter to decay: those with two or more axes, so no bias, gain or shift."""
    return jax.tree.map(lambda a: a.ndim >= 2, params)


def optimizer(
    name: str,
    rate: float,
    *,
    schedule: str = "constant",
    warmup: int = 0,
    steps: int = 1,
    clip: float = 0.0,
    weight_decay: float | None = None,
) -> optax.GradientTransformation:
    """Return an optax optimizer: clipping by global norm (0 for none), then `name`, at a rate that follows `schedule`.

    Args:
      name: one of `OPTIMIZERS`.
      rate: the peak learning rate.
      schedule: one of `SCHEDULES`.
      warmup: steps over which the rate rises from 0.
      steps: the total number of steps, which ``cosine`` needs.
      clip: the largest global gradient norm; 0 for no clipping.
      weight_decay: applied to `matrices`, by an optimizer in `DECAYING`; None for optax's default, which decays every
        parameter.

    Raises:
      InputError: for unknown names, a rate that is not a positive number, or weight decay that the optimizer lacks.

    Example:
      >>> step = optimizer("adam", 1e-3, schedule="cosine", warmup=50, steps=800, clip=1.0)
      >>> step.init({"w": jnp.zeros(2)}) is not None
      True
    """
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"learning rate: expected a number above 0, got {rate}; 0.001 is a good start for adam")
    build = choose("optimizer", name, OPTIMIZERS)
    if weight_decay is not None:
        check_decay(name, weight_decay)
        build = partial(build, weight_decay=weight_decay, mask=matrices)
    rates = choose("learning rate schedule", schedule, SCHEDULES)(rate, warmup, steps)
    constant = schedule in ("constant", "plateau") and warmup == 0
    # clip before the optimizer, whose moments then see clipped gradients
    parts = [optax.clip_by_global_norm(clip)] if clip else []
    parts.append(build(rate if constant else rates))
    if schedule == "plateau":
        parts.append(scaled())
    return optax.chain(*parts) if len(parts) > 1 else parts[0]


def check_decay(name: str, weight_decay: float) -> None:
    """Check that an optimizer can decay weights by this much.

    Raises:
      InputError: if the optimizer has no weight decay, or the value is negative or not finite.
    """
    if name not in DECAYING:
        raise InputError(
            f"weight decay: the optimizer {name} has none; expected one of {', '.join(DECAYING)}. adamw is adam with it"
        )
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise InputError(f"weight decay: expected a finite number, 0 or above; got {weight_decay}")


def on_plateau(patience: int, factor: float) -> Callable[[Tree, int], Tree]:
    """Return ``(opt_state, stale) -> opt_state``, which lowers the rate after each `patience` reports without progress.

    Args:
      patience: reports without improvement, counted by ``stale``, before the rate is multiplied by `factor`.
      factor: between 0 and 1.

    Example:
      >>> state = optimizer("sgd", 1.0, schedule="plateau").init({"w": jnp.zeros(2)})
      >>> lower = on_plateau(2, 0.5)
      >>> [float(scale_of(lower(state, stale))) for stale in (0, 1, 2, 3, 4)]
      [1.0, 1.0, 0.5, 1.0, 0.5]
    """

    def lower(opt_state: Tree, stale: int) -> Tree:
        return rescaled(opt_state, factor) if stale and stale % patience == 0 else opt_state

    return lower


def rate_at(schedule: optax.Schedule, opt_state: Tree, step: int) -> float:
    """Return the learning rate of the step after `step`, including the plateau's scale."""
    return float(schedule(step)) * float(scale_of(opt_state))
