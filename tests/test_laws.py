"""Every cell, alone and stacked, under every recurrence, obeys every law; and the laws notice those that do not."""

import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError
from jaxseq.cells import CELLS, Cell, GRUCarry, gru, lstm, rnn, stack
from jaxseq.recurrence import EXACT, checkpointed, deferred, scan
from jaxseq.testing import Subject, assert_close, check_cell, differentiate, draw, holes
from jaxseq.testing.laws import LAWS_OF_NUMBERS

CORE = [*(CELLS[name] for name in ("rnn", "rnn_relu", "lstm", "gru", "gru_cho")), stack(lstm, gru)]
FAMILY = [cell for cell in CELLS.values() if cell not in CORE]
SIZES: dict[str, tuple[int, int]] = {}
"""Sizes ``(D, H)`` for cells that do not take the laws' own."""


NEWER = sys.version_info >= (3, 12) and not os.environ.get("JAXSEQ_ALL_TESTS")
"""The tests run twice, here and where the newest jax is; there the core is held to every law, the family to few."""


@pytest.mark.parametrize("cell", CORE, ids=lambda cell: cell.name)
@pytest.mark.parametrize("law", LAWS_OF_NUMBERS)
def test_law(cell: Cell, law: str) -> None:
    """On a newer Python the recurrences that are not the default are held to each by LSTM, GRU and a stack."""
    first = NEWER and cell.name in ("rnn", "rnn_relu", "gru_cho")
    check_cell(cell, laws=[law], recurrences={"deferred": deferred} if first else EXACT)


OF_CELLS = ["input terms", "batch", "dtype", "traces once", "gradients", "finite", "repeats"]
OF_DRIVERS = [["loop", "pieces"], ["padding", "forward mode"], ["reverse", "trace"], ["resets"]]
"""Laws of what drives a cell, which is the same code for all: the core obeys each; the family takes turns."""


def laws_of(place: int) -> list[str]:
    """Which laws a cell of the family is held to here; all of them with JAXSEQ_ALL_TESTS=1, in twice the time."""
    if os.environ.get("JAXSEQ_ALL_TESTS"):
        return list(LAWS_OF_NUMBERS)
    if NEWER:
        return ["dtype"]
    drivers = OF_DRIVERS[:-1]  # resets, whose pieces compile one by one, come less often
    return OF_CELLS + drivers[place % len(drivers)] + (OF_DRIVERS[-1] if place % 10 == 0 else [])


@pytest.mark.parametrize("cell", FAMILY, ids=lambda cell: cell.name)
def test_laws_of_the_family(cell: Cell) -> None:
    """Under the default; the recurrences are held against plain scan in the plainest case and in the hardest."""
    D, H = SIZES.get(cell.name, (3, 5))
    check_cell(
        cell, input_size=D, hidden_size=H, laws=laws_of(FAMILY.index(cell)), recurrences={"deferred": deferred}
    )  # fmt: skip
    if NEWER:
        return
    problem = draw(Subject(cell, D, H), 6, (4,))
    cases = [(None, False, [deferred]), (holes(6, (4,)), True, [deferred, checkpointed])]
    if FAMILY.index(cell) % 2 and not os.environ.get("JAXSEQ_ALL_TESTS"):
        cases = [(holes(6, (4,)), True, [deferred])]  # the hardest case has the plainest in it
    for mask, reverse, others in cases:

        def driven(recurrence, mask=mask, reverse=reverse):
            return differentiate(lambda *args: recurrence(cell, *args, mask=mask, reverse=reverse), *problem)

        want = driven(scan)
        for recurrence in others:
            assert_close(f"{recurrence.__name__}, reverse: {reverse}", driven(recurrence), want)


def test_every_law_is_somebodys() -> None:
    assert sorted(["recurrences"] + OF_CELLS + [law for laws in OF_DRIVERS for law in laws]) == sorted(LAWS_OF_NUMBERS)


def test_layers_of_different_sizes() -> None:
    check_cell(stack(gru, CELLS["gru_cho"], rnn), hidden_size=(4, 2, 3), laws=["input terms", "batch", "padding"])


def forgets_the_mask(cell, params, xs, carry, *, mask=None, **rest):
    return scan(cell, params, xs, carry, **rest)


