"""Training: jitted chunks of steps, and the loop around them that reports, validates, saves and stops; for any model.

A `Loss` takes the batch out of the data, which stay on the device.
Randomness is ``fold_in(key(seed), step)`` and the data order a function of the seed (`jaxseq.order`), so that params,
optimizer state and step are all there is to save.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Key, Params, Tree, widened
from jaxseq.trees import leaves_by_path


class Loss(Protocol):
    """What a model minimises: ``(params, data, rows, key, step) -> (minimised, (reported, tokens))``."""

    def __call__(self, params: Params, data: Tree, rows: Array, key: Key, step: Array, /) -> tuple[Array, tuple]:
        """Return the loss of one batch.

        Args:
          params: of the model; the loss is differentiated by them.
          data: everything there is to train on, on the device.
          rows: int ``[B]``, which rows of the data make up the batch.
          key: consumed.
          step: int, the number of steps taken.

        Returns:
          ``(minimised [], (reported [], tokens []))``: the number whose gradient is taken, the number that reports show
          (without label smoothing, for example), and for how many tokens it stands.
        """


OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamw": optax.adamw,
    "sgd": optax.sgd,
}
SCHEDULES: dict[str, Callable[[float, int, int], optax.Schedule]] = {
    "constant": lambda rate, warmup, steps: optax.join_schedules(
        [optax.linear_schedule(0.0, rate, warmup), optax.constant_schedule(rate)], [warmup]
    ),
    "cosine": lambda rate, warmup, steps: optax.warmup_cosine_decay_schedule(
        0.0, rate, warmup, max(steps, warmup + 1), rate / 100
    ),
}


def optimizer(
    name: str, rate: float, *, schedule: str = "constant", warmup: int = 0, steps: int = 1, clip: float = 0.0
) -> optax.GradientTransformation:
    """Return an optax optimizer: clipping by global norm (0 for none), then `name`, at a rate that follows `schedule`.

    Raises:
      InputError: for unknown names, or a rate that is not a positive number.

    Example:
      >>> step = optimizer("adam", 1e-3, schedule="cosine", warmup=50, steps=800, clip=1.0)
      >>> step.init({"w": jnp.zeros(2)}) is not None
      True
    """
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"learning rate: expected a number above 0, got {rate}; 0.001 is a good start for adam")
    build = choose("optimizer", name, OPTIMIZERS)
    rates = choose("learning rate schedule", schedule, SCHEDULES)(rate, warmup, steps)
    constant = schedule == "constant" and warmup == 0
    step = build(rate if constant else rates)
    return optax.chain(optax.clip_by_global_norm(clip), step) if clip else step


class TrainState(NamedTuple):
    """All that training changes: params, the optimizer's state, and the number of steps taken, int32 ``[]``."""

    params: Params
    opt_state: Any
    step: Array

    @staticmethod
    def create(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
        """Return the state before the first step.

        Raises:
          InputError: if two parameters are one array, which no step that donates its state can take. (Each would also
            get its own gradient, and they would be tied no longer.)
        """
        names: dict[int, str] = {}
        for name, leaf in leaves_by_path(params).items():
            first = names.setdefault(id(leaf), name)
            if isinstance(leaf, jax.Array) and first != name:
                raise InputError(
                    f"TrainState.create: params{first} and params{name} are the same array. Keep one of them, and let "
                    "the model use it in both places; or give the other a copy, jnp.copy, to train them apart"
                )
        return TrainState(params, optimizer.init(params), jnp.int32(0))


class Steps(NamedTuple):
    """What each step of a chunk measured, ``[K]``: loss, global gradient norm before clipping, tokens.

    Loss and norm are ``[K, N]`` where N models are trained side by side.
    """

    loss: Array
    gradient_norm: Array
    tokens: Array


def chunk(loss: Loss, optimizer: optax.GradientTransformation) -> jax.stages.Wrapped:
    """Return ``run(state, data, rows [K, B], key) -> (state, Steps)``, K train steps in one jit. Donates the state."""

    def run(state: TrainState, data: Tree, rows: Array, key: Key) -> tuple[TrainState, Steps]:
        def one(state: TrainState, rows: Array) -> tuple[TrainState, Steps]:
            step_key = jax.random.fold_in(key, state.step)
            of_params = jax.value_and_grad(loss, has_aux=True)
            (_, (reported, tokens)), grads = of_params(state.params, data, rows, step_key, state.step)
            # every gradient before any update: XLA else copies weights that it would update while they are still read
            grads = lax.optimization_barrier(grads)
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            return TrainState(params, opt_state, state.step + 1), Steps(
                reported, optax.tree.norm(jax.tree.map(widened, grads)), tokens
            )

        return lax.scan(one, state, rows)

    return jax.jit(run, donate_argnums=0)


class Record(NamedTuple):
    """What `fit` remembers between reports, saved with every checkpoint.

    Fields:
      best: the lowest validation loss so far (training loss without validation data); infinite before the first.
      best_step: where that was.
      stale: reports since then.
      elapsed: seconds of training, compilation left out.
    """

    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    elapsed: float = 0.0


class Metrics(NamedTuple):
    """One line of metrics.jsonl.

    Fields:
      step: steps taken.
      loss: mean training loss since the last report.
      validation_loss: of the held-back part, or None without one.
      tokens_per_second: since the last report; compilation, validation and saving left out.
      gradient_norm: mean since the last report, before clipping.
      elapsed: seconds of training, compilation left out.
    """

    step: int
    loss: float
    validation_loss: float | None
    tokens_per_second: float
    gradient_norm: float
    elapsed: float


class Listener:
    """Callbacks for training events; the CLI's subclass draws a progress bar. Each method may be overridden."""

    def compiling(self, programs: int) -> None:
        """Called when the compilation of so many programs begins."""

    def compiled(self, seconds: float) -> None:
        """Called when training can begin, having waited so many seconds for compilation."""

    def advance(self, steps: int, loss: float) -> None:
        """Called after each chunk of steps."""

    def report(self, metrics: Metrics) -> None:
        """Called after each report."""

    def remark(self, text: str) -> None:
        """Called with a sentence that the user should read."""


class NonFiniteError(InputError):
    """The loss or the gradient became NaN or infinite; the last good checkpoint stays."""


class Interrupted(Exception):  # noqa: N818, an ending and no error
    """The user pressed Ctrl-C; all steps so far are saved."""


def fit(
    state: TrainState,
    run: Callable[[TrainState, int, np.ndarray], tuple[TrainState, Steps]],
    chunks: Iterator[tuple[int, np.ndarray]],
    *,
    steps: int,
    report_every: int,
    record: Record = Record(),  # noqa: B008, a NamedTuple never changes
    patience: int = 0,
    validate: Callable[[Params], float] | None = None,
    save: Callable[[TrainState, Record, Metrics, bool], None] = lambda *_: None,
    listener: Listener = Listener(),  # noqa: B008, the silent one has no state
) -> tuple[TrainState, Record]:
    """Train until `steps`, or until `patience` reports (0: never) have gone by without a better loss.

    Args:
      state: where to start; donated.
      run: ``(state, bucket, rows) -> (state, Steps)``, from `chunk`.
      chunks: of rows, from `jaxseq.order.chunks`.
      steps: in all, those in `state` included.
      report_every: steps between reports; a report validates and saves.
      record: what an earlier part of this training remembered.
      patience: reports without improvement before stopping.
      validate: the loss of params on data that are not trained on.
      save: ``(state, record, metrics, is_best)``.
      listener: its callbacks.

    Raises:
      NonFiniteError: when loss or gradient stops being a number; nothing is saved after that.
      Interrupted: after Ctrl-C or SIGTERM, once the chunk is finished and saved.
    """
    losses, norms, tokens, busy = [], [], 0.0, 0.0
    saved = int(state.step)
    with _polite_stop() as stop:
        while (done := int(state.step)) < steps and not (patience and record.stale >= patience):
            bucket, rows = next(chunks)
            begun = time.perf_counter()
            state, seen = run(state, bucket, rows)
            seen = jax.device_get(seen)
            busy += time.perf_counter() - begun
            _check_finite(seen, done, saved)
            losses.append(seen.loss)
            norms.append(seen.gradient_norm)
            tokens += float(seen.tokens.sum())
            done += len(rows)
            listener.advance(len(rows), float(seen.loss.mean()))
            if done % report_every and done < steps and not stop.is_set():
                continue
            loss = float(np.concatenate(losses).mean())
            checked = validate(state.params) if validate else None
            record, better = _remember(record, loss if checked is None else checked, done, busy)
            norm = float(np.concatenate(norms).mean())
            metrics = Metrics(done, loss, checked, tokens / busy, norm, record.elapsed)
            save(state, record, metrics, better)
            saved = done
            listener.report(metrics)
            if stop.is_set() and done < steps:
                raise Interrupted(f"stopped at step {done} of {steps}")
            losses, norms, tokens, busy = [], [], 0.0, 0.0
    return state, record


def _remember(record: Record, loss: float, step: int, busy: float) -> tuple[Record, bool]:
    elapsed = record.elapsed + busy
    if loss < record.best:
        return Record(loss, step, 0, elapsed), True
    return record._replace(stale=record.stale + 1, elapsed=elapsed), False


def _check_finite(seen: Steps, done: int, saved: int) -> None:
    bad = ~(np.isfinite(seen.loss) & np.isfinite(seen.gradient_norm))
    if bad.any():
        first = int(np.argmax(bad.reshape(len(bad), -1).any(1)))
        kept = f"The checkpoint of step {saved} is kept" if saved else "Nothing was saved yet"
        raise NonFiniteError(
            f"training stopped: at step {done + first + 1} the loss is {seen.loss[first]} and the gradient norm "
            f"{seen.gradient_norm[first]}. {kept}. Try a lower learning rate, "
            "gradient clipping (--clip 1) or a longer warm-up"
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
