"""Users' arrays: the types and shapes they come out with, and one sentence for each refusal."""

import numpy as np
import pytest
from scipy import sparse

from ae_jax.api import as_dataset
from ae_jax.core.errors import UserError
from ae_jax.data import from_array, load
from ae_jax.train.config import DataConfig


@pytest.mark.parametrize(
    "x, dtype, max_value",
    [
        (np.full((20, 3), 7, np.uint8), np.uint8, 255.0),
        (np.full((20, 3), 2, np.uint8), np.uint8, 255.0),
        (np.ones((20, 3), bool), np.uint8, 1.0),
        (np.ones((20, 3), np.uint8), np.uint8, 1.0),
        (np.ones((20, 3), np.int64), np.uint8, 1.0),
        (np.full((20, 3), 2, np.int64), np.float32, None),
        (np.full((20, 3), 255, np.uint16), np.float32, None),
        (np.full((20, 3), -1, np.int8), np.float32, None),
        (np.full((20, 3), 0.5, np.float64), np.float32, None),
        (np.full((20, 3), 0.5, np.float16), np.float32, None),
    ],
)
def test_types(x, dtype, max_value):
    data = from_array(x)
    train = data.splits["train"].x
    assert train.dtype == dtype and data.max_value == max_value
    np.testing.assert_array_equal(train, x[:16].astype(dtype))


@pytest.mark.parametrize(
    "x, shape",
    [
        (np.zeros((10, 8, 9), np.uint8), (8, 9, 1)),
        (np.zeros((10, 8, 9), bool), (8, 9, 1)),
        (np.zeros((10, 8, 9), np.int32), (8, 9, 1)),
        (np.zeros((10, 8, 9), np.float64), (8, 9, 1)),
        (np.zeros((10, 2, 1), np.float32), (2, 1, 1)),
        (np.zeros((10, 8, 9, 3), np.uint8), (8, 9, 3)),
        (np.zeros((10, 8, 9, 3), np.float32), (8, 9, 3)),
        (np.zeros((10, 64), np.uint8), (64,)),
    ],
)
def test_three_axes_are_grey_images(x, shape, tmp_path):
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x_train=x, x_test=x)
    for data in (from_array(x), load(str(tmp_path / "x.npy")), load(str(tmp_path / "x.npz"))):
        assert data.shape == shape and data.is_image == (x.ndim > 2)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_binary_pixels_stay_zero_and_one_as_grey_levels(dtype):
    x = np.random.default_rng(0).integers(0, 2, (20, 3)).astype(dtype)
    data = from_array(x, np.arange(20))
    for split in data.splits.values():
        np.testing.assert_array_equal(split.x / (data.max_value or 1), x[split.y].astype(float))


@pytest.mark.parametrize(
    "x, y, message",
    [
        (np.zeros((0, 3)), None, "is empty"),
        (np.zeros((3, 0)), None, "is empty"),
        (np.zeros(5), None, "two or more axes"),
        (np.zeros((2, 3)), None, "2 examples cannot be split"),
        (np.array([[1.0, np.inf]] * 5), None, "infinite in float32: scale them"),
        (np.array([[1.0, 1e300]] * 5), None, "infinite in float32: scale them"),
        (np.array([[1e-50], [2e-50], [3e-50]]), None, "cannot tell them apart.* scale them"),
        (1.7e9 + np.arange(9.0)[:, None], None, "vary by .* about 1.7e.*scale them"),
        (2**40 + np.arange(9)[:, None], None, "vary by .* about 1.09951e"),
        (np.array([[1, "a"]] * 5, object), None, "not real numbers"),
        (np.array([["a", "b"]] * 5), None, "not real numbers"),
        (np.ones((5, 2), complex), None, "not real numbers: give real and imaginary parts"),
        (np.array([["1", "2"]] * 5), None, r"becomes numbers by x.astype\(float\)"),
        ([[1.0, 2.0], [3.0]] * 3, None, "differ in shape"),
        (np.ma.masked_all((9, 2)), None, "every value is masked"),
        (np.ones((5, 2)), np.zeros(4, int), r"labels of shape \(5,\), not \(4,\)"),
        (np.ones((5, 2)), np.zeros((5, 1), int), "labels of shape"),
        (np.ones((5, 2)), np.zeros(5), "32-bit integers"),
        (np.ones((5, 2)), np.eye(5, 3), "argmax"),
        (np.ones((5, 2)), np.ma.masked_equal([0, 1, 0, 1, 2], 2), "labels are masked"),
        (np.ones((5, 2)), np.full(5, 2**40), "32-bit integers"),
    ],
)
def test_refused_arrays(x, y, message):
    with pytest.raises(UserError, match=message) as error:
        from_array(x, y)
    assert "\n" not in str(error.value)


