"""A run that is ready to start: everything that training and evaluation need."""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.data.base import DataSet, Split
from ae_jax.data.batches import DeviceSplit, num_batches, sequential_order
from ae_jax.data.preprocess import Preprocess, Statistics
from ae_jax.models import MODELS, BoundModel, Examples
from ae_jax.models.base import OWN
from ae_jax.nn import HEADS
from ae_jax.nn.forward import Forward, passing
from ae_jax.nn.initialisers import initialise
from ae_jax.numerics.noise import stream_key
from ae_jax.numerics.precision import product_precision
from ae_jax.objectives import Batch
from ae_jax.train.config import RunConfig
from ae_jax.train.placement import Placement, devices_here, examples_budget, refuse_beyond_memory
from ae_jax.train.program import Architecture, Execution, Numbers, compiled_evaluation
from ae_jax.train.start import Start
from ae_jax.train.step import TrainState
from ae_jax.train.values import ValueRange, check_support, input_range

Splits = dict[str, DeviceSplit] | dict[str, Split]


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run that is ready to start: its complete configuration and what was built from it.

    `splits` lie on the devices; those of a set that is larger than its budget stay on the host.
    `values` is the range of model inputs; `num_train`, of training examples, is known without them.
    """

    config: RunConfig
    dataset: DataSet
    architecture: Architecture
    numbers: Numbers
    splits: Splits
    values: ValueRange
    execution: Execution
    num_train: int
    start: Start | None = None

    @property
    def streams(self) -> bool:
        """Whether examples come from the host, chunk by chunk."""
        return self.placement == "streamed"

    @property
    def placement(self) -> Placement:
        """Where examples lie: all on every device, a part on each, or on the host."""
        split = self.splits.get("train")
        if isinstance(split, Split):
            return "streamed"
        return "replicated" if split is None or split.count is None else "sharded"

    @property
    def examples_budget(self) -> int:
        """Bytes of a device that examples may take."""
        return examples_budget(self.config)

    @property
    def example_bytes(self) -> int:
        """Bytes of one raw example."""
        x = self.dataset.splits["train"].x
        return math.prod(x.shape[1:]) * x.dtype.itemsize

    def on_device(self, name: str) -> DeviceSplit:
        """A split on the devices, also where training streams. Raises UserError."""
        split = self.splits[name]
        if isinstance(split, DeviceSplit):
            return split
        what = f"the {name} split of {self.dataset.name}"
        refuse_beyond_memory(what, split.x.nbytes, devices_here(self.config))
        return self.execution.put(split)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that cover the training examples, the last one possibly in part."""
        return num_batches(self.num_train, self.config.train.batch_size)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.train.epochs

    @property
    def latent_dim(self) -> int:
        """Size of the code."""
        return self.config.model.latent_dim

    @property
    def headline(self) -> str:
        """The metric that compares checkpoints."""
        return self.numbers.objective.headline

    @property
    def maximise(self) -> bool:
        """Whether larger values of the headline are better."""
        return self.numbers.objective.maximise

    def check_values(self, raw: np.ndarray) -> None:
        """Raises UserError for new raw examples [N, ...] with values that training had refused."""
        preprocess, statistics = self.architecture.preprocess, self.numbers.statistics
        values = input_range(raw, self.dataset, preprocess, statistics)
        head = head_of(self.architecture.model, self.config)
        given = dataclasses.replace(self.dataset, name="what was given")
        check_support(self.config, head, given, values)

    def own_metrics(self, variables: Any, step: int, split: str) -> dict[str, float]:
        """The metrics of the objective over a split, nats per example."""
        examples = self.on_device(split)
        return compiled_evaluation(
            variables,
            sequential_order(len(examples), min(len(examples), self.config.eval.batch_size)),
            examples,
            self.numbers,
            jnp.asarray(self.config.train.seed, jnp.uint32),
            jnp.asarray(step, jnp.int32),
            architecture=self.architecture,
        ).means()

    def initial_state(self) -> TrainState:
        """Parameters and optimiser state before the first step, on the devices of the run."""
        state = self._drawn_state()
        if self.start is not None:
            # A copy: the first step takes the memory of its state.
            params = jax.tree.map(partial(jnp.array, copy=True), self.start.params)
            opt_state = self.numbers.transformation().init(params)
            state = dataclasses.replace(state, params=params, opt_state=opt_state)
        return self.execution.replicate(state)

    def code_shapes(self) -> tuple[Any, Any]:
        """The posterior and the prior of one example, with shapes in place of arrays."""
        batch = self.batch_shapes(1)
        return _codes.eval_shape(self.state_shapes(), batch, architecture=self.architecture)

    def state_shapes(self) -> TrainState:
        """The shapes and types of a state; draws nothing."""
        return jax.eval_shape(self._drawn_state)

    def batch_shapes(self, size: int | None = None) -> Batch:
        """The shapes and types of a batch, by default a training batch."""
        size, split = size or self.config.train.batch_size, self.dataset.splits["train"]
        batch: dict[str, Any] = {
            "x": jax.ShapeDtypeStruct((size, *self.dataset.shape), jnp.float32),
            "id": jax.ShapeDtypeStruct((size,), jnp.int32),
            "mask": jax.ShapeDtypeStruct((size,), jnp.float32),
        }
        if split.y is not None:
            batch["y"] = jax.ShapeDtypeStruct((size,), split.y.dtype)
        if split.condition is not None:
            batch["condition"] = jax.ShapeDtypeStruct(
                (size, *split.condition.shape[1:]), jnp.float32
            )
        return batch

    def _drawn_state(self) -> TrainState:
        return _initial_state(
            jnp.asarray(self.config.train.seed, jnp.uint32),
            self.numbers,
            self.config.model.init_scale,
            _zeros(self.batch_shapes(1)),
            architecture=self.architecture,
            scheme=self.config.model.init,
        )


