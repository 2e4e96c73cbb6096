"""Training: state, the pure step, its execution on devices, and the one loop around it."""
