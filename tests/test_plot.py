"""Figures of fitted models: they show what the model says, in axes of anybody."""

import io

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from PIL import Image

import ae_jax
from ae_jax import plot
from ae_jax.core.errors import UserError
from ae_jax.report import figures, saving
from ae_jax.report.courses import axis_labels
from ae_jax.report.pictures import tile


@pytest.fixture(scope="module")
def model(image_set):
    return ae_jax.fit(image_set, latent_dim=2, hidden=[6], epochs=2, batch_size=50, progress=False)


@pytest.fixture(scope="module")
def pca(image_set):
    return ae_jax.fit(image_set, codec="pca", latent_dim=4, progress=False)


@pytest.fixture(scope="module")
def x(image_set):
    return image_set.splits["test"].x[:5]


def picture_of(axes) -> np.ndarray:
    (image,) = axes.images
    return np.asarray(image.get_array())


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.mark.slow
def test_reconstructions_are_those_of_each_model(model, pca, x):
    elsewhere = np.full((5, 8, 8, 1), 255 / 4, np.float32)  # in the units of x, which are bytes
    axes = plot.reconstructions({"vae": model, "pca": pca, "others": elsewhere}, x)
    assert ticks(axes.yaxis) == ["original", "VAE", "PCA", "others"]
    rows = [
        x / 255, model.reconstruct(x, units="model"), pca.reconstruct(x, units="model"),
        elsewhere / 255,
    ]  # fmt: skip
    expected = np.clip(tile(np.concatenate(rows), 4, 5), 0, 1)
    np.testing.assert_allclose(picture_of(axes), expected, atol=1e-6)
    assert ticks(plot.reconstructions(model, x).yaxis) == ["original", "reconstruction"]


@pytest.mark.slow
def test_what_is_made_elsewhere_looks_as_what_the_model_makes(model, pca, x):
    """Whichever comes first."""
    made = pca.reconstruct(x)
    for models in ({"pca": pca, "same": made}, {"same": made, "pca": pca}):
        rows = picture_of(plot.reconstructions(models, x))
        one, other = rows[9:17], rows[18:26]  # tiles of 8 pixels, one apart
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_only_what_is_in_nats_is_said_to_be(model):
    unit = "(nats per example)"
    assert plot.learning_curves(model).get_ylabel() == f"ELBO {unit}"
    assert plot.learning_curves(model, "kl").get_ylabel().endswith(unit)
    assert axis_labels(model, "dead_units") == ("epoch", "dead units")


@pytest.mark.slow
def test_samples_are_a_grid_of_those_of_the_model(model):
    axes = plot.samples(model, 9, seed=3)
    expected = tile(model.sample(9, 3, units="model"), 3, 3)
    np.testing.assert_allclose(picture_of(axes), expected, atol=1e-6)


def test_values_beyond_one_are_brought_to_grey_levels_together():
    images = np.linspace(-2, 6, 4 * 9).reshape(4, 9)
    shown = picture_of(plot.samples(images, image_shape=(3, 3)))
    np.testing.assert_allclose(shown[:3, :3], (images[0].reshape(3, 3) + 2) / 8, atol=1e-6)


def test_a_manifold_is_the_decoded_plane(model):
    axes = plot.manifold(model, 4)
    decoded = model.decode(figures.manifold_coordinates(4), units="model")
    np.testing.assert_allclose(picture_of(axes), tile(decoded, 4, 4, pad=0), atol=1e-6)
    assert axes.get_xlabel() == "first code coordinate $z_1$"


def test_a_traversal_has_a_row_a_dimension_and_a_column_a_value(pca, x):
    axes = plot.traversal(pca, x[0], dims=[0, 3], values=[-1, 0, 2.5])
    assert ticks(axes.yaxis) == ["$z_{1}$", "$z_{4}$"] and ticks(axes.xaxis) == ["−1", "0", "2.5"]
    code = pca.encode(x[:1])
    codes = np.repeat(code, 6, axis=0)
    codes[:3, 0] = codes[3:, 3] = [-1, 0, 2.5]
    decoded = pca.decode(codes, units="model")
    low, high = decoded.min(), decoded.max()
    if low < 0 or high > 1:
        decoded = (decoded - low) / (high - low)
    np.testing.assert_allclose(picture_of(axes), tile(decoded, 2, 3), atol=1e-5)
    assert len(ticks(plot.traversal(pca, x[0]).yaxis)) == 4


