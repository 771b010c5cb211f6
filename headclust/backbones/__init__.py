"""Frozen image models: the list of names, and loading a model by name.

Importing this package, or listing the names, loads neither torch nor a model library.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headclust.backbones.backbone import Backbone, Preprocessing
from headclust.backbones.catalog import CATALOG, find_entry
from headclust.backbones.entry import Entry
from headclust.backbones.memory import check_memory, memory_errors
from headclust.backbones.smoke_pass import check_patch_multiple
from headclust.backbones.temi_paper import PRESET, Reproduction, reproduce
from headclust.errors import FileFormatError, SettingError, unknown
from headclust.network import is_offline, without_network

if TYPE_CHECKING:
    from headclust.backbones.open_clip_models import Pair

__all__ = [
    "CATALOG",
    "PRESETS",
    "Backbone",
    "Preprocessing",
    "check_memory",
    "check_weights",
    "find_entry",
    "list_backbones",
    "load_backbone",
    "load_pair",
    "near_names",
    "untrained_backbone",
]

PRESETS = (PRESET,)
MAX_IMAGE_SIZE = 4096


def load_backbone(
    name: str,
    *,
    weights: Path | None = None,
    image_size: int | None = None,
    offline: bool = False,
    preset: str | None = None,
    dataset: str | None = None,
) -> Backbone:
    """A frozen model by name, in eval mode, with its preprocessing and a record of its weights.

    Weights that are not on this machine are downloaded.

    Args:
        name: A name of the catalog, or `timm:NAME`, or `open_clip:ARCH/PRETRAINED`, as those libraries write them.
        weights: A file (.safetensors, or .pth/.pt of tensors) to use instead; all its tensors must fit. For a published
            checkpoint it is the published file.
        image_size: Input height and width in pixels, instead of the model's default.
        offline: Forbid all use of the network, like HF_HUB_OFFLINE=1.
        preset: One of `PRESETS`: preprocessing and feature points of a paper, instead of the model's own.
        dataset: Name of the data set, which a preset may depend on.

    Raises:
        SettingError: The name is unknown, the weights are unavailable or too large for this machine's memory, or the
            size or the preset is not allowed.
        FileFormatError: The file of weights is missing, unreadable, holds more than tensors, or does not fit the model.
    """
    entry, reproduction = _resolve(name, image_size, preset, dataset)
    if weights is not None:
        check_weights(weights)
    check_memory(name, 4 * entry.parameters)
    if image_size is not None:  # raises for an impossible size before anything is downloaded
        untrained_backbone(name, image_size=image_size, device="meta", offline=offline)
    with without_network(is_offline(offline)), memory_errors(name):
        backbone: Backbone = _loader(entry).load(entry, weights=weights, image_size=image_size, offline=offline)
    return reproduction.annotate(backbone) if reproduction else backbone


def load_pair(name: str, *, weights: Path | None = None, offline: bool = False) -> Pair:
    """The image tower and the text tower of an image-text model of open_clip.

    Args:
        name: A name of the catalog, or `open_clip:ARCH/PRETRAINED`.
        weights: As for `load_backbone`.
        offline: As for `load_backbone`.

    Raises:
        SettingError: The model has no text tower, or its weights are unavailable.
        FileFormatError: The file of weights is missing, unreadable, or does not fit the model.
    """
    entry = find_entry(name)
    if entry.loader != "open_clip":
        raise SettingError(
            f"{name} has no text tower: name a pair of open_clip with --model, such as open_clip:ViT-B-32/openai."
        )
    if weights is not None:
        check_weights(weights)
    from headclust.backbones import open_clip_models

    with without_network(is_offline(offline)), memory_errors(name):
        return open_clip_models.load_pair(entry, weights=weights, offline=offline)


def check_weights(path: Path) -> None:
    """Raise if there is no file of weights at `path`.

    Raises:
        FileFormatError: There is none.
    """
    if not path.is_file():
        raise FileFormatError(f"weights {path}: no such file.")


def untrained_backbone(
    name: str,
    *,
    image_size: int | None = None,
    preset: str | None = None,
    dataset: str | None = None,
    device: str = "cpu",
    offline: bool = True,
) -> Backbone:
    """The same model and preprocessing with random weights, for its shapes and cost before anything is downloaded.

    Args:
        name: As for `load_backbone`.
        image_size: As for `load_backbone`.
        preset: As for `load_backbone`.
        dataset: As for `load_backbone`.
        device: Device to create the model on. "meta" needs no memory; a model that cannot be created there is created
            on the CPU.
        offline: Forbid downloads of what an architecture needs besides weights (the settings of a text encoder).

    Raises:
        SettingError: The name is unknown, or the size or the preset is not allowed.
    """
    entry, reproduction = _resolve(name, image_size, preset, dataset)
    loader = _loader(entry)
    with without_network(is_offline(offline)):
        try:
            with memory_errors(name):
                backbone: Backbone = loader.untrained(entry, image_size=image_size, device=device)
        except SettingError as error:
            # An operation that torch does not support on the meta device. No model of timm 1.0.31 has one; others may.
            if device != "meta" or "meta" not in str(error).lower():
                raise
            backbone = loader.untrained(entry, image_size=image_size, device="cpu")
    if image_size is not None:
        check_patch_multiple(name, backbone.model, image_size)
    return reproduction.annotate(backbone) if reproduction else backbone


def list_backbones(
    *,
    pattern: str | None = None,
    at_hand: bool | None = None,
    text_supervised: bool | None = None,
    imagenet_labels: bool | None = None,
    max_parameters: int | None = None,
) -> list[dict[str, Any]]:
    """The catalog, one dict per model. The network is not used.

    Args:
        pattern: Only names that hold every word of it, in any case; a word with `*`, `?` or `[` is matched with the
            whole name.
        at_hand: True for models whose weights are on this machine, False for the others, None for all.
        text_supervised: True for models trained with captions, False for the others, None for all.
        imagenet_labels: True for models trained on ImageNet's labels, False for the others, None for all.
        max_parameters: Largest number of parameters.

    Returns:
        Dicts with `name`, `dim`, `input_size` (pixels), `parameters` (without a classifier), `source`, `license`,
        `weights_at_hand` (packaged and installed, or in the cache of the Hugging Face hub or of torch),
        `feature_point`, `text_supervised`, `imagenet_labels` and `weights_sha256` (empty if unknown).
    """
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "dim": entry.dim,
            "input_size": entry.input_size,
            "parameters": entry.parameters,
            "source": entry.source,
            "license": entry.license,
            "weights_at_hand": _is_at_hand(entry),
            "feature_point": entry.feature_point,
            "text_supervised": entry.text_supervised,
            "imagenet_labels": entry.imagenet_labels,
            "weights_sha256": entry.weights_sha256,
        }
        for entry in CATALOG.values()
        if pattern is None or _matches(entry.name, pattern)
    ]
    exact = {"weights_at_hand": at_hand, "text_supervised": text_supervised, "imagenet_labels": imagenet_labels}
    return [
        row
        for row in rows
        if all(value is None or row[key] == value for key, value in exact.items())
        and (max_parameters is None or row["parameters"] <= max_parameters)
    ]


def _matches(name: str, pattern: str) -> bool:
    """True if a name has every word of a pattern, in any case."""
    name = name.lower()
    return all(fnmatchcase(name, word) if set("*?[") & set(word) else word in name for word in pattern.lower().split())


def near_names(pattern: str) -> list[str]:
    """Names of the catalog with parts that are similar to the words of a pattern, at most six."""
    parts = {part for name in CATALOG for part in re.split(r"[^a-z0-9]+", name.lower())}
    near = {part for word in pattern.lower().split() for part in get_close_matches(word.strip("*?"), parts, n=2)}
    return [name for name in CATALOG if near & set(re.split(r"[^a-z0-9]+", name.lower()))][:6]


def _resolve(
    name: str, image_size: int | None, preset: str | None, dataset: str | None
) -> tuple[Entry, Reproduction | None]:
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise SettingError(f"image size {image_size}: expected 1 to {MAX_IMAGE_SIZE} pixels.")
    entry = find_entry(name)
    if preset is None:
        return entry, None
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    reproduction = reproduce(entry, dataset, image_size)
    return reproduction.entry, reproduction


def _loader(entry: Entry) -> ModuleType:
    """The module that loads an entry; each has the functions `load` and `untrained`."""
    if entry.loader == "timm":
        from headclust.backbones import timm_models

        return timm_models
    if entry.loader == "open_clip":
        from headclust.backbones import open_clip_models

        return open_clip_models
    if entry.loader == "published":
        from headclust.backbones import published

        return published
    from headclust.backbones import packaged

    return packaged


def _is_at_hand(entry: Entry) -> bool:
    from headclust.backbones.weights import HUB_FILES, OPEN_CLIP_FILES, is_cached, is_downloaded, is_installed

    if entry.package:
        return is_installed(entry.package)
    if entry.checkpoint:
        return is_downloaded(entry.checkpoint.url)
    return is_cached(entry.hub, OPEN_CLIP_FILES if entry.loader == "open_clip" else HUB_FILES)
