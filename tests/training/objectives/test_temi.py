import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives import OBJECTIVES

FOLDER = Path(__file__).parents[1] / "parity"
PARITY, VARIANTS = np.load(FOLDER / "temi.npz"), np.load(FOLDER / "temi_variants.npz")
FAMILY = ("temi", "wmi", "pmi")  # alike but for how much a pair counts


def run(objective, student, teacher):
    """Losses and the gradient of their sum for logits (2, heads, batch, clusters)."""
    student = student.clone().requires_grad_()
    loss = objective(None, HeadOutput(student), HeadOutput(teacher), 0.0)
    loss.sum().backward()
    return loss.detach(), student.grad


def random_logits(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *shape, generator=generator) * scale for _ in range(2)]


def naive_losses(name, student, teacher, marginal, *, beta=0.6, student_t=0.1, teacher_t=0.1, momentum=0.9):
    """The formulas of the paper in float64 Python loops: losses per head and the marginals after the step."""
    student, teacher = student.double().numpy(), teacher.double().numpy()
    _, heads, batch, clusters = student.shape

    def softmax(values, temperature):
        powers = [math.exp((value - max(values)) / temperature) for value in values]
        return [power / sum(powers) for power in powers]

    p = [[[softmax(row, student_t) for row in head] for head in view] for view in student]
    q = [[[softmax(row, teacher_t) for row in head] for head in view] for view in teacher]
    after = [
        [
            momentum * float(marginal[h][c])
            + (1 - momentum) * sum(q[v][h][i][c] for v in (0, 1) for i in range(batch)) / (2 * batch)
            for c in range(clusters)
        ]
        for h in range(heads)
    ]
    losses = []
    for h in range(heads):
        total = 0.0
        for i in range(batch):
            agreements = [sum(q[0][g][i][c] * q[1][g][i][c] for c in range(clusters)) for g in range(heads)]
            weight = {"temi": sum(agreements) / heads, "wmi": agreements[h], "pmi": 1.0}[name]
            for view, partner in ((0, 1), (1, 0)):
                ratio = sum((p[view][h][i][c] * q[partner][h][i][c]) ** beta / after[h][c] for c in range(clusters))
                total += weight * math.log(ratio)
        losses.append(-total / (2 * batch))
    return losses, after


