"""What the shipped corpus promises."""

from jaxseq import shipped
from jaxseq.apps.pairs import passes_filter, read_pairs
from jaxseq.apps.text import NORMALISERS

TRAIN = read_pairs(shipped.find("zh-en"))
HELD = read_pairs(shipped.find("zh-en-held-out"))


def test_sizes_and_distinct_pairs():
    assert len(TRAIN) == len(set(TRAIN)) > 2000 and len(HELD) == len(set(HELD)) > 200


def test_no_held_out_sentence_is_in_training_on_either_side():
    for side in (0, 1):
        assert not {pair[side] for pair in TRAIN} & {pair[side] for pair in HELD}


def test_enough_pass_the_tutorials_filter():
    normalise = NORMALISERS["tutorial"]
    assert sum(passes_filter((normalise(source), normalise(target))) for source, target in TRAIN) > 500


def test_each_side_is_in_its_language():
    for chinese, english in TRAIN + HELD:
        assert any("\u4e00" <= c <= "\u9fff" for c in chinese) and english.isascii(), (chinese, english)
        assert chinese[-1] in "。？！" and english[-1] in ".?!", (chinese, english)
