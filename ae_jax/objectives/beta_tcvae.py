"""The KL in three parts, each with a weight of its own (Chen et al. 2018)."""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import struct
from jax import Array
from jax.scipy.special import logsumexp

from ae_jax.core.errors import UserError, present
from ae_jax.core.ranges import NonNegative
from ae_jax.distributions import DiagonalGaussian, normal_log_density
from ae_jax.distributions.base import only
from ae_jax.numerics.reductions import gather
from ae_jax.objectives.base import Batch, BoundModel, Terms, draw, sum_of
from ae_jax.objectives.bound import Bound


@struct.dataclass
class BetaTcvae(Bound):
    """E log p(x|z) - alpha I(x; z) - beta TC(z) - gamma sum_j KL(q(z_j) || p(z_j)), Eq. 2 and 4.

    Mutual information, total correlation and the KL of each dimension add up to the mean KL.
    Densities of the aggregate posterior q(z) are estimated from the whole batch (minibatch weighted
    sampling, Eq. 3): with M examples of N, log q(z) is about log 1/(N M) sum_j q(z|x_j).

    alpha, gamma   weights of mutual information and of the dimensions' KL
    beta           weight of the total correlation, the only one that `beta_warmup` holds back

    Metrics: `elbo`, `reconstruction`, `kl` (at one draw), and its parts `mutual_information`,
    `total_correlation`, `dimension_kl`, which have the estimate's bias.
    """

    beta: NonNegative = 6.0
    alpha: NonNegative = 1.0
    gamma: NonNegative = 1.0

    headline: ClassVar[str] = "elbo"
    can_pad: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True

    def check(self, posterior: Any, prior: Any) -> None:
        if not isinstance(posterior, DiagonalGaussian) or prior.is_deterministic:
            raise UserError(
                "objective beta_tcvae needs codes of independent dimensions and a prior over them, "
                "such as model.latent=gaussian with model.prior=standard_normal"
            )

    def __call__(
        self,
        model: BoundModel,
        batch: Batch,
        key: Array,
        step: Array,
        axis_name: str | None = None,
    ) -> Terms:
        draws = draw(model, batch, key, num_samples=1)
        reconstruction, z = draws.log_likelihood[0], draws.z[0]
        joint, product = self.aggregate(z, draws.posterior, batch["mask"], axis_name)
        parts = {
            "mutual_information": draws.log_posterior[0] - joint,
            "total_correlation": joint - product,
            "dimension_kl": product - draws.log_prior[0],
        }
        weights: tuple[Array | float, ...] = (self.alpha, self.beta_at(step), self.gamma)
        cost = sum_of(w * part for w, part in zip(weights, parts.values(), strict=True))
        divergence = draws.log_posterior[0] - draws.log_prior[0]
        bound = {
            "elbo": reconstruction - divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
        }
        return Terms(cost - reconstruction + self.parameter_cost(model), bound | parts)

    def aggregate(
        self, z: Array, posterior: DiagonalGaussian, mask: Array, axis_name: str | None
    ) -> tuple[Array, Array]:
        """log q(z) and sum_j log q(z_j) of codes [B, Z], as the whole batch gives them, each [B].

        Takes the memory of B * N * Z numbers.
        """
        loc, log_scale, real = gather((posterior.loc, posterior.log_scale, mask), axis_name)
        density = normal_log_density(z[:, None], loc[None], log_scale[None])
        density = only(posterior.active, density)  # [B, N, Z]
        among = jnp.where(real > 0, 0.0, -jnp.inf)
        count = jnp.log(present(self.num_examples, "num_examples")) + jnp.log(real.sum())
        joint = logsumexp(density.sum(axis=-1) + among[None], axis=1) - count
        each = logsumexp(density + among[None, :, None], axis=1) - count  # [B, Z]
        return joint, only(posterior.active, each).sum(axis=-1)
