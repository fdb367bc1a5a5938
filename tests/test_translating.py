"""A translator at work: beam search, n-best, sampling, ensembles, scores, lines as they come, and programs exported."""

import dataclasses
import errno
import gzip
import io
import itertools
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import run_readme
from jax import export as exporting

import jaxseq
from jaxseq import InputError, checkpoint, cli, decode, files, shipped
from jaxseq.apps import run_folder
from jaxseq.apps.text import EOS, PAD, SOS, UNK, Vocabulary
from jaxseq.apps.text.casing import Casing
from jaxseq.apps.text.tokenisers import Simple
from jaxseq.apps.translate import (
    batches,
    decoding as deciding,
    evaluate_command as measuring,
    export as exported,
    lines as reading,
    model as translating,
    preparation,
    translate_command as using,
)
from jaxseq.apps.translate.config import KIND, TranslateConfig
from jaxseq.apps.translate.data import digest_of, preparations
from jaxseq.apps.translate.decoding import Decoding
from jaxseq.apps.translate.evaluate import pairs_for
from jaxseq.apps.translate.lines import translate_lines, windows_of
from jaxseq.apps.translate.scoring import score_pairs, total

GREEDY = Decoding(beam=1)
GUIDE = Path(jaxseq.__file__).parent / "guide" / "translating.md"
ENGLISH = "i you he see hear seek dog fish book , .".split()

pytestmark = pytest.mark.usefixtures("in_every_thread_of_a_module")


def translator(seed=0, *, eos=0.0, unk=0.0, model="translator"):
    """A translator of random weights, large enough that words differ by source and position."""
    config = TranslateConfig(model=model, embedding=6, hidden=8, cell="gru")
    source, target = Vocabulary("我你他看听找狗鱼书。"), Vocabulary(ENGLISH)
    seq2seq = config.build()
    params = seq2seq.init(jax.random.key(seed), len(source), len(target), embedding=6, hidden=8)
    params = params._replace(source=10 * params.source, target=10 * params.target)
    bias = params.logits.b.at[EOS].add(eos).at[UNK].add(unk)
    params = params._replace(logits=params.logits._replace(W=4 * params.logits.W, b=bias))
    return translating.Translator(config, seq2seq, params, *preparations(config, source, target))


@pytest.fixture(scope="module")
def ours(in_every_thread_of_a_module):
    return translator(eos=4.0)


@pytest.fixture(scope="module")
def run(ours, tmp_path_factory):
    """The same as a run folder, runs/translate in a folder of its own."""
    path = run_folder.create(tmp_path_factory.mktemp("run") / "runs" / "translate", KIND, ours.config)
    preparation.save(path, ours.source, ours.target)
    words = digest_of(ours.source.vocabulary, ours.target.vocabulary)
    checkpoint.save(path / run_folder.MODEL, ours.params, step=1, vocabularies=words)
    return path


def written(capsys, *args, stdin="", terminal=False, monkeypatch=None, status=0):
    """What a command prints on both streams."""
    if monkeypatch is not None:
        stream = io.StringIO(stdin)
        stream.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", stream)
    assert cli.main([str(arg) for arg in args]) == status
    return capsys.readouterr()


def test_the_beam_is_that_of_the_library(ours):
    """Of one sentence, without padding: tokens, scores and attention of jaxseq.decode.beam."""
    source = jnp.array([ours.source.numbers(ours.source.sentence("我看鱼。"))]).T
    encoded = ours.model.encode(ours.params, source, source > 0)
    want = decode.beam(
        ours.model.step(ours.params, encoded), encoded.carry, jnp.array([SOS]), eos=EOS, max_length=20, size=5,
        n_best=3, length_penalty=0.7, coverage_penalty=0.2, filters=(decode.forbid(PAD, SOS, UNK),),
    )  # fmt: skip
    done = ours.translate(["我看鱼。", "你听"], Decoding(nbest=3, length_penalty=0.7, coverage_penalty=0.2))[0]
    ranked = (done, *done.others)
    assert len({one.text for one in ranked}) == 3
    for n, one in enumerate(ranked):
        T = int(want.lengths[0, n])
        assert one.target_tokens == [ours.target.vocabulary.tokens[i] for i in want.tokens[:T, 0, n]]
        np.testing.assert_allclose(one.score, want.scores[0, n], rtol=1e-5)
        np.testing.assert_allclose(one.log_prob, want.log_probs[:, 0, n].sum(), rtol=1e-5)
        np.testing.assert_allclose(one.weights, want.seen[:T, 0, n], atol=1e-5)


