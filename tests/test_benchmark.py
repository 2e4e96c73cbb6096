"""Contenders of the benchmark do the same arithmetic, and a suite writes what it measured."""

import contextlib
import dataclasses
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from ae_jax.core.errors import UserError
from ae_jax.data import from_array
from ae_jax.objectives import Elbo
from ae_jax.train.arithmetic import step_flops
from ae_jax.train.config import DataConfig
from ae_jax.train.prepare import prepare_run
from ae_jax.train.step import evaluate_objective
from experiments import benchmark
from experiments.benchmarks import contender, grid_contenders, jax_contenders, nll
from experiments.benchmarks.contender import Contender
from experiments.benchmarks.ours import config_of
from experiments.benchmarks.step import times
from experiments.benchmarks.workload import Workload
from tests.bound import as_batch, bound

WORKLOAD = Workload(hidden=7, latent_dim=3, batch_size=5, epochs=1, examples=40)


@pytest.fixture(scope="module")
def setup():
    x = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 1)).astype(np.uint8)
    return prepare_run(config_of(WORKLOAD, DataConfig(preprocess="grey")), from_array(x))


@pytest.mark.slow
def test_the_bare_scan_has_the_bound_of_the_library(setup):
    """With the variance of the posterior at zero neither depends on its noise."""
    params, _, _ = jax_contenders._start(WORKLOAD)
    params = params | {"log_variance": (0 * params["log_variance"][0], jnp.full(3, -30.0))}
    x = jax.random.uniform(jax.random.key(0), (5, 784))
    bare = jax_contenders._loss(params, x, jnp.zeros((5, 3)), num_examples=jnp.inf)

    def dense(name):
        kernel, bias = params[name]
        return {"kernel": kernel, "bias": bias}

    ours = {
        "encoder": {"dense_0": dense("hidden")},
        "latent": {"loc": dense("mean"), "log_variance": dense("log_variance")},
        "decoder": {"dense_0": dense("decoder")},
        "head": {"logits": dense("pixels")},
    }
    model, batch = bound(setup.architecture.model, ours), as_batch(x.reshape(5, 28, 28, 1))
    terms = evaluate_objective(
        setup.numbers.objective, model, batch, jax.random.key(1), jnp.zeros((), jnp.int32)
    )
    assert -terms.metrics["elbo"].mean() == pytest.approx(float(bare), rel=1e-5)


@pytest.mark.slow
def test_without_its_prior_the_bare_scan_lacks_the_squares_alone():
    params, _, _ = jax_contenders._start(WORKLOAD)
    x, noise = jax.random.uniform(jax.random.key(0), (5, 784)), jnp.ones((5, 3))
    whole = jax_contenders._loss(params, x, noise, 10)
    left = jax_contenders._loss(params, x, noise, 10, without=("prior",))
    squares = sum(np.square(leaf).sum() for leaf in jax.tree.leaves(params))
    assert whole - left == pytest.approx(squares / 20, rel=1e-3)


def test_without_activations_the_bare_scan_is_linear_in_its_decoder():
    """Pixels then cost a squared error up to a constant, of the logits of a linear network."""
    params = jax.tree.map(lambda leaf: 20 * leaf, jax_contenders._start(WORKLOAD)[0])
    x = jax.random.uniform(jax.random.key(0), (5, 784))
    plain = ("prior", "activations")
    found = jax_contenders._loss(params, x, jnp.zeros((5, 3)), 10, without=plain)
    kernels = {name: np.asarray(kernel) for name, (kernel, _) in params.items()}
    features = x @ kernels["hidden"]
    mean, log_variance = features @ kernels["mean"], features @ kernels["log_variance"]
    logits = mean @ kernels["decoder"] @ kernels["pixels"]
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(axis=1)
    error = 0.5 * (np.square(logits - x) - np.square(x)).sum(axis=1)
    assert found == pytest.approx(float((error + kl).mean()), rel=1e-4)


@pytest.mark.slow
def test_the_products_of_the_workload_are_those_of_the_compiled_step(setup):
    # The prior of the parameters is a product too, once a step instead of once an example.
    config = dataclasses.replace(setup.config, objective=Elbo())
    each = step_flops(prepare_run(config, setup.dataset)) / WORKLOAD.batch_size
    assert WORKLOAD.flops() / WORKLOAD.examples == pytest.approx(each)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["grid", "stream", "startup"])
