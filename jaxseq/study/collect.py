"""What the page of a study shows, gathered from the functions of `jaxseq.study`, with the checks that it stands on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import __version__
from jaxseq._unroll import Trace, trace
from jaxseq.errors import InputError
from jaxseq.notation import Array
from jaxseq.study._constant import constant_map
from jaxseq.study._pooled import Batch, Pooled, pooled
from jaxseq.study._saturation import ranges_in
from jaxseq.study.attention import coverage, entropy
from jaxseq.study.checks import Check, finite, known_half_lives, rows_of_attention, summed
from jaxseq.study.depth import gradients, held, jacobians, replayed, whole_gates
from jaxseq.study.live import live
from jaxseq.study.memory import HalfLife, Keep, keeps_in, outlasting
from jaxseq.study.part import Part, check_numbers, layer_of
from jaxseq.study.timelines import by_half_life, ledger
from jaxseq.trees import named_leaves

SHOWN = 3
"""Most columns of an input that are drawn."""

TOP = 5
"""Likeliest words kept at each step."""


def collect(
    parts: Sequence[Part],
    *,
    title: str,
    subtitle: str = "",
    command: str = "",
    seed: int = 0,
    scores: Sequence[tuple[float, float | None]] = (),
    briefly: bool = False,
) -> dict[str, Any]:
    """Return all that a page shows, arrays as they are.

    Args:
      parts: what is studied.
      title: of the page.
      subtitle: what the model is and was trained on.
      command: that makes the page again.
      seed: of the study.
      scores: ``(loss, accuracy)`` of each part on data that none was trained on, where they are models for the same
        problem: they are then compared. Accuracy is None where there is none.
      briefly: without the atlas and the replay, which run the cell for each unit and each snapshot.

    Raises:
      InputError: if a part's parameters are not all numbers, or it has nothing to look at.
    """
    if not parts:
        raise InputError("study: there is nothing to study; give a part or more")
    shown: list[dict[str, Any]] = []
    checks, layers = [known_half_lives().of("")], []
    for part in parts:
        check_numbers(part.name, part.params)
        each, found = _part(part, briefly, len(shown))
        shown += each
        layers.append(len(each))
        checks += [check.of(part.name) for check in found]
    about = {
        "title": title, "subtitle": subtitle, "command": command, "seed": seed, "hash": digest(parts),
        "jaxseq": __version__, "jax": jax.__version__,
    }  # fmt: skip
    data: dict[str, Any] = {"about": about, "parts": shown, "checks": checks, "compare": None}
    if scores:
        counts = [sum(a.size for a in jax.tree.leaves((p.params, p.head))) for p in parts]
        data["compare"] = {
            "parameters": counts, "loss": [float(loss) for loss, _ in scores],
            "accuracy": [None if accuracy is None else float(accuracy) for _, accuracy in scores],
        }  # fmt: skip
        for name, column in data["compare"].items():  # one for each layer that is shown
            data["compare"][name] = [one for one, times in zip(column, layers, strict=True) for _ in range(times)]
        half_a_unit = 1 / min(part["H"] for part in shown)  # as a share of the parameters, which grow with H squared
        checks.append(Check("matched", max(counts) / min(counts) - 1, max(0.05, half_a_unit)).of(""))
    return data


def digest(parts: Sequence[Part]) -> str:
    """Return the first of a SHA-256 of all parameters: which weights a page is about."""
    found = hashlib.sha256()
    for part in parts:
        for leaf in jax.tree.leaves((part.params, part.head)):
            found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()[:12]


class Layer(NamedTuple):
    """One layer of a part.

    Fields:
      name: ``"0"``; empty where there is one layer.
      H: its units.
      gates: by name, those that are one number for each unit, ``[T, B, H]``.
      carries: the same of parts of the carry.
      keep: the gate that retains, or None.
      leaf: the part of the carry to look at, the one that is retained or else the first.
    """

    name: str
    H: int
    gates: dict[str, np.ndarray]
    carries: dict[str, np.ndarray]
    keep: Keep | None
    leaf: str


def _layers(part: Part, named: dict[str, Array], carries: dict[str, Array]) -> list[Layer]:
    """Return the layers of a part: one, or those of a stack, whose units have nothing to do with each other's."""
    T, B = jax.tree.leaves(part.xs)[0].shape[:2]
    keeps = keeps_in(part.cell, part.params, part.xs, part.carry)
    found = []
    for layer in dict.fromkeys(map(layer_of, named or carries)):  # a state of tuples is no stack: its gates say so

        def mine(tree: dict[str, Array], layer: str = layer) -> dict[str, Array]:
            return {name: a for name, a in tree.items() if not layer or layer_of(name) == layer}

        widths = [a.shape[-1] for a in (*mine(named).values(), *mine(carries).values()) if a.ndim == 3]
        if not widths:
            continue
        H = max(set(widths), key=widths.count)
        gates, states = (
            {n: np.asarray(a) for n, a in mine(tree).items() if a.shape == (T, B, H)} for tree in (named, carries)
        )
        first = [k for k in keeps if k.gate in gates and k.leaf in states]
        keep = next(iter(first or [k for k in keeps if k.gate in gates]), None)
        leaf = keep.leaf if keep else next(iter(mine(carries) or carries))
        found.append(Layer(layer, H, gates, states, keep, leaf))
    if not found:
        raise InputError(f"study: {part.cell.name} has no gate and no state of one number a unit, so there is no page")
    return found


