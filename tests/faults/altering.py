"""Valid files and values altered as hypothesis draws it: bytes changed, cut, doubled; parts of JSON replaced."""

import copy
import os
import time

from hypothesis import HealthCheck, given, settings, strategies as st

SECONDS = float(os.environ.get("JAXSEQ_FAULT_SECONDS", 0))
"""How long each reader is tried in the long form; without it, `FEW` altered files."""
FEW = 40
PIECES = [
    b"\xff", b"\0", b"[", b"{", b'"', b"\\", b"\x1b[31m", b"\n", b"\r", b",", b"\t", b";", b"-1", b"1e999", b"NaN",
    b"inf", b"Infinity", b"null", b"true", b"[]", b"{}", b"9" * 40, b"\xed\xa0\x80", b"\xe2\x80\xae", b"9999-12-31",
    b"0001-01-01", b" " * 300, b"[" * 300, b"=1+1", b"$x_", b"PK\x03\x04", b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"2999-12-31", b"%",
]  # fmt: skip
"""Bytes with which readers have had trouble."""
VALUES = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e999, -1e999, float("nan"), 0.5, "", "x", "\x1b[2J", "\ud800",
    "9" * 5000, [], {}, [[]], [None], {"a": None}, [1] * 50, "h", "gru", "lstm", "2020-01-01",
]  # fmt: skip
"""What may be where something else was in JSON; dates and names among them, so that the next check is reached."""


@st.composite
def altered_bytes(draw, files):
    """Return one of some files' bytes with up to four changes."""
    raw = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(1, 4))):
        start, size = draw(st.integers(0, len(raw))), draw(st.integers(0, 40))
        piece = draw(st.sampled_from(PIECES) | st.binary(min_size=1, max_size=4))
        kind = draw(st.sampled_from(["replace", "insert", "delete", "double", "cut", "flip"]))
        if kind == "replace":
            raw = raw[:start] + piece + raw[start + len(piece) :]
        elif kind == "insert":
            raw = raw[:start] + piece + raw[start:]
        elif kind == "delete":
            raw = raw[:start] + raw[start + size :]
        elif kind == "double":
            raw = raw[:start] + raw[start : start + size] * 2 + raw[start + size :]
        elif kind == "cut":
            raw = raw[:start]
        elif start < len(raw):
            raw = raw[:start] + bytes([raw[start] ^ (1 << size % 8)]) + raw[start + 1 :]
    return raw


@st.composite
def altered_json(draw, value):
    """Return a copy of JSON's value in which up to three parts are replaced or removed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        inner = value
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(inner[key], dict | list) and inner[key] and draw(st.booleans()):
                inner = inner[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                del inner[key]
            else:
                inner[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
            break
    return value


def try_all(strategy, attempt) -> dict[str, int]:
    """Try altered inputs, `FEW` or as many as `SECONDS` allow; return how many were accepted and refused.

    `attempt` returns whether an input was accepted; an exception that it raises is shown by hypothesis with the
    smallest input that raises it.
    """
    counts, end = {"accepted": 0, "refused": 0}, time.monotonic() + SECONDS

    @settings(
        max_examples=500 if SECONDS else FEW, deadline=None, database=None, derandomize=not SECONDS,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def once(drawn):
        counts["accepted" if attempt(drawn) else "refused"] += 1

    once()
    while time.monotonic() < end:
        once()
    return counts
