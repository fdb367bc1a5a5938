"""Initial values of weights. Each is a function ``(key, shape, dtype) -> array``, as in `jax.nn.initializers`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.errors import InputError
from jaxseq.notation import Array, Key


class Initializer(Protocol):
    """An initializer: ``(key, shape, dtype) -> array``."""

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any, /) -> Array:
        """Return an array of this shape. Consumes `key`."""


class ByName:
    """An initializer without options; it prints and pickles by name."""

    __name__: str

    def __init__(self, draw: Initializer) -> None:
        functools.update_wrapper(self, draw)
        self._draw = draw

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Return an array of this shape. Consumes `key`."""
        return self._draw(key, shape, dtype)

    def __repr__(self) -> str:
        return self.__name__

    def __reduce__(self) -> str:
        return self.__name__


@ByName
def glorot(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw uniformly with variance 2 / (fan in + fan out) (Glorot & Bengio 2010, eq. 16)."""
    return jax.nn.initializers.glorot_uniform()(key, shape, dtype)


@ByName
def lecun(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw from a normal truncated at two standard deviations, with variance 1 / fan in (LeCun et al. 1998)."""
    return jax.nn.initializers.lecun_normal()(key, shape, dtype)


@ByName
def zeros(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return zeros. `key` is not used."""
    return jnp.zeros(shape, dtype)


@ByName
def normal(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Draw from the standard normal distribution, as torch does for embeddings."""
    return jax.random.normal(key, shape, dtype)


@ByName
def orthogonal(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a matrix with orthonormal rows or columns (Saxe et al. 2014), drawn in float32 for bfloat16."""
    wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32  # QR is not implemented in half precision

    # Under vmap one matrix after another: on two cores, two concurrent batched QRs deadlock.
    @jax.custom_batching.sequential_vmap
    def draw(key: Key) -> Array:
        return jax.nn.initializers.orthogonal()(key, shape, wide)

    return draw(key).astype(dtype)


# Initializers with options are frozen dataclasses in lower case, since they are called like functions: they compare
# equal, pickle inside a cell's init, and print as they were written.


@dataclasses.dataclass(frozen=True)
class constant:  # noqa: N801
    """Return an array filled with `value`. `key` is not used."""

    value: float

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of this shape."""
        return jnp.full(shape, self.value, dtype)


@dataclasses.dataclass(frozen=True)
class uniform:  # noqa: N801
    """Draw from ``[low, bound)``, where low is -bound by default; torch's recurrent layers use 1 / sqrt(H)."""

    bound: float
    low: float | None = None

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of this shape."""
        low = -self.bound if self.low is None else self.low
        return jax.random.uniform(key, shape, dtype, low, self.bound)


@dataclasses.dataclass(frozen=True)
class identity:  # noqa: N801
    """Return `scale` times the identity: with relu and scale 1 this is the IRNN, whose state initially persists.

    Reference: Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units",
    arXiv:1504.00941, sections 2 and 3 (0.01 where long memory is not wanted).

    Raises:
      InputError: when called, if the matrix is not square.
    """

    scale: float = 1.0

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of this shape."""
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InputError(f"identity: expected a square matrix, [H, H]; got the shape {shape}")
        return self.scale * jnp.eye(shape[0], dtype=dtype)


@dataclasses.dataclass(frozen=True)
class chrono:  # noqa: N801
    """Draw biases whose gates forget over 1 to `longest` steps: ``init(..., bias=chrono(100))``.

    The gate that retains (f, or z in a GRU) gets ``log u`` with u uniform in ``[1, longest - 1]``, the input gate i
    minus that, all others 0. With bias b alone, a retaining gate keeps a value for ``1 / (1 - sigmoid(b)) = 1 + u``
    steps. For a cell with a forget bias, also pass ``forget_bias=0.0``.

    Args:
      longest: T_max, the longest expected dependency, in steps; above 2.
      blocks: names of the bias's blocks in order; ``"r z n"`` for a GRU.

    Reference: Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", arXiv:1804.11188, eq. 16.

    Raises:
      InputError: if longest is not above 2, or no block retains.

    Example:
      >>> from jaxseq.cells import lstm
      >>> params = lstm.init(jax.random.key(0), 3, 5, bias=chrono(100), forget_bias=0.0)
      >>> i, f, g, o = jnp.split(params.b, 4)
      >>> bool((f == -i).all() and (f >= 0).all() and (f <= jnp.log(99)).all())
      True
    """

    longest: float
    blocks: str = "i f g o"

    def __post_init__(self) -> None:
        if not self.longest > 2:
            raise InputError(f"chrono: longest must be above 2 steps; got {self.longest}")
        if not {"f", "z"} & set(self.blocks.split()):
            raise InputError(f"chrono: none of the blocks {self.blocks!r} retains; expected an f or a z among them")

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of this shape."""
        names = self.blocks.split()
        # [H], the same u for both gates, so i = 1 - f at initialisation
        b = jnp.log(jax.random.uniform(key, (shape[-1] // len(names),), dtype, 1.0, self.longest - 1))
        signs = {"f": b, "z": b, "i": -b}
        return jnp.concatenate([signs.get(name, jnp.zeros_like(b)) for name in names])


@dataclasses.dataclass(frozen=True)
class spectral_radius:  # noqa: N801
    """Draw a square matrix whose largest eigenvalue has the absolute value `rho` (echo states).

    The matrix that `draw` returns is scaled by `rho` over its spectral radius, which Gelfand's formula gives as the
    limit of ``|M^k|^(1/k)``; k = 2^24 takes 24 squarings. Only matrix products are used, since not every accelerator
    computes the eigenvalues of a nonsymmetric matrix. The error is about log(H) / k, below a float32's epsilon.
    """

    rho: float
    draw: Initializer = normal

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of this shape."""
        wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32
        M = power = self.draw(key, shape, wide)
        log_norm = jnp.zeros((), wide)  # of M^(2^n), over 2^n
        for n in range(25):
            norm = jnp.linalg.norm(power)
            log_norm += jnp.log(norm) * 0.5**n
            # scaled before it is squared, so that it neither overflows nor vanishes
            power = jnp.matmul(power / norm, power / norm, precision="highest")
        return (M * (self.rho * jnp.exp(-log_norm))).astype(dtype)


@dataclasses.dataclass(frozen=True)
class ring:  # noqa: N801
    """Draw complex eigenvalues ``exp(-exp(a) + i exp(b))``, uniform on a ring of the unit disk.

    The result is ``[2, N]``, the rows a and b: moduli between r_min and r_max, phases between 0 and max_phase, uniform
    by area (Orvieto et al. 2023, arXiv:2303.06349, lemma 3.2).
    """

    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * np.pi

    def __call__(self, key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of this shape."""
        # in float32: a modulus close to 1 rounds to 1 in bfloat16
        wide = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32
        area, turn = jax.random.uniform(key, shape, wide, minval=float(jnp.finfo(wide).eps))
        a = jnp.log(-0.5 * jnp.log(area * (self.r_max**2 - self.r_min**2) + self.r_min**2))
        return jnp.stack([a, jnp.log(self.max_phase * turn)]).astype(dtype)


def packed(init: Initializer, key: Key, shape: tuple[int, ...], gates: int, dtype: Any) -> Array:
    """Return ``[rows, gates * columns]``: each gate's block drawn separately, with its own fans and orthogonality.

    Consumes `key`. `shape` is one block's ``(rows, columns)``, or that of a convolution.
    """
    keys = jax.random.split(key, gates)
    return jnp.concatenate([init(k, shape, dtype) for k in keys], axis=-1)


def legendre_window(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return A ``[d, d]`` and B ``[d]`` of ``theta dm/dt = A m + B u``, the memory of a signal's last theta.

    m holds the coefficients of u in the first d = order Legendre polynomials, shifted to the window: ``u(t - s)`` is
    about ``sum_i m_i P_i(2 s / theta - 1)`` (Voelker, Kajic & Eliasmith 2019, section 2; HiPPO-LegT of Gu et al. 2020).
    """
    i = np.arange(order)
    signs = np.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    return (2 * i[:, None] + 1) * signs, (2 * i + 1) * (-1.0) ** i


def legendre_scaled(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return A ``[N, N]`` and B ``[N]`` of ``dm/dt = A m / t + B u / t``, the memory of the whole signal: HiPPO-LegS.

    Reference: Gu, Dao, Ermon, Rudra & Re 2020, arXiv:2008.07669, theorem 2.
    """
    root = np.sqrt(2 * np.arange(order) + 1)
    return -np.tril(np.outer(root, root), -1) - np.diag(np.arange(order) + 1.0), root


def zero_order_hold(A: np.ndarray, B: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the zero-order hold of a system A, B: ``exp(step A)`` and ``A^-1 (exp(step A) - 1) B``, in float64.

    Both are blocks of the exponential of ``[[A, B], [0, 0]]``: the step is halved until it is small, the series summed,
    and the result squared as many times.
    """
    d = A.shape[0]
    M = np.zeros((d + 1, d + 1))
    M[:d, :d], M[:d, d] = step * A, step * B
    # until the norm is at most 1/2: the 18 terms below then reach float64's epsilon
    halvings = max(0, int(np.ceil(np.log2(max(np.abs(M).sum(1).max(), 1e-300)))) + 1)
    term = E = np.eye(d + 1)
    for k in range(1, 19):
        term = term @ M / (k * 2.0**halvings)
        E = E + term
    for _ in range(halvings):
        E = E @ E
    return E[:d, :d], E[:d, d]
