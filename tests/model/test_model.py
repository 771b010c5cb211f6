from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import Normalizer, StandardScaler

from headclust.errors import DataError, FileFormatError, SettingError
from headclust.features import source
from headclust.model import TRANSFORMS, ClusterModel, FeatureTransform, fit_transform, side_by_side
from headclust.model.heads import CentroidHeads, HeadEnsemble, TaskHeads


@pytest.fixture
def features(blobs):
    return torch.tensor(blobs.features)


def some_heads(kind, dim):
    if kind == "mlp":
        heads = HeadEnsemble(feature_dims=(dim,), n_clusters=5, n_heads=3, hidden_dim=8, bottleneck_dim=4, seed=1)
        return heads.requires_grad_(False)
    centroids = torch.randn(3, 5, dim, generator=torch.Generator().manual_seed(1))
    return CentroidHeads(centroids=centroids, scale=torch.tensor([1.0, 2.0, 3.0]))


def test_none_leaves_features_as_they_are(features):
    assert fit_transform(features, "none")(features) is features


def test_l2_is_scikit_learns_normalizer(features):
    actual = fit_transform(features, "l2")(features)
    np.testing.assert_allclose(actual.numpy(), Normalizer().fit_transform(features.numpy()), rtol=1e-5, atol=1e-7)


def test_standardize_is_scikit_learns_scaler(features):
    features[:, 3] = 0.5  # a constant dimension becomes zero
    features[:, 4] *= 1000
    actual = fit_transform(features, "standardize")(features)
    expected = StandardScaler().fit_transform(features.double().numpy())
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert not actual[:, 3].any()


@pytest.mark.parametrize("n_components", [1, 5, 12])
def test_pca_is_scikit_learns_but_for_signs_and_one_scale(features, n_components):
    actual = fit_transform(features, "pca", n_components=n_components)(features).numpy()
    unit = Normalizer().fit_transform(features.double().numpy())
    expected = PCA(n_components, svd_solver="full").fit_transform(unit)
    expected *= np.sqrt(n_components / np.square(expected).sum(1).mean())
    np.testing.assert_allclose(np.abs(actual), np.abs(expected), rtol=2e-3, atol=2e-4)
    assert np.square(actual).sum(1).mean() == pytest.approx(n_components, rel=1e-4)


def test_signs_of_components_are_fixed(features):
    # An eigenvector is as good turned round: which one comes out depends on the library.
    matrix = fit_transform(features, "pca", n_components=12).matrix
    assert (matrix.gather(0, matrix.abs().argmax(0, keepdim=True)) > 0).all()


def test_pca_has_no_more_components_than_there_can_be(features):
    assert fit_transform(features, "pca", n_components=256).matrix.shape == (12, 12)
    assert fit_transform(features[:6], "pca", n_components=256).matrix.shape == (12, 5)


def test_pca_is_the_same_in_blocks_and_every_time(features, monkeypatch):
    whole = fit_transform(features, "pca", n_components=4)
    assert torch.equal(whole.matrix, fit_transform(features, "pca", n_components=4).matrix)
    monkeypatch.setattr(source, "_MOST_ROWS", 7)
    blocks = fit_transform(features, "pca", n_components=4)
    assert not torch.equal(blocks.mean, whole.mean)
    torch.testing.assert_close(blocks.matrix, whole.matrix, rtol=1e-4, atol=1e-4)


def test_rows_that_all_point_one_way_have_no_components():
    # Once NaN, blamed on the learning rate much later; any positive features of one dimension are like this.
    for features in (torch.arange(1.0, 50)[:, None], torch.arange(1.0, 50)[:, None] * torch.rand(300)):
        with pytest.raises(DataError, match="all rows point the same way"):
            fit_transform(features, "pca")


def test_a_transform_is_of_the_fitted_samples_only(features):
    for kind in TRANSFORMS:
        transform = fit_transform(features[:60], kind, n_components=3)
        torch.testing.assert_close(transform(features)[:60], transform(features[:60]))


def test_an_unknown_transform():
    with pytest.raises(SettingError, match="unknown transform 'whiten': expected one of none, l2"):
        fit_transform(torch.ones(3, 2), "whiten")


