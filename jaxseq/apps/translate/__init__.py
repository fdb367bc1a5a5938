"""The translator: `jaxseq train`, `translate` and `evaluate`."""
