"""Conditional VAEs of the 8x8 digits; what they are scored by, against NumPy."""

import numpy as np
import pytest
from scipy import stats

import ae_jax
from ae_jax.data import load
from experiments import cvae, cvae_labels, cvae_quadrants, cvae_report
from experiments.cvae_quadrants import Task
from experiments.published import cvae_costs
from tests.smoke_runs import check_pictures, digit_rows, run_smoke


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cvae")
    return workdir, run_smoke(cvae.main, workdir)


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_estimator_has_its_number(smoke):
    grey, labels = smoke[1]["tables"].values()
    names = list(cvae_report.ESTIMATES.values())
    floor = "floor: entropy of the grey levels"
    assert [row["estimator"] for row in grey] == [*names, floor]
    assert [row["VAE"] for row in labels] == list(cvae_labels.MODELS)
    cost = {row["estimator"]: float(row["1 given"].split()[0]) for row in grey}
    assert min(cost[name] for name in names[:4]) > cost[floor]


@pytest.mark.slow
def test_the_cost_of_the_baseline_is_that_of_the_saved_model(smoke):
    """Cross-entropy on the hidden pixels, the others given, -1 in their place."""
    workdir, results = smoke
    x = digit_rows("test").reshape(-1, 8, 8, 1)
    hidden = np.ones((8, 8, 1), bool)
    hidden[4:, :4] = False
    params = ae_jax.load(
        workdir / "grey/given=1/baseline",
        "best",
        data=cvae_quadrants.held_out(load("digits", protocol="full"), 200),
    ).params
    h = np.where(hidden, -1.0, x).reshape(len(x), -1)
    for layer in (params["encoder"]["dense_0"], params["latent"]["code"]):
        h = np.maximum(h @ np.float64(layer["kernel"]) + np.float64(layer["bias"]), 0)
    last = params["head"]["logits"]
    logits = h @ np.float64(last["kernel"]) + np.float64(last["bias"])
    logits = logits.reshape(x.shape)
    cost = ((np.logaddexp(0, logits) - x * logits) * hidden).sum(axis=(1, 2, 3))
    row = results["tables"]["Hidden quadrants, grey pixels: nats a test digit"][0]
    error = cost.std(ddof=1) / np.sqrt(len(cost))
    assert row["1 given"] == f"{cost.mean():.2f} ± {error:.2f}"


@pytest.mark.slow
def test_verdicts_follow_from_the_numbers(smoke):
    for claim in smoke[1]["claims"]:
        below = "less the baseline's cost" in claim["name"]
        margin = claim["value"] - claim["target"]
        assert claim["holds"] == (margin <= 0 if below else margin >= 0)


@pytest.mark.slow
def test_the_label_is_worth_something_and_codes_keep_their_style(smoke):
    assert smoke[1]["claims"][-1]["value"] > 0.5


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"class_and_style", "filled_1"})
