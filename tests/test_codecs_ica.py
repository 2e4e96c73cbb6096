"""FastICA on sources that are known, beside scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.decomposition import FastICA

from ae_jax.codecs import Ica, Pca
from ae_jax.codecs.ica import CONTRASTS
from ae_jax.core.errors import UserError

KEY = jax.random.key(0)


def _sources(count: int = 4000, seed: int = 0) -> np.ndarray:
    """Four independent sources [N, 4], sub- and super-Gaussian."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.laplace(size=count),
        rng.uniform(-1, 1, count),
        rng.standard_t(5, count),
        rng.exponential(size=count),
    ]
    return np.stack([(c - c.mean()) / c.std() for c in columns], axis=1)


def _amari(unmixing: np.ndarray, mixing: np.ndarray) -> float:
    """Amari et al. 1996: 0 where W A is a permutation with scales, up to 1."""
    p = np.abs(np.asarray(unmixing, np.float64) @ mixing)
    count = len(p)
    rows = (p.sum(axis=1) / p.max(axis=1) - 1).sum()
    columns = (p.sum(axis=0) / p.max(axis=0) - 1).sum()
    return (rows + columns) / (2 * count * (count - 1))


@pytest.fixture(scope="module")
def mixed() -> tuple[np.ndarray, np.ndarray]:
    """Mixtures [N, 4] about a mean, and the mixing matrix."""
    mixing = np.random.default_rng(5).normal(size=(4, 4))
    return (_sources() @ mixing.T + 3).astype(np.float32), mixing


def test_the_amari_index_is_0_for_a_permutation_and_large_for_chance():
    rng = np.random.default_rng(0)
    permuted = np.eye(5)[rng.permutation(5)] * rng.uniform(0.5, 2, 5)
    assert _amari(permuted, np.eye(5)) < 1e-12
    assert _amari(np.ones((5, 5)), np.eye(5)) == pytest.approx(1)


@pytest.mark.slow_cases("cube")
@pytest.mark.parametrize("contrast", sorted(CONTRASTS))
def test_known_sources_are_recovered_as_by_scikit_learn(mixed, contrast):
    x, mixing = mixed
    fit = Ica(4, contrast=contrast, tolerance=1e-6).fit(x, KEY)
    oracle = FastICA(4, fun=contrast, whiten="unit-variance", tol=1e-8, random_state=0)
    oracle.fit(x.astype(np.float64))
    ours, theirs = _amari(fit.codec.unmixing, mixing), _amari(oracle.components_, mixing)
    assert fit.converged
    assert ours <= theirs + 1e-3
    assert ours < 0.05
    # The same fixed point: each source is one of theirs up to its sign.
    agreement = np.abs(np.corrcoef(fit.codec.encode(x).T, oracle.transform(x).T)[:4, 4:])
    np.testing.assert_allclose(np.sort(agreement, axis=1)[:, -1], 1, atol=1e-3)


def test_whitening_alone_recovers_nothing(mixed):
    x, mixing = mixed
    whitened = Pca(4, whiten=True).fit(x, KEY).codec
    unmixing = whitened.components / whitened.scale[:, None]
    assert _amari(unmixing, mixing) > 0.2


def test_sources_in_more_dimensions_than_there_are_sources():
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(9, 4))
    x = (_sources(6000, seed=3) @ mixing.T).astype(np.float32)
    codec = Ica(4).fit(x, KEY).codec
    assert _amari(codec.unmixing, mixing) < 0.05
    np.testing.assert_allclose(codec.decode(codec.encode(x)), x, atol=1e-3)


def test_the_atoms_are_the_pseudo_inverse_of_the_unmixing(mixed):
    codec = Ica(3).fit(mixed[0], KEY).codec
    np.testing.assert_allclose(np.linalg.pinv(codec.unmixing).T, codec.atoms, atol=1e-4)


@pytest.mark.parametrize("contrast", sorted(CONTRASTS))
def test_contrasts_have_their_derivatives_and_normal_means(contrast):
    g = CONTRASTS[contrast]
    y = jnp.linspace(-4, 4, 33)
    np.testing.assert_allclose(jax.vmap(jax.grad(g.value))(y), g.first(y), atol=1e-4)
    np.testing.assert_allclose(jax.vmap(jax.grad(g.first))(y), g.second(y), atol=1e-4)
    expected = integrate.quad(lambda v: float(g.value(v)) * stats.norm.pdf(v), -8, 8)[0]
    assert g.normal_mean == pytest.approx(expected, abs=1e-5)


def test_the_objective_is_minus_the_negentropy_of_the_codes(mixed):
    x, _ = mixed
    fit = Ica(4, tolerance=1e-6).fit(x, KEY)
    means = np.log(np.cosh(np.asarray(fit.codec.encode(x), np.float64))).mean(axis=0)
    expected = -np.square(means - CONTRASTS["logcosh"].normal_mean).sum()
    assert fit.history[-1] == pytest.approx(expected, rel=1e-3)
    assert fit.history[-1] < fit.history[0]


def test_what_did_not_converge_says_so(mixed):
    fit = Ica(4, max_iterations=1).fit(mixed[0], KEY)
    assert not fit.converged and fit.iterations == 1


def test_what_cannot_be_fitted_is_said(mixed):
    with pytest.raises(UserError, match="latent_dim=5"):
        Ica(5).fit(mixed[0], KEY)
    with pytest.raises(UserError, match="contrast"):
        Ica(2, contrast="tanh").fit(mixed[0], KEY)
    flat = np.outer(np.arange(20.0), np.ones(4))
    with pytest.raises(UserError, match="fewer than latent_dim=3"):
        Ica(3).fit(flat, KEY)
