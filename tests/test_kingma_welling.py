"""The experiment from the command line, and its judgements on records made by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.image import imread

from ae_jax.errors import TrainingDiverged
from experiments import kingma_welling, kingma_welling_grid
from experiments import kingma_welling_report as reporting
from experiments.kingma_welling_grid import Finding, Grid, largest_deviation, search
from experiments.published import bound_at, load_curves

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("smoke")
    assert "epoch 21/21" in run_smoke(workdir).stderr
    return workdir


def run_smoke(workdir: Path) -> Result:
    """In this process; that there is a command of its own is tested at the end of the file."""
    arguments = ["--preset", "smoke", "--workdir", str(workdir)]
    result = CliRunner().invoke(kingma_welling.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"results: {workdir / 'results.json'}" in result.stdout
    return result


def test_smoke_writes_results_with_the_keys_of_the_design(smoke):
    results = json.loads((smoke / "results.json").read_text())
    assert {
        "claims",
        "environment",
        "runs",
        "protocol",
        "tables",
        "curves",
        "title",
        "note",
    } <= set(results)
    assert results["claims"] == []  # nothing is published for the 8x8 digits
    assert [row["latent size"] for row in results["tables"]["Lower bounds"]] == [2, 5]
    assert len(results["runs"]) == 2 * 3
    for size, curve in results["curves"].items():
        finals = [
            row["test bound"]
            for row in results["tables"]["Lower bounds"]
            if row["latent size"] == int(size)
        ]
        assert curve["test/elbo"][-1] == pytest.approx(finals[0], abs=0.051)
        assert curve["samples"] == sorted(curve["samples"])
        assert curve["test/elbo"][-1] > curve["test/elbo"][0]


def test_smoke_draws_figures_and_a_report_that_stands_alone(smoke):
    names = ("lower_bound", "prior_samples", "manifold", "reconstructions")
    for name in names:
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
    report = (smoke / "report.html").read_text()
    assert report.count("data:image/png;base64,") == len(names)


def test_every_run_is_complete_in_its_own_directory(smoke):
    for folder in smoke.glob("nz=*/*"):
        config = json.loads((folder / "config.json").read_text())
        assert folder.parent.name == f"nz={config['model']['latent_dim']}"
        assert f"step={config['optim']['learning_rate']:g}" in folder.name
        assert config["model"]["init_scale"] == 0.01
        assert config["optim"]["burn_in"] == 100
        assert config["objective"]["parameter_prior"] == "normal"
        assert config["optim"]["name"] == "adagrad"


def test_a_second_start_trains_nothing(smoke):
    files = sorted(smoke.glob("nz=*/*/metrics.jsonl"))
    kept = sorted(smoke.glob("nz=*/*/checkpoints/*/state/manifest.ocdbt"))
    before = [file.read_bytes() for file in files]
    saved = [file.stat().st_mtime_ns for file in kept]
    assert "epoch" not in run_smoke(smoke).stderr, "a line of progress is a line of training"
    assert [file.read_bytes() for file in files] == before
    assert sorted(smoke.glob("nz=*/*/checkpoints/*/state/manifest.ocdbt")) == kept
    assert [file.stat().st_mtime_ns for file in kept] == saved


def look(samples: float, train: float, test: float) -> dict:
    return {
        "epoch": round(samples / 1e5),
        "samples": samples,
        "seconds": samples / 1e5,
        "train/elbo": train,
        "test/elbo": test,
    }


# Linear in log10(samples): -120 at 1e5, -110 at 1e6, -100 at 1e7.
CURVE = np.array([[1e5, -120.0], [1e7, -100.0]])
SMALL, LARGE = (0.1, 0.01), (0.1, 0.1)  # settings: initial scale, step size


def paper(*sizes: int) -> dict:
    # Each size is 5 nats above the one before.
    return {
        (size, method, split): CURVE + [0.0, 5.0 * place]
        for place, size in enumerate(sizes)
        for method in ("aevb", "wake_sleep")
        for split in ("train", "test")
    }


def finding(
    size: int, *finals: float, samples=1e6, tracking=None, trials=None, followed=None
) -> Finding:
    """A finding whose chosen runs, one a seed, end after `samples` with these test bounds."""
    runs = {
        seed: [look(1e4, -130.0, -130.0), look(samples, final + 1.0, final)]
        for seed, final in enumerate(finals)
    }
    return Finding(size, trials or {SMALL: runs[0][:1]}, SMALL, runs, tracking, followed)


@pytest.mark.parametrize(("final", "holds"), [(-111.0, True), (-111.01, False), (-90.0, True)])
def test_a_claim_holds_down_to_the_tolerance_below_the_curve(final, holds):
    bound, order = reporting.claims([finding(3, final)], paper(3), tolerance=1.0)
    assert bound.holds is holds
    assert (bound.value, bound.target) == (final, -110.0)
    assert bound.name.startswith("test bound at latent size 3 after 1e+06 samples")
    assert order.holds  # a single size is in order


def test_claims_take_the_mean_over_seeds_and_judge_the_order():
    findings = [finding(3, -108.0, -112.0), finding(5, -103.0, -103.0)]
    first, second, order = reporting.claims(findings, paper(3, 5), tolerance=1.0)
    assert (first.value, first.target, first.holds) == (-110.0, -110.0, True)
    assert (second.value, second.target, second.holds) == (-103.0, -105.0, True)
    assert order.holds and order.value == [3, 5]
    swapped = [finding(3, -101.0), finding(5, -103.0)]
    assert not reporting.claims(swapped, paper(3, 5), tolerance=1.0)[-1].holds


def test_sizes_that_nobody_published_make_no_claim():
    assert reporting.claims([finding(2, -100.0)], {}, tolerance=1.0) == []
    names = [claim.name for claim in reporting.claims([finding(2, -9.0)], paper(3), 1.0)]
    assert names == []


def test_the_table_stands_beside_the_paper_at_the_same_samples():
    (row,) = reporting.table([finding(3, -108.0)], paper(3))
    assert row == {
        "latent size": 3,
        "init std": 0.1,
        "step size": 0.01,
        "samples": "1e+06",
        "train bound": -107.0,
        "test bound": -108.0,
        "paper train": -110.0,
        "paper test": -110.0,
        "test - paper": 2.0,
    }


@pytest.mark.parametrize(
    ("samples", "published"), [(9e4, None), (1e5, -120.0), (1e7, -100.0), (1.004e7, -100.0)]
)
def test_nothing_is_read_from_a_curve_before_it_starts(samples, published):
    """Past its end by part of an epoch, its last value stands."""
    found = [finding(3, -108.0, samples=samples)]
    (row,) = reporting.table(found, paper(3))
    claims = reporting.claims(found, paper(3), tolerance=1.0)
    if published is None:
        assert (row["paper train"], row["paper test"], row["test - paper"]) == ("", "", "")
        assert claims == []
    else:
        assert row["paper train"] == row["paper test"] == published
        assert row["test - paper"] == -108.0 - published
        assert claims[0].target == published


def test_the_largest_deviation_is_over_the_range_that_both_curves_have():
    looks = [
        look(2e5, 0.0, 0.0),  # before TRACK_FROM: details of the first updates
        look(1e6, 0.0, -107.0),
        look(10**6.5, 0.0, -109.0),
        look(2e7, 0.0, 0.0),  # past the end of the published curve
    ]
    assert largest_deviation(looks, CURVE) == pytest.approx(4.0)
    assert largest_deviation(looks[:2], CURVE) == pytest.approx(3.0)
    assert largest_deviation(looks[:1], CURVE) == float("inf")


def test_the_tracking_table_by_hand():
    trials = {LARGE: [look(1e6, -109.0, -107.0)]}
    followed = [*trials[LARGE], look(1e7, -92.0, -95.0)]
    tracked = finding(3, -108.0, tracking=LARGE, trials=trials, followed=followed)
    (row,) = reporting.tracking_table([tracked, finding(2, -9.0)], paper(3))
    assert row == {
        "latent size": 3,
        "init std": 0.1,
        "step size": 0.1,
        "largest deviation, 3e+05 to 1e+06 samples": 3.0,
        "to the end": 5.0,
        "end (samples)": "1e+07",
    }


class Key(NamedTuple):
    """What a member is known by here."""

    size: int
    scale: float
    step: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.size}/{self.scale},{self.step},{self.seed}"


class ScriptedGrid(Grid):
    """Answers `train` from a table of bounds instead of training."""

    def train(self, members, until=None):
        calls.extend((member, until) for member in members)
        found = {member.name: self.looks_of(member, until) for member in members}
        return {name: looks for name, looks in found.items() if looks is not None}

    def looks_of(self, member, until):
        script = BOUNDS[member.size, (member.scale, member.step)]
        if script is None or (until is None and member in DIVERGE_LATE):
            return None
        train, test = script
        looks = [
            look(2e5, train - 9, test - 9),
            look(4e5, train - 5, test - 5),
            look(8e5, train, test),
            look(9e6, train, test),
        ]
        return [record for record in looks if until is None or record["epoch"] <= until]


DIVERGE_LATE: set[Key] = set()  # after their trial
# Training prefers LARGE; the test bounds would prefer SMALL.
BOUNDS = {
    (3, SMALL): (-112.0, -101.0),
    (3, LARGE): (-108.0, -111.0),
    (5, SMALL): (-104.0, -103.0),
    (5, LARGE): None,
}
calls: list = []


ROUNDS = ((8, 1),)  # trials of eight epochs, after which one setting goes on


def scripted(seeds=(0,), rounds=ROUNDS, settings=(SMALL, LARGE), also=()) -> ScriptedGrid:
    calls.clear()
    return ScriptedGrid(None, Path(), Key, rounds, settings, seeds, also)


def test_the_search_chooses_by_training_bound_and_survives_divergence():
    found = search(scripted(seeds=(0, 1)), (3, 5), {}, follow=True)
    assert [f.chosen for f in found] == [LARGE, SMALL]
    assert [f.tracking for f in found] == [None, None]
    assert set(found[0].trials) == {SMALL, LARGE} and set(found[1].trials) == {SMALL}
    assert all(trial[-1]["epoch"] == 8 for f in found for trial in f.trials.values())
    trial_calls = [(member, until) for member, until in calls if until is not None]
    assert trial_calls == [((z, *s, 0), 8) for z in (3, 5) for s in (SMALL, LARGE)]
    assert [member for member, until in calls if until is None] == [
        (z, *s, seed) for z, s in ((3, LARGE), (5, SMALL)) for seed in (0, 1)
    ]


@pytest.mark.parametrize("diverges", [{0}, {1}, {0, 1}], ids=str)
def test_where_the_chosen_setting_diverges_later_the_next_best_takes_its_place(
    diverges, monkeypatch
):
    monkeypatch.setitem(globals(), "DIVERGE_LATE", {Key(3, *LARGE, seed) for seed in diverges})
    (found,) = search(scripted(seeds=(0, 1)), (3,), {}, follow=False)
    assert found.chosen == SMALL
    assert set(found.trials) == {SMALL, LARGE}, "its trial went well"
    assert {seed: looks[-1]["test/elbo"] for seed, looks in found.runs.items()} == {
        0: -101.0,
        1: -101.0,
    }
    assert [member for member, until in calls if until is None] == [
        (3, *setting, seed) for setting in (LARGE, SMALL) for seed in (0, 1)
    ]


def test_where_every_setting_diverges_later_the_search_ends(monkeypatch):
    late = {Key(3, *setting, 0) for setting in (SMALL, LARGE)}
    monkeypatch.setitem(globals(), "DIVERGE_LATE", late)
    with pytest.raises(TrainingDiverged, match="every setting diverged at latent size 3"):
        search(scripted(), (3,), {}, follow=False)


@pytest.mark.parametrize("rounds", [((2, 1),), ((2, 1), (8, 1))], ids=str)
def test_unless_every_trial_goes_far_enough_to_be_told_apart_none_is_said_to_track(rounds):
    (found,) = search(scripted(rounds=rounds), (3,), paper(3), follow=True)
    assert found.trials[SMALL][-1]["samples"] == 2e5
    assert (found.chosen, found.tracking, found.followed) == (LARGE, None, None)
    assert reporting.tracking_table([found], paper(3)) == []


def test_rounds_of_trials_by_hand():
    """Five settings; each round keeps the best by what they reach in it, until one is left."""
    bounds = {  # by epochs: at 1, 2 and 4
        (1.0, 0.1): {1: -50.0, 2: -45.0, 4: -44.0},
        (2.0, 0.1): {1: -40.0, 2: -39.0, 4: -38.0},
        (3.0, 0.1): {1: -60.0, 2: -1.0, 4: -1.0},  # too late: it is out after one epoch
        (4.0, 0.1): {1: -30.0, 2: None, 4: None},  # diverges in the second round
        (5.0, 0.1): {1: None, 2: None, 4: None},
    }

    class Rounds(ScriptedGrid):
        def looks_of(self, member, until):
            ours = bounds[member.scale, member.step]
            reached = [epoch for epoch in ours if epoch <= (until or 4)]
            if any(ours[epoch] is None for epoch in reached):
                return None
            return [look(1e5 * epoch, ours[epoch], 0.0) for epoch in reached]

    calls.clear()
    grid = Rounds(None, Path(), Key, ((1, 3), (2, 2), (4, 1)), tuple(bounds), (0,))
    (found,) = search(grid, (3,), {}, follow=False)
    assert [(member.scale, until) for member, until in calls] == [
        *((scale, 1) for scale in (1.0, 2.0, 3.0, 4.0, 5.0)),
        *((scale, 2) for scale in (4.0, 2.0, 1.0)),
        *((scale, 4) for scale in (2.0, 1.0)),
        (2.0, None),
    ]
    assert found.chosen == (2.0, 0.1)
    stopped = {scale: trial[-1]["epoch"] for (scale, _), trial in found.trials.items()}
    assert stopped == {1.0: 4, 2.0: 4, 3.0: 1, 4.0: 1}


def test_the_choice_is_blind_to_the_test_split(monkeypatch):
    rng = np.random.default_rng(0)
    before = [f.chosen for f in search(scripted(), (3, 5), paper(3, 5), follow=False)]
    for _ in range(10):
        altered = {
            key: script and (script[0], float(rng.normal(-110, 20)))
            for key, script in BOUNDS.items()
        }
        monkeypatch.setitem(globals(), "BOUNDS", altered)
        chosen = [f.chosen for f in search(scripted(), (3, 5), paper(3, 5), follow=False)]
        assert chosen == before


def test_tracking_is_the_setting_closest_to_the_curve_and_is_followed():
    (found,) = search(scripted(), (3,), paper(3), follow=True)
    # At 4e5 and 8e5 samples the paper is at -113.98 and -110.97; LARGE is at -116 and -111.
    assert found.tracking == LARGE == found.chosen
    assert found.followed is found.runs[0]
    # Ten nats higher, at -103.98 and -100.97, SMALL is closest with -106 and -101.
    higher = {key: curve + [0.0, 10.0] for key, curve in paper(3).items()}
    (followed,) = search(scripted(), (3,), higher, follow=True)
    assert (followed.tracking, followed.chosen) == (SMALL, LARGE)
    assert followed.followed[-1]["samples"] == 9e6
    (unfollowed,) = search(scripted(), (3,), higher, follow=False)
    assert unfollowed.tracking == SMALL and unfollowed.followed is None


def test_a_setting_that_is_only_compared_may_track_but_is_not_chosen():
    """LARGE trains best and is closest to the paper's curve, yet SMALL is the only candidate."""
    (found,) = search(scripted(settings=(SMALL,), also=(LARGE,)), (3,), paper(3), follow=True)
    assert (found.chosen, found.tracking) == (SMALL, LARGE)
    assert set(found.trials) == {SMALL, LARGE}
    assert found.followed[-1]["samples"] == 9e6
    (unpublished,) = search(scripted(settings=(SMALL,), also=(LARGE,)), (3,), {}, follow=True)
    assert (unpublished.chosen, unpublished.tracking) == (SMALL, None)


