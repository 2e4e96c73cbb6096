"""Anomaly scores against NumPy, SciPy and the exact evidence; what cannot be is one sentence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.distributions import DiagonalGaussian, FullGaussian, StandardNormal
from ae_jax.eval import SCORES, ImportanceSampledLikelihood
from ae_jax.eval.scores import (
    CodeDistance,
    NegativeBound,
    NegativeLogLikelihood,
    outliers,
    score_named,
    squared_mahalanobis,
    threshold_at,
)
from ae_jax.models import BoundModel
from tests.bound import as_batch
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
X = KNOWN.sample(50)
KEY = jax.random.key(5)
EXACT = BoundModel(KNOWN.model, {"params": KNOWN.exact_params})


@pytest.fixture(scope="module")
def small(vector_set):
    """Codecs and networks by name, fitted to one set, [N, 6]."""
    sizes = {"pca": 2, "kmeans": 3, "probabilistic_pca": 2, "spherical_mixture": 3}
    found = {name: ae_jax.fit(vector_set, codec=name, latent_dim=z) for name, z in sizes.items()}
    network = {"latent_dim": 2, "hidden": [8], "epochs": 2, "model__head": "gaussian_fixed"}
    found["vae"] = ae_jax.fit(vector_set, **network)
    point = {"objective__name": "reconstruction", "model__latent": "deterministic"}
    found["autoencoder"] = ae_jax.fit(vector_set, **network, **point)
    return found


def rows(vector_set) -> np.ndarray:
    return vector_set.splits["test"].x


REFUSED = {
    "pca": ("bound", "log_likelihood", "code"),
    "kmeans": ("bound",),
    "autoencoder": ("bound", "log_likelihood", "code"),
}


@pytest.mark.slow_cases("log_likelihood", "code", "bound")
@pytest.mark.parametrize("kind", list(SCORES))
def test_every_score_is_one_finite_number_an_example_or_refused(small, vector_set, kind):
    x = rows(vector_set)
    for name, model in small.items():
        if kind in REFUSED.get(name, ()):
            with pytest.raises(UserError) as error:
                model.score(x, kind)
            assert str(error.value).startswith(f"the score {kind} needs a ")
            assert len(str(error.value).splitlines()) == 1
            continue
        scores = model.score(x, kind)
        assert scores.shape == (len(x),) and np.isfinite(scores).all()
        # Far away from all that was seen: far more anomalous, whatever is meant by it.
        if name != "kmeans" or kind != "code":
            further = model.score(x + 30, kind)
            assert kind == "code" and "mixture" in name or (further > scores.max()).all()


@pytest.mark.slow_cases("bound")
@pytest.mark.parametrize("kind", list(SCORES))
def test_scores_do_not_depend_on_the_batch_size(small, vector_set, kind):
    split = vector_set.splits["test"]
    for name in ("vae", "spherical_mixture"):
        model = small[name]
        config = model.config
        part = dataclasses.replace(config, eval=dataclasses.replace(config.eval, batch_size=7))
        setup = dataclasses.replace(model.setup, config=part)
        other = dataclasses.replace(model, setup=setup).score(split, kind)
        np.testing.assert_allclose(other, model.score(split, kind), rtol=2e-5, atol=1e-5)


def test_reconstruction_error_is_that_of_numpy(small, vector_set):
    x = rows(vector_set)
    for model in small.values():
        expected = np.square(x - model.reconstruct(x, units="model")).sum(axis=1)
        np.testing.assert_allclose(model.score(x), expected, rtol=1e-5, atol=1e-6)


def test_codecs_with_the_same_fields_share_no_program(small):
    """JAX may take the pytrees of these two for equal: what tells them apart is the model."""
    mixture, clusters = small["spherical_mixture"], small["kmeans"]
    assert mixture.setup.architecture != clusters.setup.architecture


def test_density_of_probabilistic_pca_is_its_closed_form(small, vector_set):
    """log N(x; mean, W W^T + sigma^2 I) by SciPy, in float64."""
    x, codec = rows(vector_set), small["probabilistic_pca"].params
    weights = np.asarray(codec.weights, np.float64)
    covariance = weights.T @ weights + float(codec.noise_variance) * np.eye(x.shape[1])
    expected = -stats.multivariate_normal(np.asarray(codec.mean, float), covariance).logpdf(x)
    model = small["probabilistic_pca"]
    np.testing.assert_allclose(model.score(x, "log_likelihood"), expected, rtol=1e-4, atol=1e-4)
    # Its posterior is exact, so that the bound is the density, up to the noise of the codes.
    bound = model.score(x, "bound", num_samples=2000)
    np.testing.assert_allclose(bound, expected, atol=0.15)
    # The prior is standard normal: the distance is the length of the code.
    lengths = np.linalg.norm(model.encode(x), axis=1)
    np.testing.assert_allclose(model.score(x, "code"), lengths, rtol=1e-5)


def test_density_of_a_mixture_is_its_closed_form(small, vector_set):
    x = rows(vector_set).astype(np.float64)
    for name in ("kmeans", "spherical_mixture"):
        codec = small[name].params
        weights, centres = (np.asarray(a, np.float64) for a in (codec.weights, codec.centres))
        squares = np.square(x[:, None] - centres[None]).sum(axis=-1)
        variance = float(codec.variance)
        each = -0.5 * (squares / variance + 6 * np.log(2 * np.pi * variance)) + np.log(weights)
        expected = -np.logaddexp.reduce(each, axis=1)
        found = small[name].score(rows(vector_set), "log_likelihood")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        # Codes are one of three: how unlikely the clusters are that an example is of.
        codes = small[name].encode(rows(vector_set))
        found = small[name].score(rows(vector_set), "code")
        np.testing.assert_allclose(found, -codes @ np.log(weights), rtol=1e-4)


@pytest.mark.slow
def test_the_bound_is_the_evidence_and_a_divergence_and_the_estimate_is_the_evidence():
    """A posterior of twice the variance: KL(q || p(z|x)) = (1 - log 2) / 2 a dimension."""
    gain = KNOWN.weights / KNOWN.scale**2 * KNOWN.posterior_variance
    wide = KNOWN.params(gain, -KNOWN.bias @ gain, np.log(2 * KNOWN.posterior_variance))
    model = BoundModel(KNOWN.model, {"params": wide})
    batch, evidence = as_batch(X), -KNOWN.log_evidence(X)
    bound = np.asarray(NegativeBound(2000)(model, batch, KEY))
    np.testing.assert_allclose(bound, evidence + 1 - np.log(2), atol=0.15)
    assert (bound - evidence).mean() == pytest.approx(1 - np.log(2), abs=0.01)
    tighter = np.asarray(NegativeLogLikelihood(400)(model, batch, KEY))
    np.testing.assert_allclose(tighter, evidence, atol=0.15)
    # With the true posterior one code is enough.
    one = np.asarray(NegativeLogLikelihood(1)(EXACT, batch, KEY))
    np.testing.assert_allclose(one, evidence, rtol=1e-4)


@pytest.mark.slow
def test_the_mean_of_the_scores_is_what_the_evaluator_says(small, vector_set):
    model = small["vae"]
    values = model.evaluate("test", [ImportanceSampledLikelihood(30)])
    scores = model.score(vector_set.splits["test"], "log_likelihood", num_samples=30)
    error = scores.std() / np.sqrt(len(scores))
    assert -scores.mean() == pytest.approx(values["log_likelihood"], abs=0.2 * error)
    errors = model.score(vector_set.splits["test"])
    assert errors.mean() == pytest.approx(values["squared_error_per_example"], rel=1e-4)


def test_distance_from_gaussian_priors_is_that_of_scipy():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(8, 3)).astype(np.float32)
    loc, scale = rng.normal(size=3), rng.uniform(0.5, 2, 3)
    tril = np.tril(rng.normal(size=(3, 3)), -1) + np.diag(scale)
    priors = {
        "standard": (StandardNormal(3), np.zeros(3), np.eye(3)),
        "diagonal": (
            DiagonalGaussian(jnp.asarray(loc)[None], jnp.log(scale)[None]),
            loc,
            np.diag(scale**2),
        ),
        "full": (
            FullGaussian(jnp.asarray(loc)[None], jnp.asarray(tril)[None]),
            loc,
            tril @ tril.T,
        ),
    }
    for prior, mean, covariance in priors.values():
        expected = [(z - mean) @ np.linalg.solve(covariance, z - mean) for z in codes]
        found = squared_mahalanobis(jnp.asarray(codes), prior)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_prior_that_is_no_gaussian_is_scored_by_its_density(vector_set):
    model = ae_jax.fit(
        vector_set,
        latent_dim=2,
        hidden=[8],
        epochs=1,
        model__head="gaussian_fixed",
        model__prior="mixture",
        objective__kl_form="monte_carlo",
    )
    x = rows(vector_set)
    prior = BoundModel(model.setup.architecture.model, model.variables).prior(as_batch(x))
    expected = -np.asarray(prior.log_prob(jnp.asarray(model.encode(x))))
    np.testing.assert_allclose(model.score(x, "code"), expected, rtol=1e-4, atol=1e-5)


def test_noise_is_that_of_the_example_and_the_seed(small, vector_set):
    model, split = small["vae"], vector_set.splits["test"]
    scores = model.score(split, "bound", num_samples=1)
    np.testing.assert_array_equal(scores, model.score(split, "bound", num_samples=1))
    np.testing.assert_allclose(model.score(split.head(5), "bound", num_samples=1), scores[:5])
    assert not np.allclose(scores, model.score(split, "bound", num_samples=1, seed=1))


@pytest.mark.slow
def test_a_conditional_model_asks_for_its_condition(image_set):
    options = {"latent_dim": 2, "hidden": [8], "epochs": 1, "model__condition": "label"}
    model = ae_jax.fit(image_set, **options)
    split = image_set.splits["test"]
    for kind in SCORES:
        with pytest.raises(UserError, match="give labels as y"):
            model.score(split.x, kind)
    given = model.score(split.x, "reconstruction", y=split.y)
    np.testing.assert_allclose(given, model.score(split), rtol=1e-5)
    other = model.score(split.x, "reconstruction", y=1 - split.y)
    assert not np.allclose(given, other)


@pytest.mark.slow
def test_missing_values_have_no_reconstruction_error_and_no_bound():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    x[::3, 1] = np.nan
    options = {"objective__name": "masked_reconstruction", "model__latent": "deterministic"}
    model = ae_jax.fit(x, latent_dim=2, hidden=[4], epochs=1, **options)
    known = ~np.isnan(x)
    made = model.reconstruct(x, units="model")
    expected = (np.square(np.nan_to_num(x) - made) * known).sum(axis=1)
    np.testing.assert_allclose(model.score(x), expected, rtol=1e-5)
    with pytest.raises(UserError, match="needs complete examples"):
        model.score(x, "bound")


def test_options_of_a_score():
    assert score_named("bound", 3) == NegativeBound(3) and score_named("code") == CodeDistance()
    for kind, count, message in (
        ("code", 3, "the score code draws no codes"),
        ("bound", 0, "at least one sample"),
        ("bond", None, "unknown score 'bond': did you mean 'bound'"),
    ):
        with pytest.raises(UserError, match=message):
            score_named(kind, count)


def test_a_score_of_the_users_own(small, vector_set, tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def first(model, batch, key):\n    return batch['x'][:, 0]\n")
    found = small["vae"].score(rows(vector_set), f"{file}:first")
    np.testing.assert_array_equal(found, rows(vector_set)[:, 0])
    with pytest.raises(UserError, match="this one has its own"):
        small["vae"].score(rows(vector_set), NegativeBound(), num_samples=3)


@pytest.mark.parametrize("count", [1, 7, 100])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.29, 0.5, 0.999])
def test_no_more_than_the_rate_lies_above_a_threshold(count, rate):
    scores = np.random.default_rng(count).permutation(count).astype(float)
    threshold = threshold_at(scores, rate)
    assert outliers(scores, threshold).sum() == int(round(rate * count, 9))
    # Of equal scores all are outliers or none.
    assert outliers(np.ones(count), threshold_at(np.ones(count), rate)).sum() == 0


def test_thresholds_that_cannot_be_are_refused():
    for scores, rate, message in (
        ([1.0], 1.0, "between 0 and 1"),
        ([], 0.1, "at least one example"),
        ([np.nan], 0.1, "1 of 1 scores are NaN"),
    ):
        with pytest.raises(UserError, match=message):
            threshold_at(np.array(scores), rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scores")


@pytest.mark.slow
def test_the_command_writes_what_python_gives(command, folder):
    assert command("train", "digits", "--codec", "probabilistic_pca", "--latent-dim", 3,
                   "--workdir", "run")[0] == 0  # fmt: skip
    status, out, err = command("score", "run", "--kind", "log_likelihood", "--out", "s.csv",
                               "--false-positive-rate", 0.05)  # fmt: skip
    assert status == 0, err
    table = np.genfromtxt(folder / "s.csv", delimiter=",", names=True)
    model = ae_jax.load(folder / "run")
    splits = model.setup.dataset.splits
    scores = model.score(splits["test"], "log_likelihood")
    np.testing.assert_allclose(table["score"], scores, rtol=1e-5)
    np.testing.assert_array_equal(table["label"], splits["test"].y)
    np.testing.assert_array_equal(table["example"], np.arange(len(scores)))
    # The name of a row is its place in the table that the splits were taken from.
    np.testing.assert_array_equal(load_digits().target[table["name"].astype(int)], table["label"])
    threshold = threshold_at(model.score(splits["valid"], "log_likelihood"), 0.05)
    np.testing.assert_array_equal(table["outlier"], outliers(scores, threshold))
    assert f"threshold: {threshold:.6g}" in out and "of example, score, name, label" in out
    assert command("score", "run", "--out", "new/s.npz", "--split", "valid")[0] == 0
    with np.load(folder / "new" / "s.npz") as archive:
        arrays = dict(archive)
    assert set(arrays) == {"example", "score", "name", "label"}
    np.testing.assert_allclose(arrays["score"], model.score(splits["valid"]), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--out", "s.txt"), "--out takes a .csv or .npz file, not s.txt"),
        (("--out", "s.csv", "--threshold-split", "valid"), "give that too"),
        (("--out", "s.csv", "--samples", 3), "the score reconstruction draws no codes"),
        (("--out", "s.csv", "--kind", "x"), "unknown score 'x'"),
        (("--out", "s.csv", "--split", "tests"), "unknown split 'tests': did you mean 'test'?"),
    ],
)
def test_what_the_command_refuses(command, arguments, sentence):
    assert command("train", "digits", "--codec", "pca", "--latent-dim", 2, "--workdir", "p")[0] == 0
    status, _, err = command("score", "p", *arguments)
    assert status == 2 and sentence in err and len(err.strip().splitlines()) == 1


@pytest.mark.slow
def test_kinds_that_a_run_does_not_have_are_refused_in_one_sentence(command):
    assert command("train", "digits", "--codec", "pca", "--latent-dim", 2, "--workdir", "p")[0] == 0
    for kind in ("bound", "log_likelihood", "code"):
        status, _, err = command("score", "p", "--kind", kind, "--out", "s.csv")
        assert status == 2 and f"the score {kind} needs" in err
        assert len(err.strip().splitlines()) == 1
