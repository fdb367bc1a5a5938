"""Probes: labels read off the states of a network by a linear map, with controls.

A probe reads a label off the states of a trained network. Alone its score says little: random
features carry labels as well. So every probe comes with the same probe of networks that were not trained, with that
of shuffled labels, and, where asked for, with its score on longer sequences than it was fitted to. It is scored on
sequences that were held out whole, since the steps of one are alike.

References: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes", arXiv:1610.01644;
Hewitt & Liang 2019, "Designing and interpreting probes with control tasks", arXiv:1909.03368; Zhang & Bowman 2018,
"Language modeling teaches you more than translation does", arXiv:1809.10040 (untrained networks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxseq._unroll import trace
from jaxseq.cells import Cell
from jaxseq.cells._checks import input_size_of, params_dtype
from jaxseq.errors import InputError, choose
from jaxseq.notation import Array, Carry, Key, Params, Tree, widened
from jaxseq.recurrence import over_features
from jaxseq.study.timelines import correlation
from jaxseq.study.whatif import real_of
from jaxseq.trees import named_leaves

STEPS = 300
"""Steps of accelerated gradient descent that a logistic probe is fitted with."""


class Scores(NamedTuple):
    """How well a probe does: R squared of numbers, the share of right classes.

    Fields:
      fitted: on the sequences that it was fitted to.
      held_out: on those that were held out.
      longer: on the longer ones, or None where none were given.
    """

    fitted: Array
    held_out: Array
    longer: Array | None


class Probe(NamedTuple):
    """A probe of states, with its controls.

    Fields:
      units: the name and number of each feature, such as ``("c", 3)``, as the keys: a jitted function may return these.
      weights: ``[F, K]``: labels are ``features W + b``; K is 1 for numbers, else there is a logit for each class.
      bias: ``[K]``.
      scores: of the probe; numbers.
      shuffled: of the same probe fitted to shuffled labels, each ``[shuffles]``.
      untrained: of the same probe of untrained networks, each ``[untrained]``.
      chance: the held-out score without any state: 0 for numbers, the share of the commonest class.
      correlations: ``[F, K]``, of each unit with the label, or with each class (1 where it is the label).
      null: ``[untrained, F, K]``, the same of the units of untrained networks.
    """

    units: dict[tuple[str, int], None]
    weights: Array
    bias: Array
    scores: Scores
    shuffled: Scores
    untrained: Scores
    chance: Array
    correlations: Array
    null: Array


class Longer(NamedTuple):
    """Sequences of other lengths to score a probe on: inputs, labels ``[T, B]`` and mask."""

    xs: Tree
    labels: Array
    mask: Array | None = None


def probe(
    cell: Cell,
    params: Params,
    xs: Tree,
    carry: Carry | None = None,
    *,
    labels: Array,
    mask: Array | None = None,
    names: Sequence[str] | None = None,
    penalty: float = 1e-3,
    held_out: float = 0.25,
    longer: Longer | None = None,
    init: Callable[[Key], Params] | None = None,
    untrained: int = 5,
    shuffles: int = 5,
    classes: int | None = None,
    seed: int = 0,
) -> Probe:
    """Fit a linear map from states to labels, with controls: ridge regression of numbers, logistic of classes.

    Features are scaled to a standard deviation of 1 over the steps that it is fitted to. Ridge regression minimises the
    mean squared error of standardised labels plus ``penalty |W|^2``; the logistic probe the mean cross-entropy plus
    ``penalty / 2 |W|^2``.

    Args:
      cell: any Cell; the rest as in `unroll`.
      params: its parameters.
      xs: ``[T, B, D]``.
      carry: the state to start from, or None; also of the untrained networks, and not of `longer`.
      labels: ``[T, B]``: real numbers, or whole ones from 0 on for classes.
      mask: bool ``[T, B]``.
      names: states and gates whose units are the features; all states by default.
      penalty: on the squared weights.
      held_out: the share of sequences that the probe is not fitted to.
      longer: sequences of other lengths, on which it is scored as well.
      init: ``key -> params`` of an untrained network; by default ``cell.init`` with the sizes of params. Give it where
        training began from another one.
      untrained: how many untrained networks.
      shuffles: how often labels are shuffled, over all real steps.
      classes: how many; by default one more than the largest label. Needed within `jax.jit`.
      seed: of the held-out sequences, the shuffles and the untrained networks.

    Raises:
      InputError: if shapes, dtypes or numbers do not fit, or it is not known how to make an untrained network.

    Example:
      >>> from jaxseq.cells import rnn
      >>> params, xs = rnn.init(jax.random.key(0), 1, 8), jax.random.normal(jax.random.key(1), (6, 40, 1))
      >>> found = probe(rnn, params, xs, labels=xs[..., 0])  # the input itself
      >>> bool(found.scores.held_out > 0.9), bool(found.shuffled.held_out.max() < 0.1), found.null.shape
      (True, True, (5, 8, 1))
    """
    title = f"probe({cell.name})"
    real = real_of(cell, xs, mask)
    labels = _labels(title, labels, real)
    logistic = jnp.issubdtype(labels.dtype, jnp.integer)
    if logistic and classes is None:
        if isinstance(labels, jax.core.Tracer):
            raise InputError(f"{title}: how many classes there are must be said within jit; give classes")
        classes = int(jnp.where(real, labels, jnp.zeros_like(labels)).max()) + 1
    rows = real.shape[1] if real.ndim > 1 else 1
    out = round(held_out * rows)
    if real.ndim != 2 or not 0 < out < rows:
        raise InputError(f"{title}: of {rows} sequences, {out} would be held out; give [T, B] with more, or held_out")
    if untrained < 1 or shuffles < 1 or penalty < 0:
        raise InputError(
            f"{title}: untrained and shuffles must be at least 1 and penalty at least 0; got {untrained}, {shuffles}, "
            f"{penalty}"
        )
    units = _features(cell, params, xs, carry, real, names)[1]
    far = None if longer is None else _beyond(title, cell, longer, labels)
    # three keys, so that another number of shuffles leaves the split and the untrained networks as they are
    of_rows, of_labels, of_nets = jax.random.split(jax.random.key(seed), 3)
    # whole sequences are held out: neighbouring steps of one are nearly copies
    apart = jnp.zeros(rows, bool).at[jax.random.permutation(of_rows, rows)[:out]].set(True)
    fitting, testing = real & ~apart[None], real & apart[None]
    K, wide = (classes if logistic else None), widened(jnp.zeros((), params_dtype(title, params))).dtype
    targets = _targets(labels, K, wide)

    def fitted(given: tuple[Params, Array]) -> tuple[Array, Array, Scores, Array]:
        own, labels = given
        features = _features(cell, own, xs, carry, real, names)[0]
        W, b = _fit(features, labels, fitting, K, penalty)
        beyond = None
        if longer is not None and far is not None:
            beyond = _score(W, b, _features(cell, own, longer.xs, None, far[1], names)[0], *far)
        scores = Scores(_score(W, b, features, labels, fitting), _score(W, b, features, labels, testing), beyond)
        # targets [T, B, K]; one target at a time with all F units
        correlated = jax.vmap(lambda target: correlation(features, target, real), -1, -1)(targets.astype(wide))
        return W, b, scores, correlated

    # 1 + shuffles + untrained runs through one program, compiled once: the network itself, the network with shuffled
    # labels, untrained networks with the right labels
    make = init or _init_like(title, cell, params, xs)
    mixed = jax.vmap(lambda key: _shuffled(key, labels, real))(jax.random.split(of_labels, shuffles))
    others = jax.vmap(make)(jax.random.split(of_nets, untrained))
    repeated = lambda a, n: jnp.broadcast_to(a, (n, *jnp.shape(a)))  # noqa: E731
    nets = jax.tree.map(lambda a, b: jnp.concatenate([repeated(a, 1 + shuffles), b]), params, others)
    said = jnp.concatenate([labels[None], mixed, repeated(labels, untrained)])
    # one after the other: the features [T, B, F] of a single network are in memory
    W, b, scores, correlations = lax.map(fitted, (nets, said))
    first, middle, last = (
        jax.tree.map(lambda a, part=part: a[part], scores)
        for part in (0, slice(1, 1 + shuffles), slice(1 + shuffles, None))
    )
    chance = _chance(labels, testing, K, wide)
    return Probe(units, W[0], b[0], first, middle, last, chance, correlations[0], correlations[1 + shuffles :])


def _labels(title: str, labels: Array, real: Array) -> Array:
    labels = jnp.asarray(labels)
    if labels.dtype == bool:
        labels = labels.astype(jnp.int32)
    if labels.shape != real.shape:
        raise InputError(f"{title}: expected a label for each step, {real.shape}; got the shape {labels.shape}")
    if not (jnp.issubdtype(labels.dtype, jnp.integer) or jnp.issubdtype(labels.dtype, jnp.floating)):
        raise InputError(f"{title}: labels must be real numbers or classes 0, 1, ...; got {labels.dtype}")
    return labels


def _beyond(title: str, cell: Cell, longer: Longer, labels: Array) -> tuple[Array, Array]:
    """Return labels and mask of the longer sequences."""
    real = real_of(cell, longer.xs, longer.mask)
    found = _labels(f"{title}: longer", longer.labels, real)
    if found.dtype != labels.dtype:
        raise InputError(f"{title}: longer: labels are {found.dtype}; those of xs are {labels.dtype}")
    return found, real


def _features(
    cell: Cell, params: Params, xs: Tree, carry: Carry | None, real: Array, names: Sequence[str] | None
) -> tuple[Array, dict[tuple[str, int], None]]:
    """Return the features ``[T, B, F]``, in float32 at least, and the name and number of each."""
    seen = trace(cell, params, xs, carry, mask=real)[1]
    states = named_leaves(seen.carries)
    # a state wins over a gate of the same name
    known = named_leaves(seen.gates) | states
    names = [n for n, a in states.items() if jnp.issubdtype(a.dtype, jnp.floating)] if names is None else names
    found = {name: choose(f"gate or state of {cell.name}", name, known) for name in names}
    flat = {name: widened(a.reshape(*real.shape, -1)) for name, a in found.items()}
    units = {(name, unit): None for name, a in flat.items() for unit in range(a.shape[-1])}
    return jnp.concatenate(list(flat.values()), axis=-1), units


def _init_like(title: str, cell: Cell, params: Params, xs: Tree) -> Callable[[Key], Params]:
    """Return ``key -> params`` of the shapes of params.

    Raises:
      InputError: if ``cell.init`` does not make such params of sizes alone.
    """
    dtype = params_dtype(title, params)
    # a params type without a known input size: the last axis of xs
    D = input_size_of(params) or jax.tree.leaves(xs)[0].shape[-1]
    try:
        if cell.layers:
            hidden: Any = tuple(layer.output_size(own) for layer, own in zip(cell.layers, params, strict=True))
        else:
            hidden = cell.output_size(params, D)
        make = lambda key: cell.init(key, D, hidden, dtype=dtype)  # noqa: E731
        made = jax.eval_shape(make, jax.eval_shape(lambda: jax.random.key(0)))
        same = jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, params)
    # an init with other arguments fails in its own way; all of these mean that the caller must give `init`
    except (InputError, TypeError, ValueError):
        same = False
    if not same:
        raise InputError(
            f"{title}: it is not known how params like these are made; give init, key -> params of an untrained network"
        )
    return make


def _targets(labels: Array, classes: int | None, dtype: Any) -> Array:
    """Return ``[T, B, K]``: the numbers themselves, or 1 at the class and 0 elsewhere."""
    return labels.astype(dtype)[..., None] if classes is None else jax.nn.one_hot(labels, classes, dtype=dtype)


def _moments(a: Array, where: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation over the steps that are True; 1 for a constant feature."""
    # selected and not multiplied: NaN in padding must not reach the sums
    there = jnp.broadcast_to(over_features(where, a), a.shape)
    count = jnp.maximum(where.sum(), 1).astype(a.dtype)
    mean = jnp.where(there, a, jnp.zeros_like(a)).sum((0, 1)) / count
    centred = jnp.where(there, a - jnp.broadcast_to(mean, a.shape), jnp.zeros_like(a))
    size = jnp.sqrt((centred**2).sum((0, 1)) / count)
    # a unit that is constant but for rounding must not be blown up to the size of the others
    least = jnp.finfo(a.dtype).eps * 10 * (1 + jnp.abs(mean))
    return mean, jnp.where(size > least, size, jnp.ones_like(size))