def test_a_size_at_which_everything_diverges_ends_the_search(monkeypatch):
    monkeypatch.setitem(globals(), "BOUNDS", dict.fromkeys(BOUNDS))
    with pytest.raises(TrainingDiverged, match="every setting diverged at latent size 3"):
        search(scripted(), (3,), {}, follow=False)


def test_runs_are_listed_once_each():
    grid = kingma_welling_grid.Grid(
        None,
        Path(),
        lambda *key: type("Named", (), {"name": str(key)}),
        ROUNDS,
        (SMALL, LARGE),
        (0, 1),
    )
    rows = reporting.run_rows(grid, [finding(3, -108.0, -109.0)])
    assert [(row["run"], row["test bound"]) for row in rows] == [
        ("(3, 0.1, 0.01, 0)", -108.0),
        ("(3, 0.1, 0.01, 1)", -109.0),
    ]


@pytest.mark.parametrize("preset", list(kingma_welling.PRESETS))
def test_presets_reach_their_samples(preset, image_set):
    chosen = kingma_welling.PRESETS[preset]
    protocol = kingma_welling.PROTOCOLS[chosen.dataset]
    member = kingma_welling.member(protocol, image_set, chosen.samples, 2, 0.1, 0.02, 0)
    samples = member.config.train.epochs * len(image_set.splits["train"])
    assert chosen.samples <= samples < chosen.samples + 200
    assert member.name == "nz=2/std=0.1,step=0.02,seed=0"


def test_published_curves_are_read_between_their_points():
    assert bound_at(CURVE, 1e6) == pytest.approx(-110.0)
    with pytest.raises(ValueError, match="outside"):
        bound_at(CURVE, 9e4)
    curves = load_curves("mnist")
    for size in kingma_welling.PROTOCOLS["mnist"].curve_sizes:
        assert (curves[size, "aevb", "test"][:, 1] < 0).all()


def test_an_unknown_preset_is_a_usage_error():
    command = [sys.executable, "-m", "experiments.kingma_welling", "--preset", "nonesuch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "'nonesuch' is not one of" in done.stderr and "Traceback" not in done.stderr
