"""Data parallelism: each batch's rows are sharded over devices; parameters, optimizer state and data are replicated.

One program runs on all devices (GSPMD): XLA computes each row on its device, and sums losses and gradients over all of
them. The mean over the batch's real tokens, and all random draws, are thus the same as on one device; only the order of
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
    """Devices that share the rows of each batch; by default only JAX's default device.

    Devices of other processes connected by `jax.distributed` may be among them: every process then runs the same
    program on the same arguments.

    Example:
      >>> devices = Devices(jax.devices()[:1])
      >>> total = devices.jit(lambda data, rows: data[devices.rows(rows)].sum())
      >>> len(devices), float(total(devices.put(np.arange(4.0, dtype=np.float32)), np.array([1, 3])))
      (1, 4.0)
    """

    def __init__(self, devices: Sequence[jax.Device] = ()) -> None:
        """Take the devices, in the order in which they get rows."""
        self.whole: NamedSharding | None = None
        self.by_rows: NamedSharding | None = None
        self.count = max(len(devices), 1)
        if devices:
            mesh = Mesh(np.array(devices), ("rows",))
            self.whole, self.by_rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("rows",)))

    def __len__(self) -> int:
        return self.count

    def rows(self, rows: Array) -> Array:
        """Return row numbers ``[B]``, sharded over the devices, as are the rows they index in a jitted function.

        B need not be a multiple of the number of devices: XLA pads the last ones.
        """
        return rows if self.by_rows is None else lax.with_sharding_constraint(rows, self.by_rows)

    def jit(self, function: Callable[..., Any], **options: Any) -> jax.stages.Wrapped:
        """Return `jax.jit` of a function whose arguments and results are replicated on every device."""
        if self.whole is not None:
            options |= {"in_shardings": self.whole, "out_shardings": self.whole}
        return jax.jit(function, **options)

    def put(self, tree: Tree) -> Tree:
        """Return a tree of arrays, replicated on every device; all processes must pass the same values."""
        if self.whole is None:
            return jax.tree.map(jnp.asarray, tree)
        whole = self.whole
        host = jax.tree.map(np.asarray, tree)  # `device_put` would compare the arrays of all processes on every call
        return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, whole, lambda index: a[index]), host)

    def local(self, tree: Tree) -> Tree:
        """Return a replicated tree as arrays that this process alone can compute with."""
        return tree if self.whole is None else jax.tree.map(np.asarray, tree)


ONE = Devices()
"""JAX's default device."""
