import numpy as np
import pytest
import torch

from headclust.cache import Features
from headclust.errors import DataError, SettingError
from headclust.methods import gradient
from headclust.model import fit_transform
from headclust.neighbors import nearest_neighbors
from headclust.sampling import Samples
from headclust.stages import Stage
from headclust.train import train_stage

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
    assert result.model.chosen == int(np.argmin(before.losses))


def test_a_later_stage_of_no_length_is_left_out(space):
    second = Stage(objective="wmi", **{**SMALL, "length": 0})
    assert gradient.fit((space,), (first(), second), 0).history == gradient.fit((space,), (first(),), 0).history
    with pytest.raises(SettingError, match=r"^length is 0: wanted more than 0"):
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
    clusters, _ = last.assign(torch.tensor(blobs.features))
    assert np.array_equal(clusters[0], result.assignments)


def test_neighbors_beyond_an_even_cluster_are_told(space, capsys):
    gradient.fit((space,), (first(n_neighbors=200, length=1),), 0)
    assert "n_neighbors is 119, more than the 30 samples of an even cluster" in capsys.readouterr().err
    gradient.fit((space,), (first(length=1),), 0)
    assert capsys.readouterr().err == ""


def test_what_does_not_fit_is_refused(space, blobs):
    with pytest.raises(SettingError, match="takes one feature file: found 2"):
        gradient.fit((space, space), (first(),), 0)
    with pytest.raises(SettingError, match="n_clusters is 0, of 120 samples: wanted 1 to 120"):
        gradient.fit((space,), (first(n_clusters=0),), 0)
    with pytest.raises(SettingError, match="n_clusters is 121"):
        gradient.fit((space,), (first(n_clusters=121),), 0)
    with pytest.raises(DataError, match="1 sample: this method needs at least 2"):
        gradient.fit((Features.from_array(blobs.features[:1]),), (first(n_clusters=1),), 0)
