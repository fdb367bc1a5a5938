"""The forecaster: `jaxseq forecast`."""
