"""What data hold is kept on the way in, or refused: conditions, order, classes, splits, labels."""

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import ae_jax
from ae_jax.api import UserError
from ae_jax.data import DataSet, Split, examples_for, from_object, load
from ae_jax.sklearn import KMeans, OutlierDetector, SphericalMixture

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)


def load_function(tmp_path, body):
    file = tmp_path / f"own{len(list(tmp_path.iterdir()))}.py"
    file.write_text(
        "import numpy as np\nfrom ae_jax.data import DataSet, Split\n"
        f"x = np.linspace(0, 1, 60, dtype=np.float32).reshape(20, 3)\n{body}\n"
    )
    return load(f"{file}:made")


def test_a_function_comes_in_by_the_same_door_as_its_data_set(tmp_path):
    short = "def made(): return DataSet('a', {p: Split(x, condition=x[:3]) for p in PARTS})"
    parts = "PARTS = ('train', 'test')\n"
    with pytest.raises(UserError, match="20 examples need as many conditions, not 3"):
        load_function(tmp_path, parts + short)
    masked = "def made(): return DataSet('a', {p: Split(m) for p in PARTS})"
    data = load_function(tmp_path, f"{parts}m = np.ma.masked_greater(x, 0.5)\n{masked}")
    assert np.nanmax(data.splits["train"].x) <= 0.5 and np.isnan(data.splits["train"].x).any()
    declared = "y = np.arange(20, dtype=np.int32) % 3\ndef made(): return DataSet('a', "
    declared += "{p: Split(x, y) for p in PARTS}, declared_classes=10)"
    assert load_function(tmp_path, parts + declared).num_classes == 10


def test_rows_of_a_sparse_matrix_and_texts_are_called_by_their_numbers(tmp_path):
    counts = np.arange(1, 21)[:, None] * np.array([[1, 0, 2]])
    sparse.save_npz(tmp_path / "s.npz", sparse.csr_matrix(counts))
    data = load(str(tmp_path / "s.npz"))
    whole, _ = examples_for(str(tmp_path / "s.npz"), data)
    np.testing.assert_array_equal(np.asarray(whole.x[:, 0]).ravel(), np.arange(1, 21))
    texts = [f"word{'s' * (i % 3)} and{i}" for i in range(30)]
    for split in from_object(texts * 2).splits.values():
        assert split.names is not None and len(split.names) == len(split.x)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_few_examples_are_enough_for_a_model_that_is_there(rows, tmp_path):
    wide = pd.DataFrame(1e6 + 1e3 * X, columns=list("abc"))
    wide.to_csv(tmp_path / "all.csv", index=False)
    few = 1e6 + 0.03 * np.arange(3.0 * rows).reshape(rows, 3)
    pd.DataFrame(few, columns=list("abc")).to_csv(tmp_path / "few.csv", index=False)
    data = load(str(tmp_path / "all.csv"))
    found, _ = examples_for(str(tmp_path / "few.csv"), data)
    np.testing.assert_array_equal(found.x, few.astype(np.float32))
    with pytest.raises(UserError, match="cannot be split|cannot tell them apart"):
        load(str(tmp_path / "few.csv"))


def test_a_missing_category_of_a_parquet_file_is_missing(tmp_path):
    frame = pd.DataFrame({"a": RNG.normal(size=12), "label": pd.Categorical(["a", "b", None] * 4)})
    frame.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(UserError, match="some labels are missing"):
        load(str(tmp_path / "c.parquet"))
    whole = frame.assign(label=pd.Categorical(["b", "a", "b"] * 4))
    whole.sample(frac=1, random_state=0).to_parquet(tmp_path / "w.parquet")
    data = load(str(tmp_path / "w.parquet"))
    assert data.facts.feature_names == ("a",) and data.classes == ("a", "b")


def test_what_pandas_writes_beside_the_numbers_is_no_number(tmp_path, capsys):
    frame = pd.DataFrame(X)
    for index in (False, True):
        frame.to_csv(tmp_path / "x.csv", index=index)
        data = load(str(tmp_path / "x.csv"))
        assert sum(map(len, data.splits.values())) == 40
        assert data.facts.feature_names == ("0", "1", "2")
        assert f"its first row, {', 0, 1' if index else '0, 1, 2'}" in capsys.readouterr().err
    frame.rename(columns=str).add_prefix("f").to_csv(tmp_path / "x.csv")
    assert load(str(tmp_path / "x.csv")).facts.feature_names == ("f0", "f1", "f2")


def test_hdf5_has_the_keys_that_npz_has(tmp_path):
    parts = {"x_train": X[:20], "x_val": X[20:30], "x_test": X[30:]}
    with h5py.File(tmp_path / "p.h5", "w") as file:
        for name, values in parts.items():
            file[name] = values
    assert {n: len(s) for n, s in load(str(tmp_path / "p.h5")).splits.items()} == {
        "train": 20, "valid": 10, "test": 10,
    }  # fmt: skip
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for name, values in (parts | {"x": X}).items():
            file[name] = values
    with pytest.raises(UserError, match="says twice what its examples are"):
        load(str(tmp_path / "t.h5"))


