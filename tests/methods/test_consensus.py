import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from conftest import make_blobs, short

from headclust.errors import DataError, SettingError
from headclust.features import Features
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods import DEFAULT_METHOD, METHODS, PRESETS, Recipe
from headclust.methods.consensus import partitions
from headclust.methods.consensus.pair_whitening import scatter, space_transform, whiten_within
from headclust.methods.consensus.partitions import Partitions, find_partitions, kind, n_restarts
from headclust.methods.settings import change_settings, list_settings
from headclust.model import ClusterModel, ensemble, fit_transform
from headclust.model.heads import LinearHeads
from headclust.runs.scored_fit import fit_and_score
from headclust.scoring.metrics import accuracy

QUICK = {**short("consensus"), "pairs.batch_size": 1024}
AS_SHIPPED = {setting.name: setting.value for setting in list_settings(PRESETS["consensus"]["ours"])}
del AS_SHIPPED["n_clusters"]


def fit_features(features, n_clusters=4, *, seed=0, **changes):
    recipe = change_settings(PRESETS["consensus"]["ours"], {"n_clusters": n_clusters, **QUICK, **changes})
    return METHODS["consensus"]((features,), recipe, seed)


def fit(rows, n_clusters=4, *, labels=None, **options):
    return fit_features(Features.from_array(rows, labels=labels), n_clusters, **options)


def with_views(plain, *views):
    """Features in memory that have cached views."""
    return dataclasses.replace(
        Features.from_array(plain), n_views=len(views), _open=lambda view: plain if view is None else views[view]
    )


def assert_same(first, second):
    """To the bit."""
    for name, tensor in first.model.tensors().items():
        assert torch.equal(tensor, second.model.tensors()[name]), name
    assert np.array_equal(first.assignments, second.assignments)
    assert np.array_equal(first.confidence, second.confidence)
    assert np.array_equal(first.head_assignments, second.head_assignments)
    assert (first.losses, first.history) == (second.losses, second.history)


@pytest.fixture(scope="module")
def hard():
    """Four blobs that overlap, so that heads and seeds differ."""
    return make_blobs(200, distance=0.7)


@pytest.fixture(scope="module")
def lit():
    """Four groups, and a light that changes from picture to picture and says nothing of the group: rows, two views."""
    generator, labels = np.random.default_rng(0), np.arange(400) % 4
    groups = np.random.default_rng(3).normal(size=(4, 8))[labels] + 0.4 * generator.normal(size=(400, 8))

    def seen():
        light, rest = 4 * generator.normal(size=(400, 1)), 0.3 * generator.normal(size=(400, 8))
        return np.hstack([groups + rest, light, np.full((400, 1), 20)]).astype(np.float32)

    return [seen() for _ in range(3)], labels


def test_it_is_the_default():
    assert DEFAULT_METHOD == "consensus"
    assert list(PRESETS["consensus"]) == ["ours"]


def test_blobs_are_found(blobs):
    result = fit(blobs.features)
    assert accuracy(result.assignments, blobs.labels) > 0.95
    assert all(accuracy(head, blobs.labels) > 0.9 for head in result.head_assignments)


@pytest.mark.parametrize("views", [True, False])
def test_what_samples_that_belong_together_differ_in_is_left_out(lit, views):
    (plain, *others), labels = lit
    features = with_views(plain, *others) if views else Features.from_array(plain)
    # Without the refinement, whose pairs lead to the groups too where there are views.
    cuts = AS_SHIPPED | {"partitions": "graph", "pairs.length": 0}
    fits = {whiten: fit_features(features, **cuts | {"whiten": whiten}) for whiten in (True, False)}
    scores = {whiten: accuracy(result.assignments, labels) for whiten, result in fits.items()}
    assert scores[True] > 0.9
    assert scores[True] > scores[False] + 0.05
    # Walks and k-means cost up to 20 points here without views: they follow the light, along which groups are long.
    assert accuracy(fit_features(features, **AS_SHIPPED).assignments, labels) > 0.75
    (lloyd,) = change_settings(PRESETS["kmeans"]["ours"], {"n_clusters": 4})
    baseline = METHODS["kmeans"]((features,), (lloyd,), 0)
    assert accuracy(baseline.assignments, labels) < 0.7


