"""NMF against scikit-learn, SciPy's non-negative least squares and known parts."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from ae_jax.codecs import Nmf, Pca, as_rows, mean_squared_error
from ae_jax.codecs.nmf import NmfCodec
from ae_jax.core.errors import UserError

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)[:500] / 16


def _sklearn_error(x, count, **options) -> float:
    """What scikit-learn minimises, as a mean over examples (its error is a root of twice it)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = NMF(count, random_state=0, **options).fit(x.astype(np.float64))
    return 0.5 * model.reconstruction_err_**2 / len(x)


def _kl(x, y) -> float:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    used = x > 0
    return ((x[used] * np.log(x[used] / y[used])).sum() - x.sum() + y.sum()) / len(x)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["nndsvda", "random"])
def test_error_is_no_worse_than_scikit_learns(digits, init):
    fit = Nmf(16, init=init).fit(digits, KEY)
    assert fit.history[-1] <= 1.01 * _sklearn_error(digits, 16)


@pytest.mark.slow
def test_divergence_is_no_worse_than_scikit_learns(digits):
    spec = Nmf(10, divergence="kullback_leibler", max_iterations=200)
    fit = spec.fit(digits, KEY)
    theirs = _sklearn_error(digits, 10, beta_loss="kullback-leibler", solver="mu", max_iter=200)
    assert fit.history[-1] <= 1.01 * theirs


def test_the_divergence_of_groups_is_a_tenth_below_scikit_learns():
    """As multiplicative updates begin near the parts; from singular vectors it is 3 % below."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.random((10, 16))
    noise = 0.3 * rng.normal(size=(2000, 16))
    x = np.abs(centres[rng.integers(0, 10, 2000)] + noise).astype(np.float32)
    found = Nmf(10, divergence="kullback_leibler").fit(x, KEY)
    theirs = _sklearn_error(x, 10, beta_loss="kullback-leibler", solver="mu", max_iter=200)
    assert found.history[-1] <= 0.9 * theirs


@pytest.mark.slow
@pytest.mark.parametrize("divergence", ["frobenius", "kullback_leibler"])
def test_every_step_decreases_the_objective_and_nothing_is_negative(digits, divergence):
    fit = Nmf(12, divergence=divergence, max_iterations=30).fit(digits, KEY)
    assert np.all(np.diff(fit.history) <= 1e-5 * fit.history[0])
    codes = np.asarray(fit.codec.encode(digits))
    assert not np.signbit(codes).any() and not np.signbit(fit.codec.atoms).any()
    assert np.isfinite(codes).all()


@pytest.mark.slow
def test_the_reported_objective_is_that_of_the_best_codes(digits):
    """Codes found anew for the atoms are no worse than those that the fit ended with."""
    fit = Nmf(12).fit(digits, KEY)
    error = 0.5 * float(mean_squared_error(fit.codec, digits))
    assert error <= fit.history[-1] * (1 + 1e-4)
    assert error == pytest.approx(fit.history[-1], rel=0.01)
    spec = Nmf(8, divergence="kullback_leibler", encode_iterations=2000)
    codec = (fit := spec.fit(digits, KEY)).codec
    divergence = _kl(digits, codec.decode(codec.encode(digits)) + 1e-10)
    assert divergence == pytest.approx(fit.history[-1], rel=0.01)


def test_codes_are_the_non_negative_least_squares(digits):
    atoms = np.abs(np.random.default_rng(0).normal(size=(12, 64)))
    codec = NmfCodec(jnp.asarray(atoms, jnp.float32), jnp.int32(5000), jnp.float32(1e-7))
    codes = np.asarray(codec.encode(digits[:30]))
    oracle = np.stack([nnls(atoms.T, row)[0] for row in digits[:30].astype(np.float64)])
    np.testing.assert_allclose(codes, oracle, atol=1e-4)


@pytest.mark.slow
def test_known_parts_are_recovered():
    """Separable data: each part shows alone somewhere, so the factorisation is unique."""
    rng = np.random.default_rng(2)
    parts = np.kron(np.eye(4), np.ones((1, 5))) * rng.uniform(0.5, 1, (4, 20))
    codes = rng.exponential(size=(300, 4)) * (rng.random((300, 4)) < 0.5)
    fit = Nmf(4, max_iterations=500).fit((codes @ parts).astype(np.float32), KEY)
    atoms = np.asarray(fit.codec.atoms)
    cosine = (
        parts @ atoms.T / np.linalg.norm(parts, axis=1)[:, None] / np.linalg.norm(atoms, axis=1)
    )
    np.testing.assert_allclose(np.sort(cosine, axis=1)[:, -1], 1, atol=1e-3)


@pytest.mark.slow
def test_bytes_are_fitted_as_grey_levels(digits):
    raw = np.round(digits * 255).astype(np.uint8)
    spec = Nmf(5, max_iterations=20)
    from_bytes = spec.fit(as_rows(raw, scale=1 / 255), KEY)
    from_floats = spec.fit((raw / 255).astype(np.float32), KEY)
    np.testing.assert_allclose(from_bytes.history, from_floats.history, rtol=1e-3)


@pytest.mark.slow
def test_no_better_than_what_any_dictionary_of_one_more_atom_can_do(digits):
    """PCA with its mean has the span of Z + 1 atoms: the bound of NMF with Z."""
    assert 2 * Nmf(10).fit(digits, KEY).history[-1] >= Pca(10).fit(digits, KEY).history[-1]


@pytest.mark.slow
def test_blank_examples_and_dimensions_are_no_trouble(digits):
    x = digits.copy()
    x[:7], x[:, 20:25] = 0, 0
    for divergence in ("frobenius", "kullback_leibler"):
        codec = Nmf(6, divergence=divergence, max_iterations=20).fit(x, KEY).codec
        np.testing.assert_allclose(codec.decode(codec.encode(x[:7])), 0, atol=1e-4)
        np.testing.assert_allclose(codec.atoms[:, 20:25], 0, atol=1e-4)


def test_what_cannot_be_fitted_is_said(digits):
    with pytest.raises(UserError, match="nowhere negative"):
        Nmf(3).fit(digits - 0.5, KEY)
    with pytest.raises(UserError, match="latent_dim=65"):
        Nmf(65).fit(digits, KEY)
    with pytest.raises(UserError, match="divergence"):
        Nmf(3, divergence="itakura_saito").fit(digits, KEY)
