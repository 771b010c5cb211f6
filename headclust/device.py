"""Device and dtype policy, in one place.

Everything runs in float32. CUDA and MPS are chosen when present; the code is written device-agnostic, but only the CPU
path has been run by this project so far.
"""

from __future__ import annotations

import torch

from headclust.errors import SettingError


def resolve_device(name: str | None = None) -> torch.device:
    """The device to compute on: `name`, or the best one present.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or None to choose CUDA, then MPS, then the CPU.

    Raises:
        SettingError: The name is not a device, or the device is not present.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(f"unknown device {name!r}: wanted cpu, cuda, cuda:N or mps.") from None
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device.type, False):
        raise SettingError(f"device {name!r} is not present on this machine: leave --device out, or say --device cpu.")
    return device


def description(device: torch.device) -> dict[str, str | int]:
    """What a result's last bits depend on besides versions: the device and the number of threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "threads": torch.get_num_threads()}
