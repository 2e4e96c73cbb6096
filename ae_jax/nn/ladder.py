"""Two layers of codes: z1 nearest to the data, and z2, on which z1 depends.

The code of an example is [z1, z2]; z2, the `top`, comes last. As parts of a model they are the
latent `ladder`, q(z1|x) q(z2|z1), and the prior `ladder`, p(z2) p(z1|z2) (Rezende et al. 2014).
"""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.ranges import Count
from ae_jax.distributions import StandardNormal
from ae_jax.distributions.chain import Chain
from ae_jax.nn.latents import GaussianLatent

Sizes = tuple[Count, ...]


def top_size(dim: int, top: int | None) -> int:
    """Dimensions of z2 in a code of `dim`: by default half of them. Raises UserError for none."""
    size = dim // 2 if top is None else top
    if not 1 <= size < dim:
        raise UserError(
            f"a ladder has at least one dimension in each layer: its code of {dim} cannot have "
            f"{size} at the top"
        )
    return size


class ConditionalGaussian(nn.Module):
    """A diagonal Gaussian given a code [..., A], by dense layers of the sizes `hidden` (tanh)."""

    dim: int
    hidden: Sizes

    @nn.compact
    def __call__(self, a: Array):
        for i, size in enumerate(self.hidden):
            a = jnp.tanh(nn.Dense(size, name=f"dense_{i}")(a))
        return GaussianLatent(self.dim, name="code")(a)


class LadderLatent(nn.Module):
    """q(z1|x) q(z2|z1), diagonal Gaussians; the first by affine maps of the features.

    top      dimensions of z2; by default half of the code
    hidden   sizes of the layers between z1 and z2
    """

    dim: int
    top: Count | None = None
    hidden: Sizes = (100,)
    default_prior: ClassVar[str] = "ladder"

    @nn.compact
    def __call__(self, features: Array) -> Chain:
        top = top_size(self.dim, self.top)
        lower = GaussianLatent(self.dim - top, name="lower")(features)
        network, params = _conditional(top, self.hidden, self.dim - top)
        return Chain(lower, params, network, self.dim - top)


class LadderPrior(nn.Module):
    """p(z2) p(z1|z2) with p(z2) = N(0, I).

    top      dimensions of z2; by default half of the code
    hidden   sizes of the layers between z2 and z1
    """

    dim: int
    top: Count | None = None
    hidden: Sizes = (100,)

    def check_latent(self, latent: nn.Module) -> None:
        """Raises UserError for a latent that cuts a code into other parts."""
        if not isinstance(latent, LadderLatent):
            return
        theirs, ours = (top_size(part.dim, part.top) for part in (latent, self))
        if theirs != ours:
            raise UserError(
                f"the latent has {theirs} dimensions at the top of its code and the prior {ours}: "
                f"set model.prior.top={theirs}"
            )

    @nn.compact
    def __call__(self) -> Chain:
        top = top_size(self.dim, self.top)
        network, params = _conditional(self.dim - top, self.hidden, top)
        return Chain(StandardNormal(top), params, network, top, reverse=True)


def _conditional(dim: int, hidden: Sizes, inputs: int) -> tuple[ConditionalGaussian, Mapping]:
    """A network of the part that is being called, apart from it, and its parameters."""
    inside = ConditionalGaussian(dim, hidden, name="between")
    inside(jnp.zeros((1, inputs)))  # makes the parameters, where they are made
    return ConditionalGaussian(dim, hidden, parent=None), inside.variables["params"]