def test_a_suite_writes_its_tables_and_claims(suite, tmp_path):
    options = ["--suite", suite, "--preset", "smoke", "--workdir", str(tmp_path)]
    done = CliRunner().invoke(benchmark.main, options, catch_exceptions=False)
    assert done.exit_code == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(rows for rows in results["tables"].values())
    for claim in results["claims"]:
        assert np.isfinite(claim["value"]) and claim["value"] > 0
        assert claim["holds"] == (claim["value"] >= claim["target"])


@pytest.mark.slow
def test_the_runs_of_the_grid_are_those_of_the_figure(tmp_path, monkeypatch):
    trained = []

    def train_grid(members, *arguments, **options):
        trained.extend(members)
        record = {"seconds": 1.0}
        return {m.name: SimpleNamespace(records=[record, record]) for m in members}

    digits = from_array(np.zeros((200, 28, 28, 1), np.uint8))
    monkeypatch.setattr(grid_contenders, "train_grid", train_grid)
    monkeypatch.setattr(grid_contenders, "load", lambda name, limit: digits)
    grid_contenders.members(WORKLOAD, 75, "always")
    settings = {
        (m.config.train.seed, m.config.optim.learning_rate, m.config.model.latent_dim)
        for m in trained
    }
    assert settings == {
        (seed, step / 100, size)
        for seed in range(5)
        for step in (0.01, 0.02, 0.1)
        for size in (3, 5, 10, 20, 200)
    }


def test_contenders_take_turns_epoch_by_epoch(monkeypatch):
    calls = []

    class Recorder(contextlib.nullcontext):
        def __init__(self, one, environment):
            super().__init__(self)
            self.name = one.function

        def turn(self):
            calls.append(self.name)

        def result(self):
            calls.append(self.name.upper())
            return {}

    monkeypatch.setattr(contender, "_Process", Recorder)
    workload = dataclasses.replace(WORKLOAD, epochs=2)
    contender.in_turns({name: Contender(name, workload) for name in "abc"}, lambda text: None)
    assert "".join(calls) == "abc" + "abc" + "cba" + "ABC"


@pytest.mark.slow
def test_a_contender_waits_for_its_turns_and_ends_with_its_result():
    workload = dataclasses.replace(WORKLOAD, epochs=2)
    one = Contender("ours:matrix_products", workload)
    measured = contender.in_turns({"one": one, "other": one}, lambda text: None)
    for result in measured.values():
        assert len(result["seconds"]) == 2 and min(result["seconds"]) > 0
    alone = contender.measure("ours:matrix_products", workload)
    assert len(alone["seconds"]) == 2


@pytest.mark.slow
def test_a_contender_that_fails_is_named_with_its_reason():
    failing = Contender("ours:matrix_products", WORKLOAD, {"precision": "nonesuch"})
    with pytest.raises(UserError, match="contender ours:matrix_products failed: .*nonesuch"):
        contender.in_turns({"one": failing}, lambda text: None)


def test_the_time_of_large_products_is_of_the_work_that_it_stands_beside():
    """At 2 seconds for the work of the workload, thrice as much takes 6; a half of it is 12."""
    measured = {nll.PRODUCTS: {"seconds": [2.0]}, nll.OURS: {"seconds": [12.0]}}
    scaled = nll._for_the_same_work(measured, 3 * WORKLOAD.flops(), WORKLOAD)
    assert times(scaled, nll.PRODUCTS, nll.PRODUCTS) == 1.0
    assert times(scaled, nll.PRODUCTS) == pytest.approx(0.5)
    assert measured[nll.PRODUCTS]["seconds"] == [2.0]


def test_ratios_are_medians_within_turns():
    measured = {"ae_jax": {"seconds": [1.0, 2.0, 4.0]}, "other": {"seconds": [3.0, 4.0, 4.0]}}
    assert times(measured, "other") == 2.0
    assert times(measured, "ae_jax", "other") == 0.5
