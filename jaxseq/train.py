"""Training: jitted chunks of steps, and the loop around them that reports, validates, saves and stops; for any model.

A `Loss` selects the batch from the data, which stay on the device.
Randomness is ``fold_in(key(seed), step)`` and the data order a function of the seed (`jaxseq.order`), so that
`TrainState` and `Record` are all there is to save.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxseq.devices import ONE, Devices
from jaxseq.errors import InputError
from jaxseq.notation import Array, Key, Params, Tree, wide, widened
from jaxseq.optimizers import OPTIMIZERS as OPTIMIZERS, SCHEDULES as SCHEDULES, optimizer as optimizer
from jaxseq.records import (
    Listener as Listener,
    Metrics as Metrics,
    Record as Record,
    Since,
    judged_by_loss,
    remember,
)  # fmt: skip
from jaxseq.trees import leaves_by_path


class Loss(Protocol):
    """The loss of a model: ``(params, data, rows, key, step) -> (minimised, (reported, tokens))``."""

    def __call__(self, params: Params, data: Tree, rows: Array, key: Key, step: Array, /) -> tuple[Array, tuple]:
        """Return the loss of one batch.

        Args:
          params: of the model; the loss is differentiated with respect to them.
          data: the whole training set, on the device.
          rows: int ``[B]``, the rows of the data in the batch.
          key: consumed.
          step: int, the number of steps taken.

        Returns:
          ``(minimised [], (reported [], tokens []))``: the loss that is differentiated, the loss that reports show
          (without label smoothing, for example), and the number of tokens that it covers.
        """


class TrainState(NamedTuple):
    """Everything that training updates.

    Fields:
      params: the parameters whose gradient is taken.
      opt_state: the optimizer's state.
      step: the number of steps taken, int32 ``[]``.
      ema: the moving average of params, or None if training keeps none.
    """

    params: Params
    opt_state: Any
    step: Array
    ema: Params = None

    @property
    def validated(self) -> Params:
        """The parameters that are validated, saved and used: the moving average, or params without one."""
        return self.params if self.ema is None else self.ema

    @staticmethod
    def create(params: Params, optimizer: optax.GradientTransformation, *, ema: bool = False) -> TrainState:
        """Return the state before the first step; with `ema`, training keeps a moving average of the parameters.

        Raises:
          InputError: if two parameters are the same array, which a step that donates its state cannot take. (Each would
            also get its own gradient, so they would no longer be tied.)
        """
        names: dict[int, str] = {}
        for name, leaf in leaves_by_path(params).items():
            first = names.setdefault(id(leaf), name)
            if isinstance(leaf, jax.Array) and first != name:
                raise InputError(
                    f"TrainState.create: params{first} and params{name} are the same array. Keep one of them, and let "
                    "the model use it in both places; or give the other a copy, jnp.copy, to train them apart"
                )
        copy = jax.tree.map(jnp.copy, params) if ema else None  # a donated state must not contain an array twice
        return TrainState(params, optimizer.init(params), jnp.int32(0), copy)


class Steps(NamedTuple):
    """Measurements of each step of a chunk, ``[K]``: loss, global gradient norm before clipping, tokens.

    Loss and norm are ``[K, N]`` if N models are trained side by side.
    """

    loss: Array
    gradient_norm: Array
    tokens: Array


WARM = 6.94
"""The exponent of `averaged` for early steps: the average's window, the standard deviation of its weights over time, is
then a tenth of all steps so far (Karras et al. 2024, arXiv:2312.02696, section 3.1)."""


def averaged(ema: Params, params: Params, step: Array, decay: float) -> Params:
    """Return the moving average ``d ema + (1 - d) params`` with ``d = min(decay, (1 - 1 / step) ** (1 + 6.94))``.

    After the first step it equals the parameters; then it looks back over a tenth of the steps so far, until `decay` is
    the smaller. An average of all steps would include the model before it had learnt anything.

    Args:
      ema: the average so far.
      params: the parameters after the step.
      step: int ``[]``, the number of steps taken, this one included.
      decay: below 1, such as 0.999.
    """

    def one(old: Array, new: Array) -> Array:
        dtype = wide(old.dtype)
        now = jnp.minimum(jnp.asarray(decay, dtype), (1 - 1 / step.astype(dtype)) ** (1 + WARM))
        return (old.astype(dtype) + (1 - now) * (new.astype(dtype) - old.astype(dtype))).astype(old.dtype)

    return jax.tree.map(one, ema, params)


def chunk(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    ema: float = 0.0,
    accumulate: int = 1,
    by_tokens: bool = True,
    devices: Devices = ONE,
) -> jax.stages.Wrapped:
    """Return ``run(state, data, rows [K, B], key) -> (state, Steps)``, K train steps in one jit. Donates the state.

    Args:
      loss: of one batch.
      optimizer: from `jaxseq.optimizers.optimizer`, or any optax optimizer.
      ema: decay of the moving average, for a state that has one; see `averaged`.
      accumulate: parts that the B rows of a step are cut into and processed one after the other, to save memory.
      by_tokens: whether parts are weighted by their tokens, as they must be if the loss is a mean over tokens, or
        equally, as if it is a mean over rows.
      devices: the devices over which the rows of each step, or of each part, are sharded.
    """

    def spread(params: Params, data: Tree, rows: Array, key: Key, step: Array) -> tuple[Array, tuple]:
        return loss(params, data, devices.rows(rows), key, step)

    gradient = _gradient_in_parts(spread, accumulate, by_tokens)

    def run(state: TrainState, data: Tree, rows: Array, key: Key) -> tuple[TrainState, Steps]:
        def one(state: TrainState, rows: Array) -> tuple[TrainState, Steps]:
            step_key = jax.random.fold_in(key, state.step)
            grads, (reported, tokens) = gradient(state.params, data, rows, step_key, state.step)
            # all gradients before any update: otherwise XLA copies weights that it would update while they are still
            # read
            grads = lax.optimization_barrier(grads)
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params, step = optax.apply_updates(state.params, updates), state.step + 1
            average = None if state.ema is None else averaged(state.ema, params, step, ema)
            return TrainState(params, opt_state, step, average), Steps(
                reported, optax.tree.norm(jax.tree.map(widened, grads)), tokens
            )

        return lax.scan(one, state, rows)

    return devices.jit(run, donate_argnums=0)


def _gradient_in_parts(loss: Loss, parts: int, by_tokens: bool) -> Callable[..., tuple[Params, tuple[Array, Array]]]:
    """Return ``(params, data, rows, key, step) -> (gradient, (reported, tokens))`` of a batch, cut into parts."""
    of_params = jax.value_and_grad(loss, has_aux=True)

    def whole(params: Params, data: Tree, rows: Array, key: Key, step: Array) -> tuple[Params, tuple[Array, Array]]:
        (_, measured), grads = of_params(params, data, rows, key, step)
        return grads, measured

    def in_parts(params: Params, data: Tree, rows: Array, key: Key, step: Array) -> tuple[Params, tuple[Array, Array]]:
        def part(number: Array, rows: Array) -> tuple[tuple[Params, Array], Array, Array]:
            grads, (reported, tokens) = whole(params, data, rows, jax.random.fold_in(key, number), step)
            weight = tokens if by_tokens else jnp.ones_like(tokens)
            # a mean times its count: these add up to the sum over the whole batch
            return jax.tree.map(lambda a: a * weight.astype(a.dtype), (grads, reported)), weight, tokens

        def add(total: Tree, given: tuple[Array, Array]) -> tuple[Tree, None]:
            return jax.tree.map(jnp.add, total, part(*given)), None

        given = (jnp.arange(parts, dtype=jnp.int32), rows.reshape(parts, -1))
        first = jax.eval_shape(part, *jax.tree.map(lambda a: a[0], given))
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), first)
        (sums, weight, tokens), _ = lax.scan(add, zeros, given)
        grads, reported = jax.tree.map(lambda a: a / jnp.maximum(weight, 1).astype(a.dtype), sums)
        return grads, (reported, tokens)

    return whole if parts == 1 else in_parts


class NonFiniteError(InputError):
    """Loss, gradient or parameters became NaN or infinite; the last good checkpoint is kept."""


class Interrupted(Exception):  # noqa: N818, an ending and no error
    """The user pressed Ctrl-C; all steps so far are saved."""


Saves = Callable[[TrainState, Record, "Metrics | None", bool], None]
"""The function that `fit` calls to save: ``(state, record, metrics or None, whether it is the best so far)``."""


def fit(
    state: TrainState,
    run: Callable[[TrainState, int, np.ndarray], tuple[TrainState, Steps]],
    chunks: Iterator[tuple[int, np.ndarray]],
    *,
    steps: int,
    report_every: int,
    record: Record = Record(),  # noqa: B008, a NamedTuple never changes
    patience: int = 0,
    candidate: Callable[[TrainState], Params] = lambda state: state.validated,
    validate: Callable[[Params], float] | None = None,
    measure: Callable[[Metrics, TrainState, Params], Mapping[str, float]] = lambda *_: {},
    judge: Callable[[Metrics], float] = judged_by_loss,
    adapt: Callable[[Any, int], Any] = lambda opt_state, _: opt_state,
    save: Saves = lambda *_: None,
    listener: Listener = Listener(),  # noqa: B008, the silent one has no state
    agree: Callable[[bool], bool] = bool,
) -> tuple[TrainState, Record]:
    """Train until `steps`, or until `patience` reports (0: never) have gone by without a better loss.

    Args:
      state: where to start; donated.
      run: ``(state, bucket, rows) -> (state, Steps)``, from `chunk`.
      chunks: of rows, from `jaxseq.order.chunks`.
      steps: the total, including those in `state`.
      report_every: steps between reports; a report validates and saves.
      record: from an earlier part of this training.
      patience: reports without improvement before stopping.
      candidate: the parameters that a report validates; called once for each report.
      validate: returns the loss of params on held-out data.
      measure: ``(metrics, state, candidate) -> more numbers by name``, the metrics' field `more`.
      judge: returns the number of a report by which the best is chosen; lower is better.
      adapt: ``(opt_state, reports without improvement) -> opt_state`` after each report, as from
        `jaxseq.optimizers.on_plateau`.
      save: ``(state, record, metrics, is_best)``; metrics are None after Ctrl-C between two reports.
      listener: callbacks for training events.
      agree: whether to stop, given whether this process wants to; several processes must return the same. Called
        after each chunk.

    Raises:
      NonFiniteError: when loss, gradient, parameters or validation loss stop being finite; nothing is saved after that.
      Interrupted: after Ctrl-C or SIGTERM, once the chunk is finished and saved.
    """
    since, record = Since(record.pending), record._replace(pending=None)
    saved = int(state.step)
    with _polite_stop() as stop:
        while (done := int(state.step)) < steps and not (patience and record.stale >= patience):
            bucket, rows = next(chunks)
            begun = time.perf_counter()
            state, seen = run(state, bucket, rows)
            # one transfer for a chunk of steps: reading each loss separately would wait for the device each time
            seen = jax.device_get(seen)
            # before anything is saved, so the last good checkpoint is kept
            _check_finite(seen, done, saved)
            since.add(seen.loss, seen.gradient_norm, float(seen.tokens.sum()), time.perf_counter() - begun)
            done += len(rows)
            listener.advance(len(rows), float(seen.loss.mean()))
            stopping = agree(stop.is_set())
            between = done % report_every and done < steps
            if between and not stopping:
                continue
            _check_params(state, done, saved)
            if between:
                save(state, record._replace(pending=since.pending()), None, False)
            else:
                params, elapsed = candidate(state), record.elapsed + since.busy
                checked = validate(params) if validate else None
                if checked is not None and not np.isfinite(checked):
                    raise _diverged(f"after step {done} the validation loss is {checked}", saved)
                metrics = since.metrics(done, checked, elapsed)
                metrics = metrics._replace(more=measure(metrics, state, params))
                record, better = remember(record, judge(metrics), done, elapsed)
                state = state._replace(opt_state=adapt(state.opt_state, record.stale))
                save(state, record, metrics, better)
                listener.report(metrics)
                since, saved = Since(), done
            if stopping and done < steps:
                raise Interrupted(f"stopped at step {done} of {steps}")
    return state, record


def _check_finite(seen: Steps, done: int, saved: int) -> None:
    bad = ~(np.isfinite(seen.loss) & np.isfinite(seen.gradient_norm))
    if bad.any():
        first = int(np.argmax(bad.reshape(len(bad), -1).any(1)))
        raise _diverged(
            f"at step {done + first + 1} the loss is {seen.loss[first]} and the gradient norm "
            f"{seen.gradient_norm[first]}",
            saved,
        )


def _check_params(state: TrainState, done: int, saved: int) -> None:
    """Check params before they are saved: a finite loss and gradient may still give an update that is not finite."""
    for name, leaf in leaves_by_path((state.params, state.ema)).items():
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
            raise _diverged(f"after step {done} parameters are not finite, the first in {name}", saved)


def _diverged(why: str, saved: int) -> NonFiniteError:
    kept = f"The checkpoint of step {saved} is kept" if saved else "Nothing was saved yet"
    return NonFiniteError(
        f"training stopped: {why}. {kept}. Try a lower learning rate, gradient clipping (--clip 1) or a longer warm-up"
    )


class _polite_stop:  # noqa: N801, used as a function
    """A flag that the first Ctrl-C (or SIGTERM) sets; the second Ctrl-C interrupts at once."""

    def __enter__(self) -> threading.Event:
        self.flag, self.old = threading.Event(), {}
        if threading.current_thread() is threading.main_thread():
            for sig in (signal.SIGINT, signal.SIGTERM):
                self.old[sig] = signal.signal(sig, self._set)
        return self.flag

    def _set(self, number: int, frame: FrameType | None) -> None:
        if self.flag.is_set():
            raise KeyboardInterrupt
        self.flag.set()

    def __exit__(self, *_: object) -> None:
        for sig, handler in self.old.items():
            signal.signal(sig, handler)
