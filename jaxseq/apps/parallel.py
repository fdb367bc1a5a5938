"""Several devices, and several processes that train as one; the first process writes files and prints.

All processes run the same steps, and meet before each computation that they share (`ProcessGroup.meet`). One that has
failed says so at the next meeting, and all others then fail with one sentence instead of waiting for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxseq.devices import ONE, Devices
from jaxseq.errors import InputError
from jaxseq.notation import Tree
from jaxseq.texts import tell
from jaxseq.train import Interrupted

AUTO = "auto"
"""The value of --coordinator that looks for it in the environment."""
MESSAGE = 2000
"""Most bytes of a process's message at a meeting."""
TIMEOUT = 300
"""Seconds that processes wait for each other, at the start and at the end."""
SILENCE = 40
"""Seconds after which a process that has not been heard of counts as ended; jax then ends the others."""


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """The devices and processes that train. A run does not store them: it can continue with others."""

    devices: int | None = None
    """Devices of each process that share the rows of a batch; by default one, or all with several processes."""
    coordinator: str | None = None
    """With several processes: host:port where process 0 listens, the same for all. Or auto: take it, --processes and
    --process from the environment of SLURM, Open MPI, Kubernetes or Cloud TPU."""
    processes: int | None = None
    """How many processes train together."""
    process: int | None = None
    """Number of this process; process 0 writes the run."""

    def check(self) -> None:
        """Check the options as far as one process can.

        Raises:
          InputError: naming the option, its allowed values and its value.
        """
        numbers = (self.processes, self.process)
        if self.devices is not None and self.devices < 1:
            raise InputError(f"--devices must be at least 1; got {self.devices}")
        if self.coordinator is None and numbers != (None, None):
            raise InputError("--processes and --process need --coordinator HOST:PORT, where process 0 listens")
        if self.coordinator == AUTO and numbers != (None, None):
            raise InputError("--coordinator auto finds --processes and --process; leave them out")
        if self.coordinator not in (None, AUTO):
            host, _, port = str(self.coordinator).rpartition(":")
            if not (host and port.isdigit() and 0 < int(port) < 2**16):
                raise InputError(
                    f"--coordinator must be HOST:PORT, such as node1:9876, or auto; got {self.coordinator}"
                )
            if self.processes is None or self.process is None or not 0 <= self.process < self.processes:
                raise InputError(
                    "--coordinator needs --processes N and --process I, from 0 to N - 1; got --processes "
                    f"{self.processes} --process {self.process}"
                )


