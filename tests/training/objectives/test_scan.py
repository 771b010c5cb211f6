import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.scan import Scan

PARITY = np.load(Path(__file__).parents[1] / "parity" / "scan.npz")


def run(objective, logits):
    """Losses and the gradient of their sum for logits (2, heads, batch, clusters)."""
    logits = logits.clone().requires_grad_()
    loss = objective(None, HeadOutput(logits), None, 0.0)
    loss.sum().backward()
    return loss.detach(), logits.grad


def random_logits(*shape, seed=0, scale=1.0):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)) * scale


def naive_loss(logits, entropy_weight):
    """The formulas of the paper in float64 Python loops, for the logits (2, batch, clusters) of one head."""
    anchors, neighbors = logits.double().tolist()

    def softmax(values):
        powers = [math.exp(value - max(values)) for value in values]
        return [power / sum(powers) for power in powers]

    p, q = [softmax(row) for row in anchors], [softmax(row) for row in neighbors]
    consistency = -sum(math.log(sum(a * b for a, b in zip(*pair, strict=True))) for pair in zip(p, q, strict=True))
    mean = [sum(column) / len(p) for column in zip(*p, strict=True)]
    entropy = -sum(share * math.log(share) for share in mean)
    return consistency / len(p), entropy, consistency / len(p) - entropy_weight * entropy


def test_parity_with_the_authors_code():
    logits = torch.stack([torch.from_numpy(PARITY[f"{name}_logits"]) for name in ("anchor", "neighbor")])[:, None]
    objective = Scan(n_heads=1, n_clusters=7)
    loss, gradient = run(objective, logits)
    terms = objective.summary()
    assert float(loss) == pytest.approx(float(PARITY["total"]), rel=1e-6)
    for name in ("consistency", "entropy"):
        assert float(terms[name]) == pytest.approx(float(PARITY[name]), rel=1e-6)
    for view, name in enumerate(("anchor", "neighbor")):
        np.testing.assert_allclose(gradient[view, 0].numpy(), PARITY[f"grad_{name}"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("entropy_weight", [0.0, 1.0, 5.0])
@pytest.mark.parametrize(("heads", "batch", "clusters"), [(1, 1, 2), (3, 5, 4), (2, 9, 11)])
def test_equal_to_a_loop_over_the_formulas(entropy_weight, heads, batch, clusters):
    logits = random_logits(heads, batch, clusters, scale=2.0)
    objective = Scan(n_heads=heads, n_clusters=clusters, entropy_weight=entropy_weight)
    loss, _ = run(objective, logits)
    terms = objective.summary()
    for head in range(heads):
        expected = naive_loss(logits[:, head], entropy_weight)
        actual = (float(terms["consistency"][head]), float(terms["entropy"][head]), float(loss[head]))
        assert actual == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_closed_form_of_two_pairs():
    # p = [.9 .1], [.2 .8] with neighbors [.8 .2], [.4 .6]: log .74 and log .56, and a mean of [.55 .45].
    logits = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.8, 0.2], [0.4, 0.6]]]).log()[:, None]
    loss, _ = run(Scan(n_heads=1, n_clusters=2), logits)
    assert float(loss) == pytest.approx(0.440462 - 5 * 0.688139, abs=1e-5)


@pytest.mark.parametrize("clusters", [2, 10, 1000])
def test_closed_forms_of_uniform_and_of_confident_balanced_agreeing_predictions(clusters):
    uniform, _ = run(Scan(n_heads=1, n_clusters=clusters), torch.zeros(2, 1, 3, clusters))
    assert float(uniform) == pytest.approx((1 - 5) * math.log(clusters), rel=1e-5)
    confident = (torch.eye(clusters) * 100).expand(2, 1, clusters, clusters)
    best, _ = run(Scan(n_heads=1, n_clusters=clusters), confident)
    assert float(best) == pytest.approx(-5 * math.log(clusters), rel=1e-5)


def test_gradient_equals_finite_differences():
    objective = Scan(n_heads=2, n_clusters=3).eval()
    logits = random_logits(2, 4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: objective(None, HeadOutput(values), None, 0.0), logits)


def test_entropy_is_that_of_anchors_and_both_views_carry_gradient():
    logits = random_logits(2, 6, 4)
    with_entropy, without = (Scan(n_heads=2, n_clusters=4, entropy_weight=weight) for weight in (5.0, 0.0))
    _, gradient = run(with_entropy, logits)
    _, consistency_alone = run(without, logits)
    torch.testing.assert_close(gradient[1], consistency_alone[1])
    assert not torch.allclose(gradient[0], consistency_alone[0], atol=1e-3)
    assert (consistency_alone.abs().amax(dim=(2, 3)) > 1e-3).all()


