"""Codecs and networks in one table: the numbers are those of the runs, the claims of the table."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import ae_jax
from ae_jax.codecs import CODECS
from ae_jax.data import load
from experiments import linear_or_not

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("smoke")
    arguments = ["--preset", "smoke", "--workdir", str(workdir)]
    result = CliRunner().invoke(linear_or_not.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return workdir


def test_one_table_of_every_codec_and_three_networks(smoke):
    results = json.loads((smoke / "results.json").read_text())
    rows = {row["method"]: row for row in results["tables"]["Methods"]}
    networks = {f"{kind} autoencoder" for kind in ("linear", "deep", "variational")}
    assert set(rows) == {*CODECS, *networks} and results["claims"] == []
    assert rows["kmeans"]["L0 of the code"] == 1 and rows["kmeans"]["bits of the code"] == 2.6
    assert rows["pca"]["bits of the code"] is None
    # PCA's reconstruction is that of a least-squares fit to its codes.
    data = load("digits", protocol="full", limit=300)
    model = ae_jax.load(smoke / "pca", data=data)
    test = data.splits["test"]
    error = np.square(model.reconstruct(test, units="model") - test.x / 16).mean()
    assert rows["pca"]["test MSE"] == pytest.approx(error, abs=1e-5)
    assert all(0 <= row["linear-probe accuracy"] <= 1 for row in rows.values())
    for name in ("error", "reconstructions"):
        assert (smoke / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_claims_by_hand():
    def errors_of(deep: float, linear: float) -> dict[str, np.ndarray]:
        means = {"pca": 1.0, "deep autoencoder": deep, "linear autoencoder": linear}
        return {name: np.full(5, mean) for name, mean in means.items()}

    verdicts = {
        (0.5, 1.0): [True, True],
        (1.1, 1.2): [False, True],
        (0.5, 0.9): [True, False],
    }
    # Better by less than twice its error is not better.
    spread = errors_of(0.99, 1.0)
    spread["deep autoencoder"] += np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    assert [c.holds for c in linear_or_not.claims(spread)] == [False, True]
    for errors, expected in verdicts.items():
        assert [c.holds for c in linear_or_not.claims(errors_of(*errors))] == expected
