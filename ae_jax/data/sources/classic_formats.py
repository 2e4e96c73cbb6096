"""The file formats of the classic image sets, read and written back byte for byte."""

import gzip
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np

from ae_jax.core.errors import UserError

_IDX_UINT8 = 0x08


def parse_idx(raw: bytes) -> np.ndarray:
    """An array of bytes in LeCun's idx format (big-endian header). Raises ValueError."""
    if len(raw) < 4 or raw[:3] != bytes([0, 0, _IDX_UINT8]):
        raise ValueError("not an idx file of unsigned bytes")
    ndim = raw[3]
    start = 4 + 4 * ndim
    if len(raw) < start:
        raise ValueError("the idx header is cut short")
    shape = struct.unpack(f">{ndim}I", raw[4:start])
    values = np.frombuffer(raw, np.uint8, offset=start)
    if values.size != int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"the idx header announces shape {shape}, {values.size} bytes follow")
    return values.reshape(shape)


def read_idx_gz(path: Path) -> np.ndarray:
    """The array in a gzipped idx file. Raises UserError for a file that is not one."""
    try:
        return parse_idx(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def parse_amat(raw: bytes, pixels: int = 784) -> np.ndarray:
    """Binary images [N, pixels] uint8 of an .amat text: digits apart by single spaces.

    Raises ValueError for any other text.
    """
    text = np.frombuffer(raw, np.uint8)
    if text.size == 0 or text.size % (2 * pixels):
        raise ValueError(f"not a text of {pixels} single digits a line")
    text = text.reshape(-1, pixels, 2)
    values = text[:, :, 0] - ord("0")
    if not np.array_equal(text[:, :, 1], _separators(text.shape[:2])) or values.max() > 1:
        raise ValueError("not a text of zeros and ones apart by single spaces")
    return values


def format_amat(images: np.ndarray) -> bytes:
    """The .amat text of binary images [N, ...]: the inverse of `parse_amat`."""
    digits = images.reshape(len(images), -1).astype(np.uint8) + ord("0")
    return np.stack([digits, _separators(digits.shape)], axis=-1).tobytes()


def _separators(shape: tuple[int, int]) -> np.ndarray:
    separators = np.full(shape, ord(" "), np.uint8)
    separators[:, -1] = ord("\n")
    return separators


def gzip_member(deflated: bytes, name: str, time: int) -> bytes:
    """A gzip file (RFC 1952) with a file name and time, made from another one's body.

    `deflated` is a gzip file without name (`gzip -n`); what follows its 10-byte header, the
    deflate stream with checksum and length, is kept.
    """
    if deflated[:4] != b"\x1f\x8b\x08\x00":
        raise ValueError("not a gzip file without a name")
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + b"\x00\x03"
    return header + name.encode("ascii") + b"\x00" + deflated[10:]


def gnu_gzip(raw: bytes) -> bytes:
    """`gzip -n -6` of the bytes. The stream of Python's zlib differs. Raises OSError."""
    command = ["gzip", "-n", "-6", "-c"]
    done = subprocess.run(command, input=raw, capture_output=True)  # noqa: S603  words of ours
    if done.returncode:
        raise OSError(f"gzip failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
