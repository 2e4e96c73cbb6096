"""The linear autoencoder against NumPy's SVD."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from experiments import baselines, linear_choices, linear_is_pca, subspaces
from tests.smoke_runs import check_pictures, digit_rows, run_smoke, svd_error

MAIN = "The linear autoencoder beside PCA"
CHOICES = "Which choices make an autoencoder of the irises equal PCA"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("linear_is_pca")
    return workdir, run_smoke(linear_is_pca.main, workdir)


def flowers() -> np.ndarray:
    return load_iris().data[:, [1, 2]]


@pytest.mark.slow
def test_the_optimum_is_that_of_the_svd_and_is_nearly_reached(smoke):
    _, results = smoke
    iris, digits = results["tables"][MAIN]
    train = digit_rows("train")
    assert iris["PCA"] == pytest.approx(svd_error(flowers(), flowers(), 1), rel=1e-4)
    assert digits["PCA"] == pytest.approx(svd_error(train, train, 4), rel=1e-4)
    for row in (iris, digits):
        assert row["autoencoder"] == pytest.approx(row["PCA"] * (1 + row["excess (%)"] / 100), 1e-4)
        # No linear map of that rank is better than PCA on what PCA was fitted to.
        assert -1e-3 <= row["excess (%)"] < 1.0


@pytest.mark.slow
def test_choices_are_judged_by_error_and_angle(smoke):
    _, results = smoke
    rows = {row["autoencoder"]: row for row in results["tables"][CHOICES]}
    optimum = svd_error(flowers(), flowers(), 1)
    for row in rows.values():
        excess = 100 * (row["squared error"] / optimum - 1)
        assert row["over PCA (%)"] == pytest.approx(excess, abs=0.01)
    assert rows["linear"]["equals PCA"] and rows["linear, tied"]["equals PCA"]
    bent = rows["hidden layers of tanh units"]
    assert bent["angle (degrees)"] is None and not bent["equals PCA"]
    assert not bent["equals PCA of its inputs"]
    assert rows["linear"]["equals PCA of its inputs"]


@pytest.mark.slow
def test_standardised_it_is_pca_of_what_it_saw_and_not_of_the_data(smoke):
    row = {row["autoencoder"]: row for row in smoke[1]["tables"][CHOICES]}["linear, standardised"]
    assert row["equals PCA of its inputs"] and not row["equals PCA"]
    x = flowers()
    scale = x.std(axis=0)
    axis = np.linalg.svd((x - x.mean(axis=0)) / scale)[2][0]
    residual = (x - x.mean(axis=0)) / scale
    residual = (residual - np.outer(residual @ axis, axis)) * scale
    assert row["squared error"] == pytest.approx(np.square(residual).sum(axis=1).mean(), rel=1e-3)


@pytest.mark.slow
def test_without_biases_the_optimum_is_another_line(smoke):
    _, results = smoke
    row = results["tables"][CHOICES][-1]
    x = flowers()
    axis = np.linalg.svd(x)[2][0]
    assert row["squared error"] == pytest.approx(
        np.square(x - np.outer(x @ axis, axis)).sum(axis=1).mean(), rel=1e-4
    )
    principal = np.linalg.svd(x - x.mean(axis=0))[2][0]
    angle = np.degrees(np.arccos(abs(axis @ principal)))
    assert row["angle (degrees)"] == pytest.approx(angle, abs=0.01)
    assert not row["equals PCA"]


def test_the_error_of_pca_is_that_of_the_svd():
    x = np.random.default_rng(0).normal(size=(50, 6)) + 3
    codec = baselines.pca_of_rows(x, 4)
    assert baselines.pca_error(codec, x) == pytest.approx(svd_error(x, x, 4), rel=1e-4)
    fewer = baselines.first_components(codec, 2)
    assert baselines.pca_error(fewer, x) == pytest.approx(svd_error(x, x, 2), rel=1e-4)


def test_angles_of_a_known_rotation():
    plane = np.eye(4)[:2]
    turned = np.array([[1.0, 0, 0, 0], [0, np.cos(0.5), np.sin(0.5), 0]])
    # Neither length nor the choice of basis matters.
    mixed = np.array([[3.0, 1.0], [0.5, -2.0]]) @ turned
    angles = subspaces.principal_angles(mixed, plane)
    np.testing.assert_allclose(angles, [np.degrees(0.5), 0], atol=1e-5)


@pytest.mark.slow
def test_verdicts_follow_from_the_numbers(smoke):
    _, results = smoke
    values = [
        value
        for row in results["tables"][MAIN]
        for value in (row["excess (%)"], row["largest angle (degrees)"])
    ]
    loss = linear_choices.LOSS_CLAIMED
    angles = linear_choices.IRIS_ANGLE_CLAIMED, linear_choices.IMAGE_ANGLE_CLAIMED
    limits = [limit for angle in angles for limit in (loss, angle)]
    held = [claim["holds"] for claim in results["claims"]]
    assert held == [value <= limit for value, limit in zip(values, limits, strict=True)]


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"lines", "loss", "reconstructions"})
