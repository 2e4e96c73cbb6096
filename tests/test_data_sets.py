"""What `load` answers: exact splits, published arrays, users' arrays and every refusal."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.datasets import load_digits, load_iris

from ae_jax.core.errors import UserError
from ae_jax.data import DATA_SETS, from_array, info, load, prepare
from ae_jax.data.base import Split
from ae_jax.data.protocols import Stored, hold_out
from ae_jax.data.sources import tfds_sets
from ae_jax.data.sources.base import CachedSource
from ae_jax.data.sources.fetch import LocalFolder, RawFile

CATALOGUE = ("mnist", "fashion_mnist", "binarized_mnist")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def rows(data):
    """All examples of a data set as sorted tuples."""
    return sorted(tuple(x.ravel()) for split in data.splits.values() for x in split.x)


def sizes(data):
    return {name: len(split) for name, split in data.splits.items()}


@pytest.mark.parametrize("count", [3, 10, 25, 1965])
def test_held_out_parts_are_disjoint_and_complete(count):
    x = np.arange(count, dtype=np.float32)[:, None]
    stored = hold_out(x, np.arange(count), None, "n")
    paper, full = stored.under("paper", "n"), stored.under("full", "n")
    tenth = max(1, round(count / 10))
    assert sizes(paper) == {"train": count - 2 * tenth, "valid": tenth, "test": tenth}
    assert sizes(full) == {"train": count - tenth, "test": tenth}
    assert rows(paper) == rows(full) == [(float(i),) for i in range(count)]
    for split in paper.splits.values():
        np.testing.assert_array_equal(split.x[:, 0], split.y)
        assert (np.diff(split.y) > 0).all()


def test_the_permutation_never_changes():
    """The first held-out rows, drawn once with numpy's frozen legacy generator."""
    expected = np.sort(np.random.RandomState(13126114).permutation(150)[:15])
    test = hold_out(np.zeros((150, 2)), np.arange(150), None, "n").test
    np.testing.assert_array_equal(test.y, expected)


def test_published_split_takes_the_first_examples_for_training():
    parts = {
        "train": Split(np.arange(60)[:, None], np.arange(60)),
        "test": Split(np.zeros((10, 1))),
    }
    paper = tfds_sets.arrange_idx_set(parts).under("paper", "n")
    np.testing.assert_array_equal(paper.splits["train"].y, np.arange(50))
    np.testing.assert_array_equal(paper.splits["valid"].y, np.arange(50, 60))
    assert sizes(tfds_sets.arrange_idx_set(parts).under("full", "n")) == {"train": 60, "test": 10}


def test_binarized_parts_are_its_own():
    parts = {name: Split(np.full((n, 1), n)) for name, n in
             [("train", 5), ("validation", 2), ("test", 3)]}  # fmt: skip
    stored = tfds_sets.arrange_binarized(parts)
    for name, n in [("train", 5), ("valid", 2), ("test", 3)]:
        assert stored.under("paper", "b").splits[name].x.ravel().tolist() == [n] * n
    assert stored.under("full", "b").splits["train"].x.ravel().tolist() == [5] * 5 + [2] * 2


@pytest.mark.parametrize("name", ["digits", "iris"])
@pytest.mark.parametrize("protocol", ["paper", "full"])
def test_embedded_sets_equal_scikit_learns(name, protocol):
    data = load(name, protocol=protocol)
    bunch = {"digits": load_digits, "iris": load_iris}[name]()
    expected = bunch.images if name == "digits" else bunch.data.astype(np.float32)
    labelled = [
        (tuple(x.ravel()), int(y))
        for split in data.splits.values()
        for x, y in zip(split.x, split.y, strict=True)
    ]
    assert sorted(labelled) == sorted(
        (tuple(x.ravel()), int(y)) for x, y in zip(expected, bunch.target, strict=True)
    )
    assert data.shape == {"digits": (8, 8, 1), "iris": (4,)}[name]
    assert data.max_value == {"digits": 16.0, "iris": None}[name]


def test_limit_keeps_the_first_training_examples():
    whole, few = load("iris"), load("iris", limit=7)
    assert sizes(few) == {"train": 7, "valid": 15, "test": 15}
    np.testing.assert_array_equal(few.splits["train"].x, whole.splits["train"].x[:7])


