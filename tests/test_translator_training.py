"""Training a translator: every option resumes exactly, goes further, fine-tunes, and reports what it should."""

import dataclasses
import json
import math
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import InputError, checkpoint, cli, study
from jaxseq.apps import run_folder, snapshots
from jaxseq.apps.parallel import ALONE
from jaxseq.apps.progress import Progress
from jaxseq.apps.settings import Default
from jaxseq.apps.translate import model as translating, saving, starting, train as translate
from jaxseq.apps.translate.config import KIND, PRESETS, TranslateConfig
from jaxseq.apps.translate.data import Batch, numbered, prepare, take
from jaxseq.apps.translate.reports import AWAKE, LATEST, Watch, unigram_loss
from jaxseq.apps.translate.token_losses import saturation
from jaxseq.apps.translate.training_batches import batches
from jaxseq.apps.translate.validation import validator
from jaxseq.attention import ATTENTIONS
from jaxseq.cells import CELLS
from jaxseq.optimizers import scale_of
from jaxseq.seq2seq import translator
from jaxseq.train import Interrupted, Listener, Metrics, Record, TrainState, chunk, optimizer
from jaxseq.trees import leaves_by_path

SUBJECTS = {"我": "i", "你": "you", "他": "he", "她": "she", "我们": "we", "他们": "they"}
VERBS = {"看": "see", "听": "hear", "喜欢": "like"}
OBJECTS = {"书": "books", "狗": "dogs", "鱼": "fish"}
PAIRS = [
    (f"{who} {does} {what}", f"{subject}{verb}{thing}")
    for subject, who in SUBJECTS.items()
    for verb, does in VERBS.items()
    for thing, what in OBJECTS.items()
]
SMALL = {"embedding": 5, "hidden": 4, "batch": 4, "buckets": 1, "validation": 0.2, "report_every": 10, "warmup": 5}
SMALL |= {"cell": "rnn", "attention": "dot"}  # quick to compile


