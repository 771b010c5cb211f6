import pytest
import torch
from torch import nn

from headclust.errors import SettingError
from headclust.training.optimizers import OPTIMIZERS

TORCH = {
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.3, "beta1": 0.8}, {"betas": (0.8, 0.999), "weight_decay": 0.3}),
    "adam": (torch.optim.Adam, {"weight_decay": 0.3, "beta1": 0.8}, {"betas": (0.8, 0.999), "weight_decay": 0.3}),
    "sgd": (torch.optim.SGD, {"weight_decay": 0.3, "sgd_momentum": 0.8}, {"momentum": 0.8, "weight_decay": 0.3}),
}


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(3, 4, generator=generator)) for _ in range(2)]


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_each_is_torchs_own(name):
    build, settings, torch_settings = TORCH[name]
    (weight, bias), (torch_weight, torch_bias) = parameters(), parameters()
    ours = OPTIMIZERS[name]([weight], [bias], lr=0.1, **settings)
    bias_decay = 0.0 if name == "adamw" else 0.3
    groups = [{"params": [torch_weight]}, {"params": [torch_bias], "weight_decay": bias_decay}]
    reference = build(groups, lr=0.1, **torch_settings)
    for _ in range(4):
        for pair, optimizer in (((weight, bias), ours), ((torch_weight, torch_bias), reference)):
            optimizer.zero_grad()
            sum((parameter**2).sum() * (1 + place) for place, parameter in enumerate(pair)).backward()
            optimizer.step()
    torch.testing.assert_close((weight, bias), (torch_weight, torch_bias))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_parameters_without_a_gradient_in_the_first_step_are_no_error(name):
    # Once, gradient descent with momentum failed over a last layer that is frozen at first.
    weight, frozen = parameters()
    before = frozen.detach().clone()
    optimizer = OPTIMIZERS[name]([weight, frozen], [], lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        ((weight**2).sum() + (frozen**2).sum() * (step > 0)).backward()
        if step == 0:
            frozen.grad = None
        optimizer.step()
        assert torch.equal(frozen, before) == (step == 0)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_settings_out_of_range(name):
    momentum = "sgd_momentum" if name == "sgd" else "beta1"
    for settings in ({"weight_decay": -1.0}, {momentum: 1.0}, {momentum: -0.1}):
        with pytest.raises(SettingError, match=rf"^{next(iter(settings))} is .*: expected"):
            OPTIMIZERS[name](parameters(), [], lr=0.1, **settings)
