"""Parameters saved during a training, in its run folder: ``snapshots/step-00000100.safetensors`` and so on.

The steps are even on a logarithmic scale, since most happens early; each is rounded up to the end of a chunk of steps,
which are one program. A resumed training repeats the same steps, so the files that it writes again are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import checkpoint
from jaxseq.errors import InputError
from jaxseq.notation import Params
from jaxseq.study import log_spaced

FOLDER = "snapshots"


def due(steps: int, count: int, chunk: int) -> list[int]:
    """Return the steps at which parameters are saved: about `count` from 0 to `steps`, multiples of `chunk`.

    Example:
      >>> due(1000, 8, 20)
      [0, 20, 40, 100, 320, 1000]
    """
    # a set, since several early steps are rounded up to the same chunk
    return sorted({-(-step // chunk) * chunk for step in log_spaced(steps, count)})


def keeping(
    run: Callable[..., tuple], path: Path, at: Sequence[int], *, chunk: int, done: int, writes: bool = True
) -> Callable[..., tuple]:
    """Return a `run` for `jaxseq.train.fit` that saves parameters as it goes.

    Args:
      run: ``(state, ...) -> (state, ...)``, `chunk` steps a call.
      path: the run folder.
      at: numbers of steps, from `due`.
      chunk: steps of a call.
      done: steps taken before the first call.
      writes: whether this process writes.

    Raises:
      InputError: when a file cannot be written.
    """
    taken = done

    def keep(state: Any) -> None:
        if writes and taken in at:
            (path / FOLDER).mkdir(exist_ok=True)
            host = jax.tree.map(np.array, state.params)  # a copy: the state is donated to the next chunk
            checkpoint.save(_file(path, taken), host, step=taken)

    def kept(state: Any, *rest: Any) -> tuple:
        nonlocal taken
        # step 0 is always due: the parameters before training
        if taken == 0:
            keep(state)
        state, *found = run(state, *rest)
        taken += chunk
        keep(state)
        return state, *found

    return kept


def read(run: Path | str, like: Params) -> tuple[list[int], Params]:
    """Return the steps of a run's snapshots and the parameters after each, with a leading axis for them.

    `jaxseq.study.along` looks at each of them in order.

    Args:
      run: the run folder.
      like: the run's parameters, for their structure.

    Raises:
      InputError: if there are no snapshots, or a file is damaged.
    """
    # names have eight digits, so that they sort as the steps do
    files = sorted((Path(run) / FOLDER).glob("step-*.safetensors"))
    if not files:
        raise InputError(f"{run} has no snapshots; train it with --snapshots 20, say")
    every = [checkpoint.load(file, like, as_numpy=True) for file in files]
    steps = [int(file.stem.removeprefix("step-")) for file in files]
    return steps, jax.tree.map(lambda *a: jnp.asarray(np.stack(a)), *every)


def _file(path: Path, step: int) -> Path:
    return path / FOLDER / f"step-{step:08d}.safetensors"
