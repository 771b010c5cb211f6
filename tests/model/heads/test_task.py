import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from headclust.model import ClusterModel, FeatureTransform
from headclust.model.heads import HEADS, select
from headclust.model.heads.task import TaskHeads

DIMS, SHAPE = (10, 4), {"n_clusters": 6}


def features(views=2, batch=7, dims=DIMS, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(views, batch, dim, generator=generator) for dim in dims)


@pytest.fixture
def ensemble():
    heads = TaskHeads(feature_dims=DIMS, n_heads=3, seed=5, **SHAPE)
    with torch.no_grad():  # lengths away from their directions' own
        for name, parameter in heads.named_parameters():
            if name.endswith("length"):
                parameter.mul_(1.7)
    return heads


def naive_space(state, space, head):
    """The layer of one head and space as the authors build it."""
    direction = state[f"space{space}_direction"][head]
    module = parametrizations.weight_norm(nn.Linear(direction.shape[1], len(direction)), dim=0)
    names = {
        "parametrizations.weight.original0": "length",
        "parametrizations.weight.original1": "direction",
        "bias": "bias",
    }
    module.load_state_dict({reference: state[f"space{space}_{ours}"][head] for reference, ours in names.items()})
    return module


@pytest.mark.parametrize("dims", [(10,), (10, 4), (3, 8, 5)])
def test_equal_to_separate_layers_with_torchs_weight_norm(dims):
    heads, spaces = TaskHeads(feature_dims=dims, n_heads=3, seed=2, **SHAPE), features(dims=dims)
    output = heads(*spaces)
    assert output.logits.shape == (2, 3, 7, 6)
    assert len(output.space_logits) == len(dims)
    for head in range(3):
        layers = [naive_space(heads.state_dict(), space, head) for space in range(len(dims))]
        expected = [layer(x) for layer, x in zip(layers, spaces, strict=True)]
        for actual, logits in zip(output.space_logits, expected, strict=True):
            torch.testing.assert_close(actual[:, head], logits, rtol=1e-5, atol=1e-6)
        probs = torch.stack([torch.softmax(logits, -1) for logits in expected]).mean(0)
        torch.testing.assert_close(torch.softmax(output.logits[:, head], -1), probs, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(output.logits[:, head].exp(), probs, rtol=1e-5, atol=1e-6)


def test_gradients_equal_those_of_torchs_weight_norm(ensemble):
    spaces = features()
    ensemble(*spaces).logits.square().sum().backward()
    for head in range(3):
        layers = [naive_space(ensemble.state_dict(), space, head) for space in (0, 1)]
        probs = [torch.softmax(layer(x), -1) for layer, x in zip(layers, spaces, strict=True)]
        ((probs[0] + probs[1]) / 2).log().square().sum().backward()
        for space, layer in enumerate(layers):
            for reference, ours in (("original0", "length"), ("original1", "direction")):
                gradient = ensemble.get_parameter(f"space{space}_{ours}").grad[head]
                expected = layer.get_parameter(f"parametrizations.weight.{reference}").grad
                torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_starts_as_linear_layers_do():
    state = TaskHeads(feature_dims=(400, 25), n_clusters=50, n_heads=2, seed=0).state_dict()
    for space, bound in ((0, 0.05), (1, 0.2)):
        direction, length, bias = (state[f"space{space}_{name}"] for name in ("direction", "length", "bias"))
        for drawn in (direction, bias):
            assert float(drawn.abs().max()) == pytest.approx(bound, rel=0.1)
            assert float(drawn.abs().max()) <= bound
            assert float(drawn.std()) == pytest.approx(bound / 3**0.5, rel=0.15)
        torch.testing.assert_close(length[..., 0], torch.linalg.vector_norm(direction, dim=-1))


def test_a_head_starts_from_its_own_stream(ensemble):
    first, more, other = (
        TaskHeads(feature_dims=DIMS, n_heads=n, seed=seed, **SHAPE).state_dict() for n, seed in ((2, 5), (4, 5), (2, 6))
    )
    for name, tensor in first.items():
        assert torch.equal(tensor, more[name][:2])
        assert not torch.equal(tensor[0], tensor[1])
        assert not torch.equal(tensor, other[name])


def test_a_head_alone_predicts_as_in_the_ensemble(ensemble):
    together = ensemble(*features())
    for head in range(3):
        alone = TaskHeads.from_state(select(ensemble.state_dict(), head))(*features())
        torch.testing.assert_close(alone.logits[:, 0], together.logits[:, head])


def test_finite_with_saturated_logits(ensemble):
    output = ensemble(*(space * 1e6 for space in features()))
    assert torch.isfinite(output.logits).all()
    output.logits.max(-1).values.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in ensemble.parameters())
    torch.testing.assert_close(output.logits.exp().sum(-1), torch.ones(2, 3, 7))


def test_attributes(ensemble):
    assert HEADS["task"] is TaskHeads
    assert TaskHeads.several_spaces
    assert (ensemble.input_dims, ensemble.n_clusters) == (DIMS, 6)
    assert {id(p) for p in ensemble.last_layer} == {id(p) for p in ensemble.parameters()}
    assert all(len(tensor) == 3 for tensor in ensemble.state_dict().values())


def test_a_model_of_several_spaces_comes_back_from_its_tensors(ensemble):
    model = ClusterModel((FeatureTransform(), FeatureTransform(l2=True)), ensemble, (1,), 1.0)
    again = ClusterModel.from_tensors(model.tensors())
    spaces = [space[0] for space in features()]
    assert torch.equal(again.probs(*spaces), model.probs(*spaces))
    with pytest.raises(ValueError, match="zip"):
        model.probs(spaces[0])