def test_the_score_of_greedy_is_ranked_as_the_beams(ours):
    (done,) = ours.translate(["我看"], dataclasses.replace(GREEDY, length_penalty=0.7))
    assert done.score == pytest.approx(done.log_prob / ((5 + len(done.target_tokens)) / 6) ** 0.7, rel=1e-5)


def teacher_forced(ours, source, target):
    """The log-probability of one pair, token by token, in NumPy but for the step itself."""
    numbers = jnp.array([ours.source.numbers(ours.source.sentence(source))]).T
    encoded = ours.model.encode(ours.params, numbers, numbers > 0)
    carry, before, found = encoded.carry, SOS, []
    for token in ours.target.numbers(ours.target.sentence(target)):
        carry, (logits, _) = ours.model.step(ours.params, encoded)(carry, jnp.array([before]))
        row = np.asarray(logits[0], float)
        found.append(row[token] - np.log(np.exp(row - row.max()).sum()) - row.max())
        before = token
    return np.array(found)


PAIRS = [
    ("我看鱼。", "i see fish ."),
    ("你听", "you hear a zebra"),
    ("他找书狗鱼我你", "he seek book , dog , fish , i"),
]


def test_scores_are_teacher_forced_log_probabilities(ours):
    prepared = [(ours.source.sentence(a), ours.target.sentence(b)) for a, b in PAIRS]
    scores = score_pairs(ours, prepared)
    found = [teacher_forced(ours, *pair) for pair in PAIRS]
    for one, want in zip(scores, found, strict=True):
        assert one.tokens == len(want) and one.log_prob == pytest.approx(want.sum(), rel=1e-4)
        assert one.perplexity == pytest.approx(math.exp(-want.mean()), rel=1e-4)
    assert scores[1].unknown == ["a", "zebra"]
    whole = np.concatenate(found)
    assert total(scores) == {
        "pairs": 3, "tokens": len(whole), "log_prob": pytest.approx(whole.sum(), rel=1e-4),
        "perplexity": pytest.approx(math.exp(-whole.mean()), rel=1e-4), "unknown": 2,
    }  # fmt: skip
    (done,) = ours.translate([PAIRS[0][0]], GREEDY)
    again = [(ours.source.sentence(PAIRS[0][0]), ours.target.sentence(" ".join(done.target_tokens[:-1])))]
    assert done.target_tokens[-1] == "<eos>" and score_pairs(ours, again)[0].log_prob == pytest.approx(done.log_prob)


def looked_at(one):
    """The source word, for each target word, that attention looked at most; never the end."""
    return [list(one.source)[place] for place in one.weights[:, :-1].argmax(1)]


def test_what_becomes_of_unknown_words():
    always = translator(unk=30.0, eos=15.0)
    sentences = ["我看猫。", "你听狼"]
    for one in always.translate(sentences, dataclasses.replace(GREEDY, unknown="keep")):
        assert set(one.target_tokens) <= {"<unk>", "<eos>"} and "<unk>" in one.text
    for one in always.translate(sentences, GREEDY):
        assert "<unk>" not in one.target_tokens
    for one in always.translate(sentences, dataclasses.replace(GREEDY, unknown="copy")):
        assert one.target_tokens[:-1] == looked_at(one)[:-1] and "<unk>" not in one.text
    often = translator(unk=5.0, eos=4.0)
    kept, copied = (often.translate(sentences, Decoding(nbest=4, unknown=how)) for how in ("keep", "copy"))
    for before, after in zip(kept, copied, strict=True):  # each hypothesis has the words that it looked at itself
        for one, other in zip((before, *before.others), (after, *after.others), strict=True):
            np.testing.assert_array_equal(one.weights, other.weights)
            words = [
                looked if word == "<unk>" else word
                for word, looked in zip(one.target_tokens, looked_at(one), strict=True)
            ]
            assert other.target_tokens == words
    ranked = [(one, *one.others) for one in copied]
    assert len({tuple(looked_at(one)) for row in ranked for one in row}) > 4  # they do not look at the same
    plain = TranslateConfig(model="tutorial-plain")
    params = plain.build().init(jax.random.key(0), 14, 15, hidden=4)
    without = always._replace(config=plain, model=plain.build(), params=params)
    for how in (Decoding(unknown="copy"), Decoding(coverage_penalty=0.2)):
        with pytest.raises(
            InputError, match=r"--(unknown copy|coverage-penalty) needs attention, which this model does"
        ):
            without.translate(["我"], how)


