"""The equations of a cell as data: its step as a short list of operations, evaluated by NumPy or in a browser.

=================  =====================================================================================
``program``        a cell's step as a `Program`
``run_numpy``      the step computed by NumPy in float64, with gates optionally held at values
``values_of``      every value of that computation, by index
``OPERATIONS``     the closed set of operations, each as a NumPy function
=================  =====================================================================================

A program is plain data: `Program.to_json` returns its structure as text and numbers; weights are passed separately.
"""

from jaxseq.program._base import Input, Op, Program, program, run_numpy, values_of
from jaxseq.program._numpy import OPERATIONS

__all__ = ["OPERATIONS", "Input", "Op", "Program", "program", "run_numpy", "values_of"]
