"""Conditional VAEs of the 8x8 digits; what they are scored by, against NumPy."""

import numpy as np
import pytest
from scipy import stats

from ae_jax.data import load
from experiments import cvae, cvae_labels, cvae_quadrants, cvae_report
from experiments.cvae_quadrants import Task
from experiments.published import cvae_costs
from tests.smoke_runs import check_pictures, digit_rows, run_smoke


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cvae")
    return workdir, run_smoke(cvae.main, workdir)


def test_the_floor_is_the_entropy_of_what_is_hidden():
    x = digit_rows("test").reshape(-1, 8, 8, 1).astype(np.float32)
    found = cvae_quadrants.entropy_floor(x, Task(3).share)
    expected = stats.bernoulli(x[:, 4:, 4:, 0].astype(np.float64)).entropy().sum(axis=(1, 2))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_digits_are_held_out_of_the_training_digits():
    whole = load("digits", protocol="full")
    parts = cvae_quadrants.held_out(whole, 200).splits
    np.testing.assert_array_equal(
        np.concatenate([parts["train"].x, parts["valid"].x]), whole.splits["train"].x
    )
    assert len(parts["valid"]) == 200
    np.testing.assert_array_equal(parts["test"].x, whole.splits["test"].x)
    assert parts["test"].first_id == len(whole.splits["train"])


def test_the_published_costs_are_those_of_the_tutorial():
    assert cvae_costs("baseline") == {1: 100.4, 2: 61.9, 3: 25.4}
    assert cvae_costs("cvae") == {1: 71.8, 2: 51.0, 3: 24.2}


def test_every_estimator_has_its_number(smoke):
    tables = smoke[1]["tables"]
    grey, binary, labels = tables.values()
    names = list(cvae_report.ESTIMATES.values())
    assert [row["estimator"] for row in grey][:-1] == names
    assert [row["estimator"] for row in binary] == names
    assert [row["VAE"] for row in labels] == list(cvae_labels.MODELS)
    # More samples tighten a bound, but for noise; nothing is below the floor of grey levels.
    for rows in (grey, binary):
        cost = {row["estimator"]: float(list(row.values())[1].split()[0]) for row in rows}
        assert min(cost[name] for name in names[:4]) > cost.get(
            "floor: entropy of the grey levels", 0
        )


def test_verdicts_follow_from_the_numbers(smoke):
    for claim in smoke[1]["claims"]:
        below = "is below" in claim["name"]
        margin = claim["value"] - claim["target"]
        assert claim["holds"] == (margin <= 0 if below else margin >= 0)


def test_the_label_is_worth_something_and_codes_keep_their_style(smoke):
    assert smoke[1]["claims"][-1]["value"] > 0.5


def test_figures(smoke):
    check_pictures(smoke[0], {"class_and_style", "filled_1"})
