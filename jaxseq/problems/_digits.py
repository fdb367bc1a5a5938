"""Digits as streams of pixels: a drawn figure, read row by row, is named at the end."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.errors import InputError
from jaxseq.losses import cross_entropy
from jaxseq.notation import Array, Key
from jaxseq.problems._base import Batch, Problem, likeliest, step_numbers

FIGURES = (
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00010 00100 01000 11111",
    "11111 00010 00100 00010 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)
"""Our own bitmaps of the ten digits, seven rows of five points each."""


@functools.cache
def digits(side: int = 16, noise: float = 0.1) -> Problem:
    """Return the problem of naming a digit whose ``side * side`` pixels come one at a time.

    A digit of 5 x 7 points is drawn at a random position, with random width and height from half of the picture to all
    of it, and Gaussian noise of standard deviation `noise` on each pixel. T is ``side ** 2``; only the last step is
    scored. It has the form of the sequential MNIST of Le, Jaitly & Hinton 2015 (arXiv:1504.00941, section 4.2) and
    needs no data.

    Raises:
      InputError: if the side is below 8, or the noise below 0.

    Example:
      >>> batch = digits(8).draw(jax.random.key(0), 2)
      >>> batch.xs.shape, bool(batch.scored[-1].all()), int(batch.scored.sum())
      ((64, 2, 1), True, 2)
    """
    if side < 8 or noise < 0:
        raise InputError(f"digits: expected a side of at least 8 and noise of 0 or more; got {side} and {noise}")
    figures = np.array([[[int(point) for point in row] for row in figure.split()] for figure in FIGURES], np.float32)

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        kdigit, ksize, kplace, knoise = jax.random.split(key, 4)
        digit = jax.random.randint(kdigit, (batch,), 0, 10)
        size = jax.random.uniform(ksize, (batch, 2), dtype, side / 2, side)  # height and width, in pixels
        corner = jax.random.uniform(kplace, (batch, 2), dtype) * (side - size)
        pixel = jnp.arange(side, dtype=dtype) + jnp.asarray(0.5, dtype)
        # each pixel shows the point of the digit that it lies on; outside the digit it is dark
        rows, columns = (_points(pixel, corner[:, k], size[:, k], n) for k, n in ((0, 7), (1, 5)))
        picture = jnp.asarray(figures, dtype)[digit[:, None, None], rows[:, :, None], columns[:, None, :]]
        inside = (rows >= 0)[:, :, None] & (columns >= 0)[:, None, :]
        picture = jnp.where(inside, picture, jnp.zeros_like(picture))
        picture += jnp.asarray(noise, dtype) * jax.random.normal(knoise, picture.shape, dtype)
        xs = jnp.moveaxis(picture.reshape(batch, side * side), 0, 1)[..., None]
        scored = step_numbers(side * side, batch) == side * side - 1
        targets = jnp.where(scored, digit, jnp.zeros_like(digit))
        return Batch(xs, targets, jnp.ones_like(scored), scored)

    name = f"digits(side={side}, noise={noise})"
    return Problem(name, 1, 10, side * side, draw, cross_entropy, likeliest, math.log(10), reference="ours")


def _points(pixel: Array, corner: Array, size: Array, points: int) -> Array:
    """Return the digit's point that each pixel lies on along one axis, int ``[B, side]``; -1 outside the digit."""
    place = (pixel[None, :] - corner[:, None]) / size[:, None] * points
    number = jnp.floor(place).astype(jnp.int32)
    return jnp.where((number >= 0) & (number < points), number, -jnp.ones_like(number))