def test_samples_do_not_depend_on_their_neighbours(ours):
    how = Decoding(sample=True, nbest=4, top_k=6, top_p=0.9, temperature=1.5, seed=3)
    alone = ours.translate(["我看鱼"], how)[0]
    among = ours.translate(["你听", "我看鱼", "他找书"], how)[1]
    ranked, again = (alone, *alone.others), (among, *among.others)
    assert [one.text for one in ranked] == [one.text for one in again] and len({one.text for one in ranked}) > 1
    assert sorted((one.score for one in ranked), reverse=True) == [one.score for one in ranked]
    other = ours.translate(["我看鱼"], dataclasses.replace(how, seed=4))[0]
    assert {one.text for one in (other, *other.others)} != {one.text for one in ranked}


def test_an_ensemble_averages_probabilities(ours):
    second = translator(seed=1, eos=4.0)
    both = translating.together([ours, second])
    pair = [(ours.source.sentence("我看鱼。"), ours.target.sentence("i see fish ."))]
    each = [teacher_forced(one, "我看鱼。", "i see fish .") for one in (ours, second)]
    want = 0.0
    for n in range(len(each[0])):
        want += math.log((math.exp(each[0][n]) + math.exp(each[1][n])) / 2)
    assert score_pairs(both, pair)[0].log_prob == pytest.approx(want, rel=1e-4)
    (done,) = both.translate(["我看鱼。"], GREEDY)
    again = [(pair[0][0], ours.target.sentence(" ".join(done.target_tokens[:-1])))]
    assert done.target_tokens[-1] == "<eos>" and done.weights.shape[1] == 5
    assert score_pairs(both, again)[0].log_prob == pytest.approx(done.log_prob, rel=1e-4)
    other = second._replace(target=second.target._replace(vocabulary=Vocabulary(ENGLISH[::-1])))
    with pytest.raises(InputError, match="those of run 2 are not those of run 1"):
        translating.together([ours, other])


def test_a_prefix_begins_every_translation(ours):
    for one in ours.translate(["我看", "你听鱼"], GREEDY, prefix="You see"):
        assert one.target_tokens[:2] == ["you", "see"]
    with pytest.raises(InputError, match="the translator cannot write 'a'"):
        ours.translate(["我看"], prefix="a zebra")
    with pytest.raises(InputError, match="--prefix has 20 tokens; a translation of this sentence has at most 20"):
        ours.translate(["我看"], prefix="you " * 20)


def test_many_lines_in_order_with_few_programs(ours, monkeypatch):
    """2,000 lines of up to 39 tokens: a program for each length they are padded to. Windows come as they are done."""
    counted, random = [], np.random.default_rng(0)
    for name in ("greedy", "beam"):
        original = getattr(deciding, name)
        monkeypatch.setattr(deciding, name, lambda *a, o=original, **k: counted.append(1) or o(*a, **k))
    sizes = random.integers(0, 39, 2000)
    texts = ["".join(random.choice(list("我你他看听找狗鱼书"), n)) for n in sizes]
    taken = itertools.count()
    lines = (text for text in texts if next(taken) is not None)
    how = dataclasses.replace(GREEDY, length_penalty=0.123)  # not compiled by another test
    windows = translate_lines(ours, windows_of(lines), how)
    first = next(windows)
    assert next(taken) <= reading.WINDOW + 1 and len(first) == reading.WINDOW
    done = [*first, *itertools.chain(*windows)]
    assert len(counted) == 4 == len([n for n in batches.LENGTHS if n <= 40])
    assert [line.text for line in done] == texts and [line.number for line in done] == list(range(1, 2001))
    for line in done:
        assert (line.translation is None) == (line.text == "")
    for n in (0, 700, 1999):
        if texts[n]:
            assert ours.translate([texts[n]], how, batch=64)[0].text == done[n].translation.text