def write(path, pairs=PAIRS):
    path.write_text("\n".join("\t".join(pair) for pair in pairs), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("training")
    write(path / "pairs.tsv")
    return path


def settings(folder, **options):
    return TranslateConfig(**{"data": str(folder / "pairs.tsv"), **SMALL, **options})


class Ears(Listener):
    """Keeps what it hears, and presses Ctrl-C after some steps."""

    def __init__(self, stop=0):
        self.stop, self.done, self.remarks = stop, 0, []

    def started(self, steps, done):
        self.done = done

    def advance(self, steps, loss):
        self.done += steps
        if self.done == self.stop:
            signal.raise_signal(signal.SIGINT)

    def remark(self, text):
        if not text.startswith("training on "):  # of every training
            self.remarks.append(text)


def state(run):
    """Everything that must not differ: arrays of both checkpoints, and reports without times."""
    tensors = [checkpoint._read(run / name)[0] for name in (run_folder.LAST, run_folder.MODEL)]
    timeless = [
        {name: value for name, value in report.flat().items() if name not in ("elapsed", "tokens_per_second")}
        for report in run_folder.metrics(run)
    ]
    return [{name: array.tolist() for name, array in tree.items()} for tree in tensors], timeless


# --- resuming and going further


@pytest.mark.usefixtures("in_every_thread")
def test_a_run_with_all_options_resumes_exactly_from_between_two_reports(folder):
    options = {
        "schedule": "plateau", "plateau_patience": 1, "ema": 0.9, "accumulate": 2, "optimizer": "adamw",
        "weight_decay": 0.1, "best": "bleu", "steps": 90, "report_every": 30,
    }  # fmt: skip
    config = settings(folder, **options)
    trained = translate.train(config, folder / "whole")
    with pytest.raises(Interrupted, match="stopped at step 45 of 90"):
        translate.train(config, folder / "stopped", listener=Ears(stop=45))
    translate.train(config, folder / "stopped", resume=True)
    assert state(folder / "stopped") == state(folder / "whole")
    reports = run_folder.metrics(folder / "whole")
    assert [report.step for report in reports] == [30, 60, 90]
    # the best is the first of the highest BLEU, and what was measured is the moving average
    bleu = [report.more["bleu"] for report in reports]
    assert trained.record.best == -max(bleu) and trained.record.best_step == 30 * (1 + int(np.argmax(bleu)))
    assert checkpoint.facts(folder / "whole" / run_folder.MODEL)["step"] == trained.record.best_step
    loaded = translating.load(folder / "whole")
    kept = reports[trained.record.best_step // 30 - 1]
    held = numbered(loaded.source, loaded.target, trained.corpus.validation, 1)
    np.testing.assert_allclose(validator(loaded.model, held, 4)(loaded.params), kept.validation_loss, rtol=1e-6)
    # the rate was halved at each report that was no better
    stale = sum(b <= max(bleu[:n], default=-1) for n, b in enumerate(bleu))
    rates = [report.more["learning_rate"] for report in reports]
    assert rates[-1] == pytest.approx(config.learning_rate * 0.5 ** (stale - (bleu[-1] <= max(bleu[:-1]))))
    last = checkpoint._read(folder / "whole" / run_folder.LAST)[0]
    assert last[".opt_state[2].plateau_scale"] == 0.5**stale


@pytest.fixture(scope="module")
def forty(folder, in_every_thread_of_a_module):
    """A run of 40 steps, which averages the parameters of two reports."""
    translate.train(settings(folder, schedule="inverse-sqrt", average=2, steps=40, snapshots=4), folder / "forty")
    return folder / "forty"


@pytest.mark.usefixtures("in_every_thread")
def test_snapshots_are_what_shorter_trainings_come_to_and_survive_a_stop(folder, forty):
    """Steps 0, 1, 6 and 40, at the ends of chunks of ten."""
    params = translating.load(forty).params
    steps, kept = snapshots.read(forty, params)
    assert steps == [0, 10, 40]
    options = {"schedule": "inverse-sqrt", "average": 2, "snapshots": 4}
    translate.train(settings(folder, **options, steps=10), folder / "ten")
    short = checkpoint._read(folder / "ten" / run_folder.LAST)[0]
    for place, run in ((1, short), (2, checkpoint._read(forty / run_folder.LAST)[0])):
        for name, leaf in leaves_by_path(kept).items():
            np.testing.assert_array_equal(leaf[place], run[f".params{name}"])
    np.testing.assert_array_equal(
        jax.tree.leaves(snapshots.read(folder / "ten", params)[1])[0][0], jax.tree.leaves(kept)[0][0]
    )
    with pytest.raises(Interrupted):
        translate.train(settings(folder, **options, steps=40), folder / "broken", listener=Ears(stop=20))
    assert snapshots.read(folder / "broken", params)[0] == [0, 10]
    translate.train(settings(folder, **options, steps=40), folder / "broken", resume=True)
    again, same = snapshots.read(folder / "broken", params)
    assert again == steps
    jax.tree.map(np.testing.assert_array_equal, same, kept)
    sums = study.along(lambda one: jax.tree.leaves(one)[0].sum(), kept)
    assert sums.shape == (3,)
    with pytest.raises(InputError, match="has no snapshots; train it with --snapshots"):
        snapshots.read(folder, params)
    with pytest.raises(InputError, match="snapshots must be 0, or at least 2"):
        settings(folder, snapshots=1).check()


@pytest.mark.usefixtures("in_every_thread")
def test_a_run_goes_further_and_keeps_the_mean_of_its_last_reports(folder, forty):
    config, ears = settings(folder, schedule="inverse-sqrt", average=2, steps=20), Ears()
    translate.train(config, folder / "twenty")
    trained = translate.train(config, folder / "twenty", resume=True, steps=40, listener=ears)
    assert state(folder / "twenty") == state(forty) and not ears.remarks
    assert run_folder.read_config(folder / "twenty", KIND, TranslateConfig).steps == 40
    steps = checkpoint.facts(forty / saving.WINDOW)["steps"]
    assert steps == [30, 40] and trained.record.best_step == 40
    window, model = (checkpoint._read(forty / name)[0] for name in (saving.WINDOW, run_folder.MODEL))
    for name, array in model.items():
        np.testing.assert_allclose(array, (window[f"[0]{name}"] + window[f"[1]{name}"]) / 2, rtol=1e-6, atol=1e-7)
    for wrong, message in ((40, r"must be above 40, the steps that .* has taken; got 40"), (45, "multiple of 10")):
        with pytest.raises(InputError, match=message):
            translate.train(config, folder / "twenty", resume=True, steps=wrong)


def test_a_window_forgets_a_report_that_was_not_saved(tmp_path):
    """Killed between writing the window and the state: the next report averages what it would have."""
    config, rng = TranslateConfig(average=2), np.random.default_rng(0)
    values = {n: {"w": rng.normal(size=3).astype(np.float32)} for n in (10, 20, 30)}
    corpus = prepare(dataclasses.replace(config, data=write(tmp_path / "pairs.tsv")))

    def saver():
        return saving.Saver(tmp_path, corpus, config, 10, ALONE)

    def reported(saver, step, killed=False):
        state = TrainState(values[step], (), jnp.int32(step))
        mean = saver.candidate(state)
        if killed:
            checkpoint.save(tmp_path / saving.WINDOW, [p for _, p in saver.window], steps=[n for n, _ in saver.window])
        else:
            saver(state, Record(), Metrics(step, 1.0, None, 1.0, 1.0, 1.0), True)
        return mean["w"]

    first = saver()
    for step in (10, 20):
        reported(first, step)
    reported(first, 30, killed=True)
    again = saver()
    again.go_on(TrainState(values[20], (), jnp.int32(20)))
    np.testing.assert_allclose(reported(again, 30), (values[20]["w"] + values[30]["w"]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(reported(saver(), 10), values[10]["w"])


def test_a_report_averages_its_window_once(tmp_path, monkeypatch):
    """The mean that is validated is the one that is saved as the best, in one pass over the window."""
    config, rng, averaged = TranslateConfig(average=2), np.random.default_rng(0), []
    values = {n: {"w": rng.normal(size=3).astype(np.float32)} for n in (10, 20, 30)}
    corpus = prepare(dataclasses.replace(config, data=write(tmp_path / "pairs.tsv")))
    saver, mean_of = saving.Saver(tmp_path, corpus, config, 10, ALONE), saving.mean_of
    monkeypatch.setattr(saving, "mean_of", lambda trees: averaged.append(len(trees)) or mean_of(trees))
    for step, better in ((10, True), (20, False), (30, True)):
        state = TrainState(values[step], (), jnp.int32(step))
        validated = saver.candidate(state)
        saver(state, Record(), Metrics(step, 1.0, None, 1.0, 1.0, 1.0), better)
        if better:
            np.testing.assert_array_equal(saver.best["w"], validated["w"])
    assert averaged == [1, 2, 2]
    np.testing.assert_allclose(saver.best["w"], (values[20]["w"] + values[30]["w"]) / 2, rtol=1e-6)
    saved = checkpoint._read(tmp_path / run_folder.MODEL)[0]
    np.testing.assert_array_equal(saved["['w']"], saver.best["w"])


@pytest.mark.parametrize(("given", "steps"), [(["--steps", "3000"], 3000), (["--steps=4000"], 4000), ([], None)])
def test_the_command_knows_that_steps_were_given_though_they_are_the_default(given, steps, monkeypatch, folder, capsys):
    heard = []

    def train(config, out, **options):
        heard.append(options["steps"])
        raise InputError("enough")

    run_folder.create(folder / "begun", KIND, TranslateConfig(), overwrite=True)
    monkeypatch.setattr(translate, "train", train)
    assert cli.main(["train", "--resume", str(folder / "begun"), *given]) == cli.FAILED
    assert heard == [steps] and "enough" in capsys.readouterr().err


def test_only_a_run_that_stopped_early_gets_its_patience_anew():
    counts = [(saving.patient(Record(stale=stale), patience)).stale for stale, patience in ((8, 8), (7, 8), (9, 0))]
    assert counts == [0, 7, 9]


def test_the_cosine_is_stretched_and_says_so(folder):
    config = settings(folder, steps=20)
    path = saving.begun(folder / "cosine", config, prepare(config), overwrite=False)
    ears = Ears()
    plan = translate._resumed(config, path, 60, ears, ALONE)
    assert plan.config.steps == 60 and plan.chunk == 10 and "cosine is stretched" in ears.remarks[0]


# --- epochs, accumulation


@pytest.mark.parametrize(
    ("options", "pairs", "steps"),
    [
        ({"epochs": 2, "batch": 8}, 20, 5),
        ({"epochs": 2, "batch": 8, "accumulate": 5}, 20, 1),
        ({"epochs": 2.9, "batch": 64}, 29_000, 1320),  # 1314.1
        ({}, 20, 3000),
    ],
)
def test_epochs_are_as_many_steps_as_the_pairs_need(options, pairs, steps):
    config = TranslateConfig(**options)
    assert starting.in_steps(config, pairs / (config.batch * config.accumulate)).steps == steps


def test_an_epoch_of_batches_by_tokens_sees_every_pair_once(folder):
    config = settings(folder, batch_tokens=12, accumulate=2, buckets=3)
    training = batches(config, prepare(config))
    assert len({*training.rows}) > 1
    assert training.steps == sum(size / rows for size, rows in zip(training.sizes, training.rows, strict=True))


def test_steps_and_epochs_are_not_given_together(folder):
    for config in (settings(folder, epochs=2, steps=3000), dataclasses.replace(PRESETS["default"], epochs=2, steps=9)):
        with pytest.raises(InputError, match="both say how long to train; leave out one"):
            translate.train(config, folder / "both")
    starting.check_length(dataclasses.replace(PRESETS["tutorial-plain"], epochs=2))
    assert not (folder / "both").exists() and isinstance(PRESETS["default"].steps, Default)


@pytest.mark.parametrize("loss", ["tokens", "sentences"])
def test_accumulated_batches_of_sentences_are_one_large_batch(loss):
    """Sentences of 2 to 6 tokens, so that a mean of means would be another loss."""
    rng = np.random.default_rng(0)
    config = TranslateConfig(loss=loss, dropout=0.0)
    model = translator(CELLS["rnn"], ATTENTIONS["dot"])
    lengths, tokens = rng.integers(2, 7, 12), rng.integers(4, 9, (6, 12))
    side = jnp.asarray(np.where(np.arange(6)[:, None] < lengths, tokens, 0), jnp.int32)
    rows, optimise, seen = jnp.arange(12, dtype=jnp.int32)[None], optimizer("sgd", 1.0), []
    for parts in (1, 3):
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            params = model.init(jax.random.key(0), 9, 9, embedding=4, hidden=4, dtype=jnp.float64)
            run = chunk(translate.loss_of(model, config), optimise, accumulate=parts, by_tokens=loss == "tokens")
            seen.append(run(TrainState.create(params, optimise), (side, side[::-1]), rows, jax.random.key(1)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), *(state.params for state, _ in seen))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), *(steps for _, steps in seen))


# --- fine-tuning


@pytest.mark.usefixtures("in_every_thread")
def test_a_run_is_fine_tuned_on_other_pairs(folder, forty):
    shutil.copytree(forty, folder / "base")
    (folder / "more.tsv").write_text("we hear cats\t我们听猫\nyou see fish\t你看鱼\n", encoding="utf-8")
    config = TranslateConfig(
        data=str(folder / "more.tsv"), init_from=str(folder / "base"), epochs=1, batch=2, validation=0.0,
        learning_rate=1e-30, buckets=1,
    )  # fmt: skip
    ears = Ears()
    trained = translate.train(config, folder / "tuned", listener=ears)
    (remark,) = ears.remarks
    assert "14.3% of the source tokens and 16.7% of the target tokens are not in the vocabularies" in remark
    one, other = (translating.load(folder / name) for name in ("base", "tuned"))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert other.source.vocabulary.tokens == one.source.vocabulary.tokens and trained.record.best_step == 1
    assert (other.config.cell, other.config.hidden, other.config.steps) == ("rnn", 4, 1)
    # it goes on without the run that it came from
    shutil.rmtree(folder / "base")
    translate.train(config, folder / "tuned", resume=True, steps=3)
    assert [report.step for report in run_folder.metrics(folder / "tuned")] == [1, 3]


@pytest.mark.parametrize(
    ("options", "remarks"),
    [({"best": "loss"}, 1), ({"best": "bleu"}, 0), ({"validation": 0.0}, 0), ({"loss": "tokens"}, 0)],
)
def test_risk_that_is_chosen_by_the_loss_is_remarked_at_the_start(options, remarks, folder):
    """Without pairs held back, the checkpoint is chosen by the risk itself."""
    ears = Ears()
    translate._begun(settings(folder, **{"loss": "risk", **options}), folder / "risk", True, ears, ALONE)
    assert len(ears.remarks) == remarks
    assert all(one.startswith("--loss risk trains for BLEU, but --best loss keeps") for one in ears.remarks)


def test_a_run_is_not_fine_tuned_with_another_model(folder, capsys):
    run_folder.create(folder / "base", KIND, settings(folder), overwrite=True)
    args = ["train", "--data", str(folder / "pairs.tsv"), "--init-from", str(folder / "base")]
    for given, message in (
        ("--hidden 7", r"--hidden 7: the run .* has 4, and --init-from keeps its model; leave out --hidden"),
        ("--attention concat", "--attention concat: the run"),
        ("--source en --target zh", "--source en: the run"),
    ):
        assert cli.main([*args, *given.split(), "--out", str(folder / "refused")]) == cli.FAILED
        error = capsys.readouterr().err
        assert re.search(message, error), error
    assert not (folder / "refused").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema": 1.0}, "--ema must be at least 0 and below 1"),
        ({"ema": 0.9, "average": 2}, "--average must be 0 with --ema"),
        ({"average": -1}, "--average must be at least 0"),
        ({"accumulate": 0}, "--accumulate must be at least 1"),
        ({"epochs": math.nan}, "--epochs must be at least 0 and finite"),
        ({"plateau_factor": 1.0}, "--plateau-factor must be above 0 and below 1"),
        ({"weight_decay": 0.1}, "the optimizer adam has none; expected one of adamw"),
        ({"best": "bleu", "validation": 0.0}, "--best must be loss if no pair is held back"),
        ({"schedule": "inverse_sqrt"}, "unknown schedule 'inverse_sqrt': did you mean 'inverse-sqrt'"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        TranslateConfig(**options).check()


# --- reports


def test_the_unigram_loss_is_the_cross_entropy_of_the_smoothed_frequencies():
    counts = np.array([0, 3, 1, 6])
    share = (counts + 1) / (counts + 1).sum()
    tokens = np.repeat(np.arange(4), counts)
    assert unigram_loss(jnp.asarray(counts)) == pytest.approx(-np.log(share[tokens]).mean())


@pytest.mark.usefixtures("in_every_thread")
@pytest.mark.parametrize("preset", ["default", "tutorial-plain", "tutorial-attention"])
def test_reports_measure_saturation_and_perplexity(preset, folder):
    small = {**SMALL, "hidden": 5, "steps": 2, "report_every": 2}
    options = {"prefix_filter": False, "source_tokens": "chars", "data": str(folder / "pairs.tsv"), "max_tokens": 9}
    config = dataclasses.replace(PRESETS[preset], **small, **options)
    trained = translate.train(config, folder / preset)
    line = json.loads((folder / preset / run_folder.METRICS).read_text())
    corpus, best = trained.corpus, trained.translator
    counts = np.zeros(len(corpus.target.vocabulary))
    for _, target in corpus.train:
        np.add.at(counts, corpus.target.numbers(target), 1)
    assert line["unigram_loss"] == pytest.approx(unigram_loss(counts), rel=1e-6)
    assert math.log(line["unigram_perplexity"]) == pytest.approx(line["unigram_loss"])
    assert math.log(line["validation_perplexity"]) == pytest.approx(line["validation_loss"])
    pairs = corpus.validation[:4]
    sides = [[how.numbers(pair[n]) for pair in pairs] for n, how in enumerate((corpus.source, corpus.target))]
    longest = [
        max(len(how.numbers(pair[n])) for pair in corpus.validation)
        for n, how in enumerate((corpus.source, corpus.target))
    ]
    data = [
        jnp.asarray([row + [0] * (n - len(row)) for row in side], jnp.int32).T
        for side, n in zip(sides, longest, strict=True)
    ]
    batch = take((data[0], data[1]), jnp.arange(4))
    assert isinstance(batch, Batch)
    found = saturation(best.model, best.params, batch)
    assert line["saturated_states"] == pytest.approx(float(found.states))
    assert ("saturated_features" in line) == (best.model.features is not None)


def watched(losses, config=TranslateConfig(), unigram=5.0, steps=20, done=0):  # noqa: B008
    ears = Ears()
    watch = Watch(ears, config, unigram, done)
    for loss in losses:
        watch.advance(steps, loss)
    return ears.remarks


def test_a_run_that_learns_nothing_says_so_once():
    (remark,) = watched([5.2] * 40)
    assert remark.startswith(f"after {AWAKE} steps the loss is 5.20, not below 5.00") and len(remark.splitlines()) == 1
    assert "a lower --learning-rate (it is 0.003) or a longer --warmup (it is 50)" in remark
    # the mean of the latest steps counts, and those of the beginning do not
    latest = LATEST // 20
    assert not watched([9.0] * (15 - latest) + [4.9] * latest) and watched([4.0] * (15 - latest) + [5.1] * latest)
    assert not watched([5.2] * 14) and not watched([5.2] * 40, done=AWAKE)
    assert not watched([5.2] * 40, TranslateConfig(loss="sentences"))
    (remark,) = watched([5.2] * 40, TranslateConfig(optimizer="sgd", clip=0.0, dropout=0.5))
    assert "--clip 1, --optimizer adam or less --dropout (it is 0.5)" in remark


def test_in_a_log_file_each_report_is_a_line(capsys):
    progress = Progress(counted="tokens")
    progress.started(3000, 500)
    progress.compiling(3)
    progress.compiled(4.0)
    progress.advance(20, 3.5)
    progress.report(Metrics(1000, 3.21, 3.125, 12345.6, 1.0, 60.0, {"unigram_loss": 5.6123, "saturated_states": 0.1}))
    progress.remark("something to read")
    progress.report(Metrics(1500, 3.0, None, 999.0, 1.0, 90.0))
    progress.close()
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.splitlines() == [
        "jaxseq: compiling 3 programs for 3,000 steps …",
        "step 1000 of 3000  loss 3.210  validation 3.125  unigram 5.61  12,346 tokens/s",
        "jaxseq: something to read",
        "step 1500 of 3000  loss 3.000  999 tokens/s",
    ]


def test_at_a_terminal_a_report_is_in_the_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress = Progress()
    progress.started(40, 20)
    progress.report(Metrics(30, 3.2, 3.1, 10.0, 1.0, 6.0, {"bleu": 21.25}))
    progress.advance(10, 3.0)
    progress.close()
    assert "30/40" in (shown := capsys.readouterr().err) and "validation=3.100" in shown and "BLEU=21.2" in shown


def test_a_plateaus_scale_is_found_in_the_optimizer_of_the_settings():
    step = translate.optimizer_of(TranslateConfig(schedule="plateau"))
    state = step.init({"w": jnp.zeros((2, 2), jnp.float32)})
    lowered = translate._adapting(TranslateConfig(schedule="plateau", plateau_factor=0.3))(state, 2)
    assert float(scale_of(lowered)) == pytest.approx(0.3)
    assert translate._adapting(TranslateConfig())(state, 2) is state
