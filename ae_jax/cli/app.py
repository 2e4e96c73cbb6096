"""The command line: train, grid, runs, data, check, list, and what opens a run (`opening.py`).

Nothing heavy is imported before a command needs it, so that help is instant.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ae_jax.cli import launch_options
from ae_jax.cli.opening import ACCEPT_CODE, COMMANDS, TRUST
from ae_jax.cli.shell import DISTRIBUTED, JOIN_TIMEOUT, run_command

if TYPE_CHECKING:
    pass

TRACK = click.option(
    "--track",
    multiple=True,
    type=click.Choice(["mlflow", "tensorboard", "wandb"]),
    help="Also keep numbers and pictures in this tracker; may be repeated.",
)


_CONFIGURING = (
    click.option(
        "--objective", help="What is optimised; `ae-jax list` names them.  [default: elbo]"
    ),
    click.option("--latent-dim", type=int, help="Size of the code.  [default: 20]"),
    click.option("--hidden", help="Layer sizes of the encoder, as 500 or 500,200.  [default: 500]"),
    click.option("--epochs", type=int, help="Passes over the training examples.  [default: 10]"),
    click.option("--batch-size", type=int, help="Examples a step.  [default: 100]"),
    click.option("--optimiser", help="How steps are taken; see `ae-jax list`.  [default: adam]"),
    click.option("--learning-rate", type=float, help="Step size.  [default: the optimiser's]"),
    click.option("--seed", type=int, help="Of weights, order and noise.  [default: 0]"),
    click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Start from the configuration in a JSON file, for example another run's config.json.",
    ),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="SECTION.OPTION=VALUE",
        help="Set any option, as objective.beta=4; may be repeated. --dry-run shows all of them.",
    ),
    click.option(
        "--precision",
        help="Of matrix products: float32, tensorfloat32 or bfloat16.  [default: float32]",
    ),
)


def configuring(command):
    """The options of commands that train: what is changed of the default configuration."""
    for option in reversed(_CONFIGURING):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ae_jax")
def cli() -> None:
    """Train and study autoencoders: from PCA to the variational autoencoder.

    Bounds and likelihoods are in nats per example, summed over pixels. A run keeps everything in
    one directory; started again, it continues where it was.
    """


@cli.command(short_help="Train an autoencoder or fit a codec, or continue the training.")
@click.argument("data", required=False)
@click.option("--codec", help="Fit this without backprop, instead of a network: pca, kmeans, ...")
@configuring
@click.option(
    "--workdir",
    type=click.Path(path_type=Path),
    help="Where the run lives.  [default: checkpoints/DATA-OBJECTIVE-zSIZE-HASH]",
)
@click.option(
    "--start",
    type=click.Path(path_type=Path),
    help="Begin with the parameters of this run, or saved model, of the same form: fine-tuning.",
)
@TRACK
@click.option("--tensorboard", is_flag=True, help="The same as --track tensorboard.")
@click.option("--profile", is_flag=True, help="Trace an epoch for TensorBoard or Perfetto.")
@click.option(
    "--report/--no-report",
    "with_report",
    default=True,
    envvar="AE_JAX_REPORT",
    show_envvar=True,
    help="Whether to leave figures and report.html at the end.  [default: report]",
)
@DISTRIBUTED
@JOIN_TIMEOUT
@TRUST
@ACCEPT_CODE
@click.option(
    "--dry-run", is_flag=True, help="Show configuration and parameter counts; do not train."
)
def train(
    data: str | None, config_file: Path | None, assignments: tuple[str, ...], **flags
) -> None:
    """Train on DATA: a named set; a file of yours, .npy, .npz, .h5, a table (.csv, .tsv, .parquet,
    or table.csv:COLUMN with the labels' column) or .txt with a document a line; a folder of
    pictures by class, of .txt files or of array_record files; or path/to/file.py:function.

    With --codec, --latent-dim is the number of atoms, and --set codec.OPTION=VALUE sets the rest.

    Where a name is asked for (objective, optimiser, head, ...), path/to/file.py:Name takes yours.
    """
    from ae_jax.cli import training

    training.train(
        data=data,
        config_file=config_file,
        assignments=assignments,
        workdir=flags.pop("workdir"),
        start=flags.pop("start"),
        track=flags.pop("track"),
        use_tensorboard=flags.pop("tensorboard"),
        use_profiler=flags.pop("profile"),
        distributed=flags.pop("distributed"),
        join_timeout=flags.pop("join_timeout"),
        dry_run=flags.pop("dry_run"),
        trust=flags.pop("trust"),
        accept_code=flags.pop("accept_code"),
        with_report=flags.pop("with_report"),
        flags=flags,
    )


@cli.command(short_help="Train many runs, crossed over options, into one table and figure.")
@click.argument("data", required=False)
@click.option(
    "--over",
    multiple=True,
    metavar="OPTION=VALUES",
    help="What varies, as latent_dim=2,5,10, optim.name=sgd,adam, seed=0:5 (0 to 4) or "
    "hidden=[[500],[200,100]]; may be repeated: all combinations are trained.",
)
@click.option(
    "--zip",
    "zipped",
    multiple=True,
    metavar="OPTION=VALUES",
    help="What varies side by side, the first value with the first; may be repeated.",
)
@click.option(
    "--members",
    "listed",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A JSON file with a list of tables OPTION: VALUE, one a setting.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs of each setting, which differ in their seed; the table has their means.",
)
@click.option(
    "--halve",
    metavar="EPOCHS",
    help="Successive halving: after so many epochs, as 2,4,8, the worse half of the runs ends, "
    "compared on validation examples (training examples, where none are held out).",
)
@configuring
@click.option(
    "--workdir",
    type=click.Path(path_type=Path),
    help="Where the runs live.  [default: checkpoints/DATA-grid-HASH]",
)
@TRACK
@TRUST
@launch_options.options
def grid(
    data: str | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    halve: str | None,
    trust: bool,
    over: tuple[str, ...],
    zipped: tuple[str, ...],
    listed: Path | None,
    seeds: int,
    workdir: Path | None,
    track: tuple[str, ...],
    where,
    print_only: bool,
    **flags,
) -> None:
    """Train many runs on DATA (see train) that differ in some options.

    Each is a run of its own below the workdir, as `ae-jax train` would leave it, named by what is
    special about it; started again, the grid continues. Runs that differ in numbers only share one
    compiled program.
    """
    from ae_jax.cli import grids

    grids.grid(
        over=over,
        zipped=zipped,
        listed=listed,
        seeds=seeds,
        halve=grids.epochs_in(halve),
        workdir=workdir,
        track=track,
        where=where,
        print_only=print_only,
        data=data,
        config_file=config_file,
        assignments=assignments,
        trust=trust,
        flags=flags,
    )


@cli.command(short_help="List the runs below a folder, and in what they differ.")
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("checkpoints")
)
def runs(folder: Path) -> None:
    """List the runs below FOLDER, by default checkpoints.

    Where they stand, what they reached, and the options in which they differ. Nothing that they
    name is executed.
    """
    from ae_jax.cli import runs

    runs.show(folder)


@cli.group()
def data() -> None:
    """Prepare data sets and show what they hold."""


@data.command()
@click.argument("name")
def prepare(name: str) -> None:
    """Fetch, verify and store the data set NAME; nothing is done twice."""
    from ae_jax.cli import commands

    commands.prepare_data(name)


@data.command()
@click.argument("name")
def info(name: str) -> None:
    """What NAME holds, where it is stored and where it comes from; downloads nothing."""
    from ae_jax.cli import commands

    commands.show_data(name)


@cli.command(short_help="Tell in sentences what is wrong with a part of your own.")
@click.argument("part", metavar="FILE.py:NAME")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["objective", "encoder", "latent", "prior", "decoder", "head", "optimiser"]),
    help="What kind of part it is, where that cannot be told from it.",
)
def check(part: str, kind: str | None) -> None:
    """Check that FILE.py:NAME, an objective or a part of a model of yours, fits in.

    Trains it on a small made-up data set: on one device and on eight, alone and stacked with
    others, with a padded code, saved and restored. Takes about a minute. Status 1 where something
    is wrong.
    """
    import os

    # Before JAX is imported: so many devices of a CPU, whatever the machine has.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
    from ae_jax.cli import commands

    commands.check(part, kind)


@cli.command(name="list", short_help="All names that commands and --set accept, or what one means.")
@click.argument("name", required=False)
def list_names(name: str | None) -> None:
    """All names that the other commands and --set accept, by kind.

    With a NAME from there, one of your own (path/to/file.py:Name), or that of a section of options
    (data, model, train, eval): what it is and what its options mean.
    """
    from ae_jax.cli import describe

    if name is None:
        describe.list_names()
    else:
        describe.describe_name(name)


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """The entry point of the `ae-jax` script."""
    run_command(cli)
