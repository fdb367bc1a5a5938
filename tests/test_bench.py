"""`jaxseq bench`: what it counts, compares and refuses. No time is a test."""

import json
import mmap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import run_readme

from jaxseq import cli
from jaxseq.bench import peers, program
from jaxseq.bench.floor import FORMS, _operands, _run, floor
from jaxseq.bench.products import Product, products
from jaxseq.bench.systems import OURS, Case, systems
from jaxseq.cells import CELLS, gru, lstm

GUIDE = Path(peers.__file__).parent.parent / "guide" / "benchmarking.md"
B, T, D, H = SHAPE = 3, 5, 4, 6

CUSTOM = """
import jax.numpy as jnp
from jaxseq.cells import rnn
import dataclasses
mine = dataclasses.replace(rnn, name="mine")
"""


def run(*args: object) -> int:
    return cli.main(["bench", *map(str, args)])


@pytest.mark.parametrize(
    ("name", "each_step"),
    [
        ("lstm", D * 4 * H + H * 4 * H),
        ("gru", D * 3 * H + H * 3 * H),
        ("gru_cho", D * 3 * H + H * 2 * H + H * H),  # its last product is inside of the equations
        ("indrnn", D * H),  # its units see only themselves
        ("rhn_coupled", D * 2 * H + 3 * H * 2 * H),  # three products in a step, one after the other
    ],
)
def test_the_floor_counts_what_the_equations_multiply(name, each_step):
    params, xs = peers.setup(CELLS[name], SHAPE)
    forward = sum(product.flops for product in products(CELLS[name], params, xs))
    assert forward == 2 * B * T * each_step
    assert sum(product.flops for product in products(CELLS[name], params, xs, gradient=True)) == 3 * forward


def test_what_depends_on_parameters_alone_is_not_counted():
    cell = CELLS["exp_rnn"]  # its U is an exponential: a product of parameters in every step
    params, xs = peers.setup(cell, SHAPE)
    assert {product.flops for product in products(cell, params, xs)} == {2 * B * T * D * H, 2 * B * T * H * H}


def test_the_gradient_of_a_weight_is_one_product_over_all_steps():
    _, step = products(lstm, *peers.setup(lstm, SHAPE))
    of_rows, of_weight = step.backward()
    assert step == Product(B, H, 4 * H, times=T)
    assert of_rows == Product(B, 4 * H, H, times=T) and of_weight == Product(H, B * T, 4 * H)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("product", [Product(3, 4, 5), Product(3, 4, 8, times=3), Product(3, 6, 4, times=2, batch=2)])
def test_every_form_of_a_product_is_the_product(product, form):
    """A chain of products, each of which takes what the one before gave, against NumPy."""
    exchanged, turned = FORMS[form]
    operands = _operands(product, form, jnp.float64)
    got = np.asarray(_run(product, form, operands))
    left, right = (np.asarray(a) for a in operands)
    x, w = (right, left.swapaxes(1, 2)) if exchanged else (left, right)
    x, w = (x.swapaxes(1, 2) if exchanged else x), (w.swapaxes(1, 2) if turned else w)
    for _ in range(product.times):
        made = x @ w
        size = min(product.inner, product.columns)
        x = np.concatenate([made[..., :size], x[..., size:]], axis=-1)
    want = made if product.times == 1 else x
    np.testing.assert_allclose(got.swapaxes(1, 2) if exchanged else got, want, rtol=1e-12)


def test_the_floor_is_one_program_with_every_product(as_users_have_it):
    needed = products(gru, *peers.setup(gru, SHAPE), gradient=True)
    made = floor(needed)()
    assert len(made) == len(needed) == 6
    sizes = sorted(a.size for a in made)  # of a chain the last operand, of the others their result
    assert sizes == sorted([B * T * 3 * H, B * H, B * T * D, D * 3 * H, B * 3 * H, H * 3 * H])


def test_the_counter_of_page_faults_sees_an_allocation():
    def touch() -> None:
        with mmap.mmap(-1, 2**24) as memory:  # fresh pages, whatever malloc has kept
            memory.write(b"x" * 2**24)

    seen = program.page_faults(touch)
    if seen is None:
        pytest.skip("this platform does not count page faults")
    assert seen > 8 > program.page_faults(lambda: None)  # pages may be large: 2**24 bytes are 8 of the largest usual


