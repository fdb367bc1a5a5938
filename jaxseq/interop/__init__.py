"""Converting recurrent layers from and to other libraries: one module for each library.

Each has ``from_…(theirs) -> (cell, params)`` and ``to_…(cell, params) -> theirs``, for layers that both have.
``as_…(cell)`` makes any of our cells a layer of flax, equinox or haiku, which that library then initialises, trains and
stores. The library is imported only inside these functions.

Run the results of ``from_…`` by `jaxseq.unroll`; a bidirectional layer, whose params are `jaxseq.Bidirectional`, by
`jaxseq.bidirectional`; several layers of which one is bidirectional, which are tuples of cells and params, by
`jaxseq.layers`. Several layers in one direction become a `jaxseq.stack`.

Outputs, carries and gradients equal theirs, in their precision. Dropout has no weights and is not converted: it does
nothing in evaluation. Files of weights are read by `jaxseq.interop.files`.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

TESTED: dict[str, str] = {
    "torch": "2.13.0",
    "flax": "0.12.8",
    "dm-haiku": "0.0.17",
    "equinox": "0.13.8",
    "keras": "3.15.1",
}
"""The versions that the tests compare with, by package name; another minor version gives a warning."""

if TYPE_CHECKING:
    from jaxseq.interop import equinox, files, flax, haiku, keras, torch  # noqa: F401
else:

    def __getattr__(name: str) -> ModuleType:
        """Return a lazily imported module: ``jaxseq.interop.torch``."""
        if name in ("equinox", "files", "flax", "haiku", "keras", "torch"):
            return importlib.import_module(f"jaxseq.interop.{name}")
        raise AttributeError(f"module 'jaxseq.interop' has no attribute {name!r}")
