"""The experiment at its smallest: its table against the kept runs, PCA and its own judgements."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from sklearn.decomposition import PCA

from ae_jax.api import load
from ae_jax.api.layerwise import codes_of
from ae_jax.lab import Estimate
from experiments import stacked, stacked_ways
from experiments.deep import Tuned

pytestmark = pytest.mark.slow

FOLDERS = {
    "by RBMs": "rbms",
    "by autoencoders": "autoencoders",
    "by denoising autoencoders": "denoising_autoencoders",
    "at once": "at_once",
    "at once, as many epochs in all": "at_once_longer",
}
SEEDS = stacked.PRESETS["smoke"].seeds


def whole(smoke: Path, name: str, step: str, seed: int = 0) -> Path:
    """The run of one way at a step size."""
    folder = smoke / FOLDERS[name] / f"seed={seed}" / f"rate={step}"
    return folder / "whole" if name.startswith("by") else folder


def layer(smoke: Path, name: str, step: str, number: int) -> Path:
    """A layer of the first seed; RBMs have their own step sizes."""
    folder = smoke / FOLDERS[name] / "seed=0"
    return (folder if name == "by RBMs" else folder / f"rate={step}") / f"layer_{number}"


def squared_errors(model, split: str) -> np.ndarray:
    examples = model.setup.dataset.splits[split]
    difference = model.reconstruct(examples, units="model") - examples.x / 16.0
    return np.square(difference).sum(axis=(1, 2, 3))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("stacked")
    arguments = ["--preset", "smoke", "--workdir", str(workdir)]
    result = CliRunner().invoke(stacked.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return workdir


@pytest.fixture(scope="module")
def results(smoke) -> dict:
    return json.loads((smoke / "results.json").read_text())


@pytest.fixture(scope="module")
def rows(results) -> dict[str, dict]:
    return {row["trained"]: row for row in results["tables"]["Test error after each stage"]}


def step_of(row: dict) -> str:
    return row["step size"].split()[0]


def test_the_errors_are_those_of_the_kept_runs(smoke, rows):
    for name in FOLDERS:
        step = step_of(rows[name])
        each = [
            squared_errors(load(whole(smoke, name, step, seed)), "test").mean()
            for seed in range(SEEDS)
        ]
        assert rows[name]["whole"] == pytest.approx(np.mean(each), abs=0.006), name
        assert rows[name]["±"] == pytest.approx(np.std(each, ddof=1) / SEEDS**0.5, abs=0.006)


def test_the_step_size_is_that_of_the_least_error_on_held_out_digits(smoke, results, rows):
    table = results["tables"]["Error on held-out training digits by step size"]
    for row in table:
        name = row.pop("trained")
        for step, error in row.items():
            found = squared_errors(load(whole(smoke, name, step)), "valid").mean()
            assert error == pytest.approx(found, abs=0.006)
        assert min(row, key=row.get) == step_of(rows[name])


def test_the_error_after_a_layer_is_that_of_layers_applied_in_turn(smoke, rows):
    for name in FOLDERS:
        if not name.startswith("by"):
            assert rows[name]["layer 1: 32"] == ""
            continue
        first = load(layer(smoke, name, step_of(rows[name]), 1))
        test = first.setup.dataset.splits["test"]
        codes, x = first.encode(test), test.x / 16.0
        one = np.square(first.decode(codes, units="model") - x).sum(axis=(1, 2, 3)).mean()
        assert rows[name]["layer 1: 32"] == pytest.approx(one, abs=0.006)
        # Refused if it had been trained on anything but the codes of the first.
        below = codes_of(first, first.setup.dataset, "codes")
        second = load(layer(smoke, name, step_of(rows[name]), 2), data=below)
        both = (
            np.square(first.decode(second.reconstruct(codes, units="model"), units="model") - x)
            .sum(axis=(1, 2, 3))
            .mean()
        )
        assert rows[name]["layer 2: 4"] == pytest.approx(both, abs=0.006)


def test_pca_is_that_of_scikit_learn_on_the_same_examples(smoke, rows):
    data = load(whole(smoke, "at once", "0.001")).setup.dataset
    train, test = (data.splits[name].x.reshape(-1, 64) / 16.0 for name in ("train", "test"))
    assert len(train) == stacked.PRESETS["smoke"].limit
    for heading, count in (("layer 1: 32", 32), ("layer 2: 4", 4)):
        pca = PCA(count).fit(train)
        expected = np.square(pca.inverse_transform(pca.transform(test)) - test).sum(axis=1).mean()
        assert rows["PCA"][heading] == pytest.approx(expected, abs=0.006)


def test_all_ways_are_one_network_and_differ_in_their_start(smoke):
    configs = {
        name: json.loads((whole(smoke, name, "0.001") / "config.json").read_text())
        for name in FOLDERS
    }
    longer = configs.pop("at once, as many epochs in all")
    assert all(config == configs["at once"] for config in configs.values())
    preset = stacked.PRESETS["smoke"]
    assert longer["train"]["epochs"] == 2 * preset.layer_epochs + preset.epochs
    layers = {
        json.loads(file.read_text())["objective"]["name"]
        for file in smoke.rglob("layer_*/config.json")
    }
    assert layers == {"contrastive_divergence", "reconstruction", "denoising"}


def test_judgements_by_hand(monkeypatch):
    monkeypatch.setattr(Tuned, "error", property(lambda tuned: Estimate.of(tuned.models)))

    def course(*errors, by_layer=()):
        return stacked_ways.Course(Tuned({}, errors), {}, by_layer)

    courses = {
        "RBMs": course(4.0, 4.2, by_layer=(1.0,)),
        "autoencoders": course(4.3, 4.7, by_layer=(1.0,)),
        stacked_ways.AT_ONCE: course(3.0, 3.0),
        stacked_ways.LONGER: course(4.9, 5.1),
    }
    claims = stacked.claims(courses)
    # Differences of 0.9 and 0.5; twice their errors are 0.283 and 0.447.
    assert [claim.value for claim in claims] == [0.9, 0.5]
    assert [claim.target for claim in claims] == [0.283, 0.447]
    courses["autoencoders"] = course(4.3, 4.9, by_layer=(1.0,))
    assert [claim.holds for claim in stacked.claims(courses)] == [True, False]


def test_figures_are_drawn(smoke):
    for name in ("error_by_stage", "error_by_epoch", "reconstructions"):
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
