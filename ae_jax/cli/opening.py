"""The commands that open a run: evaluate, sample, encode, score, report and so on.

Nothing heavy is imported before a command needs it, so that help is instant.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

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


def opened(command):
    """The options of all commands that open a run: which checkpoint, and what may be executed."""
    for option in (ACCEPT_CODE, TRUST, CHECKPOINT):
        command = option(command)
    return command


def _count(default: int):
    most = click.IntRange(1, 1_000_000)
    return click.option("--count", type=most, default=default, show_default=True, help="How many.")


@click.command(short_help="Bound, reconstruction error, log-likelihood of a run.")
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


@click.command(short_help="Decode codes drawn from the prior of a run.")
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
@click.option("--label", help="The class, its name or number, of a model conditioned on the label.")
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
    label: str | None,
    prior: Literal["model", "fitted"],
    **allowed: bool,
) -> None:
    """Decode codes drawn from the prior of a RUN: means of p(x|z), as a figure or as numbers."""
    from ae_jax.cli import commands

    commands.sample(run, checkpoint, count, seed, out, label, prior, **allowed)


@click.command(short_help="Show examples beside their reconstructions.")
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


@click.command(short_help="Write the codes of a split to a file.")
@RUN
@opened
@SPLIT
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A .csv or .npz file.")
def encode(run: Path, checkpoint: "Which", split: str, out: Path, **allowed: bool) -> None:
    """Codes (posterior means) of a split by a RUN, with names and labels: .npz or .csv."""
    from ae_jax.cli import commands

    commands.encode(run, checkpoint, split, out, **allowed)


@click.command(short_help="Write how anomalous each example of a split is.")
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


@click.command(short_help="Write figures and report.html of a run, or compare several.")
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


@click.command(short_help="Write a page to walk through the codes of a run.")
@RUN
@opened
def explore(run: Path, checkpoint: "Which", **allowed: bool) -> None:
    """Write explorer.html of a RUN: one page that decodes in the browser, without a network.

    Drag a code over the plane, move its dimensions, walk between test examples. A report that is
    written afterwards links to it.
    """
    from ae_jax.cli import commands

    commands.explore(run, checkpoint, **allowed)


@click.command(short_help="Write encoder and decoder as programs for anywhere.")
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


COMMANDS = (evaluate, sample, reconstruct, encode, score, report, explore, export)