def test_zero_rows_stay_zero():
    assert not FeatureTransform(l2=True)(torch.zeros(2, 3)).any()


@pytest.fixture(params=[(kind, heads) for kind in TRANSFORMS for heads in ("mlp", "centroids")], ids="-".join)
def model(request, features):
    kind, heads = request.param
    transform = fit_transform(features, kind, n_components=4)
    return ClusterModel(
        (transform,), some_heads(heads, transform(features).shape[1]), used_heads=(2,), temperature=0.25
    )


def test_probs_are_the_softmax_of_the_heads_over_the_temperature(model, features):
    probs = model.probs(features)
    assert probs.shape == (3, 120, 5)
    logits = model.heads(model.transforms[0](features)[None]).logits[0]
    torch.testing.assert_close(probs, torch.softmax(logits / 0.25, -1))
    assert not probs.requires_grad


def test_assigning_in_blocks_is_reading_the_probabilities(model, features, monkeypatch):
    confidence, clusters = model.probs(features).max(-1)
    monkeypatch.setattr(source, "_MOST_ROWS", 50)
    _, sure, actual = model.assign(features)
    assert actual.dtype == np.int32
    assert (actual == clusters.numpy()).mean() > 0.99  # a last bit may tip a tie
    np.testing.assert_allclose(sure, confidence[model.used_heads[0]].numpy(), rtol=1e-3, atol=1e-4)


def test_the_number_of_clusters(model):
    assert model.n_clusters == 5


def test_tensors_and_back(model, features):
    tensors = model.tensors()
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in tensors.values())
    again = ClusterModel.from_tensors(tensors)
    assert torch.equal(again.probs(features), model.probs(features))
    assert (again.used_heads, again.temperature) == ((2,), 0.25)
    assert {name: tensor.tolist() for name, tensor in again.tensors().items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_to_gives_the_same_model(model, features):
    assert torch.equal(model.to(torch.device("cpu")).probs(features), model.probs(features))


def without(name):
    return lambda tensors: tensors.pop(name)


def changed(name, value):
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    "damage",
    [
        dict.clear,
        without("speaking"),
        without("temperature"),
        without("transforms.0.l2"),
        without("heads.mlp.hidden_bias"),
        without("heads.mlp.hidden_weight"),
        changed("speaking", torch.tensor([], dtype=torch.int64)),
        changed("speaking", torch.tensor([3])),  # once an IndexError when asked for clusters
        changed("heads.mlp.hidden_bias", torch.zeros(2, 8)),
        changed("heads.mlp.hidden_weight", torch.zeros(8, 12)),
        changed("heads.spectral.x", torch.zeros(1)),
        changed("heads.short", torch.zeros(1)),
    ],
)
def test_tensors_that_make_no_model(features, damage):
    tensors = ClusterModel((FeatureTransform(),), some_heads("mlp", 12), (0,), 0.1).tensors()
    damage(tensors)
    with pytest.raises(FileFormatError, match="do not make a model"):
        ClusterModel.from_tensors(tensors)


def test_a_head_alone_predicts_as_in_the_ensemble(model, features):
    for head in range(3):
        alone = model.alone(head)
        assert (alone.used_heads, alone.n_clusters) == ((0,), 5)
        torch.testing.assert_close(alone.probs(features)[0], model.probs(features)[head], rtol=1e-4, atol=1e-6)


def test_a_transform_of_another_width_makes_no_model(features):
    model = ClusterModel((fit_transform(features, "pca", n_components=4),), some_heads("mlp", 4), (0,), 0.1)
    tensors = model.tensors()
    tensors["transforms.0.matrix"] = tensors["transforms.0.matrix"][:, :3]
    with pytest.raises(FileFormatError, match="the transform gives 3 dimensions, the heads take 4"):
        ClusterModel.from_tensors(tensors)


