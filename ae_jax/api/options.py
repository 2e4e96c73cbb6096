"""Options as Python writes them, `train__epochs=5` or `epochs=5`, as paths of a configuration."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ae_jax.core.errors import UserError, shortened
from ae_jax.core.registry import unknown_name
from ae_jax.train.config import from_dict, is_of_codec, override, to_dict

_NAMES = {"objective": "objective.name", "optimiser": "optim.name"}
_NAMES_OF_CODEC = {"codec": "codec.name"}
_LOOKED_AT = "eval"  # its batch size is the one of the two that nobody means


def by_path(base: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by their paths in a configuration that starts from `base`.

    A name without its section is that of the only section that has it, of the objective, optimiser
    or codec that is named beside it too. Raises UserError for what none or more than one has.
    """
    dotted = [name.replace("__", ".") for name in options]
    of_codec = "codec" in options or is_of_codec(base, dotted)
    names = _NAMES_OF_CODEC if of_codec else _NAMES
    given = _by_name({name: names.get(name, name.replace("__", ".")) for name in options}, options)
    chosen = [f"{path}={in_json(path, given[path])}" for path in names.values() if path in given]
    known = to_dict(from_dict(override(base, chosen)))
    return _by_name({name: _path_of(name, known) for name in given}, given)


def in_json(name: str, value: Any) -> str:
    """A value as a configuration holds it; numbers and arrays of NumPy too. Raises UserError."""
    try:
        return json.dumps(value, default=lambda other: np.asarray(other).tolist())
    except (TypeError, ValueError) as error:
        part = isinstance(value, type) or dataclasses.is_dataclass(value)
        way = "; a part goes by its name, or as path/to/file.py:Name" if part else ""
        raise UserError(
            f"{name} has a value that a configuration does not hold: {shortened(repr(value))}{way}"
        ) from error


def _by_name(paths: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by other names. Raises UserError for one that is given twice."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if paths[name] in found:
            raise UserError(f"{paths[name]} is given twice")
        found[paths[name]] = value
    return found


def _options_of_networks() -> set[str]:
    """The names of all of them, without sections."""
    return {option for table in to_dict(from_dict({})).values() for option in table}


def _path_of(name: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    if "." in name:
        return name
    sections = [section for section, table in known.items() if name in table]
    if len(sections) > 1 and _LOOKED_AT in sections:
        sections.remove(_LOOKED_AT)
    if not sections or name == "name":
        if "codec" in known and name != "name" and name in _options_of_networks():
            raise UserError(f"the option {name!r} is for networks, and a codec has none")
        short = {option for table in known.values() for option in table} - {"name"}
        raise unknown_name("option", name, [*sorted(short), "section__option"])
    if len(sections) > 1:
        ways = " or ".join(f"{section}__{name}" for section in sections)
        raise UserError(f"option {name!r} is one of {len(sections)} sections: write {ways}")
    return f"{sections[0]}.{name}"
