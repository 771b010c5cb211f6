"""Stage 1: dataset x backbone -> feature file. Slow, done once, and safe to interrupt."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from headclust import progress
from headclust.device import description, forward, resolve_device, resolve_precision, reuse_memory
from headclust.errors import DataError, SettingError
from headclust.features import (
    FEATURE_DTYPES,
    Layout,
    Staging,
    check_finite,
    check_sample_ids,
    load_features,
    open_staging,
    samples_sha256,
)
from headclust.images.augment import Views, plan_views
from headclust.images.decoding import Tolerance, decoded_batches, describe_unreadable
from headclust.versions import versions

if TYPE_CHECKING:
    from headclust.backbones import Backbone
    from headclust.images.datasets import ImageSet

_LIBRARIES = ("torch", "torchvision", "timm", "open_clip_torch", "pillow", "numpy", "h5py")

_LONGEST = 86_400  # seconds an image may be waited for

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Task:
    """What embedding with some settings makes, settled before anything is opened.

    Args:
        device: Where the model runs.
        views: What views it makes of each image.
        plan: Everything the rows depend on; becomes the file's attributes.
        layout: Shape and blocks of the rows.
    """

    device: torch.device
    views: Views
    plan: Mapping[str, Any]
    layout: Layout


def embed_images(
    images: ImageSet,
    backbone: Backbone,
    path: Path,
    *,
    batch_size: int = 64,
    dtype: str = "float32",
    device: str | None = None,
    precision: str = "auto",
    n_views: int = 0,
    augmentation: str = "standard",
    on_error: Literal["fail", "skip"] = "fail",
    max_bad: int | None = None,
    timeout: float = 60.0,
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """The backbone's features of every image, as a feature file; returns its path.

    An interrupted run is taken up where it was left by the same call, and ends in the same file, byte for byte. Over a
    finished file the same call does nothing.

    Args:
        images: What to embed. Row i of the file is the i-th image that can be read. They are read in forked processes:
            `images.read` opens what it needs when it is called.
        backbone: The frozen model and its preprocessing.
        path: The file to make; `NAME.h5.partial/` beside it holds the work in progress.
        batch_size: Images a forward pass; part of the plan, because the last bits of a row depend on it.
        dtype: "float32" or "float16", of the stored features.
        device: See `headclust.device.resolve_device`.
        precision: What the model computes in; see `headclust.device.resolve_precision`.
        n_views: Augmented views to embed of each image, besides the image itself.
        augmentation: Their kind, a name in `headclust.images.augment.AUGMENTATIONS`.
        on_error: "fail" stops at the first image that cannot be read; "skip" lists it in the file with its reason.
        max_bad: With "skip", stop when more images than this cannot be read; the work done by then stays.
        timeout: Seconds an image may take; it is tried once more, then counts as one that cannot be read.
        overwrite: Replace a finished file, and unfinished work with other settings.
        seed: What `images` was drawn with, and what views are drawn from: 0 to 2**63 - 1.

    Raises:
        SettingError: A setting is not possible.
        DataError: An image cannot be read, features are not finite or overflow float16, an id appears twice.
        ConflictError: A file or unfinished work with other settings is in the way, someone else is writing it, or the
            images' source has gone or changed meanwhile.
        HeadclustError: The disk is full, the folder cannot be written, or no process can be started.
    """
    tolerance = Tolerance(on_error, max_bad)
    tolerance.check()
    check_settings(batch_size, dtype, timeout=timeout, seed=seed)
    task = make_task(
        images,
        backbone,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        precision=precision,
        n_views=n_views,
        augmentation=augmentation,
        seed=seed,
    )
    path = Path(path)
    with open_staging(path, task.plan, task.layout, overwrite=overwrite) as staging:
        if staging is None:
            progress.note(told_of_finished(images, path, tolerance))
        else:
            _embed_blocks(images, backbone, task, staging, tolerance, timeout)
            staging.finish(images.sample_ids, images.labels)
            _tell_of_bad(images, staging)
    return path


def check_settings(batch_size: int, dtype: str, *, timeout: float, seed: int) -> None:
    """Refuses settings that are not possible, before anything is opened.

    Raises:
        SettingError: One is not.
    """
    if batch_size < 1:
        raise SettingError(f"batch size {batch_size}: wanted at least 1.")
    if dtype not in FEATURE_DTYPES:
        raise SettingError(f"dtype {dtype!r}: wanted {' or '.join(FEATURE_DTYPES)}.")
    if not 0 < timeout <= _LONGEST:
        raise SettingError(f"timeout {timeout:g} s: wanted more than 0, at most {_LONGEST} (a day).")
    if not (hasattr(seed, "__index__") and 0 <= seed < 2**63):
        raise SettingError(f"seed {seed}: wanted a whole number from 0 to 2**63 - 1.")


def make_task(
    images: ImageSet,
    backbone: Backbone,
    *,
    batch_size: int,
    dtype: str,
    device: str | None,
    precision: str,
    n_views: int,
    augmentation: str,
    seed: int,
) -> Task:
    """What embedding with settings that `check_settings` let pass makes; see `embed_images` for their meaning.

    Raises:
        SettingError: A setting is not possible.
        DataError: There are no images, or an id appears twice.
    """
    check_sample_ids(images.sample_ids)
    batch_size, n_views, seed = map(operator.index, (batch_size, n_views, seed))  # not NumPy's: they go into JSON
    torch_device = resolve_device(device)
    views = plan_views(backbone.preprocessing, n_views, augmentation, seed)
    plan = {
        **_plan(images, backbone),
        **views.record(),
        **description(torch_device),
        "precision": resolve_precision(torch_device, precision),
        "batch_size": batch_size,
        "dtype": dtype,
        "seed": seed,
    }
    return Task(torch_device, views, plan, Layout(len(images), backbone.feature_dim, dtype, batch_size, n_views))


def _plan(images: ImageSet, backbone: Backbone) -> dict[str, Any]:
    """What the file's bytes depend on besides the settings; becomes attributes with them."""
    return {
        "dataset": images.dataset,
        "split": images.split,
        "source": images.source,
        "class_names": list(images.class_names),
        "n_listed": len(images),
        "samples_sha256": samples_sha256(images.sample_ids, images.stamps, images.labels),
        "backbone": backbone.name,
        "weights_origin": backbone.weights_origin,
        "weights_sha256": backbone.weights_sha256,
        "feature_point": backbone.feature_point,
        "preprocessing": backbone.preprocessing.record,
        "versions": versions(_LIBRARIES),
    }


