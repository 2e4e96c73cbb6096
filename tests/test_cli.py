"""The command line as a user meets it; what starts, trains and fails in processes of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ae_jax.api import load
from ae_jax.cli import commands, describe

OBJECTIVE = '''
from flax import struct
from ae_jax.objectives import Elbo, Terms


@struct.dataclass
class Doubled(Elbo):
    """Twice the ELBO's loss, with the factor as an option."""

    factor: float = 2.0

    def __call__(self, model, batch, key, step, axis_name=None):
        terms = super().__call__(model, batch, key, step, axis_name)
        return Terms(self.factor * terms.loss, terms.metrics)
'''


EVALUATOR = """
def count(module, variables, data, key):
    return {"count": float(len(data.split))}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def ae_jax(folder):
    """Runs `ae-jax` in the folder and returns the finished process."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "AE_JAX_CACHE": str(folder / "cache")}
    environment.pop("AE_JAX_DATA", None)

    def run(*arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ae_jax.cli", *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture(scope="module")
def run(folder, ae_jax) -> Path:
    """A trained run on the 8x8 digits."""
    small = ("--hidden", 32, "--epochs", 3, "--latent-dim", 2, "--workdir", "run")
    done = ae_jax("train", "digits", *small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "run: run"
    assert "epoch 3/3" in done.stderr
    return folder / "run"


def test_help_is_instant_and_imports_nothing_heavy(folder):
    code = (
        "import sys, ae_jax.cli; from click.testing import CliRunner;"
        "out = CliRunner().invoke(ae_jax.cli.cli, ['--help']);"
        "assert out.exit_code == 0 and 'nats per example' in out.output;"
        "heavy = {'jax', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)
    # Measured 0.1 s; the bound leaves room for a loaded machine.
    assert time.perf_counter() - start < 5


def test_run_directory_is_complete(run):
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["head"] == "bernoulli" and config["data"]["preprocess"] == "grey"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert (
        records[-1]["samples"]
        == 3 * json.loads((run / "data.json").read_text())["examples"]["train"]
    )


@pytest.mark.slow
def test_the_same_command_again_reuses_the_run(run, command):
    before = (run / "metrics.jsonl").read_bytes()
    status, _, err = command("train", "--config", run / "config.json", "--workdir", "run")
    assert status == 0, err
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_training_ends_with_figures_and_report(command, folder):
    """Again only where there is something new; the run stands where they cannot be written."""
    of_codec = ("train", "digits", "--codec", "pca", "--latent-dim", 2)
    assert command(*of_codec, "--workdir", "plain")[0] == 0  # as the tests are set up
    assert not (folder / "plain" / "report.html").exists()

    given = (*of_codec, "--workdir", "reported", "--report")
    status, out, err = command(*given)
    assert status == 0, err
    assert out.splitlines()[-1] == f"report: {Path('reported/report.html')}"
    assert {"training.png", "atoms.png"} <= set(os.listdir(folder / "reported" / "figures"))
    assert command(*given)[1].splitlines()[-1] == "run: reported"

    (folder / "plain" / "figures").write_text("in the way")
    status, out, err = command(*of_codec, "--workdir", "plain", "--report")
    assert status == 0 and out.splitlines()[-1] == "run: plain"
    assert "the run is kept, its report is not: " in err and len(err.splitlines()) == 1, err


@pytest.mark.slow
def test_a_report_follows_a_network_that_is_trained_on(command, folder):
    small = ("train", "digits", "--hidden", 4, "--latent-dim", 2, "--workdir", "longer")
    page = folder / "longer" / "report.html"
    assert command(*small, "--epochs", 1, "--report")[0] == 0
    first = page.read_text()
    assert command(*small, "--epochs", 2, "--report")[0] == 0
    assert page.read_text() != first and "after epoch 2" in page.read_text()
    before = page.stat().st_mtime_ns
    assert command(*small, "--epochs", 2, "--report")[1].splitlines()[-1].startswith("run: ")
    assert page.stat().st_mtime_ns == before, "nothing was trained, and nothing is written anew"


def test_evaluate_prints_and_keeps_the_numbers(run, command):
    status, out, err = command("evaluate", "run", "--nll-samples", 20)
    assert status == 0, err
    (row,) = json.loads((run / "results.json").read_text())["runs"]
    assert row["samples of log_likelihood"] == 20 and row["preprocess"] == "grey"
    assert (row["split"], row["checkpoint"], row["step"]) == ("test", "latest", 45)
    # Twenty samples bound log p(x) more tightly than the one of the ELBO.
    assert row["elbo"] < row["log_likelihood"] < 0
    assert row["elbo"] == pytest.approx(row["reconstruction"] - row["kl"], abs=1e-3)
    assert f"elbo {row['elbo']:12.5f}\n" in out
    assert out.splitlines()[-1] == "results: run/results.json"


@pytest.mark.slow
def test_results_hold_one_row_for_each_split_and_checkpoint(run, command, folder):
    (folder / "own_evaluator.py").write_text(EVALUATOR)
    (run / "results.json").unlink(missing_ok=True)
    for split, checkpoint in (("test", "latest"), ("valid", "latest"), ("test", "best")):
        command("evaluate", "run", "--split", split, "--checkpoint", checkpoint)
    before = rows(run)
    assert list(before) == [("test", "latest"), ("valid", "latest"), ("test", "best")]
    command("evaluate", "run", "--evaluator", "own_evaluator.py:count", "--evaluator", "bound")
    after = rows(run)
    row = before.pop(("test", "latest"))
    # The evaluator says what the objective said, beside it and under its own name.
    bound = {f"bound/{name}": row[name] for name in ("elbo", "reconstruction", "kl")}
    assert after.pop(("test", "latest")) == row | {"count": 180.0} | bound
    assert after == before


def rows(run: Path) -> dict[tuple[str, str], dict]:
    found = json.loads((run / "results.json").read_text())["runs"]
    return {(row["split"], row["checkpoint"]): row for row in found}


def test_encode_agrees_with_python(run, command, folder):
    status, _, err = command("encode", "run", "--out", "codes.npz")
    assert status == 0, err
    model = load(run)
    test = model.setup.dataset.splits["test"]
    with np.load(folder / "codes.npz", allow_pickle=False) as codes:
        np.testing.assert_allclose(codes["z"], model.encode(test.x), atol=1e-5)
        np.testing.assert_array_equal(codes["y"], test.y)


@pytest.mark.parametrize("name", ["sample", "reconstruct"])
def test_figures_are_pictures(run, command, name):
    status, out, err = command(name, "run")
    assert status == 0, err
    picture = Path(out.split("figure: ")[1].strip())
    assert (run.parent / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_report_is_one_file(run, command):
    status, _, err = command("report", "run")
    assert status == 0, err
    page = (run / "report.html").read_text()
    assert "objective.beta" in page and page.count("data:image/png;base64,") == 5


@pytest.mark.slow
def test_own_array_and_own_objective(folder, command):
    rows = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    np.save(folder / "mine.npy", rows)
    (folder / "mine.py").write_text(OBJECTIVE)
    options = ("--objective", "mine.py:Doubled", "--set", "objective.factor=3", "--hidden", 8)
    status, _, err = command("train", "mine.npy", *options, "--epochs", 1, "--workdir", "own")
    assert status == 0, err
    last = json.loads((folder / "own" / "metrics.jsonl").read_text())
    assert last["test/loss"] == pytest.approx(-3 * last["test/elbo"], rel=1e-5)
    assert json.loads((folder / "own" / "config.json").read_text())["model"]["head"] == "gaussian"


def test_dry_run_counts_parameters(command, folder):
    options = ("--hidden", 10, "--latent-dim", 2, "--set", "model.latent=deterministic")
    _, out, _ = command("train", "digits", *options, "--dry-run", "--workdir", "dry")
    weights = 64 * 10 + 10 * 2 + 2 * 10 + 10 * 64
    biases = 10 + 2 + 10 + 64
    assert f"parameters: {weights + biases:,} in all, {weights:,} of them" in out
    assert not (folder / "dry").exists()


def test_list_tells_what_a_name_and_its_options_mean(command):
    told = command("list", "elbo")[1]
    assert told.startswith("objective elbo\n") and "beta_warmup      steps over which" in told
    # What an optimiser has from all of them is told too, and options of a section.
    told = command("list", "adagrad")[1]
    assert "burn_in " in told and "warmup          share of the run" in told
    assert "memory_budget" in command("list", "data")[1]
    for registry in describe.REGISTRIES:
        for name, part in registry.items():
            assert "(undocumented)" not in describe._docs(part), (registry.kind, name)


@pytest.mark.slow
def test_list_names_everything(ae_jax):
    listed = ae_jax("list").stdout
    for name in ("mnist", "elbo", "adagrad", "gaussian_sigmoid", "conv", "dynamic_binarization"):
        assert name in listed


BAD = {
    "unknown data set": (["train", "mnsit"], "did you mean 'mnist'"),
    "unknown objective": (["train", "digits", "--objective", "elbow"], "did you mean 'elbo'"),
    "unknown optimiser": (["train", "digits", "--optimiser", "adamm"], "did you mean 'adam'"),
    "unknown option": (["train", "digits", "--set", "model.latent_dm=3"], "model.latent_dim"),
    "unknown head": (["train", "digits", "--set", "model.head=bernouli"], "'bernoulli'"),
    "no size": (["train", "digits", "--latent-dim", "0"], "model.latent_dim"),
    "words for sizes": (["train", "digits", "--hidden", "many"], "500,200"),
    "no sizes": (["train", "digits", "--hidden", ""], "--set model.hidden=[]"),
    "a page for a key": (
        ["train", "digits", "--set", f"train.{'x' * 5000}=1"],
        "(5,006 characters)",
    ),
    "batch too large": (["train", "digits", "--batch-size", "9999"], "1437"),
    "too large a model": (["train", "digits", "--hidden", "9999999,9999999"], "GiB"),
    "convolution of vectors": (["train", "iris", "--set", "model.encoder=conv"], "images"),
    "values outside the support": (["train", "big.npy", "--set", "model.head=bernoulli"], "[0, 1]"),
    "missing values": (["train", "nan.npy"], "NaN"),
    "corrupt file": (["train", "cut.npy"], "damaged"),
    "no such file": (["train", "absent.npy"], "no such file"),
    "no such run": (["evaluate", "absent"], "not a run's directory"),
    "no such split": (
        ["evaluate", "run", "--split", "tset"],
        "unknown split 'tset': did you mean 'test'? valid: test, train, valid",
    ),
    "no such split to show": (["reconstruct", "run", "--split", "tset"], "unknown split 'tset'"),
    "no such split to encode": (
        ["encode", "run", "--split", "tset", "--out", "z.npz"],
        "unknown split 'tset'",
    ),
    "no such evaluator": (["evaluate", "run", "--evaluator", "bond"], "did you mean 'bound'"),
    "encode into text": (["encode", "run", "--out", "z.txt"], "takes a .csv or .npz file"),
    "sample into text": (["sample", "run", "--out", "z.csv"], "takes a .npz file, not z.csv"),
    "reconstruct into text": (["reconstruct", "run", "--out", "z.csv"], "takes a .npz file"),
    "no such figure folder": (["encode", "run", "--out", "big.npy/codes.npz"], "cannot create"),
    "other configuration": (
        [
            "train",
            "digits",
            "--hidden",
            "33",
            "--epochs",
            "4",
            "--latent-dim",
            "2",
            "--workdir",
            "run",
        ],
        "train.epochs: 3 -> 4",
    ),
    "no permission": (["train", "digits", "--workdir", "big.npy/run"], "cannot create"),
    "no data": (["train"], "--config"),
    "data that only a folder has": (["train", "frey_face"], "AE_JAX_DATA"),
}


@pytest.fixture(scope="module")
def bad_files(folder):
    rows = np.random.default_rng(0).uniform(0, 255, size=(200, 6)).astype(np.float32)
    np.save(folder / "big.npy", rows)
    rows[3, 2] = np.nan
    np.save(folder / "nan.npy", rows)
    (folder / "cut.npy").write_bytes((folder / "big.npy").read_bytes()[:500])


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case, run, bad_files, command):
    arguments, expected = BAD[case]
    status, _, errors = command(*arguments)
    assert status == 2
    assert_one_sentence(errors, expected)


@pytest.mark.parametrize("name", ["evaluate", "sample", "reconstruct", "report"])
def test_a_run_that_cannot_be_written_to_is_refused_before_the_work(
    name, run, command, monkeypatch
):
    class Untouchable:
        def split_named(self, split):
            return split

    monkeypatch.setattr(commands, "load", lambda *_, **__: Untouchable())
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    status, _, errors = command(name, "run")
    assert status == 2
    assert_one_sentence(errors, "no permission to write in the folder run")


def test_bad_input_ends_the_process_with_status_2(ae_jax, run):
    done = ae_jax("train", "digits", "--objective", "elbow")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert_one_sentence(done.stderr, "did you mean 'elbo'")


def assert_one_sentence(stderr: str, expected: str) -> None:
    errors = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and expected in errors[0], stderr
