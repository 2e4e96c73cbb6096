"""What a run is: its configuration, its data, what it started from and the code it uses.

The same plain data lie in the run's directory and in every checkpoint, so that neither is taken
for a part of another run, and each can stand in for what is lost of the other.
"""

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ae_jax.core.errors import warn
from ae_jax.core.registry import code_of
from ae_jax.core.trust import Untrusted, only_known_code
from ae_jax.data.base import DataSet
from ae_jax.train.config import AnyConfig, RunConfig, differences, from_dict, to_dict

_PACKAGES = ("ae_jax", "jax", "jaxlib", "flax", "optax", "numpy")


OF_DATA = "data: "  # what a change of the examples begins with, and of nothing else


@dataclasses.dataclass(frozen=True)
class Identity:
    """config         the configuration, complete
    data           what tells its data set from another, see `describe`
    start          the fingerprint of the parameters that it was given, if it was
    code           sha256 of each of the user's files that the configuration names
    earlier_code   what `code` was before the user accepted a change of it
    """

    config: Mapping[str, Any]
    data: Mapping[str, Any]
    start: str | None
    code: Mapping[str, str]
    earlier_code: Sequence[Mapping[str, str]] = ()

    def as_table(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        return {
            "config": self.config,
            "data": self.data,
            "start": self.start,
            "code": self.code,
        }

    def changes_from(self, saved: Mapping[str, Any]) -> list[str]:
        """In what the run differs from that of a checkpoint, in words; more epochs do not count."""
        changes = config_changes(saved.get("config", {}), self.config)
        changes += [f"{OF_DATA}{one}" for one in data_changes(saved.get("data", {}), self.data)]
        changes += differences({"start": saved.get("start")}, {"start": self.start})
        code = saved.get("code", {})
        if all(code != known for known in (self.code, *self.earlier_code)):
            changes += [f"the code of {path}" for path in changed_files(code, self.code)]
        return changes


def identity_of(config: AnyConfig, dataset: DataSet, start: str | None = None) -> Identity:
    """What a run of this configuration on these data is. Raises UserError for edited code."""
    values = to_dict(config)
    return Identity(values, describe(dataset), start, code_of(values))


def describe(dataset: DataSet) -> dict[str, Any]:
    """What tells one data set from another: name, sizes, shape and the sha256 of its bytes."""
    return {
        "name": dataset.name,
        "shape": list(dataset.shape),
        "examples": {name: len(split) for name, split in sorted(dataset.splits.items())},
        "sha256": dataset.fingerprint,
    }


def config_changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what configurations differ, but for more epochs than there were."""
    if not differences(saved, now):
        return []
    kinds = [
        f"a codec ({one['codec'].get('name')})" if "codec" in one else "a network"
        for one in (saved, now)
    ]
    if kinds[0] != kinds[1]:
        return [f"{kinds[0]} -> {kinds[1]}"]
    try:
        # Read back through the dataclasses: options that are newer than the run have defaults.
        with only_known_code():
            saved = to_dict(from_dict(saved))
    except Untrusted:
        pass  # with code of somebody else: they differ as they stand
    changes = differences(saved, now)
    return [] if is_extension(saved, now) else changes


def is_extension(saved: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether configurations differ in nothing but that there are more epochs now."""
    before, after = (dict(values.get("train", {})) for values in (saved, now))
    was, will = before.pop("epochs", None), after.pop("epochs", None)
    if not (isinstance(was, int) and isinstance(will, int) and was < will):
        return False
    return {**saved, "train": before} == {**now, "train": after}


def data_changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what examples differ from those of a run; their name and place do not count."""
    return differences({**saved, "name": ""}, {**now, "name": ""})


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The files whose content differs."""
    return [path for path in sorted({*before, *now}) if before.get(path) != now.get(path)]


def say_if_not_as_in_one_go(config: AnyConfig, before: int) -> None:
    """Warns where a run given more epochs is not the one that had them from the beginning."""
    if isinstance(config, RunConfig) and config.follows_its_length:
        warn(
            f"the step size of this run follows its length, which was {before} epochs and is now "
            f"{config.train.epochs}: it goes on from where it is, and differs from a run of "
            f"{config.train.epochs} in one go"
        )


def environment() -> dict[str, str]:
    """Versions and devices, on which the last bits of a run depend."""
    facts = {name: _version(name) for name in _PACKAGES}
    device = jax.devices()[0]
    return {
        **facts,
        "python": platform.python_version(),
        "platform": device.platform,
        "device": device.device_kind,
    }


@functools.cache  # a search of the installed packages each, and a grid asks for every member
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
