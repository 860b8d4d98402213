"""Switches of the CUDA kernels, by PyTorch's names where PyTorch has them.

::

    numbanet.backends.cuda.tensor_cores           may kernels use tensor cores at all? False, or what NUMBANET_TENSOR_CORES=1 says
    numbanet.backends.cuda.matmul.allow_tf32      may matrix products round float32 inputs to TF32? False
    numbanet.backends.cudnn.allow_tf32            may convolutions? True
    numbanet.set_float32_matmul_precision("high") is the second one by another name

The kernels on tensor cores are checked by emulation and by assembling, and have not run on a GPU yet: hence the first switch,
which PyTorch does not have. Sums are kept in float32 whatever the switches say. TF32 has float32's range and 10 bits of
mantissa: a product's inputs are off by up to 1 part in 2048.
"""

from __future__ import annotations

import os


class _Switches:
    """A group of switches; a name that is none of them is an error, so that no typing mistake goes unnoticed."""

    def __init__(self, **values: bool | _Switches) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: bool) -> None:
        if not isinstance(self.__dict__.get(name), bool):
            raise AttributeError(f"backends: there is no switch {name!r} here, only {sorted(self.__dict__)}")
        if not isinstance(value, bool):
            raise TypeError(f"backends: {name} is True or False, got {value!r}")
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> bool:  # reached for names that are not there
        raise AttributeError(f"backends: there is no switch {name!r} here, only {sorted(self.__dict__)}")

    def __repr__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())


class _Cuda(_Switches):
    tensor_cores: bool
    matmul: _Switches


cuda = _Cuda(
    tensor_cores=os.environ.get("NUMBANET_TENSOR_CORES", "0") not in ("", "0"), matmul=_Switches(allow_tf32=False)
)


class _Cudnn(_Switches):
    """The switch of convolutions. Course notes also ask it whether PyTorch's library is there: it is not, and not wanted."""

    allow_tf32: bool

    def is_available(self) -> bool:
        """False: convolutions are numbanet's own kernels."""
        return False

    def version(self) -> None:
        """None: there is no cuDNN."""
        return None


cudnn = _Cudnn(allow_tf32=True)

_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """How precise matrix products of float32 are, as ``torch.set_float32_matmul_precision``.

    Args:
        precision: "highest" (float32 throughout), "high" or "medium" (inputs may be rounded to TF32; PyTorch may go down
            to bfloat16 for "medium", numbanet does not).

    Raises:
        RuntimeError: for another word.
    """
    global _precision
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"set_float32_matmul_precision: expected 'highest', 'high' or 'medium', got {precision!r}")
    _precision = precision
    cuda.matmul.allow_tf32 = precision != "highest"


def get_float32_matmul_precision() -> str:
    """The precision of float32 matrix products: what was set, or what ``cuda.matmul.allow_tf32`` says if that was set since."""
    if cuda.matmul.allow_tf32 == (_precision == "highest"):
        return "high" if cuda.matmul.allow_tf32 else "highest"
    return _precision