def space_of(features, **settings):
    return space_transform(features, Partitions(n_clusters=4, **settings), torch.device("cpu"))


def test_views_tell_more_than_neighbors(lit):
    (plain, *others), labels = lit
    rows, features = torch.tensor(plain), with_views(plain, *others)

    def purity(transform):
        found = nearest_neighbors(transform(rows), 10).indices.numpy()
        return (labels[found] == labels[:, None]).mean()

    from_views, from_neighbors = space_of(features), space_of(features, views=False)
    assert purity(from_views) > purity(from_neighbors) > purity(fit_transform(rows, "pca"))
    assert torch.equal(from_neighbors.matrix, space_of(Features.from_array(plain)).matrix)


@pytest.mark.parametrize(
    ("n_samples", "n_views", "expected"),
    [
        (100, 2, 0.1),  # 12 dimensions, 200 differences: what is set is more
        (40, 2, 12 / 80),
        (40, 1, 12 / 40),
        (40, 0, 0.1),  # 5 neighbors each, half of an even cluster: 200 differences
        (14, 0, 12 / 14),  # 1 neighbor each
        (9, 1, 8 / 9),  # no more than 8 components
        (5, 1, 4 / 5),
    ],
)
def test_few_differences_whiten_less(n_samples, n_views, expected):
    generator = np.random.default_rng(0)
    plain, *views = generator.normal(size=(1 + n_views, n_samples, 12)).astype(np.float32)
    found = space_of(with_views(plain, *views))
    rows = fit_transform(torch.tensor(plain), "pca")
    seen = [rows(torch.tensor(one)) for one in (plain, *views)]
    pairs = [one - other for one, other in itertools.combinations(seen, 2)]
    if not views:
        graph = nearest_neighbors(seen[0], max(1, min(10, n_samples // 8))).indices.long()
        pairs = [seen[0] - seen[0][graph[:, column]] for column in range(graph.shape[1])]
    same = whiten_within(rows, scatter(pairs), shrinkage=expected)
    torch.testing.assert_close(found.matrix, same.matrix)
    assert not torch.allclose(found.matrix, whiten_within(rows, scatter(pairs), shrinkage=expected + 0.01).matrix)


def test_without_whitening_the_space_is_unit_rows_of_principal_components(blobs):
    rows = torch.tensor(blobs.features)
    found = space_of(Features.from_array(blobs.features), whiten=False, n_components=5)(rows)
    expected = torch.nn.functional.normalize(fit_transform(rows, "pca", n_components=5)(rows), dim=1)
    torch.testing.assert_close(found, expected)


def test_pairs_are_any_two_of_an_image_and_its_views(lit):
    (plain, *others), _ = lit
    features = with_views(plain, *others)
    transform = fit_transform(torch.tensor(plain), "pca")
    rows = np.stack([transform(torch.tensor(one)).double().numpy() for one in (plain, *others)])
    centered = rows - rows.mean(0)
    within = np.einsum("vni,vnj->ij", centered, centered) / (2 * len(plain))  # of three, so by two
    shrunk = 0.9 * within + 0.1 * np.trace(within) / len(within) * np.eye(len(within))
    # M with M M' = S^-1 up to the transform that goes before: distances are those of Mahalanobis.
    found = space_of(features).matrix.double().numpy()
    before = transform.matrix.double().numpy()
    np.testing.assert_allclose(found @ found.T, before @ np.linalg.inv(shrunk) @ before.T, rtol=1e-3, atol=1e-3)


def test_heads_fitted_on_a_part_of_the_samples_assign_all_of_them(lit, capfd):
    (plain, *others), labels = lit
    features = with_views(plain, *others)
    results = [fit_features(features, samples_at_most=300, seed=seed) for seed in (0, 0, 1)]
    assert "fitting 300 of 400 samples, drawn at random" in capfd.readouterr().err
    assert len(results[0].assignments) == 400
    assert accuracy(results[0].assignments, labels) > 0.9
    assert_same(*results[:2])
    assert results[0].history != results[2].history
    whole = fit_features(features, samples_at_most=400)
    assert_same(whole, fit_features(features))
    assert whole.history != results[0].history


@pytest.mark.usefixtures("two_threads")
def test_repeatable_to_the_bit(hard):
    first, second, other = (fit(hard.features, seed=seed) for seed in (4, 4, 5))
    assert_same(first, second)
    assert first.history != other.history


@pytest.mark.usefixtures("two_threads")
def test_repeatable_with_views_and_on_more_samples_than_are_solved_densely(lit):
    (plain, *others), _ = lit
    assert_same(*(fit_features(with_views(plain, *others)) for _ in range(2)))
    points = np.random.default_rng(0).normal(size=(900, 6)).astype(np.float32)
    assert_same(*(fit(points, 12) for _ in range(2)))


def test_the_number_of_threads_changes_next_to_nothing(hard):
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(fit(hard.features, **{"pairs.length": 5}))
    finally:
        torch.set_num_threads(before)
    first, second = results
    assert ensemble.agreement(np.stack((first.assignments, second.assignments)), first.assignments, 4) == 1


def test_labels_absent_or_shuffled_change_nothing(hard):
    recipe = Recipe.of("consensus").changed({"n_clusters": 4, **QUICK})
    shuffled = np.random.default_rng(0).permutation(hard.labels)
    trials = [
        fit_and_score([Features.from_array(hard.features, labels=labels)], recipe, 0)
        for labels in (hard.labels, shuffled, None)
    ]
    assert_same(trials[0].result, trials[1].result)
    assert_same(trials[0].result, trials[2].result)
    assert trials[0].report["accuracy"] > trials[1].report["accuracy"] + 0.2
    assert "accuracy" not in trials[2].report


def test_another_seed_says_nearly_the_same(hard):
    found = [fit(hard.features, seed=seed, n_heads=8).assignments for seed in range(3)]
    assert ensemble.agreement(np.stack(found[1:]), found[0], 4) > 0.85
    assert min(accuracy(one, hard.labels) for one in found) > 0.6


def test_scale_and_precision_do_not_matter(blobs):
    scaled = (blobs.features * 64).astype(np.float16)
    found, expected = fit(scaled), fit(blobs.features)
    assert accuracy(found.assignments, expected.assignments) == 1
    assert_same(found, fit(scaled.astype(np.float32)))


def test_all_heads_speak_the_one_under_which_neighbors_agree_best_first(hard):
    result = fit(hard.features, n_heads=7, passes=100.0)
    scores = result.history[-1]["refined_neighbor_information"]
    assert result.losses == [-score for score in scores]
    assert list(result.model.used_heads) == sorted(range(7), key=lambda head: -scores[head])
    transformed = result.model.transforms[0](torch.tensor(hard.features))
    neighbors = nearest_neighbors(transformed, 23).indices.numpy()  # the widest of the graphs
    assert scores == pytest.approx(
        [ensemble.neighbor_information(one, neighbors, 4) for one in result.head_assignments]
    )
    assert [record["step"] for record in result.history[1:-1]][-1] == QUICK["pairs.length"]
    assert {record["stage"] for record in result.history[1:-1]} == {"pairs"}


def test_those_who_speak_are_named_alike(hard):
    result = fit(hard.features, n_heads=6)
    speaking = result.head_assignments[list(result.model.used_heads)]
    majority = np.array([np.bincount(votes, minlength=4).argmax() for votes in speaking.T])
    assert all(np.array_equal(ensemble.align(one, majority, 4), one) for one in speaking)
    assert (majority == result.assignments).mean() > 0.9
    probs = result.model.probs(torch.tensor(hard.features))[list(result.model.used_heads)].double().mean(0)
    raised = probs**result.model.exponent
    np.testing.assert_allclose(result.confidence, (raised.amax(1) / raised.sum(1)).numpy(), rtol=1e-5)
    assert (result.assignments == probs.argmax(1).numpy()).mean() > 0.99


def test_confidence_is_as_large_as_heads_and_neighbors_agree(hard):
    result = fit(hard.features, n_heads=6)
    best = result.head_assignments[list(result.model.used_heads[:3])]  # half of six
    agreement = np.mean([(first == second).mean() for first, second in itertools.combinations(best, 2)])
    nearest = nearest_neighbors(result.model.transforms[0](torch.tensor(hard.features)), 1).indices[:, 0]
    neighbors = (result.assignments == result.assignments[nearest]).mean()
    assert result.confidence.mean() == pytest.approx(agreement * neighbors, abs=1e-4)
    assert result.model.exponent != 1
    plain = dataclasses.replace(result.model, exponent=1.0)
    assert np.array_equal(plain.assign(torch.tensor(hard.features)).clusters, result.assignments)
    assert "exponent" not in plain.tensors()
    assert ClusterModel.from_tensors(result.model.tensors()).exponent == result.model.exponent
    assert fit(hard.features, n_heads=1).model.exponent == 1


@pytest.mark.parametrize(
    ("changes", "speaking"),
    [
        ({"whiten": False}, 3),
        ({"partitions": "graph"}, 3),
        ({"partitions": "walk"}, 3),
        ({"partitions": "kmeans"}, 3),
        ({"pairs.length": 0}, 3),
        ({"choose_by": "neighbors"}, 1),
        ({"n_heads": 1}, 1),
        ({"n_heads": 50, "tries": 1, "pairs.length": 5}, 50),
        ({"shrinkage": 1.0}, 3),
        ({"vectors_at_most": 3}, 3),
        ({"n_components": 3}, 3),
    ],
    ids=str,
)
def test_every_part_can_be_left_out(blobs, changes, speaking):
    result = fit(blobs.features, **changes)
    assert accuracy(result.assignments, blobs.labels) > 0.9
    assert len(result.model.used_heads) == speaking
    assert len(result.losses) == changes.get("n_heads", 3)
    assert ((result.confidence >= 0.25) & (result.confidence <= 1 + 1e-6)).all()
    if changes.get("pairs.length") == 0:
        assert len(result.history) == 1


def test_one_head_speaks_where_that_is_asked_for(hard):
    best = fit(hard.features, choose_by="neighbors", n_heads=5)
    assert best.model.used_heads == (int(np.argmin(best.losses)),)


def test_what_training_does_not_use_is_no_setting():
    names = {setting.name for setting in list_settings(PRESETS["consensus"]["ours"])}
    assert "pairs.n_neighbors" in names
    assert not names & {"pairs.neighbor_list", "pairs.augment", "pairs.checkpoint_every", "pairs.head", "pairs.n_heads"}


def unequal(deviation, draw):
    """Groups of 300, 30, 15 and 8."""
    generator, labels = np.random.default_rng(100 + draw), np.repeat(np.arange(4), (300, 30, 15, 8))
    rows = deviation * generator.normal(size=(4, 12))[labels] + generator.normal(size=(353, 12))
    return rows.astype(np.float32), labels


@pytest.mark.parametrize(("deviation", "draw"), [(6, 0), (6, 2), (2, 1), (2, 3)])
def test_clear_groups_of_very_unequal_size_are_found(deviation, draw):
    """Once the smallest was joined with another, and the largest cut: an ACC of 0.56 to 0.8, k-means 1."""
    features, labels = unequal(deviation, draw)
    assert accuracy(fit(features, **AS_SHIPPED).assignments, labels) == 1


def partitions_of(rows, **settings):
    stage = Partitions(n_clusters=4, **{"tries": 2, **settings})
    unit = torch.nn.functional.normalize(torch.tensor(rows), dim=1)
    return find_partitions(unit, nearest_neighbors(unit, 23), stage, 10, 3)


@pytest.mark.parametrize("kind", ["graph", "walk", "mixed", "kmeans"])
def test_more_heads_leave_the_first_as_they_are(hard, kind):
    few, kept = partitions_of(hard.features, n_heads=4, partitions=kind)
    many, _ = partitions_of(hard.features, n_heads=8, partitions=kind)
    assert torch.equal(many[:4], few)
    assert kept.tolist() == list(range(200))
    assert few.dtype == kept.dtype == torch.int64
    assert len({tuple(one.tolist()) for one in few}) > 1


def test_a_third_of_the_heads_starts_from_each_kind():
    stage = Partitions()
    assert [kind(stage, head) for head in range(6)] == ["graph", "walk", "kmeans"] * 2
    assert [kind(dataclasses.replace(stage, partitions="walk"), head) for head in range(3)] == ["walk"] * 3
    # Of the rows as they are one restart is a start, of other partitions the best of several.
    for n_clusters, restarts in ((10, [6, 3, 1]), (200, [3, 3, 1]), (1000, [1, 1, 1])):
        sized = dataclasses.replace(stage, n_clusters=n_clusters)
        assert [n_restarts(sized, head) for head in range(3)] == restarts
    assert n_restarts(dataclasses.replace(stage, n_clusters=10, tries=2), 1) == 2


@pytest.mark.parametrize(
    ("chosen", "n_heads", "n_maps"), [("mixed", 7, 3), ("graph", 3, 3), ("graph", 2, 2), ("walk", 3, 0)]
)
def test_heads_cut_all_graphs_in_turn(hard, monkeypatch, chosen, n_heads, n_maps):
    sizes = []
    real = partitions._diffusion_map
    monkeypatch.setattr(
        partitions, "_diffusion_map", lambda weights, *args: sizes.append(weights.nnz) or real(weights, *args)
    )
    partitions_of(hard.features, n_heads=n_heads, partitions=chosen)
    assert len(set(sizes)) == len(sizes) == n_maps


def test_without_refinement_heads_are_discriminants_of_the_partitions(blobs):
    result = fit(blobs.features, **{"pairs.length": 0, "n_heads": 1})
    rows = result.model.transforms[0](torch.tensor(blobs.features))
    stage = Partitions(n_clusters=4, n_heads=1, tries=2)
    found, kept = find_partitions(rows, nearest_neighbors(rows, 23), stage, 10, 0)
    heads = LinearHeads.discriminant(rows[kept], found, 4, shrinkage=0.1)
    own = result.model.heads
    scale = own.weight.norm() / heads.weight.norm()  # its temperature
    for name, tensor in heads.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], scale * tensor, rtol=1e-4, atol=1e-4)


def test_a_head_is_as_confident_as_it_is_reliable(hard):
    """As often as nearest neighbors share a cluster; a discriminant is surer than that."""
    result = fit(hard.features, **{"pairs.length": 0, "n_heads": 4})
    rows = result.model.transforms[0](torch.tensor(hard.features))
    nearest = nearest_neighbors(rows, 1).indices[:, 0].numpy()
    for head, clusters in enumerate(result.head_assignments):
        confidence = torch.softmax(result.model.heads(rows[None]).logits[0, head], -1).amax(1).mean()
        assert float(confidence) == pytest.approx((clusters == clusters[nearest]).mean(), abs=1e-3)


def test_few_samples_are_not_passed_over_often(hard, capfd):
    most = math.ceil(2 * len(hard.features) / 64)
    for length, line in ((300, ""), (200, f"training takes {most} of 200 steps, as passes is 2.\n")):
        result = fit(hard.features, **{"pairs.length": length, "pairs.batch_size": 64, "passes": 2.0})
        assert result.history[-2]["n_steps"] == most
        assert capfd.readouterr().err == line
    result = fit(hard.features, **{"pairs.length": 3, "pairs.batch_size": 64, "passes": 2.0})
    assert result.history[-2]["n_steps"] == 3


def test_a_saved_model_says_the_same(hard):
    result = fit(hard.features, n_heads=5)
    again = ClusterModel.from_tensors(dict(sorted(result.model.tensors().items())))
    said = again.assign(torch.tensor(hard.features))
    assert np.array_equal(said.clusters, result.assignments)
    assert np.array_equal(said.confidence, result.confidence)
    assert np.array_equal(said.by_head, result.head_assignments)
    assert again.used_heads == result.model.used_heads


def test_new_samples_get_the_cluster_of_their_group(blobs):
    result = fit(blobs.features)
    new = make_blobs(200, seed=9)
    said = result.model.assign(torch.tensor(new.features))
    together = accuracy(np.r_[result.assignments, said.clusters], np.r_[blobs.labels, new.labels])
    assert together > 0.95


def test_confidence_tells_right_from_wrong(hard):
    result = fit(hard.features, n_heads=8)
    assert ((result.confidence >= 0.25) & (result.confidence <= 1 + 1e-6)).all()
    right = ensemble.align(result.assignments, hard.labels, 4) == hard.labels
    assert 0 < right.mean() < 1
    assert result.confidence[right].mean() > result.confidence[~right].mean() + 0.05


@pytest.mark.parametrize("length", [0, 30])
@pytest.mark.parametrize(
    ("n_samples", "n_clusters"),
    [(2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (5, 2), (5, 5), (20, 1), (20, 2), (20, 19), (20, 20), (120, 30)],
)
def test_any_number_of_samples_and_clusters(blobs, n_samples, n_clusters, length):
    result = fit(blobs.features[:n_samples], n_clusters, **{"pairs.length": length})
    assert result.head_assignments.shape == (3, n_samples)
    assert result.model.n_clusters == n_clusters
    assert 0 <= result.head_assignments.min() <= result.head_assignments.max() < n_clusters
    assert ((result.confidence >= 1 / n_clusters - 1e-6) & (result.confidence <= 1 + 1e-6)).all()
    assert np.isfinite(result.losses).all()
    if n_clusters < n_samples > 3:  # a walk on three samples leaves them in one place
        assert len(set(result.assignments.tolist())) > n_clusters / 2


def test_a_single_cluster_is_certain_and_no_reason_to_warn(blobs, capfd):
    result = fit(blobs.features, 1)
    assert set(result.assignments.tolist()) == {0}
    assert result.confidence.tolist() == [1.0] * 120
    assert "warning" not in capfd.readouterr().err


def test_more_clusters_than_groups_cut_groups_but_join_none(blobs):
    result = fit(blobs.features, 8)
    assert len(set(result.assignments.tolist())) > 4
    counts = np.zeros((8, 4), int)
    np.add.at(counts, (result.assignments, blobs.labels), 1)
    assert counts.max(1).sum() / 120 > 0.95


def test_copies_of_rows(blobs):
    rows, labels = np.repeat(blobs.features, 5, axis=0), np.repeat(blobs.labels, 5)
    result = fit(rows)
    assert accuracy(result.assignments, labels) > 0.95
    assert (result.assignments.reshape(120, 5) == result.assignments[::5, None]).all()


@pytest.mark.parametrize(("distinct", "n_clusters"), [(2, 2), (2, 5), (3, 3), (3, 5)])
def test_nothing_but_copies(blobs, distinct, n_clusters):
    # Every neighbor is a copy: once an error, as if nothing told the rows apart.
    result = fit(np.repeat(blobs.features[:distinct], 40, axis=0), n_clusters)
    assert np.isfinite(result.confidence).all()
    groups = result.assignments.reshape(distinct, 40)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0].tolist())) == distinct


