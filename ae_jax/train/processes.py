"""Several processes, each with its own devices, as one machine.

Started by a flag or recognised from what launchers leave in the environment (`launched`). Every
process runs the same program on the same arguments; the first one writes. They agree on what they
run before the first step, end together when one of them cannot go on (`line`), and stop together
when one of them is told to.
"""

import atexit
import hashlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ae_jax.core import interrupts
from ae_jax.core.errors import UserError
from ae_jax.core.files import write_text
from ae_jax.data.base import DataSet
from ae_jax.train.config import AnyConfig, to_dict
from ae_jax.train.identity import describe
from ae_jax.train.launched import OWN, Group, group_of, is_launched, local_devices
from ae_jax.train.line import INTERRUPT, Line, meet

JOIN_TIMEOUT = 300.0
# Of a process that ends because another one was killed, and of one with an error of its own.
_UNASKED, _CRASHED = 2, 1
# Seconds: for word of another process, whose end may be the cause of what happened in this one, and
# for what the first process wrote to show on another machine.
_WORD, _VISIBLE = 0.5, 15.0
# Seconds without a beat after which JAX ends all by an abort: those that end are known by their
# connections, and one that is suspended is waited for.
_SUSPENDED = 86_400
# Seconds between questions where work comes in chunks.
ASK_SECONDS = 1.0

_line: Line | None = None
_told: list[int] = []  # signals that asked this process to stop


def start(wanted: bool = False, join_timeout: float | None = None) -> None:
    """Joins the other processes if a launcher is recognised, or if `wanted`; once, before any work.

    Without a launcher, JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID
    say who belongs together; the pods of an indexed job of Kubernetes need the first two only.
    From then on this process ends when another one does. Raises UserError, also where not all
    processes have come within `join_timeout` seconds, and for that time where nobody is waited for.
    """
    if jax.distributed.is_initialized():
        return
    group = group_of(os.environ) or (_asked_of_jax() if wanted else None)
    if group is None:
        if join_timeout is not None and not is_launched(os.environ):
            raise UserError(
                "--join-timeout is how long to wait for other processes, and this one is on its "
                "own: no launcher is recognised here (--distributed asks JAX for one)"
            )
        return
    timeout = JOIN_TIMEOUT if join_timeout is None else join_timeout
    connections = meet(group, timeout, {"jax": jax.__version__})
    global _line
    _line = Line(group, connections, _UNASKED)
    interrupts.say_then(signal.SIGINT, f"ending, saved if that takes less than {INTERRUPT:g} s")
    sys.excepthook = _telling(sys.excepthook)
    # JAX's own answer to SIGTERM only takes note of it.
    jax.config.update("jax_enable_preemption_service", False)
    _join(group, timeout)
    atexit.register(_finish)  # before JAX's own, which waits for the others five minutes
    if is_first():
        each = jax.device_count() / jax.process_count()
        print(
            f"{jax.process_count()} processes of {each:g} {jax.default_backend()} devices, "
            f"{jax.device_count()} in all",
            file=sys.stderr,
        )


def _asked_of_jax() -> Group:
    """What JAX finds out from the services of Cloud TPU and Kubernetes. Raises UserError."""
    from jax._src.clusters import ClusterEnv  # private: there is no other way to ask

    try:
        address, count, index, _ = ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, int(JOIN_TIMEOUT)
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot join other processes: {reason}") from error
    if address is None or count is None or index is None:
        raise UserError(
            "cannot join other processes: no launcher is recognised here; set "
            f"{', '.join(OWN)} in each"
        )
    return Group(address, count, index, local_devices(os.environ, 0, 1))


