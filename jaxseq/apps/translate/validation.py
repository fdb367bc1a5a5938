"""The loss of a translator on held-back pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.apps.background import Compiler
from jaxseq.apps.text import PAD, Bucket
from jaxseq.apps.translate.data import take
from jaxseq.apps.translate.token_losses import held_losses
from jaxseq.devices import ONE, Devices
from jaxseq.notation import Array, Params
from jaxseq.seq2seq import Seq2Seq


def validator(
    model: Seq2Seq,
    buckets: Sequence[Bucket],
    batch: int,
    compiler: Compiler | None = None,
    params: Params = None,
    devices: Devices = ONE,
) -> Callable[[Params], float]:
    """Return ``params -> mean loss over the real target tokens`` of all buckets: teacher forced, no dropout.

    With a compiler, and params or their shapes, its programs are compiled in the background. The devices share the rows
    of each batch.
    """

    def sums(params: Params, data: Any, rows: Array) -> tuple[Array, Array]:
        taken = take(data, devices.rows(rows))
        mask, nll = taken.targets != PAD, held_losses(model, params, taken)
        # sums, divided once at the end: a mean of means would count tokens of short batches more
        return jnp.where(mask, nll, jnp.zeros_like(nll)).sum(), mask.sum()

    jitted, parts = devices.jit(sums), []
    for bucket in buckets:
        count = bucket.source.shape[1]
        # the last batch is filled up with empty rows (-1): one shape, one program for each bucket
        rows = np.full(-(-count // batch) * batch, -1, np.int32)
        rows[:count] = np.arange(count)
        # on the devices once, not at each report
        data = devices.put((bucket.source, bucket.target))
        # without a compiler, as in evaluation, it is compiled at the first call
        program: Callable[..., Any] = compiler.program(jitted, params, data, rows[:batch]) if compiler else jitted
        parts += [(program, data, row) for row in rows.reshape(-1, batch)]

    def validate(params: Params) -> float:
        both = [jax.device_get(run(params, data, rows)) for run, data, rows in parts]
        return float(sum(s for s, _ in both) / sum(n for _, n in both))

    return validate
