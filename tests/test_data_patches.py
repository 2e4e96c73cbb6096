"""Patches of pictures, against what turning and scaling do to pictures that are known."""

import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.data import load
from experiments.patches import turned_patches


def test_patches_of_a_plane_are_the_plane_turned_and_scaled():
    """Bilinear sampling of a linear ramp is exact, and tells angle and scale of each patch."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    down, across = (turned_patches(p[None], 300, seed=3) for p in (rows, columns))
    assert down.shape == (300, 25, 25) and down.dtype == np.float32
    # Gradients along the patch's own axes: [[cos, sin], [-sin, cos]] times the spacing.
    by_row, by_column = down[:, 13, 12] - down[:, 12, 12], down[:, 12, 13] - down[:, 12, 12]
    spacing, angle = np.hypot(by_row, by_column), np.arctan2(by_column, by_row)
    place = np.arange(25) - 12
    for got, gradient in (
        (down, (np.cos(angle), np.sin(angle))),
        (across, (-np.sin(angle), np.cos(angle))),
    ):
        along_rows, along_columns = (spacing * g for g in gradient)
        expected = along_rows[:, None, None] * place[:, None] + along_columns[:, None, None] * place
        np.testing.assert_allclose(got, expected, atol=1e-3)
    assert 1.4 <= spacing.min() < 1.42 and 1.78 < spacing.max() <= 1.8 + 1e-5
    degrees = np.rad2deg(angle)
    assert -90 <= degrees.min() < -85 and 85 < degrees.max() <= 90


def test_the_first_patches_are_one_of_each_image():
    images = np.stack([np.full((64, 64), value) for value in (3, 7, 11)])
    patches = turned_patches(images, 2)
    assert patches[:, 0, 0].tolist() == [3, 7, 11, 3, 7, 11]
    np.testing.assert_array_equal(patches, turned_patches(images, 2))


def test_patches_of_an_image_do_not_depend_on_the_images_after_it():
    images = np.random.default_rng(0).random((3, 64, 64))
    alone = turned_patches(images[:2], 4).reshape(4, 2, 25, 25)
    np.testing.assert_array_equal(turned_patches(images, 4).reshape(4, 3, 25, 25)[:, :2], alone)


def test_patches_that_would_leave_the_image_are_refused():
    turned_patches(np.zeros((1, 64, 64)), 1)
    with pytest.raises(ValueError, match="leave images of 63 x 64"):
        turned_patches(np.zeros((1, 63, 64)), 1)


def test_a_pixel_is_the_mean_over_its_square():
    """Upright, 1.5 pixels apart, against a sum over 30 bilinear samples a side of each square."""
    image = np.random.default_rng(4).random((64, 64))
    patch = turned_patches(image[None], 1, degrees=0.0, scales=(1.5, 1.5))[0]
    fine = 31.5 + 1.5 * ((np.arange(25 * 30) + 0.5) / 30 - 12.5)
    places = np.arange(64)
    rows = np.stack([np.interp(fine, places, column) for column in image.T], axis=1)
    dense = np.stack([np.interp(fine, places, row) for row in rows])
    exact = dense.reshape(25, 30, 25, 30).mean(axis=(1, 3))
    error = (patch - exact).std()
    at_points = dense[15::30, 15::30]
    assert error < 0.15 * exact.std() and (at_points - exact).std() > 4 * error


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def save(folder, images, people):
    np.savez(folder / "olivetti.npz", images=images, target=people)


def test_olivetti_holds_no_person_in_two_splits(folder):
    images = np.random.default_rng(1).integers(0, 256, (400, 64, 64), dtype=np.uint8)
    people = np.random.default_rng(2).permutation(np.repeat(np.arange(40), 10)).astype(np.uint8)
    save(folder, images, people)
    data = load("olivetti")
    assert data.shape == (64, 64, 1) and data.max_value == 255.0
    labels = {name: set(split.y.tolist()) for name, split in data.splits.items()}
    assert labels == {
        "train": set(range(25)),
        "valid": set(range(25, 30)),
        "test": set(range(30, 40)),
    }
    for split in data.splits.values():
        for x, person in zip(split.x, split.y, strict=True):
            assert any(np.array_equal(x[..., 0], image) for image in images[people == person])
    assert len(load("olivetti", protocol="full").splits["train"]) == 300


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((400, 64, 64), np.float32), "8-bit pixels"),
        (np.zeros((30, 64, 64), np.uint8), "400 faces"),
    ],
)
def test_other_faces_are_refused(folder, images, message):
    save(folder, images, np.zeros(400, np.uint8))
    with pytest.raises(UserError, match=message):
        load("olivetti")


def test_a_broken_file_is_refused(folder):
    (folder / "olivetti.npz").write_bytes(b"junk")
    with pytest.raises(UserError, match="cannot be read as Olivetti faces"):
        load("olivetti")


def test_without_a_file_the_fetcher_is_asked_and_its_failure_told(folder, monkeypatch):
    asked = []

    def fetch(data_home, n_retries):
        asked.append(data_home)
        raise OSError("no network")

    monkeypatch.setattr("ae_jax.data.sources.faces.silence", lambda url, seconds: "")
    monkeypatch.setattr("sklearn.datasets.fetch_olivetti_faces", fetch)
    with pytest.raises(UserError, match=r"could not be downloaded \(no network\); put olivetti"):
        load("olivetti")
    assert len(asked) == 1


def test_what_the_fetcher_stretched_comes_back_as_grey_levels(folder, monkeypatch):
    from sklearn.utils import Bunch

    images = np.random.default_rng(1).integers(0, 256, (400, 64, 64), dtype=np.uint8)
    stretched = Bunch(images=np.float32(images) / 255, target=np.repeat(np.arange(40), 10))
    monkeypatch.setattr("ae_jax.data.sources.faces.silence", lambda url, seconds: "")
    monkeypatch.setattr("sklearn.datasets.fetch_olivetti_faces", lambda **options: stretched)
    data = load("olivetti", protocol="full")
    np.testing.assert_array_equal(data.splits["test"].x[..., 0], images[300:])
