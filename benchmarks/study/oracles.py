"""What could be had of a fit by someone who knew the labels it is scored with. It takes part in nothing else."""

from __future__ import annotations

from typing import Any

from headclust.features import Features
from headclust.runs.scored_fit import ScoredFit
from headclust.scoring import metrics


def best_checkpoint(trial: ScoredFit, evaluation: Features) -> dict[str, Any] | None:
    """The best checkpoint of each metric by the scored labels, as TEMI's code picks it: it says what could be had.

    https://github.com/HHU-MMBS/TEMI-official-BMVC2023 (eval_experiment.py).
    """
    labels = evaluation.labels
    if not trial.result.checkpoints or labels is None:
        return None
    best: dict[str, Any] = {}
    features = evaluation.all()
    for step, model in trial.result.checkpoints:
        assigned = model.assign(features)
        scored = metrics.score(assigned.clusters, labels)
        for name in metrics.METRICS:
            if name not in best or scored[name] > best[name]["score"]:
                best[name] = {"score": scored[name], "step": step}
    return best


def best_head(trial: ScoredFit, evaluation: Features) -> dict[str, Any] | None:
    """The best head of each metric by the scored labels; None for a single one."""
    model, labels = trial.result.model, evaluation.labels
    if len(trial.result.losses) < 2 or labels is None:
        return None
    scored = [metrics.score(clusters, labels) for clusters in model.assign(evaluation.all()).by_head]
    best = {name: max(range(len(scored)), key=lambda head: scored[head][name]) for name in metrics.METRICS}
    return {name: {"score": scored[head][name], "head": head} for name, head in best.items()}
