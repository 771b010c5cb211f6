"""Estimate what embedding takes before it starts: images, disk, memory, time. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headclust.device import available_memory, forward, reuse_memory
from headclust.embedding.again import comparable_plan, earlier, finished_message
from headclust.embedding.settings import EmbedSettings
from headclust.errors import HeadclustError, Reason
from headclust.features import load_features
from headclust.features.format import STAMP_DTYPE, encode_attributes, escape
from headclust.features.preflight import check_output_folder, check_unfinished, free_bytes, is_up_to_date, staged_bytes
from headclust.images.decoding import AHEAD, decoded_batches, n_workers, timeout_reason

if TYPE_CHECKING:
    import torch

    from headclust.backbones import Backbone
    from headclust.embedding.parts import Pixels, Task
    from headclust.images.datasets import ImageSet

# Seconds spent on measuring: reading images, then running the model.
_READING, _RUNNING = 4.0, 5.0
# HDF5's own structures in the finished file.
_FILE_EXTRA = 4_096


@dataclass(frozen=True)
class Estimate:
    """Result of a dry run: counts are exact, seconds and memory are estimates.

    Attributes:
        path: The feature file to make.
        n_images: Images listed.
        feature_bytes: Size of the finished file, if every image can be read, within 8 kB.
        peak_bytes: Largest size on the disk at any time: staging and finished file.
        free_bytes: Free on that disk now.
        memory_bytes: Memory that is free now, plus the memory that the weights occupy already.
        weight_bytes: Memory for the weights.
        pixel_bytes: Memory for the pixels of the batches that are decoded ahead, and of one as floats.
        activation_bytes: Memory for activations: twice the input and output of the largest layer, measured on one
            image, times the batch size. Convolutional networks and ViTs took 0.6 to 1.2 times that on the CPU.
        seconds: Measured on a few images, for at most ten seconds; wrong if the disk cache is warmer or colder later,
            or the other images differ from these. A lower bound if `n_slow` is not 0, or if `n_sampled` is 0.
        reading_seconds: The part for reading, on all cores.
        model_seconds: The part for the model. On the CPU the two share the cores and add up; elsewhere the
            longer one counts.
        n_sampled: Images that were measured; 0 if there is no memory for their pixels.
        bad: (sample id, reason) of those among them that cannot be read.
        n_slow: Images that took more than two seconds and were not waited for, although embedding will wait longer.
        problems: Reasons why embedding would stop or fail, one line each; a finished file is one of them.
    """

    path: Path
    n_images: int
    feature_bytes: int
    peak_bytes: int
    free_bytes: int
    memory_bytes: int
    weight_bytes: int
    pixel_bytes: int
    activation_bytes: int
    seconds: float
    reading_seconds: float
    model_seconds: float
    n_sampled: int
    bad: tuple[tuple[str, str], ...]
    n_slow: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Sample:
    """Result of reading some images: rows and reasons of the bad ones, the number of slow ones, seconds per image."""

    n: int = 0
    bad: Mapping[int, Reason] = field(default_factory=dict)
    n_slow: int = 0
    seconds: float = 0.0


def estimate(images: ImageSet, backbone: Backbone, path: Path, settings: EmbedSettings | None = None) -> Estimate:
    """Estimate the cost of `headclust.embedding.embed.embed_images` with the same arguments; nothing is written.

    A few random images are read and embedded, at most two batches. The values of the weights do not matter, so an
    untrained model of the same architecture is enough: existing files are then compared without their weights.

    Raises:
        SettingError: A setting is not possible.
        DataError: There are no images, or an id appears twice.
        HeadclustError: No process can be started, or the output has no name.
    """
    from headclust.embedding.parts import make_task, pixel_shape

    settings = settings or EmbedSettings()
    task = make_task(images, backbone, settings)
    path, layout, weights = Path(path), task.layout, weight_bytes(backbone)
    memory = available_memory() + weights
    model = forward(backbone.model, backbone.preprocessing.normalize, task.device, task.plan["precision"])
    image = np.zeros(pixel_shape(backbone, 1, 0)[1:], np.uint8)
    pixels = layout.block_rows * image.nbytes * ((AHEAD + 1) * (1 + layout.n_views) + 4)
    with reuse_memory(task.device):
        fit = weights + pixels <= memory
        sample = _reading(images, backbone, task, settings.timeout) if fit else _Sample()
        activations = 2 * _largest_layer(backbone.model, lambda: model(image)) * layout.block_rows
        fit = weights + pixels + activations <= memory
        passes = (1 + layout.n_views) * layout.n_blocks * layout.block_rows  # the last batch is padded
        running = _running(model, image, layout.block_rows if fit else 1) * passes
    reading = sample.seconds * len(images)
    file_bytes = len(images) * layout.row_bytes + _texts(images) + _attributes(task) + _FILE_EXTRA
    result = Estimate(
        path=path,
        n_images=len(images),
        feature_bytes=file_bytes,
        peak_bytes=file_bytes + layout.staging_bytes,
        free_bytes=free_bytes(path),
        memory_bytes=memory,
        weight_bytes=weights,
        pixel_bytes=pixels,
        activation_bytes=activations,
        seconds=reading + running if task.device.type == "cpu" else max(reading, running),
        reading_seconds=reading,
        model_seconds=running,
        n_sampled=sample.n,
        bad=tuple((images.sample_ids[row], reason) for row, reason in sample.bad.items()),
        n_slow=sample.n_slow,
        problems=(),
    )
    problems = _problems(images, task, result, sample, settings)
    return replace(result, problems=tuple(problems))


def weight_bytes(backbone: Backbone) -> int:
    """Bytes of a model's parameters and buffers, on any device."""
    return sum(t.nbytes for t in (*backbone.model.parameters(), *backbone.model.buffers()))


