"""The torchvision transform of an `Evaluation`."""

from __future__ import annotations

import torchvision
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from headclust.backbones.backbone import Preprocessing, split_transform
from headclust.backbones.entry import Evaluation


def build_preprocessing(evaluation: Evaluation, *, image_size: int | None, own_size: tuple[int, int]) -> Preprocessing:
    """The preprocessing described by an evaluation.

    Args:
        evaluation: Sizes, interpolation, mean and standard deviation.
        image_size: Another input size of the model; the ratio of crop to resized image stays the same.
        own_size: (height, width) that the model's weights are for.
    """
    size = image_size or evaluation.size
    resize = round(evaluation.resize * size / evaluation.size)
    steps = [Resize((evaluation.squash, evaluation.squash), InterpolationMode.BILINEAR)] if evaluation.squash else []
    steps.append(Resize(resize or (size, size), InterpolationMode(evaluation.interpolation)))
    if resize and evaluation.crop:
        steps.append(CenterCrop(size))
    settings = {
        "size": (size, size),
        "own_size": own_size,
        "crop": ("center" if evaluation.crop else "none") if resize else "squash",
        "interpolation": evaluation.interpolation,
        "mean": evaluation.mean,
        "std": evaluation.std,
    }
    transform = Compose([*steps, ToTensor(), Normalize(evaluation.mean, evaluation.std)])
    return split_transform(transform, f"torchvision {torchvision.__version__}", evaluation.source, settings)
