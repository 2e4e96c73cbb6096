"""Posteriors in which the dimensions of a code go together: a full covariance, and flows.

None can be padded: further dimensions would take part in the maps of the others.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.core.ranges import Count
from ae_jax.distributions import CouplingFlow, DiagonalGaussian, FullGaussian, PlanarFlow
from ae_jax.nn.scales import log_scale_of


class FullGaussianLatent(nn.Module):
    """A Gaussian with a covariance of its own for each example.

    Each row of the triangular factor is in units of its diagonal, so that the map from features
    predicts how dimensions go together, whatever their scales.
    """

    dim: int
    default_prior: ClassVar[str] = "standard_normal"

    @nn.compact
    def __call__(self, features: Array) -> FullGaussian:
        q = _base(self.dim, features)
        rows, columns = jnp.tril_indices(self.dim, -1)
        below = nn.Dense(len(rows), name="below")(features)
        unit = jnp.broadcast_to(jnp.eye(self.dim), (features.shape[0], self.dim, self.dim))
        factor = unit.at[:, rows, columns].set(below)
        return FullGaussian(q.loc, jnp.exp(q.log_scale)[..., None] * factor)


class PlanarFlowLatent(nn.Module):
    """A diagonal Gaussian carried through `length` planar maps, all predicted for each example
    (Rezende & Mohamed 2015).

    It knows the density of its own draws only, and no closed form of its KL: objectives estimate
    that by Monte Carlo.
    """

    dim: int
    length: Count = 10
    default_prior: ClassVar[str] = "standard_normal"

    @nn.compact
    def __call__(self, features: Array) -> PlanarFlow:
        size = self.length * self.dim
        shape = (features.shape[0], self.length, self.dim)
        u = nn.Dense(size, name="u")(features).reshape(shape)
        w = nn.Dense(size, name="w")(features).reshape(shape)
        b = nn.Dense(self.length, name="b")(features)
        return PlanarFlow(_base(self.dim, features), u, w, b)


class CouplingFlowLatent(nn.Module):
    """A diagonal Gaussian carried through `length` affine coupling maps (Dinh et al. 2017).

    The networks of the maps, of `width` hidden units, are shared; the features move their hidden
    units. The maps start as the identity. Of the KL there is no closed form.
    """

    dim: int
    length: Count = 4
    width: Count = 64
    default_prior: ClassVar[str] = "standard_normal"

    @nn.compact
    def __call__(self, features: Array) -> CouplingFlow:
        length, dim, width = self.length, self.dim, self.width
        # Named apart from kernels and biases, which an initialisation draws anew.
        start = nn.initializers.lecun_normal(batch_axis=0)
        hidden = self.param("coupling_in", start, (length, dim, width))
        outer = self.param("coupling_out", nn.initializers.zeros, (length, width, 2 * dim))
        shift = self.param("coupling_shift", nn.initializers.zeros, (length, 2 * dim))
        bias = nn.Dense(length * width, name="hidden")(features)
        bias = bias.reshape(features.shape[0], length, width)
        return CouplingFlow(_base(dim, features), hidden, bias, outer, shift)


def _base(dim: int, features: Array) -> DiagonalGaussian:
    """Called in a compact method, whose module gets the layers."""
    loc = nn.Dense(dim, name="loc")(features)
    return DiagonalGaussian(loc, log_scale_of(nn.Dense(dim, name="log_variance")(features)))
