"""Stage 1: dataset x backbone -> feature file. Slow, done once, and safe to interrupt."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from headclust import progress
from headclust.cache import (
    FEATURE_DTYPES,
    Layout,
    Staging,
    check_finite,
    check_sample_ids,
    open_staging,
    samples_sha256,
)
from headclust.device import description, resolve_device
from headclust.errors import DataError, SettingError
from headclust.provenance import versions

if TYPE_CHECKING:
    from headclust.backbones import Backbone
    from headclust.datasets import ImageSet

# Batches decoded ahead of the model: enough to keep it busy over a few slow images, and all that is held in memory.
_AHEAD = 2
_LIBRARIES = ("torch", "torchvision", "timm", "open_clip_torch", "pillow", "numpy", "h5py")

Pixels = NDArray[np.uint8]


def embed_images(
    images: ImageSet,
    backbone: Backbone,
    path: Path,
    *,
    batch_size: int = 64,
    dtype: str = "float32",
    device: str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """The backbone's features of every image, as a feature file; returns its path.

    An interrupted run is taken up where it was left by the same call, and ends in the same file, byte for byte. Over a
    finished file the same call does nothing.

    Args:
        images: What to embed. Row i of the file is the i-th image that can be read.
        backbone: The frozen model and its preprocessing.
        path: The file to make; `NAME.h5.partial/` beside it holds the work in progress.
        batch_size: Images a forward pass; part of the plan, because the last bits of a row depend on it.
        dtype: "float32" or "float16", of the stored features. The model always computes in float32.
        device: See `headclust.device.resolve_device`.
        on_error: "fail" stops at the first image that cannot be read; "skip" lists it in the file with its reason.
        overwrite: Replace a finished file, and unfinished work with other settings.
        seed: Recorded only: what `images` was drawn with.

    Raises:
        SettingError: A setting is not possible.
        DataError: An image cannot be read, features are not finite or overflow float16, an id appears twice.
        ConflictError: A file or unfinished work with other settings is in the way, or someone else is writing it.
        HeadclustError: The disk is full, or the folder cannot be written.
    """
    _check_settings(batch_size, dtype, on_error)
    check_sample_ids(images.sample_ids)
    path, torch_device = Path(path), resolve_device(device)
    plan = _plan(images, backbone, torch_device, batch_size=batch_size, dtype=dtype, seed=seed)
    layout = Layout(len(images), backbone.feature_dim, dtype, block_rows=batch_size)
    with open_staging(path, plan, layout, overwrite=overwrite) as staging:
        if staging is None:
            progress.note(f"{path} is finished already, with the same settings: nothing to do.")
        else:
            _embed_blocks(images, backbone, staging, torch_device, on_error)
            staging.finish(images.sample_ids, images.labels)
    return path


def _check_settings(batch_size: int, dtype: str, on_error: str) -> None:
    if batch_size < 1:
        raise SettingError(f"batch size {batch_size}: wanted at least 1.")
    if dtype not in FEATURE_DTYPES:
        raise SettingError(f"dtype {dtype!r}: wanted {' or '.join(FEATURE_DTYPES)}.")
    if on_error not in ("fail", "skip"):
        raise SettingError(f"on-error {on_error!r}: wanted fail or skip.")


def _plan(
    images: ImageSet, backbone: Backbone, device: torch.device, *, batch_size: int, dtype: str, seed: int
) -> dict[str, Any]:
    """Everything the file's bytes depend on; becomes its attributes.

    `on_error` is not part of it: it decides whether to go on, not what a row holds.
    """
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
        "batch_size": batch_size,
        "dtype": dtype,
        "seed": seed,
        "versions": versions(_LIBRARIES),
        **description(device),
    }


def _embed_blocks(images: ImageSet, backbone: Backbone, staging: Staging, device: torch.device, on_error: str) -> None:
    """Fills what is missing in the staging, a batch a block."""
    _refuse_bad(images, staging.bad, on_error)
    done, total = staging.n_rows, len(images)
    if done:
        progress.note(f"{staging.path}: going on after {done} of {total} images.")
    # Convolutions on the CPU take about 60 % of the time in this memory order; transformers do not mind.
    model = backbone.model.to(device).to(memory_format=torch.channels_last)
    try:
        with (
            progress.bar("embedding", total, start=done) as advance,
            closing(_batches(images, backbone, staging)) as batches,
            torch.inference_mode(),
        ):
            for rows, pixels, bad in batches:
                _refuse_bad(images, bad, on_error)
                batch = backbone.preprocessing.normalize(torch.from_numpy(pixels).to(device))
                features = model(batch.contiguous(memory_format=torch.channels_last)).float().cpu()
                staging.append(_stored(images, features[: len(rows)], rows, bad, staging.layout.dtype), bad)
                advance(len(rows))
    except KeyboardInterrupt:
        if staging.n_rows:
            progress.note(f"stopped after {staging.n_rows} of {total} images: the same command goes on from there.")
        raise


def _batches(images: ImageSet, backbone: Backbone, staging: Staging) -> Generator[tuple[range, Pixels, dict[int, str]]]:
    """The blocks still to do: their rows, pixels (batch_size, height, width, 3), and the images that cannot be read.

    Batches are always full, because the last bits of a row depend on the batch's shape: the last one is padded, and an
    image that cannot be read leaves its slot black.
    """
    layout = staging.layout
    shape = (layout.block_rows, *backbone.preprocessing.size, 3)
    # Threads, not processes: Pillow lets go of the interpreter while it decodes and resizes, nothing is copied, and
    # there is no worker to outlive a killed run.
    pool = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode")
    ahead: deque[tuple[range, Pixels, list[Future[str | None]]]] = deque()
    try:
        for block in range(staging.n_blocks, layout.n_blocks):
            rows, pixels = layout.rows(block), np.zeros(shape, np.uint8)
            decoding = [pool.submit(_decode, images, backbone, row, pixels[i]) for i, row in enumerate(rows)]
            ahead.append((rows, pixels, decoding))
            if len(ahead) > _AHEAD:
                yield _decoded(*ahead.popleft())
        while ahead:
            yield _decoded(*ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(images: ImageSet, backbone: Backbone, row: int, out: Pixels) -> str | None:
    """Puts an image into its slot, or says why it cannot be read."""
    try:
        out[:] = backbone.preprocessing.pixels(images.read(row))
    except DataError as error:
        return str(error)
    return None


def _decoded(rows: range, pixels: Pixels, decoding: list[Future[str | None]]) -> tuple[range, Pixels, dict[int, str]]:
    reasons = [future.result() for future in decoding]
    return rows, pixels, {row: reason for row, reason in zip(rows, reasons, strict=True) if reason is not None}


def _refuse_bad(images: ImageSet, bad: dict[int, str], on_error: str) -> None:
    if bad and on_error == "fail":
        row = min(bad)
        name = progress.printable(images.sample_ids[row])
        step = "mend or remove it, or leave out what cannot be read with --on-error skip"
        raise DataError(f"{name}: {progress.printable(bad[row])}: {step}.")


def _stored(
    images: ImageSet, features: torch.Tensor, rows: range, bad: dict[int, str], dtype: str
) -> NDArray[np.floating[Any]]:
    """A block's features as they are kept, (rows, feature_dim), after a look at whether that is possible."""
    features = features.index_fill(0, torch.tensor([row - rows.start for row in bad], dtype=torch.long), 0)
    ids = images.sample_ids[rows.start : rows.stop]
    check_finite(features.numpy(), ids)
    values = features.to(getattr(torch, dtype)).numpy()
    overflow = np.flatnonzero(np.isinf(values).any(axis=1))
    if len(overflow):
        row = int(overflow[0])
        largest = float(features[row].abs().max())
        raise DataError(
            f"{progress.printable(ids[row])}: a feature of {largest:.6g} does not fit float16 (at most 65504): "
            "say --dtype float32."
        )
    return values
