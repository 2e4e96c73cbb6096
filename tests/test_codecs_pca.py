"""PCA and probabilistic PCA against scikit-learn, SciPy and NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ae_jax.codecs import Pca, ProbabilisticPca, as_rows, mean_squared_error
from ae_jax.core.errors import UserError
from ae_jax.distributions import kl

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32) / 16  # [1797, 64]


@pytest.fixture(scope="module")
def wide() -> np.ndarray:
    """More dimensions than examples, with a mean far from 0."""
    rng = np.random.default_rng(1)
    scales = 0.8 ** np.arange(40)
    return (rng.normal(size=(40, 40)) * scales @ rng.normal(size=(40, 90)) + 20).astype(np.float32)


def _subspace_gap(a, b) -> float:
    """The sine of the largest angle between the row spaces of two orthonormal bases."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    a, b = np.linalg.qr(a.T)[0], np.linalg.qr(b.T)[0]
    return np.linalg.norm(a - b @ (b.T @ a), 2)


@pytest.mark.slow_cases("digits-randomized")
@pytest.mark.parametrize("solver", ["auto", "svd", "gram", "randomized"])
@pytest.mark.parametrize("data", ["digits", "wide"])
def test_subspace_variance_and_importance_are_scikit_learns(request, data, solver):
    x = request.getfixturevalue(data)
    fit = Pca(10, solver=solver, max_iterations=200, tolerance=1e-5).fit(x, KEY)
    oracle = PCA(10, svd_solver="full").fit(x.astype(np.float64))
    codec = fit.codec
    assert _subspace_gap(codec.components, oracle.components_) < 1e-4
    np.testing.assert_allclose(codec.explained_variance, oracle.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(
        codec.explained_variance_ratio, oracle.explained_variance_ratio_, rtol=1e-4
    )
    codes = oracle.transform(x)
    ours = np.asarray(codec.encode(x))
    signs = np.sign((ours * codes).sum(axis=0))
    np.testing.assert_allclose(ours * signs, codes, atol=2e-4 * np.abs(codes).max())


def test_the_objective_is_the_squared_error_that_reconstruction_leaves(digits):
    for solver in ("svd", "gram", "randomized"):
        fit = Pca(12, solver=solver).fit(digits, KEY)
        np.testing.assert_allclose(
            fit.history[-1], mean_squared_error(fit.codec, digits), rtol=1e-4
        )
        assert fit.converged
        assert np.all(np.diff(fit.history) <= 1e-4 * fit.history[0])


def test_no_dictionary_of_the_same_size_reconstructs_better(digits):
    """Eckart & Young: random orthonormal dictionaries and perturbed ones are worse."""
    codec = Pca(8).fit(digits, KEY).codec
    best = float(mean_squared_error(codec, digits))
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.1, 1.0):
        noisy = codec.components + scale * rng.normal(size=(8, 64))
        other = codec.replace(components=jnp.asarray(np.linalg.qr(noisy.T)[0].T, jnp.float32))
        assert float(mean_squared_error(other, digits)) > best


@pytest.mark.parametrize("sizes", [[1797], [1, 700, 96, 1000], [64] * 28 + [5]])
def test_batches_that_never_meet_give_the_exact_fit(digits, sizes):
    batches = np.split(digits, np.cumsum(sizes)[:-1])
    exact = Pca(10, solver="gram").fit(digits, KEY)
    apart = Pca(10).fit_batches(iter(batches))
    assert _subspace_gap(apart.codec.components, exact.codec.components) < 1e-5
    np.testing.assert_allclose(
        apart.codec.explained_variance, exact.codec.explained_variance, rtol=1e-5
    )
    np.testing.assert_allclose(apart.codec.mean, exact.codec.mean, atol=1e-6)
    np.testing.assert_allclose(apart.history, exact.history, rtol=1e-4)


def test_moments_are_exact_where_the_mean_is_large():
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(3000, 5)) * [3, 2, 1, 0.5, 0.2] + 1000).astype(np.float32)
    codec = Pca(5, solver="gram").fit(x, KEY).codec
    expected = np.linalg.eigvalsh(np.cov(x.T.astype(np.float64)))[::-1]
    np.testing.assert_allclose(codec.explained_variance, expected, rtol=1e-3)


