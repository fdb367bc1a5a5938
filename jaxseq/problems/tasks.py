"""Small tasks that ask for memory, drawn without end: copy, reverse, adding, counting, and time that is warped.

A `Task` is a value of pure functions, made by a function of its sizes; the same sizes give the same value, so that what
is compiled for it is found again. Steps that tell nothing about memory are not scored: a cell that remembers comes to a
loss of 0, one that does not stays at `Task.baseline`.
"""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseq.errors import InputError
from jaxseq.losses import cross_entropy, masked_mean
from jaxseq.notation import Array, Key


class Batch(NamedTuple):
    """Sequences and what is asked of them.

    Fields:
      xs: ``[T, B, D]``; one-hot where the task has symbols.
      targets: ``[T, B]``, numbers of symbols, or real numbers; 0 where not scored.
      mask: bool ``[T, B]``, True where a step is real.
      scored: bool ``[T, B]``, True where the output counts.
    """

    xs: Array
    targets: Array
    mask: Array
    scored: Array


class Task(NamedTuple):
    """A task, to train any cell on.

    Fields:
      name: with its sizes.
      input_size: D.
      output_size: what must be read out of a cell's output: one logit for each symbol, or one number.
      length: T.
      draw: ``(key, batch, dtype=float32) -> Batch`` of `batch` rows; consumes `key`.
      losses: ``(outputs [T, B, O], targets) -> [T, B]``: cross-entropy in nats, or the squared error.
      right: ``(outputs, targets) -> bool [T, B]``: the likeliest symbol is the target, or the error is below 0.04.
      baseline: the mean loss at the scored steps of the best output that does not look back.
      symbols: names of the inputs, one character each; empty where an input is a number.
      reference: who asked it first.
    """

    name: str
    input_size: int
    output_size: int
    length: int
    draw: Callable[..., Batch]
    losses: Callable[[Array, Array], Array]
    right: Callable[[Array, Array], Array]
    baseline: float
    symbols: str = ""
    reference: str = ""

    def loss(self, outputs: Array, batch: Batch) -> Array:
        """Return the mean of the losses over the scored steps of all rows."""
        return masked_mean(self.losses(outputs, batch.targets), batch.scored)

    def accuracy(self, outputs: Array, batch: Batch) -> Array:
        """Return the share of scored steps that are right."""
        right = self.right(outputs, batch.targets) & batch.scored
        return right.sum().astype(outputs.dtype) / jnp.maximum(batch.scored.sum(), 1).astype(outputs.dtype)

    def solved(self, outputs: Array, batch: Batch) -> Array:
        """Return bool ``[B]``: every scored step of the row is right."""
        return (self.right(outputs, batch.targets) | ~batch.scored).all(0)


@functools.cache
def copy(lag: int, length: int = 10, symbols: int = 8) -> Task:
    """Return the copy task: see `length` symbols, wait for `lag` steps, then say them again in their order.

    The last of the waiting steps shows a mark; T is ``lag + 2 * length``. Only what is said after the mark is scored,
    and a guess costs ``ln(symbols)`` there. (Arjovsky et al. average over all T steps, which are blank before, and get
    ``10 ln(8) / (lag + 20)``.)

    Reference: Hochreiter & Schmidhuber 1997; in this form Arjovsky, Shah & Bengio 2016, arXiv:1511.06464, section 4.1.

    Example:
      >>> task = copy(5, length=3)
      >>> batch = task.draw(jax.random.key(0), 2)
      >>> batch.xs.shape, bool((batch.xs[:3].argmax(-1) == batch.targets[-3:]).all())
      ((11, 2, 10), True)
    """
    _at_least_one("copy", lag=lag, length=length, symbols=symbols)
    blank, mark = symbols, symbols + 1
    T = lag + 2 * length

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        word = jax.random.randint(key, (length, batch), 0, symbols)
        seen = jnp.full((T, batch), blank, word.dtype).at[:length].set(word).at[length + lag - 1].set(mark)
        said = jnp.zeros_like(seen).at[length + lag :].set(word)
        return _batch(seen, symbols + 2, said, _steps(T, batch) >= length + lag, dtype)

    name = f"copy(lag={lag}, length={length}, symbols={symbols})"
    return _of_symbols(
        name, T, draw, _letters(symbols) + "_|", symbols, math.log(symbols),
        "Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016, arXiv:1511.06464",
    )  # fmt: skip