@pytest.mark.parametrize("limit", [0, -3, 121])
def test_limit_outside_the_training_set(limit):
    with pytest.raises(UserError, match=f"limit {limit} has to lie between 1 and the 120"):
        load("iris", limit=limit)


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"name": "minst"}, "did you mean 'mnist'"),
        ({"name": "iris", "protocol": "papre"}, "did you mean 'paper'"),
        ({"name": "no/such.npy"}, "no such file"),
        ({"name": "no/such.py:make"}, "no such file"),
    ],
)
def test_unknown_names(keywords, message):
    with pytest.raises(UserError, match=message):
        load(**keywords)


def synthetic_mnist(folder):
    """24 training and 10 test images in MNIST's four files, and their records."""
    rng = np.random.default_rng(0)
    files, arrays = [], {}
    for prefix, count in [("train", 24), ("t10k", 10)]:
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        arrays[prefix] = (images, labels)
        for kind, array in [("images-idx3", images), ("labels-idx1", labels)]:
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            content = gzip.compress(header + array.tobytes())
            name = f"{prefix}-{kind}-ubyte.gz"
            (folder / name).write_bytes(content)
            files.append(RawFile(name, "", hashlib.sha256(content).hexdigest()))
    return files, arrays


@pytest.mark.slow
def test_catalogue_set_round_trips_bitwise_and_in_order(folder, monkeypatch):
    """idx -> PNG -> array_record -> npy changes no bit and keeps the published order."""
    files, arrays = synthetic_mnist(folder)
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    monkeypatch.setattr(tfds_sets, "raw_files", lambda name: files)
    recipe = tfds_sets.CatalogueSet(
        "mnist", [LocalFolder("mnist")], tfds_sets.parse_idx_set, tfds_sets.arrange_idx_set
    )
    source = CachedSource("mnist", recipe.build, recipe.sources)
    stored = source.stored(lambda line: None)
    for split, (images, labels) in [(stored.train, arrays["train"]), (stored.test, arrays["t10k"])]:
        np.testing.assert_array_equal(split.x, images[..., None])
        np.testing.assert_array_equal(split.y, labels)
    assert stored.valid_count == 4
    assert not (source.cached_at() / "work").exists()


def test_unlabelled_records_round_trip(folder):
    x = np.random.default_rng(1).integers(0, 2, (9, 28, 28, 1), dtype=np.uint8)
    parts = {"train": Split(x[:5]), "validation": Split(x[5:7]), "test": Split(x[7:])}
    tfds_sets.write_records("binarized_mnist", parts, folder)
    back = tfds_sets.read_records("binarized_mnist", parts, folder)
    for name, split in parts.items():
        np.testing.assert_array_equal(back[name].x, split.x)
        assert back[name].y is None


@pytest.mark.parametrize(
    "name, count", [("mnist", 4), ("fashion_mnist", 4), ("binarized_mnist", 3)]
)
def test_catalogue_records_a_sha256_for_every_file(name, count):
    files = tfds_sets.raw_files(name)
    assert len({file.name for file in files}) == count
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in files)
    assert all(file.url.endswith("/" + file.name) for file in files)


@pytest.mark.parametrize("file", ["frey_rawface.mat", "freyface.npz"])
def test_frey_face_from_either_file(folder, monkeypatch, file):
    frames = np.random.default_rng(2).integers(0, 256, (1965, 28, 20), dtype=np.uint8)
    if file.endswith("mat"):
        savemat(folder / file, {"ff": frames.reshape(1965, 560).T})
    else:
        np.savez(folder / file, images=frames)
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    data = load("frey_face")
    assert data.shape == (28, 20, 1) and data.max_value == 255.0
    joined = {x.tobytes() for split in data.splits.values() for x in split.x}
    assert joined == {frame.tobytes() for frame in frames}


@pytest.mark.parametrize(
    "content, message",
    [(None, "put frey_rawface.mat or freyface.npz"), (b"junk", "cannot be read as Frey faces")],
)
@pytest.mark.parametrize("file", ["frey_rawface.mat", "freyface.npz"])
def test_frey_face_missing_or_broken(folder, monkeypatch, content, message, file):
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    if content:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load("frey_face")


