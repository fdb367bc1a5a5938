"""Each parity test reports how far from torch it came; the summary at the end of a run shows the worst of each."""

import pytest
from agreement import worst


@pytest.fixture(autouse=True)
def _record_the_worst(record_property):
    worst[0] = 0.0
    yield
    record_property("worst difference from torch", worst[0])
