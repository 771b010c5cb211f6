import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.self_label import SelfLabel

PARITY = np.load(Path(__file__).parents[1] / "parity" / "scan.npz")


def run(objective, logits):
    """Losses and the gradient of their sum for logits (2, heads, batch, clusters), plain views first."""
    logits = logits.clone().requires_grad_()
    loss = objective(None, HeadOutput(logits), None, 0.0)
    loss.sum().backward()
    return loss.detach(), logits.grad


def random_logits(*shape, seed=0, scale=1.0):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)) * scale


def naive_loss(logits, threshold, balance):
    """The authors' class weights n / n_c in float64 Python loops, for the logits (2, batch, clusters) of one head."""
    plain, strong = logits.double().tolist()

    def softmax(values):
        powers = [math.exp(value - max(values)) for value in values]
        return [power / sum(powers) for power in powers]

    confident = []
    for plain_row, strong_row in zip(plain, strong, strict=True):
        p = softmax(plain_row)
        if max(p) > threshold:
            label = p.index(max(p))
            confident.append((label, -math.log(softmax(strong_row)[label])))
    if not confident:
        return 0.0, 0.0
    labels = [label for label, _ in confident]
    weights = [len(confident) / labels.count(label) if balance else 1.0 for label in labels]
    total = sum(weight * loss for weight, (_, loss) in zip(weights, confident, strict=True))
    return len(confident) / len(plain), total / sum(weights)


def test_a_probability_of_just_the_threshold_is_not_confident():
    # The authors' mask is max_prob > threshold.
    objective = SelfLabel(n_heads=1, n_clusters=2, threshold=0.5)
    loss, gradient = run(objective, torch.zeros(2, 1, 3, 2))
    assert float(loss) == float(objective.summary()["confident"]) == 0
    assert not gradient.any()


@pytest.mark.parametrize("balance", [True, False])
def test_parity_with_the_authors_code(balance):
    logits = torch.stack([torch.from_numpy(PARITY[f"selflabel_{name}_logits"]) for name in ("weak", "strong")])[:, None]
    objective = SelfLabel(n_heads=1, n_clusters=7, threshold=float(PARITY["selflabel_threshold"]), balance=balance)
    loss, gradient = run(objective, logits)
    stored = f"selflabel_balanced{int(balance)}"
    assert float(loss) == pytest.approx(float(PARITY[f"{stored}_loss"]), rel=1e-6)
    np.testing.assert_allclose(gradient[1, 0].numpy(), PARITY[f"{stored}_grad_strong"], rtol=1e-5, atol=1e-7)
    assert not gradient[0].any()


@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.9, 0.999])
@pytest.mark.parametrize(("heads", "batch", "clusters"), [(1, 1, 2), (3, 7, 4), (2, 20, 11)])
def test_equal_to_a_loop_over_the_formulas(balance, threshold, heads, batch, clusters):
    logits = random_logits(heads, batch, clusters, scale=3.0)
    objective = SelfLabel(n_heads=heads, n_clusters=clusters, threshold=threshold, balance=balance)
    loss, _ = run(objective, logits)
    confident = objective.summary()["confident"]
    for head in range(heads):
        expected = naive_loss(logits[:, head], threshold, balance)
        assert (float(confident[head]), float(loss[head])) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("balance", [True, False])
def test_gradient_equals_finite_differences(balance):
    objective = SelfLabel(n_heads=2, n_clusters=3, threshold=0.5, balance=balance).eval()
    plain, strong = random_logits(2, 5, 3, scale=2.0).double()
    assert torch.autograd.gradcheck(
        lambda values: objective(None, HeadOutput(torch.stack((plain, values))), None, 0.0), strong.requires_grad_()
    )


