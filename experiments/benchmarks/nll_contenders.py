"""Our estimator of log p(x) on the network of the workload."""

import jax
import jax.numpy as jnp

from ae_jax.data import load
from ae_jax.data.passes import EvaluationData
from ae_jax.eval import ImportanceSampledLikelihood
from ae_jax.train.config import DataConfig
from ae_jax.train.prepare import prepare_run
from experiments.benchmarks.ours import config_of
from experiments.benchmarks.workload import Workload, timed_epochs


def likelihood(workload: Workload, samples: int) -> dict:
    """The registered evaluator on the first images, with initial weights: the time is the same."""
    config = config_of(workload, DataConfig(preprocess="grey"))
    setup = prepare_run(config, load("mnist", protocol="full", limit=workload.examples))
    variables = setup.initial_state().variables
    data = EvaluationData(
        setup.splits["train"],
        setup.numbers.statistics,
        setup.architecture.preprocess,
        config.eval.batch_size,
    )
    estimate = ImportanceSampledLikelihood(samples)
    key = jax.random.key(0)

    def run(index: int) -> None:
        found = estimate(setup.architecture.model, variables, data, jax.random.fold_in(key, index))
        if not jnp.isfinite(found["log_likelihood"]):
            raise FloatingPointError("log p(x) is not finite")

    return timed_epochs(run, workload)
