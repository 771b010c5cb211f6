"""A stage of a recipe: its settings, and its schedule in steps."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, get_args

from headclust.choices import NeighborList, NeighborSearch, Transform
from headclust.errors import ABOVE_ZERO, BELOW_ONE, FINITE, check_choices, check_ranges, unknown
from headclust.training.head_settings import HEAD_SETTINGS
from headclust.training.optimizers import OPTIMIZERS, check_optimizer
from headclust.training.parts import OBJECTIVE_SETTINGS, Traits, needs_neighbors

# The parts of a stage: keyword arguments of a part that have a default are settings of the stage.
PARTS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "objective": OBJECTIVE_SETTINGS,
    "head": HEAD_SETTINGS,
    "optimizer": OPTIMIZERS,
}
# Fields that a later stage takes from the first.
INHERITED = ("head", "n_clusters", "n_heads", "transform", "n_components")
_MILESTONES = (0.3, 0.6, 0.8)  # shares of the training after which decay="steps" lowers the learning rate
_CHOICES = {
    "transform": get_args(Transform),
    "neighbor_list": get_args(NeighborList),
    "neighbor_search": get_args(NeighborSearch),
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
    """One stage of gradient training; a recipe is a tuple of stages. Fields that the stage uses are settings.

    Args:
        objective: Name in OBJECTIVES.
        objective_settings: Keyword arguments of the objective; each is a setting.
        head: Kind of head: mlp (TEMI's), linear (SCAN's), batchnorm (IMC-SwAV's) or task (TURTLE's).
        head_settings: Keyword arguments of the head; each is a setting.
        n_clusters: Clusters per head; 0 stands for the number of labeled classes.
        n_heads: Heads trained side by side; the one with the lowest training loss is used.
        transform: Feature transform before the heads: none, l2, standardize or pca.
        n_components: Components of the transform pca.
        n_neighbors: Length of a sample's list of nearest neighbors, from which its partner is drawn; at most
            n_samples - 1.
        neighbor_list: Content of that list: others; with-self (the sample first, as in SCAN); or temi-paper (as
            TEMI's code computes it, with its error above 80,000 samples).
        neighbor_search: Way to find neighbors: exact; ivf (lists by k-means) or cuvs (CUDA, if installed), which are
            approximate; or auto: exact up to 300,000 samples on a CPU and 3,000,000 on CUDA, approximate above.
        augment: If true, anchors and neighbors are cached views, if the feature file has any.
        batch_size: Samples per step; a data set with fewer is one batch.
        unit: Unit of length, warmup and freeze_last_layer: epochs or steps.
        length: Length of the training; 0 leaves a later stage out.
        warmup: Time in which the learning rate rises linearly from zero.
        freeze_last_layer: Time in which the heads' last layer is not trained.
        lr: Peak learning rate.
        lr_batch: Batch size that lr is meant for; lr is scaled linearly to batch_size. 0 uses lr unscaled.
        decay: Decay of the learning rate after the warm-up: cosine, or steps (by equal factors at 30, 60 and 80 % of
            the training).
        final_lr: Learning rate at the end, as a share of the peak.
        optimizer: adamw, adam or sgd.
        optimizer_settings: Keyword arguments of the optimizer; each is a setting.
        teacher_momentum: Momentum of the teacher's running mean of the student, in (0, 1).
        reduction: Sum or mean of the heads' losses for the gradient; makes little difference with Adam.
        patience: Records without more confident samples after which a head stops; training stops when all heads have.
            0 trains to the end.
        max_seconds: Time limit of the training in seconds; a result that it cuts short depends on the machine. 0 sets
            no limit.
        checkpoint_every: Records (epochs, or tenths of the steps) between checkpoints of the head with the lowest
            loss, for studies; 0 stores none.

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
    neighbor_search: str = "auto"
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

    over_processes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for part, registry in PARTS.items():
            if getattr(self, part) not in registry:
                raise unknown(part, getattr(self, part), registry)
        check_choices(self, _CHOICES)
        ranges = {
            name: (0 if name in _AT_LEAST_ZERO else ABOVE_ZERO, FINITE)
            for name, value in vars(self).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        check_ranges(self, {**ranges, "teacher_momentum": (ABOVE_ZERO, BELOW_ONE)})
        OBJECTIVE_SETTINGS[self.objective](**self.objective_settings)
        HEAD_SETTINGS[self.head](**self.head_settings)
        check_optimizer(self.optimizer, self.optimizer_settings)

    @property
    def several_spaces(self) -> bool:
        """True if the heads take more than one feature space."""
        several: bool = HEAD_SETTINGS[self.head].several_spaces
        return several

    @property
    def head_values(self) -> dict[str, Any]:
        """Every setting of the head: those given, and the defaults of the others."""
        return asdict(HEAD_SETTINGS[self.head](**self.head_settings))

    @property
    def traits(self) -> Traits:
        """Traits of the objective with the stage's settings."""
        traits: Traits = OBJECTIVE_SETTINGS[self.objective](**self.objective_settings).traits
        return traits

    @property
    def unused(self) -> frozenset[str]:
        """Fields without effect for this stage's objective."""
        traits = self.traits
        used = {
            "n_neighbors": needs_neighbors(traits.views, has_views=False),
            "neighbor_list": needs_neighbors(traits.views, has_views=False),
            "neighbor_search": needs_neighbors(traits.views, has_views=False),
            "augment": "anchor" in traits.views,
            "teacher_momentum": traits.uses_teacher,
            "patience": traits.reports_confidence,
        }
        return frozenset(name for name, is_used in used.items() if not is_used)


@functools.cache
def part_defaults(part: Callable[..., Any]) -> Mapping[str, Any]:
    """The settings of an objective, a kind of head or an optimizer, and their defaults."""
    parameters = inspect.signature(part).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in ("seed", "first_head")}


def build_objective(
    stage: Stage, *, n_heads: int, n_clusters: int, feature_dims: tuple[int, ...], seed: int, first_head: int = 0
) -> Any:
    """The stage's objective; its signature names which of `feature_dims`, `seed` and `first_head` are passed on."""
    from headclust.training.objectives import OBJECTIVES

    build = OBJECTIVES[stage.objective]
    parameters = inspect.signature(build).parameters
    offered = {"feature_dims": feature_dims, "seed": seed, "first_head": first_head}
    more = {name: value for name, value in offered.items() if name in parameters}
    return build(n_heads=n_heads, n_clusters=n_clusters, **more, **stage.objective_settings)


class Schedule:
    """A stage's length in steps, its records and its learning rate.

    Args:
        stage: The stage's settings.
        steps_per_epoch: Full batches per epoch, at least 1.

    Attributes:
        segments: Steps per record: those of an epoch, or a tenth of all.
        n_steps: Number of steps, the sum of the segments.
        warmup_steps: Steps in which the learning rate rises.
        frozen_steps: Steps in which the last layer is not trained.
    """

    def __init__(self, stage: Stage, *, steps_per_epoch: int) -> None:
        in_epochs = stage.unit == "epochs"
        unit = steps_per_epoch if in_epochs else 1
        self.n_steps = stage.length * unit
        self.warmup_steps = stage.warmup * unit
        self.frozen_steps = stage.freeze_last_layer * unit
        # Ends of the segments at equal distances, rounded down: segments differ by one step at most.
        n_segments = stage.length if in_epochs else min(10, self.n_steps)
        ends = [self.n_steps * segment // n_segments for segment in range(n_segments + 1)]
        self.segments = [after - before for before, after in itertools.pairwise(ends)]
        self._stage = stage

    def lr_share(self, step: int) -> float:
        """Learning rate of a step as a share of the peak: linear from 0 to 1, then down to the stage's final_lr."""
        if step < self.warmup_steps:
            return step / max(1, self.warmup_steps - 1)
        final = self._stage.final_lr
        if self._stage.decay == "steps":
            # final^(1/3) at the first milestone, final^(2/3) at the second, final at the third.
            passed = sum(step >= share * self.n_steps for share in _MILESTONES)
            return float(final ** (passed / len(_MILESTONES)))
        # Half a period of a cosine from 1 to final, as in TEMI's author code.
        progress = (step - self.warmup_steps) / max(1, self.n_steps - self.warmup_steps)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