def test_every_length_has_one_batch_size():
    """Three sentences of one length and twenty of another: two programs, and not a third for the smaller group."""
    for sizes, size in (([4] * 3 + [30] * 20, 64), ([4, 30, 4], 8), ([9], 1), ([4] * 70 + [100] * 9, 64)):
        found = list(batches.batches([(n,) for n in sizes]))
        assert sorted(place for one in found for place in one.places) == list(range(len(sizes)))
        assert {len(one.filled) for one in found} == ({64, 8} if 100 in sizes else {size})
        for one in found:
            assert set(one.places) == set(one.filled)
            assert one.lengths == (min(n for n in batches.LENGTHS if n >= max(sizes[place] for place in one.places)),)
    sides = [(4, 30), (4, 6), (30, 4), (4, 29)]
    assert [(one.lengths, one.places) for one in batches.batches(sides)] == [
        ((5, 10), [1]), ((5, 40), [3, 0]), ((40, 5), [2])
    ]  # fmt: skip


def test_lines_that_come_a_few_at_a_time_share_programs(ours, monkeypatch):
    """Windows of 1, 5, 70 and again 5 lines have batches of 1, 8, 64 and 64 sentences."""
    seen = []
    run = translating.program
    monkeypatch.setattr(
        translating,
        "program",
        lambda *a: lambda params, source, *b: seen.append(source.shape) or run(*a)(params, source, *b),
    )
    windows = [["我看"] * n for n in (1, 5, 70, 5)]
    done = list(translate_lines(ours, windows, GREEDY))
    assert [shape[1] for shape in seen] == [1, 8, 64, 64, 64] and {shape[0] for shape in seen} == {5}
    assert len({line.translation.text for window in done for line in window}) == 1


def test_the_sentences_of_a_line_are_one_translation(ours):
    (line,), (apart,) = (
        next(translate_lines(ours, [[text]], Decoding(nbest=2), split=split))
        for text, split in (("我看鱼。你听！", True), ("我看鱼。你听！", False))
    )  # no neighbour
    parts = ours.translate(["我看鱼。", "你听！"], Decoding(nbest=2))
    whole = line.translation
    assert whole.text == " ".join(part.text for part in parts) and apart.translation.text != whole.text
    assert whole.log_prob == pytest.approx(sum(part.log_prob for part in parts))
    assert whole.weights.shape == tuple(np.sum([part.weights.shape for part in parts], 0))
    T, S = parts[0].weights.shape
    assert not whole.weights[:T, S:].any() and not whole.weights[T:, :S].any()
    ranked = [(part, *part.others) for part in parts]
    sums = sorted((a.score + b.score for a in ranked[0] for b in ranked[1]), reverse=True)
    np.testing.assert_allclose([whole.score, whole.others[0].score], sums[:2], rtol=1e-6)


