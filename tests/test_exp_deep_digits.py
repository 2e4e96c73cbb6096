"""The experiment at its smallest: its numbers against NumPy and PCA, and its judgements."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ae_jax.api import load
from ae_jax.core.errors import TrainingDiverged
from ae_jax.data import load as load_data
from experiments import deep_digits, deep_digits_models
from experiments.deep import Tuned, published, tuned


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


def table(workdir: Path) -> dict[str, dict]:
    results = json.loads((workdir / "results.json").read_text())
    return {row["method"]: row for row in results["tables"]["Test error"]}


def errors(workdir: Path) -> dict[str, float]:
    return {method: row["test error"] for method, row in table(workdir).items()}


WAYS = ("pretrained by RBM", "from scratch")
NAMES = dict(zip(("rbm", "scratch"), WAYS, strict=True))


def kept(workdir: Path, folder: str, rows: dict[str, dict]) -> Path:
    """The run at the step size that the table names."""
    step = rows[f"autoencoder, {NAMES[folder]}"]["step size"].split()[0]
    return workdir / "all" / folder / f"rate={step}"


@pytest.mark.slow
def test_the_error_of_pca_is_that_of_scikit_learn(smoke):
    data = load_data("digits", protocol="full")
    train, test = (data.splits[n].x.reshape(-1, 64) / 16.0 for n in ("train", "test"))
    assert len(train) + len(test) == len(load_digits().images)
    pca = PCA(deep_digits.PRESETS["smoke"].code).fit(train)
    expected = np.square(pca.inverse_transform(pca.transform(test)) - test).sum(axis=1).mean()
    assert errors(smoke)["PCA"] == pytest.approx(expected, abs=0.006)


@pytest.mark.slow
def test_errors_are_those_of_the_kept_runs(smoke):
    rows = table(smoke)
    runs = {
        "autoencoder, pretrained by RBM": kept(smoke, "rbm", rows),
        "autoencoder, from scratch": kept(smoke, "scratch", rows),
        "logistic PCA": smoke / "logistic_pca",
    }
    for method, folder in runs.items():
        model = load(folder)
        test = model.setup.dataset.splits["test"]
        difference = model.reconstruct(test, units="model") - test.x / 16.0
        each = np.square(difference).sum(axis=(1, 2, 3))
        assert rows[method]["test error"] == pytest.approx(each.mean(), abs=0.006)
        assert rows[method]["±"] == pytest.approx(each.std(ddof=1) / len(each) ** 0.5, abs=0.006)


@pytest.mark.slow
def test_the_step_size_is_that_of_the_least_validation_error(smoke):
    rows = table(smoke)
    for folder in NAMES:
        errors = {}
        for file in smoke.glob(f"{folder}/rate=*"):
            model = load(file)
            valid = model.setup.dataset.splits["valid"]
            difference = model.reconstruct(valid, units="model") - valid.x / 16.0
            errors[file] = np.square(difference).mean()
        assert len(errors) == len(deep_digits.PRESETS["smoke"].rates)
        assert min(errors, key=errors.get).name == kept(smoke, folder, rows).name


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
    assert configs["rbm/rate=0.001"] == configs["scratch/rate=0.001"]
    assert configs["scratch/rate=0.001"]["model"]["init_scale"] == 4.0
    starts = {str(file.parent.relative_to(smoke)) for file in smoke.rglob("start.json")}
    (chosen,) = (name for name in configs if name.startswith("all/rbm/rate="))
    assert starts == {"rbm/rate=0.001", "rbm/rate=0.003", chosen}
    of_all = {name for name, config in configs.items() if config["data"]["protocol"] == "full"}
    assert of_all == {name for name in configs if name.startswith("all/")} | {"logistic_pca"}
    same_but_for_data = {**configs[chosen], "data": None}
    assert same_but_for_data == {**configs[chosen.removeprefix("all/")], "data": None}
    assert configs["logistic_pca"]["model"]["hidden"] == []


@pytest.mark.slow
def test_the_unrolled_layers_are_where_fine_tuning_began(smoke):
    results = json.loads((smoke / "results.json").read_text())
    heading = "Unrolled after each layer, before fine-tuning"
    *layers, tuned = results["tables"][heading]
    assert [row["layers"] for row in layers] == [1, 2]
    assert tuned["test error"] == errors(smoke)["autoencoder, pretrained by RBM"]
    # One machine gives back its own squared error: the look of the first run.
    records = (smoke / "all/rbm/layer_1/metrics.jsonl").read_text().splitlines()
    own = json.loads(records[-1])["test/squared_error"]
    assert layers[0]["test error"] == pytest.approx(own, abs=0.006)
    assert tuned["test error"] < layers[-1]["test error"]


@pytest.mark.slow
def test_figures_and_a_second_start_that_trains_nothing(smoke):
    for name in ("reconstructions", "error_by_epoch"):
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
    before = {file: file.read_bytes() for file in smoke.rglob("metrics.jsonl")}
    # Layers and two ways at two step sizes; layers and two ways of all digits; logistic PCA.
    assert len(before) == 2 + 2 * 2 + 2 + 2 + 1
    assert run_smoke(smoke)["claims"] == []  # nothing is published for the 8x8 digits
    assert {file: file.read_bytes() for file in smoke.rglob("metrics.jsonl")} == before


def judged(errors: dict[str, float], validation: tuple[float, float], spread=0.0) -> list[bool]:
    preset = deep_digits.PRESETS["quick"]
    found = {name: Tuned({1e-3: value}, ()) for name, value in zip(WAYS, validation, strict=True)}
    models = deep_digits_models.Models(None, found, None, {})
    images = {name: np.full(4, value) for name, value in errors.items()}
    images["from scratch"] = images["from scratch"] + spread * np.array([-1.0, 1.0, -1.0, 1.0])
    return [claim.holds for claim in deep_digits.claims(preset, images, models)]


def test_judgements_by_hand():
    found = {WAYS[0]: 8.0, WAYS[1]: 9.0, "logistic PCA": 8.1, "PCA": 13.866}
    assert judged(found, (7.0, 9.0)) == [True, True, True, True]
    # The one that is better on validation digits is judged, whatever it does on the test split.
    assert judged(found, (9.0, 7.0)) == [True, True, False, True]
    assert judged(found | {"PCA": 13.88}, (7.0, 9.0)) == [False, True, True, True]
    assert judged(found | {"logistic PCA": 8.3}, (7.0, 9.0)) == [True, False, True, True]
    assert judged(found | {WAYS[0]: 8.02}, (7.0, 9.0)) == [True, True, False, True]
    assert judged(found | {WAYS[1]: 7.99}, (7.0, 9.0)) == [True, True, True, False]
    # A difference of 1 with a standard error of 2 / sqrt(3) is none.
    assert judged(found, (7.0, 9.0), spread=2.0) == [True, True, True, False]


def test_standard_is_held_to_the_published_autoencoder():
    preset = deep_digits.PRESETS["standard"]
    assert published("mnist")[preset.beats] == 3.0
    assert preset.hidden == (1000, 500, 250) and preset.code == 30
    assert dataclasses.asdict(preset)["dataset"] == "mnist"


def test_the_best_step_size_is_trained_once_for_each_seed():
    asked = []

    class Model:
        def __init__(self, rate, seed):
            self.valid, self.test = abs(rate - 0.01), 10 * rate + seed

        def evaluate(self, split):
            return {"squared_error_per_example": getattr(self, split)}

    def train(rate, seed):
        asked.append((rate, seed))
        if rate > 0.1:
            raise TrainingDiverged("too large a step")
        return Model(rate, seed)

    found = tuned(train, (0.001, 0.02, 1.0), seeds=2)
    assert asked == [(0.001, 0), (0.02, 0), (1.0, 0), (0.001, 0), (0.001, 1)]
    assert found.by_rate == pytest.approx({0.001: 0.009, 0.02: 0.01, 1.0: np.inf})
    assert (found.rate, found.step) == (0.001, "0.001 (at the edge)")
    assert found.least == found.by_rate[0.001]
    assert found.error.values == (0.01, 1.01)
    assert tuned(train, (0.001, 0.011, 0.02), seeds=1).step == "0.011"
