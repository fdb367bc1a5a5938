"""Time a recurrent layer and the tutorial's translators against torch, compile and run apart.

    pip install ".[bench]"
    python benchmarks/against_torch.py layers
    python benchmarks/against_torch.py tutorial --iterations 2000
    python benchmarks/against_torch.py tutorial --model plain --data cmn-eng --iterations 20000

Both sides take the same pairs, sizes and optimizer; torch runs as the tutorial does, one pair and one word at a time.
"""

from __future__ import annotations

import dataclasses
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from torch import nn
from torch.nn import functional as F

from jaxseq import unroll
from jaxseq.cells import CELLS
from jaxseq.tasks import translate
from jaxseq.tasks.config import PRESETS
from jaxseq.text import EOS, SOS

SHAPES = ((1, 10, 256, 256), (32, 50, 128, 128), (64, 100, 256, 256), (64, 50, 512, 512), (16, 100, 1024, 1024))
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU}


def layers(cell: Literal["lstm", "gru"] = "lstm", repeats: int = 20, shapes: tuple[int, ...] = (0, 1, 2, 3, 4)) -> None:
    """Time value and gradient of sum(h²), with respect to parameters and inputs, of one layer in float32.

    Args:
      cell: The layer.
      repeats: How many timed runs; the median is shown.
      shapes: Which of the five shapes.
    """
    print(f"{_machine()}\n{cell}, value and gradient, median of {repeats}, milliseconds\n")
    print(f"{'B, T, D, H':<20}{'jaxseq':>9}{'compile':>10}{'torch':>9}{'torch / jaxseq':>16}")
    for B, T, D, H in (SHAPES[n] for n in shapes):
        params = CELLS[cell].init(jax.random.key(0), D, H)
        xs = jax.random.normal(jax.random.key(1), (T, B, D))

        def loss(params: Any, xs: jax.Array) -> jax.Array:
            return (unroll(CELLS[cell], params, None, xs)[1] ** 2).sum()

        begun = time.perf_counter()
        compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(params, xs).compile()
        compile_ms = (time.perf_counter() - begun) * 1e3

        module, inputs = TORCH[cell](D, H), torch.randn(T, B, D, requires_grad=True)

        def theirs() -> None:
            module.zero_grad()  # noqa: B023
            inputs.grad = None  # noqa: B023
            (module(inputs)[0] ** 2).sum().backward()  # noqa: B023

        ours, other = _alternate(lambda: jax.block_until_ready(compiled(params, xs)), theirs, repeats)  # noqa: B023
        shape = f"{B}, {T}, {D}, {H}"
        print(f"{shape:<20}{ours:>9.2f}{compile_ms:>10.0f}{other:>9.2f}{other / ours:>16.2f}", flush=True)


