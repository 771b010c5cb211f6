"""What a person has fixed, as a fit uses it, and the default under such constraints."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from conftest import make_blobs, short, varied

from headclust.errors import SettingError
from headclust.features import Features
from headclust.graph.neighbors import nearest_neighbors
from headclust.methods import METHODS, Recipe
from headclust.methods.consensus.partitions import neighbors_within_cluster
from headclust.methods.consensus.refit import _VARIANCE, _divided, _evidence, _prior
from headclust.methods.constraints import Constraints
from headclust.model import ClusterModel, FeatureTransform
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
def run():
    """A fit of four blobs that overlap."""
    blobs = make_blobs(160, distance=0.9)
    return recipe(4).fit([Features.from_array(blobs.features)], 0)


@pytest.fixture(scope="module")
def hard(run):
    """Four blobs that overlap, the groups that a fit finds, and their features."""
    blobs = make_blobs(160, distance=0.9)
    return blobs, Features.from_array(blobs.features), run.assignments


def after(run, groups=None, n_groups=4, pinned=None, group_of=(0, 1, 2, 3), **more):
    """Constraints on a fit that goes on from a run; `pinned` has the group of some rows."""
    pins = np.full(160, -1)
    for row, group in (pinned or {}).items():
        pins[row] = group
    groups = run.assignments if groups is None else groups
    return Constraints(n_groups, groups, pins, start=run.model, group_of=group_of, **more)


def test_a_selection_renumbers_rows_and_leaves_out_other_pairs():
    own = of("0011", pinned="0..1", together=[(0, 1)], apart=[(1, 3), (2, 3)]).select(np.array([1, 3]))
    assert (own.groups.tolist(), own.pinned.tolist()) == ([0, 1], [-1, 1])
    assert (own.together.tolist(), own.apart.tolist()) == ([], [[0, 1]])


def test_copies_share_the_constraints_of_all():
    learned = np.array([False, False, True, False])
    own = of("0101", pinned="..1.", together=[(0, 3)], apart=[(0, 2), (1, 3)], learned=learned)
    distinct = own.of_copies(np.array([0, 1]), np.array([0, 1, 0, 1]))
    assert (distinct.groups.tolist(), distinct.pinned.tolist()) == ([0, 1], [1, -1])
    assert distinct.learned.tolist() == [True, False]
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


def test_a_fit_keeps_groups_and_everything_fixed(hard):
    _, space, groups = hard
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
    assert (result.assignments[23:] == other[23:]).mean() > 0.6  # the three images are typical of other groups
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


def test_slight_variants_go_with_a_pinned_image_unless_they_are_fixed_differently(hard, capfd):
    blobs, _, groups = hard
    pinned = np.full(480, -1)
    pinned[1] = (groups[0] + 1) % 4  # a variant of image 0
    pinned[[30, 31]] = groups[10], (groups[10] + 1) % 4
    own = Constraints(4, np.repeat(groups, 3), pinned, apart=np.array([[60, 62], [0, 3]]))
    result = recipe(4).fit([Features.from_array(varied(blobs.features, 3))], 0, constraints=own)
    assert result.assignments[:3].tolist() == [pinned[1]] * 3
    assert result.assignments[[30, 31]].tolist() == pinned[[30, 31]].tolist()
    assert result.assignments[60] != result.assignments[62]
    assert result.assignments[0] != result.assignments[3]
    # Of images 10 and 20 every variant is fitted.
    told = capfd.readouterr().err
    assert "316 of 480 rows are slight variants of others" in told
    assert "\n2 copies or variants follow an image that you have put into a group.\n" in told
    free = np.delete(np.arange(160), [10, 20])
    assert (result.assignments.reshape(160, 3)[free] == result.assignments[::3][free, None]).all()


def test_groups_agree_unless_samples_are_fixed_to_two_or_apart():
    own = of("000000000", pinned="1..1.2.0.", apart=[(6, 8), (2, 3)])
    assert own.agreeing(np.array([0, 0, 0, 3, 3, 3, 6, 6, 6])).tolist() == [0, 0, 0, 3, 4, 5, 6, 7, 8]


def test_without_a_fix_nothing_changes(hard, run):
    _, space, groups = hard
    result = recipe(4).fit([space], 0, constraints=after(run))
    assert np.array_equal(result.assignments, groups)
    for name, tensor in run.model.tensors().items():
        assert torch.equal(tensor, result.model.tensors()[name])


def test_what_a_run_has_learned_is_not_learned_again(hard, run):
    _, space, groups = hard
    pinned = {row: (groups[row] + 1) % 4 for row in range(3)}
    first = recipe(4).fit([space], 0, constraints=after(run, pinned=pinned))
    is_pinned = np.arange(160) < 3
    again = recipe(4).fit([space], 0, constraints=after(first, pinned=pinned, learned=is_pinned))
    assert np.array_equal(first.assignments, again.assignments)
    torch.testing.assert_close(first.model.mean_probs(space), again.model.mean_probs(space))
    # Learned ones stay as they are while others are learned.
    more = recipe(4).fit([space], 0, constraints=after(first, pinned={**pinned, 9: 0}, learned=is_pinned))
    assert more.assignments[:3].tolist() == first.assignments[:3].tolist()


def test_merged_groups_add_their_probabilities(hard, run):
    _, space, groups = hard
    merged = np.where(groups == 3, 0, groups)
    result = recipe(3).fit([space], 0, constraints=after(run, merged, 3, group_of=(0, 1, 2, 0)))
    before, after_merge = (
        dataclasses.replace(fitted.model, exponent=1.0).mean_probs(space) for fitted in (run, result)
    )
    expected = torch.stack((before[:, 0] + before[:, 3], before[:, 1], before[:, 2]), 1)
    torch.testing.assert_close(after_merge, expected)
    assert result.model.exponent == run.model.exponent
    assert np.array_equal(result.assignments, expected.argmax(1).numpy())


def test_without_a_run_to_go_on_from_the_groups_are_learned(hard):
    _, space, groups = hard
    merged = np.where(groups == 3, 0, groups)
    result = recipe(3).fit([space], 0, constraints=Constraints(3, merged, np.full(160, -1)))
    assert (result.assignments == merged).mean() > 0.9
    assert result.model.n_clusters == 3


def test_images_follow_those_that_they_are_like(hard, run):
    blobs, space, groups = hard
    # Two groups as one, which a person divides again by moving some images into a new group.
    merged = recipe(3).fit(
        [space], 0, constraints=after(run, np.where(groups == 3, 0, groups), 3, group_of=(0, 1, 2, 0))
    )
    rows = np.flatnonzero(groups == 3)
    scores = []
    for count in (0, 3, 10):
        pinned = dict.fromkeys(rows[:count].tolist(), 3)
        own = after(merged, n_groups=3 + (count > 0), pinned=pinned, group_of=(0, 1, 2))
        result = recipe(own.n_groups).fit([space], 0, constraints=own)
        scores.append(accuracy(result.assignments[rows[10] :], blobs.labels[rows[10] :]))
    assert min(scores[1:]) > scores[0] + 0.1


def test_the_change_is_that_of_a_logistic_regression(hard):
    from sklearn.linear_model import LogisticRegression

    _, space, groups = hard
    rows = space.all()
    transform = FeatureTransform()
    state = {"weight": torch.zeros(1, 4, rows.shape[1]), "cluster_bias": torch.zeros(1, 4)}
    model = ClusterModel((transform,), LinearHeads.from_state(state).requires_grad_(False), (0,), 1.0)
    neighbors = nearest_neighbors(rows, 5).indices
    own = Constraints(4, groups, np.where(np.arange(160) < 30, groups, -1))
    change, record = _evidence(model, (space,), rows, neighbors, own, 0)
    root = _prior(rows, neighbors)
    points = ((rows - rows.mean(0)).double() @ root).numpy()
    oracle = LogisticRegression(C=1, fit_intercept=False, tol=1e-8, max_iter=1_000).fit(points[:30], groups[:30])
    np.testing.assert_allclose(change.numpy(), oracle.coef_ @ root.numpy().T, atol=1e-3 * np.abs(change.numpy()).max())
    assert (record["pinned"], record["pairs"]) == (30, 0)
    # The variance that a logit is expected to change by.
    assert np.square(points).sum(1).mean() == pytest.approx(_VARIANCE)


def test_probabilities_change_by_the_evidence_around_an_average_image(hard):
    # q(g|x) ~ p(g|x) exp(<v_g, x - mean>), whatever the temperature of the heads.
    _, space, _ = hard
    run = recipe(4, n_heads=1).fit([space], 0)
    own = after(run, pinned={row: (run.assignments[row] + 1) % 4 for row in (0, 7)})
    result = recipe(4, n_heads=1).fit([space], 0, constraints=own)
    rows = run.model.transforms[0].rows(space)
    k = neighbors_within_cluster(recipe(4).stages[0].n_neighbors, len(rows), 4)
    change, _ = _evidence(run.model, (space,), rows, nearest_neighbors(rows, k).indices, own, 0)
    log_q = run.model.mean_probs(space).log() + (rows - rows.mean(0)) @ change.T
    torch.testing.assert_close(result.model.mean_probs(space), log_q.softmax(1), rtol=1e-3, atol=1e-4)


def test_parts_of_a_group_have_its_logit_together():
    generator = torch.Generator().manual_seed(0)
    rows, groups = torch.randn(40, 5, generator=generator) + 1, np.arange(40) % 3
    weights, biases = _divided(rows, groups, (0, 2), recipe(3).stages[0], 3.0)
    logits = rows[groups != 1] @ weights.T + torch.tensor(biases)
    # Added to the logit of the group: nothing, on average, to the log of the probability of both parts.
    assert float((logits / 3).logsumexp(1).mean()) == pytest.approx(0, abs=1e-5)


def test_pairs_change_what_does_not_satisfy_them(hard, run):
    _, space, groups = hard
    probs = run.model.mean_probs(space)
    first, second = np.argsort(-np.sort(probs.numpy(), 1)[:, -2])[:2]  # both unsure
    same = groups[first] == groups[second]
    pair = np.array([[first, second]])
    violated, satisfied = ("apart", "together") if same else ("together", "apart")
    for kind, changes in ((violated, True), (satisfied, False)):
        result = recipe(4).fit([space], 0, constraints=after(run, **{kind: pair}))
        assert (result.assignments[first] == result.assignments[second]) == (kind == "together")
        assert torch.equal(result.model.mean_probs(space), probs) != changes


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
