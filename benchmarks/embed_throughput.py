"""Claim: embedding is at least as fast as a plain timm loop.

`ratio_to_timm_loop` is the time of the loop divided by that of headclust, at 32 px and at about 500 px; above 1,
headclust is faster. The loop is `DataLoader(ImageFolder, timm's transform, batch 64, 2 workers)` and the eager float32
model in inference mode, with the same number of threads. Both read the same JPEGs. The time of headclust includes the
start of the decoding processes and writing the feature file, that of the loop the start of its workers; neither has
imports or loading the model. Every measurement has its own process, so that one side cannot reuse memory of the
other, and starts with two batches as a warm-up. Measurements are interleaved; the figure is the median of `--rounds`.

command:   python benchmarks/embed_throughput.py --json --cifar CIFAR/train --rounds 3
machine:   2 CPU cores of a virtual machine, no accelerator
versions:  printed under "versions"
n:         2,000 JPEGs of 32 px (CIFAR-10), 500 JPEGs of 500 x 400 px (crops of scikit-learn's two photos); 3 rounds
result:    3.8 (3.7 to 4.4) at 32 px, 2.9 (2.9 to 3.3) at 500 px; torch 2.14.1, timm 1.0.31. Much of it is
           `headclust.device.reuse_memory`, and depends on the cost of new memory on the machine: with both in one
           process, where the loop reuses the memory of headclust, 1.8 and 1.5
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from script import answer
from sklearn.datasets import load_sample_images
from timm.data import create_transform, resolve_model_data_config
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from headclust.backbones import Backbone, load_backbone
from headclust.embedding import EmbedSettings
from headclust.embedding.embed import embed_images
from headclust.features import load_features
from headclust.images.datasets import open_source

LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy", "headclust")
BATCH = 64
SIDES = ("ours", "timm_loop")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both and print the ratios; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--cifar", type=Path, help="train folder of CIFAR-10 [crops of photos]")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--small", type=int, default=2000, help="number of images of 32 px")
    parser.add_argument("--large", type=int, default=500, help="number of images of about 500 px")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per side")
    parser.add_argument("--side", choices=SIDES, help="measure one side alone, as each round does; needs `paths`")
    parser.add_argument(
        "paths", nargs="*", type=Path, help="with --side: the images, and an .npy file for the features"
    )
    return answer("embed_throughput", parser, run, arguments, small=2, large=2, rounds=1)


def run(arguments: argparse.Namespace) -> None:
    """Measure one side, or both, and print."""
    if arguments.side:
        measure(arguments.side, *arguments.paths, backbone_of(arguments.model))
        return
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "32"), Path(folder, "500")
        if arguments.cifar:
            copy_some(arguments.cifar, small, arguments.small)
        else:
            crops(small, arguments.small, (32, 32))
        crops(large, arguments.large, (500, 400))
        seconds_of = seconds_here if arguments.tiny else seconds_apart
        results = {path.name: compare(path, arguments.model, arguments.rounds, seconds_of) for path in (small, large)}
    report = {
        "ratio_to_timm_loop": {name: result["ratio"] for name, result in results.items()},
        "details": results,
        "model": arguments.model,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in LIBRARIES},
    }
    if arguments.json:
        print(json.dumps(report))
        return
    for name, result in results.items():
        print(f"{name:>4} px: {result['ratio']:.2f} times the timm loop ({result['spread'][0]}-{result['spread'][1]})")


def copy_some(source: Path, target: Path, n: int) -> None:
    """Copy `n` images of a tree of class folders, drawn with a fixed seed."""
    images = open_source(str(source), None).subset(n, seed=0)
    for name in images.sample_ids:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(images.source, name), target / name)


def crops(target: Path, n: int, size: tuple[int, int]) -> None:
    """Write `n` JPEGs of (width, height), crops of scikit-learn's two photos, to one folder per photo."""
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for i in range(n):
        photo = photos[i % 2]
        left, top = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(photo.size, size, strict=True))
        path = target / f"photo{i % 2}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, left + size[0], top + size[1])).save(path, quality=90)


@functools.cache
def backbone_of(model: str) -> Backbone:
    """The model, loaded once per process."""
    return load_backbone(model)


def seconds_apart(options: Sequence[str]) -> float:
    """Seconds of one side, measured in a process of its own."""
    command = [sys.executable, __file__, *options]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def seconds_here(options: Sequence[str]) -> float:
    """Seconds of one side, measured in this process, for tiny runs."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(options)
    return float(printed.getvalue())


def compare(images: Path, model: str, rounds: int, seconds_of: Callable[[Sequence[str]], float]) -> dict[str, Any]:
    """Medians of both sides over interleaved rounds, and the largest difference of their features."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    largest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        features = {side: Path(folder, f"{side}.npy") for side in SIDES}
        for _ in range(rounds):
            for side in SIDES:
                seconds[side].append(seconds_of(["--model", model, "--side", side, str(images), str(features[side])]))
            ours, loop = (np.load(features[side]) for side in SIDES)
            largest = max(largest, float(np.abs(ours - loop).max()))
    ratios = [slow / fast for fast, slow in zip(*seconds.values(), strict=True)]
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    return {
        "ratio": round(medians["timm_loop"] / medians["ours"], 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "n": len(loop),
        "seconds": {side: [round(value, 2) for value in values] for side, values in seconds.items()},
        "largest_difference": largest,
    }


def measure(side: str, images: Path, target: Path, backbone: Backbone) -> None:
    """Print the seconds of one side, after a warm-up, and save its features."""
    run = {"ours": embed, "timm_loop": timm_loop}[side]
    run(images, backbone, limit=2 * BATCH)
    start = time.perf_counter()
    features = run(images, backbone)
    print(time.perf_counter() - start)
    np.save(target, features)


def embed(images: Path, backbone: Backbone, limit: int = 10**9) -> NDArray[np.float32]:
    """The features of a folder by headclust: written to a feature file, which is read."""
    with tempfile.TemporaryDirectory() as folder:
        source = open_source(str(images), None).subset(limit, seed=0)
        path = embed_images(source, backbone, Path(folder, "features.h5"), EmbedSettings(batch_size=BATCH))
        return load_features(path).all().numpy()


def timm_loop(images: Path, backbone: Backbone, limit: int = 10**9) -> NDArray[np.float32]:
    """The features of a folder by a plain timm loop."""
    transform = create_transform(**resolve_model_data_config(backbone.model), is_training=False)
    loader = DataLoader(ImageFolder(images, transform), batch_size=BATCH, num_workers=2)
    features = []
    with torch.inference_mode():
        for batch, _ in loader:
            features.append(backbone.model(batch))
            if len(features) * BATCH >= limit:
                break
    return torch.cat(features).numpy()


if __name__ == "__main__":
    sys.exit(main())
