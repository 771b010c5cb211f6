"""Against hub/backbones.py and models/vision_transformer.py of facebookresearch/dinov2."""

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from headclust.backbones import CATALOG, load_backbone
from headclust.backbones.positions import resample_positions


def theirs(positions: torch.Tensor, side: int, *, registers: bool) -> torch.Tensor:
    """The authors' definition: for a ViT with registers by size and smoothed, for a plain one by a scale and not."""
    grid = positions[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    if registers:
        grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True)
    else:
        scale = (float(side + 0.1) / 37, float(side + 0.1) / 37)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", antialias=False)
    return torch.cat((positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)


def random_positions() -> torch.Tensor:
    return torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("side", [1, 7, 16, 36, 38, 50])
def test_it_is_the_authors_way(side):
    found = resample_positions(random_positions(), side, 0.1)
    expected = theirs(random_positions(), side, registers=False)
    assert found.shape == (1, 1 + side * side, 8)
    assert torch.equal(found, expected)


def test_what_needs_no_change_or_is_no_square_comes_back():
    positions = random_positions()
    assert resample_positions(positions, 37, 0.1) is positions
    for odd in (positions[:, :7], positions[0], positions[:, :1], torch.ones(3), torch.tensor(1.0)):
        assert resample_positions(odd, 16, 0.1) is odd


@pytest.mark.parametrize("image_size", [None, 112])
@pytest.mark.parametrize("registers", [False, True])
def test_dinov2_has_its_authors_positions_at_every_size(tmp_path, registers, image_size):
    name = "dinov2_vits14_reg" if registers else "dinov2_vits14"
    timms = timm.create_model(CATALOG[name].key, num_classes=0).state_dict()
    positions = torch.randn(1, 1 + 37 * 37, 384, generator=torch.Generator().manual_seed(0))
    # As in the authors' files: a position for the class token, which timm's own file of the one with registers lacks.
    layout = {"pos_embed": positions, "mask_token": torch.zeros(1, 384)}
    state = {key.replace("reg_token", "register_tokens"): value for key, value in timms.items()} | layout
    save_file(state, tmp_path / "w.safetensors")
    model = load_backbone(name, weights=tmp_path / "w.safetensors", image_size=image_size).model
    side = (image_size or 224) // 14
    expected, other = (theirs(positions, side, registers=way)[:, registers:] for way in (registers, not registers))
    assert torch.allclose(model.pos_embed, expected, atol=1e-6)
    assert not torch.allclose(model.pos_embed, other, atol=1e-2)
