"""Tensor: an array on a device with a place in the autograd graph, and the functions that make tensors.

Every method is one line into ``functional``; this file holds no arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from numbanet import devices, dtypes, shapes
from numbanet.autograd import RemovableHandle, Variable, backward, no_grad
from numbanet.devices import Array, Device, as_device, is_cuda_array
from numbanet.random import Generator, default_generator


class _Late:
    """Imports ``numbanet.functional`` at the first call of a method: functional imports this file, not the other way."""

    def __getattr__(self, name: str) -> Any:
        import numbanet.functional as functional

        globals()["_F"] = functional
        return getattr(functional, name)


_F: Any = _Late()


def wrap(array: Array) -> Tensor:
    """A tensor over ``array`` itself: no copy, no graph."""
    tensor = Tensor.__new__(Tensor)
    tensor._array = array
    return tensor


class Tensor(Variable):
    """A multi-dimensional array with gradients, as ``torch.Tensor``.

    ``Tensor(2, 3)`` is uninitialised float32 of that shape and ``Tensor([1, 2])`` float32 of those values, as in PyTorch;
    prefer ``numbanet.tensor``, ``zeros``, ``randn`` and the like.

    Attributes:
        shape: sizes of the dimensions.
        dtype: a ``numpy.dtype``.
        device: where the values live.
        requires_grad: whether operations on it are recorded.
        grad: the gradient that ``backward`` accumulated, or None.
        grad_fn: the graph node that made it, or None for leaves.
        data: the same values outside the graph; assigning to it puts other values in.
    """

    def __init__(self, *data: Any, device: Any = None) -> None:
        if len(data) == 1 and not isinstance(data[0], int):
            self._array = tensor(data[0], dtype=dtypes.get_default_dtype(), device=device)._array
        else:
            self._array = empty(*data, device=device)._array

    if TYPE_CHECKING:  # the methods in METHODS and the casts

        def __getattr__(self, name: str) -> Any: ...

    # ------------------------------------------------------------------ what it is

    @property
    def shape(self) -> shapes.Size:
        return shapes.Size(self._array.shape)

    @property
    def dtype(self) -> np.dtype:
        return self._array.dtype

    @property
    def device(self) -> Device:
        return devices.CPU if type(self._array) is np.ndarray else devices.device_of(self._array)

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def is_cuda(self) -> bool:
        return is_cuda_array(self._array)

    @property
    def itemsize(self) -> int:
        return self._array.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._array.dtype.itemsize * self._array.size

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one of its sizes."""
        return self.shape if dim is None else self._array.shape[shapes.normalize_dim("size", dim, self.ndim)]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    nelement = numel
    ndimension = dim

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._array.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours along each dimension, in elements."""
        strides = tuple(s // self._array.dtype.itemsize for s in self._array.strides)
        return strides if dim is None else strides[shapes.normalize_dim("stride", dim, self.ndim)]

    def is_contiguous(self) -> bool:
        """Whether the elements lie in memory in C order, without gaps."""
        return devices.is_contiguous(self._array)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one."""
        return self._array.dtype.kind in "fV"  # floating, see dtypes.is_floating

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array.ctypes.data if not self.is_cuda else self._array.__cuda_array_interface__["data"][0]

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(len(self)))

    __hash__ = object.__hash__

    # ------------------------------------------------------------------ graph

    @property
    def requires_grad(self) -> bool:
        if self._base is not None:
            self._edge()
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def grad_fn(self) -> Any:
        if self._base is not None:
            self._edge()
        return self._node

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def data(self) -> Tensor:
        return wrap(self._array)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        self._array = value._array

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Start (or stop) recording operations on this leaf; returns it.

        Raises:
            RuntimeError: for integer tensors, and when switching it off on a tensor that is not a leaf.
        """
        if requires_grad and not self.is_floating_point():
            raise RuntimeError(f"only floating tensors can require gradients, got {self.dtype}")
        if not requires_grad and self.grad_fn is not None:
            raise RuntimeError(
                "requires_grad can be switched off only on leaves; use detach() for a tensor outside the graph"
            )
        self._requires_grad = bool(requires_grad)
        return self

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Compute the gradients of this tensor with respect to the leaves it came from, and add them to their ``.grad``.

        Args:
            gradient: the gradient of this tensor, of its shape; may be left out where it has one element (taken as 1).
            retain_graph: keep what was saved, so that backward can run again (default: ``create_graph``).
            create_graph: record backward, for gradients of gradients.
            inputs: tensors whose ``.grad`` to fill; None for all leaves.

        Raises:
            RuntimeError: where it does not require grad, shapes disagree, or the graph was released before.
        """
        backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        """The same values (shared memory) outside the graph."""
        tensor = wrap(self._array)
        self._share_changes(tensor)
        return tensor

    def detach_(self) -> Tensor:
        """Take this tensor itself out of the graph."""
        self._node, self._requires_grad, self._base = None, False, None
        return self

    def _alias(self) -> Tensor:
        tensor = self.detach()
        tensor._requires_grad = self._requires_grad
        tensor._node, tensor._output = self._edge() if self._requires_grad else (None, 0)
        return tensor

    def retain_grad(self) -> None:
        """Keep ``.grad`` after backward although this is not a leaf."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: this tensor does not require grad")
        node, output = self._edge()
        if self.grad_fn is not None and node is not None:
            node._keep_gradient(output, self)
            self._retains_grad = True

    @property
    def retains_grad(self) -> bool:
        return self._retains_grad

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call ``hook(grad)`` when this tensor's gradient is known; a tensor it returns takes the gradient's place."""
        if not self.requires_grad:
            raise RuntimeError("register_hook: this tensor does not require grad")
        node, output = self._edge()
        assert node is not None
        if self.grad_fn is None:
            self.__dict__["_kept_accumulator"] = node  # hooks on a leaf live as long as the leaf
        return node._add_hook(output, hook)

    # ------------------------------------------------------------------ conversion

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array over the same memory.

        Raises:
            RuntimeError: where the tensor requires grad (use ``.detach()`` first).
            TypeError: where it lives on CUDA (use ``.cpu()`` first).
        """
        if self.requires_grad:
            raise RuntimeError("numpy: this tensor requires grad; call detach().numpy()")
        if self.is_cuda:
            raise TypeError("numpy: this tensor is on cuda; call cpu().numpy() to copy it to the host")
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError(f"cannot give a {self.dtype} tensor as {np.dtype(dtype)} without a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    __array_priority__ = 1000  # numpy_array * tensor is ours

    def __dlpack__(self, **options: Any) -> Any:
        return self.detach()._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__() if not self.is_cuda else (2, self.device.index or 0)

    @property
    def __cuda_array_interface__(self) -> Any:
        if not self.is_cuda:
            raise AttributeError("__cuda_array_interface__: this tensor is on the cpu")
        devices.settle(self._array)
        return self._array.__cuda_array_interface__

    def item(self) -> Any:
        """The value of a tensor of one element as a Python number."""
        if self._array.size != 1:
            raise RuntimeError(
                f"item: a tensor of {self._array.size} elements, shape {tuple(self.shape)}, cannot become one number"
            )
        return devices.to_host(self._array).item()

    def tolist(self) -> Any:
        """The values as nested lists (a number for a 0-d tensor)."""
        return devices.to_host(self._array).tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.is_floating_point():
            raise TypeError(f"only integer tensors of one element can be an index, got {self.dtype}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise RuntimeError(
                f"the truth of a tensor of {self._array.size} elements is not defined, shape {tuple(self.shape)}; use .any() or .all()"
            )
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else object.__format__(self, spec)

    def __repr__(self) -> str:
        values = devices.to_host(self._array)
        if dtypes.is_half(values.dtype):
            values = values.astype(np.float32)
        finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        whole = (
            values.dtype.kind == "f" and bool((finite == np.trunc(finite)).all()) and bool((np.abs(finite) < 1e8).all())
        )
        # Whole numbers are written out: NumPy would turn to powers of ten, with one digit, where they differ much in size.
        text = np.array2string(
            values,
            separator=", ",
            prefix="tensor(",
            precision=0 if whole else 4,
            floatmode="fixed",
            threshold=1000,
            suppress_small=whole,
        )
        notes = [] if values.size else [f"size={tuple(self.shape)}"]
        if self.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool):
            notes.append(f"dtype=numbanet.{self.dtype.name}")
        if self.is_cuda:
            notes.append(f"device='{self.device}'")
        if self.grad_fn is not None:
            notes.append(f"grad_fn=<{self.grad_fn.name()}>")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([text, *notes])})"

    def to(
        self, *args: Any, device: Any = None, dtype: Any = None, copy: bool = False, non_blocking: bool = False
    ) -> Tensor:
        """This tensor with another device and/or dtype; itself where nothing changes (unless ``copy``).

        ``to("cuda")``, ``to(numbanet.float64)``, ``to("cpu", numbanet.float64)``, ``to(other_tensor)``. Differentiable.

        With ``non_blocking`` a tensor in page-locked memory (``pin_memory``) is copied to CUDA in the background; what uses the
        result waits for it. All other copies are done at once.
        """
        for arg in args:
            if isinstance(arg, Tensor):
                device, dtype = arg.device, arg.dtype
            elif isinstance(arg, Device) or (isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda")):
                device = arg
            elif isinstance(arg, bool):
                non_blocking = arg
            elif isinstance(arg, str):
                try:
                    dtype = dtypes.as_dtype(arg)
                except TypeError:
                    raise RuntimeError(
                        f"to: {arg!r} is neither a device, such as 'cpu', 'cuda' or 'cuda:0', nor a dtype"
                    ) from None
            elif arg is not None:
                dtype = arg
        device = None if device is None else as_device(device)
        return _F.to(self, device, None if dtype is None else dtypes.as_dtype(dtype), copy, non_blocking)

    def cpu(self) -> Tensor:
        """This tensor on the CPU."""
        return self.to(devices.CPU)

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Tensor:
        """This tensor on a CUDA device."""
        return self.to(as_device("cuda" if device is None else device), non_blocking=non_blocking)

    def pin_memory(self) -> Tensor:
        """A copy in page-locked memory, which the GPU can read in the background; itself where it lies there already.

        Raises:
            RuntimeError: where CUDA is not available, or the tensor is not on the CPU.
        """
        if self.is_cuda:
            raise RuntimeError(f"pin_memory: only a tensor on the cpu can be pinned, this one is on {self.device}")
        return self if self.is_pinned() else wrap(devices.pin(self._array))

    def is_pinned(self) -> bool:
        """Whether the tensor lies in page-locked memory."""
        return devices.is_pinned(self._array)

    def type(self, dtype: Any = None) -> Any:
        """This tensor with another dtype; without an argument the dtype's name."""
        return f"numbanet.{self.dtype.name}" if dtype is None else self.to(dtype=dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """This tensor with the dtype of another."""
        return self.to(dtype=other.dtype)

    def __deepcopy__(self, memo: Any) -> Tensor:
        if self.grad_fn is not None:
            raise RuntimeError("deepcopy: only leaves can be copied deeply; use clone() or detach()")
        import copy

        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other._array = devices.copy(self._array)
        other._requires_grad = self._requires_grad
        other.grad = copy.deepcopy(self.grad, memo)
        return other

    def __reduce__(self) -> Any:
        if self.grad_fn is not None:
            raise RuntimeError("pickle: only leaves can be pickled; use detach()")
        return _rebuild, (type(self), devices.to_host(self._array), str(self.device), self._requires_grad)

    # ------------------------------------------------------------------ arithmetic

    def __add__(self, other: Any) -> Tensor:
        return _F.add(self, other)

    def __sub__(self, other: Any) -> Tensor:
        return _F.sub(self, other)

    def __mul__(self, other: Any) -> Tensor:
        return _F.mul(self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return _F.div(self, other)

    def __floordiv__(self, other: Any) -> Tensor:
        return _F.floor_divide(self, other)

    def __mod__(self, other: Any) -> Tensor:
        return _F.remainder(self, other)

    def __pow__(self, other: Any) -> Tensor:
        return _F.pow(self, other)

    def __matmul__(self, other: Any) -> Tensor:
        return _F.matmul(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _F.add(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return _F.sub(other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return _F.mul(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _F.div(other, self)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _F.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return _F.remainder(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return _F.pow(other, self)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _F.matmul(other, self)

    def __neg__(self) -> Tensor:
        return _F.neg(self)

    def __pos__(self) -> Tensor:
        if self.dtype == dtypes.bool:
            raise RuntimeError("the operator + is not defined for bool tensors")
        return self

    def __abs__(self) -> Tensor:
        return _F.abs(self)

    def __invert__(self) -> Tensor:
        if self.is_floating_point():
            raise TypeError(f"the operator ~ is defined for integer and bool tensors, not for {self.dtype}")
        return _F.bitwise_not(self)

    def __and__(self, other: Any) -> Tensor:
        return _F.bitwise_and(self, other)

    def __or__(self, other: Any) -> Tensor:
        return _F.bitwise_or(self, other)

    def __xor__(self, other: Any) -> Tensor:
        return _F.bitwise_xor(self, other)

    def __rand__(self, other: Any) -> Tensor:
        return _F.bitwise_and(other, self)

    def __ror__(self, other: Any) -> Tensor:
        return _F.bitwise_or(other, self)

    def __rxor__(self, other: Any) -> Tensor:
        return _F.bitwise_xor(other, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _F.eq(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _F.ne(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _F.lt(self, other)

    def __le__(self, other: Any) -> Tensor:
        return _F.le(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _F.gt(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _F.ge(self, other)

    def __iadd__(self, other: Any) -> Tensor:
        return _F.add_(self, other)

    def __isub__(self, other: Any) -> Tensor:
        return _F.sub_(self, other)

    def __imul__(self, other: Any) -> Tensor:
        return _F.mul_(self, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return _F.div_(self, other)

    def __ipow__(self, other: Any) -> Tensor:  # type: ignore[misc]
        return _F.pow_(self, other)

    def __ifloordiv__(self, other: Any) -> Tensor:
        return _F.div_(self, other, rounding_mode="floor")

    def __imod__(self, other: Any) -> Tensor:
        return self._become("__imod__", _F.remainder, other)

    def __iand__(self, other: Any) -> Tensor:
        return self._become("__iand__", _F.bitwise_and, other)

    def __ior__(self, other: Any) -> Tensor:
        return self._become("__ior__", _F.bitwise_or, other)

    def __ixor__(self, other: Any) -> Tensor:
        return self._become("__ixor__", _F.bitwise_xor, other)

    def _become(self, name: str, function: Any, other: Any) -> Tensor:
        """``self = function(self, other)`` in self's memory."""
        from numbanet.functional import inplace

        inplace.check(name, self, other)
        return inplace.assign(name, self, function(self.clone(), other))

    def __getitem__(self, index: Any) -> Tensor:
        return _F.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        _F.setitem(self, index, value)

    @property
    def T(self) -> Tensor:
        """The tensor with its dimensions in reverse order."""
        return _F.permute(self, tuple(range(self.ndim - 1, -1, -1)))

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two dimensions exchanged."""
        if self.ndim < 2:
            raise RuntimeError(f"mT: expected matrices, got a tensor of {self.ndim} dimensions")
        return _F.transpose(self, -2, -1)

    # ------------------------------------------------------------------ new tensors like this one

    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return zeros(*size, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)

    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return ones(*size, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)

    def new_empty(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return empty(*size, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)

    def new_full(
        self, size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        dtype, device = dtype or self.dtype, device or self.device
        return full(size, fill_value, dtype=dtype, device=device, requires_grad=requires_grad)

    def new_tensor(self, data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def _method(name: str) -> Callable[..., Any]:
    """A method that is a function of ``functional`` with the tensor as first argument."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return getattr(_F, name)(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"See ``numbanet.functional.{name}``."
    return method


# The methods that only pass on to the function of the same name.
METHODS = [
    "abs",
    "add",
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "bmm",
    "broadcast_to",
    "ceil",
    "chunk",
    "clamp",
    "clip",
    "clone",
    "contiguous",
    "cos",
    "div",
    "divide",
    "dot",
    "eq",
    "equal",
    "erf",
    "exp",
    "expand",
    "expand_as",
    "expm1",
    "fill_",
    "flatten",
    "floor",
    "floor_divide",
    "gather",
    "ge",
    "gt",
    "hardshrink",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "log",
    "log1p",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "log_softmax",
    "lt",
    "masked_fill",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mm",
    "movedim",
    "mul",
    "multiply",
    "narrow",
    "ne",
    "neg",
    "norm",
    "outer",
    "permute",
    "pow",
    "prelu",
    "prod",
    "ravel",
    "reciprocal",
    "relu",
    "remainder",
    "repeat",
    "reshape",
    "round",
    "rsqrt",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "std",
    "sub",
    "subtract",
    "sum",
    "t",
    "tanh",
    "tile",
    "transpose",
    "unbind",
    "unflatten",
    "unsqueeze",
    "var",
    "view",
    "view_as",
    "where",
    "swapaxes",
    "flip",
    "add_",
    "sub_",
    "mul_",
    "div_",
    "pow_",
    "copy_",
    "zero_",
    "fill_",
    "relu_",
    "sigmoid_",
    "tanh_",
    "exp_",
    "log_",
    "sqrt_",
    "neg_",
    "abs_",
    "clamp_",
    "clamp_min",
    "clamp_max",
    "masked_fill_",
    "uniform_",
    "normal_",
    "random_",
    "bernoulli_",
    "index_select",
    "absolute",
    "acos",
    "addcdiv",
    "addcdiv_",
    "addcmul",
    "addcmul_",
    "addmm",
    "addmv",
    "allclose",
    "aminmax",
    "arccos",
    "arcsin",
    "arctan",
    "arctan2",
    "argsort",
    "argwhere",
    "asin",
    "atan",
    "atan2",
    "baddbmm",
    "bincount",
    "clamp_max_",
    "clamp_min_",
    "cosh",
    "count_nonzero",
    "cumprod",
    "cumprod_",
    "cumsum",
    "cumsum_",
    "diag",
    "diag_embed",
    "diagonal",
    "diff",
    "exp2",
    "fix",
    "fliplr",
    "flipud",
    "fmod",
    "frac",
    "ger",
    "hypot",
    "index_add",
    "index_add_",
    "index_copy",
    "index_copy_",
    "index_fill",
    "index_fill_",
    "index_put",
    "index_put_",
    "inner",
    "isclose",
    "kthvalue",
    "lerp",
    "lerp_",
    "log10",
    "log2",
    "masked_select",
    "median",
    "moveaxis",
    "msort",
    "mv",
    "negative",
    "nonzero",
    "repeat_interleave",
    "roll",
    "rot90",
    "scatter",
    "scatter_",
    "scatter_add",
    "scatter_add_",
    "scatter_reduce",
    "sinh",
    "sort",
    "swapdims",
    "take",
    "take_along_dim",
    "tan",
    "topk",
    "trace",
    "tril",
    "tril_",
    "triu",
    "triu_",
    "true_divide",
    "trunc",
    "unique",
    "vdot",
]
for _name in METHODS:
    setattr(Tensor, _name, _method(_name))


def _cast(dtype: np.dtype) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return self.to(dtype=dtype)

    method.__doc__ = f"This tensor as {dtype}."
    return method


# Set from here, so that the names float, int and bool keep their meaning inside the class.
for _name in ("half", "bfloat16", "float", "double", "short", "int", "long", "bool"):
    setattr(Tensor, _name, _cast(getattr(dtypes, _name)))


def _rebuild(cls: type[Tensor], values: np.ndarray, device: str, requires_grad: bool) -> Tensor:
    made = cls.__new__(cls)
    made._array = devices.to_device(values, as_device(device if devices.cuda_is_available() else "cpu"))
    made._requires_grad = requires_grad
    return made


# ---------------------------------------------------------------------------------------------------- making tensors


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor holding a copy of ``data``: numbers, nested sequences, NumPy arrays or tensors.

    Python floats give the default dtype (float32), ints int64, bools bool; NumPy arrays keep their dtype.

    Raises:
        ValueError: for sequences of unequal lengths.
        TypeError: for data that is not numeric.
        RuntimeError: for Python numbers that an integer ``dtype`` does not reach.
    """
    if isinstance(data, Tensor):
        array = devices.copy(data.detach()._array) if device is None else devices.copy(devices.to_host(data._array))
        if device is None and data.is_cuda:
            device = data.device
        array = devices.to_host(array)
    elif isinstance(data, np.ndarray | np.generic):
        array = np.array(data, order="C")
    else:
        array = _from_sequence(data, dtype is None)
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.as_dtype(array.dtype)
    if not isinstance(data, np.ndarray | np.generic | Tensor) and wanted.kind in "ui" and array.dtype.kind in "if":
        for extreme in (array.min(initial=0), array.max(initial=0)):
            dtypes.fitting_number("tensor", extreme.item(), wanted)
    made = wrap(devices.to_device(array.astype(wanted, copy=False), as_device(device)))
    return made.requires_grad_() if requires_grad else made


def _from_sequence(data: Any, by_default: bool) -> np.ndarray:
    """The array of numbers or nested sequences; Python's floats in the default dtype where ``by_default``, else exact."""

    def plain(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.detach().cpu()._array
        return [plain(i) for i in item] if isinstance(item, list | tuple) else item

    try:
        array = np.array(plain(data), order="C")
    except ValueError as error:
        raise ValueError(f"tensor: expected sequences of equal lengths ({error})") from None
    if array.dtype.kind not in "bif" and array.dtype != dtypes.bfloat16 and array.size:
        if array.dtype.kind == "u":
            raise OverflowError("tensor: an int does not fit int64")
        raise TypeError(f"tensor: cannot make a tensor from {type(data).__name__} data of dtype {array.dtype}")
    if by_default and (array.dtype.kind == "f" or not array.size):
        first = data
        while isinstance(first, list | tuple) and first:
            first = first[0]
        if not isinstance(first, np.floating | np.ndarray | Tensor):
            return array.astype(dtypes.get_default_dtype())
    return array


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """``data`` as a tensor, sharing memory where it is a NumPy array or a tensor of the right dtype and device."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    made = from_numpy(data) if isinstance(data, np.ndarray) else tensor(data, dtype=dtype)
    return made.to(device=device, dtype=dtype)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over the memory of a NumPy array (copied only where it is read-only or not aligned).

    Raises:
        TypeError: for anything but a NumPy array of a supported dtype.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(array).__name__}")
    dtypes.as_dtype(array.dtype)
    if not array.flags.writeable or not array.flags.aligned:
        array = array.copy()
    return wrap(np.asarray(array) if type(array) is np.ndarray else array.view(np.ndarray))


def from_dlpack(source: Any) -> Tensor:
    """A tensor over the memory of another library's CPU array that speaks DLPack."""
    return from_numpy(np.from_dlpack(source))


def check_numel(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse shapes whose number of elements, or of bytes, is beyond int64.

    Raises:
        TypeError: for a size that is itself beyond it.
        RuntimeError: for a product that is.
    """
    if any(size > _LARGEST for size in shape):
        raise TypeError(f"{name}: a size does not fit int64, got shape {tuple(shape)}")
    if prod(shape) * itemsize > _LARGEST:
        raise RuntimeError(f"{name}: shape {tuple(shape)} has {prod(shape)} elements, more than memory can address")


_LARGEST = 2**63 - 1


def _checked_shape(name: str, size: tuple[Any, ...], dtype: np.dtype) -> tuple[int, ...]:
    shape = shapes.shape_argument(size)
    shapes.check_sizes(name, shape)
    check_numel(name, shape, dtype.itemsize)
    return shape


def _filled(name: str, size: tuple[Any, ...], value: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    shape = _checked_shape(name, size, wanted)
    if value is not None:
        value = dtypes.fitting_number(name, value, wanted)
    where = as_device(device)
    try:
        made = wrap(devices.empty(shape, wanted, where) if value is None else devices.full(shape, value, wanted, where))
    except MemoryError:
        raise RuntimeError(f"{name}: not enough memory for a {wanted} tensor of shape {shape}") from None
    return made.requires_grad_() if requires_grad else made


def _size(size: tuple[Any, ...], keyword: Any) -> tuple[Any, ...]:
    return size if keyword is None else (keyword,)


def empty(*shape: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of undefined values: ``empty(2, 3)`` or ``empty((2, 3))``."""
    return _filled("empty", _size(shape, size), None, dtype, device, requires_grad)


def zeros(*shape: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``."""
    return _filled("zeros", _size(shape, size), 0, dtype, device, requires_grad)


def ones(*shape: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones: ``ones(2, 3)`` or ``ones((2, 3))``."""
    return _filled("ones", _size(shape, size), 1, dtype, device, requires_grad)


def full(size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value; its dtype is the value's (int64, bool or the default floating one) unless given."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    return _filled("full", (size,), fill_value, dtype or dtypes.of_number(fill_value), device, requires_grad)


def _like(name: str, input: Tensor, value: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    return _filled(name, (tuple(input.shape),), value, dtype or input.dtype, device or input.device, requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of undefined values with the shape, dtype and device of another."""
    return _like("empty_like", input, None, dtype, device, requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros with the shape, dtype and device of another."""
    return _like("zeros_like", input, 0, dtype, device, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones with the shape, dtype and device of another."""
    return _like("ones_like", input, 1, dtype, device, requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of one value with the shape, dtype and device of another."""
    return _like("full_like", input, fill_value, dtype, device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The (n, m) matrix with ones on its diagonal."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    shape = _checked_shape("eye", (n, n if m is None else m), wanted)
    values = np.eye(*shape, dtype=wanted)
    return tensor(values, device=device, requires_grad=requires_grad)


def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers from start (included) to end (excluded) by step; ints give int64."""
    if end is None:
        start, end = 0, start
    start, end, step = [value.item() if isinstance(value, Tensor) else value for value in (start, end, step)]
    if step == 0 or (end - start) * step < 0:
        raise RuntimeError(f"arange: cannot step from {start} to {end} by {step}")
    if dtype is None:
        whole = all(isinstance(v, int | np.integer) for v in (start, end, step))
        dtype = dtypes.int64 if whole else dtypes.get_default_dtype()
    count = max(0, int(np.ceil((end - start) / step)))
    check_numel("arange", (count,), 8)
    values = start + step * np.arange(
        count, dtype=np.float64 if dtypes.is_floating(dtypes.as_dtype(dtype)) else np.int64
    )
    return tensor(values.astype(dtypes.as_dtype(dtype)), device=device, requires_grad=requires_grad)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``steps`` numbers evenly spaced from start to end, both included."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    return tensor(np.linspace(start, end, steps).astype(wanted), device=device, requires_grad=requires_grad)


def _random(
    draw: Callable[[np.random.Generator, tuple[int, ...], Any], np.ndarray],
    size: tuple[Any, ...],
    generator: Generator | None,
    dtype: Any,
    device: Any,
    requires_grad: bool,
) -> Tensor:
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()
    shape = _checked_shape("rand", size, wanted)
    source = (generator or default_generator).numpy_generator()
    try:
        values = np.asarray(draw(source, shape, wanted if wanted.itemsize >= 4 else dtypes.float32))
    except MemoryError:
        raise RuntimeError(f"rand: not enough memory for a {wanted} tensor of shape {shape}") from None
    made = wrap(devices.to_device(values.astype(wanted, copy=False), as_device(device)))
    return made.requires_grad_() if requires_grad else made


def rand(
    *shape: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Random numbers uniform in [0, 1)."""
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.get_default_dtype()

    def draw(source: np.random.Generator, shape: tuple[int, ...], t: Any) -> np.ndarray:
        values = source.random(shape, t)  # float32 for the half types, in which some would become 1
        return np.minimum(values, 1 - float(dtypes.finfo(wanted).epsneg)) if dtypes.is_half(wanted) else values

    return _random(draw, _size(shape, size), generator, dtype, device, requires_grad)


def randn(
    *shape: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Random numbers of the standard normal distribution."""
    return _random(lambda g, s, t: g.standard_normal(s, t), _size(shape, size), generator, dtype, device, requires_grad)


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform random numbers with the shape, dtype and device of another tensor."""
    return rand(
        tuple(input.shape), dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
    )


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Normal random numbers with the shape, dtype and device of another tensor."""
    return randn(
        tuple(input.shape), dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad
    )


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Random numbers of normal distributions: ``normal(0, 1, (3, 4))``, or one number for each element of a tensor.

    Args:
        mean: a number, or a tensor with the mean of each number that is drawn.
        std: a number or a tensor, at least 0; tensors are broadcast.
        size: the result's shape; only, and always, where mean and std are numbers.
        generator: source of the numbers; None: the default one.
        dtype, device: of the result; with a tensor its own.
        requires_grad: whether the result is a leaf that wants a gradient.

    Raises:
        TypeError: size beside tensors, or none without.
        RuntimeError: for a negative std.
    """
    given = [x for x in (mean, std) if isinstance(x, Tensor)]
    if bool(given) == (size is not None):
        raise TypeError(
            "normal: mean and std as numbers need a size, as in normal(0, 1, (3, 4)), and as tensors take none; got "
            f"mean={type(mean).__name__}, std={type(std).__name__}, size={size}"
        )
    spread = std.detach() if isinstance(std, Tensor) else full((1,), float(std))
    lowest = float(spread.min()) if spread.numel() else 0.0
    if not lowest >= 0:
        raise RuntimeError(f"normal: std must be at least 0, got {lowest}")
    if not given:

        def draw(source: np.random.Generator, shape: tuple[int, ...], t: Any) -> np.ndarray:
            return source.standard_normal(shape, t) * float(std) + float(mean)

        return _random(draw, _size((), size), generator, dtype, device, requires_grad)
    with no_grad():
        shape = np.broadcast_shapes(*(tuple(x.shape) for x in given))
        noise = randn(shape, generator=generator, dtype=dtype or given[0].dtype, device=device or given[0].device)
        made = noise * std + mean
    return made.requires_grad_() if requires_grad else made


def randint(
    low: Any = 0,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Tensor:
    """Random ints from low (included) to high (excluded): ``randint(10, (2, 3))`` or ``randint(0, 10, (2, 3))``."""
    if not isinstance(high, int | np.integer):
        low, high, size = 0, low, high if size is None else size
    if size is None:
        raise TypeError(f"randint: a size is needed, got low={low} and high={high}")
    if low >= high:
        raise RuntimeError(f"randint: expected low < high, got low={low}, high={high}")
    values = (generator or default_generator).numpy_generator().integers(low, high, shapes.shape_argument((size,)))
    return tensor(np.asarray(values, dtypes.as_dtype(dtype) if dtype is not None else dtypes.int64), device=device)


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """A random order of the ints 0 ... n-1 (int64 unless ``dtype`` says otherwise).

    Raises:
        RuntimeError: for a negative n.
    """
    if n < 0:
        raise RuntimeError(f"randperm: n must not be negative, got {n}")
    order = (generator or default_generator).numpy_generator().permutation(n)
    return tensor(order, dtype=dtype or dtypes.int64, device=device)


def is_tensor(obj: object) -> bool:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, Tensor)


def _promoted(name: str, values: tuple[Any, ...]) -> tuple[list[Any], np.dtype, Device | None]:
    """The values of one call with arrays as tensors, the dtype they have together, and the one device they are on."""
    made: list[Any] = []
    ranks = []
    device: Device | None = None
    for value in values:
        if isinstance(value, Tensor):
            if device is not None and value.device != device:
                raise RuntimeError(
                    f"{name}: tensors on {device} and on {value.device}; move them to one device with .to()"
                )
            device = value.device
            ranks.append((value.dtype, 2 if value._array.ndim else 1))
        elif isinstance(value, bool | int | float | np.generic):
            ranks.append((dtypes.of_number(value), 0))
        elif isinstance(value, np.ndarray):
            value = from_numpy(value)
            ranks.append((value.dtype, 2 if value.ndim else 1))
        else:
            raise TypeError(f"{name}: expected a tensor or a number, got {type(value).__name__}")
        made.append(value)
    return made, ranks[0][0] if len({r for r in ranks}) == 1 else dtypes.result_type(*ranks), device


_NUMBERS = frozenset((float, int))


def of_one_kind(values: Iterable[Any]) -> bool:
    """Whether these are CPU tensors of one dtype, which need no promotion: what the common call is made of."""
    dtype = None
    for value in values:
        if not isinstance(value, Tensor):
            return False
        array = value._array
        if type(array) is not np.ndarray or (dtype is not None and array.dtype is not dtype):
            return False
        dtype = array.dtype
    return dtype is not None


def result_dtype(name: str, *values: Any) -> np.dtype:
    """The dtype that tensors and numbers of one call are promoted to."""
    return _promoted(name, values)[1]


def operands(name: str, *values: Any) -> list[Tensor]:
    """Tensors from tensors and numbers of one call, promoted to one dtype and checked to be on one device."""
    if of_one_kind(values):
        return list(values)
    if len(values) == 2:  # a floating tensor and a number, which takes the tensor's dtype
        a, b = values
        if type(b) in _NUMBERS and of_one_kind((a,)) and dtypes.is_floating(a._array.dtype):
            return [a, wrap(np.array(b, a._array.dtype))]
        if type(a) in _NUMBERS and of_one_kind((b,)) and dtypes.is_floating(b._array.dtype):
            return [wrap(np.array(a, b._array.dtype)), b]
    made, dtype, device = _promoted(name, values)
    for position, value in enumerate(made):
        if not isinstance(value, Tensor):
            array = dtypes.number_array(value, dtype)
            made[position] = wrap(array if device is None or device.type == "cpu" else devices.to_device(array, device))
        elif value.dtype != dtype:
            made[position] = value.to(dtype=dtype)
    return made
