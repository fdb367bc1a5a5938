"""Train steps of the default translator against the same model in torch, batched."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import OmitArgPrefixes

from jaxseq import order
from jaxseq.apps.text import PAD
from jaxseq.apps.translate.config import PRESETS
from jaxseq.apps.translate.data import Corpus, numbered, prepare
from jaxseq.apps.translate.train import loss_of
from jaxseq.bench.output import USUAL, Output, Report, Table
from jaxseq.bench.timing import geometric_mean, interleave, median, noise, ratio
from jaxseq.train import TrainState, chunk, optimizer


def train(
    output: OmitArgPrefixes[Output] = USUAL,
    hidden: tuple[int, ...] = (),
    batch: int = 64,
    steps: int = 0,
    rounds: int = 0,
    data: str = "zh-en",
    torch_compile: bool = False,
    at_least: float | None = None,
) -> int:
    """Time train steps of the default translator: real target tokens a second, by bucket of sentence lengths.

    Both sides take the same weights, sentences, dropout rate, label smoothing, clipping and Adam; that they are the
    same model is checked on the loss without dropout. torch's batches are cut to their longest sentence.

    Example: python -m benchmarks train --quick

    Args:
      output: Where to.
      hidden: Units, also of the embeddings; 256 and 512 by default, 64 with --quick.
      batch: Pairs in a step.
      steps: Steps in a sample, one jit here; 0: 10, or 2 with --quick.
      rounds: Samples; 0: 7, or 3 with --quick.
      data: Pairs.
      torch_compile: Time torch.compile of the same model as well (it needs a C++ compiler, and minutes).
      at_least: Exit with 1 if the geometric mean of torch's time over ours is below this.
    """
    from benchmarks import torch_models  # torch is needed, and says so

    report = Report("train", output, unit="microseconds per target token")
    steps, rounds = steps or (2 if output.quick else 10), rounds or (3 if output.quick else 7)
    config = dataclasses.replace(PRESETS["default"], data=data, batch=batch)
    corpus = prepare(config)
    buckets = numbered(corpus.source, corpus.target, corpus.train, config.buckets)
    report.say("Train steps of the default translator, real target tokens a second, for each bucket of lengths.")
    lines: list[list[Any]] = []
    for H in hidden or ((64,) if output.quick else (256, 512)):
        sized = dataclasses.replace(config, embedding=H, hidden=H)
        for number, bucket in enumerate(buckets):
            _, rows = next(order.chunks([bucket.source.shape[1]], batch, steps, seed=0))
            thunks, tokens = _thunks(torch_models, sized, corpus, bucket, rows, torch_compile)
            samples = interleave(thunks, rounds)
            samples = {name: [ms * 1e3 / tokens for ms in of] for name, of in samples.items()}
            lengths = f"S {len(bucket.source)}, T {len(bucket.target)}"
            row = report.add(f"H {H}, batch {batch}, {lengths}", samples, hidden=H, bucket=number)
            report.warn(noise(f"{row['name']}, torch", samples["torch"]))
            rates = [f"{1e6 / median(of):.0f}" for of in samples.values()]
            lines.append([row["name"], *rates, *(ratio(samples[n], samples["jaxseq"]) for n in list(samples)[1:])])
    others = ["torch", "torch.compile"][: 1 + torch_compile]
    heads = [*(f"{name} tokens a second" for name in ("jaxseq", *others)), *(f"{n} / jaxseq time" for n in others)]
    report.show(Table(["lengths of source and target", *heads], lines))
    mean = geometric_mean([(row["samples"]["torch"], row["samples"]["jaxseq"]) for row in report.rows])
    report.say(f"The geometric mean of torch / jaxseq is {mean}.")
    report.at_least("geometric mean of torch / jaxseq", mean.value, at_least)
    return report.finish()


def _thunks(
    torch_models: Any, config: Any, corpus: Corpus, bucket: Any, rows: np.ndarray, torch_compile: bool
) -> tuple[dict[str, Callable[[], Any]], int]:
    """Return a chunk of steps of both, and the target tokens in it."""
    torch = torch_models.torch
    sizes = {"embedding": config.embedding, "hidden": config.hidden}
    model = config.build()
    vocabularies = len(corpus.source.vocabulary), len(corpus.target.vocabulary)
    params = model.init(jax.random.key(0), *vocabularies, **sizes)
    batches = [(bucket.source[:, row], bucket.target[:, row]) for row in rows]
    tensors = [tuple(torch.tensor(_cut(side)).long() for side in pair) for pair in batches]

    module = torch_models.Translator(*vocabularies, **sizes, dropout=config.dropout)
    module.load(params)
    _check(config, params, module, batches[0], tensors[0])
    module.train()
    adam = torch.optim.Adam(module.parameters(), lr=config.learning_rate)

    def theirs(loss: Callable[..., Any]) -> None:
        for source, target in tensors:
            adam.zero_grad()
            loss(source, target, config.label_smoothing).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip)
            adam.step()

    optimise = optimizer(config.optimizer, config.learning_rate, clip=config.clip)
    data = (jnp.asarray(bucket.source), jnp.asarray(bucket.target))
    run, key, at = chunk(loss_of(model, config), optimise), jax.random.key(1), jnp.asarray(rows)
    state = [TrainState.create(params, optimise)]

    def ours() -> Any:
        state[0], seen = run(state[0], data, at, key)
        return seen

    thunks: dict[str, Callable[[], Any]] = {"jaxseq": ours, "torch": lambda: theirs(module.loss)}
    if torch_compile:
        thunks["torch.compile"] = functools.partial(theirs, torch.compile(module.loss))
    return thunks, int(sum((target != PAD).sum() for _, target in batches))


def _cut(side: np.ndarray) -> np.ndarray:
    """Return tokens ``[T, B]`` without the steps that are padding in every row."""
    return side[: int((side != PAD).sum(0).max())]


def _check(config: Any, params: Any, module: Any, batch: Any, tensors: Any) -> None:
    """Compare the losses of both models without dropout."""
    still = dataclasses.replace(config, dropout=0.0)
    data, rows = tuple(jnp.asarray(side) for side in batch), jnp.arange(batch[0].shape[1])
    loss = loss_of(still.build(), still)
    ours = float(jax.jit(loss)(params, data, rows, jax.random.key(0), jnp.int32(0))[0])
    module.eval()
    theirs = float(module.loss(*tensors, config.label_smoothing).detach())
    assert abs(ours - theirs) <= 1e-4 * abs(ours), f"the models differ: loss {ours} here, {theirs} in torch"
