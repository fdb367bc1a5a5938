"""The systems to time, by name: a layer for a cell, shape and dtype, ours or a peer's, in each mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseq.bench import peers
from jaxseq.bench.peers import PEERS, Layer
from jaxseq.bench.program import Program, inspect
from jaxseq.bench.timing import Thunk
from jaxseq.bench.torch_layer import TORCH, TorchModule
from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.recurrence import RECURRENCES

Shape = tuple[int, int, int, int]
"""``(B, T, D, H)``."""
OURS = "jaxseq"
"""The name of our layer with its first recurrence; other recurrences append their name."""


class Case(NamedTuple):
    """A case to measure.

    Fields:
      cell: any Cell without attention.
      shape: B, T, D, H.
      dtype: dtype of params and inputs.
      recurrences: our recurrences by name; others are compared with the first.
      devices: number of devices over which the batch is sharded.
    """

    cell: Cell
    shape: Shape
    dtype: str = "float32"
    recurrences: tuple[str, ...] = ("deferred",)
    devices: int = 1

    def __str__(self) -> str:
        more = [self.dtype] * (self.dtype != "float32") + [f"{self.devices} devices"] * (self.devices > 1)
        return " ".join([f"{self.cell.name} ({', '.join(map(str, self.shape))})", *more])


class System(Protocol):
    """One layer under one name."""

    def thunk(self, mode: str) -> Thunk:
        """Return the timed call of the mode forward, gradient or train; train continues from its last state."""

    def eager(self, mode: str) -> Thunk:
        """Return the same, forward or gradient, without jit."""

    def program(self, mode: str) -> Program | None:
        """Return the numbers of the compiled program, forward or gradient; None without a program."""


class InJax:
    """A layer in JAX with its inputs, jitted once for each mode."""

    def __init__(self, layer: Layer, xs: jax.Array, place: Callable[..., Any]) -> None:
        """Take a layer and our inputs ``[T, B, D]``; `place` puts a tree, sharded along an axis, on devices."""
        self.layer = layer
        self.weights = place(layer.weights, None)
        self.xs = place(jnp.moveaxis(xs, 0, layer.time), 1 - layer.time)
        self.jitted = {"forward": layer.forward(), "gradient": layer.gradient()}

    def thunk(self, mode: str) -> Thunk:
        """Return the jitted call; `descent` for the mode train."""
        if mode == "train":
            # copied, since the call donates its arguments
            run, at = self.layer.descent(), [jax.tree.map(jnp.copy, (self.weights, self.xs))]

            def train() -> Any:
                at[0] = run(at[0])
                return at[0]

            return train
        run, weights, xs = self.jitted[mode], self.weights, self.xs
        return lambda: run(weights, xs)

    def eager(self, mode: str) -> Thunk:
        """Return the eager call."""
        layer, weights, xs = self.layer, self.weights, self.xs
        if mode == "forward":
            return lambda: layer.outs(weights, xs)
        return lambda: jax.value_and_grad(layer.loss, argnums=(0, 1))(weights, xs)

    def program(self, mode: str) -> Program | None:
        """Return the numbers of the compiled program; nothing is compiled if the jitted call has run."""
        if mode == "train":
            return None
        return inspect(self.jitted[mode].lower(self.weights, self.xs).compile())


class InTorch:
    """A layer in torch, which is always eager."""

    def __init__(self, module: TorchModule) -> None:
        self.module = module

    def thunk(self, mode: str) -> Thunk:
        """Return the call."""
        return {"forward": self.module.forward, "gradient": self.module.gradient, "train": self.module.descent()}[mode]

    def eager(self, mode: str) -> Thunk:
        """Return the same call."""
        return self.thunk(mode)

    def program(self, mode: str) -> Program | None:
        """Return None: there is no program."""
        return None


def systems(case: Case, against: Iterable[str], say: Callable[[str], None]) -> dict[str, System]:
    """Return ours with each recurrence, and the peers in `against` that are installed and agree; report the others.

    Outputs, value and gradients are compared before anything is timed; torchrecurrent's layer, which has its own
    weights, is only run.

    Raises:
      InputError: if the cell cannot be run, or its value or gradients are not finite.
    """
    params, xs = peers.setup(case.cell, case.shape, case.dtype)
    place = _placer(case.devices)
    layers = {OURS + f" {name}" * (n > 0): peers.ours(case.cell, params, RECURRENCES[name])
              for n, name in enumerate(case.recurrences)}  # fmt: skip
    try:
        want = peers.want(layers[OURS], xs)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{case}: the cell cannot be run ({str(error).splitlines()[0]})") from error
    if not all(np.isfinite(np.asarray(a, np.float64)).all() for a in jax.tree.leaves(want)):
        raise InputError(f"{case}: a value or gradient is not finite, and would not be timed like others")
    layers |= peers.layers(case.cell, params, xs, say, [name for name in against if name in PEERS])
    found: dict[str, System] = {}
    for name, layer in layers.items():
        if name == OURS or _agrees(name, partial(peers.want, layer, xs), want, say):
            found[name] = InJax(layer, xs, place)
    return found | _in_torch(case, against, params, xs, want, say)


def _in_torch(
    case: Case, against: Iterable[str], params: Any, xs: jax.Array, want: Any, say: Callable[[str], None]
) -> dict[str, System]:
    """Return the layers in torch."""
    found: dict[str, System] = {}
    for name in (name for name in against if name in TORCH):
        try:
            if case.cell.spatial or case.devices > 1:
                raise InputError("it is run on one device, over vectors")
            module = TORCH[name](case.cell, case.shape, params, xs)
        except ImportError as error:
            say(f'{name} is left out: {error}; pip install "jaxseq[bench]" installs the peers')
            continue
        except InputError as error:
            say(f"{name} is left out for {case.cell.name}: {error}")
            continue
        if not hasattr(module, "seen") or _agrees(name, module.seen, want, say):
            found[name] = InTorch(module)
    return found


def _agrees(name: str, got: Callable[[], Any], want: Any, say: Callable[[str], None]) -> bool:
    """Return whether a layer agrees with ours; if it does not, or fails, report why it is left out."""
    try:
        peers.check(name, got(), want)
    except AssertionError as error:
        say(f"{name} is left out, since it computes something else: {error}")
        return False
    except Exception as error:  # whatever another library raises, for a dtype that it does not take
        say(peers.failed(name, error))
        return False
    return True


def _placer(devices: int) -> Callable[[Any, int | None], Any]:
    """Return the function that shards an axis of a tree of arrays over devices, or copies the tree to each (None)."""
    if devices == 1:
        return lambda tree, axis: tree
    mesh = Mesh(np.array(jax.devices()[:devices]), ("batch",))

    def place(tree: Any, axis: int | None) -> Any:
        spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "batch")
        return jax.tree.map(lambda a: jax.device_put(a, NamedSharding(mesh, spec)), tree)

    return place
