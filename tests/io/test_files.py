"""numbanet.save and load: what goes in comes out, and bad files are explained."""

from __future__ import annotations

import io as stdio
import json
import math
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numbanet
from numbanet import io, optim
from numbanet.tensor import Tensor, from_numpy

KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["tensor", "int", "empty", "scalar", "array"]).map(
        lambda kind: {
            "tensor": lambda: from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3).T),
            "int": lambda: from_numpy(np.arange(3)),
            "empty": lambda: from_numpy(np.empty((0, 2), np.float64)),
            "scalar": lambda: from_numpy(np.array(1.5)),
            "array": lambda: np.array([1, 2**63], np.uint64),
        }[kind]()
    ),
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a, b) -> bool:
    """Equal in type and value, NaN equal to NaN, deep down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def round_trip(obj):
    file = stdio.BytesIO()
    io.save(obj, file)
    file.seek(0)
    return io.load(file)


@settings(max_examples=150, deadline=None)
@given(NESTED)
def test_nested_values_come_back(obj):
    assert same(round_trip(obj), obj)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"])
def test_every_dtype_comes_back(dtype, tmp_path):
    values = (np.random.default_rng(0).standard_normal((3, 4)) * 50).astype(dtype)
    numbanet.save({"x": from_numpy(values)}, tmp_path / "x.st")
    assert same(numbanet.load(tmp_path / "x.st")["x"].numpy(), values)


def test_special_floats_keep_their_bits():
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
    found = round_trip([from_numpy(values), math.inf, -0.0, 5e-324])
    assert found[0].numpy().tobytes() == values.tobytes()
    assert found[1] == math.inf
    assert math.copysign(1, found[2]) == -1
    assert found[3] == 5e-324


def test_loaded_tensors_can_be_written():
    found = round_trip({"x": numbanet.ones(3), "a": np.ones(2)})
    found["x"].numpy()[0] = 5
    found["a"][0] = 5


def test_a_shared_tensor_is_stored_once_and_shared_again():
    x = numbanet.randn(100)
    file = stdio.BytesIO()
    io.save({"a": x, "b": [x]}, file)
    assert len(file.getvalue()) < 2 * 400
    file.seek(0)
    found = io.load(file)
    assert found["a"] is found["b"][0]


def test_a_state_dict_is_an_ordinary_safetensors_file(tmp_path):
    from safetensors.numpy import load_file

    state = {"0.weight": numbanet.randn(2, 3), "0.bias": numbanet.randn(2)}
    io.save(state, tmp_path / "w.safetensors")
    plain = load_file(tmp_path / "w.safetensors")
    assert sorted(plain) == sorted(state)
    assert np.array_equal(plain["0.weight"], state["0.weight"].numpy())


def test_files_of_other_programs_are_flat_dicts(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a.b": np.ones((2, 2), np.float32)}, tmp_path / "w.safetensors", metadata={"format": "pt"})
    found = io.load(tmp_path / "w.safetensors")
    assert list(found) == ["a.b"]
    assert isinstance(found["a.b"], Tensor)


def test_names_that_collide_are_kept_apart():
    obj = {
        "a.b": numbanet.ones(1),
        "a": {"b": numbanet.zeros(1)},
        "__metadata__": numbanet.ones(2),
        "": numbanet.ones(3),
    }
    assert same(round_trip(obj), obj)


def test_optimizer_states_come_back_and_go_on(tmp_path):
    w = numbanet.ones(4, requires_grad=True)
    optimizer = optim.Adam([w], lr=0.1, betas=(0.8, 0.9))
    w.grad = numbanet.randn(4)
    optimizer.step()
    io.save(optimizer.state_dict(), tmp_path / "o")
    found = io.load(tmp_path / "o")
    assert same(found, optimizer.state_dict())
    twin = w.detach().clone().requires_grad_()
    other = optim.Adam([twin])
    other.load_state_dict(found)
    twin.grad = w.grad
    optimizer.step()
    other.step()
    assert np.array_equal(w.detach().numpy(), twin.detach().numpy())


def test_random_state_comes_back():
    numbanet.manual_seed(3)
    numbanet.randn(5)
    state = round_trip(numbanet.get_rng_state())
    expected = numbanet.randn(7).tolist()
    numbanet.set_rng_state(state)
    assert numbanet.randn(7).tolist() == expected


def test_what_cannot_be_stored_is_named():
    for obj, text in [
        ({"a": [1, object()]}, r"cannot store a object \(at 'a.1'\)"),
        ({"a": np.array(["x"])}, r"array of dtype <U1 at 'a'"),
        ({(1, 2): 3}, "has a key of type tuple"),
        (lambda: 0, r"cannot store a function \(at 'the top'\)"),
    ]:
        with pytest.raises(TypeError, match=text):
            io.save(obj, stdio.BytesIO())
    cycle: list = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="holds itself"):
        io.save(cycle, stdio.BytesIO())


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    io.save({"x": 1}, path)
    with pytest.raises(TypeError):
        io.save({"x": object()}, path)
    assert io.load(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_every_truncation_is_an_explained_error(tmp_path):
    path = tmp_path / "good"
    io.save({"x": numbanet.randn(8), "n": 3}, path)
    whole = path.read_bytes()
    bad = tmp_path / "bad"
    for length in range(0, len(whole), 7):
        bad.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="bad: "):
            io.load(bad)


def test_every_damaged_byte_of_the_header_is_survived(tmp_path):
    path = tmp_path / "good"
    io.save({"x": numbanet.ones(2), "n": [1, (2.5, None)]}, path)
    whole = bytearray(path.read_bytes())
    bad = tmp_path / "bad"
    for position in range(0, len(whole) - 8, 3):
        broken = whole.copy()
        broken[position] ^= 0x15
        bad.write_bytes(broken)
        try:  # another value or another name may result; anything but ValueError would be a bug
            io.load(bad)
        except ValueError as error:
            assert "bad" in str(error)


def test_foreign_files_are_refused_without_being_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    (tmp_path / "p").write_bytes(pickle.dumps(Evil()))
    with zipfile.ZipFile(tmp_path / "z", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Evil()))
    (tmp_path / "t").write_text("hello, this is no tensor file at all")
    for name, text in [("p", "pickle"), ("z", "zip"), ("t", "not a file of numbanet.save")]:
        with pytest.raises(ValueError, match=text):
            io.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        io.load(tmp_path / "absent")


@pytest.mark.parametrize("length", [0x0280, 0x4B50])
def test_a_header_length_that_looks_like_another_kind_of_file(tmp_path, length):
    """The first bytes of a safetensors file are a length, and may be those of a pickle or of a zip file."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(length).encode()
    (tmp_path / "w").write_bytes(length.to_bytes(8, "little") + header + np.float32(2).tobytes())
    assert io.load(tmp_path / "w")["x"].item() == 2


