"""Jets that were not trained on, told by their errors; and what their mass has to do with it."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import ae_jax
from ae_jax.data import load
from ae_jax.eval.roc import roc
from experiments import jets
from experiments.jets_methods import (
    MASS,
    QCD,
    TOP,
    Network,
    Sample,
    dataset_named,
    network_methods,
    samples_of,
)
from experiments.jets_report import (
    Quality,
    difference,
    equal_mass_weights,
    qualities,
    standard_error,
)
from tests.smoke_runs import check_pictures, run_smoke


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("jets")
    return workdir, run_smoke(jets.main, workdir)


def chosen(kind: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images divided by their sum [N, D] float64, which are of the kind, and masses."""
    test = load("jets_small", protocol="full").splits["test"]
    places = [np.flatnonzero(test.y == label)[:1000] for label in (QCD, kind)]
    rows = np.concatenate(places)
    x = test.x[rows].reshape(len(rows), -1).astype(np.float64)
    return x / x.sum(axis=1, keepdims=True), test.y[rows] == kind, test.factors[rows, MASS]


def table(results: dict, name: str) -> dict:
    return {(r["method"], r["score"]): r for r in results["tables"][f"{name} against QCD"]}


@pytest.fixture(scope="module")
def known():
    """The mean of the training jets and their eight principal axes, by NumPy in float64."""
    train = load("jets_small", protocol="full", limit=1000).splits["train"].x
    train = train.reshape(1000, -1).astype(np.float64)
    train /= train.sum(axis=1, keepdims=True)
    off = train - train.mean(axis=0)
    values, vectors = np.linalg.eigh(off @ off.T)  # of 1,000 jets, fewer than pixels
    axes = vectors[:, -8:].T @ off / np.sqrt(values[-8:])[:, None]
    return train.mean(axis=0), axes


@pytest.fixture(scope="module")
def model(smoke):
    return ae_jax.load(smoke[0] / Network("dense", "unit_sum", 8).name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("top", TOP), ("gluino", 2)])
def test_rows_are_those_of_numpy_and_scikit_learn(smoke, known, model, name, kind):
    x, anomalous, mass = chosen(kind)
    rows = table(smoke[1], name)
    assert rows["mass", ""]["AUC"] == pytest.approx(roc_auc_score(anomalous, mass), abs=6e-5)
    mean, axes = known
    off = x - mean
    errors = {
        "mean image": np.square(off).sum(axis=1),
        "PCA": np.square(off - off @ axes.T @ axes).sum(axis=1),
    }
    test = load("jets_small", protocol="full").splits["test"]
    picked = np.concatenate([np.flatnonzero(test.y == k)[:1000] for k in (QCD, kind)])
    errors["autoencoder"] = model.score(test.x[picked])
    for method, score in errors.items():
        expected = roc_auc_score(anomalous, score)
        assert rows[method, "reconstruction"]["AUC"] == pytest.approx(expected, abs=2e-4)


@pytest.mark.slow
def test_a_vae_has_all_scores_and_others_their_errors_only(smoke):
    rows = table(smoke[1], "top")
    kinds = {"reconstruction", "bound", "log likelihood", "code"}
    assert {score for method, score in rows if method == "VAE"} == kinds
    assert {method for method, _ in rows} == {"mass", "mean image", "PCA", "autoencoder", "VAE"}
    assert smoke[1]["claims"] == []
    for row in rows.values():
        assert 0 < row["AUC"] < 1 and 0 < row["±"] < 0.05 and row["1/εb at 30%"] >= 1


@pytest.mark.slow
def test_mass_tells_nothing_at_equal_mass(smoke):
    rows = smoke[1]["tables"]["Is the score the mass? top against QCD"]
    mass = next(row for row in rows if row["method"] == "mass")
    assert mass["rank correlation with mass"] == 1
    assert mass["AUC at equal mass"] == pytest.approx(0.5, abs=0.03)
    assert mass["AUC"] > 0.85


def test_weights_give_the_background_the_masses_of_the_signal():
    rng = np.random.default_rng(0)
    anomalous = np.repeat([False, True], [3000, 1000])
    mass = np.where(anomalous, rng.normal(170, 20, 4000), rng.exponential(60, 4000) + 40)
    weights = equal_mass_weights(mass, anomalous)
    edges = np.arange(0, 600, 10)
    of_signal, of_background = (
        np.histogram(mass[anomalous == kind], edges, weights=weights[anomalous == kind])[0]
        for kind in (True, False)
    )
    np.testing.assert_allclose(of_background, of_signal)
    # A score that looks at more than mass keeps what it knows, one that does not loses all.
    other = rng.normal(size=4000) + anomalous
    assert roc(other, anomalous, weights).auc() == pytest.approx(
        roc_auc_score(anomalous, other), abs=0.05
    )
    assert abs(roc(mass, anomalous, weights).auc() - 0.5) < 0.03


