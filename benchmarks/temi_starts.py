"""The reason for TEMI below k-means on some data: a higher loss at the classes, or training that misses its minimum.

Command:  python benchmarks/temi_starts.py FEATURES_FOLDER --model efficientnet_lite0 --json
Setting:  FEATURES_FOLDER/DATA-train/MODEL.h5 of cifar10, fashion-mnist and digits; the preset `ours` of TEMI, and of
          PMI, whose loss has no weights that depend on the agreement of the heads. The heads start at random, as in the
          recipe, or from k-means' clusters, or from the classes, by training with cross-entropy first; then they
          are trained with the recipe. Seed 0. Labels are used as a start only to measure the loss at the classes.
Figure:   ACC in percent of the fitted rows before and after training, mean over heads and (after) from the lowest to
          the highest head, and the loss over the last tenth of the steps, mean over heads.
Expected: on Fashion-MNIST heads that start from the classes leave them, and end at no higher loss than heads that start
          at random: there the objective is the cause. On the digits they stay.
Result:   see docs/methods/temi.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from script import answer, names
from tiny import feature_folder
from torch import Tensor

from headclust.device import resolve_device
from headclust.features import Features, load_features
from headclust.graph.cached import cached_neighbors
from headclust.graph.lists import neighbor_list
from headclust.methods import Recipe
from headclust.model import ClusterModel, FeatureTransform, fit_transform
from headclust.model.heads import HEADS
from headclust.runs.scored_fit import fit_and_score
from headclust.scoring import metrics
from headclust.training.sampling import Samples
from headclust.training.stages import Stage
from headclust.training.train import train_stage

DATA = ("fashion-mnist", "cifar10", "digits")
METHODS = ("temi", "pmi")
_BATCH, _LR, _TEMPERATURE = 256, 3e-3, 0.1  # to learn a partition, as in the recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = parser.add_argument("features", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--datasets", type=names, default=DATA)
    parser.add_argument("--start-steps", type=int, default=500, help="steps in which heads learn a partition [500]")
    parser.add_argument("--steps", type=int, help="steps of the training [the recipe's]")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per fit")
    tiny = {"datasets": DATA[:1], "start_steps": 5, "steps": 10}
    return answer("temi_starts", parser, run, arguments, made={folder: feature_folder}, **tiny)


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    for data in options.datasets:
        features = load_features(options.features / f"{data}-train" / f"{options.model}.h5")
        for method in METHODS:
            changes = {"length": options.steps, "warmup": 0} if options.steps else {}
            for figures in compare(features, Recipe.of(method).changed(changes), options.start_steps):
                line = {"data": data, "method": method, **figures}
                print(json.dumps(line) if options.json else "  ".join(map(str, line.values())), flush=True)


def compare(features: Features, recipe: Recipe, start_steps: int) -> Iterator[dict[str, Any]]:
    """Figures of each start of the heads."""
    device = resolve_device()
    (stage,) = recipe.for_features(features).stages
    original = features.all().to(device)
    rows = fit_transform(original, stage.transform, n_components=stage.n_components)(original)
    graph = cached_neighbors(features, stage.n_neighbors, search=stage.neighbor_search, device=device)
    neighbors = neighbor_list(graph.indices, stage.neighbor_list)
    samples = Samples((rows,), neighbors=neighbors)
    assert features.labels is not None
    clusters = fit_and_score([features], Recipe.of("kmeans"), 0, device=device).result.assignments
    for start, partition in (("random", None), ("k-means", clusters), ("classes", features.labels)):
        heads = None if partition is None else learn(stage, rows, torch.from_numpy(partition).to(device), start_steps)
        before = None if heads is None else accuracies(heads, rows, features)
        trained = train_stage(stage, samples, seed=0, start=heads)
        after = accuracies(trained.heads, rows, features)
        yield {
            "start": start,
            "before": None if before is None else round(mean(before), 1),
            "after": round(mean(after), 1),
            "from": round(min(after), 1),
            "to": round(max(after), 1),
            "loss": round(mean(trained.losses), 4),
        }


def learn(stage: Stage, rows: Tensor, partition: Tensor, n_steps: int) -> Any:
    """The heads of the recipe, trained to predict a partition by cross-entropy."""
    heads = HEADS[stage.head](
        feature_dims=(rows.shape[1],),
        n_clusters=stage.n_clusters,
        n_heads=stage.n_heads,
        seed=0,
        **stage.head_values,
    ).to(rows.device)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=_LR)
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_steps):
        drawn = torch.randint(len(rows), (_BATCH,), generator=generator).to(rows.device)
        logits = heads(rows[drawn][None]).logits[0] / _TEMPERATURE  # (heads, batch, clusters)
        loss = F.cross_entropy(logits.flatten(0, 1), partition[drawn].repeat(stage.n_heads), reduction="sum") / _BATCH
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return heads


def accuracies(heads: Any, rows: Tensor, features: Features) -> list[float]:
    """ACC of each head in percent."""
    assert features.labels is not None
    by_head = ClusterModel((FeatureTransform(),), heads, (0,), _TEMPERATURE).assign(rows).by_head
    return [100 * metrics.accuracy(assignments, features.labels) for assignments in by_head]


if __name__ == "__main__":
    sys.exit(main())
