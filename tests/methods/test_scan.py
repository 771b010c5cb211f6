import numpy as np
import pytest
import torch
from torch import nn

from headclust import METHODS, PRESETS, load_features, verbs
from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.cached import cached_neighbors
from headclust.graph.lists import neighbor_list
from headclust.methods import Recipe
from headclust.methods.gradient import fit as fit_gradient
from headclust.methods.settings import change_settings
from headclust.model.heads.linear import LinearHeads
from headclust.scoring.metrics import accuracy
from headclust.seeding import BATCH_STREAM, torch_generator
from headclust.training.sampling import Samples, sample_batches
from headclust.training.train import train_stage

SMALL = {"n_heads": 3, "batch_size": 60, "self_label.batch_size": 60}
QUICK = {**SMALL, "length": 60, "self_label.length": 20}


def make_recipe(n_clusters=4, *, preset="ours", **changes):
    shape = QUICK if preset == "ours" else {**SMALL, "length": 6, "self_label.length": 3}
    changes = {name.replace("self_label_", "self_label."): value for name, value in changes.items()}
    return change_settings(PRESETS["scan"][preset], {"n_clusters": n_clusters, **shape, **changes})


def run(features, n_clusters=4, *, seed=0, preset="ours", **changes):
    recipe = make_recipe(n_clusters, preset=preset, **changes)
    space = features if isinstance(features, Features) else Features.from_array(features)
    return METHODS["scan"]((space,), recipe, seed)


def confident_shares(result):
    """The chosen head's share of confident samples, one a record of the second stage."""
    (head,) = result.model.used_heads
    return [record["confident"][head] for record in result.history if record["stage"] == "self-label"]


@pytest.fixture
def with_views(write, blobs):
    """The blobs with two cached views: the rows moved a little."""
    moved = blobs.features + np.random.default_rng(5).normal(size=(2, 120, 12)).astype(np.float32) * 0.3
    return load_features(write("views.h5", blobs.features, blobs.labels, views=moved))


# -- What the authors do -----------------------------------------------------------------------------------------------


def test_the_authors_preset_is_their_configuration_of_imagenets_subsets():
    # wvangansbeke/Unsupervised-Classification at 952ec31.
    configuration = {  # configs/scan/scan_imagenet_50.yml
        "entropy_weight": 5.0,
        "head": "linear",
        "n_heads": 10,
        "n_neighbors": 50,
        "optimizer": "sgd",
        "lr": 5.0,
        "weight_decay": 0.0,
        "sgd_momentum": 0.9,
        "length": 100,
        "batch_size": 512,
        "final_lr": 1.0,  # scheduler: constant
    }
    code = {
        "neighbor_list": "with-self",  # data/custom_dataset.py: indices[:, :num_neighbors + 1]
        "augment": True,  # the same: a transform of each
        "reduction": "sum",  # utils/train_utils.py
    }
    labelling = {  # configs/selflabel/selflabel_imagenet_50.yml
        "threshold": 0.99,
        "balance": False,
        "optimizer": "sgd",
        "lr": 3e-5,  # 0.03 (1 - ema_alpha): see below
        "weight_decay": 0.0,
        "sgd_momentum": 0.9,
        "length": 25,
        "batch_size": 512,
        "final_lr": 1.0,
        "reduction": "sum",
        "patience": 0,
    }
    both = {"unit": "epochs", "warmup": 0, "freeze_last_layer": 0, "lr_batch": 0}
    # Rows of unit length are ours, see docs/methods/scan.md; without cached views, neighbors are the strong views.
    ours = {"transform": "l2", "neighbor_search": "exact"}
    ours_of_labelling = {"n_neighbors": 50, "neighbor_list": "others", "neighbor_search": "auto"}
    unused = {"decay": "cosine", "max_seconds": 0.0, "checkpoint_every": 0}
    expected = {**configuration, **code, **both, **ours, **unused, "n_clusters": 0, "n_components": 256}
    second = {**labelling, **both, **ours_of_labelling, **unused}
    expected |= {f"self_label.{name}": value for name, value in second.items()}
    assert Recipe.of("scan", "authors").values == expected


