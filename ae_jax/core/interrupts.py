"""Signals that ask a process to end: at once, or when what it is at has been saved.

Ctrl-C, SIGTERM (of a scheduler) and SIGHUP (of a terminal that is closed) mean the same. Within
`deferred` they are only noted, for whoever asks; a second one ends the process on the spot, which
loses no more than a power cut would.

In the midst of an import nothing is raised: the code that compiled modules start with takes no
exception, and ends the process by its own way, or goes on with half of what it needs.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_SOON = 0.05  # seconds until a signal that came at a bad time comes again
_IMPORT = "<frozen importlib._bootstrap>"


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end; `status` is what it customarily ends with."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        return 128 + self.number


class _State:
    """Of this process: signals belong to the process, not to a part of it."""

    heard = False  # whether there are handlers
    asked: int | None = None
    raised = False  # whether it was where the signal came, rather than noted
    deferring = 0
    then: dict[int, str] = {}  # what follows on a signal that is noted, where that differs
    put_off = False  # whether a signal that has come will come again
    again = False  # whether the next one is that
    imports = 0  # frames of imports that were going on at the start, as of a script's own


def _reset(listening: bool) -> None:
    _State.heard, _State.asked, _State.raised = listening, None, False
    _State.put_off = _State.again = False


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Within, the signals are taken as described; those that the parent had ignored stay so."""
    if _State.heard or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.getsignal(number)
        for number in SIGNALS
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    _reset(listening=True)
    _State.imports = _frames_of_imports(sys._getframe())
    show = sys.unraisablehook
    sys.unraisablehook = partial(_heard_where_nothing_is_raised, show)
    for number in before:
        signal.signal(number, _handle)
    try:
        yield
    finally:
        _reset(listening=False)
        sys.unraisablehook = show
        for number, handler in before.items():
            signal.signal(number, handler)


def listen_again() -> None:
    """Takes the signals back from a library that has taken them meanwhile."""
    if _State.heard:
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _handle)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Within, a first signal is noted: ask by `asked`."""
    _State.deferring += 1
    try:
        yield
    finally:
        _State.deferring -= 1


def asked() -> bool:
    """Whether a signal has asked the process to end."""
    return _State.asked is not None


def raised() -> Interrupted | None:
    """What a signal has raised in the midst of the work; None if it was only noted.

    An error that follows on one that was noted has a cause of its own.
    """
    return Interrupted(_State.asked) if _State.asked is not None and _State.raised else None


def end_if_asked() -> None:
    """Raises Interrupted if a signal has asked for it."""
    if _State.asked is not None:
        raise Interrupted(_State.asked)


def status() -> int | None:
    """What a process customarily ends with that was asked to end; None if it was not."""
    return None if _State.asked is None else Interrupted(_State.asked).status


def say_then(number: int, what: str) -> None:
    """Has the note of a signal say what follows on it in this process."""
    _State.then[number] = what


def _heard_where_nothing_is_raised(show: Callable[[Any], None], lost: Any) -> None:
    """Asks again in a moment where a signal came in a callback that can raise nothing, as those of
    the garbage collector: Python would print a traceback and go on."""
    if not isinstance(lost.exc_value, Interrupted):
        show(lost)
        return
    _State.asked, _State.raised = None, False
    _put_off(lost.exc_value.number)


def _put_off(number: int) -> None:
    def ask_again() -> None:
        if _State.heard:
            _State.again = True
            os.kill(os.getpid(), number)

    _State.put_off = True
    again = threading.Timer(_SOON, ask_again)
    again.daemon = True
    again.start()


def _handle(number: int, frame: FrameType | None) -> None:
    again, _State.again = _State.again, False
    if _State.asked is not None or (_State.put_off and not again):
        os._exit(128 + number)
    if _frames_of_imports(frame) > _State.imports:
        _put_off(number)
        return
    _State.asked, _State.put_off = number, False
    if not _State.deferring:
        _State.raised = True
        raise Interrupted(number)
    then = _State.then.get(number, "saving, then ending")
    line = f"\n{signal.Signals(number).name}: {then}; once more ends at once.\n"
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, line.encode())


def _frames_of_imports(frame: FrameType | None) -> int:
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename == _IMPORT
        frame = frame.f_back
    return count
