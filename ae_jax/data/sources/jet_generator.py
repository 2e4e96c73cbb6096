"""Simulated jets: Pythia 8 for the collisions, FastJet for the jets (`pip install ae_jax[jets]`).

Proton-proton collisions at 14 TeV, hadrons without a detector, without pile-up; jets of the anti-kT
algorithm with radius 0.8, pT of 550 to 650 GeV and |eta| < 2, from the two hardest of an event.

0 QCD     quarks and gluons
1 top     pairs of tops that decay into quarks
2 gluino  pairs of gluinos of 200 GeV that decay into three light quarks, R-parity being violated:
          Farina, Nakai & Shih 2018, whose jets are harder (800 to 900 GeV, radius 1.0) and whose
          gluinos are therefore heavier (400 GeV)

A top or gluino jet lies within 0.8 of its particle and of all three quarks of the decay.
"""

import dataclasses
import importlib.metadata
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ae_jax.data.sources.fetch import Unavailable
from ae_jax.data.sources.jet_images import PIXELS, jet_image

CLASSES = ("QCD", "top", "gluino")
GLUINO_MASS = 200.0
_GLUINO, _TOP = 1000021, 6
_QUIET = ("Print:quiet = on", "Random:setSeed = on")
_HARD = {
    "QCD": ("HardQCD:all = on",),
    "top": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off", "24:onIfAny = 1 2 3 4"),
    "gluino": ("SUSY:gg2gluinogluino = on", "RHadrons:allow = off"),
}


@dataclasses.dataclass(frozen=True)
class JetSettings:
    """What decides the jets: counts of each class, seed, energies in GeV, radius, cuts."""

    qcd: int = 20_000
    top: int = 5_000
    gluino: int = 5_000
    seed: int = 1
    collision_energy: float = 14_000.0
    radius: float = 0.8
    pt_low: float = 550.0
    pt_high: float = 650.0
    eta_limit: float = 2.0
    hard_pt_low: float = 500.0  # of the hard process: where few jets reach pt_low from below
    hard_pt_high: float = 800.0  # and few fall below pt_high from above
    underlying_event: bool = False  # further interactions of the same two protons

    def count_of(self, kind: str) -> int:
        return {"QCD": self.qcd, "top": self.top, "gluino": self.gluino}[kind]


def versions() -> str:
    """The two programs with their versions. Raises Unavailable where they are not installed."""
    try:
        return ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("pythia8mc", "fastjet"))
    except importlib.metadata.PackageNotFoundError as error:
        raise Unavailable(f"{error.name} is not installed: pip install 'ae_jax[jets]'") from error


def generate_jets(settings: JetSettings, log: Callable[[str], None]) -> dict[str, np.ndarray]:
    """`images` [N, 40, 40] float16, GeV; `kin` [N, 4] float32: pT, eta, phi and mass; `label` [N]
    uint8; and `settings`, a text in JSON. Classes one after another. Raises Unavailable.
    """
    made_with = versions()
    images, kin, label = [], [], []
    for number, kind in enumerate(CLASSES):
        count = settings.count_of(kind)
        log(f"jets: generating {count} {kind} jets")
        jets = _jets(kind, settings)
        for _ in range(count):
            image, facts = next(jets)
            images.append(image.astype(np.float16))
            kin.append(facts)
            label.append(number)
    described = dataclasses.asdict(settings) | {"programs": made_with, "gluino_mass": GLUINO_MASS}
    return {
        "images": np.array(images, np.float16).reshape(-1, PIXELS, PIXELS),
        "kin": np.array(kin, np.float32).reshape(-1, 4),
        "label": np.array(label, np.uint8),
        "settings": np.array(json.dumps(described)),
    }


def _jets(kind: str, settings: JetSettings) -> Iterator[tuple[np.ndarray, tuple[float, ...]]]:
    """Images of jets of a class, and their pT, eta, phi and mass, without end."""
    import fastjet

    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, settings.radius)
    with tempfile.TemporaryDirectory() as folder:
        pythia = _collider(kind, settings, Path(folder))
    while True:
        if not pythia.next():
            continue
        prongs = _prongs(pythia.event, kind)
        if kind != "QCD" and not any(_narrow(places, settings.radius) for places in prongs):
            continue  # no jet can hold a whole decay
        particles = [
            fastjet.PseudoJet(p.px(), p.py(), p.pz(), p.e())
            for p in pythia.event
            if p.isFinal() and p.isVisible()
        ]
        cluster = fastjet.ClusterSequence(particles, definition)
        hardest = fastjet.sorted_by_pt(cluster.inclusive_jets(settings.pt_low / 2))[:2]
        for jet in hardest:
            if _selected(jet, prongs, kind, settings):
                parts = np.array([(p.pt(), p.eta(), p.phi()) for p in jet.constituents()])
                phi = jet.phi_std()  # in -pi..pi
                yield jet_image(*parts.T), (jet.pt(), jet.eta(), phi, jet.m())


