"""The training loop: one stage of a recipe with its objective."""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headclust.device import reuse_memory
from headclust.errors import HeadclustError, SettingError, one_line
from headclust.group import ALONE, Group
from headclust.model.heads import HEADS, ema_update_, select
from headclust.progress import bar, note
from headclust.seeding import BATCH_STREAM, torch_generator
from headclust.training.optimizers import OPTIMIZERS
from headclust.training.sampling import Samples, sample_batches
from headclust.training.stages import Schedule, Stage, build_objective
from headclust.training.stopping import PerHeadEarlyStopping, TimeLimit


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
    stage: Stage,
    samples: Samples,
    *,
    seed: int,
    start: Any = None,
    position: int = 0,
    chosen: int | None = None,
    group: Group = ALONE,
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
        group: The processes that share the training, each with the same samples: each trains a part of the heads, or
            all heads on a part of every batch if there are fewer heads than processes. All get the whole result.

    Raises:
        HeadclustError: The loss is not finite.
        SettingError: There are more processes than samples per batch.
    """
    student = _student(stage, samples, seed, start)
    # `own` are the heads of this process.
    n_heads = len(next(iter(student.state_dict().values())))
    over_heads, over_batch = group.split(n_heads)
    own = over_heads.share(n_heads)
    student = _part(student, own, n_heads)
    dims = tuple(space.shape[1] for space in samples.spaces)
    objective = build_objective(
        stage, n_heads=len(own), n_clusters=student.n_clusters, feature_dims=dims, seed=seed, first_head=own.start
    )
    objective.to(samples.spaces[0].device)
    objective.head_group = over_heads
    objective.batch_group = student.batch_group = over_batch
    # The teacher starts as a copy of the student and follows it as a running mean of its parameters.
    teacher = copy.deepcopy(student).requires_grad_(False) if objective.uses_teacher else None
    predicting = student if teacher is None else teacher
    optimizer = _optimizer(stage, student, objective)
    batch_size = min(stage.batch_size, len(samples))
    if batch_size < over_batch.size:
        raise SettingError(f"{over_batch.size} processes for batches of {batch_size}: start {batch_size} at most.")
    generator = torch_generator(seed, BATCH_STREAM, *([position] if position else []))
    batches = sample_batches(
        samples, objective.views, batch_size=batch_size, generator=generator, augment=stage.augment, group=over_batch
    )
    schedule = Schedule(stage, steps_per_epoch=len(samples) // batch_size)
    peak = stage.lr * batch_size / stage.lr_batch if stage.lr_batch else stage.lr
    stopping = PerHeadEarlyStopping(stage.patience, len(own))
    limit = TimeLimit(stage.max_seconds, group)

    history: list[dict[str, Any]] = []
    checkpoints: list[tuple[int, Any]] = []
    recent: deque[Tensor] = deque(maxlen=max(schedule.segments))
    step = 0
    with (
        reuse_memory(samples.spaces[0].device) as tidy,
        bar(f"training {n_heads} heads ({stage.objective})", schedule.n_steps) as advance,
    ):
        for length in schedule.segments:
            total, before = torch.zeros(len(own), device=samples.spaces[0].device), step
            while step < before + length and (not limit.is_over() or step == 0):
                for parameters in optimizer.param_groups:
                    parameters["lr"] = peak * schedule.lr_share(step)
                batch = next(batches)
                target = None if teacher is None else teacher(*batch.features)
                loss = objective(batch, student(*batch.features), target, step / schedule.n_steps)
                freeze = step < schedule.frozen_steps
                recent.append(_update_(student, optimizer, loss, stage, n_heads, over_batch, freeze=freeze))
                total += recent[-1]
                if teacher is not None:
                    ema_update_(teacher, student, stage.teacher_momentum)
                step += 1
                advance(1)
                tidy()
            if step == before:
                break
            losses = over_heads.gather(total / (step - before)).tolist()
            if not all(map(math.isfinite, losses)):
                raise HeadclustError(
                    f"the loss stopped being finite before step {step}: lower lr (it is {stage.lr:g})."
                )
            summary = {name: over_heads.gather(values).tolist() for name, values in objective.summary().items()}
            rate = optimizer.param_groups[0]["lr"]
            history.append({"step": step, "n_steps": schedule.n_steps, "lr": rate, "loss": losses, **summary})
            # Stopped by the time limit: heads are compared by as many steps as a full segment has.
            if step < before + length:
                losses = over_heads.gather(torch.stack(tuple(recent)).mean(0)).tolist()
            if stage.checkpoint_every and len(history) % stage.checkpoint_every == 0:
                checkpoints.append((step, _best_head(_whole(predicting, over_heads), losses, chosen)))
            confident = summary["confident"][own.start : own.stop] if "confident" in summary else None
            if not over_heads.any(not stopping.all_stopped(confident, predicting)):
                break
    if step < schedule.n_steps and limit.passed:
        note(f"training stopped after {stage.max_seconds:g} s, at step {step} of {schedule.n_steps}.")
    stopping.restore_(predicting)
    predicting = _whole(predicting, over_heads)
    if stage.checkpoint_every:
        # The last checkpoint is of the restored heads.
        checkpoints = [checkpoint for checkpoint in checkpoints if checkpoint[0] < step]
        checkpoints.append((step, _best_head(predicting, losses, chosen)))
    return Trained(predicting.requires_grad_(False).eval(), objective.temperature, losses, history, checkpoints)


def _student(stage: Stage, samples: Samples, seed: int, start: Any) -> Any:
    if start is not None:
        heads = copy.deepcopy(start)
    else:
        dims = tuple(space.shape[1] for space in samples.spaces)
        heads = HEADS[stage.head](
            feature_dims=dims, n_clusters=stage.n_clusters, n_heads=stage.n_heads, seed=seed, **stage.head_values
        )
    return heads.to(samples.spaces[0].device).requires_grad_(True).train()


def _part(heads: Any, own: range, n_heads: int) -> Any:
    """The heads in `own`, of `n_heads`."""
    if len(own) == n_heads:
        return heads
    return HEADS[heads.kind].from_state(select(heads.state_dict(), own)).requires_grad_(True).train()


def _whole(heads: Any, group: Group) -> Any:
    """The heads of all processes, in each of them."""
    if group.size == 1:
        return heads
    state = {name: group.gather(tensor.detach()) for name, tensor in heads.state_dict().items()}
    return HEADS[heads.kind].from_state(state)


def _update_(
    student: Any,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    stage: Stage,
    n_heads: int,
    group: Group,
    *,
    freeze: bool,
) -> Tensor:
    """Take one optimizer step on a loss per head, of `n_heads` in all; return the loss without its graph.

    The processes of `group` share the batch: each has the loss of the whole batch, hence a share of it is counted, and
    the part of the gradient that its samples cause.
    """
    optimizer.zero_grad()
    # Heads share no parameters, so the gradient of the sum is each head's own; the mean scales it by 1 / heads.
    torch.autograd.backward(loss.sum() / (group.size * (1 if stage.reduction == "sum" else n_heads)))
    _sum_gradients_(optimizer, group)
    if freeze:
        for parameter in student.last_layer:
            parameter.grad = None
    try:
        optimizer.step()
    except RuntimeError as error:  # a step size that float32 cannot hold
        raise SettingError(f"{one_line(error)}: lower lr (it is {stage.lr:g}).") from None
    return loss.detach()


def _sum_gradients_(optimizer: torch.optim.Optimizer, group: Group) -> None:
    """Add the gradients of all processes, in one message."""
    if group.size == 1:
        return
    parameters = [parameter for part in optimizer.param_groups for parameter in part["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = group.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(total, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


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
