"""What two processes compute together for test_group.py: `python two_processes.py RANK SIZE FOLDER`."""

import math
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from headclust.errors import HeadclustError
from headclust.features import Features
from headclust.features.rows import unit_length
from headclust.group import Group, use
from headclust.methods import PRESETS, Recipe
from headclust.methods.lloyd import _lloyd, restarts
from headclust.model.heads import HEADS
from headclust.model.transform import _components
from headclust.seeding import torch_generator
from headclust.training import train, unfinished
from headclust.training.sampling import Samples, sample_batches
from headclust.training.stages import Stage, build_objective
from headclust.training.train import train_stage

ROWS, DIM, CLUSTERS = 50, 8, 8
BATCH = 17  # shares of 8 and 9
# Settings with which few random samples of few dimensions are enough.
TINY = {"hidden_dim": 16, "bottleneck_dim": 8, "second_dim": 8, "n_prototypes": 16, "projection_dim": 8}
TINY |= {"n_augmented": 2, "threshold": 0.25, "n_partners": 1}


def stages() -> dict[str, Stage]:
    """Every stage of gradient training of every recipe, at a small size."""
    small = {}
    for method, presets in PRESETS.items():
        for preset, recipe in presets.items():
            for position, stage in enumerate(recipe):
                if isinstance(stage, Stage):
                    first = recipe[0] if isinstance(recipe[0], Stage) else stage
                    small[f"{method}-{preset}-{position}"] = _small(stage, first.head)
    return small


def _small(stage: Stage, head: str) -> Stage:
    from headclust.training.head_settings import HEAD_SETTINGS
    from headclust.training.parts import OBJECTIVE_SETTINGS
    from headclust.training.stages import part_defaults

    heads = {name: TINY[name] for name in part_defaults(HEAD_SETTINGS[head]) if name in TINY}
    objective = {name: TINY[name] for name in part_defaults(OBJECTIVE_SETTINGS[stage.objective]) if name in TINY}
    return replace(
        stage,
        head=head,
        head_settings=heads,
        objective_settings={**stage.objective_settings, **objective},
        n_clusters=CLUSTERS,
        n_heads=4,
        batch_size=BATCH,
        unit="steps",
        length=40,
        lr=min(stage.lr, 0.03),  # with larger ones, such as the 5.0 of SCAN's authors, steps multiply rounding
        warmup=min(stage.warmup, 2),
        freeze_last_layer=min(stage.freeze_last_layer, 1),
    )


def make_samples() -> Samples:
    generator = torch.Generator().manual_seed(0)
    centers = 2 * torch.randn(CLUSTERS, DIM, generator=generator)
    features = centers[torch.arange(ROWS) % CLUSTERS] + torch.randn(ROWS, DIM, generator=generator)
    features = unit_length(features)
    neighbors = torch.cdist(features, features).fill_diagonal_(math.inf).topk(4, largest=False).indices
    views = features + 0.1 * torch.randn(3, ROWS, DIM, generator=generator)
    return Samples((features,), neighbors, (views,))


def loss_and_gradient(stage: Stage, samples: Samples, group: Group) -> dict[str, Tensor]:
    """Loss and summed gradients of one batch that the group shares, and the state that it changes."""
    settings = {"feature_dims": (DIM,), "n_clusters": CLUSTERS, "n_heads": stage.n_heads, "seed": 3}
    student, teacher = (HEADS[stage.head](**{**settings, "seed": seed}, **stage.head_values) for seed in (3, 4))
    objective = build_objective(stage, **settings)
    objective.batch_group = student.batch_group = teacher.batch_group = group
    generator = torch_generator(3)
    batch = next(sample_batches(samples, objective.views, batch_size=BATCH, generator=generator, group=group))
    with torch.no_grad():
        target = teacher(*batch.features) if objective.uses_teacher else None
    loss = objective(batch, student(*batch.features), target, 0.5)
    (loss.sum() / group.size).backward()
    results = {"loss": loss.detach()}
    for part in (student, objective):
        results |= {f"state {name}": tensor.detach() for name, tensor in part.named_buffers()}
        results |= {f"summary {name}": value for name, value in getattr(part, "summary", dict)().items()}
        for name, parameter in part.named_parameters():
            if parameter.grad is not None:
                results[f"gradient {name}"] = group.sum(parameter.grad)
    return results


def training(stage: Stage, samples: Samples, group: Group) -> dict[str, Tensor]:
    trained = train_stage(stage, samples, seed=3, group=group)
    with torch.no_grad():
        logits = trained.heads(*(space[None] for space in samples.spaces)).logits
    history = torch.tensor([record["loss"] for record in trained.history])
    return {"logits": logits, "losses": torch.tensor(trained.losses), "history": history}


