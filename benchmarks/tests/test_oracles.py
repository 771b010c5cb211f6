from types import SimpleNamespace

import numpy as np
import pytest
import torch
from study.oracles import best_checkpoint, best_head

from headclust import Features
from headclust.scoring import metrics

LABELS = np.array([0, 0, 1, 1, 2, 2])
CPU = torch.device("cpu")
HEADS = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2]])


def model_of(**assignment):
    """A model that assigns so whatever the features are, once it is on the device."""
    return SimpleNamespace(to={CPU: SimpleNamespace(assign=lambda _: SimpleNamespace(**assignment))}.__getitem__)


def trial(by_head, checkpoints=()):
    """A fit whose heads say so, whatever the features are."""
    return SimpleNamespace(
        result=SimpleNamespace(model=model_of(by_head=by_head), losses=[0.0] * len(by_head), checkpoints=checkpoints)
    )


@pytest.fixture
def evaluation():
    return Features.from_array(np.eye(6), labels=LABELS)


def test_the_best_head_by_each_metric(evaluation):
    found = best_head(trial(HEADS), evaluation, CPU)
    assert set(found) == set(metrics.METRICS)
    assert all(best == {"score": pytest.approx(1), "head": 1} for best in found.values())
    second = best_head(trial(HEADS[[0, 2]]), evaluation, CPU)["accuracy"]
    assert second == {"score": pytest.approx(5 / 6), "head": 1}


def test_the_best_checkpoint_by_each_metric(evaluation):
    steps = [(10 * row, model_of(clusters=HEADS[row])) for row in (0, 1)]
    found = best_checkpoint(trial(HEADS, steps), evaluation, CPU)
    assert all(best == {"score": pytest.approx(1), "step": 10} for best in found.values())


def test_there_is_none_without_labels_or_a_choice(evaluation):
    unlabelled = Features.from_array(np.eye(6))
    assert best_head(trial(HEADS), unlabelled, CPU) is None
    assert best_head(trial(HEADS[:1]), evaluation, CPU) is None
    assert best_checkpoint(trial(HEADS), evaluation, CPU) is None
