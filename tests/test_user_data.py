"""Data as people have them, each form against the arrays that went in, and every refusal."""

import dataclasses
import gzip
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_iris

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Split, from_array, from_object, info, load
from ae_jax.data.scales import constant_advice, scale_advice
from ae_jax.data.sources.user_arrays import stored_of

IRIS = load_iris(as_frame=True)
SPECIES = np.array(IRIS.target_names)[IRIS.target]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


def alike(data, expected):
    """Whether two data sets hold the same examples, labels and names in the same splits."""
    assert data.splits.keys() == expected.splits.keys()
    for part, split in expected.splits.items():
        np.testing.assert_array_equal(data.splits[part].x, split.x)
        np.testing.assert_array_equal(data.splits[part].y, split.y)
        assert data.splits[part].x.dtype == split.x.dtype
    assert data.max_value == expected.max_value


def iris_frame():
    frame = IRIS.data.astype(np.float32)
    return frame.assign(species=SPECIES)


@pytest.fixture(scope="module")
def expected_iris():
    return from_array(IRIS.data.to_numpy(np.float32), IRIS.target.to_numpy())


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "semicolons"])
def test_tables(folder, expected_iris, ending, capsys):
    path = folder / f"iris.{'csv' if ending == 'semicolons' else ending}"
    if ending == "parquet":
        iris_frame().to_parquet(path)
    else:
        between = {"csv": ",", "tsv": "\t", "semicolons": ";"}[ending]
        iris_frame().to_csv(path, index=False, sep=between)
    data = load(f"{path}:species")
    alike(data, expected_iris)
    assert data.classes == ("setosa", "versicolor", "virginica")
    assert data.facts.feature_names == tuple(IRIS.feature_names)
    assert "labels from the column 'species'" in capsys.readouterr().err


def test_data_frames(expected_iris):
    frame = iris_frame()
    for data in (
        from_object(frame, "species"),
        from_object(frame.drop(columns="species"), SPECIES),
        from_object(frame.rename(columns={"species": "Class"})),
        from_object(frame.assign(species=frame["species"].astype("category")), "species"),
        from_object(frame.drop(columns="species").to_numpy(), SPECIES),
    ):
        alike(data, expected_iris)
        assert data.classes == ("setosa", "versicolor", "virginica")
    numbered = from_object(frame.assign(species=IRIS.target), "species")
    alike(numbered, expected_iris)
    assert numbered.classes is None


def test_a_fit_and_its_new_examples_come_as_the_same_frame(expected_iris):
    frame = iris_frame()
    options = {"codec": "pca", "latent_dim": 2}
    fitted = ae_jax.fit(frame, "species", **options)
    plain = ae_jax.fit(frame.drop(columns="species").to_numpy(), **options)
    codes = plain.encode(IRIS.data.to_numpy(np.float32))
    np.testing.assert_array_equal(fitted.encode(frame[frame.columns[::-1]]), codes)
    with pytest.raises(UserError, match="lack the column 'petal width"):
        fitted.encode(frame.iloc[:, :3])


