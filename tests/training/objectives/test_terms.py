from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.group import ALONE
from headclust.training.objectives import terms

PARITY = np.load(Path(__file__).parents[1] / "parity" / "imc_swav.npz")


def normal(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def naive_sinkhorn(scores, epsilon, n_iterations):
    """Codes (batch, clusters) in float64, a row and a column at a time, as a transport plan with a mass of one."""
    plan = np.exp((scores - scores.max()) / epsilon)
    plan /= plan.sum()
    batch, clusters = plan.shape
    for _ in range(n_iterations):
        for cluster in range(clusters):
            plan[:, cluster] *= 1 / clusters / plan[:, cluster].sum()
        for sample in range(batch):
            plan[sample] *= 1 / batch / plan[sample].sum()
    return plan * batch


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_log_probs_are_scipys(scale):
    logits = normal(2, 3, 5, 7, scale=scale)
    expected = scipy.special.log_softmax(logits.double().numpy() / 0.1, axis=-1)
    np.testing.assert_allclose(terms.log_probs(logits, 0.1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dims", [(0, 2), (-2,), (0, 1, 2)])
def test_means_over_samples_are_numpys(dims):
    values = normal(2, 3, 5, 7)
    np.testing.assert_allclose(
        terms.batch_mean(values, dims=dims, group=ALONE), values.numpy().mean(dims), rtol=1e-5, atol=1e-7
    )
    for keepdim in (False, True):
        expected = np.log(np.exp(values.double().numpy()).mean(dims, keepdims=keepdim))
        actual = terms.log_batch_mean(values, dims=dims, group=ALONE, keepdim=keepdim)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_log_of_a_mean_too_small_for_float32_is_finite():
    log_values = torch.full((4, 2), -1e4).requires_grad_()
    mean = terms.log_batch_mean(log_values, dims=(0,), group=ALONE)
    mean.sum().backward()
    assert mean.tolist() == pytest.approx([-1e4, -1e4])
    assert log_values.grad.flatten().tolist() == pytest.approx([0.25] * 8, rel=1e-3)


def test_agreement_is_the_log_of_a_dot_product():
    log_p, log_q = (torch.log_softmax(normal(3, 5, 7, seed=seed), -1) for seed in (0, 1))
    expected = np.log(np.einsum("hbc,hbc->hb", log_p.exp().numpy(), log_q.exp().numpy()))
    np.testing.assert_allclose(terms.log_agreement(log_p, log_q), expected, rtol=1e-5)


def test_agreement_below_float32_is_finite():
    # Two samples sure of different clusters: the product of their probabilities underflows.
    log_p = terms.log_probs(torch.eye(3) * 1e4, 1.0).requires_grad_()
    agreement = terms.log_agreement(log_p, log_p.detach().roll(1, 0))
    agreement.sum().backward()
    assert agreement.tolist() == pytest.approx([-1e4 + np.log(2)] * 3)  # either may follow the other
    assert torch.isfinite(log_p.grad).all()


def test_entropies_are_scipys():
    log_p = torch.log_softmax(normal(2, 3, 5, 7, scale=3), -1)
    p = log_p.double().exp().numpy()
    np.testing.assert_allclose(terms.entropy(log_p), scipy.stats.entropy(p, axis=-1), rtol=1e-5, atol=1e-6)
    expected = scipy.stats.entropy(p.mean(2), axis=-1)
    np.testing.assert_allclose(terms.marginal_entropy(log_p, ALONE), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clusters", [1, 2, 1000])
def test_the_ends_of_entropy(clusters):
    uniform = torch.zeros(4, clusters)
    sure = torch.eye(clusters) * 1e6
    actual = [terms.entropy(terms.log_probs(logits, 0.1)) for logits in (uniform, sure)]
    assert actual[0].tolist() == pytest.approx([np.log(clusters)] * 4, abs=1e-5)
    assert actual[1].tolist() == [0.0] * clusters
    # One sample sure of each cluster: nobody is in doubt, and all clusters are used.
    assert float(terms.marginal_entropy(terms.log_probs(sure, 0.1), ALONE)) == pytest.approx(np.log(clusters), abs=1e-5)


def test_probabilities_of_zero_have_no_entropy_and_no_gradient():
    log_p = torch.tensor([0.0, -torch.inf]).requires_grad_()
    entropy = terms.entropy(log_p)
    entropy.backward()
    assert float(entropy.detach()) == 0
    assert log_p.grad.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_entropies_of_saturated_logits_have_finite_gradients(scale):
    # The mean probability of the last cluster underflows, and with it the authors' p log p.
    logits = normal(2, 8, 5, scale=scale)
    logits[..., -1] -= 1e3
    logits.requires_grad_()
    log_p = terms.log_probs(logits, 0.1)
    (terms.entropy(log_p).sum() + terms.marginal_entropy(log_p, ALONE).sum()).backward()
    assert torch.isfinite(logits.grad).all()


def test_codes_have_parity_with_the_authors_code():
    codes = terms.sinkhorn(torch.from_numpy(PARITY["prototype_scores"]), epsilon=0.05, n_iterations=3)
    np.testing.assert_allclose(codes, PARITY["sinkhorn_codes_eps0p05_iters3"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n_iterations", [1, 3, 20])
@pytest.mark.parametrize(("batch", "clusters"), [(1, 4), (6, 2), (9, 9), (4, 20)])
def test_codes_equal_a_loop_in_float64(batch, clusters, n_iterations):
    scores = normal(2, 3, batch, clusters, seed=batch)
    codes = terms.sinkhorn(scores, epsilon=0.3, n_iterations=n_iterations)
    for view in range(2):
        for head in range(3):
            expected = naive_sinkhorn(scores[view, head].double().numpy(), 0.3, n_iterations)
            np.testing.assert_allclose(codes[view, head], expected, rtol=1e-4, atol=1e-6)


@given(seed=st.integers(0, 50), batch=st.integers(1, 12), clusters=st.integers(1, 12))
def test_codes_are_distributions(seed, batch, clusters):
    codes = terms.sinkhorn(normal(batch, clusters, seed=seed), epsilon=0.2, n_iterations=300)
    assert (codes >= 0).all()
    torch.testing.assert_close(codes.sum(1), torch.ones(batch))
    torch.testing.assert_close(codes.sum(0), torch.full((clusters,), batch / clusters), rtol=0.02, atol=0)
    order = torch.randperm(clusters, generator=torch.Generator().manual_seed(seed))
    permuted = terms.sinkhorn(normal(batch, clusters, seed=seed)[:, order], epsilon=0.2, n_iterations=300)
    torch.testing.assert_close(permuted, codes[:, order], rtol=1e-4, atol=1e-6)


def test_more_iterations_bring_clusters_nearer_to_equal_mass():
    scores = normal(64, 5, scale=0.3) + torch.linspace(0, 1, 5)  # one cluster is everybody's favorite
    masses = [terms.sinkhorn(scores, n_iterations=n).sum(0) for n in (1, 3, 10, 50)]
    gaps = [float((mass - 64 / 5).abs().max()) for mass in masses]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.2 * gaps[0]


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_codes_of_saturated_scores_are_finite(scale):
    # exp(scores / epsilon) is infinite in float32 from a score of 4.4 on.
    codes = terms.sinkhorn(normal(2, 16, 5, scale=scale))
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(-1), torch.ones(2, 16))


def test_codes_have_no_gradient():
    assert not terms.sinkhorn(normal(4, 3).requires_grad_()).requires_grad


def test_a_running_mean_is_the_mean_since_the_last_call():
    mean, values = terms.RunningMean(3), normal(5, 3).requires_grad_()
    assert mean.take().tolist() == [0.0, 0.0, 0.0]
    for value in values:
        mean.add(value)
    result = mean.take()
    torch.testing.assert_close(result, values.detach().mean(0))
    assert not result.requires_grad
    assert mean.take().tolist() == [0.0, 0.0, 0.0]
    mean.add(values[1])
    assert torch.equal(mean.take(), values[1])


def test_a_running_mean_has_the_dtype_of_its_values():
    mean = terms.RunningMean(2)
    mean.add(torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert mean.take().dtype == torch.float64
