"""Device, precision, memory and cores.

The CPU computes in float32; on CUDA and MPS, backbones run under autocast to float16 unless another precision is
chosen. CUDA, then MPS, are preferred if present. Only CPUs have been measured. For CUDA and MPS, tests show that all
tensors of a computation are on one device (`tests/fake_device.py`); speed, and the effect of autocast and TF32 on
results, are unknown.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headclust.errors import SettingError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "float32", "bfloat16")
_AUTOCAST = {"float16 autocast": "float16", "bfloat16 autocast": "bfloat16"}  # type of the products
TF32 = "HEADCLUST_TF32"  # environment variable: 1 for products in TF32 on CUDA

_MEMINFO, _STATM, _CGROUP = Path("/proc/meminfo"), Path("/proc/self/statm"), Path("/sys/fs/cgroup")

# Parameters of glibc's mallopt, and the values its own thresholds grow to in a process that uses large blocks.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_OWN_MMAP_THRESHOLD, _OWN_MMAP_MAX = 1 << 25, 65_536
_TIDIED = 5.0  # seconds between two returns of free memory to the system; each costs up to a quarter of a second


def resolve_device(name: str | None = None) -> torch.device:
    """The device to compute on: `name`, or the best device present. On CUDA, also set the precision of products.

    Products are computed in float32, also those of convolutions, for which PyTorch's default is TF32 (10 bits of
    mantissa). With the environment variable HEADCLUST_TF32=1 all are computed in TF32.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or None for CUDA, then MPS, then the CPU.

    Raises:
        SettingError: The name is not a device, the device is not present, or the variable is neither 0 nor 1.
    """
    device = _resolved(name)
    if device.type == "cuda":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = _is_tf32(device)
    return device


def _resolved(name: str | None) -> torch.device:
    if name is not None and not re.fullmatch(r"(cpu|mps|cuda)(:\d+)?", name):
        raise SettingError(f"unknown device {name!r}: expected cpu, cuda, cuda:N or mps.")
    import torch

    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device.type, False):
        raise SettingError(f"device {name!r} is not present on this machine: leave --device out, or use --device cpu.")
    return device


def float64_device(device: torch.device) -> torch.device:
    """The device for float64 arithmetic on tensors of `device`: the same, or the CPU if it has none, as MPS."""
    import torch

    return torch.device("cpu") if device.type == "mps" else device


def description(device: torch.device) -> dict[str, str | int]:
    """The device, the number of threads, and `tf32` if it is on; results depend on them (and on versions)."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "threads": torch.get_num_threads(), **({"tf32": "on"} if _is_tf32(device) else {})}


def _is_tf32(device: torch.device) -> bool:
    """True if products are computed in TF32: on CUDA, if the environment asks for it."""
    value = os.environ.get(TF32, "")
    if device.type == "cuda" and value not in ("", "0", "1"):
        raise SettingError(f"{TF32} is {value!r}: expected 1 for TF32, or 0.")
    return device.type == "cuda" and value == "1"