def test_loops_and_operations_are_counted_in_the_compiled_text():
    text = """
%inside (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %a = f32[2]{0} add(%p, %p)
}
%body (t: (s32[], f32[2])) -> (s32[], f32[2]) {
  %t = (s32[], f32[2]{0}) parameter(0)
  %x = f32[2]{0} get-tuple-element(%t), index=1
  %f = f32[2]{0} fusion(%x), kind=kLoop, calls=%inside
  %d = f32[2]{0} custom-call(%f), custom_call_target="gemm"
  ROOT %r = (s32[], f32[2]{0}) tuple(%i, %d)
}
%condition (t: (s32[], f32[2])) -> pred[] {
  %t = (s32[], f32[2]{0}) parameter(0)
  ROOT %less = pred[] compare(%t, %t), direction=LT
}
ENTRY %main (x: f32[2]) -> f32[2] {
  %x = f32[2]{0} parameter(0)
  %w = (s32[], /*index=1*/f32[2]{0}) while(%x), condition=%condition, body=%body
  ROOT %y = f32[2]{0} copy(%w)
}
"""
    assert program.count(text) == (5, 1, 1)  # fusion, custom-call, compare, while, copy
    xs = jnp.ones((5, 2, 3))
    compiled = jax.jit(lambda xs: jax.lax.scan(lambda h, x: (jnp.tanh(h + x), h), xs[0], xs)).lower(xs).compile()
    assert program.inspect(compiled).loops == 1
    big = jax.jit(lambda a: (a @ a) @ jnp.tanh(a)).lower(jnp.ones((64, 64), jnp.float32)).compile()
    assert program.inspect(big).temporary >= 64 * 64 * 4


def test_who_computes_something_else_is_left_out_with_a_reason(monkeypatch, as_users_have_it):
    def wrong(cell, params, xs):
        return peers.textbook(cell, params._replace(b=params.b + 1), xs)

    def failing(cell, params, xs):
        def outs(weights, xs):
            raise TypeError("no such dtype")

        return peers.Layer(outs, params, lambda g: g)

    monkeypatch.setitem(peers.PEERS, "haiku", wrong)
    monkeypatch.setitem(peers.PEERS, "keras", failing)
    said: list[str] = []
    found = systems(Case(lstm, SHAPE), ["haiku", "keras", "plain scan", "torchrecurrent"], said.append)
    assert set(found) == {OURS, "plain scan"}
    assert [line.split(" is ")[0] for line in said] == ["haiku", "keras", "torchrecurrent"]
    assert "differs from ours by" in said[0] and "no such dtype" in said[1]


@pytest.mark.parametrize(("name", "dtype"), [("lru", "float32"), ("conv_gru", "float32"), ("lstm", "bfloat16")])
def test_a_peer_that_cannot_is_never_an_error(name, dtype, as_users_have_it):
    said: list[str] = []
    found = systems(Case(CELLS[name], (2, 3, 4, 4), dtype), ["plain scan", "equinox", "keras", "linen"], said.append)
    assert {OURS, "plain scan"} <= set(found)
    assert {line.split()[0] for line in said} | set(found) >= {"equinox", "keras", "linen"}


def test_a_custom_cell_and_two_runs_compared(tmp_path, monkeypatch, capsys, as_users_have_it):
    monkeypatch.chdir(tmp_path)
    Path("cells.py").write_text(CUSTOM)
    modes = ["forward", "gradient", "train"]
    files = ["--json", "a.json", "--plot", "a.png"]
    shape = "2 4 3 8".split()
    assert run("cells.py:mine", "--shapes", *shape, "--rounds", 2, "--against", "scan", "--modes", *modes, *files) == 0
    shown = capsys.readouterr()
    assert "mine (2, 4, 3, 8) train" in shown.out and "plain scan" in shown.out and "floor" in shown.out
    rows = json.loads(Path("a.json").read_text())["rows"]
    assert [row["mode"] for row in rows] == modes
    assert [row["flops"] for row in rows] == [2 * 2 * 4 * (3 + 8) * 8 * n for n in (1, 3, 3)]
    assert all(set(row["samples"]) == {OURS, "plain scan", "floor"} for row in rows)
    assert all(len(of) == 2 and min(of) > 0 for row in rows for of in row["samples"].values())
    assert rows[1]["programs"][OURS]["loops"] == 2  # forward and back
    assert Path("a.png").stat().st_size > 10_000

    found = json.loads(Path("a.json").read_text())
    for row in found["rows"]:  # as if ours had become twice as fast
        row["samples"][OURS] = [ms / 2 for ms in row["samples"][OURS]]
    Path("b.json").write_text(json.dumps(found))
    assert run("compare", "a.json", "b.json") == 0
    (mean,) = (line for line in capsys.readouterr().out.split("geometric mean")[1].splitlines() if OURS in line)
    assert mean.split()[1] == "2.00"


