"""Codes whose dimensions are independent, as a critic judges them (Kim & Mnih 2018)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.core.ranges import NonNegative
from ae_jax.numerics.noise import example_keys
from ae_jax.numerics.reductions import gather
from ae_jax.numerics.softplus import softplus
from ae_jax.objectives.base import Batch, BoundModel, Terms, draw
from ae_jax.objectives.bound import Bound, kl_of
from ae_jax.objectives.networks import Mlp, Sizes, code_size

LAST = np.uint32(0xFFFFFFFF)


@struct.dataclass
class FactorVae(Bound):
    """ELBO - gamma * KL(q(z) || prod_j q(z_j)): total correlation by a critic (Kim & Mnih 2018).

    The critic D tells codes of the batch from codes whose dimensions are permuted, each by itself,
    over the whole batch: log D / (1 - D) at a code is then its log density ratio (Eq. 3).

    autoencoder   the negative bound, for the parts of the model
    critic        cross-entropy of both kinds of codes, held fixed, for the critic

    gamma           weight of the total correlation
    critic_hidden   sizes of the critic's layers (the paper: six of 1000)

    Metrics: `elbo`, `reconstruction`, `kl`; `total_correlation` as estimated; `critic_loss`, which
    is log 2 where the critic cannot tell.
    """

    gamma: NonNegative = 10.0
    critic_hidden: Sizes = struct.field(pytree_node=False, default=(256, 256, 256))

    headline: ClassVar[str] = "elbo"
    can_pad: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "autoencoder": ("encoder", "latent", "prior_part", "decoder", "head"),
        "critic": ("objective",),
    }

    def init(self, key: Array, model: Any, batch: Batch) -> Any:
        """The parameters of the critic."""
        zeros = jnp.zeros((1, code_size(model, key, batch)))
        return Mlp(self.critic_hidden, 1).init(key, zeros)["params"]

    def logit(self, own: Any, z: Array) -> Array:
        """log D / (1 - D) at codes [B, Z], nats, [B]."""
        logits: Any = Mlp(self.critic_hidden, 1).apply({"params": own}, z)
        return logits[:, 0]

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draw_key, order_key = jax.random.split(key)
        draws = draw(model, batch, draw_key, num_samples=1)
        reconstruction, divergence = draws.log_likelihood[0], kl_of(draws)
        ratio = self.logit(model.own, draws.z[0])  # [B]
        bound = reconstruction - self.beta_at(step) * divergence - self.gamma * ratio

        z = jax.lax.stop_gradient(draws.z[0])
        keys = example_keys(order_key, batch["id"])
        apart = permuted(z, keys, batch["mask"], axis_name)
        joint, product = self.logit(model.own, z), self.logit(model.own, apart)
        critic = 0.5 * (softplus(-joint) + softplus(product))
        metrics = {
            "elbo": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
            "total_correlation": ratio,
            "critic_loss": critic,
        }
        losses = {"autoencoder": self.parameter_cost(model) - bound, "critic": critic}
        return Terms(losses, metrics)


def permuted(z: Array, keys: Array, mask: Array, axis_name: str | None = None) -> Array:
    """Codes [B, Z] with each dimension permuted by itself over the real examples of the batch.

    The permutations are those that sort random words, one an example and dimension, by the keys of
    the examples [B]: they do not depend on devices. Repeats that fill a batch up are given to none.
    """
    words = jax.vmap(lambda key: jax.random.bits(key, (1 + z.shape[-1],)))(keys)  # uint32
    words = jnp.where(mask[:, None] > 0, words, LAST)  # [B, 1 + Z]
    codes, others = gather((z, words), axis_name)  # [N, Z], [N, 1 + Z]
    # The rank of an example by its first word; in every dimension it gets the value of that rank.
    rank = jnp.searchsorted(jnp.sort(others[:, 0]), words[:, 0])  # [B]
    order = jnp.argsort(others[:, 1:], axis=0)  # [N, Z]
    return jnp.take_along_axis(codes, order[rank], axis=0)
