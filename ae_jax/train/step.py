"""The state of a run and the pure step that every mode of execution shares."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.data.batches import Totals, masked_totals
from ae_jax.numerics.noise import stream_key
from ae_jax.numerics.reductions import loss_mean
from ae_jax.objectives import Batch, Objective, Terms

# Larger than any step, so that the first bad step of many is their minimum.
NO_STEP = jnp.iinfo(jnp.int32).max


@struct.dataclass
class TrainState:
    """All that changes while a run trains; with the configuration it decides the rest of the run.

    `step` counts updates, `seed` addresses all noise of the run.
    """

    step: Array
    seed: Array
    params: Any
    opt_state: Any


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


def make_step(model: Any, objective: Objective, optimiser: optax.GradientTransformation) -> Step:
    """The step `(state, batch, *, axis_name=None) -> (state, report)`: pure, for one device.

    Under a mapped axis (`shard_map`, `pmap`, `vmap`) each device has its part of the batch and
    the update is that of the whole batch.
    """

    def step(
        state: TrainState, batch: Batch, *, axis_name: str | None = None
    ) -> tuple[TrainState, StepReport]:
        key = stream_key(state.seed, "objective", state.step)

        def loss_of(params: Any) -> tuple[Array, Terms]:
            terms = evaluate_objective(objective, model, params, batch, key, state.step, axis_name)
            return loss_mean(terms.loss, batch["mask"], axis_name), terms

        (loss, terms), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        if axis_name is not None:
            # The loss is a mean over devices already, so each has its own part of the gradient,
            # scaled to be averaged. Where the axis is tracked (`shard_map` by default) it arrives
            # summed and this changes nothing.
            grads = jax.lax.pmean(grads, axis_name)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        totals = masked_totals({"loss": terms.loss, **terms.metrics}, batch["mask"])
        if axis_name is not None:
            totals = jax.lax.psum(totals, axis_name)
        report = StepReport(totals, jnp.where(jnp.isfinite(loss), NO_STEP, state.step))
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), report

    return step


def evaluate_objective(
    objective: Objective,
    model: Any,
    params: Any,
    batch: Batch,
    key: Array,
    step: Array,
    axis_name: str | None = None,
) -> Terms:
    """Calls an objective and checks, while tracing, that what it returns has the right form.

    Raises UserError naming the term that has not.
    """
    extra = {"axis_name": axis_name} if objective.whole_batch else {}
    terms = objective(model, params, batch, key, step, **extra)
    size = batch["mask"].shape
    if "loss" in terms.metrics:
        raise UserError(f"{type(objective).__name__}: no metric may be called loss")
    for name, value in {"loss": terms.loss, **terms.metrics}.items():
        if jnp.shape(value) != size:
            raise UserError(
                f"{type(objective).__name__}: {name} has shape {jnp.shape(value)}, not one value "
                f"an example, {size}"
            )
    if objective.headline not in {"loss", *terms.metrics}:
        raise UserError(
            f"{type(objective).__name__}: headline {objective.headline!r} is not among its "
            f"metrics {sorted(terms.metrics)}"
        )
    return terms
