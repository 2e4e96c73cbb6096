"""Mean and second moments of data, accumulated batch by batch without loss."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from ae_jax.codecs.rows import Rows, as_rows, dot
from ae_jax.core.door import Digits, may_lose_digits
from ae_jax.core.errors import UserError

# Column strips of a Gram matrix: only those on and above the diagonal are computed.
_STRIPS = 4
_STRIP_FROM = 256


@struct.dataclass
class Moments:
    """Number of examples, their mean [D] and their scatter sum_n (x - mean)(x - mean)^T [D, D].

    The mean is `origin` + `rest`: the first example, and what float32 has digits for beyond it.
    """

    count: Array
    origin: Array
    rest: Array
    scatter: Array

    @classmethod
    def zero(cls, dim: int) -> "Moments":
        return cls(jnp.zeros(()), jnp.zeros(dim), jnp.zeros(dim), jnp.zeros((dim, dim)))

    @property
    def mean(self) -> Array:
        return self.origin + self.rest

    def update(self, x: Array, weights: Array | None = None) -> "Moments":
        """With a batch [B, D] added; rows of weight 0 (of 0 and 1) are left out.

        Chan, Golub & LeVeque 1983, Eq. 2.1: exact, and stable where the mean is large.
        """
        weights = jnp.ones(x.shape[0]) if weights is None else weights
        added = weights.sum()
        total = self.count + added
        origin = jnp.where(self.count == 0, x[0], self.origin)
        x = x - origin[None]
        mean = dot(weights, x) / jnp.maximum(added, 1.0)
        # Once more, about that mean: where the first example is far out, sums about it are coarse.
        mean = mean + dot(weights, x - mean[None]) / jnp.maximum(added, 1.0)
        centred = (x - mean[None]) * weights[:, None]
        step = mean - self.rest
        between = jnp.outer(step, step) * (self.count * added / jnp.maximum(total, 1.0))
        return Moments(
            count=total,
            origin=origin,
            rest=self.rest + step * (added / jnp.maximum(total, 1.0)),
            scatter=self.scatter + gram(centred) + between,
        )

    @property
    def variance(self) -> Array:
        """Of each dimension with N in the denominator, [D]."""
        return jnp.diagonal(self.scatter) / self.count


def gram(a: Array) -> Array:
    """a^T a of [B, D], computed once for each pair of column strips."""
    dim = a.shape[1]
    if dim < _STRIP_FROM:
        return dot(a.T, a)
    edges = [round(i * dim / _STRIPS) for i in range(_STRIPS + 1)]
    upper = jnp.concatenate(
        [
            jnp.pad(dot(a[:, low:high].T, a[:, low:]), ((0, 0), (low, 0)))
            for low, high in zip(edges[:-1], edges[1:], strict=True)
        ]
    )
    return jnp.triu(upper) + jnp.triu(upper, 1).T


def within(rows: Rows, basis: Array) -> tuple[Array, Array]:
    """Of rows X and a basis Q [D, W], in one pass: the scatter of the codes, Q^T X^T X Q [W, W],
    and X^T X Q [D, W], of which a next basis is made."""

    def add(carry: tuple[Array, Array], block: Any) -> tuple[Array, Array]:
        scatter, image = carry
        codes = dot(block.values, basis) * block.fresh[:, None]
        return scatter + dot(codes.T, codes), image + dot(block.values.T, codes)

    width = basis.shape[1]
    return rows.fold(add, (jnp.zeros((width, width)), jnp.zeros_like(basis)))


@jax.jit
def moments_of(rows: Rows) -> Moments:
    """Of all rows, in one pass."""
    return rows.fold(lambda m, b: m.update(b.values, b.fresh), Moments.zero(rows.dim))


def moments_of_batches(batches: Iterable[np.ndarray], shift=0.0, scale=1.0) -> Moments:
    """Of data that never lie in memory at once: an iterable of arrays [B, D].

    Raises UserError for no batches, for batches of different width, and for columns that vary by
    too little, all batches together, for float32 to tell their values apart.
    """
    moments, digits = None, Digits()
    for batch in batches:
        rows = as_rows(batch, shift, scale, check_digits=False)
        moments = Moments.zero(rows.dim) if moments is None else moments
        if rows.dim != moments.origin.shape[0]:
            raise UserError(f"a batch has {rows.dim} columns, those before {len(moments.origin)}")
        moments = _update(moments, rows)
        if isinstance(batch, np.ndarray) and may_lose_digits(batch):
            digits.add(batch, batch.astype(np.float32))
    if moments is None:
        raise UserError("there are no batches to fit to")
    digits.refuse_lost("the data of a codec")
    return moments


@jax.jit
def _update(moments: Moments, rows: Rows) -> Moments:
    return rows.fold(lambda m, b: m.update(b.values, b.fresh), moments)
