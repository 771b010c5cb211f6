"""A trial run of a model before use: the dimension of its features, and whether it uses the whole image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from headclust.errors import SettingError

if TYPE_CHECKING:
    import torch


def freeze_model(name: str, model: torch.nn.Module, size: tuple[int, int]) -> int:
    """Freeze a model in place (eval mode, no gradients), run it once, and return the dimension of its features.

    Args:
        name: The name given by the user, for the error.
        model: Takes float32 (batch, 3, height, width).
        size: (height, width).

    Raises:
        SettingError: The model does not accept this size, or does not return one vector per image.
    """
    import torch

    model.eval().requires_grad_(False)
    try:
        out = _run_once(model, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingError(f"model {name!r} does not take images of {size[0]} x {size[1]} px: {reason}") from None
    if not isinstance(out, torch.Tensor) or out.ndim != 2:
        output = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise SettingError(f"model {name!r} returns {output} for an image: expected one vector.")
    return int(out.shape[1])


def check_patch_multiple(name: str, model: torch.nn.Module, size: int) -> None:
    """Raise if a layer ignores the right and lower border of an image because the size is no multiple of its patch.

    Args:
        name: The name given by the user.
        model: A model that accepts this size.
        size: Height and width of the image, in pixels.

    Raises:
        SettingError: There is such a layer; the message names the nearest sizes without one.
    """
    patches: list[int] = []
    lost: list[int] = []

    def record(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        side, tile = inputs[0].shape[-1], _first(layer.kernel_size)
        # Earlier layers scale by a power of two, or by slightly more if they lose a border themselves.
        patches.append(tile * 2 ** round(math.log2(size / side)))
        lost.extend([side % tile] if side % tile else [])

    hooks = [layer.register_forward_pre_hook(record) for layer in model.modules() if _cuts_tiles(layer)]
    _run_once(model, (size, size))
    for hook in hooks:
        hook.remove()
    if lost:
        patch = max(patches)
        near = [str(near) for near in (size // patch * patch, size // patch * patch + patch) if near]
        raise SettingError(
            f"model {name!r} divides images into squares of {patch} px, and at {size} px would ignore the right and "
            f"lower border: expected a multiple, such as {' or '.join(near)} px."
        )


def _cuts_tiles(layer: Any) -> bool:
    """True if a layer divides its input into adjacent squares and drops incomplete ones."""
    import torch

    if not isinstance(layer, (torch.nn.Conv2d, torch.nn.AvgPool2d, torch.nn.MaxPool2d)):
        return False
    kernel, stride = _first(layer.kernel_size), _first(layer.stride)
    return kernel == stride > 1 and layer.padding in (0, (0, 0), "valid") and not getattr(layer, "ceil_mode", False)


def _first(value: Any) -> Any:
    """The first of a pair, or the number that stands for both."""
    return value if isinstance(value, int) else value[0]


def _run_once(model: torch.nn.Module, size: tuple[int, int]) -> Any:
    import torch

    device = next((tensor.device for tensor in model.parameters()), None)
    with torch.inference_mode():
        return model(torch.zeros(1, 3, *size, device=device))
