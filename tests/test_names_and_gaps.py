"""What users call things is what they read, and what is missing is neither drawn nor lost."""

import base64

import numpy as np
import pytest

import ae_jax
from ae_jax.api import UserError
from ae_jax.data import DataSet, Split
from ae_jax.data.scales import grey_advice
from ae_jax.report import explorer, figures, run_comparison, run_report
from ae_jax.report.style import as_given, data_name, display_name

SMALL = {"latent_dim": 2, "hidden": [4], "epochs": 1, "batch_size": 16, "progress": False}


def pictures(count: int = 40, holes: bool = False) -> np.ndarray:
    x = np.random.default_rng(count).uniform(0, 1, (count, 4, 4, 1)).astype(np.float32)
    if holes:
        x[:, 1, 2] = np.nan
    return x


def of(x: np.ndarray, **options) -> DataSet:
    parts = {name: Split(x, **options) for name in ("train", "valid", "test")}
    return DataSet("my_data_v2.npy", parts, classes=("ant_hill", "bee") if options else None)


@pytest.fixture(scope="module")
def conditional():
    labels = np.resize(np.arange(2, dtype=np.int32), 40)
    return ae_jax.fit(of(pictures(), y=labels), **SMALL, model__condition="label")


@pytest.fixture(scope="module")
def incomplete():
    options = {"objective": "masked_reconstruction", "objective__pattern": "none"}
    return ae_jax.fit(of(pictures(holes=True)), **SMALL, **options, model__head="gaussian_fixed")


def test_classes_go_by_their_names(conditional):
    z = np.zeros((2, 2))
    np.testing.assert_array_equal(conditional.decode(z, "bee"), conditional.decode(z, 1))
    np.testing.assert_array_equal(
        conditional.decode(z, ["ant_hill", "bee"]), conditional.decode(z, [0, 1])
    )
    assert conditional.sample(3, y="ant_hill").shape == (3, 4, 4, 1)
    by_object = np.array(["ant_hill", "bee"], dtype=object)  # as a column of pandas has them
    np.testing.assert_array_equal(conditional.decode(z, by_object), conditional.decode(z, [0, 1]))
    with pytest.raises(UserError, match="unknown class 'cat'.*valid: ant_hill, bee"):
        conditional.sample(1, y="cat")


def test_samples_of_a_conditional_model_name_their_rows(conditional):
    drawn = run_report._samples(conditional)["samples"].figure
    names = [text.get_text() for text in drawn.axes[0].get_yticklabels()]
    assert names == ["ant_hill", "bee"]


def test_names_of_users_are_shown_as_they_are():
    assert display_name("run_a_1") == "run a 1"
    assert display_name(as_given("run_a_1")) == "run_a_1"
    drawn = figures.loss_curves({as_given("_a"): (np.arange(3), np.arange(3.0) ** 2)})
    (legend,) = drawn.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["_a"]
    assert data_name("/home/me/my_data_v2.npy") == "my_data_v2.npy"
    assert data_name("/home/me/tools.py:load_all") == "tools.py:load_all"
    assert data_name("fashion_mnist") == "Fashion-MNIST"
    assert data_name("synthetic_topics") == "synthetic topics"


def test_a_walk_shows_missing_values_as_the_model_fills_them_in(incomplete):
    page = explorer.specification(incomplete)
    assert "as the model fills it in" in page["summary"]
    shown = np.frombuffer(base64.b64decode(page["examples"]["values"]["bytes"]), np.uint8)
    test = incomplete.setup.dataset.splits["test"]
    made = incomplete.reconstruct(test, units="model")
    filled = np.where(np.isnan(test.x), made, test.x)
    assert np.isnan(test.x).any()
    low, high = page["data"]["low"], page["data"]["high"]
    seen = low + shown.reshape(filled.shape) / 255 * (high - low)
    np.testing.assert_allclose(seen, filled, atol=0.51 / 255 * (high - low))  # half a byte's step


def test_curves_of_different_parts_of_examples_have_axes_of_their_own(incomplete):
    whole = ae_jax.fit(of(pictures()), **SMALL, objective="reconstruction")
    other = ae_jax.fit(of(pictures()), **SMALL, objective="denoising")
    drawn = run_comparison._curves({"run_a": incomplete, "run_b": whole, "run_c": other})
    lines = [one.figure.axes[0].get_legend_handles_labels()[1] for one in drawn.values()]
    assert [len(names) for names in lines] == [1, 2]
    assert drawn["training"].caption.endswith("Of the observed values.")  # nothing is hidden
    assert {*lines[1]} == {"run_b", "run_c"}


def test_pictures_up_to_255_that_are_no_bytes_are_pointed_out():
    bright = of(pictures() * 255)
    assert "uint8, or divided by 255" in grey_advice(bright)
    assert grey_advice(of(pictures())) is None
    assert grey_advice(of(pictures() * 255 - 3)) is None
    assert grey_advice(of(pictures().reshape(40, -1) * 255)) is None