def author_loss(anchors, neighbors):
    """SCANLoss as its formula reads, on probabilities."""
    p, q = anchors.softmax(1), neighbors.softmax(1)
    mean = p.mean(0)
    return -(p * q).sum(1).log().mean() + 5.0 * (mean * mean.log()).sum()


def test_twenty_steps_equal_a_plain_loop_over_linear_layers(blobs):
    recipe = make_recipe(preset="authors", transform="none", lr=0.05, length=10, n_neighbors=6)
    space = Features.from_array(blobs.features)
    features, listed = torch.tensor(blobs.features), neighbor_list(cached_neighbors(space, 6).indices, "with-self")
    assert listed.shape == (120, 7)
    samples = Samples((features,), listed)
    trained = train_stage(recipe[0], samples, seed=3)

    start = LinearHeads(feature_dims=(12,), n_clusters=4, n_heads=3, seed=3).state_dict()
    layers = [nn.Linear(12, 4) for _ in range(3)]
    for head, layer in enumerate(layers):
        layer.load_state_dict({"weight": start["weight"][head], "bias": start["cluster_bias"][head]})
    optimizer = torch.optim.SGD([p for layer in layers for p in layer.parameters()], lr=0.05, momentum=0.9)
    batches = sample_batches(
        samples, ("anchor", "neighbor"), batch_size=60, generator=torch_generator(3, BATCH_STREAM), augment=True
    )
    epoch = []
    for step in range(20):
        anchors, neighbors = next(batches).features[0]
        losses = [author_loss(layer(anchors), layer(neighbors)) for layer in layers]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        epoch = [*epoch, [float(loss.detach()) for loss in losses]][-2:]
        if step % 2:
            np.testing.assert_allclose(trained.history[step // 2]["loss"], np.mean(epoch, axis=0), rtol=1e-4, atol=1e-5)
    for head, layer in enumerate(layers):
        torch.testing.assert_close(trained.heads.weight[head], layer.weight.detach(), rtol=1e-4, atol=1e-5)


def test_a_running_mean_written_back_is_a_thousandth_of_the_learning_rate():
    # Why the authors' preset has 3e-5: they train with 0.03 and put the running mean in place of the weights each step.
    generator = torch.Generator().manual_seed(0)
    rows, targets = torch.randn(40, 6, generator=generator).double(), torch.arange(40) % 3
    start = torch.randn(3, 6, generator=generator).double()

    def train(lr, *, momentum=None):
        weight = nn.Parameter(start.clone())
        optimizer = torch.optim.SGD([weight], lr=lr, momentum=0.9)
        shadow = weight.detach().clone()
        for _ in range(30):
            optimizer.zero_grad()
            nn.functional.cross_entropy(rows @ weight.T, targets).backward()
            optimizer.step()
            if momentum is not None:
                shadow = momentum * shadow + (1 - momentum) * weight.detach()
                weight.data.copy_(shadow)
        return weight.detach()

    written_back, plain = train(0.03, momentum=0.999), train(3e-5)
    assert (plain - start).abs().max() > 1e-4
    torch.testing.assert_close(written_back, plain, rtol=1e-9, atol=1e-12)


# -- Self-labelling ----------------------------------------------------------------------------------------------------


def test_self_labelling_makes_heads_surer_and_as_good(with_views, blobs):
    recipe = make_recipe(lr=0.05, self_label_length=150, self_label_lr=1e-2, self_label_patience=0)
    first = fit_gradient((with_views,), recipe[:1], 0)
    both = METHODS["scan"]((with_views,), recipe, 0)
    shares = confident_shares(both)
    assert shares[-1] > shares[0] + 0.05
    assert (both.confidence > 0.99).mean() > (first.confidence > 0.99).mean() + 0.05
    assert accuracy(both.assignments, blobs.labels) >= accuracy(first.assignments, blobs.labels) - 0.01


@pytest.mark.parametrize("preset", ["ours", "authors"])
def test_heads_that_are_sure_of_nothing_stay_as_they_were(blobs, capsys, preset):
    recipe = make_recipe(preset=preset, lr=1e-6)
    result = METHODS["scan"]((Features.from_array(blobs.features),), recipe, 0)
    assert "the chosen head was confident of no sample" in capsys.readouterr().err
    assert set(confident_shares(result)) == {0.0}
    before = fit_gradient((Features.from_array(blobs.features),), recipe[:1], 0)
    for name, tensor in before.model.heads.state_dict().items():
        assert torch.equal(tensor, result.model.heads.state_dict()[name])
    assert "confident of no sample" not in capsys.readouterr().err


def test_training_ends_when_the_confident_share_has_levelled_off(blobs):
    patient, lasting = (run(blobs.features, lr=0.05, self_label_patience=patience) for patience in (2, 0))
    assert len(confident_shares(lasting)) == 10
    assert 3 <= len(confident_shares(patient)) < 10
    ends = [record["step"] for record in patient.history if record["stage"] == "self-label"]
    assert ends == [2 * n for n in range(1, len(ends) + 1)]


def test_settings_of_the_second_stage_have_its_name(blobs):
    with pytest.raises(SettingError, match="self_label"):
        make_recipe(self_labels_lr=1e-3)
    rates = [
        record["lr"] for record in run(blobs.features, self_label_lr=0.123).history if record["stage"] == "self-label"
    ]
    assert rates[0] == pytest.approx(0.123)
    first, second = make_recipe(self_label_threshold="0.5", entropy_weight="2", lr="0.2")
    assert (first.lr, second.lr) == (0.2, PRESETS["scan"]["ours"][1].lr)
    assert first.objective_settings == {"entropy_weight": 2.0}
    assert second.objective_settings["threshold"] == 0.5


# -- The whole method --------------------------------------------------------------------------------------------------


def test_the_head_with_the_lowest_loss_of_the_first_stage_speaks(blobs):
    result = run(blobs.features, n_heads=5, length=15, lr=1e-3)
    first = [record for record in result.history if record["stage"] == "scan"]
    assert result.losses == first[-1]["loss"]
    assert result.model.used_heads[0] == int(np.argmin(result.losses))
    assert {"consistency", "entropy"} <= set(first[0])


@pytest.mark.parametrize("preset", ["ours", "authors"])
def test_cached_views_are_used_where_there_are_any(with_views, blobs, capsys, preset):
    told = "neighbors stand in for them in self-label"
    seen = run(with_views, preset=preset)
    assert told not in capsys.readouterr().err
    plain = run(blobs.features, preset=preset)
    assert told in capsys.readouterr().err
    assert seen.history[0] != plain.history[0]
    without = run(with_views, preset=preset, augment=False)
    first = [record for record in plain.history if record["stage"] == "scan"]
    assert [record for record in without.history if record["stage"] == "scan"] == first


def test_blobs_are_found(with_views, blobs):
    for space in (with_views, Features.from_array(blobs.features)):
        result = run(space, length=300, self_label_length=50)
        assert accuracy(result.assignments, blobs.labels) > 0.95
        assert len(set(result.assignments.tolist())) == 4


@pytest.mark.parametrize("preset", ["ours", "authors"])
@pytest.mark.parametrize("n_samples", [2, 3, 12])
def test_fewer_images_than_neighbors_or_a_batch(blobs, preset, n_samples):
    result = run(blobs.features[:n_samples], 2, preset=preset)
    assert result.head_assignments.shape == (3, n_samples)
    assert np.isfinite(result.losses).all()


def test_labels_change_nothing(with_views, blobs):
    shuffled = Features.from_array(blobs.features, labels=np.roll(blobs.labels, 7))
    assert run(shuffled).history == run(blobs.features).history


def test_a_config_repeats_a_run(write, blobs, tmp_path):
    path = write("blobs.h5", blobs.features, blobs.labels)
    changes = {**{name: str(value) for name, value in QUICK.items()}, "self_label.lr": "1e-3"}
    first = verbs.fit([path], method="scan", seed=7, changes=changes, output=tmp_path / "first")
    again = verbs.fit(config=first, output=tmp_path / "again")
    for name in ("model.safetensors", "assignments.csv", "history.jsonl"):
        assert (again / name).read_bytes() == (first / name).read_bytes()
    assert '"self_label.lr": 0.001' in (first / "config.json").read_text()


def test_one_space_only(blobs):
    space = Features.from_array(blobs.features)
    with pytest.raises(SettingError, match="one feature file"):
        METHODS["scan"]((space, space), make_recipe(), 0)
