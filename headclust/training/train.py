"""The training loop: one stage of a recipe with its objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headclust.device import reuse_memory
from headclust.errors import SettingError, one_line
from headclust.group import ALONE, Group
from headclust.model.heads import ema_update_
from headclust.progress import bar, note
from headclust.seeding import BATCH_STREAM, torch_generator
from headclust.training.course import Course, resumed
from headclust.training.sampling import Samples, sample_batches
from headclust.training.stages import Schedule, Stage
from headclust.training.stopping import TimeLimit
from headclust.training.unfinished import StageStates


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

    Inside of `unfinished.keep`, a training that was killed goes on after its last state, and gives the same result.

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
    n_heads = stage.n_heads if start is None else len(next(iter(start.state_dict().values())))
    over_heads, over_batch = group.split(n_heads)
    batch_size = min(stage.batch_size, len(samples))
    if batch_size < over_batch.size:
        raise SettingError(f"{over_batch.size} processes for batches of {batch_size}: start {batch_size} at most.")
    schedule = Schedule(stage, steps_per_epoch=len(samples) // batch_size)
    states = StageStates(position, group, {} if start is None else start.state_dict())
    course = resumed(states, group, lambda: Course(stage, schedule, samples, seed, start, over_heads, over_batch))
    batches = sample_batches(
        samples,
        course.objective.views,
        batch_size=batch_size,
        generator=torch_generator(seed, BATCH_STREAM, *([position] if position else [])),
        augment=stage.augment,
        group=over_batch,
        skip=course.step,
    )
    peak = stage.lr * batch_size / stage.lr_batch if stage.lr_batch else stage.lr
    limit = TimeLimit(stage.max_seconds, group, before=states.seconds_before)
    student, teacher, objective, optimizer = course.student, course.teacher, course.objective, course.optimizer
    with (
        reuse_memory(samples.spaces[0].device) as tidy,
        bar(f"training {n_heads} heads ({stage.objective})", schedule.n_steps, start=course.step) as advance,
    ):
        while not course.is_over and not (limit.is_over() and course.step):
            for parameters in optimizer.param_groups:
                parameters["lr"] = peak * schedule.lr_share(course.step)
            batch = next(batches)
            target = None if teacher is None else teacher(*batch.features)
            loss = objective(batch, student(*batch.features), target, course.step / schedule.n_steps)
            freeze = course.step < schedule.frozen_steps
            course.add_(_update_(student, optimizer, loss, stage, n_heads, over_batch, freeze=freeze))
            if teacher is not None:
                ema_update_(teacher, student, stage.teacher_momentum)
            advance(1)
            tidy()
            if course.step == course.segment_end:
                course.end_segment_(chosen)
            states.write_if_due(course.state, together=course.step == course.segment_start)
        if course.step > course.segment_start:  # the time limit has cut it short
            course.end_segment_(chosen)
    if course.step < schedule.n_steps and limit.passed:
        note(f"training stopped after {stage.max_seconds:g} s, at step {course.step} of {schedule.n_steps}.")
    states.end(course.state, course.step)
    heads, checkpoints = course.result(chosen)
    return Trained(heads, objective.temperature, course.losses, course.history, checkpoints)


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
