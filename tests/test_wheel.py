"""What is built of this project: the wheel holds all that the library opens, and runs alone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ae_jax

ROOT = Path(__file__).parents[1]
EXAMPLE = """
import numpy as np, ae_jax

x = np.random.default_rng(0).normal(size=(200, 12)).astype("float32")
model = ae_jax.fit(x, latent_dim=2, hidden=[8], epochs=2, progress=False)
print(model.sample(16).shape, ae_jax.__version__, ae_jax.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what git knows of, so that nothing comes from earlier builds."""
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(
        ["git", "ls-files", "ae_jax", "pyproject.toml", "README.md", "LICENSE*"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    folder = tmp_path_factory.mktemp("wheel")
    _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


def _pip(python, *arguments) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*map(str, [*command, *arguments])], check=True, capture_output=True, timeout=500
    )


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_library(wheel):
    package = ROOT / "ae_jax"
    expected = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert expected == {name for name in names if name.startswith("ae_jax/")}
    others = {name.split("/")[0] for name in names} - {"ae_jax"}
    assert others == {f"ae_jax-{ae_jax.__version__}.dist-info"}


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_environment(wheel, tmp_path):
    """Installs what the wheel asks for from the package registry."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=100)
    programs = tmp_path / "venv" / "bin"
    _pip(programs / "python", "install", wheel)
    clean = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(*command: str) -> str:
        ended = subprocess.run(
            command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    example = run("python", "-c", EXAMPLE)
    assert f"(16, 12) {ae_jax.__version__} {tmp_path}" in example
    run("ae-jax", "train", "digits", "--latent-dim", "2", "--epochs", "1", "--workdir", "first")
    assert (tmp_path / "first" / "report.html").is_file()
    assert "elbo" in run("ae-jax", "evaluate", "first")
