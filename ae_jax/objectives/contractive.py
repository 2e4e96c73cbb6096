"""Reconstruction with a code that is insensitive to its input (Rifai et al. 2011)."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from pydantic import Field

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import NonNegative
from ae_jax.numerics.noise import example_keys
from ae_jax.objectives.base import Batch, BoundModel, Objective, Terms, draw
from ae_jax.objectives.reconstruction import fit_metrics


@struct.dataclass
class Contractive(Objective):
    """-log p(x|z) + weight * ||d z / d x||_F^2, nats per example (Rifai et al. 2011, Eq. 5).

    num_probes   0 takes all rows of the Jacobian, at the memory of batch * code * data and the
                 time of as many backward passes as the code has units; else so many random signs
                 estimate the norm without bias (Hutchinson 1990), for wide codes

    A random code contracts in its mean. Under batch normalisation a code depends on the whole batch
    and has no such derivative: an encoder with it is refused. Metrics: those of `Reconstruction`,
    and `squared_jacobian_norm`.
    """

    weight: NonNegative = 0.1
    num_probes: Annotated[int, Field(ge=0)] = struct.field(pytree_node=False, default=0)

    headline: ClassVar[str] = "loss"

    def check_layers(self, collections: Mapping[str, Any]) -> None:
        if {"encoder", "latent"} & set(collections.get("batch_stats", {})):
            raise UserError(
                "objective contractive takes the derivative of a code by its own example, and with "
                "batch_norm in encoder or latent the code depends on the whole batch"
            )

    def __call__(self, model: BoundModel, batch: Batch, key: Array, step: Array) -> Terms:
        probe_key, draw_key = jax.random.split(key)
        likelihood = draw(model, batch, draw_key, num_samples=1).likelihood
        fixed = model.fixed()  # the pass above has left what its layers write

        def encode(x: Array) -> Array:
            return fixed.encode({**batch, "x": x}).mean()

        mean, pull_back = jax.vjp(encode, batch["x"])
        if self.num_probes == 0:
            rows = jnp.eye(mean.shape[-1])[:, None, :]  # every unit alone, for all examples
            rows = jnp.broadcast_to(rows, (mean.shape[-1], *mean.shape))
        else:
            keys = example_keys(probe_key, batch["id"])
            rows = _signs(keys, self.num_probes, mean.shape[-1]) / jnp.sqrt(self.num_probes)
        norm = squared_norm_of_rows(pull_back, rows)
        metrics = fit_metrics(likelihood, batch["x"]) | {"squared_jacobian_norm": norm}
        return Terms(self.weight * norm - metrics["reconstruction"], metrics)


def squared_norm_of_rows(pull_back: Any, rows: Array) -> Array:
    """sum_r ||rows_r^T J_i||^2 for each example i, [B]; `rows` [R, B, Z]."""
    # No example depends on another, so that one pull-back serves the whole batch.
    (products,) = jax.vmap(pull_back)(rows)  # [R, B, ...]
    return jnp.square(products).sum(axis=(0, *range(2, products.ndim)))


def _signs(keys: Array, count: int, dim: int) -> Array:
    """Independent +1 and -1, [count, B, dim]."""
    signs = jax.vmap(lambda key: jax.random.rademacher(key, (count, dim), jnp.float32))(keys)
    return signs.swapaxes(0, 1)
