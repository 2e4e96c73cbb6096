"""Natural patches: sparse coding finds localised, oriented filters where PCA finds gratings.

Claim   On whitened patches of natural photographs most atoms of sparse coding, and of ICA, are
        Gabor functions, as simple cells are (Olshausen & Field 1996; Bell & Sejnowski 1997), and
        hardly any principal component is. An atom counts if one Gabor function, no wider than a
        quarter of the patch (`experiments/gabor.py`), explains 80 % of its sum of squares. The
        orientations of these atoms spread over the half circle, and the codes of sparse coding
        have at least twice the excess kurtosis of PCA's.

Command python -m experiments.natural_patches --preset smoke|quick|standard [--images FOLDER]

        smoke     seconds; 8x8 patches, and no claim
        quick     12x12 patches, 160 atoms; about 3 minutes on two CPU cores
        standard  16x16 patches, 512 atoms, for an idle machine or an accelerator

Protocol  The two photographs in scikit-learn, or those of a folder, in grey, through the whitening
        filter of Olshausen & Field 1997; patches without their mean, of unit mean variance. Test
        patches come from the right fifth of each photograph, training patches from the rest.

Figures figures/dictionaries.png, gabors.png (atoms above their fits), explained.png (share of atoms
        by how much the fit explains), waves.png (orientation and frequency).
"""

from pathlib import Path

from ae_jax.lab import Claim, Findings, Lab, claim, experiment, run_command
from experiments import natural_patches_atoms as atoms
from experiments.natural_patches_atoms import Dictionary, Preset, orientation_spread
from experiments.patches import images_option, natural_patches

PRESETS = {
    "smoke": Preset(8, 1_000, 300, 16, 24, 0.5, 2, claimed=False),
    "quick": Preset(12, 20_000, 4_000, 100, 160, 0.5, 40),
    "standard": Preset(16, 100_000, 10_000, 180, 512, 0.5, 40),
}


def claims(found: dict[str, Dictionary]) -> list[Claim]:
    """What the literature says of these dictionaries."""
    pca, ica, sparse = (found[name] for name in ("pca", "ica", "sparse_coding"))
    of_sparse = "most sparse-coding atoms are Gabor functions"
    of_ica = "most ICA atoms are Gabor functions"
    of_pca = "hardly any principal component is a Gabor function"
    turned = "orientations of sparse-coding atoms spread over the half circle"
    peaked = "codes of sparse coding have at least twice the excess kurtosis of PCA's"
    spread = orientation_spread(sparse.gabors.orientation[sparse.fits])
    ratio = sparse.kurtosis / max(pca.kurtosis, 1e-6)
    bell, olshausen = "Bell & Sejnowski 1997, Fig. 4", "Olshausen & Field 1996, Fig. {}".format
    share, of_spread = "share of atoms", "1 - |mean exp(2i angle)|"
    return [
        claim(of_sparse, sparse.share, at_least=0.5, unit=share, source=olshausen(4)),
        claim(of_ica, ica.share, at_least=0.5, unit=share, source=bell),
        claim(of_pca, pca.share, at_most=0.1, unit=share, source=olshausen(1)),
        claim(turned, spread, at_least=0.5, unit=of_spread, source=olshausen(4)),
        claim(peaked, ratio, at_least=2.0, unit="ratio", source=olshausen(4)),
    ]


@experiment("natural_patches", PRESETS)
@images_option
def main(preset: Preset, lab: Lab, images: Path | None) -> Findings:
    """Natural patches: localised, oriented filters of sparse coding and ICA, gratings of PCA."""
    data = natural_patches(images, preset.side, preset.train, preset.test)
    found = {
        name: atoms.measure(lab, name, spec, data) for name, spec in atoms.specs(preset).items()
    }
    source = "scikit-learn's two photographs" if images is None else f"photographs in {images.name}"
    return Findings(
        protocol=(
            f"{preset.train:,} whitened {preset.side}x{preset.side} patches of {source}, "
            f"{preset.test:,} for test from parts of the pictures that training does not see"
        ),
        note=(
            f"An atom is a Gabor function if one of at most a quarter of the patch in width "
            f"explains {atoms.THRESHOLD:.0%} of its sum of squares. Spread and frequencies (cycles "
            "a pixel, first and last tenth) are those of such atoms. Kurtosis is the median excess "
            f"kurtosis of a code over test patches. Penalty {preset.penalty:g}, at most "
            f"{preset.iterations} passes in batches of {atoms.BATCH}."
        ),
        tables={"Dictionaries": [atoms.row(name, one) for name, one in found.items()]},
        pictures=atoms.pictures(found),
        claims=claims(found) if preset.claimed else [],
        runs=[one.run for one in found.values()],
    )


if __name__ == "__main__":
    run_command(main)
