"""Modules with their parameters on bare arrays, for tests that know what should come out."""

from typing import Any

import jax
import jax.numpy as jnp

from ae_jax.models import BoundModel


def as_batch(x: Any, **more: Any) -> dict[str, jax.Array]:
    """Examples [B, ...] as a batch: numbered from 0, all of them real, unless `more` says else."""
    x = jnp.asarray(x)
    return {"x": x, "id": jnp.arange(len(x)), "mask": jnp.ones(len(x)), **more}


def bound(module: Any, params: Any, **options: Any) -> BoundModel:
    """What objectives are given, as one looks at a model."""
    return BoundModel(module, {"params": params}, **options)


def initial(module: Any, x: Any, seed: int = 0) -> Any:
    """Parameters as the module draws them for such examples."""
    return jax.jit(module.init)(jax.random.key(seed), as_batch(x))["params"]


def encoded(module: Any, params: Any, x: Any) -> Any:
    """q(z|x), parameters [B, Z]."""
    return bound(module, params).encode(as_batch(x))


def decoded(module: Any, params: Any, z: Any) -> Any:
    """p(x|z) of a model without a condition for codes [..., Z]; its parameters are [..., D...]."""
    return bound(module, params).decode(jnp.asarray(z), {})


def reconstructed(module: Any, params: Any, x: Any) -> Any:
    """p(x|z) at the mean code of x, parameters [B, D...]."""
    return decoded(module, params, encoded(module, params, x).mean())
