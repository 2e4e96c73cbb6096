"""Quadrature over the plane against the exact evidence of linear Gaussian models, and sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.eval import EvaluationData, PlaneQuadrature
from ae_jax.models import Examples, build_autoencoder
from ae_jax.train.config import ModelConfig
from tests.bound import initial
from tests.linear_gaussian import LinearGaussian

KNOWN = LinearGaussian.example()
MODEL = KNOWN.model
VARIABLES = {"params": KNOWN.wrong_params(0)}  # the encoder plays no part
X = KNOWN.sample(40)
KEY = jax.random.key(3)


def data_of(x, labels=None):
    split = DeviceSplit.put(Split(x, labels, first_id=0))
    return EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"), 1000)


def test_every_example_has_its_exact_evidence():
    rows = PlaneQuadrature(101).rows(MODEL, VARIABLES, data_of(X), KEY)
    np.testing.assert_allclose(rows["log_p_by_quadrature"], KNOWN.log_evidence(X), atol=1e-4)
    assert rows["quadrature_halving_error"].max() < 1e-3
    assert rows["quadrature_outer_share"].max() < 1e-6
    np.testing.assert_allclose(rows["posterior_mean"], KNOWN.posterior_mean(X), atol=1e-4)
    deviation = np.broadcast_to(np.sqrt(KNOWN.posterior_variance), (len(X), 2))
    np.testing.assert_allclose(rows["posterior_deviation"], deviation, atol=1e-3)


def test_the_halving_error_says_how_far_a_coarse_grid_is():
    """With a step of twice the deviation of the posterior, and of four times it."""
    step = 2 * np.sqrt(KNOWN.posterior_variance[0])
    points = 2 * int(6 / step / 2) * 2 + 1
    rows = PlaneQuadrature(points, reach=step * (points - 1) / 2).rows(
        MODEL, VARIABLES, data_of(X), KEY
    )
    off = np.abs(rows["log_p_by_quadrature"] - KNOWN.log_evidence(X))
    assert 1e-4 < off.max() < rows["quadrature_halving_error"].max()


def test_a_reach_that_is_too_small_is_seen():
    values = PlaneQuadrature(41, reach=1.0)(MODEL, VARIABLES, data_of(X), KEY)
    assert values["quadrature_outer_share"] > 0.1
    assert values["log_p_by_quadrature"] < KNOWN.log_evidence(X).mean() - 0.1


@pytest.mark.slow
def test_binary_images_are_summed_as_by_numpy():
    """A Bernoulli decoder at random weights, on a grid that is the same by hand."""
    model = build_autoencoder(
        ModelConfig(hidden=(4,), latent_dim=2, head="bernoulli"), Examples((3, 3, 1))
    )
    x = np.random.default_rng(0).integers(0, 2, (5, 3, 3, 1)).astype(np.float32)
    params = jax.tree.map(lambda leaf: 3 * leaf, initial(model, x))
    rows = PlaneQuadrature(21, 5.0).rows(model, {"params": params}, data_of(x), KEY)
    line = np.linspace(-5, 5, 21)
    z = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    batch = {"x": jnp.zeros((1, 3, 3, 1)), "id": jnp.zeros(1, int), "mask": jnp.ones(1)}
    decoded = model.apply(
        {"params": params}, jnp.asarray(z, jnp.float32)[:, None], batch, method="decode"
    )
    logits = np.asarray(decoded.logits, np.float64).reshape(len(z), -1)
    log_prob = x.reshape(5, -1) @ logits.T - np.logaddexp(0, logits).sum(axis=1)
    joint = log_prob + stats.norm.logpdf(z).sum(axis=1)
    expected = logsumexp(joint, axis=1) + 2 * np.log(0.5)
    np.testing.assert_allclose(rows["log_p_by_quadrature"], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_conditional_model_is_decoded_for_every_example(labelled_blobs):
    """What is conditioned alike is so whoever stands beside it."""
    model = ae_jax.fit(labelled_blobs, latent_dim=2, hidden=[4], epochs=1, model__condition="label")
    quadrature = PlaneQuadrature(21)
    x, y = labelled_blobs.splits["train"].x, labelled_blobs.splits["train"].y
    module, variables = model.setup.architecture.model, model.variables
    together = quadrature.rows(module, variables, data_of(x, y), KEY)["log_p_by_quadrature"]
    apart = [
        quadrature.rows(module, variables, data_of(x[i : i + 1], y[i : i + 1]), KEY)
        for i in (0, 1, 5)
    ]
    np.testing.assert_allclose(
        together[[0, 1, 5]], [rows["log_p_by_quadrature"][0] for rows in apart], rtol=1e-5
    )
    other = quadrature.rows(module, variables, data_of(x, 1 - y), KEY)["log_p_by_quadrature"]
    assert np.abs(other - together).min() > 0


@pytest.fixture(scope="module")
def labelled_blobs() -> DataSet:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 40).astype(np.int32)
    x = (rng.normal(size=(40, 3)) + 2 * y[:, None]).astype(np.float32)
    return DataSet("blobs", {"train": Split(x, y), "test": Split(x[:10], y[:10])})


def test_probabilistic_pca_has_its_own_density():
    data = DataSet("plane", {"train": Split(X), "test": Split(X[:9])})
    model = ae_jax.fit(data, codec="probabilistic_pca", latent_dim=2)
    values = model.evaluate("test", [PlaneQuadrature(201)])
    exact = float(np.mean(model.params.log_prob(X[:9])))
    assert values["log_p_by_quadrature"] == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"latent_dim": 3}, "plane, not for 3 dimensions"),
        ({"latent_dim": 1}, "plane, not for 1 dimensions"),
        ({"latent": "deterministic", "latent_dim": 2}, "random code"),
        ({"latent": "one_hot", "prior": "one_hot", "latent_dim": 2}, "one-hot"),
    ],
)
def test_other_codes_are_refused(options, message):
    model = build_autoencoder(
        ModelConfig(hidden=(), head="gaussian_fixed", **options), Examples((5,))
    )
    with pytest.raises(UserError, match=message):
        PlaneQuadrature()(model, {"params": initial(model, X)}, data_of(X), KEY)


@pytest.mark.parametrize(
    ("points", "reach", "wrong"), [(200, 6.0, "odd"), (3, 6.0, "equal to 5"), (101, 0.0, "than 0")]
)
def test_a_grid_that_is_none_is_refused(points, reach, wrong):
    with pytest.raises(UserError, match=f"PlaneQuadrature.*{wrong}"):
        PlaneQuadrature(points, reach)
