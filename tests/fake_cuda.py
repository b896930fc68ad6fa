# SPDX-License-Identifier: Apache-2.0
"""Tensors that say they lie on a GPU, for machines without one.

Inside ``with FakeCuda() as gpu:`` the device ``cuda:0`` exists for Python code: ``.to("cuda:0")``, ``.cuda()`` and
every function that takes ``device=`` give a `FakeTensor`, which holds its values on the CPU and computes there. It
refuses what a GPU refuses (operators between devices, ``numpy()``). ``gpu.syncs`` counts how often a GPU makes the host
wait, ``gpu.uploads`` the copies from the host to the device, and ``gpu.places`` says from which lines they came.

How it works: for the C++ of PyTorch the tensors lie on the device ``meta``, so that gradients and whatever an operator
makes by itself come back here too (``__torch_dispatch__``); for Python they lie on ``cuda:0``.

Limits:

- Values are those of the CPU kernels, in their order of summation. That the GPU computes the same is for a GPU to show.
- Time, streams, memory and kernels that a GPU lacks (float64 on some, complex types) are not seen.
- Draws with a generator of the device are those of a CPU generator with the same seed.
- ``torch.autocast("cuda")`` does nothing, as PyTorch has it where there is no CUDA.
- Subclasses such as ``monai.data.MetaTensor`` cannot hold such tensors; MONAI's plain tensors can.
- ``resize_`` and ``set_``, ``torch.compile``, TorchScript, ``torch.save``,
  ``.type("torch.cuda.FloatTensor")`` and code in C++ that asks for CUDA are not supported.
- Not refused although a GPU refuses it: a tensor of no dimensions of the CPU in an operator that takes none (a matrix
  product, ``scatter``).
- Counted as one each, though some wait more often: ``unique``, ``linalg.svdvals``, ``inv``, ``bincount``. What an
  optimiser or cuDNN waits for by itself is not counted. A copy to the GPU waits too unless it is ``non_blocking``; it
  is counted as a copy, and among ``blocking``.
- Outside of the ``with`` statement the tensors stay what they are, but nothing puts new ones on the device.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["DEVICE", "FakeCuda", "FakeTensor"]

DEVICE = torch.device("cuda:0")
INSIDE = torch.device("meta")
"""Where the tensors lie for the C++ of PyTorch."""
THIS = __file__.replace("\\", "/")
aten = torch.ops.aten
WAITING = {
    *(aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique, aten._unique2, aten.unique_dim),
    *(aten.unique_consecutive, aten.unique_dim_consecutive, aten.equal, aten.bincount, aten._linalg_check_errors),
    *(aten._linalg_svd, aten._linalg_eigh, aten._linalg_eigvals, aten.linalg_eig, aten.linalg_lstsq),
}
"""Operators after which the host needs a number from the device."""
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index)
RESHAPING = (aten.squeeze_, aten.unsqueeze_, aten.transpose_, aten.t_)
MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"


class FakeTensor(Tensor):
    """A tensor on ``cuda:0``, whose values are ``held``, a plain tensor."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, held: Tensor) -> FakeTensor:
        held = held.detach() if held.requires_grad else held
        self: FakeTensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=INSIDE,
        )
        self.held = held
        return self

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _computed(function, args, dict(kwargs or {}))

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return INSIDE if _inside else DEVICE

    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        return 0

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
            "first."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return self.numpy()

    def tolist(self) -> Any:
        _count("syncs", "tolist")
        return self.held.tolist()

    def __format__(self, how: str) -> str:
        return format(self.item(), how) if self.dim() == 0 else repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> FakeTensor:
        if id(self) not in memo:
            if not self.is_leaf:
                raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
            copy = FakeTensor(self.held.clone())
            copy.requires_grad_(self.requires_grad)
            copy.__dict__.update({key: value for key, value in self.__dict__.items() if key != "held"})
            memo[id(self)] = copy
        return memo[id(self)]

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        return f"{self.held!r} on {DEVICE}"


