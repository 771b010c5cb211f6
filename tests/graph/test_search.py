"""Approximate search against exact search: recall, and nothing that is no neighbor."""

import sys

import numpy as np
import pytest
import torch
from graph.test_neighbors import assert_exact, gaussian

from headclust import load_features
from headclust.errors import HeadclustError, SettingError
from headclust.features import Features
from headclust.graph import ivf, search
from headclust.graph.cached import cached_neighbors, is_cached
from headclust.graph.neighbors import nearest_neighbors
from headclust.graph.search import search_neighbors

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def clustered(n_samples=1500, dim=16):
    generator = torch.Generator().manual_seed(1)
    centers = torch.randn(12, dim, generator=generator) * 1.5
    return centers[torch.arange(n_samples) % 12] + torch.randn(n_samples, dim, generator=generator)


def recall(graph, features, k):
    exact = nearest_neighbors(features, k)
    return float((graph.similarities >= exact.similarities[:, -1:] - 1e-6).float().mean())


def assert_neighbors(graph, features, k):
    """Assert that every row has k different other rows, with their cosines in order."""
    indices = graph.indices.long()
    assert (indices.shape, indices.min() >= 0, indices.max() < len(features)) == ((len(features), k), True, True)
    assert not (indices == torch.arange(len(features))[:, None]).any()
    assert (indices.sort(1).values.diff(dim=1) > 0).all()
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    cosines = (unit[:, None] * unit[indices]).sum(2)
    torch.testing.assert_close(graph.similarities.double(), cosines, atol=2e-6, rtol=0)
    assert (graph.similarities.diff(dim=1) <= 0).all()


@pytest.mark.parametrize("k", [1, 25])
def test_ivf_returns_nearly_all_neighbors_of_clustered_rows(k):
    features = clustered()
    graph = search_neighbors(features, k, "ivf")
    assert_neighbors(graph, features, k)
    record = graph.search
    assert (record["neighbor_search"], record["n_neighbors"], record["searched_exactly"]) == ("ivf", k, 0)
    assert record["lists"] == 38  # 1500 // 39
    assert record["searched_lists"] < record["lists"]  # not an exact search by another name
    assert 0.975 <= record["recall"] <= 1
    assert record["recall"] == pytest.approx(recall(graph, features, k), abs=0.01)


def test_ivf_from_features_in_blocks_is_the_same(monkeypatch):
    features = clustered()
    whole = search_neighbors(features, 5, "ivf")
    monkeypatch.setattr(search, "COLUMNS", 100)
    monkeypatch.setattr(Features, "all", lambda self: pytest.fail("all rows at once"))
    graph = search_neighbors(Features.from_array(features), 5, "ivf")
    assert graph.indices.tolist() == whole.indices.tolist()


@pytest.mark.parametrize(("n_samples", "k"), [(2, 1), (5, 4), (30, 29), (60, 3), (100, 99)])
def test_few_rows(n_samples, k):
    # Fewer rows than lists by the rule; lists shorter than k, from which faiss returns -1.
    features = gaussian(n_samples)
    graph = search_neighbors(features, k, "ivf")
    assert_neighbors(graph, features, k)
    assert graph.search["recall"] >= 0.97


def test_rows_with_short_lists_are_searched_exactly(monkeypatch):
    # One of 38 lists is searched, and most hold fewer than 100 other rows.
    monkeypatch.setattr(ivf, "_RECALL", 1e-9)
    monkeypatch.setattr(search, "_WORST", 0.0)
    features = clustered()
    graph = search_neighbors(features, 100, "ivf")
    assert graph.search["searched_lists"] == 1
    assert_neighbors(graph, features, 100)
    assert 500 < graph.search["searched_exactly"] <= 1500
    exact = nearest_neighbors(features, 100)
    assert (graph.indices == exact.indices).all(1).sum() >= graph.search["searched_exactly"]


@pytest.mark.parametrize("offset", [0, 1e4])
def test_all_lists_are_an_exact_search_whatever_the_blocks(monkeypatch, offset):
    monkeypatch.setattr(ivf, "_RECALL", 1.0)
    monkeypatch.setattr(ivf, "ROWS", 7)
    monkeypatch.setattr(ivf, "COLUMNS", 16)
    features = gaussian(150) + offset
    graph = search_neighbors(features, 20, "ivf")
    assert graph.search["lists"] == 3
    assert_exact(graph, features, 20)


def test_copies_and_zero_vectors():
    features = torch.cat((torch.zeros(50, 6), gaussian(1).expand(60, 6), gaussian(900, seed=2)))
    graph = search_neighbors(features, 10, "ivf")
    assert_neighbors(graph, features, 10)
    assert graph.similarities[:50].abs().max() == 0
    assert graph.similarities[50:110].min() > 1 - 1e-6
    assert recall(graph, features, 10) >= 0.97


def test_rows_that_nearly_point_the_same_way():
    features = gaussian(1000) + 1e4
    graph = search_neighbors(features, 5, "ivf")
    exact = nearest_neighbors(features, 5)
    pairs = zip(graph.indices.tolist(), exact.indices.tolist(), strict=True)
    same = np.mean([len(set(first) & set(second)) / 5 for first, second in pairs])
    assert same >= 0.97
    assert graph.search["recall"] == pytest.approx(same, abs=0.02)  # not of cosines, which are all 1


