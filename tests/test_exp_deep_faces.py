"""The experiment at its smallest: the patches it makes, its numbers, and its judgements."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from sklearn.decomposition import PCA

from ae_jax.api import load
from experiments import deep_faces, deep_faces_patches

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
        claims = deep_faces.claims(standard, {}, {"autoencoder": autoencoder, "PCA": pca})
        return [claim.holds for claim in claims]

    assert holds(126.0, 135.0) == [True, True, True]
    assert holds(139.0, 140.0) == [True, False, False]
    assert holds(131.0, 140.1) == [False, True, False]
    assert holds(136.0, 135.0) == [True, False, False]
    assert deep_faces.claims(deep_faces.PRESETS["smoke"], {}, {}) == []


def test_a_shorter_preset_judges_pca_on_as_many_patches_as_published(monkeypatch):
    asked = []
    monkeypatch.setattr(deep_faces, "pca_error", lambda codec, rows: 135.0)
    monkeypatch.setattr(deep_faces, "pca_of_all_people", lambda dataset, count: None)
    monkeypatch.setattr(deep_faces, "rows_of", lambda dataset, split: None)

    class Some:
        dataset = None

    monkeypatch.setattr(
        deep_faces, "patches_of", lambda faces, count: asked.append(count) or Some()
    )
    claims = deep_faces.claims(
        deep_faces.PRESETS["quick"], {}, {"autoencoder": 300.0, "PCA": 150.0}
    )
    assert asked == [414]
    assert [(claim.value, claim.holds) for claim in claims] == [(135.0, True), (2.0, False)]


def test_figures_are_drawn(smoke):
    for name in ("reconstructions", "error_by_epoch"):
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
