import pytest
import torch
from sklearn.metrics import pairwise_distances_argmin

from headclust.model.heads import CentroidHeads


def features(views=2, batch=7, dim=10, seed=3):
    return torch.randn(views, batch, dim, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def centroids():
    generator = torch.Generator().manual_seed(2)
    return CentroidHeads(centroids=torch.randn(3, 5, 10, generator=generator), scale=torch.tensor([1.0, 2.0, 0.5]))


def test_centroid_logits_are_minus_squared_distances_in_units_of_the_scale(centroids):
    x = features()
    logits = centroids(x).logits
    assert logits.shape == (2, 3, 7, 5)
    gaps = x.double()[:, None, :, None] - centroids.centroids.double()[None, :, None]
    expected = -gaps.square().sum(-1) / centroids.scale.double()[:, None, None]
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-5)


def test_the_largest_centroid_logit_is_the_nearest_centroid(centroids):
    x = features(views=1, batch=200)
    actual = centroids(x).logits[0].argmax(-1)
    for head in range(3):
        nearest = pairwise_distances_argmin(x[0].numpy(), centroids.centroids[head].numpy())
        assert actual[head].tolist() == nearest.tolist()


def test_centroid_heads_from_state(centroids):
    copied = CentroidHeads.from_state(centroids.state_dict())
    assert (copied.input_dims, copied.n_clusters) == ((10,), 5)
    assert torch.equal(copied(features()).logits, centroids(features()).logits)
