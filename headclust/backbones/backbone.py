"""What a loader gives back: a frozen model, and how images have to be prepared for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from headclust.backbones.smoke_pass import frozen_dim
from headclust.errors import DataError

if TYPE_CHECKING:
    import torch

# Libraries scale the shorter side and crop afterwards: a 1 x 10,000 image would pass through gigabytes.
MAX_ASPECT = 200
# The origin of weights that are only initialized.
UNTRAINED = "untrained"


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """A library's own evaluation transform, cut in two where bytes become floats.

    `normalize(torch.from_numpy(pixels(image))[None])` is the library's transform, bit for bit; between the two, images
    are bytes, a quarter of the memory to hand from worker to model.

    Attributes:
        size: (height, width) of what the model sees.
        record: Plain JSON: `library`, `config` (whose settings), `input_size`, `own_size` (what the position embeddings
            that were learned are for: where it differs, they were resampled; without such, what the model takes unless
            told), `resize`, `crop`, `interpolation`, `mean`, `std`, `steps` (the geometric steps, as the library prints
            them). A preset adds its name and what it does.
        geometry: The steps before floats, PIL to PIL.
    """

    size: tuple[int, int]
    record: dict[str, Any]
    geometry: Callable[[Image.Image], Image.Image] = field(repr=False)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Resized and cropped: uint8 (height, width, 3). Safe to call from several threads.

        Args:
            image: An RGB image.

        Raises:
            DataError: One side is more than `MAX_ASPECT` times the other, or would shrink to nothing; or nothing is cut
                off and the image is not square.
        """
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise DataError(f"{image.width} x {image.height} pixels: one side is over {MAX_ASPECT} times the other")
        try:
            pixels = np.array(self.geometry(image))
        except ValueError as error:
            raise DataError(f"{image.width} x {image.height} pixels cannot be resized: {error}") from None
        if pixels.shape != (*self.size, 3):
            (height, width), wanted = pixels.shape[:2], f"{self.size[1]} x {self.size[0]}"
            raise DataError(
                f"{image.width} x {image.height} pixels become {width} x {height}, expected {wanted}: "
                "this preprocessing crops nothing and takes square images"
            )
        return pixels

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the model takes: float32 (batch, 3, height, width), in channels-last memory order.

        Args:
            pixels: uint8 (batch, height, width, 3), on any device, where the result is too.
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
        name: As asked for.
        model: In eval mode, without gradients: float32 (batch, 3, height, width) to (batch, feature_dim).
        feature_dim: Width of the features.
        preprocessing: How images become the model's input.
        weights_origin: Where the weights came from, and what `weights_sha256` was taken over.
        weights_sha256: SHA-256 of the weights' file, in hex; empty without weights.
        feature_point: Where in the model the features are taken, in words.
    """

    name: str
    model: torch.nn.Module = field(repr=False)
    feature_dim: int
    preprocessing: Preprocessing
    weights_origin: str
    weights_sha256: str
    feature_point: str


def split_transform(transform: Any, library: str, config: str, settings: dict[str, Any]) -> Preprocessing:
    """A library's evaluation transform as a Preprocessing.

    Args:
        transform: torchvision Compose of geometric steps, ToTensor, Normalize.
        library: "timm 1.0.20", for the record.
        config: Whose settings these are, for the record.
        settings: What the transform was made from: `size` and `own_size` as (height, width), `crop`,
            `interpolation`, `mean`, `std`.
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


def frozen(
    name: str, model: torch.nn.Module, preprocessing: Preprocessing, *, feature_point: str, origin: str, sha256: str
) -> Backbone:
    """Freezes a model in place and tries it once: a backbone.

    Args:
        name: What the user called it.
        model: Takes float32 (batch, 3, height, width).
        preprocessing: Gives that.
        feature_point: Where in the model the features are taken.
        origin: Where the weights came from; without a hash, `UNTRAINED`.
        sha256: SHA-256 of the weights' file, in hex, or nothing.

    Raises:
        SettingError: The model does not take this size, or does not give one vector an image.
    """
    return Backbone(
        name=name,
        model=model,
        feature_dim=frozen_dim(name, model, preprocessing.size),
        preprocessing=preprocessing,
        weights_origin=f"{origin} (sha256 of the file)" if sha256 else origin,
        weights_sha256=sha256,
        feature_point=feature_point,
    )


@contextmanager
def initialized_on(device: str) -> Iterator[None]:
    """Models made inside lie on a device ("meta": no memory, no numbers) and start from the same numbers every time.

    Libraries draw them from the global generator, so that is put back afterwards.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(0)
        yield