def _selected(jet, prongs: list[list[tuple[float, float]]], kind: str, s: JetSettings) -> bool:
    if not (s.pt_low <= jet.pt() <= s.pt_high and abs(jet.eta()) < s.eta_limit):
        return False
    near = (
        all(_distance(jet.eta(), jet.phi(), eta, phi) < s.radius for eta, phi in places)
        for places in prongs
    )
    return kind == "QCD" or any(near)


def _narrow(places: list[tuple[float, float]], radius: float) -> bool:
    """Whether no two places are further apart than a jet is wide."""
    return all(_distance(*a, *b) < 2 * radius for a, b in itertools.combinations(places, 2))


def _distance(eta: float, phi: float, other_eta: float, other_phi: float) -> float:
    dphi = abs(phi - other_phi) % (2 * math.pi)
    return math.hypot(eta - other_eta, min(dphi, 2 * math.pi - dphi))


def _prongs(event, kind: str) -> list[list[tuple[float, float]]]:
    """(eta, phi) of each heavy particle and of the three quarks that it decays into."""
    if kind == "QCD":
        return []
    heavy = _TOP if kind == "top" else _GLUINO
    found = []
    for particle in event:
        if particle.idAbs() != heavy:
            continue
        daughters = [event[i] for i in particle.daughterList()]
        if any(d.idAbs() == heavy for d in daughters):
            continue  # it has but recoiled
        quarks = [q for d in daughters for q in _quarks_of(event, d)]
        if len(quarks) >= 3:
            found.append([(p.eta(), p.phi()) for p in (particle, *quarks)])
    return found


def _quarks_of(event, particle) -> list:
    """The particle, or in place of a W what it decays into."""
    if particle.idAbs() != 24:
        return [particle]
    daughters = [event[i] for i in particle.daughterList()]
    if len(daughters) == 1:  # the W after it has recoiled
        return _quarks_of(event, daughters[0])
    return daughters


def _collider(kind: str, settings: JetSettings, folder: Path):
    """Pythia, ready for collisions. `folder` takes the table of masses and decays of the gluino."""
    import pythia8mc

    commands = [
        *_QUIET,
        f"Random:seed = {settings.seed * len(CLASSES) + CLASSES.index(kind) + 1}",
        f"Beams:eCM = {settings.collision_energy}",
        f"PhaseSpace:pTHatMin = {settings.hard_pt_low}",
        f"PhaseSpace:pTHatMax = {settings.hard_pt_high}",
        f"PartonLevel:MPI = {'on' if settings.underlying_event else 'off'}",
        *_HARD[kind],
    ]
    if kind == "gluino":
        table = folder / "gluino.slha"
        table.write_text(_gluino_table())
        commands.append(f"SLHA:file = {table}")
    pythia = pythia8mc.Pythia("", False)
    for command in commands:
        if not pythia.readString(command):
            raise Unavailable(f"Pythia does not know {command!r}")
    if not pythia.init():
        raise Unavailable("Pythia could not be started")
    return pythia


def _gluino_table() -> str:
    """Masses, mixings and decays in the SUSY Les Houches format.

    All partners but the gluino are out of reach, and mix with nothing: Pythia asks for them. The
    gluino decays into u d s by way of them, or into the antiquarks, an equal share each.
    """
    quarks, leptons = (1, 2, 3, 4, 5, 6), (11, 13, 15)
    partners = [1000000 * chirality + k for chirality in (1, 2) for k in (*quarks, *leptons)]
    partners += [1000012, 1000014, 1000016, 1000022, 1000023, 1000024, 1000025, 1000035, 1000037]
    masses = {_GLUINO: GLUINO_MASS} | dict.fromkeys(partners, 5000.0)
    blocks = {"MODSEL": ["1 0", "4 1"], "MASS": [f"{k} {m}" for k, m in masses.items()]}
    sizes = {"SBOTMIX": 2, "STOPMIX": 2, "STAUMIX": 2, "UMIX": 2, "VMIX": 2, "NMIX": 4}
    for name, size in sizes.items():
        places = [(i, j) for i in range(1, size + 1) for j in range(1, size + 1)]
        blocks[name] = [f"{i} {j} {float(i == j)}" for i, j in places]
    blocks["ALPHA"] = ["0.0"]
    blocks["HMIX"] = ["1 500.0", "2 10.0", "3 246.0"]
    lines = [line for name, rows in blocks.items() for line in (f"BLOCK {name}", *rows)]
    decay = [f"DECAY {_GLUINO} 1.0", "0.5 3 2 1 3", "0.5 3 -2 -1 -3"]
    return "\n".join(line if line[0].isupper() else f" {line}" for line in lines + decay) + "\n"
