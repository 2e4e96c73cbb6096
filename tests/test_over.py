"""What varies over a grid, and the command that trains it."""

import csv
import json

import numpy as np
import pytest

import ae_jax
from ae_jax.api import configure
from ae_jax.cli import grids
from ae_jax.core.errors import UserError
from ae_jax.train.config import RunConfig, to_dict
from ae_jax.train.over import Over, members_over, name_of, read_values
from ae_jax.train.rundir import RunDirectory

SIZE, STEP = "model.latent_dim", "optim.learning_rate"
SMALL = ["--hidden", "4", "--batch-size", "500", "--set", "data.limit=1000", "--workdir", "grid"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2,5,10", [2, 5, 10]),
        ("0.1", [0.1]),
        ("1e-3,true,elbo", [1e-3, True, "elbo"]),
        ("0:3", [0, 1, 2]),
        ("10:0:-5", [10, 5]),
        ("[[500], [200, 100]]", [[500], [200, 100]]),
        ("parts.py:Mine,mlp", ["parts.py:Mine", "mlp"]),
    ],
)
def test_values_are_read_as_they_are_typed(text, values):
    assert read_values(text) == values


@pytest.mark.parametrize("text", ["3:3", "1:2:0", "1:2:3:4", "[1, 2"])
def test_what_holds_no_values_is_refused(text):
    with pytest.raises(UserError, match="range|no value|JSON"):
        read_values(text)


def test_settings_are_crossed_zipped_and_listed():
    crossed = Over({SIZE: [1, 2], STEP: [0.1, 0.2]}).settings()
    assert crossed == [{SIZE: z, STEP: r} for z in (1, 2) for r in (0.1, 0.2)]
    beside = Over({"train.epochs": [3]}, {SIZE: [1, 2], STEP: [0.1, 0.2]}).settings()
    assert beside == [{"train.epochs": 3, SIZE: z, STEP: r} for z, r in ((1, 0.1), (2, 0.2))]
    assert Over({SIZE: [1, 2]}, listed=[{STEP: 0.5}, {}]).settings() == [
        {SIZE: 1, STEP: 0.5}, {SIZE: 1}, {SIZE: 2, STEP: 0.5}, {SIZE: 2}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        (Over(zipped={SIZE: [1, 2], STEP: [0.1]}), "side by side.*latent_dim 2.*learning_rate 1"),
        (Over({SIZE: [1]}, {SIZE: [2]}), "latent_dim varies in two ways"),
        (Over({"train.seed": [1]}, seeds=2), "train.seed varies, and so many seeds"),
        (Over({SIZE: [*range(101)], STEP: [*range(100)]}), "not 10,100"),
    ],
)
def test_what_cannot_be_combined_is_refused(over, sentence):
    with pytest.raises(UserError, match=sentence):
        over.settings()


def test_members_are_named_by_what_is_special_about_them():
    found = members_over(RunConfig(), Over({SIZE: [2, 3]}, seeds=2))
    names = [member.name for _, members in found.values() for member in members]
    assert names == [f"latent_dim={z}/seed={s}" for z in (2, 3) for s in (0, 1)]
    configs = [member.config for _, members in found.values() for member in members]
    assert [(c.model.latent_dim, c.train.seed) for c in configs] == [
        (z, s) for z in (2, 3) for s in (0, 1)
    ]
    assert name_of({"model.hidden": [20, 10], STEP: 1e-3}) == "hidden=20-10,learning_rate=0.001"
    both = {"objective.name": "iwae", "optim.name": "sgd"}
    assert name_of(both) == "objective.name=iwae,optim.name=sgd"
    assert name_of({"eval.batch_size": 100}) == "eval.batch_size=100"
    assert name_of({"train.batch_size": 100}) == "batch_size=100"
    with pytest.raises(UserError, match="two members of the grid are latent_dim=2"):
        members_over(RunConfig(), Over({SIZE: [2, 2]}))
    with pytest.raises(UserError, match="latent_dim.*greater than"):
        members_over(RunConfig(), Over({SIZE: [0]}))