def test_codes_are_drawn_with_their_names_at_the_classes(model, image_set):
    test = image_set.splits["test"]
    words = np.array(["lying", "upright"])[test.y]
    axes = plot.codes(model, test, words)
    z = model.encode(test)
    drawn = {c.get_label(): np.asarray(c.get_offsets()) for c in axes.collections}
    assert {*drawn} == {"lying", "upright"}
    np.testing.assert_allclose(drawn["upright"], z[test.y == 1])
    named = {text.get_text(): text.xy for text in axes.texts}
    np.testing.assert_allclose(named["lying"], np.median(z[test.y == 0], axis=0))
    alone = plot.codes(z)
    np.testing.assert_allclose(alone.collections[0].get_offsets(), z)
    assert not alone.texts and alone.get_xlabel() == "first code coordinate $z_{1}$"
    wide = np.arange(12.0).reshape(3, 4)
    other = plot.codes(wide, dims=(3, 1))
    np.testing.assert_allclose(other.collections[0].get_offsets(), wide[:, [3, 1]])
    assert other.get_xlabel() == "code coordinate $z_{4}$"


def test_learning_curves_are_the_looks_of_the_records(model, pca):
    axes = plot.learning_curves(model)
    lines = {line.get_label(): line for line in axes.lines}
    assert {*lines} == {"train", "valid", "test"}
    np.testing.assert_array_equal(lines["valid"].get_xdata(), [1, 2])
    np.testing.assert_allclose(
        lines["valid"].get_ydata(), [record["valid/elbo"] for record in model.records]
    )
    assert axes.get_ylabel() == "ELBO (nats per example)" and axes.get_xlabel() == "epoch"
    both = plot.learning_curves({"one": model, "other": model}, "kl", ["test"])
    assert [line.get_label() for line in both.lines] == ["one test", "other test"]
    assert both.get_ylabel() == "KL (nats per example)"
    assert plot.learning_curves(pca).get_xlabel() == "iteration"


def test_features_are_the_weights_at_the_data(model, pca):
    atoms = np.asarray(pca.params.atoms).reshape(4, 8, 8)
    expected = 0.5 + 0.5 * atoms / np.abs(atoms).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(picture_of(plot.features(pca)), tile(expected, 2, 2), atol=1e-6)
    for of, weights in (
        ("encoder", np.asarray(model.params["encoder"]["dense_0"]["kernel"]).T),
        ("decoder", np.asarray(model.params["head"]["logits"]["kernel"])),
    ):
        shown = picture_of(plot.features(model, of=of))
        first = weights.reshape(6, 8, 8)[0]
        np.testing.assert_allclose(
            shown[:8, :8], 0.5 + 0.5 * first / np.abs(first).max(), atol=1e-6
        )
    assert picture_of(plot.features(model, 4)).shape == (17, 17)


@pytest.mark.slow
def test_axes_that_are_given_are_drawn_in(model, pca, x, image_set):
    figure = Figure((9, 6))
    places = figure.subplots(2, 4).ravel()
    drawn = [
        plot.reconstructions(model, x, axes=places[0]),
        plot.samples(model, 4, axes=places[1]),
        plot.manifold(model, 3, axes=places[2]),
        plot.traversal(pca, x[0], axes=places[3]),
        plot.codes(model, x, axes=places[4]),
        plot.learning_curves(model, axes=places[5]),
        plot.features(pca, axes=places[6]),
    ]
    assert all(one is place for one, place in zip(drawn, places, strict=False))
    assert [len(axes.images) for axes in drawn] == [1, 1, 1, 1, 0, 0, 1]
    legend = [text.get_text() for text in places[5].get_legend().get_texts()]
    assert legend == ["train", "valid", "test"]
    assert saving.png(figure).startswith(b"\x89PNG")


def test_figures_of_a_model_leave_pyplot_alone(model, x):
    before = Gcf.get_all_fig_managers()
    assert isinstance(plot.reconstructions(model, x).figure, Figure)
    assert Gcf.get_all_fig_managers() == before


@pytest.mark.slow
def test_a_plane_is_of_codes_whose_prior_is_standard_normal(model, image_set):
    """The quantiles of N(0, I) say nothing of where other codes lie."""
    assert model.has_plane
    for options in ({"codec": "pca"}, {"latent": "deterministic", "objective": "reconstruction",
                                       "hidden": [4], "epochs": 1}):  # fmt: skip
        flat = ae_jax.fit(image_set, latent_dim=2, progress=False, **options)
        with pytest.raises(UserError, match="prior is standard normal, and that of this model is"):
            plot.manifold(flat)