@pytest.mark.parametrize(
    "text, x",
    [
        ("1,2\n3,4\n5,6\n", [[1, 2], [3, 4], [5, 6]]),  # no names
        ("a,b\n1,0\n0,1\n1,1\n", [[1, 0], [0, 1], [1, 1]]),  # binary
        ("\ufeffa,b\r\n1,2.5\r\n3,4\r\n5,-1e3\r\n", [[1, 2.5], [3, 4], [5, -1000]]),
        ('"a, b",c\n1,2\n3,4\n5,7\n', [[1, 2], [3, 4], [5, 7]]),
    ],
)
def test_tables_are_read_as_python_would_hold_them(tmp_path, text, x):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8", newline="")
    alike(load(str(path)), from_array(np.array(x)))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("a,b\n", "names of columns and no rows"),
        ("a,b\n1,2\n3\n", "row 2 has 1 fields, and there are 2 columns"),
        ("a,a\n1,2\n", "two columns called 'a'"),
        ("a,b\n1,red\n2,blue\n3,red\n", "column 'b' holds words, such as 'red'.*FILE:b"),
        ("label\n1\n2\n3\n", "no columns of numbers"),
        ("a,label\n1,\n2,3\n4,5\n", "'label' lacks some labels"),
        ("a,label\n1,0.5\n2,3\n4,5\n", "'label' holds fractions"),
        ("a,b\n1,2\n3,4\n", "2 examples cannot be split"),
    ],
)
def test_refused_tables(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load(str(path))
    assert "\n" not in str(error.value)


def test_tables_that_are_none(tmp_path):
    for name, message in [("x.csv", "no readable table"), ("x.parquet", "no parquet file")]:
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x80" * 9)
        with pytest.raises(UserError, match=message):
            load(str(tmp_path / name))
    with pytest.raises(UserError, match="there is no such file"):
        load(str(tmp_path / "y.csv"))
    (tmp_path / "z.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    with pytest.raises(UserError, match="has no column 'c': it has a, b"):
        load(f"{tmp_path / 'z.csv'}:c")


@pytest.fixture(scope="module")
def pictures(folder):
    """24 colour pictures of two classes, and the folder that holds them."""
    x = np.random.default_rng(0).integers(0, 256, (24, 6, 5, 3), dtype=np.uint8)
    root = folder / "pictures"
    for index, image in enumerate(x):
        sub = root / ("cats" if index < 10 else "dogs")
        sub.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(sub / f"{index:02}.png")
    return root, x, (np.arange(24) >= 10).astype(int)


def test_folders_of_pictures(pictures):
    root, x, y = pictures
    data = load(str(root))
    alike(data, from_array(x, y))
    assert data.classes == ("cats", "dogs") and data.max_value == 255.0
    names = {str(name) for split in data.splits.values() for name in split.names}
    assert names == {f"{'cats' if i < 10 else 'dogs'}/{i:02}.png" for i in range(24)}
    assert info(str(root))["classes"] == "cats, dogs"


def test_pictures_that_are_cut_already_and_without_classes(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (9, 4, 4), dtype=np.uint8)
    for part, rows in [("train", x[:5]), ("val", x[5:7]), ("test", x[7:])]:
        (tmp_path / part).mkdir()
        for index, image in enumerate(rows):
            Image.fromarray(image).save(tmp_path / part / f"{index}.bmp")
    data = load(str(tmp_path))
    for part, rows in [("train", x[:5]), ("valid", x[5:7]), ("test", x[7:])]:
        np.testing.assert_array_equal(data.splits[part].x[..., 0], rows)
        assert data.splits[part].y is None
    assert data.shape == (4, 4, 1)


def test_photographs_are_near_what_was_saved(tmp_path):
    """JPEG is lossy: a smooth picture comes back within a few grey levels."""
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1))
    for index in range(4):
        Image.fromarray(ramp + index).save(tmp_path / f"{index}.jpg", quality=95)
    data = load(str(tmp_path))
    for split in data.splits.values():
        for name, image in zip(split.names, split.x, strict=True):
            assert np.abs(image[..., 0].astype(int) - ramp - int(str(name)[0])).max() <= 4


