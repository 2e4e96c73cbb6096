"""The one composition: encoder, latent, decoder and likelihood head."""

import math

import flax.linen as nn
import jax
from jax import Array

from ae_jax.distributions.latents import StandardNormal
from ae_jax.nn.tying import tie, untie


class Autoencoder(nn.Module):
    """x -> q(z|x) by encoder and latent, z -> p(x|z) by decoder and head.

    The parts know nothing of each other: each is exchangeable for another of its registry.
    `tied` makes the decoder's kernels the transposes of the encoder's, for dense parts that mirror
    each other; parameters then hold each kernel once.
    """

    encoder: nn.Module
    latent: nn.Module
    decoder: nn.Module
    head: nn.Module
    tied: bool = False

    def encode(self, x: Array):
        """The posterior over codes of data [B, ...]; its parameters are [B, Z]."""
        return self.latent(self.encoder(x))

    def decode(self, z: Array):
        """The likelihood given codes [..., Z]; its parameters are [..., D...]."""
        leading = z.shape[:-1]
        likelihood = self._decode_rows(z.reshape(math.prod(leading), z.shape[-1]))
        # A scale shared by all examples is a scalar and broadcasts as it is.
        return jax.tree.map(
            lambda p: p.reshape(*leading, *p.shape[1:]) if p.ndim else p, likelihood
        )

    def _decode_rows(self, z: Array):
        def plain(module: "Autoencoder", z: Array):
            return module.head(module.decoder(z))

        if not self.tied:
            return plain(self, z)
        starting = self.is_initializing()
        mapped = nn.map_variables(
            plain,
            "params",
            trans_in_fn=lambda variables: {"params": untie(variables["params"])},
            trans_out_fn=lambda variables: {"params": tie(variables["params"])},
            init=starting,
            mutable=starting,
        )
        return mapped(self, z)

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
