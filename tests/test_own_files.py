"""Nothing that is written replaces a run or a model; what has no name or no number is itself."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from ae_jax.api import compiled, configure, fit, load
from ae_jax.api.export import export, programs_of, weights_of
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split, examples_for
from ae_jax.data import load as load_data
from ae_jax.data.sources.user_files import file_and_label, user_file
from ae_jax.eval import ImportanceSampledLikelihood
from ae_jax.objectives import Elbo
from ae_jax.report.explorer import specification
from tests.test_whose_data import picture, write_table

RNG = np.random.default_rng(0)
SMALL = {"hidden": (4,), "latent_dim": 2, "epochs": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def run(command, folder):
    """A codec's run with a prior, and its model in a file."""
    if not (folder / "run").exists():
        np.savez(folder / "data.npz", x=RNG.normal(size=(60, 4)).astype("f"))
        options = ("--codec", "probabilistic_pca", "--latent-dim", 2)
        assert command("train", "data.npz", *options, "--workdir", "run")[0] == 0
        load(folder / "run").save(folder / "model.npz")
        shutil.copytree(folder / "run", folder / "other")
    return folder / "run"


def contents(path):
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ("export", "run", "--out", "run"),
        ("export", "run", "--out", "run/checkpoints"),
        ("sample", "run", "--out", "run/facts.npz"),
        ("encode", "run", "--out", "run/facts.npz"),
        ("encode", "run", "--out", "run/checkpoints/z.npz"),
        ("score", "run", "--out", "run/facts.npz"),
        ("sample", "model.npz", "--out", "model.npz"),
        ("score", "model.npz", "--data", "data.npz", "--out", "model.npz"),
        ("report", "run", "other", "--out", "run/report.html"),
    ],
    ids=" ".join,
)
def test_no_output_is_written_over_a_run_or_a_model(command, folder, run, words):
    before = contents(folder)
    status, _, error = command(*words)
    assert status == 2 and error.startswith("Error: ") and error.count("\n") == 1, error
    assert contents(folder) == before


def test_what_is_made_of_a_run_may_lie_beside_what_it_keeps(command, folder, run):
    for words in (
        ("export", "run"),
        ("export", "run", "--out", "run/export"),  # anew
        ("encode", "run", "--out", "run/z.npz"),
        ("sample", "model.npz", "--out", "drawn.npz"),
    ):
        status, _, error = command(*words)
        assert status == 0, error


def test_a_folder_with_one_name_of_a_runs_is_none(command, folder, run):
    (folder / "checkpoints").mkdir(exist_ok=True)  # where runs lie by default
    status, _, error = command("sample", "model.npz", "--out", "checkpoints/drawn.npz")
    assert status == 0, error


def test_a_model_in_a_file_says_where_it_would_write(command, folder, run):
    for words in (("sample", "model.npz"), ("export", "model.npz")):
        status, _, error = command(*words)
        assert status == 2 and "is a model in a file" in error, error


@struct.dataclass
class Mine(Elbo):
    """The bound, by a class that no registry names."""


def test_an_objective_without_a_name_is_fitted_and_shown_and_nothing_half_is_left(tmp_path):
    x = RNG.uniform(size=(40, 6)).astype("f")
    config = dataclasses.replace(configure(None, SMALL), objective=Mine())
    model = fit(x, config=config)
    assert "objective Mine" in repr(model)
    assert "Mine" in str(specification(model)["title"])
    with pytest.raises(UserError, match="objective Mine has no name"):
        export(model, tmp_path / "exported")
    with pytest.raises(UserError, match="objective Mine has no name"):
        fit(x, config=config, workdir=tmp_path / "run")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_exported_encoder_keeps_what_float32_cannot_hold_of_a_mean(count):
    x = (1e6 + 5 * RNG.normal(size=(100, 6))).astype("f")
    model = fit(x, codec="pca", latent_dim=2, preprocess="standardization")
    codes = programs_of(model)["encode"].call(weights_of(model), jnp.asarray(x[:count]))
    train = np.asarray(model.setup.dataset.splits["train"].x, np.float64)
    standard = (x[:count].astype(np.float64) - train.mean(axis=0)) / train.std(axis=0)
    expected = standard @ np.asarray(model.params.atoms, np.float64).T
    np.testing.assert_allclose(codes, expected, atol=1e-4)
    np.testing.assert_allclose(codes, model.encode(x[:count]), atol=1e-5)


def test_rows_without_ids_have_the_noise_of_what_they_hold():
    x = RNG.integers(0, 256, size=(40, 6)).astype(np.uint8)
    model = fit(x, preprocess="fixed_binarization", head="bernoulli", **SMALL)
    split = model.setup.dataset.splits["test"]
    alone, among = split.rows(np.array([2])), split.rows(np.array([1, 2]))
    np.testing.assert_array_equal(model.inputs(alone)[0], model.inputs(among)[1])
    np.testing.assert_array_equal(model.inputs(Split(x[5:6]))[0], model.inputs(Split(x[:6]))[5])


def test_equal_numbers_are_one_whatever_their_sign_bit_says():
    zeros = jnp.array([[0.0, 5.0], [-0.0, 5.0]])
    missing = np.array([[np.nan, 5.0], [np.nan, 5.0]], np.float32)
    missing[1, 0] = -missing[1, 0]
    for rows in (zeros, jnp.asarray(missing)):
        first, second = compiled._content(rows).tolist()
        assert first == second
    assert compiled._content(zeros)[0] != compiled._content(jnp.asarray(missing))[0]