def _join(group: Group, timeout: float) -> None:
    try:
        jax.distributed.initialize(
            group.address,
            group.count,
            group.index,
            None if group.local_devices is None else list(group.local_devices),
            cluster_detection_method="deactivate",
            initialization_timeout=max(1, int(timeout)),
            heartbeat_timeout_seconds=_SUSPENDED,
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot join other processes: {reason}") from error
    interrupts.listen_again()  # in place of what JAX may have taken


def _telling(show: Callable[..., None]) -> Callable[..., None]:
    """A hook for exceptions that nobody caught: the other processes must not wait."""

    def hook(*error: Any) -> None:
        await_word()
        show(*error)
        leave(_CRASHED)

    return hook


def _finish() -> None:
    if _line is None:
        return
    if _line.alone:
        leave(0)
    _line.finish()


def await_word() -> None:
    """Before this process fails: if another one has ended, that is the cause, and ends this one."""
    if _line is not None:
        time.sleep(_WORD)


def leave(status: int) -> None:
    """Ends this process and the others at once, where there are others."""
    if _line is not None:
        _line.leave(status)


def part(status: int) -> None:
    """Ends the others at once, where there are others; this process is to write why, and end."""
    if _line is not None:
        _line.part(status)


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


def check_alike(facts: Mapping[str, Any]) -> None:
    """Raises UserError, in every process, unless all have the same facts: JSON by what they are of.

    All must come here. What is different is named, by its path where the fact is a table.
    """
    if jax.process_count() == 1:
        return
    ours, *others = map(json.loads, _texts_of_all(json.dumps(facts, sort_keys=True)))
    for index, theirs in enumerate(others, 1):
        unlike = _unlike(ours, theirs)
        if unlike:
            raise UserError(f"processes 0 and {index} do not run the same: {'; '.join(unlike[:5])}")


def check_runs(configs: Mapping[str, AnyConfig], dataset: DataSet) -> None:
    """As `check_alike`, for runs by name, the examples and the users' code; paths may differ."""
    if jax.process_count() == 1:
        return
    tables = {name: to_dict(config) for name, config in configs.items()}
    for table in tables.values():
        del table["data"]["name"]
    examples = describe(dataset)
    del examples["name"]
    configuration = tables if len(tables) > 1 else next(iter(tables.values()), {})
    check_alike({"configuration": configuration, "data": examples, "code": users_code()})


def check_folder(path: Path) -> None:
    """Raises UserError, in every process, unless all see in a folder what the first has put there.

    All must come here; the folder of the first is there.
    """
    if jax.process_count() == 1:
        return
    token = str(uuid.uuid4())
    refused = None
    if is_first():
        try:
            write_text(path / _TOKEN, token)
        except UserError as error:
            refused = error
    end_together(refused)
    (expected, *_) = _texts_of_all(token)
    seen = [text == "True" for text in _texts_of_all(str(_appears(path / _TOKEN, expected)))]
    if is_first():
        (path / _TOKEN).unlink(missing_ok=True)
    if not all(seen):
        raise UserError(
            f"process {seen.index(False)} does not see in {path} what the first one writes there: "
            "several processes need a folder that all of them share"
        )


_TOKEN = ".processes"  # noqa: S105  the name of a file


def _appears(path: Path, content: str) -> bool:
    end = time.monotonic() + _VISIBLE
    while True:
        try:
            if path.read_text() == content:
                return True
        except OSError:
            pass  # not yet
        if time.monotonic() > end:
            return False
        time.sleep(0.05)


def _unlike(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for key in sorted({*one, *other})
            for line in _unlike(one.get(key), other.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if one == other else [f"{path} ({_short(one)} and {_short(other)})"]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _texts_of_all(text: str) -> list[str]:
    """The texts of all processes, in their order; all must come here."""
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(data)))
    padded = np.zeros(max(sizes), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


def digest_of(tree: Any) -> str:
    """sha256 over the leaves as this process holds them: its own copy of what all have in full."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        local = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
        if jax.dtypes.issubdtype(local.dtype, jax.dtypes.prng_key):
            local = jax.random.key_data(local)
        digest.update(np.ascontiguousarray(local).data)
    return digest.hexdigest()


def users_code() -> dict[str, str]:
    """sha256 of the users' files that parts were taken from, by file name."""
    files = [
        Path(module.__file__)
        for name, module in list(sys.modules.items())
        if name.startswith("ae_jax_user_") and module.__file__
    ]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, SIGTERM only asks this process to stop (`stop_requested`), where there are several.

    JAX's own answer to it takes note and trains on.
    """
    with noted(*([signal.SIGTERM] if jax.process_count() > 1 else [])):
        yield


@contextmanager
def noted(*signals: int) -> Iterator[None]:
    """Within, these signals only ask this process to stop; in the main thread, which gets them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _take_note) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
            while number in _told:
                _told.remove(number)


def _take_note(number: int, _: Any) -> None:
    _told.append(number)


def stop_requested(here: bool = False) -> bool:
    """Whether any process was told to stop, or says so `here`; all must come here."""
    wanted = here or bool(_told)
    if jax.process_count() == 1:
        return wanted
    return bool(np.any(multihost_utils.process_allgather(np.asarray(wanted))))


class Chunks:
    """The chunks of an epoch, after which processes ask each other whether to stop or to save.

    They ask about once a second, by the clock of the first: a chunk may take a millisecond.
    """

    def __init__(self) -> None:
        self._done, self._each, self._since = 0, 1, time.monotonic()

    def is_time(self) -> bool:
        """Whether to ask after this chunk: the same answer in all processes, which must count."""
        self._done += 1
        return jax.process_count() == 1 or self._done >= self._each

    def ask(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Whether any process was told to stop or says so, and whether the first wants to save.

        All must come here, with nothing of theirs under way on the devices.
        """
        wanted = stop or bool(_told)
        if jax.process_count() == 1:
            return wanted, save
        took = (time.monotonic() - self._since) / self._done
        pace = int(min(max(1.0, ASK_SECONDS / max(took, 1e-6)), 1e6))
        answers = multihost_utils.process_allgather(np.asarray([wanted, save, pace], np.int32))
        self._done, self._each, self._since = 0, int(answers[0, 2]), time.monotonic()
        return bool(answers[:, 0].any()), bool(answers[0, 1])