def test_files_of_a_newer_version_say_so(tmp_path):
    from safetensors.numpy import save_file

    text = json.dumps({"version": 99, "structure": None})
    save_file({"a": np.ones(1, np.float32)}, tmp_path / "w", metadata={"numbanet": text})
    with pytest.raises(ValueError, match="newer numbanet"):
        io.load(tmp_path / "w")


@pytest.mark.torch
def test_pytorch_reads_our_weights_and_we_read_its(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    io.save({"w": numbanet.ones(2, 3)}, tmp_path / "ours")
    assert torch.equal(load_file(tmp_path / "ours")["w"], torch.ones(2, 3))
    save_file({"w": torch.full((3,), 2.5), "n": torch.tensor(7)}, tmp_path / "theirs")
    found = io.load(tmp_path / "theirs")
    assert found["w"].tolist() == [2.5] * 3
    assert found["n"].item() == 7
    save_file({"w": torch.ones(2, dtype=torch.float8_e4m3fn)}, tmp_path / "f8")
    with pytest.raises(ValueError, match="convert it to float32"):
        io.load(tmp_path / "f8")


def test_a_folder_that_there_is_not(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent for the file net\.safetensors"):
        numbanet.save({"x": numbanet.zeros(1)}, tmp_path / "absent" / "net.safetensors")
