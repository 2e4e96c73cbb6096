"""The one composition: encoder, latent, decoder and likelihood head."""

import math

import flax.linen as nn
import jax
from jax import Array

from ae_jax.latents import StandardNormal


class Autoencoder(nn.Module):
    """x -> q(z|x) by encoder and latent, z -> p(x|z) by decoder and head.

    The parts know nothing of each other: each is exchangeable for another of its registry.
    """

    encoder: nn.Module
    latent: nn.Module
    decoder: nn.Module
    head: nn.Module

    def encode(self, x: Array):
        """The posterior over codes of data [B, ...]; its parameters are [B, Z]."""
        return self.latent(self.encoder(x))

    def decode(self, z: Array):
        """The likelihood given codes [..., Z]; its parameters are [..., D...]."""
        leading = z.shape[:-1]
        likelihood = self.head(self.decoder(z.reshape(math.prod(leading), z.shape[-1])))
        # A scale shared by all examples is a scalar and broadcasts as it is.
        return jax.tree.map(
            lambda p: p.reshape(*leading, *p.shape[1:]) if p.ndim else p, likelihood
        )

    @property
    def prior(self) -> StandardNormal:
        """p(z), the same for every example."""
        return StandardNormal(self.latent.dim)

    def __call__(self, x: Array):
        """The likelihood at the posterior mean: the reconstruction of x, [B, ...]."""
        return self.decode(self.encode(x).mean())


def parameter_counts(params: dict) -> dict[str, int]:
    """How many numbers a parameter tree holds: `weights` (kernels), `other`, and their `total`.

    Lectures count weight matrices only: 784-100-2-100-784 has 157,200 weights.
    """
    weights = total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        total += math.prod(leaf.shape)
        if path[-1].key == "kernel":
            weights += math.prod(leaf.shape)
    return {"weights": weights, "other": total - weights, "total": total}
