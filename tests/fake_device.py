"""A device that does not exist: tensors that claim to be on it, refuse what a real one refuses, and have true values.

PyTorch's own FakeTensorMode has shapes without values, so it stops at the first line that depends on data, and its
backward pass needs a real device. Here every operation is computed on the CPU, and the rules of a device are checked:

- tensors of a device and of the CPU do not mix, except a CPU scalar as an operand and CPU indices;
- a CPU generator draws nothing on the device;
- NumPy reads nothing on the device;
- MPS has no float64.

So a whole fit runs as on a GPU, and gives what the CPU gives, to the bit. Speed, memory, operations that a device lacks
and its rounding are not covered.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

aten = torch.ops.aten
_MOVES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
_INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_UNSET = {aten.empty.memory_format, aten.empty_strided.default, aten.new_empty.default}
_POISON = {True: torch.nan, False: 1}  # where PyTorch takes a "meta" tensor to have no values
_READS = {aten._local_scalar_dense.default}  # the host waits for a number


class FakeDevice(TorchDispatchMode):
    """The context in which the device exists.

    Args:
        kind: "cuda" or "mps".

    Attributes:
        transfers: Number of copies "to host", and "to device", and of numbers that the host waited for, "read".
    """

    _mode_key = torch._C._TorchDispatchModeKey.FAKE  # with a mode here, PyTorch does not look for the real device

    def __init__(self, kind: str = "cuda") -> None:
        super().__init__()
        self.device = torch.device(kind, 0)
        self.transfers: Counter[str] = Counter()

    def __enter__(self):
        if not torch.cuda.is_available():
            torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, instead of one that asks the driver
        self._lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) builds on the CPU, then copies
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(self._lifted)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        leaves, spec = tree_flatten((args, kwargs))
        fakes = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
        asked = kwargs.get("device")
        # "meta" is what the base class of a fake tensor claims, and PyTorch passes on.
        target = self.device if asked is not None and torch.device(asked).type in (self.device.type, "meta") else asked
        if not fakes and target is not self.device:
            return func(*args, **kwargs)
        on_device = target is self.device or (asked is None and func is not aten._local_scalar_dense.default)
        self._check(func, args, leaves, fakes, kwargs)
        self._count(func, fakes, on_device, args)
        owners = {id(fake.value): fake for fake in fakes}
        args, kwargs = tree_unflatten([_value(leaf) for leaf in leaves], spec)
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        results, spec = tree_flatten(func(*args, **kwargs))
        if asked is not None and torch.device(asked).type == "meta" and func in _UNSET:
            results = [result.fill_(_POISON[result.is_floating_point()]) for result in results]
        if func is aten._to_copy.default and any(result is arg for result in results for arg in args):
            results = [result.clone() for result in results]
        return tree_unflatten([self._result(result, owners, on_device) for result in results], spec)

    def _result(self, result, owners, on_device):
        if not isinstance(result, Tensor):
            return result
        if id(result) in owners:  # changed in place
            return owners[id(result)]
        return FakeTensor(result, self.device) if on_device else result

    def _check(self, func, args, leaves, fakes, kwargs):
        name = str(func)
        generator = next((leaf for leaf in leaves if isinstance(leaf, torch.Generator)), None)
        if generator is not None and generator.device.type == "cpu":
            raise RuntimeError(f"{name}: a CPU generator, on {self.device}")
        if self.device.type == "mps" and (torch.float64 in leaves or any(x.dtype == torch.float64 for x in fakes)):
            raise RuntimeError(f"{name}: float64, which {self.device} lacks")
        if func in _MOVES or not fakes:
            return
        on_host = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor)]
        if func in _INDEXED:
            indices = {id(index) for index in args[1] if isinstance(index, Tensor)}
            on_host = [tensor for tensor in on_host if id(tensor) not in indices]
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        if any(tensor.ndim or tensor is value for tensor in on_host for value in (written or [None])):
            shapes = [tuple(tensor.shape) for tensor in on_host]
            raise RuntimeError(f"{name}: tensors of shapes {shapes} on the CPU, others on {self.device}")

    def _count(self, func, fakes, on_device, args):
        if func in _READS and fakes:
            self.transfers["read"] += 1
        elif func is aten._to_copy.default and bool(fakes) != on_device:
            self.transfers["to device" if on_device else "to host"] += 1
        elif func is aten.copy_.default and isinstance(args[0], FakeTensor) != isinstance(args[1], FakeTensor):
            self.transfers["to device" if isinstance(args[0], FakeTensor) else "to host"] += 1


class FakeTensor(Tensor):
    """A tensor on the fake device; `value` is the same tensor on the CPU."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor, device: torch.device) -> FakeTensor:
        # "meta", so that the autograd engine needs no device.
        fake = Tensor._make_wrapper_subclass(
            cls, value.shape, strides=value.stride() if value.layout is torch.strided else None,
            dtype=value.dtype, layout=value.layout, device="meta",
        )  # fmt: skip
        fake.value, fake._device = value, device
        return fake

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def is_cuda(self) -> bool:
        return self._device.type == "cuda"

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"FakeTensor({tuple(self.shape)}, {self.dtype}, {self._device})"

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (Tensor.__getitem__, Tensor.__setitem__):  # PyTorch makes no values of a list for "meta"
            args = (args[0], _as_tensors(args[1]), *args[2:])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func}: a tensor of a fake device, used outside of it")


def _value(leaf):
    return leaf.value if isinstance(leaf, FakeTensor) else leaf


def _as_tensors(index):
    if isinstance(index, tuple):
        return tuple(map(_as_tensors, index))
    return torch.tensor(index) if isinstance(index, list) else index
