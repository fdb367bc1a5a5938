"""A sentence is prepared once: training, evaluation and translation share its tokens."""

import collections
import dataclasses

import jax
import numpy as np
import pytest

from jaxseq import checkpoint
from jaxseq.apps import datasets, text
from jaxseq.apps.pairs import read
from jaxseq.apps.text import EOS, UNK, Vocabulary
from jaxseq.apps.translate import data, model, train
from jaxseq.apps.translate.config import PRESETS, TranslateConfig
from jaxseq.apps.translate.evaluate import evaluate

SUBJECTS, VERBS, THINGS = (
    {"我": "I", "你": "you"},
    {"看": "see", "听": "hear", "找": "seek"},
    {"狗": "dogs", "鱼": "fish"},
)
PAIRS = [
    (f"{who} {does} {what}.", f"{subject}{verb}{thing}。")
    for subject, who in SUBJECTS.items()
    for verb, does in VERBS.items()
    for thing, what in THINGS.items()
]
SMALL = {"steps": 4, "report_every": 2, "batch": 4, "buckets": 2, "hidden": 4, "embedding": 4, "warmup": 0}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join("\t".join(pair) for pair in PAIRS), encoding="utf-8")
    return TranslateConfig(data=str(path), validation=0.25, **SMALL)


@pytest.fixture
def calls(monkeypatch):
    """How often each thing is done: sentences normalised and cut, files read, checkpoints loaded."""
    counted = collections.Counter()

    def counting(name, function):
        def call(*args, **options):
            counted[name] += 1
            return function(*args, **options)

        return call

    for table, name in ((text.TOKENISERS, "cut"), (text.NORMALISERS, "normalise")):
        for key, function in list(table.items()):
            monkeypatch.setitem(table, key, counting(name, function))
    monkeypatch.setattr(read, "read_lines", counting("read", read.read_lines))
    monkeypatch.setattr(checkpoint, "load", counting("load", checkpoint.load))
    return counted


@pytest.mark.usefixtures("in_every_thread")
def test_training_and_its_evaluation_prepare_each_sentence_once(config, calls, tmp_path):
    """The pairs held back measure the model as training prepared them; the model is not read back from its file."""
    trained = train.train(config, tmp_path / "run")
    scores, shown = evaluate(trained.translator, corpus=trained.corpus)
    assert scores.pairs == len(shown) == 3 and scores.data.endswith("held back in training")
    assert calls == {"cut": 2 * len(PAIRS), "normalise": 2 * len(PAIRS), "read": 1}


@pytest.mark.usefixtures("in_every_thread")
def test_the_held_out_file_is_read_once(config, calls, tmp_path, monkeypatch):
    held = tmp_path / "held.tsv"
    held.write_text("I see fish.\t我看鱼。\nyou seek books.\t你找书。\n", encoding="utf-8")
    trained = train.train(config, tmp_path / "run")
    before = calls.copy()
    found = datasets.find
    monkeypatch.setattr(datasets, "find", lambda name: held if name == "zh-en-held-out" else found(name))
    shipped = trained.translator._replace(config=dataclasses.replace(config, data="zh-en"))
    scores, _ = evaluate(shipped, corpus=trained.corpus)
    assert (scores.pairs, scores.data, scores.unknown) == (2, "zh-en-held-out", 1 / 8)  # 书 is unknown
    assert calls - before == {"cut": 4, "normalise": 4, "read": 1}


@pytest.mark.usefixtures("in_every_thread")
def test_what_training_returns_is_what_a_user_loads(config, tmp_path):
    """From the start, and resumed where the best step lies behind: then only the file has it."""
    trained = train.train(config, tmp_path / "run")
    again = train.train(config, tmp_path / "run", resume=True)
    loaded = model.load(tmp_path / "run")
    for one in (trained.translator, again.translator):
        jax.tree.map(np.testing.assert_array_equal, one.params, loaded.params)
        assert one.source.vocabulary.tokens == loaded.source.vocabulary.tokens
    assert evaluate(loaded)[0] == evaluate(again.translator, corpus=again.corpus)[0]


def test_a_sentence_is_normalised_cut_and_numbered():
    source, target = data.preparations(TranslateConfig(), Vocabulary("我你"), Vocabulary(["i", "."]))
    found = source.sentence("我\u200b看你")
    assert found == ("我\u200b看你", "我看你", ["我", "看", "你"])
    assert source.numbers(found) == [4, UNK, 5, EOS] and source.unknown(found) == ["看"]
    assert target.numbers(target.sentence("I SEE.")) == [4, UNK, 5, EOS]


def test_the_digest_of_a_corpus_is_that_of_earlier_versions(tmp_path):
    """Runs that were begun with jaxseq 0.1 can be resumed: the sum is of the normalised sentences as JSON."""
    path = tmp_path / "pairs.tsv"
    path.write_text("I see!\t我看！\nYou hear.\t你听。\n", encoding="utf-8")
    corpus = data.prepare(TranslateConfig(data=str(path), validation=0.0))
    # hashlib.sha256(json.dumps([[("我看 ！", "i see !"), ("你听 。", "you hear .")], []]).encode()).hexdigest()
    assert corpus.digest() == "c0547f460242a3da05129b12a1dcf2fa35dada6b92dc9594e26165be8c015557"


def test_the_tutorials_filter_is_said_and_counted(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("I am here.\t我在这。\nDogs bark.\t狗叫。\nYou are it.\t是你。\n", encoding="utf-8")
    config = dataclasses.replace(PRESETS["tutorial-plain"], data=str(path))
    corpus = data.prepare(config)
    assert corpus.notes == ["1 of 3 pairs do not pass the tutorial's filter"]
    assert [target.tokens for _, target in corpus.train] == [["i", "am", "here", "."], ["you", "are", "it", "."]]