@pytest.mark.parametrize("balance", [True, False])
def test_a_head_without_confident_samples_has_no_loss_and_no_gradient(balance):
    # The author code raises an error here. The other head is not disturbed.
    logits = random_logits(2, 6, 4, scale=0.1)
    logits[0, 1] *= 1e3
    objective = SelfLabel(n_heads=2, n_clusters=4, balance=balance)
    loss, gradient = run(objective, logits)
    assert float(loss[0]) == 0
    assert not gradient[:, 0].any()
    alone_loss, alone_gradient = run(SelfLabel(n_heads=1, n_clusters=4, balance=balance), logits[:, 1:])
    assert float(loss[1]) == pytest.approx(float(alone_loss))
    assert gradient[1, 1].any()
    torch.testing.assert_close(gradient[:, 1], alone_gradient[:, 0])
    assert objective.summary()["confident"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("balance", [True, False])
def test_gradients_survive_a_large_factor(balance):
    # A division by the smallest float would be finite, and its gradient times 10 would not.
    logits = torch.zeros(2, 1, 3, 5, requires_grad=True)
    loss = SelfLabel(n_heads=1, n_clusters=5, balance=balance)(None, HeadOutput(logits), None, 0.0)
    (loss * 1e6).sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_optimizers_on_a_head_without_gradient(optimizer):
    # With weight decay or momentum from earlier steps a head still moves; without both it does not, to the bit.
    def step(parameter, gradient, settings, previous=None):
        stepper = optimizer([parameter], lr=0.1, **settings)
        for value in (previous, gradient):
            if value is not None:
                parameter.grad = value
                before = parameter.detach().clone()
                stepper.step()
        return bool((parameter != before).any())

    momentum = {} if optimizer is torch.optim.AdamW else {"momentum": 0.9}
    weight, zero = torch.ones(3), torch.zeros(3)
    assert not step(torch.nn.Parameter(weight.clone()), zero.clone(), {"weight_decay": 0.0, **momentum})
    assert step(torch.nn.Parameter(weight.clone()), zero.clone(), {"weight_decay": 0.01, **momentum})
    assert step(torch.nn.Parameter(weight.clone()), zero.clone(), {"weight_decay": 0.0, **momentum}, weight.clone())


def test_balancing_counts_every_cluster_present_the_same():
    # Nine samples of cluster 0 and one of cluster 1; the strong views say the opposite of one another.
    plain = torch.zeros(1, 10, 3)
    plain[0, :9, 0] = plain[0, 9, 1] = 50.0
    strong = torch.zeros(1, 10, 3)
    strong[0, :9, 0] = strong[0, 9, 0] = 5.0
    right, wrong = -torch.log_softmax(torch.tensor([5.0, 0.0, 0.0]), 0)[:2].double()
    logits = torch.stack((plain, strong))
    balanced, _ = run(SelfLabel(n_heads=1, n_clusters=3, balance=True), logits)
    plain_mean, _ = run(SelfLabel(n_heads=1, n_clusters=3, balance=False), logits)
    assert float(balanced) == pytest.approx(float(right + wrong) / 2, rel=1e-5)
    assert float(plain_mean) == pytest.approx(float(9 * right + wrong) / 10, rel=1e-5)


@pytest.mark.parametrize("clusters", [2, 10, 1000])
@pytest.mark.parametrize("scale", [10.0, 1e3, 1e6])
@pytest.mark.parametrize("balance", [True, False])
def test_saturated_logits_stay_finite(clusters, scale, balance):
    objective = SelfLabel(n_heads=2, n_clusters=clusters, balance=balance)
    loss, gradient = run(objective, random_logits(2, 8, clusters, scale=scale))
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("balance", [True, False])
@pytest.mark.parametrize("clusters", [1, 2, 1000])
def test_one_sample_per_cluster_and_dead_clusters(clusters, balance):
    one_each = (torch.eye(clusters) * 50).expand(2, 3, clusters, clusters)
    loss, gradient = run(SelfLabel(n_heads=3, n_clusters=clusters, balance=balance), one_each)
    assert loss.tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    dead = torch.zeros(2, 3, 6, clusters)
    dead[..., 0] = 1e4
    for logits in (one_each, dead):
        loss, gradient = run(SelfLabel(n_heads=3, n_clusters=clusters, balance=balance), logits)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


@given(seed=st.integers(0, 50), clusters=st.integers(2, 9), balance=st.booleans())
def test_permuting_clusters_or_samples_changes_nothing(seed, clusters, balance):
    logits = random_logits(3, 6, clusters, seed=seed, scale=4.0)
    generator = torch.Generator().manual_seed(seed)
    names, order = torch.randperm(clusters, generator=generator), torch.randperm(6, generator=generator)

    def results(values):
        return run(SelfLabel(n_heads=3, n_clusters=clusters, threshold=0.7, balance=balance), values)

    loss, gradient = results(logits)
    permuted_loss, permuted_gradient = results(logits[..., names])
    torch.testing.assert_close(permuted_loss, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(permuted_gradient, gradient[..., names], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results(logits[:, :, order])[0], loss, rtol=1e-5, atol=1e-6)


def test_a_head_alone_equals_itself_in_the_ensemble():
    logits = random_logits(4, 9, 5, seed=8, scale=4.0)
    loss, gradient = run(SelfLabel(n_heads=4, n_clusters=5, threshold=0.8), logits)
    assert len(set(loss.tolist())) == 4
    for head in range(4):
        alone = SelfLabel(n_heads=1, n_clusters=5, threshold=0.8)
        own_loss, own_gradient = run(alone, logits[:, head : head + 1])
        torch.testing.assert_close(own_loss[0], loss[head], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(own_gradient[:, 0], gradient[:, head], rtol=1e-5, atol=1e-6)


def test_the_summary_is_of_training_steps_since_the_last_one():
    objective = SelfLabel(n_heads=1, n_clusters=2)
    assert objective.summary()["confident"].tolist() == [0.0]
    sure, unsure = torch.eye(2).expand(2, 1, 2, 2) * 50, torch.zeros(2, 1, 2, 2)
    for logits in (sure, unsure, unsure, unsure):
        run(objective, logits)
    objective.eval()
    run(objective, sure)
    assert objective.summary()["confident"].tolist() == [0.25]
    assert objective.summary()["confident"].tolist() == [0.0]


def test_attributes():
    objective = SelfLabel(n_heads=2, n_clusters=4)
    assert objective.views == ("plain", "strong")
    assert not objective.uses_teacher
    assert objective.temperature == 1.0
    assert (objective.settings.threshold, objective.settings.balance) == (0.99, True)
    assert dict(objective.named_parameters()) == {}


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, math.nan])
def test_settings_out_of_range_are_refused_by_name(value):
    with pytest.raises(SettingError, match=r"^threshold is .*: expected"):
        SelfLabel(n_heads=1, n_clusters=2, threshold=value)
