"""File formats against hand-built bytes, and the published checksums where the data is at hand."""

import gzip
import hashlib
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from ae_jax.core.errors import UserError
from ae_jax.data.sources import classic_formats, tfds_sets
from ae_jax.data.sources.catalogue import MNIST_HEADERS

IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 3) + bytes(range(12))


def test_idx_is_big_endian_and_row_major():
    np.testing.assert_array_equal(classic_formats.parse_idx(IDX), np.arange(12).reshape(2, 2, 3))


@pytest.mark.parametrize(
    "raw", [b"", IDX[:3], IDX[:9], IDX[:-1], IDX + b"\0", bytes([0, 0, 9]) + IDX[3:]]
)
def test_broken_idx_is_refused(raw):
    with pytest.raises(ValueError, match="idx"):
        classic_formats.parse_idx(raw)


def test_half_a_gzip_file_is_a_user_error(tmp_path):
    path = tmp_path / "half.gz"
    path.write_bytes(gzip.compress(IDX)[:-12])
    with pytest.raises(UserError, match="half.gz cannot be read"):
        classic_formats.read_idx_gz(path)


def test_amat_equals_what_loadtxt_reads_and_round_trips(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (5, 28, 28)).astype(np.uint8)
    path = tmp_path / "images.amat"
    np.savetxt(path, images.reshape(5, -1), fmt="%d")
    assert classic_formats.format_amat(images) == path.read_bytes()
    np.testing.assert_array_equal(classic_formats.parse_amat(path.read_bytes()), np.loadtxt(path))


@pytest.mark.parametrize("raw", [b"", b"0 1 ", b"0 1 \n", b"0 2\n", b"0,1\n"])
def test_other_texts_are_no_amat(raw):
    with pytest.raises(ValueError, match="not a text"):
        classic_formats.parse_amat(raw, pixels=2)


def test_gzip_header_is_that_of_rfc_1952():
    member = classic_formats.gzip_member(gzip.compress(IDX, mtime=0), "a-name", 0x3290827A)
    assert member[:10] == bytes.fromhex("1f8b0808 7a829032 0003")
    assert member[10:17] == b"a-name\0"
    assert gzip.decompress(member) == IDX
    assert struct.unpack("<2I", member[-8:]) == (zlib.crc32(IDX), len(IDX))
    with pytest.raises(ValueError, match="without a name"):
        classic_formats.gzip_member(member, "again", 0)


def test_png_keeps_every_bit():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(tfds_sets.decode_png(tfds_sets.encode_png(image)), image)


@pytest.mark.skipif(shutil.which("gzip") is None, reason="no gzip command")
@pytest.mark.parametrize("name", sorted(MNIST_HEADERS))
def test_published_mnist_files_are_restored_from_raw_ones(name):
    path = Path(os.environ.get("AE_JAX_DATA", "/nonexistent"), "mnist", name)
    if not path.is_file():
        pytest.skip("AE_JAX_DATA holds no MNIST")
    published = path.read_bytes()
    header = MNIST_HEADERS[name]
    stripped = classic_formats.gnu_gzip(gzip.decompress(published))
    restored = classic_formats.gzip_member(stripped, header.name, header.time)
    recorded = {file.name: file.sha256 for file in tfds_sets.raw_files("mnist")}
    assert hashlib.sha256(restored).hexdigest() == recorded[name]
