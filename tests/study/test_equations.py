"""The program that explains a step is run, and prints the number that JAX had."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, trace
from jaxseq.attention import additive, reading, with_attention
from jaxseq.cells import CELLS, LSTMParams, gru, lstm, stack
from jaxseq.interventions import clamp
from jaxseq.study import explain, gates_of
from jaxseq.testing import Subject, draw, holes
from jaxseq.trees import named_leaves

T, B, STEP, UNIT, ROW = 5, 3, 3, 2, 1


def printed(program: str) -> float:
    said: list[float] = []
    exec(compile(program, "program", "exec"), {"print": said.append})
    (number,) = said
    return float(number)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_cho", "rnn", "rnn_relu"])
def test_the_program_prints_the_output(name: str) -> None:
    cell = CELLS[name]
    params, xs, carry = draw(Subject(cell), T, (B,))
    for step in (0, STEP):
        seen = explain(cell, params, xs, carry, step=step, unit=UNIT, row=ROW)
        want = trace(cell, params, xs, carry)[1].outs[step, ROW, UNIT]
        np.testing.assert_allclose([printed(seen.program), seen.result, seen.lines[-1].value], want, rtol=1e-12)
        assert ("r * h of all units" in seen.note) if name == "gru_cho" else (seen.note == "")
    gates = gates_of(cell, params, xs, carry)
    lines = {line.name: line for line in seen.lines}
    for gate, values in gates.items():
        np.testing.assert_allclose(lines[gate].value, values[STEP, ROW, UNIT], rtol=1e-12)


def test_the_program_runs_by_itself(as_users_have_it) -> None:
    params, xs, carry = draw(Subject(lstm), T, (B,), jnp.float32)
    seen = explain(lstm, params, xs, carry, step=STEP, unit=UNIT, row=ROW)
    said = subprocess.check_output([sys.executable, "-c", seen.program], text=True)
    np.testing.assert_allclose(float(said), trace(lstm, params, xs, carry)[1].outs[STEP, ROW, UNIT], rtol=1e-5)


def test_terms_are_the_largest_and_all_add_up() -> None:
    params, xs, carry = draw(Subject(lstm), T, (B,))
    seen = explain(lstm, params, xs, carry, step=0, unit=UNIT, row=ROW, most=3)
    line = seen.lines[0]
    column = UNIT  # of the input gate
    every = {f"x[{d}] * W_i[{d}, {UNIT}]": xs[0, ROW, d] * params.W[d, column] for d in range(3)}
    every |= {f"h[{k}] * U_i[{k}, {UNIT}]": carry.h[ROW, k] * params.U[k, column] for k in range(5)}
    every[f"b_i[{UNIT}]"] = params.b[column]
    largest = sorted(every, key=lambda label: -abs(every[label]))[:3]
    assert [term.label for term in line.terms] == largest
    for term in line.terms:
        np.testing.assert_allclose(term.value, every[term.label], rtol=1e-12)
    np.testing.assert_allclose(sum(t.value for t in line.terms) + line.others, line.value, rtol=1e-12)
    np.testing.assert_allclose(line.value, sum(every.values()), rtol=1e-12)


@pytest.mark.parametrize("name", ["mgu", "lstm_peephole", "sru", "lstm_noaf", "indrnn", "lru", "slstm"])
def test_other_cells_are_explained_too(name: str) -> None:
    cell = CELLS[name]
    params, xs, carry = draw(Subject(cell), T, (B,))
    mask = holes(T, (B,)).at[STEP, ROW].set(True)
    seen = explain(cell, params, xs, carry, mask=mask, step=STEP, unit=UNIT, row=ROW)
    run = trace(cell, params, xs, carry, mask=mask)[1]
    want = run.outs[STEP, ROW, UNIT]
    np.testing.assert_allclose([printed(seen.program), seen.result, seen.lines[-1].value], want, rtol=1e-12)
    lines = {line.name: line for line in seen.lines}
    for gate, values in named_leaves(run.gates).items():
        if values.ndim == 3:
            np.testing.assert_allclose(lines[gate].value, values[STEP, ROW, UNIT], rtol=1e-12, err_msg=gate)
    for line in seen.lines:
        if line.terms:
            total = sum(term.value for term in line.terms) + line.others
            np.testing.assert_allclose(total, line.value, rtol=1e-12)


def test_a_step_after_padding_starts_from_the_last_real_one() -> None:
    params, xs, carry = draw(Subject(lstm), T, (B,))
    for real in ([1, 1, 0, 1, 1], [0, 0, 0, 1, 1]):
        mask = jnp.array(real, bool)[:, None] & jnp.ones((T, B), bool)
        seen = explain(lstm, params, xs, carry, mask=mask, step=STEP, unit=UNIT, row=ROW)
        want = trace(lstm, params, xs, carry, mask=mask)[1].outs[STEP, ROW, UNIT]
        np.testing.assert_allclose([printed(seen.program), seen.result], want, rtol=1e-12)


def test_a_clamped_cell_is_explained_by_the_equations_it_has() -> None:
    params, xs, carry = draw(Subject(lstm), T, (B,))
    seen = explain(clamp(lstm, f=1.0), params, xs, carry, step=STEP, unit=UNIT)
    lines = {line.name: line for line in seen.lines}
    assert (lines["f"].value, lines["f"].equation) == (1.0, "1.0")
    np.testing.assert_allclose(printed(seen.program), seen.result, rtol=1e-12)


def test_a_cell_that_is_no_program_is_read_off_and_says_why() -> None:
    def equations(params, carry, wx, uh):
        carry, out, gates = CELLS["rnn"].equations(params, carry, wx, uh)
        return carry, jnp.sort(out), gates

    cell = CELLS["rnn"].replace(equations=equations, name="sorted")
    params, xs, carry = draw(Subject(cell), T, (B,))
    seen = explain(cell, params, xs, carry, step=STEP, unit=UNIT)
    assert seen.program is None and "the primitive 'sort'" in seen.note
    (line,), want = seen.lines, trace(cell, params, xs, carry)[1].gates.a[STEP, 0, UNIT]
    np.testing.assert_allclose(line.value, want, rtol=1e-14)


def test_layers_and_attention() -> None:
    cell = stack(lstm, gru)
    seen = explain(cell, *draw(Subject(cell), T, (B,)), step=STEP, unit=UNIT, row=ROW)
    np.testing.assert_allclose(printed(seen.program), seen.result, rtol=1e-12)
    cell = with_attention(lstm, additive)
    params = cell.init(jax.random.key(0), 3, 5, value_size=4, units=6, dtype=jnp.float64)
    source = jax.random.normal(jax.random.key(1), (9, B, 4), jnp.float64)
    cell = reading(cell, cell.remember(params, source))
    xs = jax.random.normal(jax.random.key(2), (T, B, 3), jnp.float64)
    outs = trace(cell, params, xs)[1].outs
    seen = explain(cell, params, xs, step=STEP, unit=UNIT, row=ROW)
    np.testing.assert_allclose([printed(seen.program), seen.result], outs.h[STEP, ROW, UNIT], rtol=1e-12)
    own = LSTMParams(jnp.concatenate([params.cell.W, params.C]), params.cell.U, params.cell.b)
    seen = explain(lstm, own, jnp.concatenate([xs, outs.context], -1), step=STEP, unit=UNIT, row=ROW)
    np.testing.assert_allclose(printed(seen.program), outs.h[STEP, ROW, UNIT], rtol=1e-12)


def test_what_there_is_not_is_refused() -> None:
    params, xs, carry = draw(Subject(lstm), T, (B,))
    for where, said in (({"step": 5}, "steps 0 to 4"), ({"unit": 9}, "units 0 to 4"), ({"row": 3}, "rows 0 to 2")):
        with pytest.raises(InputError, match=said):
            explain(lstm, params, xs, carry, **{"step": 0, "unit": 0, **where})
    with pytest.raises(InputError, match=r"1 of 20 numbers of params b are NaN"):
        explain(lstm, params._replace(b=params.b.at[3].set(jnp.nan)), xs, carry, step=0, unit=0)
    with pytest.raises(InputError, match=r"1 of 3 numbers of x are NaN"):
        explain(lstm, params, xs.at[2, 0, 1].set(jnp.inf), carry, step=2, unit=0)
    with pytest.raises(InputError, match="is padding"):
        explain(lstm, params, xs, carry, mask=jnp.zeros((T, B), bool), step=0, unit=0)
