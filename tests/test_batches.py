"""Buckets that pad least, batches by tokens, weights; and a corpus on disk that trains as one in memory."""

import dataclasses
import itertools
import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from jaxseq import order
from jaxseq.apps.buckets import bounds, groups
from jaxseq.apps.ragged import Ragged
from jaxseq.apps.text import PAD, subwords
from jaxseq.apps.translate import data, starting, store, train
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.apps.translate.training_batches import batches
from jaxseq.errors import InputError

# ---------------------------------------------------------------------------------------------- buckets

LENGTHS = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=12)


def padded(lengths, at) -> int:
    """Positions after padding, each pair in the first bucket of `at` in which it fits."""
    return sum(next(s + t for s, t in at if a <= s and b <= t) for a, b in lengths)


def least(lengths, count: int) -> int:
    """The least of `padded` over all rising bounds whose last holds everything."""
    last = tuple(max(side) for side in zip(*lengths, strict=True))
    sides = [sorted({*side}) for side in zip(*lengths, strict=True)]
    places = list(itertools.product(*sides))
    chains = (
        [*chain, last]
        for chain in itertools.combinations(places, count - 1)
        if all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise([*chain, last]))
    )
    return min(padded(lengths, chain) for chain in [[last], *chains])


@given(LENGTHS, st.integers(1, 3))
@settings(deadline=None)
def test_no_other_bounds_pad_less(lengths, count: int) -> None:
    source, target = map(np.array, zip(*lengths, strict=True))
    at = bounds(source, target, count)
    assert len(at) <= count and (np.diff(at, axis=0) >= 0).all()
    assert padded(lengths, at.tolist()) == min(least(lengths, k) for k in range(1, count + 1))
    of = groups(source, target, at)
    assert (at[of] >= np.stack([source, target], 1)).all()
    assert padded(lengths, at.tolist()) == at[of].sum()


def test_bounds_of_many_lengths_hold_every_pair() -> None:
    source = np.arange(1, 1001)
    target = source[::-1].copy()
    at = bounds(source, target, 5)
    assert at[-1].tolist() == [1000, 1000] and groups(source, target, at).max() < len(at)


# ---------------------------------------------------------------------------------------------- order


@given(st.integers(0, 5), st.lists(st.integers(1, 12), min_size=2, max_size=4))
def test_buckets_of_different_batches_get_chunks_for_their_pairs(seed: int, rows: list[int]) -> None:
    sizes = [300 * (n + 1) for n in range(len(rows))]
    seen = np.zeros(len(rows))
    stream = order.chunks(sizes, rows, 2, seed)
    for bucket, drawn in itertools.islice(stream, 600):
        assert drawn.shape == (2, rows[bucket])
        seen[bucket] += drawn.size
    shares = seen / seen.sum()
    np.testing.assert_allclose(shares, np.array(sizes) / sum(sizes), atol=2 * 2 * 12 / seen.sum() + 1e-9)


WEIGHTS = st.lists(st.floats(0.1, 4), min_size=2, max_size=9)


@given(WEIGHTS, st.integers(0, 3), st.integers(0, 5))
def test_a_pass_holds_each_pair_as_often_as_its_weight(weights: list[float], seed: int, start: int) -> None:
    given = np.array(weights) * max(1, round(sum(weights))) / sum(weights)
    length = round(given.sum())
    one_pass = [
        next(order.chunks([len(given)], length, 1, seed, start=n, weights=[given]))[1].ravel() for n in range(8)
    ]
    for rows in one_pass:
        counts = np.bincount(rows, minlength=len(given))
        assert (np.abs(counts - given) < 1 + 1e-6).all() and counts.sum() == length
    late = next(order.chunks([len(given)], length, 1, seed, start=start, weights=[given]))[1]
    np.testing.assert_array_equal(late.ravel(), one_pass[start])