@pytest.mark.slow
def test_a_grid_is_one_table_and_one_figure_and_goes_on_where_it_was(command, folder):
    base = ["grid", "digits", *SMALL, "--epochs", "2", "--over", "latent_dim=1,2", "--seeds", "2"]
    status, out, err = command(*base)
    assert status == 0, err
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and "± test/elbo" in rows[0]
    runs = [path.parent for path in folder.rglob("config.json")]
    assert {run.relative_to(folder / "grid").as_posix() for run in runs} == {
        f"latent_dim={z}/seed={s}" for z in (1, 2) for s in (0, 1)
    }
    finals = [
        RunDirectory(folder / "grid" / f"latent_dim=1/seed={s}").records()[-1]["test/elbo"]
        for s in (0, 1)
    ]
    cells = [cell.strip() for cell in rows[2].split("|")]
    header = [cell.strip() for cell in rows[0].split("|")]
    assert float(cells[header.index("test/elbo")]) == pytest.approx(sum(finals) / 2, abs=1e-3)
    drawn = list(csv.DictReader((folder / "grid/figures/grid.csv").read_text().splitlines()))
    table = list(csv.DictReader((folder / "grid/settings.csv").read_text().splitlines()))
    assert float(table[0]["test/elbo"]) == pytest.approx(np.mean(finals))
    # One spread over seeds, in the table and as the bars of the figure.
    assert float(table[0]["± test/elbo"]) == pytest.approx(np.std(finals, ddof=1))
    bars = {float(point["x"]): float(point["y_error"]) for point in drawn if point["y_error"]}
    assert bars[1.0] == pytest.approx(np.std(finals, ddof=1), rel=1e-4)
    assert (folder / "grid/report.html").is_file()
    _, listed, _ = command("runs", "grid")
    lines = [line for line in listed.splitlines() if line.startswith("|")]
    assert len(lines) == 6 and "latent_dim" in lines[0] and "seed" in lines[0]
    assert "batch_size" not in lines[0], "what all have in common is not said"
    assert "latent_dim=1/seed=0" in lines[2] and f"{finals[0]:.4f}" in lines[2]
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("metrics.jsonl")}
    _, again, _ = command(*base)
    assert [line for line in again.splitlines() if line.startswith("|")] == rows
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("metrics.jsonl")} == before


