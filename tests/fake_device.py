"""A GPU that does not exist: its tensors have values, and refuse what those of a real one refuse.

PyTorch's own FakeTensorMode has shapes without values, so it stops at the first line that depends on data, and its
backward pass needs a GPU. Here every operation is computed on the CPU, after a check of the rules of a device:

- tensors of the device and of the CPU do not mix, except a CPU scalar as an operand, and CPU indices;
- a CPU generator draws nothing on the device, and NumPy reads nothing from it;
- MPS has no float64.

So a whole fit runs as on a GPU, and gives what the CPU gives, to the bit. Not covered: speed, memory, rounding, and
operations that a device lacks.
"""

from __future__ import annotations

import functools
from collections import Counter
from contextlib import nullcontext

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

aten = torch.ops.aten
_COPIES = {aten._to_copy.default, aten.copy_.default}
_INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
_READ = aten._local_scalar_dense.default  # of a single number
_PINS = {aten._pin_memory.default, aten.pin_memory.default}
_UNSET = {aten.empty.memory_format, aten.empty_strided.default, aten.new_empty.default}


class FakeDevice(TorchDispatchMode):
    """The context in which the device exists.

    Args:
        kind: "cuda" or "mps".

    Attributes:
        device: The device, with its number 0.
        transfers: Number of copies "to device" and "to host"; single numbers that are read count as the latter.
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
        self._names = nullcontext() if self.device.type == "cuda" else _Named(self.device.type)
        self._names.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._names.__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(self._lifted)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if torch.is_inference_mode_enabled() and _is_composite(func):  # otherwise autograd has taken it apart
            super().__enter__()
            try:
                return func.decompose(*args, **(kwargs or {}))
            finally:
                super().__exit__(None, None, None)
        if not kwargs and not any(issubclass(kind, FakeTensor) for kind in types) and func not in _PINS:
            return func(*args)
        kwargs = dict(kwargs or {})
        leaves, spec = tree_flatten((args, kwargs))
        fakes = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
        if func in _PINS:
            return args[0].clone()
        # "meta" is what the base class of a fake tensor claims; PyTorch passes it on.
        asked = kwargs.get("device") and torch.device(kwargs["device"]).type
        on_device = asked in ("cuda", "meta") or (asked is None and bool(fakes) and func is not _READ)
        if not (fakes or on_device):
            return func(*args, **kwargs)
        self._check(func, args, leaves, fakes)
        if func in (_READ, aten._to_copy.default) and bool(fakes) != on_device:
            self.transfers["to device" if on_device else "to host"] += 1
        elif func is aten.copy_.default and isinstance(args[0], FakeTensor) != isinstance(args[1], FakeTensor):
            self.transfers["to device" if isinstance(args[0], FakeTensor) else "to host"] += 1
        owners = {id(fake.value): fake for fake in fakes}
        owners.update(
            {id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor)}
        )
        args, kwargs = tree_unflatten([leaf.value if isinstance(leaf, FakeTensor) else leaf for leaf in leaves], spec)
        if asked:
            kwargs["device"] = torch.device("cpu")
        results, spec = tree_flatten(func(*args, **kwargs))
        if asked == "meta" and func in _UNSET:
            # PyTorch thinks that these never get values: no number that anyone could take for a result.
            results = [result.fill_(torch.nan if result.is_floating_point() else 1) for result in results]
        return tree_unflatten([self._result(result, owners, on_device) for result in results], spec)

    def _result(self, result, owners, on_device):
        if not isinstance(result, Tensor):
            return result
        if id(result) in owners:  # changed in place
            return owners[id(result)]
        return FakeTensor(result, self) if on_device else result

    def _check(self, func, args, leaves, fakes):
        if any(isinstance(leaf, torch.Generator) and leaf.device.type == "cpu" for leaf in leaves):
            raise RuntimeError(f"{func}: a CPU generator, on {self.device}")
        if self.device.type == "mps" and (torch.float64 in leaves or any(x.dtype == torch.float64 for x in fakes)):
            raise RuntimeError(f"{func}: float64, which {self.device} lacks")
        if func in _COPIES or not fakes:
            return
        allowed = {id(index) for index in args[1]} if func in _INDEXED else set()
        on_host = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor)]
        on_host = [tensor for tensor in on_host if id(tensor) not in allowed]
        arguments = zip(func._schema.arguments, args, strict=False)
        written = [value for argument, value in arguments if argument.alias_info and argument.alias_info.is_write]
        if any(tensor.ndim or any(tensor is value for value in written) for tensor in on_host):
            shapes = [tuple(tensor.shape) for tensor in on_host]
            raise RuntimeError(f"{func}: tensors of shapes {shapes} on the CPU, others on {self.device}")


class FakeTensor(Tensor):
    """A tensor on the fake device; `value` is the same tensor on the CPU."""

    value: Tensor
    mode: FakeDevice

    @staticmethod
    def __new__(cls, value: Tensor, mode: FakeDevice) -> FakeTensor:
        strides = value.stride() if value.layout is torch.strided else None
        like = {"strides": strides, "dtype": value.dtype, "layout": value.layout}
        # "meta", as the backward pass needs the driver of any other device.
        fake = Tensor._make_wrapper_subclass(cls, value.shape, device="meta", **like)
        fake.value, fake.mode = value, mode
        return fake

    @property
    def device(self) -> torch.device:
        return self.mode.device

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"FakeTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (Tensor.__getitem__, Tensor.__setitem__):  # PyTorch gives a list no values, for "meta"
            args = (args[0], _without_lists(args[1]), *args[2:])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # in a thread, which has no modes
        leaves, _ = tree_flatten((args, kwargs))
        mode = next(leaf.mode for leaf in leaves if isinstance(leaf, FakeTensor))
        return mode.__torch_dispatch__(func, types, args, kwargs)


class _Named(TorchFunctionMode):
    """Passes the name of the device on as "cuda": PyTorch on Linux has no MPS."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __torch_function__(self, func, types, args=(), kwargs=None):
        args, kwargs = tree_map(self._name, (args, kwargs or {}))
        return func(*args, **kwargs)

    def _name(self, leaf):
        is_named = isinstance(leaf, str | torch.device) and str(leaf).startswith(self.kind)
        return torch.device("cuda", 0) if is_named else leaf


@functools.cache
def _is_composite(func):
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _without_lists(index):
    if isinstance(index, tuple):
        return tuple(map(_without_lists, index))
    return torch.tensor(index) if isinstance(index, list) else index
