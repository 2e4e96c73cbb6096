"""How fast, and against what: ratios measured in one run on one machine.

Command python -m experiments.benchmark --suite step|grid|stream|startup|codecs|nll
            [--preset smoke|standard] [--workdir DIR]

        step      an epoch of the network of Kingma & Welling 2014 on MNIST: this library, a bare
                  scan of the same arithmetic, one jitted step a batch, PyTorch plain and
                  compiled, pythae; by batch size and width; needs the extra `benchmark`
        grid      runs of the latent-size grid, and of smaller networks, stacked and in turn, by
                  their number; what the 75 runs of the paper's figure would take
        stream    a set four times its share of the device's memory, streamed from files, against
                  the same from device memory
        startup   from the command to the end of the first step, without and with programs that
                  were compiled before
        codecs    PCA, k-means, NMF and dictionary learning against scikit-learn at its defaults:
                  time with compilation and after it, and what is minimised
        nll       log p(x) with 5,000 samples an image against pythae's estimator, and training of
                  the bound of 50 samples against pythae and PyTorch; needs the extra `benchmark`

Seconds depend on the machine and on what else it does; claims are ratios. Each contender runs in
a process of its own, and they take turns.
"""

from importlib import import_module
from pathlib import Path

import click

from ae_jax.cli.shell import run_command
from ae_jax.core.files import make_directory
from ae_jax.report.pages import markdown_table
from experiments.benchmarks import report

SUITES = ("step", "grid", "stream", "startup", "codecs", "nll")


@click.command()
@click.option("--suite", type=click.Choice(SUITES), required=True)
@click.option(
    "--preset", type=click.Choice(["smoke", "standard"]), default="standard", show_default=True
)
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Default: checkpoints/benchmark/SUITE.",
)
def main(suite: str, preset: str, workdir: Path | None) -> None:
    """Measure a suite; writes results.json and prints its tables."""
    folder = make_directory(workdir or Path("checkpoints/benchmark") / suite)
    measured = import_module(f"experiments.benchmarks.{suite}").run(
        preset, lambda text: click.echo(text, err=True)
    )
    results = report.write(folder / "results.json", suite, measured)
    click.echo(f"{results['note']}\n")
    for title, rows in results["tables"].items():
        click.echo(f"{title}\n\n{markdown_table(rows)}\n")
    for name, value in results["facts"].items():
        click.echo(f"{name}: {value}")
    for claim in results["claims"]:
        verdict = "holds" if claim["holds"] else "DOES NOT HOLD"
        click.echo(f"{verdict}: {claim['name']} {claim['value']} (at least {claim['target']})")
    click.echo(f"\nresults: {folder / 'results.json'}")


if __name__ == "__main__":
    run_command(main)
