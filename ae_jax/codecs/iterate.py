"""The one loop of iterative fits: compiled, with its history, and host work between chunks only."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs.base import Progress
from ae_jax.codecs.rows import Rows
from ae_jax.core.errors import UserError

# step(spec, rows, state, iteration) -> state, objective, change
Step = Callable[[Any, Rows, Any, Array], tuple[Any, Array, Array]]

_PROGRESS_EVERY = 10


@struct.dataclass
class Loop:
    """The state of an algorithm with what it said so far; `history` is [max_iterations]."""

    state: Any
    history: Array
    iteration: Array
    change: Array


def iterate(
    step: Step,
    spec: Any,
    rows: Rows,
    state: Any,
    max_iterations: int,
    tolerance: Any,
    progress: Progress | None = None,
) -> tuple[Any, np.ndarray, bool]:
    """Repeats a step until its change is no more than the tolerance, or `max_iterations` times.

    `step` is a function at module level: it is part of the key of the compiled program. Gives the
    last state, the history of objectives [iterations], and whether the tolerance was met. The
    numbers are the same with and without `progress`. Raises UserError where the objective was
    not finite.
    """
    # The last state is given up for the next one: what came from outside is copied first.
    state = jax.tree.map(jnp.copy, state)
    loop = Loop(
        state,
        jnp.full((max_iterations,), jnp.nan),
        jnp.zeros((), jnp.int32),
        jnp.full((), jnp.inf),
    )
    done, stride = 0, _PROGRESS_EVERY if progress else max_iterations
    while True:
        limit = min(done + stride, max_iterations)
        loop = _advance(step, spec, rows, loop, limit, jnp.asarray(tolerance, jnp.float32))
        done, change = int(loop.iteration), float(loop.change)
        # A copy: the next chunk takes the buffer over.
        history = np.array(loop.history)[:done]
        objective = float(history[-1]) if done else math.nan  # no step is taken at all
        if not math.isfinite(objective):
            raise UserError(
                f"the objective was not finite at iteration {done}: the data are too large or too "
                "small for float32, scale them"
            )
        if progress:
            progress(done, max_iterations, objective)
        converged = change <= float(jnp.asarray(tolerance, jnp.float32))
        if converged or done >= max_iterations:
            return loop.state, history, converged


@functools.partial(jax.jit, static_argnames="step", donate_argnames="loop")
def _advance(step: Step, spec: Any, rows: Rows, loop: Loop, limit: Array, tolerance: Array) -> Loop:
    def unfinished(loop: Loop) -> Array:
        last = loop.history[jnp.maximum(loop.iteration - 1, 0)]
        healthy = (loop.iteration == 0) | jnp.isfinite(last)
        return (loop.iteration < limit) & healthy & ~(loop.change <= tolerance)

    def body(loop: Loop) -> Loop:
        state, objective, change = step(spec, rows, loop.state, loop.iteration)
        history = loop.history.at[loop.iteration].set(objective)
        return Loop(state, history, loop.iteration + 1, change)

    return jax.lax.while_loop(unfinished, body, loop)


def relative_decrease(before: Array, now: Array) -> Array:
    """|before - now| / |before|; infinite where there is no objective before (NaN or infinite)."""
    change = jnp.abs(before - now) / jnp.maximum(jnp.abs(before), jnp.finfo(jnp.float32).tiny)
    return jnp.where(jnp.isfinite(before), change, jnp.inf)
