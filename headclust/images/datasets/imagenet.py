"""ImageNet-1k (ILSVRC 2012) as published: class folders, or Kaggle's tree with its flat validation folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headclust import progress
from headclust.errors import DataError, FileFormatError, SettingError
from headclust.images.datasets.folder import folders_with_images, list_folder, locate
from headclust.images.datasets.imageset import ImageSet, check_split
from headclust.images.datasets.layout import encode_labels
from headclust.textfiles import table_rows

_SPLITS = ("train", "val")
_N_CLASSES = 1000
_BELOW = ("", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")
_SOLUTION = "LOC_val_solution.csv"
_WNID = re.compile(r"n\d{8}")


def open_imagenet(path: str, split: str | None) -> ImageSet:
    """ImageNet. Class names are WordNet ids (n01440764), sorted, as usual in the field.

    A folder with N instead of 1,000 classes is named "imagenet-N", like a subset of classes.

    Args:
        path: The folder that holds `train/WNID/FILE` and `val/WNID/FILE`, directly or in `Data/CLS-LOC/` or
            `ILSVRC/Data/CLS-LOC/`. A `val/` without class folders needs Kaggle's `LOC_val_solution.csv`, beside it or
            above `Data/`. Both splits share one list of classes. Sample ids are paths relative to the folder of the
            splits, which is the `source`.
        split: "train" (also for None) or "val". There is no "test": the images published under that name have no
            labels, and published test results are measured on val.

    Raises:
        DataError: The folder does not have this layout, or an image of a flat `val/` is not in the list.
        FileFormatError: The list of validation labels is damaged.
        SettingError: The split does not exist.
    """
    if split == "test":
        raise SettingError("imagenet has no split 'test' with labels: the field evaluates on val, so use --split val.")
    split = check_split("imagenet", split, _SPLITS)
    root = _find(locate(path), split)
    splits = [name for name in _SPLITS if (root / name).is_dir()]
    images = list_folder(root, split, splits)
    if "val" in splits and not folders_with_images(root, "val"):
        images = _with_solution(images, root, splits)
    _check_classes(images, root)
    n_classes = len(images.class_names)
    # The name that `ImageSet.of_classes` gives: presets treat subsets of ImageNet differently.
    name = "imagenet" if n_classes == _N_CLASSES else f"imagenet-{n_classes}"
    return replace(images, dataset=name, source=f"imagenet:{root}")


def _find(root: Path, split: str) -> Path:
    """The folder that holds the split."""
    for below in _BELOW:
        if (root / below / split).is_dir():
            return root / below
    raise DataError(f"{root} holds no ImageNet {split} images: expected {split}/WNID/FILE there or in {_BELOW[-1]}.")


def _check_classes(images: ImageSet, root: Path) -> None:
    odd = [name for name in images.class_names if not _WNID.fullmatch(name)]
    if odd or not images.class_names:
        content = f"a folder {odd[0]!r}" if odd else "no two class folders"
        raise DataError(f"{root}: found {content}, expected {images.split}/WNID/FILE with names like n01440764/x.JPEG.")
    if len(images.class_names) != _N_CLASSES:
        progress.note(f"{root}: {len(images.class_names)} of ImageNet's {_N_CLASSES} classes: used as a subset.")


def _with_solution(images: ImageSet, root: Path, splits: Sequence[str]) -> ImageSet:
    """The images with the classes of Kaggle's list added; if the split is a flat `val/`, with labels from the list."""
    above = [root, root.parent]
    if root.name == "CLS-LOC":
        above += [root.parent.parent, root.parent.parent.parent]
    lists = [folder / _SOLUTION for folder in above if (folder / _SOLUTION).is_file()]
    if images.split == "val" and not lists:
        raise DataError(
            f"{root / 'val'} has no class folders, and {_SOLUTION} with its labels is neither beside "
            "it nor above Data/: expected one of the two."
        )
    if not lists or (images.split == "train" and images.labels is None):
        return images
    wnids = _read_solution(lists[0])
    classes = {*wnids.values(), *(folders_with_images(root, "train") if "train" in splits else ())}
    if images.split == "train":
        texts = [name.split("/")[1] for name in images.sample_ids]
    else:
        stems = [Path(name).stem for name in images.sample_ids]
        missing = [stem for stem in stems if stem not in wnids]
        if missing:
            raise DataError(f"{lists[0]} has no label for {missing[0]} ({len(missing)} of {len(stems)} images).")
        texts = [wnids[stem] for stem in stems]
    labels, class_names = encode_labels(texts, classes)
    return replace(images, labels=labels, class_names=class_names)


def _read_solution(path: Path) -> dict[str, str]:
    """WordNet id per image, by the image's name without suffix.

    Rows are `ImageId,PredictionString`; the string starts with the class: n03995372 85 1 499 272.
    """
    rows = table_rows(path)
    header = next(rows, (0, []))[1]
    if not {"ImageId", "PredictionString"} <= set(header):
        raise FileFormatError(f"{path} is not Kaggle's list: expected a header with ImageId,PredictionString.")
    wnids = dict[str, str]()
    for line, row in rows:
        values = dict(zip(header, row, strict=False))
        prediction = values.get("PredictionString", "").split()
        if not prediction:
            raise FileFormatError(f"{path}, line {line} names no class: expected ImageId,PredictionString.")
        wnids[values["ImageId"]] = prediction[0]
    for image, wnid in wnids.items():
        if not _WNID.fullmatch(wnid):
            raise FileFormatError(
                f"{path}: {image[:100]!r} has the class {wnid[:100]!r}, expected a class like n01440764."
            )
    return wnids
