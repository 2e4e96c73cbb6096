"""The Python interface, against the model that it wraps."""

import dataclasses
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from jaxtyping import Shaped, jaxtyped

import ae_jax.api as api
from ae_jax.api import compiled, saved
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, from_array, passes
from ae_jax.data.batches import sequential_order, take_batch
from ae_jax.data.preprocess import FIXED_NOISE_SEED
from ae_jax.distributions import StandardNormal
from ae_jax.eval import EvaluationData
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives import Elbo
from ae_jax.train.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.loop import train
from ae_jax.train.prepare import prepare_run
from tests.bound import decoded, encoded

OPTIONS = {"latent_dim": 2, "hidden": [8], "epochs": 2, "batch_size": 50}


@pytest.fixture(scope="module")
def images(image_set) -> np.ndarray:
    """[200, 8, 8] uint8, as a user holds them."""
    return image_set.splits["train"].x[..., 0]


@pytest.fixture(scope="module")
def labels(image_set) -> np.ndarray:
    return image_set.splits["train"].y


@pytest.fixture(scope="module")
def fitted(images, labels, tmp_path_factory):
    return api.fit(images, labels, workdir=tmp_path_factory.mktemp("run"), **OPTIONS)


@pytest.fixture(scope="module")
def workdir(fitted, tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "run0"


def codes_of(fitted, x: np.ndarray) -> np.ndarray:
    return np.asarray(encoded(fitted.setup.architecture.model, fitted.params, x).mean())


def means_of(fitted, z: np.ndarray) -> np.ndarray:
    return np.asarray(decoded(fitted.setup.architecture.model, fitted.params, z).mean())


@pytest.mark.slow
def test_codes_and_their_reconstructions_are_float32_products_on_every_device(fitted, images):
    """Devices with coarser products use them unless they are told: each product says so."""
    setup, ids = fitted.setup, jnp.arange(4)
    examples, codes = {"x": images[:4, ..., None]}, {"z": jnp.zeros((4, 2))}
    programs = (
        (compiled.encode, examples),
        (compiled.reconstruct, examples),
        (compiled.decode, codes),
    )
    for function, rows in programs:
        text = function.lower(
            fitted.variables, rows, ids, setup.numbers.statistics, architecture=setup.architecture
        ).as_text()
        assert_float32_products(text)
    data = EvaluationData(
        setup.splits["train"], setup.numbers.statistics, setup.architecture.preprocess
    )
    module = setup.architecture.model
    for function in (passes._total, passes._batches):
        lowered = function.lower(
            fitted.variables, data, jax.random.key(0), (), values_of=values_of, module=module
        )
        assert_float32_products(lowered.as_text())


def values_of(model, batch, key):
    return {"mean": model.reconstruct(batch).mean()[0].sum(axis=(1, 2, 3))}


def test_what_is_made_has_the_shape_that_the_signature_says(fitted, images):
    codes = fitted.encode(images[:3])
    made = {
        "encode": (codes, {"N": 3, "Z": 2}),
        "reconstruct": (fitted.reconstruct(images[:3]), {"N": 3}),
        "decode": (fitted.decode(codes), {"N": 3}),
        "inputs": (fitted.inputs(images[:3]), {"N": 3}),
        "score": (fitted.score(images[:3]), {"N": 3}),
        "log_likelihood": (fitted.log_likelihood(images[:3], num_samples=2), {"N": 3}),
        "sample": (fitted.sample(4), {"count": 4}),
        "draw": (fitted.draw(4), {"count": 4, "Z": 2}),
        "interpolate": (fitted.interpolate(images[0], images[1], 5), {"steps": 5}),
        "traverse": (fitted.traverse(images[0], 1, [0.0, 1.0]), {"V": 2}),
    }
    signed = {
        name
        for name, method in vars(api.Fitted).items()
        if callable(method) and "jaxtyping" in repr(getattr(method, "__annotations__", {}))
    }
    assert signed == set(made)
    for name, (array, sizes) in made.items():
        promised = getattr(api.Fitted, name).__annotations__["return"]
        with jaxtyped("context"):
            for letter, size in sizes.items():
                assert isinstance(np.zeros(size), Shaped[np.ndarray, f" {letter}"])
            assert isinstance(array, promised), name


def assert_float32_products(program: str) -> None:
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert products and all("[HIGHEST, HIGHEST]" in line for line in products)


def test_what_cannot_be_is_refused(fitted, workdir, images, labels):
    with pytest.raises(UserError, match="number of samples is a whole number from 0, not -1"):
        fitted.sample(-1)
    with pytest.raises(UserError, match="unknown checkpoint 'bst': valid: best, latest"):
        api.load(workdir, "bst", images, labels)


def test_encode_and_decode_are_the_model_on_scaled_images(fitted, images):
    scaled = (images[..., None] / 255.0).astype(np.float32)
    codes = fitted.encode(images)
    assert codes.shape == (200, 2) and codes.dtype == np.float32
    np.testing.assert_allclose(codes, codes_of(fitted, scaled), rtol=1e-5, atol=1e-6)
    decoded = fitted.decode(codes)
    assert decoded.shape == (200, 8, 8, 1)
    means = means_of(fitted, codes)
    np.testing.assert_allclose(decoded, 255.0 * means, rtol=1e-5, atol=255e-6)
    np.testing.assert_array_equal(fitted.reconstruct(images), decoded[..., 0])
    np.testing.assert_allclose(fitted.decode(codes, units="model"), means, rtol=1e-5, atol=1e-6)
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
    assert len(many) > fitted.config.eval.batch_size
    codes = fitted.encode(many)
    np.testing.assert_array_equal(codes, np.tile(fitted.encode(images), (6, 1))[:1007])


def test_no_examples_give_no_codes(fitted, images):
    assert fitted.encode(images[:0]).shape == (0, 2)
    assert fitted.encode(np.zeros((0, 8, 8))).shape == (0, 2)
    assert fitted.decode(np.zeros((0, 2))).shape == (0, 8, 8, 1)
    assert fitted.sample(0).shape == (0, 8, 8, 1)


def test_samples_are_decoded_draws_from_the_prior(fitted):
    keys = example_keys(jax.random.key(3), jnp.arange(5))
    drawn = np.asarray(StandardNormal(2).sample(keys, 1)[0])
    np.testing.assert_array_equal(fitted.sample(5, seed=3), fitted.decode(drawn))
    assert not np.array_equal(fitted.sample(5, seed=3), fitted.sample(5, seed=4))


def test_evaluate_by_numpy(fitted):
    test = fitted.setup.dataset.splits["test"]
    error = np.square(fitted.reconstruct(test, units="model") - test.x / 255.0)
    results = fitted.evaluate("test")
    np.testing.assert_allclose(results["squared_error_per_dimension"], error.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        results["squared_error_per_example"], error.sum(axis=(1, 2, 3)).mean(), rtol=1e-5
    )


def test_evaluate_repeats_what_the_loop_saw_at_its_last_look(fitted):
    for split in ("train", "valid", "test"):
        looked = {
            name.removeprefix(f"{split}/"): value
            for name, value in fitted.records[-1].items()
            if name.startswith(f"{split}/")
        }
        assert set(looked) == {"loss", "elbo", "reconstruction", "kl"}
        results = fitted.evaluate(split)
        assert {name: results[name] for name in looked} == looked


def test_evaluators_add_what_they_say_by_name_or_as_functions(fitted):
    def largest(module, variables, data, key):
        return {"largest": float(data.split.x.max()), "examples": float(len(data.split))}

    plain = fitted.evaluate("valid")
    results = fitted.evaluate("valid", ["log_likelihood", largest])
    raw = fitted.setup.dataset.splits["valid"].x
    assert (results.pop("largest"), results.pop("examples")) == (raw.max(), len(raw))
    # A hundred samples bound log p(x) more tightly than the one of the ELBO.
    assert results.pop("log_likelihood") > plain["elbo"]
    assert results.pop("log_likelihood_se") > 0
    assert results == plain
    with pytest.raises(UserError, match="unknown evaluator 'bond': did you mean 'bound'"):
        fitted.evaluate("valid", ["bond"])


def test_an_unknown_split_is_answered_with_those_there_are(fitted):
    with pytest.raises(UserError, match="unknown split 'tset': did you mean 'test'.* train, valid"):
        fitted.evaluate("tset")
    for given in (np.ones((3, 8, 8)), None, [1], 3):
        with pytest.raises(UserError, match="splits go by their names, .*test.*`score`"):
            fitted.evaluate(given)


def test_fit_is_the_loop_on_the_array(fitted, images, labels):
    dataset = from_array(images, labels)
    setup = prepare_run(api.configure(None, OPTIONS), dataset)
    outcome = train(setup)
    chex.assert_trees_all_equal(jax.device_get(fitted.params), jax.device_get(outcome.state.params))
    assert (fitted.step, len(fitted.records)) == (int(outcome.state.step), 2)
    assert fitted.setup.dataset.fingerprint == dataset.fingerprint


def test_load_gives_the_fitted_object_back(fitted, workdir, images, labels):
    loaded = api.load(workdir, data=images, y=labels)
    np.testing.assert_array_equal(loaded.encode(images), fitted.encode(images))
    np.testing.assert_array_equal(loaded.sample(4), fitted.sample(4))
    assert loaded.config == fitted.config
    assert (loaded.step, loaded.records) == (fitted.step, fitted.records)
    assert loaded.evaluate("test") == fitted.evaluate("test")


@pytest.mark.slow
def test_load_best_is_the_checkpoint_with_the_best_valid_bound(vector_set, tmp_path):
    """A step size that overshoots late: the best look is not the last."""
    options = OPTIONS | {"epochs": 4, "learning_rate": 0.5}
    fitted = api.fit(vector_set, workdir=tmp_path, **options)
    bounds = {record["step"]: record["valid/elbo"] for record in fitted.records}
    best = api.load(tmp_path, "best", vector_set)
    latest = api.load(tmp_path, "latest", vector_set)
    assert best.step == max(bounds, key=bounds.get)
    assert latest.step == max(bounds) > best.step


def test_load_refuses_other_data_and_folders_without_a_run(workdir, images, labels, tmp_path):
    for other in ((255 - images, labels), (images, 1 - labels), (images, None)):
        with pytest.raises(UserError, match="the data of .* has changed: sha256"):
            api.load(workdir, "latest", *other)
    with pytest.raises(UserError, match="is not a run's directory"):
        api.load(tmp_path)


def test_a_run_on_an_array_opens_without_it(workdir, fitted, images, tmp_path):
    model = api.load(workdir)
    np.testing.assert_array_equal(model.encode(images[:5]), fitted.encode(images[:5]))
    np.testing.assert_array_equal(model.sample(4, seed=1), fitted.sample(4, seed=1))
    for asked in (model.evaluate, lambda: model.sample(3, prior="fitted")):
        with pytest.raises(UserError, match="data of the model are not at hand.*data=x"):
            asked()
    assert api.load(workdir, "best").step <= model.step
    facts = dataclasses.replace(fitted.setup.dataset, classes=np.array(["a", "b"]))
    saved.facts_of(dataclasses.replace(fitted.setup, dataset=facts))
    bare = shutil.copytree(workdir, tmp_path / "bare")
    (bare / "facts.npz").write_bytes(b"torn")
    with pytest.raises(UserError, match="facts.npz is no saved model, or it is damaged"):
        api.load(bare)
    (bare / "facts.npz").unlink()
    with pytest.raises(UserError, match=r"the data of .* \(array\) is not at hand: give it"):
        api.load(bare)


def test_a_fit_that_was_ended_opens_without_its_array_too(images, tmp_path):
    def ends(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.fit(images, workdir=tmp_path, listeners=[ends], **OPTIONS | {"epochs": 3})
    model = api.load(tmp_path)
    assert (model.config.train.epochs, model.records[-1]["epoch"]) == (3, 2)


@pytest.mark.parametrize(
    "shape", [(5, 8, 7), (5, 63), (64,), (), (5, 8, 8, 3), (5, 4, 16), (5, 1, 8, 8)]
)
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
    with pytest.raises(UserError, match="unknown option 'latent_dims': did you mean 'latent_dim'"):
        api.configure(None, {"latent_dims": 3})


def test_options_may_be_numbers_and_arrays_of_numpy():
    options = {
        "hidden": np.array([7, 5]),
        "latent_dim": np.int64(3),
        "learning_rate": np.float32(2),
    }
    config = api.configure(None, options)
    assert (config.model.hidden, config.model.latent_dim) == ((7, 5), 3)
    assert config.optim.learning_rate == 2.0


@pytest.mark.slow
def test_without_a_workdir_nothing_is_written(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted = api.fit(images, **OPTIONS | {"epochs": 1, "data__limit": 50})
    assert list(tmp_path.iterdir()) == []
    assert (fitted.config.data.name, fitted.config.data.limit) == ("array", 50)
    np.testing.assert_array_equal(
        fitted.setup.dataset.splits["train"].x, from_array(images).splits["train"].x[:50]
    )


@pytest.mark.parametrize("scale", [1 / 255, 1 / 512])
def test_fractions_are_refused_by_a_model_of_grey_levels(fitted, images, scale):
    for method in (fitted.encode, fitted.inputs, fitted.reconstruct):
        with pytest.raises(UserError, match="fractions up to .* fitted on values up to 255"):
            method(images * scale)


def test_grey_levels_may_come_as_any_number(fitted, images):
    codes = fitted.encode(images)
    for kind in (np.float64, np.int32):
        np.testing.assert_array_equal(fitted.encode(images.astype(kind)), codes)
    black = np.zeros((1, 8, 8))
    np.testing.assert_array_equal(fitted.encode(black), fitted.encode(black.astype(np.uint8)))


def test_encode_takes_and_refuses_what_fit_does(fitted, images):
    codes = fitted.encode(images)
    for kind in (">f4", ">i8", "u2", "f2"):
        np.testing.assert_array_equal(fitted.encode(images.astype(kind)), codes)
    refused = {
        "not real numbers": [images + 5j, images.astype(str), images.astype(object)],
        "infinite": [np.where(images > 9, np.inf, images)],
        "NaN": [np.where(images > 9, np.nan, images), np.ma.masked_greater(images, 9)],
        "values from 0 to .*from 0 to 255": [images.astype(int) * 3],
        "values from -": [-images.astype(int)],
        r"x\[None\]": [images[0]],
        "differ in shape": [[[1, 2], [3]]],
    }
    for message, given in refused.items():
        for x in given:
            with pytest.raises(UserError, match=message):
                fitted.encode(x)
    with pytest.raises(UserError, match="moveaxis"):
        fitted.encode(np.moveaxis(images[..., None], -1, 1))


def test_data_sets_of_other_types_come_in_by_the_same_door(vector_set):
    foreign = dataclasses.replace(
        vector_set,
        splits={
            name: dataclasses.replace(split, x=split.x.astype(">f8"))
            for name, split in vector_set.splits.items()
        },
    )
    dataset = api.as_dataset(foreign, None, DataConfig())
    assert dataset.fingerprint == vector_set.fingerprint
    assert api.as_dataset(vector_set, None, DataConfig()) is vector_set


@pytest.mark.slow
def test_new_examples_outside_the_support_of_the_likelihood_are_refused():
    x = np.random.default_rng(0).random((60, 4)).astype(np.float32)
    model = untrained(from_array(x), batch_size=10)
    assert model.config.model.head == "bernoulli"
    model.encode(x)
    with pytest.raises(UserError, match="what was given has values from 0.* to 5"):
        model.encode(5 * x / x.max())


@pytest.mark.slow
def test_missing_values_are_taken_where_the_objective_takes_them():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(80, 1)) * np.ones((1, 5)) + 3).astype(np.float32)
    lacking = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    with pytest.raises(UserError, match="missing value to objective=masked_reconstruction only"):
        api.fit(lacking, **OPTIONS)
    with pytest.raises(UserError, match="NaN"):
        api.fit(lacking, codec="pca", latent_dim=2)
    options = OPTIONS | {"batch_size": 20, "model__latent": "deterministic"}
    for name in ("identity", "standardization"):
        model = api.fit(
            np.ma.masked_invalid(lacking),
            objective__name="masked_reconstruction",
            data__preprocess=name,
            **options,
        )
        assert np.isfinite(model.encode(lacking)).all()
        assert np.isfinite(list(model.evaluate("train").values())).all()
        batch = {"x": np.nan_to_num(model.inputs(lacking))}
        module = model.setup.architecture.model
        codes = module.apply(model.variables, batch, method="encode").mean()
        np.testing.assert_allclose(model.encode(lacking), codes, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_fewer_examples_than_the_default_batch_are_one_batch(capsys):
    x = np.random.default_rng(0).normal(size=(40, 4))
    options = {name: value for name, value in OPTIONS.items() if name != "batch_size"}
    model = api.fit(x, **options)
    assert model.config.train.batch_size == 32 == len(model.setup.dataset.splits["train"])
    assert "train.batch_size is 32: there are no more examples" in capsys.readouterr().err
    with pytest.raises(UserError, match="batch_size is 50, more than the 32"):
        api.fit(x, batch_size=50, **options)


def untrained(dataset: DataSet, **options) -> api.Fitted:
    setup = prepare_run(api.configure(None, OPTIONS | options), dataset)
    return api.Fitted(setup, setup.initial_state().params, 0, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_a_fixed_binarisation_belongs_to_the_example_wherever_it_is_met(name, image_set):
    """In the loop, from Python, in parts, and whatever part of the training set is used."""
    split = image_set.splits[name].head(30)
    first_id = {"train": 0, "valid": 200, "test": 240}[name]
    keys = example_keys(jax.random.key(FIXED_NOISE_SEED), first_id + jnp.arange(30))
    uniform = np.stack([jax.random.uniform(key, (8, 8, 1)) for key in keys])
    expected = (uniform < split.x / 255).astype(np.float32)

    for dataset in (image_set, image_set.limited(64)):
        model = untrained(dataset, data__preprocess="fixed_binarization", eval__batch_size=13)
        setup = model.setup
        order = jax.tree.map(lambda rows: rows[0], sequential_order(30, 30))
        batch = take_batch(
            setup.splits[name],
            order,
            setup.architecture.preprocess,
            setup.numbers.statistics,
            jax.random.key(99),
        )
        np.testing.assert_array_equal(batch["x"], expected)
        np.testing.assert_array_equal(model.inputs(dataset.splits[name].head(30)), expected)
        codes = codes_of(model, expected)
        np.testing.assert_allclose(model.encode(split), codes, rtol=1e-5, atol=1e-6)


def test_arrays_know_of_no_place_in_a_data_set(image_set):
    model = untrained(image_set, data__preprocess="fixed_binarization")
    train = image_set.splits["train"]
    inputs = model.inputs(train.x)
    assert (inputs != model.inputs(train)).any()
    np.testing.assert_array_equal(model.inputs(train.x[::-1])[::-1], inputs)


@struct.dataclass
class Own(Elbo):
    """An objective that no registry and no file leads to."""


@pytest.mark.slow
def test_an_objective_without_a_name_trains_but_leaves_no_run(image_set, tmp_path):
    config = RunConfig(
        model=ModelConfig(hidden=(8,)), objective=Own(beta=2.0), train=TrainConfig(epochs=1)
    )
    last = api.fit(image_set, config=config).records[-1]
    loss = 2 * last["test/kl"] - last["test/reconstruction"]
    assert last["test/loss"] == pytest.approx(loss, rel=1e-5)
    with pytest.raises(UserError, match="objective Own has no name: register it, or put it in a"):
        api.fit(image_set, config=config, workdir=tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_looking_at_a_run_leaves_a_half_written_checkpoint_alone(fitted, workdir, images, labels):
    half = workdir / "checkpoints" / "99.orbax-checkpoint-tmp"
    half.mkdir()
    try:
        loaded = api.load(workdir, data=images, y=labels)
        assert half.is_dir()
    finally:
        half.rmdir()
    np.testing.assert_array_equal(loaded.encode(images), fitted.encode(images))
