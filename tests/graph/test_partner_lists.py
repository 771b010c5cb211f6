import numpy as np
import pytest
import torch

from headclust.graph import lists
from headclust.graph.lists import self_neighbors
from headclust.graph.neighbors import nearest_neighbors


def temi_lists(similarities, chunk, k):
    """Neighbor lists by TEMI's code, from all similarities: in each chunk of rows mask column i of row i, then sort."""
    lists = []
    for start in range(0, len(similarities), chunk):
        block = similarities[start : start + chunk].clone()
        for row in range(len(block)):
            block[row, row] = -np.inf
        lists.append(block.argsort(dim=1, descending=True, stable=True)[:, :k])
    return torch.cat(lists)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_error_of_temis_code_above_80000_samples(k):
    unit = torch.nn.functional.normalize(torch.randn(210, 6, generator=torch.Generator().manual_seed(3)), dim=1)
    indices = nearest_neighbors(unit, k).indices
    actual = self_neighbors(indices)
    assert torch.equal(actual.long(), temi_lists(unit @ unit.T, 64, k))
    assert (actual[64:, 0] == torch.arange(64, 210)).all()
    assert torch.equal(actual[:64], indices[:64])


def test_neighbor_lists_by_name(monkeypatch):
    indices = nearest_neighbors(torch.randn(120, 6, generator=torch.Generator().manual_seed(3)), 4).indices
    assert torch.equal(lists.neighbor_list(indices, "others"), indices)
    with_self = lists.neighbor_list(indices, "with-self")
    assert torch.equal(with_self[:, 0], torch.arange(120).int())
    assert torch.equal(with_self[:, 1:], indices)
    assert torch.equal(lists.neighbor_list(indices, "temi-paper"), indices)  # right up to 80,000
    monkeypatch.setattr(lists, "_TEMI_WHOLE", 100)
    assert torch.equal(lists.neighbor_list(indices, "temi-paper"), self_neighbors(indices))
