"""Embeddings in the files of other programs."""

import gc
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from headclust.errors import DataError, FileFormatError, HeadclustError, SettingError
from headclust.features.imported import read_embeddings

ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
NAMES = [f"{letter}.jpg" for letter in "abcde"]


def refusal(path, key=None, error=HeadclustError) -> str:
    with pytest.raises(error) as caught:
        read_embeddings(path, key)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
    return str(caught.value)


def parquet(path, /, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def text(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def csv_rows(header, names=NAMES, ends="\n"):
    lines = [",".join((name, *map(repr, map(float, row)))) for name, row in zip(names, ROWS, strict=True)]
    return ends.join((header, *lines)) + ends


# -- Several arrays ----------------------------------------------------------------------------------------------------


def test_the_only_array_of_an_npz(tmp_path):
    np.savez(tmp_path / "x.npz", anything=ROWS)
    content = read_embeddings(tmp_path / "x.npz")
    assert np.array_equal(content.values, ROWS)
    assert (content.ids, content.labels, content.description) == (None, None, "anything")


def test_ids_and_labels_beside_the_only_matrix_of_an_npz(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", paths=np.array(NAMES), X=ROWS, labels=np.arange(5), scale=np.float32(2))
    content = read_embeddings(tmp_path / "x.npz")
    assert np.array_equal(content.values, ROWS)
    assert (content.ids, content.labels) == (NAMES, ["0", "1", "2", "3", "4"])
    assert content.description == "X; ids from paths; labels from labels; left out 'scale'"


def test_one_of_several_arrays_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", train=ROWS, test=2 * ROWS)
    assert np.array_equal(read_embeddings(tmp_path / "x.npz", "test").values, 2 * ROWS)
    assert refusal(tmp_path / "x.npz", error=SettingError).endswith(
        "x.npz holds several embeddings: choose one with --key: 'train', 'test'."
    )
    assert "has no embeddings named 'val': it holds 'train', 'test'" in refusal(tmp_path / "x.npz", "val", SettingError)


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_vectors_by_name_are_rows(tmp_path, suffix):
    vectors = dict(zip(NAMES, ROWS, strict=True))
    if suffix == ".npz":
        np.savez(tmp_path / "x.npz", **vectors)
    else:
        torch.save({name: torch.tensor(row) for name, row in vectors.items()}, tmp_path / "x.pt")
    content = read_embeddings(tmp_path / f"x{suffix}")
    assert np.array_equal(content.values, ROWS)
    assert content.ids == NAMES
    assert "one row per array, ids 'a.jpg', 'b.jpg'" in content.description


def test_nothing_in_an_npz_is_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    assert "holds nothing: expected an array (n_samples, feature_dim)" in refusal(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"hello"])
def test_what_is_no_npz(tmp_path, content):
    assert "is not in .npz format" in refusal(text(tmp_path / "x.npz", content), error=DataError)


def test_a_broken_npz_is_closed(tmp_path, monkeypatch):
    unclosed = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", unclosed.append)
    refusal(text(tmp_path / "x.npz", "PK\x03\x04"), error=DataError)
    gc.collect()
    assert unclosed == []


# -- PyTorch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        torch.tensor(ROWS),
        torch.tensor(ROWS, requires_grad=True),
        {"embeddings": torch.tensor(ROWS), "epoch": 3},
        [torch.tensor(row) for row in ROWS],
        {"model": "x", "features": torch.tensor(ROWS), "names": NAMES},
    ],
    ids=["tensor", "with gradient", "dict", "list", "with names"],
)
def test_tensors(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    read = read_embeddings(tmp_path / "x.pt")
    assert np.array_equal(read.values, ROWS)
    assert read.ids == (NAMES if isinstance(content, dict) and "names" in content else None)


def test_a_tensor_of_bfloat16(tmp_path):
    torch.save(torch.tensor(ROWS).bfloat16(), tmp_path / "x.pth")
    assert np.allclose(read_embeddings(tmp_path / "x.pth").values, ROWS, atol=0.02)


class Payload:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04\x95 a pickle", b"PK\x03\x04"])
def test_what_is_no_pytorch_file(tmp_path, content):
    assert "is not a PyTorch file of tensors alone" in refusal(text(tmp_path / "x.pt", content))


@pytest.mark.filterwarnings("ignore:`torch.jit")  # of making the file
def test_no_code_in_a_pytorch_file_is_run(tmp_path, capsys):
    torch.save({"x": torch.tensor(ROWS), "y": Payload()}, tmp_path / "x.pt")
    assert "could run code" in refusal(tmp_path / "x.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    assert "could run code" in refusal(tmp_path / "x.pt")
    assert "unpickled" not in capsys.readouterr().out


# -- Text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_table_with_ids(tmp_path, encoding, ends):
    content = read_embeddings(text(tmp_path / "x.csv", csv_rows("Path,f0,f1,f2", ends=ends).encode(encoding)))
    assert np.array_equal(content.values, ROWS)
    assert content.ids == NAMES
    assert content.description == "3 columns, f0 to f2; ids from Path"


def test_labels_and_other_columns(tmp_path):
    lines = ["id\tlabel\tcluster\tdim_1\tdim_2\tsplit", "7\tcat\t0\t0.5\t1\ttrain", "9\tdog\t1\t-2e-3\t2\ttest"]
    content = read_embeddings(text(tmp_path / "x.tsv", "\n".join(lines)))
    assert content.values.tolist() == np.array([[0.5, 1], [-2e-3, 2]], np.float32).tolist()
    assert (content.ids, content.labels) == (["7", "9"], ["cat", "dog"])
    # The cluster is a number too, and no feature.
    assert content.description.endswith("ids from id; labels from label; left out 'cluster', 'split'")


def test_the_row_numbers_of_pandas_are_no_feature(tmp_path):
    content = read_embeddings(text(tmp_path / "x.csv", csv_rows(",0,1,2", names=list("01234"))))
    assert np.array_equal(content.values, ROWS)
    assert content.ids is None


def test_columns_without_numbers_in_their_names(tmp_path):
    content = read_embeddings(text(tmp_path / "x.csv", csv_rows("name,length,width,weight")))
    assert np.array_equal(content.values, ROWS)


def test_numbered_columns_of_two_models(tmp_path):
    path = text(tmp_path / "x.csv", "a0,a1,b0,b1\n1,2,3,4\n")
    assert "choose one with --key: 'a', 'b'" in refusal(path)
    assert read_embeddings(path, "b").values.tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.5,1.5\n2,3\n", "starts with numbers: expected a header"),
        ("", "has no rows"),
        ("path,f0,f1\n", "has no rows"),
        ("path,f0,f1\na,1\n", "line 2: 2 columns, expected 3 as in the header"),
        ("path,f0,f1\na,1,2\nb,1,cat\n", "line 3: 'cat' in column 'f1': expected a number"),
        ("path,f0,f1\na,1,2\nb,,2\n", "line 3: '' in column 'f0': expected a number"),
        ('path,f0,f1\na,"0,5",2\n', "'path', 'f0', 'f1'"),
        ("path,f0,f1\na,1,2\n,1,2\n", "line 3 is blank"),
        ("path,f0,f1\na,1,2\nb,1,2\n\na,1,2\n", "line 5: 'a' is in line 2 already"),
        ("f0,f0\n1,2\n", "2 columns named 'f0'"),
        ('path,embedding\na,"[0.1, 0.2]"\n', "column 'embedding' holds lists as text: save the table as .parquet"),
        ("path,group\na,x\n", "holds 'path', 'group': expected columns of numbers"),
        (b"path,f0\na\0,1\n", "a null character"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, message):
    path = text(tmp_path / "x.csv", content)
    if "0,5" in str(content):  # a decimal comma: the column is text, and is left out
        assert read_embeddings(path).description == "f1; ids from path; left out 'f0'"
    else:
        assert message in refusal(path)


# -- Parquet -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 3), pa.large_list(pa.float64()), pa.list_(pa.float16())]
)
def test_a_column_of_lists(tmp_path, kind):
    values = ROWS.astype(np.float16) if kind == pa.list_(pa.float16()) else ROWS
    column = pa.array([list(row) for row in values], kind)
    path = parquet(tmp_path / "x.parquet", path=NAMES, vector=column, confidence=[0.5] * 5, label=[1, 0, 1, None, 0])
    content = read_embeddings(path)
    assert np.allclose(content.values, values)
    assert (content.ids, content.labels) == (NAMES, ["1", "0", "1", "", "0"])
    assert content.description == "vector; ids from path; labels from label; left out 'confidence'"


def test_columns_of_numbers(tmp_path):
    columns = {f"f{number}": ROWS[:, number] for number in range(3)}
    content = read_embeddings(parquet(tmp_path / "x.parquet", sample_id=NAMES, **columns, split=["train"] * 5))
    assert np.array_equal(content.values, ROWS)
    assert content.description == "3 columns, f0 to f2; ids from sample_id; left out 'split'"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"v": [[1.0, 2], [1.0]]}, "row 2: its list in column 'v' is missing, or has another length than"),
        ({"v": [[1.0, 2], None]}, "row 2: its list"),
        ({"v": [[1.0, 2], [3.0, 4]], "w": [[1.0], [2.0]]}, "choose one with --key: 'v', 'w'"),
        ({"f0": [1.0, None], "f1": [1.0, 2]}, "row 2: no number in column 'f0'"),
        ({"path": ["a", "a"], "v": [[1.0], [2.0]]}, "row 2: 'a' is in row 1 already"),
        ({"path": ["a", None], "v": [[1.0], [2.0]]}, "row 2 is blank"),
        ({"path": ["a", "b"]}, "expected columns of numbers"),
        ({"v": pa.array([], pa.list_(pa.float32()))}, "has no rows"),
    ],
)
def test_parquet_that_is_refused(tmp_path, columns, message):
    assert message in refusal(parquet(tmp_path / "x.parquet", **columns))


def test_what_is_no_parquet(tmp_path):
    assert "cannot be read as a Parquet file" in refusal(text(tmp_path / "x.parquet", "hello"), error=FileFormatError)
    assert "no such file" in refusal(tmp_path / "none.parquet")


def test_a_key_for_one_array(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    assert "holds one array: leave it out" in refusal(tmp_path / "x.npy", "a")


def test_another_kind_of_file(tmp_path):
    message = refusal(text(tmp_path / "x.json", json.dumps([[1, 2]])))
    assert "expected one array saved by numpy.save, or a file named .npz, .csv, .tsv, .parquet or .pt" in message
