"""The study of a run: `jaxseq study` and `jaxseq inspect`."""
