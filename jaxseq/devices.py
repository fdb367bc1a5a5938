"""The rows of each batch spread over devices; parameters, optimizer state and data are whole on every one of them.

One program runs on all devices (GSPMD): XLA computes each row where it is, and sums losses and gradients over all. The
mean over the real tokens of the batch, and everything drawn at random, are thus those of one device; only the order of
the sums differs, which changes the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseq.notation import Array, Tree


class Devices:
    """Devices that share the rows of each batch; without any, the one where JAX computes by default.

    Those of other processes, which `jax.distributed` connects, may be among them: every process then runs the same
    program on the same arguments.

    Example:
      >>> devices = Devices(jax.devices()[:1])
      >>> total = devices.jit(lambda data, rows: data[devices.rows(rows)].sum())
      >>> len(devices), float(total(devices.put(np.arange(4.0, dtype=np.float32)), np.array([1, 3])))
      (1, 4.0)
    """

    def __init__(self, devices: Sequence[jax.Device] = ()) -> None:
        """Take the devices, in the order of the rows that they get."""
        self.whole: NamedSharding | None = None
        self.by_rows: NamedSharding | None = None
        self.count = max(len(devices), 1)
        if devices:
            mesh = Mesh(np.array(devices), ("rows",))
            self.whole, self.by_rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("rows",)))

    def __len__(self) -> int:
        return self.count

    def rows(self, rows: Array) -> Array:
        """Return row numbers ``[B]``, spread over the devices; in a jitted function the rows they take are spread too.

        B need not be a multiple of the number of devices: XLA fills up the last ones.
        """
        return rows if self.by_rows is None else lax.with_sharding_constraint(rows, self.by_rows)

    def jit(self, function: Callable[..., Any], **options: Any) -> jax.stages.Wrapped:
        """Return `jax.jit` of a function whose arguments and results are whole on each device."""
        if self.whole is not None:
            options |= {"in_shardings": self.whole, "out_shardings": self.whole}
        return jax.jit(function, **options)

    def put(self, tree: Tree) -> Tree:
        """Return a tree of arrays, whole on each device; in several processes all must give the same."""
        if self.whole is None:
            return jax.tree.map(jnp.asarray, tree)
        whole = self.whole
        host = jax.tree.map(np.asarray, tree)  # `device_put` would compare the processes' arrays, each time
        return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, whole, lambda index: a[index]), host)

    def local(self, tree: Tree) -> Tree:
        """Return a tree that is whole on each device as one that this process alone can compute with."""
        return tree if self.whole is None else jax.tree.map(np.asarray, tree)


ONE = Devices()
"""The device where JAX computes by default."""
