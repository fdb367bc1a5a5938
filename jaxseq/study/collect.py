"""What the page of a study shows, gathered from the functions of `jaxseq.study`, with the checks that it stands on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import __version__
from jaxseq._unroll import trace
from jaxseq.errors import InputError
from jaxseq.notation import Array
from jaxseq.study._saturation import histogram, ranges_in, saturation
from jaxseq.study.attention import coverage, entropy
from jaxseq.study.checks import Check, finite, known_half_lives, rows_of_attention, summed
from jaxseq.study.depth import gradients, held, jacobians, replayed
from jaxseq.study.live import live
from jaxseq.study.memory import HalfLife, Keep, half_life, keeps_in
from jaxseq.study.part import Part, check_numbers
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
    shown, checks = [], [known_half_lives().of("")]
    for part in parts:
        check_numbers(part.name, part.params)
        one, found = _part(part, briefly)
        shown.append(one)
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


def _part(part: Part, briefly: bool) -> tuple[dict[str, Any], list[Check]]:
    _, seen = jax.jit(lambda params, xs: part.run._replace(params=params, xs=xs).through(trace))(part.params, part.xs)
    named, carries = named_leaves(seen.gates), named_leaves(seen.carries)
    T, B = jax.tree.leaves(part.xs)[0].shape[:2]
    widths = [a.shape[-1] for a in (*named.values(), *carries.values()) if a.ndim == 3]
    if not widths:
        raise InputError(f"study: {part.cell.name} has no gate and no state of one number a unit, so there is no page")
    H = max(set(widths), key=widths.count)
    one_a_unit = lambda found: {name: np.asarray(a) for name, a in found.items() if a.shape == (T, B, H)}  # noqa: E731
    gates, states = one_a_unit(named), one_a_unit(carries)
    ranges = ranges_in(part.cell, part.params, part.xs, part.carry)
    between = [name for name in gates if ranges[name] == (0.0, 1.0)]
    keeps = keeps_in(part.cell, part.params, part.xs, part.carry)
    of_units = sorted(
        (k for k in keeps if k.gate in gates), key=lambda k: k.leaf not in states
    )  # stable: the first one
    keep = next(iter(of_units), None)
    mask = np.asarray(part.real())
    first = {} if part.carry is None else named_leaves(part.carry)
    out: dict[str, Any] = {
        "name": part.name, "cell": part.cell.name, "T": T, "B": B, "H": H, "lengths": mask.sum(0).tolist(),
        "inputs": [list(row) for row in part.inputs] or [[str(t) for t in range(T)]] * B, "words": list(part.words),
        "gates": gates, "carries": states, "ranges": {name: ranges[name] for name in gates},
        "signed": [name for name in gates if name not in between],
        "start": {name: np.asarray(a) for name, a in first.items() if a.shape == (B, H)} or None,
        "keep": keep._asdict() if keep else None,
        "words_of": _words_of(keep),
        "kind": None, "targets": None, "scored": None, "losses": None, "predictions": None, "top": None, "xs": None,
        "half": None, "order": list(range(H)), "flow": None, "jacobian": None, "atlas": None, "attention": None,
        "saturation": _saturation({name: gates[name] for name in between}, mask),
        "replay": None if briefly else replayed(part, between),
        "history": {name: np.asarray(a, np.float32) for name, a in zip(("steps", "losses"), part.history, strict=True)},
    }  # fmt: skip
    checks = [finite((gates, states))]
    if keep:
        life = half_life(jnp.asarray(keep.of(named)), jnp.asarray(mask))
        out["half"], out["order"] = _half(life), np.asarray(by_half_life(life)).tolist()
        checks += _ledger(part, keep)
    out |= live(part, seen)
    if part.cell.takes_array and not part.cell.spatial and part.xs.shape[-1] <= SHOWN:
        out["xs"] = np.asarray(part.xs)
    if part.predict is not None and part.targets is not None:
        out |= _predictions(part, seen.outs)
        if part.reported is not None:
            checks.append(summed(out["losses"], part.reported))
        out["flow"], found = gradients(part, keep.leaf if keep else next(iter(carries)))
        out["atlas"], more = (None, []) if briefly else held(part)
        checks += [*found, *more]
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


def _words_of(keep: Keep | None) -> dict[str, str]:
    """Return the text that names the gate that retains or writes, by what it was found to do, not by its letter.

    Papers disagree: z retains in torch's GRU and writes in others, f writes in an MGU, and so does r in a LEM.
    """
    if keep is None or (keep.gate == "f" and not keep.inverted):  # a forget gate, as in an LSTM
        return {}
    does = "write" if keep.inverted else "retain"
    return {keep.gate: f"z_{does}" if keep.gate == "z" else does}


def _half(life: HalfLife) -> dict[str, Any]:
    steps, censored = np.asarray(life.half_life), np.asarray(life.censored)
    longest = np.where(censored, np.inf, steps)
    return {
        "life": np.where(censored, np.float32(0), steps), "censored": censored.tolist(),
        "mean": np.asarray(life.geometric_mean), "median": float(np.median(longest)),
    }  # fmt: skip


def _ledger(part: Part, keep: Keep) -> list[Check]:
    """Return how well what is kept and what is written make the state, and whether it is shown as the equations say."""
    account = part.run.through(ledger, keep=keep)
    if account is None:
        return []
    shown = [] if account.errors.shown is None else [Check("shown", float(account.errors.shown), 1e-6)]
    return [Check("ledger", float(account.errors.new), 1e-6), *shown]


def _saturation(gates: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    @jax.jit
    def look(gates: dict, mask: Array) -> dict[str, Any]:
        return {name: (saturation(a, mask), histogram(a, mask).sum(1)) for name, a in gates.items()}

    found = {}
    for name, (share, counts) in jax.device_get(look(gates, mask)).items():
        found[name] = {**share._asdict(), "histogram": (counts / max(1, counts.sum())).astype(np.float32)}
    return {name: found[name] for name in gates}


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
