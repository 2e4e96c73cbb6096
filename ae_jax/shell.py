"""How commands end: one sentence and a status instead of a traceback, for what went wrong."""

import hashlib
import os
import platform
import sys
from pathlib import Path

import click

from ae_jax.errors import TrainingDiverged, UserError
from ae_jax.files import cache_root

EXIT_USER_ERROR, EXIT_DIVERGED, EXIT_INTERRUPTED = 2, 3, 130


def run_command(command: click.Command) -> None:
    """Runs a click command; the process ends with 2 on a user's error, 3 on divergence.

    Compiled programs are kept in the user's cache folder, so that the next process starts sooner.
    """
    _keep_compiled_programs()
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(EXIT_USER_ERROR) from error
    except UserError as error:
        _fail(f"Error: {error}", EXIT_USER_ERROR, error)
    except TrainingDiverged as error:
        _fail(f"Diverged: {error}", EXIT_DIVERGED, error)
    except (KeyboardInterrupt, click.Abort) as error:
        _fail("Interrupted; the same command continues.", EXIT_INTERRUPTED, error)


def _keep_compiled_programs() -> None:
    """Turns JAX's compilation cache on, unless the user has said where it is or is not."""
    options = {
        "JAX_COMPILATION_CACHE_DIR": str(cache_root() / "compiled" / _processor()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    if any(name in os.environ for name in (*options, "JAX_ENABLE_COMPILATION_CACHE")):
        return
    os.environ.update(options)
    if "jax" in sys.modules:  # which has read the environment already
        config = sys.modules["jax"].config
        for name, value in options.items():
            config.update(name.lower(), float(value) if name.endswith("SECS") else value)


def _processor() -> str:
    """A name for the processor with its features: code for one need not run on another."""
    facts = platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        facts += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"


def _fail(message: str, status: int, cause: BaseException) -> None:
    click.echo(message, err=True)
    raise SystemExit(status) from cause
