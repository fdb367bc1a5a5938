"""Names of leaves, one index for all, and noise that no leaf shares."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import trees
from jaxseq.cells import gru, lstm, stack


def test_leaves_have_the_names_that_people_write() -> None:
    params = stack(lstm, gru).init(jax.random.key(0), 2, (3, 4))
    carry = stack(lstm, gru).initial_carry(params)
    assert {name: a.shape for name, a in trees.named_leaves(carry).items()} == {"0.h": (3,), "0.c": (3,), "1.h": (4,)}
    paths = trees.leaves_by_path(params)
    assert list(paths) == ["[0].W", "[0].U", "[0].b", "[1].W", "[1].U", "[1].b", "[1].b_hn"]
    for path, leaf in paths.items():
        assert eval(f"params{path}") is leaf


def test_one_index_is_taken_from_every_leaf() -> None:
    tree = {"a": jnp.arange(6).reshape(2, 3), "b": (jnp.arange(4).reshape(2, 2),)}
    found = trees.at(tree, 1, 0)
    assert int(found["a"]) == 3 and int(found["b"][0]) == 2


def test_noise_is_of_its_size_and_differs_between_leaves_and_keys() -> None:
    zeros = {"a": jnp.zeros(4000), "b": jnp.zeros(4000, jnp.float32)}
    noise = trees.noisy(jax.random.key(0), zeros)
    assert noise["b"].dtype == jnp.float32
    a, b = (np.asarray(noise[name], float) for name in "ab")
    assert abs(a.std() - 0.3) < 0.02 and abs(a.mean()) < 0.02 and abs(np.corrcoef(a, b)[0, 1]) < 0.06
    again, other = (trees.noisy(jax.random.key(k), zeros) for k in (0, 1))
    np.testing.assert_array_equal(again["a"], noise["a"])
    assert not np.array_equal(other["a"], noise["a"])