def test_eager_compile_and_memory(tmp_path, capsys, as_users_have_it):
    file = tmp_path / "modes.json"
    common = ["lstm", "--shapes", *"2 3 4 4".split(), "--rounds", 1, "--against", "scan", "--json", file]
    assert run(*common, "--modes", "eager", "compile", "memory") == 0
    forward, gradient, one, four, memory = json.loads(file.read_text())["rows"]
    assert forward["compiled"][f"{OURS} eager"] == gradient["compiled"][f"{OURS} eager"] == 0
    assert {f"{OURS} {what}" for what in ("eager", "jitted", "trace eager", "step jitted")} <= set(forward["samples"])
    assert one["programs"][OURS]["loops"] == four["programs"][OURS]["loops"] == 2  # a stack is one loop, and its back
    assert four["programs"][f"{OURS} one after the other"]["loops"] == 8
    for row in (one, four):
        parts = sum(row["samples"][f"{OURS} {phase}"][0] for phase in ("trace", "lower", "compile"))
        assert row["samples"][OURS][0] == pytest.approx(parts)
    assert {f"{OURS} gradient", f"{OURS} checkpointed gradient", "plain scan forward"} <= set(memory["samples"])
    out = capsys.readouterr().out
    assert "eager / jitted" in out and "a stack of 4" in out and "temporary MiB" in out


def test_the_batch_is_sharded(as_users_have_it):
    found = systems(Case(gru, (4, 3, 2, 5), devices=2), ["plain scan"], print)
    for system in found.values():
        outs = system.thunk("forward")()
        assert len(outs.sharding.device_set) == 2 and outs.sharding.shard_shape(outs.shape) == (3, 2, 5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["lsmt"], "unknown cell 'lsmt': did you mean 'lstm'"),
        (["nowhere.py:cell"], "there is no file"),
        (["lstm", "--against", "flux"], "unknown peer 'flux': did you mean 'flax'"),
        (["lstm", "--modes", "backward"], "unknown mode 'backward'"),
        (["lstm", "--recurrence", "defered"], "did you mean 'deferred'"),
        (["lstm", "--dtype", "float23"], "did you mean 'float32'"),
        (["lstm", "--shapes", "1", "2", "3"], "four sizes of at least 1 for each shape, B T D H; got 1 2 3"),
        (["lstm", "--shapes", "1", "2", "3", "0"], "at least 1"),
        (["lstm", "--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["lstm", "--json", "no/such/folder.json"], "--json no/such/folder.json"),
        (["lstm", "--json", "."], "--json ."),
        (["lstm", "--plot", "a.jpeg2"], "must end in .png"),
        (["lstm", "--modes", "memory", "--plot", "a.png"], "--plot draws"),
        (["lstm", "--devices", "99"], "JAX_NUM_CPU_DEVICES=99"),
        (["lstm", "--devices", "2", "--shapes", "3", "2", "3", "4"], "does not divide 3"),
        (["compare", "a.json"], "two files"),
        (["compare", "a.json", "b.json"], "cannot read a.json"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_timed(given, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(*given) == 2
    out, err = capsys.readouterr()
    assert said in err and len(err.strip().splitlines()) == 1 and out == ""


def test_the_guides_code_says_what_it_prints(as_users_have_it, capsys):
    names: dict = {}
    blocks = run_readme.blocks(GUIDE.read_text(encoding="utf-8"), "python")
    assert len(blocks) == 6 and len(GUIDE.read_text(encoding="utf-8").splitlines()) <= 120
    for block in blocks:
        exec(block, names)
        said = capsys.readouterr().out
        assert all(line in said for line in run_readme.printed(block))