@pytest.mark.parametrize("name", ["exact", "auto", "ivf"])
@pytest.mark.parametrize("k", [0, 5])
def test_k_out_of_range(name, k):
    with pytest.raises(SettingError, match=f"{k} neighbors of 5 samples: expected 1 to 4"):
        search_neighbors(gaussian(5), k, name)


def test_features_that_do_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr(ivf, "available_memory", lambda: 10_000)
    with pytest.raises(SettingError, match=r"0\.0 GB, 0\.0 GB are free: search exactly \(neighbor_search=exact\)"):
        search_neighbors(clustered(), 5, "ivf")


@pytest.mark.parametrize(
    ("n_samples", "device", "installed", "name"),
    [
        (300_000, CPU, True, "exact"),
        (300_001, CPU, True, "ivf"),
        (3_000_000, CUDA, True, "exact"),
        (3_000_001, CUDA, True, "cuvs"),
        (3_000_001, CUDA, False, "ivf"),
    ],
)
def test_auto_goes_by_size_and_device(monkeypatch, n_samples, device, installed, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda library: installed or None)
    assert search.resolve("auto", n_samples, device) == name


def test_an_approximate_graph_is_cached_under_its_own_name_and_never_silent(write, monkeypatch, capsys):
    features = load_features(write("many.h5", clustered().numpy()))
    exact = cached_neighbors(features, 5)
    assert (exact.search, exact.history, capsys.readouterr().err) == ({}, [], "")
    monkeypatch.setattr(search, "_EXACT_ON_CPU", 1000)
    assert not is_cached(features, 5)
    graph = cached_neighbors(features, 5)
    line = capsys.readouterr().err
    assert line.startswith("neighbors are approximate (ivf): recall@5 is ")
    assert "--set neighbor_search=exact" in line
    names = sorted(file.name for file in (features.path.parent / ".headclust").iterdir())
    assert names == [f"{features.sha256}-cosine-5{name}.safetensors" for name in ("-ivf", "")]
    # Read again, with its recall, and another line.
    monkeypatch.setattr("headclust.graph.cached.search_neighbors", None)
    again = cached_neighbors(load_features(features.path), 5, search="ivf")
    assert torch.equal(again.indices, graph.indices)
    assert again.history == graph.history == [dict(graph.search)]
    assert capsys.readouterr().err == line
    assert cached_neighbors(features, 5, search="exact").indices.tolist() == exact.indices.tolist()


FAKE = {
    "cuvs/__init__.py": "",
    "cuvs/neighbors/__init__.py": "",
    "cuvs/neighbors/nn_descent.py": """
class IndexParams:
    def __init__(self, *, metric, graph_degree, intermediate_graph_degree):
        self.metric, self.graph_degree = metric, graph_degree
""",
    "cuvs/neighbors/all_neighbors.py": """
import torch

class AllNeighborsParams:
    def __init__(self, *, algo, n_clusters, metric, nn_descent_params):
        assert (algo, n_clusters, metric) == ("nn_descent", 1, "sqeuclidean")
        self.descent = nn_descent_params

WRONG = 0  # of ten neighbors

def build(dataset, k, params, *, indices):
    assert params.descent.graph_degree >= k
    if WRONG is None:
        raise RuntimeError("out of\\nluck")
    nearest = torch.cdist(dataset, dataset).topk(k, largest=False).indices
    if WRONG:
        nearest[torch.rand(nearest.shape, generator=torch.Generator().manual_seed(0)) < WRONG / 10] = -1
    indices.copy_(nearest)
""",
}


@pytest.fixture
def cuvs(tmp_path, monkeypatch):
    """A module of the name and with the calls of cuVS, on the CPU."""
    for name, text in FAKE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "cuvs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(search, "check_cuvs", lambda device: None)
    from cuvs.neighbors import all_neighbors

    yield all_neighbors
    for name in [name for name in sys.modules if name.partition(".")[0] == "cuvs"]:
        del sys.modules[name]


@pytest.mark.parametrize("offset", [0, 1e4])
def test_cuvs(cuvs, offset):
    features = torch.cat((gaussian(200) + offset, -gaussian(3) - offset))[: 203 if offset == 0 else 200]
    graph = search_neighbors(features, 7, "cuvs")
    assert_exact(graph, features, 7)
    assert graph.search["neighbor_search"] == "cuvs"


def test_cuvs_is_checked_against_exact_rows(cuvs):
    # Lists of inner products were merged wrongly where they are negative, so a review said: whatever is wrong is seen.
    features = clustered(400)
    cuvs.WRONG = 1
    graph = search_neighbors(features, 7, "cuvs")
    assert_neighbors(graph, features, 7)
    assert 0.8 < graph.search["recall"] < 0.99
    assert graph.search["searched_exactly"] > 100
    cuvs.WRONG = 5
    with pytest.raises(SettingError, match=r"cuvs returns \d\d\.\d % of the 7 nearest neighbors of 400 samples"):
        search_neighbors(features, 7, "cuvs")
    cuvs.WRONG = None
    with pytest.raises(HeadclustError, match="cuvs failed \\(out of luck\\): set neighbor_search to ivf or exact"):
        search_neighbors(features, 7, "cuvs")


def test_cuvs_needs_cuda_and_its_library():
    with pytest.raises(SettingError, match="cuvs needs a CUDA device, this one is cpu: use ivf or exact"):
        search.resolve("cuvs", 10, CPU)
    with pytest.raises(SettingError, match="cuvs, which is not installed: install it, or use ivf or exact"):
        search.resolve("cuvs", 10, CUDA)