@functools.cache
def reverse(length: int, symbols: int = 8) -> Task:
    """Return the reversal task: see `length` symbols, then say them again, the last one first.

    T is ``2 * length``; the second half shows blanks, and is scored. The last symbol must be kept for one step, the
    first for ``2 * length - 1``.

    Example:
      >>> batch = reverse(3).draw(jax.random.key(0), 2)
      >>> bool((batch.xs[:3].argmax(-1)[::-1] == batch.targets[3:]).all())
      True
    """
    _at_least_one("reverse", length=length, symbols=symbols)
    T = 2 * length

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        word = jax.random.randint(key, (length, batch), 0, symbols)
        seen = jnp.full((T, batch), symbols, word.dtype).at[:length].set(word)
        said = jnp.zeros_like(seen).at[length:].set(word[::-1])
        return _batch(seen, symbols + 1, said, _steps(T, batch) >= length, dtype)

    name = f"reverse(length={length}, symbols={symbols})"
    return _of_symbols(name, T, draw, _letters(symbols) + "_", symbols, math.log(symbols), "")


@functools.cache
def adding(length: int) -> Task:
    """Return the adding task: of `length` numbers in [0, 1], two are marked; say their sum after the last step.

    One mark is in the first half and one in the second. Always saying 1 costs a squared error of 1/6.

    Reference: Hochreiter & Schmidhuber 1997, section 5.4; in this form Le, Jaitly & Hinton 2015, arXiv:1504.00941,
    section 4.1. An answer is right within 0.04, as in the former.

    Example:
      >>> batch = adding(6).draw(jax.random.key(0), 2)
      >>> batch.xs[..., 1].sum(0).tolist(), bool(jnp.allclose(batch.xs.prod(-1).sum(0), batch.targets[-1]))
      ([2.0, 2.0], True)
    """
    if length < 2:
        raise InputError(f"adding: length must be at least 2, one number for each mark; got {length}")

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        of_numbers, first, second = jax.random.split(key, 3)
        half = length // 2
        numbers = jax.random.uniform(of_numbers, (length, batch), dtype)
        early = jax.random.randint(first, (batch,), 0, half)
        late = jax.random.randint(second, (batch,), half, length)
        steps = _steps(length, batch).astype(early.dtype)
        marks = ((steps == _rows(early, steps)) | (steps == _rows(late, steps))).astype(dtype)
        last = _steps(length, batch) == length - 1
        targets = jnp.where(last, _rows((numbers * marks).sum(0), marks), jnp.zeros_like(marks))
        return Batch(jnp.stack([numbers, marks], -1), targets, jnp.ones_like(last), last)

    def errors(outputs: Array, targets: Array) -> Array:
        return (outputs[..., 0] - targets) ** 2

    return Task(
        f"adding(length={length})", 2, 1, length, draw, errors, _near, 1 / 6,
        reference="Hochreiter & Schmidhuber 1997, section 5.4; Le, Jaitly & Hinton 2015, arXiv:1504.00941",
    )  # fmt: skip


@functools.cache
def anbn(largest: int, smallest: int = 1, letters: int = 2) -> Task:
    """Return the counting task: see ``a^n b^n`` with n from smallest to largest, and foretell each next letter.

    From the first b on the next letter, or the end, follows from what was seen, and only those steps are scored. With
    ``letters=3`` the words are ``a^n b^n c^n``. `words` makes those of given n, `balance` counts a minus b.

    Reference: Gers & Schmidhuber 2001, "LSTM recurrent networks learn simple context-free and context-sensitive
    languages"; Weiss, Goldberg & Yahav 2018, arXiv:1805.04908.

    Example:
      >>> task = anbn(9)
      >>> batch = task.draw(jax.random.key(0), 4)
      >>> task.symbols, batch.xs.shape, bool((batch.xs[..., 0].sum(0) == batch.xs[..., 1].sum(0)).all())
      ('ab', (18, 4, 2), True)
    """
    _at_least_one("anbn", largest=largest, smallest=smallest)
    if letters < 2:
        raise InputError(f"anbn: letters must be at least 2, a and b; got {letters}")
    if smallest > largest:
        raise InputError(f"anbn: smallest must be at most largest, {largest}; got {smallest}")

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        n = jax.random.randint(key, (batch,), smallest, largest + 1)
        return words(n, largest, letters, dtype)

    change = 2 / (smallest + largest)  # how often the next letter is another, of all scored steps
    guess = -change * math.log(change) - ((1 - change) * math.log(1 - change) if change < 1 else 0)
    name = f"anbn(largest={largest}, smallest={smallest}, letters={letters})"
    return _of_symbols(
        name, letters * largest, draw, _letters(letters), letters + 1, guess,
        "Gers & Schmidhuber 2001; Weiss, Goldberg & Yahav 2018, arXiv:1805.04908",
    )  # fmt: skip


