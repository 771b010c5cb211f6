import numpy as np
import pytest
import torch
from torch import nn

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS
from headclust.methods.settings import change_settings
from headclust.model import ClusterModel, FeatureTransform
from headclust.model.heads import HEADS
from headclust.model.heads.batchnorm import BatchNormHeads

SHAPE = {"feature_dims": (10,), "n_clusters": 6, "hidden_dim": 16, "second_dim": 12}
BUFFERS = ("hidden_mean", "hidden_variance", "second_mean", "second_variance")


def features(views=2, batch=7, dim=10, seed=3):
    return torch.randn(views, batch, dim, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.fixture
def ensemble():
    heads = BatchNormHeads(n_heads=3, seed=5, **SHAPE)
    with torch.no_grad():  # scales and shifts away from where they start
        for name, parameter in heads.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    return heads


class NaiveHead(nn.Module):
    """One head as the IMC-SwAV code builds it, with torch's own batch normalization."""

    def __init__(self, state: dict[str, torch.Tensor], head: int):
        super().__init__()
        hidden, dim = state["hidden_weight"].shape[1:]
        clusters, second = state["cluster_weight"].shape[1:]
        self.layers = nn.Sequential(
            *(nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
            *(nn.Linear(hidden, second), nn.BatchNorm1d(second), nn.ReLU()),
            nn.Linear(second, clusters),
        )
        self.ours = {}
        for place, name in ((0, "hidden"), (3, "second"), (6, "cluster")):
            self.ours |= {f"{name}_weight": self.layers[place].weight, f"{name}_bias": self.layers[place].bias}
        for place, name in ((1, "hidden"), (4, "second")):
            norm = self.layers[place]
            self.ours |= {f"{name}_norm_weight": norm.weight, f"{name}_norm_bias": norm.bias}
            self.ours |= {f"{name}_mean": norm.running_mean, f"{name}_variance": norm.running_var}
        with torch.no_grad():
            for name, tensor in self.ours.items():
                tensor.copy_(state[name][head])

    def forward(self, x):
        return self.layers(x)


def test_training_equals_separate_heads_that_see_a_view_at_a_time(ensemble):
    naive = [NaiveHead(ensemble.state_dict(), head) for head in range(3)]
    for step in range(3):
        x = features(views=3, seed=step)
        ensemble.zero_grad()
        output = ensemble(x)
        assert output.logits.shape == (3, 3, 7, 6)
        assert output.embedding is None
        output.logits.square().sum().backward()
        for head, module in enumerate(naive):
            module.zero_grad()
            logits = torch.stack([module(view) for view in x])
            logits.square().sum().backward()
            torch.testing.assert_close(output.logits[:, head], logits, rtol=1e-5, atol=1e-5)
            for name, tensor in module.ours.items():
                torch.testing.assert_close(ensemble.state_dict()[name][head], tensor.data, rtol=1e-5, atol=1e-6)
                if name not in BUFFERS:
                    actual = ensemble.get_parameter(name).grad[head]
                    torch.testing.assert_close(actual, tensor.grad, rtol=1e-4, atol=3e-4)


def test_predicting_equals_separate_heads(ensemble):
    ensemble(features())
    naive = [NaiveHead(ensemble.state_dict(), head).eval() for head in range(3)]
    x = features(seed=8)
    logits = ensemble.eval()(x).logits
    for head, module in enumerate(naive):
        expected = torch.stack([module(view) for view in x])
        torch.testing.assert_close(logits[:, head], expected, rtol=1e-5, atol=1e-5)


def test_predicting_changes_nothing_and_does_not_depend_on_the_batch(ensemble):
    # The authors' evaluation runs 50 batches of test images in training mode first.
    ensemble(features())
    ensemble.eval()
    before = {name: tensor.clone() for name, tensor in ensemble.state_dict().items()}
    x = features(views=1, batch=40, seed=2) * 5
    together = ensemble(x).logits
    for name, tensor in ensemble.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    alone = torch.cat([ensemble(x[:, row : row + 1]).logits for row in range(40)], dim=2)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)
    company = torch.cat((x[:, :1], 100 + 50 * features(views=1, batch=30)), dim=1)
    torch.testing.assert_close(ensemble(company).logits[:, :, :1], together[:, :, :1], rtol=1e-5, atol=1e-5)


def test_a_view_is_normalized_by_itself(ensemble):
    x = features()
    alone = ensemble(x[:1]).logits
    torch.testing.assert_close(ensemble(torch.stack((x[0], x[1] * 9))).logits[:1], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_heads_do_not_touch_each_other(ensemble, training):
    ensemble.train(training)
    ensemble(features()).logits[:, 1].square().sum().backward()
    for name, parameter in ensemble.named_parameters():
        assert parameter.grad[[0, 2]].abs().max() == 0, name
        assert parameter.grad[1].abs().max() > 0, name


def test_the_first_2_of_9_heads_start_as_2_would():
    few, many = (BatchNormHeads(n_heads=n, seed=9, **SHAPE).state_dict() for n in (2, 9))
    for name, tensor in few.items():
        assert torch.equal(tensor, many[name][:2]), name
    other = BatchNormHeads(n_heads=2, seed=8, **SHAPE).state_dict()
    for name in ("hidden_weight", "hidden_bias", "second_weight", "second_bias", "cluster_weight", "cluster_bias"):
        assert not torch.equal(few[name][0], few[name][1])
        assert not torch.equal(few[name], other[name])


def test_the_start_is_torch_linears():
    state = BatchNormHeads(n_heads=2, feature_dims=(100,), n_clusters=50, hidden_dim=400, second_dim=900).state_dict()
    for name, fan in (("hidden", 100), ("second", 400), ("cluster", 900)):
        for part in ("weight", "bias"):
            values = state[f"{name}_{part}"]
            assert float(values.abs().max()) <= fan**-0.5
            assert float(values.std()) == pytest.approx(fan**-0.5 / 3**0.5, rel=0.15)


def test_starting_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    BatchNormHeads(n_heads=2, **SHAPE)
    assert torch.equal(before, torch.get_rng_state())


def test_heads_are_restored_from_their_state(ensemble):
    ensemble(features())
    rebuilt = HEADS["batchnorm"].from_state(ensemble.state_dict()).eval()
    assert (rebuilt.input_dims, rebuilt.n_clusters) == ((10,), 6)
    assert torch.equal(rebuilt(features()).logits, ensemble.eval()(features()).logits)
    alone = HEADS["batchnorm"].from_state({name: t[1:2] for name, t in ensemble.state_dict().items()}).eval()
    torch.testing.assert_close(alone(features()).logits, ensemble(features()).logits[:, 1:2])


def test_the_last_layer_gives_the_logits(ensemble):
    for parameter in ensemble.last_layer:
        parameter.data.zero_()
    assert not ensemble(features()).logits.any()


def test_biases_are_named_so(ensemble):
    shapes = {name: parameter.dim() for name, parameter in ensemble.named_parameters()}
    assert {name for name in shapes if name.endswith("_bias")} == {
        *("hidden_bias", "hidden_norm_bias", "second_bias", "second_norm_bias", "cluster_bias")
    }
    assert all(tensor.shape[0] == 3 for tensor in ensemble.state_dict().values())


def test_a_batch_of_one_is_refused_only_in_training(ensemble):
    with pytest.raises(SettingError, match="batch_size is 1: batch normalization needs 2 or more"):
        ensemble(features(batch=1))
    assert torch.isfinite(ensemble.eval()(features(batch=1)).logits).all()


def test_constant_features_stay_finite(ensemble):
    output = ensemble(torch.ones(2, 5, 10))
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in ensemble.parameters())


def test_a_fitted_model_predicts_a_sample_alone_as_among_others(blobs):
    changes = {"n_clusters": 4, "n_heads": 2, "hidden_dim": 8, "second_dim": 8, "length": 5, "batch_size": 30}
    recipe = change_settings(PRESETS["imc-swav"]["ours"], {**changes, "n_prototypes": 6})
    result = METHODS["imc-swav"]((Features.from_array(blobs.features),), recipe, 0)
    model, points = result.model, torch.tensor(blobs.features)
    before = {name: tensor.clone() for name, tensor in model.tensors().items()}
    _, confidence, clusters = model.assign(points)
    shifted = model.assign(torch.cat((points[:5], points[5:] * 20 + 7))).by_head
    assert np.array_equal(shifted[:, :5], clusters[:, :5])
    for row in (0, 17, 119):
        _, sure, alone = model.assign(points[row : row + 1])
        assert np.array_equal(alone[:, 0], clusters[:, row])
        assert sure[0] == pytest.approx(confidence[row], rel=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.tensors().items())
    again = ClusterModel.from_tensors(model.tensors())
    assert np.array_equal(again.assign(points).by_head, clusters)
    assert isinstance(again.transforms[0], FeatureTransform)
