"""The token step, ensembles of steps, and shared parts of the decoders: checks, and the refusal of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxseq.errors import InputError
from jaxseq.notation import Array, Carry, Tree, widened
from jaxseq.placement import beside
from jaxseq.tokens import check_tokens


class TokenStep(Protocol):
    """One step of a model that generates tokens: ``(carry, tokens) -> (carry, (logits, seen))``, as in `jax.lax.scan`.

    A step of a non-recurrent network may carry anything that it needs, such as the tokens so far.
    """

    def __call__(self, carry: Carry, tokens: Array, /) -> tuple[Carry, tuple[Array, Tree]]:
        """Return the new carry, of the old one's type, and ``(logits [B, V], seen)``.

        Args:
          carry: the model's state, every leaf ``[B, ...]``.
          tokens: int ``[B]``, the token fed to each row.
        """


def ensemble(steps: Sequence[TokenStep], weights: Sequence[float] | None = None) -> TokenStep:
    """Return a step whose probabilities are the weighted mean over several steps.

    Its carry and `seen` are tuples, one entry for each step; its logits are the logarithms of the mean probabilities,
    in at least float32. All steps must have the same vocabulary.

    Args:
      steps: at least one.
      weights: one for each step, not negative; they are normalised. None means equal weights.

    Raises:
      InputError: if there is no step, or the weights do not fit; when called, if the vocabularies differ in size.

    Example:
      >>> step = lambda p: lambda carry, tokens: (carry, (jnp.log(jnp.array([[p, 1 - p]])), ()))
      >>> both = ensemble([step(0.5), step(0.9)], weights=[3, 1])
      >>> _, (logits, _) = both(((), ()), jnp.zeros(1, int))
      >>> [f"{p:.2f}" for p in jnp.exp(logits[0])]
      ['0.60', '0.40']
    """
    steps = tuple(steps)
    shares = np.ones(len(steps)) if weights is None else np.asarray(weights, float)
    if not steps or shares.shape != (len(steps),) or (shares < 0).any() or not 0 < shares.sum() < np.inf:
        raise InputError(
            "ensemble: give at least one step, and for each a weight that is not negative, not all 0; "
            f"got {len(steps)} steps and weights {weights}"
        )
    with np.errstate(divide="ignore"):  # a step of weight 0 contributes nothing
        log_shares = np.log(shares / shares.sum())

    def step(carry: Carry, tokens: Array) -> tuple[Carry, tuple[Array, Tree]]:
        carries, shown = zip(*(one(part, tokens) for one, part in zip(steps, carry, strict=True)), strict=True)
        logits, seen = zip(*shown, strict=True)
        if len({row.shape for row in logits}) > 1:
            raise InputError(
                "ensemble: the steps must write the same vocabulary; their logits have shapes "
                f"{[row.shape for row in logits]}"
            )
        log_p = [
            jax.nn.log_softmax(widened(row)) + jnp.asarray(share, widened(row).dtype)
            for row, share in zip(logits, log_shares, strict=True)
        ]
        # log of the sum of share * p, computed from logarithms: exp of a very small log p would be 0
        return carries, (jax.nn.logsumexp(jnp.stack(log_p), axis=0), seen)

    return step


def checked(
    step: TokenStep, carry: Carry, start: Array, max_length: int, prefix: Array | None
) -> tuple[Array, tuple[Array, Tree], Array | None]:
    """Return start as int32 on the devices of the carry, the types of ``(logits, seen)``, and the prefix ``[T, *B]``.

    Raises:
      InputError: if an argument has the wrong type or shape, the step returns something else, or a known token is not
        in the vocabulary.
    """
    start = given = jnp.asarray(start)
    if not jnp.issubdtype(start.dtype, jnp.integer):
        raise InputError(f"decode: start must be int [B], one token a row; got {start.dtype} of shape {start.shape}")
    if max_length < 1:
        raise InputError(f"decode: max_length must be at least 1, got {max_length}")
    start = beside(start.astype(jnp.int32), carry, start.shape)
    logits, seen = _shown(jax.eval_shape(step, carry, start), start.shape)
    check_tokens("decode: start", given, logits.shape[-1])
    if prefix is not None:
        prefix = jnp.asarray(prefix)
        fits = prefix.shape[1:] == start.shape and jnp.issubdtype(prefix.dtype, jnp.integer)
        if not fits or prefix.shape[0] > max_length:
            raise InputError(
                f"decode: prefix must be int [P, *{start.shape}] with P at most max_length = {max_length}, negative "
                f"where the choice is free; got {prefix.dtype} {prefix.shape}"
            )
        check_tokens("decode: prefix", jnp.maximum(prefix, 0), logits.shape[-1])
        free = [(0, max_length - prefix.shape[0])] + [(0, 0)] * start.ndim
        # filled with -1 up to max_length: the loop indexes it at every step
        prefix = jnp.pad(prefix.astype(jnp.int32), free, constant_values=-1)
        prefix = jnp.moveaxis(beside(jnp.moveaxis(prefix, 0, -1), start, start.shape), -1, 0)
    return start, (logits, seen), prefix


def _shown(returned: Any, batch: tuple[int, ...]) -> tuple[Array, Tree]:
    """Return ``(logits, seen)`` from the result of a step."""
    shown = returned[1] if isinstance(returned, tuple) and len(returned) == 2 else None
    if not (isinstance(shown, tuple) and len(shown) == 2 and hasattr(shown[0], "shape")):
        raise InputError(
            f"decode: step must return (carry, (logits, seen)), with logits [{', '.join(map(str, batch))}, V] and in "
            f"seen any tree, () for nothing; got {jax.tree.map(lambda a: (a.dtype.name, a.shape), returned)}"
        )
    return shown


def forward_only(tree: Tree) -> Tree:
    """Return a tree that refuses reverse-mode differentiation; only its floating leaves are differentiable."""
    return jax.tree.map(lambda a: forward_only_p.bind(a) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


forward_only_p = Primitive("forward_only")
"""The identity, which refuses reverse-mode differentiation with a clearer error than the loop's own."""


def _refuse(*_: Any) -> None:
    raise InputError(
        "decode: greedy, sample and beam have no gradient in reverse mode: their loop stops where the tokens say. "
        "Generate first; then compute the log-probabilities of these tokens in one pass, model.decode(params, encoded, "
        "inputs) with inputs SOS and the tokens without the last, and differentiate those, weighted by rewards for "
        "REINFORCE. To train a model on its own tokens, give model.decode `forced`"
    )


forward_only_p.def_impl(lambda a: a)
forward_only_p.def_abstract_eval(lambda a: a)
mlir.register_lowering(forward_only_p, lambda _, a: [a])
ad.deflinear2(forward_only_p, _refuse)
batching.defvectorized(forward_only_p)
