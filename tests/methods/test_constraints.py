"""What a person has fixed, as a fit uses it, and the default under such constraints."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from conftest import make_blobs, short
from scipy import sparse

from headclust.errors import SettingError
from headclust.features import Features
from headclust.methods import METHODS, Recipe
from headclust.methods.consensus.constrained import constraint_loss, linked, linked_partners, seeded_partition
from headclust.methods.constraints import Constraints
from headclust.model.heads import LinearHeads
from headclust.scoring.metrics import accuracy


def of(groups, *, pinned=None, together=(), apart=(), n_groups=None, **more):
    """Constraints from texts of digits, a dot standing for none, and pairs."""
    numbers = [np.array([int(digit) if digit != "." else -1 for digit in text]) for text in (groups, pinned or groups)]
    pins = numbers[1] if pinned else np.full(len(groups), -1)
    pairs = [np.array(pairs, np.int64).reshape(-1, 2) for pairs in (together, apart)]
    n_groups = n_groups or int(max(numbers[0].max(), pins.max())) + 1
    return Constraints(n_groups, numbers[0], pins, together=pairs[0], apart=pairs[1], **more)


def recipe(n_clusters, **changes):
    return Recipe.of("consensus", settings={**short("consensus"), "n_clusters": n_clusters, **changes})


@pytest.fixture(scope="module")
def hard():
    """Four blobs that overlap, the groups that a fit finds, and their features."""
    blobs = make_blobs(160, distance=0.9)
    space = Features.from_array(blobs.features)
    return blobs, space, recipe(4).fit([space], 0).assignments


def test_a_selection_renumbers_rows_and_leaves_out_other_pairs():
    own = of("0011", pinned="0..1", together=[(0, 1)], apart=[(1, 3), (2, 3)]).select(np.array([1, 3]))
    assert (own.groups.tolist(), own.pinned.tolist()) == ([0, 1], [-1, 1])
    assert (own.together.tolist(), own.apart.tolist()) == ([], [[0, 1]])


def test_copies_share_the_constraints_of_all():
    own = of("0101", pinned="..1.", together=[(0, 3)], apart=[(0, 2), (1, 3)])
    distinct = own.of_copies(np.array([0, 1]), np.array([0, 1, 0, 1]))
    assert (distinct.groups.tolist(), distinct.pinned.tolist()) == ([0, 1], [1, -1])
    assert distinct.together.tolist() == [[0, 1]]
    assert distinct.apart.tolist() == []


def test_settled_groups_satisfy_every_constraint():
    generator = np.random.default_rng(0)
    own = of(
        "0000000000", pinned="2.........", together=[(0, 1), (2, 3)], apart=[(1, 2), (4, 5), (5, 6), (6, 4)], n_groups=3
    )
    rows = own.paired
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 6]
    scores = generator.random((7, 3))
    groups, n_broken = own.settle(scores, rows)
    assert n_broken == 0
    assert groups[0] == groups[1] == 2
    assert groups[2] == groups[3] == scores[2:4, :2].mean(0).argmax()
    assert sorted(groups[4:]) == [0, 1, 2]


def test_a_pair_apart_takes_the_best_groups_that_differ():
    own = of("00", apart=[(0, 1)], n_groups=3)
    groups, _ = own.settle(np.array([[0.9, 0.1, 0.0], [0.5, 0.1, 0.4]]), own.paired)
    assert groups.tolist() == [0, 2]


def test_too_many_images_apart_are_counted():
    own = of("000", apart=list(itertools.combinations(range(3), 2)), n_groups=2)
    assert own.settle(np.ones((3, 2)), own.paired)[1] == 1


def test_partners_are_of_the_same_set():
    own = of("00222111", pinned="0.......", together=[(2, 3)], joined=(1,))
    rows, others = own.partners(2)
    partners = dict(zip(rows.tolist(), map(set, others.tolist()), strict=True))
    assert partners == {0: {1}, 2: {3}, 3: {2}, 5: {6, 7}, 6: {5, 7}, 7: {5, 6}}


def test_the_graph_gains_and_loses_edges():
    # Each sample has one neighbor with a weight of 0.5, others of 0.1, and none that it is linked to.
    full = np.full((6, 6), 0.1) - np.eye(6) / 10
    for first, second in ((0, 2), (1, 4), (3, 5)):
        full[first, second] = full[second, first] = 0.5
    full[[0, 3, 4, 5], [3, 0, 5, 4]] = 0
    weights = sparse.csr_array(full)
    graph = linked(weights, of("012033", pinned="01.0..", together=[(4, 5)], apart=[(2, 4)])).toarray()
    assert (graph == graph.T).all()
    assert graph[0, 3] == graph[4, 5] == 0.5  # as the nearest neighbor
    assert graph[0, 1] == graph[1, 3] == 0
    # Pairs apart include what belongs together with them.
    assert graph[2, 4] == graph[2, 5] == 0
    assert graph[0, 2] == graph[1, 4] == 0.5


def test_neighbor_lists_hold_must_links_and_no_cannot_links():
    lists = torch.tensor([[1, 2, 3, 4], [0, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]], dtype=torch.int32)
    linked_lists = linked_partners(lists, of("01220", pinned="01..0"))
    assert linked_lists.dtype == torch.int32
    assert 1 not in linked_lists[0].tolist()
    assert 0 not in linked_lists[1].tolist()
    assert linked_lists[0].tolist().count(4) >= 1
    assert linked_lists[2].tolist() == [0, 1, 3, 4]


def test_seeded_partitions_start_from_the_groups_and_keep_the_pins(blobs):
    points = torch.from_numpy(blobs.features.copy())
    groups = (blobs.labels + 1) % 4
    pinned = np.full(120, -1)
    pinned[:2] = blobs.labels[:2]
    own = Constraints(4, np.where(np.arange(120) % 2, groups, -1), pinned, apart=np.array([[4, 5]]))
    clusters = seeded_partition(points, own)
    assert clusters[:2].tolist() == blobs.labels[:2].tolist()
    assert clusters[4] != clusters[5]
    assert (clusters[6:] == groups[6:]).mean() > 0.95


def test_the_loss_is_that_of_each_constraint():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 3, generator=generator)
    heads = LinearHeads(feature_dims=(3,), n_clusters=2, n_heads=2)
    own = of("0000", pinned="1...", together=[(1, 2)], apart=[(2, 3)])
    loss = constraint_loss(rows, own, temperature=2.0, seed=0)
    p = torch.softmax(heads(rows[None]).logits[0] / 2, -1).detach()
    same = (p[:, 1] * p[:, 2]).sum(-1).log(), (1 - (p[:, 2] * p[:, 3]).sum(-1)).log()
    torch.testing.assert_close(loss(heads).detach(), -(p[:, 0, 1].log() + same[0] + same[1]) / 3)
    assert constraint_loss(rows, of("0000"), temperature=2.0, seed=0) is None


def test_a_fit_keeps_groups_and_everything_fixed(hard):
    blobs, space, groups = hard
    other = np.roll(np.arange(4), 1)[groups]  # the ids of a person, not those that a fit would give
    pinned = np.full(160, -1)
    pinned[:3] = (other[:3] + 1) % 4
    own = Constraints(4, other, pinned, together=np.array([[10, 11], [11, 12]]), apart=np.array([[20, 21], [0, 22]]))
    result = recipe(4).fit([space], 0, constraints=own)
    assert result.assignments[:3].tolist() == pinned[:3].tolist()
    assert result.confidence[:3].tolist() == [1, 1, 1]
    assert len(set(result.assignments[10:13].tolist())) == 1
    assert result.assignments[20] != result.assignments[21]
    assert result.assignments[0] != result.assignments[22]
    assert (result.assignments[23:] == other[23:]).mean() > 0.9
    assert accuracy(result.assignments, blobs.labels) > 0.85
    again = recipe(4).fit([space], 0, constraints=own)
    assert np.array_equal(result.assignments, again.assignments)
    for name, tensor in result.model.tensors().items():
        assert torch.equal(tensor, again.model.tensors()[name])


def test_copies_of_a_pinned_image_go_with_it(hard):
    _, space, groups = hard
    rows = np.concatenate((np.arange(160), [0, 0, 1]))
    double = Features.from_array(space.all().numpy()[rows])
    pinned = np.full(163, -1)
    pinned[[0, 161]] = (groups[0] + 1) % 4, (groups[0] + 2) % 4
    result = recipe(4).fit([double], 0, constraints=Constraints(4, groups[rows], pinned))
    assert result.assignments[[0, 160, 161]].tolist() == [pinned[0], pinned[0], pinned[161]]


def test_two_groups_that_were_merged_stay_one(hard):
    _, space, groups = hard
    merged = np.where(groups == 3, 0, groups)
    result = recipe(3).fit([space], 0, constraints=Constraints(3, merged, np.full(160, -1), joined=(0,)))
    assert (result.assignments == merged).mean() > 0.9
    assert result.model.n_clusters == 3


def test_a_group_is_split_where_it_is_two_things(hard):
    _, space, groups = hard
    merged = np.where(groups == 3, 0, groups)
    pinned = np.full(160, -1)
    pinned[np.flatnonzero(groups == 3)[:5]] = 0  # the part that keeps the id
    own = Constraints(4, merged, pinned, splits={0: (0, 3)})
    result = recipe(4).fit([space], 0, constraints=own)
    expected = np.select([groups == 3, groups == 0], [0, 3], groups)
    assert (result.assignments == expected).mean() > 0.85


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"consensus"}))
def test_other_methods_refuse_fixes(method):
    with pytest.raises(SettingError, match=f"{method} keeps no fixes: use the default method, consensus, with --fixes"):
        Recipe.of(method, settings={"n_clusters": 2}).check_constraints(of("01"))


def test_another_number_of_clusters_is_refused(hard):
    _, space, groups = hard
    with pytest.raises(SettingError, match="5 clusters, and 4 groups after the fixes: leave --clusters out"):
        recipe(5).fit([space], 0, constraints=Constraints(4, groups, np.full(160, -1)))


def test_constrained_images_are_among_those_fitted(hard):
    _, space, groups = hard
    pinned = np.full(160, -1)
    pinned[::5] = groups[::5]
    own = dataclasses.replace(of("0"), n_groups=4, groups=groups, pinned=pinned)
    result = recipe(4, samples_at_most=60).fit([space], 0, constraints=own)
    assert result.assignments[::5].tolist() == groups[::5].tolist()
