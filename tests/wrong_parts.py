"""Ten parts that do not fit in, each for a reason of its own; `ae-jax check` says which."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from ae_jax.distributions import REAL_LINE, DiagonalGaussian, Distribution, kl
from ae_jax.objectives import Objective, Terms, draw


def bound(model, batch, key):
    draws = draw(model, batch, key, 1)
    return draws.log_likelihood[0] - kl(draws.posterior, draws.prior)


class Undecorated(Objective):
    weight: float = 2.0

    def __call__(self, model, batch, key, step):
        return Terms(-self.weight * bound(model, batch, key), {})


@struct.dataclass
class OldSignature(Objective):
    def __call__(self, model, params, batch, key, step):
        return Terms(-bound(model, batch, key), {})


@struct.dataclass
class Scalar(Objective):
    def __call__(self, model, batch, key, step):
        return Terms(-bound(model, batch, key).mean(), {})


@struct.dataclass
class LostHeadline(Objective):
    headline: ClassVar[str] = "elbo"

    def __call__(self, model, batch, key, step):
        return Terms(-bound(model, batch, key), {"bound": bound(model, batch, key)})


@struct.dataclass
class Infinite(Objective):
    """log 0 at the start, times 0: the loss is finite and its gradient is not."""

    def __call__(self, model, batch, key, step):
        code = model.encode(batch).mean()
        return Terms(-bound(model, batch, key) + jnp.sqrt(0.0 * code).sum(axis=-1), {})


@struct.dataclass
class NaiveMean(Objective):
    """A mean over what lies on this device, with what fills up the batch."""

    def __call__(self, model, batch, key, step):
        spread = jnp.square(model.encode(batch).mean()).mean()
        return Terms(jnp.broadcast_to(spread, batch["mask"].shape) - bound(model, batch, key), {})


@struct.dataclass
class OneKey(Distribution):
    """Draws with the first key for all."""

    loc: jax.Array

    def mean(self):
        return self.loc

    def log_prob(self, value):
        return -0.5 * jnp.square(value - self.loc[None]).sum(axis=-1)

    def sample(self, keys, num_samples, first=0):
        noise = jax.random.normal(keys[0], self.loc.shape[-1:])
        return jnp.broadcast_to(self.loc + noise[None], (num_samples, *self.loc.shape))


class OneKeyLatent(nn.Module):
    dim: int

    @nn.compact
    def __call__(self, features):
        return OneKey(nn.Dense(self.dim)(features))


class FalselyPadded(nn.Module):
    """Says that further dimensions change nothing, and takes a softmax over them."""

    can_pad: ClassVar[bool] = True

    @nn.compact
    def __call__(self, z):
        return nn.Dense(8)(jax.nn.softmax(z))


class NoDefault(nn.Module):
    hidden: tuple[int, ...]
    blocks: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.hidden[0])(x.reshape(x.shape[0], -1))


class NoLikelihood(nn.Module):
    shape: tuple[int, ...]
    support: ClassVar = REAL_LINE

    @nn.compact
    def __call__(self, features):
        return nn.Dense(self.shape[0])(features)


class MakesNoise(nn.Module):
    """Noise for all rows from one key."""

    @nn.compact
    def __call__(self, x):
        h = nn.Dense(8)(x.reshape(x.shape[0], -1))
        return h + jax.random.normal(self.make_rng("noise"), h.shape)


@struct.dataclass
class Right(Objective):
    """Nothing is wrong with this one."""

    weight: float = 2.0
    can_pad: ClassVar[bool] = True

    def __call__(self, model, batch, key, step):
        draws = draw(model, batch, key, 1)
        divergence = kl(draws.posterior, draws.prior)
        return Terms(self.weight * divergence - draws.log_likelihood[0], {"kl": divergence})


@struct.dataclass
class StaticNumber(Right):
    """Its share is compiled in, and need not be."""

    share: float = struct.field(pytree_node=False, default=0.5)

    def __call__(self, model, batch, key, step):
        terms = super().__call__(model, batch, key, step)
        return Terms(terms.loss * self.share, terms.metrics)


@struct.dataclass
class StaticShape(Right):
    """The share of this one decides a branch."""

    share: float = struct.field(pytree_node=False, default=0.5)

    def __call__(self, model, batch, key, step):
        terms = super().__call__(model, batch, key, step)
        return terms if self.share > 0.2 else Terms(0.0 * terms.loss, terms.metrics)


class RightLatent(nn.Module):
    """Nor with this one."""

    dim: int

    @nn.compact
    def __call__(self, features):
        loc = nn.Dense(self.dim)(features)
        return DiagonalGaussian(loc, jnp.zeros_like(loc))


class Turned(nn.Module):
    """An encoder whose features stand in columns."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x.reshape(x.shape[0], -1)).T


class Summed(nn.Module):
    """A decoder that adds its examples up."""

    @nn.compact
    def __call__(self, z):
        return nn.Dense(4)(z).sum(axis=0)


class Bare(nn.Module):
    """A latent that gives numbers, no distribution."""

    dim: int

    @nn.compact
    def __call__(self, h):
        return nn.Dense(self.dim)(h)
