"""A line between the first process and every other: who is there, and word of the end of any.

Collective operations of JAX wait for a process that has gone, for minutes or for ever, and its own
service ends the others by an abort. So processes meet first on the address that JAX is given next,
and keep those connections: one that ends says with which status, one that is killed is known by its
closed connection at once, and a machine that is lost by the kernel's keepalive. No beats are
sent, so that a process which is busy or suspended is never taken for dead.
"""

import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from ae_jax.core.errors import UserError
from ae_jax.train.launched import Group

# Seconds: between attempts to connect, for an answer to one, and until a lost machine is noticed.
RETRY, ANSWER, LOST = 0.3, 5.0, 30
# For the others to go before the first, which has JAX's service: they end with an abort after it.
FAREWELL = 5.0
# For an interrupt to reach Python, which waits for the device first.
INTERRUPT = 5.0

Message = Mapping[str, Any]


def meet(group: Group, timeout: float, greeting: Message) -> dict[int, socket.socket]:
    """Waits until all processes of the group are here; connections by the number of the process.

    The first process has one to every other, they have one to the first. All must bring the same
    `greeting`. Raises UserError after so many seconds, with what is missing.
    """
    hello = {**greeting, "processes": group.count}
    print(
        f"process {group.index} of {group.count}: waiting for {group.count} processes at "
        f"{group.address}, {timeout:g} s at most",
        file=sys.stderr,
        flush=True,
    )
    deadline = time.monotonic() + timeout
    if group.index == 0:
        return _receive_all(group, hello, deadline, timeout)
    return {0: _connect(group, hello, deadline, timeout)}


def _receive_all(
    group: Group, hello: Message, deadline: float, timeout: float
) -> dict[int, socket.socket]:
    arrived: dict[int, socket.socket] = {}
    with _listener(group) as listener:
        while len(arrived) < group.count - 1:
            left = deadline - time.monotonic()
            if left <= 0:
                absent = [i for i in range(1, group.count) if i not in arrived]
                error = _time_out(
                    timeout, f"of {group.count} processes {_listed(absent)} did not come"
                )
                _refuse(arrived, str(error))
                raise error
            listener.settimeout(min(left, RETRY))
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            finally:
                # One that was started again comes again.
                arrived = {i: one for i, one in arrived.items() if not _has_closed(one)}
            _welcome(connection, hello, arrived, group)
    for connection in arrived.values():
        _send(connection, {"go": True})
    return arrived


def _listener(group: Group) -> socket.socket:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", group.port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise UserError(
            f"the first process cannot listen at port {group.port}: {error.strerror}; choose "
            "another one for all processes"
        ) from error


def _welcome(
    connection: socket.socket, hello: Message, arrived: dict[int, socket.socket], group: Group
) -> None:
    """Adds a connection to those that arrived, or sends it away."""
    connection.settimeout(ANSWER)
    try:
        given = dict(_Reader(connection).next())
    except (OSError, ValueError):  # somebody else, or one that has gone
        connection.close()
        return
    index = given.pop("index", None)
    wrong = [f"{name} {given.get(name)!r} here and {hello[name]!r} in the first process"
             for name in hello if given.get(name) != hello[name]]  # fmt: skip
    if index in arrived:
        wrong = [f"two processes are number {index}"]
    if wrong:
        error = f"process {index} does not belong to the others: {'; '.join(wrong)}"
        _refuse({**arrived, index: connection}, error)
        raise UserError(error)
    connection.settimeout(None)
    arrived[index] = connection


def _refuse(connections: Mapping[int, socket.socket], why: str) -> None:
    for connection in connections.values():
        _send(connection, {"refused": why})
        connection.close()


def _connect(group: Group, hello: Message, deadline: float, timeout: float) -> socket.socket:
    said, why = "", ""
    while time.monotonic() < deadline:
        try:
            connection = socket.create_connection((group.host, group.port), timeout=ANSWER)
        except socket.gaierror:
            why = f"the name {group.host} does not resolve"
        except TimeoutError:
            why = f"{group.host} does not answer"
        except OSError as error:
            why = f"nothing listens there ({(error.strerror or str(error)).lower()})"
        else:
            _send(connection, {**hello, "index": group.index})
            connection.settimeout(max(0.1, deadline + ANSWER - time.monotonic()))
            try:
                answer = _Reader(connection).next()
            except (OSError, ValueError):
                why = "the first process went away"  # and may come again
            else:
                if "refused" in answer:
                    raise UserError(f"cannot join the other processes: {answer['refused']}")
                connection.settimeout(None)
                return connection
            connection.close()
        if why != said:
            print(f"process {group.index}: {why} so far", file=sys.stderr, flush=True)
            said = why
        time.sleep(RETRY)
    raise _time_out(timeout, f"{group.address}: {why}")


def _time_out(timeout: float, what: str) -> UserError:
    return UserError(f"cannot join the other processes in {timeout:g} s (--join-timeout): {what}")


def _has_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.setblocking(True)


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"


def _send(connection: socket.socket, message: Message) -> bool:
    """Whether it could be sent."""
    try:
        connection.sendall(json.dumps(dict(message)).encode() + b"\n")
    except OSError:
        return False
    return True


