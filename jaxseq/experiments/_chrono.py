"""Chrono initialisation against a forget bias of 1 (Tallec & Ollivier 2018).

A test of the code: the forgetting times ``1 / (1 - f)`` of fresh LSTMs without inputs are uniform on [2, T_max] by
construction, so over the units of all seeds the Kolmogorov-Smirnov statistic ``sqrt(n) sup |F_n - F|`` is below 1.95 in
99.9% of draws.

Judged, seed by seed: the mean loss over the last tenth of training is lower than that of the same LSTM with a forget
bias of 1, on the copy problem and on symbols warped in time, each at the learning rate that suits it
(`training.learn`). A seed in which neither has learnt anything (`training.told`) does not count. T_max is 3/2 of the
lag on the copy problem, as in the paper, and twice the longest warp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import problems
from jaxseq.cells import lstm
from jaxseq.experiments.base import Experiment, Found, Network, Row, below, check, less, unjudged
from jaxseq.experiments.training import FIRST_SEED, Learnt, at_once, draw_losses, final, learn, network, seeded, told
from jaxseq.initializers import zeros
from jaxseq.notation import Array, Key
from jaxseq.problems.fit import Init

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CRITICAL = 1.95
"""The 99.9% point of Kolmogorov's distribution."""


class Settings(NamedTuple):
    """Settings: copy (lag, word, symbols), warped (steps, longest), and training."""

    lag: int = 100
    word: int = 5
    symbols: int = 8
    warped: int = 150
    longest: int = 30
    hidden: int = 48
    steps: int = 4000
    batch: int = 32
    designed: int = 512
    seeds: int = 10
    first: int = FIRST_SEED


def forgetting_times(key: Key, hidden: int, longest: float) -> Array:
    """Return ``1 / (1 - f)`` of each unit, ``[H]``, of an untrained LSTM with zero state and input."""
    # the state is zero, so U has no effect
    params = problems.retaining(lstm, longest=longest, recurrent=zeros)(key, 1, hidden)
    carry = lstm.initial_carry(params)
    _, _, seen = lstm.advance(params, carry, lstm.input_terms(params, jnp.zeros(1)))
    return 1 / (1 - seen.f)


def from_uniform(times: np.ndarray, low: float, high: float) -> float:
    """Return the Kolmogorov-Smirnov statistic ``sqrt(n) sup |F_n - F|`` of samples against uniform on [low, high]."""
    share = np.clip((np.sort(times) - low) / (high - low), 0, 1)
    n = len(share)
    apart = np.maximum(np.arange(1, n + 1) / n - share, share - np.arange(n) / n).max()
    return float(np.sqrt(n) * apart)


def run(settings: Settings) -> Found:
    """Measure untrained networks, then train on both problems."""
    T_max = 1.5 * settings.lag
    fresh = jax.vmap(lambda key: forgetting_times(key, settings.designed, T_max))
    times = np.asarray(fresh(seeded(settings.seeds, settings.first)), float)
    rows: list[Row] = [
        check(below(f"1/(1-f) at init: distance from uniform on [2, {T_max:g}]",
                    from_uniform(times.ravel(), 2.0, T_max), CRITICAL)),
        unjudged("1/(1-f) at init: median in steps", np.median(times, axis=1)),
    ]  # fmt: skip
    curves, baselines = {}, {}
    networks: list[Network] = []
    for problem, longest in (
        (problems.copy(settings.lag, settings.word, settings.symbols), T_max),
        (problems.warped(settings.warped, settings.longest), 2.0 * settings.longest),
    ):
        starts = {
            "chrono": problems.retaining(lstm, longest=longest),
            "forget bias 1": problems.retaining(lstm, bias=1.0),
        }

        def one(init: Init, problem: problems.Problem = problem) -> Learnt:
            return learn(lstm, problem, settings, init=init)

        trained = dict(zip(starts, at_once(one, starts.values()), strict=True))
        curve = {name: np.asarray(learnt.losses) for name, learnt in trained.items()}
        short = problem.kind
        usual, chronic = final(curve["forget bias 1"]), final(curve["chrono"])
        judged = less(f"{short}: loss with chrono", chronic, "that with forget bias 1", usual)
        rows.append(unjudged(f"{short}: loss with forget bias 1 (knowing nothing: {problem.baseline:.3f})", usual))
        rows.append(judged.where(told(problem.baseline, chronic, usual)))
        curves[problem.name], baselines[problem.name] = curve, problem.baseline
        networks = networks or [network(f"lstm, {name}", lstm, problem, learnt) for name, learnt in trained.items()]
    return Found(tuple(rows), lambda figure: draw(figure, times, T_max, curves, baselines), tuple(networks))


def draw(
    figure: Figure, times: np.ndarray, T_max: float, curves: dict[str, dict[str, np.ndarray]], baselines: dict
) -> None:
    """Draw the forgetting times of untrained networks and both problems' losses."""
    axes = figure.subplots(1, 1 + len(curves))
    axes[0].hist(times.ravel(), bins=20, range=(0, T_max), color="#3b528b", density=True)
    axes[0].plot([2, 2, T_max, T_max], [0, 1 / (T_max - 2), 1 / (T_max - 2), 0], color="#d1495b", label="as designed")
    axes[0].set(xlabel="1/(1-f) in steps", ylabel="density")
    axes[0].set_title("fresh units", fontsize="medium")
    axes[0].set_ylim(0, axes[0].get_ylim()[1] * 1.15)
    axes[0].legend(frameon=False, fontsize="small", loc="upper left")
    for ax, (name, curve) in zip(axes[1:], curves.items(), strict=True):
        draw_losses(ax, curve, baselines[name])
        ax.set_title(name.partition(", symbols")[0] + ")", fontsize="medium")


chrono = Experiment(
    "chrono",
    "Biases drawn as log U([1, T_max - 1]) give an LSTM's units forgetting times 1/(1-f) uniform on [2, T_max], and "
    "training on long copy and warped problems comes further than with a forget bias of 1.",
    'Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", arXiv:1804.11188, sections 2.2 and 3',
    run, Settings(),
    Settings(lag=40, word=2, symbols=4, warped=60, longest=12, hidden=32, steps=1500),
    "jaxseq study --cell lstm --problem copy",
)  # fmt: skip
