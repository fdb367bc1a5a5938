"""Applications share a loop of training, a range of seeds, and a sentence on what to install."""

import dataclasses
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import InputError, cells
from jaxseq.apps import run_folder, series
from jaxseq.apps.custom import find_cell
from jaxseq.apps.extra import PACKAGES
from jaxseq.apps.forecast.tutorial import model, train
from jaxseq.apps.forecast.tutorial.config import KIND, PRESETS, TutorialConfig
from jaxseq.apps.forecast.tutorial.data import prepare
from jaxseq.apps.settings import check_seed
from jaxseq.train import Interrupted, Listener, NonFiniteError, Steps, TrainState, fit

SMALL = TutorialConfig(hidden=3, epochs=30, seeds=2, window=4)


def scaled(config):
    data = prepare(config)
    return data.scaler.forward(data.series.values[: data.split])


@pytest.mark.usefixtures("as_users_have_it")
def test_networks_side_by_side_are_trained_as_each_alone():
    """Against a loop of optax steps over one network at a time, written here."""
    config, heard = SMALL, []

    class Ear(Listener):
        def advance(self, steps, loss):
            heard.append(steps)

    fitted = train.fit_all(config, scaled(config), Ear())
    inputs, targets = (jnp.asarray(a, jnp.float32) for a in series.windows(scaled(config), config.window))
    adamw = optax.adamw(config.learning_rate)

    def loss(params):
        return jnp.mean((model.predict(find_cell(config.cell), params, inputs) - targets) ** 2)

    step = jax.jit(jax.value_and_grad(loss))
    for number, key in enumerate(jax.random.split(jax.random.key(config.seed), config.seeds)):
        params = model.init(key, config, 1)
        state, curve = adamw.init(params), []
        for _ in range(config.epochs):
            value, grads = step(params)
            updates, state = adamw.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            curve.append(value)
        np.testing.assert_allclose(fitted.losses[:, number], curve, rtol=1e-4)
        ours = jax.tree.map(lambda a, n=number: a[n], fitted.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4), ours, params)
    assert fitted.losses.shape == fitted.gradient_norms.shape == (config.epochs, config.seeds)
    assert sum(heard) == config.epochs and len(heard) > 1  # the bar moves


@pytest.mark.usefixtures("as_users_have_it")
def test_a_forecast_that_diverges_says_so():
    """One network of several is enough."""
    config = dataclasses.replace(SMALL, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(NonFiniteError, match="the training loss or the parameters became infinite or NaN; try a lower"):
        train.fit_all(config, scaled(config), Listener())


@pytest.mark.usefixtures("as_users_have_it")
@pytest.mark.parametrize("rate", [1e18, 1e37])
def test_parameters_that_are_finite_and_absurd_are_refused(rate):
    """After the last step nothing is trained on them: the forecasts show what they are."""
    config = dataclasses.replace(SMALL, optimizer="sgd", learning_rate=rate, epochs=1, cell="min_gru")
    with pytest.raises(NonFiniteError, match="became infinite or NaN; try a lower --learning-rate"):
        train.train(config, prepare(config))


@pytest.mark.usefixtures("as_users_have_it")
def test_a_run_does_not_go_on_from_a_file_that_changed(tmp_path):
    rows = [str(100 + n % 5 + n / 10) for n in range(60)]
    (tmp_path / "series.csv").write_text("\n".join(["sales", *rows]))
    config = dataclasses.replace(SMALL, data=str(tmp_path / "series.csv"), epochs=2, season=5)
    with run_folder.building(tmp_path / "run", KIND, config) as folder:
        train.write(train.train(config, prepare(config)), folder)
    _, first = model.forecast_on(tmp_path / "run", None, 3)
    for changed, differ in ((rows[:-1], "60 rows then, 59 now"), ([*rows[:-1], "9"], "60 rows then, 60 now, or other")):
        (tmp_path / "series.csv").write_text("\n".join(["sales", *changed]))
        with pytest.raises(InputError, match=f"has changed since .*run was trained on it: {differ}"):
            model.forecast_on(tmp_path / "run", None, 3)
        assert model.forecast_on(tmp_path / "run", config.data, 3)[1].shape == first.shape


def test_the_loop_names_the_step_at_which_one_of_several_models_fails():
    loss, norm = np.ones((5, 3)), np.ones((5, 3))
    loss[4, 1] = np.nan  # the 14th number of the chunk, and its 5th step
    state = TrainState({}, (), jnp.int32(0))
    chunks = iter([(0, np.zeros((5, 1), np.int32))])
    with pytest.raises(NonFiniteError, match=r"at step 5 the loss is \[ 1\. nan  1\.\]"):
        fit(state, lambda state, *_: (state, Steps(loss, norm, np.ones(5))), chunks, steps=5, report_every=5)


@pytest.mark.usefixtures("as_users_have_it")
def test_a_forecast_can_be_interrupted():
    class Impatient(Listener):
        def advance(self, steps, loss):
            signal.raise_signal(signal.SIGINT)

    config = dataclasses.replace(SMALL, epochs=40)
    with pytest.raises(Interrupted, match="stopped at step 20 of 40; nothing is saved"):
        train.train(config, prepare(config), Impatient())


def test_the_next_forecast_compiles_nothing():
    """Free-running forecasts call the networks once a step."""
    cell = cells.gru
    assert model._predict_all(cell, 0) is model._predict_all(cell, 0)
    assert model._predict_all.cache_info().maxsize is not None


@pytest.mark.parametrize("x64", [False, True])
def test_seeds_are_those_that_give_different_keys(x64):
    with jax.enable_x64(x64):
        keys = {tuple(jax.random.key_data(jax.random.key(seed)).tolist()) for seed in (0, 1, 2**31, 2**32 - 1)}
        assert len(keys) == 4
        for seed in (0, 1, 2**31, 2**32 - 1):
            check_seed(seed)
    for seed in (-1, 2**32, 2**63):
        with pytest.raises(InputError, match=f"--seed must be from 0 to 4294967295; got {seed}"):
            check_seed(seed)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_passes_its_own_checks(name):
    PRESETS[name].check()


def without(packages, code):
    """Run code where packages are not installed."""
    hide = "".join(f"sys.modules[{name!r}] = None; " for name in packages)
    done = subprocess.run([sys.executable, "-c", f"import sys; {hide}{code}"], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_command_line_without_its_packages_says_what_to_install():
    status, out, err = without(["tyro"], "from jaxseq.cli import main; sys.exit(main(['doctor']))")
    assert (status, out) == (2, "")
    assert err == 'jaxseq: the command line needs more packages: pip install "jaxseq[apps]"\n'
    status, out, _ = without(PACKAGES, "from jaxseq.cli import main; sys.exit(main(['--version']))")
    assert status == 0 and out.startswith("jaxseq ")


@pytest.mark.parametrize("application", ["translate.train", "translate.config", "forecast.tutorial.model"])
def test_an_application_without_its_packages_says_what_to_install(application):
    code = (
        f"\ntry:\n    import jaxseq.apps.{application}\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    status, out, err = without(["sacrebleu", "tqdm"], code)
    assert status == 0 and not err, err
    package = application.partition(".")[0]
    assert out == f'MissingPackageError jaxseq.apps.{package} needs sacrebleu, tqdm: pip install "jaxseq[apps]"\n'


def test_the_library_needs_none_of_these_packages():
    code = "import jaxseq, jaxseq.study, jaxseq.testing, jaxseq.train, jaxseq.interop, jaxseq.plots, jaxseq.checkpoint"
    status, _, err = without(PACKAGES, code)
    assert status == 0, err