def _fit(features: Array, labels: Array, where: Array, classes: int | None, penalty: float) -> tuple[Array, Array]:
    """Return the weights ``[F, K]`` and bias ``[K]`` of the probe fitted to the steps that are True."""
    targets = _targets(labels, classes, features.dtype)
    mean, size = _moments(features, where)
    there = over_features(where, features)
    z = (features - jnp.broadcast_to(mean, features.shape)) / jnp.broadcast_to(size, features.shape)
    # [T * B, F]; rows that do not count are zero and add nothing to the sums below
    z = jnp.where(there, z, jnp.zeros_like(z)).reshape(-1, z.shape[-1])
    count = jnp.maximum(where.sum(), 1).astype(z.dtype)
    eye = jnp.eye(z.shape[-1], dtype=z.dtype)
    # [F, F]. highest: TF32 on a GPU would lose the digits that the solve needs
    gram = jnp.matmul(z.T, z, precision="highest") / count
    if classes is None:
        centre, scale = _moments(targets, where)
        y = (targets - jnp.broadcast_to(centre, targets.shape)) / jnp.broadcast_to(scale, targets.shape)
        y = jnp.where(there, y, jnp.zeros_like(y)).reshape(-1, 1)
        # ridge regression in closed form: (Z^T Z / n + penalty I) W = Z^T y / n
        W = jnp.linalg.solve(gram + penalty * eye, jnp.matmul(z.T, y, precision="highest") / count)
        # back to the units of the labels
        W, b = W * jnp.broadcast_to(scale, W.shape), centre
    else:
        # half the largest eigenvalue bounds the curvature of the cross-entropy; 1 is that of the bias
        rate = 1 / (0.5 * jnp.maximum(jnp.linalg.norm(gram, 2), 1) + penalty)
        W, b = _logistic(z, targets.reshape(-1, classes), where.reshape(-1), count, penalty, rate)
    # back to the units of the features: z W = (features - mean) / size W
    W = W / jnp.broadcast_to(size[:, None], W.shape)
    return W, b - mean @ W


