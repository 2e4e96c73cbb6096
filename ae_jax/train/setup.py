"""From a configuration and a data set to everything that training and evaluation need.

All that a user can get wrong is refused here, before any work.
"""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.config import DataConfig, RunConfig
from ae_jax.data.base import DataSet
from ae_jax.data.batches import DeviceSplit, num_batches, sequential_order, take_batch
from ae_jax.data.preprocess import PREPROCESSING, Preprocess, Statistics, statistics_for
from ae_jax.errors import UserError
from ae_jax.models import MODELS
from ae_jax.nn import HEADS
from ae_jax.nn.initialisers import INITIALISERS, initialise
from ae_jax.noise import stream_key
from ae_jax.train.devices import memory_limit, product_precision
from ae_jax.train.execution import Architecture, Execution, Numbers, execution_for
from ae_jax.train.step import NO_STEP, TrainState, evaluate_objective

CHECK_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run that is ready to start: its complete configuration and what was built from it."""

    config: RunConfig
    dataset: DataSet
    architecture: Architecture
    numbers: Numbers
    splits: dict[str, DeviceSplit]
    execution: Execution
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.train.epochs

    def initial_state(self, seed: int | None = None) -> TrainState:
        """Parameters and optimiser state before the first step, on the devices of the run."""
        seed = self.config.train.seed if seed is None else seed
        state = _initial_state(
            jnp.asarray(seed, jnp.uint32),
            self.numbers,
            self.config.model.init_scale,
            architecture=self.architecture,
            shape=self.dataset.shape,
            scheme=self.config.model.init,
        )
        return self.execution.replicate(state)


def prepare_run(
    config: RunConfig, dataset: DataSet, placed: dict[str, DeviceSplit] | None = None
) -> Setup:
    """Builds a run, with every `auto` of the configuration settled. Raises UserError.

    `placed` are the `splits` of an earlier setup of the same data and devices, to be shared.
    """
    train = dataset.splits["train"]
    _check_batch(config, len(train))
    _refuse_beyond_memory(f"the examples of {dataset.name}", _bytes(dataset))
    preprocess_name = _settled_preprocess(config, dataset)
    preprocess = PREPROCESSING.get(preprocess_name)
    statistics = statistics_for(preprocess, train, dataset.max_value)
    execution = execution_for(config.train.parallel)
    splits = placed or _device_splits(dataset, execution)
    low, high = _value_range(dataset, splits, preprocess, statistics)
    config = _settled(config, dataset, preprocess_name, low, high)
    _check_support(config, dataset, low, high)
    INITIALISERS.get(config.model.init)
    model = MODELS.get(config.model.name)(config.model, dataset.shape)
    steps_per_epoch = num_batches(len(train), config.train.batch_size)
    numbers = Numbers(
        objective=config.objective.bind(len(train)),
        optimiser=config.optim,
        statistics=execution.replicate(statistics),
        total_steps=float(steps_per_epoch * config.train.epochs),
    )
    architecture = Architecture(
        model,
        preprocess,
        type(config.objective),
        type(config.optim),
        product_precision(config.train.precision),
    )
    setup = Setup(config, dataset, architecture, numbers, splits, execution, steps_per_epoch)
    state = jax.eval_shape(setup.initial_state)
    _check_size(setup, state)
    _check_objective(setup, state)
    return setup


def _check_batch(config: RunConfig, num_train: int) -> None:
    size, devices = config.train.batch_size, jax.device_count()
    if size > num_train:
        raise UserError(f"train.batch_size is {size}, more than the {num_train} training examples")
    if config.train.parallel != "jit" and size % devices:
        raise UserError(
            f"train.batch_size {size} does not divide among {devices} devices "
            f"(train.parallel={config.train.parallel})"
        )


def _check_size(setup: Setup, state: TrainState) -> None:
    """Refuses a run that cannot fit: examples, parameters, gradients and optimiser state."""
    if setup.total_steps >= NO_STEP:
        raise UserError(f"train.epochs: {setup.total_steps:,} steps are more than can be counted")
    arrays = [*jax.tree.leaves(state), *jax.tree.leaves(state.params)]  # gradients are alike
    needed = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in arrays)
    _refuse_beyond_memory(
        "examples, parameters, gradients and optimiser state", needed + _bytes(setup.dataset)
    )


def _refuse_beyond_memory(what: str, needed: int) -> None:
    available = memory_limit(jax.devices()[0])
    if needed > available:
        raise UserError(
            f"the run does not fit: {what} take {needed / 2**30:,.1f} GiB, and the device has "
            f"{available / 2**30:,.1f} GiB"
        )


def _bytes(dataset: DataSet) -> int:
    return sum(split.x.nbytes for split in dataset.splits.values())


def _check_objective(setup: Setup, state: TrainState) -> None:
    """Traces the objective once, so that a wrong form of its terms is refused before any work."""
    size = setup.config.train.batch_size
    batch = {
        "x": jax.ShapeDtypeStruct((size, *setup.dataset.shape), jnp.float32),
        "id": jax.ShapeDtypeStruct((size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((size,), jnp.float32),
    }
    if setup.splits["train"].y is not None:
        batch["y"] = jax.ShapeDtypeStruct((size,), setup.splits["train"].y.dtype)
    key = jax.eval_shape(lambda: jax.random.key(0))
    evaluate = partial(evaluate_objective, setup.numbers.objective, setup.architecture.model)
    jax.eval_shape(evaluate, state.params, batch, key, state.step)


def _settled_preprocess(config: RunConfig, dataset: DataSet) -> str:
    name = config.data.preprocess
    if name == "auto":
        return "identity" if dataset.max_value is None else "grey"
    if PREPROCESSING.get(name).needs == "max_value" and dataset.max_value is None:
        raise UserError(
            f"data.preprocess={name} needs values with a known largest one, and {dataset.name} "
            "holds real numbers; use identity or standardization"
        )
    return name


def _device_splits(dataset: DataSet, execution: Execution) -> dict[str, DeviceSplit]:
    # One by one: a dict that passes through JAX comes back sorted by its keys.
    return {
        name: execution.replicate(DeviceSplit.put(split)) for name, split in dataset.splits.items()
    }


def _settled(
    config: RunConfig, dataset: DataSet, preprocess: str, low: float, high: float
) -> RunConfig:
    """The configuration with nothing left open, which names the data that there really are."""
    head = config.model.head
    if head == "auto":
        head = "bernoulli" if low >= 0.0 and high <= 1.0 else "gaussian"
    return dataclasses.replace(
        config,
        data=DataConfig(dataset.name, dataset.protocol, preprocess, dataset.limit),
        model=dataclasses.replace(config.model, head=head),
    )


def _check_support(config: RunConfig, dataset: DataSet, low: float, high: float) -> None:
    support = HEADS.get(config.model.head).support
    if not (support.low <= low and high <= support.high):
        raise UserError(
            f"head {config.model.head!r} needs data in {support.description}, but {dataset.name} "
            f"has values from {low:g} to {high:g} after preprocessing {config.data.preprocess!r}; "
            "choose another model.head or data.preprocess"
        )


def _value_range(
    dataset: DataSet,
    splits: dict[str, DeviceSplit],
    preprocess: Preprocess,
    statistics: Statistics,
) -> tuple[float, float]:
    """Smallest and largest model input over all splits. Raises UserError for NaN or infinity."""
    lows, highs = [], []
    for name, split in splits.items():
        low, high = _extremes(split, statistics, preprocess=preprocess)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError(f"the {name} split of {dataset.name} holds NaN or infinite values")
        lows.append(float(low))
        highs.append(float(high))
    return min(lows), max(highs)


@partial(jax.jit, static_argnames="preprocess")
def _extremes(
    split: DeviceSplit, statistics: Statistics, *, preprocess: Preprocess
) -> tuple[Array, Array]:
    def body(_, row):
        x = take_batch(split, row, preprocess, statistics, jax.random.key(0))["x"]
        return None, (x.min(), x.max())

    _, (low, high) = jax.lax.scan(body, None, sequential_order(len(split), CHECK_BATCH))
    return low.min(), high.max()


@partial(jax.jit, static_argnames=("architecture", "shape", "scheme"))
def _initial_state(
    seed: Array,
    numbers: Numbers,
    scale: Array | float,
    *,
    architecture: Architecture,
    shape: tuple[int, ...],
    scheme: str,
) -> TrainState:
    key = stream_key(seed, "initialisation")
    params = architecture.model.init(key, jnp.zeros((1, *shape)))["params"]
    params = initialise(params, key, scheme, scale)
    optimiser = numbers.optimiser.build(numbers.total_steps)
    return TrainState(jnp.zeros((), jnp.int32), seed, params, optimiser.init(params))
