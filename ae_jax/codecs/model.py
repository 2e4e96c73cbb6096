"""A fitted codec in the form of a network, so that evaluators and plots cannot tell them apart."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from ae_jax.codecs.base import Codec
from ae_jax.distributions.latents import PointMass
from ae_jax.distributions.likelihoods import Gaussian


@dataclasses.dataclass(frozen=True)
class CodecModel:
    """Answers `apply({"params": codec}, value, method=...)` as a Flax module does.

    `shape` is that of one example: codecs see it flat.
    """

    shape: tuple[int, ...]

    def apply(self, variables: dict[str, Codec], value: Array, method: str = "reconstruct") -> Any:
        """The posterior of `encode`, or the likelihood of `decode` and of `reconstruct`."""
        return getattr(self, method)(variables["params"], value)

    def encode(self, codec: Codec, x: Array) -> PointMass:
        """The code of data [B, ...] as a posterior, [B, Z]."""
        return PointMass(codec.encode(x.reshape(x.shape[0], math.prod(self.shape))))

    def decode(self, codec: Codec, z: Array) -> Gaussian:
        """The likelihood given codes [..., Z], of unit variance; its mean is [..., *shape]."""
        mean = codec.decode(z).reshape(*z.shape[:-1], *self.shape)
        return Gaussian(mean, jnp.zeros(()), len(self.shape))

    def reconstruct(self, codec: Codec, x: Array) -> Gaussian:
        """The likelihood given the code of x, [B, ...]."""
        return self.decode(codec, self.encode(codec, x).mean())
