"""What the shipped corpus promises."""

import collections
import re
import sys
from pathlib import Path

import pytest

from jaxseq import shipped
from jaxseq.apps.pairs import passes_filter, read_pairs
from jaxseq.apps.text import NORMALISERS

DATA = Path(__file__).parents[1] / "data"
TRAIN = read_pairs(shipped.find("zh-en"))
HELD = read_pairs(shipped.find("zh-en-held-out"))


@pytest.fixture
def build(monkeypatch):
    """The script that builds the corpus, as a module."""
    monkeypatch.syspath_prepend(DATA)
    yield __import__("build")
    sys.modules.pop("build", None)


def test_sizes_and_distinct_pairs():
    assert len(TRAIN) == len(set(TRAIN)) > 7500 and len(HELD) == len(set(HELD)) >= 400


def test_no_held_out_sentence_is_in_training_on_either_side():
    for side in (0, 1):
        assert not {pair[side] for pair in TRAIN} & {pair[side] for pair in HELD}


def test_no_held_out_pair_has_a_near_duplicate_in_training(build):
    """Compared in another way than the script's: by the tokens that two sentences share, whatever their order."""
    for side, cut in ((0, build.chinese), (1, build.english)):
        sentences = [collections.Counter(cut(pair[side])) for pair in TRAIN]
        holding = collections.defaultdict(set)
        for n, tokens in enumerate(sentences):
            for token in tokens:
                holding[token].add(n)
        for pair in HELD:
            words = collections.Counter(cut(pair[side]))
            rare = sorted(words, key=lambda token: len(holding[token]))[: len(words) // 5 + 1]
            for n in {n for token in rare for n in holding[token]}:
                longer = max(words.total(), sentences[n].total())
                if (words & sentences[n]).total() >= build.ALIKE * longer - 1e-9:  # else they cannot be near
                    mine, other = cut(pair[side]), cut(TRAIN[n][side])
                    assert mine != other and 1 - build.distance(mine, other) / longer < build.ALIKE, (pair, TRAIN[n])


@pytest.mark.parametrize(
    ("a", "b", "near"),
    [
        ("I can't swim.", "I cannot swim!", True),
        ("It's late", "It is late.", True),
        ("a b c d e", "a b c d x", True),  # 0.8
        ("a b c d", "a b c x", False),  # 0.75
        ("a b c d e", "b c d e", True),
    ],
)
def test_what_a_near_duplicate_is(build, a, b, near):
    assert build.alike(build.english(a), build.english(b)) is near
    assert list(build.near([build.english(a), build.english(b)])) == [(0, 1)] * near or len(a) > len(b)


def test_groups_join_pairs_through_others(build):
    pairs = [("a b c d e", "一"), ("a b c d x", "二"), ("p q r s", "二"), ("other words", "三")]
    assert sorted(map(sorted, build.groups(pairs))) == [[0, 1, 2], [3]]


def test_sentences_that_the_guide_translates_are_not_in_the_corpus(build):
    for chinese, english in TRAIN + HELD:
        for en, zh in build.ELSEWHERE:
            assert not build.alike(build.english(english), build.english(en)), english
            assert not build.alike(build.chinese(chinese), build.chinese(zh)), chinese


def test_common_words_are_met_often_and_few_held_out_ones_are_new(build):
    counts = collections.Counter(word for _, english in TRAIN for word in build.english(english))
    assert sum(n >= build.OFTEN for n in counts.values()) >= build.COMMON
    held = [word for _, english in HELD for word in build.english(english)]
    assert sum(word not in counts for word in held) <= 0.01 * len(held)


def test_enough_pass_the_tutorials_filter():
    normalise = NORMALISERS["tutorial"]
    assert sum(passes_filter((normalise(source), normalise(target))) for source, target in TRAIN) > 400


def test_each_side_is_in_its_language():
    for chinese, english in TRAIN + HELD:
        assert any("\u4e00" <= c <= "\u9fff" for c in chinese) and english.isascii(), (chinese, english)
        assert chinese[-1] in "。？！”" and english[-1] in '.?!"', (chinese, english)
        assert not re.search(r"[,.?!:;\"' ]", chinese), chinese


def test_cannot_is_one_word_and_names_keep_their_gender():
    for chinese, english in TRAIN + HELD:
        assert "can not" not in english.lower(), english
        assert not ("Li Hua" in english and "husband" in english), english
        assert ("李华" in chinese) == ("Li Hua" in english), (chinese, english)
