"""Measures of a compiled program other than time: temporary memory, operations, and page faults."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import jax

from jaxseq.bench.timing import Thunk

BOOKKEEPING = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
"""HLO instructions that execute nothing."""
HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?[\w.-]+ = .*? ([a-z][\w-]*)\(")
ENTERED = re.compile(r"(?:body|condition|to_apply|true_computation|false_computation)=%?([\w.-]+)")
BRANCHES = re.compile(r"branch_computations=\{(.*?)\}")


class Program(NamedTuple):
    """A compiled program in numbers.

    Fields:
      temporary: bytes of temporary memory; None if the backend does not report it.
      operations: instructions that execute something: kernels, library calls, copies; a loop's body counts once.
      fusions: the number of fusions among them.
      loops: while loops.
    """

    temporary: int | None
    operations: int
    fusions: int
    loops: int


def inspect(compiled: Any) -> Program:
    """Return the numbers of a compiled program, ``jax.jit(f).lower(...).compile()``.

    Example:
      >>> compiled = jax.jit(lambda x: jax.numpy.tanh(x) + 1).lower(jax.numpy.ones(9)).compile()
      >>> inspect(compiled).loops, inspect(compiled).operations > 0
      (0, True)
    """
    memory = compiled.memory_analysis()
    counts = count(compiled.as_text() or "")
    return Program(None if memory is None else int(memory.temp_size_in_bytes), *counts)


def count(hlo: str) -> tuple[int, int, int]:
    """Return ``(operations, fusions, loops)`` of a compiled module's text.

    Only the entry computation and those that it enters (loop bodies and conditions, branches, calls) are read: all
    operations inside a fusion are one kernel.
    """
    lines: dict[str, list[str]] = {}
    entry = here = ""
    for line in hlo.splitlines():
        if head := HEAD.match(line):
            here = head[2]
            entry = here if head[1] else entry
            lines[here] = []
        elif here:
            lines[here].append(line)
    operations = fusions = loops = 0
    waiting, seen = [entry], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in lines:
            continue
        seen.add(name)
        for line in lines[name]:
            found = INSTRUCTION.match(line)
            if found is None or found[1] in BOOKKEEPING:
                continue
            kind = found[1]
            operations, fusions, loops = operations + 1, fusions + (kind == "fusion"), loops + (kind == "while")
            if kind in ("while", "call", "conditional"):
                waiting += ENTERED.findall(line)
                waiting += [n.strip(" %") for of in BRANCHES.findall(line) for n in of.split(",")]
    return operations, fusions, loops


def page_faults(run: Thunk, calls: int = 3) -> float | None:
    """Return the page faults of a call; for large temporaries they take noticeable time.

    The minor faults of `getrusage`, of all threads, after one uncounted call; None if the platform does not count them.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    jax.block_until_ready(run())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        jax.block_until_ready(run())
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls
