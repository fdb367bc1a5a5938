"""Sentences to numbers and back, and the file of pairs they come from: every rule by example, bad files by message."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxseq.apps import text
from jaxseq.apps.pairs import passes_filter, split, split_rows
from jaxseq.apps.text import EOS, NORMALISERS, PAD, SOS, SPECIALS, TOKENISERS, UNK, Vocabulary
from jaxseq.errors import InputError

# ---------------------------------------------------------------------------------------------- normalising

ROUGH = st.text(alphabet=" \tabYZ09éÉ.!?,;'’\"我是猫。！？，「」—…ﬁ２（）", max_size=30)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  I'm here. ", "i'm here ."),
        ("Really?!", "really ? !"),
        ("Où êtes-vous?", "ou etes-vous ?"),
        ("a  b", "a  b"),  # inner spaces stay: an empty token for the filter to count, as in the tutorial
        ("a, b; c", "a, b; c"),  # only .!? are set apart
        ("我最帅！", "我最帅！"),  # full-width marks are other characters: they stay where they are
        ("我最帅!", "我最帅 !"),
        ("他有３只猫。", "他有３只猫。"),  # NFD, not NFKD
        ("कि", "कि"),  # a mark that has a width of its own stays
        ("ﬁne", "ﬁne"),
    ],
)
def test_the_tutorials_normaliser_does_what_its_rule_says_and_no_more(before: str, after: str) -> None:
    assert NORMALISERS["tutorial"](before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  I'm  FINE, thanks. ", "i'm fine , thanks ."),
        ("It's $3.50, at 7:30.", "it's $3.50 , at 7:30 ."),  # a number stays one word
        ("I’m fine", "i'm fine"),  # both apostrophes are one
        ("“Stop!” he said.", "“ stop ! ” he said ."),
        ("我很好，谢谢。", "我很好 ， 谢谢 。"),  # full-width marks stay full-width
        ("你是谁？！", "你是谁 ？ ！"),
        ("他有３只猫。", "他有3只猫 。"),  # other full-width characters are made plain
        ("café", "café"),  # composed, and the accent stays
        ("ﬁne", "fine"),
        ("我\u3000是", "我 是"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_the_plain_normaliser(before: str, after: str) -> None:
    assert NORMALISERS["plain"](before) == after


@given(ROUGH)
def test_plain_leaves_its_own_output_as_it_is(sentence: str) -> None:
    once = text.plain(sentence)
    assert text.plain(once) == once
    assert "  " not in once and once == once.strip()


@given(st.text(alphabet="我是一个学生他喜欢猫", max_size=20))
def test_no_normaliser_touches_chinese_characters(sentence: str) -> None:
    for normalise in NORMALISERS.values():
        assert normalise(sentence) == sentence


# ---------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("我很好 。", ["我", "很", "好", "。"]),
        ("我有2只cat 。", ["我", "有", "2", "只", "cat", "。"]),
        ("𠮷有3.50 。", ["𠮷", "有", "3.50", "。"]),
        ("我用iphone15", ["我", "用", "iphone15"]),
        ("i don't know .", ["i", "don't", "know", "."]),
        ("「你好」", ["「", "你", "好", "」"]),
        ("", []),
    ],
)
def test_chars_cuts_chinese_to_characters_and_keeps_words_whole(sentence: str, tokens: list[str]) -> None:
    assert TOKENISERS["chars"](sentence) == tokens


def test_words_cuts_at_spaces_only() -> None:
    assert TOKENISERS["words"]("我是天才 。") == ["我是天才", "。"]
    assert TOKENISERS["words"]("  i'm  fine ") == ["i'm", "fine"]
    assert TOKENISERS["words"]("") == []


@given(ROUGH)
def test_chars_loses_nothing_but_spaces(sentence: str) -> None:
    assert "".join(text.chars(sentence)) == "".join(sentence.split())


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (["he", "is", "here", "."], "he is here."),
        (["yes", ",", "i", "don't", "!"], "yes, i don't!"),
        (["我", "很", "好", "，", "你", "呢", "？"], "我很好，你呢？"),
        (["我", "有", "2", "只", "猫"], "我有2只猫"),
        (["我", "用", "iphone", "。"], "我用iphone。"),
        ([], ""),
        (["."], "."),
    ],
)
def test_detokenise_writes_tokens_as_a_person_does(tokens: list[str], sentence: str) -> None:
    assert text.detokenise(tokens).strip() == sentence


@given(st.text(alphabet="我是猫他。，！？", max_size=20))
def test_chinese_survives_the_whole_way(sentence: str) -> None:
    vocabulary = Vocabulary.build([text.chars(text.plain(sentence))])
    numbers = vocabulary.encode(text.chars(text.plain(sentence)))
    assert text.detokenise(vocabulary.decode(numbers)) == sentence


# ---------------------------------------------------------------------------------------------- vocabulary


def test_the_special_tokens_are_the_first_numbers() -> None:
    assert (PAD, SOS, EOS, UNK) == (0, 1, 2, 3)
    assert Vocabulary([]).tokens == SPECIALS and len(Vocabulary([])) == 4


def test_tokens_are_numbered_by_frequency_then_by_first_appearance() -> None:
    vocabulary = Vocabulary.build([["c", "a", "b"], ["b", "d"]])
    assert vocabulary.tokens[4:] == ("b", "c", "a", "d")
    assert vocabulary.encode(["d", "b", "x"]) == [7, 4, UNK]
    assert vocabulary.unknown(["d", "x", "y", "x"]) == ["x", "y", "x"]


def test_rare_tokens_become_unk() -> None:
    vocabulary = Vocabulary.build([["a", "b"], ["a"]], min_count=2)
    assert vocabulary.tokens[4:] == ("a",) and vocabulary.encode(["b"]) == [UNK]


def test_a_word_that_looks_like_a_special_token_does_not_become_one() -> None:
    vocabulary = Vocabulary.build([["<eos>", "a"]])
    assert len(vocabulary) == 5 and vocabulary.tokens.count("<eos>") == 1


def test_decoding_stops_at_eos_and_drops_what_is_no_word() -> None:
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary.decode(np.array([SOS, 4, PAD, UNK, 5, EOS, 4], np.int32)) == ["a", "<unk>", "b"]


TOKENS = st.lists(st.text(min_size=1, max_size=3).filter(lambda token: token not in SPECIALS), max_size=12)


@given(TOKENS, TOKENS)
def test_encoding_and_decoding_are_inverse_on_known_tokens(sentence: list[str], other: list[str]) -> None:
    vocabulary = Vocabulary.build([sentence, other])
    assert len(vocabulary) == 4 + len({*sentence, *other})
    numbers = vocabulary.encode(sentence)
    assert min(numbers, default=4) >= 4 and vocabulary.unknown(sentence) == []
    assert vocabulary.decode([*numbers, EOS, *numbers]) == sentence
    assert Vocabulary.from_json(vocabulary.to_json()).tokens == vocabulary.tokens


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "not json",
        "{}",
        "[]",
        '["a", "b"]',
        json.dumps([*SPECIALS, 7]),
        json.dumps(["<sos>", "<pad>", *SPECIALS[2:]]),
        json.dumps([*SPECIALS[:3], "a"]),
    ],
)
def test_a_damaged_vocabulary_is_named(damaged: str) -> None:
    with pytest.raises(InputError, match=r"source\.vocab\.json is damaged: (not JSON|expected a JSON list of tokens)"):
        Vocabulary.from_json(damaged, "source.vocab.json")


def test_a_vocabulary_with_a_token_twice_is_refused() -> None:
    with pytest.raises(InputError, match="duplicate token 'a'"):
        Vocabulary.from_json(json.dumps([*SPECIALS, "a", "b", "a"]))


# ---------------------------------------------------------------------------------------------- batches

ROWS = st.lists(
    st.lists(st.integers(4, 99), min_size=1, max_size=7).map(lambda row: [*row, EOS]), min_size=1, max_size=9
)


@given(ROWS, st.integers(0, 3))
def test_padding_is_time_major_and_only_below_the_end(rows: list[list[int]], more: int) -> None:
    longest = max(map(len, rows))
    padded = text.pad(rows, longest + more)
    assert padded.dtype == np.int32 and padded.shape == (longest + more, len(rows))
    assert [column[column != PAD].tolist() for column in padded.T] == rows
    mask = padded != PAD
    assert (mask.sum(0) == [len(row) for row in rows]).all()
    assert (np.diff(mask.astype(int), axis=0) <= 0).all()  # never real again after padding


def test_a_row_longer_than_the_length_is_not_cut_in_silence() -> None:
    with pytest.raises(InputError, match="a sequence has 3 tokens, more than the length 2"):
        text.pad([[4], [4, 5, 6]], 2)


# ---------------------------------------------------------------------------------------------- filter and split


@pytest.mark.parametrize(
    ("english", "kept"),
    [
        ("i am here .", True),
        ("she is .", True),
        ("he isolates .", True),  # a prefix without a space behind it, as in the tutorial
        ("i'm here .", False),  # the apostrophe stays, so that "i m " never matches
        ("i m here .", True),
        ("i amuse you .", False),
        ("here i am .", False),
        ("you are 3 4 5 6 7 8 9", True),
        ("you are 3 4 5 6 7 8 9 .", False),
        ("you are 3 4 5 6 7 8  .", False),  # two spaces: an empty token counts
    ],
)
def test_the_tutorials_filter(english: str, kept: bool) -> None:
    assert passes_filter(("我 。", english)) == passes_filter((english, "我 。"), english=0) == kept
    assert not passes_filter((" ".join("我" * 10), english))


SENTENCES = st.integers(0, 40).map(str)
CORPORA = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=20, max_size=60, unique=True)


@given(CORPORA, st.floats(0.1, 0.4), st.integers(0, 3))
def test_no_sentence_is_on_both_sides_of_a_split(pairs: list[tuple[str, str]], fraction: float, seed: int) -> None:
    try:
        train, held = split_rows(pairs, fraction, seed)
    except InputError:
        return  # all hangs together: see below for corpora that must be split
    assert sorted(train + held) == list(range(len(pairs))) and train and held
    for side in (0, 1):
        assert not {pairs[row][side] for row in train} & {pairs[row][side] for row in held}
    assert len(held) <= round(len(pairs) * fraction)
    assert split_rows(pairs, fraction, seed) == (train, held)


def test_a_split_of_unrelated_pairs_holds_back_exactly_the_share_asked_for() -> None:
    pairs = [(f"s{n}", f"t{n}") for n in range(100)]
    train, held = split_rows(pairs, 0.1, 0)
    assert (len(train), len(held)) == (90, 10)
    assert train == sorted(train) and held == sorted(held)
    assert split_rows(pairs, 0.1, 1)[1] != held


def test_a_corpus_where_each_sentence_has_two_translations_can_be_split() -> None:
    train, held = split_rows([(f"s{n // 2}", f"t{n}") for n in range(100)], 0.1, 0)
    assert (len(train), len(held)) == (90, 10)


def test_a_chain_of_shared_sentences_goes_whole_to_one_side() -> None:
    chain = [("a", "1"), ("b", "1"), ("b", "2"), ("c", "2")]
    for seed in range(20):
        _, held = split_rows([*chain, *((f"s{n}", f"t{n}") for n in range(20))], 0.2, seed)
        assert len({row in held for row in range(len(chain))}) == 1


@pytest.mark.parametrize(
    ("pairs", "fraction"),
    [
        ([("a", "1")], 0.5),
        ([("a", "1"), ("b", "2")], 0.1),
        ([("a", str(n)) for n in range(50)], 0.1),
        ([], 0.1),
        ([("a", "1"), ("b", "2")], 0.9),
    ],
    ids=["one pair", "rounds to none", "one source", "none", "rounds to all"],
)
def test_a_corpus_too_small_to_split_is_refused(pairs: list[tuple[str, str]], fraction: float) -> None:
    with pytest.raises(InputError, match=rf"too small to split: {len(pairs)} pairs.*--validation 0"):
        split_rows(pairs, fraction, 0)


def test_small_groups_are_held_back_first_and_never_too_many(monkeypatch) -> None:
    pairs = [*(("one", str(n)) for n in range(5)), *((f"s{n}", f"t{n}") for n in range(95))]
    for seed in range(10):
        assert min(split_rows(pairs, 0.1, seed)[1]) >= 5
    monkeypatch.setattr(split, "HELD_MOST", 3)
    assert len(split_rows(pairs, 0.1, 0)[1]) == 3
