"""The pool of CUDA memory: reuse, streams, running out; and copies between arrays on the device.

Most of this drives the real pool over a fake driver, so that it runs on any machine.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import numbanet
from numbanet import data, devices, nn, optim
from numbanet.cuda_memory import CachingPool, CudaMemory, OutOfMemoryError, SimulatorLayer, arriving, size_class
from numbanet.devices import CUDA, SIMULATOR, cuda_is_available
from numbanet.kernels import launch
from numbanet.kernels.kernel import Kernel
from numbanet.nn import functional as F

cuda_test = pytest.mark.cuda
needs_cuda = pytest.mark.skipif(not cuda_is_available(), reason="no GPU and no simulator (NUMBA_ENABLE_CUDASIM=1)")
simulator = pytest.mark.skipif(not SIMULATOR, reason="puts a fake driver under the simulator (NUMBA_ENABLE_CUDASIM=1)")


class FakeArray:
    """What the pool's users see of a device array."""

    def __init__(self, block, values):
        self.block, self.values = block, values
        self.shape, self.dtype, self.size, self.nbytes = values.shape, values.dtype, values.size, values.nbytes

    def copy_to_host(self):
        return self.values.copy()


class FakeEvent:
    def __init__(self):
        self.happened = False


class FakeLayer:
    """A driver with so many bytes of memory, which writes down what it is told. Events happen when a test says so."""

    HOST_READS = True

    def __init__(self, total=1 << 40):
        self.total, self.used, self.log = total, 0, []
        self.events = []

    def allocate(self, nbytes):
        if self.used + nbytes > self.total:
            raise MemoryError
        self.used += nbytes
        return _Piece(self, nbytes)

    allocate_pinned = allocate

    def address(self, buffer):
        return buffer.bytes.ctypes.data

    def array(self, block, shape, dtype):
        n = int(np.prod(shape)) * dtype.itemsize
        return FakeArray(block, np.asarray(block)[:n].view(dtype).reshape(shape))

    def block_of(self, array):
        return array.block

    def memory_info(self):
        return self.total - self.used, self.total

    def flush(self):
        self.log.append("flush")

    def stream(self):
        return "side"

    def event(self):
        self.events.append(FakeEvent())
        return self.events[-1]

    def record(self, event, stream):
        self.log.append(("record", self.events.index(event), stream))

    def wait(self, event, stream):
        self.log.append(("wait", self.events.index(event), stream))

    def query(self, event):
        return event.happened

    def finish(self, event):
        self.log.append(("finish", self.events.index(event)))
        event.happened = True

    def copy_in(self, target, host, stream):
        self.log.append(("copy", stream))
        target.values[...] = host


class _Piece:
    def __init__(self, layer, nbytes):
        self.layer, self.bytes = layer, np.empty(nbytes, np.uint8)

    def __del__(self):
        self.layer.used -= self.bytes.size


def pool_of(total=1 << 40, **options):
    layer = FakeLayer(total)
    return layer, CachingPool(layer, layer.allocate, **options)


# --------------------------------------------------------------------------------------------------------- the pool


def test_size_classes_waste_at_most_an_eighth():
    for smallest in (512, 4096):
        for n in [*range(1, 5000, 7), *(2**k + d for k in range(13, 33) for d in (-1, 0, 1))]:
            size = size_class(n, smallest)
            assert n <= size
            assert size % smallest == 0
            assert size - n < max(smallest, n / 8)
            assert size_class(size, smallest) == size


def test_memory_comes_back_when_the_last_array_dies():
    layer, pool = pool_of()
    memory = CudaMemory(layer)
    array = memory.empty((10, 10), np.dtype(np.float32), 400)
    address, other = array.block.memory.address, array.block
    view = FakeArray(other, array.values[2:])
    del array, other
    again = memory.empty((100,), np.dtype(np.float32), 400)
    assert again.block.memory.address != address, "a view still uses it"
    del view
    assert memory.empty((101,), np.dtype(np.float32), 404).block.memory.address == address
    assert memory.device.counts()["allocations"] == 2
    assert pool.counts()["allocations"] == 0


