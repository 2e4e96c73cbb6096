"""The experiment at its smallest: the patches it makes, its numbers, and its judgements."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from sklearn.decomposition import PCA

from ae_jax.api import load
from experiments import deep_faces, deep_faces_patches, evaluation, varied_faces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("deep_faces")
    arguments = ["--preset", "smoke", "--workdir", str(workdir)]
    result = CliRunner().invoke(deep_faces.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return workdir


@pytest.fixture(scope="module")
def patches():
    return deep_faces_patches.patches_of(deep_faces_patches.faces_of("digits"), 4)


def errors(workdir: Path) -> dict[str, float]:
    results = json.loads((workdir / "results.json").read_text())
    return {row["method"]: row["test error"] for row in results["tables"]["Test error"]}


def test_patches_are_normalised_and_come_back_as_grey_levels(patches):
    splits = patches.dataset.splits
    assert {name: split.x.shape for name, split in splits.items()} == {
        "train": (400, 25, 25, 1),
        "valid": (80, 25, 25, 1),
        "test": (160, 25, 25, 1),
    }
    everything = np.concatenate([split.x for split in patches.as_taken.splits.values()])
    np.testing.assert_allclose(everything.mean(axis=0), 0, atol=1e-4)
    assert everything.var(axis=0).mean() == pytest.approx(1, rel=1e-4)
    grey = patches.grey(splits["test"].x)
    assert grey.shape == (160, 25, 25) and grey.min() > -1e-4 and grey.max() < 1


def test_patches_of_test_faces_are_of_no_training_face():
    """Faces of one grey each: the patches of a face are known by it."""
    faces = {
        "train": np.stack([np.full((64, 64), 5.0 * v) for v in range(2, 8)]),
        "test": np.stack([np.full((64, 64), v) for v in (40.0, 50.0)]),
    }
    patches = deep_faces_patches.patches_of(faces, 6)
    found = {
        name: np.unique(np.round(255 * patches.grey(split.x), 3)).tolist()
        for name, split in patches.as_taken.splits.items()
    }
    assert found == {"train": [10, 15, 20, 25, 30], "valid": [35], "test": [40, 50]}
    assert [len(s) for s in patches.dataset.splits.values()] == [30, 6, 12]


def test_errors_are_those_of_scikit_learn_and_of_the_kept_run(smoke, patches):
    train, valid, test = (s.x.reshape(-1, 625) for s in patches.as_taken.splits.values())
    pca = PCA(6, svd_solver="full").fit(np.concatenate([train, valid]))
    expected = np.square(pca.inverse_transform(pca.transform(test)) - test).sum(axis=1).mean()
    assert errors(smoke)["PCA"] == pytest.approx(expected, abs=0.02)
    model = load(smoke / "rbm/whole", "best", data=patches.dataset)
    back = model.reconstruct(patches.dataset.splits["test"], units="model").reshape(-1, 625)
    expected = np.square(back - test).sum(axis=1).mean()
    assert errors(smoke)["autoencoder"] == pytest.approx(expected, abs=0.02)


def test_the_outer_units_are_gaussian_and_the_inner_ones_binary(smoke):
    models = [
        json.loads((smoke / f"rbm/layer_{i}/config.json").read_text())["model"] for i in (1, 2)
    ]
    assert [(m["head"], m["latent"]) for m in models] == [
        ("gaussian_fixed", "sigmoid"),
        ("bernoulli", "gaussian"),
    ]


def test_judgements_by_hand():
    standard = deep_faces.PRESETS["standard"]

    def holds(autoencoder, pca):
        errors = {"autoencoder": np.full(10, autoencoder), "PCA": np.full(10, pca)}
        claims = deep_faces.claims(standard, {}, errors)
        return [claim.holds for claim in claims]

    assert holds(126.0, 135.0) == [True, True, True]
    assert holds(139.0, 140.0) == [True, False, False]
    assert holds(131.0, 140.1) == [False, True, False]
    assert holds(136.0, 135.0) == [True, False, False]
    assert deep_faces.claims(deep_faces.PRESETS["smoke"], {}, {}) == []


def test_a_shorter_preset_judges_pca_on_as_many_patches_as_published(monkeypatch):
    asked = []
    monkeypatch.setattr(deep_faces, "pca_image_errors", lambda codec, rows: rows)
    monkeypatch.setattr(deep_faces, "pca_of_all_people", lambda patches, count: None)
    monkeypatch.setattr(deep_faces, "rows_of", lambda rows, split: rows)

    @dataclasses.dataclass
    class Some:
        dataset: np.ndarray

    def patches_of(faces, count):
        asked.append(count)
        return Some(np.tile([130.0, 140.0], (count, 5, 10)).swapaxes(1, 2).ravel())

    monkeypatch.setattr(deep_faces, "patches_of", patches_of)
    errors = {"autoencoder": np.full(10, 300.0), "PCA": np.full(10, 150.0)}
    claims = deep_faces.claims(deep_faces.PRESETS["quick"], {}, errors)
    assert asked == [414]
    assert [(claim.value, claim.holds) for claim in claims] == [(135.0, True), (2.0, False)]


def test_the_error_of_a_ratio_is_that_of_resampled_people():
    rng = np.random.default_rng(0)
    others = rng.uniform(60, 180, 200)
    ours = others * rng.uniform(0.7, 1.3, 200)
    found = evaluation.ratio(ours, others)
    drawn = rng.integers(0, 200, (4000, 200))
    resampled = ours[drawn].mean(axis=1) / others[drawn].mean(axis=1)
    assert found.mean == pytest.approx(ours.sum() / others.sum())
    assert found.standard_error == pytest.approx(resampled.std(), rel=0.05)


def test_errors_by_person_are_means_of_all_their_patches():
    preset = dataclasses.replace(deep_faces.PRESETS["quick"], patches=3)
    person = np.repeat([5.0, 7.0], 10)
    errors = np.concatenate([person - 1, person, person + 1])
    np.testing.assert_allclose(deep_faces_patches.by_person(preset, errors), [5, 7])


def test_varied_faces_are_made_of_the_training_people_alone(monkeypatch):
    """Faces of one grey each: without light of their own they stay between those that train."""
    for name in ("BRIGHTNESS", "SHADING"):
        monkeypatch.setattr(varied_faces, name, 0.0)
    faces = {
        "train": np.stack([np.full((64, 64), 5.0 * v) for v in range(2, 8)]),
        "test": np.stack([np.full((64, 64), v) for v in (40.0, 50.0)]),
    }
    patches = deep_faces_patches.patches_of(faces, 60)
    grey = 255 * patches.grey(patches.dataset.splits["train"].x)
    assert np.ptp(grey, axis=(1, 2)).max() < 1e-3
    levels = np.round(grey[:, 0, 0], 3)
    assert 10 <= levels.min() < 11 and 29 < levels.max() <= 30
    assert 0.5 < np.mean(~np.isin(levels, [10, 15, 20, 25, 30])) < 0.8
    for part in ("valid", "test"):
        split = patches.as_taken.splits[part]
        np.testing.assert_array_equal(patches.dataset.splits[part].x, split.x)


def only(monkeypatch, **options):
    still = {"BLENDED": 0, "STRETCH": 0, "CONTRAST": 0, "BRIGHTNESS": 0, "SHADING": 0}
    for name, value in (still | options).items():
        monkeypatch.setattr(varied_faces, name, value)
    faces = np.random.RandomState(1).uniform(0, 255, (400, 9, 8)).astype(np.float32)
    return faces, varied_faces.varied(faces, np.random.RandomState(2))


def unchanged(faces, made):
    """The faces [N, H, W], mirrored where that is nearer to what was made of them."""
    mirrored = faces[:, :, ::-1]
    gaps = [np.abs(made - one).sum(axis=(1, 2)) for one in (faces, mirrored)]
    return np.where((gaps[0] < gaps[1])[:, None, None], faces, mirrored)


def test_half_of_the_faces_are_mirrored(monkeypatch):
    faces, made = only(monkeypatch)
    np.testing.assert_allclose(made, unchanged(faces, made), atol=1e-3)
    kept = np.isclose(made, faces, atol=1e-3).all(axis=(1, 2))
    assert 0.4 < kept.mean() < 0.6


def test_contrast_brightness_and_light_are_changed_as_told(monkeypatch):
    faces, made = only(monkeypatch, CONTRAST=0.2)
    np.testing.assert_allclose(made.mean(axis=(1, 2)), faces.mean(axis=(1, 2)), rtol=1e-5)
    shares = made.std(axis=(1, 2)) / faces.std(axis=(1, 2))
    assert 0.8 <= shares.min() < 0.82 and 1.18 < shares.max() <= 1.2
    faces, made = only(monkeypatch, BRIGHTNESS=8.0)
    shifts = made.mean(axis=(1, 2)) - faces.mean(axis=(1, 2))
    assert shifts.std() == pytest.approx(8, rel=0.1)
    faces, made = only(monkeypatch, SHADING=15.0)
    lit = made - unchanged(faces, made)
    np.testing.assert_allclose(lit.mean(axis=(1, 2)), 0, atol=1e-4)
    down = (lit[:, -1, 0] + lit[:, -1, -1]) / 2
    assert down.std() == pytest.approx(15, rel=0.1)


def test_a_stretched_face_is_broader_and_less_high():
    face = np.zeros((41, 41), np.float32)
    face[15:26, 15:26] = 1.0
    (made,) = varied_faces._stretched(face[None], np.array([1.5]))
    assert made[20].sum() == pytest.approx(1.5 * 11, abs=0.6)
    assert made[:, 20].sum() == pytest.approx(11 / 1.5, abs=0.6)


def test_figures_are_drawn(smoke):
    for name in ("reconstructions", "error_by_epoch"):
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
