"""Fitting a codec as a run: checked before any work, kept like that of a network.

A fit is one piece: interrupted, it begins again, and ends with the same bits; finished, it is read
back.
"""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs import Codec, Fit, Progress, Rows, as_rows
from ae_jax.codecs.model import CodecModel
from ae_jax.core.errors import UserError
from ae_jax.data.base import DataSet
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.passes import EvaluationData
from ae_jax.data.preprocess import PREPROCESSING, Preprocess, Statistics, statistics_for
from ae_jax.models import Batch, BoundModel
from ae_jax.numerics.noise import stream_key
from ae_jax.train import processes
from ae_jax.train.checkpoints import Checkpoints
from ae_jax.train.config import CodecConfig, DataConfig
from ae_jax.train.placement import refuse_beyond_memory
from ae_jax.train.program import common
from ae_jax.train.records import Record
from ae_jax.train.rundir import RunDirectory
from ae_jax.train.values import check_shares, input_range, settled_preprocess

OBJECTIVE = "objective"


@struct.dataclass
class CodecState:
    """What a checkpoint holds: the fitted codec, and the iterations it took."""

    step: Array
    params: Codec

    @property
    def variables(self) -> dict[str, Any]:
        """What the codec's model is applied to."""
        return {"params": self.params}

    @property
    def collections(self) -> dict[str, Any]:
        """Nothing is written while a codec is fitted."""
        return {}


@dataclasses.dataclass(frozen=True)
class CodecArchitecture:
    """What programs that encode and decode are compiled for."""

    model: CodecModel
    preprocess: Preprocess


@dataclasses.dataclass(frozen=True)
class CodecNumbers:
    """What such programs are given as data, beside examples and the codec."""

    statistics: Statistics


@dataclasses.dataclass(frozen=True)
class CodecSetup:
    """A fit that is ready to start; to all that encodes, decodes and evaluates, a `Setup`."""

    config: CodecConfig
    dataset: DataSet
    architecture: CodecArchitecture
    numbers: CodecNumbers
    splits: dict[str, DeviceSplit]
    headline: str = OBJECTIVE
    maximise: bool = False

    @property
    def latent_dim(self) -> int:
        """Size of the code."""
        return self.config.codec.latent_dim

    def on_device(self, name: str) -> DeviceSplit:
        """A split on the device."""
        return self.splits[name]

    def examples(self, name: str) -> EvaluationData:
        """A split with its preprocessing, for evaluators."""
        size = min(len(self.splits[name]), self.config.eval.batch_size)
        return EvaluationData(
            self.splits[name], self.numbers.statistics, self.architecture.preprocess, size
        )

    @cached_property
    def rows(self) -> Rows:
        """The training examples in model units."""
        inputs = self.examples("train").rows(_inputs, None, {"params": None}, jax.random.key(0))[
            "x"
        ]
        return as_rows(inputs.reshape(len(inputs), -1))

    def initial_state(self) -> CodecState:
        """What a checkpoint is read into."""
        dim = int(np.prod(self.dataset.shape))
        return CodecState(jnp.zeros((), jnp.int32), self.config.codec.blank(dim))

    def code_shapes(self) -> tuple[Any, Any]:
        """The posterior and the prior of one example, with shapes in place of arrays."""
        batch = {"x": jax.ShapeDtypeStruct((1, *self.dataset.shape), jnp.float32)}
        model = self.architecture.model
        return jax.eval_shape(
            lambda state, batch: (
                model.apply(state.variables, batch, method="encode"),
                model.apply(state.variables, batch, method="prior"),
            ),
            self.initial_state(),
            batch,
        )

    def check_values(self, raw: np.ndarray) -> None:
        """Raises UserError for new raw examples [N, ...] with values that the fit had refused."""
        preprocess, statistics = self.architecture.preprocess, self.numbers.statistics
        values = input_range(raw, self.dataset, preprocess, statistics)
        self.config.codec.check_values(values.low, values.high)

    def own_metrics(self, variables: Any, step: int, split: str) -> dict[str, float]:
        """The exact log density of a split where the codec has one, nats per example."""
        if not hasattr(variables["params"], "log_prob"):
            return {}
        model = self.architecture.model
        return self.examples(split).mean(_log_density, model, variables, jax.random.key(0))


