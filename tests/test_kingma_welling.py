"""The experiment from the command line, and its judgements on records made by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kingma_welling_curves import CURVE, LARGE, SMALL, look, paper
from matplotlib.image import imread

from experiments import kingma_welling, kingma_welling_grid
from experiments import kingma_welling_report as reporting
from experiments.kingma_welling_grid import Finding, largest_deviation
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_smoke_draws_figures_and_a_report_that_stands_alone(smoke):
    names = ("lower_bound", "prior_samples", "manifold", "reconstructions")
    for name in names:
        picture = imread(smoke / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100 and picture[..., :3].std() > 0.05, name
    report = (smoke / "report.html").read_text()
    assert report.count("data:image/png;base64,") == len(names)


@pytest.mark.slow
def test_every_run_is_complete_in_its_own_directory(smoke):
    for folder in smoke.glob("nz=*/*"):
        config = json.loads((folder / "config.json").read_text())
        assert folder.parent.name == f"nz={config['model']['latent_dim']}"
        assert f"step={config['optim']['learning_rate']:g}" in folder.name
        assert config["model"]["init_scale"] == 0.01
        assert config["optim"]["burn_in"] == 100
        assert config["objective"]["parameter_prior"] == "normal"
        assert config["optim"]["name"] == "adagrad"


@pytest.mark.slow
def test_a_second_start_trains_nothing(smoke):
    files = sorted(smoke.glob("nz=*/*/metrics.jsonl"))
    kept = sorted(smoke.glob("nz=*/*/checkpoints/*/state/manifest.ocdbt"))
    before = [file.read_bytes() for file in files]
    saved = [file.stat().st_mtime_ns for file in kept]
    assert "epoch" not in run_smoke(smoke).stderr, "a line of progress is a line of training"
    assert [file.read_bytes() for file in files] == before
    assert sorted(smoke.glob("nz=*/*/checkpoints/*/state/manifest.ocdbt")) == kept
    assert [file.stat().st_mtime_ns for file in kept] == saved


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


def test_runs_are_listed_once_each():
    grid = kingma_welling_grid.Grid(
        None,
        Path(),
        lambda *key: type("Named", (), {"name": str(key)}),
        ((8, 1),),
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
