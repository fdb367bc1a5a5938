"""The translator: `jaxseq train`, `translate` and `evaluate`."""

from jaxseq.apps.extra import check_installed

check_installed(__name__)
