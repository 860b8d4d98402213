"""CUDA by PyTorch's names: devices and their properties, memory, streams and events.

All kernels run on the default stream, one after another. A ``Stream`` of one's own orders and times copies in the
background against them; there is no ``stream(...)`` context, for no kernel would follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from numbanet import devices as _device
from numbanet.cuda_memory import DEFAULT_STREAM, OutOfMemoryError, in_words
from numbanet.devices import cuda_is_available as is_available
from numbanet.devices import empty_cache, synchronize, unavailable_reason
from numbanet.random import manual_seed

__all__ = [
    "DeviceProperties",
    "Event",
    "OutOfMemoryError",
    "Stream",
    "current_device",
    "current_stream",
    "default_stream",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "is_available",
    "is_bf16_supported",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "memory_summary",
    "reset_peak_memory_stats",
    "synchronize",
    "unavailable_reason",
]

manual_seed_all = manual_seed


# ------------------------------------------------------------------------------------------------------- devices


def __getattr__(name: str) -> Any:
    if name == "amp":  # torch.cuda.amp's names, fetched when asked for
        return import_module("numbanet.amp")
    raise AttributeError(f"module 'numbanet.cuda' has no attribute {name!r}")


def device_count() -> int:
    """How many CUDA devices can be used (the simulator counts as one)."""
    if not is_available():
        return 0
    return 1 if _device.SIMULATOR else len(_device.cuda.gpus)


def current_device() -> int:
    """The number of the device on which tensors are made."""
    _device.require_cuda("current_device")
    return 0 if _device.SIMULATOR else int(_device.cuda.get_current_device().id)


@dataclass(frozen=True)
class DeviceProperties:
    """What a device is.

    Attributes:
        name: as its maker calls it.
        major, minor: the compute capability.
        total_memory: bytes.
        multi_processor_count: multiprocessors.
        shared_memory_per_block: bytes that a block may have without asking for more.
        shared_memory_per_block_optin: bytes that a block may have at most.
        regs_per_multiprocessor: 32-bit registers.
        warp_size: threads of a warp.
        L2_cache_size: bytes.
        clock_rate: of the multiprocessors, kHz.
        memory_clock_rate: kHz.
        memory_bus_width: bits.
    """

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int = 1
    shared_memory_per_block: int = 48 << 10
    shared_memory_per_block_optin: int = 48 << 10
    regs_per_multiprocessor: int = 1 << 16
    warp_size: int = 32
    L2_cache_size: int = 0
    clock_rate: int = 0
    memory_clock_rate: int = 0
    memory_bus_width: int = 0


_ATTRIBUTES = {
    "multi_processor_count": "MULTIPROCESSOR_COUNT",
    "shared_memory_per_block": "MAX_SHARED_MEMORY_PER_BLOCK",
    "shared_memory_per_block_optin": "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN",
    "regs_per_multiprocessor": "MAX_REGISTERS_PER_MULTIPROCESSOR",
    "warp_size": "WARP_SIZE",
    "L2_cache_size": "L2_CACHE_SIZE",
    "clock_rate": "CLOCK_RATE",
    "memory_clock_rate": "MEMORY_CLOCK_RATE",
    "memory_bus_width": "GLOBAL_MEMORY_BUS_WIDTH",
}


def _number(what: str, device: Any) -> int:
    _device.require_cuda(what)
    if device is None:
        return current_device()
    wanted = _device.as_device(device, to_compute=False)
    if wanted.type != "cuda":
        raise ValueError(f"{what}: expected a CUDA device, got {device!r}")
    return wanted.index or 0


def get_device_properties(device: Any = None) -> DeviceProperties:
    """The properties of a device (default: the current one).

    Raises:
        RuntimeError: where CUDA is not available, or there is no such device.
        ValueError: for a device that is not CUDA.
    """
    number = _number("get_device_properties", device)
    if _device.SIMULATOR:
        major, minor = _device.cuda.get_current_device().compute_capability
        return DeviceProperties("Numba's CUDA simulator", major, minor, mem_get_info()[1])
    gpu = _device.cuda.gpus[number]
    found = {ours: int(getattr(gpu, theirs)) for ours, theirs in _ATTRIBUTES.items()}
    name = gpu.name.decode() if isinstance(gpu.name, bytes) else str(gpu.name)
    major, minor = gpu.compute_capability
    return DeviceProperties(name, int(major), int(minor), mem_get_info(device)[1], **found)


def get_device_name(device: Any = None) -> str:
    """The name of a device (default: the current one)."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a device (default: the current one), such as (9, 0)."""
    found = get_device_properties(device)
    return found.major, found.minor


