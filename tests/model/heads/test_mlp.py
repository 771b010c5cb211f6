from dataclasses import asdict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from headclust.model.heads import HeadEnsemble
from headclust.training.head_settings import HEAD_SETTINGS

SHAPE = {"feature_dims": (10,), "n_clusters": 6, "hidden_dim": 16, "bottleneck_dim": 8}


@pytest.fixture
def ensemble():
    heads = HeadEnsemble(n_heads=3, seed=5, **SHAPE)
    with torch.no_grad():  # biases and lengths away from where they start
        for parameter in (heads.hidden_bias, heads.bottleneck_bias, heads.prototype_length):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
        heads.hidden_weight.mul_(20)
    return heads


class NaiveHead(nn.Module):
    """One head as the TEMI code builds it."""

    def __init__(self, heads: HeadEnsemble, head: int):
        super().__init__()
        hidden, dim = heads.hidden_weight.shape[1:]
        bottleneck = heads.bottleneck_weight.shape[1]
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.last = parametrizations.weight_norm(nn.Linear(bottleneck, heads.n_clusters, bias=False), dim=0)
        weights = self.last.parametrizations.weight
        self.ours = {
            "hidden_weight": self.mlp[0].weight,
            "hidden_bias": self.mlp[0].bias,
            "bottleneck_weight": self.mlp[2].weight,
            "bottleneck_bias": self.mlp[2].bias,
            "prototype_length": weights.original0,
            "prototype_direction": weights.original1,
        }
        with torch.no_grad():
            for name, parameter in self.ours.items():
                parameter.copy_(getattr(heads, name)[head])

    def forward(self, features):
        embedding = nn.functional.normalize(self.mlp(features), dim=-1)
        return embedding, self.last(embedding)


def features(views=2, batch=7, dim=10, seed=3):
    return torch.randn(views, batch, dim, generator=torch.Generator().manual_seed(seed))


def test_logits_embeddings_and_gradients_equal_separate_heads(ensemble):
    x = features()
    output = ensemble(x)
    assert output.logits.shape == (2, 3, 7, 6)
    assert output.embedding.shape == (2, 3, 7, 8)
    assert output.space_logits is None
    output.logits.square().sum().backward()
    for head in range(3):
        naive = NaiveHead(ensemble, head)
        embedding, logits = naive(x)
        logits.square().sum().backward()
        torch.testing.assert_close(output.logits[:, head], logits, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(output.embedding[:, head], embedding, rtol=1e-5, atol=1e-6)
        for name, parameter in naive.ours.items():
            torch.testing.assert_close(getattr(ensemble, name).grad[head], parameter.grad, rtol=1e-4, atol=1e-5)


def test_a_view_is_seen_as_it_would_be_alone(ensemble):
    x = features(views=3)
    for view in range(3):
        torch.testing.assert_close(ensemble(x).logits[view], ensemble(x[view : view + 1]).logits[0])


def test_a_logit_is_length_times_cosine(ensemble):
    output = ensemble(features())
    cosine = nn.functional.cosine_similarity(
        output.embedding[:, :, :, None], ensemble.prototype_direction[None, :, None], dim=-1
    )
    torch.testing.assert_close(output.logits, cosine * ensemble.prototype_length[..., 0][None, :, None])


def test_heads_do_not_touch_each_other(ensemble):
    ensemble(features()).logits[:, 1].square().sum().backward()
    for name, parameter in ensemble.named_parameters():
        assert parameter.grad[[0, 2]].abs().max() == 0, name
        assert parameter.grad[1].abs().max() > 0, name


def test_the_first_4_of_50_heads_start_as_4_would():
    few, many = (HeadEnsemble(n_heads=n, seed=9, **SHAPE).state_dict() for n in (4, 50))
    for name, tensor in few.items():
        assert torch.equal(tensor, many[name][:4]), name


def test_heads_and_seeds_start_differently():
    first, second = (HeadEnsemble(n_heads=2, seed=seed, **SHAPE).state_dict() for seed in (0, 1))
    for name in ("hidden_weight", "bottleneck_weight", "prototype_direction"):
        assert not torch.equal(first[name][0], first[name][1])
        assert not torch.equal(first[name], second[name])


def test_the_start_is_the_authors():
    # methods.md 1b: truncated normal of std 0.02, biases 0; nn.Linear's own for the directions, lengths 1.
    settings = asdict(HEAD_SETTINGS["mlp"]())
    state = HeadEnsemble(feature_dims=(64,), n_clusters=20, n_heads=2, seed=0, **settings).state_dict()
    for name in ("hidden_weight", "bottleneck_weight"):
        assert float(state[name].std()) == pytest.approx(0.02, rel=0.02)
        assert abs(float(state[name].mean())) < 3e-4
        assert float(state[name].abs().max()) <= 2
    assert float(state["prototype_direction"].abs().max()) <= 1 / 16
    assert float(state["prototype_direction"].std()) == pytest.approx(1 / 16 / 3**0.5, rel=0.02)
    assert torch.equal(state["prototype_length"], torch.ones(2, 20, 1))
    assert not state["hidden_bias"].any()
    assert not state["bottleneck_bias"].any()


def test_starting_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    HeadEnsemble(n_heads=2, seed=0, **SHAPE)
    assert torch.equal(before, torch.get_rng_state())


def test_shapes_and_the_last_layer(ensemble):
    assert (ensemble.input_dims, ensemble.n_clusters) == ((10,), 6)
    assert {id(p) for p in ensemble.last_layer} == {id(ensemble.prototype_direction), id(ensemble.prototype_length)}


def test_from_state_gives_the_same_heads(ensemble):
    copied = HeadEnsemble.from_state(ensemble.state_dict())
    assert torch.equal(copied(features()).logits, ensemble(features()).logits)