def _logistic(z: Array, targets: Array, where: Array, count: Array, penalty: float, rate: Array) -> tuple[Array, Array]:
    """Return ``[F, K]`` and ``[K]`` by accelerated gradient descent (Nesterov 1983); `rate` cannot overshoot."""
    one = jnp.concatenate([z, jnp.ones_like(z[:, :1])], axis=1)
    # the bias, the last row, is not penalised
    held = jnp.concatenate([jnp.full(z.shape[-1], penalty, z.dtype), jnp.zeros(1, z.dtype)])[:, None]

    def gradient(W: Array) -> Array:
        # the gradient of the cross-entropy by the logits, [T * B, K]
        wrong = jax.nn.softmax(one @ W) - targets
        wrong = jnp.where(over_features(where, wrong), wrong, jnp.zeros_like(wrong))
        return one.T @ wrong / count + jnp.broadcast_to(held, W.shape) * W

    def step(state: tuple[Array, Array], at: Array) -> tuple[tuple[Array, Array], None]:
        W, ahead = state
        new = ahead - rate * gradient(ahead)
        # Nesterov's momentum n / (n + 3), for convex functions
        return (new, new + at * (new - W)), None

    start = jnp.zeros((one.shape[-1], targets.shape[-1]), z.dtype)
    n = np.arange(STEPS)
    (W, _), _ = lax.scan(step, (start, start), jnp.asarray(n / (n + 3), z.dtype))
    return W[:-1], W[-1]


