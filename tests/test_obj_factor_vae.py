"""The total correlation by a critic: permutations, and a critic that is as good as can be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from ae_jax.models import Examples, build_autoencoder
from ae_jax.models.config import ModelConfig
from ae_jax.numerics.noise import example_keys
from ae_jax.numerics.reductions import gather
from ae_jax.objectives import FactorVae
from ae_jax.objectives.factor_vae import permuted
from tests.bound import as_batch, bound

KEY = jax.random.key(0)
COUNT = 24
Z = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)
MASK = np.ones(COUNT, np.float32)
MASK[[2, 3, 9, 17, 23]] = 0


def _permuted(z=Z, mask=MASK):
    return np.asarray(permuted(jnp.asarray(z), example_keys(KEY, jnp.arange(len(z))), mask))


@pytest.mark.slow
def test_each_dimension_is_permuted_by_itself_among_the_real_examples():
    real, apart = MASK == 1, _permuted()
    places = []
    for j in range(3):
        np.testing.assert_array_equal(np.sort(apart[real, j]), np.sort(Z[real, j]))
        places.append([int(np.flatnonzero(Z[:, j] == value)[0]) for value in apart[real, j]])
    assert places[0] != places[1] != places[2] != places[0]
    assert all(place != list(np.flatnonzero(real)) for place in places)
    assert np.isfinite(apart).all()


@pytest.mark.slow
def test_repeats_that_fill_a_batch_change_nothing():
    z = np.where(MASK[:, None] == 1, Z, 1e6).astype(np.float32)
    np.testing.assert_array_equal(_permuted(z)[MASK == 1], _permuted()[MASK == 1])


@pytest.mark.slow
def test_the_permutation_is_of_the_whole_batch_on_any_devices():
    keys = example_keys(KEY, jnp.arange(COUNT))

    def parts(array):
        return jnp.asarray(array).reshape(4, COUNT // 4, *array.shape[1:])

    mapped = jax.vmap(lambda *a: permuted(*a, axis_name="devices"), axis_name="devices")
    found = mapped(parts(Z), parts(keys), parts(MASK)).reshape(COUNT, 3)
    np.testing.assert_array_equal(found[MASK == 1], _permuted()[MASK == 1])
    rows = jax.vmap(lambda z: gather(z, "devices"), axis_name="devices")(parts(Z))
    np.testing.assert_array_equal(rows, np.broadcast_to(Z, (4, COUNT, 3)))
    assert gather(Z) is Z


RHO = 0.6


@struct.dataclass
class Exact(FactorVae):
    """A critic of two parameters, which at (1, 0) is the best for two normal codes of correlation
    RHO."""

    def init(self, key: Any, model: Any, batch: Any) -> Any:
        return {"slope": jnp.ones(()), "offset": jnp.zeros(())}

    def logit(self, own: Any, z: Any) -> Any:
        """log N(z; 0, C) - log N(z; 0, I) with ones on the diagonal of C."""
        a, b = z[:, 0], z[:, 1]
        joint = (a**2 - 2 * RHO * a * b + b**2) / (1 - RHO**2)
        ratio = -0.5 * (joint - a**2 - b**2 + jnp.log(1 - RHO**2))
        return own["slope"] * ratio + own["offset"]


@pytest.mark.slow
def test_the_best_critic_gives_the_total_correlation_and_cannot_be_improved():
    count, objective = 20_000, Exact(gamma=3.0)
    draws = np.random.default_rng(1).multivariate_normal([0, 0], [[1, RHO], [RHO, 1]], count)
    config = ModelConfig(
        hidden=(), latent_dim=2, latent="deterministic", prior="none", head="gaussian_fixed"
    )
    model = build_autoencoder(config, Examples((2,)))
    layer = {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}
    parts = {"latent": {"code": layer}, "head": {"mean": layer}}
    batch = as_batch(draws.astype(np.float32))

    @jax.jit
    def terms(own):
        return objective(bound(model, parts | {"objective": own}), batch, KEY, 0)

    own = objective.init(None, None, None)
    found = terms(own)
    ratios = np.asarray(found.metrics["total_correlation"])
    closed_form = -0.5 * np.log(1 - RHO**2)
    assert abs(ratios.mean() - closed_form) < 4 * ratios.std() / np.sqrt(count)
    np.testing.assert_allclose(
        found.loss["autoencoder"], 3.0 * ratios - found.metrics["elbo"], rtol=1e-4, atol=1e-4
    )
    # The mean score of a logistic regression at its optimum is 0, to the noise of the sample.
    per_example = jax.jit(jax.jacrev(lambda own: terms(own).loss["critic"]))(own)
    for score in jax.tree.leaves(per_example):
        score = np.asarray(score)
        assert abs(score.mean()) < 4 * score.std() / np.sqrt(count)
    assert found.loss["critic"].mean() < np.log(2) - 0.02
    worse = [{"slope": jnp.asarray(s), "offset": jnp.asarray(o)} for s, o in [(0.7, 0), (1, 0.3)]]
    assert all(terms(w).loss["critic"].mean() > found.loss["critic"].mean() for w in worse)


def test_the_critic_has_the_sizes_of_the_code():
    objective = FactorVae(critic_hidden=(7, 4))
    model = build_autoencoder(
        ModelConfig(hidden=(5,), latent_dim=3, head="gaussian"), Examples((6,))
    )
    own = objective.init(KEY, model, as_batch(np.zeros((1, 6), np.float32)))
    shapes = {name: layer["kernel"].shape for name, layer in own.items()}
    assert shapes == {"dense_0": (3, 7), "dense_1": (7, 4), "output": (4, 1)}
