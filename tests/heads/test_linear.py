import pytest
import torch
from torch import nn

from headclust.heads import LinearHeads

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