def _embed_blocks(
    images: ImageSet,
    backbone: Backbone,
    task: Task,
    staging: Staging,
    tolerance: Tolerance,
    timeout: float,
) -> None:
    """Fills what is missing in the staging, a batch a block."""
    tolerance.check_bad(images.sample_ids, staging.bad)
    done, total, layout = staging.n_rows, len(images), task.layout
    if done:
        progress.note(f"{staging.path}: going on after {done} of {total} images.")
    model = forward(backbone.model, backbone.preprocessing.normalize, task.device, task.plan["precision"])
    blocks = [layout.rows(block) for block in range(staging.n_blocks, layout.n_blocks)]
    shape = pixel_shape(backbone, layout.block_rows, layout.n_views)
    try:
        with (
            reuse_memory(task.device),
            progress.bar("embedding", total, start=done) as advance,
            closing(decoded_batches(decoder(images, backbone, task.views), blocks, shape, timeout=timeout)) as batches,
        ):
            for rows, pixels, bad in batches:
                tolerance.check_bad(images.sample_ids, staging.bad | bad)
                # The plain images and each view in a batch of their own: the same shape, so the same bits as without.
                features = torch.stack([model(plane)[: len(rows)] for plane in pixels])
                staging.append(_stored(images, features, rows, bad, task.plan), bad)
                advance(len(rows))
    except KeyboardInterrupt:
        if staging.n_rows:
            progress.note(f"stopped after {staging.n_rows} of {total} images: the same command goes on from there.")
        raise


def decoder(images: ImageSet, backbone: Backbone, views: Views) -> Callable[[int, Pixels], None]:
    """What puts an image and its views into uint8 (1 + n_views, height, width, 3); it is read once for all of them."""
    Image.init()  # here, so that no worker has to load the readers of rarer formats

    def decode(row: int, out: Pixels) -> None:
        image = images.read(row)
        out[0] = backbone.preprocessing.pixels(image)
        for view in range(views.n_views):
            out[1 + view] = views.pixels(image, row, view)

    return decode


def pixel_shape(backbone: Backbone, batch_size: int, n_views: int) -> tuple[int, ...]:
    """(1 + n_views, batch, height, width, 3): a block's pixels."""
    return (1 + n_views, batch_size, *backbone.preprocessing.size, 3)


def told_of_finished(images: ImageSet, path: Path, tolerance: Tolerance) -> str:
    """What is said of a file that this very command has finished before.

    Raises:
        DataError: It leaves out more images than are put up with now.
    """
    skipped = dict(load_features(path).skipped)
    rows = [row for row, sample_id in enumerate(images.sample_ids) if sample_id in skipped] if skipped else []
    tolerance.check_bad(images.sample_ids, {row: skipped[images.sample_ids[row]] for row in rows})
    left_out = f" ({len(rows)} of {len(images)} images cannot be read and are listed as skipped)" if rows else ""
    return f"{path} is finished already, with the same settings{left_out}: nothing to do."


def _tell_of_bad(images: ImageSet, staging: Staging) -> None:
    if staging.bad:
        row = min(staging.bad)
        first = describe_unreadable(images.sample_ids[row], staging.bad[row])
        count = f"{len(staging.bad)} of {len(images)} images cannot be read"
        progress.note(f"{count} and are listed as skipped in {staging.path}; the first: {first}.")


def _stored(
    images: ImageSet, features: torch.Tensor, rows: range, bad: dict[int, str], plan: Mapping[str, Any]
) -> NDArray[np.floating[Any]]:
    """A block's features as they are kept, (1 + n_views, rows, dim), after a look at whether that is possible."""
    features = features.index_fill(1, torch.tensor([row - rows.start for row in bad], dtype=torch.long), 0)
    ids = images.sample_ids[rows.start : rows.stop]
    try:
        for number, plane in enumerate(features):
            check_finite(
                plane.numpy(), ids, "its features" if number == 0 else f"the features of its view {number - 1}"
            )
    except DataError as error:
        if plan["precision"] == "float32":
            raise
        raise DataError(f"{str(error).removesuffix('.')}, or say --precision float32.") from None
    values = features.to(getattr(torch, plan["dtype"])).numpy()
    overflow = np.argwhere(np.isinf(values).any(axis=2))
    if len(overflow):
        number, row = overflow[0].tolist()
        where = "" if number == 0 else f" in its view {number - 1}"
        reason = f"a feature of {float(features[number, row].abs().max()):.6g}{where} does not fit float16"
        raise DataError(f"{progress.printable(ids[row])}: {reason} (at most 65504): say --dtype float32.")
    stored: NDArray[np.floating[Any]] = values
    return stored
