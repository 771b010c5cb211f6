import numpy as np
import pytest
import torch

from headclust.errors import DataError, HeadclustError, SettingError
from headclust.features import Features
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods import gradient
from headclust.model import fit_transform
from headclust.training.sampling import Samples
from headclust.training.stages import Stage
from headclust.training.train import train_stage

SMALL = {"unit": "steps", "length": 20, "warmup": 2, "lr": 1e-2, "lr_batch": 0, "batch_size": 40, "n_neighbors": 6}
HEADS = {"n_clusters": 4, "n_heads": 3, "head_settings": {"hidden_dim": 10, "bottleneck_dim": 6}}


def first(**changes):
    return Stage(objective="temi", transform="standardize", **{**SMALL, **HEADS, **changes})


@pytest.fixture
def space(blobs):
    return Features.from_array(blobs.features)


@pytest.fixture
def viewed(write, blobs):
    """A feature file with two cached views a sample, far from the samples themselves."""

    def load(distance=50.0):
        from headclust import load_features

        views = np.stack([blobs.features + distance, blobs.features - distance])
        return load_features(write("viewed.h5", blobs.features, views=views))

    return load


def test_a_later_stage_goes_on_from_the_heads_of_the_one_before(space, blobs):
    second = Stage(objective="wmi", **{**SMALL, "length": 5})
    result = gradient.fit((space,), (first(), second), 7)
    features = torch.tensor(blobs.features)
    transform = fit_transform(features, "standardize")
    samples = Samples((transform(features),), nearest_neighbors(features, 6).indices)
    before = train_stage(first(), samples, seed=7)
    after = train_stage(second, samples, seed=7, start=before.heads, position=1)
    for name, tensor in after.heads.state_dict().items():
        assert torch.equal(tensor, result.model.heads.state_dict()[name])
    assert [record["stage"] for record in result.history] == ["temi"] * 10 + ["wmi"] * 5
    assert result.losses == before.losses  # the first stage's say which head speaks
    assert result.model.used_heads[0] == int(np.argmin(before.losses))


def test_a_later_stage_of_no_length_is_left_out(space):
    second = Stage(objective="wmi", **{**SMALL, "length": 0})
    assert gradient.fit((space,), (first(), second), 0).history == gradient.fit((space,), (first(),), 0).history
    with pytest.raises(SettingError, match=r"^length is 0: expected more than 0"):
        gradient.fit((space,), (first(length=0),), 0)


def test_one_stage_does_not_name_itself(space):
    assert "stage" not in gradient.fit((space,), (first(),), 0).history[0]


def test_cached_views_are_transformed_as_the_features_are(viewed, blobs):
    space, stage = viewed(), first(augment=True)
    result = gradient.fit((space,), (stage,), 0)
    features = torch.tensor(blobs.features)
    transform = fit_transform(features, "standardize")
    views = torch.stack([transform(features + 50.0), transform(features - 50.0)])
    samples = Samples((transform(features),), nearest_neighbors(features, 6).indices, (views,))
    assert result.history == train_stage(stage, samples, seed=0).history
    assert result.history != gradient.fit((space,), (first(),), 0).history


def test_checkpoints_are_models_of_the_fitted_kind(space, blobs):
    result = gradient.fit((space,), (first(checkpoint_every=5),), 0)
    assert [step for step, _ in result.checkpoints] == [10, 20]
    last = result.checkpoints[-1][1]
    _, _, clusters = last.assign(torch.tensor(blobs.features))
    assert np.array_equal(clusters[0], result.assignments)


def test_checkpoints_of_several_stages_are_all_of_the_head_that_speaks(space, blobs):
    # Once of the head with the lowest loss of the later stage, and none of the first.
    second = Stage(objective="self-label", **{**SMALL, "n_neighbors": 6, "checkpoint_every": 5})
    result = gradient.fit((space,), (first(checkpoint_every=5), second), 1)
    assert [step for step, _ in result.checkpoints] == [10, 20, 30, 40]
    _, _, clusters = result.checkpoints[-1][1].assign(torch.tensor(blobs.features))
    assert np.array_equal(clusters[0], result.assignments)
    _, _, clusters = result.checkpoints[1][1].assign(torch.tensor(blobs.features))
    alone = gradient.fit((space,), (first(),), 1)
    assert np.array_equal(clusters[0], alone.assignments)


def test_a_last_step_that_breaks_the_heads_is_told_in_one_line(space):
    # Once a run whose confidences were no numbers: losses are from before the step.
    with pytest.raises(HeadclustError, match="the fitted heads predict values that are not finite: lower lr"):
        gradient.fit((space,), (first(length=1, warmup=0, lr=1e30),), 0)


def test_views_that_are_not_there_are_told(space, viewed, capsys):
    two = viewed()
    gradient.fit((space,), (first(length=1, augment=True),), 0)
    assert "no augmented views: anchors and neighbors are the plain images in temi" in capsys.readouterr().err
    pairs = Stage(objective="clc", **{**SMALL, **HEADS, "length": 1})
    gradient.fit((space,), (pairs,), 0)
    assert "no augmented views: neighbors stand in for them in clc" in capsys.readouterr().err
    gradient.fit((two,), (pairs,), 0)
    assert capsys.readouterr().err == ""
    five = Stage(objective="imc-swav", head="batchnorm", n_clusters=4, n_heads=2, **{**SMALL, "length": 1})
    gradient.fit((two,), (five,), 0)
    assert "hold 2 of the 5 augmented views per sample that imc-swav uses" in capsys.readouterr().err


def test_several_spaces_for_objectives_that_take_one(space, viewed, capsys):
    task = {**SMALL, "length": 1, "head": "task", "n_clusters": 4, "n_heads": 2}
    gradient.fit((space, space), (Stage(objective="temi", **task),), 0)
    assert "neighbors are those of the first feature file, in temi" in capsys.readouterr().err
    # Once a ValueError and an IndexError.
    with pytest.raises(SettingError, match="imc-swav takes one feature file: found 2"):
        gradient.fit((space, space), (Stage(objective="imc-swav", **task),), 0)
    with pytest.raises(DataError, match="the feature files hold 0, 2 views: expected equal numbers"):
        gradient.fit((space, viewed()), (Stage(objective="scan", augment=True, **task),), 0)


def test_neighbors_beyond_an_even_cluster_are_told(space, capsys):
    gradient.fit((space,), (first(n_neighbors=200, length=1),), 0)
    assert "n_neighbors is 119, more than the 30 samples of an even cluster" in capsys.readouterr().err
    gradient.fit((space,), (first(length=1),), 0)
    assert capsys.readouterr().err == ""


def test_what_does_not_fit_is_refused(space, blobs):
    with pytest.raises(SettingError, match="takes one feature file: found 2"):
        gradient.fit((space, space), (first(),), 0)
    with pytest.raises(SettingError, match="n_clusters is 0, of 120 samples: expected 1 to 120"):
        gradient.fit((space,), (first(n_clusters=0),), 0)
    with pytest.raises(SettingError, match="n_clusters is 121"):
        gradient.fit((space,), (first(n_clusters=121),), 0)
    with pytest.raises(DataError, match="1 sample: this method needs at least 2"):
        gradient.fit((Features.from_array(blobs.features[:1]),), (first(n_clusters=1),), 0)
