"""Memory for CUDA arrays: a caching pool that knows streams, and the few calls of a driver that it stands on.

Asking the driver for memory waits for the GPU and takes as long as many kernels do. So memory that an array no longer
needs stays here and is handed out again, by size class; a steady training step asks the driver for nothing.

A GPU works later than Python says. Memory that is handed out again is safe where its next use stands in the same stream
as its last one: a stream keeps its order. Each piece therefore belongs to the stream that it was first asked for on. Use
on another stream is told to the pool (``used_on``), which then lets that stream finish before the piece is used again.

A *layer* is what this file needs of a driver: ``NumbaLayer`` for a GPU, ``SimulatorLayer`` for Numba's simulator, and
what tests put in their place. No import of ``numba.cuda`` stands here; a layer is given the module.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

DEFAULT_STREAM = 0  # where all kernels run
ALIGNMENT = 64  # bytes: a cache line, and the widest vector register (memory from a CUDA driver has 256)


class OutOfMemoryError(RuntimeError):
    """The device has no room for an array, not even after all cached memory was given back."""


def size_class(nbytes: int, smallest: int = 4096) -> int:
    """``nbytes`` rounded up to one of eight steps per power of two, so that at most an eighth is wasted.

    ``smallest`` is the least step, a power of two.
    """
    step = max(1 << max(nbytes.bit_length() - 4, 0), smallest)
    return max(1, -(-nbytes // step)) * step


def in_words(nbytes: float) -> str:
    """A number of bytes for people: "1.50 GiB"."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if nbytes >= size:
            return f"{nbytes / size:.2f} {unit}"
    return f"{nbytes:.0f} bytes"


# --------------------------------------------------------------------------------------------------- blocks and pool


class Memory:
    """A piece of memory that the pool got of its layer; it outlives the arrays over it."""

    __slots__ = ("address", "buffer", "events", "size", "stream", "streams")

    def __init__(self, buffer: Any, address: int, size: int, stream: Any) -> None:
        self.buffer, self.address, self.size, self.stream = buffer, address, size, stream
        self.streams: list[Any] = []  # others that use it
        self.events: list[Any] = []  # that must have happened before it is used again


class Block:
    """Owns a piece of memory for as long as any array over it lives, then gives it back to its pool."""

    __slots__ = ("__array_interface__", "__weakref__", "_returned", "memory", "pool")

    def __init__(self, memory: Memory, pool: CachingPool) -> None:
        self.memory, self.pool, self._returned = memory, pool, pool.returned
        if pool.layer.HOST_READS or pool.host:
            place = {"shape": (memory.size,), "typestr": "|u1", "data": (memory.address, False), "version": 3}
            self.__array_interface__ = place

    def __del__(self) -> None:
        # Garbage collection may run this anywhere, in any thread: no locks and no driver in here.
        self._returned.append(self.memory)


