"""Whether requirements.lock pins all that this project needs, every file of it by its hash.

    python .ci/lock.py

`make lock` writes the file anew, `make locked` installs exactly what it says, and `make audit` asks
for known weaknesses of what it pins. Needs no network.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
EXTRAS = ("test", "docs")
HASH = re.compile("sha256:[0-9a-f]{64}")


def problems(lock: str, project: dict[str, Any]) -> list[str]:
    """What is wrong with the text of a lock file for a project, the table of pyproject.toml."""
    pinned: dict[str, list[Requirement]] = {}
    found = []
    for line in lock.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text, *hashes = line.split("--hash=")
        try:
            one = Requirement(text.strip())
        except InvalidRequirement:
            found.append(f"{text.strip()!r} is no requirement")
            continue
        if one.url or [part.operator for part in one.specifier] != ["=="]:
            found.append(f"{one.name} is not pinned by ==")
        if not hashes or not all(HASH.fullmatch(each.strip()) for each in hashes):
            found.append(f"{one.name} has no sha256, or something else")
        pinned.setdefault(canonicalize_name(one.name), []).append(one)
    for needed in requirements(project, EXTRAS):
        versions = [
            part.version
            for one in pinned.get(canonicalize_name(needed.name), [])
            for part in one.specifier
        ]
        if not any(needed.specifier.contains(version, prereleases=True) for version in versions):
            found.append(f"{needed} is needed, and {', '.join(versions) or 'nothing'} is pinned")
    return found


def requirements(project: dict[str, Any], extras: tuple[str, ...]) -> Iterator[Requirement]:
    """What the project needs with some of its extras, and with the extras that these name."""
    texts = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    for one in map(Requirement, texts):
        if canonicalize_name(one.name) == canonicalize_name(project["name"]):
            further = {**project, "dependencies": []}
            yield from requirements(further, tuple(sorted(one.extras)))
        else:
            yield one


def main() -> int:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = problems(lock, project)
    for problem in found:
        print(f"requirements.lock: {problem}; `make lock` writes it anew", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
