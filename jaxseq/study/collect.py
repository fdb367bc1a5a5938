"""What the page of a study shows, gathered from the functions of `jaxseq.study`, with the checks that it stands on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import __version__
from jaxseq.cells import CELLS
from jaxseq.errors import InputError
from jaxseq.study.depth import depth, replayed
from jaxseq.study.look import named_leaves
from jaxseq.study.memory import Keep, half_life, keeps_in
from jaxseq.study.part import Part, check_numbers
from jaxseq.study.saturation import histogram, saturation
from jaxseq.study.timelines import by_half_life, ledger
from jaxseq.unroll import trace

LIVE = ("lstm", "gru", "gru_cho", "rnn", "rnn_relu")
"""Cells that the page runs by itself."""

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
) -> dict[str, Any]:
    """Return all that a page shows, arrays as they are.

    Args:
      parts: what is studied.
      title: of the page.
      subtitle: what the model is and was trained on.
      command: that makes the page again.
      seed: of the study.
      scores: ``(loss, accuracy)`` of each part on data that none was trained on, where they are models for the same
        task: they are then set side by side. Accuracy is None where there is none.

    Raises:
      InputError: if a part's parameters are not all numbers, or it has nothing to look at.
    """
    if not parts:
        raise InputError("study: there is nothing to study; give a part or more")
    shown, checks = [], [_half_lives_known()]
    for part in parts:
        check_numbers(part)
        one, found = _part(part)
        shown.append(one)
        checks += [{**check, "part": part.name, "ok": bool(check["error"] <= check["tolerance"])} for check in found]
    about = {
        "title": title, "subtitle": subtitle, "command": command, "seed": seed, "hash": digest(parts),
        "jaxseq": __version__, "jax": jax.__version__,
    }  # fmt: skip
    data = {"about": about, "parts": shown, "checks": checks, "compare": None}
    if scores:
        data["compare"] = {
            "parameters": [sum(a.size for a in jax.tree.leaves((p.params, p.head))) for p in parts],
            "loss": [float(loss) for loss, _ in scores],
            "accuracy": [None if accuracy is None else float(accuracy) for _, accuracy in scores],
        }
    return data


def digest(parts: Sequence[Part]) -> str:
    """Return the first of a SHA-256 of all parameters: which weights a page is about."""
    found = hashlib.sha256()
    for part in parts:
        for leaf in jax.tree.leaves(part.params):
            found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()[:12]


def _part(part: Part) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    _, seen = trace(part.cell, part.params, part.carry, part.xs, part.mask)
    named, carries = named_leaves(seen.gates), named_leaves(seen.carries)
    first = jax.tree.leaves(part.xs)[0]
    T, B = first.shape[:2]
    sizes = [a.shape[-1] for a in (*named.values(), *carries.values()) if a.ndim == 3]
    if not sizes:
        raise InputError(f"study: {part.cell.name} has no gate and no state of one number a unit, so there is no page")
    H = max(set(sizes), key=sizes.count)
    gates: dict[str, Any] = {name: np.asarray(a) for name, a in named.items() if a.shape == (T, B, H)}
    states: dict[str, Any] = {name: np.asarray(a) for name, a in carries.items() if a.shape == (T, B, H)}
    keep = next(
        (k for k in keeps_in(part.cell, part.params, part.carry, part.xs) if k.gate in gates and k.leaf in states),
        None,
    )
    start = (
        {name: np.asarray(a) for name, a in named_leaves(part.carry).items() if a.shape == (B, H)}
        if part.carry is not None
        else None
    )
    mask = np.ones((T, B), bool) if part.mask is None else np.asarray(part.mask)
    out: dict[str, Any] = {
        "name": part.name, "cell": part.cell.name, "T": T, "B": B, "H": H, "lengths": mask.sum(0).tolist(),
        "inputs": [list(row) for row in part.inputs] or [[str(t) for t in range(T)]] * B,
        "gates": gates, "carries": states, "signed": _signed(gates), "start": start, "words": list(part.words),
        "words_of": _words_of(keep),
        "equations": _equations(part, gates), "keep": keep._asdict() if keep else None, "live": None, "why": "cell",
        "kind": None, "targets": None, "scored": None, "losses": None, "predictions": None, "top": None, "xs": None,
        "saturation": _saturation(gates, mask), "half": None, "order": list(range(H)), "flow": None, "jacobian": None,
        "atlas": None, "attention": None, "replay": None,
        "history": {name: np.asarray(a, np.float32) for name, a in zip(("steps", "losses"), part.history, strict=True)},
    }  # fmt: skip
    checks = [_check("finite", _not_finite((gates, states)), 0.0)]
    if keep:
        held = np.asarray(keep.of(gates))
        life = half_life(jnp.asarray(held), jnp.asarray(mask))
        lives, censored = np.asarray(life.half_life), np.asarray(life.censored)
        out["half"] = {
            "life": np.where(censored, np.float32(T), lives), "censored": censored.tolist(),
            "mean": np.asarray(life.geometric_mean),
            "median": None if censored.mean() >= 0.5 else float(np.median(np.where(censored, np.inf, lives))),
        }  # fmt: skip
        out["order"] = np.asarray(by_half_life(life)).tolist()
        checks += _ledger(part, keep)
    _predictions(part, seen.outs, out, checks)
    _live(part, out)
    if part.weights is not None:
        out["attention"] = {"weights": np.asarray(part.weights), "source": [list(row) for row in part.source]}
        out["attention"] |= part.scores or {}
        checks += _attention(np.asarray(part.weights), part.source, mask)
    found, more = depth(part)
    out |= found
    out["replay"] = replayed(part)
    return out, [*checks, *(_check(*check) for check in more)]


def _equations(part: Part, gates: dict[str, Any]) -> str:
    """Return which equations of the state the page writes out: lstm, gru or rnn; none for any other cell."""
    known = {"lstm": "lstm", "gru": "gru", "gru_cho": "gru", "rnn": "rnn", "rnn_relu": "rnn"}
    name = part.cell.name.split()[-1]
    if name in known and {"lstm": "ifgo", "gru": "rzn", "rnn": "a"}[known[name]] == "".join(gates):
        return known[name]
    return ""


def _words_of(keep: Keep | None) -> dict[str, str]:
    """Return the text that names a z: papers disagree on its sign, so that it is only called what it is found to be."""
    if keep is None or keep.gate != "z":
        return {}
    return {"z": "z_write" if keep.inverted else "z_retain"}


def _signed(gates: dict[str, np.ndarray]) -> list[str]:
    """Return the gates that are drawn from -1 to 1: those that are ever below 0, and candidates."""
    return [name for name, a in gates.items() if name in ("g", "n", "a") or (a < 0).any() or (a > 1).any()]


def _check(name: str, error: float, tolerance: float) -> dict[str, Any]:
    return {"id": name, "error": float(error), "tolerance": tolerance}


def _not_finite(tree: Any) -> float:
    leaves = [np.asarray(a) for a in jax.tree.leaves(tree)]
    return sum(int((~np.isfinite(a)).sum()) for a in leaves) / max(1, sum(a.size for a in leaves))


def _half_lives_known() -> dict[str, Any]:
    keep = jnp.broadcast_to(jnp.asarray([0.5, 0.9, 0.99], jnp.float32), (100, 1, 3))
    error = np.abs(np.asarray(half_life(keep).half_life) / [1, 6.578813, 68.967564] - 1).max()
    return {**_check("half", error, 1e-4), "part": "", "ok": bool(error <= 1e-4)}


def _ledger(part: Part, keep: Keep) -> list[dict[str, Any]]:
    """Check that what is kept and what is written make the state, and that it is shown as the equations say."""
    account = ledger(part.cell, part.params, part.carry, part.xs, part.mask, keep=keep)
    if account is None:
        return []
    shown = [] if account.errors.shown is None else [_check("shown", float(account.errors.shown), 1e-6)]
    return [_check("ledger", float(account.errors.new), 1e-6), *shown]


def _saturation(gates: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    out = {}
    for name in sorted(set(gates) - set(_signed(gates)), key=list(gates).index):
        gate, real = jnp.asarray(gates[name]), jnp.asarray(mask)
        found = saturation(gate, real)
        counts = np.asarray(histogram(gate, real)).sum(1)
        share = (counts / max(1, counts.sum())).astype(np.float32)
        out[name] = {"closed": np.asarray(found.closed), "open": np.asarray(found.open), "histogram": share}
    return out


def _predictions(part: Part, outs: Any, out: dict[str, Any], checks: list[dict[str, Any]]) -> None:
    if part.predict is None or part.targets is None:
        return
    said, losses = np.asarray(part.predict(outs)), np.asarray(part.losses(outs))
    mask = np.ones(losses.shape, bool) if part.mask is None else np.asarray(part.mask)
    scored = mask if part.scored is None else np.asarray(part.scored) & mask
    out |= {
        "kind": "class" if part.words else "value",
        "targets": np.asarray(part.targets),
        "scored": scored.astype(int),
        "losses": losses,
    }
    if part.words:
        share = np.asarray(jax.nn.softmax(said))
        ids = np.argsort(-share, axis=-1, kind="stable")[..., :TOP]
        out["top"] = {"ids": ids, "share": np.take_along_axis(share, ids, -1)}
    else:
        out["predictions"] = said
    whole = jnp.where(jnp.asarray(scored), part.losses(outs), 0).sum()
    checks.append(
        _check("loss", abs(float(whole) - float(losses.astype(np.float64).sum())) / max(1e-6, abs(float(whole))), 1e-5)
    )


def _live(part: Part, out: dict[str, Any]) -> None:
    """Put in the weights with which the page runs the cell again, where it can."""
    name = part.cell.name
    if name not in LIVE or CELLS[name] is not part.cell:
        out["why"] = "reads" if part.weights is not None else "cell"
        return
    p = part.params
    live: dict[str, Any] = {
        "cell": name,
        "wx": np.asarray(part.cell.input_terms(p, part.xs)),
        "U": np.asarray(p.U),
        "start": out["start"],
    }
    live |= {extra: np.asarray(getattr(p, extra)) for extra in ("U_n", "b_hn") if hasattr(p, extra)}
    if part.xs.shape[-1] <= 32:
        out["xs"], live["Wx"] = np.asarray(part.xs), np.asarray(p.W)
    if part.head is not None:
        live["W"], live["b"] = (np.asarray(a) for a in part.head)
    if part.swaps:
        rows = jnp.stack([jnp.asarray(x) for x in part.swaps.values()])
        live["swaps"] = {"labels": list(part.swaps), "wx": np.asarray(part.cell.input_terms(p, rows))}
    out["live"], out["why"] = live, ""


def _attention(weights: np.ndarray, source: Sequence[Sequence[str]], mask: np.ndarray) -> list[dict[str, Any]]:
    S = weights.shape[-1]
    real = np.array([[s < len(row) for s in range(S)] for row in source])
    sums = np.abs(weights.sum(-1) - 1)[mask]
    outside = np.abs(np.where(real[None], 0, weights))[mask]
    return [_check("attention_sum", sums.max(initial=0), 1e-5), _check("attention_mask", outside.max(initial=0), 0.0)]


def colour_maps(count: int = 64) -> dict[str, list[str]]:
    """Return two colour maps as hex colours: `gate`, 0 dark to 1 yellow, and `signed`, blue to orange by way of white.

    The first is viridis. The second is made here in OKLab: lightness falls in a line to both sides of the middle.

    Reference: Smith & van der Walt 2015 (viridis); Ottosson 2020, "A perceptual color space" (OKLab).
    """
    import matplotlib

    gate = [matplotlib.colors.to_hex(c) for c in matplotlib.colormaps["viridis"](np.linspace(0, 1, count))]
    at = np.linspace(-1, 1, count + 1)
    hue = np.where(at < 0, np.deg2rad(255), np.deg2rad(55))
    lightness, chroma = 0.97 - 0.5 * np.abs(at), 0.14 * np.abs(at) ** 0.8
    signed = [_hex(L, C * np.cos(h), C * np.sin(h)) for L, C, h in zip(lightness, chroma, hue, strict=True)]
    return {"gate": gate, "signed": signed}


def _hex(L: float, a: float, b: float) -> str:
    """Return the sRGB colour of OKLab coordinates."""
    long, middle, short = (
        (L + p * a + q * b) ** 3
        for p, q in ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
    )
    linear = np.array([
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    ]).clip(0, 1)  # fmt: skip
    sRGB = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(v)):02x}" for v in sRGB)
