"""A stage of a recipe: its settings, and what they come to in steps."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from headclust.errors import SettingError, unknown
from headclust.graph.neighbors import NEIGHBOR_LISTS
from headclust.model import TRANSFORMS
from headclust.model.heads import HEADS
from headclust.training.objectives import OBJECTIVES
from headclust.training.optimizers import OPTIMIZERS
from headclust.training.sampling import needs_neighbors

# What a stage is put together from: each part's keyword arguments with defaults are settings of the stage.
TRAINED_HEADS = {kind: heads for kind, heads in HEADS.items() if hasattr(heads, "last_layer")}
PARTS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "objective": OBJECTIVES,
    "head": TRAINED_HEADS,
    "optimizer": OPTIMIZERS,
}
# What a later stage takes over from the first.
INHERITED = ("head", "n_clusters", "n_heads", "transform", "n_components")
_NOTHING = nn.Parameter(torch.zeros(1))
_MILESTONES = (0.3, 0.6, 0.8)
_CHOICES = {
    "transform": TRANSFORMS,
    "neighbor_list": NEIGHBOR_LISTS,
    "unit": ("epochs", "steps"),
    "decay": ("cosine", "steps"),
    "reduction": ("sum", "mean"),
}
_AT_LEAST_ZERO = (
    *("n_clusters", "length", "warmup", "freeze_last_layer", "lr_batch", "final_lr"),
    *("patience", "max_seconds", "checkpoint_every"),
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of gradient training; a recipe is a tuple of stages. What it uses is a setting.

    Args:
        objective: Name in OBJECTIVES.
        objective_settings: Keyword arguments of the objective, each a setting of its own.
        head: Kind of head: mlp (TEMI's), linear (SCAN's), batchnorm (IMC-SwAV's) or task (TURTLE's).
        head_settings: Keyword arguments of the head, each a setting of its own.
        n_clusters: Clusters a head; 0 stands for the number of labelled classes.
        n_heads: Heads trained side by side; the one with the lowest training loss speaks.
        transform: Feature transform before the heads: none, l2, standardize or pca.
        n_components: Components kept by the transform pca.
        n_neighbors: Nearest neighbors a sample that its partner is drawn from; at most n_samples - 1.
        neighbor_list: What that list holds: others; with-self (the sample first, as in SCAN); or temi-paper (as
            TEMI's code makes it, above 80,000 samples with its error).
        augment: Take anchors and neighbors from cached views, where the feature file has any.
        batch_size: Samples a step; a data set with fewer is one batch.
        unit: What length, warmup and freeze_last_layer count: epochs or steps.
        length: How long to train; 0 leaves a later stage out.
        warmup: How long the learning rate rises linearly from zero.
        freeze_last_layer: How long the heads' last layer stays as it is.
        lr: Peak learning rate.
        lr_batch: Batch size that lr is meant for, scaled linearly to the batch; 0 takes lr as it is.
        decay: How the learning rate falls after the warm-up: cosine, or steps (by equal factors at 30, 60 and 80 % of
            the training).
        final_lr: Learning rate at the end, as a share of the peak.
        optimizer: adamw, adam or sgd.
        optimizer_settings: Keyword arguments of the optimizer, each a setting of its own.
        teacher_momentum: Momentum of the teacher's running mean of the student, in (0, 1).
        reduction: Whether the heads' losses are summed or averaged for the gradient; hardly felt with Adam.
        patience: Records without more confident samples after which a head is done, and training when all are; 0
            trains to the end.
        max_seconds: Training stops when so much time has passed, and what comes out then depends on the machine; 0
            sets no limit.
        checkpoint_every: Records (epochs, or tenths of the steps) between checkpoints of the head that is best by
            loss, for studies; 0 keeps none.

    Raises:
        SettingError: A value is out of its range.
    """

    objective: str
    objective_settings: dict[str, Any] = field(default_factory=dict)
    head: str = "mlp"
    head_settings: dict[str, Any] = field(default_factory=dict)
    n_clusters: int = 0
    n_heads: int = 16
    transform: str = "none"
    n_components: int = 256
    n_neighbors: int = 50
    neighbor_list: str = "others"
    augment: bool = False
    batch_size: int = 1024
    unit: str = "epochs"
    length: int = 100
    warmup: int = 20
    freeze_last_layer: int = 1
    lr: float = 1e-4
    lr_batch: int = 256
    decay: str = "cosine"
    final_lr: float = 1.0
    optimizer: str = "adamw"
    optimizer_settings: dict[str, Any] = field(default_factory=dict)
    teacher_momentum: float = 0.996
    reduction: str = "mean"
    patience: int = 0
    max_seconds: float = 0.0
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        for part, registry in PARTS.items():
            if getattr(self, part) not in registry:
                raise unknown(part, getattr(self, part), registry)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingError(f"{name} is {getattr(self, name)!r}: wanted one of {', '.join(choices)}.")
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not (value >= 0 if name in _AT_LEAST_ZERO else value > 0):
                raise SettingError(
                    f"{name} is {value}: wanted {'0 or more' if name in _AT_LEAST_ZERO else 'more than 0'}."
                )
            if not math.isfinite(value):
                raise SettingError(f"{name} is {value}: wanted a finite number.")
        if not self.teacher_momentum < 1:
            raise SettingError(f"teacher_momentum is {self.teacher_momentum}: wanted less than 1.")
        # What each part checks of its own settings is checked now, not when the training begins.
        build_objective(self, n_heads=1, n_clusters=2, feature_dims=(1,), seed=0)
        TRAINED_HEADS[self.head](feature_dims=(1,), n_clusters=1, n_heads=1, seed=0, **self.head_settings)
        OPTIMIZERS[self.optimizer]([_NOTHING], [], lr=1.0, **self.optimizer_settings)

    @property
    def several_spaces(self) -> bool:
        """Whether it takes more than one feature space."""
        several: bool = HEADS[self.head].several_spaces
        return several

    @property
    def unused(self) -> frozenset[str]:
        """Fields that mean nothing with this stage's objective."""
        objective = build_objective(self, n_heads=1, n_clusters=2, feature_dims=(1,), seed=0)
        used = {
            "n_neighbors": needs_neighbors(objective.views, has_views=False),
            "neighbor_list": needs_neighbors(objective.views, has_views=False),
            "augment": "anchor" in objective.views,
            "teacher_momentum": objective.uses_teacher,
            "patience": "confident" in objective.summary(),
        }
        return frozenset(name for name, is_used in used.items() if not is_used)


