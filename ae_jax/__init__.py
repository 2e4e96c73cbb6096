"""Autoencoders in JAX and Flax, from PCA to the variational autoencoder, under one formalism.

`fit` trains on an array, `load` opens a run; both give an object that encodes, decodes, samples
and evaluates.
"""

from typing import Any

__all__ = ["CodecConfig", "Fitted", "RunConfig", "UserError", "fit", "fit_layerwise", "load"]

_HOMES = {
    "CodecConfig": "ae_jax.train.config",
    "Fitted": "ae_jax.api",
    "RunConfig": "ae_jax.train.config",
    "UserError": "ae_jax.core.errors",
    "fit": "ae_jax.api",
    "fit_layerwise": "ae_jax.api.layerwise",
    "load": "ae_jax.api",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: the command line's help must not wait for JAX."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ae_jax' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