def test_labels_that_would_go_unseen_are_refused():
    masked = np.ma.masked_equal(np.arange(40) % 3, 2)
    for x in (pd.DataFrame(X), sparse.csr_matrix(np.abs(X))):
        with pytest.raises(UserError, match="some labels are masked"):
            from_object(x, masked)
    with pytest.raises(UserError, match="no text in UTF-8"):
        from_object(X, np.array([b"caf\xe9"] * 40))
    data = DataSet("own", {"train": Split(X), "test": Split(X[:9])}, None)
    with pytest.raises(UserError, match="the labels of a DataSet are in its splits"):
        ae_jax.fit(data, np.arange(40) % 2, codec="pca", latent_dim=1)
    with pytest.raises(UserError, match="a mapping of arrays is no data set"):
        from_object({"x": X, "y": np.arange(40)})
    with pytest.raises(UserError, match="what was given has no length"):
        from_object((row for row in X), np.arange(40))


def test_a_codec_looks_at_every_split():
    holed = {"train": Split(X), "test": Split(np.where(X > 1.5, np.nan, X))}
    with pytest.raises(UserError, match="the test split of own holds values that are NaN"):
        ae_jax.fit(DataSet("own", holed, None), codec="pca", latent_dim=1)


@pytest.mark.parametrize("kind", [KMeans, SphericalMixture])
def test_clusters_are_found_whatever_the_output_is_to_be(kind):
    plain = kind(3, random_state=0).fit(X)
    framed = kind(3, random_state=0).set_output(transform="pandas").fit(X)
    np.testing.assert_array_equal(plain.predict(X), framed.predict(X))
    assert isinstance(framed.transform(X), pd.DataFrame)
    if kind is SphericalMixture:
        assert isinstance(framed.predict_proba(X), np.ndarray)


def test_a_score_that_there_is_not_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(KMeans, "fit", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(ValueError, match="nonsense"):
        OutlierDetector(KMeans(2), kind="nonsense").fit(X)


@pytest.mark.parametrize("option", ["encode_iterations", "code_iterations", "code_tolerance"])
def test_what_codes_with_a_penalty_have_is_refused_without_one(option):
    options = {"codec": "sparse_coding", "codec__sparsity": "omp", "latent_dim": 4}
    options |= {"codec__num_nonzeros": 1, f"codec__{option}": 3}
    with pytest.raises(UserError, match=f"codec.{option} is of codes with a penalty"):
        ae_jax.fit(X, **options)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def of_a_file(tmp_path, command):
    """A table, the run that the command trained on it, and the model while both are there."""
    table = tmp_path / "own.csv"
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.to_csv(table, index=False)
    options = ("--hidden", 4, "--latent-dim", 2, "--epochs", 1, "--no-report")
    status, _, error = command("train", table, *options, "--workdir", tmp_path / "run")
    assert status == 0, error
    return table, tmp_path / "run", ae_jax.load(tmp_path / "run")


def test_a_run_is_used_without_the_file_it_was_trained_on(of_a_file):
    table, run, whole = of_a_file
    table.unlink()
    model = ae_jax.load(run)
    np.testing.assert_array_equal(model.encode(X), whole.encode(X))
    np.testing.assert_array_equal(model.sample(3), whole.sample(3))
    with pytest.raises(UserError, match="the data of the model are not at hand"):
        model.evaluate("test")


def test_members_of_a_grid_are_used_without_the_file_too(tmp_path, command):
    table = tmp_path / "own.csv"
    pd.DataFrame(X, columns=["a", "b", "c"]).to_csv(table, index=False)
    options = ("--over", "latent_dim=1,2", "--hidden", 4, "--epochs", 1)
    status, _, error = command("grid", table, *options, "--workdir", tmp_path / "grid")
    assert status == 0, error
    members = sorted(file.parent for file in (tmp_path / "grid").rglob("config.json"))
    whole = [ae_jax.load(member) for member in members]
    table.unlink()
    assert [model.encode(X).shape[1] for model in whole] == [1, 2]
    for member, known in zip(members, whole, strict=True):
        np.testing.assert_array_equal(ae_jax.load(member).encode(X), known.encode(X))


def test_and_where_the_file_has_other_examples_now(of_a_file):
    table, run, whole = of_a_file
    table.write_text(table.read_text().rsplit("\n", 3)[0] + "\n")
    with pytest.warns(UserWarning, match="has changed.*the run is used without its examples"):
        model = ae_jax.load(run)
    np.testing.assert_array_equal(model.encode(X), whole.encode(X))
    with pytest.raises(UserError, match="has changed"):
        ae_jax.load(run, data=load(str(table)))