def test_frey_face_of_another_shape(folder, monkeypatch):
    np.savez(folder / "freyface.npz", images=np.zeros((3, 28, 20), np.uint8))
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    with pytest.raises(UserError, match="1965 frames"):
        load("frey_face")


def test_info_of_a_set_not_prepared_names_its_sources():
    for name in CATALOGUE:
        facts = info(name)
        assert not facts["prepared"] and "splits" not in facts
        assert facts["sources"][:2] == ["prepared files", "the official download"]
        assert "AE_JAX_DATA" in facts["sources"][-1]


def test_info_of_a_prepared_set():
    path = prepare("digits", log=lambda line: None)
    facts = info("digits")
    assert facts["location"] == str(path) and facts["prepared"]
    assert facts["splits"] == {"train": 1437, "valid": 180, "test": 180}
    assert (facts["shape"], facts["dtype"], facts["range"]) == ((8, 8, 1), "uint8", (0, 16))
    assert facts["bytes"] == 1797 * 64


@pytest.mark.parametrize("name", CATALOGUE)
def test_prepared_catalogue_sets(name, monkeypatch):
    """The real sets, where an earlier preparation has left them in the user's own cache."""
    monkeypatch.delenv("AE_JAX_CACHE")
    if DATA_SETS.get(name).peek(print) is None:
        pytest.skip(f"{name} is not prepared on this machine")
    data = load(name)
    assert sizes(data) == {"train": 50_000, "valid": 10_000, "test": 10_000}
    assert data.shape == (28, 28, 1)
    if name == "mnist":  # the ten best known labels of the field
        assert data.splits["train"].y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.max_value == (1.0 if name == "binarized_mnist" else 255.0)


def test_every_registered_set_names_itself():
    for name, source in DATA_SETS.items():
        assert source.name == name and source.sources


def test_user_function(folder):
    file = folder / "mine.py"
    file.write_text(
        "import numpy as np\n"
        "from ae_jax.data.base import DataSet, Split\n"
        "def split(n): return Split(np.full((n, 2), n, np.float32), np.zeros(n, np.int32))\n"
        "parts = {'train': split(4), 'valid': split(2), 'test': split(3)}\n"
        "def made(): return DataSet('mine', parts)\n"
        "def bare(): return DataSet('bare', {'train': split(4), 'test': split(3)})\n"
        "def untested(): return DataSet('bare', {'train': split(4)})\n"
        "wide = Split(np.ones((2, 3), 'f4'))\n"
        "def mixed(): return DataSet('x', {'train': split(4), 'test': wide})\n"
        "def doubles(): return DataSet('x', {'train': Split(np.ones((2, 2))), 'test': split(3)})\n"
        "def number(): return 3\n"
    )
    made = load(f"{file}:made")
    assert sizes(made) == {"train": 4, "valid": 2, "test": 3}
    assert load(f"{file}:doubles").splits["train"].x.dtype == np.float32
    full = load(f"{file}:made", protocol="full")
    assert full.splits["train"].x[:, 0].tolist() == [4] * 4 + [2] * 2
    assert len(full.splits["train"].y) == 6
    assert sizes(load(f"{file}:bare", limit=2)) == {"train": 2, "test": 3}
    assert info(f"{file}:made")["location"] == str(file)
    for name, message in [
        ("number", "DataSet"), ("untested", "train and test"),
        ("mixed", "one shape"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=message):
            load(f"{file}:{name}")


def test_stored_without_validation_has_none_under_either_protocol():
    stored = Stored(Split(np.zeros((4, 1))), Split(np.ones((2, 1))))
    assert sizes(stored.under("paper", "n")) == sizes(stored.under("full", "n"))


def test_arrays_from_python():
    x = np.random.default_rng(3).random((20, 5))
    data = from_array(x, np.arange(20), name="mine")
    assert data.name == "mine" and data.max_value is None
    for split in data.splits.values():
        np.testing.assert_array_equal(split.x, x[split.y].astype(np.float32))
