"""Beam search: extends the likeliest partial sequences in parallel, and returns the best complete ones.

Each row has `size` live hypotheses, in slots. A step extends each by every token::

    slots [*B, K] -> log-probabilities [*B, K, V] -> the 2K best of a row -> with EOS, among the first K: ended
                                                                         -> the K best without EOS: the new slots

The step function runs under `jax.vmap` over the slots, so arrays that it closes over, such as an encoded source, exist
once per row and are not repeated per hypothesis. The history is never moved: each step records where its slots came
from, and the best hypotheses are traced back at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxseq.decode._filters import Filter, filtered
from jaxseq.decode._step import TokenStep, checked, forward_only
from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Tree, widened
from jaxseq.placement import any_on_mesh, beside, room, settled


class Hypotheses(NamedTuple):
    """The result of a beam: N hypotheses for each row, best first, time-major.

    Those that ended come before those that did not, each group in the order of its scores. If fewer than N exist, the
    rest have score -inf and length 0.

    Fields:
      tokens: int32 ``[T, B, N]``: up to and including EOS, then PAD.
      scores: ``[B, N]``: log-probability with the penalties, in at least float32.
      lengths: int32 ``[B, N]``: tokens up to and including EOS; T without an EOS.
      log_probs: ``[T, B, N]``: of each token under the model, 0 after EOS.
      seen: the second output of the step function, each leaf ``[T, B, N, ...]``, zeros after EOS.
    """

    tokens: Array
    scores: Array
    lengths: Array
    log_probs: Array
    seen: Tree


class Tip(NamedTuple):
    """The last token of each hypothesis, leaves ``[*B, K]``.

    Fields:
      scores: -inf where there is no hypothesis.
      lengths: int32, in tokens.
      slots: int32, the slot that was extended.
      tokens: int32, the token that extended it.
      log_probs: of this token.
    """

    scores: Array
    lengths: Array
    slots: Array
    tokens: Array
    log_probs: Array


class Trail(NamedTuple):
    """The history, leaves ``[T, *B, K, ...]``: the origin of each new slot, and `seen` of each old one."""

    slots: Array
    tokens: Array
    log_probs: Array
    seen: Tree


class State(NamedTuple):
    """The state of the loop.

    Fields:
      t: int32, the step.
      carry: the model's carry, every leaf ``[*B, K, ...]``.
      tokens: int32 ``[*B, K]``, the last token of each slot.
      alive: ``[*B, K]``, the log-probability of each slot's hypothesis, best first; -inf where the slot is empty.
      coverage: ``[*B, K, S]``, the sum of each slot's attention weights; ``[*B, K, 0]`` without the penalty.
      ended: the best K hypotheses that have ended.
      trail: the history from which the hypotheses are read at the end.
    """

    t: Array
    carry: Carry
    tokens: Array
    alive: Array
    coverage: Array
    ended: Tip
    trail: Trail


class Penalties(NamedTuple):
    """The conversion of log-probabilities to scores; the fields are arguments of `beam`."""

    length: float
    coverage: float
    source_mask: Array | None
    attention: Callable[[Tree], Array]

    def lp(self, length: Array, dtype: Any) -> Array:
        """Return the divisor ``((5 + length) / 6) ** alpha``."""
        return ((5 + length.astype(dtype)) / 6) ** jnp.asarray(self.length, dtype)

    def score(self, log_p: Array, length: Array, coverage: Array) -> Array:
        """Return the scores ``[*B, K]`` of hypotheses of this length."""
        score = log_p / self.lp(length, log_p.dtype)
        if not self.coverage:
            return score
        # the smallest normal number keeps log finite where a position was never attended to
        terms = jnp.log(jnp.clip(coverage, jnp.finfo(coverage.dtype).tiny, 1))
        if self.source_mask is not None:
            # a product instead of a select is safe here: the terms are finite
            terms = terms * jnp.expand_dims(self.source_mask, -2).astype(terms.dtype)
        return score + (jnp.asarray(self.coverage, terms.dtype) * terms.sum(-1)).astype(score.dtype)

    def bound(self, log_p: Array, shortest: Array, longest: Array) -> Array:
        """Return the best score that a hypothesis can still reach: no further loss of log P, and full coverage."""
        # log P is negative and only falls. The best length depends on the sign of alpha, so both extremes are tried
        return jnp.maximum(log_p / self.lp(shortest, log_p.dtype), log_p / self.lp(longest, log_p.dtype))


def beam(
    step: TokenStep,
    carry: Carry,
    start: Array,
    *,
    eos: int,
    max_length: int,
    size: int,
    n_best: int = 1,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    early_stopping: bool = True,
    pad: int = 0,
    prefix: Array | None = None,
    filters: Sequence[Filter] = (),
    source_mask: Array | None = None,
    attention: Callable[[Tree], Array] = lambda seen: seen,
) -> Hypotheses:
    """Return the `n_best` hypotheses that a beam of `size` finds for each row.

    The score of a hypothesis Y is ``log P(Y) / lp(|Y|) + cp``, where alpha is the `length_penalty` and beta the
    `coverage_penalty`::

        lp(n) = ((5 + n) / 6) ** alpha
        cp    = beta * sum over source positions s of log(min(sum over steps t of weights[t, s], 1))

    Live hypotheses are compared by log P. With ``size=1`` this is `greedy` (if a penalty is given, with
    early stopping); with a size of at least ``V ** max_length`` the search is exhaustive.

    Args:
      step: the token step; it runs under `jax.vmap`, and sees its usual batch axes.
      carry: the step's state before the first token, every leaf ``[*B, ...]`` with the batch axes of start.
      start: int ``[*B]``, the token fed first (SOS), with any batch axes.
      eos: the token that ends a hypothesis.
      max_length: T, the largest number of tokens in a hypothesis. One that has not ended by then is returned only if
        fewer than n_best have.
      size: K, the number of live hypotheses per row.
      n_best: N, how many to return, at most `size`.
      length_penalty: alpha; 0 for none, 1 is close to the mean over tokens.
      coverage_penalty: beta, for steps that return attention weights; 0 for none. A position that was never attended to
        adds the logarithm of the smallest normal number.
      early_stopping: whether a row stops as soon as `size` of its hypotheses have ended. In any case it stops when no
        other hypothesis can enter its n best.
      pad: the token that fills a hypothesis after its EOS.
      prefix: int ``[P, *B]``, tokens with which every hypothesis of a row begins; negative where the choice is free.
      filters: tokens that they set to -inf are excluded. Their other changes are ignored: scores are the model's.
      source_mask: bool ``[*B, S]``, which source positions the coverage penalty counts; all by default.
      attention: ``seen -> weights [*B, S]``; by default `seen` must be the weights alone. The attention `positional`
        returns as many positions as it has units: give ``lambda seen: seen[..., :S]``.

    Raises:
      InputError: if a number is out of range, start or prefix does not fit (as in `greedy`), a leaf of the carry lacks
        the batch axes, or there is a coverage penalty and the step returns no weights; under reverse-mode
        differentiation.

    Reference: Wu et al. 2016, arXiv:1609.08144, section 7 (penalties); Sutskever, Vinyals & Le 2014, arXiv:1409.3215,
    section 3.2 (beam search of translations).

    Example:
      >>> P = jnp.array([[0.0, 0.0, 0.6, 0.4], [0, 1, 0, 0], [0, 0.3, 0.4, 0.3], [0, 0.9, 0.1, 0]])
      >>> step = lambda carry, tokens: (carry, (jnp.log(P)[tokens], ()))
      >>> found = beam(step, (), jnp.array([0]), eos=1, max_length=4, size=3, n_best=2)
      >>> found.tokens[:, 0].T.tolist(), [f"{p:.2f}" for p in jnp.exp(found.scores[0])]
      ([[3, 1, 0, 0], [2, 1, 0, 0]], ['0.36', '0.18'])
    """
    if not 1 <= n_best <= size:
        raise InputError(f"beam: n_best must be from 1 to size; got n_best {n_best} and size {size}")
    if not coverage_penalty >= 0:
        raise InputError(f"beam: coverage_penalty must not be negative; got {coverage_penalty}")
    start, (logits, _), prefix = checked(step, carry, start, max_length, prefix)
    _check_carry(carry, start.shape)
    if source_mask is not None:
        source_mask = beside(jnp.asarray(source_mask), start, start.shape)
    penalties = Penalties(length_penalty, coverage_penalty, source_mask, attention)
    S = _source_length(penalties, step, carry, start)

    def more(state: State) -> Array:
        # a finished row has alive = -inf in all slots: the loop ends with the last row
        return (state.t < max_length) & any_on_mesh(state.alive > -jnp.inf)

    def one(state: State) -> State:
        carry, (logits, seen) = _over_slots(step)(state.carry, state.tokens)
        allowed = _allowed(logits, filters, None if prefix is None else prefix[state.t])
        log_p = jnp.where(allowed, jax.nn.log_softmax(widened(logits)), -jnp.inf)
        coverage = state.coverage + widened(attention(seen)) if coverage_penalty else state.coverage
        # of [*B, K, V] only 2K are kept: at most K of these end, so K others always remain
        best, length = _extended(state.alive, log_p, state.t + 1), state.t + 1

        # EOS counts only among the first K: a beam of 1 then ends exactly where greedy does
        first = jax.tree.map(lambda a: a[..., :size], best)
        scores = penalties.score(first.scores, length, _take(coverage, first.slots))
        ended = first._replace(scores=jnp.where(first.tokens == eos, scores, -jnp.inf))
        ended = _best(_joined(state.ended, ended), size)

        # at most K of the 2K are EOS, so K others go on
        slots = _best(best._replace(scores=jnp.where(best.tokens == eos, -jnp.inf, best.scores)), size)
        bound = penalties.bound(slots.scores[..., :1], length + 1, jnp.int32(max_length))
        done = ended.scores[..., n_best - 1 : n_best] >= bound
        if early_stopping:
            done |= ended.scores[..., -1:] > -jnp.inf
        alive = jnp.where(done, -jnp.inf, slots.scores)  # a finished row adds nothing from here on

        now = Trail(slots.slots, slots.tokens, slots.log_probs, seen)
        trail = jax.tree.map(lambda into, row: into.at[state.t].set(row), state.trail, now)
        carry, coverage = jax.tree.map(lambda a: _take(a, slots.slots), (carry, coverage))
        return State(length, carry, slots.tokens, alive, coverage, ended, trail)

    state = lax.while_loop(more, one, settled(one, _first(step, carry, start, S, max_length, size)))
    # hypotheses that have not ended at max_length take the remaining places
    slots, tokens, log_probs = (a[-1] for a in state.trail[:3])
    scores = penalties.score(state.alive, jnp.int32(max_length), state.coverage)
    scores = jnp.where(state.alive > -jnp.inf, scores, -jnp.inf)
    unended = _best(Tip(scores, jnp.full_like(tokens, max_length), slots, tokens, log_probs), size)
    found = _joined(state.ended, unended)
    # ended ones come before unended ones, existing before missing, each in order: top_k keeps the first of equals
    place = jnp.where(found.scores > -jnp.inf, 0, -2 * size) - _numbered(found.tokens, start.ndim)
    found = _picked(found, lax.top_k(place, n_best)[1])
    return forward_only(_followed(found, state.trail, pad, logits.dtype))


def _over_slots(step: TokenStep) -> TokenStep:
    """Return the step vmapped over the slots of ``[*B, K]``; the model sees its usual rows ``[*B]``."""

    def over(carry: Carry, tokens: Array) -> tuple[Carry, tuple[Array, Tree]]:
        axis = tokens.ndim - 1
        return jax.vmap(step, in_axes=axis, out_axes=axis)(carry, tokens)

    return over


def _first(step: TokenStep, carry: Carry, start: Array, S: int, T: int, K: int) -> State:
    """Return the state before the first step, with one live slot, so that hypotheses are distinct."""

    def in_slots(a: Array) -> Array:
        a = jnp.expand_dims(a, start.ndim)
        return jnp.broadcast_to(a, (*a.shape[: start.ndim], K, *a.shape[start.ndim + 1 :]))

    carry, tokens = jax.tree.map(in_slots, (carry, start))
    _, (logits, seen) = jax.eval_shape(_over_slots(step), carry, tokens)
    zeros = jnp.zeros_like(tokens).astype(widened(jnp.zeros((), logits.dtype)).dtype)
    none, empty = jnp.full_like(zeros, -jnp.inf), jnp.zeros_like(tokens)
    # all slots begin alike: K equal hypotheses would stay equal forever
    alive = jnp.where(_numbered(tokens, start.ndim) == 0, zeros, none)
    coverage = jnp.zeros((*tokens.shape, S), zeros.dtype)
    ids, numbers = jax.typeof(tokens), jax.typeof(zeros)
    trail = Trail(room(T, ids), room(T, ids), room(T, numbers), jax.tree.map(lambda row: room(T, row), seen))
    return State(jnp.int32(0), carry, tokens, alive, coverage, Tip(none, empty, empty, empty, zeros), trail)


def _allowed(logits: Array, filters: Sequence[Filter], prefix: Array | None) -> Array:
    """Return which tokens may come next, bool of the shape of the logits ``[*B, K, V]``."""
    allowed = filtered(filters, logits) > -jnp.inf
    if prefix is None:
        return allowed
    wanted = prefix[..., None, None]
    # a prefix overrides the filters
    given = _numbered(allowed.astype(jnp.int32), logits.ndim - 1) == wanted
    return (allowed & (wanted < 0)) | given


def _extended(alive: Array, log_p: Array, length: Array) -> Tip:
    """Return the best 2K extensions of the slots, ``[*B, 2K]``, scored by their whole log-probability."""
    *batch, K, V = log_p.shape
    log_p, tokens = lax.top_k(log_p, min(K + 1, V))  # one slot contributes at most K tokens besides EOS
    slots = _numbered(tokens, tokens.ndim - 2)
    tip = Tip(alive[..., None] + log_p, jnp.zeros_like(tokens) + length, slots, tokens, log_p)
    tip = jax.tree.map(lambda a: a.reshape(*batch, K * a.shape[-1]), tip)
    return _best(tip, min(2 * K, tip.scores.shape[-1]))


def _numbered(like: Array, axis: int) -> Array:
    """Return the index of each entry along an axis, int32, sharded like another array of integers."""
    # the sum takes the sharding of `like`, which a plain iota lacks
    return jnp.zeros_like(like) + lax.broadcasted_iota(jnp.int32, like.shape, axis)


def _best(tip: Tip, count: int) -> Tip:
    """Return the `count` highest scores in order; among equal scores, the first."""
    return _picked(tip, lax.top_k(tip.scores, count)[1])


def _picked(tip: Tip, places: Array) -> Tip:
    return jax.tree.map(lambda a: _take(a, places), tip)


def _joined(a: Tip, b: Tip) -> Tip:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), a, b)


def _take(a: Array, slots: Array) -> Array:
    """Return ``a [*B, K, ...]`` at ``slots [*B, N]``: ``[*B, N, ...]``."""
    take = lambda a, slots: a[slots]  # noqa: E731
    for _ in range(slots.ndim - 1):
        take = jax.vmap(take)
    return take(a, slots)


def _followed(found: Tip, trail: Trail, pad: int, dtype: Any) -> Hypotheses:
    """Return hypotheses ``[*B, N]``, traced back along the trail."""
    lengths = jnp.where(found.scores > -jnp.inf, found.lengths, 0)

    def back(slots: Array, at: tuple[Array, Trail]) -> tuple[Array, tuple[Array, Array, Tree]]:
        t, (parents, tokens, log_probs, seen) = at
        last, inside = t == lengths - 1, t < lengths  # `slots` are those after step t, unless t is the last step
        token = jnp.where(inside, jnp.where(last, found.tokens, _take(tokens, slots)), pad)
        log_prob = jnp.where(inside, jnp.where(last, found.log_probs, _take(log_probs, slots)), 0)
        slots = jnp.where(inside & ~last, _take(parents, slots), found.slots)

        def shown(a: Array) -> Array:
            a = _take(a, slots)
            return jnp.where(jnp.expand_dims(inside, range(inside.ndim, a.ndim)), a, jnp.zeros_like(a))

        return slots, (token, log_prob, jax.tree.map(shown, seen))

    steps = jnp.arange(trail.tokens.shape[0], dtype=jnp.int32)
    # one pass from the last step to the first, all N hypotheses at once: O(T), and no history was copied in the loop
    _, (tokens, log_probs, seen) = lax.scan(back, found.slots, (steps, trail), reverse=True)
    return Hypotheses(tokens, found.scores, lengths, log_probs.astype(dtype), seen)


def _check_carry(carry: Carry, batch: tuple[int, ...]) -> None:
    for leaf in jax.tree.leaves(carry):
        if jnp.shape(leaf)[: len(batch)] != batch:
            raise InputError(
                f"beam: every leaf of the carry must begin with the batch axes of start, {batch}, since each "
                f"hypothesis has its own; got a leaf of shape {jnp.shape(leaf)}"
            )


def _source_length(penalties: Penalties, step: TokenStep, carry: Carry, start: Array) -> int:
    """Return the number S of attention weights, 0 if they are not needed."""
    if not penalties.coverage:
        return 0
    batch = start.shape
    shown = jax.tree.leaves(jax.eval_shape(lambda *row: penalties.attention(step(*row)[1][1]), carry, start))
    if len(shown) != 1 or shown[0].shape[:-1] != batch or not jnp.issubdtype(shown[0].dtype, jnp.floating):
        raise InputError(
            f"beam: the coverage penalty needs attention weights [*{batch}, S]; the step returns "
            f"{[f'{a.dtype} {a.shape}' for a in shown]}. Say where they are: attention=lambda seen: ..."
        )
    mask = penalties.source_mask
    if mask is not None and (mask.shape != shown[0].shape or mask.dtype != jnp.bool_):
        raise InputError(f"beam: source_mask must be bool {shown[0].shape}; got {mask.dtype} {mask.shape}")
    return shown[0].shape[-1]
