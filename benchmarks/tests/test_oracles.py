from types import SimpleNamespace

import numpy as np
import pytest
from study.oracles import best_checkpoint, best_head

from headclust import Features
from headclust.scoring import metrics

LABELS = np.array([0, 0, 1, 1, 2, 2])
HEADS = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2]])


def trial(by_head, checkpoints=()):
    """A fit whose heads say so, whatever the features are."""
    model = SimpleNamespace(assign=lambda features: SimpleNamespace(by_head=by_head))
    return SimpleNamespace(result=SimpleNamespace(model=model, losses=[0.0] * len(by_head), checkpoints=checkpoints))


@pytest.fixture
def evaluation():
    return Features.from_array(np.eye(6), labels=LABELS)


def test_the_best_head_by_each_metric(evaluation):
    found = best_head(trial(HEADS), evaluation)
    assert set(found) == set(metrics.METRICS)
    assert all(best == {"score": pytest.approx(1), "head": 1} for best in found.values())
    second = best_head(trial(HEADS[[0, 2]]), evaluation)["accuracy"]
    assert second == {"score": pytest.approx(5 / 6), "head": 1}


def test_the_best_checkpoint_by_each_metric(evaluation):
    steps = [
        (10 * row, SimpleNamespace(assign=lambda _, row=row: SimpleNamespace(clusters=HEADS[row]))) for row in (0, 1)
    ]
    found = best_checkpoint(trial(HEADS, steps), evaluation)
    assert all(best == {"score": pytest.approx(1), "step": 10} for best in found.values())


def test_there_is_none_without_labels_or_a_choice(evaluation):
    unlabelled = Features.from_array(np.eye(6))
    assert best_head(trial(HEADS), unlabelled) is None
    assert best_head(trial(HEADS[:1]), evaluation) is None
    assert best_checkpoint(trial(HEADS), evaluation) is None