class FakeCuda:
    """The device ``cuda:0``, as a context.

    Attributes:
        syncs: how often the host had to wait for the device.
        uploads: copies from the host to the device.
        blocking: those of them that the host waits for.
        places: (kind, operator, "file:line" outside of PyTorch) -> how often.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count anew."""
        self.syncs = self.uploads = self.blocking = 0
        self.places: Counter[tuple[str, str, str]] = Counter()

    def __enter__(self) -> FakeCuda:
        global _current
        if _current is not None:
            raise RuntimeError("there is one device: FakeCuda is not to be nested.")
        _current = self
        self._generator = torch.Generator
        torch.Generator = _Generator  # type: ignore[misc, assignment]
        self._modes = (_Functions(), _Operators())
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        global _current
        for mode in reversed(self._modes):
            mode.__exit__(*error)
        torch.Generator = self._generator  # type: ignore[misc]
        _current = None


_current: FakeCuda | None = None
_inside = False
"""Whether a function of PyTorch runs, which makes its tensors on the device that C++ knows."""


class _FakeGenerator(torch.Generator):
    """A generator of the device, which draws as one of the CPU."""

    device = DEVICE  # type: ignore[assignment]


class _AnyGenerator(type(torch.Generator)):  # type: ignore[misc]
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _CPUGenerator)


class _Generator(torch.Generator, metaclass=_AnyGenerator):
    """What stands in for ``torch.Generator``: makes generators of both devices."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        return _FakeGenerator() if _is_fake(device) else _CPUGenerator(device)


_CPUGenerator = torch.Generator


def _count(kind: str, what: str, blocking: bool = True) -> None:
    if _current is None:
        return
    setattr(_current, kind, getattr(_current, kind) + 1)
    if kind == "uploads" and blocking:
        _current.blocking += 1
        what = f"{what}, waiting"
    place, frame = "", sys._getframe(1)
    while frame is not None and "/wss_monai/" not in place:
        path = frame.f_code.co_filename.replace("\\", "/")
        if "/wss_monai/" in path or not (place or path == THIS or "/torch/" in path):
            place = f"{path}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    _current.places[kind, what, "/".join(place.split("/")[-3:])] += 1


def _is_fake(device: Any) -> bool:
    """Whether a device, or the name of one, is this one; ``meta`` is what C++ says of it."""
    if isinstance(device, str):
        return device.split(":")[0] in ("cuda", "meta")
    if isinstance(device, int) and not isinstance(device, bool):
        return True
    return isinstance(device, torch.device) and device.type in ("cuda", "meta")


def _uploaded(plain: Tensor, what: str) -> FakeTensor:
    _count("uploads", what)
    return FakeTensor(plain)


class _Operators(TorchDispatchMode):
    """Every operator while the device is there, those without a tensor too."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled, and the import of what compiles takes seconds

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _computed(function, args, dict(kwargs or {}))


