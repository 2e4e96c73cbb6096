"""`python -m ae_jax.cli` is `ae-jax`."""

from ae_jax.cli import main

main()
