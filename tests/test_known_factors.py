"""Sets with known factors, drawn or brought by the user: what they hold, row by row."""

import itertools

import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.data import info, load
from ae_jax.data.sources import cache, shapes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AE_JAX_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def drawn():
    return shapes.draw_all()


def test_a_picture_determines_its_factors(drawn):
    x, factors = drawn
    assert x.shape == (3 * 6 * 12 * 8 * 8, 32, 32, 1) and x.dtype == np.uint8
    assert set(np.unique(x)) == {0, 1}
    assert len(np.unique(np.packbits(x.reshape(len(x), -1), axis=1), axis=0)) == len(x)
    grid = itertools.product(*map(range, (3, 6, 12, 8, 8)))
    np.testing.assert_array_equal(factors, list(grid))


def test_pictures_are_whole_and_where_their_factors_say(drawn):
    """No shape is cut off: its pixels are as many at every place, and move with it."""
    x, factors = drawn
    area = x.sum(axis=(1, 2, 3)).reshape(216, 64)
    assert (area == area[:, :1]).all() and area.min() >= 20
    rows, columns = np.mgrid[:32, :32]
    for axis, places in ((3, columns), (4, rows)):
        centre = (x[..., 0] * places).sum(axis=(1, 2)) / x.sum(axis=(1, 2, 3))
        shift = (centre - 2.0 * factors[:, axis]).reshape(216, 64)
        np.testing.assert_allclose(shift, shift[:, :1] * np.ones(64), atol=1e-9)


def test_one_picture_is_that_of_all(drawn):
    x, factors = drawn
    for row in np.random.RandomState(0).choice(len(x), 200, replace=False):
        np.testing.assert_array_equal(x[row, :, :, 0], shapes.draw_shape(*factors[row]))


def test_areas_grow_as_the_square_of_the_radius():
    """A half disc of radius r has pi r^2 / 2 pixels, up to its edge."""
    for scale, radius in enumerate(np.linspace(5, 8.5, 6)):
        area = np.mean([shapes.draw_shape(1, scale, turn, 3, 3).sum() for turn in range(12)])
        assert abs(area - np.pi * radius**2 / 2) < 1.2 * radius  # pixels on the diameter count


def test_quarter_turns_turn_the_picture():
    for shape, scale in itertools.product(range(3), range(6)):
        upright = shapes.draw_shape(shape, scale, 1, 3, 3)[1:31, 1:31]  # about pixel 15
        for quarters in (1, 2, 3):
            turned = shapes.draw_shape(shape, scale, 1 + 3 * quarters, 3, 3)[1:31, 1:31]
            np.testing.assert_array_equal(np.rot90(upright[:29, :29], -quarters), turned[:29, :29])


def test_shapes_come_back_from_the_cache(drawn):
    x, factors = drawn
    data = load("shapes")
    assert data.facts.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert data.classes == ("wedge", "half_disc", "ell") and data.max_value == 1.0
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 11060, "valid": 1382, "test": 1382,
    }  # fmt: skip
    sizes = np.array(shapes.FACTOR_SIZES)
    for split in data.splits.values():
        rows = np.ravel_multi_index(split.factors.T, sizes)
        np.testing.assert_array_equal(split.x, x[rows])
        np.testing.assert_array_equal(split.y, factors[rows, 0])
    facts = info("shapes")
    assert facts["factors"] == "shape, scale, orientation, x, y"


def test_facts_of_another_version_are_noticed(folder):
    load("shapes")
    manifest = folder / "cache/shapes/manifest.json"
    manifest.write_text(manifest.read_text().replace('"origin"', '"source"'))
    with pytest.raises(cache.Damaged, match="unknown facts"):
        cache.read(manifest.parent)


def users_file(folder, name):
    """Arrays as the user's files hold them, and how the set is read from them."""
    rng = np.random.default_rng(0)

    def bytes_of(*shape):
        return rng.integers(0, 256, shape, dtype=np.uint8)

    if name == "usps":
        arrays = {"x_train": bytes_of(7291, 16, 16), "x_test": bytes_of(2007, 16, 16)}
        arrays |= {"y_train": bytes_of(7291) % 10, "y_test": bytes_of(2007) % 10}
        file = "usps.npz"
    elif name == "kodak":
        arrays = {"images": bytes_of(20, 480, 480), "names": np.array(list("abcdefghijklmnopqrst"))}
        file = "kodakdb_gray480.npz"
    else:
        character = np.repeat(np.arange(242, dtype=np.uint16), 20)
        arrays = {
            "images": bytes_of(4840, 28, 28),
            "alphabet": (character // 121).astype(np.uint8),
            "character": character,
            "drawer": np.tile(np.arange(1, 21, dtype=np.uint8), 242),
            "alphabet_names": np.array(["Greek", "Latin"]),
        }
        file = "omniglot_small.npz"
    np.savez(folder / file, **arrays)
    return arrays


def test_usps(folder, monkeypatch):
    arrays = users_file(folder, "usps")
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    data = load("usps")
    np.testing.assert_array_equal(data.splits["test"].x[..., 0], arrays["x_test"])
    np.testing.assert_array_equal(data.splits["test"].y, arrays["y_test"])
    train = [data.splits[part] for part in ("train", "valid")]
    assert [len(split) for split in train] == [6562, 729]
    found = {x.tobytes(): y for split in train for x, y in zip(split.x, split.y, strict=True)}
    expected = zip(arrays["x_train"], arrays["y_train"], strict=True)
    assert found == {x.tobytes(): y for x, y in expected}


def test_omniglot_shares_no_drawer_between_splits(folder, monkeypatch):
    arrays = users_file(folder, "omniglot_small")
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    data = load("omniglot_small")
    drawers = {part: set(split.factors[:, 2]) for part, split in data.splits.items()}
    assert drawers == {"train": set(range(1, 17)), "valid": {17, 18}, "test": {19, 20}}
    assert data.classes[0] == "Greek 0" and data.classes[121] == "Latin 0"
    for split in data.splits.values():
        row = 20 * split.y + split.factors[:, 2] - 1
        np.testing.assert_array_equal(split.x[..., 0], arrays["images"][row])
        np.testing.assert_array_equal(split.factors[:, 0], arrays["alphabet"][row])


def test_kodak(folder, monkeypatch):
    arrays = users_file(folder, "kodak")
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    data = load("kodak")
    for split in data.splits.values():
        rows = [ord(str(name)) - ord("a") for name in split.names]
        np.testing.assert_array_equal(split.x[..., 0], arrays["images"][rows])
    assert [len(split) for split in data.splits.values()] == [16, 2, 2]


@pytest.mark.parametrize("name", ["usps", "omniglot_small", "kodak"])
def test_users_files_that_are_missing_or_broken(folder, monkeypatch, name):
    with pytest.raises(UserError, match=rf"{name}: put .*npz into .*\(AE_JAX_DATA is not set\)"):
        load(name)
    monkeypatch.setenv("AE_JAX_DATA", str(folder))
    with pytest.raises(UserError, match="it is not there"):
        load(name)
    arrays = users_file(folder, name)
    file = next(folder.glob("*.npz"))
    images = "x_train" if name == "usps" else "images"
    np.savez(file, **(arrays | {images: arrays[images][:5]}))
    with pytest.raises(UserError, match="8-bit images of shape"):
        load(name)
    file.write_bytes(b"junk")
    with pytest.raises(UserError, match=f"cannot be read as the data set {name}"):
        load(name)
