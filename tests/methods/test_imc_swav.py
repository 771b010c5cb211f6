from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, PRESETS, Recipe, gradient
from headclust.methods.settings import change_settings
from headclust.model.heads import HEADS
from headclust.scoring.metrics import accuracy
from headclust.seeding import torch_generator
from headclust.training.objectives.terms import sinkhorn
from headclust.training.sampling import Samples, sample_batches
from headclust.training.stages import build_objective
from headclust.training.train import train_stage

SMALL = {
    "n_clusters": 4,
    "n_heads": 3,
    "hidden_dim": 12,
    "second_dim": 10,
    "n_prototypes": 8,
    "projection_dim": 6,
    "batch_size": 30,
}

WIDER = {"hidden_dim": 64, "second_dim": 64, "n_heads": 4, "length": 100, "warmup": 10}


def viewed(features, n_views=2, labels=None, noise=0.3):
    """Features with cached views: the rows, shaken."""
    generator = np.random.default_rng(5)
    views = features + noise * generator.normal(size=(n_views, *features.shape)).astype(np.float32)
    held = Features.from_array(features, labels=labels)
    return replace(held, n_views=n_views, _open=lambda view: features if view is None else views[view])


@pytest.fixture
def fit():
    def fit_imc_swav(features, *, preset="ours", seed=0, **changes):
        recipe = change_settings(PRESETS["imc-swav"][preset], {**SMALL, "length": 8, "warmup": 2, **changes})
        return METHODS["imc-swav"]((features,), recipe, seed)

    return fit_imc_swav


