"""The one training loop: a stage of a recipe over an objective."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from headclust.errors import HeadclustError, SettingError
from headclust.heads import HeadEnsemble, ema_update_
from headclust.model import TRANSFORMS
from headclust.objectives import OBJECTIVES
from headclust.progress import bar
from headclust.sampling import sample_pairs
from headclust.seeding import torch_generator

_BATCH_STREAM = 2
_CHOICES = {
    "transform": TRANSFORMS,
    "unit": ("epochs", "steps"),
    "reduction": ("sum", "mean"),
    "objective": tuple(OBJECTIVES),
}
_AT_LEAST_ZERO = ("n_clusters", "warmup", "freeze_last_layer", "lr_batch", "final_lr", "weight_decay")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of gradient training; a recipe is a tuple of stages. Every field is a setting.

    Args:
        objective: Name in OBJECTIVES.
        objective_settings: Keyword arguments of the objective, each a setting of its own.
        n_clusters: Clusters a head; 0 stands for the number of labelled classes.
        n_heads: Heads trained side by side; the one with the lowest training loss speaks.
        hidden_dim: Width of a head's hidden layer.
        bottleneck_dim: Dimension of a head's embedding.
        transform: Feature transform before the heads: none, l2, standardize or pca.
        n_components: Components kept by the transform pca.
        n_neighbors: Nearest neighbors a sample that its partner is drawn from; at most n_samples - 1.
        batch_size: Pairs a step; a data set with fewer samples is one batch.
        unit: What length, warmup and freeze_last_layer count: epochs or steps.
        length: How long to train.
        warmup: How long the learning rate rises linearly from zero.
        freeze_last_layer: How long the prototypes stay as they are.
        lr: Peak learning rate of AdamW.
        lr_batch: Batch size that lr is meant for, scaled linearly to the batch; 0 takes lr as it is.
        final_lr: Learning rate at the end, as a share of the peak, reached by a cosine after the warm-up.
        weight_decay: Weight decay of AdamW; biases have none.
        teacher_momentum: Momentum of the teacher's running mean of the student, in [0, 1).
        reduction: Whether the heads' losses are summed or averaged for the gradient; felt only through AdamW's epsilon.

    Raises:
        SettingError: A value is out of its range.
    """

    objective: str
    objective_settings: dict[str, Any] = field(default_factory=dict)
    n_clusters: int = 0
    n_heads: int = 16
    hidden_dim: int = 512
    bottleneck_dim: int = 256
    transform: str = "none"
    n_components: int = 256
    n_neighbors: int = 50
    batch_size: int = 1024
    unit: str = "epochs"
    length: int = 100
    warmup: int = 20
    freeze_last_layer: int = 1
    lr: float = 1e-4
    lr_batch: int = 256
    final_lr: float = 1.0
    weight_decay: float = 1e-4
    teacher_momentum: float = 0.996
    reduction: str = "mean"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingError(f"{name} is {getattr(self, name)!r}: wanted one of {', '.join(choices)}.")
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not (value >= 0 if name in _AT_LEAST_ZERO else value > 0):
                raise SettingError(
                    f"{name} is {value}: wanted {'0 or more' if name in _AT_LEAST_ZERO else 'more than 0'}."
                )
        if not self.teacher_momentum < 1:
            raise SettingError(f"teacher_momentum is {self.teacher_momentum}: wanted less than 1.")
        OBJECTIVES[self.objective](n_heads=1, n_clusters=1, **self.objective_settings)  # checks its own


