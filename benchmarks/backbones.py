"""Construction and a forward pass of every backbone in the catalog, as a Markdown table.

Command:  python benchmarks/backbones.py [--pattern 'dino*'] > table.md
Setting:  each architecture is built on the meta device without weights, and its dimension and number of parameters are
          compared with the catalog; up to --max-parameters it is also built on the CPU with random weights, for one
          noise image. Weights that are on this machine are loaded and used for the same image. Nothing is downloaded.
Figure:   none: the table shows if each was built and has finite features, and the seconds per image.
Expected: all are built, all features are finite.
Result:   see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from script import answer

from headclust.backbones import Backbone, list_backbones, load_backbone, untrained_backbone


def main(arguments: Sequence[str] | None = None) -> int:
    """Build every backbone and print its row; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pattern", help="only names that match")
    parser.add_argument("--max-parameters", type=int, default=100_000_000, help="largest model to run")
    return answer("backbones", parser, run, arguments, pattern="efficientnet_lite0")


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    print("| name | dim | parameters | constructed | preprocessing | random weights (s per image) | weights |")
    print("|---|---:|---:|---|---|---|---|")
    for row in list_backbones(pattern=options.pattern):
        cells = [
            f"`{row['name']}`",
            row["dim"],
            f"{row['parameters'] / 1e6:.1f} M",
            *results(row, options.max_parameters),
        ]
        print("|", " | ".join(map(str, cells)), "|", flush=True)


def results(row: dict[str, Any], max_parameters: int) -> list[str]:
    """Cells of the table: construction, preprocessing, forward pass with random weights, with pretrained weights."""
    name = row["name"]
    untrained = untrained_backbone(name, device="meta")
    parameters = sum(tensor.numel() for tensor in untrained.model.parameters())
    agrees = (untrained.feature_dim, parameters) == (row["dim"], row["parameters"])
    record = untrained.preprocessing.record
    preprocessing = f"{record['interpolation']} {record['resize']}, {record['crop']}, {record['input_size'][0]} px"
    is_small = row["parameters"] <= max_parameters
    return [
        "yes" if agrees else f"dim {untrained.feature_dim}, {parameters} parameters",
        preprocessing,
        forward(untrained_backbone(name)) if is_small else "too large",
        forward(load_backbone(name, offline=True)) if row["weights_at_hand"] else "not at hand",
    ]


def forward(backbone: Backbone) -> str:
    """Cell of the table: "finite" and the seconds, if the features of a noise image are finite."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    pixels = torch.from_numpy(backbone.preprocessing.pixels(image))[None]
    start = time.perf_counter()
    with torch.inference_mode():
        features = backbone.model(backbone.preprocessing.normalize(pixels))
    seconds = time.perf_counter() - start
    is_finite = bool(torch.isfinite(features).all()) and features.shape == (1, backbone.feature_dim)
    return f"finite, {seconds:.2f}" if is_finite else "NOT FINITE"


if __name__ == "__main__":
    sys.exit(main())
