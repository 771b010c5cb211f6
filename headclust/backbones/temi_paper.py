"""The preset "temi-paper": stage 1 of the TEMI authors' code, to reproduce the paper's results.

It differs from each model's default in the preprocessing and, for some models, in the architecture. All deviations are
recorded with the preprocessing. https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (model_builders.py,
loaders/imagenet.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from headclust.backbones.backbone import Backbone
from headclust.backbones.catalog_authors import AUTHORS
from headclust.backbones.entry import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Entry, Evaluation
from headclust.errors import SettingError, unknown

PRESET = "temi-paper"

_SMALL_IMAGES = ("cifar10", "cifar100", "cifar20", "stl10")
_NAMES = tuple(entry.name for entry in AUTHORS)

# Recorded names of the deviations from the models' own authors.
_IMAGENET_STATISTICS = "augreg-with-imagenet-mean-std"
_SIX_HEADS = "mocov3-vit-small-with-6-heads"
_BEFORE_NORM = "convnext-before-the-last-norm"

# The authors' steps: Resize(224, bicubic) alone; for all of ImageNet Resize(256) and CenterCrop(224), bilinear, the
# default of torchvision; for subsets of ImageNet Resize((256, 256)), bilinear, when an image is read, and then as for
# the small images. For CLIP, its own transform replaces all steps after this first resize.
_GEOMETRIES = {
    "resize-224-without-crop": Evaluation(PRESET, 224, 224, "bicubic", IMAGENET_MEAN, IMAGENET_STD, crop=False),
    "resize-256-crop-224-bilinear": Evaluation(PRESET, 224, 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD),
    "squash-256-then-resize-224": Evaluation(
        PRESET, 224, 224, "bicubic", IMAGENET_MEAN, IMAGENET_STD, crop=False, squash=256
    ),
    "clip": Evaluation(PRESET, 224, 224, "bicubic", CLIP_MEAN, CLIP_STD),
    "squash-256-then-clip": Evaluation(PRESET, 224, 224, "bicubic", CLIP_MEAN, CLIP_STD, squash=256),
}


@dataclass(frozen=True)
class Reproduction:
    """An entry with the architecture and preprocessing of the TEMI authors' code.

    Attributes:
        entry: The changed entry.
        geometry: Name of the resizing and cropping.
        deviations: Names of the other deviations from the model's own authors.
    """

    entry: Entry
    geometry: str
    deviations: tuple[str, ...]

    def annotate(self, backbone: Backbone) -> Backbone:
        """The backbone with preset, geometry and deviations added to the record of its preprocessing."""
        details = {"preset": PRESET, "geometry": self.geometry, "deviations": list(self.deviations)}
        preprocessing = backbone.preprocessing
        return replace(backbone, preprocessing=replace(preprocessing, record={**preprocessing.record, **details}))


def reproduce(entry: Entry, dataset: str | None, image_size: int | None) -> Reproduction:
    """A backbone under the preset.

    Args:
        entry: One of the authors' backbones.
        dataset: cifar10, cifar100, cifar20, stl10, imagenet, or imagenet-N for N of its classes (the authors used 50,
            100 and 200).
        image_size: Must be None: the preset fixes 224.

    Raises:
        SettingError: The authors did not use this backbone or data set, or the size is given.
    """
    if image_size is not None:
        raise SettingError(f"preset {PRESET!r} fixes the image size at 224 px: leave out the size, or the preset.")
    if entry.name not in _NAMES:
        raise unknown(f"model of preset {PRESET!r}", entry.name, _NAMES)
    geometry = _geometry(dataset, is_clip=entry.loader == "open_clip")
    changed, deviations = replace(entry, evaluation=_GEOMETRIES[geometry]), []
    if "augreg" in entry.key:
        deviations.append(_IMAGENET_STATISTICS)
    if entry.name == "mocov3_vit_small":
        deviations.append(_SIX_HEADS)
        changed = replace(changed, arguments={**entry.arguments, "num_heads": 6})
    if entry.key.startswith("torchvision:convnext"):
        deviations.append(_BEFORE_NORM)
        point = "global average pool, before the last norm"
        changed = replace(changed, arguments={**entry.arguments, "last_norm": False}, feature_point=point)
    return Reproduction(changed, geometry, tuple(deviations))


def _geometry(dataset: str | None, *, is_clip: bool) -> str:
    datasets = (*_SMALL_IMAGES, "imagenet", "imagenet-N")
    dataset = "imagenet" if dataset == "imagenet-1000" else dataset
    if dataset is None:
        raise SettingError(f"preset {PRESET!r} depends on the data set: name one of {', '.join(datasets)}.")
    if re.fullmatch(r"imagenet-\d+", dataset):
        return "squash-256-then-clip" if is_clip else "squash-256-then-resize-224"
    if dataset not in datasets[:-1]:
        raise unknown(f"data set of preset {PRESET!r}", dataset, datasets)
    if is_clip:
        return "clip"
    return "resize-256-crop-224-bilinear" if dataset == "imagenet" else "resize-224-without-crop"