def test_weights_count_over_many_passes_and_in_draws_with_replacement() -> None:
    weights = np.array([0.25, 0.25, 0.5, 3.0])
    for options in ({}, {"replacement": True}):
        stream = order.chunks([4], 8, 5, 0, weights=[weights], **options)
        rows = np.concatenate([drawn.ravel() for _, drawn in itertools.islice(stream, 400)])
        np.testing.assert_allclose(np.bincount(rows) / len(rows), weights / 4, atol=0.01)


# ---------------------------------------------------------------------------------------------- batches

SUBJECTS, THINGS = "我你他", "狗鱼书茶水花"
PAIRS = [
    (f"{'very ' * n}{who} sees {what}", f"{a}{'很' * n}看{b}。")
    for n in range(4)
    for a, who in zip(SUBJECTS, ("I", "you", "he"), strict=True)
    for b, what in zip(THINGS, ("dogs", "fish", "books", "tea", "water", "flowers"), strict=True)
]
SMALL = {"steps": 4, "report_every": 2, "batch": 4, "buckets": 3, "hidden": 4, "embedding": 4, "warmup": 0}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join("\t".join(pair) for pair in PAIRS), encoding="utf-8")
    return TranslateConfig(data=str(path), validation=0.25, min_count=2, **SMALL)


def test_a_chunk_holds_its_pairs_and_padding(config) -> None:
    corpus = data.prepare(config)
    made = batches(config, corpus)
    seen = []
    for bucket, rows in itertools.islice(made.chunks(2, 0), 9):
        (source, target), places = made.taken(bucket, rows)
        like = made.like(bucket, 2)
        assert [a.shape for a in (source, target, places)] == [a.shape for a in (*like[0], like[1])]
        for place, row in zip(places.ravel(), rows.ravel(), strict=True):
            pair = corpus.train[made.members[bucket][row]]
            for side, column, way in zip(pair, (source, target), (corpus.source, corpus.target), strict=True):
                numbers = column[:, place]
                assert numbers[numbers != PAD].tolist() == way.numbers(side)
        seen += rows.ravel().tolist()
    real = sum(len(a.tokens) + len(b.tokens) + 2 for a, b in corpus.train)
    whole = sum(len(m) * sum(shape) for m, shape in zip(made.members, made.shapes, strict=True))
    assert made.real == real / whole > 0.75
    assert f"pairs in 3 buckets, {1 - real / whole:.0%} of their positions padding: " in made.summary()
    counts = np.bincount([n for _, b in corpus.train for n in corpus.target.numbers(b)])
    np.testing.assert_array_equal(made.target_counts(len(corpus.target.vocabulary)), counts)


