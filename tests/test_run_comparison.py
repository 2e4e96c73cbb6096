"""One page about several runs: what differs, what they reached, and how they look."""

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import ae_jax
from ae_jax.core.errors import UserError
from ae_jax.report import run_comparison
from ae_jax.report.claims import write_results
from ae_jax.report.differences import varied
from ae_jax.report.pictures import tile
from ae_jax.train.config import flat
from ae_jax.train.rundir import RunDirectory

SMALL = {"latent_dim": 2, "hidden": [6], "batch_size": 50, "progress": False}


@pytest.fixture(scope="module")
def models(image_set):
    return {
        "plain": ae_jax.fit(image_set, epochs=2, **SMALL),
        "weighted": ae_jax.fit(image_set, epochs=2, beta=4.0, **SMALL),
        "pca": ae_jax.fit(image_set, codec="pca", latent_dim=3, progress=False),
    }


@pytest.fixture(scope="module")
def page(models, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    directories = {name: RunDirectory(folder / name) for name in models}
    (folder / "plain").mkdir()
    write_results(directories["plain"].results_file, [], [{"run": "plain", "split": "valid",
                  "log_likelihood": -12.5}])  # fmt: skip
    path = run_comparison.write(models, directories, folder / "both.html")
    return path.read_text(), folder


def table(text: str, heading: str) -> list[dict[str, str]]:
    """The rows of the table under a heading."""
    section = re.search(rf"<h2>{heading}</h2>(.*?)</section>", text, re.DOTALL)[1]
    lines = re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
    cells = [
        [unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line)]
        for line in lines
    ]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]


@pytest.mark.slow
def test_a_table_says_what_differs_and_nothing_else(page):
    rows = {row["option"]: row for row in table(page[0], "What differs")}
    assert rows["objective.beta"] == {
        "option": "objective.beta", "plain": "1", "weighted": "4", "pca": "–"
    }  # fmt: skip
    assert rows["codec.name"]["pca"] == "pca" and rows["codec.name"]["plain"] == "–"
    assert "train.seed" not in rows and "data.name" not in rows


@pytest.mark.slow
def test_values_are_those_of_evaluate(page, models):
    rows = {row["run"]: row for row in table(page[0], "Values on test examples")}
    assert {*rows} == {*models}
    for name, model in models.items():
        value = model.evaluate("test")["squared_error_per_example"]
        assert float(rows[name]["squared error per example"]) == pytest.approx(value, rel=1e-3)
    assert rows["pca"]["ELBO"] == "–"
    assert float(rows["plain"]["ELBO"]) == pytest.approx(
        models["plain"].evaluate("test")["elbo"], rel=1e-3
    )


def test_what_evaluate_found_is_shown_with_its_run(page):
    (row,) = table(page[0], "Evaluated")
    assert row == {"run": "plain", "split": "valid", "log likelihood": "-12.5"}


def test_curves_are_in_one_axes_and_pictures_side_by_side(page, models):
    drawn = run_comparison._curves(models)
    assert {*drawn} == {"training"}  # of the networks: PCA is found at once
    lines = {line.get_label(): line for line in drawn["training"].figure.axes[0].lines}
    assert {*lines} == {"plain", "weighted"}
    np.testing.assert_allclose(
        lines["weighted"].get_ydata(), [r["valid/elbo"] for r in models["weighted"].records]
    )
    axes = run_comparison._reconstructions(models)["reconstructions"].figure.axes[0]
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named == ["original", "plain", "weighted", "pca"]  # runs go by their own names
    test = models["plain"].setup.dataset.splits["test"].head(run_comparison.SHOWN)
    rows = [test.x, *(model.reconstruct(test) for model in models.values())]
    expected = tile(np.clip(np.concatenate(rows) / 255, 0, 1), 4, run_comparison.SHOWN)
    np.testing.assert_allclose(axes.images[0].get_array(), expected, atol=1e-6)
    panels = run_comparison._samples(models)["samples"].figure.axes
    assert [axes.get_title() for axes in panels] == ["plain", "weighted"]  # PCA has no prior


def test_the_page_is_self_contained_and_its_figures_are_kept(page):
    text, folder = page
    assert text.count("data:image/png;base64,") == 3
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    kept = {path.name for path in (folder / "both_figures").glob("*.png")}
    assert kept == {"training.png", "reconstructions.png", "samples.png"}


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    names = run_comparison.names_of([tmp_path / "a" / "seed=0", tmp_path / "b" / "seed=0"])
    assert list(names) == ["a/seed=0", "b/seed=0"]
    assert list(run_comparison.names_of([tmp_path / "a", tmp_path / "b"])) == ["a", "b"]
    with pytest.raises(UserError, match="is named twice"):
        run_comparison.names_of([tmp_path / "a", tmp_path / "a" / "."])


def test_options_differ_where_values_do():
    runs = [flat({"a": {"b": 1, "c": [1, 2]}, "d": {}}), flat({"a": {"b": 2, "c": [1, 2], "e": 0}})]
    assert varied(runs, in_all=True) == ["a.b"] and varied(runs, in_all=False) == ["a.b", "a.e"]


@pytest.mark.slow
def test_the_command_compares_runs_beside_them(command, folder):
    for size in (2, 3):
        options = ("--codec", "pca", "--latent-dim", size, "--workdir", f"runs/pca-{size}")
        assert command("train", "digits", *options)[0] == 0
    status, out, _ = command("report", "runs/pca-2", "runs/pca-3")
    (path,) = (folder / "runs").glob("comparison-*.html")
    assert status == 0 and out.strip() == f"report: {path.relative_to(folder)}"
    (row,) = table(path.read_text(), "What differs")
    assert row == {"option": "codec.latent_dim", "pca-2": "2", "pca-3": "3"}
    status, out, _ = command("report", "runs/pca-2", "runs/pca-3", "--out", "of_both.html")
    assert status == 0 and (folder / "of_both.html").is_file()


def test_pages_about_other_runs_have_other_names():
    pages = [["a", "b"], ["b", "a"], ["a", "c"], ["a/b", "c"], ["a", "b/c"], ["a", "b", "c"]]
    assert len({*map(run_comparison.page_name, pages)}) == len(pages)
    assert run_comparison.page_name(["a", "b"]) == run_comparison.page_name(["a", "b"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a", "a"), "is named twice"),
        (("a", "b", "--out", "page.pdf"), "--out takes a .html file, not page.pdf"),
        (("a", "--out", "page.html"), "--out is for the page that compares several runs"),
        (("nowhere", "neither"), "nowhere"),
        ((), "Missing argument"),
    ],
)
def test_what_cannot_be_compared_is_said(command, arguments, sentence):
    status, _, error = command("report", *arguments)
    assert status == 2 and sentence in error


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compared")
