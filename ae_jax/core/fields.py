"""Values of the fields of a part, checked by the types that it declares."""

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ae_jax.core.errors import UserError, shortened

# Values come from Python here, and a type that no schema is known of is asked for by `isinstance`.
_AS_IT_IS = ConfigDict(strict=True, arbitrary_types_allowed=True)


def types_of(kind: type) -> dict[str, Any]:
    """The declared types of a class's fields, also where they are written as text.

    Raises UserError for one that names what is not there.
    """
    try:
        return get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise UserError(f"a type that {kind.__name__} declares is not known: {error}") from error


def changed(instance: Any) -> set[str]:
    """The fields of a dataclass that have a default and are not at it."""
    return {
        name
        for name, field in type(instance).__dataclass_fields__.items()
        if field.default is not dataclasses.MISSING and getattr(instance, name) != field.default
    }


def refuse_truth(where: str, kinds: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raises UserError for true or false where a number is declared: they would count as 1 and 0.

    `kinds` are the types of options by name; an option of none is somebody else's to refuse.
    """
    for option, value in options.items():
        if isinstance(value, bool) and option in kinds and not _takes_truth(kinds[option]):
            wanted = "a number" if float in _members(kinds[option]) else "a whole number"
            raise UserError(f"{where}{option}: input should be {wanted}, not {json.dumps(value)}")


def _takes_truth(kind: Any) -> bool:
    members = _members(kind)
    return bool in members or not members & {int, float}


def _members(kind: Any) -> set[Any]:
    """The types that a declared type takes: those of a union each, of a Literal those of its
    values."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {type(value) for value in inner}
    if origin is Annotated:
        return _members(inner[0])
    if origin in (Union, UnionType):
        return set().union(*map(_members, inner))
    return {bool if kind is Any else kind}


def refusal(where: str, error: ValidationError) -> UserError:
    """What was wrong with the first option, in one sentence."""
    first = error.errors()[0]
    path = ".".join([where, *(str(part) for part in first["loc"])]).strip(".")
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = shortened(json.dumps(first["input"], default=str))
    if first["type"] == "tuple_type":
        apart = first["input"].split(",") if isinstance(first["input"], str) else ()
        several = (
            f"[{', '.join(part.strip() for part in apart)}]" if len(apart) > 1 else f"[{given}]"
        )
        message = f"several values are needed, as in {several}"
    return UserError(f"{path}: {message}, not {given}")


class Checked:
    """Base of a frozen dataclass whose fields are checked when it is made. Raises UserError."""

    def __post_init__(self) -> None:
        kinds = types_of(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # a dataclass by contract
            value = getattr(self, field.name)
            value = value.item() if isinstance(value, np.generic) else value
            refuse_truth(f"{type(self).__name__}: ", kinds, {field.name: value})
            try:
                _adapter(kinds[field.name]).validate_python(value)
            except ValidationError as error:
                raise refusal(f"{type(self).__name__}.{field.name}", error) from error


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter:
    return TypeAdapter(kind, config=_AS_IT_IS)
