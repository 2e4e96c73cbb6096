"""Small patches of large pictures, turned and scaled: many examples of few."""

import numpy as np

PATCH_SEED = 2006_0728


def turned_patches(
    images: np.ndarray,
    count: int,
    *,
    side: int = 25,
    degrees: float = 90.0,
    scales: tuple[float, float] = (1.4, 1.8),
    seed: int = PATCH_SEED,
) -> np.ndarray:
    """`count` patches about the centre of each image, [N, H, W] -> float32 [count * N, side, side].

    Each is turned by an angle up to `degrees` either way and covers `scales` times its side in
    pixels of the image, both drawn uniformly, and sampled bilinearly: 25 x 25 patches of the faces
    of 64 x 64 as Hinton & Salakhutdinov 2006 describe theirs. The first N patches are one of each
    image, then the next, so that any head of them shows all images. An image's patches depend on
    the seed, its place and `count` only. Raises ValueError where a patch would leave an image.
    """
    from scipy.ndimage import map_coordinates

    images = np.asarray(images)
    total, height, width = images.shape
    reach = (side - 1) / 2 * max(scales) * np.sqrt(2)
    if reach > (min(height, width) - 1) / 2:
        raise ValueError(
            f"patches of {side} pixels at scale {max(scales):g} leave images of {height} x {width}"
        )
    # RandomState's streams are frozen for good.
    draws = np.random.RandomState(seed).uniform(size=(total, count, 2))
    angles = np.deg2rad(degrees * (2 * draws[..., 0] - 1))
    spacing = scales[0] + (scales[1] - scales[0]) * draws[..., 1]
    place = np.arange(side) - (side - 1) / 2
    patches = np.empty((count, total, side, side), np.float32)
    for i, image in enumerate(images.astype(np.float32)):
        across, down = (spacing[i] * f(angles[i]) for f in (np.cos, np.sin))  # [count]
        rows = across[:, None, None] * place[:, None] + down[:, None, None] * place
        columns = across[:, None, None] * place - down[:, None, None] * place[:, None]
        where = np.stack([rows + (height - 1) / 2, columns + (width - 1) / 2])
        patches[:, i] = map_coordinates(image, where, order=1, mode="nearest")
    return patches.reshape(-1, side, side)