def _texts(images: ImageSet) -> int:
    """Bytes of ids, labels, and sizes and times of files: ids are padded to the longest."""
    width = max(1, max(len(escape(name).encode()) for name in images.sample_ids))
    return len(images) * (width + (8 if images.labels is not None else 0) + STAMP_DTYPE.itemsize * 2)


def _attributes(task: Task) -> int:
    """Bytes of the attributes of the file."""
    stored = encode_attributes(task.plan)
    return sum(len(name) + (len(value) if isinstance(value, bytes) else 8) + 64 for name, value in stored.items())


def _problems(
    images: ImageSet, task: Task, estimate: Estimate, sample: _Sample, settings: EmbedSettings
) -> Iterator[str]:
    """Reasons why embedding would stop or fail, one line each."""
    path, overwrite, plan = estimate.path, settings.overwrite, task.plan
    try:
        if is_up_to_date(path, comparable_plan(images, path, plan), overwrite=overwrite):
            finished = earlier(images, load_features(path))
            settings.check_unreadable(images.sample_ids, finished.lasting)
            yield finished_message(images, path, finished)
            return
    except HeadclustError as error:
        yield str(error)
    checks: tuple[Callable[[], None], ...] = (
        lambda: check_unfinished(path, plan, overwrite=overwrite),
        lambda: check_output_folder(path),
        lambda: settings.check_unreadable(images.sample_ids, sample.bad),
    )
    for check in checks:
        try:
            check()
        except HeadclustError as error:
            yield str(error)
    disk = estimate.peak_bytes - staged_bytes(path)
    if disk > estimate.free_bytes:
        step = "free some, or choose another place for the output"
        yield f"it takes {disk / 1e6:.1f} MB of disk, {estimate.free_bytes / 1e6:.1f} MB are free: {step}."
    memory = estimate.weight_bytes + estimate.pixel_bytes + estimate.activation_bytes
    if memory > estimate.memory_bytes:
        step = "choose a smaller batch size, fewer views or a smaller model"
        yield f"it takes about {memory / 1e6:.0f} MB of memory, {estimate.memory_bytes / 1e6:.0f} MB are free: {step}."


def _reading(images: ImageSet, backbone: Backbone, task: Task, timeout: float) -> _Sample:
    """Read some random images, on all cores."""
    from headclust.embedding.parts import decoder, pixel_shape

    batch_size, limit = task.layout.block_rows, min(timeout, _READING / 2)
    n = min(len(images), 2 * batch_size)
    rows = np.random.default_rng(task.views.seed).permutation(len(images))[:n].tolist()
    step = n_workers(batch_size)  # one image per worker, so that images that hang are waited for at the same time
    blocks = [range(start, min(start + step, n)) for start in range(0, n, step)]
    decode, done = decoder(images, backbone, task), 0
    bad: dict[int, Reason] = {}
    shape = pixel_shape(backbone, step, task.views.n_views)
    start = time.perf_counter()
    sampled = decoded_batches(lambda i, out: decode(rows[i], out), blocks, shape, timeout=limit, tries=1)
    with closing(sampled) as batches:
        for block, _, reasons in batches:
            bad.update({rows[i]: reason for i, reason in reasons.items()})
            done = block.stop
            if time.perf_counter() - start > _READING:
                break
    seconds = (time.perf_counter() - start) / done
    # Images over the limit of this estimate, but not over the user's, are slow and not bad.
    slow = [row for row, reason in bad.items() if limit < timeout and reason == timeout_reason(limit)]
    return _Sample(done, {row: bad[row] for row in bad if row not in slow}, len(slow), seconds)


def _running(model: Callable[[Pixels], torch.Tensor], image: Pixels, batch_size: int) -> float:
    """Seconds per image in the model, measured with the largest batch up to `batch_size` that the time allows."""
    n, end = 1, time.perf_counter() + _RUNNING
    model(image).cpu()  # warm-up
    while True:
        batch = np.repeat(image, n, axis=0)
        start = time.perf_counter()
        model(batch).cpu()
        now = time.perf_counter()
        larger = min(2 * n, batch_size)
        if larger == n or now + (now - start) * larger / n > end:
            return (now - start) / n
        n = larger


def _largest_layer(model: torch.nn.Module, run: Callable[[], object]) -> int:
    """Largest sum of input and output of a layer, in bytes."""
    import torch

    largest = 0

    def look(_: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal largest
        seen = [t.nbytes for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        largest = max(largest, sum(seen))

    layers = [layer for layer in model.modules() if not any(layer.children())]
    hooks = [layer.register_forward_hook(look) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return largest
