"""The measuring core of `jaxseq bench` and of the suites in `benchmarks/`.

Interleaved rounds, ratios with bootstrapped intervals, a compilation counter, and the same layer in other libraries.
"""
