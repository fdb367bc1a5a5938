"""Other libraries promote dtypes and ranks as JAX does by default; what they warn of by themselves is not ours."""

import jax
import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "interop" in str(item.path.parent):
            # the tests are what says which versions are good: one not listed yet runs them as well
            item.add_marker(pytest.mark.filterwarnings("ignore:jaxseq.interop was tested with"))


@pytest.fixture(autouse=True)
def _promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
