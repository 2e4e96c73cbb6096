"""Imports run downwards: a room of the library uses those before it in this list, and no other."""

import ast
from pathlib import Path

import pytest

import ae_jax

ROOMS = (
    "core",
    "numerics",
    "distributions",
    "nn",
    "models",
    "codecs",
    "data",
    "objectives",
    "train",
    "eval",
    "api",
    "sklearn",
    "report",
    "plot",
    "cli",
    "lab",
)
LIBRARY = Path(ae_jax.__file__).parent
FILES = sorted(LIBRARY.rglob("*.py"))
EXPERIMENTS = sorted((LIBRARY.parent / "experiments").glob("*.py"))


def room_of(module: str) -> str:
    """`ae_jax.train.step` -> `train`; the package itself is the door of all."""
    return (module.split(".") + [""])[1]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "ae_jax"}


def test_every_file_has_a_room():
    loose = {path.name for path in LIBRARY.glob("*.py")}
    assert loose == {"__init__.py"}
    folders = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_run_downwards(path):
    room = room_of(".".join(["ae_jax", *path.relative_to(LIBRARY).parts]))
    if room not in ROOMS:
        return  # the door imports what it names, and only when it is asked
    above = ROOMS[ROOMS.index(room) + 1 :]
    upwards = sorted(name for name in imports_of(path) if room_of(name) in above)
    assert not upwards, f"{path.name} in {room}/ imports {', '.join(upwards)}"


def test_the_main_file_of_an_experiment_is_its_claim_its_presets_and_its_story():
    mains = [path for path in EXPERIMENTS if "\n@experiment(" in path.read_text()]
    assert len(mains) > 15
    lengths = {path.name: len(path.read_text().splitlines()) for path in mains}
    assert not {name: length for name, length in lengths.items() if length > 200}
