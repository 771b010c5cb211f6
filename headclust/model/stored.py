"""The tensors of a stored model: their types, their ranges, and that they fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from headclust.model.transform import NORMALIZED, PARTS, FeatureTransform

# Types of tensors by the end of their names; all others are float32.
_TYPES: dict[str, tuple[torch.dtype, ...]] = {
    "speaking": (torch.int64,),
    "clusters": (torch.int64,),
    "heads.neighbors.temperature": (torch.float32,),
    "temperature": (torch.float64,),
    "exponent": (torch.float64,),
    ".l2": (torch.uint8,),
    ".unit": (torch.uint8,),
    "heads.neighbors.features": (torch.float16, torch.float32),
    "heads.neighbors.assignments": (torch.int32,),
    "heads.neighbors.counts": (torch.int64,),
}
_ABOVE_ZERO = ("temperature", "exponent", "radius", "heads.centroids.scale")  # ends of names of tensors


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Raise if a tensor has another type, is not finite, or a temperature, scale or variance is not positive."""
    for name, tensor in tensors.items():
        expected = next((types for end, types in _TYPES.items() if name.endswith(end)), (torch.float32,))
        if tensor.dtype not in expected:
            raise ValueError(f"{name} is {tensor.dtype}, expected {' or '.join(map(str, expected))}")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity")
        if name.endswith(_ABOVE_ZERO) and not (tensor > 0).all():
            raise ValueError(f"{name} is not above 0")
        if name.endswith("variance") and not (tensor >= 0).all():
            raise ValueError(f"{name} is below 0")


def check_same(built: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Raise unless what was built from stored tensors has the same tensors: names, shapes and values."""
    for name in sorted(built.keys() ^ stored.keys()):
        raise ValueError(f"{name} is {'missing' if name in built else 'not part of it'}")
    for name, tensor in stored.items():
        if not torch.equal(built[name], tensor):
            raise ValueError(f"{name}, of shape {list(tensor.shape)}, does not fit the others")


def transform_of(tensors: Mapping[str, Tensor], space: int) -> FeatureTransform:
    """The transform of one space."""
    parts = {name: tensors.get(f"transforms.{space}.{name}") for name in PARTS}
    for name, tensor in parts.items():
        if tensor is not None and tensor.ndim != 1 + (name == "matrix"):
            raise ValueError(f"transforms.{space}.{name} has the shape {list(tensor.shape)}")
    lengths = {len(tensor) for tensor in parts.values() if tensor is not None}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"the parts of transform {space} are of {sorted(lengths)} dimensions")
    l2, unit = (bool(tensors[f"transforms.{space}.{name}"].item()) for name in NORMALIZED)
    return FeatureTransform(l2=l2, unit=unit, **parts)


def check_widths(transforms: Sequence[FeatureTransform], input_dims: Sequence[int]) -> None:
    """Raise if a known output dimension of the transforms differs from the heads' input dimension."""
    widths = [width_of(transform) for transform in transforms]
    # Heads with a single input take all spaces side by side.
    if len(input_dims) == 1 and widths:
        widths = [None if None in widths else sum(width or 0 for width in widths)]
    if len(widths) != len(input_dims):
        raise ValueError(f"{len(widths)} transforms, but heads of {len(input_dims)} spaces")
    for width, expected in zip(widths, input_dims, strict=True):
        if width not in (None, expected):
            raise ValueError(f"the transform gives {width} dimensions, the heads take {expected}")


def width_of(transform: FeatureTransform, *, first: bool = False) -> int | None:
    """Output dimension of a transform, or its input dimension (`first`); None if it has no tensors: any dimension."""
    parts = [tensor for name in PARTS if (tensor := getattr(transform, name)) is not None]
    if not parts:
        return None
    return len(parts[0]) if first else parts[-1].shape[-1]
