"""Programs exported for any size run in a process that does not know this package, and give its numbers."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxseq import InputError, decode, length_mask, trace, unroll
from jaxseq.cells import CELLS, lstm
from jaxseq.recurrence import RECURRENCES, checkpointed, clipped
from jaxseq.seq2seq import translator
from jaxseq.testing import Subject, assert_close, draw

KEY = jax.random.key(0)

SERVER = """
import sys
import jax, numpy as np
from jax import export
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_matmul_precision", "highest")
program = export.deserialize(open(sys.argv[1], "rb").read())
given = np.load(sys.argv[2])
out = {}
for n in range(3):
    args = [given[key] for key in sorted(given) if key.startswith(f"{n} ")]
    out |= {f"{n} {m:02}": a for m, a in enumerate(program.call(*args))}
    if "--gradients" in sys.argv:
        run = lambda *args: sum((a ** 2).sum() for a in program.call(*args))
        gradients = jax.grad(run, argnums=tuple(range(len(args))))(*args)
        out |= {f"{n} gradient {m:02}": a for m, a in enumerate(gradients)}
assert "jaxseq" not in sys.modules
np.savez(sys.argv[3], **out)
"""


def served(tmp_path, program: export.Exported, calls: list[list], **options) -> list[list]:
    """What a fresh process answers to each list of arrays; with ``vjp_order=1`` gradients of the sum of squares too."""
    (tmp_path / "program").write_bytes(program.serialize(**options))
    np.savez(tmp_path / "in.npz", **{f"{n} {m:02}": a for n, args in enumerate(calls) for m, a in enumerate(args)})
    command = [sys.executable, "-c", SERVER, *(str(tmp_path / name) for name in ("program", "in.npz", "out.npz"))]
    command += ["--gradients"] if options else []
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as out:
        return [[out[key] for key in sorted(out) if key.startswith(f"{n} ")] for n in range(len(calls))]


def types(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def test_every_recurrence_and_a_trace_in_a_process_of_their_own(tmp_path) -> None:
    """Params are given as the arrays that they are: the other process has no `LSTMParams`, and gets no other trees."""
    special = {"associative": CELLS["min_gru"], "chunked": CELLS["gla"]}
    cells = {name: special.get(name, lstm) for name in RECURRENCES}
    params = {cell: draw(Subject(cell), 1, (1,)).params for cell in cells.values()}
    leaves, structure = jax.tree.flatten(list(params.values()))

    def run(*given):
        *leaves, xs, lengths = given
        own = dict(zip(params, jax.tree.unflatten(structure, leaves), strict=True))
        mask = length_mask(lengths, xs.shape[0])
        runs = [unroll(cells[r], own[cells[r]], xs, mask=mask, recurrence=RECURRENCES[r]) for r in RECURRENCES]
        return jax.tree.leaves((runs, trace(lstm, own[lstm], xs, mask=mask)))

    t, b = export.symbolic_shape("t, b")
    of_data = jax.ShapeDtypeStruct((t, b, 3), jnp.float64), jax.ShapeDtypeStruct((b,), jnp.int32)
    program = export.export(jax.jit(run))(*types(leaves), *of_data)
    calls = []
    for T, B in ((1, 1), (4, 3), (9, 2)):
        calls.append([*leaves, draw(Subject(lstm), T, (B,)).xs, np.linspace(1, T, B).astype(np.int32)])
    for given, got in zip(calls, served(tmp_path, program, calls), strict=True):
        assert_close("served", got, list(map(np.asarray, jax.jit(run)(*given))), 1e-12)


def test_unroll_and_its_gradient_in_a_process_of_their_own(tmp_path) -> None:
    """Params are given as the arrays that they are: the other process has no `LSTMParams`."""

    def run(W, U, b, xs, mask_lengths):
        mask = length_mask(mask_lengths.astype(int), xs.shape[0])
        (h, c), outs = unroll(lstm, type(params)(W, U, b), xs, mask=mask)
        return h, c, outs

    params = draw(Subject(lstm), 1, (1,)).params
    t, b = export.symbolic_shape("t, b")
    f64 = partial(jax.ShapeDtypeStruct, dtype=jnp.float64)
    program = export.export(jax.jit(run))(*types(params), f64((t, b, 3)), f64((b,)))
    calls = []
    for T, B in ((1, 1), (4, 3), (9, 2)):
        calls.append([*params, draw(Subject(lstm), T, (B,)).xs, np.linspace(1.0, T, B)])
    for args, got in zip(calls, served(tmp_path, program, calls, vjp_order=1), strict=True):
        squares = lambda *args: sum((a**2).sum() for a in run(*args))  # noqa: E731
        want = [*run(*args), *jax.jit(jax.grad(squares, argnums=(0, 1, 2, 3, 4)))(*map(jnp.asarray, args))]
        assert_close("served", got, list(map(np.asarray, want)), 1e-12)


def test_a_translator_in_a_process_of_its_own(tmp_path) -> None:
    """Encoder, attention and greedy decoding for any length of the source and any batch."""
    model = translator(lstm)
    params = model.init(KEY, 7, 6, embedding=4, hidden=5, dtype=jnp.float64)
    leaves, structure = jax.tree.flatten(params)

    def translate(*args):
        *leaves, source, mask = args
        params = jax.tree.unflatten(structure, leaves)
        encoded = model.encode(params, source, mask)
        start = jnp.ones_like(source[0])
        done = decode.greedy(model.step(params, encoded), encoded.carry, start, eos=2, max_length=5)
        return done.tokens, done.log_probs, done.seen

    s, b = export.symbolic_shape("s, b")
    of_source = [jax.ShapeDtypeStruct((s, b), dtype) for dtype in (jnp.int32, jnp.bool_)]
    program = export.export(jax.jit(translate))(*types(leaves), *of_source)
    calls = []
    for S, B in ((1, 1), (4, 3), (9, 2)):
        source = np.random.default_rng(S).integers(0, 7, (S, B)).astype(np.int32)
        calls.append([*leaves, source, np.asarray(length_mask(jnp.linspace(1, S, B).astype(int), S))])
    for args, got in zip(calls, served(tmp_path, program, calls), strict=True):
        assert_close("served", got, list(map(np.asarray, jax.jit(translate)(*args))), 1e-12)
    assert len(np.unique(got[0])) > 1  # it says something


DEEP = translator(lstm, layers=2, decoder_layers=2, residual=True, layer_norm=True, tie="target", input_feeding=True)


@pytest.mark.parametrize("model", [translator(), DEEP], ids=["one layer", "deep"])
def test_teacher_forcing_for_any_target(model) -> None:
    params = model.init(KEY, 7, 6, embedding=5, hidden=5, dtype=jnp.float64)

    def logits(params, source, mask, inputs):
        return model.decode(params, model.encode(params, source, mask), inputs)[1]

    s, t, b = export.symbolic_shape("s, t, b")
    int32 = partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    mask = jax.ShapeDtypeStruct((s, b), jnp.bool_)
    program = export.export(jax.jit(logits))(types(params), int32((s, b)), mask, int32((t, b)))
    for S, T, B in ((1, 1, 1), (4, 2, 3)):
        source, inputs = (np.random.default_rng(n).integers(0, 6, (n, B)).astype(np.int32) for n in (S, T))
        args = params, source, source > 1, inputs
        assert_close("called", program.call(*args), jax.jit(logits)(*args), 1e-12)


def test_beam_search_for_any_source_and_batch() -> None:
    model = translator()
    params = model.init(KEY, 7, 6, embedding=4, hidden=5, dtype=jnp.float64)

    def translate(params, source, mask):
        encoded = model.encode(params, source, mask)
        options = {"eos": 2, "max_length": 5, "size": 3, "n_best": 2, "length_penalty": 1.0, "coverage_penalty": 0.1}
        step, start = model.step(params, encoded), jnp.ones_like(source[0])
        return tuple(decode.beam(step, encoded.carry, start, source_mask=mask.T, **options))

    s, b = export.symbolic_shape("s, b")
    of_source = [jax.ShapeDtypeStruct((s, b), dtype) for dtype in (jnp.int32, jnp.bool_)]
    program = export.deserialize(export.export(jax.jit(lambda leaves, *data: translate(
        jax.tree.unflatten(jax.tree.structure(params), leaves), *data)))(types(jax.tree.leaves(params)), *of_source
    ).serialize())  # fmt: skip
    for S, B in ((1, 1), (4, 3)):
        source = np.random.default_rng(S).integers(0, 7, (S, B)).astype(np.int32)
        mask = length_mask(jnp.linspace(1, S, B).astype(int), S)
        got = program.call(jax.tree.leaves(params), source, mask)
        assert_close("called", got, jax.jit(translate)(params, source, mask), 1e-12)


def test_segments_of_any_length() -> None:
    """Checkpointed pads to whole segments; clipped, whose clippings would move, asks that they are whole."""
    params, xs, _ = draw(Subject(lstm), 10, (2,))
    want = unroll(lstm, params, xs)

    def exported(recurrence, T: str):
        given = jax.ShapeDtypeStruct((*export.symbolic_shape(T), 2, 3), jnp.float64)
        return export.export(jax.jit(lambda p, xs: unroll(lstm, p, xs, recurrence=recurrence)))(types(params), given)

    assert_close("checkpointed", exported(partial(checkpointed, segment=4), "t").call(params, xs), want)
    assert_close("clipped", exported(partial(clipped, segment=5), "5*t").call(params, xs), want)
    with pytest.raises(InputError, match=r"clipped: T must be a multiple of segment; got T = t and segment = 5"):
        exported(partial(clipped, segment=5), "t")
