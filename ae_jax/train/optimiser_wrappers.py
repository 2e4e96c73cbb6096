"""What optimisers are wrapped in: gradients of several batches as one, a running average of the
parameters, a learning rate that falls where the loss no longer does.

All are optax transformations whose numbers may be traced, and all that they remember is part of
the state of the optimiser: saved with it, and continued to the bit. A step tells them, beside
gradients, the mean loss of its batch as `value` and how many real examples that had as `weight`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

LARGEST = jnp.finfo(jnp.float32).max


class AccumulatedState(NamedTuple):
    """Sums over the batches since the last update: of gradients and losses, both by examples."""

    batch: Array  # how many batches of this epoch there were
    weight: Array
    value: Array
    gradients: Any
    inner: Any


def accumulated(
    inner: optax.GradientTransformation, every: Array | int, steps_per_epoch: Array | float
) -> optax.GradientTransformationExtraArgs:
    """`inner` at each `every` batches, of the mean gradient over their examples; else no update.

    An epoch ends with an update of what there is, as it ends with a smaller batch. So batches of
    B examples give the updates of batches of `every` * B, whose shuffled order is the same. (What
    `optax.MultiSteps` takes is the mean of the means of batches, in which the examples of a
    smaller batch count for more, and its rounds do not end with an epoch.)
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> AccumulatedState:
        zero = jnp.zeros(())
        nothing = optax.tree.zeros_like(params)
        return AccumulatedState(jnp.zeros((), jnp.int32), zero, zero, nothing, inner.init(params))

    def update(
        gradients: Any,
        state: AccumulatedState,
        params: Any = None,
        *,
        value: Array | float = 0.0,
        weight: Array | float = 1.0,
        **more: Any,
    ) -> tuple[Any, AccumulatedState]:
        batch, total = state.batch + 1, state.weight + weight
        loss = state.value + weight * value
        sums = jax.tree.map(lambda a, g: a + weight * g, state.gradients, gradients)
        is_last = batch >= steps_per_epoch

        def act() -> tuple[Any, AccumulatedState]:
            mean = jax.tree.map(lambda a: a / total, sums)
            updates, own = inner.update(mean, state.inner, params, value=loss / total, **more)
            rest = AccumulatedState(batch, 0.0 * total, 0.0 * total, _nothing(sums), own)
            return updates, rest

        def wait() -> tuple[Any, AccumulatedState]:
            return _nothing(sums), AccumulatedState(batch, total, loss, sums, state.inner)

        updates, state = jax.lax.cond((batch % every == 0) | is_last, act, wait)
        return updates, state._replace(batch=jnp.where(is_last, 0, batch))

    return optax.GradientTransformationExtraArgs(init, update)


def _nothing(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


class AverageState(NamedTuple):
    """The running average of the parameters after so many updates."""

    updates: Array
    average: Any
    inner: Any


def averaged(
    inner: optax.GradientTransformation, decay: Array | float
) -> optax.GradientTransformationExtraArgs:
    """`inner`, which also keeps an exponential average of the parameters that its updates lead to.

    After t updates that is sum_i decay^(t-i) p_i / sum_i decay^(t-i), i = 1 ... t: without the
    bias towards the start that an average over a short run has (as `optax.ema` with `debias`).
    """
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> AverageState:
        start = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
        return AverageState(jnp.zeros((), jnp.int32), start, inner.init(params))

    def update(
        gradients: Any, state: AverageState, params: Any = None, **more: Any
    ) -> tuple[Any, AverageState]:
        updates, own = inner.update(gradients, state.inner, params, **more)
        count = state.updates + 1
        before = 1 - jnp.power(decay, state.updates.astype(jnp.float32))
        kept = decay * before / (1 - jnp.power(decay, count.astype(jnp.float32)))
        now = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: kept * a + (1 - kept) * p, state.average, now)
        return updates, AverageState(count, average, own)

    return optax.GradientTransformationExtraArgs(init, update)


