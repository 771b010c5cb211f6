"""The likelihood of pairs, against plain loops over its formula."""

import math

import pytest
import torch

from headclust.errors import SettingError
from headclust.model.heads import HeadOutput
from headclust.training.objectives.pairs import Pairs


def run(logits, *, noise=0.0):
    """Loss per head, and the gradient of their sum."""
    logits = logits.clone().requires_grad_()
    objective = Pairs(n_heads=logits.shape[1], n_clusters=logits.shape[3], noise=noise)
    loss = objective(None, HeadOutput(logits, logits, (logits,)), None, 0.0)
    loss.sum().backward()
    return loss.detach(), logits.grad


def random_logits(heads, batch, clusters, *, scale=1.0, dtype=torch.float32):
    return scale * torch.randn(2, heads, batch, clusters, generator=torch.Generator().manual_seed(0), dtype=dtype)


def slow(logits, noise):
    """The loss of one head by the formula, in plain probabilities."""
    first, second = torch.softmax(logits, -1)
    marginal = torch.cat((first, second)).mean(0)
    ratios = [(p * q / marginal).sum() for p, q in zip(first, second, strict=True)]
    return -sum(((1 - noise) * ratio + noise).log() for ratio in ratios) / len(first)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(("heads", "batch", "clusters"), [(1, 1, 2), (3, 5, 4), (2, 9, 40)])
def test_loss_and_gradient_are_those_of_the_formula(heads, batch, clusters, noise):
    logits = random_logits(heads, batch, clusters, scale=2.0, dtype=torch.float64)
    loss, gradient = run(logits, noise=noise)
    plain = logits.clone().requires_grad_()
    expected = torch.stack([slow(plain[:, head], noise) for head in range(heads)])
    expected.sum().backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, plain.grad)


def test_independent_samples_have_a_likelihood_of_one():
    loss, gradient = run(torch.zeros(2, 1, 6, 5))
    assert loss.tolist() == pytest.approx([0], abs=1e-6)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("sizes", [(3, 3), (5, 1)])
def test_certain_pairs_are_worth_the_entropy_of_the_clusters(sizes):
    """So equal clusters are worth more, but by no weight that somebody chose."""
    clusters = torch.repeat_interleave(torch.arange(2), torch.tensor(sizes))
    logits = 40.0 * torch.nn.functional.one_hot(clusters, 2).float()
    shares = [size / sum(sizes) for size in sizes]
    loss, _ = run(logits.expand(2, 1, -1, -1))
    assert loss.tolist() == pytest.approx([sum(share * math.log(share) for share in shares)], abs=1e-5)


def test_a_cluster_that_nothing_is_in_has_a_finite_gradient():
    logits = random_logits(2, 8, 4)
    logits[..., 3] = -1e4
    loss, gradient = run(logits)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


def test_a_wrong_pair_costs_no_more_than_the_noise_allows():
    sure = torch.tensor([[[40.0, 0.0], [40.0, 0.0]], [[40.0, 0.0], [0.0, 40.0]]])[:, None]  # the second pair is apart
    loss, _ = run(sure, noise=0.1)
    marginal = torch.tensor([3 / 4, 1 / 4])
    assert loss.tolist() == pytest.approx([-(math.log(0.9 / marginal[0] + 0.1) + math.log(0.1)) / 2], abs=1e-5)
    assert run(sure)[0] > 15


@pytest.mark.parametrize("noise", [-0.1, 1.0])
def test_a_share_is_from_zero_to_below_one(noise):
    with pytest.raises(SettingError, match="noise is"):
        Pairs(n_heads=1, n_clusters=2, noise=noise)
