"""DataLoader: batches of a dataset, loaded in the background if asked.

Workers are threads. OpenMP, which Numba's parallel kernels may run on, does not survive a fork, and threads share the
dataset instead of copying it. They spend their time in NumPy and Pillow, which release Python's lock for the heavy
part, and never enter numbanet's parallel kernels.

What is loaded depends on the generators alone: indices are drawn by the calling thread, each sample has its own key for
random transforms (see ``sample_random``), and batches are handed out in order. So any number of workers gives the same
batches.
"""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from numbanet.data.collate import default_collate, default_convert, pinned
from numbanet.data.dataset import fetch_one_by_one, fetch_samples
from numbanet.data.sample_random import LoadCancelled, numpy_generator, sample_keys, sample_scope
from numbanet.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from numbanet.devices import cuda_is_available

__all__ = ["DataLoader", "WorkerInfo", "get_worker_info"]

# Seconds that closing an iterator waits for a worker that is in the middle of a sample.
_JOIN_PATIENCE = 2.0
# Waits are cut into pieces of this many seconds: on Windows an endless wait on a lock does not see Ctrl-C.
_POLL = 0.5


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker thread is told about itself.

    Attributes:
        id: Number of the worker, from 0.
        num_workers: Number of workers.
        seed: A seed of its own. It must not decide what a sample looks like, for which worker loads which batch is
            chance; random transforms use :func:`numbanet.data.sample_generator`.
        dataset: The dataset, shared by all workers.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_this_thread = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """Return the calling worker thread's :class:`WorkerInfo`, or None in any other thread."""
    return getattr(_this_thread, "worker", None)


class DataLoader:
    """Iterates over a dataset in batches.

    Each ``iter(loader)`` is one epoch. With the default ``collate_fn`` a batch of samples ``(x, y)`` is the list
    ``[X, Y]`` of Tensors, samples along the first axis.

    Args:
        dataset: Anything with ``__len__`` and ``__getitem__`` (and perhaps ``__getitems__``, see :class:`Dataset`).
        batch_size: Samples per batch; None: no batching, ``dataset[i]`` is handed out as it is, arrays as Tensors.
        shuffle: A new random order each epoch.
        sampler: Iterable of indices, in place of ``shuffle``.
        batch_sampler: Iterable of lists of indices, in place of batch_size, shuffle, sampler and drop_last.
        num_workers: Threads that load ahead; 0: load when asked, in the calling thread. The batches are the same.
        collate_fn: Makes a batch of a list of samples.
        pin_memory: Put batches into page-locked memory, from which ``.to("cuda", non_blocking=True)`` copies in the background
            (tensors in lists, tuples and mappings, and what has a ``pin_memory`` method). Without CUDA: a warning, no effect.
        drop_last: Leave out a last batch that is not full.
        timeout: Seconds to wait for a batch from the workers; 0: for ever.
        worker_init_fn: Called with the worker's number in each worker thread before it starts.
        multiprocessing_context: Accepted for PyTorch's sake; without effect, as there are no processes.
        generator: Source of the order and of random transforms' seeds; None: numbanet's default generator.
        prefetch_factor: Batches each worker loads ahead (default 2).
        persistent_workers: Keep the threads from epoch to epoch.

    Raises:
        ValueError: arguments that exclude each other or are out of range.
        TypeError: a dataset without ``__getitem__``.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"num_workers option should be non-negative, got {num_workers}")
        if timeout < 0:
            raise ValueError(f"timeout option should be non-negative, got {timeout}")
        if num_workers == 0 and timeout > 0:
            raise ValueError(f"timeout option needs num_workers > 0, got timeout={timeout}")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError("prefetch_factor option needs num_workers > 0")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"prefetch_factor option should be positive, got {prefetch_factor}")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        if not hasattr(dataset, "__getitem__"):
            raise TypeError(f"DataLoader: the dataset must have __getitem__ and __len__, {type(dataset)} has not")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        if collate_fn is None:
            collate_fn = default_collate if batch_sampler is not None else default_convert

        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self._pool: _Pool | None = None
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        fixed = ("dataset", "batch_size", "sampler", "batch_sampler", "drop_last", "persistent_workers")
        if name in fixed and getattr(self, "_ready", False):
            raise ValueError(f"{name} attribute should not be set after DataLoader is initialized")
        super().__setattr__(name, value)

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        # One draw per epoch: the base of the epoch's sample keys.
        seed = int(numpy_generator(self.generator).integers(2**63))
        pin = self.pin_memory and cuda_is_available()
        if self.pin_memory and not pin:
            warnings.warn("DataLoader: pin_memory=True has no effect, for CUDA is not available", stacklevel=2)
        epoch = _Epoch(self.dataset, self.collate_fn, self.batch_sampler is not None, seed, pin)
        work = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
        if self.num_workers == 0:
            return _SerialIterator(epoch, work, self)
        return _ThreadedIterator(epoch, work, self)


@dataclass(frozen=True)
class _Epoch:
    """How to load one batch of one epoch."""

    dataset: Any
    collate: Callable[[Any], Any]
    batched: bool
    seed: int
    pin: bool = False

    def load(self, work: Any, first: int, cancelled: threading.Event | None = None) -> Any:
        """Load the samples at ``work`` (indices, or one index without batching), the epoch's ``first``-th and on."""
        try:
            with sample_scope(sample_keys(self.seed, first, self.count(work)), cancelled):
                samples = fetch_samples(self.dataset, work) if self.batched else fetch_one_by_one(self.dataset, [work])
                try:
                    batch = self.collate(samples if self.batched else samples[0])
                except Exception as error:
                    error.add_note(f"while collating the samples at {work!r}"[:500])
                    raise
                return pinned(batch) if self.pin else batch
        except StopIteration as error:
            # Out of __next__ it would end the epoch as if all were well.
            raise RuntimeError(f"DataLoader: loading the samples at {work!r} raised StopIteration") from error

    def count(self, work: Any) -> int:
        return len(work) if self.batched else 1


