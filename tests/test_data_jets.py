"""Jets: images against symmetries and moments, the form of the set, and readers of other files."""

import importlib.metadata
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.data import info, load
from ae_jax.data.sources import jet_generator, jets, top_tagging
from ae_jax.data.sources.jet_images import HALF_WIDTH, PIXELS, jet_image, kinematics, oriented

PLACES = np.arange(PIXELS) - (PIXELS - 1) / 2  # of pixels about the centre


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jets")


@pytest.fixture(autouse=True)
def _own_cache(folder, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(folder / "cache"))
    monkeypatch.delenv("AE_JAX_DATA", raising=False)


@pytest.fixture
def particles():
    """pT, eta and phi of 60 particles about a jet whose azimuth is near the seam at pi."""
    rng = np.random.default_rng(0)
    spread = rng.multivariate_normal([0, 0], [[0.04, 0.015], [0.015, 0.01]], 60).T
    phi = (3.1 + spread[1] + np.pi) % (2 * np.pi) - np.pi
    return rng.exponential(10, 60), 0.7 + spread[0], phi


def test_images_do_not_depend_on_where_a_jet_points_nor_how_it_is_turned(particles):
    pt, eta, phi = particles
    image = jet_image(pt, eta, phi)
    turned = oriented(pt, eta, phi)[1:]
    for angle in (0.3, 2.0, np.pi):
        c, s = np.cos(angle), np.sin(angle)
        moved_eta = 0.2 + c * turned[0] - s * turned[1]
        moved_phi = -1.0 + s * turned[0] + c * turned[1]
        np.testing.assert_allclose(jet_image(pt, moved_eta, moved_phi), image, atol=1e-4)
    np.testing.assert_allclose(jet_image(pt, -eta, phi), image, atol=1e-4)


def test_the_steps_of_an_image(particles):
    pt, along, across = oriented(*particles)
    for values in (along, across):
        assert abs((pt * values).sum()) < 1e-9 * pt.sum()  # centred
        assert pt[values < 0].sum() >= pt[values > 0].sum()  # flipped
    moments = np.array([along, across]) * pt @ np.array([along, across]).T
    assert abs(moments[0, 1]) < 1e-9 * moments[0, 0] and moments[0, 0] > moments[1, 1]  # rotated
    inside = (np.abs(along) < HALF_WIDTH) & (np.abs(across) < HALF_WIDTH)
    brute = np.zeros((PIXELS, PIXELS))
    for weight, x, y in zip(pt[inside], along[inside], across[inside], strict=True):
        brute[int((y + HALF_WIDTH) / 0.04), int((x + HALF_WIDTH) / 0.04)] += weight
    np.testing.assert_allclose(jet_image(*particles), brute, rtol=1e-5)


def test_a_single_particle_is_one_pixel():
    image = jet_image(np.array([5.0]), np.array([1.0]), np.array([2.0]))
    assert image.sum() == 5.0 and (image > 0).sum() == 1


def test_small_set_trains_on_qcd_alone():
    data = load("jets_small")
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 4725, "valid": 525, "test": 5750,
    }  # fmt: skip
    assert set(data.splits["train"].y) == set(data.splits["valid"].y) == {0}
    assert np.bincount(data.splits["test"].y).tolist() == [1750, 2000, 2000]
    assert data.classes == ("QCD", "top", "gluino")
    assert data.facts.factor_names == ("pt", "eta", "phi", "mass")
    assert data.shape == (40, 40, 1) and data.max_value is None
    assert len(load("jets_small", protocol="full").splits["train"]) == 5250


def test_small_set_is_physics():
    """Masses where particles have them, and images whose moments say the mass of their jet."""
    test = load("jets_small").splits["test"]
    pt, eta, _, mass = test.factors.T
    assert pt.min() >= 550 and pt.max() <= 650 and np.abs(eta).max() < 2
    medians = [np.median(mass[test.y == kind]) for kind in range(3)]
    assert medians[0] < 100
    np.testing.assert_allclose(medians[1:], [172.5, 200], atol=8)  # of a top, of the gluino
    image = test.x[..., 0].astype(float)
    along = np.einsum("nij,j->n", image, PLACES**2)
    across = np.einsum("nij,i->n", image, PLACES**2)
    # m^2 = pT sum_i pT_i r_i^2 for a narrow jet of massless particles.
    estimate = np.sqrt((along + across) * 0.04**2 * image.sum(axis=(1, 2)))
    massive = mass > 60
    assert np.median(np.abs(estimate / mass - 1)[massive]) < 0.05
    assert (along >= 0.95 * across).mean() > 0.99
    assert image[:, :20].sum() > image[:, 20:].sum()
    assert image[:, :, :20].sum() > image[:, :, 20:].sum()


