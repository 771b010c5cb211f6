"""Claim: embedding is at least as fast as the loop everyone writes with timm.

`ratio_to_timm_loop` is the loop's time over ours, at 32 px and at about 500 px; above 1 we are faster. The loop is
`DataLoader(ImageFolder, timm's transform, batch 64, 2 workers)` and the eager float32 model in inference mode, with the
same number of threads. Both read the same JPEGs; our time includes the decoding threads and finishing the feature file,
theirs the start of its workers; neither includes imports or loading the model. Interleaved, the median of 5 each.

command:   python benchmarks/embed_throughput.py --json --cifar CIFAR/train
machine:   2 CPU cores, no accelerator
versions:  printed under "versions"
n:         2,000 JPEGs of 32 px (CIFAR-10), 500 JPEGs of 500 x 400 px (crops of scikit-learn's two photos); 5 rounds
result:    1.63 (1.53 to 1.76) at 32 px, 1.62 (1.55 to 1.63) at 500 px; torch 2.14.1, timm 1.0.31
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_transform, resolve_model_data_config
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from headclust.backbones import Backbone, load_backbone
from headclust.cache import load_features
from headclust.datasets import open_source
from headclust.embed import embed_images

LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy", "headclust")
BATCH = 64


def main() -> None:
    """Measures both, prints the ratios."""
    arguments = parsed()
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "32"), Path(folder, "500")
        if arguments.cifar:
            copy_some(arguments.cifar, small, arguments.small)
        else:
            crops(small, arguments.small, (32, 32))
        crops(large, arguments.large, (500, 400))
        ours, theirs = load_backbone(arguments.model), load_backbone(arguments.model)
        results = {path.name: compare(path, ours, theirs, arguments.rounds) for path in (small, large)}
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


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10's train folder; without it, small crops of photos")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--small", type=int, default=2000, help="how many images of 32 px")
    parser.add_argument("--large", type=int, default=500, help="how many images of about 500 px")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def copy_some(source: Path, target: Path, n: int) -> None:
    """`n` images of a class folder tree, drawn with a fixed seed."""
    images = open_source(str(source), None).subset(n, seed=0)
    for name in images.sample_ids:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(images.source, name), target / name)


def crops(target: Path, n: int, size: tuple[int, int]) -> None:
    """`n` JPEGs of (width, height), cut from scikit-learn's two photos; a folder a photo."""
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for i in range(n):
        photo = photos[i % 2]
        left, top = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(photo.size, size, strict=True))
        path = target / f"photo{i % 2}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.crop((left, top, left + size[0], top + size[1])).save(path, quality=90)


def compare(images: Path, ours: Backbone, theirs: Backbone, rounds: int) -> dict[str, Any]:
    """Medians of both over interleaved rounds, after one warm-up each on few images."""
    seconds: dict[str, list[float]] = {"ours": [], "timm_loop": []}
    largest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        embed(images, ours, Path(folder, "warm.h5"), limit=2 * BATCH)
        timm_loop(images, theirs, limit=2 * BATCH)
        for i in range(rounds):
            path = Path(folder, f"{i}.h5")
            ours_seconds, _ = timed(lambda path=path: embed(images, ours, path))
            loop_seconds, wanted = timed(lambda: timm_loop(images, theirs))
            seconds["ours"].append(ours_seconds)
            seconds["timm_loop"].append(loop_seconds)
            found = load_features(path).all().numpy()
            largest = max(largest, float(np.abs(found - wanted).max()))
    ratios = [loop / own for loop, own in zip(seconds["timm_loop"], seconds["ours"], strict=True)]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "ratio": round(medians["timm_loop"] / medians["ours"], 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "n": len(wanted),
        "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "largest_difference": largest,
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def embed(images: Path, backbone: Backbone, path: Path, limit: int = 10**9) -> Path:
    """Ours: from a folder to a finished feature file."""
    return embed_images(open_source(str(images), None).subset(limit, seed=0), backbone, path, batch_size=BATCH)


def timm_loop(images: Path, backbone: Backbone, limit: int = 10**9) -> NDArray[np.float32]:
    """Theirs: from a folder to an array."""
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
    main()
