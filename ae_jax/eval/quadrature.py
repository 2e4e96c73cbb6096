"""log p(x) of models whose codes are points of a plane: the integral over all codes, summed up."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.codecs.model import CodecModel
from ae_jax.core.errors import UserError
from ae_jax.data.passes import EvaluationData
from ae_jax.distributions.base import REAL_LINE
from ae_jax.eval.bounds import codes_of
from ae_jax.models import Batch, BoundModel

# Examples at a time: every one of them meets a row of the grid at once.
_EXAMPLES = 32


@dataclasses.dataclass(frozen=True)
class PlaneQuadrature:
    """log p(x) = log of the integral of p(z) p(x|z) over the plane, by the trapezoidal rule, nats.

    points   of the grid along each coordinate, from -reach to reach; odd, so that every second
             point is a grid of twice the step
    reach    in both coordinates

    The rule converges faster than any power of the step once this is below the standard deviation
    of p(z|x): at one deviation the error is 5e-9, at two 1e-2 (relative, of a Gaussian). Returns

        log_p_by_quadrature
        quadrature_halving_error   |difference| from the grid of twice the step, mean over examples
        quadrature_outer_share     of the integral that lies in the outer tenth of the square: where
                                   it is not small, the reach is too
    """

    points: int = 201
    reach: float = 6.0

    def __call__(
        self, module: Any, variables: Any, data: EvaluationData, key: Array
    ) -> dict[str, float]:
        """Raises UserError for codes that are no points of a plane."""
        smaller = data.replace(batch_size=min(data.batch_size, _EXAMPLES))
        return smaller.mean(self.values_of(module), module, variables, key)

    def rows(self, module: Any, variables: Any, data: EvaluationData, key: Array) -> dict[str, Any]:
        """The same for every example, {name: [N]}."""
        smaller = data.replace(batch_size=min(data.batch_size, _EXAMPLES))
        return smaller.rows(self.values_of(module), module, variables, key)

    def values_of(self, module: Any) -> Any:
        """The function of (model, batch, key) that gives values [B]. Raises UserError."""
        if self.points < 5 or self.points % 2 == 0 or not self.reach > 0:
            raise UserError(
                f"a grid has an odd number of points, at least 5, and a reach above 0, not "
                f"{self.points} and {self.reach:g}"
            )
        return self._alike if _decodes_alike(module) else self._each

    def _alike(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        return self._values(model, batch, True)

    def _each(self, model: BoundModel, batch: Batch, key: Array) -> dict[str, Array]:
        return self._values(model, batch, False)

    def _values(self, model: BoundModel, batch: Batch, alike: bool) -> dict[str, Array]:
        check_plane(model, batch)
        line = jnp.linspace(-self.reach, self.reach, self.points)
        is_even = jnp.arange(self.points) % 2 == 0
        is_outer = jnp.abs(line) > 0.9 * self.reach

        def add(sums: tuple[Array, ...], row: tuple[Array, ...]) -> tuple[tuple[Array, ...], None]:
            first, even, outer = row
            codes = jnp.stack([jnp.full_like(line, first), line], axis=-1)
            joint = log_joint(model, batch, codes, alike)  # [points, B]
            parts = (jnp.ones_like(is_even), is_even & even, is_outer | outer)
            added = (logsumexp(jnp.where(part[:, None], joint, -jnp.inf), axis=0) for part in parts)
            return tuple(jnp.logaddexp(*pair) for pair in zip(sums, added, strict=True)), None

        start = (jnp.full(batch["mask"].shape, -jnp.inf),) * 3
        (fine, coarse, outer), _ = jax.lax.scan(add, start, (line, is_even, is_outer))
        step = 2 * self.reach / (self.points - 1)
        return {
            "log_p_by_quadrature": fine + 2 * math.log(step),
            "quadrature_halving_error": jnp.abs(fine - coarse - 2 * math.log(2)),
            "quadrature_outer_share": jnp.exp(outer - fine),
        }


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
