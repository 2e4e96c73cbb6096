"""The command line `ae-jax`: `app` and `opening` declare commands, `commands` carries them out."""

from ae_jax.cli.app import cli, main

__all__ = ["cli", "main"]
