import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix
from study.confusion import confusion_of, draw_confusion

from headclust.errors import DataError
from headclust.methods import DEFAULT_METHOD
from headclust.scoring import metrics

from .lines import fit_line

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 4)), min_size=1, max_size=60)


@given(PAIRS)
def test_the_diagonal_is_the_accuracy(pairs):
    assignments, labels = (np.array(column) for column in zip(*pairs, strict=True))
    if not (labels >= 0).any():
        with pytest.raises(DataError, match="no label is known"):
            confusion_of(assignments, labels)
        return
    table = confusion_of(assignments, labels)
    shares, known = table.to_numpy(), labels >= 0
    assert shares.sum(axis=1) == pytest.approx(1)
    sizes = [np.sum(labels[known] == int(name)) for name in table.index]
    diagonal = sum(shares[i, i] * sizes[i] for i in range(min(shares.shape)))
    assert diagonal / known.sum() == pytest.approx(metrics.accuracy(assignments, labels))


@given(PAIRS)
def test_every_share_is_scikit_learns(pairs):
    assignments, labels = (np.array(column) for column in zip(*pairs, strict=True))
    known = labels >= 0
    if not known.any():
        return
    table = confusion_of(assignments, labels)
    counts = confusion_matrix(labels[known], assignments[known], labels=range(6))
    classes = [int(name) for name in table.index]
    expected = counts[np.ix_(classes, table.columns)] / counts[classes].sum(axis=1, keepdims=True)
    assert table.to_numpy() == pytest.approx(expected)


def test_classes_have_their_names_where_there_are_some():
    table = confusion_of(np.array([1, 1, 0, 2]), np.array([0, 0, 1, 3]), ["cat", "dog"])
    assert set(table.index) == {"cat", "dog", "3"}
    assert table.columns[table.index.get_loc("cat")] == 1


@pytest.fixture
def keep(tmp_path):
    """Writes the assignments of a cell and gives its line."""
    (tmp_path / "cells").mkdir()

    def write(name="one.npz", **more):
        labels = np.arange(40) % 4
        arrays = {
            "eval": (labels + 1).astype(np.uint8),
            "eval_labels": labels.astype(np.int32),
            "class_names": ["a", "b"],
        }
        np.savez_compressed(tmp_path / "cells" / name, **{**arrays, **more.pop("arrays", {})})
        return fit_line(assignments=f"cells/{name}", **more)

    return write


def test_one_cell_a_data_set_is_drawn(keep, tmp_path):
    lines = [
        keep("a.npz", dataset="cifar10", method="kmeans"),
        keep("b.npz", dataset="cifar10", method=DEFAULT_METHOD, seed=1),
        keep("c.npz", dataset="cifar10", method=DEFAULT_METHOD),
        keep("d.npz", dataset="cifar10", method=DEFAULT_METHOD, preset="authors"),
        keep("e.npz", dataset="my / set", method="scan"),
        keep("f.npz", dataset="digits", role="ablation"),
        keep("g.npz", dataset="digits", status="failed"),
    ]
    found = {name: figure.get_suptitle() for name, figure in draw_confusion(lines, tmp_path)}
    assert found == {
        "cifar10": f"cifar10 (test): efficientnet_lite0, {DEFAULT_METHOD}, ours, seed 0",
        "my-set": "my / set (test): efficientnet_lite0, scan, ours, seed 0",
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"assignments": "cells/none.npz"}, "No such file"),
        ({"assignments": "../one.npz"}, "not among the study's own files"),
        ({"assignments": "/etc/passwd"}, "not among the study's own files"),
        ({"arrays": {"eval_labels": np.full(40, -1)}}, "no label is known"),
        ({"arrays": {"eval_labels": np.zeros(7, int)}}, "expected two vectors of one length"),
        ({"arrays": {"class_names": np.array([{}], dtype=object)}}, "allow_pickle=False"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_left_out(keep, tmp_path, capsys, more, message):
    line = {**keep(arrays=more.pop("arrays", {})), **more}
    assert list(draw_confusion([line], tmp_path)) == []
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_damaged_file_is_said(keep, tmp_path, capsys):
    line = keep()
    for content in (b"", b"not a zip", (tmp_path / "cells" / "one.npz").read_bytes()[:90]):
        (tmp_path / "cells" / "one.npz").write_bytes(content)
        assert list(draw_confusion([line], tmp_path)) == []
        assert "no confusion matrix" in capsys.readouterr().err


def test_many_classes_get_no_numbers(keep, tmp_path):
    labels = np.arange(600) % 300
    ((_, figure),) = draw_confusion([keep(arrays={"eval": labels, "eval_labels": labels})], tmp_path)
    axes = figure.axes[0]
    assert len(axes.texts) == 0
    assert axes.get_images()[0].get_array().shape == (300, 300)
