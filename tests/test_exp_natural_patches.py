"""Natural patches: the Gabor fit against Gabor functions, noise and gratings, and the command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ae_jax.core.errors import UserError
from experiments import natural_patches as experiment
from experiments.gabor import fit_gabors, gabor
from experiments.natural_patches_atoms import THRESHOLD, excess_kurtosis, orientation_spread
from experiments.patches import draw_patches, natural_patches, photographs, whitened

SIDE = 12


def known(count: int, seed: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {
            "centre": tuple(rng.uniform(-3, 3, 2)),
            "angle": rng.uniform(0, np.pi),
            "frequency": rng.uniform(0.12, 0.4),
            "widths": tuple(rng.uniform(1.0, 2.8, 2)),
            "phase": rng.uniform(0, 2 * np.pi),
        }
        for _ in range(count)
    ]


@pytest.mark.slow
def test_known_gabor_functions_are_found_again():
    truth = known(24, 0)
    scale = np.linspace(0.1, 10, 24)[:, None, None]
    filters = scale * np.stack([gabor(SIDE, **one) for one in truth])
    fits = fit_gabors(filters)
    assert fits.explained.min() > 0.999
    turned = np.angle(np.exp(2j * (fits.orientation - [one["angle"] for one in truth]))) / 2
    assert np.abs(turned).max() < 0.01
    np.testing.assert_allclose(fits.frequency, [one["frequency"] for one in truth], atol=1e-3)
    np.testing.assert_allclose(fits.widths, [one["widths"] for one in truth], rtol=0.02)
    np.testing.assert_allclose(fits.centres, [one["centre"] for one in truth], atol=0.02)
    np.testing.assert_allclose(fits.fitted, filters, atol=0.03 * np.abs(filters).max())


@pytest.mark.slow
def test_noise_is_explained_as_far_as_it_is_no_gabor():
    """Gabor functions of unit norm with noise of 0.3 of it: 1 / (1 + 0.09) is what can be."""
    clean = np.stack([gabor(SIDE, **one) for one in known(16, 1)])
    clean /= np.linalg.norm(clean, axis=(1, 2), keepdims=True)
    noise = np.random.default_rng(2).normal(size=clean.shape) * 0.3 / SIDE
    explained = fit_gabors(clean + noise).explained
    assert abs(explained.mean() - 1 / 1.09) < 0.03


@pytest.mark.slow
def test_noise_checkerboards_and_gratings_are_rejected():
    noise = np.random.default_rng(3).normal(size=(24, SIDE, SIDE))
    assert fit_gabors(noise).explained.max() < 0.4
    place = np.arange(SIDE) + 0.5
    waves = [np.cos(np.pi * k * place / SIDE) for k in (2, 4, 6, 7)]
    checkerboards = np.stack([a[:, None] * b[None] for a in waves for b in waves])
    assert fit_gabors(checkerboards).explained.max() < 0.5
    gratings = np.stack([np.broadcast_to(wave, (SIDE, SIDE)) for wave in waves])
    assert fit_gabors(gratings).explained.max() < THRESHOLD
    assert (fit_gabors(np.zeros((2, SIDE, SIDE))).explained == 0).all()


def test_spread_and_kurtosis_at_their_extremes():
    assert orientation_spread(np.full(9, 0.3)) == pytest.approx(0.0)
    assert orientation_spread(np.arange(8) * np.pi / 8) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    codes = np.stack([rng.normal(size=200_000), rng.laplace(size=200_000)], axis=1)
    normal, laplace = excess_kurtosis(np.concatenate([codes, np.ones((200_000, 1))], axis=1))
    assert normal == pytest.approx(0, abs=0.1) and laplace == pytest.approx(3, abs=0.4)


def test_the_filter_whitens_an_image_of_a_natural_spectrum():
    """Noise with an amplitude of 1/f comes out flat below the cut-off."""
    size = 256
    rng = np.random.default_rng(0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    pink = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / np.maximum(f, 1 / size)).real
    white = whitened(pink)
    assert white.std() == pytest.approx(1.0)
    power = np.abs(np.fft.fft2(white)) ** 2
    f = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(len(white))]))
    bands = [power[(f > low) & (f < low + 0.05)].mean() for low in (0.05, 0.1, 0.15)]
    assert max(bands) / min(bands) < 1.3
    assert power[f > 0.6].mean() < 0.02 * bands[0]


def test_patches_are_decided_by_their_seed_and_test_ones_are_others():
    images = [whitened(image) for image in photographs().values()]
    x = draw_patches(images, 8, 101, seed=0)
    assert x.shape == (101, 64) and x.std() == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_array_equal(x, draw_patches(images, 8, 101, seed=0))
    splits = natural_patches(None, 8, 50, 20).splits
    assert [splits[name].x.shape for name in ("train", "test")] == [(50, 8, 8, 1), (20, 8, 8, 1)]


def test_folders_of_photographs(tmp_path):
    with pytest.raises(UserError, match="holds no image"):
        photographs(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        photographs(tmp_path / "absent")
    grey = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "one.png")
    (found,) = photographs(tmp_path).values()
    np.testing.assert_allclose(found, grey / 255, atol=1e-9)
    with pytest.raises(UserError, match="smaller than a patch"):
        natural_patches(tmp_path, 20, 5, 5)
    (tmp_path / "two.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match="two.png cannot be read"):
        photographs(tmp_path)


@pytest.mark.slow
def test_smoke_writes_results_figures_and_a_report(tmp_path):
    arguments = ["--preset", "smoke", "--workdir", str(tmp_path)]
    result = CliRunner().invoke(experiment.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["claims"] == []
    rows = {row["codec"]: row for row in results["tables"]["Dictionaries"]}
    assert set(rows) == {"pca", "ica", "sparse_coding"}
    assert rows["pca"]["Gabor share"] <= 0.2
    assert rows["sparse_coding"]["L0"] < rows["sparse_coding"]["atoms"]
    for name in ("dictionaries", "gabors", "explained"):
        picture = (tmp_path / "figures" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG"), name
    assert (tmp_path / "report.html").read_text().count("data:image/png") == 4
