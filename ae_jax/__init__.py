"""Autoencoders in JAX and Flax, from PCA to the variational autoencoder, under one formalism.

`fit` trains on an array, `load` opens a run; both give an object that encodes, decodes, samples
and evaluates.
"""

from typing import Any

__all__ = [
    "CodecConfig",
    "Fitted",
    "RunConfig",
    "TrainingDiverged",
    "UserError",
    "data",
    "fit",
    "fit_layerwise",
    "load",
    "plot",
    "sklearn",
]

__version__ = "0.1.0"

_ROOMS = ("data", "plot", "sklearn")
_HOMES = {
    "CodecConfig": "ae_jax.train.config",
    "Fitted": "ae_jax.api",
    "RunConfig": "ae_jax.train.config",
    "TrainingDiverged": "ae_jax.core.errors",
    "UserError": "ae_jax.core.errors",
    "fit": "ae_jax.api",
    "fit_layerwise": "ae_jax.api.layerwise",
    "load": "ae_jax.api",
}

# Rooms of 0.1.0 by their names of today.
_FORMER = {"latents": "ae_jax.distributions"}


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: the command line's help must not wait for JAX."""
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f"ae_jax.{name}")
    if name in _FORMER:
        import warnings

        said = f"ae_jax.{name} is {_FORMER[name]} now"
        warnings.warn(said, DeprecationWarning, stacklevel=2)
        return importlib.import_module(_FORMER[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'ae_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