def test_batches_by_tokens_have_fewer_rows_of_long_pairs(config) -> None:
    config = dataclasses.replace(config, batch_tokens=36)
    made = batches(config, data.prepare(config))
    assert [rows * max(shape) <= 36 for rows, shape in zip(made.rows, made.shapes, strict=True)] == [True] * 3
    assert made.rows == [36 // max(shape) for shape in made.shapes] and made.rows[0] > made.rows[-1]
    config = dataclasses.replace(config, batch_tokens=1)
    assert batches(config, data.prepare(config), multiple=4).rows == [4] * 3


def test_ragged_rows_are_padded_as_lists_would_be() -> None:
    rows = [[5], [6, 7, 8], [9, 4]]
    got = Ragged.of(rows).padded(np.array([2, 0, 2]), 3)
    assert got.dtype == np.int32 and got.T.tolist() == [[9, 4, 0], [5, 0, 0], [9, 4, 0]]


# ---------------------------------------------------------------------------------------------- on disk


def stored(config, tmp_path, **options):
    return dataclasses.replace(config, prepared=str(tmp_path / "prepared"), **options)


@pytest.mark.parametrize("block", [store._BLOCK, 3])
def test_a_prepared_folder_is_the_corpus_in_memory(config, tmp_path, monkeypatch, block) -> None:
    """Token for token, in one block and in several."""
    monkeypatch.setattr(store, "_BLOCK", block)
    memory, disk = data.prepare(config), store.prepare(stored(config, tmp_path))
    for side in ("source", "target"):
        assert getattr(disk, side).vocabulary.tokens == getattr(memory, side).vocabulary.tokens
    for a, b in zip(memory.numbers(), disk.numbers(), strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.starts, b.starts)
    assert disk.validation == memory.validation and len(disk.train) == len(memory.train)
    assert isinstance(disk.numbers()[0].tokens, np.memmap) and disk.numbers()[0].tokens.dtype == np.uint16
    known = [[t for t in pair[1].tokens if t in memory.target.vocabulary.numbers] for pair in memory.train]
    assert [[t for t in b.tokens if t != "<unk>"] for _, b in disk.train] == known
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").iterdir()}
    again = store.prepare(stored(config, tmp_path))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").iterdir()} == times  # not written again
    assert again.digest() == disk.digest() and again.measured() == memory.measured()


@pytest.mark.usefixtures("in_every_thread")
def test_training_from_disk_is_training_from_memory(config, tmp_path) -> None:
    """Loss by loss."""
    config = dataclasses.replace(config, buckets=2)
    losses = [r.loss for r in train.train(config, tmp_path / "memory").reports]
    config = stored(config, tmp_path)
    trained = train.train(config, tmp_path / "disk")
    assert [r.loss for r in trained.reports] == losses and len(losses) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"subwords": 60},
        {"subwords": 60, "target_tokens": "subwords"},
        {"subwords": 60, "shared": True},
        {"source_tokens": "words", "shared": True, "min_count": 2},
    ],
    ids=["both", "target", "shared", "words"],
)
def test_subwords_and_a_shared_vocabulary_on_disk_are_those_in_memory(config, settings, tmp_path) -> None:
    """Pieces, vocabularies and numbers; also of dev pairs, whose words count for --max-tokens, not their pieces."""
    (tmp_path / "dev.tsv").write_text("I sees dogs\t我看狗。\n", encoding="utf-8")
    config = dataclasses.replace(config, dev=str(tmp_path / "dev.tsv"), max_tokens=12, **settings)
    memory = data.prepare(config)
    for disk in (store.prepare(stored(config, tmp_path)), store.prepare(stored(config, tmp_path))):
        assert disk.source.same(memory.source) and disk.target.same(memory.target)
        for a, b in zip(memory.numbers(), disk.numbers(), strict=True):
            np.testing.assert_array_equal(a.tokens, b.tokens)
            np.testing.assert_array_equal(a.starts, b.starts)
        assert disk.validation == memory.validation and len(disk.validation) == 1
    assert (memory.source.vocabulary.tokens == memory.target.vocabulary.tokens) == bool(settings.get("shared"))


