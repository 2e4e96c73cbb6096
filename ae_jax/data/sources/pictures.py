"""Folders of pictures: one subfolder a class, or all in one folder without classes.

`FOLDER/cats/1.png`, `FOLDER/dogs/2.jpg`; or cut already: `FOLDER/train/cats/...`,
`FOLDER/test/...` and possibly `FOLDER/valid/...`.
"""

from pathlib import Path

import numpy as np

from ae_jax.core.errors import UserError
from ae_jax.data.base import Facts, Split
from ae_jax.data.protocols import Stored, hold_out_rows

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_VALID = ("valid", "val", "validation")
_GREY, _COLOUR = ("1", "L"), ("RGB", "P", "CMYK", "YCbCr", "HSV", "LAB")


def is_folder_of_pictures(folder: Path) -> bool:
    """Whether there are pictures in a folder, or two folders down."""
    patterns = ("*", "*/*", "*/*/*")
    return any(is_picture(path) for pattern in patterns for path in folder.glob(pattern))


def read_pictures(folder: Path) -> Stored:
    """8-bit pictures of one size [N, H, W, 1 or 3]: grey where all are, else in colour.

    Labels are the subfolders in sorted order, `names` the files. Raises UserError.
    """
    parts = {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not is_hidden(path)
    }
    named = {"train", "test", *_VALID} & set(parts)
    if {"train", "test"} <= set(parts) == named and len(named) < 4:
        return _read_parts(folder, parts)
    if len(named) > 1:
        raise UserError(
            f"data set {folder} has the subfolders {', '.join(sorted(parts))}: one that is cut "
            "already has train, test and possibly valid, and no other"
        )
    files, classes = _listed(folder)
    x, y, names = _read(files, folder, classes)
    facts = Facts(origin=str(folder))
    return hold_out_rows(Split(x, y, names=names), 255.0, str(folder), classes, facts)


def _read_parts(folder: Path, parts: dict[str, Path]) -> Stored:
    listed = {name: _listed(path) for name, path in parts.items()}
    if len({classes for _, classes in listed.values()}) > 1:
        raise UserError(f"data set {folder}: its parts differ in their classes")
    valid = next((name for name in _VALID if name in listed), None)
    order = ["train", *([valid] if valid else []), "test"]
    files = [file for name in order for file in listed[name][0]]
    classes = listed["train"][1]
    x, y, names = _read(files, folder, classes)
    everything, cut = Split(x, y, names=names), len(x) - len(listed["test"][0])
    return Stored(
        train=everything.rows(slice(cut)),
        test=everything.rows(slice(cut, None)),
        valid_count=len(listed[valid][0]) if valid else 0,
        max_value=255.0,
        classes=classes,
        facts=Facts(origin=str(folder)),
    )


def _listed(folder: Path) -> tuple[list[Path], tuple[str, ...] | None]:
    """The pictures of a folder in sorted order, and its classes if it has any. Raises UserError."""
    loose = sorted(path for path in folder.iterdir() if is_picture(path))
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))
    sorted_in = [sorted(path for path in sub.iterdir() if is_picture(path)) for sub in subfolders]
    if loose and any(sorted_in):
        raise UserError(f"data set {folder} has pictures in subfolders and beside them")
    if loose:
        return loose, None
    empty = next((sub for sub, files in zip(subfolders, sorted_in, strict=True) if not files), None)
    if empty is not None or not subfolders:
        raise UserError(f"data set {folder}: there are no pictures in {empty or folder}")
    return [file for files in sorted_in for file in files], tuple(sub.name for sub in subfolders)


def _read(
    files: list[Path], folder: Path, classes: tuple[str, ...] | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    images = []
    for file in files:
        try:
            with Image.open(file) as opened:
                images.append(_plain(ImageOps.exif_transpose(opened), file))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise UserError(f"data set {folder}: {file} cannot be read as a picture") from error
    width, height = images[0].size
    for image, file in zip(images, files, strict=True):
        if image.size != (width, height):
            raise UserError(
                f"data set {folder}: pictures differ in size: {files[0].name} is {width}x{height} "
                f"and {file.name} {image.size[0]}x{image.size[1]}; bring them to one size first"
            )
    mode = "L" if all(image.mode == "L" for image in images) else "RGB"
    x = np.stack([np.asarray(image.convert(mode)) for image in images])
    x = x[..., None] if x.ndim == 3 else x
    names = np.array([file.relative_to(folder).as_posix() for file in files])
    if classes is None:
        return x, None, names
    return x, np.array([classes.index(file.parent.name) for file in files], np.int32), names


def _plain(image, file: Path):
    """A picture in grey (L) or in colour (RGB). Raises UserError for what would lose something."""
    if image.mode in _GREY:
        return image.convert("L")
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        whole = image.convert("RGBA")
        if whole.getchannel("A").getextrema()[0] < 255:
            raise UserError(f"{file} is transparent in places: lay it on a background first")
        return whole.convert("L" if image.mode == "LA" else "RGB")
    if image.mode in _COLOUR:
        return image.convert("RGB")
    raise UserError(f"{file} has pixels of mode {image.mode}, and pictures of 8 bits are needed")


def is_hidden(path: Path) -> bool:
    """Of files and folders that other programs keep, such as .ipynb_checkpoints."""
    return path.name.startswith(".")


def is_picture(path: Path) -> bool:
    return not is_hidden(path) and path.suffix.lower() in SUFFIXES and path.is_file()