def test_the_error_of_an_estimate_goes_by_the_name_of_the_estimate():
    x = RNG.normal(size=(60, 4)).astype("f")
    model = fit(x, codec="probabilistic_pca", latent_dim=2)
    values = model.evaluate("test", [ImportanceSampledLikelihood(10)])
    test = np.asarray(model.setup.dataset.splits["test"].x)
    exact = float(np.mean(model.params.log_prob(jnp.asarray(test))))
    assert values["log_likelihood"] == pytest.approx(exact, rel=1e-4)  # of the codec
    estimated = "ImportanceSampledLikelihood/log_likelihood"
    assert "log_likelihood_se" not in values
    assert values[estimated] == pytest.approx(exact, rel=1e-4)  # its q(z|x) is p(z|x)
    assert values[f"{estimated}_se"] > 0


def test_data_sets_of_two_shapes_or_of_lists_are_refused():
    x = RNG.normal(size=(40, 6)).astype("f")
    uneven = DataSet("d", {"train": Split(x), "test": Split(x[:9, :3])})
    with pytest.raises(UserError, match=r"those of train have \(6,\), those of test \(3,\)"):
        fit(uneven, codec="pca", latent_dim=2)
    with pytest.raises(UserError, match="the examples of train are an array, not list"):
        fit(DataSet("d", {"train": Split(x.tolist())}), codec="pca", latent_dim=2)


def test_a_file_is_itself_by_a_shorter_path(tmp_path, monkeypatch):
    write_table(tmp_path / "tab.csv", [["a", "b", "c"], *RNG.normal(size=(60, 3)).tolist()])
    monkeypatch.chdir(tmp_path)
    fit(load_data("tab.csv"), data__name="tab.csv", codec="pca", latent_dim=2)


def test_features_of_a_model_are_no_labels_of_a_new_table(command, folder):
    rows = [[*one, int(one[0] > 0)] for one in RNG.integers(-9, 9, size=(60, 3)).tolist()]
    write_table(folder / "xi.csv", [["x", "y", "z", "k"], *rows])
    write_table(folder / "xin.csv", [["x", "y", "z"], *[row[:3] for row in rows]])
    options = ("--codec", "pca", "--latent-dim", 2)
    assert command("train", "xi.csv:k", *options, "--workdir", "of-table")[0] == 0
    status, _, error = command("score", "of-table", "--data", "xin.csv", "--out", "s.csv")
    assert status == 0, error
    data = load_data(str(folder / "xi.csv:k"))
    split, _ = examples_for(str(folder / "xin.csv"), data)
    np.testing.assert_array_equal(split.x, np.array(rows)[:, :3])


def test_a_table_of_features_alone_is_named_by_a_colon(tmp_path):
    rows = [[i, i % 3, i % 2] for i in range(40)]
    write_table(tmp_path / "t.csv", [["a", "y", "l:m"], *rows])
    assert load_data(str(tmp_path / "t.csv")).facts.feature_names == ("a", "l:m")
    alone = load_data(str(tmp_path / "t.csv:"))
    assert alone.facts.feature_names == ("a", "y", "l:m") and alone.num_classes is None
    assert alone.name.endswith("t.csv:")
    named = load_data(str(tmp_path / "t.csv:l:m"))
    assert named.facts.feature_names == ("a", "y") and named.num_classes == 2
    assert file_and_label("a.csv") == (file_and_label("a.csv:")[0], None)


def test_numbers_with_a_line_between_digits_are_words(tmp_path):
    write_table(tmp_path / "t.csv", [["a", "b"], *[[i, f"{i}_0"] for i in range(40)]])
    with pytest.raises(UserError, match="'b' holds words"):
        load_data(str(tmp_path / "t.csv"))


def test_folders_are_read_past_what_is_no_example(tmp_path):
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png", ".ipynb_checkpoints/1.png"):
        picture(tmp_path / name)
    (tmp_path / "classes.txt").write_text("cats dogs")
    (tmp_path / "cats/.hidden.png").write_text("no picture")
    stored = user_file(str(tmp_path)).stored(print)
    assert stored.classes == ("cats", "dogs")
    assert len(stored.train.x) + len(stored.test.x) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no data: neither pictures"):
        load_data(str(tmp_path / "empty"))


def test_what_does_not_fit_a_folder_or_an_option_is_said_in_its_own_words(tmp_path):
    x = RNG.normal(size=(60, 4)).astype("f")
    fit(x, **SMALL, workdir=tmp_path / "run")
    with pytest.raises(UserError, match="holds a run on other data .*; choose another workdir"):
        fit(x + 1, **SMALL, workdir=tmp_path / "run")
    with pytest.raises(UserError, match=r"configuration \(a network -> a codec \(kmeans\)\);"):
        fit(x, codec="kmeans", latent_dim=2, workdir=tmp_path / "run")
    with pytest.raises(UserError, match=r"as in \[8, 4\], not"):
        fit(x, hidden="8,4")
    for part in (Mine, Mine()):
        with pytest.raises(
            UserError, match=r"a part goes by its name, or as path/to/file\.py:Name"
        ):
            fit(x, objective=part)
    model = load(tmp_path / "run", data=x)
    assert model.evaluate("test", "bound") == model.evaluate("test", ["bound"])


def test_a_grid_in_which_nothing_varies_is_refused(command, folder):
    status, _, error = command("grid", "digits", "--workdir", "nothing")
    assert (
        status == 2 and "nothing varies in this grid" in error and not (folder / "nothing").exists()
    )


def test_the_first_gap_is_named_by_its_row_as_it_was_given():
    x = RNG.normal(size=(100, 4)).astype("f")
    x[57, 2] = np.nan
    with pytest.raises(UserError, match=r"the first in its example \d+, row 57 of the data\)"):
        fit(x, **SMALL)
