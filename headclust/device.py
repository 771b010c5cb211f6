"""Device and dtype policy, in one place.

The CPU computes in float32; on CUDA and MPS backbones run under autocast to float16. CUDA and MPS are chosen when
present. The code is written device-agnostic, but only the CPU path has been run by this project so far: how fast
autocast is there, and how far it moves features, has not been measured.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headclust.errors import SettingError

PRECISIONS = ("auto", "float32")
_AUTOCAST = "float16 autocast"

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")

# glibc's mallopt, and what its thresholds grow to by themselves in a process that uses large blocks.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_OWN_MMAP_THRESHOLD, _OWN_MMAP_MAX = 1 << 25, 65_536


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
        raise SettingError(f"unknown device {name!r}: expected cpu, cuda, cuda:N or mps.") from None
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device.type, False):
        raise SettingError(f"device {name!r} is not present on this machine: leave --device out, or say --device cpu.")
    return device


def description(device: torch.device) -> dict[str, str | int]:
    """What a result's last bits depend on besides versions: the device and the number of threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "threads": torch.get_num_threads()}


def resolve_precision(device: torch.device, precision: str = "auto") -> str:
    """What a backbone computes in there: "float32", or "float16 autocast" (weights and results stay float32).

    Args:
        device: Where it runs.
        precision: "float32", or "auto" for autocast on CUDA and MPS.

    Raises:
        SettingError: This is no precision.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision {precision!r}: expected {' or '.join(PRECISIONS)}.")
    return _AUTOCAST if precision == "auto" and device.type in ("cuda", "mps") else "float32"


def available_memory() -> int:
    """Bytes of memory that a new process could have without swapping, in this container if it is one.

    All there are where the system does not say.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(0, min([free, *_container_memory()]))


def usable_cores() -> int:
    """Cores that this process may use, in this container if it is one; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name, period_name in (("cpu.max", ""), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        quota, period = (*_numbers(name), *_numbers(period_name), -1, -1)[:2]
        if quota > 0 and period > 0:
            cores = min(cores, max(1, quota // period))
    return cores


def _container_memory() -> Iterator[int]:
    """Bytes left of each limit a container has (cgroup version 2, 1). What it only caches of files counts as free."""
    for limit, used, folder in (
        ("memory.max", "memory.current", ""),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/"),
    ):
        numbers = [*_numbers(limit), *_numbers(used)]
        if len(numbers) == 2:
            lines = _text(f"{folder}memory.stat").splitlines()
            cached = [int(line.split()[1]) for line in lines if line.startswith("inactive_file ")]
            yield numbers[0] - numbers[1] + sum(cached)


def _numbers(name: str) -> list[int]:
    """The numbers in a file of the container's control group; none where it sets no limit, or there is no such file."""
    words = _text(name).split()
    return [int(word) for word in words] if all(word.lstrip("-").isdecimal() for word in words) else []


def _text(name: str) -> str:
    try:
        return (_CGROUP / name).read_text() if name else ""
    except (OSError, UnicodeDecodeError):
        return ""


def autocast(device: torch.device, resolved: str) -> AbstractContextManager[object]:
    """The context to run a backbone in.

    Args:
        device: Where it runs.
        resolved: What `resolve_precision` said.
    """
    return torch.autocast(device.type, torch.float16) if resolved == _AUTOCAST else nullcontext()


def forward(
    model: torch.nn.Module,
    normalize: Callable[[torch.Tensor], torch.Tensor],
    device: torch.device,
    precision: str,
) -> Callable[[NDArray[np.uint8]], torch.Tensor]:
    """A backbone on a device: from pixels (batch, height, width, 3) to features (batch, feature_dim), float32, CPU.

    Args:
        model: It is moved to the device.
        normalize: Makes its input of uint8 pixels there.
        device: Where it runs.
        precision: What `resolve_precision` said.
    """
    # Convolutions on the CPU take about 60 % of the time in this memory order; transformers do not mind.
    model = model.to(device).to(memory_format=torch.channels_last)

    def features(pixels: NDArray[np.uint8]) -> torch.Tensor:
        with torch.inference_mode(), autocast(device, precision):
            batch = normalize(torch.from_numpy(pixels).to(device))
            found: torch.Tensor = model(batch.contiguous(memory_format=torch.channels_last))
            return found.float().cpu()

    return features


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """On the CPU with glibc, has the process keep the memory of one batch for the next; gives it back at the end.

    glibc returns every large block to the system, which fills it with zeros when it is asked for again: with a
    convolutional network that took as long as the computing. Afterwards the thresholds stand where glibc's own growth
    ends, whatever they were before. Where the user has set any in the environment, memory is left alone.
    """
    libc = ctypes.CDLL(None)
    if device.type != "cpu" or not hasattr(libc, "mallopt") or _is_malloc_set():
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, _OWN_MMAP_MAX)
        libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _OWN_MMAP_THRESHOLD)
        libc.malloc_trim(0)


def _is_malloc_set() -> bool:
    """Whether the user has told glibc how to keep memory."""
    return "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or any(n.startswith("MALLOC_") for n in os.environ)
