"""Tokenisers: joining is the inverse of cutting in all scripts, old tokens stay, case comes back, files are checked."""

import dataclasses
import json
import re
import unicodedata

import pytest
from hypothesis import given, strategies as st

from jaxseq.apps.reading import INVISIBLE
from jaxseq.apps.text import plain, saved, tutorial
from jaxseq.apps.text.casing import Casing
from jaxseq.apps.text.normalising import fold, foldings
from jaxseq.apps.text.scripts import combining
from jaxseq.apps.text.subwords import Subwords, _processor, trained
from jaxseq.apps.text.tokenisers import (
    JOINED,
    SPACED,
    Chars,
    Simple,
    Words,
    chars,
    detokenise,
    substituted,
    without_marks,
    words,
)
from jaxseq.errors import InputError

# ---------------------------------------------------------------------------------------------- cutting and joining

HARD = [
    (Words("en"), 'He said: "Well-known?"', 'he said : " well-known ? "'),
    (Words("en"), '"Stop!" he said, "or I\'ll go."', '" stop ! " he said , " or i\'ll go . "'),
    (Words("en"), "e.g. apples, at 5 p.m. (U.S.)", "e.g. apples , at 5 p.m. ( u.s. )"),
    (Words("en"), "3.50, 1,000,000 and 7:30; 50% of $3.50.", "3.50 , 1,000,000 and 7:30 ; 50% of $3.50 ."),
    (Words("en"), "See http://a.b/c?d=e, or x.y@z.com.", "see http://a.b/c?d=e , or x.y@z.com ."),
    (Words("en"), "“No,” she said… [well] {so}", "“ no , ” she said … [ well ] { so }"),
    (Words("en"), "end.Next one", f"end . {JOINED} next one"),
    (Words("en"), "so , it is", f"so {SPACED} , it is"),
    (Words("en"), "I’m at the dogs' house—now", "i'm at the dogs' house — now"),
    (Words("fr"), "« Quoi ? » dit-il.", "« quoi ? » dit-il ."),
    (Words("de"), "„Halt“, sagte er.", "„ halt “ , sagte er ."),
    (Words("es"), "¿Qué? ¡No!", "¿ qué ? ¡ no !"),
    (Chars("en"), "a well-known and/or", "a well - known and / or"),
    (Chars("zh"), "我用 iPhone 15，很好!", "我 用 iphone 15 ， 很 好 ！"),
    (Chars("zh"), "“你好。”“OK，我们走。”", "“ 你 好 。 ” “ ok ， 我 们 走 。 ”"),
    (Chars("ja"), "カタカナを、書く。", "カ タ カ ナ を 、 書 く 。"),
    (Chars("th"), "กำลัง ดี", f"ก ำ ลั ง {SPACED} ดี"),
    (Chars("hi"), "कि हिन्दी में है।", "कि हिन्दी में है ।"),
    (Chars("fa"), "می‌خواهم بروم؟", "می‌خواهم بروم ؟"),
    (Chars("ko"), "한국어 문장입니다.", "한국어 문장입니다 ."),
    (Chars("en"), "👨‍👩‍👧 ok", "👨‍👩‍👧 ok"),
    (Words("zh"), "我很好，谢谢。", "我很好 ， 谢谢 。"),
]


@pytest.mark.parametrize(("tokeniser", "sentence", "tokens"), HARD)
def test_hard_sentences_are_cut_and_joined(tokeniser, sentence, tokens):
    assert tokeniser.cut(sentence) == tokens.split(" ")
    assert tokeniser.join(tokens.split(" ")) == tokeniser.normal(sentence)
    kept = dataclasses.replace(tokeniser, case="keep")
    assert kept.join(kept.cut(sentence)) == fold(sentence, tokeniser.language)