def test_lines_in_lines_out(run, capsys, tmp_path, monkeypatch):
    """Blank lines stay; one that is too long is reported and left blank, and the status says so."""
    text = "我看鱼。\n\n你听。他找书。\r\n" + "我" * 400 + "\n \n我看鱼。"
    lines = [line if line.strip() and len(line) < 300 else "" for line in text.replace("\r", "").split("\n")]
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "lines.txt.gz").write_bytes(gzip.compress(text.encode()))
    args = ["translate", run, "--beam", "1"]
    for source in (["--file", tmp_path / "lines.txt"], ["--file", tmp_path / "lines.txt.gz"], []):
        out, err = written(capsys, *args, *source, stdin=text, monkeypatch=monkeypatch, status=cli.FAILED)
        said = out.split("\n")
        assert len(said) == len(lines) + 1 and [bool(one) for one in said[:-1]] == [bool(one) for one in lines]
        assert said[0] == said[5] and "<unk>" not in out
        assert "line 4: '我我" in err and "has 400 tokens, the most is 319" in err
        assert "1 of 6 lines could not be translated and is left blank: 4" in err
    facts = [json.loads(one) for one in written(
        capsys, *args, "--json", stdin="我看鱼。\n\n", monkeypatch=monkeypatch).out.splitlines()]  # fmt: skip
    assert facts[0]["text"] == said[0] and facts[1] == {"source": "", "text": ""}
    assert len(facts[0]["weights"]) == len(facts[0]["target_tokens"])
    (tmp_path / "bad.txt").write_bytes("我。\n".encode() + b"\xff\n")
    _, err = written(capsys, *args, "--file", tmp_path / "bad.txt", status=cli.FAILED)
    assert "bad.txt, line 2: not UTF-8 (byte 0xff at offset 7)" in err


def test_unknown_words_are_named_once(run, capsys, tmp_path, monkeypatch):
    """In a file, over windows, and at a prompt."""
    text = "我看猫。\n狼猫。\n" * 400 + "你听熊猫\n"
    (tmp_path / "lines.txt").write_text(text, encoding="utf-8")
    args = ["translate", run, "--beam", "1"]
    err = written(capsys, *args, "--file", tmp_path / "lines.txt").err.splitlines()
    guesses = [line for line in err if line.endswith(": no word is known, so the translation is a guess")]
    assert [line for line in err if line not in guesses] == [
        "jaxseq: unknown, read as <unk>: 猫 狼", "jaxseq: unknown, read as <unk>: 熊",
    ]  # fmt: skip
    firsts, more = zip(*(map(int, re.findall(r"\d+", line)) for line in guesses), strict=True)
    assert firsts[0] == 2 and sum(more) + len(more) == 400  # a line for each window
    _, err = written(capsys, *args, stdin="我猫\n狼猫\n猫\n", terminal=True, monkeypatch=monkeypatch)
    assert err.count("line 1: no word is known") == 2  # not of the first, which has one
    assert [line for line in err.splitlines() if "unknown" in line] == [
        f"jaxseq: unknown, read as <unk>: {word}" for word in "猫狼"
    ]
    found = using._notes(
        [reading.Line(1, "", types.SimpleNamespace(unknown=[str(n) for n in range(60)], source_tokens=["看"]))], set()
    )
    assert found[0].endswith(" 48 49, and 10 more")


