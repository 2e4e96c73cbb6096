"""The checker of shapes that tests put behind the signatures of the library."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

# A whole number is a float to a signature, as it is to Python.
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable) -> Callable:
    """Checks shapes alone: tests give arguments of wrong types too, to see them refused."""
    function.__annotations__ = {
        name: hint for name, hint in function.__annotations__.items() if "jaxtyping" in repr(hint)
    }
    return _beartype(function)