SCRIPTS = "".join((
    " \u3000\t", "abZÉßİı9½²", ".,:;!?…-–—'’‘“”\"«»„()[]{}/%$#@&+*_~", "我是猫，。！？、「」（）", "かカーﾊ々", "กำลัี่",
    "ខ្មែរ", "हिन्दी।", "می‌خ؟", "한글", "эЖ", "\u0301\u200d👨👩🏽", "ﬁ３Ａ", "￭￮▁\x1e\x1f",
))  # fmt: skip
PARTS = st.sampled_from(
    ["http://a.b/c?d", "www.x.org.", "e.g.", "p.m.", "3.50", "1,0", 'a"b', "x@y.de", "...", "don't"]
)
SENTENCES = st.lists(st.one_of(st.text(SCRIPTS, max_size=6), PARTS), max_size=8).map("".join)
KINDS = [Words("en"), Words("fr"), Words("de"), Words(""), Chars("zh"), Chars("ja"), Chars("th"), Chars("en")]


@pytest.mark.parametrize("tokeniser", KINDS, ids=lambda one: f"{one.kind}-{one.language}")
@given(sentence=SENTENCES)
def test_joining_is_the_inverse_of_cutting(tokeniser, sentence):
    for one in (tokeniser, dataclasses.replace(tokeniser, case="keep")):
        normal, tokens = one.normal(sentence), one.cut(sentence)
        assert one.join(tokens) == normal
        assert "".join(without_marks(tokens, ())) == normal.replace(" ", "")
        assert all(tokens) and not re.search(r"\s", "".join(tokens))
        unmarked = dataclasses.replace(one, exact=False)
        assert unmarked.cut(sentence) == [token for token in tokens if token not in (JOINED, SPACED)]


@given(SENTENCES, st.sampled_from(["en", "zh", "ja", "fr"]))
def test_folding_again_changes_nothing(sentence, language):
    once = fold(sentence, language)
    assert fold(once, language) == once and "  " not in once and once == once.strip()
    assert JOINED not in once and SPACED not in once


@given(st.lists(st.sampled_from(["a", ".", '"', "(", "我", JOINED, SPACED, "—", "'"]), max_size=9))
def test_whatever_a_model_writes_no_mark_is_shown(tokens):
    for tokeniser in KINDS:
        shown = tokeniser.join(tokens)
        assert JOINED not in shown and SPACED not in shown and shown == shown.strip() and "\x1e" not in shown


@pytest.mark.parametrize(
    ("language", "before", "after"),
    [
        ("zh", "我最帅!", "我最帅！"),
        ("zh", "真的?! 我很好.", "真的？！我很好。"),
        ("zh", "看 例.com, 3.5元", "看例.com, 3.5元"),
        ("zh", "嗯...", "嗯..."),
        ("zh", "我很好 !", "我很好！"),
        ("en", "我最帅!", "我最帅!"),
        ("ja", "これ は ﾊﾟﾝ です!", "これはパンです!"),
        ("en", "  It’s  Ａ１ ﬁne ", "It's A1 fine"),
        ("en", "‘No’, m² ½ ™", "‘No’, m² ½ ™"),
        ("th", "กำ", "กำ"),  # one character, not two
        ("vi", "e\u0302\u0301", "\u1ebf"),
    ],
)
def test_folding(language, before, after):
    assert fold(before, language) == after


def test_marks_that_combine_are_those_of_unicode():
    marks = re.compile(f"[{combining()}]")
    for n in range(0x300, 0x1800):
        wanted = unicodedata.category(chr(n)).startswith("M")
        assert bool(marks.fullmatch(chr(n))) == wanted, hex(n)


def test_a_plain_programs_folding_is_ours_for_usual_text():
    for sentence in ("我最帅!", "我用 iPhone, 很好.", "It’s fine", "嗯...", "看例.com"):
        assert substituted(sentence, foldings("zh")) == fold(sentence, "zh")


