"""The commands study and inspect, on runs and on small models trained for them, and what they refuse."""

import json
import re
import shutil
import unicodedata

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from jaxseq import checkpoint, cli, interventions, study
from jaxseq._unroll import unroll
from jaxseq.apps import run_folder
from jaxseq.apps.forecast.tutorial import config as forecasting
from jaxseq.apps.forecast.tutorial.model import init
from jaxseq.apps.study import command as studying, parts, small
from jaxseq.apps.text import Vocabulary
from jaxseq.apps.translate import model as translator, train as translation
from jaxseq.apps.translate.config import TranslateConfig
from jaxseq.cells import lstm
from jaxseq.errors import InputError
from jaxseq.study import inspect, report, terminal
from jaxseq.study.collect import collect
from jaxseq.study.subject import look
from jaxseq.study.views import trajectories
from jaxseq.train import Metrics

pytestmark = [pytest.mark.xdist_group("study command"), pytest.mark.usefixtures("as_users_have_it")]

TAG = "</script><b>"
TURNED = "\u202e你\u2066"


def write_translator(folder, **settings):
    """A run as training writes it, of the weights that training starts from."""
    small = {"hidden": 6, "embedding": 5, "batch": 4, "buckets": 1, "validation": 0, "source_tokens": "words"}
    config = TranslateConfig(data=str(folder.parent / "pairs.tsv"), **(small | settings))
    run_folder.create(folder, translation.KIND, config)
    words = [Vocabulary.build([line.split()], 1) for line in (f"我 看 听 {TAG} {TURNED}", "i see hear a dog")]
    for side, vocabulary in zip(("source", "target"), words, strict=True):
        (folder / f"{side}.vocab.json").write_text(vocabulary.to_json(), encoding="utf-8")
    sizes = {"embedding": config.embedding, "hidden": config.hidden}
    params = config.build().init(jax.random.key(0), len(words[0]), len(words[1]), **sizes)
    checkpoint.save(folder / run_folder.MODEL, params)
    return params


