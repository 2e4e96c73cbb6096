"""Options as Python writes them, `train__epochs=5` or `epochs=5`, as paths of a configuration."""

import json
from collections.abc import Mapping
from typing import Any

from ae_jax.core.errors import UserError
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
    given = {names.get(name, name.replace("__", ".")): value for name, value in options.items()}
    chosen = [f"{path}={json.dumps(given[path])}" for path in names.values() if path in given]
    known = to_dict(from_dict(override(base, chosen)))
    return {_path_of(name, known): value for name, value in given.items()}


def _path_of(name: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    if "." in name:
        return name
    sections = [section for section, table in known.items() if name in table]
    if len(sections) > 1 and _LOOKED_AT in sections:
        sections.remove(_LOOKED_AT)
    if not sections or name == "name":
        short = {option for table in known.values() for option in table} - {"name"}
        raise unknown_name("option", name, [*sorted(short), "section__option"])
    if len(sections) > 1:
        ways = " or ".join(f"{section}__{name}" for section in sections)
        raise UserError(f"option {name!r} is one of {len(sections)} sections: write {ways}")
    return f"{sections[0]}.{name}"