def _alternate(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the median milliseconds of both, run in turn, so that a machine's moods meet both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for n in range(repeats + 2):
        for into, run in zip(times, (ours, theirs), strict=True):
            begun = time.perf_counter()
            run()
            if n >= 2:  # the first ones warm up
                into.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


class Tutorial(nn.Module):
    """Both translators of the tutorial, in torch, a sentence at a time."""

    def __init__(self, source: int, target: int, hidden: int, length: int | None) -> None:
        """Take vocabulary sizes, H, and the positions that attention covers (None: no attention)."""
        super().__init__()
        self.length, self.hidden = length, hidden
        self.source, self.target = nn.Embedding(source, hidden), nn.Embedding(target, hidden)
        self.encoder, self.decoder = nn.GRU(hidden, hidden), nn.GRU(hidden, hidden)
        self.logits = nn.Linear(hidden, target)
        if length is not None:
            self.attention, self.combine = nn.Linear(2 * hidden, length), nn.Linear(2 * hidden, hidden)

    def forward(self, source: list[int], target: list[int], forced: bool) -> torch.Tensor:
        """Return the summed loss of one pair."""
        state, outs = torch.zeros(1, 1, self.hidden), torch.zeros(self.length or 1, self.hidden)
        for position, word in enumerate(source):
            out, state = self.encoder(self.source(torch.tensor([[word]])), state)
            if self.length is not None:
                outs[position] = out[0, 0]
        fed, total = SOS, torch.zeros(())
        for word in target:
            y = self.target(torch.tensor([[fed]]))
            if self.length is not None:
                y = F.dropout(y, 0.1, self.training)
                weights = F.softmax(self.attention(torch.cat([y[0], state[0]], 1)), dim=1)
                y = self.combine(torch.cat([y[0], weights @ outs], 1))[None]
            out, state = self.decoder(F.relu(y), state)
            log_p = F.log_softmax(self.logits(out[0]), dim=1)
            total = total + F.nll_loss(log_p, torch.tensor([word]))
            fed = word if forced else int(log_p.argmax())
            if not forced and fed == EOS:
                break
        return total


def tutorial(
    model: Literal["attention", "plain"] = "attention",
    data: str = "zh-en",
    iterations: int = 2000,
    every: int = 500,
    seed: int = 0,
) -> None:
    """Train the tutorial's translator here and in torch: loss by iteration, seconds, milliseconds an iteration.

    Args:
      model: With attention over positions, or without.
      data: Pairs; those that pass the tutorial's filter are used.
      iterations: One pair each.
      every: Iterations between losses shown, each the mean since the last.
      seed: Of both.
    """
    preset = PRESETS[f"tutorial-{model}"]
    config = dataclasses.replace(preset, data=data, steps=iterations, report_every=every, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trained = translate.train(config, Path(folder) / "run")
    theirs = _torch_losses(config, trained.corpus, model, iterations, every)
    vocabularies = f"{len(trained.corpus.source)} and {len(trained.corpus.target)} tokens"
    print(f"{_machine()}\ntutorial-{model} on {data}: {len(trained.corpus.train)} pairs, {vocabularies}\n")
    print(f"{'iteration':>9}{'jaxseq loss':>13}{'seconds':>9}{'torch loss':>12}{'seconds':>9}")
    for ours, (loss, seconds) in zip(trained.reports, theirs, strict=True):
        print(f"{ours.step:>9}{ours.loss:>13.4f}{ours.elapsed:>9.1f}{loss:>12.4f}{seconds:>9.1f}")
    ms, torch_ms = (s * 1e3 / iterations for s in (trained.reports[-1].elapsed, theirs[-1][1]))
    compiled = f"compiled in {trained.compile_seconds:.1f} s"
    print(f"\njaxseq {ms:.2f} ms an iteration, {compiled}; torch {torch_ms:.2f} ms; ratio {torch_ms / ms:.2f}")


def _torch_losses(
    config: Any, corpus: translate.Corpus, model: str, iterations: int, every: int
) -> list[tuple[float, float]]:
    """Train in torch; return mean loss and elapsed seconds every so many iterations."""
    torch.manual_seed(config.seed)
    draw = random.Random(config.seed)
    pairs = []
    for pair in corpus.train:
        source, target = translate.tokenise(config, pair)
        pairs.append(([*corpus.source.encode(source), EOS], [*corpus.target.encode(target), EOS]))
    module = Tutorial(len(corpus.source), len(corpus.target), config.hidden, 10 if model == "attention" else None)
    kind = torch.optim.SGD if config.optimizer == "sgd" else torch.optim.Adam
    optimise = kind(module.parameters(), lr=config.learning_rate)
    shown, losses, begun = [], [], time.perf_counter()
    for n in range(1, iterations + 1):
        source, target = draw.choice(pairs)
        optimise.zero_grad()
        loss = module(source, target, draw.random() < config.forcing_start)
        loss.backward()
        optimise.step()
        losses.append(float(loss.detach()) / len(target))
        if n % every == 0:
            shown.append((float(np.mean(losses)), time.perf_counter() - begun))
            losses = []
    return shown


def _machine() -> str:
    devices = ", ".join(sorted({d.device_kind for d in jax.devices()}))
    threads = torch.get_num_threads()
    return f"jax {jax.__version__} on {devices}, torch {torch.__version__} on {threads} threads, {platform.machine()}"


if __name__ == "__main__":
    jnp.zeros(())  # start the backend before anything is timed
    tyro.extras.subcommand_cli_from_dict({"layers": layers, "tutorial": tutorial}, description=__doc__)
