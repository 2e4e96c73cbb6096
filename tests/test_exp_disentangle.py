"""The comparison of disentanglement: its table against the evaluator, its claims by hand."""

import numpy as np
import pytest

from ae_jax.api import load
from ae_jax.eval import Disentanglement
from ae_jax.lab import Estimate
from experiments import disentangle
from experiments.disentangle_report import MEASURES
from tests.smoke_runs import check_pictures, run_smoke


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("disentangle")
    return workdir, run_smoke(disentangle.main, workdir)


@pytest.mark.slow
def test_the_table_is_what_the_evaluator_says_of_the_runs(smoke):
    workdir, results = smoke
    rows = {row["method"]: row for row in results["tables"]["Measures by method"]}
    assert list(rows) == ["VAE", "beta-TCVAE 6"]
    model = load(workdir / "beta-TCVAE-6" / "seed=0")
    found = model.evaluate("train", [Disentanglement()])
    row = rows["beta-TCVAE 6"]
    for column, name in MEASURES.items():
        assert row[column] == pytest.approx(found[name], abs=6e-4)
    assert row["KL"] == pytest.approx(found["reconstruction"] - found["elbo"], abs=0.01)
    check_pictures(workdir, {"measures", "traversals"})


def test_claims_are_about_differences_beyond_two_standard_errors():
    def columns(level):
        values = level + np.array([-0.01, 0.0, 0.01])
        return {measure: Estimate.of(values) for measure in MEASURES}

    error = 0.01 / np.sqrt(3)
    bound = 2 * np.sqrt(2) * error
    for difference, holds in ((bound + 1e-3, True), (bound - 1e-3, False), (-0.2, False)):
        found = {"VAE": columns(0.3), "beta-TCVAE 6": columns(0.3 + difference)}
        method_of = {"VAE": "VAE", "beta-TCVAE 6": "beta-TCVAE"}
        (claim,) = disentangle.claims(found, method_of)
        assert claim.holds is holds and claim.name.startswith("MIG of beta-TCVAE 6")
        assert claim.target == pytest.approx(bound, abs=5e-4)


def test_presets_try_every_method_that_a_claim_is_about():
    for preset in (disentangle.PRESETS["quick"], disentangle.PRESETS["standard"]):
        names = {method for method, _ in disentangle.methods(preset).values()}
        assert names == {"VAE", "beta-VAE", "beta-TCVAE", "FactorVAE"} and preset.seeds > 2