def test_files_hold_what_python_gives(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    y = np.arange(30)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(tmp_path / "xy.npz", x=x, y=y)
    expected = from_array(x, y)
    for file, labelled in [("x.npy", False), ("xy.npz", True)]:
        data = load(str(tmp_path / file))
        for name, split in expected.splits.items():
            np.testing.assert_array_equal(data.splits[name].x, split.x)
            assert (data.splits[name].y is not None) == labelled
            if labelled:
                np.testing.assert_array_equal(data.splits[name].y, split.y)


def test_users_own_splits_are_kept(tmp_path):
    parts = {f"x_{part}": np.full((n, 4), n) for part, n in
             [("train", 5), ("valid", 2), ("test", 300)]}  # fmt: skip
    labels = {f"y_{key[2:]}": np.arange(len(x)) for key, x in parts.items()}
    np.savez(tmp_path / "own.npz", **parts, **labels)
    paper = load(str(tmp_path / "own.npz"))
    for part in ("train", "valid", "test"):
        np.testing.assert_array_equal(paper.splits[part].x, parts[f"x_{part}"])
        np.testing.assert_array_equal(paper.splits[part].y, labels[f"y_{part}"])
        assert paper.splits[part].x.dtype == np.float32
    full = load(str(tmp_path / "own.npz"), protocol="full")
    assert full.splits["train"].x[:, 0].tolist() == [5] * 5 + [2] * 2


@pytest.mark.parametrize("dtype, expected", [(np.uint8, (np.uint8, 255.0)),
                                             (np.int64, (np.float32, None))])  # fmt: skip
@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_one_value_above_one_in_any_split_decides_for_all(tmp_path, dtype, expected, part):
    parts = {f"x_{name}": np.ones((5, 4), dtype) for name in ("train", "valid", "test")}
    parts[f"x_{part}"][3, 2] = 2
    np.savez(tmp_path / "own.npz", **parts)
    data = load(str(tmp_path / "own.npz"))
    for name, split in data.splits.items():
        assert (split.x.dtype, data.max_value) == expected
        np.testing.assert_array_equal(split.x, parts[f"x_{name}"])


ONES = np.ones((5, 2), np.float32)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"images": ONES, "labels": ONES}, "holds images, labels$"),
        ({"x_train": ONES}, "needs the key x.*holds x_train$"),
        ({}, "holds nothing"),
        ({"x": np.array([[1, None]] * 5, object)}, "nothing is unpickled"),
        ({"x_train": ONES, "x_test": np.ones((5, 3))}, "differ in shape"),
        ({"x_train": ONES, "x_test": ONES[:0]}, "is empty"),
        ({"x_train": ONES, "x_test": ONES, "y_train": np.zeros(5, int)}, "not for all"),
        ({"x_train": ONES, "x_test": ONES * np.inf}, "infinite"),
        ({"x_train": np.full((5, 2), 200, np.uint8), "x_test": ONES / 2}, "of different types"),
        ({"x_train": ONES, "x_test": ONES, "x_dev": ONES}, "the key x_dev is not read"),
        ({"x_train": ONES, "x_test": ONES, "x_val": ONES, "x_valid": ONES}, "says twice"),
        ({"x": ONES, "x_train": ONES, "x_test": ONES}, "says twice"),
        ({"x": ONES, "y": np.zeros(3, int)}, "labels of shape"),
    ],
)
def test_refused_archives(tmp_path, content, message):
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(UserError, match=message) as error:
        load(str(tmp_path / "bad.npz"))
    assert "\n" not in str(error.value) and "bad.npz" in str(error.value)


def test_validation_examples_go_by_three_names(tmp_path):
    parts = {"x_train": 2 * ONES, "x_test": 3 * ONES}
    for name in ("valid", "val", "validation"):
        np.savez(tmp_path / "own.npz", **parts, **{f"x_{name}": 4 * ONES})
        np.testing.assert_array_equal(load(str(tmp_path / "own.npz")).splits["valid"].x, 4 * ONES)


