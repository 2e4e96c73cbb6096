"""The identity of the bound: closed forms against sampling, and the smoke run on the 8x8 digits."""

import shutil

import numpy as np
import pytest
from scipy import stats

import ae_jax
from ae_jax.api import configure
from ae_jax.core.errors import UserError
from ae_jax.data import load
from ae_jax.eval import PlaneQuadrature
from ae_jax.lab import Lab, Member
from experiments import elbo_identity
from experiments.elbo_closed import Discrete, LinearGaussian, closed_form_terms, gaussian_kl
from experiments.elbo_plane import seen
from experiments.stages import stages
from tests.smoke_runs import check_pictures, run_smoke


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("identity")
    return workdir, run_smoke(elbo_identity.main, workdir)


def test_all_terms_add_up_to_rounding():
    for (_, q), terms in closed_form_terms(50, seed=3).items():
        assert terms.residual < 1e-10
        if q == "right":
            np.testing.assert_allclose(terms.kl, 0, atol=1e-10)
        else:
            assert (terms.kl > 0).all()


def test_the_linear_gaussian_bound_is_what_samples_of_q_say():
    rng = np.random.default_rng(0)
    model = LinearGaussian.example(rng)
    x = model.sample(1, rng)
    mean, covariance = model.posterior(x)
    mean = mean + 0.3
    covariance = covariance + 0.05 * np.eye(2)
    q = stats.multivariate_normal(mean[0], covariance)
    z = q.rvs(100_000, random_state=1)
    noise = model.scale**2 * np.eye(len(model.bias))
    joint = stats.multivariate_normal(cov=noise).logpdf(x - z @ model.weights.T - model.bias)
    joint += stats.multivariate_normal(np.zeros(2)).logpdf(z)
    sampled = joint - q.logpdf(z)
    error = sampled.std() / np.sqrt(len(z))
    terms = model.terms(x, mean, covariance)
    assert terms.elbo[0] == pytest.approx(sampled.mean(), abs=5 * error)
    posterior_mean, posterior_covariance = model.posterior(x)
    posterior = stats.multivariate_normal(posterior_mean[0], posterior_covariance)
    sampled = q.logpdf(z) - posterior.logpdf(z)
    error = sampled.std() / np.sqrt(len(z))
    assert terms.kl[0] == pytest.approx(sampled.mean(), abs=5 * error)
    assert gaussian_kl(mean, covariance, mean, covariance)[0] == pytest.approx(0, abs=1e-12)


def test_the_table_of_the_discrete_model_is_a_distribution():
    model = Discrete.example(np.random.default_rng(1))
    assert model.joint.sum() == pytest.approx(1)
    np.testing.assert_array_equal(model.number(model.values), np.arange(len(model.values)))


@pytest.mark.slow
def test_the_terms_of_the_autoencoder_add_up(smoke):
    claims = {claim["name"]: claim for claim in smoke[1]["claims"]}
    for name, claim in claims.items():
        assert claim["holds"], name
    rows = smoke[1]["tables"]["The identity along training"]
    assert [row["epoch"] for row in rows] == [1, 20]
    for row in rows:
        kl = float(row["KL(q, p(z|x))"].split()[0])
        assert row["log p(x)"] == pytest.approx(row["ELBO"] + kl, abs=5e-3)
        assert row["ELBO"] < row["log p(x)"]


@pytest.mark.slow
def test_stages_are_those_of_one_run(smoke):
    """What was kept at an epoch is what the run was then: its records are the same."""
    workdir = smoke[0]
    whole = ae_jax.load(workdir / "vae").records
    early = ae_jax.load(workdir / "vae-epoch=1").records
    assert len(early) == 1 and len(whole) == 20
    assert early[0]["running/elbo"] == whole[0]["running/elbo"]


def test_a_stage_that_the_run_has_passed_is_not_taken_for_it(vector_set, tmp_path):
    member = Member("run", configure(None, {"epochs": 4, "hidden": [4], "latent_dim": 2}))
    lab = Lab(tmp_path)
    found = stages(lab, member, vector_set, (1, 3))
    assert [len(found[epoch].records) for epoch in (0, 1, 3)] == [0, 1, 3]
    shutil.rmtree(tmp_path / "run-epoch=1")
    with pytest.raises(UserError, match=r"run is at epoch 3 and its copy of epoch 1 is gone"):
        stages(lab, member, vector_set, (1, 3))


@pytest.mark.slow
def test_the_density_that_is_drawn_has_its_mean_where_the_weights_say(smoke):
    model = ae_jax.load(smoke[0] / "vae-epoch=1")
    example = load("digits").splits["test"].rows(np.array([3]))
    found = seen(model, example, PlaneQuadrature(81))
    weights = found.density / found.density.sum()
    drawn = np.array(
        [(weights.sum(axis=1) * found.first).sum(), (weights.sum(axis=0) * found.second).sum()]
    )
    # By self-normalised importance sampling from the prior.
    z = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    p = np.clip(
        model.decode(z, units="model").reshape(len(z), -1).astype(np.float64), 1e-9, 1 - 1e-9
    )
    x = model.inputs(example).reshape(-1)
    log_weights = np.log(p) @ x + np.log1p(-p) @ (1 - x)
    shares = np.exp(log_weights - log_weights.max())
    np.testing.assert_allclose(drawn, shares @ z / shares.sum(), atol=0.05)


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"bounds", "gaps", "posteriors"})