def _part(part: Part, briefly: bool, before: int) -> tuple[list[dict[str, Any]], list[Check]]:
    """Return what is shown of each layer of a part; `before` is the number of parts that come before it."""
    _, seen = jax.jit(lambda params, xs: part.run._replace(params=params, xs=xs).through(trace))(part.params, part.xs)
    layers = _layers(part, named_leaves(seen.gates), named_leaves(seen.carries))
    batches = part.corpus or [Batch(part.xs, part.carry, part.mask)]
    corpus = pooled(part.cell, part.params, batches, gates=[name for layer in layers for name in layer.gates])
    shared, checks = _shared(part, seen)
    flows: Sequence[dict[str, Any] | None] = [None] * len(layers)
    if shared["losses"] is not None:
        flows, more = gradients(part, [layer.leaf for layer in layers])
        checks += more
    shown = []
    for n, layer in enumerate(layers):
        one, more = _layer(part, layer, corpus, briefly)
        checks += [finite((layer.gates, layer.carries)), *more]
        one = {**one, **shared, "flow": flows[n]}
        if len(layers) > 1:
            one["name"] = f"{part.name}, layer {n + 1}"
        if n and one["live"]:
            one["live"] = {"same": before}  # one program runs all layers
        shown.append(one)
    return shown, checks


def _shared(part: Part, seen: Trace) -> tuple[dict[str, Any], list[Check]]:
    """Return what all layers of a part have in common: its sequences, predictions and program."""
    T, B = jax.tree.leaves(part.xs)[0].shape[:2]
    mask = np.asarray(part.real())
    out: dict[str, Any] = {
        "cell": part.cell.name, "T": T, "B": B, "lengths": mask.sum(0).tolist(),
        "inputs": [list(row) for row in part.inputs] or [[str(t) for t in range(T)]] * B, "words": list(part.words),
        "kind": None, "targets": None, "scored": None, "losses": None, "predictions": None, "top": None, "xs": None,
        "attention": None,
        "history": {name: np.asarray(a, np.float32) for name, a in zip(("steps", "losses"), part.history, strict=True)},
    }  # fmt: skip
    checks: list[Check] = []
    out |= live(part, seen)
    if part.cell.takes_array and not part.cell.spatial and part.xs.shape[-1] <= SHOWN:
        out["xs"] = np.asarray(part.xs)
    if part.predict is not None and part.targets is not None:
        out |= _predictions(part, seen.outs)
        if part.reported is not None:
            checks.append(summed(out["losses"], part.reported))
    out["jacobian"], found = jacobians(part)
    checks += found
    if part.weights is not None:
        weights = jnp.asarray(part.weights)
        out["attention"] = {
            "weights": np.asarray(weights), "source": [list(row) for row in part.source],
            "entropy": np.asarray(entropy(weights)), "coverage": np.asarray(coverage(weights, jnp.asarray(mask))),
            **(part.scores or {}),
        }  # fmt: skip
        checks += rows_of_attention(out["attention"]["weights"], part.source, mask)
    return out, checks


