"""How far apart two samples are, as kernels see it: the maximum mean discrepancy."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from ae_jax.core.errors import UserError
from ae_jax.core.registry import Registry
from ae_jax.numerics.noise import example_keys
from ae_jax.numerics.reductions import gather
from ae_jax.objectives.base import Batch, BoundModel, Draws, sum_of

IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

# From squared distances, and the mean one of two draws of the prior, to the values of the kernel.
Kernel = Callable[[Array, Array | float], Array]


def inverse_multiquadratics(squared: Array, expected: Array | float) -> Array:
    """sum_s C_s / (C_s + d^2) with C_s = s * expected, over seven scales (Tolstikhin et al. 2018).

    Its tails are heavy: codes far from the prior still feel it.
    """
    return sum_of(s * expected / (s * expected + squared) for s in IMQ_SCALES)


def gaussian(squared: Array, expected: Array | float) -> Array:
    """exp(-d^2 / expected)."""
    return jnp.exp(-squared / expected)


KERNELS = Registry[Kernel]("kernel", {"gaussian": gaussian, "imq": inverse_multiquadratics})


def discrepancy(
    model: BoundModel,
    batch: Batch,
    draws: Draws,
    key: Array,
    kernel: str,
    bandwidth: Array | float,
    axis_name: str | None,
) -> Array:
    """Squared MMD of the codes of the whole batch and as many draws of the prior, [B].

    `bandwidth` is the standard deviation of a dimension of the prior that kernels are made for. The
    mean over the real examples is the unbiased estimate, each example's value its part in it.
    """
    prior = draws.prior.sample(example_keys(key, batch["id"]), 1)[0]  # [B, Z]
    dims = draws.z.shape[-1] if model.active is None else model.active.sum()
    expected = 2.0 * dims * jnp.square(bandwidth)
    values = KERNELS.get(kernel)
    return squared_mmd(
        draws.z[0], prior, batch["mask"], lambda squared: values(squared, expected), axis_name
    )


def squared_mmd(
    z: Array,
    prior: Array,
    mask: Array,
    kernel: Callable[[Array], Array],
    axis_name: str | None = None,
) -> Array:
    """Each example's part in the unbiased estimate (Gretton et al. 2012, Eq. 4), [B].

    With n real examples the mean of the parts is 1/(n (n-1)) sum_{i != j} [k(z_i, z_j) +
    k(p_i, p_j)] - 2/n^2 sum_{i,j} k(z_i, p_j). `kernel` takes squared distances. Takes the memory
    of B * N * Z numbers.
    """
    codes, draws, real = gather((z, prior, mask), axis_name)  # [N, Z], [N, Z], [N]
    count = real.sum()

    def total(rows: Array, columns: Array) -> Array:
        squared = jnp.square(rows[:, None] - columns[None]).sum(axis=-1)  # [B, N]
        return kernel(squared) @ real

    itself = kernel(jnp.zeros((), z.dtype))
    within = total(z, codes) + total(prior, draws) - 2 * itself
    between = total(z, draws) + total(prior, codes)
    return within / jnp.maximum(count - 1, 1.0) - between / count


def refuse_without_prior(name: str, prior: Any) -> None:
    """Raises UserError where there is nothing that codes could be compared with."""
    if prior.is_deterministic:
        raise UserError(
            f"objective {name} needs a prior that codes are drawn towards: choose "
            "model.prior=standard_normal, or another"
        )
