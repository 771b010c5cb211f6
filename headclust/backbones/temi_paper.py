"""The preset "temi-paper": what the TEMI authors' code did in stage 1, so that the paper's rows can be repeated.

It differs from each model's own way in how images are prepared and, for some models, in what is computed. All of it is
named in the record of the preprocessing. https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (model_builders.py,
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

# Each is a deviation from what the model's own authors do, and recorded under its name.
_IMAGENET_STATISTICS = "augreg-with-imagenet-mean-std"
_SIX_HEADS = "mocov3-vit-small-with-6-heads"
_BEFORE_NORM = "convnext-before-the-last-norm"

# The authors' steps: Resize(224, bicubic) alone; for all of ImageNet Resize(256) and CenterCrop(224), bilinearly, as
# torchvision does unless told; for parts of it Resize((256, 256)) when an image is read, bilinearly again, and then as
# for the small images. CLIP's own transform takes the place of what follows the squash.
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
    """An entry as the authors' code treats it.

    Attributes:
        entry: With their architecture and preprocessing.
        geometry: Name of how images are scaled and cropped.
        deviations: Names of what else is not as the model's own authors have it.
    """

    entry: Entry
    geometry: str
    deviations: tuple[str, ...]

    def marked(self, backbone: Backbone) -> Backbone:
        """The backbone with all this in the record of its preprocessing."""
        said = {"preset": PRESET, "geometry": self.geometry, "deviations": list(self.deviations)}
        preprocessing = backbone.preprocessing
        return replace(backbone, preprocessing=replace(preprocessing, record={**preprocessing.record, **said}))


def as_the_authors_did(entry: Entry, dataset: str | None, image_size: int | None) -> Reproduction:
    """What becomes of a backbone under the preset.

    Args:
        entry: One of the authors' backbones.
        dataset: cifar10, cifar100, cifar20, stl10, imagenet, or imagenet-N for N of its classes, of which the authors
            had 50, 100 and 200.
        image_size: Has to be left open: the preset says 224.

    Raises:
        SettingError: The authors had no such backbone or data set, or the size is given.
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
    known = (*_SMALL_IMAGES, "imagenet", "imagenet-N")
    dataset = "imagenet" if dataset == "imagenet-1000" else dataset
    if dataset is None:
        raise SettingError(f"preset {PRESET!r} depends on the data set: name one of {', '.join(known)}.")
    if re.fullmatch(r"imagenet-\d+", dataset):
        return "squash-256-then-clip" if is_clip else "squash-256-then-resize-224"
    if dataset not in known[:-1]:
        raise unknown(f"data set of preset {PRESET!r}", dataset, known)
    if is_clip:
        return "clip"
    return "resize-256-crop-224-bilinear" if dataset == "imagenet" else "resize-224-without-crop"