def test_pieces_are_learnt_from_evenly_spaced_pairs_of_many(config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(subwords, "MOST_SENTENCES", 10)
    config = dataclasses.replace(config, subwords=60, validation=0.0, shared=True)
    memory, disk = data.prepare(config), store.prepare(stored(config, tmp_path))
    texts = [side.tokeniser.normal(pair[n].written) for n, side in enumerate((memory.source, memory.target))
             for pair in memory.train]  # fmt: skip
    few = texts[:: math.ceil(len(texts) / 10)]
    assert len(few) <= 10
    assert disk.source.tokeniser.model == memory.source.tokeniser.model == subwords.trained(60, few, len(few))


@pytest.mark.parametrize("settings", [{"subwords": 60, "shared": True}, {}], ids=["subwords", "words"])
def test_a_run_is_fine_tuned_on_pairs_on_disk(config, settings, tmp_path) -> None:
    """With the numbers of its vocabularies, as from memory; the folder is then of no use to other runs."""
    config = dataclasses.replace(config, validation=0.0, **settings)
    base = data.prepare(config)
    given = base.source, base.target
    (tmp_path / "more.tsv").write_text("I sees cats\t我看猫。\nyou hear\t你听。\n", encoding="utf-8")
    tuned = dataclasses.replace(config, data=str(tmp_path / "more.tsv"), init_from="base")
    memory, disk = data.prepare(tuned, given), store.prepare(stored(tuned, tmp_path), given)
    assert disk.source.same(given[0]) and disk.target.same(given[1])
    assert given[0].unknown(memory.train[0][0])
    for a, b in zip(memory.numbers(), disk.numbers(), strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
    said = starting.unknown_share(*memory.numbers())
    assert said == starting.unknown_share(*disk.numbers()) and "of the source tokens" in said
    again = dataclasses.replace(stored(tuned, tmp_path), init_from="")
    with pytest.raises(InputError, match=r"has the vocabularies of a run that --init-from named; give --prepared"):
        store.prepare(again)
    with pytest.raises(InputError, match=r"has other vocabularies than the run; give --prepared another folder"):
        store.prepare(stored(tuned, tmp_path), (given[1], given[0]))


def test_dev_files_leaks_and_weights_on_disk(config, tmp_path) -> None:
    (tmp_path / "dev.tsv").write_text("I sees dogs\t我看狗。\nno\t不。\n", encoding="utf-8")
    (tmp_path / "more.tsv").write_text("you hear\t你听。\nwe hear\t我们听。\n", encoding="utf-8")
    config = dataclasses.replace(
        config, data=(config.data, str(tmp_path / "more.tsv")), weights=(1.0, 3.0), leaks="remove",
        dev=str(tmp_path / "dev.tsv"), test=str(tmp_path / "more.tsv"),
    )  # fmt: skip
    with pytest.raises(InputError, match="no pair is left of corpus 2"):
        store.prepare(stored(config, tmp_path))
    shutil.rmtree(tmp_path / "prepared")
    config = dataclasses.replace(config, test="")
    memory, disk = data.prepare(config), store.prepare(stored(config, tmp_path))
    np.testing.assert_allclose(disk.weights, memory.weights)
    assert len(disk.train) == len(memory.train) == len(PAIRS) + 2 - 1
    assert disk.validation == memory.validation and len(disk.validation) == 2
    assert disk.measured()[0] == "held back in training" and "are left out of training" in disk.notes[0]


def test_what_a_prepared_folder_refuses(config, tmp_path) -> None:
    config = stored(config, tmp_path)
    store.prepare(config)
    folder = tmp_path / "prepared"

    def refuses(message: str, **changed) -> None:
        with pytest.raises(InputError, match=message):
            store.prepare(dataclasses.replace(config, **changed))

    refuses(r"was prepared with --max-tokens 40, not 12; give --prepared another folder", max_tokens=12)
    refuses(r"was prepared with --seed 0, not 1", seed=1)
    store.prepare(dataclasses.replace(config, hidden=5, batch=3))  # of the model: other runs share the folder
    text = (tmp_path / "pairs.tsv").read_text(encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text(text + "\nI\t我\n", encoding="utf-8")
    refuses(r"pairs\.tsv has changed since .*prepared was prepared")
    (tmp_path / "pairs.tsv").unlink()
    store.prepare(config)  # prepared elsewhere
    raw = (folder / "source.tokens").read_bytes()
    (folder / "source.tokens").write_bytes(raw[:-2] + b"\7\0")
    refuses(r"is damaged: source\.tokens has changed since it was written; remove the folder")
    (folder / "meta.json").write_text("[" * 100_000)
    refuses(r"meta\.json is damaged")
    (folder / "meta.json").write_text(json.dumps({"format": 9, "settings": {}, "files": {}, "inputs": []}))
    refuses(r"was prepared by another version")
    (folder / "meta.json").unlink()
    refuses(r"exists and does not hold prepared pairs")


def test_a_preparation_that_fails_leaves_nothing(config, tmp_path) -> None:
    (tmp_path / "pairs.tsv").write_text("I\t我\nyou\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2: expected en<TAB>zh"):
        store.prepare(stored(config, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.tsv"]
