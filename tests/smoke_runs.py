"""Running an experiment's `smoke` preset in this process, and reading what it left."""

import json
from pathlib import Path

import click
import numpy as np
from click.testing import CliRunner
from matplotlib.image import imread

from ae_jax.data import load


def run_smoke(command: click.Command, workdir: Path) -> dict:
    """The results.json of a smoke run in `workdir`."""
    arguments = ["--preset", "smoke", "--workdir", str(workdir)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads((workdir / "results.json").read_text())


def check_pictures(workdir: Path, names: set[str]) -> None:
    """Every figure is there, is no blank sheet, and is in the report."""
    files = {path.stem: path for path in (workdir / "figures").glob("*.png")}
    assert set(files) == names
    for name, path in files.items():
        picture = imread(path)
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.03, name
    report = (workdir / "report.html").read_text()
    assert report.count("data:image/png;base64,") == len(names)


def digit_rows(split: str) -> np.ndarray:
    """The 8x8 digits in [0, 1], [N, 64] float64, straight from the data set."""
    x = load("digits", protocol="full").splits[split].x
    return x.reshape(len(x), -1).astype(np.float64) / 16


def svd_error(train: np.ndarray, x: np.ndarray, size: int) -> float:
    """Squared error per example of x under the PCA of `train`, by NumPy's SVD."""
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:size]
    residual = (x - mean) - (x - mean) @ axes.T @ axes
    return float((residual**2).sum(axis=1).mean())