@pytest.mark.parametrize("clusters", [2, 10, 1000])
@pytest.mark.parametrize("scale", [10.0, 1e3, 1e6])
def test_saturated_logits_stay_finite(clusters, scale):
    loss, gradient = run(Scan(n_heads=2, n_clusters=clusters), random_logits(2, 8, clusters, scale=scale))
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("logit", [50.0, 1e4])
def test_dead_clusters_stay_finite(logit):
    logits = torch.zeros(2, 1, 6, 5)
    logits[..., 0] = logit
    loss, gradient = run(Scan(n_heads=1, n_clusters=5), logits)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_a_confident_disagreement_still_has_a_gradient():
    # The author code's clamp gives none below e^-100.
    logits = torch.zeros(2, 1, 2, 3)
    logits[0, :, :, 0] = logits[1, :, :, 1] = 200.0
    loss, gradient = run(Scan(n_heads=1, n_clusters=3, entropy_weight=0.0), logits)
    assert float(loss) == pytest.approx(200 - math.log(2), rel=1e-5)
    assert gradient.abs().max() > 0.1


@pytest.mark.parametrize("clusters", [2, 1000])
def test_one_sample_per_cluster(clusters):
    logits = torch.eye(clusters).expand(2, 3, clusters, clusters) * 30
    loss, gradient = run(Scan(n_heads=3, n_clusters=clusters), logits)
    assert loss.tolist() == pytest.approx([-5 * math.log(clusters)] * 3, rel=1e-4)
    assert torch.isfinite(gradient).all()


@given(seed=st.integers(0, 50), clusters=st.integers(2, 9))
def test_permuting_clusters_changes_nothing(seed, clusters):
    logits = random_logits(3, 6, clusters, seed=seed)
    order = torch.randperm(clusters, generator=torch.Generator().manual_seed(seed))
    loss, gradient = run(Scan(n_heads=3, n_clusters=clusters), logits)
    permuted_loss, permuted_gradient = run(Scan(n_heads=3, n_clusters=clusters), logits[..., order])
    torch.testing.assert_close(permuted_loss, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(permuted_gradient, gradient[..., order], rtol=1e-4, atol=1e-6)


@given(seed=st.integers(0, 50))
def test_permuting_samples_changes_no_loss(seed):
    logits = random_logits(2, 6, 4, seed=seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    loss, _ = run(Scan(n_heads=2, n_clusters=4), logits)
    again, _ = run(Scan(n_heads=2, n_clusters=4), logits[:, :, order])
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-6)


def test_a_head_alone_equals_itself_in_the_ensemble():
    logits = random_logits(4, 6, 5, seed=8)
    loss, gradient = run(Scan(n_heads=4, n_clusters=5), logits)
    for head in range(4):
        own_loss, own_gradient = run(Scan(n_heads=1, n_clusters=5), logits[:, head : head + 1])
        torch.testing.assert_close(own_loss[0], loss[head], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(own_gradient[:, 0], gradient[:, head], rtol=1e-5, atol=1e-6)


def test_the_summary_is_of_training_steps_since_the_last_one():
    objective = Scan(n_heads=2, n_clusters=4)
    assert objective.summary()["entropy"].tolist() == [0.0, 0.0]
    singles = []
    for seed in (0, 1):
        run(objective, random_logits(2, 6, 4, seed=seed))
        singles.append(objective.summary())
    for seed in (0, 1):
        run(objective, random_logits(2, 6, 4, seed=seed))
    objective.eval()
    run(objective, random_logits(2, 6, 4, seed=7))
    both = objective.summary()
    for name in ("consistency", "entropy"):
        torch.testing.assert_close(both[name], (singles[0][name] + singles[1][name]) / 2)


def test_attributes():
    objective = Scan(n_heads=2, n_clusters=4)
    assert objective.views == ("anchor", "neighbor")
    assert not objective.uses_teacher
    assert objective.temperature == 1.0
    assert objective.settings.entropy_weight == 5.0
    assert dict(objective.named_parameters()) == {}


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_settings_out_of_range_are_refused_by_name(value):
    with pytest.raises(SettingError, match=r"^entropy_weight is .*: expected"):
        Scan(n_heads=1, n_clusters=2, entropy_weight=value)