def is_bf16_supported() -> bool:
    """Whether the current device computes in bfloat16 (compute capability 8.0 and above)."""
    return is_available() and not _device.SIMULATOR and get_device_capability() >= (8, 0)


# -------------------------------------------------------------------------------------------------------- memory


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of the device, whoever uses the rest."""
    _number("mem_get_info", device)
    return _device.cuda_memory().layer.memory_info()


def _counts() -> dict[str, int]:
    return _device._cuda_memory.device.counts() if _device._cuda_memory is not None else {}


def memory_allocated(device: Any = None) -> int:
    """Bytes of device memory under living tensors, in the pool's size classes; 0 where CUDA is not in use."""
    return _counts().get("allocated", 0)


def max_memory_allocated(device: Any = None) -> int:
    """The largest ``memory_allocated`` since the start or the last ``reset_peak_memory_stats``."""
    return _counts().get("peak_allocated", 0)


def memory_reserved(device: Any = None) -> int:
    """Bytes of device memory that the pool holds: under living tensors, or cached."""
    counts = _counts()
    return counts.get("allocated", 0) + counts.get("cached", 0)


def max_memory_reserved(device: Any = None) -> int:
    """The largest ``memory_reserved`` since the start or the last ``reset_peak_memory_stats``."""
    return _counts().get("peak_reserved", 0)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let the largest values start again from what is in use now."""
    if _device._cuda_memory is not None:
        _device._cuda_memory.device.reset_peak()


def memory_stats(device: Any = None) -> dict[str, int]:
    """The pool's counts: bytes "allocated", "cached", their peaks; how often the driver was asked ("allocations"), and how
    often it had nothing until cached memory was given back ("retries"). Empty where CUDA is not in use."""
    return _counts()


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """``memory_stats`` and the device's free memory as a table to print."""
    counts = _counts()
    free, total = mem_get_info(device)
    rows = [
        ("under tensors", in_words(counts.get("allocated", 0))),
        ("  at most", in_words(counts.get("peak_allocated", 0))),
        ("cached", in_words(counts.get("cached", 0))),
        ("free on the device", f"{in_words(free)} of {in_words(total)}"),
        ("asked of the driver", f"{counts.get('allocations', 0)} times"),
        ("cache given back", f"{counts.get('retries', 0)} times"),
    ]
    return "\n".join(f"{name:<22}{value:>28}" for name, value in rows)


# --------------------------------------------------------------------------------------------- streams and events


class Event:
    """A mark in a stream: that all work before it is done, and when.

    Args:
        enable_timing: whether ``elapsed_time`` is wanted.
    """

    def __init__(self, enable_timing: bool = False) -> None:
        _device.require_cuda("Event")
        self._event = _device.cuda.event(timing=enable_timing) if not _device.SIMULATOR else _device.cuda.event()
        self._timing = enable_timing

    def record(self, stream: Stream | None = None) -> None:
        """Put the mark behind all work so far of ``stream`` (default: the default stream)."""
        self._event.record(_handle(stream))

    def wait(self, stream: Stream | None = None) -> None:
        """Let all later work of ``stream`` (default: the default stream) wait for the mark."""
        self._event.wait(_handle(stream))

    def query(self) -> bool:
        """Whether the mark is reached."""
        return True if _device.SIMULATOR else bool(self._event.query())

    def synchronize(self) -> None:
        """Wait until the mark is reached."""
        self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this mark to another (meaningless in the simulator).

        Raises:
            RuntimeError: where one of the two was made without ``enable_timing``.
        """
        if not (self._timing and end_event._timing):
            raise RuntimeError("elapsed_time: both events must be made with enable_timing=True")
        return float(self._event.elapsed_time(end_event._event))


class Stream:
    """A queue of work of its own, which does not wait for the default stream nor holds it up.

    Kernels run on the default stream whatever streams there are.
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        _number("Stream", device)
        self._stream = _device.cuda_memory().layer.stream()

    def record_event(self, event: Event | None = None) -> Event:
        """Put a mark (a new one, or ``event``) behind all work so far; returns it."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let all later work wait for a mark."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Let all later work wait for what ``stream`` has to do now."""
        self.wait_event(stream.record_event())

    def query(self) -> bool:
        """Whether all work is done."""
        return self.record_event().query()

    def synchronize(self) -> None:
        """Wait until all work is done."""
        self.record_event().synchronize()


class _DefaultStream(Stream):
    def __init__(self) -> None:
        _device.require_cuda("default_stream")
        self._stream = DEFAULT_STREAM


def default_stream(device: Any = None) -> Stream:
    """The stream on which all kernels run."""
    return _DefaultStream()


current_stream = default_stream


def _handle(stream: Stream | None) -> Any:
    return DEFAULT_STREAM if stream is None else stream._stream
