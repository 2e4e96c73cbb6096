"""Priors of a VAE: what each run is, what is measured of it, and how it is judged."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from ae_jax.api import load
from ae_jax.eval import ImportanceSampledLikelihood
from experiments import priors
from experiments.priors_measured import Measured, claims, paired, rows_of
from experiments.priors_runs import NETWORKS, member, published
from tests.smoke_runs import check_pictures, run_smoke

LIKELIHOOD, PAIRED = "Likelihood of test images", "On the same images"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("priors")
    return workdir, run_smoke(priors.main, workdir)


@pytest.mark.slow
def test_numbers_are_those_of_the_kept_runs(smoke):
    workdir, results = smoke
    for row, network in zip(results["tables"][LIKELIHOOD], NETWORKS, strict=True):
        model = load(workdir / network.key / "epochs=2" / "step=0.001", which="best")
        looks = ["active_units", "aggregate_posterior"]
        found = model.evaluate("test", [ImportanceSampledLikelihood(20), *looks])
        assert row["NLL"] == pytest.approx(-found["log_likelihood"], abs=0.006)
        assert row["±"] == pytest.approx(found["log_likelihood_se"], abs=0.006)
        assert row["active units"] == found["active_units"]
        assert row["aggregate KL"] == pytest.approx(found["aggregate_kl"], abs=0.006)


@pytest.mark.slow
def test_differences_are_of_the_same_images(smoke):
    workdir, results = smoke
    values = {}
    for network in NETWORKS:
        (file,) = (workdir / "measured" / network.key).glob("*.npz")
        with np.load(file) as arrays:
            values[network.described] = arrays["likelihoods"].astype(np.float64)
    rows = results["tables"][PAIRED]
    assert len(rows) == 3  # of the gated ones
    for row in rows:
        gain = values[row["less that of"]] - values[row["log p(x) of"]]
        assert row["is (nats)"] == pytest.approx(gain.mean(), abs=0.006)
        assert row["±"] == pytest.approx(stats.sem(gain), abs=0.0006)


@pytest.mark.slow
def test_figures_and_a_second_start_that_measures_nothing_anew(smoke):
    workdir, first = smoke
    check_pictures(workdir, {"bound", "units", "samples"})
    kept = {file: file.stat().st_mtime_ns for file in workdir.rglob("*.npz")}
    assert len(kept) == len(NETWORKS)
    assert run_smoke(priors.main, workdir)["tables"] == first["tables"]
    assert {file: file.stat().st_mtime_ns for file in workdir.rglob("*.npz")} == kept


def test_runs_follow_the_scripts(image_set):
    dataset = dataclasses.replace(image_set, name="binarized_mnist")
    configs = {n.key: member(n, dataset, 500, 20, 1e-3).config for n in NETWORKS}
    steps = 20 * -(-len(dataset.splits["train"]) // 100)
    for key, config in configs.items():
        assert config.model.latent_dim == 40 and config.train.batch_size == 100
        assert config.data.preprocess == "identity"
        if key == "vae":
            assert config.model.hidden == (400,) and config.model.activation == "relu"
            assert config.objective.beta_warmup == 0
        else:
            assert config.model.hidden == (300, 300) and config.model.encoder == "gated"
            assert config.objective.beta_warmup == pytest.approx(steps / 20)
    # One network, one estimator of the bound: only the prior differs.
    plain = dataclasses.replace(configs["vamp"].model, prior="standard_normal", options=())
    assert plain == configs["standard"].model
    assert configs["vamp"].objective == configs["standard"].objective
    assert configs["vamp"].model.options == (("prior.components", 500),)


def measured(network, shift):
    noise = np.linspace(-20, 20, 400)
    zeros = np.zeros(400)
    units = np.array([0.5] * 19 + [1e-3] * 21)
    return Measured(network, 1e-3, 88 + noise + shift, -zeros, zeros, zeros[:0], units, (1.0, 0.1))


def test_judgements_by_hand():
    vae, standard, mixture, vamp = NETWORKS
    found = [measured(vae, 1.9), measured(standard, 0.0), measured(vamp, -1.0)]
    found.insert(2, measured(mixture, 0.5))
    pairs = paired(found)
    gains = {(row["log p(x) of"], row["less that of"]): row["is (nats)"] for row in pairs}
    assert len(gains) == 3  # the other network is compared with none
    assert gains[vamp.described, standard.described] == pytest.approx(1.0)
    assert gains[vamp.described, mixture.described] == pytest.approx(1.5)
    assert gains[mixture.described, standard.described] == pytest.approx(-0.5)
    assert [c.holds for c in claims(found, pairs, 500, False)] == [False, True]
    # 89.9 against 89.78 + 0.3, and 87.0 against 85.79 + 0.3.
    assert [c.holds for c in claims(found, pairs, 500, True)] == [False, True, True, False]
    row = rows_of(found, True)[3]
    assert (row["NLL"], row["active units"]) == (pytest.approx(87.0), 19)
    assert (row["reproduced by pythae"], row["published"]) == (85.79, 85.57)
    assert published()["vae"] == {"reproduced": 89.78, "published": 89.9, "samples": 200}


def test_a_difference_within_two_errors_is_none():
    _, standard, _, vamp = NETWORKS
    first, second = measured(standard, 0.0), measured(vamp, -1.0)
    spread = np.random.default_rng(0).normal(0, 15, 400)
    spread -= spread.mean()
    noisy = dataclasses.replace(second, likelihoods=second.likelihoods + spread)
    (row,) = paired([first, noisy])
    assert row["is (nats)"] == pytest.approx(1.0) and 2 * row["±"] > 1.0
    assert [c.holds for c in claims([first, noisy], [row], 500, False)] == [False]