def test_ctrl_c_keeps_what_was_translated(run, capsys, tmp_path, monkeypatch):
    args = ["translate", run, "--beam", "1"]

    def interrupted(_):
        yield from ["我看。"] * (reading.WINDOW + 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(using, "read_lines", interrupted)
    out, err = written(capsys, *args, "--file", "lines.txt", status=cli.INTERRUPTED)
    assert len(out.splitlines()) == reading.WINDOW
    assert err == f"jaxseq: interrupted; {reading.WINDOW} lines were translated and written\n"
    said = iter(["我看。"])

    def typed(_):
        if (line := next(said, None)) is None:
            raise KeyboardInterrupt
        return line

    monkeypatch.setattr("builtins.input", typed)
    again, err = written(capsys, *args, terminal=True, monkeypatch=monkeypatch, status=cli.INTERRUPTED)
    assert again == out.splitlines(keepends=True)[0] and err.endswith("\n\njaxseq: interrupted\n")


def test_ctrl_c_while_standard_input_is_open(run):
    """A program sends a line, has its translation, and stops us: no traceback, and Python does not abort."""
    command = [sys.executable, "-m", "jaxseq", "translate", str(run), "--beam", "1"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, encoding="utf-8", **pipes) as process:
        process.stdin.write("我看。\n")
        process.stdin.flush()
        assert process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == cli.INTERRUPTED
        assert process.stderr.read() == "jaxseq: interrupted; 1 line was translated and written\n"


def test_nbest_scores_and_a_prompt(run, ours, capsys, tmp_path, monkeypatch):
    ranked = ours.translate(["我看鱼。"], Decoding(nbest=3))[0]
    want = [f"{n}\t{one.score:.4f}\t{one.text}" for n, one in enumerate((ranked, *ranked.others), 1)]
    out, _ = written(capsys, "translate", run, "我看鱼。", "--nbest", "3", "--attention", tmp_path / "map.svg")
    assert out.splitlines() == want and (tmp_path / "map.svg").is_file()
    (facts,) = json.loads(written(capsys, "translate", run, "我看鱼。", "--nbest", "3", "--json").out)
    assert [one["text"] for one in facts["nbest"]] == [line.split("\t")[2] for line in want]
    out, err = written(
        capsys, "translate", run, "--scores", "--nbest", "1", stdin="我看鱼。\n\n我看鱼。", terminal=True,
        monkeypatch=monkeypatch,
    )  # fmt: skip
    assert out.splitlines() == [want[0][2:], "", want[0][2:]] and "translates from zh to en; type a sentence" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--nbest", "9"], "--nbest 9 needs a beam as large; got --beam 5"),
        (["--temperature", "0.5"], "--temperature 0.5 only applies to sampling; add --sample"),
        (["--beam", "0"], "--beam must be at least 1; got 0"),
        (["--sample", "--top-p", "0"], "--top-p must be above 0 and at most 1"),
        (["--length-penalty", "-1"], "--length-penalty must be at least 0"),
    ],
)
def test_settings_that_cannot_be_used(args, said, run, capsys):
    assert said in written(capsys, "translate", run, "我", *args, status=cli.FAILED).err


def test_the_score_command(run, capsys, tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{b}\t{a}\n" for a, b in PAIRS), encoding="utf-8")
    args = ["score", run, "--data", tmp_path / "pairs.tsv"]
    out, err = written(capsys, *args)
    *lines, whole = out.splitlines()
    facts = json.loads(written(capsys, *args, "--json").out)
    assert [line.split("\t")[2:] for line in lines] == [list(pair) for pair in PAIRS]
    assert lines[0].startswith(f"{facts['scores'][0]['log_prob']:.4f}\t") and "2 target words are unknown" in err
    assert f"3 pairs, {facts['tokens']} target tokens" in whole and f"perplexity {facts['perplexity']:.3f}" in whole


def test_an_export_needs_jax_alone(run, ours, capsys, tmp_path):
    """Programs for any size give the numbers of the translator; the guide's program runs them in another process."""
    folder = tmp_path / "model"
    out, _ = written(capsys, "export", run, "-o", folder, "--nbest", "2")
    assert "for cpu and cuda" in out and str(folder / "translate.py") in out
    sentences = ["我看鱼。", "你听", "他找书狗"]
    with np.load(folder / "weights.npz") as file:
        weights = [file[name] for name in sorted(file.files)]
    batch = np.zeros((5, 3), np.int32)
    for b, one in enumerate(sentences):
        row = ours.source.numbers(ours.source.sentence(one))
        batch[: len(row), b] = row
    for name, how in (("greedy.bin", GREEDY), ("beam.bin", Decoding(nbest=2))):
        program = exporting.deserialize(bytearray((folder / name).read_bytes()))
        assert program.platforms == ("cpu", "cuda")
        got = jax.device_get(program.call(weights, batch))
        for b, done in enumerate(ours.translate(sentences, how)):
            for n, one in enumerate((done, *done.others)):
                T = got["lengths"][b, n]
                assert [ours.target.vocabulary.tokens[i] for i in got["tokens"][:T, b, n]] == one.target_tokens
                np.testing.assert_allclose(got["scores"][b, n], one.score, rtol=1e-5)
                np.testing.assert_allclose(got["weights"][:T, b, n, : one.weights.shape[1]], one.weights, atol=1e-5)
    code = "import sys, runpy; sys.modules['jaxseq'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", code, str(folder / "translate.py"), str(folder), *sentences]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.splitlines() == [one.text for one in ours.translate(sentences)], done.stderr
    assert len(exported.client().splitlines()) <= 30
    err = written(capsys, "export", run, "-o", folder, status=cli.FAILED).err
    assert "is not empty; choose another folder with -o, or replace it with --overwrite" in err
    shutil.rmtree(folder)
    folder.write_text("")
    assert "is a file; name a folder" in written(capsys, "export", run, "-o", folder, status=cli.FAILED).err