def test_small_set_says_how_it_was_made():
    facts = info("jets_small")
    assert "pythia8mc 8.317" in facts["origin"] and '"seed": 1' in facts["origin"]
    settings = jets.small_settings()
    made = jet_generator.JetSettings(qcd=7000, top=2000, gluino=2000)
    assert {key: settings[key] for key in vars(made)} == vars(made)


def test_packing_is_exact():
    rng = np.random.default_rng(1)
    images = np.where(rng.random((6, 40, 40)) < 0.01, rng.exponential(20, (6, 40, 40)), 0)
    images[2], images[4, 39, 39], images[0, 0, 0] = 0, 3.5, 1.5
    arrays = {
        "images": images.astype(np.float16),
        "kin": rng.normal(size=(6, 4)).astype(np.float32),
        "label": np.array([0, 0, 1, 1, 2, 2], np.uint8),
        "settings": np.array("{}"),
    }
    back = jets.unpacked(jets.packed(arrays))
    for key, value in arrays.items():
        np.testing.assert_array_equal(back[key], value)


def users_jets(count=40):
    rng = np.random.default_rng(2)
    return {
        "images": rng.exponential(1, (count, 40, 40)).astype(np.float16),
        "kin": rng.normal(size=(count, 4)).astype(np.float32),
        "label": np.arange(count, dtype=np.uint8) % 2,
    }


def test_jets_from_the_users_file(tmp_path, monkeypatch):
    arrays = users_jets()
    np.savez(tmp_path / "jets_pythia8.npz", **arrays)
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path))
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    data = load("jets")
    joined = np.concatenate([split.factors for split in data.splits.values()])
    assert sorted(map(tuple, joined)) == sorted(map(tuple, arrays["kin"]))
    for split in data.splits.values():
        rows = [np.flatnonzero((arrays["kin"] == k).all(axis=1)).item() for k in split.factors]
        np.testing.assert_array_equal(split.x[..., 0], arrays["images"][rows])
        np.testing.assert_array_equal(split.y, arrays["label"][rows])
    assert [len(split) for split in data.splits.values()] == [13, 2, 25]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"label": np.zeros(40, np.uint8)}, "0, QCD, and 1 or 2"),
        ({"label": np.full(40, 1, np.uint8)}, "0, QCD, and 1 or 2"),
        ({"label": np.arange(40, dtype=np.uint8) % 4}, "0, QCD, and 1 or 2"),
        ({"kin": np.zeros((40, 3))}, r"kin \[N, 4\]"),
        ({"images": np.zeros((40, 37, 37))}, "40 x 40 images"),
        ({"images": None}, "cannot be read as jets"),
    ],
)
def test_refused_jets(tmp_path, monkeypatch, change, message):
    arrays = {k: v for k, v in (users_jets() | change).items() if v is not None}
    np.savez(tmp_path / "jets_pythia8.npz", **arrays)
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path))
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=message) as error:
        load("jets")
    assert "\n" not in str(error.value)


