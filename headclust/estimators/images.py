"""EmbedImages: a frozen backbone as a scikit-learn transformer, from images to features in memory."""

# ruff: noqa: N803 - X is what scikit-learn calls it
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from headclust.backbones import Backbone, load_backbone
from headclust.choices import Precision
from headclust.device import forward, resolve_device, resolve_precision, reuse_memory
from headclust.embedding import EmbedSettings
from headclust.embedding.parts import Pixels, pixel_shape
from headclust.embedding.settings import describe_unreadable
from headclust.errors import DataError, one_line
from headclust.estimators.validation import InputError, check_kind, value_errors
from headclust.features import check_finite
from headclust.images.color import profile_of, to_srgb
from headclust.images.decoding import decoded_batches
from headclust.images.image_file import decode
from headclust.images.pixels import Stored, stored_pixels, to_rgb
from headclust.progress import bar


class EmbedImages(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embed images with a frozen backbone, one row per image, in order, with the same numbers as `headclust embed`.

    X is a list (array, series) of paths; or of images, each a PIL image or uint8 array (height, width[, 3]) in sRGB. A
    single image is refused: put it in a list. Nothing is learned: `fit` only checks the parameters, and `transform`
    works without it. Rows are held in memory and computed again in each call. For many or damaged images, make a
    feature file with `headclust embed`, which can be interrupted and leaves out unreadable images, and pass that to
    `HeadClustering`.

    Args:
        model: A backbone's name, `timm:NAME` or `open_clip:ARCH/PRETRAINED`.
        weights: A file with the model's weights.
        image_size: Input size in pixels, instead of the model's own.
        batch_size: Images per batch; a row's last bits depend on it.
        precision: Of the computation: "auto", "float32" or "bfloat16".
        device: Where to compute; the best available when None.
        timeout: Seconds that reading an image may take.
        offline: Never download weights.

    Attributes:
        weights_sha256_: SHA-256 of the file of weights. A pickled copy loads them again, and raises an error if they
            differ.
    """

    def __init__(
        self,
        model: str = "efficientnet_lite0",
        *,
        weights: str | os.PathLike[str] | None = None,
        image_size: int | None = None,
        batch_size: int = 64,
        precision: Precision = "auto",
        device: str | None = None,
        timeout: float = 60.0,
        offline: bool = False,
    ) -> None:
        self.model = model
        self.weights = weights
        self.image_size = image_size
        self.batch_size = batch_size
        self.precision = precision
        self.device = device
        self.timeout = timeout
        self.offline = offline

    def fit(self, X: Any, y: Any = None) -> EmbedImages:
        """Check the parameters and the kind of X, without opening an image; return the estimator.

        Args:
            X: Paths or images.
            y: Ignored.

        Raises:
            ValueError: X or a parameter cannot be used.
        """
        with value_errors():
            _named_readers(X)
            self._check()
            self.__dict__.pop("_loaded", None)
            self.__dict__.pop("weights_sha256_", None)
            backbone = self._backbone()
        self.weights_sha256_, self._n_features_out = backbone.weights_sha256, backbone.feature_dim
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Features, float32 (n_images, feature_dim).

        Args:
            X: Paths or images.

        Raises:
            ValueError: An image cannot be read (with its path and the reason), or X or a parameter cannot be used.
        """
        with value_errors():
            self._check()
            names, read = _named_readers(X)
            return self._rows(self._backbone(), names, read)

    def _rows(
        self, backbone: Backbone, names: Sequence[str], read: Callable[[int], Image.Image]
    ) -> NDArray[np.float32]:
        device = resolve_device(self.device)
        precision = resolve_precision(device, self.precision)
        features = forward(backbone.model, backbone.preprocessing.normalize, device, precision)
        rows = np.empty((len(names), backbone.feature_dim), np.float32)
        blocks = [range(i, min(i + self.batch_size, len(names))) for i in range(0, len(names), self.batch_size)]

        def pixels_of(row: int, out: Pixels) -> None:
            out[0] = backbone.preprocessing.pixels(read(row))

        Image.init()  # before workers are forked, so that none has to load the readers of rarer formats
        decoded = decoded_batches(pixels_of, blocks, pixel_shape(backbone, self.batch_size, 0), timeout=self.timeout)
        with reuse_memory(device), bar("embedding", len(names)) as advance, closing(decoded) as batches:
            for where, pixels, bad in batches:
                if bad:
                    row = min(bad)
                    reason = describe_unreadable(names[row], bad[row])
                    raise DataError(f"image {row}, {reason}: fix it, or leave it out of the list.")
                rows[where.start : where.stop] = features(pixels[0])[: len(where)].cpu().numpy()
                advance(len(where))
        check_finite(rows, names)
        return rows

    def _check(self) -> None:
        check_kind("model", self.model, str, "a backbone's name")
        check_kind("weights", self.weights, (str, os.PathLike, type(None)), "a path, or None")
        check_kind("device", self.device, (str, type(None)), "a name, or None for the best available")
        check_kind("timeout", self.timeout, Real, "a number of seconds")
        check_kind("image_size", self.image_size, (Integral, type(None)), "a number of pixels, or None")
        check_kind("batch_size", self.batch_size, Integral, "a whole number")
        EmbedSettings(batch_size=self.batch_size, timeout=float(self.timeout), precision=self.precision)
        resolve_device(self.device)

    def _backbone(self) -> Backbone:
        """The model, loaded once per set of parameters."""
        parameters = (self.model, self.weights, self.image_size, self.offline)
        if getattr(self, "_loaded", (None, None))[0] != parameters:
            weights = None if self.weights is None else Path(self.weights)
            backbone = load_backbone(self.model, weights=weights, image_size=self.image_size, offline=self.offline)
            fitted = getattr(self, "weights_sha256_", backbone.weights_sha256)
            if backbone.weights_sha256 != fitted:
                raise InputError(f"{self.model}: weights {backbone.weights_sha256}, fitted with {fitted}: fit again.")
            self._loaded = parameters, backbone
        return self._loaded[1]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {**super().__getstate__()}
        state.pop("_loaded", None)  # hundreds of megabytes; loaded again by name
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _named_readers(X: Any) -> tuple[list[str], Callable[[int], Image.Image]]:
    """A name per image of X, and a function that reads the image of a row.

    Raises:
        DataError: X is neither a list of paths nor of images, or is empty.
    """
    if isinstance(X, str | bytes | os.PathLike | Image.Image | Mapping) or not isinstance(X, Iterable):
        example = "a list of paths or images, for example sorted(Path(FOLDER).glob('*.jpg'))"
        raise DataError(f"X is a {type(X).__name__}: expected {example}.")
    _check_several(X)
    column = getattr(X, "shape", ())[1:] == (1,)  # a column, as passed by a ColumnTransformer
    items = list(np.asarray(X)[:, 0] if column else X)
    if not items:
        raise DataError("X holds no images: expected at least one path or image.")
    images = {row: _image(row, item) for row, item in enumerate(items) if not isinstance(item, str | os.PathLike)}
    names = [f"X[{row}]" if row in images else os.fsdecode(item) for row, item in enumerate(items)]

    def read(row: int) -> Image.Image:
        return _in_memory(*images[row]) if row in images else decode(names[row])

    return names, read


def _check_several(X: Any) -> None:
    """Raise if X is an array of a single image, whose rows would pass as gray images.

    Raises:
        DataError: X is numbers of shape (height, width), or (height, width, channels) with at most 4 channels; or a
            tensor of shape (channels, height, width).
    """
    shape, kind = tuple(getattr(X, "shape", ())), getattr(X, "dtype", None)
    is_tensor = kind is not None and not isinstance(kind, np.dtype)  # of torch, with channels first, as a rule
    if kind is None or (not is_tensor and kind.kind not in "uifb"):
        return
    channels = (shape[-1:], shape[:1]) if is_tensor else (shape[-1:],)
    if len(shape) == 2 or (len(shape) == 3 and any(count in ((1,), (3,), (4,)) for count in channels)):
        raise DataError(f"X is one image, {kind} of shape {shape}: put it in a list, [X].")


def _in_memory(image: Image.Image, stored: Stored) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    return to_srgb(to_rgb(upright, stored), upright, profile_of(image))


def _image(row: int, item: Any) -> tuple[Image.Image, Stored]:
    """An image in memory, as worker processes cannot use files that are open, and the facts about its pixels."""
    if isinstance(item, Image.Image):
        try:
            stored = stored_pixels(item, getattr(item, "fp", None))
            item.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"X[{row}]: cannot be decoded: {one_line(error)}.") from None
        return item, stored
    try:
        pixels = np.asarray(item)
    except (RuntimeError, TypeError, ValueError) as error:  # a tensor on a GPU, or one that needs gradients
        raise DataError(f"X[{row}] is no array: {one_line(error)}") from None
    is_row = pixels.ndim == 2 and pixels.shape[1] in (3, 4)  # of a color image: no gray image is so narrow
    is_image = pixels.ndim in (2, 3) and 0 not in pixels.shape and pixels.shape[2:] in ((), (3,))
    if is_row or not is_image or pixels.dtype != np.uint8:
        kind = f"{type(item).__name__}" if pixels.ndim == 0 else f"{pixels.dtype} of shape {pixels.shape}"
        hint = ""
        if is_row:
            hint = " Is X one image? Then put it in a list, [X]."
        elif pixels.dtype.kind == "f":
            hint = " Values from 0 to 1 become these by (255 * X).round().astype('uint8')."
        elif pixels.ndim == 3 and pixels.shape[0] in (1, 3):
            hint = " Channels come last: np.moveaxis(X, 1, -1)."
        expected = "a path, a PIL image, or uint8 of shape (height, width[, 3])"
        raise DataError(f"X[{row}] is {kind}: expected {expected}.{hint}")
    return Image.fromarray(pixels), Stored()
