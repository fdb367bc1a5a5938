"""Recurrent layers in torch: its own with our weights, and torchrecurrent's; on the device that torch would use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.bench.peers import RATE, STEPS, back_by
from jaxseq.bench.timing import Thunk, cores
from jaxseq.cells import Cell
from jaxseq.errors import InputError
from jaxseq.interop.torch import to_arrays, to_torch

THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "antisymmetric_rnn": ("AntisymmetricRNN", {}),
    "antisymmetric_rnn_gated": ("GatedAntisymmetricRNN", {}),
    "atr": ("ATR", {}),
    "brc": ("BR", {}),
    "cfn": ("CFN", {}),
    "cornn": ("coRNN", {}),
    "dsgu": ("DSGU", {}),
    "fast_grnn": ("FastGRNN", {"nonlinearity": "sigmoid"}),
    "fast_rnn": ("FastRNN", {}),
    "indrnn": ("IndRNN", {"nonlinearity": "relu"}),
    "indrnn_tanh": ("IndRNN", {}),
    "intersection_rnn": ("IntersectionRNN", {}),
    "janet": ("JANET", {}),
    "lem": ("LEM", {}),
    "lightru": ("LightRU", {}),
    "ligru": ("LiGRU", {}),
    "lstm_1997": ("OriginalLSTM", {}),
    "lstm_multiplicative": ("MultiplicativeLSTM", {}),
    "lstm_peephole": ("PeepholeLSTM", {}),
    "lstm_residual": ("ResLSTM", {}),
    "lstm_wmc": ("WMCLSTM", {}),
    "mgu": ("MGU", {}),
    "minimal_rnn": ("MinimalRNN", {}),
    "miru": ("MiRU2", {}),
    "miru1": ("MiRU1", {}),
    "mut1": ("MUT1", {}),
    "mut2": ("MUT2", {}),
    "mut3": ("MUT3", {}),
    "nas": ("NAS", {}),
    "nbrc": ("NBR", {}),
    "ran": ("RAN", {}),
    "scrn": ("SCRN", {}),
    "sgrn": ("SGRN", {}),
    "sgu": ("SGU", {}),
    "star": ("STAR", {}),
    "t_gru": ("TGRU", {}),
    "t_lstm": ("TLSTM", {}),
    "t_rnn": ("TRNN", {}),
    "tau_gru": ("tauGRU", {}),
    "ugrnn": ("UGRNN", {}),
    "unicornn": ("UnICORNN", {}),
}
"""Our cells that torchrecurrent 0.2.5 also has: its layer, and the options that make it the same cell.

Where its equations differ from the paper's in a bias or a term (our parity tests say where) they are timed as they are.
Its MCLSTM is a different cell, and its recurrent highway network cannot be imported.
"""


def import_torch() -> Any:
    """Return the torch module, set to one thread per core of this process.

    Raises:
      ImportError: if it is not installed.
    """
    import torch

    if torch.get_num_threads() != cores():
        torch.set_num_threads(cores())
    return torch


class TorchModule:
    """A recurrent torch module and its inputs, on the GPU if torch has one."""

    def __init__(self, module: Any, xs: jax.Array) -> None:
        """Take a module and our inputs ``[T, B, D]``, whose dtype both will have."""
        self.torch = import_torch()
        self.device = self.torch.device("cuda" if self.torch.cuda.is_available() else "cpu")
        self.dtype = xs.dtype
        self.module = module.to(self.device, getattr(self.torch, str(xs.dtype)))
        wide = np.array(xs.astype(np.result_type(xs.dtype, np.float32)))  # NumPy cannot pass bfloat16 to torch
        self.xs = self.torch.from_numpy(wide).to(self.device, getattr(self.torch, str(xs.dtype))).requires_grad_()

    def forward(self) -> Any:
        """Return the outputs, awaited."""
        with self.torch.no_grad():
            return self._awaited(self.module(self.xs)[0])

    def gradient(self) -> Any:
        """Return sum(h²), awaited; its gradients are left in the module and the inputs."""
        self.module.zero_grad(set_to_none=True)
        self.xs.grad = None
        value = (self.module(self.xs)[0] ** 2).sum()
        value.backward()
        return self._awaited(value)

    def descent(self) -> Thunk:
        """Return a thunk of some steps of SGD on copies of weights and inputs."""
        import copy

        module, xs = copy.deepcopy(self.module), self.xs.detach().clone().requires_grad_()
        optimise = self.torch.optim.SGD([*module.parameters(), xs], lr=RATE)

        def run() -> None:
            for _ in range(STEPS):
                optimise.zero_grad()
                (module(xs)[0] ** 2).sum().backward()
                optimise.step()
            self._awaited(None)

        return run

    def _awaited(self, result: Any) -> Any:
        """Return a result once it is computed: torch's GPU calls return earlier."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
        return result

    def _host(self, a: Any) -> np.ndarray:
        """Return a tensor as an array of our dtype."""
        wide = a.detach().cpu().to(getattr(self.torch, np.result_type(self.dtype, np.float32).name))
        return wide.numpy().astype(self.dtype)


class TorchLayer(TorchModule):
    """A layer of torch with our weights."""

    def __init__(self, cell: Cell, params: Any, xs: jax.Array) -> None:
        """Convert our params and inputs ``[T, B, D]``.

        Raises:
          ImportError: if torch is not installed.
          InputError: if it has no such layer.
        """
        wide = jax.tree.map(lambda a: a.astype(jnp.result_type(a.dtype, jnp.float32)), params)
        super().__init__(to_torch(cell, wide), xs)
        self.back = back_by(lambda p: to_arrays(cell, p), params)

    def seen(self) -> tuple[Any, ...]:
        """Return outputs, value and gradients in our layout, as `jaxseq.bench.peers.want` does."""
        outs, value = self._host(self.forward()), self._host(self.gradient())
        grads = self.back({name: jnp.asarray(self._host(p.grad)) for name, p in self.module.named_parameters()})
        return outs, value, jax.device_get(grads), self._host(self.xs.grad)


def torchrecurrent_layer(cell: Cell, shape: tuple[int, int, int, int], xs: jax.Array) -> TorchModule:
    """Return torchrecurrent's layer of the same cell, with its own random weights.

    Raises:
      ImportError: if it is not installed.
      InputError: if it has no such cell, or its value is not finite.
    """
    if cell.name not in THEIRS:
        raise InputError(f"it has no {cell.name}")
    import torchrecurrent

    kind, options = THEIRS[cell.name]
    made = TorchModule(getattr(torchrecurrent, kind)(*shape[2:], **options), xs)
    if not made.gradient().isfinite():
        raise InputError(f"its {kind} gives a value that is not finite")
    return made


TORCH: dict[str, Callable[..., TorchModule]] = {
    "torch": lambda cell, shape, params, xs: TorchLayer(cell, params, xs),
    "torchrecurrent": lambda cell, shape, params, xs: torchrecurrent_layer(cell, shape, xs),
}
"""Builders of torch layers: ``(cell, shape, params, xs)``; errors are as in `jaxseq.bench.peers.PEERS`."""