def test_without_programs_a_sentence_names_the_ways_out(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(UserError, match=r"ae_jax\[jets\].*jets_pythia8.npz.*jets_small"):
        load("jets")


class Particle(SimpleNamespace):
    """As much of a particle of Pythia's as the selection looks at."""

    def __getattr__(self, name):
        return lambda: self.__dict__["_" + name]


def particle(number, daughters=(), eta=0.0, phi=0.0):
    return Particle(_idAbs=number, _daughterList=list(daughters), _eta=eta, _phi=phi)


def test_prongs_are_the_last_top_and_its_three_quarks():
    event = [
        particle(6, [1]),  # recoils
        particle(6, [2, 3], eta=0.1),
        particle(24, [4], eta=5.0),  # recoils too
        particle(5, eta=0.2),
        particle(24, [5, 6]),
        particle(1, eta=0.3, phi=3.0),
        particle(2, eta=0.4, phi=-3.0),
    ]
    found = jet_generator._prongs(event, "top")
    assert [sorted(eta for eta, _ in places) for places in found] == [[0.1, 0.2, 0.3, 0.4]]
    assert not jet_generator._narrow(found[0], 0.8)
    assert jet_generator._distance(0.0, 3.0, 0.0, -3.0) == pytest.approx(2 * np.pi - 6)


@pytest.mark.parametrize(
    "pt, eta, prongs, kind, kept",
    [
        (600, 1.0, [], "QCD", True),
        (549, 1.0, [], "QCD", False),
        (651, 1.0, [], "QCD", False),
        (600, -2.1, [], "QCD", False),
        (600, 1.0, [], "top", False),
        (600, 1.0, [[(1.1, 0.1), (0.5, -0.3)]], "top", True),
        (600, 1.0, [[(1.1, 0.1), (0.1, 0.0)]], "top", False),
        (600, 1.0, [[(0.1, 0.0)], [(1.1, 6.2)]], "gluino", True),
    ],
)
def test_which_jets_are_taken(pt, eta, prongs, kind, kept):
    jet = Particle(_pt=pt, _eta=eta, _phi=0.0)
    settings = jet_generator.JetSettings()
    assert jet_generator._selected(jet, prongs, kind, settings) == kept


def test_table_of_the_gluino_is_complete():
    """Every line is a block, a decay or numbers, and the shares of the decays sum to one."""
    lines = jet_generator._gluino_table().splitlines()
    rows = [line.split() for line in lines if line.startswith(" ")]
    assert all(float(field) is not None for row in rows for field in row)
    decays = rows[-2:]
    assert sum(float(row[0]) for row in decays) == 1 and all(row[1] == "3" for row in decays)
    assert " 1000021 200.0" in lines


def top_tagging_file(path, momenta, labels):
    """The layout of a pandas table, as PyTables writes it."""
    columns = momenta.shape[1]
    kind = [
        ("index", "<i8"),
        ("values_block_0", "<f4", (columns,)),
        ("values_block_1", "<i8", (2,)),
    ]
    table = np.zeros(len(momenta), kind)
    table["values_block_0"], table["values_block_1"][:, 1] = momenta, labels
    with h5py.File(path, "w") as file:
        file.create_dataset("table/table", data=table)


def four_momenta(pt, eta, phi):
    return np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], -1)


def test_top_tagging_jets_become_the_same_images(tmp_path, monkeypatch, particles):
    rng = np.random.default_rng(3)
    pt, eta, phi = particles
    scales = rng.uniform(0.5, 2, 60)
    momenta = np.zeros((60, 804), np.float32)
    for row, scale in enumerate(scales):
        momenta[row, :240] = four_momenta(scale * pt, eta, phi).ravel()
    labels = np.arange(60) % 3 == 0
    top_tagging_file(tmp_path / "test.h5", momenta, labels)
    found = top_tagging.read_jets(tmp_path / "test.h5", 25)
    kept = np.sort(np.concatenate([np.flatnonzero(~labels)[:25], np.flatnonzero(labels)[:25]]))
    np.testing.assert_array_equal(found["label"], labels[kept])
    expected = np.array([jet_image(scale * pt, eta, phi) for scale in scales[kept]])
    np.testing.assert_allclose(
        found["images"].sum(axis=(1, 2)), expected.sum(axis=(1, 2)), rtol=1e-4
    )
    assert (
        np.abs(found["images"] - expected) > 1e-2
    ).mean() < 1e-3  # float32 beside a pixel's edge
    total = four_momenta(pt, eta, phi).sum(axis=0)
    mass = np.sqrt(total[0] ** 2 - (total[1:] ** 2).sum())
    np.testing.assert_allclose(found["kin"][:, 0], scales[kept] * np.hypot(*total[1:3]), rtol=1e-5)
    np.testing.assert_allclose(found["kin"][:, 3], scales[kept] * mass, rtol=1e-3)
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path))
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    data = load("top_tagging")
    assert set(data.splits["train"].y) == {0} and set(data.splits["test"].y) == {0, 1}


def test_refused_top_tagging_files(tmp_path, monkeypatch):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="Zenodo 2603256.*AE_JAX_DATA is not set"):
        load("top_tagging")
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path))
    with pytest.raises(UserError, match="it is not there"):
        load("top_tagging")
    (tmp_path / "test.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="cannot be read as the top-tagging table"):
        load("top_tagging")
    rows = np.zeros((4, 804), np.float32)
    rows[:, :4] = [1.0, 2.0, 3.0, 40.0]
    top_tagging_file(tmp_path / "test.h5", rows, [0, 1, 0, 1])
    with pytest.raises(UserError, match="not energies and momenta in turn"):
        load("top_tagging")


def test_kinematics_invert_four_momenta(particles):
    pt, eta, phi = particles
    _, px, py, pz = four_momenta(pt, eta, phi).T
    for found, expected in zip(kinematics(px, py, pz), particles, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
