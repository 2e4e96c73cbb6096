"""What is said of runs is of the state that was kept, of the code that ran, in its own unit."""

import dataclasses

import numpy as np
import pytest

import ae_jax
from ae_jax.api import UserError, configure, prepare
from ae_jax.cli.launch import is_over
from ae_jax.cli.launch.plan import next_runs
from ae_jax.core.errors import TrainingDiverged
from ae_jax.data import from_array
from ae_jax.lab.findings import run_rows
from ae_jax.lab.sweeps import Sweep
from ae_jax.lab.training import Trained
from ae_jax.report import comparisons
from ae_jax.report.claims import at_most, close_to
from ae_jax.report.courses import with_unit
from ae_jax.train.grid import Member, train_grid
from ae_jax.train.kept import KeptOutcome

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
SMALL = {"latent_dim": 2, "hidden": [4], "batch_size": 16}
OWN = """
from flax import struct
from ae_jax.objectives import Elbo

@struct.dataclass
class Mine(Elbo):
    "One of the user's own."
"""


def test_a_best_checkpoint_says_what_it_is_of(tmp_path):
    options = SMALL | {"epochs": 40, "learning_rate": 0.3}
    last = ae_jax.fit(X, **options, workdir=tmp_path / "run")
    best = ae_jax.load(tmp_path / "run", "best", data=X)
    assert best.step < last.step and len(best.records) == len(last.records)
    epoch = best.step // (last.step // 40)
    (row,) = run_rows({"it": best})
    assert (row["epochs"], row["steps"]) == (epoch, best.step)
    assert f"epoch {epoch} of 40" in repr(best) and "epoch 40 of 40" in repr(last)
    then = best.reached[-1]
    assert then["valid/elbo"] == max(one["valid/elbo"] for one in best.records)
    assert f"valid {then['valid/elbo']:.4g}" in repr(best)


def test_a_finished_member_whose_code_was_edited_is_refused(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    config = configure(None, SMALL | {"epochs": 1, "objective__name": f"{file}:Mine"})
    data = from_array(X)
    train_grid([Member("one", config)], data, tmp_path / "grid")
    assert train_grid([Member("one", config)], data, tmp_path / "grid")["one"].records
    file.write_text(OWN + "\n# another\n")
    with pytest.raises(UserError, match="was edited"):
        train_grid([Member("one", config)], data, tmp_path / "grid")


def test_a_member_that_lost_patience_is_over(tmp_path):
    options = SMALL | {"epochs": 200, "learning_rate": 0.3, "patience": 2}
    member, data = Member("one", configure(None, options)), from_array(X)
    outcome = train_grid([member], data, tmp_path)["one"]
    ended = outcome.records[-1]["epoch"]
    assert ended < 200 and not isinstance(outcome, KeptOutcome)
    again = train_grid([member], data, tmp_path)["one"]
    assert isinstance(again, KeptOutcome) and again.records[-1]["epoch"] == ended
    planned = next_runs(lambda where: where.train([member], data, tmp_path))
    assert planned == []
    patient = dataclasses.replace(
        member, config=configure(member.config, {"train__patience": None})
    )
    assert not is_over(patient, data, tmp_path, None)


def test_a_claim_keeps_the_digits_that_it_is_judged_by():
    found = at_most("a", 4.04e-4, 0.0, 1e-4, "error", "here")
    assert (found.value, found.holds) == (4.04e-4, False)
    found = close_to("a", -123.45678, 0.99749, 0.5, "nats", "here", 0.00123456)
    assert (found.value, found.target, found.standard_error) == (-123.457, 0.997, 0.00123)
    assert close_to("a", 0.0, 0.0, 0.1, "nats", "here").value == 0.0


def test_an_error_is_not_in_nats():
    assert with_unit("squared_error", "squared_error") == "squared error"
    assert with_unit("bound", "bound") == "bound (nats per example)"


def test_a_seed_that_diverged_is_left_out_of_the_mean():
    values = np.array([[1.0, 2.0, 3.0], [3.0, np.nan, 5.0]])
    axes = comparisons.curves({"a": (np.arange(3), values)}, "size", "error").axes[0]
    np.testing.assert_allclose(axes.containers[0].lines[0].get_ydata(), [2.0, 2.0, 4.0])
    bars = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([np.ptp(bar[:, 1]) / 2 for bar in bars], [2**0.5, 0.0, 2**0.5])


def test_a_label_has_one_look_in_all_panels():
    x = np.array([0.0, 1.0, 3.0])
    panels = {"one": {"a": (x, x), "b": (x, 2 * x)}, "two": {"b": (x, x), "c": (x, 3 * x)}}
    figure = comparisons.curve_panels(panels, {"one": "n", "two": "n"}, "error")
    looks = {}
    for axes in figure.axes:
        for line in axes.lines:
            looks.setdefault(line.get_label(), set()).add((line.get_color(), line.get_marker()))
    assert {label: len(found) for label, found in looks.items()} == {"a": 1, "b": 1, "c": 1}
    assert len(set.union(*looks.values())) == 3


def test_one_seed_has_no_error_and_one_that_diverged_no_model():
    class One:
        value = 2.0

    sweep = Sweep({"z=1": {"model.latent_dim": 1}}, {"z=1": {"z=1/seed=0": One()}})
    (row,) = sweep.table(size=lambda model: model.value)
    assert (row["size"], row["size ±"]) == (2.0, "")
    with pytest.raises(TrainingDiverged, match="b diverged"):
        Trained({"a": One()}, {"b"})["b"]
    with pytest.raises(KeyError):
        Trained({"a": One()}, {"b"})["c"]


@pytest.mark.parametrize(("schedule", "follows"), [("constant", False), ("plateau", False),
                                                   ("cosine", True)])  # fmt: skip
def test_a_run_follows_its_length_where_its_schedule_does(schedule, follows):
    config = configure(None, {"optim__schedule": schedule})
    assert config.follows_its_length is follows


def test_updates_are_counted_within_epochs():
    options = {"optim__name": "adagrad", "optim__accumulate": 2, "epochs": 10}
    data = from_array(X)  # 48 to train on: three batches, two updates an epoch
    for burn_in, refused in ((19, False), (20, True)):
        config = configure(None, SMALL | options | {"optim__burn_in": burn_in})
        if refused:
            with pytest.raises(UserError, match="no less than the updates of the run, 20"):
                prepare(config, data)
        else:
            prepare(config, data)
