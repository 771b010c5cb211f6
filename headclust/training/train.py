"""The training loop: one stage of a recipe with its objective."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headclust.errors import HeadclustError, SettingError, one_line
from headclust.model.heads import HEADS, ema_update_, select
from headclust.progress import bar, note
from headclust.seeding import BATCH_STREAM, torch_generator
from headclust.training.optimizers import OPTIMIZERS
from headclust.training.sampling import Samples, sample_batches
from headclust.training.stages import Schedule, Stage, build_objective

_GROWTH = 1e-3  # increase in the share of confident samples below which a head has stopped improving


@dataclass(frozen=True)
class Trained:
    """Result of a stage.

    Attributes:
        heads: The predicting heads: the teacher if the objective has one, else the student. In eval mode.
        losses: Mean training loss per head over as many steps as the longest segment has: the last epoch if the unit
            is epochs, the last tenth of the steps if it is steps.
        history: One record per segment: step (steps done), n_steps (planned), lr, loss (a list, one value per head),
            and the summary of the objective, one list per quantity.
        temperature: Temperature of the softmax that turns the heads' logits into probabilities.
        checkpoints: (step, heads) after some of the segments and at the end: the head that would be used, as an
            ensemble of one.
    """

    heads: Any
    temperature: float
    losses: list[float]
    history: list[dict[str, Any]]
    checkpoints: list[tuple[int, Any]]


def train_stage(
    stage: Stage, samples: Samples, *, seed: int, start: Any = None, position: int = 0, chosen: int | None = None
) -> Trained:
    """Train an ensemble of heads, with a mean teacher if the objective uses one.

    Args:
        stage: Settings of the stage, n_clusters resolved.
        samples: Transformed features, neighbors and views, on the device to train on.
        seed: The fit's seed; heads, batches and objective draw from streams of it.
        start: Heads to start from; new heads if None.
        position: Number of the stage in its recipe, from 0; every stage draws batches from its own stream.
        chosen: The head that checkpoints hold, if an earlier stage has chosen it; by default the one with the lowest
            loss.

    Raises:
        HeadclustError: The loss is not finite.
    """
    student = _student(stage, samples, seed, start)
    n_heads = len(next(iter(student.state_dict().values())))
    dims = tuple(space.shape[1] for space in samples.spaces)
    objective = build_objective(stage, n_heads=n_heads, n_clusters=student.n_clusters, feature_dims=dims, seed=seed)
    objective.to(samples.spaces[0].device)
    # The teacher starts as a copy of the student and follows it as a running mean of its parameters.
    teacher = copy.deepcopy(student).requires_grad_(False) if objective.uses_teacher else None
    predicting = student if teacher is None else teacher
    optimizer = _optimizer(stage, student, objective)
    batch_size = min(stage.batch_size, len(samples))
    generator = torch_generator(seed, BATCH_STREAM, *([position] if position else []))
    batches = sample_batches(
        samples, objective.views, batch_size=batch_size, generator=generator, augment=stage.augment
    )
    schedule = Schedule(stage, steps_per_epoch=len(samples) // batch_size)
    peak = stage.lr * batch_size / stage.lr_batch if stage.lr_batch else stage.lr
    stopping = PerHeadEarlyStopping(stage.patience, n_heads)
    end = time.monotonic() + stage.max_seconds if stage.max_seconds else math.inf

    history: list[dict[str, Any]] = []
    checkpoints: list[tuple[int, Any]] = []
    recent: deque[Tensor] = deque(maxlen=max(schedule.segments))
    step = 0
    with bar(f"training {n_heads} heads ({stage.objective})", schedule.n_steps) as advance:
        for length in schedule.segments:
            total, before = torch.zeros(n_heads, device=samples.spaces[0].device), step
            while step < before + length and (time.monotonic() < end or step == 0):
                for group in optimizer.param_groups:
                    group["lr"] = peak * schedule.lr_share(step)
                batch = next(batches)
                target = None if teacher is None else teacher(*batch.features)
                loss = objective(batch, student(*batch.features), target, step / schedule.n_steps)
                recent.append(_update_(student, optimizer, loss, stage, freeze=step < schedule.frozen_steps))
                total += recent[-1]
                if teacher is not None:
                    ema_update_(teacher, student, stage.teacher_momentum)
                step += 1
                advance(1)
            if step == before:
                break
            losses = (total / (step - before)).tolist()
            if not all(map(math.isfinite, losses)):
                raise HeadclustError(
                    f"the loss stopped being finite before step {step}: lower lr (it is {stage.lr:g})."
                )
            summary = {name: values.tolist() for name, values in objective.summary().items()}
            rate = optimizer.param_groups[0]["lr"]
            history.append({"step": step, "n_steps": schedule.n_steps, "lr": rate, "loss": losses, **summary})
            # Stopped by the time limit: heads are compared by as many steps as a full segment has.
            if step < before + length:
                losses = torch.stack(tuple(recent)).mean(0).tolist()
            if stage.checkpoint_every and len(history) % stage.checkpoint_every == 0:
                checkpoints.append((step, _best_head(predicting, losses, chosen)))
            if stopping.all_stopped(summary.get("confident"), predicting):
                break
    if step < schedule.n_steps and time.monotonic() >= end:
        note(f"training stopped after {stage.max_seconds:g} s, at step {step} of {schedule.n_steps}.")
    stopping.restore_(predicting)
    if stage.checkpoint_every:
        # The last checkpoint is of the restored heads.
        checkpoints = [checkpoint for checkpoint in checkpoints if checkpoint[0] < step]
        checkpoints.append((step, _best_head(predicting, losses, chosen)))
    return Trained(predicting.requires_grad_(False).eval(), objective.temperature, losses, history, checkpoints)


class PerHeadEarlyStopping:
    """Early stopping per head, when its share of confident samples no longer grows.

    Heads are trained together, so a stopped head is still updated with the others; at the end the tensors that it had
    when it stopped are restored, which gives the same head as training it alone.

    Args:
        patience: Records without growth after which a head stops; 0 for never.
        n_heads: Number of heads.
    """

    def __init__(self, patience: int, n_heads: int) -> None:
        self.patience = patience
        self.best = [-math.inf] * n_heads
        self.flat = [0] * n_heads
        self.stopped: dict[int, dict[str, Tensor]] = {}

    def all_stopped(self, confident: list[float] | None, heads: nn.Module) -> bool:
        """Record the share of confident samples of every head; return True if all heads have stopped."""
        if not self.patience or confident is None:
            return False
        for head, share in enumerate(confident):
            self.flat[head] = 0 if share > self.best[head] + _GROWTH else self.flat[head] + 1
            self.best[head] = max(self.best[head], share)
            if self.flat[head] >= self.patience and head not in self.stopped:
                self.stopped[head] = select(heads.state_dict(), head)
        return len(self.stopped) == len(self.best)

    def restore_(self, heads: nn.Module) -> None:
        """Give each stopped head the tensors it had when it stopped."""
        state = heads.state_dict()
        for head, tensors in self.stopped.items():
            for name, tensor in tensors.items():
                state[name][head] = tensor[0]


def _student(stage: Stage, samples: Samples, seed: int, start: Any) -> Any:
    if start is not None:
        heads = copy.deepcopy(start)
    else:
        dims = tuple(space.shape[1] for space in samples.spaces)
        heads = HEADS[stage.head](
            feature_dims=dims, n_clusters=stage.n_clusters, n_heads=stage.n_heads, seed=seed, **stage.head_values
        )
    return heads.to(samples.spaces[0].device).requires_grad_(True).train()


def _update_(student: Any, optimizer: torch.optim.Optimizer, loss: Tensor, stage: Stage, *, freeze: bool) -> Tensor:
    """Take one optimizer step on a loss per head; return the loss without its graph."""
    optimizer.zero_grad()
    # Heads share no parameters, so the gradient of the sum is each head's own; the mean scales it by 1 / heads.
    torch.autograd.backward(loss.sum() if stage.reduction == "sum" else loss.mean())
    if freeze:
        for parameter in student.last_layer:
            parameter.grad = None
    try:
        optimizer.step()
    except RuntimeError as error:  # a step size that float32 cannot hold
        raise SettingError(f"{one_line(error)}: lower lr (it is {stage.lr:g}).") from None
    return loss.detach()


def _best_head(heads: Any, losses: list[float], chosen: int | None) -> Any:
    """The chosen head, or the one with the lowest loss, as an ensemble of one."""
    head = losses.index(min(losses)) if chosen is None else chosen
    return HEADS[heads.kind].from_state(select(heads.state_dict(), head)).eval()


def _optimizer(stage: Stage, student: nn.Module, objective: nn.Module) -> torch.optim.Optimizer:
    # Weight decay as in TEMI's code: not on biases, but on the lengths of the prototypes, a matrix of one column there.
    named = [*student.named_parameters(), *objective.named_parameters()]
    biases = [parameter for name, parameter in named if name.endswith("_bias")]
    decayed = [parameter for name, parameter in named if not name.endswith("_bias")]
    return OPTIMIZERS[stage.optimizer](decayed, biases, lr=stage.lr, **stage.optimizer_settings)
