"""How commands end: one sentence and a status instead of a traceback, for what went wrong."""

import click

from ae_jax.errors import TrainingDiverged, UserError

EXIT_USER_ERROR, EXIT_DIVERGED, EXIT_INTERRUPTED = 2, 3, 130


def run_command(command: click.Command) -> None:
    """Runs a click command; the process ends with 2 on a user's error, 3 on divergence."""
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


def _fail(message: str, status: int, cause: BaseException) -> None:
    click.echo(message, err=True)
    raise SystemExit(status) from cause