class _SerialIterator(Iterator[Any]):
    """Loads each batch when it is asked for."""

    def __init__(self, epoch: _Epoch, work: Iterator[Any], loader: DataLoader) -> None:
        self._epoch, self._work, self._loader, self._first = epoch, work, loader, 0

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        work = next(self._work)
        first, self._first = self._first, self._first + self._epoch.count(work)
        return self._epoch.load(work, first)


class _Task:
    """One batch on its way through a worker."""

    __slots__ = ("cancelled", "done", "epoch", "error", "first", "result", "work", "worker")

    def __init__(self, epoch: _Epoch, work: Any, first: int, cancelled: threading.Event) -> None:
        self.epoch, self.work, self.first, self.cancelled = epoch, work, first, cancelled
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.worker = -1

    def run(self) -> None:
        try:
            if not self.cancelled.is_set():
                self.result = self.epoch.load(self.work, self.first, self.cancelled)
        except LoadCancelled:
            pass
        except BaseException as error:  # whatever it is, it belongs to the thread that waits for the batch
            error.add_note(f"in DataLoader worker thread {self.worker}")
            self.error = error
        self.done.set()


class _Pool:
    """Worker threads with one queue of tasks. ``close`` ends them; dropping the last reference does too."""

    def __init__(self, loader: DataLoader, seed: int) -> None:
        self.tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []
        started: SimpleQueue[BaseException | None] = SimpleQueue()
        for number in range(loader.num_workers):
            info = WorkerInfo(number, loader.num_workers, (seed + number) % 2**63, loader.dataset)
            # The thread must not hold the pool, or nobody could ever drop the last reference to it.
            args = (self.tasks, info, loader.worker_init_fn, started)
            name = f"numbanet-loader-{number}"
            self.threads.append(threading.Thread(target=_work, args=args, name=name, daemon=True))
        for thread in self.threads:
            thread.start()
        self.close = weakref.finalize(self, _close, self.tasks, self.threads)
        if loader.worker_init_fn is not None:
            errors = [error for _ in self.threads if (error := started.get()) is not None]
            if errors:
                self.close()
                raise errors[0]


def _work(
    tasks: SimpleQueue[_Task | None],
    info: WorkerInfo,
    init: Callable[[int], None] | None,
    started: SimpleQueue[BaseException | None],
) -> None:
    _this_thread.worker = info
    if init is not None:
        try:
            init(info.id)
            started.put(None)
        except BaseException as error:
            error.add_note(f"in worker_init_fn of DataLoader worker thread {info.id}")
            started.put(error)
    while (task := tasks.get()) is not None:
        task.worker = info.id
        task.run()
        del task  # an idle worker must not keep the last batch alive


def _close(tasks: SimpleQueue[_Task | None], threads: list[threading.Thread]) -> None:
    for _ in threads:
        tasks.put(None)
    deadline = time.monotonic() + _JOIN_PATIENCE
    for thread in threads:
        # Garbage collection may run this within a worker; and a sample that takes long ends in its own time.
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


class _ThreadedIterator(Iterator[Any]):
    """Keeps ``num_workers * prefetch_factor`` batches under way and hands them out in order."""

    def __init__(self, epoch: _Epoch, work: Iterator[Any], loader: DataLoader) -> None:
        self._epoch, self._work, self._loader, self._first = epoch, work, loader, 0
        self._pool = loader._pool if loader.persistent_workers and loader._pool is not None else None
        if self._pool is None:
            self._pool = _Pool(loader, epoch.seed)
            if loader.persistent_workers:
                loader._pool = self._pool
        self._cancelled = threading.Event()
        self._pending: deque[_Task] = deque()
        self._finish = weakref.finalize(self, _finish, self._cancelled, loader.persistent_workers, self._pool)
        for _ in range(loader.num_workers * (loader.prefetch_factor or 1)):
            self._submit()

    def __len__(self) -> int:
        return len(self._loader)

    def _submit(self) -> None:
        if self._pool is None:
            return
        task = _Task(self._epoch, None, self._first, self._cancelled)
        try:
            task.work = next(self._work)
            self._first += self._epoch.count(task.work)
        except StopIteration:
            return
        except Exception as error:  # the sampler's error comes after the batches before it, as without workers
            task.error = error
            task.done.set()
            self._pending.append(task)
            return
        self._pending.append(task)
        self._pool.tasks.put(task)

    def __next__(self) -> Any:
        if not self._pending:
            self._end()
            raise StopIteration
        task = self._pending[0]
        # The batch leaves the queue only when it is here: after Ctrl-C or a timeout one may ask for it again.
        deadline = time.monotonic() + self._loader.timeout if self._loader.timeout else float("inf")
        while not task.done.wait(min(_POLL, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise RuntimeError(f"DataLoader timed out after {self._loader.timeout} seconds")
        self._pending.popleft()
        self._submit()
        if task.error is not None:
            # Error -> traceback -> frame -> task -> error would be a cycle that keeps the threads until the next
            # garbage collection.
            error, task.error = task.error, None
            try:
                raise error
            finally:
                del error
        return task.result

    def _end(self) -> None:
        self._pool = None
        self._finish()


def _finish(cancelled: threading.Event, persistent: bool, pool: _Pool) -> None:
    cancelled.set()  # tasks still in the queue are passed over
    if not persistent:
        pool.close()