def forgets_to_reverse(cell, params, xs, carry, *, reverse=False, **rest):
    return scan(cell, params, xs, carry, **rest)


def loses_gradients(cell, params, xs, carry, **rest):
    return scan(cell, jax.lax.stop_gradient(params), xs, carry, **rest)


def starts_from_zero(cell, params, xs, carry, **rest):
    return scan(cell, params, xs, jax.tree.map(jnp.zeros_like, carry), **rest)


def returns_the_first_carry(cell, params, xs, carry, **rest):
    return carry, scan(cell, params, xs, carry, **rest)[1]


def knows_no_forward_mode(cell, params, xs, carry, **rest):
    run = jax.custom_vjp(lambda *args: scan(cell, *args, **rest))
    run.defvjp(lambda *args: jax.vjp(lambda *args: scan(cell, *args, **rest), *args), lambda pull, given: pull(given))
    return run(params, xs, carry)


def ignores_resets(cell, params, xs, carry, *, resets=None, **rest):
    return scan(cell, params, xs, carry, **rest)


def resets_after_the_step(cell, params, xs, carry, *, resets=None, reverse=False, **rest):
    """A sequence ends where it should begin: the mark is of the step after, in the order of running."""
    late = resets
    if resets is not None:
        late = jnp.roll(resets, -1 if reverse else 1, axis=0).at[-1 if reverse else 0].set(False)
    return scan(cell, params, xs, carry, resets=late, reverse=reverse, **rest)


def resets_in_reverse_where_it_does_forward(cell, params, xs, carry, *, resets=None, reverse=False, **rest):
    """As if `unroll` had not moved the marks: a piece is entered at its first step, instead of its last."""
    if resets is not None and reverse:
        resets = jnp.concatenate([jnp.zeros_like(resets[:1]), resets[:-1]])
    return scan(cell, params, xs, carry, resets=resets, reverse=reverse, **rest)


def resets_only_real_steps(cell, params, xs, carry, *, mask=None, resets=None, **rest):
    """A padded step that begins a sequence does not forget the one before."""
    real = resets if resets is None or mask is None else resets & mask
    return scan(cell, params, xs, carry, mask=mask, resets=real, **rest)


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        ("recurrences", forgets_the_mask),
        ("recurrences", forgets_to_reverse),
        ("recurrences", loses_gradients),
        ("padding", forgets_the_mask),
        ("reverse", forgets_to_reverse),
        ("pieces", starts_from_zero),
        ("forward mode", knows_no_forward_mode),
        ("trace", returns_the_first_carry),
        ("resets", ignores_resets),
        ("resets", resets_after_the_step),
        ("resets", resets_in_reverse_where_it_does_forward),
        ("resets", resets_only_real_steps),
    ],
)
def test_a_broken_recurrence_is_noticed(law: str, broken) -> None:
    with pytest.raises(AssertionError, match=f"lstm breaks the law '{law}'"):
        check_cell(lstm, recurrences={"broken": broken}, laws=[law])


def starts_where_it_has_learnt():
    """A GRU whose first state is a row of its biases."""
    return gru.replace(
        initial_carry=lambda p, batch_shape=(): GRUCarry(
            jnp.broadcast_to(jnp.tanh(p.b_hn), (*batch_shape, *p.b_hn.shape))
        )
    )


def forgets_that_the_first_state_is_learnt(cell, params, xs, carry, **rest):
    start = cell.initial_carry
    frozen = cell.replace(initial_carry=lambda p, batch_shape=(): start(jax.lax.stop_gradient(p), batch_shape))
    return scan(frozen, params, xs, carry, **rest)


def test_a_reset_goes_back_to_a_first_state_that_is_learnt() -> None:
    cell = starts_where_it_has_learnt()
    check_cell(cell, laws=["resets"])
    with pytest.raises(AssertionError, match=r"gru breaks the law 'resets'.*gradients"):
        check_cell(cell, laws=["resets"], recurrences={"broken": forgets_that_the_first_state_is_learnt})


def changed(terms):
    """A GRU whose gates see input terms changed by ``terms(carry, wx)``."""

    def equations(params, carry, wx, uh):
        return gru.equations(params, carry, terms(carry, wx), uh)

    return gru.replace(equations=equations)


