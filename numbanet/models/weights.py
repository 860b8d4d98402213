"""Weights that PyTorch's programs wrote: files and state dicts with torchvision's keys, into numbanet's networks."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numbanet import io
from numbanet.nn import Module
from numbanet.tensor import Tensor, from_numpy

__all__ = ["LoadedWeights", "load_torch_state_dict"]

# torchvision's first DenseNet files say "norm.1" where the network, since PyTorch 0.4, has to say "norm1".
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")


class LoadedWeights(NamedTuple):
    """What ``load_torch_state_dict`` could not use.

    Attributes:
        missing: the network's keys that the source lacks.
        unexpected: the source's keys that the network does not know.
        misfits: key -> what is wrong with the array under it.
    """

    missing: list[str]
    unexpected: list[str]
    misfits: dict[str, str]


def load_torch_state_dict(
    net: Module, source: Mapping[str, Any] | str | os.PathLike[str], strict: bool = True
) -> LoadedWeights:
    """Copy weights with PyTorch's names into a network.

    The prefix "module." that ``torch.nn.DataParallel`` puts before every key is dropped. Counters of batch normalisation
    (``num_batches_tracked``), which old files lack, may be missing.

    Args:
        net: takes the weights; its floating dtype and device stay.
        source: names with tensors or arrays; or a file of them, .safetensors or .npz; or a checkpoint of numbanet's.
        strict: refuse a source that does not fit in every key and shape. With False, what fits is loaded.

    Returns:
        (missing, unexpected, misfits); all are empty with ``strict``.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a file that is damaged or of another kind. torch.save's files are pickles, which run code when they
            are read; the message says how to convert one.
        RuntimeError: with ``strict``, naming every key and every dimension that does not fit. The network is as it was.

    Example::

        net = models.resnet18(num_classes=10)
        left = models.load_torch_state_dict(net, "resnet18.safetensors", strict=False)
        left.misfits  # {'fc.weight': 'dimension 0 is 1000, expected 10; shape (1000, 512), expected (10, 512)', ...}
    """
    name = type(net).__name__
    given = _with_our_names(_arrays(source), net)
    state = net.state_dict()
    misfits = {key: problem for key, value in given.items() if key in state and (problem := _misfit(value, state[key]))}
    unexpected = [key for key in given if key not in state]
    missing = [key for key in state if key not in given and not key.endswith("num_batches_tracked")]
    if strict and (missing or unexpected or misfits):
        lines = [f"missing: {key}, expected shape {tuple(state[key].shape)}" for key in missing]
        lines += [f"unexpected: {key}, shape {tuple(given[key].shape)}" for key in unexpected]
        lines += [f"does not fit: {key}: {problem}" for key, problem in misfits.items()]
        listing = "".join(f"\n    {line}" for line in lines)
        raise RuntimeError(
            f"load_torch_state_dict: these weights are not {name}'s (strict=False loads those that fit):{listing}"
        )
    fitting = {key: value for key, value in given.items() if key in state and key not in misfits}
    net.load_state_dict({key: from_numpy(np.ascontiguousarray(value)) for key, value in fitting.items()}, strict=False)
    return LoadedWeights(missing, unexpected, misfits)


def _misfit(value: np.ndarray, wanted: Tensor) -> str:
    """What is wrong with an array for its place; nothing where it fits."""
    shape, expected = tuple(value.shape), tuple(wanted.shape)
    if value.dtype.kind not in "biuf":
        return f"dtype {value.dtype}, expected numbers"
    if shape == expected or (expected == () and shape == (1,)):  # old files keep counters as arrays of one element
        return ""
    if len(shape) != len(expected):
        return f"{len(shape)} dimensions, expected {len(expected)}; shape {shape}, expected {expected}"
    wrong = [
        f"dimension {i} is {a}, expected {b}" for i, (a, b) in enumerate(zip(shape, expected, strict=True)) if a != b
    ]
    return f"{', '.join(wrong)}; shape {shape}, expected {expected}"


def _with_our_names(given: dict[str, np.ndarray], net: Module) -> dict[str, np.ndarray]:
    if given and all(key.startswith("module.") for key in given) and not hasattr(net, "module"):
        given = {key.removeprefix("module."): value for key, value in given.items()}
    return {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in given.items()}


# ------------------------------------------------------------------------------------------------------------ sources


def _arrays(source: Any) -> dict[str, np.ndarray]:
    """The arrays of a source, by its own names."""
    if isinstance(source, str | os.PathLike):
        source = _read(Path(source))
    if not isinstance(source, Mapping):
        raise TypeError(
            f"load_torch_state_dict: expected a mapping from names to tensors, or a file, got {type(source).__name__}"
        )
    for key in ("state_dict", "model"):  # the weights among what a checkpoint holds
        if isinstance(source.get(key), Mapping):
            source = source[key]
    return {str(key): _array(key, value) for key, value in source.items()}


def _array(key: Any, value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    if hasattr(value, "detach"):  # PyTorch's tensor
        value = value.detach().cpu()
    elif not isinstance(value, np.ndarray | np.generic | int | float):
        raise TypeError(f"load_torch_state_dict: {key!r}: expected a tensor or an array, got {type(value).__name__}")
    return np.asarray(value)


def _read(path: Path) -> Any:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no such file; weights are read from a .safetensors or .npz file, numbanet has none to download"
        )
    with open(path, "rb") as file:
        start = file.read(9)
    is_zip = start[:2] == b"PK" and start[8:] != b"{"  # a safetensors file has a length and then a brace
    names = _members(path) if is_zip else []
    if (start[:1] == b"\x80" and start[8:] != b"{") or any(name.endswith("data.pkl") for name in names):
        raise ValueError(_HOW_TO_CONVERT.format(path=path, stem=path.with_suffix("")))
    if not is_zip:
        return io.load(path)
    if not names or not all(name.endswith(".npy") for name in names):
        raise ValueError(
            f"{path}: a zip file, but not one of numpy.savez: it holds {', '.join(names[:3]) or 'nothing'}"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: a damaged NumPy archive, or one of objects ({error})") from None


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: a damaged zip file ({error})") from None


_HOW_TO_CONVERT = """\
{path}: a pickle, as torch.save writes them. Reading one runs code that it may hold, so numbanet does not. Convert it once:
    import numpy, torch
    numpy.savez("{stem}.npz", **{{k: v.numpy() for k, v in torch.load("{path}", weights_only=True).items()}})
or, with safetensors installed:
    import safetensors.torch, torch
    safetensors.torch.save_file(torch.load("{path}", weights_only=True), "{stem}.safetensors")"""
