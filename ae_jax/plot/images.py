"""Pictures of what a model makes: reconstructions, samples, its plane of codes, its features."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes

from ae_jax.api import Fitted
from ae_jax.api.arguments import whole_number
from ae_jax.api.fitted import PriorChoice
from ae_jax.core.errors import UserError
from ae_jax.core.registry import unknown_name
from ae_jax.data.base import Split
from ae_jax.nn.tying import decoder_chain, encoder_chain, untie
from ae_jax.report import dictionaries, figures, pictures
from ae_jax.report.style import style
from ae_jax.train.codec_fit import CodecSetup
from ae_jax.train.config import RunConfig

Shape = Sequence[int] | None
MOST_ROWS = 10


def reconstructions(
    models: Fitted | Mapping[str, Fitted | np.ndarray],
    x: np.ndarray | Split,
    *,
    y: Any = None,
    condition: Any = None,
    image_shape: Shape = None,
    axes: Axes | None = None,
) -> Axes:
    """Examples in the top row and, under each, what a model makes of it.

    Several `models` by their names have a row each; in place of one there may be reconstructions
    [N, ...] that were made elsewhere. All are in the units of `x`. Of a model of vectors,
    `image_shape` is that of the images which they are.
    """
    named = _by_name(models, "reconstruction")
    if "original" in named:
        raise UserError("the row of the examples is called original: name the model otherwise")
    rows = {"original": np.asarray(x.x if isinstance(x, Split) else x, np.float32)}
    for name, model in named.items():
        is_model = isinstance(model, Fitted)
        rows[name] = model.reconstruct(x, y, condition) if is_model else np.asarray(model)
    images = {name: _images(values, image_shape) for name, values in rows.items()}
    first = images["original"]
    for name, one in images.items():
        if one.shape != first.shape:
            raise UserError(
                f"{name} has images of shape {one.shape}, and the examples {first.shape}"
            )
    known = [m.setup.dataset.max_value for m in named.values() if isinstance(m, Fitted)]
    # All are in the units of the data: of bytes, black and white are what they are for the model.
    white = next((value for value in known if value is not None), None)
    if white is None:
        return _rows({name: pictures.in_unit(one, first) for name, one in images.items()}, axes)
    return _rows({name: one / white for name, one in images.items()}, axes)


def samples(
    model: Fitted | np.ndarray,
    count: int = 100,
    seed: int = 0,
    *,
    y: Any = None,
    condition: Any = None,
    prior: PriorChoice = "model",
    image_shape: Shape = None,
    axes: Axes | None = None,
) -> Axes:
    """Means of p(x|z) for codes from the prior, as a grid; or images [N, ...] that are given."""
    if isinstance(model, Fitted):
        count = whole_number(count, "the number of samples to show", 1)
        drawn = model.sample(count, seed, y=y, condition=condition, prior=prior, units="model")
    else:
        if (count, seed, y, condition, prior) != (100, 0, None, None, "model"):
            raise UserError("images that are given are all shown: the other options are of a model")
        drawn = np.asarray(model)
    return _grid(pictures.in_unit(_images(drawn, image_shape)), axes)


def manifold(
    model: Fitted,
    side: int = 20,
    *,
    y: Any = None,
    condition: Any = None,
    image_shape: Shape = None,
    axes: Axes | None = None,
) -> Axes:
    """The plane of a code of two dimensions: `side` x `side` decoded codes of equal probability.

    They are the quantiles of a standard normal prior, as in Fig. 4 of Kingma & Welling 2014.
    """
    if not isinstance(model, Fitted):
        raise UserError("a manifold is decoded: it takes a fitted model")
    if model.setup.latent_dim != 2:
        raise UserError(
            f"a manifold is of a code of two dimensions, and this has {model.setup.latent_dim}: "
            "traversal shows any"
        )
    if not model.has_plane:
        raise UserError(
            "a manifold is of codes whose prior is standard normal, and that of this model is not: "
            "traversal shows any"
        )
    side = whole_number(side, "the side of the manifold", 1)
    grid = figures.manifold_coordinates(side)
    images = pictures.in_unit(_images(model.decode(grid, y, condition, units="model"), image_shape))
    if axes is None:
        return figures.manifold(images, side).axes[0]
    with style():
        pictures.draw_manifold(axes, images, side)
    return axes


def traversal(
    model: Fitted,
    x: np.ndarray,
    dims: Sequence[int] | None = None,
    values: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
    *,
    y: Any = None,
    condition: Any = None,
    image_shape: Shape = None,
    axes: Axes | None = None,
) -> Axes:
    """The code of one example `x` decoded with one dimension changed: a row for each dimension.

    By default the first ten dimensions, from -3 to 3.
    """
    if dims is None:
        dims = range(min(model.setup.latent_dim, MOST_ROWS))
    dims = [cast(int, dims)] if np.ndim(dims) == 0 else list(dims)
    if not dims or not len(values):
        raise UserError("a traversal needs at least one dimension of the code, and one value")
    rows = {}
    for dim in dims:
        made = model.traverse(x, dim, values, y=y, condition=condition, units="model")
        rows[f"$z_{{{dim + 1}}}$"] = _images(made, image_shape)
    whole = np.concatenate(list(rows.values()))
    columns = [f"{value:g}".replace("-", "−") for value in values]
    shown = {name: pictures.in_unit(images, whole) for name, images in rows.items()}
    return _rows(shown, axes, columns, "value of the dimension")


def features(
    model: Fitted | np.ndarray,
    count: int = 144,
    *,
    of: str = "encoder",
    image_shape: Shape = None,
    axes: Axes | None = None,
) -> Axes:
    """What units look for, each on a scale of its own: 0 is grey where some weights are below 0.

    Of a codec its atoms. Of a network the weights from the data to the first layer of the encoder,
    or, `of="decoder"`, from the last layer of the decoder to the data; both need dense parts. Or
    weights [N, ...] that are given.
    """
    if of not in ("encoder", "decoder"):
        raise unknown_name("part with features", str(of), ("encoder", "decoder"))
    weights = _weights(model, of) if isinstance(model, Fitted) else np.asarray(model)
    count = whole_number(count, "the number of features", 1)
    return _grid(dictionaries.scaled(_images(weights[:count], image_shape)), axes)


def _weights(model: Fitted, of: str) -> np.ndarray:
    """Weights of units, [H, ...] in the shape of an example."""
    shape = model.setup.dataset.shape
    size = math.prod(shape)
    if isinstance(model.setup, CodecSetup):
        return np.asarray(model.params.atoms).reshape(-1, *shape)
    params = model.params
    if {"hidden", "visible"} <= {*params}:  # of a Boltzmann machine, whose weights are both
        kernel = params["hidden"]["kernel"]
    else:
        params = untie(params) if cast(RunConfig, model.config).model.tied else params
        part, name = encoder_chain(params)[0] if of == "encoder" else decoder_chain(params)[-1]
        kernel = params[part][name].get("kernel")
        kernel = kernel if of == "encoder" or np.ndim(kernel) != 2 else kernel.T
    if np.ndim(kernel) != 2 or len(kernel) < size:
        raise UserError(f"features are weights of dense layers, and this {of} has none at the data")
    return np.asarray(kernel)[:size].T.reshape(-1, *shape)  # what sees a condition comes after


def _by_name(models: Any, only: str) -> dict[str, Any]:
    """Models by their names. Raises UserError for what is neither one nor a table of such."""
    if isinstance(models, Fitted):
        return {only: models}
    if not isinstance(models, Mapping) or not models:
        raise UserError("there is no model to show: give one, or several by their names")
    return dict(models)


def _images(values: np.ndarray, image_shape: Shape) -> np.ndarray:
    """Images [N, H, W, C]. Raises UserError for what are none."""
    if not len(values):
        raise UserError("there is no image to show")
    if image_shape is not None:
        shape = tuple(np.atleast_1d(image_shape).tolist())
        fits = len(shape) in (2, 3) and all(isinstance(n, int) and n > 0 for n in shape)
        if not fits or math.prod(shape) != math.prod(values.shape[1:]):
            raise UserError(f"examples of shape {values.shape[1:]} are no images of {shape}")
        values = values.reshape(len(values), *shape)
    values = values[..., None] if values.ndim == 3 else values
    if values.ndim != 4 or values.shape[-1] not in (1, 3):
        raise UserError(
            f"examples of shape {values.shape[1:]} are no pictures; where vectors are images, say "
            "image_shape=(height, width)"
        )
    return values


def _grid(images: np.ndarray, axes: Axes | None) -> Axes:
    columns = math.isqrt(max(len(images) - 1, 0)) + 1
    rows = max(1, -(-len(images) // columns))
    if axes is None:
        return figures.image_grid(images, rows, columns).axes[0]
    pictures.show_picture(axes, pictures.tile(images, rows, columns))
    return axes


def _rows(
    rows: Mapping[str, np.ndarray],
    axes: Axes | None,
    columns: Sequence[str] | None = None,
    x_label: str | None = None,
) -> Axes:
    if axes is None:
        axes = figures.image_rows(rows, columns).axes[0]
    else:
        pictures.draw_rows(axes, rows, columns)
    if x_label is not None:
        axes.set_xlabel(x_label)
    return axes