def test_an_export_replaces_another_when_it_is_whole(ours, tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "_for_any_size", lambda *_: types.SimpleNamespace(serialize=lambda: b"program"))
    exported.export(ours, tmp_path)  # an empty folder that is there, which may be a mount
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.name for path in before} == {*exported.export(ours, tmp_path / "inside").files}
    shutil.rmtree(tmp_path / "inside")
    (tmp_path / "old").write_bytes(b"")
    write, full = exported.write_atomic, OSError(errno.ENOSPC, "No space left on device")

    def small_disk(path, content):
        if path.name == exported.README:
            raise files.cannot_write(path, full)
        write(path, content)

    monkeypatch.setattr(exported, "write_atomic", small_disk)
    with pytest.raises(InputError, match="No space left"):
        exported.export(ours, tmp_path, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {**before, tmp_path / "old": b""}
    monkeypatch.setattr(exported, "write_atomic", write)
    exported.export(ours, tmp_path, overwrite=True)
    assert set(tmp_path.iterdir()) == set(before)  # without the old


def test_the_tokens_of_an_export_are_those_of_the_tokenisers():
    """Of the shipped corpus, by the regular expressions alone."""
    text = shipped.find("zh-en-held-out").read_text(encoding="utf-8")
    for cut, side in (("words", 0), ("chars", 1), ("chars", 0)):
        prepared = preparations(TranslateConfig(source_tokens=cut))[0]
        for one in (prepared, prepared._replace(tokeniser=Simple("zh", by=cut))):
            for line in text.splitlines():
                sentence = line.split("\t")[side]
                assert re.findall(one.tokeniser.pattern(), sentence.lower()) == one.sentence(sentence).tokens


def test_the_guides_code_runs(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[1])
    first, client = run_readme.blocks(GUIDE.read_text(encoding="utf-8"), "python")
    exec(first, {})
    assert len(capsys.readouterr().out.splitlines()) == 2 and "deserialize" in client


@pytest.fixture(scope="module")
def second(ours, tmp_path_factory):
    """A run with other weights, and capitals."""
    path = run_folder.create(tmp_path_factory.mktemp("second") / "run", KIND, ours.config)
    casing = Casing({"you": "You"}, True)
    target = ours.target._replace(tokeniser=dataclasses.replace(ours.target.tokeniser, case="restore", casing=casing))
    preparation.save(path, ours.source, target)
    params = translator(seed=1, eos=4.0).params
    words = digest_of(ours.source.vocabulary, ours.target.vocabulary)
    checkpoint.save(path / run_folder.MODEL, params, step=1, vocabularies=words)
    return path


def test_runs_are_compared_on_the_same_pairs(run, second, capsys, tmp_path):
    lines = "".join(f"{target.capitalize()}\t{source}\n" for source, target in PAIRS)
    (tmp_path / "pairs.tsv").write_text(lines, encoding="utf-8")
    args = ["evaluate", run, second, "--data", tmp_path / "pairs.tsv", "--metrics", "bleu", "ter"]
    facts = json.loads(written(capsys, *args, "--json").out)
    assert [one["run"] for one in facts["systems"]] == [str(run), str(second)] and facts["pairs"] == 3
    for n, path in enumerate((run, second)):
        (alone,) = (json.loads(written(capsys, "evaluate", path, *args[3:], "--json").out),)
        assert {"run": str(path), **alone} == facts["systems"][n]
        for row in facts["paired"]:
            if row["system"] == str(path):
                assert row["score"] == pytest.approx(alone[row["metric"]])
    assert [row["metric"] for row in facts["paired"]] == ["bleu"] * 2 + ["bleu_cased"] * 2 + ["ter"] * 2
    assert [row["p_value"] is None for row in facts["paired"]] == [True, False] * 3
    out = written(capsys, *args).out
    assert re.search(rf"BLEU, cased +{re.escape(str(second))} +[\d.]+ +\([\d.]+ ± [\d.]+\)  p = [\d.]+", out)
    assert "case:mixed" in out and "tok:13a" in out and "chrF" not in out
    assert "is given twice" in written(capsys, "evaluate", run, run, status=cli.FAILED).err
    err = written(capsys, *args[:5], "--metrics", "rouge", status=cli.FAILED).err
    assert "unknown metric 'rouge'" in err


def test_two_parallel_files_are_measured_and_scored_as_one_table(run, capsys, tmp_path, monkeypatch):
    """In either order, as `jaxseq train --data` takes them."""
    files = {name: str(tmp_path / name) for name in ("a.zh", "a.en", "a.tsv")}
    for name, lines in zip(files, (*zip(*PAIRS, strict=True), [f"{b}\t{a}" for a, b in PAIRS]), strict=True):
        Path(files[name]).write_text("\n".join(lines), encoding="utf-8")
    both = [files["a.en"], files["a.zh"]]
    table, two = (json.loads(written(capsys, "score", run, "--data", *words, "--json").out)
                  for words in ([files["a.tsv"]], both))  # fmt: skip
    assert two["scores"] == table["scores"] and two["pairs"] == len(PAIRS) and two["data"] == " ".join(both)
    heard = []

    def measure(translator, data, **_):
        heard.append(pairs_for(translator, data))
        raise InputError("enough")

    monkeypatch.setattr(measuring, "measure", measure)
    written(capsys, "evaluate", run, "--data", *both, status=cli.FAILED)
    assert "--data needs a file of pairs" in written(capsys, "score", run, "--data", status=cli.FAILED).err
    assert heard[0][0] == " ".join(both)
    assert [(a.written, b.written) for a, b in heard[0][1]] == PAIRS


def test_pairs_of_dev_and_test_files_are_named_by_these(ours, tmp_path):
    for name in ("data", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text(f"i see {name} .\t我看{name}\n", encoding="utf-8")
    names = {name: str(tmp_path / f"{name}.tsv") for name in ("data", "dev", "test")}
    for given, where in ((("data", "dev"), "dev.tsv, pairs held back in training"),
                         (("data", "dev", "test"), "test.tsv, pairs for testing")):  # fmt: skip
        config = dataclasses.replace(ours.config, **{name: names[name] for name in given})
        said, pairs = pairs_for(ours._replace(config=config))
        assert said == str(tmp_path / where) and pairs[0][1].written == f"i see {given[-1]} ."


def test_the_kind_of_gpu_is_asked_for(run, capsys, tmp_path):
    args = ["export", run, "-o", tmp_path / "model", "--platforms", "gpu"]
    assert "--platforms gpu: name the kind, cuda for NVIDIA" in written(capsys, *args, status=cli.FAILED).err


def test_runs_with_other_pairs_are_not_compared(run, ours, second, capsys, tmp_path, monkeypatch):
    pairs = [(ours.source.sentence(a), ours.target.sentence(b)) for a, b in PAIRS]
    given = iter([("one file", pairs), ("another", pairs[:2])])
    monkeypatch.setattr(measuring, "pairs_for", lambda *_: next(given))
    err = written(capsys, "evaluate", run, second, status=cli.FAILED).err
    assert "runs are compared on equal pairs" in err and f"{run} has 3 of one file, {second} has 2 of another" in err


def test_an_export_restores_capitals_and_reads_punctuation_as_we_do(ours, second, tmp_path):
    """With the guide's program in this process; one beginning, since it knows no other."""
    other, folder = ours._replace(target=translating.load(second).target), tmp_path / "model"
    sentences = ["我看鱼!", "我看鱼！", "你听 狗"]
    exported.export(other, folder, platforms=("cpu",))
    code = exported.client().partition('print("')[0]
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["translate.py", str(folder)])
        exec(code, names)
    got, want = list(names["translate"](sentences)), [one.text for one in other.translate(sentences)]
    assert got == want and got[0] == got[1] and any(text[:1].isupper() for text in got)