def test_whitened_codes_have_unit_covariance(digits):
    codec = Pca(20, whiten=True).fit(digits, KEY).codec
    codes = np.asarray(codec.encode(digits), np.float64)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(20), atol=1e-3)
    plain = Pca(20).fit(digits, KEY).codec
    np.testing.assert_allclose(
        codec.decode(codec.encode(digits)), plain.decode(plain.encode(digits)), atol=1e-4
    )


def test_bytes_are_fitted_as_the_grey_levels_they_stand_for(digits):
    raw = np.round(digits * 255).astype(np.uint8)
    from_bytes = Pca(5).fit(as_rows(raw, scale=1 / 255), KEY).codec
    from_floats = Pca(5).fit((raw / 255).astype(np.float32), KEY).codec
    np.testing.assert_allclose(from_bytes.components, from_floats.components, atol=1e-4)
    shift, scale = raw.mean(axis=0), 1 / (raw.std(axis=0) + 1)
    standard = Pca(5).fit(as_rows(raw, shift=shift, scale=scale), KEY).codec
    oracle = PCA(5).fit((raw - shift) * scale)
    np.testing.assert_allclose(standard.explained_variance, oracle.explained_variance_, rtol=1e-4)


@pytest.mark.slow
def test_exact_density_is_scikit_learns_score(digits):
    for latent_dim in (1, 10, 40):
        fit = ProbabilisticPca(latent_dim).fit(digits, KEY)
        oracle = PCA(latent_dim, svd_solver="full").fit(digits.astype(np.float64))
        score = oracle.score(digits)
        assert abs(float(fit.codec.log_prob(digits).mean()) - score) < 1e-3 * abs(score)
        assert abs(-fit.history[-1] - score) < 1e-3 * abs(score)
        np.testing.assert_allclose(
            fit.codec.noise_variance, oracle.noise_variance_ * 1796 / 1797, rtol=1e-4
        )


def test_density_and_posterior_are_those_of_the_joint_gaussian():
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6)) * 2).astype(np.float32) + 3
    x += 0.3 * rng.normal(size=x.shape).astype(np.float32)
    codec = ProbabilisticPca(2).fit(x, KEY).codec
    w = np.asarray(codec.weights, np.float64).T  # [D, Z]
    sigma2 = float(codec.noise_variance)
    covariance = w @ w.T + sigma2 * np.eye(6)
    np.testing.assert_allclose(
        codec.log_prob(x), stats.multivariate_normal(codec.mean, covariance).logpdf(x), rtol=1e-4
    )
    gain = np.linalg.solve(covariance, w).T  # [Z, D]
    posterior = codec.posterior(x)
    np.testing.assert_allclose(posterior.mean(), (x - np.asarray(codec.mean)) @ gain.T, atol=1e-4)
    variance = np.eye(2) - gain @ w
    np.testing.assert_allclose(np.exp(2 * posterior.log_scale[0]), np.diag(variance), rtol=1e-3)
    np.testing.assert_allclose(variance - np.diag(np.diag(variance)), 0, atol=1e-4)


@pytest.mark.slow
def test_the_evidence_is_the_elbo_of_the_exact_posterior():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 4)).astype(np.float32) * np.float32([3, 2, 1, 0.5])
    codec = ProbabilisticPca(2).fit(x, KEY).codec
    posterior, sigma2 = codec.posterior(x), codec.noise_variance
    lengths = jnp.square(codec.weights).sum(axis=1)
    spread = (jnp.exp(2 * posterior.log_scale) * lengths[None]).sum(axis=1)
    squares = jnp.square(x - codec.decode(posterior.mean())).sum(axis=1) + spread
    reconstruction = -0.5 * (squares / sigma2 + 4 * jnp.log(2 * jnp.pi * sigma2))
    divergence = kl(posterior, codec.prior)
    np.testing.assert_allclose(reconstruction - divergence, codec.log_prob(x), rtol=1e-4)