class Schedule:
    """A stage's length in steps, and what follows from it.

    Args:
        stage: Its settings.
        steps_per_epoch: Full batches an epoch, at least 1.

    Attributes:
        segments: Numbers of steps after each of which a record is written: epochs, or tenths of the whole.
        n_steps: Their sum.
        warmup_steps: Steps over which the learning rate rises.
        frozen_steps: Steps in which the prototypes stay as they are.
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
        self._final = stage.final_lr

    def lr_share(self, step: int) -> float:
        """Learning rate of a step as a share of the peak: linear from 0 to 1, then a cosine to the stage's final_lr."""
        if step < self.warmup_steps:
            return step / max(1, self.warmup_steps - 1)
        progress = (step - self.warmup_steps) / max(1, self.n_steps - self.warmup_steps)
        return self._final + (1 - self._final) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Trained:
    """What a stage leaves.

    Attributes:
        heads: The teacher, which is what predicts.
        losses: Mean training loss per head over the last segment: the last epoch where the unit is epochs, the last
            tenth of the steps where it is steps.
        history: One record a segment: step (steps done), lr, loss (a list, one a head).
        temperature: Of the softmax that turns the heads' logits into probabilities.
    """

    heads: HeadEnsemble
    temperature: float
    losses: list[float]
    history: list[dict[str, Any]]


def train_stage(stage: Stage, features: Tensor, neighbors: Tensor, *, seed: int) -> Trained:
    """Trains an ensemble of heads with AdamW and a mean teacher.

    Args:
        stage: Its settings, n_clusters resolved.
        features: Transformed features (n_samples, dim), on the device to train on.
        neighbors: Rows of neighbors (n_samples, k), same device.
        seed: The fit's seed; heads and batches draw from streams of it.

    Raises:
        HeadclustError: The loss stopped being finite.
    """
    student = HeadEnsemble(
        feature_dim=features.shape[1],
        n_clusters=stage.n_clusters,
        n_heads=stage.n_heads,
        hidden_dim=stage.hidden_dim,
        bottleneck_dim=stage.bottleneck_dim,
        seed=seed,
    ).to(features.device)
    teacher = copy.deepcopy(student).requires_grad_(False)
    objective = OBJECTIVES[stage.objective](
        n_heads=stage.n_heads, n_clusters=stage.n_clusters, **stage.objective_settings
    ).to(features.device)
    optimizer = _optimizer(stage, student)
    batch_size = min(stage.batch_size, len(features))
    generator = torch_generator(seed, _BATCH_STREAM)
    batches = sample_pairs((features,), neighbors, batch_size=batch_size, generator=generator)
    schedule = Schedule(stage, steps_per_epoch=len(features) // batch_size)
    peak = stage.lr * batch_size / stage.lr_batch if stage.lr_batch else stage.lr

    history: list[dict[str, Any]] = []
    step = 0
    with bar(f"training {stage.n_heads} heads", schedule.n_steps) as advance:
        for length in schedule.segments:
            total = torch.zeros(stage.n_heads, device=features.device)
            for _ in range(length):
                for group in optimizer.param_groups:
                    group["lr"] = peak * schedule.lr_share(step)
                batch = next(batches)
                loss = objective(batch, student(batch.features[0]), teacher(batch.features[0]), step / schedule.n_steps)
                total += _update_(student, optimizer, loss, stage, freeze=step < schedule.frozen_steps)
                ema_update_(teacher, student, stage.teacher_momentum)
                step += 1
                advance(1)
            losses = (total / length).tolist()
            if not all(map(math.isfinite, losses)):
                raise HeadclustError(
                    f"the loss stopped being finite before step {step}: lower lr (it is {stage.lr:g})."
                )
            history.append({"step": step, "lr": optimizer.param_groups[0]["lr"], "loss": losses})
    return Trained(teacher, objective.temperature, losses, history)


def _update_(
    student: HeadEnsemble, optimizer: torch.optim.Optimizer, loss: Tensor, stage: Stage, *, freeze: bool
) -> Tensor:
    """One optimiser step on a loss per head; gives the loss back without its graph."""
    optimizer.zero_grad()
    torch.autograd.backward(loss.sum() if stage.reduction == "sum" else loss.mean())
    if freeze:
        for parameter in student.last_layer:
            parameter.grad = None
    optimizer.step()
    return loss.detach()


def _optimizer(stage: Stage, student: HeadEnsemble) -> torch.optim.Optimizer:
    # The authors decay what is not a bias; the prototypes' lengths, a matrix of one column there, are decayed too.
    decayed = [p for name, p in student.named_parameters() if not name.endswith("_bias")]
    biases = [p for name, p in student.named_parameters() if name.endswith("_bias")]
    groups = [{"params": decayed, "weight_decay": stage.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=stage.lr, fused=True)
