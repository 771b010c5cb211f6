import itertools

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from headclust.training.parts import needs_neighbors
from headclust.training.sampling import Samples, sample_batches


def spaces_and_neighbors(n_samples, k=3):
    generator = torch.Generator().manual_seed(0)
    spaces = tuple(torch.randn(n_samples, dim, generator=generator) for dim in (4, 2))
    neighbors = (torch.arange(n_samples)[:, None] + torch.arange(1, k + 1)) % n_samples
    return spaces, neighbors.int()


def draw(n_samples, batch_size, n_batches, *, seed=0, k=3):
    spaces, neighbors = spaces_and_neighbors(n_samples, k)
    generator = torch.Generator().manual_seed(seed)
    batches = sample_batches(
        Samples(spaces, neighbors), ("anchor", "neighbor"), batch_size=batch_size, generator=generator
    )
    return spaces, neighbors, list(itertools.islice(batches, n_batches))


@given(st.integers(2, 30), st.integers(1, 40))
def test_an_epoch_is_a_permutation_of_full_batches_without_the_rest(n_samples, batch_size):
    size = min(n_samples, batch_size)
    per_epoch = n_samples // size
    _, _, batches = draw(n_samples, batch_size, 2 * per_epoch)
    assert all(batch.rows.shape == (2, size) for batch in batches)
    for epoch in (batches[:per_epoch], batches[per_epoch:]):
        anchors = torch.cat([batch.rows[0] for batch in epoch]).tolist()
        assert len(set(anchors)) == len(anchors) == per_epoch * size


@given(st.integers(2, 30), st.integers(1, 40))
def test_a_partner_is_a_neighbor_of_its_anchor_and_features_are_its_rows(n_samples, batch_size):
    spaces, neighbors, batches = draw(n_samples, batch_size, 3)
    for batch in batches:
        anchors, partners = batch.rows
        assert (neighbors[anchors] == partners[:, None]).any(1).all()
        assert len(batch.features) == 2
        for space, features in zip(spaces, batch.features, strict=True):
            assert torch.equal(features, torch.stack((space[anchors], space[partners])))


def test_epochs_are_shuffled_anew():
    _, _, batches = draw(50, 50, 2)
    assert batches[0].rows[0].tolist() != batches[1].rows[0].tolist()
    assert batches[0].rows[0].tolist() != list(range(50))


def test_neighbors_are_drawn_uniformly():
    _, _, batches = draw(100, 100, 60, k=5)
    columns = torch.cat([(batch.rows[1] - batch.rows[0]) % 100 for batch in batches]) - 1
    counts = torch.bincount(columns, minlength=5)
    assert counts.sum() == 6000
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-4  # seeded: the same number every time


@pytest.mark.parametrize("seed", [0, 1])
def test_batches_are_determined_by_the_generator(seed):
    _, _, first = draw(20, 6, 7, seed=seed)
    _, _, second = draw(20, 6, 7, seed=seed)
    assert all(torch.equal(a.rows, b.rows) for a, b in zip(first, second, strict=True))
    _, _, other = draw(20, 6, 7, seed=seed + 1)
    assert not all(torch.equal(a.rows, b.rows) for a, b in zip(first, other, strict=True))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    draw(20, 6, 7)
    assert torch.equal(before, torch.get_rng_state())


def views_of(n_samples, n_views):
    """Features that say what they are: (sample, cached view), -1 for the plain one; and neighbors far away."""
    rows = torch.arange(n_samples, dtype=torch.float32)
    plain = torch.stack((rows, torch.full((n_samples,), -1.0)), 1)
    views = [torch.stack((rows, torch.full((n_samples,), float(view))), 1) for view in range(n_views)]
    neighbors = ((torch.arange(n_samples)[:, None] + n_samples // 2) % n_samples).int()
    return Samples((plain,), neighbors, (torch.stack(views),) if views else ())


def one_batch(n_views, names, *, augment=False, seed=0, n_samples=40):
    generator = torch.Generator().manual_seed(seed)
    batch = next(
        sample_batches(views_of(n_samples, n_views), names, batch_size=30, generator=generator, augment=augment)
    )
    (features,) = batch.features
    assert torch.equal(features[..., 0].long(), batch.rows)
    return batch.rows, features[..., 1].long()


def test_plain_and_augmented_are_views_of_the_same_samples():
    rows, views = one_batch(3, ("plain", "augmented", "strong", "augmented"))
    assert all(torch.equal(row, rows[0]) for row in rows)
    assert (views[0] == -1).all()
    assert (views[1:].sort(0).values == torch.arange(3)[:, None]).all()  # each cached view once
    assert not torch.equal(views[1], torch.full((30,), int(views[1][0])))  # another order a sample


def test_cached_views_repeat_only_when_all_were_taken():
    _, views = one_batch(2, ("augmented",) * 5)
    assert (views[:2].sort(0).values == views[2:4].sort(0).values).all()
    assert (views[:2].sort(0).values == torch.arange(2)[:, None]).all()
    assert ((views[4] == 0) | (views[4] == 1)).all()


def test_a_neighbor_stands_in_for_a_view_that_is_not_there():
    rows, views = one_batch(0, ("plain", "augmented"))
    assert (views == -1).all()
    assert torch.equal((rows[0] + 20) % 40, rows[1])


@pytest.mark.parametrize("augment", [False, True])
def test_augment_makes_anchors_and_neighbors_cached_views(augment):
    rows, views = one_batch(2, ("anchor", "neighbor"), augment=augment)
    assert torch.equal((rows[0] + 20) % 40, rows[1])
    assert set(views.flatten().tolist()) == ({0, 1} if augment else {-1})
    if augment:
        assert not torch.equal(views[0], views[1])


def test_without_cached_views_there_is_nothing_to_augment():
    assert (one_batch(0, ("anchor", "neighbor"), augment=True)[1] == -1).all()


@pytest.mark.parametrize(
    ("names", "with_views", "without"),
    [
        (("anchor", "neighbor"), True, True),
        (("plain",), False, False),
        (("plain", "strong"), False, True),
        (("augmented", "augmented"), False, True),
    ],
)
def test_which_views_need_a_neighbor_list(names, with_views, without):
    assert needs_neighbors(names, has_views=True) == with_views
    assert needs_neighbors(names, has_views=False) == without
