"""A recurrent layer of torch with our weights, on the device that torch would use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxseq.bench.peers import back_by
from jaxseq.bench.timing import cores
from jaxseq.cells import CELLS
from jaxseq.interop.torch import to_arrays, to_torch


def import_torch() -> Any:
    """Return the module torch, with as many threads as this process has cores.

    Raises:
      ImportError: if it is not installed.
    """
    import torch

    if torch.get_num_threads() != cores():
        torch.set_num_threads(cores())
    return torch


class TorchLayer:
    """A layer of torch, its weights and its inputs; on the GPU where torch has one."""

    def __init__(self, cell: str, params: Any, xs: jax.Array) -> None:
        """Convert our params and inputs ``[T, B, D]``."""
        self.torch = import_torch()
        self.device = self.torch.device("cuda" if self.torch.cuda.is_available() else "cpu")
        self.back = back_by(lambda p: to_arrays(CELLS[cell], p), params)
        self.module = to_torch(CELLS[cell], params).to(self.device)
        self.xs = self.torch.from_numpy(np.array(xs)).to(self.device).requires_grad_()

    def forward(self) -> Any:
        """Return the outputs."""
        with self.torch.no_grad():
            return self._awaited(self.module(self.xs)[0])

    def gradient(self) -> Any:
        """Return sum(h²); its gradients are left in the module and the inputs."""
        self.module.zero_grad(set_to_none=True)
        self.xs.grad = None
        value = (self.module(self.xs)[0] ** 2).sum()
        value.backward()
        return self._awaited(value)

    def descent(self, steps: int, rate: float) -> Callable[[], None]:
        """Return a thunk of so many steps of SGD on weights and inputs."""
        optimise = self.torch.optim.SGD([*self.module.parameters(), self.xs], lr=rate)

        def run() -> None:
            for _ in range(steps):
                optimise.zero_grad()
                (self.module(self.xs)[0] ** 2).sum().backward()
                optimise.step()
            self._awaited(None)

        return run

    def seen(self) -> tuple[Any, ...]:
        """Return outputs, value and gradients in our layout, as `jaxseq.bench.peers.want` does."""
        host = lambda a: a.detach().cpu().numpy()  # noqa: E731
        outs, value = host(self.forward()), host(self.gradient())
        grads = self.back({name: jax.numpy.asarray(host(p.grad)) for name, p in self.module.named_parameters()})
        return outs, value, jax.device_get(grads), host(self.xs.grad)

    def _awaited(self, result: Any) -> Any:
        """Return a result when it is computed: torch's calls on a GPU return before that."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
        return result
