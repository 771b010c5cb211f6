"""A model tried once before it is used: how wide its features are, and whether it sees the whole image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from headclust.errors import SettingError

if TYPE_CHECKING:
    import torch


def frozen_dim(name: str, model: torch.nn.Module, size: tuple[int, int]) -> int:
    """Freezes a model in place (eval mode, no gradients) and tries it once: the width of its features.

    Args:
        name: What the user called it, for the error.
        model: Takes float32 (batch, 3, height, width).
        size: (height, width).

    Raises:
        SettingError: The model does not take this size, or does not give one vector an image.
    """
    import torch

    model.eval().requires_grad_(False)
    try:
        out = _tried(model, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingError(f"model {name!r} does not take images of {size[0]} x {size[1]} px: {reason}") from None
    if not isinstance(out, torch.Tensor) or out.ndim != 2:
        found = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise SettingError(f"model {name!r} gives {found} an image: expected one vector.")
    return int(out.shape[1])


def refuse_lost_border(name: str, model: torch.nn.Module, size: int) -> None:
    """Refuses a size at which a layer leaves out what is right and below of its last whole patch.

    Args:
        name: What the user called the model.
        model: One that takes this size.
        size: Height and width of the image, in pixels.

    Raises:
        SettingError: There is such a layer; the nearest sizes without one are named.
    """
    patches: list[int] = []
    lost: list[int] = []

    def look(layer: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        side, tile = inputs[0].shape[-1], _first(layer.kernel_size)
        # Layers before this one have scaled by a power of two, or hardly more where they lost a border themselves.
        patches.append(tile * 2 ** round(math.log2(size / side)))
        lost.extend([side % tile] if side % tile else [])

    hooks = [layer.register_forward_pre_hook(look) for layer in model.modules() if _cuts_tiles(layer)]
    _tried(model, (size, size))
    for hook in hooks:
        hook.remove()
    if lost:
        patch = max(patches)
        near = [str(near) for near in (size // patch * patch, size // patch * patch + patch) if near]
        raise SettingError(
            f"model {name!r} sees images in squares of {patch} px, and at {size} px would not see the right and lower "
            f"border: expected a multiple, such as {' or '.join(near)} px."
        )


def _cuts_tiles(layer: Any) -> bool:
    """Whether a layer cuts its input into squares side by side, and drops those that are not whole."""
    import torch

    if not isinstance(layer, (torch.nn.Conv2d, torch.nn.AvgPool2d, torch.nn.MaxPool2d)):
        return False
    kernel, stride = _first(layer.kernel_size), _first(layer.stride)
    return kernel == stride > 1 and layer.padding in (0, (0, 0), "valid") and not getattr(layer, "ceil_mode", False)


def _first(value: Any) -> Any:
    """Of a pair, or what stands for a pair."""
    return value if isinstance(value, int) else value[0]


def _tried(model: torch.nn.Module, size: tuple[int, int]) -> Any:
    import torch

    device = next((tensor.device for tensor in model.parameters()), None)
    with torch.inference_mode():
        return model(torch.zeros(1, 3, *size, device=device))