def test_counts_and_peaks():
    layer, pool = pool_of()
    a, b = pool.take(512), pool.take(1000)
    assert pool.counts() == {
        "allocated": 1536, "cached": 0, "peak_allocated": 1536, "peak_reserved": 1536, "allocations": 2, "retries": 0,
    }  # fmt: skip
    del b
    assert (pool.counts()["allocated"], pool.counts()["cached"]) == (512, 1024)
    c = pool.take(2000)
    assert (pool.counts()["peak_allocated"], pool.counts()["peak_reserved"]) == (512 + 2048, 512 + 1024 + 2048)
    del c
    pool.reset_peak()
    assert pool.counts()["peak_allocated"] == 512
    pool.empty_cache()
    assert (pool.counts()["cached"], layer.used) == (0, 512)
    assert pool.counts()["peak_reserved"] == 512 + 1024 + 2048
    del a
    pool.empty_cache()
    assert layer.used == 0


def test_a_stream_gets_no_memory_of_another():
    _, pool = pool_of()
    first = pool.take(512, "one")
    address = first.memory.address
    del first
    assert pool.take(512, "two").memory.address != address
    assert pool.take(512, "one").memory.address == address


def test_use_on_another_stream_is_waited_for():
    layer, pool = pool_of()
    block = pool.take(512, "one")
    pool.used_on(block, "one")  # nothing new
    pool.used_on(block, "two")
    pool.used_on(block, "two")
    address = block.memory.address
    del block
    again = pool.take(512, "one")  # stream two has not said that it is done
    assert again.memory.address == address
    assert layer.log == [("record", 0, "two"), ("wait", 0, "one")]
    pool.used_on(again, "two")
    del again
    pool.counts()
    layer.events[1].happened = True
    assert pool.take(512, "one").memory.address == address
    assert layer.log[2:] == [("record", 1, "two")], "nobody need wait for what has happened"


def test_memory_of_the_host_is_kept_until_streams_are_done():
    layer, pool = pool_of(host=True)
    block, event = pool.take(512), layer.event()
    pool.busy_until(block, event)
    address = block.memory.address
    del block
    other = pool.take(512)
    assert other.memory.address != address
    event.happened = True
    assert pool.take(512).memory.address == address
    assert ("wait", 0, 0) not in layer.log


def test_emptying_waits_for_streams():
    layer, pool = pool_of(host=True)
    block = pool.take(512)
    pool.busy_until(block, layer.event())
    del block
    pool.empty_cache()
    assert layer.log == [("finish", 0), "flush"]
    assert layer.used == 0


def test_running_out_gives_the_cache_back_first():
    layer, pool = pool_of(total=4096)
    kept, cached = pool.take(1024), pool.take(2048)
    del cached
    big = pool.take(2560)
    assert pool.counts()["retries"] == 1
    assert layer.used == 1024 + 2560
    del kept, big


def test_running_out_collects_cycles():
    layer, pool = pool_of(total=4096)
    holder = [pool.take(4096)]
    holder.append(holder)
    del holder
    gc.disable()
    try:
        assert pool.take(4096).memory.size == 4096
    finally:
        gc.enable()
    assert layer.used == 4096


def test_running_out_says_what_there_is_and_changes_nothing():
    layer, pool = pool_of(total=1 << 20)
    kept, cached = pool.take(1 << 19), pool.take(1 << 18)
    del cached
    with pytest.raises(OutOfMemoryError, match=r"1\.00 MiB were asked for; tensors use 512\.00 KiB, 0 bytes are cached, "
                       r"512\.00 KiB of the device's 1\.00 MiB are free") as caught:  # fmt: skip
        pool.take(1 << 20)
    assert isinstance(caught.value, RuntimeError)
    assert numbanet.cuda.OutOfMemoryError is OutOfMemoryError
    assert pool.counts()["allocated"] == layer.used == 1 << 19
    assert pool.take(1 << 19).memory.size == 1 << 19
    assert kept.memory.size == 1 << 19


