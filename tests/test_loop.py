"""What the loop reports, against the same numbers computed by hand."""

import io
import math
import sys
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit
from timeless import CLOCK

from ae_jax.api import configure, restore
from ae_jax.core.errors import TrainingDiverged
from ae_jax.data import from_array
from ae_jax.data.batches import shuffled_order, take_batch
from ae_jax.numerics.noise import example_keys, stream_key
from ae_jax.report import run_report
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.config import EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from ae_jax.train.progress import is_shown, progress
from ae_jax.train.records import is_look
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.schedule import look_epochs
from ae_jax.train.step import make_step

# 200 examples in batches of 64 are four steps an epoch, the last one with 8 real examples.
OPTIONS = {"hidden": [8], "latent_dim": 3, "batch_size": 64, "epochs": 5, "learning_rate": 0.01}
STEPS = 4


def prepared(dataset, **options):
    return prepare_run(configure(None, OPTIONS | options), dataset)


@pytest.mark.parametrize(
    ("epochs", "looks", "expected"),
    [
        (10, EvalConfig(every=3), [3, 6, 9, 10]),
        (10, EvalConfig(every=5), [5, 10]),
        (10, EvalConfig(every=20), [10]),
        (1, EvalConfig(every=1), [1]),
        (1, EvalConfig(per_decade=10), [1]),
        (100, EvalConfig(per_decade=3), [1, 2, 5, 10, 22, 46, 100]),
        (30, EvalConfig(per_decade=3), [1, 2, 5, 10, 22, 30]),
        (1000, EvalConfig(per_decade=1), [1, 10, 100, 1000]),
        (10, EvalConfig(per_decade=10), [1, 2, 3, 4, 5, 6, 8, 10]),
    ],
)
def test_looks_are_at_the_epochs_written_down_by_hand(epochs, looks, expected):
    assert look_epochs(RunConfig(train=TrainConfig(epochs=epochs), eval=looks)) == expected


@pytest.fixture(scope="module")
def run(image_set):
    setup = prepared(image_set, eval__every=2, eval__batch_size=48, eval__train_examples=100)
    heard = []
    outcome = train(setup, listeners=[heard.append])
    return setup, outcome, heard


@pytest.mark.slow
def test_records_count_epochs_steps_and_samples(run):
    _, outcome, _ = run
    assert [record["epoch"] for record in outcome.records] == [1, 2, 3, 4, 5]
    assert [record["step"] for record in outcome.records] == [4, 8, 12, 16, 20]
    assert [record["samples"] for record in outcome.records] == [200, 400, 600, 800, 1000]
    assert int(outcome.state.step) == 20
    seconds = [record["seconds"] for record in outcome.records]
    assert seconds == sorted(seconds)
    assert all(record["examples_per_second"] > 0 for record in outcome.records)


@pytest.mark.slow
def test_only_looks_hold_evaluations_and_they_hold_all(run):
    _, outcome, _ = run
    metrics = ("loss", "elbo", "reconstruction", "kl")
    running = {f"running/{name}" for name in metrics}
    looked = {f"{split}/{name}" for split in ("train", "valid", "test") for name in metrics}
    counts = {"epoch", "step", "samples"} | CLOCK - {"check"}  # which only files have
    for record in outcome.records:
        is_due = record["epoch"] in (2, 4, 5)
        assert is_look(record) == is_due
        assert set(record) == counts | running | (looked if is_due else set())
    assert outcome.last_look is outcome.records[-1]


@pytest.mark.slow
def test_listeners_hear_every_record_once_in_order(run):
    _, outcome, heard = run
    assert heard == outcome.records


@pytest.mark.slow
def test_running_means_and_parameters_are_those_of_single_steps(run, image_set):
    """The scan of an epoch against a Python loop over the step."""
    setup, outcome, _ = run
    step = jax.jit(
        make_step(
            setup.architecture.model,
            setup.numbers.objective,
            setup.numbers.transformation(),
        )
    )
    state = setup.initial_state()
    for record in outcome.records:
        sums, seen = {}, []
        order = shuffled_order(state.seed, jnp.uint32(record["epoch"]), 200, 64)
        for row in range(STEPS):
            batch = take_batch(
                setup.splits["train"],
                jax.tree.map(lambda a, row=row: a[row], order),
                setup.architecture.preprocess,
                setup.numbers.statistics,
                stream_key(state.seed, "preprocessing", state.step),
            )
            seen += batch["id"][batch["mask"] == 1].tolist()
            state, report = step(state, batch)
            for name, value in report.totals.sums.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        assert sorted(seen) == list(range(200))
        for name, total in sums.items():
            np.testing.assert_allclose(record[f"running/{name}"], total / 200, rtol=1e-5)
    chex.assert_trees_all_close(state.params, outcome.state.params, rtol=1e-4, atol=1e-5)


