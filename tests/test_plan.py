"""Plans: what would be trained is counted from directories made by hand."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from kingma_welling_curves import paper

from ae_jax.cli.launch import Local, plan
from ae_jax.train.config import EvalConfig, ModelConfig, RunConfig, TrainConfig
from ae_jax.train.grid import Member
from ae_jax.train.prepare import prepare_run
from ae_jax.train.rundir import RunDirectory
from experiments import kingma_welling
from experiments.kingma_welling_grid import Grid, most_epochs, search

# Two hundred training examples in batches of 50: four steps an epoch.
STEPS = 4


def member(name: str, epochs: int = 10) -> Member:
    config = RunConfig(
        model=ModelConfig(hidden=(8,), latent_dim=2),
        train=TrainConfig(batch_size=50, epochs=epochs),
        eval=EvalConfig(),
    )
    return Member(name, config)


def trained(root: Path, name: str, epochs: int, rates: list[float], lost: int = 0) -> None:
    """A run's directory after some epochs, with records of `lost` more that no checkpoint has."""
    directory = RunDirectory(root / name)
    (directory.checkpoints / str(STEPS * epochs)).mkdir(parents=True)
    assert len(rates) == epochs + lost
    records = [
        {"epoch": epoch, "step": STEPS * epoch, "examples_per_second": rate}
        for epoch, rate in enumerate(rates, 1)
    ]
    directory.metrics_file.write_text("".join(json.dumps(record) + "\n" for record in records))


MEMBERS = [member("done", 3), member("half", 6), member("new")]


@pytest.fixture
def root(tmp_path):
    # The first record of each has the compilation in its time.
    trained(tmp_path, "done", 3, [1.0, 90.0, 110.0])
    trained(tmp_path, "half", 2, [1.0, 100.0, 5e9], lost=1)
    return tmp_path


def test_the_next_runs_are_those_of_the_first_call_that_trains(root, vector_set):
    def searching(launcher):
        found = launcher.train(MEMBERS[:1], vector_set, root)
        assert [record["epoch"] for record in found["done"]] == [1, 2, 3]
        assert list(launcher.train(MEMBERS[:2], vector_set, root, until=2)) == ["done", "half"]
        launcher.train(MEMBERS, vector_set, root, until=3)
        raise AssertionError("it went on")

    runs = plan.next_runs(searching)
    assert [(run.member.name, run.stands, run.goal, run.steps) for run in runs] == [
        ("done", 12, 12, 0),
        ("half", 8, 12, 4),
        ("new", 0, 12, 12),
    ]
    assert plan.next_runs(lambda launcher: launcher.train(MEMBERS[:1], vector_set, root)) == []


def test_the_rate_is_the_median_without_compilation_and_without_what_is_lost(root):
    assert plan.recorded_rate(root / "done") == 100.0
    assert plan.recorded_rate(root / "half") == 100.0
    assert plan.recorded_rate(root / "new") is None


def with_hidden(one: Member, size: int) -> Member:
    model = dataclasses.replace(one.config.model, hidden=(size,))
    return Member(one.name, dataclasses.replace(one.config, model=model))


def products_of(one: Member, inputs: int) -> int:
    """Multiply-adds an example, by hand: forward and twice back, but not to the inputs."""
    (hidden,), code = one.config.model.hidden, one.config.model.latent_dim
    layers = [inputs * hidden, hidden * 2 * code, code * hidden, hidden * inputs]
    return 3 * sum(layers) - inputs * hidden


def test_a_run_without_records_is_as_fast_in_arithmetic_as_the_others(root, vector_set):
    wide = with_hidden(MEMBERS[2], 80)
    pace = plan.pace_of([*MEMBERS[:2], wide], vector_set, root)
    inputs = vector_set.shape[0]
    slower = products_of(wide, inputs) / products_of(MEMBERS[0], inputs)
    assert slower > 9
    assert pace.rates["done"] == pace.rates["half"] == 100.0
    assert pace.rates["new"] == pytest.approx(100.0 / slower)
    assert pace.seconds_a_step(wide) == pytest.approx(0.5 * slower)
    assert f"{100 / slower:.0f} to 100 examples/s" in str(pace)


def test_without_any_records_the_largest_run_is_measured(vector_set, tmp_path, monkeypatch):
    measured = []

    def measure(setup):
        measured.append(setup.config.model.hidden)
        return 7.0

    monkeypatch.setattr(plan, "measured_rate", measure)
    wide = with_hidden(member("wide"), 80)
    pace = plan.pace_of([member("small"), wide], vector_set, tmp_path)
    assert measured == [(80,)]
    assert pace.rates["wide"] == 7.0
    assert pace.rates["small"] > 9 * 7.0


class TwoTasks(Local):
    def parts(self, members, dataset):
        return [[one] for one in members]