# ---------------------------------------------------------------------------------------- copies in the background


def test_a_copy_in_the_background_is_waited_for_once_before_its_first_use():
    layer = FakeLayer()
    memory = CudaMemory(layer)
    host = memory.pin(np.arange(6, dtype=np.float32))
    assert memory.is_pinned(host)
    assert memory.is_pinned(host[2:].reshape(2, 2)[::-1])
    assert not memory.is_pinned(np.zeros(3))
    here = memory.empty((3,), np.dtype(np.float32), 12)
    there = memory.copy_in_background(host)
    assert layer.log == [("copy", "side"), ("record", 0, "side")]
    try:
        memory.settle([here, 3, None])
        assert layer.log[2:] == [], "another array need not wait"
        memory.settle([here, there])
        memory.settle([there])
        assert layer.log[2:] == [("wait", 0, 0)]
    finally:
        arriving.clear()
    np.testing.assert_array_equal(there.copy_to_host(), np.arange(6))
    # The kernels' use of it ends after the array's: the next copy into this memory waits for them.
    address = there.block.memory.address
    del there
    again = memory.copy_in_background(host)
    arriving.clear()
    assert again.block.memory.address == address
    assert layer.log[3:] == [("record", 1, 0), ("wait", 1, "side"), ("copy", "side"), ("record", 2, "side")]


def test_the_hosts_memory_outlives_its_array_until_the_copy_is_done():
    layer = FakeLayer()
    memory = CudaMemory(layer)
    host = memory.pin(np.ones(4))
    address = host.ctypes.data
    there = memory.copy_in_background(host)
    arriving.clear()
    del host
    other = memory.pin(np.zeros(4))
    assert other.ctypes.data != address
    layer.events[0].happened = True
    assert memory.pin(np.zeros(4)).ctypes.data == address
    assert there.copy_to_host().all()


def test_an_array_that_dies_unused_is_forgotten():
    memory = CudaMemory(FakeLayer())
    there = memory.copy_in_background(memory.pin(np.ones(4)))
    del there
    memory.settle([])
    assert not arriving


class LimitedSimulator(SimulatorLayer):
    """The simulator with so many bytes of memory, and events that write down their order."""

    def __init__(self, total):
        super().__init__(devices.cuda)
        self.total, self.used, self.log = total, 0, []

    def allocate(self, nbytes):
        if self.used + nbytes > self.total:
            raise MemoryError
        self.used += nbytes
        return _Room(self, nbytes)

    allocate_pinned = allocate

    def address(self, buffer):
        return buffer.bytes.ctypes.data

    def memory_info(self):
        return self.total - self.used, self.total

    def copy_in(self, target, host, stream):
        self.log.append("copy")
        super().copy_in(target, host, stream)

    def wait(self, event, stream):
        self.log.append(f"wait on {'default' if stream == 0 else 'side'}")


class _Room:
    def __init__(self, layer, nbytes):
        self.layer, self.bytes = layer, np.empty(nbytes, np.uint8)

    def __del__(self):
        self.layer.used -= self.bytes.size


@pytest.fixture
def limited(monkeypatch):
    def give(total=1 << 30):
        devices.empty_cache()  # constants lie in the memory that was there before
        memory = CudaMemory(LimitedSimulator(total))
        monkeypatch.setattr(devices, "_cuda_memory", memory)
        return memory

    yield give
    devices.empty_cache()
    arriving.clear()