def test_constant_dimensions_and_zero_rows(blobs):
    rows = blobs.features.copy()
    rows[:, 3], rows[:, 4] = 0.5, 0
    assert accuracy(fit(rows).assignments, blobs.labels) > 0.9
    rows[::10] = 0
    result = fit(rows, 5)
    assert np.isfinite(result.confidence).all()
    assert len(set(result.assignments[::10].tolist())) == 1
    assert accuracy(np.delete(result.assignments, np.s_[::10]), np.delete(blobs.labels, np.s_[::10])) > 0.9


@pytest.mark.parametrize("rows", [np.ones((30, 5)), np.zeros((30, 5)), np.arange(1, 31)[:, None] * np.ones((1, 5))])
def test_rows_that_are_all_alike_are_one_line(rows):
    with pytest.raises(DataError, match=r"^all rows point the same way: ") as caught:
        fit(rows.astype(np.float32), 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["n_neighbors", "pairs.n_neighbors"])
def test_neighbors_are_cut_to_what_there_is(blobs, name):
    assert accuracy(fit(blobs.features[:40], **{name: 5000}).assignments, blobs.labels[:40]) > 0.9


def test_groups_that_nothing_joins(capfd):
    points = np.concatenate([np.random.default_rng(p).normal(size=(30, 8)) * 0.1 + 9 * np.eye(8)[p] for p in range(5)])
    assert accuracy(fit(points, 5).assignments, np.repeat(np.arange(5), 30)) == 1
    assert "warning" not in capfd.readouterr().err
    groups = fit(points, 3).assignments.reshape(5, 30)
    assert (groups == groups[:, :1]).all()
    assert "the neighbor graph has 5 connected components, more than the 3 clusters" in capfd.readouterr().err


