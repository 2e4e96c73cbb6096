"""The experiment at its smallest: its numbers against NumPy and PCA, and its judgements."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ae_jax.api import load
from ae_jax.data import load as load_data
from experiments import deep_digits
from experiments.deep import published


def run_smoke(workdir: Path) -> dict:
    arguments = ["--preset", "smoke", "--workdir", str(workdir)]
    result = CliRunner().invoke(deep_digits.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("deep_digits")
    run_smoke(workdir)
    return workdir


def errors(workdir: Path) -> dict[str, float]:
    results = json.loads((workdir / "results.json").read_text())
    return {row["method"]: row["test error"] for row in results["tables"]["Test error"]}


@pytest.mark.slow
def test_the_error_of_pca_is_that_of_scikit_learn(smoke):
    data = load_data("digits", protocol="full")
    train, test = (data.splits[n].x.reshape(-1, 64) / 16.0 for n in ("train", "test"))
    assert len(train) + len(test) == len(load_digits().images)
    pca = PCA(deep_digits.PRESETS["smoke"].code).fit(train)
    expected = np.square(pca.inverse_transform(pca.transform(test)) - test).sum(axis=1).mean()
    assert errors(smoke)["PCA"] == pytest.approx(expected, abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "method"),
    [
        ("rbm/whole", "autoencoder, pretrained by RBM"),
        ("scratch", "autoencoder, from scratch"),
        ("logistic_pca", "logistic PCA"),
    ],
)
def test_errors_are_those_of_the_kept_runs(smoke, run, method):
    model = load(smoke / run)
    test = model.setup.dataset.splits["test"]
    difference = model.reconstruct(test, units="model") - test.x / 16.0
    expected = np.square(difference).sum(axis=(1, 2, 3)).mean()
    assert errors(smoke)[method] == pytest.approx(expected, abs=0.006)


@pytest.mark.slow
def test_the_runs_are_what_the_names_say(smoke):
    configs = {
        str(file.parent.relative_to(smoke)): json.loads(file.read_text())
        for file in smoke.rglob("config.json")
    }
    machines = [configs[f"rbm/layer_{i}"]["model"] for i in (1, 2)]
    assert [m["name"] for m in machines] == ["rbm"] * 2
    assert [m["latent"] for m in machines] == ["sigmoid", "gaussian"]
    # One network and one course of training, but for where they start.
    assert configs["rbm/whole"] == configs["scratch"]
    assert (smoke / "rbm/whole/start.json").exists() and not (smoke / "scratch/start.json").exists()
    assert configs["logistic_pca"]["model"]["hidden"] == []


@pytest.mark.slow
def test_the_unrolled_layers_are_where_fine_tuning_began(smoke):
    results = json.loads((smoke / "results.json").read_text())
    heading = "Unrolled after each layer, before fine-tuning"
    *layers, tuned = results["tables"][heading]
    assert [row["layers"] for row in layers] == [1, 2]
    assert tuned["test error"] == errors(smoke)["autoencoder, pretrained by RBM"]
    # One machine gives back its own squared error: the look of the first run.
    records = (smoke / "rbm/layer_1/metrics.jsonl").read_text().splitlines()
    own = json.loads(records[-1])["test/squared_error"]
    assert layers[0]["test error"] == pytest.approx(own, abs=0.006)
    assert tuned["test error"] < layers[-1]["test error"]


@pytest.mark.slow
def test_figures_and_a_second_start_that_trains_nothing(smoke):
    for name in ("reconstructions", "error_by_epoch"):
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
    before = {file: file.read_bytes() for file in smoke.rglob("metrics.jsonl")}
    assert len(before) == 5
    assert run_smoke(smoke)["claims"] == []  # nothing is published for the 8x8 digits
    assert {file: file.read_bytes() for file in smoke.rglob("metrics.jsonl")} == before


def judged(errors: dict[str, float], training: tuple[float, float]) -> list[bool]:
    preset = deep_digits.PRESETS["quick"]
    runs = [SimpleNamespace(records=[{"train/squared_error": value}]) for value in training]
    models = deep_digits.Models(None, *runs, None)
    return [claim.holds for claim in deep_digits.claims(preset, errors, models)]


def test_judgements_by_hand():
    found = {"autoencoder": 8.0, "from scratch": 9.0, "logistic PCA": 8.1, "PCA": 13.866}
    assert judged(found, (7.0, 9.0)) == [True, True, True, True]
    # The one that trained better is judged, whatever it does on the test split.
    assert judged(found, (9.0, 7.0)) == [True, True, False, True]
    assert judged(found | {"PCA": 13.88}, (7.0, 9.0)) == [False, True, True, True]
    assert judged(found | {"logistic PCA": 8.2}, (7.0, 9.0)) == [True, False, True, True]
    assert judged(found | {"autoencoder": 8.02}, (7.0, 9.0)) == [True, True, False, True]
    assert judged(found | {"from scratch": 7.99}, (7.0, 9.0)) == [True, True, True, False]


def test_standard_is_held_to_the_published_autoencoder():
    preset = deep_digits.PRESETS["standard"]
    assert published("mnist")[preset.beats] == 3.0
    assert preset.hidden == (1000, 500, 250) and preset.code == 30
    assert dataclasses.asdict(preset)["dataset"] == "mnist"