def test_a_quality_of_several_seeds_is_their_mean():
    rng = np.random.default_rng(1)
    anomalous = rng.random(300) < 0.5
    values = [{"top": rng.normal(size=300) + anomalous} for _ in range(3)]
    sample = Sample(None, anomalous, rng.uniform(50, 200, 300))
    method = jets.Method("autoencoder", "unit_sum", 8, "reconstruction", values)
    (found,) = qualities([method], sample, "top", 50).values()
    areas = [roc_auc_score(anomalous, one["top"]) for one in values]
    np.testing.assert_allclose(found.by_seed, areas)
    assert found.values[0] == pytest.approx(np.mean(areas))
    assert found.replicates.shape == (50, 3) and found.errors.shape == (3,)


def test_errors_of_infinite_replicates_are_not_numbers():
    replicates = np.array([[1.0, np.inf], [2.0, 3.0]])
    found = standard_error(replicates)
    assert found[0] == pytest.approx(np.sqrt(0.5)) and np.isnan(found[1])


def quality(area: float, matched: float = 0.6, spread: float = 0.002) -> Quality:
    noise = spread * np.array([-1.0, 1.0, -1.0, 1.0])
    replicates = np.stack([area + noise, 1 + noise, 1 + noise], axis=1)
    values = np.array([area, 50.0, 20.0])
    return Quality(values, replicates, matched, matched + noise, np.array([area]), 0.5)


def test_claims_by_hand():
    def found(ours: float, pca: float, large: float, roots: float, mass: float) -> dict:
        # Of PCA and mass the resamples are more, so that differences have a spread.
        return {
            "autoencoder 8, p": quality(ours),
            "PCA 8, p": quality(pca, spread=0.005),
            "PCA 64, p": quality(large, spread=0.005),
            "autoencoder 8, square root of p": quality(roots),
            "mass": quality(mass, spread=0.005),
        }

    good = jets.claims(found(0.93, 0.91, 0.94, 0.945, 0.92))
    assert [claim.holds for claim in good] == [True] * 4
    assert good[0].value == pytest.approx(20) and good[0].target == pytest.approx(3.464, abs=1e-3)
    bad = jets.claims(found(0.912, 0.911, 0.90, 0.921, 0.92))
    assert [claim.holds for claim in bad] == [False, False, False, True]
    gain, error = difference(quality(0.93), quality(0.91, spread=0.005))
    assert gain == pytest.approx(0.02) and error == pytest.approx(0.003 * np.sqrt(4 / 3))


@pytest.mark.slow
def test_the_third_class_is_borrowed_where_a_set_lacks_it(tmp_path, monkeypatch):
    small = load("jets_small", protocol="full")
    test = small.splits["test"]
    two = small.splits | {"test": test.rows(test.y != 2)}
    without = jets.DataSet("jets", two, None, "full", classes=small.classes)
    samples, source = samples_of(without, 50)
    assert source == "jets_small" and samples["gluino"].anomalous.sum() == 50
    assert samples_of(small, 50)[1] == "jets_small"
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path))
    monkeypatch.delenv("AE_JAX_DATA", raising=False)
    assert dataset_named("jets_if_at_hand").name == "jets_small"


def test_sizes_are_drawn_where_there_are_several():
    def methods(sizes: tuple[int, ...]) -> tuple[list, dict]:
        made = [
            jets.Method(kind, "unit_sum", size, "reconstruction", [{}])
            for kind in ("autoencoder", "PCA")
            for size in sizes
        ]
        found = {m.name: quality(0.9 + m.size / 1000) for m in made} | {"mass": quality(0.92)}
        return made, found

    assert jets.size_picture(*methods((8,))) is None
    (axes,) = jets.size_picture(*methods((2, 8))).figure.axes
    assert axes.get_title() == "p" and len(axes.lines) == 3
    assert [list(line.get_xdata()) for line in axes.lines] == [[2, 8], [2, 8], [2, 64]]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.902, 0.908])


@pytest.mark.slow
def test_seeds_of_one_network_are_one_method(smoke, model):
    first, second = (Network("dense", "unit_sum", 8, seed) for seed in (0, 1))
    small = {"top": samples_of(load("jets_small", protocol="full"), 20)[0]["top"]}
    fitted = {first.name: model, second.name: model}
    (method,) = network_methods(fitted, [first, second], small)
    assert method.name == "autoencoder 8, p" and len(method.values) == 2
    (alone,) = network_methods({second.name: model}, [first, second], small)
    assert len(alone.values) == 1  # the other had diverged


def test_presets_name_every_run_once():
    for preset in jets.PRESETS.values():
        names = [network.name for network in preset.networks]
        assert len(set(names)) == len(names)
    assert {n.kind for n in jets.PRESETS["standard"].networks} == {"dense", "vae", "conv"}


@pytest.mark.slow
def test_figures(smoke):
    check_pictures(smoke[0], {"averages", "roc_top", "roc_gluino", "score_by_mass"})
