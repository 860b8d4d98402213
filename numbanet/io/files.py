"""``save`` and ``load``: nested dicts, lists, tuples, tensors, NumPy arrays and plain values in one safetensors file.

The tensors lie in the file under their path in the structure ("model.0.weight"), where any program that reads safetensors
finds them; the structure around them is JSON in the file's metadata. Nothing is ever executed on loading, unlike
pickle. A flat dict of tensors, such as a module's ``state_dict()``, gives a plain file of weights, and files of weights that
other programs wrote are read as flat dicts.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numbanet import devices
from numbanet.devices import as_device
from numbanet.dtypes import bfloat16
from numbanet.tensor import Tensor, wrap

_KEY = "numbanet"  # our entry in the metadata
_VERSION = 1

# safetensors' names of the dtypes that can be read.
_DTYPES = {f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind in "IU" for size in (1, 2, 4, 8)} | {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "BOOL": np.dtype(bool),
    "BF16": bfloat16,
    "C64": np.dtype("<c8"),
}


def save(obj: Any, path: Any) -> None:
    """Write ``obj`` to a file.

    Args:
        obj: a tensor, or dicts, lists and tuples, nested at will, of tensors, NumPy arrays, numbers, strings, bools, None.
            A dict's keys may be strings, numbers, bools or None. A tensor that stands in several places is stored once.
        path: the file, written whole under another name and then renamed, so that a crash leaves the old one; or an object
            with a ``write`` method.

    Raises:
        TypeError: for anything else in ``obj``, naming where it stands.
        FileNotFoundError: where the file's folder does not exist.
    """
    from safetensors.numpy import save as to_bytes

    writer = _Writer()
    try:
        structure = writer.encode(obj, "")
    except RecursionError:
        raise ValueError("save: the object is nested too deeply, or holds itself") from None
    text = json.dumps({"version": _VERSION, "structure": structure}, allow_nan=False, separators=(",", ":"))
    payload = to_bytes(writer.arrays, metadata={_KEY: text})
    if hasattr(path, "write"):
        path.write(payload)
        return
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save: there is no folder {path.parent} for the file {path.name}; make it first")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Any, map_location: Any = None) -> Any:
    """Read what ``save`` wrote, or a safetensors file of another program (as a dict from names to tensors).

    Args:
        path: the file, or an object with a ``read`` method.
        map_location: the device on which to put the tensors; None: the CPU.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a file that is truncated, damaged or something else, naming the file and what is wrong with it.
    """
    if hasattr(path, "read"):
        name, payload = getattr(path, "name", "the file object"), path.read()
    else:
        name = os.fspath(path)
        payload = Path(path).read_bytes()
    arrays, metadata = _parse(str(name), payload)
    device = as_device(map_location)
    tensors: dict[str, Tensor] = {}

    def tensor(key: str) -> Tensor:
        if key not in tensors:
            tensors[key] = wrap(devices.to_device(arrays[key], device))
        return tensors[key]

    text = metadata.get(_KEY)
    if text is None:
        return {key: tensor(key) for key in arrays}
    try:
        described = json.loads(text)
        version = described["version"]
        if version > _VERSION:
            raise ValueError(
                f"{name}: written by a newer numbanet (format {version}, this one reads up to {_VERSION}): update"
            )
        return _decode(described["structure"], arrays, tensor)
    except (KeyError, TypeError, IndexError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{name}: the description of its contents is damaged ({type(error).__name__}: {error}); save it again"
        ) from None


class _Writer:
    """Turns an object into JSON values, collecting the arrays on the way."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []  # an id is worth something only while its object lives

    def encode(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Tensor):
            return {"tensor": self._store(value._array, path)}
        if isinstance(value, np.ndarray):
            if value.dtype != bfloat16 and (value.dtype.kind not in "biuf" or value.dtype.itemsize > 8):
                raise TypeError(f"save: an array of dtype {value.dtype} at {path or 'the top'!r} cannot be stored")
            return {"array": self._store(value, path)}
        if isinstance(value, Mapping):
            return {"dict": [[self._key(k, path), self.encode(v, _join(path, k))] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            items = [self.encode(item, _join(path, i)) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        raise TypeError(
            f"save: cannot store a {type(value).__name__} (at {path or 'the top'!r}); only tensors, arrays, numbers, strings, "
            "None, dicts, lists and tuples. Save a module's state_dict() rather than the module"
        )

    def _key(self, key: Any, path: str) -> Any:
        if key is None or isinstance(key, bool | str | int | float | np.generic):
            return self.encode(key, path)
        raise TypeError(
            f"save: a dict at {path or 'the top'!r} has a key of type {type(key).__name__}; use strings or numbers"
        )

    def _store(self, array: Any, path: str) -> str:
        if id(array) in self._names:
            return self._names[id(array)]
        name = base = path or "value"
        number = 1
        while name in self.arrays or name == "__metadata__":
            number += 1
            name = f"{base}#{number}"
        self._names[id(array)] = name
        self._kept.append(array)
        host = devices.to_host(array)
        little = host if host.dtype == bfloat16 else host.astype(host.dtype.newbyteorder("<"), copy=False)
        self.arrays[name] = little if little.flags.c_contiguous else little.copy(order="C")
        return name


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _decode(value: Any, arrays: dict[str, np.ndarray], tensor: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays, tensor) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {_decode(k, arrays, tensor): _decode(v, arrays, tensor) for k, v in content}
    if kind == "tuple":
        return tuple(_decode(item, arrays, tensor) for item in content)
    if kind == "tensor":
        return tensor(content)
    if kind == "array":
        return arrays[content]
    if kind == "float":
        return float(content)
    raise KeyError(kind)


def _parse(name: str, payload: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file and its metadata."""
    from safetensors import SafetensorError, deserialize

    # A safetensors file begins with a length, whose bytes may look like anything, and then a brace.
    if payload[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05") and payload[8:9] != b"{":
        raise ValueError(
            f"{name}: this is a pickle or zip file (torch.save writes those), which numbanet does not execute; convert it with "
            "safetensors.torch.save_file(torch.load(...), ...)"
        )
    length = int.from_bytes(payload[:8], "little")
    if len(payload) < 8 or length > 100_000_000 or payload[8:9] not in (b"{", b""):
        raise ValueError(f"{name}: not a file of numbanet.save, nor any other safetensors file ({len(payload)} bytes)")
    if len(payload) < 8 + length:
        raise ValueError(
            f"{name}: truncated: its header should have {length} bytes, the file ends after {len(payload) - 8} of them"
        )
    try:
        arrays = {
            key: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for key, entry in deserialize(payload)
        }
    except SafetensorError as error:
        raise ValueError(f"{name}: truncated or damaged safetensors file of {len(payload)} bytes ({error})") from None
    except (KeyError, TypeError) as error:  # floating dtypes of 8 bits, for one
        raise ValueError(
            f"{name}: holds a tensor of a type that NumPy does not have ({error}); convert it to float32"
        ) from None
    metadata = json.loads(payload[8 : 8 + length]).get("__metadata__", {})
    # The library's arrays look into the file's bytes, which nobody may change.
    return {key: np.array(array) for key, array in arrays.items()}, metadata
