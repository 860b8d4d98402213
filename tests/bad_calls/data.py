"""Arguments of DataLoader, samplers and datasets."""

from __future__ import annotations

from tests.bad_calls import Bad


def _data(lib):
    return lib.utils.data


def _dataset(lib, length=4):
    return _data(lib).TensorDataset(lib.ones(length, 2), lib.ones(length))


def _loader(lib, **options):
    return _data(lib).DataLoader(_dataset(lib), **options)


BAD = [
    Bad("batch of nothing", lambda lib: _loader(lib, batch_size=0), ValueError, r"batch_size.*0"),
    Bad("negative batch", lambda lib: _loader(lib, batch_size=-2), ValueError, r"batch_size.*-2"),
    Bad("batch of a half", lambda lib: _loader(lib, batch_size=1.5), (ValueError, TypeError), r"1\.5"),
    Bad("batch of True", lambda lib: _loader(lib, batch_size=True), ValueError, r"True"),
    Bad("negative workers", lambda lib: _loader(lib, num_workers=-1), ValueError, r"num_workers.*-1"),
    Bad("negative timeout", lambda lib: _loader(lib, timeout=-1), ValueError, r"timeout.*-1"),
    Bad("prefetch without workers", lambda lib: _loader(lib, prefetch_factor=2), ValueError, r"prefetch_factor"),
    Bad("negative prefetch", lambda lib: _loader(lib, num_workers=1, prefetch_factor=-1), (ValueError, AssertionError), r"-1"),
    Bad("persistent without workers", lambda lib: _loader(lib, persistent_workers=True), ValueError, r"persistent_workers"),
    Bad("sampler and shuffle", lambda lib: _loader(lib, sampler=[0], shuffle=True), ValueError, r"sampler.*shuffle"),
    Bad("batch_sampler and batch_size", lambda lib: _loader(lib, batch_sampler=[[0]], batch_size=2), ValueError, r"batch_sampler"),
    Bad("batch_sampler and shuffle", lambda lib: _loader(lib, batch_sampler=[[0]], shuffle=True), ValueError, r"batch_sampler"),
    Bad("batch_sampler and drop_last", lambda lib: _loader(lib, batch_sampler=[[0]], drop_last=True), ValueError, r"drop_last"),
    Bad("drop_last without batches", lambda lib: _loader(lib, batch_size=None, drop_last=True), ValueError, r"drop_last"),
    Bad("another batch size afterwards", lambda lib: setattr(_loader(lib), "batch_size", 2), ValueError, r"batch_size"),
    Bad("another dataset afterwards", lambda lib: setattr(_loader(lib), "dataset", []), ValueError, r"dataset"),
    Bad("no dataset", lambda lib: _data(lib).DataLoader(5), TypeError, r"int", torch=False),
    Bad("samples that do not stack", lambda lib: list(_data(lib).DataLoader([lib.ones(2), lib.ones(3)], batch_size=2)), (RuntimeError, ValueError), r"\(2,\).*\(3,\)|\[2\].*\[3\]"),
    Bad("samples that cannot be collated", lambda lib: list(_data(lib).DataLoader([object()])), TypeError, r"object"),
    Bad("samples of several lengths", lambda lib: list(_data(lib).DataLoader([[1, 2], [1]], batch_size=2)), (RuntimeError, ValueError), r"equal|same"),
    Bad("sampler out of range", lambda lib: list(_loader(lib, sampler=[7])), IndexError, r"7"),
    Bad("shuffling nothing", lambda lib: _data(lib).DataLoader([], shuffle=True), ValueError, r"0", torch=False),
    Bad("tensors of several lengths", lambda lib: _data(lib).TensorDataset(lib.ones(2), lib.ones(3)), (AssertionError, ValueError), r"2.*3|ize"),
    Bad("a split of more than there is", lambda lib: _data(lib).random_split(_dataset(lib), [3, 3]), ValueError, r"4|6"),
    Bad("fractions above one", lambda lib: _data(lib).random_split(_dataset(lib), [0.8, 0.8]), ValueError, r"\d"),
    Bad("a concatenation of nothing", lambda lib: _data(lib).ConcatDataset([]), (AssertionError, ValueError), r"empty"),
    Bad("before a concatenation's begin", lambda lib: _data(lib).ConcatDataset([_dataset(lib)])[-9], (ValueError, IndexError), r"-9|length"),
    Bad("draws of nothing", lambda lib: _data(lib).RandomSampler(_dataset(lib), num_samples=0), ValueError, r"num_samples.*0"),
    Bad("draws of a half", lambda lib: _data(lib).RandomSampler(_dataset(lib), num_samples=1.5), (ValueError, TypeError), r"1\.5"),
    Bad("replacement as text", lambda lib: _data(lib).RandomSampler(_dataset(lib), replacement="yes"), (ValueError, TypeError), r"replacement"),
    Bad("batches of True", lambda lib: _data(lib).BatchSampler([0, 1], True, False), ValueError, r"True"),
    Bad("batches with drop_last as text", lambda lib: _data(lib).BatchSampler([0, 1], 2, "yes"), ValueError, r"drop_last"),
]  # fmt: skip