def test_looks_equal_the_bound_written_in_numpy(run, image_set):
    """Eq. 10 of Kingma & Welling 2014 in float64, on the noise that belongs to each example."""
    setup, outcome, _ = run
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), outcome.state.params)
    key = jax.random.split(stream_key(setup.config.train.seed, "evaluation"))[1]
    for name, count, first in (("train", 100, 0), ("valid", 40, 200), ("test", 40, 240)):
        keys = example_keys(key, first + jnp.arange(count))
        noise = np.stack([jax.random.normal(jax.random.fold_in(k, 0), (3,)) for k in keys])
        x = image_set.splits[name].x[:count].reshape(count, -1) / 255.0
        expected = bound(params, x, noise)
        for metric, value in expected.items():
            np.testing.assert_allclose(
                outcome.last_look[f"{name}/{metric}"], value, rtol=2e-5, err_msg=f"{name} {metric}"
            )


def bound(params, x, noise) -> dict[str, float]:
    """Means over examples for a tanh network with one hidden layer and Bernoulli pixels."""

    def dense(layer, h):
        return h @ layer["kernel"] + layer["bias"]

    h = np.tanh(dense(params["encoder"]["dense_0"], x))
    loc, log_variance = (dense(params["latent"][name], h) for name in ("loc", "log_variance"))
    z = loc + np.exp(0.5 * log_variance) * noise
    logits = dense(params["head"]["logits"], np.tanh(dense(params["decoder"]["dense_0"], z)))
    reconstruction = (x * log_expit(logits) + (1 - x) * log_expit(-logits)).sum(axis=1).mean()
    kl = -0.5 * (1 + log_variance - loc**2 - np.exp(log_variance)).sum(axis=1).mean()
    elbo = reconstruction - kl
    return {"reconstruction": reconstruction, "kl": kl, "elbo": elbo, "loss": -elbo}


def test_looks_do_not_change_the_run(run, image_set):
    _, outcome, _ = run
    seldom = train(prepared(image_set, eval__every=5))
    chex.assert_trees_all_equal(jax.device_get(seldom.state), jax.device_get(outcome.state))


USER_OBJECTIVE = """
import jax.numpy as jnp
from flax import struct
from ae_jax.objectives import Elbo, Terms

@struct.dataclass
class BreaksAtStepSeven(Elbo):
    def __call__(self, model, batch, key, step, axis_name=None):
        terms = super().__call__(model, batch, key, step, axis_name)
        return Terms(jnp.where(step == 7, jnp.nan, terms.loss), terms.metrics)
"""


@pytest.mark.slow
def test_divergence_names_the_step_and_keeps_the_checkpoint_before_it(vector_set, tmp_path):
    (tmp_path / "mine.py").write_text(USER_OBJECTIVE)
    setup = prepared(vector_set, objective__name=f"{tmp_path / 'mine.py'}:BreaksAtStepSeven")
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(TrainingDiverged, match=r"not finite at step 7 \(epoch 2\)"):
        train(setup, directory)
    assert [record["step"] for record in directory.records()] == [4]
    kept = restored(setup, directory)
    expected = train(prepared(vector_set), until=1).state
    chex.assert_trees_all_equal(kept.params, jax.device_get(expected.params))
    with pytest.raises(TrainingDiverged, match="step 7"):
        train(setup, directory)  # started again, it meets the same step
    assert "step 7" in directory.diverged()
    with directory.claim(setup.config, setup.dataset):
        directory.append({"step": 8, "epoch": 2})
    assert directory.diverged() is None  # it went on


def restored(setup, directory):
    with Checkpoints(directory.checkpoints, "elbo", True) as saved:
        return jax.device_get(saved.restore(setup.initial_state()))


@pytest.mark.slow
def test_an_update_that_breaks_the_last_step_of_an_epoch_is_not_saved(vector_set, tmp_path):
    """The losses of epoch 2 are finite; the parameters that it leaves behind are not."""
    source = USER_OBJECTIVE.replace(
        "jnp.where(step == 7, jnp.nan, terms.loss)",
        "terms.loss + jnp.sqrt(jnp.where(step == 7, 0.0, 1.0) + 0.0 * terms.loss)",
    )
    (tmp_path / "mine.py").write_text(source)
    setup = prepared(vector_set, objective__name=f"{tmp_path / 'mine.py'}:BreaksAtStepSeven")
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(TrainingDiverged, match=r"not finite .*epoch 2"):
        train(setup, directory, until=2)
    assert [record["step"] for record in directory.records()] == [4]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restored(setup, directory)))