def _inputs(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    return {"x": batch["x"]}


def _log_density(model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
    return {"log_likelihood": model.call("log_prob", batch, batch)}


def prepare_codec(config: CodecConfig, dataset: DataSet, begins: bool = True) -> CodecSetup:
    """Builds a fit, with `auto` settled. Raises UserError for all that a user can get wrong.

    One that `begins` is refused options that change nothing too; what was fitted with them opens.
    """
    if config.data.memory_budget is not None:
        raise UserError("data.memory_budget is for networks: a codec needs all examples at hand")
    if config.data.placement != "auto":
        raise UserError("data.placement is for networks: a codec is fitted on one device")
    name = settled_preprocess(config, dataset)
    preprocess = PREPROCESSING.get(name)
    if preprocess.noise == "fresh":
        raise UserError(
            f"data.preprocess={name} draws new noise at each visit, and a codec is fitted to one "
            "set of values: use grey, identity, standardization or fixed_binarization"
        )
    train = dataset.splits["train"]
    values = train.x.size + len(train) * config.codec.latent_dim
    stored = sum(split.x.nbytes for split in dataset.splits.values())
    refuse_beyond_memory("examples and their codes", 4 * values + stored)
    source = DataConfig.of(dataset, name, layout=config.data.layout)
    config = dataclasses.replace(config, data=source)
    setup = CodecSetup(
        config,
        dataset,
        CodecArchitecture(CodecModel.of(config.codec, dataset.shape), preprocess),
        CodecNumbers(statistics_for(preprocess, train, dataset.max_value)),
        {name: DeviceSplit.put(split) for name, split in dataset.splits.items()},
    )
    config.codec.check_options()
    config.codec.check(setup.rows)
    if begins:
        config.codec.check_idle(setup.rows.count, setup.rows.dim)
        check_shares(preprocess, dataset)
        for part, split in dataset.splits.items():
            if split.x.dtype.kind == "f" and np.isnan(split.x).any():
                raise UserError(
                    f"the {part} split of {dataset.name} holds values that are NaN, and a codec "
                    "takes no missing ones"
                )
    return setup


@dataclasses.dataclass(frozen=True)
class CodecOutcome:
    """The fitted codec and one record an iteration; the last one says whether it converged."""

    state: CodecState
    records: list[Record]

    @property
    def converged(self) -> bool:
        return bool(self.records[-1]["converged"])


def fit_codec(
    setup: CodecSetup,
    directory: RunDirectory | None = None,
    *,
    listeners: Sequence[Progress] = (),
    accept_code: bool = False,
) -> CodecOutcome:
    """Fits the codec, or reads back what was fitted in the directory.

    Records hold step (the iteration), samples (examples visited so far), seconds and objective
    (what it is, `ae_jax.codecs.form` says; a mean over training examples); they go to
    metrics.jsonl. Seconds are measured every few iterations and lie evenly between. Of several
    processes each fits the same, and the first one writes.
    """
    if directory is None:
        return _fit(setup, listeners)
    with ExitStack() as stack:
        claim = partial(directory.claim, setup.config, setup.dataset, accept_code=accept_code)
        stack.enter_context(processes.held_by_first(claim))
        saved = stack.enter_context(
            Checkpoints(
                directory.checkpoints,
                setup.headline,
                setup.maximise,
                run=directory.identity(setup.dataset),
            )
        )
        if saved.step() is not None:
            state, sealed = saved.load(setup.initial_state())
            step, last = int(state.step), None if sealed is None else sealed.record
            records = directory.with_last(directory.records(step), step, last)
            directory.check_records(records, step)
            return CodecOutcome(state, records)
        outcome = _fit(setup, listeners)
        if processes.is_first():
            directory.rewind(0)  # of an attempt that was cut short
            for record in outcome.records:
                directory.append(record)
        last = outcome.records[-1]
        saved.save(common(outcome.state), {OBJECTIVE: last[OBJECTIVE]}, last)
        return outcome


def _fit(setup: CodecSetup, listeners: Sequence[Progress]) -> CodecOutcome:
    start = time.perf_counter()
    times = [(0, 0.0)]

    def progress(done: int, most: int, objective: float) -> None:
        times.append((done, time.perf_counter() - start))
        for listener in listeners:
            listener(done, most, objective)

    key = stream_key(setup.config.train.seed, "fit")
    fit = setup.config.codec.fit(setup.rows, key, progress)
    times.append((fit.iterations, time.perf_counter() - start))
    state = CodecState(jnp.asarray(fit.iterations, jnp.int32), fit.codec)
    return CodecOutcome(state, _records(fit, times, len(setup.dataset.splits["train"])))


def _records(fit: Fit, times: list[tuple[int, float]], count: int) -> list[Record]:
    seconds_at = partial(np.interp, xp=[done for done, _ in times], fp=[s for _, s in times])
    return [
        {
            "step": step,
            "samples": step * count,
            "seconds": float(seconds_at(step)),
            OBJECTIVE: float(objective),
            "converged": fit.converged and step == fit.iterations,
        }
        for step, objective in enumerate(fit.history, 1)
    ]
