import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from headclust.backbones.entry import HALF, IMAGENET_MEAN, IMAGENET_STD, Evaluation
from headclust.backbones.evaluation import build_preprocessing

BICUBIC = T.InterpolationMode.BICUBIC
IMAGENET = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}

CASES = [
    (Evaluation("x", 224, 256, "bilinear", **IMAGENET), None, [T.Resize(256), T.CenterCrop(224)]),
    (Evaluation("x", 224, 232, "bicubic", **IMAGENET), None, [T.Resize(232, BICUBIC), T.CenterCrop(224)]),
    (Evaluation("x", 224, 256, "bicubic", **IMAGENET), 56, [T.Resize(64, BICUBIC), T.CenterCrop(56)]),
    (Evaluation("x", 96, 0, "bilinear", HALF, HALF), None, [T.Resize((96, 96))]),
    (Evaluation("x", 96, 0, "bicubic", HALF, HALF), 32, [T.Resize((32, 32), BICUBIC)]),
    (
        Evaluation("x", 224, 224, "bicubic", **IMAGENET, crop=False, squash=256),
        None,
        [T.Resize((256, 256)), T.Resize(224, BICUBIC)],
    ),
]


@pytest.mark.parametrize(("evaluation", "image_size", "steps"), CASES)
def test_it_is_torchvisions_steps(evaluation, image_size, steps):
    theirs = T.Compose([*steps, T.ToTensor(), T.Normalize(evaluation.mean, evaluation.std)])
    ours = build_preprocessing(evaluation, image_size=image_size, own_size=(224, 224))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 190, 3), dtype=np.uint8))
    assert torch.equal(ours.normalize(torch.from_numpy(ours.pixels(image))[None])[0], theirs(image))
    assert ours.size == ((image_size or evaluation.size),) * 2


@pytest.mark.parametrize(("case", "crop"), [(0, "center"), (3, "squash"), (5, "none")])
def test_the_record(case, crop):
    record = build_preprocessing(CASES[case][0], image_size=None, own_size=(98, 98)).record
    assert (record["config"], record["crop"], record["own_size"]) == ("x", crop, [98, 98])
    assert record["library"].startswith("torchvision ")
    assert len(record["steps"]) == len(CASES[case][2])