class CachingPool:
    """Hands out memory by size class and stream, and keeps what comes back.

    Args:
        layer: the driver.
        allocate: the layer's function for a fresh piece: nbytes -> buffer; raises MemoryError where there is none.
        host: for memory of the host, which the processor itself writes: a piece that a stream may still read is not handed
            out at all, where a piece on the device would be handed out with the stream told to wait.
        smallest: the least size class.

    Attributes:
        allocated: bytes of all living blocks.
        cached: bytes kept for reuse.
        peak_allocated, peak_reserved: the largest ``allocated``, and sum of both, since the last ``reset_peak``.
        allocations: how often the layer was asked for memory.
        retries: how often the layer had none until cached memory was given back.
    """

    def __init__(self, layer: Any, allocate: Callable[[int], Any], *, host: bool = False, smallest: int = 512) -> None:
        self.layer, self.host = layer, host
        self.returned: deque[Memory] = deque()
        self.allocated = self.cached = self.peak_allocated = self.peak_reserved = 0
        self.allocations = self.retries = 0
        self._allocate, self._smallest = allocate, smallest
        self._free: dict[tuple[Any, int], deque[Memory]] = {}
        self._waiting: dict[tuple[Any, int], deque[Memory]] = {}
        self._lock = threading.RLock()

    def take(self, nbytes: int, stream: Any = DEFAULT_STREAM) -> Block:
        """A block of at least ``nbytes``, to be used first on ``stream``.

        Raises:
            OutOfMemoryError: where there is no memory, with the figures; nothing else has changed then.
        """
        with self._lock:
            self._collect()
            size = size_class(nbytes, self._smallest)
            memory = self._again(size, stream)
            if memory is None:
                buffer = self._fresh(size, nbytes)
                memory = Memory(buffer, self.layer.address(buffer), size, stream)
            else:
                self.cached -= size
            self.allocated += size
            self.peak_allocated = max(self.peak_allocated, self.allocated)
            self.peak_reserved = max(self.peak_reserved, self.allocated + self.cached)
            return Block(memory, self)

    def used_on(self, block: Block, stream: Any) -> None:
        """Note that work on ``stream`` uses the block, up to the moment when its last array dies."""
        memory = block.memory
        if stream is not memory.stream and stream not in memory.streams:
            memory.streams.append(stream)

    def busy_until(self, block: Block, event: Any) -> None:
        """Note that the block must not be used again before ``event`` has happened."""
        block.memory.events.append(event)

    def _collect(self) -> None:
        """Put what died since the last call among the free, or among those that wait for other streams."""
        while self.returned:
            memory = self.returned.popleft()
            self.allocated -= memory.size
            self.cached += memory.size
            for stream in memory.streams:
                event = self.layer.event()
                self.layer.record(event, stream)
                memory.events.append(event)
            memory.streams = []
            shelf = self._waiting if memory.events else self._free
            shelf.setdefault((memory.stream, memory.size), deque()).append(memory)

    def _again(self, size: int, stream: Any) -> Memory | None:
        key = stream, size
        if free := self._free.get(key):
            return free.pop()
        waiting = self._waiting.get(key)
        if not waiting:
            return None
        for memory in waiting:
            if all(self.layer.query(event) for event in memory.events):
                break
        else:
            if self.host:
                return None
            memory = waiting[0]  # the one whose other streams are done first
            for event in memory.events:
                self.layer.wait(event, stream)
        waiting.remove(memory)
        memory.events = []
        return memory

    def _fresh(self, size: int, nbytes: int) -> Any:
        self.allocations += 1
        try:
            return self._allocate(size)
        except MemoryError:
            self.retries += 1
        for collect in (False, True):  # the second time with what hangs in cycles of references
            if collect:
                gc.collect()
            self.empty_cache()
            try:
                return self._allocate(size)
            except MemoryError:
                pass
        raise OutOfMemoryError(self._no_room(nbytes))

    def _no_room(self, nbytes: int) -> str:
        free, total = self.layer.memory_info()
        what = "page-locked memory of the host" if self.host else "CUDA"
        return (
            f"{what}: out of memory. {in_words(nbytes)} were asked for; tensors use {in_words(self.allocated)}, "
            f"{in_words(self.cached)} are cached, {in_words(free)} of the device's {in_words(total)} are free. Smaller "
            "batches, no_grad() where no gradients are wanted, or utils.checkpoint need less"
        )

    def empty_cache(self) -> None:
        """Give all memory that no array uses back to the layer."""
        with self._lock:
            self._collect()
            for waiting in self._waiting.values():
                for memory in waiting:
                    for event in memory.events:
                        self.layer.finish(event)
            self._free.clear()
            self._waiting.clear()
            self.cached = 0
            self.layer.flush()

    def counts(self) -> dict[str, int]:
        """The attributes' values, with what died in the meantime taken into account."""
        with self._lock:
            self._collect()
            names = ("allocated", "cached", "peak_allocated", "peak_reserved", "allocations", "retries")
            return {name: getattr(self, name) for name in names}

    def reset_peak(self) -> None:
        """Let the peaks start again from what is in use now."""
        with self._lock:
            self._collect()
            self.peak_allocated, self.peak_reserved = self.allocated, self.allocated + self.cached


