"""Several processes, each with its own devices, as one machine.

Started by a flag or recognised from what Slurm, Open MPI and TPU pods leave in the environment,
and by variables of one's own (`JAX_NUM_PROCESSES`), as in the pods of Kubernetes. Every process
runs the same program on the same arguments; the first one writes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from ae_jax.core import interrupts
from ae_jax.core.errors import UserError

# Set by the launchers in every process of a job, with the number of processes. In an allocation of
# Slurm that runs no step yet there is nothing to wait for, so only a step counts.
_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "JAX_NUM_PROCESSES")
# TPU pods name the hosts instead.
_HOSTS = ("TPU_WORKER_HOSTNAMES",)
_OWN = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
# Kubernetes numbers the pods of an indexed job; all else its pods are told is alike.
_POD_INDEX = "JOB_COMPLETION_INDEX"


def start(wanted: bool = False) -> None:
    """Joins the other processes if a launcher is recognised, or if `wanted`; once, before any work.

    Without a launcher that JAX knows, JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and
    JAX_PROCESS_ID say who belongs together; the pods of an indexed job of Kubernetes need the
    first two only. Raises UserError.
    """
    if jax.distributed.is_initialized() or not (wanted or _launched_with_others()):
        return
    given = [os.environ.get(name) for name in _OWN]
    try:
        if any(given):
            address, count, index = given
            index = index or os.environ.get(_POD_INDEX)
            jax.distributed.initialize(
                address, int(count or ""), int(index or ""), cluster_detection_method="deactivate"
            )
        else:
            jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"cannot join other processes: {reason}; without a launcher set {', '.join(_OWN)}"
        ) from error
    interrupts.listen_again()  # JAX takes SIGTERM for a notice that it may be ended some time


def _launched_with_others() -> bool:
    counts = [os.environ.get(name, "") for name in _COUNTS]
    hosts = [os.environ.get(name, "") for name in _HOSTS]
    return any(c.isdigit() and int(c) > 1 for c in counts) or any("," in names for names in hosts)


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return jax.process_index() == 0


def agree(first_says: bool) -> bool:
    """What the first process says, in every process; all must come here."""
    if jax.process_count() == 1:
        return first_says
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(first_says)))


def end_together(error: UserError | None) -> None:
    """Goes on where the first process met no error; else raises it there, and word of it elsewhere.

    All must come here, so that none waits for one that has ended.
    """
    failed = agree(error is not None)
    if is_first() and error is not None:
        raise error
    if failed:
        raise UserError("the first process cannot go on; it says why")


@contextmanager
def held_by_first(claim: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """What `claim` makes is entered in the first process, for as long as all need it.

    All must come here. Raises the UserError of the first, and word of it elsewhere.
    """
    with ExitStack() as stack:
        refused = None
        if is_first():
            try:
                stack.enter_context(claim())
            except UserError as error:
                refused = error
        end_together(refused)
        yield


def check_mode(parallel: str) -> None:
    """Raises UserError for a mode of `train.parallel` that cannot span processes."""
    if jax.process_count() > 1 and parallel not in ("sharded", "shard_map"):
        raise UserError(
            f"train.parallel={parallel} stays within one process; {jax.process_count()} processes "
            "need sharded or shard_map"
        )