@pytest.mark.slow
def test_a_headline_that_is_not_finite_at_a_look_is_divergence(vector_set, tmp_path):
    """The loss of training is fine; what the checkpoints would be judged by is not."""
    source = USER_OBJECTIVE.replace(
        "return Terms(jnp.where(step == 7, jnp.nan, terms.loss), terms.metrics)",
        "elbo = jnp.where(step == 8, jnp.nan, terms.metrics['elbo'])\n"
        "        return Terms(terms.loss, {**terms.metrics, 'elbo': elbo})",
    )
    (tmp_path / "mine.py").write_text(source)
    setup = prepared(vector_set, objective__name=f"{tmp_path / 'mine.py'}:BreaksAtStepSeven")
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(TrainingDiverged, match="the elbo of the train split is not finite after e"):
        train(setup, directory, until=2)
    assert [record["step"] for record in directory.records()] == [4]
    assert int(restored(setup, directory).step) == 4


@pytest.mark.slow
def test_another_metric_may_be_what_it_likes(vector_set, tmp_path):
    """Null in metrics.jsonl, a dash in the report; the run goes on and resumes."""
    source = USER_OBJECTIVE.replace(
        "return Terms(jnp.where(step == 7, jnp.nan, terms.loss), terms.metrics)",
        "return Terms(terms.loss, {**terms.metrics, 'ratio': terms.loss / 0.0})",
    )
    (tmp_path / "mine.py").write_text(source)
    setup = prepared(vector_set, objective__name=f"{tmp_path / 'mine.py'}:BreaksAtStepSeven")
    directory = RunDirectory(tmp_path / "run")
    train(setup, directory, until=1)
    outcome = train(setup, directory, until=2)
    written = directory.records()
    assert [record["test/ratio"] for record in written] == [None, None]
    assert [record["running/ratio"] for record in written] == [None, None]
    in_one_go, without = (train(s, until=2) for s in (setup, prepared(vector_set)))
    chex.assert_trees_all_equal(*(jax.device_get(o.state.params) for o in (outcome, in_one_go)))
    # Another program, which may round sums in another order.
    chex.assert_trees_all_close(outcome.state.params, without.state.params, rtol=1e-5)
    run_report.write(restore(directory, setup), directory)
    assert "ratio" in directory.report_file.read_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lasting(epochs, head="bernoulli"):
    return RunConfig(model=ModelConfig(head=head), train=TrainConfig(epochs=epochs))


RECORD = {"epoch": 2, "step": 8, "samples": 400, "seconds": 1.25, "examples_per_second": 3210.4}
RECORD |= {"running/elbo": -7.125}
LOOK = RECORD | {"train/elbo": -6.5, "valid/elbo": -6.75, "test/elbo": -6.875}


def test_progress_is_a_plain_line_a_look_off_a_terminal():
    stream = io.StringIO()
    with progress("toy", lasting(10), stream=stream) as listener:
        listener(RECORD)
        assert stream.getvalue() == ""
        listener(LOOK)
    assert stream.getvalue() == (
        "toy  epoch  2/10  elbo: train -6.50  valid -6.75  test -6.88  (1.2 s, 3,210 examples/s)\n"
    )


@pytest.mark.parametrize(("head", "said"), [("bernoulli", "diverged"), ("gaussian", "-1.1e+13")])
def test_a_bound_that_ran_away_is_said_to_have_diverged_where_none_is_so_large(head, said):
    """Real data in units of their own may have squares of any size."""
    stream = io.StringIO()
    with progress("toy", lasting(10, head), stream=stream) as listener:
        listener(LOOK | {"train/elbo": -1.1e13, "valid/elbo": math.nan, "test/elbo": -9e8})
    said = f"elbo: train {said}  valid diverged  test -900000000.00"
    assert said in stream.getvalue()


def test_progress_is_a_bar_on_a_terminal():
    stream = Terminal()
    with progress("toy", lasting(4), stream=stream) as listener:
        for epoch in (2, 3, 4):  # resumed after the first
            listener(RECORD | {"epoch": epoch})
    shown = stream.getvalue()
    assert "\r" in shown and "toy" in shown
    assert "4/4" in shown and "100%" in shown and "elbo -7.12" in shown


def test_progress_is_a_bar_in_a_notebook_and_not_where_its_kernel_is_only_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert not is_shown(io.StringIO())
    output = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    assert is_shown(output)


def test_training_lowers_the_loss(run):
    _, outcome, _ = run
    first, last = outcome.records[0], outcome.records[-1]
    assert last["running/loss"] < first["running/loss"] < math.inf


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_told_what_the_data_want_and_what_is_kept(tmp_path):
    x = 1e20 * np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    setup = prepared(from_array(x), batch_size=30, epochs=1)
    with pytest.raises(TrainingDiverged) as error:
        train(setup, RunDirectory(tmp_path / "run"))
    said = str(error.value)
    assert "values up to" in said and "data.preprocess=standardization" in said
    assert "checkpoint" not in said and "learning_rate" not in said
