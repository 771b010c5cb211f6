import numpy as np
import pytest
import torch
from scipy.special import softmax

from headclust.model import heads as heads_module
from headclust.model.heads import NeighborHeads, select
from headclust.model.heads import neighbors as neighbors_module
from headclust.model.heads.output import HeadOutput


def some_heads(n_heads=3, n_fitted=40, dim=6, n_clusters=4, n_votes=7, temperature=2.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    return NeighborHeads(
        assignments=torch.randint(n_clusters, (n_heads, n_fitted), generator=generator, dtype=torch.int32),
        features=torch.randn(1, n_fitted, dim, generator=generator).to(dtype),
        n_clusters=n_clusters,
        n_votes=n_votes,
        temperature=temperature,
    )


def queries(views=2, batch=9, dim=6):
    return torch.randn(views, batch, dim, generator=torch.Generator().manual_seed(3))


def shares(heads, x):
    """A plain loop in float64."""
    fitted, x = heads.features[0].double().numpy(), x.double().numpy()
    actual = np.zeros((x.shape[0], len(heads.assignments), x.shape[1], heads.n_clusters))
    for place in np.ndindex(actual.shape[:3]):
        view, head, row = place
        distances = np.square(fitted - x[view, row]).sum(1)
        voters = np.argsort(distances, kind="stable")[: int(heads.counts[0, 1])]
        votes = softmax(-distances[voters] / (2 * float(heads.temperature[0])))
        for voter, vote in zip(voters, votes, strict=True):
            actual[(*place, int(heads.assignments[head, voter]))] += vote
    return actual


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("n_votes", "temperature"), [(1, 2.0), (7, 0.3), (7, 1e6), (99, 2.0)])
def test_shares_of_the_votes_equal_a_plain_loop(n_votes, temperature, dtype):
    heads = some_heads(n_votes=n_votes, temperature=temperature, dtype=dtype)
    output = heads(queries())
    assert isinstance(output, HeadOutput)
    assert output.logits.shape == (2, 3, 9, 4)
    np.testing.assert_allclose(output.logits.exp().numpy(), shares(heads, queries()), atol=1e-5)
    assert torch.allclose(output.logits.exp().sum(-1), torch.ones(2, 3, 9))


@pytest.mark.parametrize(("rows", "columns"), [(4, 11), (1, 1), (100, 39)])
def test_blocks_change_nothing(monkeypatch, rows, columns):
    whole = some_heads()(queries()).logits
    monkeypatch.setattr(neighbors_module, "_ROWS", rows)
    monkeypatch.setattr(neighbors_module, "_COLUMNS", columns)
    torch.testing.assert_close(some_heads()(queries()).logits, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("dim", [6, 30])
def test_a_fitted_sample_keeps_its_cluster_whatever_its_neighbors_vote(dtype, dim):
    heads = some_heads(temperature=1e6, n_votes=20, dim=dim, dtype=dtype)
    rows = heads.features.float() * (1 + 1e-5)
    probs = heads(rows).logits[0].exp()
    assert torch.equal(probs.argmax(-1), heads.assignments.long())
    torch.testing.assert_close(probs.sum(-1), torch.ones(3, 40))
    # The others outvote most of them; these are the least sure, and the rest as sure as by the votes.
    votes = shares(heads, rows)[0]
    outvoted = torch.from_numpy(votes.argmax(-1)) != heads.assignments
    assert outvoted.float().mean() > 0.5
    assert (probs.amax(-1)[outvoted] <= 0.5 + 1e-3).all()
    np.testing.assert_allclose(probs[~outvoted], torch.from_numpy(votes)[~outvoted], atol=1e-3)


def test_models_of_older_versions_leave_fitted_samples_to_the_votes():
    state = some_heads(temperature=1e6, n_votes=20).state_dict()
    del state["radius"]
    heads = NeighborHeads.from_state(state)
    assert set(heads.state_dict()) == set(state)
    probs = heads(heads.features).logits[0].exp()
    np.testing.assert_allclose(probs.numpy(), shares(heads, heads.features)[0], atol=1e-5)
    assert not torch.equal(probs.argmax(-1), heads.assignments.long())


def test_of_fitted_samples_in_one_place_the_first_decides():
    heads = NeighborHeads(
        assignments=torch.tensor([[2, 0, 1, 1]], dtype=torch.int32),
        features=torch.tensor([[[5.0, 5], [1, 1], [1, 1], [1, 1]]]),
        n_clusters=3,
        n_votes=4,
        temperature=1e6,
    )
    assert heads(torch.ones(1, 1, 2)).logits.argmax() == 0


def test_samples_close_together_in_few_dimensions_are_told_apart():
    angles = torch.linspace(0, 1, 4000, dtype=torch.float64)
    rows = torch.stack((angles.cos(), angles.sin()), 1).float()
    clusters = (torch.arange(4000) % 2)[None].int()
    heads = NeighborHeads(assignments=clusters, features=rows[None], n_clusters=2, n_votes=10, temperature=0.1)
    assert torch.equal(heads(rows[None]).logits[0].argmax(-1), clusters.long())


def test_a_head_alone_predicts_as_in_the_ensemble():
    heads = some_heads()
    together = heads(queries()).logits
    for head in range(3):
        alone = NeighborHeads.from_state(select(heads.state_dict(), head))
        assert torch.equal(alone(queries()).logits[:, 0], together[:, head])


def test_heads_come_back_from_their_state():
    heads = some_heads(temperature=0.1, dtype=torch.float16)
    again = heads_module.HEADS["neighbors"].from_state(heads.state_dict())
    assert (again.input_dims, again.n_clusters) == ((6,), 4)
    assert torch.equal(again(queries()).logits, heads(queries()).logits)
    assert again.features.dtype == torch.float16


def test_renaming_clusters_renames_the_answer():
    heads = some_heads()
    names = torch.tensor([2, 0, 3, 1])
    renamed = some_heads()
    renamed.assignments = names[heads.assignments.long()].int()
    torch.testing.assert_close(renamed(queries()).logits[..., names], heads(queries()).logits)


def test_an_empty_cluster_gets_no_vote():
    heads = NeighborHeads(
        assignments=torch.zeros(1, 5, dtype=torch.int32),
        features=torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0)),
        n_clusters=3,
        n_votes=5,
        temperature=1.0,
    )
    probs = torch.softmax(heads(queries(dim=3)).logits, dim=-1)
    torch.testing.assert_close(probs, torch.tensor([1.0, 0, 0]).expand(2, 1, 9, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"assignments": torch.full((3, 40), 4, dtype=torch.int32)},
        {"assignments": torch.full((3, 40), -1, dtype=torch.int32)},
        {"assignments": torch.zeros(3, 39, dtype=torch.int32)},
        {"features": torch.zeros(3, 40, 6)},
        {"features": torch.zeros(40, 6)},
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(wrong):
    with pytest.raises(ValueError, match="clusters of"):
        NeighborHeads.from_state({**some_heads().state_dict(), **wrong})
