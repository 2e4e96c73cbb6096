"""Two-dimensional codes of the 8x8 digits, against NumPy and counts by hand."""

import numpy as np
import pytest

import ae_jax
from ae_jax.data import load
from experiments import code_2d
from tests.smoke_runs import check_pictures, digit_rows, run_smoke, svd_error


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("code_2d")
    return workdir, run_smoke(code_2d.main, workdir)


def first_of_each_class() -> np.ndarray:
    labels = load("digits", protocol="full").splits["train"].y
    return np.concatenate([np.flatnonzero(labels == digit)[:10] for digit in range(10)])


@pytest.mark.slow
def test_parameters_are_counted_as_by_hand(smoke):
    large, small = smoke[1]["tables"]["Parameters"]
    assert large["weights"] == 2 * (784 * 100 + 100 * 2) == 157_200
    assert large["biases"] == 100 + 2 + 100 + 784
    assert small["weights"] == 2 * (100 * 10 + 10 * 2)
    assert large["parameters"] == large["weights"] + large["biases"]


@pytest.mark.slow
def test_pca_is_that_of_each_training_set(smoke):
    rows = [r for r in smoke[1]["tables"]["Squared error by learning rate"] if r["method"] == "PCA"]
    train, test = digit_rows("train"), digit_rows("test")
    few = train[first_of_each_class()]
    for row, fitted_on in zip(rows, (few, train), strict=True):
        assert row["training examples"] == len(fitted_on)
        assert row["train"] == pytest.approx(svd_error(fitted_on, fitted_on, 2), abs=1e-3)
        assert row["test"] == pytest.approx(svd_error(fitted_on, test, 2), abs=1e-3)


@pytest.mark.slow
def test_errors_are_those_of_the_saved_models(smoke):
    workdir, results = smoke
    test = digit_rows("test")
    rows = results["tables"]["Squared error by learning rate"]
    row = next(r for r in rows if r["training examples"] > 100 and "0.005" in r["method"])
    model = ae_jax.load(workdir / "all" / "step=0.005")
    made = model.reconstruct((16 * test).astype(np.uint8), units="model").reshape(test.shape)
    assert row["test"] == pytest.approx(np.square(made - test).sum(axis=1).mean(), abs=1e-3)


@pytest.mark.slow
def test_the_claims_are_of_the_rate_with_the_least_training_error(smoke):
    results = smoke[1]
    few, everything = results["claims"]
    counted = {row["network"]: row["weights"] for row in results["tables"]["Parameters"]}
    assert counted == {  # by hand: 2 (dim x hidden + hidden x code)
        "784-100-2-100-784": 157_200,
        "100-10-2-10-100": 2_040,
    }
    for claim, count, split in (
        (few, 100, "train"),
        (everything, len(digit_rows("train")), "test"),
    ):
        rows = [
            row
            for row in results["tables"]["Squared error by learning rate"]
            if row["training examples"] == count
        ]
        ours = min((row for row in rows if row["method"] != "PCA"), key=lambda row: row["train"])
        less = ours[split] - rows[-1][split]
        assert claim["value"] == pytest.approx(less, abs=2e-3) and claim["standard_error"] > 0
        assert claim["holds"] == (claim["value"] <= -2 * claim["standard_error"])
    # 21,000 parameters on 100 digits: it has to fit them better than a plane does.
    assert few["holds"]


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(
        smoke[0],
        {f"{what}_{of}" for what in ("loss", "codes", "reconstructions") for of in ("100", "all")},
    )
