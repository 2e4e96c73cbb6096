"""The state of a run and the pure step that every mode of execution shares."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.data.batches import WEIGHT, Totals, masked_totals
from ae_jax.models import BoundModel
from ae_jax.models.base import OWN
from ae_jax.numerics.noise import stream_key
from ae_jax.numerics.reductions import loss_mean
from ae_jax.objectives import Batch, Objective, Terms
from ae_jax.objectives.base import WHOLE
from ae_jax.train.optimiser_wrappers import average_in, forgotten

# Larger than any step, so that the first bad step of many is their minimum.
NO_STEP = jnp.iinfo(jnp.int32).max
REVISION = 0x2E71  # folded into the key of a step for what an objective draws to revise with


@struct.dataclass
class TrainState:
    """All that changes while a run trains; with the configuration it decides the rest of the run.

    `step` counts updates, `seed` addresses all noise of the run. `collections` holds what layers
    write while they train (batch statistics), by the names that Linen gives them.
    """

    step: Array
    seed: Array
    params: Any
    opt_state: Any
    collections: dict[str, Any] = struct.field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """What a module is applied to where it is looked at: the average of the parameters, where
        the optimiser keeps one."""
        return {"params": average_in(self.opt_state, self.params), **self.collections}


@struct.dataclass
class StepReport:
    """What a step says of itself: totals of its metrics, and whether it went wrong.

    `bad_step` is the first step whose loss was not finite, NO_STEP where there is none.
    """

    totals: Totals
    bad_step: Array

    def over_steps(self) -> "StepReport":
        """One report for many, stacked along a leading axis."""
        return StepReport(jax.tree.map(jnp.sum, self.totals), self.bad_step.min())


Step = Callable[..., tuple[TrainState, StepReport]]


def make_step(
    module: Any,
    objective: Objective,
    optimiser: optax.GradientTransformation,
    active: Array | None = None,
) -> Step:
    """The step `(state, batch, *, axis_name=None) -> (state, report)`: pure, for one device.

    Under a mapped axis (`shard_map`, `pmap`, `vmap`) each device has its part of the batch and
    the update is that of the whole batch. `active` [Z] says which dimensions of padded codes are
    in use.
    """

    def step(
        state: TrainState, batch: Batch, *, axis_name: str | None = None
    ) -> tuple[TrainState, StepReport]:
        key = stream_key(state.seed, "objective", state.step)

        def losses_of(params: Any) -> tuple[dict[str, Array], tuple[Terms, dict[str, Any]]]:
            variables = {"params": params, **state.collections}
            model = BoundModel(
                module, variables, key=key, train=True, axis_name=axis_name, active=active
            )
            terms = evaluate_objective(objective, model, batch, key, state.step, axis_name)
            means = {
                group: loss_mean(loss, batch["mask"], axis_name)
                for group, loss in terms.losses().items()
            }
            written = model.collections
            if terms.memory is not None:
                written = {**written, OWN: terms.memory}
            return means, (terms, written)

        losses, grads, (terms, collections) = gradients(losses_of, state.params, objective.groups)
        if axis_name is not None:
            # The loss is a mean over devices already, so each has its own part of the gradient,
            # scaled to be averaged. Where the axis is tracked (`shard_map` by default) it arrives
            # summed and this changes nothing. What layers wrote is the same on all devices.
            grads = jax.lax.pmean(grads, axis_name)
            collections = jax.tree.map(partial(_mean_of_reals, axis_name=axis_name), collections)
        totals = masked_totals(terms.reported(), batch["mask"])
        if axis_name is not None:
            totals = jax.lax.psum(totals, axis_name)
        updates, opt_state = optax.with_extra_args_support(optimiser).update(
            grads,
            state.opt_state,
            state.params,
            value=totals.sums["loss"] / totals.count,
            weight=totals.count,
        )
        params = optax.apply_updates(state.params, updates)
        if objective.revises:
            variables = {"params": params, **collections}
            model = BoundModel(module, variables, axis_name=axis_name, active=active)
            params, opt_state, collections = revised(
                objective, model, opt_state, batch, key, state.step
            )
        finite = jnp.all(jnp.stack([jnp.isfinite(loss) for loss in losses.values()]))
        report = StepReport(totals, jnp.where(finite, NO_STEP, state.step))
        state = dataclasses.replace(
            state, step=state.step + 1, params=params, opt_state=opt_state, collections=collections
        )
        return state, report

    return step


def revised(
    objective: Objective,
    model: BoundModel,
    opt_state: Any,
    batch: Batch,
    key: Array,
    step: Array,
) -> tuple[Any, Any, dict[str, Any]]:
    """Parameters, state of the optimiser and collections, revised if the objective says it is time.

    The model is looked at, as the step leaves it.
    """

    def revise() -> tuple[Any, Any, dict[str, Any]]:
        result = objective.revise(model, batch, jax.random.fold_in(key, REVISION), model.axis_name)
        state = forgotten(opt_state, result.params, result.changed)
        written = {} if result.memory is None else {OWN: result.memory}
        return result.params, state, {**model.collections, **written}

    def leave() -> tuple[Any, Any, dict[str, Any]]:
        return model.params, opt_state, model.collections

    return jax.lax.cond(objective.is_due(step), revise, leave)


def _mean_of_reals(leaf: Array, axis_name: str) -> Array:
    """The mean over devices; whole numbers (a counter) and keys, which have none, as they are."""
    return jax.lax.pmean(leaf, axis_name) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def gradients(
    losses_of: Callable[[Any], tuple[dict[str, Array], Any]],
    params: Any,
    groups: Mapping[str, tuple[str, ...]],
) -> tuple[dict[str, Array], Any, Any]:
    """The losses by group, the gradient of each with respect to its own parameters, and the rest.

    What the compiler does not need of the gradient of a loss with respect to the parameters of
    another group, it does not compute.
    """
    losses, pull_back, rest = jax.vjp(losses_of, params, has_aux=True)

    def gradient(group: str) -> Any:
        seed = {name: jnp.ones_like(loss) * (name == group) for name, loss in losses.items()}
        return pull_back(seed)[0]

    if not groups:
        return losses, gradient(WHOLE), rest
    by_part = {part: group for group, parts in groups.items() for part in parts}
    whole = {group: gradient(group) for group in losses}
    return losses, {part: whole[by_part[part]][part] for part in params}, rest


# What JAX raises where a program asks a traced number for its value.
_NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
)


def evaluate_objective(
    objective: Objective,
    model: BoundModel,
    batch: Batch,
    key: Array,
    step: Array,
    axis_name: str | None = None,
) -> Terms:
    """Calls an objective and checks, while tracing, that what it returns has the right form.

    Raises UserError naming the term that has not.
    """
    extra = {"axis_name": axis_name} if objective.whole_batch else {}
    name = type(objective).__name__
    try:
        terms = objective(model, batch, key, step, **extra)
    except jax.errors.UnexpectedTracerError as error:
        raise written_inside(objective) from error
    except _NEEDS_VALUES as error:
        raise UserError(
            f"objective {name} needs the value of a number while it is traced, as for a shape, a "
            "range or a branch; if it is a field of its own, declare it with "
            "struct.field(pytree_node=False)"
        ) from error
    if not isinstance(terms, Terms):
        raise UserError(f"objective {name} returns {type(terms).__name__}, not Terms")
    _check_terms(objective, terms, batch["mask"].shape)
    _check_groups(objective, terms, model)
    return terms


def written_inside(objective: Objective) -> UserError:
    """Layers left values of a transformation that is over in the state of the run."""
    return UserError(
        f"objective {type(objective).__name__}: layers wrote their state inside a JAX "
        "transformation of its own; use model.fixed() there"
    )


def _check_terms(objective: Objective, terms: Terms, size: tuple[int, ...]) -> None:
    name = type(objective).__name__
    if any(metric.startswith(WEIGHT) for metric in terms.metrics):
        raise UserError(f"{name}: no metric may be called {WEIGHT}..., as the weights of one are")
    if "loss" in terms.metrics:
        raise UserError(f"{name}: no metric may be called loss")
    losses = {f"loss of {group}" if group else "loss": v for group, v in terms.losses().items()}
    stray = sorted(set(terms.weights) - set(terms.metrics))
    if stray:
        raise UserError(f"{name}: there are weights of {stray[0]}, which is none of its metrics")
    weights = {f"{WEIGHT}{metric}": value for metric, value in terms.weights.items()}
    for term, value in {**losses, **terms.metrics, **weights}.items():
        if jnp.shape(value) != size:
            raise UserError(
                f"{name}: {term} has shape {jnp.shape(value)}, not one value an example, {size}"
            )
    if objective.headline not in {"loss", *terms.metrics}:
        raise UserError(
            f"{name}: headline {objective.headline!r} is not among its metrics "
            f"{sorted(terms.metrics)}"
        )


def _check_groups(objective: Objective, terms: Terms, model: BoundModel) -> None:
    """Raises UserError unless there is one loss for each group, and one group for each part."""
    name, groups = type(objective).__name__, objective.groups
    if set(terms.losses()) != (set(groups) or {WHOLE}):
        wanted = f"one for each of {', '.join(sorted(groups))}" if groups else "one, [B]"
        raise UserError(f"{name}: losses are {sorted(terms.losses())}, and it should be {wanted}")
    if groups:
        grouped = [part for parts in groups.values() for part in parts]
        lost = sorted(set(model.params) - set(grouped))
        if lost:
            raise UserError(f"{name}: no group holds the parameters of {', '.join(lost)}")
        if len(set(grouped)) < len(grouped):
            raise UserError(f"{name}: a part is in two of its groups")