def write_forecast(folder, **settings):
    config = forecasting.TutorialConfig(**{"hidden": 4, "seeds": 2, "cell": "lstm", **settings})
    run_folder.create(folder, forecasting.KIND, config)
    keys = jax.random.split(jax.random.key(0), 2)
    params = jax.vmap(lambda key: init(key, config, 1))(keys)
    scaling = {"mean": np.array([0.1]), "std": np.array([0.1])}
    facts = {"names": ["passengers"], "season": 12, "log": True, "lag": 12}
    checkpoint.save(folder / run_folder.MODEL, {"params": params, "scaling": scaling}, **facts)
    for step in (0, 10):
        run_folder.log(folder, Metrics(step, 2.0 - step / 10, None, 1.0, 1.0, 1.0))
    return params, scaling, facts


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A forecast and a translator."""
    folder = tmp_path_factory.mktemp("runs")
    pairs = [("i see", "我 看"), ("i hear", "我 听"), ("a dog", "看"), ("i hear a dog", "我 听 看")]
    (folder / "pairs.tsv").write_text("\n".join("\t".join(pair) for pair in pairs), encoding="utf-8")
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        write_translator(folder / "translator")
        write_forecast(folder / "forecast")
    return folder


@pytest.fixture(scope="module")
def forecast(runs):
    """What is gathered of the forecast."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return studying.gathered(runs / "forecast", studying.Subject(rows="100,120"), briefly=True)[0]


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def columns(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def refused(capsys, *args) -> str:
    assert cli.main([str(a) for a in args]) == cli.FAILED
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("jaxseq: ") and len(said.err.splitlines()) == 1
    return said.err


# --- what a person gets


def test_a_translator_is_studied(runs, capsys, tmp_path):
    out = tmp_path / "t.html"
    asked = ["--text", f"我 看 猫 {TAG}", TURNED, "-o", str(out)]
    assert cli.main(["study", str(runs / "translator"), *asked]) == 0
    said = capsys.readouterr()
    assert "checks hold" in said.out and "unknown, read as <unk>: 猫" in said.err
    text = out.read_text(encoding="utf-8")
    assert TAG not in text and text.count("</script>") == text.count("<script")
    data = data_of(text)
    assert [part["name"] for part in data["parts"]] == ["decoder", "encoder", "encoder, backwards"]
    decoder, encoder, back = data["parts"]
    assert encoder["inputs"][0] == ["我", "看", "<unk>", TAG, "<eos>"] == back["inputs"][0][::-1]
    assert decoder["views"]["attention"]["source"][0] == encoder["inputs"][0] and decoder["live"] is not None
    assert decoder["views"]["attention"]["parts"]["shape"][-1] == 4 and decoder["views"]["flow"] is not None
    assert encoder["live"] is not None and encoder["cell"] == "gru" and encoder["lengths"] == [5, 2]
    assert decoder["outcome"]["own"] and encoder["outcome"] is None  # none of the words that it wrote is wrong
    checked = {(check["id"], check["part"]) for check in data["checks"]}
    assert {("attention_sum", "decoder"), ("ledger", "encoder"), ("loss", "decoder")} <= checked


def test_snapshots_of_a_translator_are_replayed(runs, tmp_path):
    """Of each part, from its own inputs then: the last snapshot is the model, another is not."""
    shutil.copytree(runs / "translator", tmp_path / "run")
    shutil.copy(runs / "pairs.tsv", tmp_path)
    params = translator.load(tmp_path / "run").params
    (tmp_path / "run" / "snapshots").mkdir()
    for step, share in ((0, 0.5), (40, 1.0)):
        then = jax.tree.map(lambda a, share=share: a * jnp.asarray(share, a.dtype), params)
        checkpoint.save(tmp_path / "run" / "snapshots" / f"step-{step:08d}.safetensors", then, step=step)
    found = parts.of_translator(tmp_path / "run", ["我 看 听", "看"]).parts
    for one in collect(found, title="replayed").parts:
        seen = one.views["replay"]
        assert seen.steps == [0, 40] and not one.failed
        real = np.arange(one.T)[:, None] < np.array(one.lengths)
        np.testing.assert_allclose(seen.means["z"][1], one.gates["z"][real].mean(), rtol=1e-5)
        assert abs(seen.means["z"][0] - seen.means["z"][1]) > 1e-4
        if one.outcome is None:
            assert seen.loss is None
        else:
            np.testing.assert_allclose(seen.loss[1], one.outcome.losses.sum(), rtol=1e-5)


def test_both_encoders_end_where_the_decoder_begins(runs):
    """The last states of the parts, of rows of different lengths, through the model's bridge."""
    model = translator.load(runs / "translator")
    decoder, ahead, back = parts.of_translator(runs / "translator", ["我 看 听", "看"]).parts
    last = [part.run.through(unroll)[0].h for part in (ahead, back)]
    first = jnp.tanh(model.params.bridge.h(jnp.concatenate(last, -1)))
    np.testing.assert_allclose(first, decoder.carry.h, atol=1e-6)


def test_every_layer_of_an_encoder_is_a_part_and_reads_what_the_model_gives_it(runs, tmp_path):
    """The last states of the upper layer are what the decoder begins with; the lower one has its own weights."""
    (tmp_path / "pairs.tsv").write_text((runs / "pairs.tsv").read_text(encoding="utf-8"), encoding="utf-8")
    write_translator(tmp_path / "deep", layers=3, residual=True)
    model = translator.load(tmp_path / "deep")
    decoder, *encoder = parts.of_translator(tmp_path / "deep", ["我 看 听", "看"], examples=9).parts
    names = [f"encoder{way}, layer {n}" for n in (1, 2, 3) for way in ("", ", backwards")]
    assert [part.name for part in encoder] == names

    def ends(runs):  # of the uppermost layer, through the model's bridge
        return jnp.tanh(model.params.bridge.h(jnp.concatenate([run.through(unroll)[0].h for run in runs], -1)))

    np.testing.assert_allclose(ends([part.run for part in encoder[4:]]), decoder.carry.h, atol=1e-6)
    for part in encoder:  # as it was when the parameters were these
        again = part.remade(model.params)
        assert again.name == part.name
        jax.tree.map(np.testing.assert_array_equal, (again.params, again.xs, again.mask), part.run[1:3] + part.run[4:])
    ahead, back = encoder[4:]
    assert len(ahead.corpus) == len(back.corpus) == len(decoder.corpus) == 1
    for one, other, read in zip(ahead.corpus, back.corpus, decoder.corpus, strict=True):
        runs = [part.run._replace(xs=b.xs, mask=b.mask) for part, b in ((ahead, one), (back, other))]
        np.testing.assert_allclose(ends(runs), read.carry.h, atol=1e-6)


@pytest.mark.parametrize("fed", [False, True])
def test_every_layer_of_a_decoder_is_studied(runs, tmp_path, monkeypatch, fed):
    """Each has its roles, the source's scores are taken apart, and the step of both layers has fixed points."""
    (tmp_path / "pairs.tsv").write_text((runs / "pairs.tsv").read_text(encoding="utf-8"), encoding="utf-8")
    write_translator(tmp_path / "deep", decoder_layers=2, input_feeding=fed)
    decoder = parts.of_translator(tmp_path / "deep", ["我 看 听", "看"]).parts[0]
    np.testing.assert_allclose(masked(decoder.scores["scores"], decoder.weights), decoder.weights, atol=1e-6)
    below, above = look(decoder)
    roles = {"r": "reset", "z": "retain", "n": "candidate"}
    assert below.subject.roles == {f"0.{name}": role for name, role in roles.items()}
    assert above.subject.roles == {f"1.{name}": role for name, role in roles.items()}
    assert below.subject.live is not None
    if not fed:
        for name in ("STARTS", "DESCENT", "POLISH"):
            monkeypatch.setattr(trajectories, name, 2)
        paths, _ = trajectories.gather(below)
        assert paths.settled is not None and paths.settled.starts == 2, paths.why


def masked(scores, weights):
    """The softmax over the source that has weight at all."""
    return jax.nn.softmax(jnp.where(weights > 0, scores, -jnp.inf), -1)


def test_half_lives_are_taken_over_examples(runs, capsys):
    """Of a translator, over reference translations of its own data; of a forecast, over windows of its series."""
    asked = ["inspect", str(runs / "translator"), "--text", "我 看", "--examples", "9", "--json"]
    assert cli.main(asked) == 0
    decoder, encoder, back = json.loads(capsys.readouterr().out)["parts"]
    assert decoder["roles"] == encoder["roles"] == {"r": "reset", "z": "retain", "n": "candidate"}
    pairs = parts._pairs(runs / "translator", translator.load(runs / "translator"))
    for side, seen in ((1, decoder), (0, encoder), (0, back)):
        words = sum(len(pair[side].tokens) + 1 for pair in pairs)  # and the end
        assert seen["pooled_over"] == {"sequences": len(pairs), "steps": words}
    assert cli.main(["inspect", str(runs / "forecast"), "--rows", "100", "--examples", "50"]) == 0
    assert "(over 50 sequences, 600 steps)" in " ".join(capsys.readouterr().out.split())
    assert "--examples must be at least 1; got 0" in refused(capsys, "inspect", runs / "forecast", "--examples", "0")


def test_a_forecast_is_studied(runs, capsys, tmp_path):
    out = tmp_path / "f.html"
    assert cli.main(["study", str(runs / "forecast"), "--rows", "100,120", "-o", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == len(out.read_bytes()) < report.LIMIT and all(check["ok"] for check in facts["checks"])
    data = data_of(out.read_text(encoding="utf-8"))
    (part,) = data["parts"]
    assert part["outcome"]["kind"] == "value" and part["B"] == 2 and np.sum(part["outcome"]["scored"]) == 2
    assert part["inputs"][0][0] == "1956-05-01"  # a year before row 100, which is 1957-05
    assert data["about"]["command"] == f"jaxseq study {runs / 'forecast'} --rows 100,120"


def test_a_small_model_is_trained_and_studied(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(small, "BASELINES", ("rnn",))
    monkeypatch.setitem(small.SIZES, "copy", {"lag": 2, "length": 2, "symbols": 2})
    monkeypatch.chdir(tmp_path)
    assert cli.main("study --cell lstm --task copy --steps 4 --hidden 4".split()) == 0
    data = data_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [part["name"] for part in data["parts"]] == ["lstm", "rnn"] and data["parts"][0]["views"]["compare"]
    views = [part["views"] for part in data["parts"]]
    assert all(seen["replay"]["steps"][0] == 0 and seen["flow"] and seen["jacobian"] for seen in views)
    assert data["parts"][1]["keep"] is None and data["parts"][0]["words"] == ["a", "b"]
    assert "".join(data["parts"][0]["inputs"][0])[2:] == "_|__"


def test_inspect_in_a_terminal(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert cli.main(["inspect", str(runs / "forecast"), "--rows", "100", "--units", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(columns, lines)) <= 70 and "\x1b" not in "".join(lines)
    assert "  f  1 retains, 0 forgets; half-life at the right" in lines
    assert sum(line.startswith("  |dL/d") for line in lines) == 2


def test_what_inspect_draws(forecast):
    """Each block is the gate's value, each bar the norm's place between the smallest and the largest."""
    text = inspect.render(forecast, units=4)
    part = forecast.parts[0]
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("  f  "))
    rows = [re.match(r" *(\d+) (.{60}) +(\S+)$", line).groups() for line in lines[at + 1 : at + 5]]
    assert [int(unit) for unit, _, _ in rows] == part.order
    for unit, blocks, life in rows:
        values = part.gates["f"][:, 0, int(unit)]
        assert blocks[::5] == "".join(terminal.SHADES[int(v * 5)] for v in values)
        assert float(life) == pytest.approx(part.views["half"].life[int(unit)], rel=1e-2)
    logs = np.log(part.views["flow"].norms["c"][:, 0])
    bars = next(lines[n + 1] for n, line in enumerate(lines) if line.startswith("  |dL/dc|"))
    levels = (logs - logs.min()) / (logs.max() - logs.min()) * 8
    assert bars.strip()[::5] == "".join(terminal.BARS[min(7, int(level))] for level in levels)
    steps = part.views["half"].life
    said = " ".join(line.strip() for line in lines)
    assert f"half-life: {min(steps):.3g} to {max(steps):.3g} steps; 0 of 4 units outlast the lag of 12 steps" in said
    assert said.count("(over 2 sequences, 24 steps)") == 2  # half-lives and saturation
    by = part.views["whatif"].change["f"]
    assert f"f := 0 {by[0]:+.3g}; f := 1 {by[1]:+.3g}" in said
    verdict = part.views["flow"].lags["c"][0]
    assert f"|dL/dc| times {np.exp(verdict.slope):.3g} for each step further back" in said
    digits = f"{float(part.views['jacobian'].lyapunov[0]):.1f}"
    assert f"largest Lyapunov exponent of sequence 1 {digits}: no gradient" in said
    plain = inspect.render(forecast, blocks=False)
    assert plain.isascii()


@pytest.mark.parametrize("width", [50, 80, 200])
def test_no_line_is_wider_than_the_terminal(forecast, width):
    part = forecast.parts[0]
    long = [["她" * 30, TURNED, "\x1b[2J", *part.inputs[0][3:]]] * 2
    about = forecast.about | {"title": "runs/" + "很长" * 40, "subtitle": f"a word {TURNED} " + "b" * 300}
    text = inspect.render(forecast._replace(about=about, parts=[part._replace(inputs=long)]), width=width)
    assert max(map(columns, text.splitlines())) <= width
    assert not set(text) & set("\u202e\u2066\x1b")


def test_a_long_sequence_is_averaged(forecast):
    """Ten steps for each of before, two in each column; then two that are the furthest apart."""
    part = forecast.parts[0]
    ten = {name: np.repeat(a, 10, 0) for name, a in part.gates.items()}
    longer = part._replace(gates=ten, T=120, lengths=[120, 120], inputs=[["x"] * 120] * 2)

    def first_row():
        lines = inspect.render(forecast._replace(parts=[longer]), width=76).splitlines()
        return lines[next(n for n, line in enumerate(lines) if line.startswith("  i  ")) + 1]

    values = part.gates["i"][:, 0, part.order[0]]
    assert first_row()[8:68:5] == "".join(terminal.SHADES[int(v * 5)] for v in values)
    ten["i"][::2], ten["i"][1::2] = 0, 1
    assert first_row()[8:68] == "▒" * 60


def test_colours_only_where_they_are_wanted(forecast, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert studying._terminal()[0] == 0  # what pytest reads is no terminal
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for name, value, colours in [("COLORTERM", "", 256), ("COLORTERM", "truecolor", 2**24)]:
        monkeypatch.setenv(name, value)
        assert studying._terminal()[0] == colours
    for name, value in [("NO_COLOR", "1"), ("TERM", "dumb")]:
        with monkeypatch.context() as now:
            now.setenv(name, value)
            assert studying._terminal()[0] == 0


def test_inspect_prints_its_colours_to_a_terminal(runs, monkeypatch, capsys):
    """Through all of the command, which makes other control characters visible."""
    for name, value in [("NO_COLOR", ""), ("TERM", "xterm-256color"), ("COLORTERM", "")]:
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert cli.main(["inspect", str(runs / "forecast"), "--units", "1"]) == 0
    said = capsys.readouterr().out
    assert "\x1b[38;5;" in said and "\\u001b" not in said


@pytest.mark.parametrize("colours", [256, 2**24])
def test_colours_are_those_of_the_page(forecast, colours):
    text = inspect.render(forecast, colours=colours, width=80)
    bare = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert max(map(columns, bare.splitlines())) <= 80
    assert not re.search(r"\x1b\[38[^m]*m[^\x1b]*$", text, re.M)  # no colour runs on past its line
    lines = text.splitlines()
    row = lines[next(n for n, line in enumerate(lines) if line.startswith("  f  ")) + 1]
    seen = np.array(_first_colour(row)) / 255
    value = forecast.parts[0].gates["f"][0, 0, forecast.parts[0].order[0]]
    wanted = matplotlib.colormaps["viridis"](value)[:3]
    assert np.abs(seen - wanted).max() < (0.02 if colours > 256 else 0.19)


def _first_colour(row):
    """Red, green and blue of the first escape sequence, as xterm shows them."""
    kind, *numbers = map(int, re.search(r"\x1b\[38;([\d;]+)m", row)[1].split(";"))
    if kind == 2:
        return numbers
    levels, n = [0, 95, 135, 175, 215, 255], numbers[0] - 16
    return [levels[n // 36], levels[n // 6 % 6], levels[n % 6]]


def test_inspect_as_json_is_json_with_every_unit(forecast):
    one = forecast.parts[0]
    broken = one._replace(outcome=one.outcome._replace(losses=np.full((12, 2), np.nan)))
    found = json.loads(json.dumps(inspect.facts(forecast._replace(parts=[broken])), allow_nan=False))
    (part,) = found["parts"]
    assert len(part["half_life"]["steps"]) == 4 and len(part["saturation"]["f"]["closed"]) == 4
    assert np.shape(part["gradient_norms"]["c"]) == (12, 2) and part["losses"][0] == [None, None]


# --- what cannot be used: one sentence, and nothing is left behind


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("study nowhere", "nowhere is not a run: there is no file .* give a folder that a training wrote"),
        ("inspect nowhere", "nowhere is not a run"),
        ("study {forecast} --text a", "is a forecast of the tutorial, which takes --rows"),
        ("study {translator} --rows 3", "is a translator, which takes --text"),
        ("study {translator} --text " + "看," * 400, "has 400 tokens, the most is 319; split it into shorter ones"),
        ("study {translator} --text a b c d e f g h i", "--text has 9 sentences; give 1 to 8"),
        ("study {translator} --text ", r"sentence 1 \(''\) is empty; give text"),
        ("study {translator} --task copy", "is already trained; leave out --problem copy, or the run"),
        ("inspect {translator} --steps 5", "is already trained; leave out --steps 5, or the run"),
        ("study {translator} --cell lstm", "has its own cell; leave out --cell lstm"),
        ("study {forecast} --rows 3", "row 3 cannot be studied; there are rows 0 to 143, and the first 24 have no"),
        ("study {forecast} --rows 144", "row 144 cannot be studied"),
        ("study {forecast} --rows a:b", "--rows must be a number.*got 'a:b'"),
        ("study {forecast} --rows 50:90", "--rows 50:90 names 40 rows; give 1 to 8"),
        ("study --text a", "--text applies to a run; name its folder first"),
        ("study --task cpoy", "unknown problem 'cpoy': did you mean 'copy'"),
        ("study --cell lsmt", "unknown cell 'lsmt': did you mean 'lstm'"),
        ("study --cell conv_lstm", "cannot run over a series"),
        ("study --hidden 0", "--hidden must be at least 1; got 0"),
        ("study --seed -1", "--seed must be from 0 to"),
        ("inspect {forecast} --units 0", "--units must be at least 1; got 0"),
        ("study {forecast} -o {forecast}", "is a folder; name a file with -o"),
        ("study {forecast} -o no/where.html", "cannot write no/where.html: no is not a writable folder"),
    ],
)
def test_what_cannot_be_studied(runs, tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    places = {"forecast": runs / "forecast", "translator": runs / "translator"}
    words = [word.format(**places).replace("看,", "看 ") for word in args.split(" ")]
    assert re.search(message, refused(capsys, *words))
    assert not list(tmp_path.iterdir())


def test_runs_that_cannot_be_studied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    right = {"kind": "forecast", "format": 1, "jaxseq": "0", "config": {}}
    for text, message in [
        ("{", "is damaged.* restore it from a copy"),
        (json.dumps(right | {"kind": "poem"}), "is a poem run, which cannot be studied; give one that jaxseq train or"),
        (json.dumps(right | {"config": {"cel": "gru"}}), "unknown setting 'cel': did you mean 'cell'"),
        (json.dumps(right | {"config": {"cell": "mine.py:cell"}}), "a custom cell.*name it: --cell mine.py"),
        (json.dumps(right | {"config": {"cell": "lsmt"}}), "unknown cell 'lsmt'"),
        (json.dumps(right), "there is no file run/model.safetensors"),
    ]:
        (run / "config.json").write_text(text)
        assert re.search(message, refused(capsys, "study", "run"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_weights_that_are_no_numbers_are_named_by_file_and_array(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.tsv").write_text("i see\t我 看")
    params = write_translator(tmp_path / "translator")
    bad = params.encoder[0].backward.U.at[1, 2].set(jnp.nan)
    encoder = (params.encoder[0]._replace(backward=params.encoder[0].backward._replace(U=bad)),)
    checkpoint.save("translator/model.safetensors", params._replace(encoder=encoder))
    said = "translator/model.safetensors: 1 of 108 numbers in encoder.0.backward.U are NaN or infinite"
    assert said in refused(capsys, "study", "translator", "--text", "我")
    params, scaling, facts = write_forecast(tmp_path / "forecast")
    bad = {"params": params._replace(head=params.head._replace(b=params.head.b + jnp.inf)), "scaling": scaling}
    checkpoint.save("forecast/model.safetensors", bad, **facts)
    assert "2 of 2 numbers in head.b are NaN or infinite" in refused(capsys, "inspect", "forecast")
    assert not (tmp_path / "report.html").exists()


def test_a_check_that_fails_writes_nothing_and_fails(forecast, tmp_path, monkeypatch, capsys):
    bad = [{**forecast.checks[0], "ok": False, "error": 0.5}]
    monkeypatch.setattr(studying, "gathered", lambda *a, **k: (forecast._replace(checks=bad), []))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("the old one")
    for command in ("study", "inspect"):
        assert "the self-check fails, so nothing is shown: half" in refused(capsys, command)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]


def test_a_page_over_the_limit_says_what_is_left_out(forecast, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(studying, "gathered", lambda *a, **k: (forecast, []))
    monkeypatch.chdir(tmp_path)
    whole = len(report.page(forecast).encode())
    monkeypatch.setattr(report, "LIMIT", whole - 1)
    assert cli.main(["study"]) == 0
    said = capsys.readouterr().err
    assert f"left out to keep the page at 2 MB (whole: {whole / 1e6:.1f} MB with --full): " in said
    assert "all examples but the first" in said and len((tmp_path / "report.html").read_bytes()) < whole
    assert cli.main(["study", "--full", "-o", "full.html"]) == 0
    assert capsys.readouterr().err == "" and len((tmp_path / "full.html").read_bytes()) == whole
    monkeypatch.setattr(report, "LIMIT", 1000)
    (tmp_path / "report.html").unlink()
    assert "over the limit" in refused(capsys, "study") and not (tmp_path / "report.html").exists()


def test_functions_say_which_gate_there_is_not_and_what_a_jacobian_would_take():
    params, xs = lstm.init(jax.random.key(0), 3, 64), jnp.ones((5, 2, 3))
    with pytest.raises(InputError, match=r"^unknown gate of lstm 'q': known: .*f, g"):
        study.what_if(lstm, params, xs, changes={"q": 1.0})
    with pytest.raises(InputError, match=r"5 steps of 2 rows with 128 x 128 numbers take 0.00061 GiB.*`lyapunov`"):
        study.step_jacobians(lstm, params, xs, limit=2**17)
    with pytest.raises(InputError, match="gate"):
        interventions.clamp(lstm, q=1.0).step(params, lstm.initial_carry(params), xs[0, 0])
