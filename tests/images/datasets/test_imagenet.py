from pathlib import Path

import pytest
from PIL import Image

from headclust.errors import DataError, FileFormatError, SettingError
from headclust.images.datasets import open_source
from headclust.images.datasets.imagenet import open_imagenet

WNIDS = ("n01440764", "n02102040", "n03000684")
# As Kaggle's file is: the class, then a box, once an object.
SOLUTION = (
    "ImageId,PredictionString\n"
    "ILSVRC2012_val_00000002,n03000684 85 1 499 272 \n"
    "ILSVRC2012_val_00000001,n01440764 1 2 3 4 n01440764 5 6 7 8 \n"
    "ILSVRC2012_val_00000003,n02102040 0 0 9 9 \n"
)
FLAT = tuple(f"val/ILSVRC2012_val_0000000{i}.JPEG" for i in (1, 2, 3))


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1)).save(root / name, format="JPEG")
    return root


def train() -> tuple[str, ...]:
    return tuple(f"train/{wnid}/{wnid}_{i}.JPEG" for wnid in WNIDS for i in (7, 10))


@pytest.mark.parametrize("below", ["", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC"])
def test_class_folders(tmp_path, below):
    tree(tmp_path / below, *train(), "val/n02102040/ILSVRC2012_val_1.JPEG", "val/n03000684/ILSVRC2012_val_2.JPEG")
    images = open_imagenet(str(tmp_path), None)
    assert images.sample_ids == tuple(sorted(train()))
    assert (images.labels.tolist(), images.class_names) == ([0, 0, 1, 1, 2, 2], WNIDS)
    assert (images.dataset, images.split, images.source) == ("imagenet-3", "train", f"imagenet:{tmp_path / below}")
    val = open_imagenet(str(tmp_path), "val")
    assert (val.labels.tolist(), val.class_names, val.split) == ([1, 2], WNIDS, "val")
    assert val.read(0).size == (1, 1)
    again = open_source(val.source, val.split)
    assert (again.sample_ids, again.class_names, again.dataset) == (val.sample_ids, WNIDS, "imagenet-3")


@pytest.mark.parametrize("with_train", [True, False])
@pytest.mark.parametrize(
    ("below", "beside"),
    [
        ("", ""),
        ("a", ""),
        ("Data/CLS-LOC", ""),
        ("ILSVRC/Data/CLS-LOC", ""),
        ("ILSVRC/Data/CLS-LOC", "ILSVRC"),
        ("ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC"),
    ],
)
def test_a_flat_val_with_kaggles_labels(tmp_path, below, beside, with_train):
    tree(tmp_path / below, *FLAT, *(train() if with_train else ()))
    (tmp_path / beside / "LOC_val_solution.csv").write_text(SOLUTION)
    given = tmp_path / below if below == "a" else tmp_path
    images = open_imagenet(str(given), "val")
    assert images.sample_ids == FLAT
    assert (images.labels.tolist(), images.class_names) == ([0, 2, 1], WNIDS)
    again = open_source(images.source, images.split)
    assert again.labels.tolist() == [0, 2, 1]


def test_a_flat_val_shares_its_classes_with_train(tmp_path):
    tree(tmp_path, *FLAT, "train/n00000001/a.JPEG", *train())
    (tmp_path / "LOC_val_solution.csv").write_text(SOLUTION)
    images = open_imagenet(str(tmp_path), "val")
    assert images.class_names == ("n00000001", *WNIDS) == open_imagenet(str(tmp_path), "train").class_names
    assert images.labels.tolist() == [1, 3, 2]


def test_an_empty_folder_is_no_class(tmp_path):
    tree(tmp_path, *train(), *(f"val/{wnid}/x.JPEG" for wnid in WNIDS))
    for name in ("train/misc", "val/n99999999"):
        (tmp_path / name).mkdir()
    for split in ("train", "val"):
        assert open_imagenet(str(tmp_path), split).class_names == WNIDS


def test_train_shares_its_classes_with_a_flat_val(tmp_path):
    tree(tmp_path, *FLAT, *(name for name in train() if WNIDS[0] not in name))
    (tmp_path / "LOC_val_solution.csv").write_text(SOLUTION)
    images = open_imagenet(str(tmp_path), "train")
    assert images.class_names == WNIDS == open_imagenet(str(tmp_path), "val").class_names
    assert images.labels.tolist() == [1, 1, 2, 2]


def test_a_wrong_id_is_found_in_kaggles_list(tmp_path):
    tree(tmp_path, *FLAT, *train())
    (tmp_path / "LOC_val_solution.csv").write_text(SOLUTION.replace("n02102040", "cat"))
    with pytest.raises(
        FileFormatError, match=r"solution.csv: 'ILSVRC2012_val_00000003' has the class 'cat', expected a class"
    ):
        open_imagenet(str(tmp_path), "val")


def test_a_subset_by_its_classes(tmp_path):
    tree(tmp_path, *train())
    (tmp_path / "two.txt").write_text("n03000684 Chain Saw\nn01440764 Tench\n")
    images = open_source(f"imagenet:{tmp_path}", "train", classes=tmp_path / "two.txt")
    assert (images.dataset, images.class_names) == ("imagenet-2", ("n03000684", "n01440764"))
    assert images.labels.tolist() == [1, 1, 0, 0]
    assert images.sample_ids[0] == "train/n01440764/n01440764_10.JPEG"


def test_a_flat_val_without_labels(tmp_path):
    tree(tmp_path, *FLAT)
    with pytest.raises(
        DataError, match=r"val has no class folders, and LOC_val_solution.csv .* expected one of the two"
    ):
        open_imagenet(str(tmp_path), "val")
    (tmp_path / "LOC_val_solution.csv").write_text("".join(SOLUTION.splitlines(keepends=True)[:3]))
    with pytest.raises(DataError, match=r"has no label for ILSVRC2012_val_00000003 \(1 of 3 images\)"):
        open_imagenet(str(tmp_path), "val")


@pytest.mark.parametrize(
    "text",
    ["", "a,b\n1,2\n", "ImageId,PredictionString\nx\n", "ImageId,PredictionString\nx,\n", "\0", "Image\xffId,\xe9\n"],
)
def test_damaged_labels(tmp_path, text):
    tree(tmp_path, *FLAT)
    (tmp_path / "LOC_val_solution.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises((DataError, FileFormatError)) as caught:
        open_imagenet(str(tmp_path), "val")
    assert "\n" not in str(caught.value)
    assert "LOC_val_solution.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train/cat/1.JPEG", "train/dog/1.JPEG"), "found a folder 'cat', expected train/WNID/FILE"),
        (("train/1.JPEG",), "found no two class folders"),
        (("train/n01440764/x/1.JPEG", "train/n02102040/x/1.JPEG"), "found no two class folders"),
        (
            ("images/1.JPEG",),
            "holds no ImageNet train images: expected train/WNID/FILE there or in ILSVRC/Data/CLS-LOC",
        ),
    ],
)
def test_folders_of_another_shape(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        open_imagenet(str(tree(tmp_path, *names)), None)


def test_splits(tmp_path):
    with pytest.raises(SettingError, match=r"no split 'test' with labels: .* use --split val"):
        open_imagenet(str(tmp_path), "test")
    with pytest.raises(SettingError, match="imagenet has no split 'all': expected train or val"):
        open_imagenet(str(tmp_path), "all")


def test_fewer_classes_are_a_part_of_imagenet_and_said_to_be(tmp_path, capsys, monkeypatch):
    assert open_imagenet(str(tree(tmp_path, *train())), None).dataset == "imagenet-3"
    assert capsys.readouterr().err == f"{tmp_path}: 3 of ImageNet's 1000 classes: used as a subset.\n"
    monkeypatch.setattr("headclust.images.datasets.imagenet._N_CLASSES", 3)
    assert open_imagenet(str(tmp_path), None).dataset == "imagenet"
    assert capsys.readouterr().err == ""
