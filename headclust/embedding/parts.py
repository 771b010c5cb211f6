"""Shared by embedding and its estimate: the task that follows from settings, images and backbone; pixel layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.device import description, resolve_device, resolve_precision
from headclust.embedding.settings import EmbedSettings
from headclust.features import Layout, check_sample_ids, samples_sha256
from headclust.images.augment import Views, plan_views
from headclust.images.image_file import PIXEL_RULES, pixel_limit
from headclust.versions import versions

if TYPE_CHECKING:
    import torch

    from headclust.backbones import Backbone
    from headclust.images.datasets import ImageSet

_LIBRARIES = ("torch", "torchvision", "timm", "open_clip_torch", "pillow", "simplejpeg", "numpy", "h5py")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Task:
    """The result of resolving settings against images and a backbone, before anything is opened.

    Attributes:
        device: Where the model runs.
        views: The views to make of each image.
        plan: All settings that the rows depend on; become the attributes of the file.
        layout: Shape and blocks of the rows.
    """

    device: torch.device
    views: Views
    plan: Mapping[str, Any]
    layout: Layout


def make_task(images: ImageSet, backbone: Backbone, settings: EmbedSettings) -> Task:
    """Resolve settings against images and a backbone.

    Raises:
        SettingError: The device, precision or views are not possible.
        DataError: There are no images, or an id appears twice.
    """
    check_sample_ids(images.sample_ids)
    device = resolve_device(settings.device)
    views = plan_views(backbone.preprocessing, settings.n_views, settings.augmentation, settings.seed)
    plan = {
        **plan_of(images),
        "backbone": backbone.name,
        "weights_origin": backbone.weights_origin,
        "weights_sha256": backbone.weights_sha256,
        "feature_point": backbone.feature_point,
        "preprocessing": backbone.preprocessing.record,
        "pixel_rules": PIXEL_RULES,
        **({} if settings.max_pixels is None else {"max_pixels": settings.max_pixels}),
        "versions": versions(_LIBRARIES),
        **views.record(),
        **description(device),
        "precision": resolve_precision(device, settings.precision),
        "batch_size": settings.batch_size,
        "dtype": settings.dtype,
        "seed": settings.seed,
    }
    layout = Layout(len(images), backbone.feature_dim, settings.dtype, settings.batch_size, settings.n_views)
    return Task(device, views, json.loads(json.dumps(plan)), layout)  # with the types that reading a file gives


def plan_of(images: ImageSet) -> dict[str, Any]:
    """The part of the plan that depends on the images alone."""
    return {
        "dataset": images.dataset,
        "split": images.split,
        "source": images.source,
        **images.record,
        "class_names": list(images.class_names),
        "n_listed": len(images),
        "samples_sha256": samples_sha256(images.sample_ids, images.stamps, images.labels),
    }


def decoder(images: ImageSet, backbone: Backbone, task: Task) -> Callable[[int, Pixels], None]:
    """A function that decodes each row once, into uint8 (1 + n_views, height, width, 3): the image, then its views."""
    Image.init()  # before workers are forked, so that none has to load the readers of rarer formats
    views, limit = task.views, task.plan.get("max_pixels")

    def decode(row: int, out: Pixels) -> None:
        with pixel_limit(limit):
            image = images.read(row)
        out[0] = backbone.preprocessing.pixels(image)
        for view in range(views.n_views):
            out[1 + view] = views.pixels(image, row, view)

    return decode


def pixel_shape(backbone: Backbone, batch_size: int, n_views: int) -> tuple[int, ...]:
    """Shape of the pixels of a block: (1 + n_views, batch, height, width, 3)."""
    return (1 + n_views, batch_size, *backbone.preprocessing.size, 3)
