"""DataLoader, samplers, datasets and collation: PyTorch's semantics, determinism, errors, threads."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections import namedtuple
from functools import partial

import numpy as np
import pytest

import numbanet.random
from numbanet.data import (
    BatchSampler,
    Columns,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
    sample_generator,
)
from numbanet.data import transforms as T
from numbanet.data.image_dataset import ArrayImages
from numbanet.tensor import Tensor, from_numpy

torch_data = pytest.importorskip("torch.utils.data", reason="PyTorch is the second opinion here")


def generator(seed: int = 0) -> numbanet.random.Generator:
    return numbanet.random.Generator().manual_seed(seed)


class Squares(Dataset):
    """Sample i is (i * i, i); loads slowly or fails if told so."""

    def __init__(self, size: int = 20, fail_at: int | None = None, delay: float = 0.0) -> None:
        self.size, self.fail_at, self.delay = size, fail_at, delay
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index):
        if index == self.fail_at:
            raise ZeroDivisionError("no such square")
        if not 0 <= index < self.size:
            raise IndexError(index)
        if self.delay:
            time.sleep(self.delay)
        self.loaded.append(index)
        return np.float32(index * index), index


class Images(ArrayImages):
    """An in-memory image dataset with the fast path of the real ones."""

    def __init__(self, transform=None, size: int = 37, target_transform=None) -> None:
        rng = np.random.default_rng(7)
        self.data = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        self.targets = rng.integers(0, 10, size)
        self.transform, self.target_transform = transform, target_transform


def batches(loader) -> list[list]:
    return [[column.numpy().tolist() for column in batch] for batch in loader]


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("numbanet-loader")]


# ---- lengths, order, PyTorch's semantics ----


@pytest.mark.parametrize("size", [1, 5, 6, 20])
@pytest.mark.parametrize("batch_size", [1, 3, 20, 32])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_lengths_and_batches_as_in_pytorch(size, batch_size, drop_last, workers):
    ours = DataLoader(Squares(size), batch_size, drop_last=drop_last, num_workers=workers)
    theirs = torch_data.DataLoader(Squares(size), batch_size, drop_last=drop_last)
    assert len(ours) == len(theirs)
    assert batches(ours) == batches(theirs)
    for batch, expected in zip(ours, theirs, strict=True):
        assert isinstance(batch, list) and [str(c.dtype) for c in batch] == ["float32", "int64"]
        assert [tuple(c.shape) for c in batch] == [tuple(c.shape) for c in expected]


def test_argument_order_is_pytorchs():
    import inspect

    ours = list(inspect.signature(DataLoader).parameters.values())
    theirs = list(inspect.signature(torch_data.DataLoader).parameters.values())
    theirs = [p for p in theirs if p.name not in ("pin_memory_device", "in_order")]
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


def test_shuffle_visits_each_sample_once_in_a_new_order_each_epoch():
    loader = DataLoader(Squares(50), 8, shuffle=True, generator=generator(3))
    epochs = [[i for _, y in batches(loader) for i in y] for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != list(range(50))


def test_shuffle_puts_every_sample_everywhere():
    # Each of 4 samples comes first in about a quarter of 2000 epochs (binomial: sigma 19; 6 sigma allowed).
    rng = generator(1)
    first = np.bincount([next(iter(RandomSampler(range(4), generator=rng))) for _ in range(2000)], minlength=4)
    assert np.all(np.abs(first - 500) < 6 * 19.4)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_same_seed_same_epochs_whatever_the_workers(workers):
    reference = DataLoader(Squares(50), 8, shuffle=True, generator=generator(5))
    loader = DataLoader(Squares(50), 8, shuffle=True, generator=generator(5), num_workers=workers)
    for _ in range(3):
        assert batches(loader) == batches(reference)
    assert batches(DataLoader(Squares(50), 8, shuffle=True, generator=generator(6))) != batches(reference)


@pytest.mark.parametrize("workers", [0, 2])
def test_default_generator_decides_the_order_and_can_be_restored(workers):
    default = numbanet.random.default_generator
    before = default.get_state()
    try:
        loader = DataLoader(Squares(30), 4, shuffle=True, num_workers=workers)
        default.manual_seed(11)
        epochs = [batches(loader)]
        state = default.get_state()
        epochs.append(batches(loader))
        default.set_state(state)
        assert batches(loader) == epochs[1] != epochs[0]
        default.manual_seed(11)
        assert batches(DataLoader(Squares(30), 4, shuffle=True)) == epochs[0]
    finally:
        default.set_state(before)


def test_batch_size_none_hands_out_samples():
    for workers in (0, 2):
        loader = DataLoader(Squares(3), batch_size=None, num_workers=workers)
        assert len(loader) == 3
        samples = list(loader)
        assert [s[1] for s in samples] == [0, 1, 2]
        assert all(isinstance(s, list) and isinstance(s[0], Tensor) for s in samples)


def test_custom_sampler_batch_sampler_and_collate():
    assert batches(DataLoader(Squares(9), 2, sampler=[4, 0, 2])) == [[[16.0, 0.0], [4, 0]], [[4.0], [2]]]
    loader = DataLoader(Squares(9), batch_sampler=[[1, 2, 3], [5]])
    assert len(loader) == 2 and batches(loader)[1] == [[25.0], [5]]
    assert loader.batch_size is None
    assert list(DataLoader(Squares(3), 2, collate_fn=lambda b: [y for _, y in b])) == [[0, 1], [2]]
    keyed = {"a": 1, "b": 2}
    assert [b.numpy().tolist() for b in DataLoader(keyed, 2, sampler=["b", "a"])] == [[2, 1]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_workers": -1}, "num_workers"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": 1}, "timeout"),
        ({"prefetch_factor": 2}, "prefetch_factor"),
        ({"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor"),
        ({"persistent_workers": True}, "persistent_workers"),
        ({"sampler": [1], "shuffle": True}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "shuffle": True}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "sampler": [1]}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "drop_last": True}, "mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "mutually exclusive"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"drop_last": 1}, "drop_last=1"),
    ],
)
def test_bad_arguments(options, match):
    with pytest.raises(ValueError, match=match):
        DataLoader(Squares(), **options)


def test_bad_datasets_and_late_changes():
    with pytest.raises(TypeError, match="__getitem__"):
        DataLoader(iter([1, 2]))
    with pytest.raises(ValueError, match="num_samples=0"):
        DataLoader(Squares(0), shuffle=True)
    assert list(DataLoader(Squares(0))) == []
    loader = DataLoader(Squares())
    for name in ("batch_size", "dataset", "sampler"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set"):
            setattr(loader, name, 3)


# ---- worker threads ----


@pytest.mark.parametrize("workers", [0, 2])
def test_exception_keeps_type_traceback_and_names_the_sample(workers):
    loader = DataLoader(Squares(20, fail_at=13), 4, num_workers=workers)
    good = []
    with pytest.raises(ZeroDivisionError, match="no such square") as caught:
        for batch in loader:
            good.append(batch[1].numpy().tolist())
    assert good == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    text = "".join(traceback.format_exception(caught.value))
    assert "while loading the sample at index 13 of Squares" in text
    assert 'raise ZeroDivisionError("no such square")' in text
    assert ("in DataLoader worker thread" in text) == (workers > 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_iteration_can_go_on_after_a_bad_batch(workers):
    iterator = iter(DataLoader(Squares(6, fail_at=2), 2, num_workers=workers))
    assert next(iterator)[1].numpy().tolist() == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(iterator)
    assert next(iterator)[1].numpy().tolist() == [4, 5]
    with pytest.raises(StopIteration):
        next(iterator)


@pytest.mark.parametrize("workers", [0, 2])
def test_stop_iteration_in_a_dataset_does_not_end_the_epoch_silently(workers):
    class Exhausted(Squares):
        def __getitem__(self, index):
            return next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(Exhausted(4), 2, num_workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_of_collate_and_sampler(workers):
    class Ragged(Squares):
        def __getitem__(self, index):
            return np.zeros(index)

    with pytest.raises(ValueError, match="equal shapes") as caught:
        list(DataLoader(Ragged(4), 2, num_workers=workers))
    assert "while collating the samples at [0, 1]" in "".join(caught.value.__notes__)

    def indices():
        yield from range(4)
        raise LookupError("sampler is lost")

    seen = []
    with pytest.raises(LookupError, match="lost"):
        for batch in DataLoader(Squares(), 2, sampler=indices(), num_workers=workers):
            seen.append(batch[1].numpy().tolist())
    assert seen == [[0, 1], [2, 3]]


def test_break_ends_the_threads():
    for i, _ in enumerate(DataLoader(Squares(1000), 2, num_workers=3)):
        if i == 0:
            assert len(loader_threads()) == 3
        if i == 2:
            break
    assert loader_threads() == []


def test_break_within_a_slow_batch_does_not_wait_for_the_whole_batch():
    dataset = Squares(10_000, delay=0.01)
    iterator = iter(DataLoader(dataset, 1000, num_workers=2))  # a batch takes 10 s
    while not dataset.loaded:
        time.sleep(0.001)
    start = time.monotonic()
    del iterator
    assert loader_threads() == [] and time.monotonic() - start < 1.5


def test_finished_epoch_ends_the_threads_while_the_iterator_lives():
    iterator = iter(DataLoader(Squares(4), 2, num_workers=2))
    assert len(list(iterator)) == 2
    assert loader_threads() == []
    with pytest.raises(StopIteration):
        next(iterator)


def test_exception_in_the_loop_body_ends_the_threads():
    def train():
        for _ in DataLoader(Squares(100), 2, num_workers=2):
            raise KeyboardInterrupt

    try:
        train()
    except KeyboardInterrupt as error:
        error.__traceback__ = None  # the traceback holds the loop's frame, and that the iterator
    gc.collect()
    assert loader_threads() == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT that a process can send to itself")
def test_ctrl_c_reaches_a_waiting_loader_and_the_batch_can_still_be_had(request):
    # A shell that starts a process in the background has it ignore Ctrl-C.
    request.addfinalizer(
        partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
    )
    release = threading.Event()

    class Stuck(Squares):
        def __getitem__(self, index):
            release.wait(60)  # far longer than a busy machine holds the signal up
            return super().__getitem__(index)

    iterator = iter(DataLoader(Stuck(4), 2, num_workers=2))
    caught = threading.Event()

    def press() -> None:
        """Again each second: where the signal comes while Python frees something, it is reported and lost."""
        while not caught.wait(1):
            os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=press)
    presses.start()
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(iterator)
    finally:
        caught.set()
        presses.join()
    assert time.monotonic() - start < 30
    release.set()
    assert next(iterator)[1].numpy().tolist() == [0, 1]


def test_worker_error_leaves_no_threads_even_without_garbage_collection():
    gc.disable()
    try:
        with contextlib.suppress(ZeroDivisionError):
            list(DataLoader(Squares(100, fail_at=3), 2, num_workers=2))
        assert loader_threads() == []
    finally:
        gc.enable()


def test_prefetch_is_bounded():
    dataset = Squares(100)
    iterator = iter(DataLoader(dataset, 1, num_workers=2, prefetch_factor=3))
    deadline = time.monotonic() + 5
    while len(dataset.loaded) < 6 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(dataset.loaded) == 6
    next(iterator)
    while len(dataset.loaded) < 7 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(dataset.loaded) == 7


def test_batches_stay_in_order_when_the_first_is_slow():
    release = threading.Event()

    class SlowStart(Squares):
        def __getitem__(self, index):
            if index == 0:
                release.wait(5)
            if index == 2:
                release.set()
            return super().__getitem__(index)

    loader = DataLoader(SlowStart(8), 2, num_workers=2)
    assert [y for _, y in batches(loader)] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_timeout_then_the_batch_can_still_be_had():
    release = threading.Event()

    class Stuck(Squares):
        def __getitem__(self, index):
            release.wait(5)
            return super().__getitem__(index)

    iterator = iter(DataLoader(Stuck(2), 1, num_workers=1, timeout=0.05))
    with pytest.raises(RuntimeError, match=r"timed out after 0.05 seconds"):
        next(iterator)
    release.set()
    time.sleep(0.05)
    assert next(iterator)[1].numpy().tolist() == [0]


def test_persistent_workers_keep_their_threads():
    idents = set()

    class Recording(Squares):
        def __getitem__(self, index):
            idents.add(threading.get_ident())
            return super().__getitem__(index)

    loader = DataLoader(Recording(8), 2, num_workers=2, persistent_workers=True)
    assert batches(loader) == batches(DataLoader(Squares(8), 2))
    first = loader_threads()
    for _ in loader:
        break
    assert batches(loader) == batches(DataLoader(Squares(8), 2))
    assert loader_threads() == first and len(first) == 2 and len(idents) <= 2
    del loader


def test_worker_init_fn_and_worker_info():
    started = []

    def init(number):
        info = get_worker_info()
        started.append((number, info.id, info.num_workers, info.dataset is dataset))

    dataset = Squares(8)
    list(DataLoader(dataset, 2, num_workers=2, worker_init_fn=init))
    assert sorted(started) == [(0, 0, 2, True), (1, 1, 2, True)]
    assert get_worker_info() is None

    def broken(number):
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        list(DataLoader(dataset, 2, num_workers=2, worker_init_fn=broken))


# ---- random transforms ----


AUGMENT = [T.RandomCrop(28, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize((0.3,), (0.4,))]


def epochs_of(transform, workers=0, count=2, cls=Images, batch_size=8):
    loader = DataLoader(cls(transform), batch_size, shuffle=True, num_workers=workers, generator=generator(2))
    return [np.concatenate([x.numpy() for x, _ in loader]) for _ in range(count)]


def test_augmentation_does_not_depend_on_workers_or_on_the_fast_path():
    class SampleBySample(Images):
        __getitems__ = None  # type: ignore[assignment]

    reference = epochs_of(T.Compose(AUGMENT))
    assert not np.array_equal(reference[0], reference[1])
    for transform, workers, cls in [
        (T.Compose(AUGMENT), 3, Images),
        (T.Compose(AUGMENT), 0, SampleBySample),
        (T.Compose(AUGMENT), 2, SampleBySample),
        (T.Compose([T.Lambda(lambda image: image), *AUGMENT]), 2, Images),
    ]:
        for epoch, expected in zip(epochs_of(transform, workers, cls=cls), reference, strict=True):
            np.testing.assert_array_equal(epoch, expected)


def test_augmentation_does_not_depend_on_batch_size_and_varies_over_samples():
    whole, small = epochs_of(T.Compose(AUGMENT), batch_size=37), epochs_of(T.Compose(AUGMENT), batch_size=5)
    np.testing.assert_array_equal(whole[0], small[0])

    class Same(Images):
        def __init__(self, transform):
            super().__init__(transform, size=400)
            self.data[:] = self.data[0]

    plain = Same(T.ToTensor())[0][0].numpy()
    flipped = epochs_of(T.Compose([T.RandomHorizontalFlip(0.25), T.ToTensor()]), cls=Same, count=1)[0]
    is_flipped = np.all(flipped == plain[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(is_flipped | np.all(flipped == plain, axis=(1, 2, 3)))
    assert abs(is_flipped.mean() - 0.25) < 0.1  # sigma 0.022


def test_augmentation_changes_from_epoch_to_epoch():
    loader = DataLoader(Images(T.Compose(AUGMENT)), 37, generator=generator(0))
    (first,), (second,) = ([x.numpy() for x, _ in loader] for _ in range(2))
    changed = np.any(first != second, axis=(1, 2, 3)).mean()
    assert changed > 0.9  # 162 equally likely pictures of each image


@pytest.mark.parametrize("workers", [0, 2])
def test_sample_generator_serves_custom_transforms(workers):
    class Noisy(Squares):
        def __getitem__(self, index):
            rng = sample_generator()
            return rng.random(), sample_generator().random(), index

    loader = DataLoader(Noisy(30), 4, num_workers=workers, generator=generator(9))
    a, b, _ = (np.concatenate(c) for c in zip(*[[c.numpy() for c in batch] for batch in loader], strict=True))
    assert len(set(a) | set(b)) == 60
    reference = DataLoader(Noisy(30), 4, generator=generator(9))
    np.testing.assert_array_equal(a, np.concatenate([batch[0].numpy() for batch in reference]))


# ---- fast path ----


@pytest.mark.parametrize(
    "transform",
    [
        T.ToTensor(),
        T.Compose([T.ToTensor(), T.Normalize(0.2860, 0.3530)]),
        T.Compose([T.Resize(20), T.Compose([T.CenterCrop((30, 18)), T.ToTensor()])]),
        T.Compose([T.ToTensor(), T.Resize((9, 40)), T.CenterCrop(8), T.Normalize([0.5], [0.5])]),
    ],
)
def test_fast_path_equals_sample_by_sample(transform):
    dataset = Images(transform)
    indices = [3, 36, 0, 3, -1]
    fast = dataset.__getitems__(indices)
    assert isinstance(fast, Columns)
    images, labels = default_collate(fast)
    slow_images, slow_labels = default_collate([dataset[i] for i in indices])
    for fast_column, slow_column in ((images, slow_images), (labels, slow_labels)):
        assert fast_column.dtype == slow_column.dtype
        np.testing.assert_array_equal(fast_column.numpy(), slow_column.numpy())
    assert len(fast) == 5
    sample, label = fast[1]
    np.testing.assert_array_equal(sample.numpy(), slow_images.numpy()[1])
    assert type(label) is int and label == dataset.targets[36]
    assert [y for _, y in fast] == labels.numpy().tolist() and len(fast[1:3]) == 2


def test_fast_path_is_left_for_what_it_cannot_do():
    class Inverted(T.ToTensor):
        def __call__(self, image):
            return from_numpy(1 - super().__call__(image).numpy())

    for transform in (T.Lambda(np.asarray), T.Compose([Inverted()]), T.Resize(3), None):
        assert T.batched(transform) is None
    with pytest.raises(TypeError, match="put ToTensor"):
        Images(T.Compose([T.Normalize(0.5, 0.5), T.ToTensor()])).__getitems__([1])
    assert isinstance(Images(T.ToTensor(), target_transform=str).__getitems__([1]), list)
    batch = next(iter(DataLoader(Images(Inverted()), 2)))[0].numpy()
    np.testing.assert_array_equal(batch, 1 - next(iter(DataLoader(Images(T.ToTensor()), 2)))[0].numpy())


def test_batches_do_not_share_memory_with_the_dataset_or_each_other():
    data = np.arange(8, dtype=np.float32).reshape(4, 2)
    dataset = TensorDataset(data)
    (first,) = next(iter(DataLoader(dataset, 2)))
    first.numpy()[:] = -1
    assert data.min() == 0
    assert next(iter(DataLoader(dataset, 2)))[0].numpy().min() == 0


def test_pil_images_without_transform_are_explained():
    with pytest.raises(TypeError, match="ToTensor"):
        next(iter(DataLoader(Images(), 2)))


# ---- datasets ----


def test_tensor_dataset():
    x, y = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6)
    dataset = TensorDataset(from_numpy(x), y)
    assert len(dataset) == 6
    sample = dataset[2]
    assert isinstance(sample, tuple) and sample[0].numpy().tolist() == [4.0, 5.0] and int(sample[1].numpy()) == 2
    images, labels = next(iter(DataLoader(dataset, 4)))
    np.testing.assert_array_equal(images.numpy(), x[:4])
    assert labels.dtype == np.int64 and labels.numpy().tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="Size mismatch between tensors"):
        TensorDataset(x, y[:5])
    with pytest.raises(ValueError, match="at least one"):
        TensorDataset()
    with pytest.raises(ValueError, match="first axis"):
        TensorDataset(np.float32(1))


def test_subset_concat_and_split():
    subset = Subset(Squares(10), [7, 1, 3])
    assert len(subset) == 3 and subset[0] == (49, 7)
    assert batches(DataLoader(subset, 2)) == [[[49.0, 1.0], [7, 1]], [[9.0], [3]]]
    images = Subset(Images(T.ToTensor()), [5, 2])
    assert isinstance(images.__getitems__([1, 0]), Columns)
    joined = ConcatDataset([Squares(2), subset]) + Squares(1)
    assert [joined[i][1] for i in range(len(joined))] == [0, 1, 7, 1, 3, 0]
    assert joined[-2][1] == 3
    for index in (6, -7):
        with pytest.raises(IndexError):
            joined[index]
    with pytest.raises(ValueError, match="empty"):
        ConcatDataset([])
    parts = random_split(range(10), [3, 7], generator=generator(4))
    assert [len(p) for p in parts] == [3, 7]
    assert sorted(p[i] for p in parts for i in range(len(p))) == list(range(10))
    again = random_split(range(10), [3, 7], generator=generator(4))
    assert [p.indices for p in parts] == [p.indices for p in again]
    for fractions in ([0.5, 0.25, 0.25], [0.3, 0.3, 0.4]):
        theirs = torch_data.random_split(range(11), fractions)
        assert [len(p) for p in random_split(range(11), fractions)] == [len(p) for p in theirs]
    with pytest.raises(ValueError, match="Sum of input lengths"):
        random_split(range(10), [3, 3])
    with pytest.raises(ValueError, match="Fraction at index 0"):
        random_split(range(10), [-0.5, 1.5])
    with pytest.warns(UserWarning, match="index 1 is 0"):
        random_split(range(1), [0.5, 0.5])


def test_samplers():
    assert list(SequentialSampler(range(3))) == [0, 1, 2]
    assert list(BatchSampler(range(7), 3, False)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(BatchSampler(range(7), 3, True)) == [[0, 1, 2], [3, 4, 5]]
    rng = generator(0)
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=500, generator=rng))
    assert len(drawn) == 500 and min(np.bincount(drawn, minlength=5)) > 50
    longer = list(RandomSampler(range(5), num_samples=12, generator=rng))
    assert len(longer) == 12 and sorted(longer[:5]) == sorted(longer[5:10]) == list(range(5))
    assert sorted(SubsetRandomSampler([4, 2, 9], generator=rng)) == [2, 4, 9]
    assert sorted(RandomSampler(range(5), generator=np.random.default_rng(0))) == list(range(5))
    with pytest.raises(TypeError, match="replacement"):
        RandomSampler(range(5), replacement=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="generator"):
        list(RandomSampler(range(5), generator=3))


def test_weighted_sampler():
    weights = [0.0, 1.0, 3.0, 0.0, 4.0]
    sampler = WeightedRandomSampler(from_numpy(np.array(weights)), 8000, generator=generator(0))
    drawn = list(sampler)
    assert len(drawn) == len(sampler) == 8000
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 1000, weights, atol=0.2)
    assert list(sampler) != drawn  # another epoch
    again = WeightedRandomSampler(weights, 8000, generator=generator(0))
    assert list(again) == drawn
    firsts = []
    for seed in range(300):  # without replacement: all that have a weight, the heavier ones sooner
        order = list(WeightedRandomSampler(weights, 3, replacement=False, generator=generator(seed)))
        assert sorted(order) == [1, 2, 4]
        firsts.append(order[0])
    np.testing.assert_allclose(np.bincount(firsts, minlength=5) * 8 / 300, weights, atol=0.8)
    assert list(WeightedRandomSampler([1e308, 1e308, 0], 3)) != [2, 2, 2]
    (batch,) = DataLoader(Squares(5), 4, sampler=WeightedRandomSampler([0, 0, 1, 0, 0], 4))
    assert batch[1].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], 0), "num_samples should be a positive integer value, but got num_samples=0"),
        (([1.0], True), "num_samples=True"),
        (([1.0], 1, 1), "replacement should be a boolean value, but got replacement=1"),
        (([[1.0]], 1), r"1d sequence but given weights have shape \(1, 1\)"),
        (([1.0, -1.5], 1), r"finite numbers from 0, but 1 of 2 are not, the first being -1.5 at index 1"),
        (([1.0, np.nan, np.inf], 1), "2 of 3 are not, the first being nan at index 1"),
        (([0.0, 0.0], 1), "1 of the weights should be above 0 to draw 1 samples, but 0 of 2 are"),
        (([], 1), "but 0 of 0 are"),
        (([1.0, 0.0], 2, False), "2 of the weights should be above 0 to draw 2 samples, but 1 of 2 are"),
    ],
)
def test_weights_that_cannot_be_drawn_with(arguments, message):
    with pytest.raises(ValueError, match=message):
        WeightedRandomSampler(*arguments)


# ---- collation ----


def test_default_collate_as_in_pytorch():
    torch = pytest.importorskip("torch")
    Pair = namedtuple("Pair", "image name")
    batch = [
        {
            "f": 0.5 + i,
            "i": i,
            "b": i > 0,
            "s": f"n{i}",
            "a": np.full((2, 3), i, np.float32),
            "n": np.int16(i),
            "t": (i, [1.0, i]),
            "p": Pair(np.float64(i), b"x"),
        }
        for i in range(3)
    ]
    ours, theirs = default_collate(batch), torch_data.default_collate(batch)

    def same(a, b):
        if isinstance(b, torch.Tensor):
            assert str(a.dtype) == str(b.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        elif isinstance(b, dict):
            assert list(a) == list(b)
            for key in b:
                same(a[key], b[key])
        elif isinstance(b, (list, tuple)) and not isinstance(b[0], (str, bytes)):
            assert type(a) is type(b) and len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                same(x, y)
        else:
            assert list(a) == list(b)

    same(ours, theirs)
    stacked = default_collate([from_numpy(np.ones((2, 1), np.float32)), from_numpy(np.zeros((2, 1), np.float32))])
    assert isinstance(stacked, Tensor) and stacked.shape == (2, 2, 1)


def test_default_collate_errors():
    with pytest.raises(TypeError, match="batch must contain tensors"):
        default_collate([object()])
    with pytest.raises(TypeError, match="dtype"):
        default_collate([np.array(["a"])])
    with pytest.raises(ValueError, match="same number of entries"):
        default_collate([(1, 2), (1,)])
    with pytest.raises(ValueError, match="equal shapes"):
        default_collate([np.zeros(2), np.zeros(3)])


def test_default_convert():
    sample = {"a": (np.zeros(2), "text"), "n": np.float32(2)}
    converted = default_convert(sample)
    assert isinstance(converted["a"][0], Tensor) and converted["a"][1] == "text"
    assert converted["n"].shape == () and converted["n"].dtype == np.float32
    assert default_convert(7) == 7


def test_utils_data_has_pytorchs_names():
    import numbanet.utils.data as names

    for name in ("DataLoader", "Dataset", "TensorDataset", "Subset", "ConcatDataset", "random_split", "Sampler"):
        assert hasattr(torch_data, name) and hasattr(names, name)
    assert names.DataLoader is DataLoader
