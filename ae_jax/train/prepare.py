"""From a configuration and a data set to a run that is ready to start.

All that a user can get wrong is refused here, before any work.
"""

import dataclasses
import math
import sys
from functools import partial
from typing import Any, cast

import jax
import numpy as np
from jax.extend.core import Literal

from ae_jax.core.errors import UserError, present, warn
from ae_jax.core.registry import unknown_name
from ae_jax.data.base import DataSet
from ae_jax.data.batches import DeviceSplit
from ae_jax.data.preprocess import PREPROCESSING, Preprocess, Statistics, statistics_for
from ae_jax.data.streaming import CHUNKS_ON_DEVICE, steps_in_chunk
from ae_jax.models import BoundModel
from ae_jax.models.base import OWN
from ae_jax.models.build import settled_prior, settled_start
from ae_jax.nn.initialisers import INITIALISERS
from ae_jax.objectives import Batch, Terms
from ae_jax.objectives.base import check_draws, check_needs
from ae_jax.train.config import DataConfig, EvalConfig, RunConfig, TrainConfig
from ae_jax.train.placement import bytes_of, devices_here, placement_of, refuse_beyond_memory
from ae_jax.train.program import REST, Architecture, Execution, Numbers, execution_for
from ae_jax.train.seal import name_of
from ae_jax.train.setup import Setup, Splits, assembled, head_of
from ae_jax.train.start import Start, check_start
from ae_jax.train.step import NO_STEP, TrainState, evaluate_objective
from ae_jax.train.values import (
    ValueRange,
    check_shares,
    check_support,
    extreme_examples,
    settled_preprocess,
    value_range,
)


def prepare_run(
    config: RunConfig,
    dataset: DataSet,
    start: Any = None,
    like: Setup | None = None,
    *,
    begins: bool = True,
) -> Setup:
    """Builds a run, with every `auto` of the configuration settled. Raises UserError.

    start    parameters that the run starts from, in place of drawn ones: a tree as `model.init`
             makes it. They are part of what the run is: its directory refuses any others.
    like     an earlier setup on the same data set: its examples on the devices, and what was found
             out about their values, are shared as far as both runs take them alike
    begins   whether it is to be trained: options that change nothing are refused then, and not
             where a run is opened that had them
    """
    num_train = len(dataset.splits["train"])
    config = _with_batch_for(config, num_train)
    _check_batch(config, num_train)
    preprocess_name = settled_preprocess(config, dataset)
    preprocess = PREPROCESSING.get(preprocess_name)
    if begins:
        check_shares(preprocess, dataset)
    execution = execution_for(config.train.parallel)
    splits, statistics, values = _examples(config, dataset, preprocess, execution, like)
    values.check_missing(dataset, config.objective.accepts_missing)
    if values.missing_in is not None:
        config.objective.check_missing()
        values.check_complete(preprocess_name, preprocess)
    config = _settled(config, dataset, preprocess_name, values)
    INITIALISERS.get(config.model.init)
    check_needs(config.objective, config, dataset.num_classes is not None)
    setup = assembled(config, dataset, preprocess, statistics, values, splits, execution, num_train)
    check_support(config, head_of(setup.architecture.model, config), dataset, values)
    _check_conditions(config.model.condition, dataset)
    codes = setup.code_shapes()
    config.objective.check(*codes)
    state = setup.state_shapes()
    _check_optimisers(setup, state)
    _check_size(setup, state)
    _check_objective(setup, state)
    if begins:
        _check_idle(setup, state, codes)
    if start is None:
        return setup
    check_start(start, state.params)
    kept = {*state.collections} - {OWN}  # an objective begins to remember
    if kept:
        raise UserError(
            "parameters alone do not start a model whose layers keep a state: "
            f"{', '.join(sorted(kept))}"
        )
    return dataclasses.replace(setup, start=Start(start))


def _examples(
    config: RunConfig,
    dataset: DataSet,
    preprocess: Preprocess,
    execution: Execution,
    like: Setup | None,
) -> tuple[Splits, Statistics, ValueRange]:
    """The splits where training takes them from, and the facts about their values."""
    placement = placement_of(config, dataset, execution)
    if like is not None and (like.placement != placement or like.execution is not execution):
        like = None
    if like is not None and like.architecture.preprocess == preprocess:
        return like.splits, like.numbers.statistics, like.values
    statistics = statistics_for(preprocess, dataset.splits["train"], dataset.max_value)
    statistics = execution.replicate(statistics)
    splits: Splits
    if like is not None:
        splits = like.splits
    elif placement == "streamed":
        splits = dict(dataset.splits)
    else:
        put = execution.spread if placement == "sharded" else execution.put
        # One by one: a dict that passes through JAX comes back sorted by its keys.
        splits = {name: put(split) for name, split in dataset.splits.items()}
    seen = (
        extreme_examples(dataset)
        if placement == "streamed"
        else cast(dict[str, DeviceSplit], splits)
    )
    return splits, statistics, value_range(dataset, seen, preprocess, statistics)


