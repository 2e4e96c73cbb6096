"""The Python interface, against the model that it wraps."""

import chex
import jax
import numpy as np
import pytest

import ae_jax.api as api
from ae_jax.config import RunConfig
from ae_jax.data import from_array
from ae_jax.errors import UserError
from ae_jax.train.loop import train
from ae_jax.train.setup import prepare_run

OPTIONS = {"latent_dim": 2, "hidden": [8], "epochs": 2, "batch_size": 50}


@pytest.fixture(scope="module")
def images(image_set) -> np.ndarray:
    """[200, 8, 8] uint8, as a user holds them."""
    return image_set.splits["train"].x[..., 0]


@pytest.fixture(scope="module")
def fitted(images, tmp_path_factory):
    return api.fit(images, workdir=tmp_path_factory.mktemp("run"), **OPTIONS)


@pytest.fixture(scope="module")
def workdir(fitted, tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "run0"


def applied(fitted, x: np.ndarray, method: str) -> np.ndarray:
    model = fitted.setup.architecture.model
    return np.asarray(model.apply({"params": fitted.params}, x, method=method).mean())


def test_encode_and_decode_are_the_model_on_scaled_images(fitted, images):
    scaled = (images[..., None] / 255.0).astype(np.float32)
    codes = fitted.encode(images)
    assert codes.shape == (200, 2) and codes.dtype == np.float32
    np.testing.assert_allclose(codes, applied(fitted, scaled, "encode"), rtol=1e-5, atol=1e-6)
    decoded = fitted.decode(codes)
    assert decoded.shape == (200, 8, 8, 1)
    np.testing.assert_allclose(decoded, applied(fitted, codes, "decode"), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(fitted.reconstruct(images), decoded)
    np.testing.assert_allclose(fitted.inputs(images), scaled, rtol=1e-6)


def test_examples_may_come_flat_or_with_a_channel(fitted, images):
    codes = fitted.encode(images)
    np.testing.assert_array_equal(fitted.encode(images.reshape(200, 64)), codes)
    np.testing.assert_array_equal(fitted.encode(images[..., None]), codes)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_any_number_of_examples_gives_the_same_values(fitted, images, size):
    codes = fitted.encode(images)
    np.testing.assert_array_equal(fitted.encode(images[:size]), codes[:size])
    np.testing.assert_array_equal(fitted.decode(codes[:size]), fitted.decode(codes)[:size])


def test_more_examples_than_a_batch(fitted, images):
    many = np.tile(images, (6, 1, 1))[:1007]
    assert len(many) > api.BATCH
    codes = fitted.encode(many)
    np.testing.assert_array_equal(codes, np.tile(fitted.encode(images), (6, 1))[:1007])


def test_no_examples_give_no_codes(fitted, images):
    assert fitted.encode(images[:0]).shape == (0, 2)
    assert fitted.decode(np.zeros((0, 2))).shape == (0, 8, 8, 1)
    assert fitted.sample(0).shape == (0, 8, 8, 1)


def test_samples_are_decoded_draws_from_the_prior(fitted):
    drawn = np.asarray(jax.random.normal(jax.random.key(3), (5, 2)))
    np.testing.assert_array_equal(fitted.sample(5, seed=3), fitted.decode(drawn))
    assert not np.array_equal(fitted.sample(5, seed=3), fitted.sample(5, seed=4))


def test_evaluate_by_numpy(fitted):
    raw = fitted.setup.dataset.splits["test"].x
    error = np.square(fitted.reconstruct(raw) - raw / 255.0)
    results = fitted.evaluate("test")
    np.testing.assert_allclose(results["squared_error_per_dimension"], error.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        results["elbo"], results["reconstruction"] - results["kl"], rtol=1e-6
    )
    assert fitted.evaluate("valid", []) == {}
    with pytest.raises(UserError, match="no split 'dev'; there are test, train, valid"):
        fitted.evaluate("dev")


def test_fit_is_the_loop_on_the_array(fitted, images):
    setup = prepare_run(api.configure(None, OPTIONS), from_array(images))
    outcome = train(setup)
    chex.assert_trees_all_equal(jax.device_get(fitted.params), jax.device_get(outcome.state.params))
    assert (fitted.step, len(fitted.records)) == (int(outcome.state.step), 2)


def test_load_gives_the_fitted_object_back(fitted, workdir, images):
    loaded = api.load(workdir, data=images)
    np.testing.assert_array_equal(loaded.encode(images), fitted.encode(images))
    np.testing.assert_array_equal(loaded.sample(4), fitted.sample(4))
    assert loaded.config == fitted.config
    assert (loaded.step, loaded.records) == (fitted.step, fitted.records)
    assert loaded.evaluate("test") == fitted.evaluate("test")


def test_load_best_is_the_checkpoint_with_the_best_valid_bound(vector_set, tmp_path):
    """A step size that overshoots late: the best look is not the last."""
    options = OPTIONS | {"epochs": 6, "learning_rate": 0.5}
    fitted = api.fit(vector_set, workdir=tmp_path, **options)
    bounds = {record["step"]: record["valid/elbo"] for record in fitted.records}
    best = api.load(tmp_path, "best", vector_set)
    latest = api.load(tmp_path, "latest", vector_set)
    assert best.step == max(bounds, key=bounds.get)
    assert latest.step == max(bounds)


def test_load_refuses_other_data_and_folders_without_a_run(workdir, images, tmp_path):
    with pytest.raises(UserError, match="the data of .* has changed: .*sha256"):
        api.load(workdir, data=255 - images)
    with pytest.raises(UserError, match="is not a run's directory"):
        api.load(tmp_path)


def test_an_array_that_no_file_holds_has_to_be_given_again(workdir):
    with pytest.raises(UserError, match="was fitted on an array in memory: give that as data"):
        api.load(workdir)


@pytest.mark.parametrize("shape", [(5, 8, 7), (5, 63), (64,), (), (5, 8, 8, 3)])
def test_examples_of_another_shape_are_refused(fitted, shape):
    with pytest.raises(UserError, match=r"the model was fitted on \(8, 8, 1\)"):
        fitted.encode(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(5, 3), (2,), (), (5, 2, 1)])
def test_codes_of_another_shape_are_refused(fitted, shape):
    with pytest.raises(UserError, match=r"codes .*\[N, 2\]"):
        fitted.decode(np.zeros(shape))


def test_options_reach_every_section_and_mistakes_are_answered():
    config = api.configure(None, {"latent_dim": 3, "objective__beta": 2.0, "learning_rate": 0.5})
    assert config.model.latent_dim == 3
    assert (config.objective.beta, config.optim.learning_rate) == (2.0, 0.5)
    assert api.configure(config, {"seed": 4}).objective.beta == 2.0
    assert api.configure(RunConfig(), {}) == RunConfig()
    with pytest.raises(UserError, match="did you mean 'model.latent_dim'"):
        api.configure(None, {"model__latent_dims": 3})
    with pytest.raises(UserError, match="not of the form"):
        api.configure(None, {"latents": 3})


def test_without_a_workdir_nothing_is_written(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    api.fit(images, **OPTIONS | {"epochs": 1})
    assert list(tmp_path.iterdir()) == []
