"""A frozen model with its preprocessing: the result of every loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from headclust.backbones.smoke_pass import freeze_model
from headclust.errors import DataError

if TYPE_CHECKING:
    import torch

# Libraries scale the shorter side before they crop: a 1 x 10,000 image would take gigabytes.
MAX_ASPECT = 200
# Recorded origin of random weights.
UNTRAINED = "untrained"


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A library's evaluation transform in two parts: geometry on bytes, then normalization to floats.

    `normalize(torch.from_numpy(pixels(image))[None])` is the library's transform, bit for bit. Bytes take a quarter of
    the memory of floats on the way from worker to model.

    Attributes:
        size: (height, width) of the model's input.
        record: Plain JSON: `library`, `config` (name of the settings), `input_size`, `own_size` (the size that learned
            position embeddings are for, which are resampled if it differs; without such embeddings, the model's default
            size), `resize`, `crop`, `interpolation`, `mean`, `std`, `steps` (the geometric steps, as printed by the
            library). A preset adds its name and its deviations.
        geometry: The steps before the conversion to floats, PIL image to PIL image.
    """

    size: tuple[int, int]
    record: dict[str, Any]
    geometry: Callable[[Image.Image], Image.Image] = field(repr=False)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The image resized and cropped, uint8 (height, width, 3). Thread-safe.

        Args:
            image: An RGB image.

        Raises:
            DataError: A side is more than `MAX_ASPECT` times the other, or would shrink to nothing; or the image is not
                square and the preprocessing crops nothing.
        """
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise DataError(f"{image.width} x {image.height} pixels: one side is over {MAX_ASPECT} times the other")
        try:
            pixels = np.array(self.geometry(image))
        except ValueError as error:
            raise DataError(f"{image.width} x {image.height} pixels cannot be resized: {error}") from None
        if pixels.shape != (*self.size, 3):
            height, width = pixels.shape[:2]
            raise DataError(
                f"{image.width} x {image.height} pixels become {width} x {height}, expected {self.size[1]} x "
                f"{self.size[0]}: this preprocessing crops nothing and takes square images"
            )
        return pixels

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """The model's input, float32 (batch, 3, height, width), in channels-last memory order.

        Args:
            pixels: uint8 (batch, height, width, 3), on any device; the result is on the same device.
        """
        import torch

        mean, std = (
            torch.tensor(self.record[name], dtype=torch.float32, device=pixels.device).view(1, 3, 1, 1)
            for name in ("mean", "std")
        )
        return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(mean).div_(std)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen image model.

    Attributes:
        name: The name given by the user.
        model: In eval mode, without gradients: float32 (batch, 3, height, width) to (batch, feature_dim).
        feature_dim: Dimension of the features.
        preprocessing: Conversion of images to the model's input.
        weights_origin: Origin of the weights, and what `weights_sha256` is computed of.
        weights_sha256: SHA-256 of the file of weights, in hex; empty without weights.
        feature_point: The layer whose output is the features, in words.
    """

    name: str
    model: torch.nn.Module = field(repr=False)
    feature_dim: int
    preprocessing: Preprocessing
    weights_origin: str
    weights_sha256: str
    feature_point: str


def split_transform(transform: Any, library: str, config: str, settings: dict[str, Any]) -> Preprocessing:
    """The `Preprocessing` of a library's evaluation transform.

    Args:
        transform: torchvision Compose of geometric steps, ToTensor, Normalize.
        library: Name and version for the record, for example "timm 1.0.20".
        config: Name of the settings, for the record.
        settings: Settings of the transform: `size` and `own_size` as (height, width), `crop`, `interpolation`, `mean`,
            `std`.
    """
    from torchvision.transforms import Compose, Normalize, ToTensor

    steps = list(transform.transforms)
    cut = next(i for i, step in enumerate(steps) if isinstance(step, ToTensor))
    rest = steps[cut + 1 :]
    if len(rest) != 1 or not isinstance(rest[0], Normalize):
        raise AssertionError(f"{library} has changed its evaluation transform: {transform}")
    resize = next((step.size for step in steps[:cut] if hasattr(step, "interpolation")), None)
    height, width = settings["size"]
    record = {
        "library": library,
        "config": config,
        "input_size": [height, width],
        "own_size": list(settings["own_size"]),
        "resize": resize if resize is None or isinstance(resize, int) else list(resize),
        "crop": settings["crop"],
        "interpolation": settings["interpolation"],
        "mean": [float(value) for value in settings["mean"]],
        "std": [float(value) for value in settings["std"]],
        "steps": [str(step) for step in steps[:cut]],
    }
    return Preprocessing((height, width), record, Compose(steps[:cut]))


def freeze_backbone(
    name: str, model: torch.nn.Module, preprocessing: Preprocessing, *, feature_point: str, origin: str, sha256: str
) -> Backbone:
    """The backbone of a model, which is frozen in place and run once.

    Args:
        name: The name given by the user.
        model: Takes float32 (batch, 3, height, width).
        preprocessing: Conversion of images to this input.
        feature_point: The layer whose output is the features, in words.
        origin: Origin of the weights; `UNTRAINED` for random weights.
        sha256: SHA-256 of the file of weights, in hex; empty without a file.

    Raises:
        SettingError: The model does not accept this input size, or does not return one vector per image.
    """
    return Backbone(
        name=name,
        model=model,
        feature_dim=freeze_model(name, model, preprocessing.size),
        preprocessing=preprocessing,
        weights_origin=f"{origin} (sha256 of the file)" if sha256 else origin,
        weights_sha256=sha256,
        feature_point=feature_point,
    )


@contextmanager
def initialized_on(device: str) -> Iterator[None]:
    """Create models inside on a device ("meta": no memory, no values), with the same random weights every time.

    Libraries draw weights from the global generator, whose state is restored at the end.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(0)
        yield