def test_what_cannot_be_shown_is_said(model, pca, x, vector_set):
    vectors = vector_set.splits["test"].x
    for call, sentence in (
        (lambda: plot.samples(vectors), r"shape \(6,\) are no pictures; .* image_shape"),
        (lambda: plot.samples(vectors, image_shape=(2, 2)), r"no images of \(2, 2\)"),
        (
            lambda: plot.reconstructions({"original": pca}, x),
            "row of the examples is called",
        ),
        (lambda: plot.reconstructions([model], x), "several by their names"),
        (lambda: plot.reconstructions(model, x[:0]), "no image to show"),
        (lambda: plot.samples(model, 0), "number of samples to show"),
        (
            lambda: plot.samples(vectors, 4, image_shape=(2, 3)),
            "that are given are all shown",
        ),
        (lambda: plot.samples(vectors, image_shape=(-2, -3)), "no images of"),
        (lambda: plot.samples(vectors, image_shape=6), "no images of"),
        (lambda: plot.manifold(vectors), "takes a fitted model"),
        (lambda: plot.codes(vectors, dims=1), "a plane has two dims"),
        (
            lambda: plot.traversal(model, x[0], values=[]),
            "one dimension of the code, and",
        ),
        (
            lambda: plot.learning_curves({"vae": model, "pca": pca}),
            "pca has objective",
        ),
        (lambda: plot.learning_curves([model]), "several by their names"),
        (lambda: plot.manifold(pca), "a code of two dimensions, and this has 4"),
        (lambda: plot.traversal(model, x[0], dims=[2]), "dimension of the code is a whole number"),
        (lambda: plot.traversal(model, x[0], dims=[]), "at least one dimension"),
        (lambda: plot.codes(model), "codes are of examples: give them as x"),
        (lambda: plot.codes(vectors, x), "codes are .*, and stand for a model"),
        (lambda: plot.codes(vectors, labels=[1, 2]), "40 codes need labels of shape"),
        (lambda: plot.codes(vectors, dims=(0, 6)), "a dimension of the code is a whole number"),
        (lambda: plot.codes(vectors[:, :1]), "a plane has two dims"),
        (lambda: plot.features(model, of="head"), "unknown part with features 'head'"),
        (lambda: plot.learning_curves(model, "elob"), "unknown metric of the records 'elob': did"),
        (lambda: plot.learning_curves(model, splits=["tset"]), "unknown split of the records"),
        (lambda: plot.learning_curves(pca, "kl"), "of a codec there is the objective"),
        (lambda: plot.reconstructions({}, x), "no model to show"),
        (lambda: plot.reconstructions({"a": x[:2]}, x), "a has images of shape"),
    ):
        with pytest.raises(UserError, match=sentence):
            call()


def test_a_figure_shows_itself_in_notebooks(pca):
    figure = plot.features(pca).figure
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG" and min(picture.size) > 100


def test_curves_have_the_mean_of_seeds_with_its_deviation():
    sizes, bounds = np.array([2, 4, 8]), np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 4.0]])
    axes = plot.curves({"vae": (sizes, bounds), "pca": ([2, 8], [2.5, 2.5])}, "size", "nats")
    (drawn,) = axes.containers
    line, _, (bars,) = drawn
    np.testing.assert_allclose(line.get_ydata(), [2, 3, 3.5])
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(np.ptp(ends, axis=1) / 2, [2**0.5, 2**0.5, 0.5**0.5])
    assert [tick for tick in ticks(axes.xaxis) if tick] == ["2", "4", "8"]
    assert "PCA" in [text.get_text() for text in axes.texts]  # the level, named at its line


def test_curves_of_other_shapes_are_refused():
    with pytest.raises(UserError, match=r"vae has abscissae of shape \(2,\) and values"):
        plot.curves({"vae": ([1, 2], [1, 2, 3])}, "size", "nats")
    with pytest.raises(UserError, match="no line to show"):
        plot.curves({}, "size", "nats")
    for line in (([1, 2], ["a", "b"]), (1, 2, 3), 5):
        with pytest.raises(UserError, match="vae is no pair of abscissae and values"):
            plot.curves({"vae": line}, "size", "nats")
    for nothing in (([], []), ([1, 2], np.zeros((0, 2)))):
        with pytest.raises(UserError, match="vae has no values to show"):
            plot.curves({"vae": nothing}, "size", "nats")


def test_curves_may_be_named_by_numbers():
    axes = plot.curves({5: ([1, 10], [3, 4]), 7: ([1, 10], [4, 5])}, "size", "nats")
    assert [text.get_text() for text in axes.get_figure().legends[0].get_texts()] == ["5", "7"]


def test_curves_in_axes_of_a_new_figure():
    left, right = plot.new_figure(8, 3).subplots(1, 2)
    assert plot.curves({"a": ([1, 10], [3, 4])}, "size", "nats", log_x=True, axes=left) is left
    assert left.get_xscale() == "log" and left.get_legend() is not None
    assert not right.spines["top"].get_visible()  # the house's style, whoever adds the axes