@cuda_test
@needs_cuda
@simulator
def test_tensors_copied_in_the_background_are_waited_for(limited):
    memory = limited()
    x = numbanet.tensor([1.0, 2.0, 3.0]).pin_memory()
    assert x.is_pinned()
    there = x.to("cuda", non_blocking=True)
    assert memory.layer.log == ["copy"]
    other = numbanet.ones(3, device="cuda") + 1
    assert memory.layer.log == ["copy"], "what has to do with other tensors need not wait"
    np.testing.assert_array_equal((there[1:] * 2).cpu().numpy(), [4, 6])
    assert memory.layer.log == ["copy", "wait on default"]
    assert other.sum().item() == 6
    for use in (lambda t: t.cpu(), lambda t: t.clone(), lambda t: t.to(numbanet.float64), lambda t: t[::2].contiguous(),
                lambda t: numbanet.zeros(3, device="cuda").copy_(t)):  # fmt: skip
        memory.layer.log.clear()
        use(x.to("cuda", non_blocking=True))
        assert memory.layer.log == ["copy", "wait on default"]
    assert not numbanet.tensor([1.0]).is_pinned()
    memory.layer.log.clear()
    numbanet.tensor([1.0]).to("cuda", non_blocking=True)
    assert memory.layer.log == [], "pageable memory is copied at once"
    with pytest.raises(RuntimeError, match="cpu"):
        there.pin_memory()


@cuda_test
@needs_cuda
@simulator
def test_the_next_batch_is_on_its_way_while_one_is_computed_with(limited):
    from numbanet.train.trainer import _ahead

    memory = limited()
    batches = [[numbanet.tensor([float(i)] * 3), numbanet.tensor([i])] for i in range(4)]
    log = memory.layer.log
    for i, (x, y) in enumerate(_ahead(batches, CUDA)):
        assert log.count("copy") == min(2 * (i + 2), 8)
        assert log.count("wait on default") == 2 * i
        np.testing.assert_array_equal(x.cpu().numpy(), [i] * 3)
        assert y.item() == i
        del x, y
    # Two batches are on the device at a time, and their memory goes round.
    assert memory.device.counts()["allocations"] <= 6

    def breaks():
        yield batches[0]
        raise ValueError("lost")

    seen = []
    with pytest.raises(ValueError, match="lost"):
        for x, _ in _ahead(breaks(), CUDA):
            seen.append(x.sum().item())
    assert seen == [0.0]
    assert list(_ahead([], CUDA)) == []


@cuda_test
@needs_cuda
@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_pin(workers):
    class Pair(dict):
        pass

    class Own:
        def pin_memory(self):
            return "pinned"

    def collate(samples):
        x = numbanet.tensor(samples)
        return Pair(x=x, more=(x + 0, ["a", 3]), own=Own(), there=x.to("cuda"))

    loader = data.DataLoader([1.0, 2.0, 3.0], 2, pin_memory=True, num_workers=workers, collate_fn=collate)
    for batch, expected in zip(loader, ([1, 2], [3]), strict=True):
        assert isinstance(batch, Pair) and batch["x"].is_pinned()
        assert isinstance(batch["more"], tuple) and batch["more"][0].is_pinned() and batch["more"][1] == ["a", 3]
        assert batch["own"] == "pinned" and batch["there"].is_cuda
        np.testing.assert_array_equal(batch["x"].to("cuda", non_blocking=True).cpu().numpy(), expected)


@pytest.mark.skipif(cuda_is_available(), reason="CUDA is here")
def test_without_cuda_loaders_warn_and_do_not_pin():
    loader = data.DataLoader([1.0, 2.0], 2, pin_memory=True)
    with pytest.warns(UserWarning, match="pin_memory=True has no effect"):
        (batch,) = loader
    assert not batch.is_pinned()


@cuda_test
@needs_cuda
@simulator
def test_running_out_leaves_the_process_usable(limited):
    limited(1 << 12)
    kept = numbanet.ones(1 << 8, device="cuda")
    with pytest.raises(numbanet.cuda.OutOfMemoryError, match=r"CUDA: out of memory\. 4\.00 KiB were asked for"):
        numbanet.zeros(1 << 10, device="cuda")
    with pytest.raises(numbanet.cuda.OutOfMemoryError):
        numbanet.cat([kept] * 4)
    assert (kept + kept).sum().item() == 1 << 9
    del kept
    assert numbanet.zeros(3 << 8, device="cuda").shape == (3 << 8,)


