"""Any model of timm, by timm's names. https://github.com/huggingface/pytorch-image-models"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from timm.data import create_transform, resolve_model_data_config

from headclust.backbones.backbone import (
    UNTRAINED,
    Backbone,
    Preprocessing,
    freeze_backbone,
    initialized_on,
    split_transform,
)
from headclust.backbones.entry import Entry
from headclust.backbones.evaluation import build_preprocessing
from headclust.backbones.timm_weights import MISFIT, load_weights
from headclust.backbones.weights import HUB_FILES, hub_file, url_file
from headclust.disk import file_sha256
from headclust.errors import SettingError, one_line, unknown


def load(entry: Entry, *, weights: Path | None, image_size: int | None, offline: bool) -> Backbone:
    """A timm model without its classifier (`num_classes=0`), with the entry's preprocessing, or else timm's.

    Args:
        entry: Its `key` is timm's name, with or without a tag; without a tag, timm's default weights.
        weights: A file to use instead of timm's download. If timm's weights have a classifier, the file may hold its
            tensors, which are ignored; all other tensors must be present and fit.
        image_size: Another input size that the model accepts. Models of a fixed size (ViTs) are rebuilt for it, and
            their position embeddings resampled; the ratio of crop to resized image stays the same.
        offline: Forbid downloads.

    Raises:
        SettingError: The name is unknown, or the weights are unavailable.
        FileFormatError: The weights do not fit the model; the message names the first differing tensors.
    """
    config = _pretrained_config(entry)
    path, origin = (weights, f"file {weights.name}") if weights else _fetch(entry.name, config, offline=offline)
    model = load_weights(entry, config, _arguments(entry, config, image_size), path)
    return _to_backbone(entry, model, image_size, origin, file_sha256(path))


def untrained(entry: Entry, *, image_size: int | None, device: str) -> Backbone:
    """The same model with random weights.

    Raises:
        SettingError: The name is unknown, or the model does not accept the size.
    """
    config = _pretrained_config(entry)
    arguments = _arguments(entry, config, image_size)
    if not entry.projected:
        arguments["num_classes"] = 0
    try:
        with initialized_on(device):
            model = timm.create_model(entry.key, **arguments)
    except MISFIT as error:
        size = f" for {image_size} px" if image_size else ""
        raise SettingError(f"model {entry.name!r} cannot be built{size}: {one_line(error)}") from None
    return _to_backbone(entry, model, image_size, UNTRAINED, "")


def _to_backbone(entry: Entry, model: Any, image_size: int | None, origin: str, sha256: str) -> Backbone:
    preprocessing = preprocessing_of(entry, model, image_size)
    feature_point = entry.feature_point or _feature_point(model)
    return freeze_backbone(entry.name, model, preprocessing, feature_point=feature_point, origin=origin, sha256=sha256)


def preprocessing_of(entry: Entry, model: Any, image_size: int | None) -> Preprocessing:
    """The preprocessing of a model, at its own input size or another: the entry's, or else timm's."""
    config = resolve_model_data_config(model)
    pretrained = model.pretrained_cfg
    own_size = pretrained["input_size"][1:]
    if entry.evaluation is not None:
        if getattr(model, "pos_embed", None) is None:  # positions are computed for any size, as in DINOv3
            own_size = (entry.evaluation.size, entry.evaluation.size)
        return build_preprocessing(entry.evaluation, image_size=image_size, own_size=own_size)
    if image_size is not None:
        config["input_size"] = (3, image_size, image_size)
    settings = {
        "size": config["input_size"][1:],
        "own_size": own_size,
        "crop": f"{config['crop_mode']} {config['crop_pct']}",
        **{key: config[key] for key in ("interpolation", "mean", "std")},
    }
    full_name = ".".join(filter(None, (pretrained["architecture"], pretrained.get("tag"))))
    transform = create_transform(**config, is_training=False)
    return split_transform(transform, f"timm {timm.__version__}", full_name, settings)


def _pretrained_config(entry: Entry) -> Any:
    """timm's record of a model's weights.

    Raises:
        SettingError: timm does not have the name or the tag.
    """
    name, timm_name = entry.name, entry.key
    if not timm.is_model(timm_name):
        names = [f"timm:{model}" for model in timm.list_models()]
        raise unknown("model", name, names, how="timm.list_models() lists all names.")
    try:
        config = timm.models.get_pretrained_cfg(timm_name)
    except RuntimeError:
        architecture = timm_name.partition(".")[0]
        names = [f"timm:{model}" for model in timm.list_models(f"{architecture}.*", pretrained=True)]
        raise unknown("model", name, names) from None
    if config is None:
        raise SettingError(f"model {name!r}: timm has renamed or removed it; timm.list_models() lists all names.")
    return config


def _fetch(name: str, config: Any, *, offline: bool) -> tuple[Path, str]:
    """The file of weights that timm uses, and its origin."""
    if config.hf_hub_id:
        files = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        path = hub_file(name, config.hf_hub_id, files, offline=offline)
        return path, f"Hugging Face hub {config.hf_hub_id}/{path.name}"
    if config.url:
        return url_file(name, config.url, offline=offline), config.url
    raise SettingError(f"model {name!r}: timm publishes no weights for it; give them with --weights FILE.")


def _arguments(entry: Entry, config: Any, image_size: int | None) -> dict[str, Any]:
    """Arguments of the architecture: those of the entry, and the size if it differs from that of the weights."""
    size = image_size or (entry.evaluation.size if entry.evaluation else config.input_size[-1])
    resized = config.fixed_input_size and (image_size is not None or size != config.input_size[-1])
    return {**entry.arguments, **({"img_size": size} if resized else {})}


def _feature_point(model: Any) -> str:
    pool = getattr(model, "global_pool", None)
    pool = getattr(pool, "pool_type", pool)
    return f"timm's output with num_classes=0{f' (pooling: {pool})' if isinstance(pool, str) and pool else ''}"
