"""Parts as users write them, for tests: this file is named as `path/to/users_parts.py:Name`."""

from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from ae_jax.distributions import REAL_LINE, DiagonalGaussian, Gaussian, kl
from ae_jax.objectives import Objective, Terms, draw


class SoftmaxDecoder(nn.Module):
    """Mixes rows by weights that sum to 1: a further dimension of the code changes all others."""

    @nn.compact
    def __call__(self, z):
        return nn.Dense(8)(jax.nn.softmax(z))


class LabelDecoder(nn.Module):
    """The code, then the condition: what pads the code would come between the two."""

    @nn.compact
    def __call__(self, z, condition):
        return nn.tanh(nn.Dense(8)(jnp.concatenate([z, condition], axis=-1)))


class NormedEncoder(nn.Module):
    """Linen's own layers with a state and with noise, and options of its own."""

    hidden: tuple[int, ...]
    blocks: int = 1
    rate: float = 0.25

    @nn.compact
    def __call__(self, x, train):
        assert isinstance(train, bool)  # decides branches, while tracing
        h = x.reshape(x.shape[0], -1)
        for _ in range(self.blocks):
            h = nn.Dropout(self.rate)(nn.tanh(nn.BatchNorm()(nn.Dense(6)(h))))
        return h


class ShiftedPrior(nn.Module):
    """N(shift, 1), fixed."""

    dim: int
    shift: float = 2.0

    def __call__(self):
        return DiagonalGaussian(jnp.full((1, self.dim), self.shift), jnp.zeros((1, self.dim)))


class CountingEncoder(nn.Module):
    """Counts its steps, in a collection of its own."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x, train):
        steps = self.variable("counts", "steps", lambda: jnp.zeros((), jnp.int32))
        if train:
            steps.value = steps.value + 1
        return nn.Dense(4)(x)


class WritesInLooks(nn.Module):
    """Counts its passes, also those of looks: it does not ask whether it trains."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        passes = self.variable("counts", "passes", lambda: jnp.zeros((), jnp.int32))
        if not self.is_initializing():
            passes.value = passes.value + 1
        return nn.Dense(4)(x)


class DropsInLooks(nn.Module):
    """Drops units whether it trains or not."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(4)(x))


class ToldLatent(nn.Module):
    """A latent that has to be told whether it trains."""

    dim: int

    @nn.compact
    def __call__(self, features, train):
        assert isinstance(train, bool)
        loc = nn.Dense(self.dim)(features)
        return DiagonalGaussian(loc, jnp.zeros_like(loc))


class ToldHead(nn.Module):
    """A head that has to be told whether it trains."""

    shape: tuple[int, ...]
    support: ClassVar = REAL_LINE

    @nn.compact
    def __call__(self, features, train):
        assert isinstance(train, bool)
        return Gaussian(nn.Dense(self.shape[0])(features), jnp.zeros(()))


class ToldPrior(nn.Module):
    """A prior that asks for codes and for the condition."""

    dim: int

    @nn.compact
    def __call__(self, encode, condition):
        loc = nn.Dense(self.dim)(condition)
        return DiagonalGaussian(loc, jnp.zeros_like(loc))


class OwnStart(nn.Module):
    """An option that JSON does not hold, at its default."""

    hidden: tuple[int, ...]
    width: int = 4
    start: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width, kernel_init=self.start)(x)


class NoDensity(nn.Module):
    """A prior that gives an array in place of a distribution."""

    dim: int

    def __call__(self):
        return jnp.zeros(self.dim)


class BareHead(nn.Module):
    """A head that gives features in place of a likelihood."""

    shape: tuple[int, ...]
    support: ClassVar = REAL_LINE

    def __call__(self, features):
        return features


@struct.dataclass
class Halved(Objective):
    """Half the ELBO, under its name: what an evaluator says must not take its place."""

    headline: ClassVar[str] = "elbo"
    maximise: ClassVar[bool] = True

    def __call__(self, model, batch, key, step):
        draws = draw(model, batch, key, 1)
        bound = draws.log_likelihood[0] - kl(draws.posterior, draws.prior)
        return Terms(-bound, {"elbo": 0.5 * bound})


@struct.dataclass
class GradientOfItsOwn(Halved):
    """Pulls at codes by a gradient of its own, the last thing that runs the model."""

    def __call__(self, model, batch, key, step):
        terms = super().__call__(model, batch, key, step)

        def total(x):
            return model.encode(batch | {"x": x}).mean().sum()

        pull = jnp.square(jax.grad(total)(batch["x"])).sum(axis=-1)
        return Terms(terms.loss + pull, terms.metrics)


@struct.dataclass
class NeedsMachine(Halved):
    """Has no meaning without an RBM, and says so."""

    needs: ClassVar[tuple[str, ...]] = ("model.name=rbm",)
