"""Options of what trains a grid: where, and how many at once. Nothing heavy is imported here."""

import functools
from collections.abc import Callable

import click

from ae_jax.cli.shell import DISTRIBUTED, JOIN_TIMEOUT
from ae_jax.core.errors import UserError

LAUNCHERS = ("local", "slurm")

_OPTIONS = (
    DISTRIBUTED,
    JOIN_TIMEOUT,
    click.option("--print-only", is_flag=True, help="Show what would be trained; train nothing."),
    click.option(
        "--members-per-task",
        type=click.IntRange(min=1),
        help="Runs a task of the job array takes.  [default: all that share a program]",
    ),
    click.option(
        "--slurm",
        "slurm_options",
        multiple=True,
        metavar="OPTION=VALUE",
        help="An option of submitit for sbatch, as partition=gpu, gpus_per_node=1 or time=240 "
        "(minutes); may be repeated.",
    ),
    click.option(
        "--launcher",
        type=click.Choice(LAUNCHERS),
        default="local",
        show_default=True,
        help="Train in this process, or as an array of Slurm jobs that it waits for.",
    ),
)


def options(command: Callable) -> Callable:
    """The options of an experiment that say where its grid is trained.

    The command is given `where`, a launcher, and `print_only`, whether to show what it would train
    instead. Where several processes were started as one, each runs the command to its end; what is
    trained they train together, and the first one writes and speaks.
    """

    @functools.wraps(command)
    def launched(
        launcher, slurm_options, members_per_task, distributed, join_timeout, print_only, **others
    ):
        for flag, given in (("distributed", distributed), ("join-timeout", join_timeout)):
            if given and launcher != "local":
                raise UserError(f"--{flag} is for --launcher local: tasks of Slurm find each other")
        # Which import JAX: not before they are needed.
        from ae_jax.cli.launch import launcher_named
        from ae_jax.train import processes

        where = launcher_named(launcher, slurm_options, members_per_task)
        if launcher == "local" and not print_only:
            processes.start(distributed, join_timeout)
        return command(where=where, print_only=print_only, **others)

    for option in _OPTIONS:
        launched = option(launched)
    return launched
