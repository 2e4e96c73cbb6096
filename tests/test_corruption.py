"""Corruptions and missing entries: their distributions, and that what is missing has no say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ae_jax.core.errors import UserError
from ae_jax.data import Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.corruption import CORRUPTIONS
from ae_jax.data.missing import (
    PATTERNS,
    fill_in,
    observed_entries,
    observed_log_prob,
    quadrants,
)
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.eval import Completion, EvaluationData
from ae_jax.models import Examples, build_autoencoder
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import MaskedReconstruction
from ae_jax.train.config import ModelConfig
from tests import per_class
from tests.bound import as_batch, bound, decoded, encoded, initial, reconstructed
from tests.linear_gaussian import LinearGaussian

KEY = jax.random.key(3)
SHAPE = (8, 6, 1)
GREY = np.random.default_rng(0).uniform(0.2, 0.8, (400, *SHAPE)).astype(np.float32)
IDS = jnp.arange(400)
COUNT = GREY.size


def _corrupted(name, level, ids=IDS, x=GREY, key=KEY):
    return np.asarray(CORRUPTIONS.get(name)(example_keys(key, ids), jnp.asarray(x), level))


def _assert_share(hits, share, count=COUNT):
    """Within 5 standard errors of a binomial."""
    assert abs(hits / count - share) < 5 * np.sqrt(share * (1 - share) / count)


@pytest.mark.slow_cases("gaussian")
@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_corruption_belongs_to_the_example_and_its_key(name):
    whole = _corrupted(name, 0.5)
    order = np.random.default_rng(1).permutation(400)[:37]
    np.testing.assert_array_equal(_corrupted(name, 0.5, IDS[order], GREY[order]), whole[order])
    other = _corrupted(name, 0.5, key=jax.random.key(4))
    assert (whole != other).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(_corrupted(name, 0.0), GREY)
    assert len(np.unique((whole - GREY).round(4), axis=0)) == 400, "two examples met one noise"


@pytest.mark.parametrize("level", [0.1, 2.0])
def test_gaussian_corruption_adds_normal_noise_of_that_deviation(level):
    noise = (_corrupted("gaussian", level) - GREY).ravel() / level
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert abs(noise.mean()) < 5 / np.sqrt(COUNT)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / COUNT)


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_masking_sets_a_share_to_0_and_leaves_the_rest(level):
    corrupted = _corrupted("masking", level)
    hit = corrupted != GREY
    np.testing.assert_array_equal(corrupted[hit], 0.0)
    _assert_share(hit.sum(), level)


@pytest.mark.parametrize("level", [0.1, 0.75])
def test_salt_and_pepper_sets_a_share_to_0_or_1_evenly(level):
    corrupted = _corrupted("salt_and_pepper", level)
    hit = corrupted != GREY
    _assert_share(hit.sum(), level)
    assert set(np.unique(corrupted[hit])) == {0.0, 1.0}
    _assert_share((corrupted[hit] == 1).sum(), 0.5, hit.sum())


def test_at_level_1_nothing_is_left():
    np.testing.assert_array_equal(_corrupted("masking", 1.0), 0.0)
    assert set(np.unique(_corrupted("salt_and_pepper", 1.0))) == {0.0, 1.0}


X = jnp.asarray(GREY[:7])


def _observed(pattern, share, x=GREY, ids=IDS):
    return np.array(observed_entries(jnp.asarray(x), ids, pattern, share))


@pytest.mark.slow_cases("quadrants")
@pytest.mark.parametrize("pattern", ["pixels", "quadrants"])
def test_a_pattern_belongs_to_the_example(pattern):
    whole = _observed(pattern, 0.5)
    order = np.random.default_rng(1).permutation(400)[:37]
    np.testing.assert_array_equal(_observed(pattern, 0.5, GREY[order], IDS[order]), whole[order])
    assert len(np.unique(whole, axis=0)) == {"pixels": 400, "quadrants": 6}[pattern]


def test_pixels_hides_a_share_with_all_channels_of_a_pixel():
    _assert_share((~_observed("pixels", 0.3)).sum(), 0.3)
    coloured = _observed("pixels", 0.3, np.repeat(GREY, 3, axis=3))
    np.testing.assert_array_equal(coloured, np.repeat(coloured[..., :1], 3, axis=3))
    _assert_share((~_observed("pixels", 0.3, GREY.reshape(400, -1))).sum(), 0.3)


@pytest.mark.parametrize(("share", "hidden"), [(0.0, 0), (0.25, 1), (0.5, 2), (0.75, 3)])
def test_quadrants_hides_so_many_whole_ones(share, hidden):
    observed = _observed("quadrants", share)
    blocks = [
        observed[:, rows, columns].reshape(400, -1)
        for rows in (slice(0, 4), slice(4, 8))
        for columns in (slice(0, 3), slice(3, 6))
    ]
    for block in blocks:
        np.testing.assert_array_equal(block, np.repeat(block[:, :1], block.shape[1], 1))
    gone = np.stack([~block[:, 0] for block in blocks], axis=1)
    np.testing.assert_array_equal(gone.sum(axis=1), hidden)
    for quadrant in range(4):
        if hidden:
            _assert_share(gone[:, quadrant].sum(), hidden / 4, 400)


def test_quadrants_are_those_of_images():
    with pytest.raises(UserError, match=r"quadrants are those of images .* not of \(48,\)"):
        _observed("quadrants", 0.5, GREY.reshape(400, -1))


def test_values_that_are_nan_are_unobserved_under_every_pattern():
    x = GREY.copy()
    x[3, 2, 1, 0] = np.nan
    for pattern in PATTERNS:
        expected = _observed(pattern, 0.4)
        expected[3, 2, 1, 0] = False
        np.testing.assert_array_equal(_observed(pattern, 0.4, x), expected)


HEADS = ["bernoulli", "gaussian", "gaussian_fixed"]


def _model(head="gaussian", latent="deterministic"):
    config = ModelConfig(hidden=(9,), latent=latent, latent_dim=4, head=head)
    return build_autoencoder(config, Examples(SHAPE))


@partial(jax.jit, static_argnums=0)
def _params(model):
    return initial(model, X)


@per_class.jit(static_argnums=(1,))
def _value_and_gradient(objective, model, params, x):
    def loss(params):
        terms = objective(bound(model, params), as_batch(x), KEY, 0)
        return terms.loss.sum(), (terms.loss, terms.metrics)

    return jax.grad(loss, has_aux=True)(params)


def _assert_equal(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow_cases(
    "0.0-quadrants-gaussian",
    "0.3-pixels-bernoulli",
    "0.0-pixels-bernoulli",
    "0.0-pixels-gaussian",
    "0.0-pixels-gaussian_fixed",
    "0.0-quadrants-bernoulli",
)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("pattern", ["pixels", "quadrants"])
@pytest.mark.parametrize("withheld", [0.0, 0.3])
def test_unobserved_entries_influence_neither_terms_nor_gradients(head, pattern, withheld):
    model, objective = _model(head), MaskedReconstruction(0.5, withheld, pattern)
    params = _params(model)
    observed = _observed(pattern, 0.5, X, IDS[:7])
    result = _value_and_gradient(objective, model, params, X)
    for value in (np.nan, np.inf, 0.0, 1e30):
        changed = jnp.where(observed, X, value)
        _assert_equal(_value_and_gradient(objective, model, params, changed), result)
    # Any that is observed has a say.
    place = tuple(np.argwhere(observed)[0])
    changed = X.at[place].add(0.1)
    _, (loss, _) = _value_and_gradient(objective, model, params, changed)
    assert loss[place[0]] != result[1][0][place[0]]


@pytest.mark.slow
def test_withheld_quadrants_are_not_shown_and_still_scored():
    """The encoder gets the observed part of the other quadrants; the loss is of all observed."""
    model = _model()
    objective = MaskedReconstruction(0.5, 0.25, "pixels", withheld_pattern="quadrants")
    params, observed = _params(model), _observed("pixels", 0.5, X, IDS[:7])
    _, (_, metrics) = _value_and_gradient(objective, model, params, X)
    keys = example_keys(jax.random.split(KEY)[0], IDS[:7])
    hidden = np.stack([quadrants(key, SHAPE, 0.25) for key in keys])
    assert (hidden.mean(axis=(1, 2, 3)) == 0.25).all()
    mean = reconstructed(model, params, jnp.where(observed & ~hidden, X, 0.0)).mean()
    error = (np.square(mean - X) * observed).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics["squared_error"], error, rtol=1e-5)
    again = _value_and_gradient(objective.replace(withheld=0.0), model, params, X)[1][1]
    assert (again["squared_error"] != metrics["squared_error"]).any()


def test_missing_values_of_the_data_influence_nothing_without_a_pattern():
    model, objective = _model(), MaskedReconstruction(pattern="none")
    params = _params(model)
    gone = X.at[2, 3, 1, 0].set(jnp.nan).at[5].set(jnp.nan)
    gradient, (loss, metrics) = _value_and_gradient(objective, model, params, gone)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert loss[5] == metrics["squared_error"][5] == metrics["squared_error_per_pixel"][5] == 0


@pytest.mark.parametrize("withheld", [0.0, 0.5])
@pytest.mark.parametrize("head", HEADS)
def test_terms_are_those_of_the_observed_entries_alone(head, withheld):
    """All of them are scored, also those that the encoder did not see."""
    model, objective = _model(head), MaskedReconstruction(0.6, withheld)
    params, observed = _params(model), _observed("pixels", 0.6, X, IDS[:7])
    _, (loss, metrics) = _value_and_gradient(objective, model, params, X)
    keys = example_keys(jax.random.split(KEY)[0], IDS[:7])
    chance = np.stack([jax.random.uniform(key, SHAPE) for key in keys])
    given = observed & (chance >= withheld)
    assert (given != observed).any() == (withheld > 0)
    likelihood = reconstructed(model, params, jnp.where(given, X, 0.0))
    mean = np.asarray(likelihood.mean(), np.float64)
    if head == "bernoulli":
        terms = np.asarray(X) * np.log(mean) + (1 - np.asarray(X)) * np.log1p(-mean)
    else:
        scale = np.exp(np.asarray(likelihood.log_scale, np.float64))
        terms = stats.norm.logpdf(X, mean, scale)
    expected = (terms * observed).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics["reconstruction"], expected, rtol=1e-4)
    np.testing.assert_allclose(loss, -expected, rtol=1e-4)
    error = ((mean - np.asarray(X)) ** 2 * observed).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics["squared_error"], error, rtol=1e-4)
    per_pixel = error / observed.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(metrics["squared_error_per_pixel"], per_pixel, rtol=1e-4)


@pytest.mark.slow
def test_the_density_of_observed_entries_is_the_marginal():
    """Of all entries it is log_prob, of two halves it adds up; K codes keep their axis."""
    model = _model("gaussian", "gaussian")
    params = _params(model)
    posterior = encoded(model, params, X)
    z = posterior.sample(example_keys(KEY, IDS[:7]), 3)
    likelihood = decoded(model, params, z)
    everything = observed_log_prob(likelihood, X, jnp.ones(X.shape, bool))
    np.testing.assert_allclose(everything, likelihood.log_prob(X), rtol=1e-5)
    observed = _observed("pixels", 0.5, X, IDS[:7])
    left = observed_log_prob(likelihood, X, observed) + observed_log_prob(likelihood, X, ~observed)
    np.testing.assert_allclose(left, everything, rtol=1e-4)


def test_a_likelihood_that_does_not_factorise_is_refused():
    with pytest.raises(UserError, match="object has no log density for each dimension"):
        observed_log_prob(object(), X, X > 0.5)


def test_unknown_patterns_are_refused():
    with pytest.raises(UserError, match="unknown pattern of missing entries 'pixel'"):
        MaskedReconstruction(pattern="pixel").bind(10)


KNOWN = LinearGaussian.example()
DATA = KNOWN.sample(50, seed=4)


@pytest.mark.slow
def test_filling_in_converges_to_where_the_reconstruction_agrees():
    """Of a linear model x -> A x + c, the missing entries solve x_u = A_uu x_u + A_uo x_o + c_u."""
    model = bound(KNOWN.model, KNOWN.exact_params)
    observed = _observed("pixels", 0.4, DATA, IDS[:50])
    observed[:, 0] = True  # something is always known
    filled = np.asarray(fill_in(model, as_batch(DATA), observed, rounds=80))
    np.testing.assert_array_equal(filled[observed], DATA[observed])
    gain = KNOWN.weights / KNOWN.scale**2 * KNOWN.posterior_variance
    matrix = KNOWN.weights @ gain.T
    offset = KNOWN.bias - matrix @ KNOWN.bias
    for row, seen, result in zip(DATA.astype(np.float64), observed, filled, strict=True):
        system = np.eye((~seen).sum()) - matrix[np.ix_(~seen, ~seen)]
        right = matrix[np.ix_(~seen, seen)] @ row[seen] + offset[~seen]
        np.testing.assert_allclose(result[~seen], np.linalg.solve(system, right), atol=2e-4)
    once = fill_in(model, as_batch(jnp.where(observed, DATA, jnp.nan)), observed, rounds=1)
    expected = np.where(observed, DATA, 0.0) @ matrix.T + offset
    np.testing.assert_allclose(once, np.where(observed, DATA, expected), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 4])
def test_completion_is_the_error_of_what_was_filled_in(rounds):
    model, params = KNOWN.model, KNOWN.wrong_params(0)
    x = DATA.copy()
    x[::7, 2] = np.nan  # nobody knows what these were
    observed = _observed("pixels", 0.5, x, 30 + IDS[:50])
    filled = np.asarray(fill_in(bound(model, params), as_batch(x), observed, rounds))
    hidden = ~observed & ~np.isnan(x)
    expected = ((filled - x)[hidden] ** 2).mean()
    for size in (7, 64):
        split = DeviceSplit.put(Split(x, first_id=30))
        data = EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"), size)
        result = Completion(rounds=rounds)(model, {"params": params}, data, KEY)
        assert result == {"completion_squared_error_per_pixel": pytest.approx(expected, rel=1e-5)}
