"""Programs compiled in the background, in the order in which they are needed, while other work goes on."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax


class Program:
    """A compiled program, called like the jitted function it comes from."""

    def __init__(self, compiler: Compiler, compiled: Future[Any]) -> None:
        """Take the compiler, to whose `waited` it adds, and the future of the compiled program."""
        self.compiler, self.compiled = compiler, compiled

    def wait(self) -> None:
        """Wait until it is compiled."""
        begun = time.perf_counter()
        wait([self.compiled])
        self.compiler.waited += time.perf_counter() - begun

    def __call__(self, *args: Any) -> Any:
        """Call it, once it is compiled."""
        # only a call that has to wait adds to `waited`
        if not self.compiled.done():
            self.wait()
        return self.compiled.result()(*args)


class Compiler:
    """Compile programs on one thread, in order; at the end of the `with` block, drop those not started.

    XLA releases the interpreter lock while it compiles, and spreads each program over the cores: several at once
    would take as long together, and the first of them longer.

    Fields:
      waited: seconds spent waiting for programs.
    """

    def __init__(self) -> None:
        """Start without programs."""
        self.waited = 0.0
        # one thread: programs are finished in the order of the `program` calls, in which they are needed
        self._pool = ThreadPoolExecutor(max_workers=1)

    def program(self, jitted: jax.stages.Wrapped, *args: Any) -> Program:
        """Return the program of a jitted function for arguments of these shapes and dtypes."""
        # the thread traces and lowers as well, so the caller continues at once
        return Program(self, self._pool.submit(lambda: jitted.lower(*args).compile()))

    def __enter__(self) -> Compiler:
        return self

    def __exit__(self, *_: object) -> None:
        # XLA cannot be interrupted: wait for the program that is being compiled, drop those behind it
        self._pool.shutdown(cancel_futures=True)