# ------------------------------------------------------------------------------------------------ in a training step


def small_lenet():
    """LeNet's layers for images of 6 x 6."""
    return nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(1, 2, 2), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 3),
    )  # fmt: skip


@cuda_test
@needs_cuda
def test_a_steady_training_step_asks_for_no_memory(monkeypatch):
    if SIMULATOR:
        monkeypatch.setattr(launch, "THREADS", 8)
        monkeypatch.setattr(launch, "TILE", 2)
    net = small_lenet().to("cuda")
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    images = np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32)
    labels = np.array([1, 2])
    asked = []
    for _ in range(4):
        x, y = (numbanet.tensor(a).pin_memory().to("cuda", non_blocking=True) for a in (images, labels))
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        assert np.isfinite(loss.item())
        memory = devices.cuda_memory()
        asked.append((memory.device.counts()["allocations"], memory.pinned.counts()["allocations"]))
    assert asked[1] == asked[2] == asked[3]
    assert asked[0][0] > 0


@cuda_test
@needs_cuda
def test_memory_by_pytorchs_names():
    numbanet.cuda.empty_cache()  # constants are kept
    before = numbanet.cuda.memory_allocated()
    x = numbanet.zeros(100, device="cuda")
    assert numbanet.cuda.memory_allocated() == before + 512
    numbanet.cuda.reset_peak_memory_stats()
    y = x + x
    del y
    assert numbanet.cuda.max_memory_allocated() == before + 2 * 512
    assert numbanet.cuda.memory_allocated() == before + 512
    assert numbanet.cuda.memory_reserved() >= before + 2 * 512
    numbanet.cuda.empty_cache()
    assert numbanet.cuda.memory_reserved() == numbanet.cuda.memory_allocated()
    free, total = numbanet.cuda.mem_get_info()
    assert 0 < free <= total
    assert "under tensors" in numbanet.cuda.memory_summary()
    assert numbanet.cuda.memory_stats()["allocated"] == before + 512
    assert x.sum().item() == 0


@cuda_test
@needs_cuda
def test_devices_by_pytorchs_names():
    assert numbanet.cuda.device_count() >= 1
    assert numbanet.cuda.current_device() == 0
    found = numbanet.cuda.get_device_properties("cuda")
    assert found.name == numbanet.cuda.get_device_name()
    assert (found.major, found.minor) == numbanet.cuda.get_device_capability(0)
    assert found.total_memory > 0
    with pytest.raises(ValueError, match="CUDA device"):
        numbanet.cuda.get_device_name("cpu")
    with pytest.raises(RuntimeError, match="cuda:99"):
        numbanet.cuda.get_device_name(99)


@cuda_test
@needs_cuda
def test_streams_and_events():
    side, start, end = numbanet.cuda.Stream(), numbanet.cuda.Event(True), numbanet.cuda.Event(enable_timing=True)
    start.record()
    side.wait_stream(numbanet.cuda.current_stream())
    side.wait_event(start)
    end = side.record_event(end)
    end.wait()
    end.synchronize()
    side.synchronize()
    assert end.query() and side.query()
    if not SIMULATOR:
        assert 0 <= start.elapsed_time(end) < 1000
    with pytest.raises(RuntimeError, match="enable_timing"):
        start.elapsed_time(numbanet.cuda.Event())


@pytest.mark.skipif(cuda_is_available(), reason="CUDA is here")
def test_without_cuda_there_is_nothing_to_count():
    assert numbanet.cuda.memory_allocated() == numbanet.cuda.max_memory_reserved() == 0
    assert numbanet.cuda.memory_stats() == {}
    numbanet.cuda.reset_peak_memory_stats()
    numbanet.cuda.empty_cache()
    numbanet.cuda.synchronize()
    assert not numbanet.cuda.is_bf16_supported()
    assert not numbanet.tensor([1.0]).is_pinned()
    for call in (numbanet.cuda.mem_get_info, numbanet.cuda.get_device_name, numbanet.cuda.Event, numbanet.cuda.Stream,
                 numbanet.cuda.current_device, numbanet.tensor([1.0]).pin_memory):  # fmt: skip
        with pytest.raises(RuntimeError, match="CUDA is not available"):
            call()