@given(SENTENCES)
def test_simple_tokens_are_those_of_earlier_versions(sentence):
    kept = re.sub("[\u200c\u200d]", "", sentence)
    assert Simple("en", by="words").cut(sentence) == words(plain(kept))
    assert Simple("zh", by="chars").cut(sentence) == chars(plain(kept))
    assert Simple("zh", normalise="tutorial", by="words").cut(sentence) == words(tutorial(kept))


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ('he said , " stop ! " and ( then ) left .', 'he said, "stop!" and (then) left.'),
        ("« oui » ou “ non ” ? ¿ qué ?", "«oui» ou “non”? ¿qué?"),
        ("我 有 2 只 猫 （ 黑 ） 。", "我有2只猫（黑）。"),
    ],
)
def test_tokens_without_marks_are_joined_by_the_rule(tokens, sentence):
    assert detokenise(tokens.split()) == sentence


def test_chinese_is_shown_with_full_width_punctuation():
    for tokeniser in (Chars("zh"), Simple("zh", by="chars"), Simple("zh", normalise="tutorial"), Subwords("zh")):
        assert tokeniser.join(["我", "很", "好", "!"]) == "我很好！", tokeniser
    assert Chars("en").join(["好", "!"]) == "好!"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\u200db", "ab"),
        ("我\u200c是\u200b。", "我是。"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("\ufeffHi\u2060", "Hi"),
    ],
)
def test_joiners_stay_where_they_are_spelling(text, left):
    assert INVISIBLE.sub("", text) == left


# ---------------------------------------------------------------------------------------------- subwords

TEXT = [
    f"{who} {does}s {what}{mark}"
    for who in ("The writer", "A reader", "Nobody", "Every teacher")
    for does in ("paint", "collect", "forget", "measure", "remember")
    for what in ("water-colours", "3.50 dollars", "(strange) books", 'the word "never"', "mountains")
    for mark in ".!?"
]


@pytest.fixture(scope="module")
def pieces():
    return Subwords("en", size=120).learn(TEXT)


def test_the_sign_of_a_words_beginning_is_another_character_in_text(pieces):
    assert pieces.normal("a▁Book") == "a_book" == pieces.join(pieces.cut("a▁Book"))


def test_the_rarest_of_very_many_characters_are_not_pieces():
    """Of a thousand characters each is a piece, of more those that make up 99.95% of the text."""
    for count in (1000, 1100):
        characters = [chr(0x4E00 + n) for n in range(count)]
        text = "".join(one * (1 if n < 5 else 9) for n, one in enumerate(characters))
        lines = [text[n : n + 50] for n in range(0, len(text), 50)]
        read = _processor(trained(2000, lines, len(lines)))
        known = [read.piece_to_id(one) != read.unk_id() for one in characters]
        assert all(known[5:]) and all(known[:5]) == (count == 1000)


def test_the_same_text_gives_the_same_pieces(pieces):
    again = Subwords("en", size=120).learn(TEXT)
    assert again == pieces and len(pieces.model) > 500
    assert Subwords("en", size=120).learn(TEXT[:150]).model != pieces.model


def test_subwords_are_pieces_that_spell_the_sentence(pieces):
    tokens = pieces.cut("A painter remembers!")
    assert len(tokens) > 3 and "".join(tokens) == "▁a▁painter▁remembers!" and tokens[0].startswith("▁")


@given(sentence=SENTENCES)
def test_joining_subwords_is_the_inverse_of_cutting(pieces, sentence):
    assert pieces.join(pieces.cut(sentence)) == pieces.normal(sentence)


def test_subwords_that_cannot_be_learnt_are_refused():
    with pytest.raises(InputError, match="--subwords 33 is too small for this text, which has 66 different"):
        trained(33, ["".join(map(chr, range(0x4E00, 0x4E00 + 66)))], 1)
    with pytest.raises(InputError, match="there is no text to learn"):
        Subwords("en").learn(["", " "])
    assert Subwords("en").cut("Two words") == ["two", "words"]  # counted before anything is learnt


