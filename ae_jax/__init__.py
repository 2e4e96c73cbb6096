"""Autoencoders in JAX and Flax, from PCA to the variational autoencoder, under one formalism."""