# -------------------------------------------------------------------------------- copies between arrays on the device


LOOKS = [
    lambda a: a,
    lambda a: a.T,
    lambda a: a[::-1],
    lambda a: a[:, ::-2],
    lambda a: a[1:3, 1:4],
    lambda a: a.transpose(2, 0, 1),
    lambda a: a[::2, ::-1, 1:],
    lambda a: np.broadcast_to(a[:, :1], a.shape),
    lambda a: a[2, 3, 1:2].reshape(()),
    lambda a: a[:0],
    lambda a: a.reshape(2, 2, 5, 1, 3)[..., None, ::-1].transpose(5, 1, 0, 3, 2, 4),
    lambda a: np.lib.stride_tricks.as_strided(a, (2,) * 7, (4 * 3, 4, 8, 16, 0, 20, 12)),  # more than five dimensions
]


@pytest.fixture
def small_blocks(monkeypatch):
    if SIMULATOR:
        monkeypatch.setattr(launch, "THREADS", 32)


@cuda_test
@needs_cuda
@pytest.mark.parametrize("look", LOOKS, ids=range(len(LOOKS)))
def test_copies_of_views(look, small_blocks):
    array = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    there = devices.to_device(array, CUDA)
    seen = devices.view(there, look)
    for copied in (devices.copy(seen), devices.contiguous(seen)):
        assert copied.is_c_contiguous()
        assert tuple(copied.shape) == look(array).shape
        np.testing.assert_array_equal(copied.copy_to_host(), look(array))
    np.testing.assert_array_equal(devices.to_host(seen), look(array))
    np.testing.assert_array_equal(there.copy_to_host(), array)


@cuda_test
@needs_cuda
@pytest.mark.parametrize("look", [*LOOKS[:7], *LOOKS[8:11]], ids=range(10))
def test_assigning_to_views(look, small_blocks):
    array = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    values = -np.arange(look(array).size, dtype=np.float32).reshape(look(array).shape)
    for given in (values, np.full((), 7, np.float32), np.asfortranarray(values), values.astype(np.int64)):
        expected = array.copy()
        look(expected)[...] = given
        there = devices.to_device(array, CUDA)
        devices.assign(devices.view(there, look), devices.to_device(given, CUDA))
        np.testing.assert_array_equal(there.copy_to_host(), expected)


@cuda_test
@needs_cuda
@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.float16, np.int32, np.float64])
def test_copies_of_all_sizes_of_elements(dtype, small_blocks):
    array = (np.arange(12).reshape(3, 4) % 5 % 2).astype(dtype)
    there = devices.to_device(array, CUDA)
    np.testing.assert_array_equal(devices.copy(devices.view(there, lambda a: a.T)).copy_to_host(), array.T)
    made = devices.full((2, 3), 1, np.dtype(dtype), CUDA)
    assert made.dtype == dtype
    np.testing.assert_array_equal(made.copy_to_host(), np.ones((2, 3), dtype))


@cuda_test
@needs_cuda
def test_assigning_to_what_one_reads(small_blocks):
    array = np.arange(10, dtype=np.float32)
    for to, of in ((slice(1, None), slice(None, -1)), (slice(None), slice(None, None, -1))):
        there = devices.to_device(array, CUDA)
        devices.assign(devices.view(there, lambda a, to=to: a[to]), devices.view(there, lambda a, of=of: a[of]))
        expected = array.copy()
        expected[to] = array[of]
        np.testing.assert_array_equal(there.copy_to_host(), expected)