def assembled(
    config: RunConfig,
    dataset: DataSet,
    preprocess: Preprocess,
    statistics: Statistics,
    values: ValueRange,
    splits: Splits,
    execution: Execution,
    num_train: int,
) -> Setup:
    """A setup of a settled configuration, whose parts are checked and whose examples are not."""
    examples = Examples(dataset.shape, dataset.num_classes, dataset.condition_shape)
    model = MODELS.get(config.model.name)(config.model, examples)
    steps_per_epoch = num_batches(num_train, config.train.batch_size)
    numbers = Numbers(
        objective=config.objective.bind(num_train),
        optimiser=config.optim,
        statistics=statistics,
        total_steps=float(steps_per_epoch * config.train.epochs),
        groups=dict(config.groups),
        steps_per_epoch=steps_per_epoch,
    )
    architecture = Architecture(
        model,
        config.model.latent_dim,
        preprocess,
        type(config.objective),
        (type(config.optim), *(type(one) for _, one in config.groups)),
        product_precision(config.train.precision),
    )
    return Setup(config, dataset, architecture, numbers, splits, values, execution, num_train)


def head_of(model: Any, config: RunConfig) -> Any:
    """What says the support of the data: the built head, or the class of a model without parts."""
    return getattr(model, "head", None) or HEADS.get(config.model.head)


# Compiled never: traces of a jitted function are kept, so that like runs are traced once.
@partial(jax.jit, static_argnames="architecture")
def _codes(state: TrainState, batch: Batch, *, architecture: Architecture) -> tuple[Any, Any]:
    model = BoundModel(architecture.model, state.variables)
    return model.encode(batch), model.prior(batch)


@partial(jax.jit, static_argnames=("architecture", "scheme"))
def _initial_state(
    seed: Array,
    numbers: Numbers,
    scale: float,
    batch: Batch,
    *,
    architecture: Architecture,
    scheme: str,
) -> TrainState:
    key = stream_key(seed, "initialisation")
    variables, own, memory = _drawn(key, numbers, batch, architecture)
    params = initialise(variables.pop("params", {}), key, scheme, scale)
    if own is not None:
        params = {**params, OWN: own}
    if memory is not None:
        variables[OWN] = memory
    start = jnp.zeros((), jnp.int32)
    return TrainState(start, seed, params, numbers.transformation().init(params), variables)


def _drawn(
    key: Array, numbers: Numbers, batch: Batch, architecture: Architecture
) -> tuple[dict[str, Any], Any, Any]:
    """The variables of the model, the objective's own parameters and its memory if it has any."""
    with passing(Forward()):
        variables = dict(architecture.model.init(key, batch))
    given = jax.random.fold_in(key, 1), architecture.model, batch
    return variables, numbers.objective.init(*given), numbers.objective.init_memory(*given)


def _zeros(shapes: Batch) -> Batch:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
