"""CIFAR-10, CIFAR-100 and CIFAR-20 (CIFAR-100's 20 superclasses), from class folders or the binary version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headclust.errors import unknown
from headclust.images.datasets.cifar_binary import CIFAR10, CIFAR100, BinaryFormat, read_records
from headclust.images.datasets.folder import list_class_folders, locate
from headclust.images.datasets.imageset import ImageSet, check_split

_SPLITS = ("train", "test")

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Superclasses in the order of coarse_label_names.txt, and their classes: https://www.cs.toronto.edu/~kriz/cifar.html
CIFAR20_CLASSES: Mapping[str, tuple[str, ...]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
# fine_label_names.txt is in alphabetical order.
CIFAR100_CLASSES = tuple(sorted(name for group in CIFAR20_CLASSES.values() for name in group))


def open_cifar10(path: str, split: str | None) -> ImageSet:
    """CIFAR-10.

    Sample ids are paths relative to the folder, or row numbers within the split of the binary version, in the order of
    its files. Class names are the names of the folders, sorted, or the official names.

    Args:
        path: A folder with class folders (`train/CLASS/FILE`, `test/CLASS/FILE`); or the official binary version, which
            is read into memory: the folder with `data_batch_1.bin` and the other files, the archive
            `cifar-10-binary.tar.gz`, or a folder that holds the archive or `cifar-10-batches-bin/`.
        split: "train" (also for None) or "test".

    Raises:
        DataError: The folder holds none of these, or the pickled version.
        FileFormatError: A binary file or the archive is damaged.
        SettingError: The split does not exist.
    """
    split, root = check_split("cifar10", split, _SPLITS), locate(path)
    if _has_class_folders(root):
        return list_class_folders(root, split, "cifar10", (10,), _SPLITS)
    return _from_binary("cifar10", root, split, CIFAR10, 0, CIFAR10_CLASSES)


def open_cifar100(path: str, split: str | None) -> ImageSet:
    """CIFAR-100 with its 100 classes.

    Args:
        path: As for `open_cifar10`; the binary version is `cifar-100-binary` with `train.bin` and `test.bin`.
        split: "train" (also for None) or "test".

    Raises:
        DataError: The folder holds none of these, or the pickled version.
        FileFormatError: A binary file or the archive is damaged.
        SettingError: The split does not exist.
    """
    split, root = check_split("cifar100", split, _SPLITS), locate(path)
    if _has_class_folders(root):
        return list_class_folders(root, split, "cifar100", (100,), _SPLITS)
    return _from_binary("cifar100", root, split, CIFAR100, 1, CIFAR100_CLASSES)


def open_cifar20(path: str, split: str | None) -> ImageSet:
    """CIFAR-100 labeled with its 20 superclasses, in the official order.

    Args:
        path: As for `open_cifar100`. Class folders have the names of CIFAR-100's classes or superclasses; spaces and
            hyphens count as underscores, and case does not matter.
        split: "train" (also for None) or "test".

    Raises:
        DataError: The folder holds none of these, or the pickled version.
        FileFormatError: A binary file or the archive is damaged.
        SettingError: The split does not exist, or a folder is none of CIFAR-100's classes.
    """
    split, root = check_split("cifar20", split, _SPLITS), locate(path)
    if _has_class_folders(root):
        return _grouped(list_class_folders(root, split, "cifar20", (100, 20), _SPLITS))
    return _from_binary("cifar20", root, split, CIFAR100, 0, tuple(CIFAR20_CLASSES))


def _has_class_folders(root: Path) -> bool:
    return any((root / split).is_dir() for split in _SPLITS)


def _grouped(images: ImageSet) -> ImageSet:
    """CIFAR-100 from class folders, each class replaced by its superclass."""
    table = superclass_numbers(images.class_names, how=f"It is a folder of {images.source}.")
    return replace(images, labels=table[images.labels], class_names=tuple(CIFAR20_CLASSES))


def superclass_numbers(class_names: Sequence[str], *, how: str = "") -> NDArray[np.int64]:
    """The number of the superclass of each class of CIFAR-100, (n_classes,).

    Raises:
        SettingError: A name is none of CIFAR-100's classes or superclasses; `how` is the next step it gives.
    """
    coarse = {_plain(name): i for i, group in enumerate(CIFAR20_CLASSES.items()) for name in (group[0], *group[1])}
    for name in class_names:
        if _plain(name) not in coarse:
            raise unknown("class of cifar100", name, coarse, how=how)
    return np.array([coarse[_plain(name)] for name in class_names], dtype=np.int64)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _from_binary(
    dataset: str, root: Path, split: str, form: BinaryFormat, label_byte: int, class_names: tuple[str, ...]
) -> ImageSet:
    labels, pixels, stamps = read_records(root, form, split)
    return ImageSet(
        dataset=dataset,
        split=split,
        source=f"{dataset}:{root}",
        sample_ids=tuple(str(i) for i in range(len(pixels))),
        labels=labels[:, label_byte].astype(np.int64),
        class_names=class_names,
        stamps=stamps,
        read=lambda i: Image.fromarray(np.ascontiguousarray(pixels[i].transpose(1, 2, 0))),
    )
