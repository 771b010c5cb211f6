import numpy as np
import pytest
import torch
from conftest import make_blobs
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from headclust.model.heads import LinearHeads

SHAPE = {"feature_dims": (10,), "n_clusters": 6}


def features(views=2, batch=7, dim=10, seed=3):
    return torch.randn(views, batch, dim, generator=torch.Generator().manual_seed(seed))


def test_logits_and_gradients_equal_separate_layers():
    heads, x = LinearHeads(n_heads=3, seed=5, **SHAPE), features()
    output = heads(x)
    assert output.logits.shape == (2, 3, 7, 6)
    assert (output.embedding, output.space_logits) == (None, None)
    output.logits.square().sum().backward()
    for head in range(3):
        layer = nn.Linear(10, 6)
        layer.load_state_dict({"weight": heads.weight[head], "bias": heads.cluster_bias[head]})
        logits = layer(x)
        logits.square().sum().backward()
        torch.testing.assert_close(output.logits[:, head], logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(heads.weight.grad[head], layer.weight.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(heads.cluster_bias.grad[head], layer.bias.grad, rtol=1e-4, atol=1e-5)


def test_the_start_is_that_of_a_linear_layer():
    state = LinearHeads(feature_dims=(64,), n_clusters=500, n_heads=2, seed=0).state_dict()
    for tensor in state.values():
        assert float(tensor.abs().max()) <= 1 / 8
        assert float(tensor.std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.05)


@pytest.fixture(scope="module")
def uneven():
    """Rows off the origin, of unequal spread, and three partitions of them: classes of unequal size, and two others."""
    features, labels = make_blobs(300, distance=0.8)
    features = 3 + features[:, :6] * np.array([1, 2, 0.5, 4, 1, 1], np.float32)
    rows = np.random.default_rng(0).random(300) < np.array([1, 0.7, 0.4, 0.1])[labels]
    features, labels = features[rows], labels[rows]
    others = np.random.default_rng(1).integers(0, 4, len(labels))
    return torch.tensor(features), torch.tensor(np.stack([labels, others, (features[:, 0] > 3).astype(int)]))


@pytest.mark.parametrize("shrinkage", [1e-6, 0.1, 0.7, 1.0])
def test_discriminant_is_scikit_learns_with_one_sample_more_a_cluster(uneven, shrinkage):
    rows, partitions = uneven
    logits = LinearHeads.discriminant(rows, partitions, 4, shrinkage=shrinkage)(rows[None]).logits[0].detach()
    for actual, clusters in zip(logits[:2].double(), partitions.numpy(), strict=False):
        reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(rows.double().numpy(), clusters)
        smoothed = np.log((np.bincount(clusters) + 1) / (len(rows) + 4)) - np.log(reference.priors_)
        expected = reference.decision_function(rows.double().numpy()) + smoothed
        # Softmax does not see what a row's logits have in common, and theirs are not centered.
        actual, expected = actual - actual.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True)
        np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_discriminant_is_the_posterior_of_gaussians_of_one_covariance(uneven):
    rows, partitions = uneven
    clusters, points = partitions[0].numpy(), rows.double().numpy()
    means = np.stack([points[clusters == cluster].mean(0) for cluster in range(4)])
    within = sum(np.outer(gap, gap) for gap in points - means[clusters]) / len(points)
    shrunk = 0.9 * within + 0.1 * np.trace(within) / 6 * np.eye(6)
    prior = (np.bincount(clusters) + 1) / (len(points) + 4)
    density = prior * np.stack([multivariate_normal(mean, shrunk).pdf(points) for mean in means], 1)
    heads = LinearHeads.discriminant(rows, partitions[:1], 4, shrinkage=0.1)
    actual = torch.softmax(heads(rows[None]).logits[0, 0], -1).detach().numpy()
    np.testing.assert_allclose(actual, density / density.sum(1, keepdims=True), atol=1e-4)


def test_a_discriminant_is_its_own_whatever_others_are_made_with_it(uneven):
    rows, partitions = uneven
    together = LinearHeads.discriminant(rows, partitions, 4, shrinkage=0.1).state_dict()
    for head in range(3):
        alone = LinearHeads.discriminant(rows, partitions[head : head + 1], 4, shrinkage=0.1).state_dict()
        for name, tensor in alone.items():
            assert torch.equal(tensor[0], together[name][head])


def test_a_cluster_without_samples_has_the_mean_of_all_and_hardly_any_share(uneven):
    rows, partitions = uneven
    heads = LinearHeads.discriminant(rows, partitions[2:], 4, shrinkage=0.1)  # two of four
    assert torch.equal(heads.weight[0, 2:], torch.zeros(2, 6))
    np.testing.assert_allclose(heads.cluster_bias[0, 2:].detach().exp().numpy(), 1 / (len(rows) + 4), rtol=1e-5)
    assert set(heads(rows[None]).logits[0, 0].argmax(1).tolist()) == {0, 1}


def test_a_single_cluster_is_certain(uneven):
    rows, _ = uneven
    heads = LinearHeads.discriminant(rows, torch.zeros(1, len(rows), dtype=torch.int64), 1, shrinkage=0.1)
    assert float(heads.weight.detach().abs().max()) < 1e-5
    assert heads(rows[None]).logits.softmax(-1).eq(1).all()


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("shrinkage", [1e-6, 0.1])
def test_clusters_of_one_sample_or_of_copies_are_separated(copies, shrinkage):
    # Once infinite weights: there is no variance within to divide by.
    rows = nn.functional.normalize(features(views=1, batch=6)[0], dim=1).repeat(copies, 1)
    clusters = torch.arange(6).repeat(copies)
    logits = LinearHeads.discriminant(rows, clusters[None], 6, shrinkage=shrinkage)(rows[None]).logits[0, 0]
    assert torch.isfinite(logits).all()
    assert torch.equal(logits.argmax(1), clusters)
    assert torch.softmax(logits, -1).max(1).values.min() > 0.99


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_discriminants_are_finite_whatever_the_rows(n_samples, dim, n_clusters, seed):
    generator = np.random.default_rng(seed)
    rows = torch.tensor(generator.integers(-1, 2, size=(n_samples, dim))).float()  # copies and zero rows among them
    clusters = torch.tensor(generator.integers(0, n_clusters, size=(2, n_samples)))
    heads = LinearHeads.discriminant(rows, clusters, n_clusters, shrinkage=0.1)
    assert (heads.input_dims, heads.n_clusters) == ((dim,), n_clusters)
    assert torch.isfinite(heads(rows[None]).logits).all()
