"""The study of a run: `jaxseq study` and `jaxseq inspect`."""

from jaxseq.apps.extra import check_installed

check_installed(__name__)