def add(path, mode="RGB", size=(5, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda root: add(root / "a/big.png", size=(9, 6)), "differ in size.*5x6 and big.png 9x6"),
        (lambda root: (root / "a/z.png").write_bytes(b"no picture"), "cannot be read as a picture"),
        (lambda root: add(root / "a/t.png", "RGBA"), "transparent in places"),
        (lambda root: add(root / "a/deep.png", "I;16"), "mode I;16, and pictures of 8 bits"),
        (lambda root: add(root / "loose.png"), "in subfolders and beside them"),
        (lambda root: (root / "empty").mkdir(), "there are no pictures in .*empty"),
    ],
)
def test_refused_pictures(tmp_path, spoil, message):
    for index in range(3):
        add(tmp_path / f"a/{index}.png")
    spoil(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        load(str(tmp_path))
    assert "\n" not in str(error.value)


def test_arrays_in_gzip_and_hdf5(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    with gzip.open(tmp_path / "x.npy.gz", "wb") as file:
        np.save(file, x)
    alike(load(str(tmp_path / "x.npy.gz")), from_array(x))
    with h5py.File(tmp_path / "xy.h5", "w") as file:
        file["x"], file["y"], file["other"] = x, [b"b", b"a"] * 10, 3
    alike(load(str(tmp_path / "xy.h5")), from_array(x, np.tile([1, 0], 10)))
    with h5py.File(tmp_path / "parts.hdf5", "w") as file:
        file["x_train"], file["x_test"] = x[:15], x[15:]
    data = load(str(tmp_path / "parts.hdf5"))
    np.testing.assert_array_equal(data.splits["test"].x[..., 0], x[15:])


def test_refused_archives(tmp_path):
    (tmp_path / "x.npy.gz").write_bytes(b"no gzip")
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["pixels"] = np.zeros(3)
    for name, message in [
        ("x.npy.gz", "gzipped .npy"), ("x.h5", "as HDF5"), ("y.h5", "needs x.*but holds pixels"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=message):
            load(str(tmp_path / name))


class TorchLike:
    """As torch's data sets are: a length, examples by number."""

    classes = ("ant", "bee")

    def __init__(self, rows):
        self._rows = rows

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        return self._rows[index]


X = np.random.default_rng(1).normal(size=(20, 3, 4, 5)).astype(np.float32)  # [N, C, H, W]
Y = np.arange(20) % 2


def test_data_sets_of_torch():
    expected = from_array(np.moveaxis(X, 1, -1), Y)
    for rows in (
        list(zip(X, Y, strict=True)),
        [{"image": x, "label": int(y)} for x, y in zip(X, Y, strict=True)],
    ):
        data = from_object(TorchLike(rows), layout="channels_first")
        alike(data, expected)
        assert data.classes == ("ant", "bee")
    alike(
        from_object(TorchLike(list(X)), layout="channels_first"),
        from_array(X.transpose(0, 2, 3, 1)),
    )


@dataclasses.dataclass
class Feature:
    dtype: str = ""
    names: list | None = None


class HuggingFaceLike:
    """As `datasets.Dataset` is: columns of lists, and what they are declared to be."""

    def __init__(self, columns, features=None):
        self._columns = columns
        self.features = {name: Feature() for name in columns} | (features or {})
        self.column_names = list(columns)
        self.num_rows = len(next(iter(columns.values())))

    def __getitem__(self, rows):
        return {name: values[rows] for name, values in self._columns.items()}


@pytest.mark.parametrize("given", ["digits", Path("x.npy")])
def test_a_name_is_no_array_and_the_sentence_says_what_reads_it(given):
    with pytest.raises(UserError, match=f"'{given}' is a name or a path, which ae_jax.data.load"):
        ae_jax.fit(given, epochs=1)


def test_data_sets_of_hugging_face():
    x = np.random.default_rng(2).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    features = {"image": Feature("uint8"), "label": Feature("int64", ["ant", "bee"])}
    rows = HuggingFaceLike({"image": x.tolist(), "label": Y.tolist()}, features)
    data = from_object(rows)
    alike(data, from_array(x, Y))
    assert data.classes == ("ant", "bee")
    parts = from_object({"train": rows, "validation": rows, "test": rows})
    assert {part: len(split) for part, split in parts.splits.items()} == dict.fromkeys(
        ("train", "valid", "test"), 20
    )
    assert parts.classes == ("ant", "bee")
    others = {"image": Feature("uint8"), "label": Feature("int64", ["bee", "ant"])}
    turned = HuggingFaceLike({"image": x.tolist(), "label": Y.tolist()}, others)
    with pytest.raises(UserError, match="its splits have other names for the same classes"):
        from_object({"train": rows, "test": turned})
    table = HuggingFaceLike({"a": X[:, 0, 0, 0].tolist(), "kind": ["b", "a"] * 10})
    alike(from_object(table, "kind"), from_array(X[:, 0, 0, :1], 1 - Y))
    texts = from_object(HuggingFaceLike({"text": ["good cat", "bad dog", "sea", "sun"] * 5}))
    assert texts.is_counts and texts.facts.feature_names == (
        "bad",
        "cat",
        "dog",
        "good",
        "sea",
        "sun",
    )


@pytest.mark.parametrize(
    "x, y, message",
    [
        (TorchLike([(X[0], 1), X[1], X[2]]), None, "labels for some examples but not for all"),
        (TorchLike([(X[0], 1, 2)] * 5), None, "3 parts, and x and y are known"),
        (TorchLike([{"pixels": X[0]}] * 5), None, "has pixels, none of them known as x"),
        (TorchLike([X[0], X[1][:, :2], X[2]]), None, "differ in shape"),
        (HuggingFaceLike({"a": [1.0] * 5}), "b", "no column 'b': there are a"),
        ({"train": HuggingFaceLike({"x": [[1.0]] * 5})}, None, "train and test are needed"),
        (X, np.array(["a"] * 19 + [None], object), "missing or of mixed types"),
        (X, np.array([["a"]] * 20), r"labels of shape \(20,\)"),
        (pd.DataFrame({"a": [1.0, 2, 3], "b": ["u", "v", "w"]}), None, "'b' holds words"),
        (pd.DataFrame({"a": [1.0, 2, 3], "b": ["u", None, "w"]}), "b", "missing or of mixed"),
    ],
)
def test_refused_objects(x, y, message):
    with pytest.raises(UserError, match=message) as error:
        from_object(x, y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", [np.array, pd.Series, list])
def test_words_become_classes_in_sorted_order(form):
    data = from_object(X, form(["wasp", "ant", "bee", "ant"] * 5))
    assert data.classes == ("ant", "bee", "wasp")
    alike(data, from_array(X, np.tile([2, 0, 1, 0], 5)))


def test_stored_of_keeps_names_beside_examples():
    stored = stored_of(X, None, "n", names=np.arange(20).astype(str))
    for split in stored.under("paper", "n").splits.values():
        np.testing.assert_array_equal(split.x, X[split.names.astype(int)])


def test_channels_first_from_python_and_from_a_file(folder):
    options = {"codec": "pca", "latent_dim": 2}
    expected = ae_jax.fit(np.moveaxis(X, 1, -1), **options)
    first = ae_jax.fit(X, data__layout="channels_first", **options)
    assert first.setup.dataset.shape == (4, 5, 3)
    np.testing.assert_array_equal(first.encode(X), expected.encode(np.moveaxis(X, 1, -1)))
    np.save(folder / "first.npy", X)
    alike(load(str(folder / "first.npy"), layout="channels_first"), expected.setup.dataset)


def test_channels_first_is_refused_where_it_means_nothing(folder):
    for call in (
        lambda: load("digits", layout="channels_first"),
        lambda: from_object(X[:, 0], layout="channels_first"),
        lambda: from_object(pd.DataFrame(X[:, 0, 0]), layout="channels_first"),
        lambda: from_object(["a text", "and one"], layout="channels_first"),
    ):
        with pytest.raises(UserError, match="channels_first"):
            call()


@pytest.mark.parametrize(
    "scales, expected",
    [
        ([1, 999], None),
        ([1, 1001], "b varies by .* and a by .*data.preprocess=standardization"),
        ([1001, 1], "a varies by"),
        ([0, 1000], None),
    ],
)
def test_advice_where_scales_differ(scales, expected):
    column = np.resize([1.0, -1.0], 40)
    data = from_object(pd.DataFrame({"a": column * scales[0], "b": column * scales[1]}))
    advice = scale_advice(data)
    if expected is None:
        assert advice is None
    else:
        assert pd.Series(advice).str.contains(expected).item() and "\n" not in advice


def test_columns_that_do_not_vary_are_named():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(40, 7)), columns=list("abcdefg"))
    assert constant_advice(from_object(table)) is None
    table["c"] = 0.1  # of which the mean of forty is not 0.1
    assert ": c did not vary in the training rows" in constant_advice(from_object(table))
    table.loc[:, "b":"f"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    table.loc[3, "d"] = np.nan
    assert ": b, c, d and 2 more did not vary" in constant_advice(from_object(table))
    assert constant_advice(from_array(table.to_numpy())) is None  # maybe the border of a picture
    assert "column 0, column 1 did" in constant_advice(from_array(np.ones((40, 2))))


def test_no_advice_on_pictures_and_counts():
    wide = np.random.default_rng(0).integers(0, 2, (20, 2)) * [1, 200]
    assert scale_advice(from_array(wide.astype(np.uint8))) is None
    assert scale_advice(from_array(X * np.array([1, 1e4, 1]).reshape(1, 3, 1, 1))) is None


def test_advice_is_given_unless_it_was_taken(capsys):
    x = np.random.default_rng(0).normal(size=(40, 2)) * [1, 1e4]
    ae_jax.fit(x, codec="pca", latent_dim=1, data__preprocess="standardization")
    assert "standardization" not in capsys.readouterr().err
    ae_jax.fit(x, codec="pca", latent_dim=1)
    assert "data.preprocess=standardization" in capsys.readouterr().err


def test_command_line_takes_tables_and_says_what_they_hold(command, folder):
    iris_frame().to_csv(folder / "flowers.csv", index=False)
    status, out, err = command("data", "info", "flowers.csv:species")
    assert status == 0 and "classes: setosa, versicolor, virginica" in out
    assert "features: sepal length (cm)" in out
    options = ["--codec", "pca", "--latent-dim", "2", "--workdir", "run"]
    assert command("train", "flowers.csv:species", *options)[0] == 0
    fitted = ae_jax.load(folder / "run")
    assert fitted.config.data.name == f"{folder / 'flowers.csv'}:species"
    assert fitted.encode(iris_frame()).shape == (150, 2)
    status, _, err = command("train", "flowers.csv", *options[:-1], "other")
    assert status == 2 and "'species' holds words" in err.splitlines()[-1]


def test_splits_keep_what_belongs_to_their_examples():
    factors, names = np.arange(40).reshape(20, 2), np.array(list("abcdefghijklmnopqrst"))
    split = Split(X, Y.astype(np.int32), factors=factors, names=names)
    data = DataSet("n", {"train": split, "test": split}).limited(3)
    assert data.splits["train"].factors.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert data.splits["train"].names.tolist() == ["a", "b", "c"]
    joined = split.rows(np.array([1])).after(split.head(2))
    assert joined.names.tolist() == ["a", "b", "b"] and joined.first_id is None
    assert Split(X).after(split).names is None
