"""README.md and docs/ show what the committed results say, and nothing that was typed by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ae_jax
from ae_jax.codecs import form
from experiments import docs, published_claims, published_figures, status, taxonomy

PAGES = docs.pages()
LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)#]+)\)")
PICTURE = re.compile(r"!\[[^]]*\]\(([^)]+)\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_comes_from_the_committed_results(page):
    text = text_of(page)
    assert docs.rendered(page, text) == text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_of_a_page_are_there(page):
    text = text_of(page)
    for target in [*LINK.findall(text), *PICTURE.findall(text)]:
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_is_one_screen():
    assert len(docs.README.read_bytes()) <= 12_000


def test_every_committed_figure_is_shown_on_one_page():
    shown = {}
    for page in PAGES:
        if page != docs.README:
            for place in PICTURE.findall(text_of(page)):
                shown.setdefault((page.parent / place).resolve(), []).append(page.name)
    figures = {path.resolve() for path in docs.RESULTS.rglob("*.png")}
    assert figures and figures == {path for path in shown if docs.RESULTS in path.parents}
    assert all(len(pages) == 1 for pages in shown.values())


def test_claims_are_counted_by_hand():
    text = text_of(docs.DOCS / "claims.md")
    for file in docs.RESULTS.rglob("results.json"):
        held = [claim["holds"] for claim in json.loads(file.read_text())["claims"]]
        name = file.parent.relative_to(docs.RESULTS).as_posix()
        row = next(line for line in text.splitlines() if line.startswith(f"| [{name}]("))
        assert row.split("|")[3].strip() == f"{sum(held)} of {len(held)}"


def test_published_figures_are_those_of_the_claims():
    _, *sections = re.split(r"\n##+ ", text_of(docs.DOCS / "claims.md"))
    shown = {section[1:].partition("]")[0]: section for section in sections if section[0] == "["}
    for name, results in docs.collected().items():
        claims = [c for c in results["claims"] if published_claims.is_published(c["source"])]
        assert (name in shown) == bool(claims)
        if not claims:
            continue
        protocol, *lines = [line for line in shown[name].splitlines()[1:] if line]
        table = [line for line in lines if line.startswith("|")]
        assert protocol.startswith(results["protocol"])
        assert results["environment"]["commit"] in protocol
        for claim, line in zip(claims, table[2:], strict=True):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert cells[0] == claim["name"] and cells[8] == claim["source"]
            assert cells[7] == ("yes" if claim["holds"] else "**no**")
            if isinstance(claim["value"], int | float):
                assert float(cells[1]) == pytest.approx(claim["value"], rel=1e-5)
                assert float(cells[3]) == pytest.approx(claim["target"], rel=1e-5)


def test_every_published_figure_has_a_row_with_ours_or_why_there_is_none():
    results = docs.collected()
    pages = {name: f"{name}.md" for name in results}
    figures = [figure for _, of in published_figures.PAPERS for figure in of()]
    rows = [published_figures.row_of(figure, results, pages) for figure in figures]
    assert all(row["our run"] for row in rows)
    assert len({(row["source"], row["figure"]) for row in rows}) == len(rows)
    for row in rows:
        if row["ours"]:
            difference = float(row["ours"]) - float(row["theirs"])
            assert float(row["difference"]) == pytest.approx(difference, abs=2e-3 * abs(difference))
    # Numbers of a target are all there.
    known = json.loads((published_figures.TARGETS / "iwae.json").read_text())
    nll = {value[0] for rows in known["table_1"].values() for value in rows.values()}
    assert nll <= {figure.theirs for figure in figures}
    curves = json.loads((published_figures.TARGETS / "kingma_welling_fig2.json").read_text())[
        "curves"
    ]
    ends = [figure for figure in figures if figure.what.endswith(" at 1e8")]
    assert len(ends) == len(curves)


def test_a_published_figure_is_found_by_one_row_alone():
    table = [{"k": 1, "NLL": "1.5 ± 0.2", "se": ""}, {"k": 2, "NLL": -3, "se": 0.1}]
    results = {"a": {"tables": {"t": table}}}
    ours = published_figures.Ours("a", "t", {"k": 1}, "NLL")
    assert published_figures.value_and_error(ours, results) == (1.5, 0.2)
    ours = published_figures.Ours("a", "t", {"k": 2}, "NLL", "se")
    assert published_figures.value_and_error(ours, results) == (-3.0, 0.1)
    with pytest.raises(ValueError, match="0 rows"):
        published_figures.value_and_error(
            published_figures.Ours("a", "t", {"k": 3}, "NLL"), results
        )


def test_errors_of_claims_are_read_where_they_are_kept():
    claim = {"name": "gap (± 0.25)", "standard_error": None}
    assert published_claims.text_of_error(claim) == "0.25"
    assert published_claims.text_of_error({**claim, "standard_error": 0.5}) == "0.5"
    assert published_claims.text_of_error({"name": "gap"}) == "on the page"
    assert published_claims.text_of_error({"name": "gap", "standard_error": None}) == ""
    published = published_claims.is_published
    assert published("Kingma & Welling 2014, Fig. 4") and published("pythae, a table")
    assert not published("Kingma & Welling 2014, Eq. 1") and not published("measured here")


def test_every_result_is_in_the_table_of_status():
    named = {name for method in status.METHODS for name in method.results}
    assert named == {name for name in docs.collected() if not name.startswith("benchmark/")}


def test_the_table_of_codecs_is_that_of_the_code():
    assert form.markdown() in text_of(docs.DOCS / "guides" / "codecs.md")


def test_large_figures_are_kept_in_fewer_colours(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
    grey = np.repeat(np.repeat(noise[:100, :100], 4, 0), 4, 1)
    for name, pixels in (("large", np.stack(3 * [noise], -1)), ("small", np.stack(3 * [grey], -1))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        docs.copy_figure(tmp_path / f"{name}.png", tmp_path / f"{name}-copy.png")
        with Image.open(tmp_path / f"{name}-copy.png") as copy:
            difference = np.asarray(copy.convert("RGB")).astype(int) - pixels
        assert np.abs(difference).max() <= (8 if name == "large" else 0)
    sizes = [(tmp_path / f"large{end}.png").stat().st_size for end in ("", "-copy")]
    assert sizes[1] < sizes[0]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


def test_the_python_example_runs(capsys):
    fit, *_ = python_blocks(docs.README)
    names: dict = {}
    exec(fit, names)
    assert names["codes"].shape == (1000, 2) and names["samples"].shape == (16, 12)
    assert "'elbo'" in capsys.readouterr().out


@pytest.mark.slow
def test_the_objective_of_the_guide_trains(tmp_path, image_set):
    objective = next(
        block
        for block in python_blocks(docs.DOCS / "guides" / "own_objective.md")
        if "class Capacity" in block
    )
    file = tmp_path / "capacity.py"
    file.write_text(objective)
    options = {"objective__name": f"{file}:Capacity", "objective__gamma": 2.0}
    model = ae_jax.fit(image_set, epochs=1, hidden=[8], latent_dim=2, **options)
    last = model.records[-1]
    # gamma |kl - capacity| - reconstruction is at least gamma |mean kl - capacity| - reconstruction
    reconstruction = last["test/elbo"] + last["test/kl"]
    assert last["test/loss"] >= 2.0 * abs(last["test/kl"] - 5.0) - reconstruction - 1e-3


def test_every_registered_method_has_a_place_in_the_taxonomy():
    assert taxonomy.unplaced() == []
    text = text_of(docs.DOCS / "taxonomy.md")
    for registry in taxonomy.REGISTRIES.values():
        for name in registry:
            assert f"`{name}`" in text, name


def test_what_has_no_place_in_the_taxonomy_is_named(monkeypatch):
    """An entry that is registered and placed nowhere, of any registry, and one that is gone."""
    for kind, registry in taxonomy.REGISTRIES.items():
        more = {**dict(registry.items()), "of_tomorrow": object()}
        monkeypatch.setitem(taxonomy.REGISTRIES, kind, more)
        assert taxonomy.unplaced() == [f"{kind} of_tomorrow"]
        with pytest.raises(ValueError, match=f"no place in the taxonomy.*{kind} of_tomorrow"):
            taxonomy.markdown()
        fewer = dict(list(registry.items())[1:])
        monkeypatch.setitem(taxonomy.REGISTRIES, kind, fewer)
        assert taxonomy.unplaced() == [f"{kind} {next(iter(registry))}"]
        monkeypatch.setitem(taxonomy.REGISTRIES, kind, registry)


def test_a_branch_without_anything_says_why():
    for branch in taxonomy.BRANCHES:
        assert branch.entries or branch.also or branch.left_out, branch.place
