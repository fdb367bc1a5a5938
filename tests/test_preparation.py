"""A sentence is prepared once: training, evaluation and translation share its tokens."""

import collections
import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
import sacrebleu

from jaxseq import InputError, checkpoint
from jaxseq.apps import datasets, run_folder, text
from jaxseq.apps.pairs import read
from jaxseq.apps.text import EOS, UNK, Vocabulary, subwords
from jaxseq.apps.text.tokenisers import JOINED, Words
from jaxseq.apps.translate import data, model, preparation, train
from jaxseq.apps.translate.config import PRESETS, TranslateConfig
from jaxseq.apps.translate.evaluate import evaluate
from jaxseq.apps.translate.metrics import Scoring

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

    for key, function in list(text.NORMALISERS.items()):
        monkeypatch.setitem(text.NORMALISERS, key, counting("normalise", function))
    monkeypatch.setattr(Words, "cut", counting("cut", Words.cut))
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


@pytest.mark.usefixtures("in_every_thread")
def test_a_run_is_not_measured_on_another_split(config, tmp_path):
    """Pairs that are held back now may have been trained on. What `--data` names is measured as before."""
    train.train(config, tmp_path / "run")
    path = Path(config.data)
    text = path.read_text(encoding="utf-8")
    more = text + "\nI see birds.\t我看鸟。"
    for changed, differ in (
        (more, r"\(9 to train on and 3 held back then, 10 and 3 now\)"),
        ("\n".join(reversed(text.split("\n"))), r"\(their text or their order has changed\)"),
    ):
        path.write_text(changed, encoding="utf-8")
        loaded = model.load(tmp_path / "run")
        with pytest.raises(InputError, match=f"are not those that .*run was trained on {differ}, so that .*--data"):
            evaluate(loaded)
        with pytest.raises(InputError, match=f"are not those that .*run was started with {differ}"):
            train.train(config, tmp_path / "run", resume=True)
        assert evaluate(loaded, config.data)[0].pairs == len(changed.split("\n"))
    facts = checkpoint.facts(tmp_path / "run" / run_folder.MODEL)
    del facts["corpus"], facts["pairs"]  # as jaxseq 0.1 saved it: only last.safetensors has the sum
    checkpoint.save(tmp_path / "run" / run_folder.MODEL, loaded.params, **facts)
    with pytest.raises(InputError, match="was trained on"):
        evaluate(model.load(tmp_path / "run"))
    path.write_text(text, encoding="utf-8")
    assert evaluate(model.load(tmp_path / "run"))[0].pairs == 3


@pytest.mark.usefixtures("in_every_thread")
def test_pairs_for_testing_that_have_changed_are_said(config, tmp_path):
    """They are measured: nothing was trained on them. A run that has not saved their sum says nothing."""
    (tmp_path / "test.tsv").write_text("I see.\t我看。\nYou see.\t你看。\n", encoding="utf-8")
    config = dataclasses.replace(config, test=(str(tmp_path / "test.tsv"),))
    trained = train.train(config, tmp_path / "run")
    same = f"{tmp_path / 'test.tsv'}, pairs for testing"
    assert evaluate(trained.translator, corpus=trained.corpus)[0].data == same
    loaded = model.load(tmp_path / "run")
    assert evaluate(loaded)[0].data == same
    (tmp_path / "test.tsv").write_text("I see.\t我看。\n", encoding="utf-8")
    assert evaluate(loaded)[0].data == f"{same}, which are not those of the training, 2 then, 1 now"
    facts = checkpoint.facts(tmp_path / "run" / run_folder.MODEL)
    del facts["test"]
    checkpoint.save(tmp_path / "run" / run_folder.MODEL, loaded.params, **facts)
    assert evaluate(model.load(tmp_path / "run"))[0].data == same


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


def test_a_mark_of_spaces_that_the_vocabulary_lacks_is_left_out():
    _, target = data.preparations(TranslateConfig(), target=Vocabulary(["a", ".", "b"]))
    read = target.sentence("A.B c")
    assert read.tokens == ["a", ".", JOINED, "b", "c"]
    assert target.numbers(read) == [4, 5, 6, UNK, EOS] and target.unknown(read) == ["c"]
    known = target._replace(vocabulary=Vocabulary(["a", ".", "b", JOINED]))
    assert known.numbers(read) == [4, 5, 7, 6, UNK, EOS]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tie": "all"}, "--tie all uses one embedding for both languages, so they need one vocabulary; add --shared"),
        ({"shared": True}, "--shared uses one vocabulary, so tokens must be of one kind; got --source-tokens chars"),
        ({"target_tokens": "subwords"}, "subword tokens need a vocabulary size; add --subwords 8000"),
        ({"subwords": 9}, "--subwords must be 0, or at least 32; got 9"),
        ({"subwords": 99, "normalise": "tutorial"}, "--subwords must be 0 with --normalise tutorial"),
        ({"case": "keep", "normalise": "tutorial"}, "--case must be lower or restore with --normalise tutorial"),
        ({"source_tokens": "letters"}, "unknown source tokens 'letters'"),
    ],
)
def test_settings_of_text_that_cannot_be_used(settings, said):
    with pytest.raises(InputError, match=said):
        TranslateConfig(**settings).check()