def test_density_out_of_core_is_the_one_in_memory(digits):
    apart = ProbabilisticPca(10).fit_batches(np.array_split(digits, 7)).codec
    whole = ProbabilisticPca(10, solver="gram").fit(digits, KEY).codec
    np.testing.assert_allclose(apart.log_prob(digits), whole.log_prob(digits), atol=1e-3)


def test_the_maximum_of_the_likelihood_is_one(digits):
    codec = ProbabilisticPca(6).fit(digits, KEY).codec
    best = float(codec.log_prob(digits).mean())
    for factor in (0.97, 1.03):
        for changed in (
            codec.replace(noise_variance=codec.noise_variance * factor),
            codec.replace(weights=codec.weights * factor),
        ):
            assert float(changed.log_prob(digits).mean()) < best


@pytest.mark.parametrize("noise", [2e-2, 1e-1, 1.0])  # the last is above every variance
def test_a_given_noise_has_the_likeliest_weights(digits, noise):
    """Its density is that of the joint Gaussian, and no other length of the weights is likelier."""
    fit = ProbabilisticPca(6, noise_variance=noise).fit(digits, KEY)
    codec = fit.codec
    assert float(codec.noise_variance) == pytest.approx(noise)
    w = np.asarray(codec.weights, np.float64)
    covariance = w.T @ w + noise * np.eye(digits.shape[1])
    mean = digits.mean(axis=0, dtype=np.float64)
    score = stats.multivariate_normal(mean, covariance).logpdf(digits).mean()
    assert float(codec.log_prob(digits).mean()) == pytest.approx(score, rel=1e-4)
    assert -fit.history[-1] == pytest.approx(score, rel=1e-4)
    for factor in (0.97, 1.03):
        changed = codec.replace(weights=codec.weights * factor)
        assert float(changed.log_prob(digits).mean()) <= score + 1e-3


def test_pca_is_the_limit_as_the_noise_goes_to_0(digits):
    """The mean square of what lies between is noise^2 sum_j 1 / variance_j."""
    plain = Pca(5).fit(digits, KEY).codec
    variance = np.asarray(plain.explained_variance, np.float64) * 1796 / 1797
    projections = plain.decode(plain.encode(digits))
    for noise in (1e-2, 1e-3):
        codec = ProbabilisticPca(5, noise_variance=noise).fit(digits, KEY).codec
        between = np.square(codec.decode(codec.encode(digits)) - projections).sum(axis=1).mean()
        assert between == pytest.approx(noise**2 * (1 / variance).sum(), rel=1e-2)


@pytest.mark.parametrize(
    "spec, x, message",
    [
        (Pca(7), np.ones((5, 20), np.float32), "latent_dim=7"),
        (Pca(3), np.ones((50, 2), np.float32), "latent_dim=3"),
        (ProbabilisticPca(4), np.ones((50, 4), np.float32), "latent_dim=4"),
        (Pca(2), np.full((50, 4), np.nan, np.float32), "NaN"),
        (Pca(2), np.ones((4, 4, 4), np.float32), r"\[N, D\]"),
        (Pca(2), np.array([["a", "b"]] * 9), "real numbers"),
        (Pca(2, solver="lanczos"), np.ones((9, 4), np.float32), "solver"),
        (Pca(0), np.ones((9, 4), np.float32), "latent_dim"),
        (Pca(2, whiten=True), np.ones((9, 4), np.float32) * np.eye(9, 4), None),
        (ProbabilisticPca(2), np.outer(np.arange(9), np.ones(4)), "noise"),
        (ProbabilisticPca(2, noise_variance=-1.0), np.ones((9, 4), np.float32), "noise_variance"),
        (Pca(2, whiten=True), np.outer(np.arange(9), np.ones(4)), "whitened"),
    ],
)
def test_what_cannot_be_fitted_is_said(spec, x, message):
    if message is None:
        assert spec.fit(x, KEY).converged
        return
    with pytest.raises(UserError, match=message):
        spec.fit(x, KEY)


def test_batches_that_cannot_be_fitted_are_said():
    with pytest.raises(UserError, match="no batches"):
        Pca(2).fit_batches([])
    with pytest.raises(UserError, match="columns"):
        Pca(2).fit_batches([np.ones((3, 4)), np.ones((3, 5))])