def _with_batch_for(config: RunConfig, num_train: int) -> RunConfig:
    """The configuration; with all examples as a batch, and a word, where the default is more."""
    size, default = config.train.batch_size, TrainConfig().batch_size
    if size != default or size <= num_train or config.train.parallel != "jit":
        return config
    print(f"train.batch_size is {num_train}: there are no more examples", file=sys.stderr)
    return dataclasses.replace(
        config, train=dataclasses.replace(config.train, batch_size=num_train)
    )


def _check_batch(config: RunConfig, num_train: int) -> None:
    size, devices = config.train.batch_size, jax.device_count()
    if size > num_train:
        raise UserError(f"train.batch_size is {size}, more than the {num_train} training examples")
    if config.train.parallel != "jit" and size % devices:
        raise UserError(
            f"train.batch_size {size} does not divide among {devices} devices "
            f"(train.parallel={config.train.parallel})"
        )


def _check_conditions(kind: str, dataset: DataSet) -> None:
    """Raises UserError for a split without what the model is conditioned on: looks need it too."""
    for name, split in dataset.splits.items():
        if kind == "label" and split.y is None:
            raise UserError(f"model.condition=label: the {name} split has no labels")
        if kind == "label" and len(split) and present(split.y, "labels").min() < 0:
            raise UserError(
                f"model.condition=label: the {name} split has labels below 0, and classes count "
                "from 0"
            )
        if kind == "input" and getattr(split.condition, "shape", (0,))[1:] != (
            dataset.condition_shape
        ):
            raise UserError(
                f"model.condition=input: the {name} split has no condition of shape "
                f"{dataset.condition_shape}"
            )


def _warn_of_empty_classes(dataset: DataSet) -> None:
    """Says so where most labels that there can be are those of no training example."""
    classes, y = dataset.num_classes, dataset.splits["train"].y
    seen = len(np.unique(present(y, "labels")))
    if classes is not None and 2 * seen < classes:
        warn(
            f"labels are numbers of classes from 0, here to {classes - 1}, and of these {classes} "
            f"only {seen} have training examples: number the classes one after the other"
        )


def _check_size(setup: Setup, state: TrainState) -> None:
    """Refuses a run that cannot fit: examples, parameters, gradients and optimiser state."""
    if setup.total_steps >= NO_STEP:
        raise UserError(f"train.epochs: {setup.total_steps:,} steps are more than can be counted")
    arrays = [*jax.tree.leaves(state), *jax.tree.leaves(state.params)]  # gradients are alike
    needed = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in arrays)
    examples = _chunk_bytes(setup) if setup.streams else bytes_of(setup.dataset)
    if setup.placement == "sharded":
        examples //= present(setup.execution.mesh, "mesh").size
    what, devices = (
        "examples, parameters, gradients and optimiser state",
        devices_here(setup.config),
    )
    refuse_beyond_memory(what, needed + examples, devices)
    samples = getattr(setup.numbers.objective, "num_samples", 1)
    batch = min(setup.config.train.batch_size, len(setup.dataset.splits["train"]))
    decoded = 4 * samples * batch * math.prod(setup.dataset.shape)  # float32 means of p(x|z)
    refuse_beyond_memory(f"{samples:,} samples of each example of a batch", decoded, devices)


def _chunk_bytes(setup: Setup) -> int:
    """Examples of a streamed run that are on the device at once. Raises UserError."""
    config, budget = setup.config, setup.examples_budget
    if config.train.parallel == "pmap":
        raise UserError(
            f"the examples of {setup.dataset.name} do not fit on the device, and "
            "train.parallel=pmap cannot stream them; shard_map can"
        )
    most = 0
    for name, size in (("train", config.train.batch_size), ("eval", config.eval.batch_size)):
        batch = size * setup.example_bytes
        if CHUNKS_ON_DEVICE * batch > budget:
            raise UserError(
                f"{name}.batch_size {size}: {CHUNKS_ON_DEVICE} batches take "
                f"{CHUNKS_ON_DEVICE * batch:,} bytes, and there are {budget:,} for examples"
            )
        most = max(most, batch * steps_in_chunk(batch, budget, setup.steps_per_epoch))
    return CHUNKS_ON_DEVICE * most


def _check_optimisers(setup: Setup, state: TrainState) -> None:
    """Raises UserError for the optimiser of a group that is none, and for options of optimisers
    that cannot apply to their parameters."""
    numbers = setup.numbers
    known = {*numbers.objective.groups, *state.params}
    for name in numbers.groups:
        if name not in known:
            raise unknown_name("group of parameters", name, known)
    paths = [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(state.params)]
    labels = jax.tree.leaves(numbers.labels(state.params))
    for name, optimiser in {REST: numbers.optimiser, **numbers.groups}.items():
        taken = [path for path, label in zip(paths, labels, strict=True) if label == name]
        where = f"groups.{name}" if name else "optim"
        optimiser.check(where, taken, setup.steps_per_epoch)


