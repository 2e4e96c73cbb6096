"""What the other commands of `ae-jax` do, once their arguments are known.

Matplotlib is imported by the commands that draw: the others are over sooner.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from ae_jax.api import load
from ae_jax.core.errors import UserError
from ae_jax.core.files import (
    finite_or_none,
    make_directory,
    write_atomically,
)
from ae_jax.core.registry import absolute_reference
from ae_jax.data import Split, examples_for, file_and_label, info, prepare
from ae_jax.eval import ImportanceSampledLikelihood
from ae_jax.eval.scores import outliers, score_named, threshold_at
from ae_jax.report.claims import write_results
from ae_jax.report.pages import csv_table
from ae_jax.train.checkpoints import Which
from ae_jax.train.own_files import refuse_over_run
from ae_jax.train.rundir import RunDirectory


def evaluate(
    run: Path,
    checkpoint: Which,
    split: str,
    nll_samples: int | None,
    evaluators: tuple[str, ...],
    **allowed: Any,
) -> None:
    """Prints what is known of a split and keeps it in results.json."""
    model = load(run, checkpoint, **allowed)
    chosen: list[Any] = list(evaluators)
    if nll_samples is not None:
        if "log_likelihood" in evaluators:
            raise UserError(
                "--nll-samples is the number of samples of log_likelihood: leave the evaluator out"
            )
        chosen.append(ImportanceSampledLikelihood(nll_samples))
    model.split_named(split)
    make_directory(run)  # a run that cannot be written to is refused before the work
    values = model.evaluate(split, chosen)
    protocol = {
        "split": split,
        "checkpoint": checkpoint,
        "step": model.step,
        "examples": len(model.setup.splits[split]),
        "preprocess": model.config.data.preprocess,
        **({} if nll_samples is None else {"samples of log_likelihood": nll_samples}),
    }
    click.echo("  ".join(f"{name}: {value}" for name, value in protocol.items()))
    for name, value in values.items():
        click.echo(f"{name:>27} {value:12.5f}")
    click.echo("Nats per example; squared errors of model inputs, per example and per dimension.")
    directory = RunDirectory(run)
    _keep_row(directory, {"run": str(run), **protocol, **values})
    click.echo(f"results: {directory.results_file}")


def _keep_row(directory: RunDirectory, row: dict[str, Any]) -> None:
    """Adds a row to results.json, in place of an older one on the same split and checkpoint."""
    identity = ("split", "checkpoint")
    with directory.adding_results() as rows:
        kept = [old for old in rows if any(old.get(key) != row[key] for key in identity)]
        write_results(directory.results_file, [], [*kept, finite_or_none(row)])


def sample(
    run: Path,
    checkpoint: Which,
    count: int,
    seed: int,
    out: Path | None,
    label: str | None,
    prior: Literal["model", "fitted"],
    **allowed: Any,
) -> None:
    """Writes samples as a figure, or as numbers where they are no images or `out` asks for it."""
    _check_arrays(out)
    model = load(run, checkpoint, **allowed)
    make_directory(_own_folder(run) if out is None else out.parent)
    _refuse_loss(out, run, model.config.data.name)
    y = None if label is None else _class_given(label, model.setup.dataset.classes or ())
    samples = model.sample(count, seed, y=y, prior=prior, units="model")
    if prior == "fitted":
        click.echo("codes: from a mixture of Gaussians that is fitted to the training codes")
    if out is None and model.setup.dataset.is_picture:
        from ae_jax.report import figures

        columns = min(count, 10)
        grid = figures.image_grid(samples, -(-count // columns), columns)
        _save_figure(grid, RunDirectory(run).figures / "samples.png")
    else:
        _save_arrays(out or Path(run) / "samples.npz", samples=samples)


def reconstruct(
    run: Path, checkpoint: Which, split: str, count: int, out: Path | None, **allowed: Any
) -> None:
    """Writes examples and their reconstructions as a figure or as numbers."""
    _check_arrays(out)
    model = load(run, checkpoint, **allowed)
    split = model.split_named(split)
    make_directory(_own_folder(run) if out is None else out.parent)
    _refuse_loss(out, run, model.config.data.name)
    examples = model.setup.dataset.splits[split].head(count)
    inputs, outputs = model.inputs(examples), model.reconstruct(examples, units="model")
    if out is None and model.setup.dataset.is_picture:
        from ae_jax.report import figures

        figure = figures.reconstructions(inputs, {"reconstruction": outputs})
        _save_figure(figure, RunDirectory(run).figures / "reconstructions.png")
    else:
        _save_arrays(
            out or Path(run) / "reconstructions.npz", inputs=inputs, reconstructions=outputs
        )


def encode(run: Path, checkpoint: Which, split: str, out: Path, **allowed: Any) -> None:
    """Writes the codes of a split, with the names and labels of its examples."""
    if out.suffix not in (".csv", ".npz"):
        raise UserError(f"--out takes a .csv or .npz file, not {out.name}")
    model = load(run, checkpoint, **allowed)
    _refuse_loss(out, run, model.config.data.name)
    examples = model.setup.dataset.splits[model.split_named(split)]
    make_directory(out.parent)
    codes, known = model.encode(examples), _named(examples, model.setup.dataset.classes)
    if out.suffix == ".npz":
        y = {} if examples.y is None else {"y": np.asarray(examples.y)}
        _save_arrays(out, z=codes, **y, **known)
        return
    values = {f"z{unit}": column for unit, column in enumerate(codes.T)}
    _save_table(out, {"example": np.arange(len(codes)), **known, **values})


def _own_folder(run: Path) -> Path:
    """Where what is made of a run is written. Raises UserError for a model in a file."""
    if run.is_file():
        raise UserError(f"{run} is a model in a file, with no folder for what is made of it")
    return run


def _refuse_loss(out: Path | None, run: Path, data: str | None) -> None:
    """Raises UserError where what is written would replace what it is made of: the data, the file
    of a model, or what a run keeps."""
    if out is None:
        return
    if data is not None and out.resolve() == file_and_label(data)[0].resolve():
        raise UserError(
            f"--out {out} would write over the data of the run, or those that are given"
        )
    if out.resolve() == Path(run).resolve():
        raise UserError(f"--out {out} would write over the model: name another file")
    refuse_over_run(out)


def _named(examples: Split, classes: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """The names of examples and the labels, by the names of classes where they have any."""
    known = {} if examples.names is None else {"name": np.asarray(examples.names)}
    if examples.y is not None:
        known["label"] = np.asarray(classes)[examples.y] if classes else np.asarray(examples.y)
    return known


def _save_table(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_atomically(path, csv_table(rows).encode())
    click.echo(f"{path}: {len(rows)} rows of {', '.join(columns)}")


def _class_given(label: str, names: tuple[str, ...]) -> int | str:
    """A class as it is typed: its name, or its number."""
    return int(label) if label not in names and label.removeprefix("-").isdecimal() else label


def score(
    run: Path,
    checkpoint: Which,
    split: str | None,
    data: str | None,
    kind: str,
    out: Path,
    samples: int | None,
    seed: int,
    rate: float | None,
    threshold_split: str | None,
    **allowed: Any,
) -> None:
    """Writes the anomaly scores of a split, and says at which threshold an outlier begins."""
    if out.suffix not in (".csv", ".npz"):
        raise UserError(f"--out takes a .csv or .npz file, not {out.name}")
    if threshold_split is not None and rate is None:
        raise UserError("--threshold-split says where --false-positive-rate holds: give that too")
    if data is not None and split is not None:
        raise UserError("--split is of the data of the RUN, and --data names others")
    _refuse_loss(out, run, data)
    chosen = score_named(kind, samples)
    model = load(run, checkpoint, **allowed)
    _refuse_loss(out, run, model.config.data.name)
    splits = model.setup.dataset.splits
    given = threshold_split or ("valid" if "valid" in splits else "train")
    if rate is not None:
        given = model.split_named(given)
    make_directory(out.parent)
    if data is None:
        where, classes = split or "test", model.setup.dataset.classes
        examples = splits[model.split_named(where)]
        scores = model.score(examples, chosen, seed=seed)
    else:
        dataset, layout = model.setup.dataset, model.config.data.layout
        labelled = model.condition_kind == "label"
        where = data
        examples, classes = examples_for(data, dataset, layout=layout, labelled=labelled)
        y = examples.y if labelled else None
        condition = examples.condition if model.condition_kind == "input" else None
        scores = model.score(examples.x, chosen, y, condition, seed=seed)
    columns = {"example": np.arange(len(examples)), "score": scores}
    columns |= _named(examples, classes)
    known = {}
    if rate is not None:
        known["threshold"] = threshold_at(model.score(splits[given], chosen, seed=seed), rate)
        columns["outlier"] = outliers(columns["score"], known["threshold"])
        click.echo(
            f"threshold: {known['threshold']:.6g}, which a share {rate:g} of {given} lies above; "
            f"{columns['outlier'].sum()} of {len(examples)} in {where} do"
        )
    if out.suffix == ".npz":
        _save_arrays(out, **columns, **{name: np.asarray(value) for name, value in known.items()})
        return
    _save_table(out, columns)


def report(runs: tuple[Path, ...], checkpoint: Which, out: Path | None, **allowed: Any) -> None:
    """Writes figures and report.html of a run, or a page that compares several."""
    from ae_jax.report import write

    if len(runs) > 1:
        _compare(runs, checkpoint, out, **allowed)
        return
    if out is not None:
        raise UserError("--out is for the page that compares several runs; one keeps its own")
    (run,) = runs
    model = load(run, checkpoint, **allowed)
    model.split_named("test")
    make_directory(run)
    path = write(model, RunDirectory(run))
    click.echo(f"report: {path}")


def _compare(runs: tuple[Path, ...], checkpoint: Which, out: Path | None, **allowed: Any) -> None:
    """Writes the page about several runs, by default beside them."""
    from ae_jax.report import run_comparison

    folders = run_comparison.names_of(list(runs))
    name, first = next(iter(folders.items()))
    holding_all = first.parents[len(Path(name).parts) - 1]
    path = out or holding_all / run_comparison.page_name(folders)
    if path.suffix != ".html":
        raise UserError(f"--out takes a .html file, not {path.name}")
    refuse_over_run(path)
    models = {name: load(run, checkpoint, **allowed) for name, run in folders.items()}
    for model in models.values():
        model.split_named("test")
    make_directory(path.parent)
    directories = {name: RunDirectory(run) for name, run in folders.items()}
    click.echo(f"report: {_as_typed(run_comparison.write(models, directories, path))}")


def _as_typed(path: Path) -> Path:
    """A path as it is typed here, where it lies below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def explore(run: Path, checkpoint: Which, **allowed: Any) -> None:
    """Writes explorer.html."""
    from ae_jax.report import explorer

    model = load(run, checkpoint, **allowed)
    make_directory(_own_folder(run))
    click.echo(f"explorer: {explorer.write(model, RunDirectory(run))}")