@pytest.mark.slow
def test_the_worse_half_of_a_grid_ends_early(command, folder):
    steps = [1e-6, 1e-5, 1e-2, 2e-2]
    settings = folder / "steps.json"
    settings.write_text(json.dumps([{"learning_rate": step} for step in steps]))
    halving = ["--halve", "1,2", "--epochs", "3", "--latent-dim", "2", "--members", str(settings)]
    status, out, err = command("grid", "digits", *SMALL, *halving)
    assert status == 0, err
    epochs = {
        step: RunDirectory(folder / "grid" / f"learning_rate={step:g}").records()[-1]["epoch"]
        for step in steps
    }
    assert [epochs[step] for step in steps[:2]] == [1, 1]
    assert sorted(epochs[step] for step in steps[2:]) == [2, 3]
    assert out.count("\n|") == 6
    # Run again, members are compared where they were compared: none goes on.
    status, again, err = command("grid", "digits", *SMALL, *halving)
    assert status == 0, err
    assert again.split("table:")[0] == out.split("table:")[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--over", "latent_dim"], "not of the form OPTION=VALUES"),
        (["--over", "nonsense=1"], "unknown option 'nonsense'"),
        (["--over", "latent_dim=1", "--over", "model.latent_dim=2"], "varies in two ways"),
        (["--halve", "2", "--seeds", "2"], "--halve compares single runs"),
        (["--halve", "9", "--over", "latent_dim=1,2"], "below train.epochs=3"),
        (["--halve", "x"], "--halve takes epochs"),
        (["--halve", "1", "--over", "objective=elbo,iwae"], "runs of one objective"),
        (["--members", "none.json"], "none.json"),
        (["--members", "twice.json"], "model.latent_dim is given twice"),
        (["--over", "data.name=digits,iris"], "one data set: data.name does not vary"),
        (["--zip", "limit=100,200"], "one data set: data.limit does not vary"),
        (["--over", "latent_dim=1:99999999999"], "more than 10,000"),
        (["--set", "codec.name=pca"], "--hidden is for networks"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_any_work(command, folder, options, sentence):
    (folder / "twice.json").write_text('[{"latent_dim": 2, "model.latent_dim": 3}]')
    status, _, err = command("grid", "digits", *SMALL, "--epochs", "3", *options)
    assert status == 2 and sentence in err and "Traceback" not in err
    assert not (folder / "grid").exists()


def test_a_run_that_diverged_is_listed_as_such(command, folder):
    wild = ("train", "digits", "--latent-dim", "2", "--hidden", "8", "--optimiser", "sgd")
    status, _, err = command(*wild, "--learning-rate", "1e6", "--workdir", "wild")
    assert status == 3 and "not finite" in err
    assert "diverged" in command("runs", ".")[1]


def test_runs_are_listed_without_opening_them(command, folder):
    status, _, err = command("runs", "nowhere")
    assert (status, err) == (2, "Error: there is no folder nowhere\n")
    (folder / "config.json").write_text("[1]")
    assert "there is no run below ." in command("runs", ".")[2]
    (folder / "mine").mkdir()
    values = to_dict(RunConfig())
    values["objective"]["name"] = "evil.py:Mine"
    (folder / "mine/config.json").write_text(json.dumps(values))
    status, out, _ = command("runs", ".")
    assert status == 0 and "evil.py:Mine" in out and "not begun" in out
    (folder / "mine/checkpoints/12").mkdir(parents=True)
    assert "in its first epoch, step 12" in command("runs", ".")[1]


def test_the_headline_of_ones_own_objective_is_listed_without_its_code(command, folder):
    run = folder / "with_own/run"
    run.mkdir(parents=True)
    values = to_dict(RunConfig())
    values["objective"]["name"] = "nowhere.py:Mine"
    (run / "config.json").write_text(json.dumps(values))
    record = {"epoch": 10, "step": 1, "train/loss": 3.0, "test/loss": 5.0, "test/gap": 0.125}
    (run / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    for said, listed in (("gap", "test/gap"), (["gap"], "test/loss"), (None, "test/loss")):
        history = {"environment": {}, "code": {}, "changes": [], "headline": said}
        (run / "provenance.json").write_text(json.dumps(history))
        status, out, _ = command("runs", "with_own")
        assert status == 0 and listed in out.splitlines()[0]


@pytest.mark.slow
def test_a_run_starts_from_another(command, folder):
    small = ["train", "digits", *SMALL[:-2], "--latent-dim", "2", "--epochs", "1"]
    assert command(*small, "--workdir", "first")[0] == 0
    slow = ["--learning-rate", "1e-9", "--start", "first"]
    status, out, err = command(*small, *slow, "--workdir", "second")
    assert status == 0, err
    bounds = [RunDirectory(folder / run).records()[-1]["test/elbo"] for run in ("first", "second")]
    assert bounds[1] == pytest.approx(bounds[0], abs=1e-4)
    wider = [*small, "--hidden", "5", "--start", "first", "--workdir", "third"]
    status, _, err = command(*wider)
    assert status == 2 and err.count("\n") == 1 and not (folder / "third").exists()
    status, _, err = command("train", "digits", "--codec", "pca", "--start", "first")
    assert status == 2 and "a codec is fitted from nothing" in err


@pytest.mark.slow
def test_objectives_and_optimisers_of_one_grid_are_told_apart(command, folder):
    """Both have a `name`; the bounds have names of their own, and what is compared is the loss."""
    names = ["--over", "objective=elbo,iwae", "--over", "optimiser=adam,sgd"]
    status, out, err = command("grid", "digits", *SMALL, "--epochs", "1", *names)
    assert status == 0, err
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert "objective.name" in rows[0] and "optim.name" in rows[0] and "test/loss" in rows[0]
    assert [sum(name in row for row in rows[2:]) for name in ("elbo", "iwae", "adam", "sgd")] == [
        2
    ] * 4


def test_a_list_of_members_executes_no_code_that_nobody_has_chosen(command, folder):
    (folder / "mine.py").write_text("raise SystemExit(7)")
    (folder / "theirs.json").write_text(json.dumps([{"objective": "mine.py:Mine"}]))
    status, _, err = command("grid", "digits", *SMALL, "--members", "theirs.json")
    assert status == 2 and "code that would be executed" in err


@pytest.mark.slow
def test_examples_of_a_file_are_scored_in_its_order(command, folder):
    """As from Python; and those of a split are called by their rows."""
    rng = np.random.default_rng(0)
    kinds = np.array(["cat", "dog"])[rng.integers(0, 2, 60)]
    x = rng.normal(size=(60, 3)).astype(np.float32)
    for name, rows in (("mine.csv", slice(None)), ("new.csv", slice(20, 50))):
        lines = [
            f"{a},{b},{c},{kind}" for (a, b, c), kind in zip(x[rows], kinds[rows], strict=True)
        ]
        (folder / name).write_text("\n".join(["a,b,c,kind", *lines]) + "\n")
    small = ["--hidden", "4", "--latent-dim", "1", "--epochs", "1", "--workdir", "run"]
    assert command("train", "mine.csv:kind", *small)[0] == 0
    model = ae_jax.load(folder / "run")
    status, _, err = command("score", "run", "--data", "new.csv:kind", "--out", "new_scores.csv")
    assert status == 0, err
    found = list(csv.DictReader((folder / "new_scores.csv").read_text().splitlines()))
    assert [row["label"] for row in found] == kinds[20:50].tolist()
    scores = [float(row["score"]) for row in found]
    np.testing.assert_allclose(scores, model.score(x[20:50]), rtol=1e-4)
    assert command("score", "run", "--split", "test", "--out", "test_scores.csv")[0] == 0
    found = list(csv.DictReader((folder / "test_scores.csv").read_text().splitlines()))
    rows = [int(row["name"]) for row in found]
    scores = [float(row["score"]) for row in found]
    np.testing.assert_allclose(scores, model.score(x[rows]), rtol=1e-4)
    both = ["--split", "test", "--data", "new.csv:kind", "--out", "no.csv"]
    status, _, err = command("score", "run", *both)
    assert status == 2 and "--split is of the data of the RUN" in err


@pytest.mark.parametrize(("head", "said"), [("bernoulli", "diverged"), ("gaussian", "-5e+12")])
def test_the_table_of_a_grid_says_what_ran_away(head, said, tmp_path, capsys, image_set):
    """In words where no density of such data is as large; settings.csv has the number."""
    base = configure(None, {"model__head": head})
    settings = members_over(base, Over({SIZE: [1, 2]}))
    bounds = dict(
        zip((m.name for _, ms in settings.values() for m in ms), (-5e12, -40.0), strict=True)
    )
    looks = {
        name: [{"epoch": 1, "seconds": 1.0, "valid/elbo": bound, "test/elbo": bound}]
        for name, bound in bounds.items()
    }
    grids._publish(settings, looks, image_set, tmp_path)
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if "|" in line]
    place = [name.strip() for name in table[0]].index("test/elbo")
    assert [line[place].strip() for line in table[2:]] == [said, "-40"]
    kept = list(csv.DictReader((tmp_path / "settings.csv").read_text().splitlines()))
    assert [float(row["test/elbo"]) for row in kept] == [-5e12, -40.0]