def _check_objective(setup: Setup, state: TrainState) -> None:
    """Traces the objective once, so that a wrong form of its terms is refused before any work."""
    _objective_terms.eval_shape(
        state, setup.batch_shapes(), setup.numbers, architecture=setup.architecture
    )


def _check_idle(setup: Setup, state: TrainState, codes: tuple[Any, Any]) -> None:
    """Raises UserError for options that change nothing; warns of a prior that learns nothing."""
    looks, config = setup.config.eval, setup.config
    if looks.per_decade is not None and looks.every != EvalConfig().every:
        raise UserError(
            f"eval.every={looks.every} and eval.per_decade={looks.per_decade} both say when a run "
            "looks at itself: give one of them"
        )
    config.objective.check_idle(*codes)
    check_draws(config.objective, codes[0])
    config.objective.check_layers(state.collections)
    prior = getattr(setup.architecture.model, "prior_part", None)
    if prior is not None and hasattr(prior, "check_values"):
        prior.check_values(setup.values.low, setup.values.high)
    if prior is not None and hasattr(prior, "check_latent"):
        prior.check_latent(setup.architecture.model.latent)
    for role in ("latent", "head"):
        part = getattr(setup.architecture.model, role, None)
        epsilon = "batch_norm_epsilon" in config.model.options_of(role)
        if epsilon and not getattr(part, "batch_norm", True):
            raise UserError(
                f"model.{role}.batch_norm_epsilon is of model.{role}.batch_norm, which is off"
            )
    head = getattr(setup.architecture.model, "head", None)
    if head is not None and hasattr(head, "check_start"):
        head.check_start()
    for name, optimiser in {"": config.optim, **dict(config.groups)}.items():
        # Gradients that are added up do not go over from one epoch to the next.
        updates = config.train.epochs * int(optimiser.updates_in(setup.steps_per_epoch))
        optimiser.check_idle(f"groups.{name}" if name else "optim", updates)
    if config.model.condition == "label":
        _warn_of_empty_classes(setup.dataset)
    if "prior_part" in state.params and not config.objective.revises:
        _warn_of_idle_prior(setup, state)


def _warn_of_idle_prior(setup: Setup, state: TrainState) -> None:
    """Says so where no loss depends on the parameters of the prior: they stay as they start."""
    traced = _objective_terms.trace(
        state, setup.batch_shapes(), setup.numbers, architecture=setup.architecture
    )
    place = jax.tree.map(lambda _: False, state)
    prior = jax.tree.map(lambda _: True, place.params["prior_part"])
    marked = dataclasses.replace(place, params={**place.params, "prior_part": prior})
    program, marks = traced.jaxpr.jaxpr, jax.tree.leaves(marked)
    needed = _needed(program, len(jax.tree.leaves(traced.out_info.loss)))
    inputs = zip(marks, program.invars[: len(marks)], strict=True)
    if not any(is_of_prior and value in needed for is_of_prior, value in inputs):
        warn(
            f"model.prior={setup.config.model.prior} is learned, and the loss of objective "
            f"{type(setup.config.objective).__name__} does not depend on it: it stays as it starts"
        )


def _needed(program: Any, num_losses: int) -> set[Any]:
    """The values of a traced program that its first outputs, the losses, may depend on."""
    needed = {value for value in program.outvars[:num_losses] if not isinstance(value, Literal)}
    for step in reversed(program.eqns):
        if not needed.isdisjoint(step.outvars):
            needed.update(value for value in step.invars if not isinstance(value, Literal))
    return needed


# Compiled never, but kept, as a trace.
@partial(jax.jit, static_argnames="architecture")
def _objective_terms(
    state: TrainState, batch: Batch, numbers: Numbers, *, architecture: Architecture
) -> Terms:
    key = jax.random.key(0)
    model = BoundModel(architecture.model, state.variables, key=key, train=True)
    return evaluate_objective(numbers.objective, model, batch, key, state.step)


def _head_for(dataset: DataSet, values: ValueRange) -> str:
    """The likelihood that goes with the values: of counts, of grey levels, of real numbers."""
    if dataset.is_counts:
        return "multinomial" if len(dataset.shape) == 1 else "poisson"
    return "bernoulli" if values.low >= 0.0 and values.high <= 1.0 else "gaussian"


def _settled_prior(config: RunConfig) -> str:
    return "none" if config.model.name == "rbm" else settled_prior(config.model)


def _settled(config: RunConfig, dataset: DataSet, preprocess: str, values: ValueRange) -> RunConfig:
    """The configuration with nothing left open, which names the data that there really are."""
    model = settled_start(config.model)
    head = _head_for(dataset, values) if model.head == "auto" else model.head
    return dataclasses.replace(
        config,
        data=DataConfig.of(
            dataset,
            preprocess,
            memory_budget=config.data.memory_budget,
            layout=config.data.layout,
            placement=config.data.placement,
        ),
        model=dataclasses.replace(model, head=head, prior=_settled_prior(config)),
    )
