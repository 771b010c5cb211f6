import math
from pathlib import Path

import numpy as np
import pytest
import torch

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives import OBJECTIVES

PARITY = np.load(Path(__file__).parents[1] / "parity" / "temi_variants.npz")


def run(objective, student, teacher):
    """Losses and the gradient of their sum for logits (2, heads, batch, clusters)."""
    student = student.clone().requires_grad_()
    loss = objective(None, HeadOutput(student), HeadOutput(teacher), 0.0)
    loss.sum().backward()
    return loss.detach(), student.grad


def random_logits(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *shape, generator=generator) * scale for _ in range(2)]


def naive_losses(student, teacher, *, weight, student_t, teacher_t):
    """The formula in float64 Python loops: losses per head."""
    student, teacher = student.double().numpy(), teacher.double().numpy()
    _, heads, batch, clusters = student.shape

    def softmax(values, temperature):
        powers = [math.exp((value - max(values)) / temperature) for value in values]
        return [power / sum(powers) for power in powers]

    losses = []
    for h in range(heads):
        p = [[softmax(row, student_t) for row in student[v, h]] for v in (0, 1)]
        q = [[softmax(row, teacher_t) for row in teacher[v, h]] for v in (0, 1)]
        loss = 0.0
        for view, partner in ((0, 1), (1, 0)):
            for i in range(batch):
                loss -= math.log(sum(p[view][i][c] * q[partner][i][c] for c in range(clusters))) / (2 * batch)
            for c in range(clusters):
                mean = sum(p[view][i][c] for i in range(batch)) / batch
                loss += weight * mean * math.log(mean) / 2
        losses.append(loss)
    return losses


def test_parity_with_the_authors_code():
    def views(what):
        return torch.stack(torch.from_numpy(PARITY[f"SCAN_{what}"]).split(16))[:, None]

    objective = OBJECTIVES["temi-scan"](n_heads=1, n_clusters=7)
    loss, gradient = run(objective, views("student_logits"), views("teacher_logits"))
    np.testing.assert_allclose(loss[0], PARITY["SCAN_loss"], rtol=1e-6)
    torch.testing.assert_close(gradient, views("grad_student_logits"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
@pytest.mark.parametrize(("heads", "batch", "clusters"), [(1, 1, 2), (3, 5, 4), (2, 9, 11)])
def test_equal_to_a_loop_over_the_formula(weight, heads, batch, clusters):
    settings = {"entropy_weight": weight, "student_temperature": 0.3, "teacher_temperature": 0.2}
    objective = OBJECTIVES["temi-scan"](n_heads=heads, n_clusters=clusters, **settings)
    student, teacher = random_logits(heads, batch, clusters, seed=batch)
    loss, _ = run(objective, student, teacher)
    expected = naive_losses(student, teacher, weight=weight, student_t=0.3, teacher_t=0.2)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_gradient_equals_finite_differences():
    objective = OBJECTIVES["temi-scan"](n_heads=2, n_clusters=3, student_temperature=0.5)
    student, teacher = (logits.double() for logits in random_logits(2, 4, 3))
    assert torch.autograd.gradcheck(
        lambda s: objective(None, HeadOutput(s), HeadOutput(teacher), 0.0), student.requires_grad_()
    )


@pytest.mark.parametrize("clusters", [2, 10, 1000])
def test_closed_forms(clusters):
    objective = OBJECTIVES["temi-scan"](n_heads=1, n_clusters=clusters)
    uniform = torch.zeros(2, 1, 3, clusters)
    balanced = (torch.eye(clusters) * 100).expand(2, 1, clusters, clusters)
    collapsed = torch.zeros(2, 1, 3, clusters)
    collapsed[..., 0] = 100
    # Balance is worth five times its entropy; being unsure costs log K; one cluster for all is neither.
    assert float(run(objective, uniform, uniform)[0]) == pytest.approx((1 - 5) * math.log(clusters), rel=1e-5)
    assert float(run(objective, balanced, balanced)[0]) == pytest.approx(-5 * math.log(clusters), rel=1e-5)
    assert float(run(objective, collapsed, collapsed)[0]) == pytest.approx(0, abs=1e-6)


def test_the_entropy_is_of_each_view_by_itself():
    # Anchors in one cluster and neighbors in the other are balanced together, and not each.
    logits = torch.zeros(2, 1, 3, 2)
    logits[0, ..., 0] = logits[1, ..., 1] = 100
    losses = [
        run(OBJECTIVES["temi-scan"](n_heads=1, n_clusters=2, entropy_weight=w), logits, logits)[0] for w in (0, 5)
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_the_teacher_gets_no_gradient():
    student, teacher = random_logits(2, 6, 4)
    teacher.requires_grad_()
    objective = OBJECTIVES["temi-scan"](n_heads=2, n_clusters=4)
    objective(None, HeadOutput(student.requires_grad_()), HeadOutput(teacher), 0.0).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


def test_attributes():
    objective = OBJECTIVES["temi-scan"](n_heads=2, n_clusters=4, teacher_temperature=0.2)
    assert objective.views == ("anchor", "neighbor")
    assert objective.uses_teacher
    assert objective.temperature == 0.2
    assert objective.summary() == {}
    assert objective.state_dict() == {}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("entropy_weight", (-1, math.inf, math.nan)),
        ("student_temperature", (0, -0.1, math.nan)),
        ("teacher_temperature", (0, -0.1, math.nan)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, values):
    for value in values:
        with pytest.raises(SettingError, match=name):
            OBJECTIVES["temi-scan"](n_heads=1, n_clusters=2, **{name: value})
