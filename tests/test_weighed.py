"""Means in which examples count by what is there of them, and values that would spoil a sum."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import ae_jax
from ae_jax.api import UserError, configure
from ae_jax.data import DataSet, Split
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.missing import hidden_entries
from ae_jax.data.passes import _batches
from ae_jax.data.preprocess import PREPROCESSING, Statistics
from ae_jax.distributions import LogisticNormal
from ae_jax.eval import EvaluationData, LinearProbe, PeakSignalToNoise
from ae_jax.eval.bounds import ImportanceSampledLikelihood
from ae_jax.eval.posterior_fit import PosteriorFitLikelihood
from ae_jax.eval.roc import bootstrapped
from ae_jax.models import BoundModel
from ae_jax.numerics.noise import example_keys
from ae_jax.numerics.reductions import masked_sum
from ae_jax.objectives import Elbo, Terms
from ae_jax.train.step import evaluate_objective

SMALL = {"latent_dim": 2, "hidden": [4], "epochs": 1, "batch_size": 16}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def gaussian():
    return ae_jax.fit(X, **SMALL)


def test_an_error_a_scored_entry_is_over_the_entries_of_all_examples():
    options = {"objective": "masked_reconstruction", "objective__scored": "hidden"}
    model = ae_jax.fit(X, **SMALL, **options, objective__share=0.1, model__latent="deterministic")
    (record,) = model.records
    split = model.setup.dataset.splits["test"]
    found = model.evaluate("test")
    terms = model.setup.numbers.objective
    assert record["test/squared_error_per_pixel"] == found["squared_error_per_pixel"]
    # Each of the four entries is hidden with probability 0.1: of many examples none is.
    ids = split.first_id + jnp.arange(len(split))
    hidden = np.asarray(hidden_entries(jnp.asarray(split.x), ids, "pixels", terms.share))
    assert (~hidden.any(axis=1)).sum() > 1 and hidden.any()
    pooled = found["squared_error"] * len(split) / hidden.sum()
    assert found["squared_error_per_pixel"] == pytest.approx(pooled, rel=1e-5)


def test_an_error_a_dimension_is_over_what_was_seen():
    holes = X.copy()
    holes[::2] = np.nan
    holes[1::2, 1] = np.nan
    options = {"objective": "masked_reconstruction", "objective__pattern": "none"}
    model = ae_jax.fit(holes, **SMALL, **options)
    test = model.setup.dataset.splits["test"].x
    found = model.evaluate("test")
    pooled = found["squared_error_per_example"] * len(test) / (~np.isnan(test)).sum()
    assert found["squared_error_per_dimension"] == pytest.approx(pooled, rel=1e-5)
    error = np.square(test - model.reconstruct(test))
    assert found["squared_error_per_dimension"] == pytest.approx(np.nanmean(error), rel=1e-4)


@struct.dataclass
class Stray(Elbo):
    def __call__(self, model, batch, key, step, axis_name=None):
        terms = super().__call__(model, batch, key, step, axis_name)
        return Terms(terms.loss, terms.metrics, weights={"bound": batch["mask"]})


def test_weights_are_of_metrics(gaussian):
    model = BoundModel(gaussian.setup.architecture.model, gaussian.variables)
    batch = {"x": jnp.asarray(X), "id": jnp.arange(48), "mask": jnp.ones(48)}
    with pytest.raises(UserError, match="Stray: there are weights of bound, which is none of its"):
        evaluate_objective(Stray(), model, batch, jax.random.key(0), jnp.int32(0))


def test_a_repeat_that_fills_a_batch_adds_nothing_whatever_it_is():
    values = jnp.array([[1.0, -jnp.inf], [2.0, 3.0], [jnp.inf, jnp.nan]])
    np.testing.assert_array_equal(masked_sum(values, jnp.array([1.0, 1.0, 0.0])), [3.0, -jnp.inf])


@pytest.mark.parametrize("batch_size", [4, 7])
def test_a_perfect_reconstruction_is_infinitely_good_in_any_batch(batch_size):
    model = ae_jax.fit(X, **SMALL, model__latent="deterministic")
    params = jax.tree.map(jnp.zeros_like, model.params)
    x = np.concatenate([np.zeros((1, 4)), X[:6]]).astype(np.float32)
    split = DeviceSplit.put(Split(x, first_id=0))
    data = EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"), batch_size)
    module = model.setup.architecture.model
    found = PeakSignalToNoise(peak=10.0)(module, {"params": params}, data, jax.random.key(0))
    assert found == {"psnr": np.inf}


def test_equal_evaluators_are_one_program(gaussian):
    before = _batches._cache_size()
    for samples in (7, 7, 8, 7):
        gaussian.evaluate("test", [ImportanceSampledLikelihood(samples)])
    assert _batches._cache_size() == before + 2


def test_a_share_that_underflows_has_a_density_under_others():
    q = LogisticNormal(jnp.array([[120.0, 0.0]]), jnp.zeros((1, 2)))
    p = LogisticNormal(jnp.zeros((1, 2)), jnp.full((1, 2), np.log(100.0)))
    keys = example_keys(jax.random.key(0), jnp.arange(1))
    z, log_q = q.sample_and_log_prob(keys, 50)
    assert np.isfinite(log_q).all() and np.isfinite(p.log_prob(z)).all()
    np.testing.assert_array_equal(z, q.sample(keys, 50))
    assert (z > 0).all() and np.allclose(z.sum(axis=-1), 1)


def test_topics_of_a_conditional_ladder_are_of_what_its_decoder_sees():
    counts = RNG.poisson(2.0, (40, 9)).astype(np.uint8)
    labels = np.arange(40) % 3
    options = {
        "model__name": "ladder",
        "model__latent": "ladder",
        "model__condition": "label",
        "model__head": "multinomial",
    }
    options |= {"model__decoder_hidden": [], "data__preprocess": "identity", "latent_dim": 6}
    model = ae_jax.fit(counts, labels, **SMALL | options, objective__kl_form="monte_carlo")
    module = model.setup.architecture.model
    kernel = model.params["head"]["logits"]["kernel"]
    assert kernel.shape == (3 + 3, 9)
    found = module.apply(model.variables, method="topics")
    np.testing.assert_array_equal(found, kernel[3:])


def test_a_bound_on_the_perplexity_needs_a_density():
    counts = RNG.poisson(2.0, (40, 9)).astype(np.uint8)
    options = {"model__latent": "deterministic", "model__head": "multinomial"}
    model = ae_jax.fit(counts, **SMALL, **options, data__preprocess="identity")
    with pytest.raises(UserError, match="the perplexity has a bound where codes are random"):
        model.evaluate("test", ["perplexity_bound"])


def test_a_density_of_one_draw_and_folds_beside_train_are_refused():
    with pytest.raises(UserError, match="fitted to two draws at least"):
        PosteriorFitLikelihood(chains=1, draws=1)
    split = DeviceSplit.put(Split(X, first_id=0))
    data = EvaluationData(split, Statistics(None), PREPROCESSING.get("identity"))
    with pytest.raises(UserError, match="folds part the evaluated split"):
        LinearProbe(folds=10, train=data)
    assert dataclasses.replace(LinearProbe(train=data), strength=2.0).train is data


def test_a_bootstrap_looks_at_what_a_roc_looks_at():
    scores, area = {"one": np.array([0.1, 0.2, 0.3, 0.4])}, lambda curve: curve.auc()
    with pytest.raises(UserError, match="true or false of each example"):
        bootstrapped(scores, np.array([0, 1, 2, 0]), area)
    anomalous = np.array([False, True, True, False])
    with pytest.raises(UserError, match="weigh nothing"):
        bootstrapped(scores, anomalous, area, weights=np.array([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(UserError, match="as many as the scores"):
        bootstrapped(scores, anomalous, area, weights=np.ones(3))
    assert np.isfinite(bootstrapped(scores, anomalous, area, weights=np.ones(4))["one"]).all()


@struct.dataclass
class Marked(Elbo):
    """A metric that no example of the test split has a weight in."""

    def __call__(self, model, batch, key, step, **shared):
        terms = super().__call__(model, batch, key, step, **shared)
        marked = (batch["y"] > 0).astype(jnp.float32)
        return Terms(
            terms.loss,
            {**terms.metrics, "marked": 3.0 * jnp.ones_like(marked)},
            weights={"marked": marked},
        )


def test_a_metric_that_no_example_has_a_weight_in_is_no_0():
    y = np.ones(48, np.int32)
    splits = {"train": Split(X[:32], y[:32]), "test": Split(X[32:], 0 * y[32:])}
    config = dataclasses.replace(configure(None, SMALL), objective=Marked())
    (record,) = ae_jax.fit(DataSet("own", splits), config=config).records
    assert record["train/marked"] == record["running/marked"] == 3.0
    assert "test/marked" not in record and math.isfinite(record["test/elbo"])
