"""Distributions over codes: posteriors q(z|x) and priors p(z), as pytrees.

A posterior offers `sample(keys, K, first=0) -> [K, B, Z]`, `log_prob(z) -> [K, B]`,
`kl(prior) -> [B]`, `kl_per_dim(prior) -> [B, Z]` and `mean() -> [B, Z]`. `keys` holds one key an
example, [B], so that an example meets the same noise on one device and on many. Sample k of an
example depends on nothing but its key and k, counted from `first`, so that many samples can be
drawn in parts.

Where runs with codes of different sizes share one program, the dimensions beyond a run's own are
there and switched off: `active` [Z] says which count. What is switched off is 0 in every sample
and mean and adds nothing to any density or divergence.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from ae_jax.distributions.likelihoods import UNIT_INTERVAL, Support, normal_log_density


@struct.dataclass
class StandardNormal:
    """The prior p(z) = N(0, I) over codes of `dim` dimensions."""

    dim: int = struct.field(pytree_node=False)
    active: Array | None = None

    def log_prob(self, z: Array) -> Array:
        """[..., Z] -> [...], nats."""
        return jnp.sum(_only(self.active, normal_log_density(z, 0.0, 0.0)), axis=-1)

    def sample(self, key: Array, count: int) -> Array:
        """[count, Z]."""
        return _only(self.active, jax.random.normal(key, (count, self.dim)))

    def restricted(self, active: Array) -> "StandardNormal":
        """The same with the dimensions that are not `active`, bool [Z], switched off."""
        return self.replace(active=active)


@struct.dataclass
class DiagonalGaussian:
    """q(z|x) = N(loc, diag(exp(log_scale))^2); both parameters [B, Z]."""

    loc: Array
    log_scale: Array
    active: Array | None = None
    is_deterministic: ClassVar[bool] = False

    def mean(self) -> Array:
        return self.loc

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Reparameterised draws loc + scale * noise, [K, B, Z] (Kingma & Welling 2014, Eq. 10)."""
        noise = self.noise(keys, num_samples, first)
        return _only(self.active, self.loc[None] + jnp.exp(self.log_scale)[None] * noise)

    def noise(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """Standard normal noise [K, B, Z], addressed by each example's key and the sample."""
        dim, dtype = self.loc.shape[-1], self.loc.dtype

        def one(key: Array, index: Array) -> Array:
            return jax.random.normal(jax.random.fold_in(key, index), (dim,), dtype)

        indices = first + jnp.arange(num_samples)
        return jax.vmap(jax.vmap(one, (0, None)), (None, 0))(keys, indices)

    def log_prob(self, z: Array) -> Array:
        """[K, B, Z] -> [K, B], nats."""
        return jnp.sum(_only(self.active, normal_log_density(z, self.loc, self.log_scale)), axis=-1)

    def restricted(self, active: Array) -> "DiagonalGaussian":
        """The same with the dimensions that are not `active`, bool [Z], switched off."""
        # At the prior's own mean and scale, so that the divergence of these dimensions is 0.
        return DiagonalGaussian(_only(active, self.loc), _only(active, self.log_scale), active)

    def kl_per_dim(self, prior: StandardNormal) -> Array:
        """KL(q || N(0, 1)) of each dimension, nats, [B, Z] (Kingma & Welling 2014, App. B)."""
        del prior  # the closed form below is that of the standard normal, the one prior there is
        variance = jnp.exp(2 * self.log_scale)
        return 0.5 * (jnp.square(self.loc) + variance - 1.0) - self.log_scale

    def kl(self, prior: StandardNormal) -> Array:
        """KL(q || p), nats, [B]."""
        return jnp.sum(self.kl_per_dim(prior), axis=-1)


@struct.dataclass
class PointMass:
    """A deterministic code as a posterior: its sample is the code, [B, Z], its KL is 0.

    A point mass has no density against the prior; by the convention of deterministic
    autoencoders its divergence is left out, which makes the ELBO the reconstruction term.
    """

    loc: Array
    is_deterministic: ClassVar[bool] = True

    def mean(self) -> Array:
        return self.loc

    def sample(self, keys: Array, num_samples: int, first: Array | int = 0) -> Array:
        """The code itself, num_samples times, [K, B, Z]."""
        del keys, first
        return jnp.broadcast_to(self.loc, (num_samples, *self.loc.shape))

    def restricted(self, active: Array) -> "PointMass":
        """The same with the dimensions that are not `active`, bool [Z], at 0."""
        return self.replace(loc=_only(active, self.loc))

    def log_prob(self, z: Array) -> Array:
        """0 on the code: the log of the probability of the atom, [K, B]."""
        return jnp.where(jnp.all(z == self.loc[None], axis=-1), 0.0, -jnp.inf)

    def kl_per_dim(self, prior: StandardNormal) -> Array:
        del prior
        return jnp.zeros_like(self.loc)

    def kl(self, prior: StandardNormal) -> Array:
        return jnp.sum(self.kl_per_dim(prior), axis=-1)


@struct.dataclass
class UnitPointMass(PointMass):
    """A deterministic code whose values lie between 0 and 1, as the rates of binary units do."""

    support: ClassVar[Support] = UNIT_INTERVAL


def _only(active: Array | None, values: Array) -> Array:
    """Values [..., Z], 0 where a dimension is switched off."""
    return values if active is None else jnp.where(active, values, 0.0)