# ------------------------------------------------------------------------------------------------------------ layers


class SimulatorLayer:
    """Host memory in the place of a GPU's. Streams and events do nothing: the simulator does everything at once."""

    HOST_READS = True  # the memory's addresses are the host's

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._wrap = type(cuda.device_array(1, np.uint8))

    def allocate(self, nbytes: int) -> Any:
        return np.empty(nbytes + ALIGNMENT, np.uint8)

    allocate_pinned = allocate

    def address(self, buffer: Any) -> int:
        return -(-buffer.ctypes.data // ALIGNMENT) * ALIGNMENT

    def array(self, block: Block, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        return self._wrap(host_view(block, shape, dtype))

    def block_of(self, array: Any) -> Block | None:
        return block_of_host(array._ary)

    def memory_info(self) -> tuple[int, int]:
        try:
            page = os.sysconf("SC_PAGE_SIZE")
            return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
        except (AttributeError, ValueError, OSError):  # not on this system
            return sys.maxsize, sys.maxsize

    def flush(self) -> None:
        pass

    def stream(self) -> Any:
        return self._cuda.stream()

    def event(self) -> Any:
        return self._cuda.event()

    def record(self, event: Any, stream: Any) -> None:
        pass

    def wait(self, event: Any, stream: Any) -> None:
        pass

    def query(self, event: Any) -> bool:
        return True

    def finish(self, event: Any) -> None:
        pass

    def copy_in(self, target: Any, host: np.ndarray, stream: Any) -> None:
        target.copy_to_device(host)


class NumbaLayer:
    """The CUDA driver by way of numba-cuda.

    Only what numba-cuda documents is used: ``Context.memalloc`` and ``memhostalloc``, ``MemoryPointer`` with an owner (as
    for memory from other libraries), events, external streams.
    """

    HOST_READS = False

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._driver = cuda.cudadrv.driver
        self._wrap = cuda.cudadrv.devicearray.DeviceNDArray

    def _asked(self, ask: Callable[[int], Any], nbytes: int) -> Any:
        try:
            return ask(nbytes)
        except self._driver.CudaAPIError as error:
            if int(error.code) == int(self._driver.binding.CUresult.CUDA_ERROR_OUT_OF_MEMORY):
                raise MemoryError(str(error)) from None
            raise

    def allocate(self, nbytes: int) -> Any:
        return self._asked(self._cuda.current_context().memalloc, nbytes)

    def allocate_pinned(self, nbytes: int) -> Any:
        return np.frombuffer(self._asked(self._cuda.current_context().memhostalloc, nbytes), np.uint8, nbytes)

    def address(self, buffer: Any) -> int:
        return buffer.ctypes.data if isinstance(buffer, np.ndarray) else buffer.device_ctypes_pointer.value

    def array(self, block: Block, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        strides, step = [], dtype.itemsize
        for size in reversed(shape):
            strides.append(step)
            step *= size
        memory = block.memory
        # The pointer and all views of it hold their owner, the block.
        pointer = self._cuda.MemoryPointer(None, ctypes.c_void_p(memory.address), memory.size, owner=block)
        return self._wrap(shape, tuple(reversed(strides)), dtype, gpu_data=pointer)

    def block_of(self, array: Any) -> Block | None:
        owner = getattr(array.gpu_data, "owner", None)
        return owner if isinstance(owner, Block) else None

    def memory_info(self) -> tuple[int, int]:
        free, total = self._cuda.current_context().get_memory_info()
        return int(free), int(total)

    def flush(self) -> None:
        # numba-cuda frees in bunches; what is dropped now should be gone now.
        context = self._cuda.current_context()
        for holder in (getattr(context, "memory_manager", None), context):
            if (pending := getattr(holder, "deallocations", None)) is not None:
                pending.clear()

    def stream(self) -> Any:
        # cuda.stream() makes one that waits for the default stream and holds it up: nothing would overlap.
        flag = self._driver.binding.CUstream_flags.CU_STREAM_NON_BLOCKING.value
        self._cuda.current_context()
        return self._cuda.external_stream(int(self._driver.driver.cuStreamCreate(flag)))

    def event(self) -> Any:
        return self._cuda.event(timing=False)

    def record(self, event: Any, stream: Any) -> None:
        event.record(stream)

    def wait(self, event: Any, stream: Any) -> None:
        event.wait(stream)

    def query(self, event: Any) -> bool:
        self._cuda.current_context()  # a data loader's thread may ask
        return event.query()

    def finish(self, event: Any) -> None:
        event.synchronize()

    def copy_in(self, target: Any, host: np.ndarray, stream: Any) -> None:
        target.copy_to_device(host, stream=stream)


def host_view(block: Block, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A NumPy array over the beginning of a block that the host can read."""
    nbytes = dtype.itemsize
    for size in shape:
        nbytes *= size
    return np.asarray(block)[:nbytes].view(dtype).reshape(shape)


def block_of_host(array: Any) -> Block | None:
    """The block under a NumPy array, however many views of views lie between; None where there is none."""
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, Block) else None


# ------------------------------------------------------------------------------------- the memory of one process


class _Arrival:
    """A copy to the device that kernels have not yet been told to wait for."""

    __slots__ = ("block", "event")

    def __init__(self, event: Any, block: Block) -> None:
        self.event, self.block = event, weakref.ref(block)


arriving: list[
    _Arrival
] = []  # empty, but for the moments between a copy in the background and the first use of its array


class CudaMemory:
    """The pools of the device and of page-locked memory of the host, and copies in the background between the two.

    Args:
        layer: the driver.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.device = CachingPool(layer, layer.allocate)
        self.pinned = CachingPool(layer, layer.allocate_pinned, host=True, smallest=4096)
        self._side: Any = None

    @property
    def side(self) -> Any:
        """The stream for copies in the background, made at the first of them."""
        if self._side is None:
            self._side = self.layer.stream()
        return self._side

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, nbytes: int) -> Any:
        """A device array with undefined contents (``nbytes`` of at least 1), for use on the default stream."""
        return self.layer.array(self.device.take(nbytes), shape, dtype)

    def pin(self, array: np.ndarray) -> np.ndarray:
        """A copy of a NumPy array in page-locked memory, C-contiguous."""
        made = host_view(self.pinned.take(max(array.nbytes, 1)), array.shape, array.dtype)
        np.copyto(made, array)
        return made

    def is_pinned(self, array: np.ndarray) -> bool:
        block = block_of_host(array)
        return block is not None and block.pool.host

    def copy_in_background(self, array: np.ndarray) -> Any:
        """Start to copy a page-locked, C-contiguous array of at least one element to the device; returns the device array.

        The copy runs on a stream of its own. ``settle`` stands before each use of a device array and lets the default stream
        wait for it. The host's memory is used for nothing else until the copy is done, even where its array dies before.
        """
        block = self.device.take(array.nbytes, self.side)
        made = self.layer.array(block, array.shape, array.dtype)
        self.layer.copy_in(made, array, self.side)
        event = self.layer.event()
        self.layer.record(event, self.side)
        source = block_of_host(array)
        if source is not None:
            source.pool.busy_until(source, event)
        arriving.append(_Arrival(event, block))
        return made

    def settle(self, arrays: Any) -> None:
        """Let the default stream wait for the copies that fill any of ``arrays``; what is no device array is passed over."""
        wanted = {id(block) for a in arrays if hasattr(a, "copy_to_host") and (block := self.layer.block_of(a))}
        for arrival in list(arriving):
            block = arrival.block()
            if block is None or id(block) in wanted:
                arriving.remove(arrival)
                if block is not None:
                    self.layer.wait(arrival.event, DEFAULT_STREAM)
                    self.device.used_on(block, DEFAULT_STREAM)

    def empty_cache(self) -> None:
        """Give all cached memory back to the system."""
        self.device.empty_cache()
        self.pinned.empty_cache()
