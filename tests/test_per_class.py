"""Programs of tests are those of the classes that they are given."""

import jax.numpy as jnp
from flax import struct
from jax import Array

from tests import per_class


@per_class.jit(static_argnames="times")
def _value(given, times=1):
    return times * given["one"].value()


def test_classes_with_the_same_fields_have_programs_of_their_own():
    """By fields alone, about one in seven of these would run the program of another."""
    for number in range(100):
        fields = {"__annotations__": {"x": Array}, "value": lambda self, n=number: 0 * self.x + n}
        kind = struct.dataclass(type(f"Kind{number}", (), fields))
        assert _value({"one": kind(jnp.ones(()))}, times=2) == 2 * number
