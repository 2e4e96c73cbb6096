"""The commands of ae-jax: train, grid, runs, evaluate, sample, encode, score, report and so on.

Nothing heavy is imported before a command needs it, so that help is instant.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ae_jax.cli import launch_options
from ae_jax.cli.shell import DISTRIBUTED, JOIN_TIMEOUT, run_command

if TYPE_CHECKING:
    from ae_jax.train.checkpoints import Which

RUN = click.argument("run", type=click.Path(path_type=Path))
CHECKPOINT = click.option(
    "--checkpoint",
    type=click.Choice(["latest", "best"]),
    default="latest",
    show_default=True,
    help="The last one, or the best by the objective's headline on validation examples (training "
    "examples, where none are held out).",
)
SPLIT = click.option(
    "--split", default="test", show_default=True, help="Which examples: train, valid or test."
)
TRUST = click.option(
    "--trust", is_flag=True, help="Execute the files of code that the RUN names, whoever wrote it."
)
ACCEPT_CODE = click.option(
    "--accept-code",
    is_flag=True,
    help="Go on with files of code as they are, though they were edited since the run began.",
)

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


def opened(command):
    """The options of all commands that open a run: which checkpoint, and what may be executed."""
    for option in (ACCEPT_CODE, TRUST, CHECKPOINT):
        command = option(command)
    return command


def _count(default: int):
    most = click.IntRange(1, 1_000_000)
    return click.option("--count", type=most, default=default, show_default=True, help="How many.")


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


@cli.command(short_help="Bound, reconstruction error, log-likelihood of a run.")
@RUN
@opened
@SPLIT
@click.option(
    "--nll-samples",
    type=click.IntRange(min=1),
    help="Also estimate log p(x) by importance sampling with so many codes an example.",
)
@click.option(
    "--evaluator",
    "evaluators",
    multiple=True,
    metavar="NAME",
    help="Also ask a registered evaluator or path/to/file.py:name; may be repeated.",
)
def evaluate(
    run: Path,
    checkpoint: "Which",
    split: str,
    nll_samples: int | None,
    evaluators: tuple[str, ...],
    **allowed: bool,
) -> None:
    """The objective's metrics and the reconstruction error of a RUN on a split.

    Of a codec with a density, its exact log p(x).

    Kept in the run's results.json, one row for each split and checkpoint.
    """
    from ae_jax.cli import commands

    commands.evaluate(run, checkpoint, split, nll_samples, evaluators, **allowed)


@cli.command(short_help="Decode codes drawn from the prior of a run.")
@RUN
@opened
@_count(100)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the codes that are drawn.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A .npz file for the samples.")
@click.option("--label", type=int, help="The class, for a model that is conditioned on the label.")
@click.option(
    "--prior",
    type=click.Choice(["model", "fitted"]),
    default="model",
    show_default=True,
    help="The model's own, or a mixture of Gaussians fitted to the training codes.",
)
def sample(
    run: Path,
    checkpoint: "Which",
    count: int,
    seed: int,
    out: Path | None,
    label: int | None,
    prior: Literal["model", "fitted"],
    **allowed: bool,
) -> None:
    """Decode codes drawn from the prior of a RUN: means of p(x|z), as a figure or as numbers."""
    from ae_jax.cli import commands

    commands.sample(run, checkpoint, count, seed, out, label, prior, **allowed)


@cli.command(short_help="Show examples beside their reconstructions.")
@RUN
@opened
@SPLIT
@_count(12)
@click.option("--out", type=click.Path(path_type=Path), help="A .npz file for the examples.")
def reconstruct(
    run: Path, checkpoint: "Which", split: str, count: int, out: Path | None, **allowed: bool
) -> None:
    """Examples of a split beside what a RUN makes of them."""
    from ae_jax.cli import commands

    commands.reconstruct(run, checkpoint, split, count, out, **allowed)


@cli.command(short_help="Write the codes of a split to a file.")
@RUN
@opened
@SPLIT
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .npz file.")
def encode(run: Path, checkpoint: "Which", split: str, out: Path, **allowed: bool) -> None:
    """Codes (posterior means) of a split by a RUN: `z`, and `y` where there are labels."""
    from ae_jax.cli import commands

    commands.encode(run, checkpoint, split, out, **allowed)


@cli.command(short_help="Write how anomalous each example of a split is.")
@RUN
@opened
@click.option("--split", help="Which examples of the RUN: train, valid or test.  [default: test]")
@click.option(
    "--data",
    help="Other examples, of the same form: what `train` takes as DATA, all of it in its order.",
)
@click.option(
    "--kind",
    default="reconstruction",
    show_default=True,
    help="reconstruction, bound, log_likelihood, code or path/to/file.py:Name.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .csv or .npz file.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Codes an example, for bound and log_likelihood.  [default: 10, 100]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the codes that are drawn.",
)
@click.option(
    "--false-positive-rate",
    "rate",
    type=click.FloatRange(0, 1, max_open=True),
    help="Also choose a threshold above which this share of --threshold-split lies, and call "
    "what is above it an outlier.",
)
@click.option(
    "--threshold-split",
    help="The examples that the threshold is chosen on.  [default: valid, where there is one, else "
    "train]",
)
def score(
    run: Path, checkpoint: "Which", split: str | None, kind: str, out: Path, **options
) -> None:
    """Anomaly scores of a split by a RUN, or of other --data, the higher the more anomalous.

    The file has one row an example: its number in the split, its score, its name (the number of its
    row, where it came from one array or table), its label where there are any, and, with
    --false-positive-rate, 1 for an outlier and 0 for others.
    """
    from ae_jax.cli import commands

    commands.score(run, checkpoint, split, kind=kind, out=out, **options)


@cli.command(short_help="Write figures and report.html of a run, or compare several.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@opened
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Of several runs, the page.  [default: comparison-HASH.html, with a hash of their names, "
    "in the folder that holds them all]",
)
def report(runs: tuple[Path, ...], checkpoint: "Which", out: Path | None, **allowed: bool) -> None:
    """Write figures and a self-contained report.html of a RUN.

    Of several, one page that compares them: what differs between them, what they reach on test
    examples, what `evaluate` found, their curves in one figure, and the same examples
    reconstructed, and samples, side by side.
    """
    from ae_jax.cli import commands

    commands.report(runs, checkpoint, out, **allowed)


@cli.command(short_help="Write a page to walk through the codes of a run.")
@RUN
@opened
def explore(run: Path, checkpoint: "Which", **allowed: bool) -> None:
    """Write explorer.html of a RUN: one page that decodes in the browser, without a network.

    Drag a code over the plane, move its dimensions, walk between test examples. A report that is
    written afterwards links to it.
    """
    from ae_jax.cli import commands

    commands.explore(run, checkpoint, **allowed)


@cli.command(short_help="Write encoder and decoder as programs for anywhere.")
@RUN
@opened
@click.option("--out", type=click.Path(path_type=Path), help="The folder.  [default: RUN/export]")
@click.option(
    "--onnx",
    "as_onnx",
    is_flag=True,
    help="Also write encode.onnx and decode.onnx, for onnxruntime.",
)
def export(
    run: Path, checkpoint: "Which", out: Path | None, as_onnx: bool, **allowed: bool
) -> None:
    """Write encoder and decoder of a RUN as StableHLO, which runs without this library.

    Beside them its weights as safetensors and its configuration; preprocessing is part of the
    programs, which take any number of examples.
    """
    from ae_jax.cli import commands

    commands.export(run, checkpoint, out, as_onnx, **allowed)


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


def main() -> None:
    """The entry point of the `ae-jax` script."""
    run_command(cli)