@pytest.mark.parametrize("kind", [">f4", ">i4", ">f8", "<f8", "f2", "i8", "u2"])
def test_every_type_and_byte_order_means_its_numbers(kind):
    x = np.arange(60).reshape(20, 3)
    train = from_array(x.astype(kind)).splits["train"].x
    assert train.dtype == np.float32 and train.dtype.isnative
    np.testing.assert_array_equal(train, from_array(x.astype(np.float32)).splits["train"].x)


def test_what_is_masked_is_missing():
    x = np.arange(60, dtype=np.uint8).reshape(20, 3)
    data = from_array(np.ma.masked_less(x, 6))
    train, expected = data.splits["train"].x, from_array(x).splits["train"].x
    np.testing.assert_array_equal(np.isnan(train), expected < 6)
    np.testing.assert_array_equal(train[expected >= 6], expected[expected >= 6])
    assert data.max_value == 255.0 and train.dtype == np.float32
    nothing = np.ma.masked_array(x, mask=False)
    assert from_array(nothing).splits["train"].x.dtype == np.uint8


def test_sparse_matrices_are_their_dense_arrays(monkeypatch):
    counts = np.random.default_rng(0).poisson(0.2, (30, 8))
    for form in (sparse.csr_matrix, sparse.coo_array, sparse.csc_matrix):
        data = from_array(form(counts))
        np.testing.assert_array_equal(data.splits["train"].x, from_array(counts).splits["train"].x)
    monkeypatch.setattr("ae_jax.core.door._MEMORY_SHARE", 1e-12)
    with pytest.raises(UserError, match="sparse matrix .* GiB"):
        from_array(sparse.csr_matrix(counts))


def test_labels_may_be_names():
    names = np.array(["cat", "dog", "cat", "ant"] * 5)
    x = np.arange(20.0)[:, None]
    for given in (names, names.astype(object), list(names)):
        data = from_array(x, given)
        assert data.classes == ("ant", "cat", "dog")
        for split in data.splits.values():
            assert split.y.dtype == np.int32
            expected = names[split.x[:, 0].astype(int)]
            assert [data.classes[label] for label in split.y] == expected.tolist()


@pytest.mark.parametrize("head", ["", "height,width\n"])
def test_tables_of_numbers_are_read(tmp_path, head):
    x = np.random.default_rng(0).normal(size=(20, 2))
    file = tmp_path / "x.csv"
    file.write_text(head + "\n".join(",".join(map(repr, row)) for row in x.tolist()))
    np.testing.assert_array_equal(load(str(file)).splits["test"].x, from_array(x).splits["test"].x)
    file.write_text(head + "0,1\n1,1\n0,0\n")
    assert load(str(file)).max_value == 1.0
    file.write_text(head + "0.5,\n1,NA\n0,0\n2,3\n")
    every = np.concatenate([split.x for split in load(str(file)).splits.values()])
    assert np.isnan(every).sum() == 2


def test_what_is_no_table_nor_array_is_told_the_way(tmp_path):
    (tmp_path / "x.csv").write_text("1,2\n3,many\n")
    with pytest.raises(UserError, match="holds words, such as"):
        load(str(tmp_path / "x.csv"))
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    (tmp_path / "pictures" / "cats" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        load(str(tmp_path / "pictures"))


def npy(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((100, 3)))
    return (tmp_path / "a.npy").read_bytes()


def npz(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).random((100, 3)))
    return (tmp_path / "a.npz").read_bytes()


@pytest.mark.parametrize("make", [npy, npz])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_files_cut_short(tmp_path, make, keep):
    content = make(tmp_path)
    path = tmp_path / f"a.{make.__name__}"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match="cannot be read"):
        load(str(path))


def test_altered_archive_is_noticed(tmp_path):
    content = bytearray(npz(tmp_path))
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_pickles_are_never_opened(tmp_path, suffix):
    path = tmp_path / f"evil.{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "hit").encode() + b"'\ntR.")
    with pytest.raises(UserError, match="nothing is unpickled"):
        load(str(path))
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize("x", [np.ones((9, 3, 6, 7)), np.ones((9, 1, 6, 7), np.uint8)])
def test_images_with_their_channels_first_are_told_apart(x, tmp_path):
    with pytest.raises(UserError, match=r"channels first.*data.layout=channels_first"):
        as_dataset(x, None, DataConfig())
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(UserError, match="channels first"):
        load(str(tmp_path / "x.npy"))
    assert load(str(tmp_path / "x.npy"), layout="channels_first").shape == (6, 7, x.shape[1])
