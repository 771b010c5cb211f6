"""Scores of the best checkpoint and head, chosen by the scored labels: upper bounds only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from headclust.features import Features
from headclust.runs.scored_fit import ScoredFit
from headclust.scoring import metrics


def best_checkpoint(trial: ScoredFit, evaluation: Features, device: torch.device) -> dict[str, Any] | None:
    """The best checkpoint of each metric by the scored labels, as TEMI's code picks it; None without checkpoints.

    https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (eval_experiment.py).
    """
    labels = evaluation.labels
    if not trial.result.checkpoints or labels is None:
        return None
    assigned = ((step, model.to(device).assign(evaluation)) for step, model in trial.result.checkpoints)
    return _best([(metrics.score(assignment.clusters, labels), {"step": step}) for step, assignment in assigned])


def best_head(trial: ScoredFit, evaluation: Features, device: torch.device) -> dict[str, Any] | None:
    """The best head of each metric by the scored labels; None for a single head."""
    labels = evaluation.labels
    if len(trial.result.losses) < 2 or labels is None:
        return None
    heads = trial.result.model.to(device).assign(evaluation).by_head
    return _best([(metrics.score(clusters, labels), {"head": head}) for head, clusters in enumerate(heads)])


def _best(scored: Sequence[tuple[Mapping[str, float], dict[str, int]]]) -> dict[str, Any]:
    """The highest score of each metric and where it is from; ties: the first."""
    best = {name: max(scored, key=lambda pair: pair[0][name]) for name in metrics.METRICS}
    return {name: {"score": scores[name], **where} for name, (scores, where) in best.items()}
