"""What a recurrent cell is: three functions that read like a paper's equations, and what follows from them.

A gated cell is affine in its input, affine in its hidden state, and then equations between gates. Each part is one
function; stepping, unrolling, tracing and every faster way to run the cell are derived from the three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.cells._checks import check_step
from jaxseq.notation import Array, Carry, Params, Tree


class Cell(NamedTuple):
    """A recurrent cell as a value of pure functions, to be passed around like a number.

    Fields:
      init: ``(key, input_size, hidden_size, *, dtype=float32, ...) -> params``; consumes `key`.
      initial_carry: ``(params, batch_shape=()) -> carry``, zeros unless the paper says otherwise.
      input_terms: ``(params, x) -> wx``, the part affine in the input, ``x W + b``. Never sees the carry, and takes
        any leading axes, so that it may run for all T at once.
      hidden_terms: ``(params, carry) -> uh``, the part affine in the hidden state, ``h U``: the matrix product that
        a step cannot do without.
      gates: ``(params, carry, wx, uh) -> (carry, out, gates)``, the equations. ``gates`` is a NamedTuple of every
        named quantity of the step; nobody pays for it where it is not asked for.
      name: what error messages call the cell.
      params_type: the NamedTuple that `init` returns (for a stack a tuple, one each), so that another cell's params
        are refused; None takes any.
      reference: who published the equations, when and where.
      linear: "elementwise" where the new carry is an affine function of the old one, each unit of its own past only,
        "matrix" where it is affine but mixes units, "" where it is not affine. Such a cell can be run in parallel
        over time.
      spatial: how many of x's batch axes, counted from the features, are places that the cell mixes: 2 for pictures
        ``[B, rows, columns, D]``. A mask has no such axes.
      regular: ``(xs [T, B, D]) -> the cell's input``, for a cell whose input is more than an array: steps one unit of
        time apart, nothing missing.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5)
      >>> carry, out = lstm.step(params, lstm.initial_carry(params, (2,)), jnp.ones((2, 3)))
      >>> out.shape, carry.c.shape
      ((2, 5), (2, 5))
    """

    init: Callable[..., Params]
    initial_carry: Callable[..., Carry]
    input_terms: Callable[[Params, Tree], Tree]
    hidden_terms: Callable[[Params, Carry], Tree]
    gates: Callable[[Params, Carry, Tree, Tree], tuple[Carry, Tree, Tree]]
    name: str = "cell"
    params_type: Any = None
    reference: str = ""
    linear: str = ""
    spatial: int = 0
    regular: Callable[[Array], Tree] = lambda xs: xs

    def step(self, params: Params, carry: Carry, x: Tree) -> tuple[Carry, Tree]:
        """Take one step: ``(params, carry, x [B, D]) -> (carry, out [B, H])``.

        Raises:
          InputError: if x or the carry does not fit the params (features, batch axes, dtype, another cell's carry).
        """
        x = jax.tree.map(jnp.asarray, x)
        check_step(self, params, carry, x)
        carry, out, _ = self.advance(params, carry, self.input_terms(params, x))
        return carry, out

    def advance(self, params: Params, carry: Carry, wx: Tree) -> tuple[Carry, Tree, Tree]:
        """Take the recurrent half of a step, given the input terms: what a recurrence does in its loop."""
        return self.gates(params, carry, wx, self.hidden_terms(params, carry))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "none": lambda a: a,
}


def affine(x: Array, W: Array, b: Array) -> Array:
    """Return ``x W + b`` for ``x [..., D]``, ``W [D, N]``, ``b [N]``."""
    a = x @ W
    return a + jnp.broadcast_to(b, a.shape)


def blocks(a: Array, count: int) -> list[Array]:
    """Cut the packed last axis ``[..., count * H]`` into `count` arrays ``[..., H]``, one for each gate."""
    return jnp.split(a, count, axis=-1)


def activate(a: Array, names: str) -> list[Array]:
    """Cut ``a [..., G*H]`` into G gates and apply to each the activation that `names` gives for it, in order.

    Sigmoids and tanhs are one tanh over the whole block, since ``sigmoid(a) = (1 + tanh(a / 2)) / 2``: one loop that a
    CPU vectorises, in place of G that it does not. (A sigmoid is then exact to the dtype's epsilon, not relative to its
    own size: below 6e-8 it is 0 in float32.)

    Example:
      >>> i, g = activate(jnp.zeros((2, 6)), "sigmoid tanh")
      >>> i.shape, float(i[0, 0]), float(g[0, 0])
      ((2, 3), 0.5, 0.0)
    """
    kinds = names.split()
    if not set(kinds) <= {"sigmoid", "tanh"}:
        return [ACTIVATIONS[kind](block) for kind, block in zip(kinds, blocks(a, len(kinds)), strict=True)]
    scale = np.repeat([0.5 if kind == "sigmoid" else 1.0 for kind in kinds], a.shape[-1] // len(kinds))
    t = blocks(jnp.tanh(a * jnp.broadcast_to(jnp.asarray(scale, a.dtype), a.shape)), len(kinds))
    return [0.5 + 0.5 * block if kind == "sigmoid" else block for kind, block in zip(kinds, t, strict=True)]


def zeros_for(b: Array, batch_shape: tuple[int, ...], size: int) -> Array:
    """Return zeros ``[*batch_shape, size]`` in the dtype of the parameter `b`."""
    return jnp.zeros((*batch_shape, size), b.dtype)
