"""Leaky echo state network: a random reservoir that is not trained; only a readout of h is trained.

    n  = tanh(x W + h U + b)
    h' = (1 - leak) * h + leak * n            a leak of 1 writes, of 0 retains

`init` draws W uniformly from [-1, 1) and U normal, scaled to the spectral radius 0.9 (``recurrent=spectral_radius(r)``
for another): old inputs then fade, and the state is an echo of recent ones. A step has gradients like any other cell's;
for an echo state network do not train W, U and b (``jax.lax.stop_gradient(params)``) but fit a readout to the outputs,
for example by least squares. ``.with_`` takes leak (0.3 by default; above 0, at most 1).

In Jaeger et al. 2007 the leak and the gain of the nonlinearity are two numbers; here they are one, as in Lukosevicius
2012, "A practical guide to applying echo state networks", section 3. Outputs are not fed back.

Reference: Jaeger 2001, "The echo state approach to analysing and training recurrent neural networks", GMD report 148;
leaky units: Jaeger, Lukosevicius, Popovici & Siewert 2007, "Optimization and applications of echo state networks with
leaky-integrator neurons", Neural Networks 20(3).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from jaxseq.cells._base import Cell
from jaxseq.cells._init import check_range, init_of
from jaxseq.cells._parts import Hidden, hidden_product, input_affine, zeros_carry
from jaxseq.cells._recipe import made
from jaxseq.initializers import spectral_radius, uniform
from jaxseq.notation import Array


class ESNParams(NamedTuple):
    """``W [D, H]``, ``U [H, H]``, ``b [H]``."""

    W: Array
    U: Array
    b: Array


class ESNGates(NamedTuple):
    """The state without leak, ``n [B, H]``."""

    n: Array


init = init_of(ESNParams, W="D H", U="H H", b="H").drawn_by(kernel=uniform(1.0), recurrent=spectral_radius(0.9))
initial_carry = zeros_carry(Hidden)


@made
def _esn(leak: float = 0.3) -> Cell[ESNParams, Hidden, Array, ESNGates]:
    """Return the cell that writes `leak` of the new state at each step."""
    check_range("esn.with_: leak", leak, 0, 1, above=True)

    def equations(params: ESNParams, carry: Hidden, wx: Array, uh: Array) -> tuple[Hidden, Array, ESNGates]:
        n = jnp.tanh(wx + uh)
        h = (1 - leak) * carry.h + leak * n
        return Hidden(h), h, ESNGates(n)

    reference = "Jaeger 2001, GMD report 148; leaky: Jaeger et al. 2007, Neural Networks 20(3)"
    return Cell(init, initial_carry, input_affine, hidden_product, equations, "esn", ESNParams, reference)


esn = _esn()
"""The leaky echo state network as a Cell, with leak = 0.3."""
