"""README.md shows what the committed results say, and nothing that was typed in by hand."""

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

import ae_jax
from ae_jax.codecs import form
from experiments import readme


def test_tables_come_from_the_committed_results():
    text = readme.README.read_text(encoding="utf-8")
    assert readme.rendered(text) == text


def test_every_part_and_picture_exists():
    text = readme.README.read_text(encoding="utf-8")
    names = [match[2] for match in readme.PART.finditer(text)]
    assert names
    for name in names:
        assert (readme.RESULTS / name / "results.json").is_file()
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (readme.ROOT / picture).is_file(), picture


def test_every_committed_figure_is_shown_once():
    text = readme.README.read_text(encoding="utf-8")
    figures = [path.relative_to(readme.ROOT).as_posix() for path in readme.RESULTS.rglob("*.png")]
    assert figures
    for figure in figures:
        assert text.count(f"({figure})") == 1, figure


def test_claims_are_counted_by_hand():
    text = readme.README.read_text(encoding="utf-8")
    for file in readme.RESULTS.rglob("results.json"):
        held = [claim["holds"] for claim in json.loads(file.read_text())["claims"]]
        name = file.parent.relative_to(readme.RESULTS).as_posix()
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
        assert [int(cell) for cell in row.split("|")[2:4]] == [len(held), sum(held)]


def test_the_table_of_codecs_is_that_of_the_code():
    text = readme.README.read_text(encoding="utf-8")
    assert f"<!-- table: codecs -->\n\n{form.markdown()}\n<!-- end -->" in text


def test_large_figures_are_kept_in_fewer_colours(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
    grey = np.repeat(np.repeat(noise[:100, :100], 4, 0), 4, 1)
    for name, pixels in (("large", np.stack(3 * [noise], -1)), ("small", np.stack(3 * [grey], -1))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        readme.copy_figure(tmp_path / f"{name}.png", tmp_path / f"{name}-copy.png")
        with Image.open(tmp_path / f"{name}-copy.png") as copy:
            difference = np.asarray(copy.convert("RGB")).astype(int) - pixels
        assert np.abs(difference).max() <= (8 if name == "large" else 0)
    sizes = [(tmp_path / f"large{end}.png").stat().st_size for end in ("", "-copy")]
    assert sizes[1] < sizes[0]


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme.README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_example_runs(capsys):
    fit, *_ = python_blocks()
    names: dict = {}
    exec(fit, names)
    assert names["codes"].shape == (1000, 2) and names["samples"].shape == (16, 12)
    assert "'elbo'" in capsys.readouterr().out


def test_the_grid_of_the_readme_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(next(block for block in python_blocks() if "train_grid(" in block), names)
    assert len(names["bounds"]) == 4 and max(names["bounds"].values()) < 0
    assert {path.name for path in Path("checkpoints/sizes").iterdir()} == set(names["bounds"])


def test_the_objective_of_the_readme_trains(tmp_path, image_set):
    objective = next(block for block in python_blocks() if "class Capacity" in block)
    file = tmp_path / "capacity.py"
    file.write_text(objective)
    options = {"objective__name": f"{file}:Capacity", "objective__gamma": 2.0}
    model = ae_jax.fit(image_set, epochs=1, hidden=[8], latent_dim=2, **options)
    last = model.records[-1]
    # gamma |kl - capacity| - reconstruction is at least gamma |mean kl - capacity| - reconstruction
    reconstruction = last["test/elbo"] + last["test/kl"]
    assert last["test/loss"] >= 2.0 * abs(last["test/kl"] - 5.0) - reconstruction - 1e-3
