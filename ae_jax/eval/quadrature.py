"""log p(x) of models whose codes are points of a plane: the integral over all codes, summed up."""

import dataclasses
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp
from pydantic import AfterValidator, Field

from ae_jax.codecs.model import CodecModel
from ae_jax.core.errors import UserError
from ae_jax.core.fields import Checked
from ae_jax.core.ranges import Count, Positive
from ae_jax.data.passes import EvaluationData
from ae_jax.distributions.base import REAL_LINE
from ae_jax.eval.bounds import codes_of
from ae_jax.models import Batch, BoundModel

# Examples at a time: every one of them meets a row of the grid at once.
_EXAMPLES = 32
_ROUNDINGS = 4 * float(jnp.finfo(jnp.float32).eps)


def _odd(count: int) -> int:
    if count % 2 == 0:
        raise ValueError("input should be odd")
    return count


@dataclasses.dataclass(frozen=True)
class PlaneQuadrature(Checked):
    """log p(x) = log of the integral of p(z) p(x|z) over the plane, by the trapezoidal rule, nats.

    points   of the grid along each coordinate, from -reach to reach; odd, so that every second
             point is a grid of twice the step
    reach    in both coordinates

    The rule converges faster than any power of the step once this is below the standard deviation
    of p(z|x): at one deviation the error is 5e-9, at two 1e-2 (relative, of a Gaussian). Returns

        log_p_by_quadrature
        quadrature_halving_error   |difference| from the grid of twice the step, mean over examples;
                                   at least what float32 resolves of log p(x)
        quadrature_outer_share     of the integral that lies in the outer tenth of the square: where
                                   it is not small, the reach is too
    """

    points: Annotated[Count, Field(ge=5), AfterValidator(_odd)] = 201
    reach: Positive = 6.0

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """Raises UserError for codes that are no points of a plane."""
        return self._in_parts(data).mean(self._values_of(module), module, variables, key)

    def rows(self, module: Any, variables: Any, data: EvaluationData, key: Array) -> dict[str, Any]:
        """The same for every example, {name: [N]}, and where its posterior is: `posterior_mean` and
        `posterior_deviation`, [N, 2]."""
        values_of = self._values_of(module, is_located=True)
        return self._in_parts(data).rows(values_of, module, variables, key)

    def _in_parts(self, data: EvaluationData) -> EvaluationData:
        return dataclasses.replace(data, batch_size=min(data.batch_size, _EXAMPLES))

    def _values_of(self, module: Any, is_located: bool = False) -> "_Values":
        return _Values(self, _decodes_alike(module), is_located)


@dataclasses.dataclass(frozen=True)
class _Values:
    """What is asked of a batch; equal ones share a compiled program."""

    grid: PlaneQuadrature
    is_alike: bool
    is_located: bool

    def __call__(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        check_plane(model, batch)
        points, reach = self.grid.points, self.grid.reach
        line = jnp.linspace(-reach, reach, points)
        is_even = jnp.arange(points) % 2 == 0
        is_outer = jnp.abs(line) > 0.9 * reach

        def add(columns: Array, first: Array) -> tuple[Array, tuple[Array, Array]]:
            codes = jnp.stack([jnp.full_like(line, first), line], axis=-1)
            joint = log_joint(model, batch, codes, self.is_alike)  # [points, B]
            return jnp.logaddexp(columns, joint), (_over(joint), _over(joint, is_even))

        start = jnp.full((points, *batch["mask"].shape), -jnp.inf)
        # The integrand over each of the coordinates, [points, B].
        columns, (rows, even_rows) = jax.lax.scan(add, start, line)
        fine, coarse = _over(rows), _over(even_rows, is_even)
        # What lies in the corners is counted twice: it is beyond the reach in both coordinates.
        outer = jnp.logaddexp(_over(rows, is_outer), _over(columns, is_outer))
        step = 2 * reach / (points - 1)
        log_p = fine + 2 * math.log(step)
        halving = jnp.abs(fine - coarse - 2 * math.log(2))
        values = {
            "log_p_by_quadrature": log_p,
            # Below a few roundings of float32 the difference is one of these.
            "quadrature_halving_error": jnp.maximum(halving, _ROUNDINGS * jnp.abs(log_p)),
            "quadrature_outer_share": jnp.exp(outer - fine),
        }
        return values | (_place(line, rows, columns) if self.is_located else {})


def _over(joint: Array, chosen: Array | None = None) -> Array:
    """log of the sum over the first axis, of the `chosen` only: [P, B] -> [B]."""
    if chosen is not None:
        joint = jnp.where(chosen[:, None], joint, -jnp.inf)
    return logsumexp(joint, axis=0)


def _place(line: Array, *marginals: Array) -> dict[str, Array]:
    """Means and deviations [B, 2] of the two coordinates from log densities [P, B] on the line."""
    shares = jnp.stack([jax.nn.softmax(one, axis=0) for one in marginals], axis=-1)  # [P, B, 2]
    place = line[:, None, None]
    mean = (shares * place).sum(axis=0)
    variance = (shares * jnp.square(place - mean[None])).sum(axis=0)
    return {"posterior_mean": mean, "posterior_deviation": jnp.sqrt(variance)}


def log_joint(model: BoundModel, batch: Batch, codes: Array, alike: bool = False) -> Array:
    """log p(x, z) of examples at codes [P, Z], the same for all of them: nats, [P, B].

    Where all examples are decoded `alike`, because nothing conditions them, codes are decoded once.
    """
    given = {name: value[:1] for name, value in batch.items()} if alike else batch
    z = jnp.broadcast_to(codes[:, None], (len(codes), len(given["mask"]), codes.shape[-1]))
    return model.decode(z, given).log_prob(batch["x"]) + model.prior(batch).log_prob(z)


def check_plane(model: BoundModel, batch: Batch) -> None:
    """Raises UserError unless codes are points of a plane with a density."""
    posterior, prior = codes_of(model, batch)
    size = jax.eval_shape(lambda batch: model.encode(batch).mean(), batch).shape[-1]
    if any(each.is_deterministic for each in (posterior, prior)):
        raise UserError("quadrature needs a model with a random code and a prior over it")
    if size != 2 or prior.support != REAL_LINE:
        raise UserError(
            f"quadrature is for codes that are points of a plane, not for {size} dimensions "
            f"of {prior.support.description}: log_likelihood takes any"
        )


def _decodes_alike(module: Any) -> bool:
    """Whether what a code decodes to is known not to depend on the example."""
    return isinstance(module, CodecModel) or getattr(module, "condition", None) == "none"