LEFT_BEHIND = [0.0]


def remembers_in_python(carry, wx):
    LEFT_BEHIND[0] += 1.0
    return wx + LEFT_BEHIND[0]


def looks_at_the_carry(params, x):
    """Input terms that use what the last step left in Python."""
    return gru.input_terms(params, x) + SEEN[-1]


SEEN = [0.0]


def shows_its_carry(params, carry, wx, uh):
    SEEN.append(carry.h.sum())
    return gru.equations(params, carry, wx, uh)


def returns_a_tuple(params, carry, wx, uh):
    new, out, named = gru.equations(params, carry, wx, uh)
    return (new.h,), out, named


def whole_batch(params, x):
    """Padding of one row reaches all others through the mean."""
    return gru.input_terms(params, x) + (x.mean() if x.ndim > 1 else jnp.zeros_like(x.mean()))


RANDOM = np.random.default_rng(0)

BROKEN = [
    ("loop", gru.replace(input_terms=lambda p, x: gru.input_terms(p, x) + x.mean())),
    ("input terms", gru.replace(input_terms=lambda p, x: gru.input_terms(p, x) + x.mean())),
    ("input terms", gru.replace(input_terms=lambda p, x: gru.input_terms(p, jnp.cumsum(x, axis=0)))),
    ("batch", gru.replace(hidden_terms=lambda p, k: gru.hidden_terms(p, k) + k.h.mean())),
    ("batch", gru.replace(initial_carry=lambda p, batch_shape=(): gru.initial_carry(p, ()))),
    ("loop", gru.replace(equations=returns_a_tuple)),
    ("loop", gru.replace(input_terms=looks_at_the_carry, equations=shows_its_carry)),
    ("padding", gru.replace(input_terms=whole_batch)),
    ("dtype", gru.replace(init=lambda *args, dtype=None: gru.init(*args))),
    ("dtype", changed(lambda carry, wx: wx * jnp.asarray(1.5, jnp.float32))),
    ("traces once", gru.replace(
        initial_carry=lambda p, batch_shape=(): GRUCarry(jnp.broadcast_to(jnp.asarray(0.0), (*batch_shape, 5))))),
    ("gradients", gru.replace(hidden_terms=lambda p, k: jax.lax.stop_gradient(gru.hidden_terms(p, k)))),
    ("finite", gru.replace(input_terms=lambda p, x: gru.input_terms(p, x / jnp.sqrt((x * x).sum(-1, keepdims=True))))),
    ("finite", changed(lambda carry, wx: wx + jnp.sqrt(jnp.square(carry.h).sum(-1, keepdims=True)))),
    ("repeats", changed(remembers_in_python)),
    ("repeats", changed(lambda carry, wx: wx + RANDOM.normal())),
]  # fmt: skip


SHOWN = BROKEN[::4] if NEWER else BROKEN  # what laws notice, Python 3.11 has shown


@pytest.mark.parametrize(("law", "cell"), SHOWN, ids=[f"{n}-{law}" for n, (law, _) in enumerate(SHOWN)])
def test_a_broken_cell_is_noticed(law: str, cell: Cell) -> None:
    with pytest.raises(AssertionError, match=f"gru breaks the law '{law}'"):
        check_cell(cell, laws=[law])


def test_what_breaks_is_shown_at_the_smallest_size_with_two_numbers() -> None:
    cell = changed(lambda carry, wx: wx * (1.25 if carry.h.ndim == 2 else 1.0))
    with pytest.raises(AssertionError, match=r"At D = 1, H = 1: .*difference is .* at .*: [\d.-]+ and [\d.-]+, allow"):
        check_cell(cell, laws=["batch"])
    wide = changed(lambda carry, wx: wx + (jnp.flip(wx, 0) if wx.shape[-1] > 3 else jnp.zeros_like(wx)))
    with pytest.raises(AssertionError, match=r"At D = 1, H = 2: "):
        check_cell(wide, laws=["batch"])


def test_an_unknown_law_is_named_with_its_nearest() -> None:
    with pytest.raises(InputError, match="unknown law 'paddings': did you mean 'padding'"):
        check_cell(gru, laws=["paddings"])
