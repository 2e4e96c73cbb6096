"""Figure 3 of Kingma & Welling 2014: its runs, its estimates and how they are judged."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from ae_jax.data import load as load_data
from experiments import marginal_likelihood
from experiments.marginal_likelihood_runs import (
    METHODS,
    Cell,
    Estimates,
    claims,
    in_order,
    member,
    published,
    rows_of,
)
from tests.smoke_runs import check_pictures, run_smoke

TABLE = "Marginal likelihood"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("marginal_likelihood")
    return workdir, run_smoke(marginal_likelihood.main, workdir)


@pytest.mark.slow
def test_rows_are_means_of_the_kept_estimates(smoke):
    workdir, results = smoke
    rows = results["tables"][TABLE]
    names = list(METHODS.values())
    assert names == ["AEVB", "wake-sleep", "Monte Carlo EM"]
    assert [row["method"] for row in rows] == [name for name in names for _ in range(2)]
    for method, name in METHODS.items():
        own = [row for row in rows if row["method"] == name]
        folder = workdir / "estimates" / "digits=200" / method
        files = list(folder.glob(f"*-step={own[0]['step size']:g}-*.npz"))
        files.sort(key=lambda file: int(file.stem.partition("epoch=")[2]))
        # Of the step sizes, that of the best training digits at the first mark.
        tried = {file: np.load(file)["train"].mean() for file in folder.glob("*-epoch=100.npz")}
        assert len(tried) == 2 and max(tried, key=tried.__getitem__) == files[0]
        for row, file in zip(own, files, strict=True):
            with np.load(file) as values:
                for split, count in (("train", 200), ("test", 180)):
                    assert len(values[split]) == count
                    mean = values[split].mean(dtype=np.float64)
                    assert row[split] == pytest.approx(mean, abs=0.006)
                    assert row[f"{split} ±"] == pytest.approx(stats.sem(values[split]), abs=0.006)


@pytest.mark.slow
def test_figure_and_a_second_start_that_estimates_nothing_anew(smoke):
    workdir, first = smoke
    check_pictures(workdir, {"marginal_likelihood"})
    kept = {file: file.stat().st_mtime_ns for file in workdir.rglob("*.npz")}
    assert run_smoke(marginal_likelihood.main, workdir)["tables"] == first["tables"]
    assert {file: file.stat().st_mtime_ns for file in workdir.rglob("*.npz")} == kept


def test_runs_follow_the_paper():
    dataset = load_data("digits").limited(250)
    config = member(Cell(250, "wake_sleep"), dataset, 1e4, 0.02).config
    assert config.train.epochs == 40 and config.data.limit == 250
    assert config.model.hidden == (100,) and config.model.latent_dim == 3
    assert config.model.activation == "tanh" and config.objective.parameter_prior == "normal"
    assert type(config.objective).__name__ == "WakeSleep"
    objective = member(Cell(250, "mcem"), dataset, 1e4, 0.02).config.objective
    assert (objective.leapfrog_steps, objective.updates, objective.acceptance) == (10, 5, 0.9)
    assert objective.parameter_prior == "normal"


def estimates(test, samples=(10_000_000,), acceptance=None):
    values = test + np.linspace(-20, 20, 200)
    each = [values for _ in samples]
    return Estimates(0.02, samples, {"train": each, "test": each}, [], acceptance)


def test_judgements_by_hand():
    assert published(Cell(1000, "aevb"), "test") == {1e7: -142.9, 3e7: -143.0, 6e7: -143.2}
    assert published(Cell(50_000, "mcem"), "train") == {3e7: -164.1, 6e7: -148.8}
    assert published(Cell(7, "aevb"), "test") == {}
    assert in_order(1000) == ["mcem", "aevb", "wake_sleep"]
    assert in_order(50_000) == ["aevb", "wake_sleep", "mcem"]
    found = {
        Cell(1000, "aevb"): estimates(-145.0),
        Cell(1000, "wake_sleep"): estimates(-150.0),
        Cell(1000, "mcem"): estimates(-145.2, acceptance=0.88),
    }
    # On every digit alike: Monte Carlo EM is 0.2 below AEVB, both are about 5 above wake-sleep.
    # Then 145 against 142.9 + 3, 150 against 146.6 + 3, and 145.2 against 142.4 + 3.
    made = claims(found)
    assert [claim.holds for claim in made] == [False, True, True, True, False, True, True]
    assert [claim.value for claim in made[:3]] == pytest.approx([-0.2, 4.8, 5.0])
    assert made[2].standard_error == 0.0 and made[5].target == 0.9
    turned = found | {Cell(1000, "mcem"): estimates(-144.0)}
    assert [claim.holds for claim in claims(turned)] == [True, True, True, True, False, True]
    early = {cell: dataclasses.replace(one, samples=(100_000,)) for cell, one in found.items()}
    assert len(claims(early)) == 4  # the figure has nothing there: three pairs, an acceptance
    rows = rows_of(found, True)
    assert (rows[0]["test"], rows[0]["test, paper"]) == (-145.0, -142.9)
    assert rows[2]["method"] == "Monte Carlo EM"