class _Reader:
    """Messages, one a line."""

    def __init__(self, connection: socket.socket):
        self._connection, self._rest = connection, b""

    def next(self) -> Message:
        """The next one. Raises OSError at the end, ValueError for what is none."""
        while b"\n" not in self._rest:
            data = self._connection.recv(4096)
            if not data:
                raise ConnectionResetError
            self._rest += data
            if len(self._rest) > 2**16:
                raise ValueError("no message")
        line, _, self._rest = self._rest.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("no message")
        return message

    def pending(self) -> bool:
        return b"\n" in self._rest


class Line:
    """Listens, in a thread, for the end of other processes, and ends this one after them.

    `unasked` is the status of a process that ends because another one was killed, which left none.
    """

    def __init__(self, group: Group, connections: dict[int, socket.socket], unasked: int):
        self._group, self._connections, self._unasked = group, connections, unasked
        self._finished: set[int] = set()
        self._over = threading.Event()  # all processes have finished
        self._alone = threading.Event()  # all connections are closed
        self._ending: int | None = None  # the status with which this process ends
        self._parted = False
        self._served = False  # an interrupt that was noted has had its way
        self._lock = threading.Lock()
        for connection in connections.values():
            _keep_alive(connection)
        self._woken, self._waking = socket.socketpair()
        self._waking.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    @property
    def alone(self) -> bool:
        """Whether the others were told that this process cannot go on."""
        return self._alone.is_set()

    def leave(self, status: int) -> NoReturn:
        """Tells the others and ends this process at once; the first one goes last."""
        self._end_with(status, {"ended": self._group.index, "status": status})
        self._waking.send(b"\0")
        while True:  # until the other thread has ended the process, interrupts or not
            threading.Event().wait()

    def part(self, status: int) -> None:
        """Tells the others as if this process ended, and returns when they have gone."""
        self._parted = True
        self._tell({"ended": self._group.index, "status": status})
        self._alone.wait(FAREWELL)
        self._alone.set()

    def finish(self) -> None:
        """Returns when all processes have finished. Ends this one where another one failed."""
        self._served = True
        if self._group.index == 0:
            self._note_finished(0)
        else:
            self._tell({"finished": self._group.index})
        self._over.wait()

    def _end_with(self, status: int, message: Message) -> bool:
        """Whether this is the first reason for an end; the others are told."""
        with self._lock:
            if self._ending is not None:
                return False
            self._ending = status
        self._tell(message)
        return True

    def _note_finished(self, index: int) -> None:
        self._finished.add(index)
        if self._group.index == 0 and len(self._finished) == self._group.count:
            self._tell({"over": True})
            self._over.set()

    def _tell(self, message: Message) -> None:
        for connection in self._connections.values():
            _send(connection, message)

    def _listen(self) -> None:
        chosen = selectors.DefaultSelector()
        for index, connection in self._connections.items():
            chosen.register(connection, selectors.EVENT_READ, (index, _Reader(connection)))
        chosen.register(self._woken, selectors.EVENT_READ, None)
        patience = None  # until when an interrupt or the others may take
        while True:
            others = len(chosen.get_map()) - 1
            if self._ending is not None:
                # The others end with an abort after the first, which has JAX's service.
                if self._group.index or not others or (patience and patience < time.monotonic()):
                    _end(self._ending)
                patience = patience or time.monotonic() + FAREWELL
            elif self._served:
                patience, self._served = None, False
            elif patience is not None and patience < time.monotonic():
                say("Interrupted; the same command continues.")
                status = 128 + signal.SIGINT
                self._end_with(status, {"ended": self._group.index, "status": status})
                patience = None
                continue
            if not others:
                self._alone.set()
            wait = None if patience is None else max(0.0, patience - time.monotonic())
            for key, _ in chosen.select(wait):
                if key.data is None:
                    if signal.SIGINT in self._woken.recv(64) and patience is None:
                        patience = time.monotonic() + INTERRUPT
                elif not self._heard(*key.data):
                    chosen.unregister(key.fileobj)

    def _heard(self, index: int, reader: _Reader) -> bool:
        """Takes the messages of a process; False when there will be no more."""
        try:
            self._take(reader.next())
            while reader.pending():
                self._take(reader.next())
        except (OSError, ValueError):
            if not self._over.is_set():
                self._take({"ended": index, "status": None})
            return False
        return True

    def _take(self, message: Message) -> None:
        if "finished" in message:
            self._note_finished(message["finished"])
        elif "over" in message:
            self._over.set()
        elif "ended" in message and not self._parted:
            index, status = message["ended"], message["status"]
            if self._end_with(self._unasked if status is None else status, message):
                how = "was killed or lost" if status is None else f"ended with status {status}"
                say(f"Error: another process ended; see its log (process {index} {how})")


def _keep_alive(connection: socket.socket) -> None:
    """Has the kernel ask whether the other machine is there, and close the connection if not."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    every = max(1, LOST // 6)
    for name, value in (("TCP_KEEPIDLE", every), ("TCP_KEEPINTVL", every), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def say(text: str) -> None:
    """A line to the log that no other thread's lock can hold up."""
    os.write(2, f"{text}\n".encode())


def _end(status: int) -> NoReturn:
    """Ends the process without its clean-up: JAX's waits for the others, which are gone."""
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(1.0)  # nobody may be reading
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
