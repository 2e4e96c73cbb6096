"""Sets in array_record files come back as written; one sentence for all that is wrong with them."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.data import DataSet, Facts, Split, info, load, prepare, write_records

EXAMPLE = 64  # bytes of a bar


def write_bars(path: Path, image_set: DataSet) -> Path:
    """The bars as records, in files of 70 at most and from blocks of 33."""

    def blocks(split):
        for i in range(0, len(split), 33):
            yield Split(split.x[i : i + 33], split.y[i : i + 33])

    splits = {name: blocks(split) for name, split in image_set.splits.items()}
    return write_records(path, splits, max_value=255.0, file_bytes=70 * EXAMPLE)


@pytest.fixture(scope="module")
def folder(image_set, tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("records") / "bars", image_set)


def test_records_come_back_as_they_were_written(folder, image_set):
    data = load(str(folder))
    assert len(list(folder.glob("train-*.array_record"))) == 3
    assert (data.shape, data.max_value) == ((8, 8, 1), 255.0)
    rows = np.random.default_rng(0).integers(0, 40, (3, 5))
    for name, split in image_set.splits.items():
        x = data.splits[name].x
        assert (x.shape, x.dtype, x.nbytes) == (split.x.shape, np.uint8, split.x.nbytes)
        np.testing.assert_array_equal(np.asarray(x), split.x)
        np.testing.assert_array_equal(x[rows], split.x[rows])
        np.testing.assert_array_equal(np.asarray(x[7:21][3:]), split.x[10:21])
        np.testing.assert_array_equal(data.splits[name].y, split.y)
        assert data.splits[name].first_id == split.first_id
    with pytest.raises(IndexError):
        data.splits["test"].x[np.array([40])]


def test_full_protocol_joins_files_and_a_limit_cuts_them(folder, image_set):
    joined = np.concatenate([image_set.splits[name].x for name in ("train", "valid")])
    full = load(str(folder), protocol="full").splits["train"]
    np.testing.assert_array_equal(np.asarray(full.x), joined)
    assert len(full.y) == 240
    limited = load(str(folder), limit=90)
    np.testing.assert_array_equal(np.asarray(limited.splits["train"].x), joined[:90])
    prints = {load(str(folder), limit=n).fingerprint for n in (None, 90, 91)}
    assert len(prints) == 3 and load(str(folder), limit=90).fingerprint in prints


def test_what_lies_beside_the_examples_comes_back_too(tmp_path):
    rng = np.random.default_rng(0)

    def part(count: int) -> Split:
        return Split(
            rng.integers(0, 1000, (count, 6)).astype(np.uint16),
            rng.integers(0, 2, count).astype(np.int32),
            condition=rng.normal(size=(count, 3)).astype(np.float32),
            factors=rng.normal(size=(count, 2)).astype(np.float32),
            names=np.array([f"picture {i}" for i in range(count)], dtype=object),
        )

    splits = {"train": part(40), "valid": part(10), "test": part(12)}
    facts = Facts("counts", tuple("uvwxyz"), ("p", "q"), "drawn")
    blocks = {n: [s.rows(slice(7)), s.rows(slice(7, None))] for n, s in splits.items()}
    path = write_records(tmp_path / "set", blocks, classes=("a", "b"), facts=facts)
    data = load(str(path))
    for name, split in splits.items():
        for column in ("x", "y", "condition", "factors", "names"):
            found = np.asarray(getattr(data.splits[name], column))
            np.testing.assert_array_equal(found, getattr(split, column), err_msg=column)
    assert (data.classes, data.facts) == (("a", "b"), facts) and data.is_counts
    assert len(load(str(path), protocol="full").splits["train"].condition) == 50
    (path / "train-condition.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"train-condition.npy has 0 bytes instead of"):
        load(str(path))


def test_shares_of_records_are_given_back_in_their_sums(tmp_path):
    x = np.random.default_rng(0).gamma(1.0, size=(60, 5)).astype(np.float32)
    path = write_records(tmp_path / "set", {"train": [Split(x[:40])], "test": [Split(x[40:])]})
    options = {"epochs": 1, "latent_dim": 2, "hidden": [4], "data__preprocess": "unit_sum"}
    model = ae_jax.fit(load(str(path)), **options)
    shares = model.reconstruct(x[40:], units="model")
    found = model.reconstruct(model.setup.dataset.splits["test"])
    np.testing.assert_allclose(found, shares * x[40:].sum(axis=1, keepdims=True), rtol=1e-5)


def test_a_folder_of_the_first_version_is_read(folder, tmp_path, image_set):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    header = json.loads((old / "records.json").read_text())
    header["version"] = 1
    del header["facts"], header["classes"]
    for facts in header["splits"].values():
        for column in ("condition", "factors", "names"):
            del facts[column]
    (old / "records.json").write_text(json.dumps(header))
    found = load(str(old)).splits["train"]
    np.testing.assert_array_equal(found.y, image_set.splits["train"].y)
    assert found.condition is None


def test_moments_of_records_are_those_of_the_array(vector_set, tmp_path):
    path = write_records(tmp_path / "plane", {n: [s] for n, s in vector_set.splits.items()})
    x, expected = load(str(path)).splits["train"].x, vector_set.splits["train"].x
    np.testing.assert_allclose(x.mean(axis=0), expected.mean(axis=0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), expected.std(axis=0, dtype=float), rtol=1e-12)
    facts = info(str(path))
    assert facts["range"][0] == min(s.x.min() for s in vector_set.splits.values())
    assert (facts["splits"]["train"], facts["dtype"]) == (200, "float32")


# What is wrong, and the sentence that says so.
def _cut(folder):
    file = sorted(folder.glob("train-*.array_record"))[1]
    file.write_bytes(file.read_bytes()[:-100])


def _remove(folder):
    sorted(folder.glob("train-*.array_record"))[1].unlink()


def scramble(folder):
    """Damages records but for the end, where their places are listed; the size stays."""
    file = folder / "train-00000.array_record"
    content = bytearray(file.read_bytes())
    content[100 : len(content) // 4] = bytes(len(content) // 4 - 100)
    file.write_bytes(content)


def _edit(**changes):
    def edit(folder):
        header = json.loads((folder / "records.json").read_text())
        (folder / "records.json").write_text(json.dumps(header | changes))

    return edit


def _garble(folder):
    (folder / "records.json").write_text("{")


def _headless(folder):
    (folder / "records.json").unlink()


BAD = {
    "cut": (_cut, r"train-00001.array_record has \d+ bytes instead of"),
    "removed": (_remove, r"train-00001.array_record: No such file"),
    "scrambled": (scramble, r"records in .* cannot be read"),
    "another size": (_edit(shape=[8, 9, 1]), r"another size than the 72 bytes of an example"),
    "another type": (_edit(dtype="int64"), r"examples are of type int64"),
    "another version": (_edit(version=7), r"records.json is of another version"),
    "no test": (_edit(splits={"train": {}}), r"lacks the splits train and test"),
    "nothing said": (
        _edit(splits={"train": {}, "test": {}}),
        r"the split train lacks count, files, high",
    ),
    "garbled": (_garble, r"records.json is not JSON"),
    "headless": (_headless, r"nor records with their records.json"),
}


@pytest.fixture
def copy(image_set, tmp_path):
    return write_bars(tmp_path / "bars", image_set)


@pytest.mark.parametrize("case", BAD)
def test_bad_records_are_refused_in_one_sentence(case, copy):
    damage, sentence = BAD[case]
    damage(copy)
    with pytest.raises(UserError, match=sentence):
        for split in load(str(copy)).splits.values():
            np.asarray(split.x)


def test_prepare_verifies_the_sha256_of_files(copy):
    assert prepare(str(copy), lambda line: None) == copy
    scramble(copy)
    with pytest.raises(UserError, match=r"train-00000.array_record has another sha256"):
        prepare(str(copy), lambda line: None)


def _blocks(*xs, **columns):
    return {"train": [Split(x, **columns) for x in xs], "test": [Split(xs[0])]}


REFUSED = {
    "other shapes": (_blocks(np.zeros((4, 3), np.uint8), np.zeros((4, 2), np.uint8)), "one shape"),
    "other types": (_blocks(np.zeros((4, 3), np.uint8), np.zeros((4, 3), np.float32)), "beside"),
    "wide type": (_blocks(np.zeros((4, 3), np.float64)), "uint8 or float32"),
    "not finite": (_blocks(np.full((4, 3), np.nan, np.float32)), "values that are NaN"),
    "labels": (_blocks(np.zeros((4, 3), np.uint8), y=np.zeros(3, np.int32)), "labels of shape"),
    "conditions": (
        _blocks(np.zeros((4, 3), np.uint8), condition=np.zeros((3, 1), np.float32)),
        "4 examples need as many condition",
    ),
    "names in some blocks": (
        {
            "train": [
                Split(np.zeros((2, 3), np.uint8), names=np.array(["a", "b"])),
                Split(np.zeros((2, 3), np.uint8)),
            ],
            "test": [Split(np.zeros((2, 3), np.uint8))],
        },
        "train has names in some blocks only",
    ),
    "missing": (
        _blocks(np.ma.masked_equal(np.eye(4, 3, dtype=np.uint8), 1)),
        "no place for missing values",
    ),
    "no test": ({"train": [Split(np.zeros((4, 3), np.uint8))]}, "train and test"),
    "empty": ({"train": [], "test": []}, "has no examples"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_leaves_nothing_behind(case, tmp_path):
    splits, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        write_records(tmp_path / "set", splits)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="there already"):
        write_records(tmp_path / "set", splits)


def test_a_generator_is_written_block_by_block(tmp_path):
    """Never more than one block is alive: the set may be larger than memory."""
    made = itertools.count()

    def blocks():
        for _ in range(5):
            yield Split(np.full((10, 4), next(made), np.uint8))

    path = write_records(
        tmp_path / "set", {"train": blocks(), "test": [Split(np.zeros((3, 4), np.uint8))]}
    )
    data: DataSet = load(str(path))
    np.testing.assert_array_equal(np.asarray(data.splits["train"].x)[::10, 0], np.arange(5))
