"""Frozen image models: the names there are, and loading one.

Importing this loads neither torch nor a model library; listing the names does not either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headclust.backbones.backbone import Backbone, Preprocessing
from headclust.backbones.catalog import CATALOG
from headclust.errors import SettingError, unknown

__all__ = ["CATALOG", "Backbone", "Preprocessing", "list_backbones", "load_backbone"]

MAX_IMAGE_SIZE = 4096


def load_backbone(
    name: str, *, weights: Path | None = None, image_size: int | None = None, offline: bool = False
) -> Backbone:
    """A frozen model by name, in eval mode, with its preprocessing and a record of its weights.

    Naming a model whose weights are not on this machine is asking for their download.

    Args:
        name: A name of the catalog, or `timm:NAME`, or `open_clip:ARCH/PRETRAINED`, as those libraries write them.
        weights: A file (.safetensors, or .pth/.pt of tensors) to use instead; every tensor has to fit.
        image_size: Input height and width in pixels, instead of the model's own.
        offline: Forbids downloading, as HF_HUB_OFFLINE=1 does.

    Raises:
        SettingError: The name is unknown, the weights are not at hand, or the size is not possible.
        FileFormatError: The weights' file is missing, unreadable, not just tensors, or does not fit the model.
    """
    if image_size is not None and not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise SettingError(f"image size {image_size}: wanted 1 to {MAX_IMAGE_SIZE} pixels.")
    library, colon, rest = name.partition(":")
    if colon and library == "timm":
        from headclust.backbones import timm_models

        return timm_models.load(name, rest, weights=weights, image_size=image_size, offline=offline)
    if colon and library == "open_clip":
        from headclust.backbones import open_clip_models

        return open_clip_models.load(name, weights=weights, image_size=image_size, offline=offline)
    if name not in CATALOG:
        how = "Any timm:NAME or open_clip:ARCH/PRETRAINED is a model too; 'headclust models' lists ours."
        raise unknown("model", name, CATALOG, how=how)
    entry = CATALOG[name]
    if entry.package and weights is None:
        from headclust.backbones import packaged

        return packaged.load(entry, image_size=image_size)
    from headclust.backbones import timm_models

    return timm_models.load(
        name,
        entry.timm_name,
        weights=weights,
        image_size=image_size,
        offline=offline,
        feature_point=entry.feature_point,
    )


def list_backbones() -> list[dict[str, Any]]:
    """The catalog, one dict a model, without touching the network.

    Returns:
        Dicts with `name`, `dim`, `input_size` (pixels), `parameters` (without the classifier), `source`, `license`,
        `weights_at_hand` (packaged and installed, or in the Hugging Face cache) and `feature_point`.
    """
    from headclust.backbones.weights import HUB_FILES, is_cached, is_installed

    return [
        {
            "name": entry.name,
            "dim": entry.dim,
            "input_size": entry.input_size,
            "parameters": entry.parameters,
            "source": entry.source,
            "license": entry.license,
            "weights_at_hand": is_installed(entry.package) if entry.package else is_cached(entry.hub_repo, HUB_FILES),
            "feature_point": entry.feature_point,
        }
        for entry in CATALOG.values()
    ]