def _score(W: Array, b: Array, features: Array, labels: Array, where: Array) -> Array:
    """Return R squared, or the share of right classes, over the steps that are True."""
    said = features @ W
    said = said + jnp.broadcast_to(b, said.shape)
    count = jnp.maximum(where.sum(), 1).astype(said.dtype)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        right = (said.argmax(-1).astype(labels.dtype) == labels) & where
        return right.sum().astype(said.dtype) / count
    y = labels.astype(said.dtype)
    mean = jnp.where(where, y, jnp.zeros_like(y)).sum() / count
    # residual and total sum of squares
    left, all_ = (jnp.where(where, (y - other) ** 2, jnp.zeros_like(y)).sum() for other in (said[..., 0], mean))
    return 1 - left / jnp.where(all_ > 0, all_, jnp.ones_like(all_))


def _chance(labels: Array, where: Array, classes: int | None, dtype: Any) -> Array:
    if classes is None:
        return jnp.zeros((), dtype)
    # over the held-out steps, as the score that it is compared with
    counts = jnp.where(where[..., None], jax.nn.one_hot(labels, classes, dtype=dtype), jnp.zeros((), dtype)).sum((0, 1))
    return counts.max() / jnp.maximum(counts.sum(), 1)


def _shuffled(key: Key, labels: Array, real: Array) -> Array:
    """Return the labels with those of all real steps in a random order."""
    flat, there = labels.reshape(-1), real.reshape(-1)
    drawn = jax.random.uniform(key, flat.shape, jnp.float32)
    # uniform numbers are below 1 and padding has 2, so real steps come first; below, too, ~there sorts them first
    mixed = jnp.argsort(jnp.where(there, drawn, jnp.full_like(drawn, 2)))
    return flat.at[jnp.argsort(~there, stable=True)].set(flat[mixed]).reshape(labels.shape)