def test_which_side_has_subwords():
    both, one = TranslateConfig(subwords=99), TranslateConfig(subwords=99, target_tokens="subwords")
    assert [both.tokens_of(side) for side in ("source", "target")] == ["subwords", "subwords"]
    assert [one.tokens_of(side) for side in ("source", "target")] == ["chars", "subwords"]


@pytest.mark.usefixtures("in_every_thread")
@pytest.mark.parametrize("settings", [{"subwords": 60}, {"subwords": 60, "shared": True, "tie": "all"}])
def test_subwords_are_learnt_from_the_training_part_and_kept_in_the_run(config, settings, tmp_path, monkeypatch):
    settings = dataclasses.replace(config, max_tokens=5, **settings)
    trained = train.train(settings, tmp_path / "run")
    source, target = trained.translator.source, trained.translator.target
    assert (source.vocabulary is target.vocabulary) == settings.shared
    assert (source.tokeniser.model == target.tokeniser.model) == settings.shared
    for n, side in enumerate((source, target)):
        texts = [side.tokeniser.normal(pair[n].written) for pair in trained.corpus.train]
        other = [target.tokeniser.normal(pair[1].written) for pair in trained.corpus.train] if settings.shared else []
        if not settings.shared or n == 0:
            assert side.tokeniser.model == subwords.trained(60, texts + other, len(texts + other))
        assert all(side.join(pair[n].tokens) for pair in (*trained.corpus.train, *trained.corpus.validation))
        assert not any(side.unknown(pair[n]) for pair in trained.corpus.train)
    for module in (subwords, preparation):
        monkeypatch.setattr(module, "trained", None)  # a run has learnt
    loaded = model.load(tmp_path / "run")
    assert loaded.source.same(source) and loaded.target.same(target)
    again = train.train(settings, tmp_path / "run", resume=True)
    assert (again.corpus.train, again.corpus.validation) == (trained.corpus.train, trained.corpus.validation)
    scores, _ = evaluate(loaded)
    assert scores == evaluate(trained.translator, corpus=trained.corpus)[0]
    assert model.together([loaded, trained.translator]).others
    other = target._replace(tokeniser=dataclasses.replace(target.tokeniser, case="lower"))
    with pytest.raises(InputError, match="an ensemble needs runs with the same vocabularies"):
        model.together([loaded, loaded._replace(target=other)])
    (tmp_path / "run" / "tokenisers.json").unlink()
    with pytest.raises(InputError, match=r"there is no file .*tokenisers\.json; restore it"):
        model.load(tmp_path / "run")


@pytest.mark.usefixtures("in_every_thread")
def test_scores_are_those_of_text_as_it_was_written(config, tmp_path, monkeypatch):
    """References keep their case, spaces and quotes, also those of the pairs held back."""
    path = tmp_path / "odd.tsv"
    path.write_text("".join(f"{a.upper()}  “ok”\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    settings = dataclasses.replace(config, data=str(path))
    trained = train.train(settings, tmp_path / "run")
    scores, shown = evaluate(trained.translator, corpus=trained.corpus)
    references = [reference for _, reference, _ in scores.examples]
    assert all(reference.endswith(".  “ok”") and reference.upper()[:-4] == reference[:-4] for reference in references)
    hypotheses = [one.text for one in shown]
    for name, lower in (("bleu", True), ("bleu_cased", False)):
        want = sacrebleu.corpus_bleu(hypotheses, [references], lowercase=lower).score
        assert getattr(scores, name) == pytest.approx(want)
    assert "case:lc" in scores.bleu_signature and "case:mixed" in scores.bleu_cased_signature
    assert scores.ter is None and scores.notes == []
    all_of_them, _ = evaluate(trained.translator, corpus=trained.corpus, scoring=Scoring(("ter",), ""))
    assert all_of_them.bleu is None and all_of_them.ter == pytest.approx(
        sacrebleu.corpus_ter(hypotheses, [references]).score
    )


def test_a_run_of_an_earlier_version_prepares_sentences_as_it_did(tmp_path):
    """It has vocabularies and no tokenisers."""
    for name in (preparation.SOURCE_VOCABULARY, preparation.TARGET_VOCABULARY):
        (tmp_path / name).write_text(Vocabulary(["a", "."]).to_json(), encoding="utf-8")
    source, target = preparation.load(tmp_path, TranslateConfig())
    assert target.sentence("E.g. A.B").tokens == ["e", ".", "g", ".", "a", ".", "b"]
    assert source.sentence("これは我。").tokens == ["これは", "我", "。"]
    assert target.join(["i", "am", "here", ".", "he", "said", ":", '"', "no", '"']) == 'i am here. he said: "no"'
