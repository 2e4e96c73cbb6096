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

from ae_jax.core.errors import UserError
from ae_jax.core.registry import unknown_name
from ae_jax.core.trust import only_known_code
from ae_jax.data import can_load, from_array
from ae_jax.data import load as load_data
from ae_jax.data.base import DataSet, Split
from ae_jax.eval import EVALUATORS, EvaluationData, Evaluator
from ae_jax.numerics.noise import stream_key
from ae_jax.numerics.precision import float32_products
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.codec_fit import CodecSetup, fit_codec, prepare_codec
from ae_jax.train.config import (
    AnyConfig,
    DataConfig,
    RunConfig,
    from_dict,
    is_of_codec,
    override,
    to_dict,
)
from ae_jax.train.loop import Listener, Record, train
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.setup import Setup, prepare_run

IN_MEMORY = "array"  # the name of data that came as an array


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained autoencoder or a fitted codec: NumPy arrays in and out, compiled batches between.

    `params` are the parameters of a network, or the fitted `Codec` with its atoms.

    Where examples are asked for, an array [N, ...] in the units of the training data is taken, or
    a `Split` of the data set, whose examples then meet their own noise (fixed binarisation).
    """

    setup: Setup | CodecSetup
    params: Any
    step: int
    records: list[Record]

    @property
    def config(self) -> AnyConfig:
        return self.setup.config

    def encode(self, x: np.ndarray | Split) -> np.ndarray:
        """Posterior means [N, Z] of raw examples."""
        raw, first_id = self._examples(x)
        return self._over_batches(_encode, raw, first_id)

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Means of p(x|z) for codes [N, Z], in model units: [N, ...]."""
        z, size = np.asarray(z, np.float32), self.setup.latent_dim
        if z.ndim != 2 or z.shape[1] != size:
            raise UserError(f"codes have shape {z.shape}; the model decodes [N, {size}]")
        return self._over_batches(_decode, z, 0)

    def reconstruct(self, x: np.ndarray | Split) -> np.ndarray:
        """Decoded posterior means of raw examples, in model units: [N, ...]."""
        return self.decode(self.encode(x))

    def inputs(self, x: np.ndarray | Split) -> np.ndarray:
        """Raw examples in model units, as the model sees them: [N, ...]."""
        raw, first_id = self._examples(x)
        return self._over_batches(_inputs, raw, first_id)

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Means of p(x|z) for codes drawn from the prior: [count, ...].

        Raises UserError for a codec without a distribution over codes.
        """
        if count < 0:
            raise UserError(f"{count} samples cannot be drawn")
        prior = self.setup.prior(self.params)
        return self.decode(np.asarray(prior.sample(jax.random.key(seed), count)))

    def evaluate(
        self, split: str = "test", evaluators: Sequence[str | Evaluator] = ()
    ) -> dict[str, float]:
        """The objective's metrics, the squared error and what the named evaluators say of a split.

        A codec with a density has its exact log p(x) for the former.
        Nats per example unless the name says otherwise. Raises UserError.
        """
        architecture = self.setup.architecture
        results = self.setup.own_metrics(self.params, self.step, self.split_named(split))
        examples = self.setup.on_device(split)
        size = min(len(examples), self.config.eval.batch_size)
        data = EvaluationData(
            examples, self.setup.numbers.statistics, architecture.preprocess, size
        )
        seed = jnp.asarray(self.config.train.seed, jnp.uint32)
        for name in ("squared_error", *evaluators):
            evaluator = EVALUATORS.get(name) if isinstance(name, str) else name
            results |= evaluator(
                architecture.model, self.params, data, stream_key(seed, "evaluation")
            )
        return results

    def split_named(self, name: str) -> str:
        """The name itself. Raises UserError if the data set has no such split."""
        if name not in self.setup.dataset.splits:
            raise unknown_name("split", name, self.setup.dataset.splits)
        return name

    def _examples(self, x: np.ndarray | Split) -> tuple[np.ndarray, int]:
        """Raw examples in the shape of the data set, and the id of the first."""
        raw, first_id = (x.x, x.first_id or 0) if isinstance(x, Split) else (np.asarray(x), 0)
        shape = self.setup.dataset.shape
        alike = {shape, (int(np.prod(shape)),)}  # flattened is as good,
        if shape[-1] == 1:
            alike.add(shape[:-1])  # and so are grey images without a channel axis
        if raw.ndim == 0 or raw.shape[1:] not in alike:
            raise UserError(f"examples have shape {raw.shape[1:]}; the model was fitted on {shape}")
        self._check_units(raw)
        return raw if raw.shape[1:] == shape else raw.reshape(len(raw), *shape), first_id

    def _check_units(self, raw: np.ndarray) -> None:
        """Raises UserError for fractions where grey levels are meant; black is black in both."""
        largest = self.setup.dataset.max_value
        if largest is not None and largest > 1 and raw.dtype.kind == "f":
            found = raw.max() if len(raw) else 0
            if 0 < found <= 1:
                raise UserError(
                    f"examples are fractions up to {found:g}; the model was fitted on values up "
                    f"to {largest:g}"
                )

    def _over_batches(self, function: Any, rows: np.ndarray, first_id: int) -> np.ndarray:
        """Applies a compiled function to batches of one size, the last one filled up."""
        size, outputs = self.config.eval.batch_size, []
        for start in range(0, max(len(rows), 1), size):
            part = rows[start : start + size]
            filled = np.zeros((size, *rows.shape[1:]), rows.dtype)
            filled[: len(part)] = part
            out = function(
                self.params,
                filled,
                first_id + start + jnp.arange(size),
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
    with float32_products():
        return architecture.model.apply({"params": params}, x, method="encode").mean()


@partial(jax.jit, static_argnames="architecture")
def _decode(params: Any, z: Array, ids: Array, statistics, *, architecture) -> Array:
    with float32_products():
        return architecture.model.apply({"params": params}, z, method="decode").mean()


def fit(
    x: np.ndarray | DataSet,
    y: np.ndarray | None = None,
    config: AnyConfig | None = None,
    *,
    workdir: str | Path | None = None,
    listeners: Sequence[Listener] = (),
    start: Any = None,
    accept_code: bool = False,
    **options: Any,
) -> Fitted:
    """Trains an autoencoder on an array [N, ...], with labels [N] or without, or on a data set.

    With `codec="kmeans"` (or another of `ae_jax.codecs.CODECS`) that is fitted instead, without
    backprop; its options are `latent_dim`, `batch_size`, `max_iterations` and `codec__NAME`.

    Options override the configuration by name, with `__` for the dot: `model__latent_dim=2`,
    `train__epochs=5`; the first word may be left out for `latent_dim`, `hidden`, `epochs`,
    `learning_rate`, `batch_size` and `seed`. With a `workdir` the run is kept there and resumed;
    without one nothing is written. `start` are parameters to begin with, those of another model of
    this form (`Fitted.params`), in place of drawn ones. A run whose own files of code were edited
    since it began goes on only with `accept_code`. Raises UserError.
    """
    config = configure(config, options)
    setup = prepare(config, as_dataset(x, y, config.data), start)
    directory = None if workdir is None else RunDirectory(workdir)
    run = fit_codec if isinstance(setup, CodecSetup) else train
    outcome = run(setup, directory, listeners=listeners, accept_code=accept_code)
    return Fitted(setup, outcome.state.params, int(outcome.state.step), outcome.records)


def prepare(config: AnyConfig, dataset: DataSet, start: Any = None) -> Setup | CodecSetup:
    """Everything that a run of this configuration needs. Raises UserError."""
    if isinstance(config, RunConfig):
        return prepare_run(config, dataset, start=start)
    if start is not None:
        raise UserError("a codec is fitted from nothing: parameters to start from are for networks")
    return prepare_codec(config, dataset)


_SHORT_OF_CODEC = {
    "codec": "codec.name",
    "latent_dim": "codec.latent_dim",
    "batch_size": "codec.batch_size",
    "max_iterations": "codec.max_iterations",
    "seed": "train.seed",
}
_SHORT = {
    "latent_dim": "model.latent_dim",
    "hidden": "model.hidden",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "learning_rate": "optim.learning_rate",
}


def configure(config: AnyConfig | None, options: dict[str, Any]) -> AnyConfig:
    """The configuration with Python keyword options applied. Raises UserError."""
    if not options:
        return config or RunConfig()
    base = {} if config is None else to_dict(config)
    given = [name.replace("__", ".", 1) for name in options]
    short = _SHORT_OF_CODEC if "codec" in given or is_of_codec(base, given) else _SHORT
    assignments = []
    for name, value in options.items():
        if name not in short and "__" not in name:
            raise unknown_name("option", name, [*short, "section__option"])
        path = short.get(name, name.replace("__", ".", 1))
        # Numbers and arrays of NumPy become those of JSON.
        assignments.append(f"{path}={json.dumps(value, default=lambda v: np.asarray(v).tolist())}")
    return from_dict(override(base, assignments))


def as_dataset(data: np.ndarray | DataSet, y: np.ndarray | None, source: DataConfig) -> DataSet:
    """A data set as it is, an array split as the configuration says; limited in either case."""
    if isinstance(data, DataSet):
        dataset = data
    else:
        dataset = from_array(np.asarray(data), y, name=IN_MEMORY, protocol=source.protocol)
    if source.limit is None or source.limit == dataset.limit:
        return dataset
    return dataset.limited(source.limit)


def load(
    workdir: str | Path,
    which: Literal["latest", "best"] = "latest",
    data: np.ndarray | DataSet | None = None,
    y: np.ndarray | None = None,
    *,
    trust: bool = False,
    accept_code: bool = False,
) -> Fitted:
    """The latest or best checkpoint of a run, with its data. Raises UserError.

    `data` (and `y`, if there were labels) is needed where no file or name leads to the examples.

    A run may name Python files, which to load it executes: those that this user has run before on
    this machine, and any with `trust`. Where they were edited since the run was trained, it is
    loaded only with `accept_code`.
    """
    directory = RunDirectory(workdir)
    trust |= directory.check_code(accept_code=accept_code)
    config = directory.config(trust=trust)
    source = config.data
    if data is not None:
        dataset = as_dataset(data, y, source)
    elif can_load(source.name):
        with only_known_code(trust):
            dataset = load_data(source.name, protocol=source.protocol, limit=source.limit)
    else:
        raise UserError(f"the data of {workdir} ({source.name}) is not at hand: give it as data")
    directory.check_data(dataset)
    if isinstance(config, RunConfig):
        # Looking at a run needs one device, whatever it was trained on.
        one_device = dataclasses.replace(config.train, parallel="jit")
        config = dataclasses.replace(config, train=one_device)
    with only_known_code(trust):
        return restore(directory, prepare(config, dataset), which)


def restore(
    directory: RunDirectory, setup: Setup | CodecSetup, which: Literal["latest", "best"] = "latest"
) -> Fitted:
    """A checkpoint of a run whose setup is at hand. Raises UserError."""
    if not directory.checkpoints.is_dir():
        raise UserError(f"{directory.path} holds no checkpoint yet")
    with Checkpoints(
        directory.checkpoints,
        setup.headline,
        setup.maximise,
        read_only=True,
        run=directory.identity(setup.dataset),
    ) as saved:
        state, sealed = saved.load(setup.initial_state(), which)
    last = None if sealed is None else sealed.record
    records = directory.with_last(directory.records(), int(state.step), last)
    return Fitted(setup, state.params, int(state.step), records)
