"""The importance weighted autoencoder: its schedule, what is measured, and how it is judged."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from ae_jax.api import load
from ae_jax.eval import ImportanceSampledLikelihood
from experiments import iwae
from experiments.iwae_measured import Measured, claims, paired, rows_of
from experiments.iwae_runs import Run, both, member, published
from tests.smoke_runs import check_pictures, run_smoke

LIKELIHOOD, PAIRED = "Likelihood of test images", "On the same images"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("iwae")
    return workdir, run_smoke(iwae.main, workdir)


@pytest.mark.slow
def test_likelihoods_are_those_of_the_kept_runs(smoke):
    workdir, results = smoke
    for row, name in zip(results["tables"][LIKELIHOOD], ("vae-1-4", "iwae-5-4"), strict=True):
        model = load(workdir / "1-layer" / name / "seed-0")
        found = model.evaluate("test", [ImportanceSampledLikelihood(50)])
        assert row["NLL"] == pytest.approx(-found["log_likelihood"], abs=0.006)
        assert row["±"] == pytest.approx(found["log_likelihood_se"], abs=0.006)
        units = model.evaluate("test", ["active_units"])["active_units"]
        assert int(row["active units"]) == units


@pytest.mark.slow
def test_differences_are_of_the_same_images(smoke):
    workdir, results = smoke
    files = sorted((workdir / "likelihoods").rglob("*.npy"))
    better, worse = (np.load(file).astype(np.float64) for file in files)  # iwae before vae
    (row,) = results["tables"][PAIRED]
    assert row["by (nats)"] == pytest.approx((worse - better).mean(), abs=0.006)
    assert row["±"] == pytest.approx(stats.sem(worse - better), abs=0.0006)


@pytest.mark.slow
def test_figures_and_a_second_start_that_measures_nothing_anew(smoke):
    workdir, first = smoke
    check_pictures(workdir, {"bound", "units"})
    kept = {f: f.stat().st_mtime_ns for f in workdir.rglob("*.npy")}
    assert len(kept) == 2
    assert run_smoke(iwae.main, workdir)["tables"] == first["tables"]
    assert {f: f.stat().st_mtime_ns for f in workdir.rglob("*.npy")} == kept


@pytest.fixture(scope="module")
def mnist_like(image_set):
    return dataclasses.replace(image_set, name="mnist", protocol="full")


def test_runs_follow_the_paper(mnist_like):
    run = Run("iwae", 50, 8)
    config = member(run, mnist_like, "dynamic_binarization").config
    assert run.epochs == config.train.epochs == 3280 == sum(3**i for i in range(8))
    assert config.model.hidden == (200, 200) and config.model.latent_dim == 50
    assert config.train.batch_size == 20 and config.objective.num_samples == 50
    assert (config.optim.b1, config.optim.b2, config.optim.eps) == (0.9, 0.999, 1e-4)
    assert config.optim.final_fraction == pytest.approx(0.1)
    assert member(Run("vae", 5, 8), mnist_like, "grey").config.objective.kl_form == "monte_carlo"


def test_the_second_layer_and_what_goes_on_from_another_run(mnist_like):
    deep = member(Run("iwae", 5, 8, 2), mnist_like, "grey").config.model
    assert (deep.name, deep.latent, deep.latent_dim) == ("ladder", "ladder", 150)
    assert deep.options_of("latent") == {"top": 50, "hidden": (100, 100)}
    second = Run("vae", 1, 8, after=Run("iwae", 50, 8))
    one = member(second, mnist_like, "grey", start={"a": 1})
    assert one.config.train.epochs == 3**7 and one.config.optim.learning_rate == 1e-4
    assert one.config.optim.schedule == "constant" and second.all_epochs == 3280 + 3**7
    assert second.name == "1-layer/iwae-50-then-vae-1-2187"
    assert published(1)[second.method][0] == 86.02


def measured(run, shift):
    noise = np.linspace(-20, 20, 400)
    return Measured(run, 88 + noise + shift, (np.array([0.5] * 19 + [1e-3] * 31),))


def test_judgements_by_hand():
    first, second = both(4, (5,))
    found = [measured(first, 0.0), measured(second, -1.0)]
    pairs = paired(found)
    assert len(pairs) == 1 and pairs[0]["by (nats)"] == pytest.approx(1.0)
    assert [c.holds for c in claims((0.8, 2.0), None, found, pairs)] == [True]
    assert [c.holds for c in claims((1.1, 2.0), None, found, pairs)] == [False]
    (order,) = claims(None, None, found, pairs)  # without a range they are held to the order alone
    assert (order.direction, order.target, order.holds) == ("at least", 0.0, True)
    # 88.0 against 86.76 and 87.0 against 85.54; 19 units each, of 19 and 22.
    verdicts = [c.holds for c in claims((0.8, 2.0), 1.3, found, pairs)]
    assert verdicts == [True, True, True, False, True]
    row = rows_of(found)[0]
    assert (row["NLL"], row["active units"], row["published NLL"]) == (88.0, "19", 86.76)


def test_only_runs_of_one_length_are_compared():
    runs = (*both(4, (5,)), *both(2, (5, 50)))
    pairs = paired([measured(run, -place) for place, run in enumerate(runs)])
    compared = [(row["better"], row["than"], row["epochs"]) for row in pairs]
    assert compared == [
        ("IWAE, k = 5", "VAE, k = 1", 40),
        ("IWAE, k = 5", "VAE, k = 1", 4),
        ("IWAE, k = 50", "VAE, k = 1", 4),
        ("IWAE, k = 50", "IWAE, k = 5", 4),
    ]


def test_an_analytic_kl_is_beside_the_same_run_without_and_has_no_published_figure(mnist_like):
    plain, analytic, importance = (
        Run("vae", 1, 2),
        Run("vae", 1, 2, analytic=True),
        Run("iwae", 5, 2),
    )
    assert member(analytic, mnist_like, "grey").config.objective.kl_form == "analytic"
    assert member(plain, mnist_like, "grey").config.objective.kl_form == "monte_carlo"
    assert len({plain.name, analytic.name}) == 2
    found = [measured(run, -place) for place, run in enumerate((plain, analytic, importance))]
    pairs = paired(found)
    assert [(row["better"], row["than"]) for row in pairs] == [
        ("VAE, k = 1, analytic KL", "VAE, k = 1"),
        ("IWAE, k = 5", "VAE, k = 1"),
        ("IWAE, k = 5", "VAE, k = 1, analytic KL"),
    ]
    assert rows_of(found)[1]["published NLL"] is None
    made = claims((0.8, 2.0), 5.0, found, pairs)
    assert [
        claim.name for claim in made if "analytic" in claim.name and "active" in claim.name
    ] == []
    assert [claim.unit for claim in made].count("nats") == 3 + 2
    # What ends early is not held to the published figure of the whole schedule.
    shorter = measured(Run("vae", 1, 1), 0.0)
    assert len(claims((0.8, 2.0), 5.0, [*found, shorter], pairs)) == len(made)