# ---------------------------------------------------------------------------------------------- case

WRITTEN = [
    "I think Tom is in Paris.", "Today it is Tom's, I'm sure.", 'He said: "Well, I am Dr. Smith."',
    "Yes. The US is big.", "Does the apple fall?", "We like the big apple.",
]  # fmt: skip


@pytest.mark.parametrize(
    "sentence", [*WRITTEN, "Tom likes Paris! I like Tom. Today we fall.", "(Tom is big, e.g. in Paris.)"]
)
def test_capitals_are_given_back(sentence):
    casing = Casing.learn(WRITTEN)
    assert casing.restored(sentence.lower()) == sentence
    tokeniser = Words("en", case="restore").learn(WRITTEN)
    assert tokeniser.cut(sentence) == Words("en").cut(sentence) and tokeniser.join(tokeniser.cut(sentence)) == sentence


def test_capitals_are_those_that_are_most_frequent_inside_sentences():
    casing = Casing.learn([*WRITTEN, "a Big apple", "a Big one", "a Big Big"])
    assert casing.words["big"] == "Big" and "apple" not in casing.words and "today" not in casing.words
    assert casing.begins
    assert not Casing.learn([]).begins and not Casing.learn(["One.", "two."]).begins  # most, not as many
    assert Casing.learn(["all is small here", "and here"]).restored("nothing. changes") == "nothing. changes"
    assert Casing({}, True).restored("ßaß. éa") == "ßaß. Éa"  # one letter stays one


# ---------------------------------------------------------------------------------------------- files


def test_tokenisers_are_read_as_they_were_written(pieces, tmp_path):
    for one in (*KINDS, Words("en", "restore", exact=False).learn(WRITTEN), Simple("zh", by="chars"), pieces):
        saved.save(tmp_path, {"source": one, "target": Chars("zh")})
        assert saved.load(tmp_path, "source") == one and saved.load(tmp_path, "target") == Chars("zh")
    assert saved.load(tmp_path / "elsewhere", "source") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.pop("source"),
        lambda facts: facts["source"].pop("language"),
        lambda facts: facts["source"].update(kind="letters"),
        lambda facts: facts["source"].update(case="upper"),
        lambda facts: facts["source"].update(language=7),
        lambda facts: facts["source"].update(casing=[]),
        lambda facts: facts["source"]["casing"].update(words={"a": 1}),
        lambda facts: facts["source"].update(sha256="0"),
        lambda facts: facts.update(source=[]),
    ],
)
def test_damaged_tokenisers_are_refused(pieces, tmp_path, change):
    saved.save(tmp_path, {"source": pieces})
    facts = json.loads((tmp_path / saved.FILE).read_text(encoding="utf-8"))
    change(facts)
    (tmp_path / saved.FILE).write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenisers\.json.*restore it from a copy, or train again"):
        saved.load(tmp_path, "source")


@pytest.mark.parametrize(("name", "value"), [("by", "letters"), ("normalise", "german")])
def test_a_simple_tokeniser_of_unknown_parts_is_refused(tmp_path, name, value):
    saved.save(tmp_path, {"source": dataclasses.replace(Simple("zh"), **{name: value})})
    with pytest.raises(InputError, match=r"tokenisers\.json is damaged .*an unknown"):
        saved.load(tmp_path, "source")


@pytest.mark.parametrize("content", [b"", b"garbage", None, "cut"])
def test_a_damaged_model_of_subwords_is_refused(pieces, tmp_path, content):
    saved.save(tmp_path, {"source": pieces})
    file = tmp_path / saved.model_file("source")
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9] if content == "cut" else content)
    with pytest.raises(InputError, match=r"source\.subwords\.model"):
        saved.load(tmp_path, "source")
    (tmp_path / saved.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenisers\.json is damaged"):
        saved.load(tmp_path, "source")