def resolve_precision(device: torch.device, precision: str = "auto") -> str:
    """The precision of a backbone on a device: "float32", "float16 autocast" or "bfloat16 autocast".

    Under autocast, weights and features stay float32.

    Args:
        device: Device of the backbone.
        precision: "float32", "bfloat16", or "auto" for float16 on CUDA and MPS, and float32 on the CPU.

    Raises:
        SettingError: `precision` is none of these.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision {precision!r}: expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}.")
    if precision == "auto":
        precision = "float16" if device.type in ("cuda", "mps") else "float32"
    return precision if precision == "float32" else f"{precision} autocast"


def available_memory() -> int:
    """Bytes of memory that a new process can use without swapping, within the limits of its container.

    If the system does not report free memory, all memory counts as free.
    """
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(0, min([free, *_container_memory(), *_process_memory()]))


def usable_cores() -> int:
    """Number of cores that this process may use, within the limits of its container; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name, period_name in (("cpu.max", ""), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        quota, period = (*_numbers(name), *_numbers(period_name), -1, -1)[:2]
        if quota > 0 and period > 0:
            cores = min(cores, max(1, quota // period))
    return cores


def _container_memory() -> Iterator[int]:
    """Bytes left of each memory limit of the container (cgroup version 2, then 1); its page cache counts as free."""
    for limit, used, folder in (
        ("memory.max", "memory.current", ""),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/"),
    ):
        numbers = [*_numbers(limit), *_numbers(used)]
        if len(numbers) == 2:
            lines = _text(f"{folder}memory.stat").splitlines()
            page_cache = [int(line.split()[1]) for line in lines if line.startswith("inactive_file ")]
            yield numbers[0] - numbers[1] + sum(page_cache)


def _process_memory() -> Iterator[int]:
    """Bytes of address space left of the limit of this process (ulimit -v)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError, IndexError):  # without /proc, its size is not known
        size = int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        if limit != resource.RLIM_INFINITY:
            yield limit - size


def _numbers(name: str) -> list[int]:
    """The numbers in a file of the container's cgroup; empty if it sets no limit or does not exist."""
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
        device: Device of the backbone.
        resolved: Result of `resolve_precision`.
    """
    import torch

    return torch.autocast(device.type, getattr(torch, _AUTOCAST[resolved])) if resolved in _AUTOCAST else nullcontext()


def forward(
    model: torch.nn.Module,
    normalize: Callable[[torch.Tensor], torch.Tensor],
    device: torch.device,
    precision: str,
) -> Callable[[NDArray[np.uint8]], torch.Tensor]:
    """A function from uint8 pixels (batch, height, width, 3) to float32 features (batch, feature_dim) on the device.

    It returns when the pixels are copied, before a GPU has computed: the pixels may be overwritten, and the next batch
    started. The model is moved to the device by the first call, so that processes that decode images are forked before.

    Args:
        model: The backbone.
        normalize: Function from uint8 pixels to the input of the model, on the device.
        device: Device of the backbone.
        precision: Result of `resolve_precision`.
    """
    import torch

    @functools.cache
    def placed() -> torch.nn.Module:
        # In this memory order, convolutions on the CPU take about 60 % of the time; transformers take the same time.
        return model.to(device).to(memory_format=torch.channels_last)

    def features(pixels: NDArray[np.uint8]) -> torch.Tensor:
        with torch.inference_mode(), autocast(device, precision):
            batch = normalize(to_device(torch.from_numpy(pixels), device))
            output: torch.Tensor = placed()(batch.contiguous(memory_format=torch.channels_last))
            return output.float()

    return features


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A CPU tensor on the device; on CUDA copied from pinned memory, for which the host does not wait."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def reuse_memory(device: torch.device) -> Iterator[Callable[[], None]]:
    """On the CPU with glibc, reuse the memory of one batch for the next; return it to the system at the end.

    The context is a function for loops with tensors of many sizes, to be called between batches: every five seconds it
    returns what is free. Gaps that are too small for the next tensor add up: after 300 batches of heads with 1,000
    clusters they took as much memory as all tensors.

    glibc returns every large block to the system, which fills it with zeros at the next allocation: for a convolutional
    network, and for the training of heads, that took as long as the computation. At the end, the thresholds are set to
    the limit of glibc's own growth, regardless of their earlier values. If the environment sets any of them, nothing is
    changed.
    """
    libc = ctypes.CDLL(None)
    if device.type != "cpu" or not hasattr(libc, "mallopt") or _is_malloc_set():
        yield lambda: None
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    libc.malloc_trim(0)  # what is left in the heap of earlier steps would be split into gaps
    last = time.perf_counter()

    def tidy() -> None:
        nonlocal last
        if time.perf_counter() - last >= _TIDIED:
            libc.malloc_trim(0)
            last = time.perf_counter()

    try:
        yield tidy
    finally:
        libc.mallopt(_M_MMAP_MAX, _OWN_MMAP_MAX)
        libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _OWN_MMAP_THRESHOLD)
        libc.malloc_trim(0)


def _is_malloc_set() -> bool:
    """True if the environment configures the allocator of glibc."""
    return "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or any(n.startswith("MALLOC_") for n in os.environ)