@dataclasses.dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together.

    Fields:
      devices: of all processes.
      count: of processes.
      index: of this one.
    """

    devices: Devices = ONE
    count: int = 1
    index: int = 0

    @property
    def first(self) -> bool:
        """Return whether this process writes files and prints."""
        return self.index == 0

    def meet(self) -> None:
        """Wait for all processes; call it before each computation that they share.

        Raises:
          InputError: if another one failed.
        """
        self._said()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is True in any process; all must call it."""
        return any(text == "yes" for text in self._said("yes" if flag else ""))

    def check_same(self, what: str, text: str) -> None:
        """Check that a text is the same in all processes; all must call it.

        Raises:
          InputError: in all of them, if one has another.
        """
        # a checksum of the text: a meeting carries `MESSAGE` bytes
        said = self._said(hashlib.sha256(text.encode()).hexdigest())
        if other := next((n for n, theirs in enumerate(said) if theirs != said[0]), 0):
            raise InputError(f"process {other} has other {what} than process 0; give all processes the same")

    def share(self, tree: Tree) -> Tree:
        """Return the first process's tree of arrays, as NumPy's; those of the others need to have the same shapes."""
        if self.count == 1:
            return tree
        from jax.experimental import multihost_utils

        leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
        # as bytes: JAX would make float32 of a float64
        data = multihost_utils.broadcast_one_to_all(np.frombuffer(b"".join(map(np.ndarray.tobytes, leaves)), np.uint8))
        parts = np.split(np.asarray(data), np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
        shared = [part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, shared)

    def share_facts(self, facts: Any) -> Any:
        """Return the first process's facts, anything JSON can hold."""
        if self.count == 1:
            return facts
        data = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        # the length first: the arrays of all processes must have one shape, which `resize` then gives them
        length = int(self.share(np.int64(len(data))))
        return json.loads(self.share(np.resize(data, length)).tobytes())

    def _said(self, text: str = "", *, failed: bool = False) -> Sequence[str]:
        """Send a text to all processes, and return the text of each.

        Raises:
          InputError: if another one failed.
        """
        if self.count == 1:
            return [text]
        # a character takes at most 6 bytes, as a control character that JSON escapes
        said = [json.loads(each) for each in _texts(json.dumps([failed, text[: MESSAGE // 6]], ensure_ascii=False))]
        for number, (theirs, why) in enumerate(said):
            # a process that has failed itself raises its own error instead
            if theirs and not failed:
                raise _PeerError(f"process {number} of {self.count} stopped: {why}")
        return [each for _, each in said]

    @contextlib.contextmanager
    def failing_together(self) -> Iterator[None]:
        """Wait at the end for all processes; if one fails in the block, all do.

        An error other than InputError ends this process at once: the others may be in the middle of a computation and
        cannot be told. JAX ends them when the connection is lost.
        """
        try:
            yield
            self._said()
        except _PeerError:
            raise
        except (InputError, Interrupted, OSError) as error:
            self._said(str(error), failed=True)
            raise
        except BaseException as error:
            if _is_lost(error) or isinstance(error, jax.errors.JaxRuntimeError | KeyboardInterrupt):
                why = str(error).partition("\n")[0] or "interrupted"
                if _is_lost(error):
                    why = f"{LOST}: {why}. Start all processes again; training goes on with --resume"
                tell(f"process {self.index} of {self.count}: {why}")
            else:
                traceback.print_exc()
            # os._exit writes no buffer out
            sys.stdout.flush()
            sys.stderr.flush()
            # at once, without `finally` blocks: `joined` would wait there for processes that wait for this one
            os._exit(1)


class _PeerError(InputError):
    """Another process failed, and all know it."""


class _LostError(Exception):
    """Another process ended without a message."""


LOST = "another process has ended, or cannot be reached"


def _is_lost(error: BaseException) -> bool:
    """Return whether an error says that another process is gone; JAX raises several types for it."""
    return isinstance(error, _LostError) or bool(re.search("Gloo|NCCL", str(error)))


ALONE = ProcessGroup()
"""One process, on the device where JAX computes by default."""


@contextlib.contextmanager
def joined(config: ParallelConfig) -> Iterator[ProcessGroup]:
    """Connect the processes for as long as the block lasts; must come before anything is computed.

    Raises:
      InputError: if there are fewer devices than asked for, the processes do not find each other, or another fails.
    """
    config.check()
    if config.coordinator is None:
        yield dataclasses.replace(ALONE, devices=_devices(config, 1))
        return
    _connect(config)
    try:
        group = ProcessGroup(count=jax.process_count(), index=jax.process_index())
        counts = [len(jax.local_devices(process_index=n)) for n in range(group.count)]
        if len({*counts}) > 1:
            raise InputError(f"all processes must have the same number of devices; they have {counts}")
        with _no_output(), group.failing_together():
            devices = _devices(config, group.count)
            group.check_same("--devices", str(len(devices)))
            # the first sum over these devices, for its output
            devices.jit(lambda rows: devices.rows(rows).sum())(np.ones(len(devices), np.int32)).block_until_ready()
        group = dataclasses.replace(group, devices=devices)
        with group.failing_together():
            yield group
    finally:
        jax.distributed.shutdown()


def _connect(config: ParallelConfig) -> None:
    found = config.coordinator == AUTO
    jax.config.update("jax_enable_preemption_service", False)  # `failing_together` does this; it logs its failures
    try:
        jax.distributed.initialize(
            None if found else config.coordinator, config.processes, config.process,
            # without it JAX looks for SLURM and the like even if everything is given
            cluster_detection_method=None if found else "deactivate",
            initialization_timeout=TIMEOUT, shutdown_timeout_seconds=TIMEOUT, heartbeat_timeout_seconds=SILENCE,
        )  # fmt: skip
    except (ValueError, KeyError) as error:
        raise InputError(
            f"--coordinator auto: the environment does not say which processes train together ({error}); start them "
            "with srun or mpirun, or give --coordinator HOST:PORT --processes N --process I"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"--coordinator {config.coordinator}: cannot connect ({str(error).splitlines()[0]}); give the address of "
            "process 0 and a free port, and start all processes"
        ) from error


def _devices(config: ParallelConfig, processes: int) -> Devices:
    """Return the requested devices, equally many of each process."""
    if processes == 1 and config.devices in (None, 1):
        return ONE
    here = jax.local_devices()
    wanted = config.devices or len(here)
    if len(here) < wanted:
        cpu = here[0].platform == "cpu"
        hint = f"; set XLA_FLAGS=--xla_force_host_platform_device_count={wanted} to divide the CPU" if cpu else ""
        raise InputError(f"--devices {wanted}: only {len(here)} found ({here[0].platform}){hint}")
    # all processes list the devices in one order, and so have the same mesh
    return Devices([device for n in range(processes) for device in jax.local_devices(process_index=n)[:wanted]])


def check_batch(option: str, size: int, devices: Devices) -> None:
    """Check that each device gets part of a batch, whose `size` in rows or tokens is that of an option.

    Raises:
      InputError: if the batch has fewer rows or tokens than there are devices.
    """
    if size < len(devices):
        raise InputError(
            f"{option} {size} is less than the number of devices, {len(devices)}; raise it, or use fewer --devices"
        )


def _texts(text: str) -> list[str]:
    """Return the text of each process."""
    from jax.experimental import multihost_utils

    # of one shape in all processes; JSON has no zero byte, so that the filling can be taken off again
    data = np.frombuffer(text.encode().ljust(MESSAGE, b"\0"), np.uint8)
    try:
        said = np.asarray(multihost_utils.process_allgather(data))
    except (ValueError, RuntimeError) as error:  # JAX raises either, depending on how the connection breaks
        raise _LostError(str(error)) from error
    return [bytes(each).rstrip(b"\0").decode() for each in said]


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Discard standard output: gloo, which connects CPUs, prints a greeting there, where programs read results."""
    sys.stdout.flush()
    # gloo writes to the file descriptor from C++, below sys.stdout
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
