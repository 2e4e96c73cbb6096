"""Methods that are compiled for the class of their object, not for its fields alone."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def compiled_method(method: Callable) -> Callable:
    """`jax.jit` of a method, with a program of its own for every class that has it.

    JAX takes the pytrees of two dataclasses with the same fields for equal: by these alone it would
    now and then run the program of k-means for a mixture, or that of a class for one derived from
    it.
    """

    @functools.partial(jax.jit, static_argnums=0)
    def program(kind: type, self: Any, *given: Any) -> Any:
        del kind
        return method(self, *given)

    @functools.wraps(method)
    def called(self: Any, *given: Any) -> Any:
        return program(type(self), self, *given)

    return called
