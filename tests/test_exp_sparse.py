"""Sparse codes of the 8x8 digits, against NumPy and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import ae_jax
from ae_jax.data import load
from ae_jax.report.dictionaries import scaled
from experiments import sparse, sparse_codes
from tests.smoke_runs import check_pictures, digit_rows, run_smoke, svd_error

PRESET = sparse.PRESETS["smoke"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sparse")
    return workdir, run_smoke(sparse.main, workdir)


def rows_of(results: dict) -> dict[str, dict]:
    return {row["code"]: row for row in results["tables"]["Codes on the test split"]}


def coder(workdir, kind: sparse_codes.Kind) -> sparse_codes.Coder:
    return sparse_codes.Coder(kind, ae_jax.load(workdir / kind.folder))


@pytest.mark.slow
def test_exactly_k_are_alive(smoke):
    for kind in PRESET.kinds:
        if kind.family == "k highest":
            assert rows_of(smoke[1])[kind.name]["active units"] == kind.k


@pytest.mark.slow
def test_numbers_are_those_of_the_saved_codes(smoke):
    workdir, results = smoke
    test = load("digits", protocol="full").splits["test"]
    for kind in (sparse_codes.DENSE, PRESET.kinds[0], PRESET.kinds[1]):
        model, row = ae_jax.load(workdir / kind.folder), rows_of(results)[kind.name]
        codes = model.encode(test.x)
        active = codes > kind.threshold  # neither sigmoids nor rectified units are negative
        assert row["active units"] == pytest.approx(active.sum(axis=1).mean(), abs=0.006)
        assert row["dead units"] == (~active.any(axis=0)).sum()
        assert row["mean activation"] == pytest.approx(codes.mean(), abs=1e-4)
        weights, bias = model.params["head"]["mean"]["kernel"], model.params["head"]["mean"]["bias"]
        seen = model.encode(load("digits", protocol="full").splits["train"].x)
        idle = [unit[unit <= kind.threshold] for unit in seen.T]
        resting = np.array([values.mean() if len(values) else 0.0 for values in idle])
        decoded = np.where(active, codes, resting) @ np.asarray(weights) + np.asarray(bias)
        error = np.square(decoded - digit_rows("test")).sum(axis=1).mean()
        assert row["squared error"] == pytest.approx(error, abs=2e-3)
        whole = np.square(codes @ np.asarray(weights) + np.asarray(bias) - digit_rows("test"))
        assert row["of the whole code"] == pytest.approx(whole.sum(axis=1).mean(), abs=2e-3)


@pytest.mark.slow
def test_accuracy_is_that_of_logistic_regression(smoke):
    workdir, results = smoke
    splits = load("digits", protocol="full").splits
    train = splits["train"].head(PRESET.probe)
    model = ae_jax.load(workdir / "dense")
    scaler = StandardScaler().fit(model.encode(train.x))
    classifier = LogisticRegression(max_iter=2000)
    classifier.fit(scaler.transform(model.encode(train.x)), train.y)
    score = classifier.score(scaler.transform(model.encode(splits["test"].x)), splits["test"].y)
    assert rows_of(results)["dense"]["accuracy"] == pytest.approx(score, abs=1e-4)


@pytest.mark.slow
def test_features_are_the_weights_of_the_decoder(smoke):
    one = coder(smoke[0], PRESET.kinds[0])
    weights = np.asarray(one.model.params["head"]["mean"]["kernel"])
    features = one.features.reshape(len(weights), -1)
    # The same rows in another order: that of how often a unit is active.
    codes = one.codes(load("digits", protocol="full").splits["test"].x)
    order = np.argsort(-(codes > 0).mean(axis=0), kind="stable")
    np.testing.assert_allclose(features, weights[order], atol=1e-5)


@pytest.mark.slow
def test_verdicts_follow_from_the_numbers(smoke):
    rows = rows_of(smoke[1])
    penalised = {kind.name: kind for kind in PRESET.representatives}
    held = {claim["name"]: claim["holds"] for claim in smoke[1]["claims"]}
    assert len(held) == 2 * len(penalised)
    for name in penalised:
        few = next(v for k, v in held.items() if k.startswith(f"{name}: active"))
        good = next(v for k, v in held.items() if k.startswith(f"{name}: accuracy"))
        assert few == (rows[name]["active units"] <= rows["dense"]["active units"] / 2)
        ours, theirs = rows[name]["accuracy"], rows["dense"]["accuracy"]
        error = np.sqrt((ours * (1 - ours) + theirs * (1 - theirs)) / len(digit_rows("test")))
        assert good == (ours - theirs >= 2 * error)


@pytest.mark.slow
def test_an_l1_penalty_leaves_fewer_alive_and_costs_reconstruction(smoke):
    dense, penalised = rows_of(smoke[1])["dense"], rows_of(smoke[1])["L1, weight 0.1"]
    assert penalised["active units"] < dense["active units"]
    assert penalised["squared error"] > dense["squared error"]


@pytest.mark.slow
def test_pca_is_that_of_numpy(smoke):
    row = rows_of(smoke[1])["PCA"]
    train, test = digit_rows("train"), digit_rows("test")
    assert row["active units"] == PRESET.latent_dim
    error = svd_error(train, test, PRESET.latent_dim)
    assert row["squared error"] == pytest.approx(error, abs=1e-3)


def test_grey_is_nothing_and_the_largest_magnitude_is_an_extreme():
    images = np.array([[[0.0, 2.0], [-4.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    expected = [[[0.5, 0.75], [0.0, 0.625]], [[0.5, 0.5], [0.5, 0.5]]]
    np.testing.assert_allclose(scaled(images, signed=True), expected)


@pytest.mark.slow
def test_figures(smoke):
    families = ("dense", "l1", "kl", "k_highest")
    check_pictures(smoke[0], {f"features_{f}" for f in families} | {"error_by_active_units"})