def test_a_few_strays_take_no_cluster_from_the_rest():
    near, labels = make_blobs(600, distance=1.5)
    rows = np.concatenate([np.pad(near, ((0, 0), (0, 2))), np.repeat(np.eye(14)[12:], 12, axis=0)]).astype(np.float32)
    result = fit(rows)
    assert accuracy(result.assignments[:600], labels) > 0.9
    assert len(result.assignments) == 624
    _, kept = partitions_of(rows, n_heads=1)
    assert kept.tolist() == list(range(600))


def test_clusters_of_unequal_size():
    sizes = (200, 60, 20, 12)
    labels = np.repeat(np.arange(4), sizes)
    centers = 2 * np.random.default_rng(77).normal(size=(4, 12))
    rows = centers[labels] + np.random.default_rng(0).normal(size=(len(labels), 12))
    result = fit(rows.astype(np.float32))
    assert accuracy(result.assignments, labels) > 0.95
    assert sorted(np.bincount(result.assignments)) == pytest.approx(sorted(sizes), abs=6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", -1),
        ("n_heads", 0),
        ("n_components", 0),
        ("n_neighbors", 0),
        ("shrinkage", 0.0),
        ("shrinkage", 1.1),
        ("shrinkage", np.nan),
        ("partitions", "none"),
        ("fewest_vectors", 0.0),
        ("most_vectors", np.inf),
        ("vectors_at_most", 0),
        ("tries", 0),
        ("choose_by", "labels"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(SettingError, match=rf"^{name} is .*: expected ") as caught:
        Partitions(**{name: value})
    assert "\n" not in str(caught.value)


def test_fewer_vectors_than_the_fewest():
    with pytest.raises(SettingError, match="fewest_vectors is 3, most_vectors 2: expected the first to be the smaller"):
        Partitions(fewest_vectors=3, most_vectors=2)


def fit_several(*spaces, **changes):
    recipe = change_settings(PRESETS["consensus"]["ours"], {"n_clusters": 4, **QUICK, **changes})
    return METHODS["consensus"](spaces, recipe, 0)


def test_several_spaces_say_together_what_none_says_alone(halves):
    spaces = [Features.from_array(one.features) for one in halves]
    assert max(accuracy(fit_several(space).assignments, halves[0].labels) for space in spaces) < 0.75
    result = fit_several(*spaces)
    assert accuracy(result.assignments, halves[0].labels) > 0.95
    # Each is whitened by its own pairs; heads take them side by side.
    (first, _), rows = change_settings(PRESETS["consensus"]["ours"], {"n_clusters": 4, **QUICK}), []
    for transform, space in zip(result.model.transforms, spaces, strict=True):
        expected = space_transform(space, first, torch.device("cpu"))
        assert torch.equal(transform.matrix, expected.matrix)
        rows.append(expected(space.all()))
    joined = torch.cat(rows, dim=1) / 2**0.5
    torch.testing.assert_close(joined.norm(dim=1), torch.ones(160))
    logits = result.model.heads(joined[None]).logits[0]
    assert np.array_equal(logits.argmax(-1).numpy(), result.head_assignments)


def test_a_saved_model_of_two_spaces_says_the_same(halves):
    spaces = [Features.from_array(one.features) for one in halves]
    result = fit_several(*spaces)
    again = ClusterModel.from_tensors(result.model.tensors())
    said = again.assign(*(space.all() for space in spaces))
    assert np.array_equal(said.clusters, result.assignments)
    assert np.array_equal(said.confidence, result.confidence)


def test_views_are_those_of_each_space(halves):
    first, second = (one.features for one in halves)
    views = [np.random.default_rng(n).normal(size=first.shape).astype(np.float32) for n in range(2)]
    viewed = fit_several(with_views(first, *views), Features.from_array(second))
    plain = fit_several(Features.from_array(first), Features.from_array(second))
    assert not torch.equal(viewed.model.transforms[0].matrix, plain.model.transforms[0].matrix)
    assert torch.equal(viewed.model.transforms[1].matrix, plain.model.transforms[1].matrix)


def test_two_samples_and_a_number_of_clusters(blobs):
    with pytest.raises(DataError, match="1 sample"):
        fit(blobs.features[:1], 1)
    for n_clusters in (0, 121):
        with pytest.raises(SettingError, match=f"n_clusters is {n_clusters}, of 120 samples"):
            fit(blobs.features, n_clusters)
