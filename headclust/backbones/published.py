"""Checkpoints published as files; their tensors are renamed and loaded strictly into a library's architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import torchvision

from headclust.backbones.backbone import UNTRAINED, Backbone, freeze_backbone, initialized_on
from headclust.backbones.entry import Checkpoint, Entry
from headclust.backbones.evaluation import build_preprocessing
from headclust.backbones.weights import describe_difference, read_state_dict, url_file
from headclust.disk import file_sha256
from headclust.errors import FileFormatError, SettingError, one_line


def load(entry: Entry, *, weights: Path | None, image_size: int | None, offline: bool) -> Backbone:
    """The model of a published checkpoint, without the heads of its training.

    Args:
        entry: An entry with `checkpoint` and `evaluation`.
        weights: The published file, to use instead of the download.
        image_size: Another input size; position embeddings are resampled.
        offline: Forbid downloads.

    Raises:
        SettingError: The weights are unavailable, or the model does not accept the size.
        FileFormatError: The weights do not fit the model; the message names the first differing tensors.
    """
    checkpoint = _checkpoint(entry)
    path = weights or url_file(entry.name, checkpoint.url, offline=offline)
    if weights is None and entry.weights_sha256:
        _check_digest(path, checkpoint.url, entry.weights_sha256)
    model = _architecture(entry, "meta")
    model.load_state_dict(_rename_tensors(entry.name, path, checkpoint, model), assign=True)
    origin = f"file {path.name}" if weights else checkpoint.url
    return _to_backbone(entry, model.float(), image_size, origin, file_sha256(path))


def untrained(entry: Entry, *, image_size: int | None, device: str) -> Backbone:
    """The same model with random weights.

    Raises:
        SettingError: The model does not accept the size.
    """
    return _to_backbone(entry, _architecture(entry, device), image_size, UNTRAINED, "")


def _checkpoint(entry: Entry) -> Checkpoint:
    if entry.checkpoint is None:
        raise AssertionError(f"{entry.name} has no published checkpoint")
    return entry.checkpoint


def _check_digest(path: Path, url: str, expected: str) -> None:
    sha256 = file_sha256(path)
    if not sha256.startswith(expected):
        raise FileFormatError(
            f"weights {path} are not the file of {url}: found the sha256 {sha256[:12]}..., expected {expected}... "
            "Delete the file to have it downloaded again."
        )


def _architecture(entry: Entry, device: str) -> Any:
    """The architecture of the checkpoint, without a classifier."""
    library, _, name = entry.key.partition(":")
    with initialized_on(device):
        if library == "timm":
            return timm.create_model(name, num_classes=0, **entry.arguments)
        # A ConvNeXt. With last_norm=False in the entry, its last norm is removed after loading.
        model = torchvision.models.get_model(name, weights=None)
    model.classifier[2] = torch.nn.Identity()
    return model


def _rename_tensors(name: str, path: Path, checkpoint: Checkpoint, model: Any) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors by the model's names; none is missing or left over.

    Raises:
        FileFormatError: They do not fit; the message uses the names of the checkpoint.
    """
    state = read_state_dict(path, wrapper=checkpoint.wrapper)
    tensors = {key: value for key, value in state.items() if not key.startswith(checkpoint.left_out or ("\0",))}
    expected = {f"{checkpoint.prefix}{key}": value for key, value in model.state_dict().items()}
    if misfits := describe_difference(tensors, expected):
        raise FileFormatError(f"weights {path} do not fit model {name!r}: {misfits}.")
    return {key.removeprefix(checkpoint.prefix): value for key, value in tensors.items()}


def _to_backbone(entry: Entry, model: Any, image_size: int | None, origin: str, sha256: str) -> Backbone:
    if entry.evaluation is None:
        raise AssertionError(f"{entry.name} has no evaluation")
    if entry.arguments.get("last_norm") is False:
        model.classifier[0] = torch.nn.Identity()
    if image_size is not None and hasattr(model, "set_input_size"):
        try:
            model.set_input_size(img_size=image_size)
        except (RuntimeError, ValueError, AssertionError, ZeroDivisionError) as error:
            reason = one_line(error)
            raise SettingError(f"model {entry.name!r} cannot be built for {image_size} px: {reason}") from None
    own_size = (entry.input_size, entry.input_size)
    preprocessing = build_preprocessing(entry.evaluation, image_size=image_size, own_size=own_size)
    return freeze_backbone(
        entry.name, model, preprocessing, feature_point=entry.feature_point, origin=origin, sha256=sha256
    )
