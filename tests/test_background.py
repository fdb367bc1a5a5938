"""Programs that are compiled in the background are those that jit would run, in the order in which they were asked."""

import threading

import jax
import jax.numpy as jnp
import pytest

from jaxseq.apps.background import Compiler


def test_a_program_is_the_jitted_function_for_its_shapes() -> None:
    jitted = jax.jit(lambda a, b: {"sum": a + 2 * b})
    with Compiler() as compiler:
        program = compiler.program(jitted, jax.ShapeDtypeStruct((3,), float), jnp.ones(3, float))
        assert (program(jnp.arange(3.0, dtype=float), jnp.full(3, 5.0, float))["sum"] == jnp.arange(3.0) + 10).all()
        with pytest.raises(TypeError):
            program(jnp.arange(4.0), jnp.ones(4))


def test_programs_are_traced_in_order_and_what_is_not_begun_is_dropped() -> None:
    begun, go, traced = threading.Event(), threading.Event(), []

    def function(n: int):
        def traceable(a):
            traced.append(n)
            if n == 1:
                begun.set()
                go.wait(10)
            return a + n

        return jax.jit(traceable)

    with Compiler() as compiler:
        first, second, third = (compiler.program(function(n), 1.0) for n in range(3))
        first.wait()
        assert begun.wait(10) and not third.compiled.done()
        threading.Timer(0.2, go.set).start()
        assert second.compiled.cancelled() is False and compiler.waited >= 0
    assert traced == [0, 1] and third.compiled.cancelled() and float(second(1.0)) == 2.0


def test_waiting_is_counted_and_an_error_reaches_the_caller() -> None:
    def traceable(a):
        threading.Event().wait(0.1)
        raise ValueError("as it is traced")

    with Compiler() as compiler:
        program = compiler.program(jax.jit(traceable), 1.0)
        with pytest.raises(ValueError, match="as it is traced"):
            program(1.0)
        assert compiler.waited > 0