@cuda_test
@needs_cuda
def test_nothing_of_this_goes_by_way_of_the_host(monkeypatch, small_blocks):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    there = devices.to_device(array, CUDA)
    kind = type(there)
    host = kind.copy_to_host

    def refuse(*args, **kwargs):
        raise AssertionError("a copy to the host")

    monkeypatch.setattr(kind, "copy_to_host", refuse)
    turned = devices.copy(devices.view(there, lambda a: a.T))
    devices.assign(devices.view(there, lambda a: a[:, ::2]), devices.full((3, 2), 5, np.dtype(np.float32), CUDA))
    monkeypatch.setattr(kind, "copy_to_host", host)
    np.testing.assert_array_equal(turned.copy_to_host(), array.T)
    array[:, ::2] = 5
    np.testing.assert_array_equal(there.copy_to_host(), array)


def test_kernels_know_the_strided_copy():
    from numbanet.kernels import copies

    assert Kernel.table["copy_strided"] is copies.copy_strided


# ------------------------------------------------------------------------------------ numba-cuda's arrays over blocks

REAL_ARRAYS = """
import gc
import numpy as np
from numbanet import devices
from numbanet.cuda_memory import CachingPool, NumbaLayer, size_class

class Layer(NumbaLayer):  # numba-cuda's arrays, over memory that nobody may touch
    made = 0
    def allocate(self, nbytes):
        Layer.made += 1
        return Layer.made << 20
    def address(self, buffer):
        return buffer

layer = Layer(devices.cuda)
pool = CachingPool(layer, layer.allocate)
block = pool.take(240)
array = layer.array(block, (4, 5, 3), np.dtype(np.float32))
assert devices.is_cuda_array(array) and array.is_c_contiguous() and array.gpu_data.size == 512
assert array.__cuda_array_interface__["data"][0] == 1 << 20 and array.strides == (60, 12, 4)
turned = devices.view(array, lambda a: a[::-1, 1:, ::-2].T)
assert turned.shape == (2, 4, 4) and turned.strides == (-8, 12, -60)
assert devices._extent(turned) == ((1 << 20) + 12, (1 << 20) + 240)
flat, start = devices._flat(turned)
assert (flat.device_ctypes_pointer.value, flat.shape, flat.dtype) == ((1 << 20) + 12, (57,), np.int32)
assert start == 45 + 2
assert devices._merged(turned.shape, turned.strides, (64, 16, 4), 4) == ([2, 4, 4], [-2, 3, -15], [16, 4, 1])
assert layer.block_of(turned) is layer.block_of(flat.reshape(3, 19)) is block
del block, array
gc.collect()
assert pool.counts()["allocated"] == 512, "views hold the memory"
del flat
assert pool.counts()["allocated"] == 512
del turned
gc.collect()
assert pool.counts() | {"retries": 0} == {
    "allocated": 0, "cached": 512, "peak_allocated": 512, "peak_reserved": 512, "allocations": 1, "retries": 0}
assert layer.address(pool.take(300).memory.buffer) == 1 << 20
try:
    layer._asked(lambda n: (_ for _ in ()).throw(layer._driver.CudaAPIError(
        layer._driver.binding.CUresult.CUDA_ERROR_OUT_OF_MEMORY, "no room")), 1)
except MemoryError as error:
    print("done", error)
"""


@pytest.mark.skipif(sys.platform != "linux" or importlib.util.find_spec("numba_cuda") is None, reason="no numba-cuda")
def test_arrays_of_numba_cuda_over_blocks():
    """Geometry and lifetimes of the arrays that a GPU would get, without a GPU: nothing reads the memory."""
    environment = {**os.environ, "NUMBANET_CUDA_ASSEMBLE": "1", "NUMBA_ENABLE_CUDASIM": "0"}
    done = subprocess.run([sys.executable, "-c", REAL_ARRAYS], env=environment, capture_output=True, text=True)
    if "No module named 'cuda" in done.stderr or "numba.cuda cannot be imported" in done.stderr:
        pytest.skip("the toolkit's wheels are not installed")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done") and "no room" in done.stdout