def part_defaults(part: Callable[..., Any]) -> dict[str, Any]:
    """The settings of an objective, a kind of head or an optimizer, and their defaults."""
    parameters = inspect.signature(part).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "seed"}


def build_objective(stage: Stage, *, n_heads: int, n_clusters: int, feature_dims: tuple[int, ...], seed: int) -> Any:
    """The stage's objective; `feature_dims` and `seed` are for those whose signature names them."""
    build = OBJECTIVES[stage.objective]
    wanted = inspect.signature(build).parameters
    more = {name: value for name, value in (("feature_dims", feature_dims), ("seed", seed)) if name in wanted}
    return build(n_heads=n_heads, n_clusters=n_clusters, **more, **stage.objective_settings)


class Schedule:
    """A stage's length in steps, and what follows from it.

    Args:
        stage: Its settings.
        steps_per_epoch: Full batches an epoch, at least 1.

    Attributes:
        segments: Numbers of steps after each of which a record is written: epochs, or tenths of the whole.
        n_steps: Their sum.
        warmup_steps: Steps over which the learning rate rises.
        frozen_steps: Steps in which the last layer stays as it is.
    """

    def __init__(self, stage: Stage, *, steps_per_epoch: int) -> None:
        in_epochs = stage.unit == "epochs"
        unit = steps_per_epoch if in_epochs else 1
        self.n_steps = stage.length * unit
        self.warmup_steps = stage.warmup * unit
        self.frozen_steps = stage.freeze_last_layer * unit
        parts = stage.length if in_epochs else min(10, self.n_steps)
        ends = [self.n_steps * part // parts for part in range(parts + 1)]
        self.segments = [after - before for before, after in itertools.pairwise(ends)]
        self._stage = stage

    def lr_share(self, step: int) -> float:
        """Learning rate of a step as a share of the peak: linear from 0 to 1, then down to the stage's final_lr."""
        if step < self.warmup_steps:
            return step / max(1, self.warmup_steps - 1)
        final = self._stage.final_lr
        if self._stage.decay == "steps":
            passed = sum(step >= share * self.n_steps for share in _MILESTONES)
            return float(final ** (passed / len(_MILESTONES)))
        progress = (step - self.warmup_steps) / max(1, self.n_steps - self.warmup_steps)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
