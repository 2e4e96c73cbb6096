"""`jax.jit` of functions of distributions and objectives, a program of its own for each class."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def jit(function: Callable | None = None, **options: Any) -> Callable:
    """As `jax.jit`, and as a decorator with its options, but told apart by classes too.

    JAX takes the pytrees of two dataclasses with the same fields for equal. One function compiled
    for both runs now and then, as their hashes fall, the program of the one for the other.
    """
    if function is None:
        return functools.partial(jit, **options)

    @functools.cache
    def program(classes: str) -> Callable:
        del classes
        return jax.jit(functools.partial(function), **options)

    @functools.wraps(function)
    def called(*given: Any, **named: Any) -> Any:
        return program(str(jax.tree.structure((given, named))))(*given, **named)

    return called
