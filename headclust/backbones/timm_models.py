"""Any model of timm, by timm's own names. https://github.com/huggingface/pytorch-image-models"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_model_data_config

from headclust.backbones.backbone import Backbone, Preprocessing, frozen_dim, split_transform
from headclust.backbones.weights import (
    HUB_FILES,
    difference,
    file_sha256,
    hub_file,
    one_line,
    read_state_dict,
    url_file,
)
from headclust.errors import FileFormatError, SettingError, unknown

# Without tensors to load, timm would quietly go and fetch its own.
_NOWHERE_ELSE = {"custom_load": False, "file": None, "url": "", "hf_hub_id": None, "source": None}
# What timm's model classes and checkpoint filters raise on sizes and tensors that do not fit them.
_MISFIT = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError)


def load(
    name: str,
    timm_name: str,
    *,
    weights: Path | None,
    image_size: int | None,
    offline: bool,
    feature_point: str = "",
) -> Backbone:
    """A timm model without its classifier (`num_classes=0`), with timm's preprocessing for it.

    Args:
        name: What the user called it.
        timm_name: timm's name, with or without a tag; without one, timm's default weights.
        weights: A file to use instead of timm's download. The tensors of the model's classifier may be in it and are
            left out; everything else must be there and fit.
        image_size: Another input size. Models of a fixed size (ViTs) are rebuilt for it, and timm resamples their
            position embeddings; the share that is cropped stays the same.
        offline: Forbids downloading.
        feature_point: Where the features are taken, if known better than timm's pooling says.

    Raises:
        SettingError: The name is unknown, the weights are not at hand, or the model does not take the size.
        FileFormatError: The weights do not fit the model; the first differing tensors are named.
    """
    config = _pretrained_config(name, timm_name)
    path, origin = (weights, f"file {weights.name}") if weights else _fetch(name, config, offline=offline)
    model = build(name, timm_name, path, read_state_dict(path), image_size)
    preprocessing = preprocessing_of(model, image_size)
    return Backbone(
        name=name,
        model=model,
        feature_dim=frozen_dim(name, model, preprocessing.size),
        preprocessing=preprocessing,
        weights_origin=f"{origin} (sha256 of the file)",
        weights_sha256=file_sha256(path),
        feature_point=feature_point or _feature_point(model),
    )


def build(name: str, timm_name: str, path: Path, state: dict[str, torch.Tensor], image_size: int | None) -> Any:
    """The model with these weights and without a classifier; every tensor accounted for.

    timm itself loads only loosely when the classifier is left out. So it is told that the checkpoint has none, and
    strictness stays; where that fails, the whole model is loaded strictly and the classifier taken off afterwards,
    for checkpoints in which the classifier goes by another name. Some families are never strict in timm, so what the
    file does not name has to come out the same when it is built a second time: it is not random.

    Raises:
        SettingError: The model does not take the size.
        FileFormatError: The weights do not fit.
    """
    config = _pretrained_config(name, timm_name)
    size = _size_arguments(config, image_size)
    own = [f"{layer}.{kind}" for layer in _classifiers(config) for kind in ("weight", "bias")]
    headless = {key: value for key, value in state.items() if key not in own}
    problem = ""
    for tensors, overlay in ((headless, {"num_classes": 0, "classifier": None}), (state, {})):
        source: dict[str, Any] = {"state_dict": tensors, **_NOWHERE_ELSE, **overlay}
        arguments = {"pretrained": True, "pretrained_cfg_overlay": source, **size}
        try:
            model = timm.create_model(timm_name, **arguments)
            missing = [key for key in model.state_dict() if key not in tensors]
            again = timm.create_model(timm_name, **arguments).state_dict() if missing else {}
        except _MISFIT as error:
            problem = problem or one_line(error)
            continue
        if all(torch.equal(model.state_dict()[key], again[key]) for key in missing):
            model.reset_classifier(0)
            model.pretrained_cfg.pop("state_dict")  # a second copy of all weights
            return model
    misfits = difference(headless, timm.create_model(timm_name, num_classes=0).state_dict())
    if size and not misfits:
        raise SettingError(f"model {name!r} cannot be built for {image_size} px: {problem}")
    raise FileFormatError(f"weights {path} do not fit model {name!r}: {misfits or problem}.")


def preprocessing_of(model: Any, image_size: int | None) -> Preprocessing:
    """timm's evaluation transform for a model, at its own input size or another one."""
    config = resolve_model_data_config(model)
    pretrained = model.pretrained_cfg
    if image_size is not None:
        config["input_size"] = (3, image_size, image_size)
    settings = {
        "size": config["input_size"][1:],
        "own_size": pretrained["input_size"][1:],
        "crop": f"{config['crop_mode']} {config['crop_pct']}",
        **{key: config[key] for key in ("interpolation", "mean", "std")},
    }
    full_name = ".".join(filter(None, (pretrained["architecture"], pretrained.get("tag"))))
    transform = create_transform(**config, is_training=False)
    return split_transform(transform, f"timm {timm.__version__}", full_name, settings)


def _pretrained_config(name: str, timm_name: str) -> Any:
    """timm's record of a model's weights.

    Raises:
        SettingError: timm does not know the name, or the tag.
    """
    prefix = name.removesuffix(timm_name)
    if not timm.is_model(timm_name):
        known = [f"{prefix}{known}" for known in timm.list_models()]
        raise unknown("model", name, known, how="timm.list_models() names them all.")
    try:
        config = timm.models.get_pretrained_cfg(timm_name)
    except RuntimeError:
        architecture = timm_name.partition(".")[0]
        known = [f"{prefix}{known}" for known in timm.list_models(f"{architecture}.*", pretrained=True)]
        raise unknown("model", name, known) from None
    if config is None:
        raise SettingError(f"model {name!r}: timm has renamed or dropped it; timm.list_models() names those it has.")
    return config


def _fetch(name: str, config: Any, *, offline: bool) -> tuple[Path, str]:
    """The weights timm would use, as a file, and where they are from."""
    if config.hf_hub_id:
        files = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        path = hub_file(name, config.hf_hub_id, files, offline=offline)
        return path, f"Hugging Face hub {config.hf_hub_id}/{path.name}"
    if config.url:
        return url_file(name, config.url, offline=offline), config.url
    raise SettingError(f"model {name!r}: timm publishes no weights for it; give them with --weights FILE.")


def _size_arguments(config: Any, image_size: int | None) -> dict[str, int]:
    return {"img_size": image_size} if image_size is not None and config.fixed_input_size else {}


def _classifiers(config: Any) -> tuple[str, ...]:
    return (config.classifier,) if isinstance(config.classifier, str) else tuple(config.classifier or ())


def _feature_point(model: Any) -> str:
    pool = getattr(model, "global_pool", None)
    pool = getattr(pool, "pool_type", pool)
    return f"timm's output with num_classes=0{f' (pooling: {pool})' if isinstance(pool, str) and pool else ''}"