def _layer(part: Part, layer: Layer, corpus: Pooled, briefly: bool) -> tuple[dict[str, Any], list[Check]]:
    """Return what a layer has of its own: its gates and states, their order, half-lives, saturation and changes."""
    ranges = ranges_in(part.cell, part.params, part.xs, part.carry)
    between = [name for name in layer.gates if ranges[name] == (0.0, 1.0)]
    first = {} if part.carry is None else named_leaves(part.carry)
    start = {name: np.asarray(a) for name, a in first.items() if name in layer.carries}
    keep, checks = layer.keep, []
    out: dict[str, Any] = {
        "name": part.name, "H": layer.H, "gates": layer.gates, "carries": layer.carries,
        "ranges": {name: ranges[name] for name in layer.gates},
        "signed": [name for name in layer.gates if name not in between],
        "start": start or None,
        "keep": keep._asdict() if keep else None, "words_of": _words_of(keep),
        "half": None, "order": list(range(layer.H)), "atlas": None, "held": None, "constant": None,
        "saturation": {name: _saturation(corpus, name) for name in between},
        "pooled": {"sequences": corpus.sequences, "steps": corpus.steps},
        "replay": None if briefly else replayed(part, between),
    }  # fmt: skip
    if keep is None:
        out["constant"] = _constant(part, layer)
    if keep:
        life = corpus.half_lives[keep.gate]
        out["half"], out["order"] = _half(life, part.lag), np.asarray(by_half_life(life)).tolist()
        checks += _ledger(part, keep)
    if part.predict is not None and part.targets is not None:
        if briefly:
            out["held"] = whole_gates(part, list(layer.gates))  # a page holds them itself
        else:
            out["atlas"], more = held(part, layer.name)
            checks += more
    return out, checks


def _words_of(keep: Keep | None) -> dict[str, str]:
    """Return the text that names the gate that retains or overwrites, by what it was found to do, not by its letter.

    Papers disagree: z retains in torch's GRU and overwrites in others, f overwrites in an MGU, and so does r in a LEM.
    """
    if keep is None or (keep.gate == "f" and not keep.inverted):  # a forget gate, as in an LSTM
        return {}
    does = "overwrite" if keep.inverted else "retain"
    return {keep.gate: f"z_{does}" if keep.gate == "z" else does}


def _constant(part: Part, layer: Layer) -> dict[str, Any] | None:
    """Return what a layer without a gate that retains multiplies by one map at each step, such as an LRU's lambda."""
    found = constant_map(part.cell, part.params, part.xs, leaves=list(layer.carries))
    if found is None:
        return None
    ends = lambda a: [float(a.min()), float(a.max())]  # noqa: E731
    return {"leaves": list(found.leaves), "moduli": ends(found.moduli), "half_lives": ends(found.half_lives)}


def _half(life: HalfLife, lag: int | None) -> dict[str, Any]:
    steps, censored, longest = np.asarray(life.half_life), np.asarray(life.censored), int(life.longest)
    return {
        "life": np.where(censored, np.float32(0), steps), "censored": censored.tolist(),
        "mean": np.asarray(life.geometric_mean), "longest": longest, "steps": int(life.steps),
        "sequences": int(life.sequences), "lag": longest if lag is None else lag, "outlast": int(outlasting(life, lag)),
        "of": len(steps),
    }  # fmt: skip


def _ledger(part: Part, keep: Keep) -> list[Check]:
    """Return how well what is kept and what is written make the state, and whether it is shown as the equations say."""
    account = part.run.through(ledger, keep=keep)
    if account is None:
        return []
    shown = [] if account.errors.shown is None else [Check("shown", float(account.errors.shown), 1e-6)]
    return [Check("ledger", float(account.errors.new), 1e-6), *shown]


def _saturation(corpus: Pooled, name: str) -> dict[str, Any]:
    counts = np.asarray(corpus.histograms[name]).sum(1)
    ends = {side: np.asarray(share) for side, share in corpus.saturation[name]._asdict().items()}
    return {**ends, "histogram": (counts / max(1, counts.sum())).astype(np.float32)}


def _predictions(part: Part, outs: Any) -> dict[str, Any]:
    assert part.predict is not None
    said = part.predict(outs)
    out: dict[str, Any] = {
        "kind": "class" if part.words else "value", "targets": np.asarray(part.targets),
        "scored": np.asarray(part.counted()).astype(int), "losses": np.asarray(part.losses(outs)),
    }  # fmt: skip
    if not part.words:
        return {**out, "predictions": np.asarray(said)}
    share, ids = jax.lax.top_k(jax.nn.softmax(said), min(TOP, said.shape[-1]))
    return {**out, "top": {"ids": np.asarray(ids), "share": np.asarray(share)}}