@pytest.mark.parametrize(("launcher", "at_once"), [(Local(), ""), (TwoTasks(), "0:00:20")])
def test_the_estimate_by_hand(launcher, at_once, root, vector_set, capsys):
    runs = plan.next_runs(lambda trains: trains.train(MEMBERS, vector_set, root))
    plan.show(runs, root, launcher, whole=(5, 1000), members=MEMBERS)
    shown = capsys.readouterr().out
    assert "done  finished\nhalf  from step 8 to 24\nnew  from step 0 to 40\n" in shown
    # 16 + 40 steps of 50 examples at 100 a second; 1000 - 20 steps in all.
    tasks = f", in 2 tasks at once {at_once}" if at_once else ""
    assert f"next: 2 of 3 runs, 56 steps, about 0:00:28{tasks}\n" in shown
    whole = "at most 5 runs, 1,000 steps, of which 20 are done and the others take about 0:08:10"
    assert whole in shown
    assert "rate: 100 examples/s (by the records of runs here)" in shown


def test_where_all_is_done_nothing_is_measured(root, vector_set, capsys):
    plan.show([], root, Local(), whole=(1, 12), members=MEMBERS[:1])
    assert capsys.readouterr().out == "nothing to train; 12 steps are done\n"


@pytest.mark.slow
def test_without_records_a_few_steps_are_measured_and_nothing_is_written(
    vector_set, tmp_path, capsys
):
    runs = plan.next_runs(lambda trains: trains.train(MEMBERS[:2], vector_set, tmp_path))
    plan.show(runs, tmp_path, Local(), whole=(2, 36), members=MEMBERS[:2])
    shown = capsys.readouterr().out
    assert "next: 2 of 2 runs, 36 steps" in shown
    assert "measured on this machine just now" in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rounds", [((4, 1),), ((2, 3), (3, 2), (6, 1))], ids=str)
@pytest.mark.parametrize("also", [(), ((9.0, 1.0), (9.0, 2.0))], ids=len)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=len)
@pytest.mark.parametrize("curves", [(), (3,)], ids=len)
def test_the_most_epochs_are_what_a_search_without_divergence_trains(rounds, also, seeds, curves):
    whole = 20
    stood: dict[str, int] = {}

    def make(*key):
        train = SimpleNamespace(epochs=whole)
        return SimpleNamespace(name=str(key), config=SimpleNamespace(train=train))

    class Counted(Grid):
        def train(self, members, until=None):
            for one in members:
                stood[one.name] = max(stood.get(one.name, 0), until or whole)
            record = {"epoch": until or whole, "samples": 1, "train/elbo": 0.0, "test/elbo": 0.0}
            return {one.name: [record] for one in members}

    settings = ((1.0, 1.0), (1.0, 2.0), (1.0, 3.0), (1.0, 4.0))
    grid = Counted(
        dataset=None,
        root=Path(),
        member=make,
        rounds=rounds,
        settings=settings,
        also=also,
        seeds=seeds,
    )
    search(grid, (3, 5), paper(*curves), follow=False)
    trained = sum(stood.values())
    assert most_epochs(grid, (3, 5), len(curves), False) == (len(stood), trained)
    # One more run at each size with a curve can go on from its first round.
    more = len(curves) * (whole - rounds[0][0])
    assert most_epochs(grid, (3, 5), len(curves), True)[1] == trained + more


@pytest.mark.slow
def test_the_experiment_prints_its_plan_and_trains_nothing(tmp_path):
    workdir = tmp_path / "grid"
    arguments = ["--preset", "smoke", "--print-only", "--workdir", str(workdir)]
    result = CliRunner().invoke(kingma_welling.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    # Five epochs of trial for three settings at two sizes, then sixteen more for one setting at
    # each; an epoch of the 1,437 digits is 15 steps. As much of wake-sleep.
    assert "nz=5/std=0.01,step=0.1,seed=0  from step 0 to 75\n" in result.stdout
    assert "next: 6 of 6 runs, 450 steps, about 0:00:" in result.stdout
    assert "to the end: at most 12 runs, 1,860 steps, of which 0 are done" in result.stdout
    assert not workdir.exists()


@pytest.mark.slow
def test_the_rate_of_a_run_that_streams_is_measured_on_what_its_steps_need(vector_set, monkeypatch):
    """By a clock that two seconds go by on between its readings: half of the 200 examples each."""
    clock = iter((10.0, 12.0))
    monkeypatch.setattr(plan.time, "perf_counter", lambda: next(clock))
    one = member("streams")
    data = dataclasses.replace(one.config.data, memory_budget=4000)
    config = dataclasses.replace(one.config, data=data, eval=EvalConfig(batch_size=50))
    setup = prepare_run(config, vector_set)
    assert setup.streams
    assert plan.measured_rate(setup) == 100.0
