"""k-means and its spherical mixture against scikit-learn and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import load_digits

from ae_jax.codecs import KMeans, Pca
from ae_jax.codecs.kmeans import _cluster_sums, _fill_empty, _Lloyd, _sums_anew
from ae_jax.codecs.rows import as_rows
from ae_jax.codecs.seeding import kmeans_plus_plus
from ae_jax.core.errors import UserError

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32) / 16


@pytest.fixture(scope="module")
def islands() -> tuple[np.ndarray, np.ndarray]:
    """Six tight clusters far apart, and their centres."""
    rng = np.random.default_rng(0)
    centres = 10 * np.eye(6, 8)
    x = np.repeat(centres, 50, axis=0) + 0.1 * rng.normal(size=(300, 8))
    return rng.permutation(x).astype(np.float32), centres


def _inertia(codec, x) -> float:
    return float(jnp.square(x - codec.decode(codec.encode(x))).sum())


@pytest.mark.slow
def test_inertia_is_no_worse_than_scikit_learns(digits):
    """Medians over seeds: one start of k-means differs from another by more than the margin."""
    ours = [_inertia(KMeans(10).fit(digits, jax.random.key(s)).codec, digits) for s in range(7)]
    theirs = [SklearnKMeans(10, n_init=1, random_state=s).fit(digits).inertia_ for s in range(7)]
    assert np.median(ours) <= 1.01 * np.median(theirs)
    assert min(ours) <= 1.01 * min(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_lloyd_ends_where_scikit_learn_has_nothing_to_improve(digits, seed):
    fit = KMeans(12, tolerance=0.0).fit(digits, jax.random.key(seed))
    oracle = SklearnKMeans(12, init=np.asarray(fit.codec.centres), n_init=1, tol=0).fit(digits)
    assert fit.converged
    np.testing.assert_allclose(fit.codec.centres, oracle.cluster_centers_, atol=1e-4)
    np.testing.assert_allclose(fit.history[-1] * len(digits), oracle.inertia_, rtol=1e-4)
    assert np.all(np.diff(fit.history) <= 1e-5 * fit.history[0])


@pytest.mark.slow
def test_known_islands_are_found(islands):
    x, centres = islands
    codec = KMeans(6).fit(x, KEY).codec
    found = np.asarray(codec.centres)[np.argmax(np.asarray(codec.centres), axis=1).argsort()]
    np.testing.assert_allclose(found, centres, atol=0.1)
    np.testing.assert_allclose(codec.weights, 1 / 6, rtol=1e-5)
    np.testing.assert_allclose(codec.variance, 0.01, rtol=0.1)


@pytest.mark.slow
def test_mini_batches_come_close_to_lloyd(digits):
    fits = [KMeans(10, batch_size=100).fit(digits, jax.random.key(s)) for s in range(5)]
    theirs = [SklearnKMeans(10, n_init=1, random_state=s).fit(digits).inertia_ for s in range(5)]
    assert np.median([_inertia(fit.codec, digits) for fit in fits]) <= 1.03 * np.median(theirs)
    assert all(fit.converged for fit in fits)


def test_seeds_are_rows_and_spread_over_the_islands(islands):
    x, centres = islands
    seeds = np.asarray(jax.jit(kmeans_plus_plus, static_argnums=2)(as_rows(x), KEY, 6))
    assert all((seed == x).all(axis=1).any() for seed in seeds)
    assert sorted(seeds.argmax(axis=1)) == list(range(6))


@pytest.mark.slow
def test_sums_by_moves_are_sums_anew():
    rng = np.random.default_rng(0)
    rows = as_rows(rng.normal(size=(80, 5)).astype(np.float32))
    before = jnp.asarray(rng.integers(0, 4, 80), jnp.int32)
    sums, sizes = _sums_anew(rows, before, 4)
    state = _Lloyd(sums, sums, sizes, before)
    for moves in (0, 3, 10, 11, 40):
        after = before.at[:moves].set((before[:moves] + 1) % 4)
        expected = np.stack(
            [np.asarray(rows.array)[np.asarray(after) == k].sum(0) for k in range(4)]
        )
        moved, counts = _cluster_sums(rows, state, after)
        np.testing.assert_allclose(moved, expected, atol=1e-4)
        np.testing.assert_array_equal(counts, np.bincount(after, minlength=4))


def test_empty_clusters_move_to_the_farthest_examples():
    x = np.arange(12, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    centres = jnp.asarray([[3.0, 3.0], [0.0, 0.0], [5.0, 5.0], [0.0, 0.0]])
    sizes = jnp.asarray([5.0, 0.0, 7.0, 0.0])
    distances = jnp.asarray(np.abs(x[:, 0] - 4.0))
    filled = _fill_empty(as_rows(x), centres, sizes, distances)
    np.testing.assert_array_equal(filled, [[3, 3], [11, 11], [5, 5], [10, 10]])


@pytest.mark.slow
def test_duplicates_leave_no_centre_undefined():
    x = np.repeat(np.eye(3, 4, dtype=np.float32), 10, axis=0)
    codec = KMeans(5).fit(x, KEY).codec
    assert np.isfinite(codec.centres).all()
    assert _inertia(codec, x) < 1e-6


@pytest.mark.slow
def test_density_and_responsibilities_are_those_of_the_mixture(digits):
    codec = KMeans(5).fit(digits, KEY).codec
    x = digits[:40]
    joint = np.stack(
        [
            np.log(weight) + stats.multivariate_normal(centre, float(codec.variance)).logpdf(x)
            for weight, centre in zip(codec.weights, np.asarray(codec.centres), strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(codec.log_prob(x), logsumexp(joint, axis=1), rtol=1e-4)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(codec.posterior(x).mean(), expected, atol=1e-3)


@pytest.mark.slow
def test_the_variance_is_the_maximum_of_the_likelihood_with_clusters_known(digits):
    codec = KMeans(8).fit(digits, KEY).codec
    squares = _inertia(codec, digits)

    def log_likelihood(variance):
        return -0.5 * (squares / variance + digits.size * np.log(variance))

    best = float(codec.variance)
    assert log_likelihood(best) > max(log_likelihood(best * 0.99), log_likelihood(best * 1.01))


@pytest.mark.slow
def test_one_hot_codes_are_the_limit_of_the_responsibilities(digits):
    codec = KMeans(8).fit(digits, KEY).codec
    x = digits[:200]
    soft = codec.replace(variance=jnp.float32(1e-6)).posterior(x).mean()
    clear = np.sort(np.asarray(soft), axis=1)[:, -1] > 0.999
    assert clear.mean() > 0.98
    np.testing.assert_allclose(soft[clear], codec.encode(x)[clear], atol=1e-3)


@pytest.mark.slow
def test_posterior_draws_follow_the_responsibilities(digits):
    codec = KMeans(4).fit(digits, KEY).codec
    posterior = codec.replace(variance=codec.variance * 20).posterior(digits[:3])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(3))
    draws = posterior.sample(keys, 4000)
    np.testing.assert_allclose(draws.mean(axis=0), posterior.mean(), atol=0.03)
    np.testing.assert_array_equal(draws[7:9], posterior.sample(keys, 2, first=7))
    np.testing.assert_allclose(
        np.exp(posterior.log_prob(draws)), (draws * posterior.mean()[None]).sum(-1), rtol=1e-5
    )


def test_what_cannot_be_fitted_is_said():
    x = np.ones((5, 3), np.float32)
    with pytest.raises(UserError, match="latent_dim=6"):
        KMeans(6).fit(x, KEY)
    with pytest.raises(UserError, match="batch_size=9"):
        KMeans(2, batch_size=9).fit(x, KEY)
    with pytest.raises(UserError, match="tolerance"):
        KMeans(2, tolerance=-1.0).fit(x, KEY)


@pytest.mark.slow
def test_k_means_spans_no_more_than_pca_can(digits):
    """The centres' reconstruction lies in a space of k - 1 dimensions about the mean."""
    clusters = KMeans(10).fit(digits, KEY)
    assert clusters.history[-1] >= Pca(9).fit(digits, KEY).history[-1]
