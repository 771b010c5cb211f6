"""The course of a stage: heads, optimizer, losses and records, all that a step changes, and how it is kept."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from headclust.errors import HeadclustError
from headclust.group import Group
from headclust.model.heads import HEADS, select
from headclust.progress import note
from headclust.training.optimizers import OPTIMIZERS
from headclust.training.sampling import Samples
from headclust.training.stages import Schedule, Stage, build_objective
from headclust.training.stopping import PerHeadEarlyStopping
from headclust.training.unfinished import StageStates, State

_VALUES = ("step", "losses", "history", "is_over")


class Course:
    """The course of a stage, of the heads that this process trains.

    Args:
        stage: Settings of the stage, n_clusters resolved.
        schedule: Its schedule.
        samples: Transformed features, on the device to train on.
        seed: The fit's seed.
        start: Heads to start from, of all processes; new heads if None.
        over_heads: The processes that share the heads.
        over_batch: The processes that share each batch.

    Attributes:
        student: The heads that are trained.
        teacher: Their running mean; None if the objective has no teacher.
        objective: The objective.
        optimizer: The optimizer of the parameters of student and objective.
        step: Steps done.
        losses: Mean losses of the last segment, of the heads of all processes.
        history: As in `train.Trained`.
        is_over: True after the last segment, when all heads have stopped, or when the time limit has passed.
    """

    def __init__(
        self,
        stage: Stage,
        schedule: Schedule,
        samples: Samples,
        seed: int,
        start: Any,
        over_heads: Group,
        over_batch: Group,
    ) -> None:
        student = _student(stage, samples, seed, start)
        n_heads = len(next(iter(student.state_dict().values())))
        own = over_heads.share(n_heads)
        self.student = _part(student, own, n_heads)
        device = samples.spaces[0].device
        self.objective = build_objective(
            stage,
            n_heads=len(own),
            n_clusters=student.n_clusters,
            feature_dims=tuple(space.shape[1] for space in samples.spaces),
            seed=seed,
            first_head=own.start,
        )
        self.objective.to(device)
        self.objective.head_group = over_heads
        self.objective.batch_group = self.student.batch_group = over_batch
        # The teacher starts as a copy of the student and follows it as a running mean of its parameters.
        uses_teacher = self.objective.uses_teacher
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if uses_teacher else None
        self.optimizer = _optimizer(stage, self.student, self.objective)
        self.step = 0
        self.losses: list[float] = []
        self.history: list[dict[str, Any]] = []
        self.is_over = False
        self._stage, self._schedule, self._own, self._over_heads = stage, schedule, own, over_heads
        self._stopping = PerHeadEarlyStopping(stage.patience, len(own))
        self._checkpoints: dict[int, Any] = {}
        # Sum of the losses of the segment's steps, and the losses of the last steps, (heads,) each.
        self._total = torch.zeros(len(own), device=device)
        self._recent: deque[Tensor] = deque(maxlen=max(schedule.segments))

    def add_(self, losses: Tensor) -> None:
        """Count a step with its losses, (heads,)."""
        self._recent.append(losses)
        self._total += losses
        self.step += 1

    @property
    def segment_start(self) -> int:
        """Steps done before the present segment."""
        return self.history[-1]["step"] if self.history else 0

    @property
    def segment_end(self) -> int:
        """Steps done after the present segment, unless the time limit cuts it short."""
        return self.segment_start + self._schedule.segments[len(self.history)]

    def end_segment_(self, chosen: int | None) -> None:
        """Record the means of a segment, and stop heads that have not improved.

        Args:
            chosen: As for `train.train_stage`.

        Raises:
            HeadclustError: The loss is not finite.
        """
        is_full = self.step == self.segment_end
        gather = self._over_heads.gather
        self.losses = gather(self._total / (self.step - self.segment_start)).tolist()
        if not all(map(math.isfinite, self.losses)):
            raise HeadclustError(
                f"the loss stopped being finite before step {self.step}: lower lr (it is {self._stage.lr:g})."
            )
        summary = {name: gather(values).tolist() for name, values in self.objective.summary().items()}
        record = {"step": self.step, "n_steps": self._schedule.n_steps, "lr": self.optimizer.param_groups[0]["lr"]}
        self.history.append({**record, "loss": self.losses, **summary})
        if not is_full:  # heads are compared by as many steps as a full segment has
            self.losses = gather(torch.stack(tuple(self._recent)).mean(0)).tolist()
        every = self._stage.checkpoint_every
        if every and len(self.history) % every == 0:
            self._checkpoints[self.step] = self._best(chosen)
        confident = summary["confident"][self._own.start : self._own.stop] if "confident" in summary else None
        go_on = self._over_heads.any(not self._stopping.all_stopped(confident, self._predicting))
        self.is_over = not (go_on and is_full) or self.step == self._schedule.n_steps
        self._total = torch.zeros_like(self._total)

    def result(self, chosen: int | None) -> tuple[Any, list[tuple[int, Any]]]:
        """The predicting heads of all processes, in eval mode, and the checkpoints as in `train.Trained`."""
        self._stopping.restore_(self._predicting)
        if self._stage.checkpoint_every:  # the last checkpoint is of the restored heads
            self._checkpoints[self.step] = self._best(chosen)
        heads = _whole(self._predicting, self._over_heads)
        return heads.requires_grad_(False).eval(), list(self._checkpoints.items())

    def state(self) -> State:
        """Everything that the next step depends on."""
        parts: dict[str, dict[str, Tensor]] = {name: part.state_dict() for name, part in self._modules().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            parts[f"optimizer {number}"] = {name: tensor for name, tensor in moments.items() if tensor is not None}
        parts |= {f"stopped {head}": tensors for head, tensors in self._stopping.stopped.items()}
        parts |= {f"checkpoint {step}": heads.state_dict() for step, heads in self._checkpoints.items()}
        parts["losses"] = {"total": self._total, "recent": torch.stack(tuple(self._recent))}
        tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        values = {name: getattr(self, name) for name in _VALUES}
        return State(tensors, {**values, "flat": self._stopping.flat, "best": self._stopping.best})

    def restore_(self, state: State) -> None:
        """Go back to a state of this course.

        Raises:
            KeyError, RuntimeError, ValueError: It is of another course.
        """
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in state.tensors.items():
            part, _, name_there = name.partition("/")
            parts.setdefault(part, {})[name_there] = tensor
        for name, module in self._modules().items():
            module.load_state_dict(parts.get(name, {}))
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": dict(_numbered(parts, "optimizer")), "param_groups": groups})
        self._stopping.stopped = dict(_numbered(parts, "stopped"))
        of_state, device = HEADS[self.student.kind].from_state, self._total.device
        self._checkpoints = {step: of_state(heads).to(device).eval() for step, heads in _numbered(parts, "checkpoint")}
        self._total = parts["losses"]["total"].to(device)
        self._recent.extend(parts["losses"]["recent"].to(device))
        for name in _VALUES:
            setattr(self, name, state.values[name])
        self._stopping.flat, self._stopping.best = state.values["flat"], state.values["best"]

    @property
    def _predicting(self) -> Any:
        """The heads that predict."""
        return self.student if self.teacher is None else self.teacher

    def _modules(self) -> dict[str, nn.Module]:
        teacher = {} if self.teacher is None else {"teacher": self.teacher}
        return {"student": self.student, **teacher, "objective": self.objective}

    def _best(self, chosen: int | None) -> Any:
        """The chosen head, or the one with the lowest loss, as an ensemble of one."""
        head = self.losses.index(min(self.losses)) if chosen is None else chosen
        heads = _whole(self._predicting, self._over_heads)
        return HEADS[heads.kind].from_state(select(heads.state_dict(), head)).eval()


def resumed(states: StageStates, group: Group, build: Callable[[], Course]) -> Course:
    """A course at the last state that was kept, or at its start."""
    course, state = build(), states.read()
    if state is None:
        return course
    try:
        course.restore_(state)
        has_failed = False
    except (KeyError, RuntimeError, ValueError):
        has_failed = True
    if group.any(has_failed):
        note("the state of the training is of another version: it starts anew.")
        return build()
    states.accept(state)
    if not course.is_over:
        note(f"the training goes on after step {course.step:,}.")
    return course


def _numbered(parts: dict[str, dict[str, Tensor]], kind: str) -> list[tuple[int, dict[str, Tensor]]]:
    """Number and tensors of the parts named "KIND NUMBER", in the order of the numbers."""
    named = [(name.split(" "), tensors) for name, tensors in parts.items()]
    return sorted((int(words[1]), tensors) for words, tensors in named if words[0] == kind)


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


def _optimizer(stage: Stage, student: nn.Module, objective: nn.Module) -> torch.optim.Optimizer:
    # Weight decay as in TEMI's code: not on biases, but on the lengths of the prototypes, a matrix of one column there.
    named = [*student.named_parameters(), *objective.named_parameters()]
    biases = [parameter for name, parameter in named if name.endswith("_bias")]
    decayed = [parameter for name, parameter in named if not name.endswith("_bias")]
    return OPTIMIZERS[stage.optimizer](decayed, biases, lr=stage.lr, **stage.optimizer_settings)