def export(run: Path, checkpoint: Which, out: Path | None, as_onnx: bool, **allowed: Any) -> None:
    """Writes the programs of a run."""
    from ae_jax.api.export import export as write
    from ae_jax.api.onnx import export_onnx

    folder = out or _own_folder(run) / "export"
    refuse_over_run(folder)
    model = load(run, which=checkpoint, **allowed)
    if as_onnx:
        export_onnx(model, folder)
    click.echo(f"programs: {write(model, folder)}")


def prepare_data(name: str) -> None:
    """Prepares a data set and says where it lies."""
    click.echo(f"{name}: {prepare(name, click.echo)}")


def show_data(name: str) -> None:
    """Prints the facts about a data set."""
    for key, value in info(name).items():
        if isinstance(value, list | tuple) and key == "sources":
            value = "".join(f"\n  {number}. {text}" for number, text in enumerate(value, 1))
        click.echo(f"{key}: {value}")


def check(part: str, kind: str | None) -> None:
    """Prints every check of a part of the user's own; exits with 1 where one fails."""
    from ae_jax.cli.check import check as checks

    wrong = 0
    for finding in checks(absolute_reference(part), kind):
        wrong += finding.wrong is not None
        click.echo(
            f"{'ok' if finding.wrong is None else 'WRONG':>5}  {finding.name}"
            + (f": {finding.wrong}" if finding.wrong else "")
        )
    click.echo("it fits in" if not wrong else f"{wrong} of the checks above are not passed")
    if wrong:
        raise SystemExit(1)


def _save_figure(figure, path: Path) -> None:
    from ae_jax.report import saving

    for written in saving.save(figure, path):
        click.echo(f"figure: {written}")


def _check_arrays(out: Path | None) -> None:
    """Raises UserError for a file of another kind than is written, before any work."""
    if out is not None and out.suffix != ".npz":
        raise UserError(f"--out takes a .npz file, not {out.name}")


def _save_arrays(path: Path, **arrays: Any) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    click.echo(f"{path}: {shapes}")
