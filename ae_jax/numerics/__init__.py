"""Arithmetic that several rooms share: noise by identity, sums over batches, precision."""
