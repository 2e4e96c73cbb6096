"""What commands share: an option, and how they end: for what went wrong with one sentence and a
status instead of a traceback.
"""

import hashlib
import os
import platform
import sys
import warnings
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from ae_jax.core import interrupts
from ae_jax.core.errors import (
    RunWarning,
    Stopped,
    TrainingDiverged,
    UserError,
    is_out_of_memory,
)
from ae_jax.core.files import cache_root
from ae_jax.core.interrupts import Interrupted

EXIT_USER_ERROR, EXIT_DIVERGED, EXIT_INTERRUPTED, EXIT_STOPPED = 2, 3, 130, 143

DISTRIBUTED = click.option(
    "--distributed",
    is_flag=True,
    help="One of several processes that train together. Slurm steps, MPI and TPU hosts are "
    "recognised without it.",
)
JOIN_TIMEOUT = click.option(
    "--join-timeout",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="SECONDS",
    help="How long to wait for the other processes of several.  [default: 300]",
)

_PROCESSES = "ae_jax.train.processes"  # which imports JAX: not before it is needed
_CACHE_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_CACHE_THRESHOLD = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_CACHE_OPTIONS = (_CACHE_FOLDER, _CACHE_THRESHOLD, "JAX_ENABLE_COMPILATION_CACHE")
_UNREADABLE_PROGRAM = "Error reading persistent compilation cache entry"  # as JAX says it
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def run_command(command: click.Command) -> None:
    """Runs a click command; the process ends with 2 on a user's error, 3 on divergence.

    It ends with 130 when interrupted and 143 when told to stop. Of several processes all end.

    Compiled programs are kept in the user's cache folder, so that the next process starts sooner.
    """
    _keep_compiled_programs()
    with interrupts.heard(), warnings.catch_warnings():
        # A line of its own each, also where warnings are errors or silent otherwise.
        warnings.simplefilter("always", RunWarning)
        show = warnings.showwarning
        warnings.showwarning = partial(_show_warning, show)
        _end_well(command)


def _end_well(command: click.Command) -> None:
    try:
        _run_or_interrupt(command)
    except click.ClickException as error:
        _await_word()
        error.show()
        _end(EXIT_USER_ERROR, error)
    except MemoryError as error:
        _fail("Error: the machine has not enough memory for this", EXIT_USER_ERROR, error)
    except UserError as error:
        _fail(f"Error: {error}", EXIT_USER_ERROR, error)
    except TrainingDiverged as error:  # in all of several processes, as below
        click.echo(f"Diverged: {error}", err=True)
        raise SystemExit(EXIT_DIVERGED) from error
    except Stopped as error:
        click.echo(f"Stopped: {error}; the same command continues.", err=True)
        raise SystemExit(interrupts.status() or EXIT_STOPPED) from error
    except (KeyboardInterrupt, click.Abort) as error:
        # Click makes an Abort of every interrupt.
        signal = error if isinstance(error, Interrupted) else error.__cause__
        status = signal.status if isinstance(signal, Interrupted) else EXIT_INTERRUPTED
        how = "Interrupted" if status == EXIT_INTERRUPTED else f"Ended by {signal}"
        _fail(f"{how}; the same command continues.", status, error)
    except OSError as error:  # a disk that is full or gone, a file that nobody looked after
        name = f" {error.filename}" if error.filename else ""
        _fail(
            f"Error: cannot use{name or ' a file'}: {error.strerror or error}",
            EXIT_USER_ERROR,
            error,
        )
    except RuntimeError as error:  # JAX's, which is not to be imported before it is needed
        if not is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")
        _fail(f"Error: the device has not enough memory: {reason}", EXIT_USER_ERROR, error)


def _run_or_interrupt(command: click.Command) -> None:
    """Runs it; whatever another library makes of a signal that interrupts it is the signal again,
    as the ImportError of a compiled module whose initialisation was cut short."""
    try:
        command.main(standalone_mode=False)
    except Exception as error:
        signal = interrupts.raised()
        if signal is None:
            raise
        raise signal from error


def _show_warning(show, message, category, *place, **more) -> None:
    if issubclass(category, RunWarning):
        click.echo(f"Warning: {message}", err=True)
    elif str(message).startswith(_UNREADABLE_PROGRAM):
        for path in _damaged_programs(Path(os.environ.get(_CACHE_FOLDER, ""))):
            # JAX never writes what is there anew, and would warn for ever.
            path.unlink(missing_ok=True)
            click.echo(f"Warning: {path} was damaged; it is compiled anew next time", err=True)
    else:
        show(message, category, *place, **more)


def _keep_compiled_programs() -> None:
    """Turns JAX's compilation cache on, unless the user has said where it is or is not.

    A folder that a parent process chose is chosen anew: a job that was sent to another machine
    inherits the environment, but must not run code compiled for the processor of the first.
    """
    home = cache_root() / "compiled"
    inherited = Path(os.environ.get(_CACHE_FOLDER, "")).parent == home
    if not inherited and any(name in os.environ for name in _CACHE_OPTIONS):
        return
    options = {_CACHE_FOLDER: str(home / _processor()), _CACHE_THRESHOLD: "0.2"}
    os.environ.update(options)
    if "jax" in sys.modules:  # which has read the environment already
        config = sys.modules["jax"].config
        config.update(_CACHE_FOLDER.lower(), options[_CACHE_FOLDER])
        config.update(_CACHE_THRESHOLD.lower(), float(options[_CACHE_THRESHOLD]))


def _damaged_programs(folder: Path) -> Iterator[Path]:
    """Compiled programs that a process was killed while it wrote, or that have changed since."""
    for path in sorted(folder.glob("*-cache")):
        content = path.read_bytes()
        if content.startswith(_ZSTANDARD):  # which JAX takes where it is installed
            continue
        try:
            zlib.decompress(content)
        except zlib.error:
            yield path


def _processor() -> str:
    """A name for the processor with its features: code for one need not run on another."""
    facts = platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        facts += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"


def _fail(message: str, status: int, cause: BaseException) -> None:
    _await_word()
    click.echo(message, err=True)
    _end(status, cause)


def _await_word() -> None:
    if _PROCESSES in sys.modules:
        sys.modules[_PROCESSES].await_word()


def _end(status: int, cause: BaseException) -> None:
    """Ends this process, and at once where others would wait for it."""
    if _PROCESSES in sys.modules:
        sys.modules[_PROCESSES].leave(status)
    raise SystemExit(status) from cause
