"""The experiment at its smallest: its table against the kept runs, PCA and its own judgements."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from sklearn.decomposition import PCA

from ae_jax.api import load
from ae_jax.api.layerwise import codes_of
from experiments import stacked

pytestmark = pytest.mark.slow

FOLDERS = {
    "by RBMs": "rbms/whole",
    "by autoencoders": "autoencoders/whole",
    "by denoising autoencoders": "denoising_autoencoders/whole",
    "at once": "at_once",
    "at once, as many epochs in all": "at_once_longer",
}


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


def test_the_errors_are_those_of_the_kept_runs(smoke, rows):
    for name, folder in FOLDERS.items():
        model = load(smoke / folder)
        test = model.setup.dataset.splits["test"]
        difference = model.reconstruct(test, units="model") - test.x / 16.0
        expected = np.square(difference).sum(axis=(1, 2, 3)).mean()
        assert rows[name]["whole"] == pytest.approx(expected, abs=0.006), name


def test_the_error_after_a_layer_is_that_of_layers_applied_in_turn(smoke, rows):
    for name, folder in FOLDERS.items():
        if not name.startswith("by"):
            assert rows[name]["layer 1: 32"] == ""
            continue
        first = load(smoke / folder.replace("whole", "layer_1"))
        test = first.setup.dataset.splits["test"]
        codes, x = first.encode(test), test.x / 16.0
        one = np.square(first.decode(codes, units="model") - x).sum(axis=(1, 2, 3)).mean()
        assert rows[name]["layer 1: 32"] == pytest.approx(one, abs=0.006)
        # Refused if it had been trained on anything but the codes of the first.
        below = codes_of(first, first.setup.dataset, "codes")
        second = load(smoke / folder.replace("whole", "layer_2"), data=below)
        both = (
            np.square(first.decode(second.reconstruct(codes, units="model"), units="model") - x)
            .sum(axis=(1, 2, 3))
            .mean()
        )
        assert rows[name]["layer 2: 4"] == pytest.approx(both, abs=0.006)


def test_pca_is_that_of_scikit_learn_on_the_same_examples(smoke, rows):
    data = load(smoke / "at_once").setup.dataset
    train, test = (data.splits[name].x.reshape(-1, 64) / 16.0 for name in ("train", "test"))
    assert len(train) == stacked.PRESETS["smoke"].limit
    for heading, count in (("layer 1: 32", 32), ("layer 2: 4", 4)):
        pca = PCA(count).fit(train)
        expected = np.square(pca.inverse_transform(pca.transform(test)) - test).sum(axis=1).mean()
        assert rows["PCA"][heading] == pytest.approx(expected, abs=0.006)


def test_all_ways_are_one_network_and_differ_in_their_start(smoke):
    configs = {
        name: json.loads((smoke / folder / "config.json").read_text())
        for name, folder in FOLDERS.items()
    }
    longer = configs.pop("at once, as many epochs in all")
    assert all(config == configs["at once"] for config in configs.values())
    preset = stacked.PRESETS["smoke"]
    assert longer["train"]["epochs"] == 2 * preset.layer_epochs + preset.epochs
    layers = {
        json.loads(file.read_text())["objective"]["name"]
        for file in smoke.glob("*/layer_*/config.json")
    }
    assert layers == {"contrastive_divergence", "reconstruction", "denoising"}


def test_claims_compare_each_way_with_training_at_once(results, rows):
    stacks = [rows[name]["whole"] for name in FOLDERS if name.startswith("by")]
    values = [claim["value"] for claim in results["claims"]]
    assert values == pytest.approx(2 * stacks, abs=0.006)
    at_once = [rows[name]["whole"] for name in FOLDERS if name.startswith("at once")]
    targets = [claim["target"] for claim in results["claims"]]
    assert targets == pytest.approx(np.repeat(at_once, 3), abs=0.006)


def test_judgements_by_hand():
    def course(error, *by_layer):
        model = SimpleNamespace(records=[{"test/squared_error": error}])
        return stacked.Course(model, by_layer)

    courses = {"RBMs": course(4.0, 1.0, 9.0), "autoencoders": course(5.1, 1.0, 9.0)}
    courses |= {stacked.AT_ONCE: course(5.0), stacked.LONGER: course(4.5)}
    assert [claim.holds for claim in stacked.claims(courses)] == [True, False, True, False]
    courses[stacked.LONGER] = course(3.0)
    assert [claim.holds for claim in stacked.claims(courses)] == [True, False, False, False]


def test_figures_are_drawn(smoke):
    for name in ("error_by_stage", "error_by_epoch", "reconstructions"):
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