def _computed(function: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The operator on the CPU's values, its results on the device where it belongs there."""
    packet = function.overloadpacket
    here: list[FakeTensor] = []
    there: list[Tensor] = []
    _sort((*args, *kwargs.values()), here, there)
    wanted = kwargs.get("device")
    to_device = bool(here) or _is_fake(wanted)
    if not to_device:
        return function(*args, **kwargs)
    if wanted is not None:
        to_device = _is_fake(wanted)
        kwargs["device"] = torch.device("cpu")
    if packet is aten._to_copy:
        if here and not to_device:
            _count("syncs", "to cpu")
        elif to_device and there:
            _count("uploads", "to cuda", not kwargs.get("non_blocking"))
    elif packet is aten.copy_:
        if not isinstance(args[0], FakeTensor):
            _count("syncs", "copy_ to cpu")
            args[0].copy_(args[1].held)
            return args[0]
        if there:
            _count("uploads", "copy_ to cuda", not (len(args) > 2 and args[2]))
    elif here:
        _check_devices(function, args, kwargs, there)
        if packet in WAITING or (packet is aten.repeat_interleave and kwargs.get("output_size") is None):
            _count("syncs", str(packet))
        elif packet in INDEXING:
            _count_indexing(packet, args, str(packet))
    known = {id(value.held): value for value in here}
    result = function(*_held(args), **{key: _held(value) for key, value in kwargs.items()})

    def back(value: Any) -> Any:
        if not isinstance(value, Tensor) or not to_device:
            return value
        same = known.get(id(value))
        if same is None:
            return FakeTensor(value)
        if same.shape != value.shape or same.stride() != value.stride():
            if packet not in RESHAPING:
                raise NotImplementedError(f"{packet} changes a shape in place, which fake_cuda does not know.")
            with torch._C._DisableTorchDispatch():  # the shape that C++ sees
                function(*args, **kwargs)
        return same

    if isinstance(result, Tensor):
        return back(result)
    return type(result)(back(value) for value in result) if isinstance(result, (list, tuple)) else result


def _sort(values: Any, here: list[FakeTensor], there: list[Tensor]) -> None:
    """Tensors of the device and of the CPU among the arguments of an operator."""
    for value in values:
        if isinstance(value, FakeTensor):
            here.append(value)
        elif isinstance(value, Tensor):
            there.append(value)
        elif isinstance(value, (list, tuple)):
            _sort(value, here, there)


def _held(value: Any) -> Any:
    if isinstance(value, FakeTensor):
        return value.held
    return type(value)(_held(part) for part in value) if type(value) in (list, tuple) else value


def _check_devices(function: Any, args: tuple, kwargs: dict[str, Any], there: list[Tensor]) -> None:
    """Refuse what a GPU refuses of tensors of two devices."""
    if not there:
        return
    packet = function.overloadpacket
    if packet in INDEXING:
        if not isinstance(args[0], FakeTensor):
            raise RuntimeError(
                "indices should be either on cpu or on the same device as the indexed tensor (cpu); got cuda:0."
            )
        there = [value for value in args[2:] if isinstance(value, Tensor) and not isinstance(value, FakeTensor)]
    if any(value.dim() for value in there):
        raise RuntimeError(f"{MIXED} ({packet})")
    given = dict(zip((a.name for a in function._schema.arguments), args, strict=False)) | kwargs
    for argument in function._schema.arguments:
        value = given.get(argument.name)
        written = argument.alias_info is not None and argument.alias_info.is_write
        if written and isinstance(value, Tensor) and not isinstance(value, FakeTensor):
            raise RuntimeError(f"{MIXED} ({packet} writes to a tensor on cpu)")
        if isinstance(value, (list, tuple)) and packet not in INDEXING:
            kinds = {isinstance(part, FakeTensor) for part in value if isinstance(part, Tensor)}
            if len(kinds) > 1:
                raise RuntimeError(f"{MIXED} ({packet})")


def _count_indexing(packet: Any, args: tuple, name: str) -> None:
    """Masks make the host wait for the number of voxels, unless one number is written; indices on the CPU are moved."""
    indices = [value for value in args[1] if isinstance(value, Tensor)]
    masks = [value for value in indices if value.dtype in (torch.bool, torch.uint8)]
    fills = packet not in (aten.index, aten._unsafe_index) and len(indices) == 1 and args[2].numel() == 1
    for mask in masks:
        if isinstance(mask, FakeTensor) and not (fills and not (len(args) > 3 and args[3])):
            _count("syncs", f"{name} by a mask")
    for index in indices:
        if not isinstance(index, FakeTensor):
            _count("uploads", f"{name} by an index on cpu")


def _called(function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    global _inside
    before, _inside = _inside, True
    try:
        return function(*args, **kwargs)
    finally:
        _inside = before


class _Functions(TorchFunctionMode):
    """Python's calls, before PyTorch asks for a device that it does not have."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is torch.device:
            return function(*args, **kwargs)
        name = getattr(function, "__name__", "")
        if function in (Tensor.backward, torch.autograd.backward):
            with self:  # so that it sees what a backward pass in Python calls
                return _backward(*args, **{_NAMES.get(key, key): value for key, value in kwargs.items()})
        if function is torch.autograd.grad:
            with self:
                return _gradients(*args, **kwargs)
        if function in (Tensor.cuda, Tensor.__getitem__, Tensor.__setitem__):
            return self._of_tensor(function, *args, **kwargs)
        if function in (torch.tensor, torch.as_tensor, torch.asarray):
            return self._from_data(function, *args, **kwargs)
        if function is Tensor.new_tensor and isinstance(args[0], FakeTensor):
            return self._from_data(torch.tensor, *args[1:], **{"dtype": args[0].dtype, "device": DEVICE, **kwargs})
        kwargs = {key: INSIDE if key == "device" and _is_fake(value) else value for key, value in kwargs.items()}
        args = tuple(INSIDE if isinstance(value, torch.device) and _is_fake(value) else value for value in args)
        if function is Tensor.to and len(args) > 1 and isinstance(args[1], (str, int)) and _is_fake(args[1]):
            args = (args[0], INSIDE, *args[2:])
        generator = kwargs.get("generator")
        if generator is not None:
            drawn = isinstance(args[0], FakeTensor) if args and isinstance(args[0], Tensor) else "device" in kwargs
            if kwargs.get("device") is not None:
                drawn = _is_fake(kwargs["device"])
            if drawn != isinstance(generator, _FakeGenerator):
                raise RuntimeError(f"{name}: the generator is on {generator.device}, but the tensor is not.")
        return _called(function, args, kwargs)

    @staticmethod
    def _of_tensor(function: Callable, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if function is Tensor.cuda:
            return tensor.to(INSIDE)
        if isinstance(tensor, FakeTensor) and args:
            parts = args[0] if isinstance(args[0], tuple) else (args[0],)
            parts = tuple(
                _uploaded(torch.as_tensor(part), "a list as an index") if isinstance(part, (list, np.ndarray)) else part
                for part in parts
            )
            args = (parts if isinstance(args[0], tuple) else parts[0], *args[1:])
        return function(tensor, *args, **kwargs)

    @staticmethod
    def _from_data(function: Callable, data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if isinstance(data, FakeTensor):
            dtype = kwargs.get("dtype") or (args[0] if args else data.dtype)
            target = DEVICE if device is None else device
            moved = data.to(device=INSIDE if _is_fake(target) else target, dtype=dtype)
            return moved.detach().clone() if function is torch.tensor else moved
        if device is None or not _is_fake(device):
            return function(data, *args, **kwargs, **({} if device is None else {"device": device}))
        needed = kwargs.pop("requires_grad", False)
        return _uploaded(function(data, *args, **kwargs), f"{function.__name__} on cuda").requires_grad_(needed)


_NAMES = {"tensors": "outputs", "grad_tensors": "gradient"}


def _backward(
    outputs: Any,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """``Tensor.backward``, without asking a function mode once more."""
    outputs, given = _with_gradients(outputs, gradient)
    wanted = () if inputs is None else (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    keep = create_graph if retain_graph is None else retain_graph
    _engine_run_backward(outputs, given, keep, create_graph, wanted, allow_unreachable=True, accumulate_grad=True)


def _gradients(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    **others: Any,
) -> tuple[Tensor | None, ...]:
    """``torch.autograd.grad``, likewise."""
    outputs, given = _with_gradients(outputs, grad_outputs)
    wanted = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    keep = create_graph if retain_graph is None else retain_graph
    return _engine_run_backward(outputs, given, keep, create_graph, wanted, bool(allow_unused), accumulate_grad=False)


def _with_gradients(outputs: Any, given: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Outputs and the gradients into them, ones where none are given."""
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    given = (given,) * len(outputs) if given is None or isinstance(given, Tensor) else tuple(given)
    return outputs, tuple(torch.ones_like(o) if g is None else g for o, g in zip(outputs, given, strict=True))
