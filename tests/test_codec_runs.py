"""Codecs as runs: the command line and Python treat them like networks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

import ae_jax
from ae_jax.codecs import CODECS, Pca
from ae_jax.codecs.form import FORMS
from ae_jax.core.errors import UserError
from ae_jax.numerics.noise import stream_key
from ae_jax.train.config import CodecConfig, from_dict, override, to_dict
from ae_jax.train.progress import fit_progress

SMALL = {"latent_dim": 4, "codec__max_iterations": 8}


def options(name: str) -> dict:
    """Few atoms, and few iterations where there are any: PCA of few examples is solved at once."""
    iterates = name != "pca" and hasattr(CODECS.get(name)(), "max_iterations")
    return SMALL if iterates else {"latent_dim": 4}


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().images.astype(np.uint8)[:300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("codecs")


@pytest.fixture
def run(folder, command) -> Path:
    """A fitted k-means of the 8x8 digits."""
    if not (folder / "run").exists():
        small = ("--latent-dim", 6, "--set", "codec.max_iterations=12", "--workdir", "run")
        status, out, err = command("train", "digits", "--codec", "kmeans", *small)
        assert status == 0, err
        assert "iterations (" in out and out.splitlines()[-1] == "run: run"
        assert "digits kmeans  iteration 10 of at most 12  objective" in err
    return folder / "run"


@pytest.mark.slow_cases(
    "kmeans", "probabilistic_pca", "ica", "nmf", "sparse_coding", "spherical_mixture"
)
@pytest.mark.parametrize("name", list(CODECS))
def test_every_codec_is_fitted_kept_and_loaded(name, digits, tmp_path):
    fitted = ae_jax.fit(digits, codec=name, workdir=tmp_path / "run", **options(name))
    loaded = ae_jax.load(tmp_path / "run", data=digits)
    x = fitted.setup.dataset.splits["test"]
    codes = fitted.encode(x)
    np.testing.assert_array_equal(loaded.encode(x), codes)
    np.testing.assert_array_equal(loaded.reconstruct(x), fitted.reconstruct(x))
    assert (loaded.step, loaded.records, loaded.config) == (
        fitted.step,
        fitted.records,
        fitted.config,
    )
    # The run is the fit of the codec itself, on the training examples in model units.
    direct = fitted.config.codec.fit(
        fitted.inputs(fitted.setup.dataset.splits["train"]).reshape(-1, 64), stream_key(0, "fit")
    )
    np.testing.assert_array_equal(fitted.params.atoms, direct.codec.atoms)
    np.testing.assert_array_equal([r["objective"] for r in fitted.records], direct.history)
    assert [r["step"] for r in fitted.records] == list(range(1, fitted.step + 1))
    assert fitted.records[-1]["converged"] == direct.converged
    # Evaluation is that of the reconstructions.
    error = np.square(fitted.reconstruct(x, units="model") - fitted.inputs(x)).mean()
    values = fitted.evaluate("test", ["code_use", "explained_variance"])
    np.testing.assert_allclose(values["squared_error_per_dimension"], error, rtol=1e-4)
    assert values["l0"] == pytest.approx((codes != 0).sum() / len(codes), abs=0.02)
    if FORMS[name].density:
        density = fitted.params.log_prob(fitted.inputs(x).reshape(len(x), -1)).mean()
        assert values["log_likelihood"] == pytest.approx(float(density), rel=1e-4)
        assert fitted.sample(3).shape == (3, 8, 8, 1)
    else:
        with pytest.raises(UserError, match="has no prior over codes to draw from"):
            fitted.sample(3)


@pytest.mark.parametrize("name", list(CODECS))
def test_configurations_survive_json(name):
    config = CodecConfig(codec=CODECS.get(name)(latent_dim=3))
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_naming_another_codec_drops_the_options_of_the_one_before():
    values = to_dict(CodecConfig(codec=Pca(7, whiten=True)))
    assert override(values, ["codec.name=nmf"])["codec"] == {"name": "nmf"}


@pytest.mark.slow
def test_samples_of_kmeans_are_its_centres_as_often_as_they_have_examples(digits):
    model = ae_jax.fit(digits, codec="kmeans", **SMALL)
    samples = model.sample(2000, units="model").reshape(2000, -1)
    centres = np.asarray(model.params.centres)
    which = np.square(samples[:, None] - centres[None]).sum(-1).argmin(1)
    np.testing.assert_allclose(samples, centres[which], atol=1e-6)
    shares = np.bincount(which, minlength=4) / 2000
    np.testing.assert_allclose(shares, model.params.weights, atol=0.04)


@pytest.mark.slow
def test_the_run_directory_is_that_of_a_network(run):
    config = json.loads((run / "config.json").read_text())
    assert config["codec"]["name"] == "kmeans" and config["data"]["preprocess"] == "grey"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
    objectives = [record["objective"] for record in records]
    assert objectives == sorted(objectives, reverse=True)
    assert (run / "checkpoints" / str(len(records))).is_dir()


@pytest.mark.slow
def test_the_same_command_again_reuses_the_fit_and_another_is_refused(run, command):
    before = (run / "metrics.jsonl").read_bytes()
    status, out, err = command("train", "--config", run / "config.json", "--workdir", run)
    assert (status, err) == (0, "") and "run:" in out
    assert (run / "metrics.jsonl").read_bytes() == before
    status, _, err = command("train", "digits", "--codec", "pca", "--workdir", run)
    assert status == 2 and "codec.name" in err


@pytest.mark.slow
def test_evaluate_encode_and_figures(run, command, folder):
    status, out, err = command("evaluate", "run", "--evaluator", "code_use")
    assert status == 0, err
    (row,) = json.loads((run / "results.json").read_text())["runs"]
    assert row["l0"] == 1.0  # one centre an example
    assert np.isfinite(row["log_likelihood"]) and "squared_error_per_example" in out
    status, _, err = command("encode", "run", "--out", "codes.npz")
    assert status == 0, err
    with np.load(folder / "codes.npz", allow_pickle=False) as codes:
        assert codes["z"].shape == (180, 6) and (codes["z"].sum(axis=1) == 1).all()
        assert codes["y"].shape == (180,)
    for name in ("sample", "reconstruct"):
        status, out, err = command(name, "run")
        assert status == 0, err
        picture = folder / out.split("figure: ")[1].strip()
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert command("report", "run")[0] == 0
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "cluster centres" in page


BAD = {
    "unknown codec": (["--codec", "kmean"], "unknown codec 'kmean': did you mean 'kmeans'"),
    "unknown option": (["--codec", "pca", "--set", "codec.whitened=true"], "codec.whiten"),
    "no size": (["--codec", "pca", "--latent-dim", 0], "codec.latent_dim"),
    "too many components": (["--codec", "pca", "--latent-dim", 99], "latent_dim=99 is more than"),
    "too many centres": (["--codec", "kmeans", "--latent-dim", 1999], "examples, 1437"),
    "negative data": (
        ["--codec", "nmf", "--set", "data.preprocess=standardization"],
        "nowhere negative",
    ),
    "new noise": (
        ["--codec", "pca", "--set", "data.preprocess=dynamic_binarization"],
        "fixed_binarization",
    ),
    "an option of networks": (["--codec", "pca", "--epochs", 3], "--epochs is for networks"),
    "a switch of networks": (["--codec", "pca", "--tensorboard"], "--tensorboard is for networks"),
    "waiting": (["--codec", "pca", "--join-timeout", 5], "--join-timeout is for networks"),
    "a section of networks": (["--codec", "pca", "--set", "model.hidden=[3]"], "model"),
    "streaming": (["--codec", "pca", "--set", "data.memory_budget=9"], "memory_budget"),
    "placement": (["--codec", "pca", "--set", "data.placement=sharded"], "data.placement"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_before_any_work(case, command, folder):
    arguments, expected = BAD[case]
    status, _, errors = command("train", "digits", *arguments, "--workdir", "bad")
    assert status == 2
    lines = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and expected in lines[0], errors
    assert "  iteration " not in errors and not (folder / "bad").exists()


def test_what_a_codec_cannot_do_is_said(command):
    small = ("--latent-dim", 3, "--workdir", "plain")
    assert command("train", "digits", "--codec", "pca", *small)[0] == 0
    status, _, errors = command("sample", "plain")
    assert status == 2 and "no prior over codes to draw from" in errors
    status, _, errors = command("evaluate", "plain", "--nll-samples", 5)
    assert status == 2 and "needs a model with a random code" in errors
    assert command("evaluate", "plain", "--checkpoint", "best")[0] == 0


def test_dry_run_shows_every_option_and_fits_nothing(command, folder):
    status, out, _ = command("train", "digits", "--codec", "nmf", "--dry-run", "--workdir", "dry")
    assert status == 0 and json.loads(out)["codec"]["divergence"] == "frobenius"
    assert not (folder / "dry").exists()


def test_list_names_codecs_corruptions_and_patterns(command):
    listed = command("list")[1]
    for name in ("sparse_coding", "salt_and_pepper", "quadrants"):
        assert name in listed


def test_a_fit_that_was_cut_short_begins_again(digits, tmp_path):
    whole = ae_jax.fit(digits, codec="kmeans", workdir=tmp_path, **SMALL)
    step = tmp_path / "checkpoints" / str(whole.step)
    step.rename(tmp_path / "elsewhere")
    again = ae_jax.fit(digits, codec="kmeans", workdir=tmp_path, **SMALL)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again.params, whole.params))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == whole.step


def test_a_terminal_sees_a_bar(capsys):
    class Terminal:
        def __init__(self):
            self.written = ""

        def isatty(self):
            return True

        def write(self, text):
            self.written += text

        def flush(self):
            pass

    stream = Terminal()
    with fit_progress("digits kmeans", stream) as listener:
        listener(10, 40, 2.5)
        listener(20, 40, 2.25)
    assert "20/40" in stream.written and "objective 2.25" in stream.written


@pytest.mark.slow
def test_a_process_of_its_own(folder):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "AE_JAX_CACHE": str(folder / "cache")}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ae_jax.cli", "train", "digits", *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )

    done = run("--codec", "pca", "--latent-dim", "5", "--workdir", "own")
    assert done.returncode == 0, done.stderr
    assert "after 1 iterations" in done.stdout and "converged" in done.stdout
    done = run("--codec", "pac")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "did you mean 'pca'" in done.stderr
