"""The limits of probabilistic autoencoders on the 8x8 digits, against scikit-learn and NumPy."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

import ae_jax
from experiments import probabilistic_views as views
from experiments.limits import doubt, slope
from tests.smoke_runs import check_pictures, digit_rows, run_smoke

TO_KMEANS, TO_PCA = "Mixture of spherical Gaussians, to k-means", "Probabilistic PCA, to PCA"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("views")
    return workdir, run_smoke(views.main, workdir)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return digit_rows("train")[:300]


def codec_of(workdir, name):
    return ae_jax.load(workdir / name).params


@pytest.mark.slow
def test_all_claims_hold(smoke):
    assert [claim["name"] for claim in smoke[1]["claims"] if not claim["holds"]] == []
    assert len(smoke[1]["claims"]) == 9


@pytest.mark.slow
def test_k_means_stays_where_scikit_learn_would_leave_it(smoke, digits):
    hard = codec_of(smoke[0], "kmeans")
    centres = np.asarray(hard.centres, np.float64)
    oracle = KMeans(views.CODE, init=centres, n_init=1, tol=0.0).fit(digits)
    np.testing.assert_allclose(oracle.cluster_centers_, centres, atol=1e-5)
    last = smoke[1]["tables"][TO_KMEANS][-1]
    assert last["same clusters"] == 1.0
    soft = codec_of(smoke[0], f"mixture/variance={last['variance']:g}")
    assert (
        np.asarray(soft.encode(digits.astype(np.float32))).argmax(axis=1) == oracle.labels_
    ).all()


@pytest.mark.slow
def test_losses_are_those_of_scikit_learns_mixture(smoke, digits):
    """The gap is 2 s times -log p(x) less the constant of the noise, less the error of k-means."""
    error = -KMeans(
        views.CODE, init=np.asarray(codec_of(smoke[0], "kmeans").centres), n_init=1
    ).fit(digits).score(digits) / len(digits)
    for row in smoke[1]["tables"][TO_KMEANS]:
        soft = codec_of(smoke[0], f"mixture/variance={row['variance']:g}")
        variance = float(soft.variance)
        oracle = GaussianMixture(views.CODE, covariance_type="spherical")
        oracle.means_ = np.asarray(soft.centres, np.float64)
        oracle.weights_ = np.asarray(soft.weights, np.float64)
        oracle.covariances_ = np.full(views.CODE, variance)
        oracle.precisions_cholesky_ = oracle.covariances_**-0.5
        constant = digits.shape[1] * np.log(2 * np.pi * variance)
        gap = variance * (-2 * oracle.score(digits) - constant) - error
        assert row["loss gap"] == pytest.approx(gap, rel=1e-3, abs=1e-5)
        highest = oracle.predict_proba(digits).max(axis=1)
        assert row["doubt"] == pytest.approx((1 - highest).mean(), rel=1e-2, abs=1e-8)


@pytest.mark.slow
def test_probabilistic_pca_is_as_far_from_scikit_learns_pca_as_predicted(smoke, digits):
    oracle = PCA(views.CODE, svd_solver="full").fit(digits)
    projected = oracle.inverse_transform(oracle.transform(digits))
    spread = oracle.explained_variance_ * (len(digits) - 1) / len(digits)
    for row in smoke[1]["tables"][TO_PCA]:
        soft = codec_of(smoke[0], f"probabilistic_pca/variance={row['variance']:g}")
        variance = float(soft.noise_variance)
        made = np.asarray(soft.decode(soft.encode(digits.astype(np.float32))), np.float64)
        between = np.sqrt(np.square(made - projected).sum(axis=1).mean())
        assert row["distance"] == pytest.approx(between, rel=1e-2)
        assert row["predicted distance"] == pytest.approx(
            variance * np.sqrt((1 / spread).sum()), rel=1e-3
        )


def test_a_doubt_keeps_its_digits_where_it_is_small():
    joint = np.array([[0.0, -50.0, -60.0], [3.0, 3.0, -700.0]])
    expected = [np.exp(-50) + np.exp(-60), 0.5]
    for row, one in zip(joint, expected, strict=True):
        assert doubt(row[None]) == pytest.approx(one, rel=1e-9)


def test_slopes_are_those_of_powers():
    x = np.array([1e-3, 1e-2, 1e-1])
    assert slope(x, 5 * x**2) == pytest.approx(2)
    assert np.isnan(slope(x, x - 1e-2))


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"limits", "reconstructions"})
