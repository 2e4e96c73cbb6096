"""A model in one file, without its data; and what it gives in the units of the data."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import ae_jax
from ae_jax.core.errors import UserError

SMALL = {"latent_dim": 2, "hidden": (6,), "epochs": 2, "batch_size": 20}
METRES = np.random.default_rng(0).normal([5e6, -3.0, 0.02], [400.0, 2.0, 1e-3], (80, 3))
LABELS = np.arange(80) % 4
GREY = np.random.default_rng(1).integers(0, 256, (60, 8, 8, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def standardised():
    return ae_jax.fit(METRES, data__preprocess="standardization", **SMALL)


@pytest.fixture(scope="module")
def conditional():
    return ae_jax.fit(METRES, LABELS, condition="label", preprocess="standardization", **SMALL)


@pytest.fixture(scope="module")
def codec():
    return ae_jax.fit(GREY, codec="probabilistic_pca", latent_dim=3)


@pytest.mark.slow
def test_what_is_decoded_has_the_units_of_the_data(standardised):
    model, made = standardised, standardised.reconstruct(METRES)
    train = model.setup.dataset.splits["train"].x.astype(np.float64)
    mean, scale = train.mean(axis=0), train.std(axis=0)
    expected = model.reconstruct(METRES, units="model").astype(np.float64) * scale + mean
    assert made.dtype == np.float64
    assert (abs(made - expected) < 1e-5 * scale).all()
    assert np.square((METRES - made) / scale).mean() < 2.0
    assert (abs(model.sample(50) - mean) < 10 * scale).all()
    with pytest.raises(UserError, match="units"):
        model.decode(np.zeros((1, 2)), units="feet")


@pytest.mark.slow
def test_grey_levels_come_back_as_such():
    model = ae_jax.fit(GREY, **SMALL, objective="reconstruction", latent="deterministic")
    made = model.reconstruct(GREY)
    assert made.shape == GREY.shape
    np.testing.assert_allclose(made, 255.0 * model.reconstruct(GREY, units="model"), rtol=1e-6)
    first = ae_jax.fit(
        np.moveaxis(np.repeat(GREY, 3, axis=-1), -1, 1), layout="channels_first", **SMALL
    )
    assert first.sample(2).shape == (2, 3, 8, 8)


@pytest.mark.slow_cases("standardised-*", "codec-*", "conditional-file")
@pytest.mark.parametrize("way", ["file", "pickle"])
@pytest.mark.parametrize("kind", ["standardised", "conditional", "codec"])
def test_a_saved_model_does_what_it_did(kind, way, tmp_path, request):
    model = request.getfixturevalue(kind)
    x, y = (GREY if kind == "codec" else METRES), (LABELS if kind == "conditional" else None)
    if way == "file":
        other = ae_jax.load(model.save(tmp_path / "model.npz"))
    else:
        other = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model))))
    np.testing.assert_array_equal(other.encode(x, y), model.encode(x, y))
    np.testing.assert_array_equal(other.reconstruct(x, y), model.reconstruct(x, y))
    label = None if y is None else 2
    np.testing.assert_array_equal(
        other.sample(3, seed=5, y=label), model.sample(3, seed=5, y=label)
    )
    assert repr(other) == repr(model)
    for needs_data in (lambda: other.evaluate(), lambda: other.draw(3, y=label, prior="fitted")):
        with pytest.raises(UserError, match="data of the model are not at hand"):
            needs_data()


@pytest.mark.slow
def test_a_saved_model_is_read_by_another_process(codec, tmp_path):
    codec.save(tmp_path / "model.npz")
    script = "import ae_jax, sys; print(ae_jax.load(sys.argv[1]).sample(2, seed=1).sum())"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model.npz"], capture_output=True, text=True
    )
    assert float(done.stdout) == pytest.approx(float(codec.sample(2, seed=1).sum()), rel=1e-6)


def test_a_damaged_file_is_refused(codec, tmp_path):
    path = codec.save(tmp_path / "model.npz")
    whole = path.read_bytes()
    for damage in (whole[:100], whole[:-300] + bytes(300), b"", b"PK\3\4" + whole[9:]):
        path.write_bytes(damage)
        with pytest.raises(UserError, match="no saved model, or it is damaged"):
            ae_jax.load(path)
    with pytest.raises(UserError, match="is a folder"):
        codec.save(tmp_path)
    path.write_bytes(whole)
    with pytest.raises(UserError, match="was saved without data and opens without"):
        ae_jax.load(path, data=GREY)


def test_lines_in_the_code_have_the_ends_that_they_are_asked_for(conditional):
    a, b = METRES[0], METRES[1]
    line = conditional.interpolate(a, b, 5, y=1)
    ends = conditional.reconstruct(METRES[:2], [1, 1])
    np.testing.assert_allclose(line[[0, -1]], ends, rtol=1e-6)
    code = conditional.encode(a[None], [1])[0]
    across = conditional.traverse(a, 0, [code[0], 3.0], y=1)
    np.testing.assert_allclose(across[0], ends[0], rtol=1e-6)
    moved = conditional.decode(np.array([[3.0, code[1]]]), 1)
    np.testing.assert_allclose(across[1], moved[0], rtol=1e-6)
    with pytest.raises(UserError, match="dimension of the code is a whole number"):
        conditional.traverse(a, 2, [0.0], y=1)
    with pytest.raises(UserError, match="with both ends, is a whole number from 2"):
        conditional.interpolate(a, b, 1, y=1)


def test_a_model_is_shown_in_a_few_lines(standardised, codec):
    for model in (standardised, codec):
        lines = repr(model).splitlines()
        assert 3 <= len(lines) <= 5 and max(map(len, lines)) < 120
    assert "autoencoder 6-2, gaussian code" in repr(standardised)
    assert "epoch 2 of 2" in repr(standardised) and "elbo: train" in repr(standardised)


def test_options_are_named_as_people_name_them():
    configured = ae_jax.api.configure(
        None,
        {"objective": "sparse_l1", "weight": 0.5, "optimiser": "momentum", "momentum": 0.5}
        | {"head": "gaussian", "latent": "deterministic", "limit": 7, "every": 3, "batch_size": 9},
    )
    assert configured.objective.weight == 0.5 and configured.optim.momentum == 0.5
    assert (configured.model.head, configured.data.limit) == ("gaussian", 7)
    assert (configured.train.batch_size, configured.eval.every) == (9, 3)
    with pytest.raises(UserError, match="unknown option 'weigth'.*weight"):
        ae_jax.api.configure(None, {"objective": "sparse_l1", "weigth": 0.5})
    with pytest.raises(UserError, match="unknown option 'name'"):
        ae_jax.api.configure(None, {"name": "rbm"})


def test_the_package_says_what_there_is():
    assert {"fit", "load", "data", "__version__"} <= {*dir(ae_jax)}
    assert ae_jax.data.load
    with pytest.warns(DeprecationWarning, match="is ae_jax.distributions now"):
        assert ae_jax.latents.DiagonalGaussian is ae_jax.distributions.DiagonalGaussian


COLOURS = np.random.default_rng(4).integers(0, 256, (40, 3, 8, 4)).astype(np.uint8)


@pytest.fixture(scope="module")
def channels_first():
    """PCA of so many directions that what it makes of examples is nearly what they were."""
    return ae_jax.fit(COLOURS, codec="pca", latent_dim=30, layout="channels_first")


@pytest.mark.slow
def test_images_with_channels_first_are_the_same_by_every_door(channels_first):
    model, made = channels_first, channels_first.reconstruct(COLOURS)
    assert made.shape == COLOURS.shape
    flat = model.reconstruct(COLOURS.reshape(40, -1))
    np.testing.assert_allclose(flat.reshape(made.shape), made, atol=1e-3)
    np.testing.assert_allclose(model.encode(COLOURS.reshape(40, -1)), model.encode(COLOURS))
    split = model.setup.dataset.splits["train"]
    rows = COLOURS[split.names]
    np.testing.assert_array_equal(np.moveaxis(rows, 1, -1), split.x)
    np.testing.assert_allclose(np.moveaxis(model.reconstruct(split), -1, 1), made[split.names])
    assert abs(model.reconstruct(split) - split.x).mean() < 10.0


def test_what_is_made_of_an_example_has_its_shape():
    plain = GREY[..., 0]
    model = ae_jax.fit(plain, codec="pca", latent_dim=4)
    ends = model.reconstruct(plain[:2])
    line = model.interpolate(plain[0], plain[1], 3)
    assert line.shape == (3, 8, 8)
    np.testing.assert_allclose(line[[0, -1]], ends, rtol=1e-5, atol=1e-3)
    code = model.encode(plain[:1])[0]
    np.testing.assert_allclose(model.traverse(plain[0], 1, [code[1]])[0], ends[0], atol=1e-3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: m.sample(2, seed=-1), "seed is a whole number from 0 and below 4294967296"),
        (lambda m: m.sample(2, seed=1.5), "seed is a whole number"),
        (lambda m: m.score(METRES, "bound", seed="a"), "seed is a whole number"),
        (lambda m: m.score(METRES, "bound", num_samples=2.5), "num_samples is a whole number"),
        (lambda m: m.score(METRES, None), "a score is a name or a function"),
        (lambda m: m.sample("3"), "number of samples is a whole number"),
        (lambda m: m.sample(True), "number of samples is a whole number"),
        (lambda m: m.interpolate(METRES[0], METRES[1], 2.5), "with both ends"),
        (lambda m: m.traverse(METRES[0], True, [0.0]), "dimension of the code"),
        (lambda m: m.traverse(METRES[0], 0, 1.0), "values of the dimension are a list"),
        (lambda m: m.traverse(METRES[0], 0, [np.nan]), "NaN or infinite"),
        (lambda m: m.decode([["a", "b"]]), "codes"),
        (lambda m: m.decode(np.full((1, 2), np.inf)), "infinite"),
        (lambda m: m.decode(np.ones((1, 2), complex)), "codes"),
        (lambda m: m.decode([[1.0, 2.0], [3.0]]), "codes"),
        (lambda m: m.reconstruct(METRES, units=None), "units"),
        (lambda m: m.evaluate("test", ["bound", "bound"]), "bound is asked twice"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(standardised, call, sentence):
    with pytest.raises(UserError, match=sentence) as found:
        call(standardised)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 1, "train__epochs": 2}, "train.epochs is given twice"),
        ({"optimiser": "adam", "optim__name": "sgd"}, "optim.name is given twice"),
        ({"latent_dim": True}, "latent_dim.*whole number"),
        ({"epochs": object()}, "epochs has a value that a configuration does not hold"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        ae_jax.api.configure(None, options)


def test_a_file_is_one_model_and_says_nothing_else(codec, tmp_path):
    path = codec.save(tmp_path / "model.npz")
    with pytest.raises(UserError, match="which=best is for the runs of a folder"):
        ae_jax.load(path, "best")
    with np.load(path) as parts:
        edited = dict(parts)
    text = edited["header"].tobytes().replace(b'"step": ', b'"step": 1')
    np.savez(path, **edited | {"header": np.frombuffer(text, np.uint8)})
    with pytest.raises(UserError, match="no saved model, or it is damaged"):
        ae_jax.load(path)


def test_what_a_run_starts_from_is_a_model(standardised):
    with pytest.raises(UserError, match="is a model, or the parameters of one"):
        ae_jax.fit(METRES, start=3, data__preprocess="standardization", **SMALL)
    with pytest.raises(UserError, match="is a Layerwise, not 3"):
        ae_jax.fit_layerwise(METRES, how=3)
    with pytest.raises(UserError, match="a codec is fitted by fit"):
        ae_jax.fit_layerwise(METRES, codec="pca")
