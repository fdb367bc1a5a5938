"""Lines cut into sentences in many scripts, and joined again."""

import re

import pytest
from hypothesis import given, strategies as st

from jaxseq.apps.sentences import join, split


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Smith paid 3.50.", "Did he?", "Yes!"],
        ["Mr. and Mrs. J. R. Smith came at 5 p.m. They left."],  # uncertain: left whole
        ["See No. 512.", "No.", "I like art.", "So do I.", "Me too."],
        ["Visit www.example.com.", "It is good.", "Version 2.0 is out!", "3.5% more."],
        ["Wait... what?", "What?!", "He left...", "Then he came.", "And so … on."],
        ['"Stop!" he said.', '"Go on."', "(He left. She stayed.)", "They talked."],
        ["Am 3. Mai kam er, z.B. mit dem Zug.", "Er ging."],
        ["Où êtes-vous ?", "Je suis ici !", "M"],
        ["“Unbalanced.", "Yes.", "No."],
        ["你好！", "我叫汤姆。", "他说：“你好！我走了。”", "你呢"],
        ["“你好！”他说。", "我……我不知道。", "是吗？！", "真的？"],
        ["「行くの？」と彼は言った。", "はい。"],
        ["राम घर गया।", "वह सो गया।"],
        ["هل أنت هنا؟", "نعم."],
    ],
)
@pytest.mark.parametrize("space", ["", " ", "  "])
def test_a_line_is_cut_at_the_ends_of_its_sentences(sentences, space):
    """Where the script has no spaces, with any number of them; elsewhere with at least one."""
    wide = all(re.search("[。！？।؟]", one) for one in sentences[:-1]) or len(sentences) == 1
    assert split((space if wide else space or " ").join(sentences)) == sentences


@given(st.text("ab A.。!?…“”\"' 3你\t", max_size=30))
def test_nothing_but_space_is_lost(line):
    sentences = split(line)
    assert all(one and one == one.strip() for one in sentences)
    assert re.sub(r"\s", "", "".join(sentences)) == re.sub(r"\s", "", line)


def test_joined_with_a_space_where_the_language_has_one():
    assert join(["a.", "", "b."], "de-AT") == "a. b." and join(["是。", "好。"], "zh_TW") == "是。好。"