def compute(group: Group, folder: Path) -> dict[str, Tensor]:
    """Results by test, recipe and name; the same in every process of a group."""
    samples = make_samples()
    results: dict[str, Tensor] = {}
    for recipe, stage in stages().items():
        parts = {
            "gradient": loss_and_gradient(stage, samples, group),
            "heads": training(stage, samples, group),  # more heads than processes
        }
        if "authors" not in recipe:  # the authors' recipes have the same objectives and heads
            parts["batches"] = training(replace(stage, n_heads=1), samples, group)
        results |= {f"{part}/{recipe}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
    parts = {
        "components": components(samples, group),
        "kmeans": kmeans(samples, group),
        "default": default(group),
        "ends": ends(samples, group),
        "unfinished": unfinished_training(samples, group, folder),
    }
    return results | {f"{part}//{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def ends(samples: Samples, group: Group) -> dict[str, Tensor]:
    """Trainings that stop early: per head, or all by the clock, with checkpoints and a loss that is not finite."""
    stage = replace(stages()["scan-ours-1"], patience=1, checkpoint_every=1, length=60, lr=1e-3)
    trained = train_stage(stage, samples, seed=3, group=group)
    state = {f"state {name}": tensor for name, tensor in trained.heads.state_dict().items()}
    for step, heads in trained.checkpoints:
        state |= {f"checkpoint {step} {name}": tensor for name, tensor in heads.state_dict().items()}
    timed = train_stage(replace(stage, patience=0, length=10**6, max_seconds=0.2), samples, seed=3, group=group)
    state["steps of both processes"] = group.stack(torch.tensor(timed.history[-1]["step"])).expand(2).clone()
    with pytest.raises(HeadclustError, match="stopped being finite"):
        train_stage(replace(stages()["temi-ours-0"], lr=1e30), samples, seed=3, group=group)
    return state


def unfinished_training(samples: Samples, group: Group, folder: Path) -> dict[str, Tensor]:
    """A training with the heads over processes that was stopped and went on, and where it went on."""
    stage = replace(stages()["temi-ours-0"], checkpoint_every=3)
    update, n_steps = train._update_, 0

    def stopped_after_22(*given: Any, **more: Any) -> Tensor:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 23:
            raise KeyboardInterrupt
        return update(*given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unfinished, "_INTERVAL", 0.0)
        patch.setattr(train, "_update_", stopped_after_22)
        for _ in range(2):
            with suppress(KeyboardInterrupt), unfinished.keep(folder / "run.partial", depends_on=group.size):
                results = training(stage, samples, group)
    # A state is kept at the end of segments, of 4 steps each: after step 20; alone, after each step.
    went_on_after = 22 + 1 + 40 - n_steps
    assert went_on_after == (22 if group.size == 1 else 20)
    return results


def components(samples: Samples, group: Group) -> dict[str, Tensor]:
    """Principal components of blocks of rows."""
    rows = samples.spaces[0]
    mean, values, vectors = _components(iter(rows.split(7)), group)
    return {"mean": mean, "variances": values, "covariance": vectors @ values.diag() @ vectors.T}


def kmeans(samples: Samples, group: Group) -> dict[str, Tensor]:
    """Restarts of k-means, of which one starts with an empty cluster."""
    points = samples.spaces[0]
    runs = restarts(points, CLUSTERS, n_heads=3, max_iter=20, tolerance=0, seed=0, group=group)
    seeds = torch.cat((points[:6], torch.full((2, DIM), 9.0)))[None]
    own = group.share(ROWS)
    runs += _lloyd(points[own.start : own.stop], seeds, 20, 0.0, False, group)
    return {
        "inertia": torch.tensor([run.inertia for run in runs], dtype=torch.float64),
        "centroids": torch.stack([run.centroids for run in runs]),
        "exact assignments": torch.from_numpy(np.stack([run.assignments for run in runs])),
    }


def default(group: Group) -> dict[str, Tensor]:
    """A whole fit of the default, its partitions, refinement and assignments."""
    generator = np.random.default_rng(0)
    centers = generator.normal(size=(4, DIM)) * 3
    rows = (centers[np.arange(120) % 4] + generator.normal(size=(120, DIM))).astype(np.float32)
    recipe = Recipe.of("default", "ours", {"n_clusters": 4, "n_heads": 4, "tries": 1, "pairs.length": 20})
    with use(group):
        result = recipe.fit([Features.from_array(rows)], 0)
    return {
        "exact clusters": torch.from_numpy(result.assignments),
        "exact heads": torch.from_numpy(np.asarray(result.head_assignments)),
        "confidence": torch.from_numpy(result.confidence),
        "losses": torch.tensor(result.losses),
    }


def main() -> None:
    rank, size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size, timeout=timedelta(seconds=300))
    torch.save(compute(Group(rank, size), folder), folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
