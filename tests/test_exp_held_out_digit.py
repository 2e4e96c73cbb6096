"""Held-out digits: scores against NumPy's PCA and scikit-learn's AUC."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import ae_jax
from ae_jax.data import load
from experiments import held_out_digit
from experiments.held_out_scores import mean_rows
from tests.smoke_runs import check_pictures, run_smoke

PRESET = held_out_digit.PRESETS["smoke"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("held_out_digit")
    return workdir, run_smoke(held_out_digit.main, workdir)


def rows(results: dict) -> dict[int, dict]:
    return {row["held out"]: row for row in results["tables"]["AUC by held-out digit"]}


@pytest.mark.slow
def test_pca_of_the_others_is_that_of_numpy(smoke):
    splits = load("digits", protocol="full", limit=PRESET.limit).splits
    train, test = splits["train"], splits["test"]
    x = test.x.reshape(len(test), -1) / 16
    for digit, row in rows(smoke[1]).items():
        known = train.x[train.y != digit].reshape(-1, 64) / 16
        mean = known.mean(axis=0)
        axes = np.linalg.svd(known - mean, full_matrices=False)[2][: PRESET.size]
        error = np.square((x - mean) - (x - mean) @ axes.T @ axes).sum(axis=1)
        expected = roc_auc_score(test.y == digit, error)
        assert row["PCA"] == pytest.approx(expected, abs=1e-3)
        assert row["difference"] == pytest.approx(row["autoencoder"] - row["PCA"], abs=2e-4)


@pytest.mark.slow
def test_the_autoencoder_never_saw_the_digit(smoke):
    whole = load("digits", protocol="full", limit=PRESET.limit)
    data = held_out_digit.without(whole, 8)
    assert 8 not in data.splits["train"].y and (data.splits["test"].y == 8).any()
    model = ae_jax.load(smoke[0] / "digits_without_8" / "seed=0", data=data)
    test = whole.splits["test"]
    expected = roc_auc_score(test.y == 8, model.score(test))
    assert rows(smoke[1])[8]["autoencoder"] == pytest.approx(expected, abs=1e-4)


def test_claim_by_hand():
    classes = np.repeat([1, 3], 50)
    apart = np.linspace(0, 1, 100)
    mixed = np.tile(np.linspace(0, 1, 50), 2)
    scores = {("autoencoder", 0): apart, ("PCA", 0): mixed}
    one = held_out_digit.Scored(3, scores, classes)
    assert (one.values("autoencoder"), one.values("PCA")) == (1.0, 0.5)
    claim = held_out_digit.better([one], [one.replicates()])
    assert claim.holds and claim.value == 500 and 0 < claim.target < 100
    again = [one.replicates(), one.replicates()]
    (row,) = [r for r in mean_rows([one, one], again) if r["AUC"] == "difference"]
    assert (row["mean"], row["least"], row["most"]) == (0.5, 0.5, 0.5)
    assert row["deviation over digits"] == 0
    assert row["±"] == pytest.approx(claim.target / 1000, rel=1e-2)
    swapped = {("autoencoder", 0): mixed, ("PCA", 0): apart}
    other = held_out_digit.Scored(3, swapped, classes)
    assert not held_out_digit.better([other], [other.replicates()]).holds


@pytest.mark.slow
def test_figures(smoke):
    assert smoke[1]["claims"] == []
    check_pictures(smoke[0], {"auc", "reconstructions"})