def words(n: Array, largest: int, letters: int = 2, dtype: Any = jnp.float32) -> Batch:
    """Return the words ``a^n b^n ...`` of given ``n [B]``, padded to that of `largest`; targets as in `anbn`.

    Example:
      >>> batch = words(jnp.array([1, 2]), 2)
      >>> batch.xs.argmax(-1)[:, 1].tolist(), batch.targets[:, 1].tolist(), batch.scored[:, 1].tolist()
      ([0, 0, 1, 1], [0, 0, 1, 2], [False, False, True, True])
    """
    n = jnp.asarray(n)
    t = _steps(letters * largest, n.shape[0]).astype(n.dtype)
    n = _rows(n, t)
    real = t < letters * n
    return _batch(jnp.minimum(t // n, letters - 1), letters, (t + 1) // n, (t >= n) & real, dtype, real)


def balance(batch: Batch) -> Array:
    """Return how many a were seen more than b after each step, ``[T, B]``: what a cell that counts must hold.

    Example:
      >>> balance(words(jnp.array([2]), 2))[:, 0].tolist()
      [1.0, 2.0, 1.0, 0.0]
    """
    real = jnp.where(batch.mask, batch.xs[..., 0] - batch.xs[..., 1], jnp.zeros_like(batch.xs[..., 0]))
    return jnp.cumsum(real, axis=0)


@functools.cache
def warped(length: int, longest: int, symbols: int = 10, uniform: bool = False) -> Task:
    """Return the task of warped time: each symbol lasts for 1 to `longest` steps; say the one before the present one.

    With `uniform` each lasts for `longest` steps. The next may be the same symbol again. T is `length`.

    Reference: Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", arXiv:1804.11188, section 3.

    Example:
      >>> batch = warped(6, 2, uniform=True).draw(jax.random.key(0), 1)
      >>> seen = batch.xs[:, 0].argmax(-1)
      >>> bool((batch.targets[2:, 0] == seen[:-2]).all()), batch.scored[:, 0].tolist()
      (True, [False, False, True, True, True, True])
    """
    _at_least_one("warped", length=length, longest=longest, symbols=symbols)

    def draw(key: Key, batch: int, dtype: Any = jnp.float32) -> Batch:
        of_symbols, of_times = jax.random.split(key)
        text = jax.random.randint(of_symbols, (length, batch), 0, symbols)
        lasts = jax.random.randint(of_times, (length, batch), longest if uniform else 1, longest + 1)
        ends = jnp.cumsum(lasts, axis=0)
        now = jax.vmap(lambda ends: jnp.searchsorted(ends, jnp.arange(length), side="right"), 1, 1)(ends)
        seen = jnp.take_along_axis(text, now, 0)
        before = jnp.take_along_axis(text, jnp.maximum(now - 1, 0), 0)
        return _batch(seen, symbols, before, now > 0, dtype)

    name = f"warped(length={length}, longest={longest}, symbols={symbols}, uniform={uniform})"
    return _of_symbols(
        name, length, draw, _letters(symbols), symbols, math.log(symbols), "Tallec & Ollivier 2018, arXiv:1804.11188"
    )


TASKS: dict[str, Callable[..., Task]] = {
    "copy": copy,
    "reverse": reverse,
    "adding": adding,
    "anbn": anbn,
    "warped": warped,
}
"""By name; each is called with its sizes."""


def _of_symbols(
    name: str, T: int, draw: Callable[..., Batch], symbols: str, outputs: int, baseline: float, reference: str
) -> Task:
    return Task(name, len(symbols), outputs, T, draw, cross_entropy, _likeliest, baseline, symbols, reference)


def _batch(seen: Array, size: int, said: Array, scored: Array, dtype: Any, real: Array | None = None) -> Batch:
    real = jnp.ones_like(scored) if real is None else real
    said = jnp.where(scored, said, jnp.zeros_like(said))
    seen = jnp.where(real, seen, jnp.full_like(seen, -1))  # of which one_hot makes zeros
    return Batch(jax.nn.one_hot(seen, size, dtype=dtype), said, real, scored)


def _likeliest(outputs: Array, targets: Array) -> Array:
    return outputs.argmax(-1).astype(targets.dtype) == targets


def _near(outputs: Array, targets: Array) -> Array:
    return jnp.abs(outputs[..., 0] - targets) < 0.04


def _steps(T: int, batch: int) -> Array:
    """Return the number of each step, ``[T, B]``."""
    return jnp.broadcast_to(jnp.arange(T)[:, None], (T, batch))


def _rows(a: Array, like: Array) -> Array:
    """Return ``a [B]`` at every step of ``like [T, B]``."""
    return jnp.broadcast_to(a, like.shape)


def _letters(count: int) -> str:
    """Return so many different characters."""
    few = string.ascii_lowercase + string.ascii_uppercase + string.digits
    return few[:count] if count <= len(few) else "".join(chr(0x4E00 + k) for k in range(count))


def _at_least_one(task: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{task}: {name} must be at least 1; got {size}")
