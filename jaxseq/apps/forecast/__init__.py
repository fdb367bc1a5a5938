"""The forecaster: `jaxseq forecast`."""

from jaxseq.apps.extra import check_installed

check_installed(__name__)
