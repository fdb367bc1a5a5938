"""Benchmarks of jaxseq against torch and the recurrent layers of other JAX libraries: ``python -m benchmarks``."""