class NaiveModel(nn.Module):
    """Projection, prototypes and classifier of one head as the authors build them."""

    def __init__(self, objective, heads, head):
        super().__init__()
        dim, width = objective.mixing_weight.shape[-1], objective.projection_weight.shape[1]
        hidden, second = heads.hidden_weight.shape[1], heads.second_weight.shape[1]
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.Linear(dim, width))
        self.prototypes = nn.Linear(width, objective.prototypes.shape[1], bias=False)
        self.classifier = nn.Sequential(
            *(nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
            *(nn.Linear(hidden, second), nn.BatchNorm1d(second), nn.ReLU(inplace=True)),
            nn.Linear(second, heads.n_clusters),
        )
        state = {name: tensor[head] for name, tensor in (objective.state_dict() | heads.state_dict()).items()}
        with torch.no_grad():
            self.prototypes.weight.copy_(state["prototypes"])
            for name, layer in (("mixing", self.project[0]), ("projection", self.project[1])):
                layer.weight.copy_(state[f"{name}_weight"])
                layer.bias.copy_(state[f"{name}_bias"])
            for name, place in (("hidden", 0), ("second", 3), ("cluster", 6)):
                self.classifier[place].weight.copy_(state[f"{name}_weight"])
                self.classifier[place].bias.copy_(state[f"{name}_bias"])

    def loss(self, views, *, n_codes=2, balance=4.0):
        with torch.no_grad():
            self.prototypes.weight.copy_(nn.functional.normalize(self.prototypes.weight, dim=1))
        u = [self.prototypes(nn.functional.normalize(self.project(z), dim=1)) for z in views]
        swav = []
        for i in range(n_codes):
            q = sinkhorn(u[i])
            swav += [-(q * torch.softmax(u[p] / 0.1, -1).log()).sum(-1).mean() for p in range(len(u)) if p != i]
        information, excess = [], []
        for y in [self.classifier(z.detach()) for z in views]:
            for scores in u:
                joint = torch.softmax(y, -1).T @ torch.softmax(scores.detach() / 0.1, -1)
                joint = joint / joint.sum()
                h_uy = (joint * (joint.sum(0).log()[None] - joint.log())).sum()
                hy = balance * (joint.sum(1) * joint.sum(1).log()).sum()
                information.append(h_uy + hy)
                excess.append(torch.relu(y.abs() - 5).sum(-1).mean())
        return sum(swav) / len(swav) + sum(information) / len(information) + 1e-2 * sum(excess) / len(excess)


def naive_training(stage, samples, seed, rates):
    """Training as the authors write it, a head at a time: losses (steps, heads) and the heads."""
    dims = (samples.spaces[0].shape[1],)
    heads = HEADS["batchnorm"](
        feature_dims=dims, n_clusters=stage.n_clusters, n_heads=stage.n_heads, seed=seed, **stage.head_values
    )
    objective = build_objective(stage, n_heads=stage.n_heads, n_clusters=stage.n_clusters, feature_dims=dims, seed=seed)
    models = [NaiveModel(objective, heads, head) for head in range(stage.n_heads)]
    optimizers = [torch.optim.Adam(m.parameters(), lr=1.0, betas=(0.8, 0.999), weight_decay=1e-5) for m in models]
    batches = sample_batches(samples, objective.views, batch_size=stage.batch_size, generator=torch_generator(seed, 2))
    history = []
    for step, rate in enumerate(rates):
        (views,) = next(batches).features
        losses = []
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            loss = model.loss(views)
            optimizer.zero_grad()
            loss.backward()
            if step / len(rates) < objective.settings.freeze_prototypes:
                model.prototypes.weight.grad = None
            optimizer.step()
            losses.append(float(loss.detach()))
        history.append(losses)
    return np.array(history), models


def test_equal_to_the_authors_loop_head_by_head(blobs):
    features = torch.tensor(blobs.features)
    views = torch.stack(
        [features + 0.3 * torch.randn(features.shape, generator=torch_generator(view)) for view in (0, 1)]
    )
    samples = Samples((features,), views=(views,))
    changes = {**SMALL, "unit": "steps", "length": 20, "warmup": 4, "lr": 2e-3, "n_augmented": 2, "reduction": "sum"}
    (stage,) = change_settings(PRESETS["imc-swav"]["authors"], {**changes, "freeze_prototypes": 0.2})
    rates = [2e-3 * share for share in (*np.linspace(0, 1, 4), 1, 1)]
    rates += [2e-3 * 0.4**passed for passed in (1,) * 6 + (2,) * 4 + (3,) * 4]
    losses, models = naive_training(stage, samples, 7, rates)
    trained = train_stage(stage, samples, seed=7)
    expected = losses.reshape(10, 2, 3).mean(1)
    np.testing.assert_allclose([record["loss"] for record in trained.history], expected, rtol=1e-4, atol=1e-4)
    assert [record["lr"] for record in trained.history] == pytest.approx(rates[1::2])
    for head, model in enumerate(models):
        with torch.no_grad():
            logits = model.classifier.eval()(features)
        torch.testing.assert_close(trained.heads(features[None]).logits[0, head], logits, rtol=1e-3, atol=1e-3)
        for name, place in (("hidden", 0), ("second", 3), ("cluster", 6)):
            found = trained.heads.state_dict()[f"{name}_weight"][head]
            torch.testing.assert_close(found, model.classifier[place].weight.data, rtol=1e-2, atol=1e-4)


def test_the_authors_preset_is_the_readme_command():
    # foiv0s/imc-swav-pub at 7849ae5: README.md for CIFAR-10, and train.py for what the command leaves out.
    command = {
        "lr": 5e-4,
        "weight_decay": 1e-5,  # l2_w
        "n_codes": 2,  # nmb_crops 2 4: six views, codes of the first two
        "n_augmented": 5,  # and the plain image
        "prototype_temperature": 0.1,  # tau
        "code_temperature": 0.05,  # eps
        "projection_dim": 128,
        "n_prototypes": 1000,
        "batch_size": 256,
        "length": 500,
    }
    code = {
        "optimizer": "adam",  # task_train.py, up to freeze_prototypes
        "beta1": 0.8,
        "decay": "steps",  # milestones 150, 300 and 400 of 500, gamma=0.4
        "final_lr": pytest.approx(0.4**3),
        "warmup": 3,  # 500 updates, of 195 per epoch
        "freeze_prototypes": 0.005,  # as long: 500 of 97,500
        "code_iterations": 3,  # model.py
        "balance": 4.0,  # costs.py, as the next two
        "logit_bound": 5.0,
        "logit_weight": 1e-2,
        "hidden_dim": 1024,  # graphs.py, as the next two
        "second_dim": 1024,
        "head": "batchnorm",
        "n_heads": 1,
        "transform": "none",
    }
    ours = {"unit": "epochs", "freeze_last_layer": 0, "lr_batch": 0, "reduction": "mean", "n_partners": 0}
    # Neighbors stand in for views that a feature file does not have.
    ours |= {"n_neighbors": 50, "neighbor_list": "others", "neighbor_search": "auto"}
    unused = {"n_clusters": 0, "n_components": 256, "max_seconds": 0.0, "checkpoint_every": 0}
    assert Recipe.of("imc-swav", "authors").values == {**command, **code, **ours, **unused}
    (stage,) = PRESETS["imc-swav"]["authors"]
    objective = build_objective(stage, n_heads=1, n_clusters=10, feature_dims=(512,), seed=0)
    assert objective.prototypes.shape == (1, 1000, 128)
    assert objective.mixing_weight.shape == (1, 512, 512)  # graphs.py: Linear(n_input, n_input)


@pytest.mark.parametrize("preset", ["ours", "authors"])
def test_blobs_are_found(fit, blobs, preset):
    changes = {**WIDER, "unit": "steps", "lr": 3e-3}
    result = fit(viewed(blobs.features), preset=preset, n_neighbors=10, **changes)
    assert accuracy(result.assignments, blobs.labels) > 0.95


def test_neighbors_stand_in_for_views(fit, blobs, capfd):
    plain = Features.from_array(blobs.features)
    result = fit(plain, **WIDER, n_neighbors=5, lr=3e-3)
    assert accuracy(result.assignments, blobs.labels) > 0.9
    assert "neighbors stand in for them" in capfd.readouterr().err


def test_no_more_views_are_taken_than_there_are(fit, blobs, capfd):
    wanting = fit(viewed(blobs.features), n_augmented=5)
    assert "n_augmented is 5, the features hold 2 augmented views: using 2." in capfd.readouterr().err
    assert wanting.history == fit(viewed(blobs.features), n_augmented=2).history
    fit(viewed(blobs.features, n_views=5), n_augmented=5)
    fit(viewed(blobs.features), n_augmented=1)
    assert "n_augmented" not in capfd.readouterr().err


def test_partners_are_neighbors(fit, blobs):
    one, other = (fit(viewed(blobs.features), n_augmented=1, n_partners=1, n_neighbors=k) for k in (2, 9))
    assert np.isfinite(one.losses).all()
    assert one.history != other.history


def test_more_codes_than_cached_views_are_refused(fit, blobs):
    with pytest.raises(SettingError, match="n_codes is 6: expected 1 to 3"):
        fit(viewed(blobs.features), n_augmented=5, n_codes=6)


@pytest.mark.parametrize("preset", ["ours", "authors"])
@pytest.mark.parametrize("n_samples", [2, 3, 12])
def test_fewer_images_than_a_batch(fit, blobs, preset, n_samples):
    for features in (viewed(blobs.features[:n_samples]), Features.from_array(blobs.features[:n_samples])):
        result = fit(features, preset=preset, n_clusters=2, length=3)
        assert result.head_assignments.shape == (3, n_samples)
        assert np.isfinite(result.losses).all()
        assert np.isfinite(result.confidence).all()


def test_a_single_cluster(fit, blobs):
    result = fit(viewed(blobs.features), n_clusters=1)
    assert set(result.assignments.tolist()) == {0}


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit_and_labels_change_nothing(fit, blobs):
    first, second = fit(viewed(blobs.features), seed=4), fit(viewed(blobs.features, labels=blobs.labels), seed=4)
    for name, tensor in first.model.tensors().items():
        assert torch.equal(tensor, second.model.tensors()[name])
    assert first.history == second.history
    assert first.history != fit(viewed(blobs.features), seed=5).history


def test_records_say_what_the_loss_is_made_of(fit, blobs):
    result = fit(viewed(blobs.features), length=20)
    assert [record["step"] for record in result.history] == list(range(2, 21, 2))
    last = result.history[-1]
    total = np.add(last["swapped"], last["information"]) + 1e-2 * np.array(last["excess"])
    np.testing.assert_allclose(last["loss"], total, rtol=1e-4)


def test_fitting_leaves_nothing_to_learn_from_what_is_predicted(fit, blobs):
    result = fit(viewed(blobs.features))
    assert not result.model.heads.training
    assert not any(parameter.requires_grad for parameter in result.model.heads.parameters())


def test_with_enough_views_it_is_any_gradient_method(blobs):
    recipe = change_settings(PRESETS["imc-swav"]["ours"], {**SMALL, "length": 3, "n_augmented": 2})
    one, other = (run((viewed(blobs.features),), recipe, 0) for run in (gradient.fit, METHODS["imc-swav"]))
    assert one.history == other.history
