"""Where the examples of a run lie, and whether it fits into the memory of its devices."""

from typing import Literal

import jax

from ae_jax.core.errors import UserError, present
from ae_jax.data.base import DataSet
from ae_jax.train.config import RunConfig
from ae_jax.train.devices import memory_limit, memory_share
from ae_jax.train.program import Execution

# Of a device's memory; the rest is for parameters and activations.
EXAMPLES_SHARE = 0.9

Placement = Literal["replicated", "sharded", "streamed"]
SHARDING_MODES = ("sharded", "shard_map")


def placement_of(config: RunConfig, dataset: DataSet, execution: Execution) -> Placement:
    """On every device, in parts over them, or on the host: the first that fits, or what is asked.

    Raises UserError for a placement that is asked for and cannot be.
    """
    asked, mode = config.data.placement, config.train.parallel
    needed, budget = bytes_of(dataset), examples_budget(config)
    on_each: dict[Placement, int] = {"replicated": needed}
    if mode in SHARDING_MODES:
        on_each["sharded"] = -(-needed // present(execution.mesh, "mesh").size)
    if asked == "auto":
        return next((place for place, size in on_each.items() if size <= budget), "streamed")
    if asked not in on_each:
        raise UserError(
            f"data.placement={asked} is for train.parallel={' or '.join(SHARDING_MODES)}, "
            f"not {mode}"
        )
    if on_each[asked] > budget:
        raise UserError(
            f"data.placement={asked} puts {on_each[asked]:,} bytes of examples on a device, which "
            f"has {budget:,} for them; data.placement=auto finds another way"
        )
    return asked


def examples_budget(config: RunConfig) -> int:
    """Bytes of a device that examples may take."""
    given = config.data.memory_budget
    return int(EXAMPLES_SHARE * _device_memory(config)) if given is None else given


def _device_memory(config: RunConfig) -> int:
    """Bytes of each device that the run uses."""
    return memory_share(memory_limit(jax.local_devices()[0]), devices_here(config))


def devices_here(config: RunConfig) -> int:
    """Devices of this process that the run uses."""
    return 1 if config.train.parallel == "jit" else jax.local_device_count()


def refuse_beyond_memory(what: str, needed: int, devices: int = 1) -> None:
    """Raises UserError where so many bytes on each of some devices are more than one has."""
    available = memory_share(memory_limit(jax.local_devices()[0]), devices)
    if needed > available:
        raise UserError(
            f"the run does not fit: {what} take {needed / 2**30:,.1f} GiB, and the device has "
            f"{available / 2**30:,.1f} GiB"
        )


def bytes_of(dataset: DataSet) -> int:
    """Of the examples of all splits."""
    return sum(split.x.nbytes for split in dataset.splits.values())
