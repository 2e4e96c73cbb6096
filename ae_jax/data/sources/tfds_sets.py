"""Image sets of the TensorFlow Datasets catalogue, prepared without TensorFlow.

The stock builders give names, versions, features and checksums. Only the reading of the raw
files is replaced: images are handed over as PNG bytes, which need no TensorFlow to encode, and
the records are written and read as array_record.
"""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data.base import Split
from ae_jax.data.protocols import Stored
from ae_jax.data.sources.cache import Log
from ae_jax.data.sources.classic_formats import parse_amat, read_idx_gz
from ae_jax.data.sources.fetch import Fetcher, RawFile, fetch

Parts = Mapping[str, Split]


@dataclasses.dataclass(frozen=True)
class CatalogueSet:
    """How one set of the catalogue becomes arrays.

    `parse` maps the folder of raw files to the catalogue's splits, `arrange` maps those, as
    read back from the records, to what is stored.
    """

    name: str
    fetchers: Sequence[Fetcher]
    parse: Callable[[Path], Parts]
    arrange: Callable[[Parts], Stored]

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(fetcher.label for fetcher in self.fetchers)

    def build(self, work: Path, log: Log) -> Stored:
        """Fetches, verifies, writes the records under `work` and reads them. Raises UserError."""
        raw = work / "raw"
        raw.mkdir()
        fetch(self.name, raw_files(self.name), self.fetchers, raw, log)
        log(f"{self.name}: writing and reading back array_record files")
        parts = self.parse(raw)
        write_records(self.name, parts, work / "records")
        return self.arrange(read_records(self.name, parts, work / "records"))


def raw_files(name: str) -> list[RawFile]:
    """The published files of a set with the sha256 that the catalogue records for them."""
    import tensorflow_datasets as tfds

    infos = tfds.builder_cls(name).url_infos
    return [
        RawFile(url.rpartition("/")[2], url, info.checksum, info.size)
        for url, info in infos.items()
    ]


def write_records(name: str, parts: Parts, folder: Path) -> None:
    """Writes splits as array_record files of the catalogue's set `name` under `folder`."""
    import tensorflow_datasets as tfds

    stock: Any = tfds.builder_cls(name)
    data_set_name = name

    class Builder(stock, skip_registration=True):  # type: ignore[call-arg]
        name = data_set_name
        pkg_dir_path = stock.pkg_dir_path

        def _info(self):
            # The catalogue shuffles by default; the published order is what "the first 50,000"
            # of every paper refers to.
            return tfds.core.DatasetInfo(
                builder=self, features=super()._info().features, disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {part: self._generate_examples(split) for part, split in parts.items()}

        def _generate_examples(self, split):
            for index, image in enumerate(split.x):
                record: dict[str, Any] = {"image": encode_png(image)}
                if split.y is not None:
                    record["label"] = int(split.y[index])
                yield index, record

    # The log says what happens; the catalogue's own bars and prints would bury it.
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        Builder(data_dir=folder, file_format="array_record").download_and_prepare()


def read_records(name: str, parts: Iterable[str], folder: Path) -> Parts:
    """The named splits from array_record files under `folder`, [N, H, W, 1] uint8."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    skip = {"image": tfds.decode.SkipDecoding()}
    return {part: _read_split(builder.as_data_source(split=part, decoders=skip)) for part in parts}


def _read_split(source) -> Split:
    records = source.__getitems__(range(len(source)))
    x = np.stack([decode_png(record["image"]) for record in records])
    labelled = "label" in records[0]
    y = np.array([record["label"] for record in records], np.int32) if labelled else None
    return Split(x, y)


def encode_png(image: np.ndarray) -> bytes:
    """The PNG file of an 8-bit grey image [H, W, 1]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(file: bytes) -> np.ndarray:
    """The 8-bit grey image [H, W, 1] in a PNG file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(file)))[..., None]


def parse_idx_set(raw: Path) -> Parts:
    """Train and test of a set in the four files of MNIST."""

    def part(prefix: str) -> Split:
        images = read_idx_gz(raw / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx_gz(raw / f"{prefix}-labels-idx1-ubyte.gz")
        return Split(images[..., None], labels.astype(np.int32))

    return {"train": part("train"), "test": part("t10k")}


def arrange_idx_set(parts: Parts) -> Stored:
    """The last sixth of the training images (10,000 of 60,000) is held out under "paper"."""
    return Stored(parts["train"], parts["test"], len(parts["train"]) // 6, 255.0)


def parse_binarized(raw: Path) -> Parts:
    """Larochelle's three text files of zeros and ones."""
    files = {"train": "train", "validation": "valid", "test": "test"}
    texts = {part: raw / f"binarized_mnist_{file}.amat" for part, file in files.items()}
    return {
        part: Split(parse_amat(text.read_bytes()).reshape(-1, 28, 28, 1))
        for part, text in texts.items()
    }


def arrange_binarized(parts: Parts) -> Stored:
    """Training, then validation images: the set names its own validation part."""
    joined = np.concatenate([parts["train"].x, parts["validation"].x])
    return Stored(Split(joined), parts["test"], len(parts["validation"]), 1.0)
