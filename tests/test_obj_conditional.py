"""Conditional models: the condition reaches every part, and what it tells need not be coded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data import DataSet, Split
from ae_jax.models import Examples, ModelConfig, build_autoencoder
from ae_jax.objectives import Elbo
from ae_jax.objectives.wake_sleep import dream
from ae_jax.train.config import from_dict, override
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from tests.bound import as_batch, bound, initial


@pytest.fixture(scope="module")
def labelled():
    """Six values around one of four far centres, which the label tells: no code need."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (4, 6))

    def split(count):
        y = rng.integers(0, 4, count).astype(np.int32)
        return Split((centres[y] + rng.normal(0, 0.5, (count, 6))).astype(np.float32), y)

    return DataSet("centres", {"train": split(160), "test": split(80)})


@pytest.mark.slow
def test_the_conditional_bound_beats_the_unconditional_one(labelled):
    base = {
        "model": {"hidden": [8], "latent_dim": 1, "head": "gaussian_global"},
        "optim": {"learning_rate": 0.02},
        "train": {"batch_size": 32, "epochs": 40},
        "eval": {"every": 40},
    }
    bounds = {}
    for condition in ("none", "label"):
        config = from_dict(override(base, [f"model.condition={condition}"]))
        bounds[condition] = train(prepare_run(config, labelled)).last_look["test/elbo"]
    # The label has up to log 4 nats; a code of one dimension pays more for less.
    assert bounds["label"] > bounds["none"] + 0.5 * np.log(4)


@pytest.mark.slow
def test_labels_are_used_in_every_part():
    config = ModelConfig(
        hidden=(5,),
        latent_dim=2,
        head="gaussian",
        prior="network",
        condition="label",
        into=("encoder", "decoder", "prior"),
        options=(("prior.hidden", (4,)),),
    )
    model = build_autoencoder(config, Examples((6,), classes=3))
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    y = jnp.asarray([0, 1, 2, 0])
    batch = as_batch(x, y=y)
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    other, key = {**batch, "y": (y + 1) % 3}, jax.random.key(1)
    ours = bound(model, params)
    z = jnp.zeros((1, 4, 2))
    for part in (
        lambda b: ours.encode(b).mean(),
        lambda b: jnp.broadcast_to(ours.prior(b).mean(), (4, 2)),
        lambda b: ours.decode(z, b).mean()[0],
        lambda b: dream(ours, b, key)[1],
    ):
        assert (np.abs(part(batch) - part(other)).max(axis=1) > 1e-4).all()
    metrics = jax.jit(lambda b: Elbo()(ours, b, key, 0).metrics)
    terms = [metrics(b) for b in (batch, other)]
    for name in ("elbo", "reconstruction", "kl"):
        assert (terms[0][name] != terms[1][name]).all()


@pytest.mark.slow
def test_a_model_without_a_condition_does_not_look_at_labels():
    config = ModelConfig(hidden=(5,), latent_dim=2, head="gaussian")
    model = build_autoencoder(config, Examples((6,), classes=3))
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    ours = bound(model, initial(model, x))
    terms = [
        Elbo()(ours, as_batch(x, y=jnp.full(4, label)), jax.random.key(0), 0).loss
        for label in (0, 2)
    ]
    np.testing.assert_array_equal(*terms)