@pytest.mark.parametrize("beta", ["0.5", "0.6", "1.0"])
def test_parity_with_the_authors_code(beta):
    objective = OBJECTIVES["temi"](n_heads=4, n_clusters=7, beta=float(beta))
    for step in (0, 1):

        def stored(name, step=step):
            return torch.from_numpy(PARITY[f"beta{beta}_step{step}_{name}"])

        def views(name, stored=stored):
            return torch.stack(stored(name).split(16, dim=1))

        loss, gradient = run(objective, views("student_logits"), views("teacher_logits"))
        torch.testing.assert_close(loss, stored("loss_per_head"), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(objective.marginal, stored("marginal_after"), rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(gradient, views("grad_student_logits"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["wmi", "pmi"])
def test_parity_of_the_variants_with_the_authors_code(name):
    def views(what):
        return torch.stack(torch.from_numpy(VARIANTS[f"{name.upper()}_{what}"]).split(16))[:, None]

    loss, gradient = run(OBJECTIVES[name](n_heads=1, n_clusters=7), views("student_logits"), views("teacher_logits"))
    np.testing.assert_allclose(loss[0], VARIANTS[f"{name.upper()}_loss"], rtol=1e-6)
    torch.testing.assert_close(gradient, views("grad_student_logits"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("beta", [0.5, 0.6, 0.85, 1.0])
@pytest.mark.parametrize(("heads", "batch", "clusters"), [(1, 1, 2), (3, 5, 4), (2, 9, 11)])
def test_equal_to_a_loop_over_the_formulas(name, beta, heads, batch, clusters):
    settings = {"beta": beta, "student_temperature": 0.3, "teacher_temperature": 0.2, "marginal_momentum": 0.7}
    objective = OBJECTIVES[name](n_heads=heads, n_clusters=clusters, **settings)
    marginal = np.full((heads, clusters), 1 / clusters)
    for step in range(3):
        student, teacher = random_logits(heads, batch, clusters, seed=step)
        expected, marginal = naive_losses(
            name, student, teacher, marginal, beta=beta, student_t=0.3, teacher_t=0.2, momentum=0.7
        )
        loss, _ = run(objective, student, teacher)
        np.testing.assert_allclose(loss.numpy(), expected, rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(objective.marginal.numpy(), marginal, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_gradient_equals_finite_differences(name):
    objective = OBJECTIVES[name](n_heads=2, n_clusters=3, student_temperature=0.5).double()
    student, teacher = (logits.double() for logits in random_logits(2, 4, 3))
    objective.eval()
    assert torch.autograd.gradcheck(
        lambda s: objective(None, HeadOutput(s), HeadOutput(teacher), 0.0), student.requires_grad_()
    )


@pytest.mark.parametrize("beta", [0.5, 0.6, 1.0])
@pytest.mark.parametrize("clusters", [2, 10, 1000, 25_000])
def test_closed_form_all_uniform(beta, clusters):
    # The weight is 1 / K: the loss of a pair is -2 (1 - beta) log K / K. With the 25,000 clusters of the authors'
    # overclustering, shares are below 1e-4, a floor that would change the loss.
    logits = torch.zeros(2, 1, 3, clusters)
    loss, _ = run(OBJECTIVES["temi"](n_heads=1, n_clusters=clusters, beta=beta), logits, logits)
    assert float(loss) * clusters == pytest.approx(-2 * (1 - beta) * math.log(clusters), abs=1e-4)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("beta", [0.5, 0.6, 1.0])
@pytest.mark.parametrize("clusters", [2, 10])
def test_closed_form_agreeing_and_balanced(name, beta, clusters):
    # Pairs that agree for sure count one with every weighting.
    logits = (torch.eye(clusters) * 100).expand(2, 1, clusters, clusters)
    loss, _ = run(OBJECTIVES[name](n_heads=1, n_clusters=clusters, beta=beta), logits, logits)
    assert float(loss) == pytest.approx(-math.log(clusters), rel=1e-6)


@pytest.mark.parametrize(("beta", "expected"), [(1.0, -0.0861777), (0.6, -0.7515070)])
def test_closed_form_of_one_pair(beta, expected):
    # The closed form is the loss of a pair before its weight, sum_c q q' = 0.49, with p = [.7 .2 .1] on both sides.
    p, q, marginal = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    objective = OBJECTIVES["temi"](
        n_heads=1, n_clusters=3, beta=beta, student_temperature=1.0, teacher_temperature=1.0
    ).eval()
    objective.marginal.copy_(marginal)
    student, teacher = (value.log().expand(2, 1, 1, 3).contiguous() for value in (p, q))
    loss, _ = run(objective, student, teacher)
    assert float(loss) == pytest.approx(expected * float(q @ q), rel=1e-5)


def test_the_reward_of_confidence_over_uniformity_grows_with_beta():
    confident = (torch.eye(4) * 100).expand(2, 1, 4, 4)
    uniform = torch.zeros(2, 1, 4, 4)
    for beta in (0.5, 0.75, 1.0):
        gains = []
        for student in (uniform, confident):
            loss, _ = run(OBJECTIVES["temi"](n_heads=1, n_clusters=4, beta=beta), student, confident)
            gains.append(-float(loss))
        # A student that is uniform where the teacher is sure loses beta log K.
        assert gains[1] - gains[0] == pytest.approx(beta * math.log(4), rel=1e-5)


def test_dead_clusters_stay_finite():
    # 0.9^n of the marginal is left after n steps: below float32 after about 900.
    objective = OBJECTIVES["temi"](n_heads=1, n_clusters=5, marginal_momentum=0.1)
    teacher = torch.zeros(2, 1, 6, 5)
    teacher[..., 0] = 1e4
    for _ in range(60):
        loss, gradient = run(objective, torch.zeros_like(teacher), teacher)
    assert float(objective.marginal[0, 1]) == 0
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()
    for student in (teacher, teacher.flip(-1)):
        loss, gradient = run(objective, student, teacher)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("clusters", [2, 1000])
def test_one_sample_per_cluster(clusters):
    logits = torch.eye(clusters).expand(2, 3, clusters, clusters) * 10
    loss, gradient = run(OBJECTIVES["temi"](n_heads=3, n_clusters=clusters), logits, logits)
    # The largest reward there is, but for what a temperature of 0.1 leaves the other clusters.
    assert loss.tolist() == pytest.approx([-math.log(clusters)] * 3, rel=1e-4)
    assert torch.isfinite(gradient).all()


@given(seed=st.integers(0, 50))
def test_permuting_samples_and_swapping_views_changes_no_loss(seed):
    student, teacher = random_logits(2, 6, 4, seed=seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    loss, _ = run(OBJECTIVES["temi"](n_heads=2, n_clusters=4), student, teacher)
    for s, t in ((student[:, :, order], teacher[:, :, order]), (student.flip(0), teacher.flip(0))):
        again, _ = run(OBJECTIVES["temi"](n_heads=2, n_clusters=4), s, t)
        torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-6)


def test_marginals_stay_distributions():
    objective = OBJECTIVES["temi"](n_heads=3, n_clusters=6)
    for step in range(20):
        run(objective, *random_logits(3, 5, 6, seed=step))
        torch.testing.assert_close(objective.marginal.sum(1), torch.ones(3))


@pytest.mark.parametrize("name", FAMILY)
def test_the_teacher_gets_no_gradient(name):
    student, teacher = random_logits(2, 6, 4)
    teacher.requires_grad_()
    objective = OBJECTIVES[name](n_heads=2, n_clusters=4)
    objective(None, HeadOutput(student.requires_grad_()), HeadOutput(teacher), 0.0).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0
    assert not objective.marginal.requires_grad


def test_a_head_alone_equals_itself_in_the_ensemble_but_for_the_shared_weight():
    student, teacher = random_logits(4, 6, 5, seed=8)
    together = OBJECTIVES["temi"](n_heads=4, n_clusters=5)
    _, gradient = run(together, student, teacher)
    q = torch.softmax(teacher / 0.1, -1)
    own = (q[0] * q[1]).sum(-1)  # (heads, batch)
    shared = own.mean(0)
    for head in range(4):
        alone = OBJECTIVES["temi"](n_heads=1, n_clusters=5)
        _, own_gradient = run(alone, student[:, head : head + 1], teacher[:, head : head + 1])
        torch.testing.assert_close(alone.marginal[0], together.marginal[head])
        # A pair's gradient is proportional to its weight, which is all that the other heads have a say in.
        expected = own_gradient[:, 0] * (shared / own[head])[:, None]
        torch.testing.assert_close(gradient[:, head], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["wmi", "pmi"])
def test_without_the_shared_weight_a_head_alone_equals_itself_in_the_ensemble(name):
    student, teacher = random_logits(4, 6, 5, seed=8)
    loss, gradient = run(OBJECTIVES[name](n_heads=4, n_clusters=5), student, teacher)
    for head in range(4):
        rows = slice(head, head + 1)
        own_loss, own_gradient = run(OBJECTIVES[name](n_heads=1, n_clusters=5), student[:, rows], teacher[:, rows])
        torch.testing.assert_close(own_loss, loss[rows])
        torch.testing.assert_close(own_gradient, gradient[:, rows])


def test_pairs_a_head_separates_count_nothing_for_it_alone():
    # Head 0 is sure that the pair belongs together, head 1 that it does not.
    teacher = torch.tensor([[[[9.0, 0.0]], [[9.0, 0.0]]], [[[9.0, 0.0]], [[0.0, 9.0]]]])
    weights = {}
    for name in FAMILY:
        q = torch.softmax(teacher / 0.1, -1)
        weights[name] = OBJECTIVES[name](n_heads=2, n_clusters=2).weights(q).expand(2, 1).flatten().tolist()
    assert weights["temi"] == pytest.approx([0.5, 0.5])
    assert weights["wmi"] == pytest.approx([1.0, 0.0])
    assert weights["pmi"] == [1.0, 1.0]


def test_heads_with_one_teacher_train_as_they_would_alone():
    student, teacher = random_logits(4, 6, 5, seed=8)
    teacher = teacher[:, :1].expand(-1, 4, -1, -1)
    loss, gradient = run(OBJECTIVES["temi"](n_heads=4, n_clusters=5), student, teacher)
    for head in range(4):
        alone = OBJECTIVES["temi"](n_heads=1, n_clusters=5)
        own_loss, own_gradient = run(alone, student[:, head : head + 1], teacher[:, :1])
        torch.testing.assert_close(own_loss[0], loss[head])
        torch.testing.assert_close(own_gradient[:, 0], gradient[:, head])


@pytest.mark.parametrize("name", FAMILY)
def test_attributes(name):
    objective = OBJECTIVES[name](n_heads=2, n_clusters=4)
    assert objective.views == ("anchor", "neighbor")
    assert objective.uses_teacher
    assert objective.summary() == {}
    assert objective.marginal.tolist() == [[0.25] * 4] * 2
    assert dict(objective.named_parameters()) == {}


@pytest.mark.parametrize("objective", FAMILY)
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("beta", (-1, 0.49, 1.01, math.nan)),
        ("student_temperature", (0, -0.1, math.nan)),
        ("teacher_temperature", (0, -0.1, math.nan)),
        ("marginal_momentum", (-0.1, 1.0, math.nan)),
    ],
)
def test_settings_out_of_range_are_refused_by_name(objective, name, values):
    # Once, a temperature of 0 ended in "the loss stopped being finite: lower lr", and a beta of -1 in a run.
    for value in values:
        with pytest.raises(SettingError, match=name):
            OBJECTIVES[objective](n_heads=1, n_clusters=2, **{name: value})
