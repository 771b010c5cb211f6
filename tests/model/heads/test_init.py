"""Requirements on every kind of heads."""

import copy

import pytest
import torch
from torch import nn

from headclust.model.heads import HEADS, ema_update_, select
from headclust.training.head_settings import HEAD_SETTINGS

SMALL = {"mlp": {"hidden_dim": 12, "bottleneck_dim": 5}, "batchnorm": {"hidden_dim": 12, "second_dim": 7}}


def build(kind, *, n_heads=3, seed=4):
    dims = (6, 4) if HEADS[kind].several_spaces else (6,)
    heads = HEADS[kind](feature_dims=dims, n_clusters=5, n_heads=n_heads, seed=seed, **SMALL.get(kind, {}))
    generator = torch.Generator().manual_seed(1)
    return heads.eval(), tuple(torch.randn(2, 9, dim, generator=generator) for dim in dims)


def test_the_registry_knows_them_by_their_own_name():
    assert {kind: heads.kind for kind, heads in HEADS.items()} == {kind: kind for kind in HEADS}


@pytest.mark.parametrize("kind", list(HEAD_SETTINGS))
def test_heads_are_restored_from_their_state(kind):
    heads, spaces = build(kind)
    assert heads.input_dims == tuple(space.shape[-1] for space in spaces)
    assert heads.n_clusters == 5
    assert heads(*spaces).logits.shape == (2, 3, 9, 5)
    again = HEADS[kind].from_state(heads.state_dict()).eval()
    assert (again.input_dims, again.n_clusters) == (heads.input_dims, 5)
    assert torch.equal(again(*spaces).logits, heads(*spaces).logits)


@pytest.mark.parametrize("kind", list(HEAD_SETTINGS))
def test_every_tensor_has_a_leading_heads_axis(kind):
    heads, spaces = build(kind)
    together = heads(*spaces).logits
    for head in range(3):
        alone = HEADS[kind].from_state(select(heads.state_dict(), head)).eval()
        torch.testing.assert_close(alone(*spaces).logits[:, 0], together[:, head], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", list(HEAD_SETTINGS))
def test_the_first_4_of_9_heads_start_as_4_would(kind):
    before = torch.get_rng_state()
    (few, _), (many, _), (other, _) = build(kind, n_heads=4), build(kind, n_heads=9), build(kind, n_heads=4, seed=5)
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in few.state_dict().items():
        assert torch.equal(tensor, many.state_dict()[name][:4]), name
    drawn = [name for name, tensor in few.state_dict().items() if not torch.equal(tensor, other.state_dict()[name])]
    assert any(not torch.equal(few.state_dict()[name][0], few.state_dict()[name][1]) for name in drawn)


@pytest.mark.parametrize("kind", list(HEAD_SETTINGS))
def test_heads_do_not_touch_each_other(kind):
    heads, spaces = build(kind)
    heads(*spaces).logits[:, 1].square().sum().backward()
    for name, parameter in heads.named_parameters():
        assert not parameter.grad[[0, 2]].any(), name
        assert parameter.grad[1].any(), name


@pytest.mark.parametrize("kind", list(HEAD_SETTINGS))
def test_the_last_layer_is_some_of_the_parameters(kind):
    heads, _ = build(kind)
    assert {id(p) for p in heads.last_layer} <= {id(p) for p in heads.parameters()}
    assert heads.last_layer


def test_ema_update_():
    ensemble = HEADS["mlp"](feature_dims=(3,), n_clusters=2, n_heads=2, seed=0, **SMALL["mlp"])
    teacher = copy.deepcopy(ensemble)
    before = {name: p.detach().clone() for name, p in teacher.named_parameters()}
    with torch.no_grad():
        for p in ensemble.parameters():
            p.add_(1.0)
    student = {name: p.detach().clone() for name, p in ensemble.named_parameters()}
    ema_update_(teacher, ensemble, 0.9)
    for name, p in teacher.named_parameters():
        torch.testing.assert_close(p.detach(), 0.9 * before[name] + 0.1 * student[name])
    for name, p in ensemble.named_parameters():
        assert torch.equal(p, student[name])


@pytest.mark.parametrize(("momentum", "moved"), [(1.0, 0.0), (0.0, 1.0)])
def test_ema_update_at_its_ends(momentum, moved):
    teacher, student = nn.Linear(2, 2), nn.Linear(2, 2)
    expected = copy.deepcopy(student if moved else teacher).state_dict()
    ema_update_(teacher, student, momentum)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in teacher.state_dict().items())