def average_in(state: Any, params: Any) -> Any:
    """The averages that the state of an optimiser holds, in place of their parameters.

    What no average is kept of stays as it is.
    """
    found = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, AverageState))
    for node in found:
        if isinstance(node, AverageState):
            params = jax.tree.map(
                lambda average, own: own if _is_masked(average) else average,
                node.average,
                params,
                is_leaf=_is_masked,
            )
    return params


def forgotten(state: Any, params: Any, changed: Any) -> Any:
    """The state of an optimiser without what it remembers of the parameters that were changed.

    `changed` are truth values like the parameters. What is remembered of one lies, in whatever
    state of a rule, where the parameter does among all. Averages begin again at what the
    parameters are.
    """
    gone = dict(jax.tree_util.tree_leaves_with_path(changed))
    longest = max(map(len, gone))

    def forget(path: Any, leaf: Array) -> Array:
        for size in range(longest, 0, -1):
            if path[-size:] in gone and gone[path[-size:]].shape == leaf.shape:
                return jnp.where(gone[path[-size:]], 0.0, leaf)
        return leaf

    state = jax.tree_util.tree_map_with_path(forget, state)

    def restarted(node: Any) -> Any:
        if not isinstance(node, AverageState):
            return node
        average = jax.tree.map(
            lambda old, new, gone: old if _is_masked(old) else jnp.where(gone, new, old),
            node.average,
            params,
            changed,
            is_leaf=_is_masked,
        )
        return node._replace(average=average)

    return jax.tree.map(restarted, state, is_leaf=lambda node: isinstance(node, AverageState))


def _is_masked(node: Any) -> bool:
    """Whether it stands for parameters that another group's optimiser takes."""
    return isinstance(node, optax.MaskedNode)


class PlateauState(NamedTuple):
    """What the updates are scaled by, and the round of updates whose mean loss comes next."""

    scale: Array
    best: Array  # mean loss of the best round
    worse: Array  # rounds since then
    count: Array  # type: ignore[assignment]  # not the method of tuples
    total: Array


def reduced_on_plateau(
    factor: Array | float,
    patience: Array | int,
    tolerance: Array | float,
    lowest: Array | float,
    size: Array | float,
) -> optax.GradientTransformationExtraArgs:
    """Scales updates by `factor` once more after `patience` rounds without a better mean loss.

    A round is `size` updates; its mean loss, in which those of all updates count alike, is better
    where it is below the best one by more than `tolerance` times the size of that. The scale does
    not fall below `lowest`. As
    `optax.contrib.reduce_on_plateau`, whose numbers cannot be traced and whose relative tolerance
    takes a loss below 0 that grows for one that falls.
    """

    def init(params: Any) -> PlateauState:
        del params
        zero = jnp.zeros((), jnp.int32)
        return PlateauState(jnp.ones(()), jnp.full((), LARGEST), zero, zero, jnp.zeros(()))

    def update(
        updates: Any,
        state: PlateauState,
        params: Any = None,
        *,
        value: Array | float,
        **more: Any,
    ) -> tuple[Any, PlateauState]:
        del params, more
        count, total = state.count + 1, state.total + value
        is_over, mean = count >= size, total / count
        better = mean < state.best - tolerance * jnp.abs(state.best)
        worse = jnp.where(better, 0, state.worse + 1)
        falls = worse >= patience
        after = PlateauState(
            # Never raised: a rate that starts below the lowest stays there.
            jnp.where(falls, jnp.maximum(state.scale * factor, lowest), state.scale),
            jnp.where(better, mean, state.best),
            jnp.where(falls, 0, worse),
            jnp.zeros_like(count),
            jnp.zeros_like(total),
        )
        within = state._replace(count=count, total=total)
        state = jax.tree.map(lambda a, b: jnp.where(is_over, a, b), after, within)
        return jax.tree.map(lambda u: state.scale * u, updates), state

    return optax.GradientTransformationExtraArgs(init, update)
