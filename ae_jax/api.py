"""Autoencoders from Python: fit an array, load a run, encode, decode, sample, evaluate."""

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.config import DataConfig, RunConfig, from_dict, override, to_dict
from ae_jax.data import from_array
from ae_jax.data import load as load_data
from ae_jax.data.base import DataSet
from ae_jax.errors import UserError
from ae_jax.eval import EVALUATORS, EvaluationData, Evaluator
from ae_jax.noise import stream_key
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.loop import Listener, Record, train
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup, prepare_run

BATCH = 1000
IN_MEMORY = "array"  # the name of data that came as an array


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained autoencoder: NumPy arrays in and out, compiled batches between."""

    setup: Setup
    params: Any
    step: int
    records: list[Record]

    @property
    def config(self) -> RunConfig:
        return self.setup.config

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Posterior means [N, Z] of raw examples [N, ...], in the units of the training data."""
        return self._over_batches(_encode, self._examples(x))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Means of p(x|z) for codes [N, Z], in model units: [N, ...]."""
        z, size = np.asarray(z, np.float32), self.config.model.latent_dim
        if z.ndim != 2 or z.shape[1] != size:
            raise UserError(f"codes have shape {z.shape}; the model decodes [N, {size}]")
        return self._over_batches(_decode, z)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Decoded posterior means of raw examples, in model units: [N, ...]."""
        return self.decode(self.encode(x))

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Raw examples in model units, as the model sees them: [N, ...]."""
        return self._over_batches(_inputs, self._examples(x))

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Means of p(x|z) for codes drawn from the prior: [count, ...]."""
        prior = self.setup.architecture.model.prior
        return self.decode(np.asarray(prior.sample(jax.random.key(seed), count)))

    def evaluate(
        self, split: str = "test", evaluators: Sequence[Evaluator] | None = None
    ) -> dict[str, float]:
        """What the evaluators say of a split; nats per example unless the name says otherwise."""
        if split not in self.setup.splits:
            raise UserError(
                f"there is no split {split!r}; there are {', '.join(self.setup.splits)}"
            )
        data = EvaluationData(
            self.setup.splits[split],
            self.setup.numbers.statistics,
            self.setup.architecture.preprocess,
        )
        key = stream_key(self.config.train.seed, "evaluation")
        chosen = (EVALUATORS.get("bound"), EVALUATORS.get("squared_error"))
        results: dict[str, float] = {}
        for evaluator in chosen if evaluators is None else evaluators:
            results |= evaluator(self.setup.architecture.model, self.params, data, key)
        return results

    def _examples(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        shape = self.setup.dataset.shape
        if x.ndim and x.shape[1:] != shape and x.size == len(x) * np.prod(shape):
            x = x.reshape(-1, *shape)
        if x.shape[1:] != shape:
            raise UserError(f"examples have shape {x.shape[1:]}; the model was fitted on {shape}")
        return x

    def _over_batches(self, function: Any, rows: np.ndarray) -> np.ndarray:
        """Applies a compiled function to batches of one size, the last one filled up."""
        outputs = []
        for start in range(0, max(len(rows), 1), BATCH):
            part = rows[start : start + BATCH]
            filled = np.zeros((BATCH, *rows.shape[1:]), rows.dtype)
            filled[: len(part)] = part
            ids = jnp.arange(start, start + BATCH)
            out = function(
                self.params,
                filled,
                ids,
                self.setup.numbers.statistics,
                architecture=self.setup.architecture,
            )
            outputs.append(np.asarray(out)[: len(part)])
        return np.concatenate(outputs)


@partial(jax.jit, static_argnames="architecture")
def _inputs(params: Any, raw: Array, ids: Array, statistics, *, architecture) -> Array:
    return architecture.preprocess(raw, statistics, jax.random.key(0), ids)


@partial(jax.jit, static_argnames="architecture")
def _encode(params: Any, raw: Array, ids: Array, statistics, *, architecture) -> Array:
    x = architecture.preprocess(raw, statistics, jax.random.key(0), ids)
    return architecture.model.apply({"params": params}, x, method="encode").mean()


@partial(jax.jit, static_argnames="architecture")
def _decode(params: Any, z: Array, ids: Array, statistics, *, architecture) -> Array:
    return architecture.model.apply({"params": params}, z, method="decode").mean()


def fit(
    x: np.ndarray | DataSet,
    config: RunConfig | None = None,
    *,
    workdir: str | Path | None = None,
    listeners: Sequence[Listener] = (),
    **options: Any,
) -> Fitted:
    """Trains an autoencoder on an array [N, ...] or a data set.

    Options override the configuration by name, with `__` for the dot: `model__latent_dim=2`,
    `train__epochs=5`; the first word may be left out for `latent_dim`, `hidden`, `epochs`,
    `learning_rate`, `batch_size` and `seed`. With a `workdir` the run is kept there and resumed;
    without one nothing is written. Raises UserError.
    """
    config = configure(config, options)
    dataset = _as_dataset(x, config.data)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, name=dataset.name))
    setup = prepare_run(config, dataset)
    directory = None if workdir is None else RunDirectory(workdir)
    outcome = train(setup, directory, listeners=listeners)
    return Fitted(setup, outcome.state.params, int(outcome.state.step), outcome.records)


_SHORT = {
    "latent_dim": "model.latent_dim",
    "hidden": "model.hidden",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "learning_rate": "optim.learning_rate",
}


def _as_dataset(data: np.ndarray | DataSet, source: DataConfig) -> DataSet:
    """A data set as it is; an array split and limited as the configuration says."""
    if isinstance(data, DataSet):
        return data
    dataset = from_array(np.asarray(data), name=IN_MEMORY, protocol=source.protocol)
    return dataset if source.limit is None else dataset.limited(source.limit)


def configure(config: RunConfig | None, options: dict[str, Any]) -> RunConfig:
    """The configuration with Python keyword options applied. Raises UserError."""
    base = {} if config is None else to_dict(config)
    assignments = [
        f"{_SHORT.get(name, name.replace('__', '.'))}={json.dumps(value)}"
        for name, value in options.items()
    ]
    return from_dict(override(base, assignments))


def load(
    workdir: str | Path,
    which: Literal["latest", "best"] = "latest",
    data: np.ndarray | DataSet | None = None,
) -> Fitted:
    """The latest or best checkpoint of a run, with its data. Raises UserError.

    `data` is needed where the run was fitted on an array that no file holds.
    """
    directory = RunDirectory(workdir)
    config = directory.config()
    if data is None and config.data.name == IN_MEMORY:
        raise UserError(f"{workdir} was fitted on an array in memory: give that as data")
    if data is None:
        source = config.data
        dataset = load_data(source.name, protocol=source.protocol, limit=source.limit)
    else:
        dataset = _as_dataset(data, config.data)
    directory.check_data(dataset)
    return restore(directory, prepare_run(config, dataset), which)


def restore(
    directory: RunDirectory, setup: Setup, which: Literal["latest", "best"] = "latest"
) -> Fitted:
    """A checkpoint of a run whose setup is at hand. Raises UserError."""
    objective = setup.numbers.objective
    if not directory.checkpoints.is_dir():
        raise UserError(f"{directory.path} holds no checkpoint yet")
    with Checkpoints(directory.checkpoints, objective.headline, objective.maximise) as saved:
        state = saved.restore(setup.initial_state(), which)
    return Fitted(setup, state.params, int(state.step), directory.records())