def test_unit_is_a_last_normalization(features):
    transform = fit_transform(features, "pca", n_components=4)
    actual = replace(transform, unit=True)(features)
    expected = Normalizer().fit_transform(transform(features).double().numpy())
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(actual.norm(dim=1).numpy(), 1, rtol=1e-5)
    first = FeatureTransform(l2=True, mean=features.mean(0), scale=torch.full((12,), 3.0), unit=True)
    expected = Normalizer().fit_transform(Normalizer().fit_transform(features.numpy()) - features.mean(0).numpy())
    np.testing.assert_allclose(first(features).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_zero_row_stays_zero_under_unit():
    transform = FeatureTransform(mean=torch.ones(3), unit=True)
    assert transform(torch.ones(2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.fixture(params=["mlp", "centroids"])
def several(request, features):
    """Three heads of which two are used, after a transform to unit rows."""
    transform = replace(fit_transform(features, "pca", n_components=4), unit=True)
    return ClusterModel((transform,), some_heads(request.param, 4), used_heads=(2, 0), temperature=0.5)


def test_several_used_heads_predict_the_mean_of_their_probabilities(several, features, monkeypatch):
    heads = [several.alone(head).probs(features)[0].double().numpy() for head in (2, 0)]
    mean = (heads[0] + heads[1]) / 2
    monkeypatch.setattr(source, "_MOST_ROWS", 50)
    assigned = several.assign(features)
    np.testing.assert_allclose(assigned.confidence, mean.max(1), rtol=1e-4)
    assert assigned.confidence.dtype == np.float32
    assert (assigned.clusters == mean.argmax(1)).mean() > 0.99  # a last bit may tip a tie
    assert assigned.clusters.dtype == np.int64
    # It differs from the clusters of each head alone, the unused one included.
    assert min((assigned.clusters != clusters).sum() for clusters in assigned.by_head) > 0
    assert all(
        (assigned.by_head[head] == several.alone(head).probs(features)[0].argmax(-1).numpy()).mean() > 0.99
        for head in range(3)
    )


def test_the_order_of_used_heads_hardly_matters(several, features):
    assigned, turned = several.assign(features), replace(several, used_heads=(0, 2)).assign(features)
    assert np.array_equal(assigned.clusters, turned.clusters)
    np.testing.assert_allclose(assigned.confidence, turned.confidence, rtol=1e-6)


@pytest.mark.parametrize("exponent", [1.0, 7.0])
def test_the_order_of_rows_changes_no_bit(several, features, exponent):
    model, order = replace(several, exponent=exponent), torch.randperm(len(features))
    assert torch.equal(model.mean_probs(features[order]), model.mean_probs(features)[order])
    assigned, turned = model.assign(features), model.assign(features[order])
    assert np.array_equal(turned.confidence, assigned.confidence[order.numpy()])


def test_a_single_used_head_predicts_by_itself(several, features):
    assigned = replace(several, used_heads=(1,)).assign(features)
    assert np.array_equal(assigned.clusters, assigned.by_head[1])


def test_several_used_heads_are_saved_and_read_back(several, features):
    again = ClusterModel.from_tensors(several.tensors())
    assert (again.used_heads, again.transforms[0].unit, again.transforms[0].l2) == ((2, 0), True, True)
    assigned, repeated = several.assign(features), again.assign(features)
    assert all(np.array_equal(first, other) for first, other in zip(assigned, repeated, strict=True))
    assert several.to(torch.device("cpu")).used_heads == (2, 0)
    assert several.alone(0).transforms[0].unit


@pytest.mark.parametrize("used_heads", [[0, 3], [-4], [0.5], []])
def test_used_heads_that_do_not_exist_make_no_model(several, used_heads):
    tensors = {**several.tensors(), "speaking": torch.tensor(used_heads)}
    with pytest.raises(FileFormatError, match="do not make a model"):
        ClusterModel.from_tensors(tensors)


@pytest.mark.parametrize("n_samples", [2, 5, 30])
def test_components_of_fewer_rows_than_dimensions(n_samples):
    """Once the covariance of five rows of 1,280 numbers, most of whose eigenvalues are zero, had no solution."""
    rows = torch.randn(n_samples, 1280, generator=torch.Generator().manual_seed(0)).relu()
    actual = fit_transform(rows, "pca")(rows).double()
    unit = torch.nn.functional.normalize(rows, dim=1).double()
    expected = PCA(n_samples - 1, svd_solver="full").fit_transform(unit.numpy())
    expected = torch.from_numpy(expected) * (n_samples - 1) ** 0.5 / expected.var(0).sum() ** 0.5
    assert actual.shape == (n_samples, n_samples - 1)
    torch.testing.assert_close(actual.abs(), expected.abs(), rtol=1e-4, atol=1e-4)


def test_one_space_side_by_side_is_itself(features):
    assert side_by_side([features]) is features


def test_several_spaces_side_by_side_keep_unit_length(features):
    rows = [torch.nn.functional.normalize(part, dim=-1) for part in (features, features[:, :3], features[:, 2:])]
    joined = side_by_side(rows)
    assert joined.shape == (120, 25)
    torch.testing.assert_close(joined.norm(dim=-1), torch.ones(120))
    torch.testing.assert_close(joined @ joined.T, sum(part @ part.T for part in rows) / 3)


@pytest.mark.parametrize(
    ("dims", "width", "wrong"),
    [
        ((3,), 4, "the transform gives 3 dimensions, the heads take 4"),
        ((3, 2), 4, "the transform gives 5 dimensions, the heads take 4"),
        ((3, 2), 3, "the transform gives 5 dimensions, the heads take 3"),
    ],
)
def test_transforms_that_do_not_fit_the_heads_make_no_model(features, dims, width, wrong):
    transforms = tuple(fit_transform(features, "pca", n_components=dim) for dim in dims)
    tensors = ClusterModel(transforms, some_heads("mlp", width), (0,), 1.0).tensors()
    with pytest.raises(FileFormatError, match=wrong):
        ClusterModel.from_tensors(tensors)


def test_as_many_transforms_as_the_heads_take_spaces(features):
    heads = TaskHeads(feature_dims=(3, 3, 3), n_clusters=5, n_heads=2, seed=0)
    transforms = tuple(fit_transform(features, "pca", n_components=3) for _ in range(2))
    with pytest.raises(FileFormatError, match="2 transforms, but heads of 3 spaces"):
        ClusterModel.from_tensors(ClusterModel(transforms, heads, (0,), 1.0).tensors())


def test_other_cluster_ids_are_the_same_model(several, features):
    ids = [3, 0, 6, 1, 2]
    renumbered = several.renumbered(ids, 7)
    assert renumbered.n_clusters == 7
    probs, before = renumbered.probs(features), several.probs(features)
    assert torch.equal(probs[..., ids], before)
    assert (probs[..., [4, 5]] == 0).all()
    assert torch.equal(renumbered.mean_probs(features)[:, ids], several.mean_probs(features))
    assert np.array_equal(renumbered.assign(features).clusters, np.array(ids)[several.assign(features).clusters])
    assert np.array_equal(renumbered.alone(1).assign(features).by_head[0], renumbered.assign(features).by_head[1])
    # Read back, and renumbered once more.
    read = ClusterModel.from_tensors(renumbered.tensors())
    assert (read.n_clusters, read.outputs) == (7, ((1,), (3,), (4,), (0,), (), (), (2,)))
    assert torch.equal(read.probs(features), probs)
    back = read.renumbered([1, 3, 4, 0, 5, 6, 2], 7)
    assert torch.equal(back.probs(features)[..., :5], before)


def test_joined_clusters_add_their_probabilities(several, features):
    joined = several.renumbered([0, 2, 0, 3, 0], 4)
    assert joined.outputs == ((0, 2, 4), (), (1,), (3,))
    before = several.probs(features)
    torch.testing.assert_close(joined.probs(features)[..., 0], before[..., [0, 2, 4]].sum(-1))
    assert torch.equal(joined.probs(features)[..., 2:], before[..., [1, 3]])
    read = ClusterModel.from_tensors(joined.tensors())
    assert read.outputs == joined.outputs
    assert read.renumbered([1, 3, 1, 0], 4).outputs == ((3,), (0, 2, 4, 1), (), ())


def test_ids_that_stay_change_no_tensor(several):
    assert several.renumbered(range(5), 5).tensors().keys() == several.tensors().keys()


@pytest.mark.parametrize("clusters", [[0, 1, 2, 3, 3], [0, 1, 2, 3], [0, 1, 2, 3, 5], [0, 1, 2, 3, 4, 4]])
def test_ids_that_fit_no_output_make_no_model(several, clusters):
    with pytest.raises(FileFormatError, match="clusters do not name 5 outputs once each"):
        ClusterModel.from_tensors({**several.tensors(), "clusters": torch.tensor(clusters)})
