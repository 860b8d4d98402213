"""Making tensors, looking at them, converting them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import numbanet
import numbanet.functional
from numbanet.tensor import METHODS
from tests.checks import torch


def test_every_listed_method_and_function_exists():
    missing = [name for name in METHODS if not hasattr(numbanet.functional, name)]
    missing += [name for name in numbanet._FUNCTIONS if not hasattr(numbanet, name)]
    assert not missing


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, "int64", ()),
        (1.5, "float32", ()),
        (True, "bool", ()),
        ([1, 2], "int64", (2,)),
        ([[1.0, 2], [3, 4]], "float32", (2, 2)),
        ([], "float32", (0,)),
        ([True, False], "bool", (2,)),
        ((1, 2.5), "float32", (2,)),
        (np.arange(3.0), "float64", (3,)),
        (np.arange(3, dtype=np.uint8), "uint8", (3,)),
    ],
)
def test_tensor_from_data(data, dtype, shape):
    t = numbanet.tensor(data)
    assert t.dtype == dtype and t.shape == shape
    if torch is not None:
        theirs = torch.tensor(data)
        assert str(theirs.dtype) == f"torch.{dtype}" and tuple(theirs.shape) == shape


def test_tensor_copies_and_from_numpy_shares():
    a = np.zeros(3, np.float32)
    t, s = numbanet.tensor(a), numbanet.from_numpy(a)
    a[0] = 5
    assert t.tolist() == [0, 0, 0] and s.tolist() == [5, 0, 0]
    assert numbanet.as_tensor(a).numpy() is a and np.asarray(s) is a
    assert numbanet.tensor([numbanet.tensor(1.0), numbanet.tensor(2.0)]).tolist() == [1, 2]
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    numbanet.from_numpy(frozen).fill_(1)
    assert frozen.sum() == 0


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: numbanet.tensor([[1, 2], [3]]), ValueError, "sequences of equal lengths"),
        (lambda: numbanet.tensor("abc"), TypeError, "cannot make a tensor from str"),
        (lambda: numbanet.tensor([1j]), TypeError, "cannot make a tensor"),
        (lambda: numbanet.tensor(np.zeros(2, np.complex64)), TypeError, "complex64 is not supported"),
        (lambda: numbanet.tensor([1], requires_grad=True), RuntimeError, "only floating tensors"),
        (lambda: numbanet.from_numpy([1]), TypeError, "expected a numpy.ndarray, got list"),
        (lambda: numbanet.ones(2, 3).item(), RuntimeError, "6 elements"),
        (lambda: bool(numbanet.ones(2)), RuntimeError, "truth of a tensor of 2 elements"),
        (lambda: len(numbanet.tensor(1)), TypeError, "0-d"),
        (lambda: numbanet.ones(1, requires_grad=True).numpy(), RuntimeError, r"detach\(\)"),
        (lambda: numbanet.device("gpu"), RuntimeError, "expected 'cpu', 'cuda'"),
        (lambda: numbanet.zeros(2.5), TypeError, "made of ints"),
        (lambda: numbanet.zeros(2, dtype="complex64"), TypeError, "not supported"),
        (lambda: numbanet.arange(0, 5, -1), RuntimeError, "cannot step"),
        (lambda: numbanet.randint(5, 5, (2,)), RuntimeError, "low < high"),
        (lambda: range(3)[numbanet.tensor(1.0)], TypeError, "only integer tensors"),
        (lambda: numbanet.nosuch, AttributeError, "no attribute 'nosuch'"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_creation():
    assert numbanet.zeros(2, 3).shape == numbanet.ones((2, 3)).shape == numbanet.rand(size=(2, 3)).shape == (2, 3)
    assert numbanet.arange(5).tolist() == [0, 1, 2, 3, 4] and numbanet.arange(0, 1, 0.25).tolist() == [
        0,
        0.25,
        0.5,
        0.75,
    ]
    assert numbanet.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert numbanet.eye(2).tolist() == [[1, 0], [0, 1]] and numbanet.full((2,), 7).dtype == numbanet.int64
    x = numbanet.ones(2, 3, dtype=numbanet.float64)
    assert numbanet.zeros_like(x).dtype == x.new_ones(4).dtype == numbanet.float64
    assert sorted(numbanet.randperm(6).tolist()) == list(range(6))
    assert numbanet.randint(0, 3, (50,)).min().item() >= 0 and numbanet.randint(3, (50,)).max().item() <= 2
    assert numbanet.Tensor(2, 3).shape == (2, 3) and numbanet.Tensor([1, 2]).tolist() == [1.0, 2.0]


def test_seeding():
    numbanet.manual_seed(3)
    a, state = numbanet.rand(4), numbanet.get_rng_state()
    b = numbanet.randn(4)
    numbanet.set_rng_state(state)
    assert numbanet.randn(4).tolist() == b.tolist()
    numbanet.manual_seed(3)
    assert numbanet.rand(4).tolist() == a.tolist()
    g = numbanet.Generator().manual_seed(3)
    assert numbanet.rand(4, generator=g).tolist() == a.tolist()


def test_printing_like_pytorch():
    assert repr(numbanet.tensor([[1.0, -1.0], [0.0, 2.0]])) == "tensor([[ 1., -1.],\n        [ 0.,  2.]])"
    assert repr(numbanet.tensor([0.5, 1.25])) == "tensor([0.5000, 1.2500])"
    assert repr(numbanet.tensor([1, 2])) == "tensor([1, 2])"
    assert repr(numbanet.tensor(2.5)) == "tensor(2.5000)"
    assert repr(numbanet.tensor([1.0, 2000.0, -123456.0])) == "tensor([      1.,    2000., -123456.])"
    assert repr(numbanet.tensor([1.0], requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert "grad_fn=<MulBackward>" in repr(numbanet.tensor([1.0], requires_grad=True) * 2)
    assert "dtype=numbanet.float64" in repr(numbanet.zeros(1, dtype=numbanet.float64))
    assert repr(numbanet.zeros(2, 0)) == "tensor([], size=(2, 0))"
    assert repr(numbanet.zeros(2, 3).shape) == "numbanet.Size([2, 3])"
    assert f"{numbanet.tensor(3.14159):.3f}" == "3.142"


def test_python_protocols():
    t = numbanet.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in t] == [[1, 2], [3, 4]] and len(t) == 2
    assert float(numbanet.tensor(2.5)) == 2.5 and int(numbanet.tensor(3)) == 3 and [10, 20][numbanet.tensor(1)] == 20
    assert t.T.stride() == (1, 2) and not t.T.is_contiguous() and t.numel() == 4 and t.dim() == 2 and t.size(0) == 2
    assert (1, 1) + t.shape == (1, 1, 2, 2) and t.shape[1:] == (2,) and t.shape.numel() == 4
    assert np.add(np.ones(2), numbanet.ones(2, dtype=numbanet.float64)).tolist() == [2, 2]
    assert (np.float32(2) * numbanet.ones(2)).tolist() == [2, 2]
    assert len({t, t}) == 1


def test_copying_and_pickling():
    x = numbanet.tensor([1.0, 2.0], requires_grad=True)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.tolist() == x.tolist() and y.requires_grad and y.data_ptr() != x.data_ptr()
    with pytest.raises(RuntimeError, match="only leaves"):
        copy.deepcopy(x * 2)


def test_dlpack():
    x = numbanet.arange(3.0)
    shared = np.from_dlpack(x)
    x[0] = 9
    assert shared[0] == 9
    assert numbanet.from_dlpack(np.arange(3)).tolist() == [0, 1, 2]
    if torch is not None:
        assert torch.from_dlpack(x).tolist() == [9, 1, 2] and numbanet.from_dlpack(torch.ones(2)).tolist() == [1, 1]


def test_memory_is_reused_and_never_shared():
    shape = (300, 300)
    a = numbanet.zeros(*shape)
    address = a.data_ptr()
    part = a[1]
    del a
    b = numbanet.zeros(*shape)
    assert b.data_ptr() != address  # a view still holds the first one
    del part, b
    addresses = {numbanet.zeros(*shape).data_ptr() for _ in range(5)}
    assert len(addresses) == 1  # freed at once, handed out again
    assert address % 64 == 0


def test_to():
    x = numbanet.ones(2)
    assert x.to("cpu") is x and x.to(numbanet.float32) is x and x.to(x) is x
    assert x.to("cpu", numbanet.float64).dtype == numbanet.float64 and x.to(x, copy=True) is not x
    assert x.type() == "numbanet.float32" and x.double().type_as(x).dtype == numbanet.float32
    if not numbanet.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA is not available"):
            x.to("cuda")
        with pytest.raises(RuntimeError, match="CUDA is not available"):
            x.cuda()


def test_numbers_keep_what_the_wanted_dtype_holds():
    assert numbanet.tensor([0.1], dtype=numbanet.float64).item() == 0.1
    assert numbanet.as_tensor([[0.1]], dtype=numbanet.float64).item() == 0.1
    assert numbanet.tensor([0.1]).dtype == numbanet.float32
    assert numbanet.tensor([], dtype=numbanet.float64).dtype == numbanet.float64


def test_normal_draws_with_mean_and_spread():
    numbanet.manual_seed(3)
    x = numbanet.normal(5.0, 0.5, size=(100, 100))
    assert x.shape == (100, 100)
    assert abs(x.mean().item() - 5) < 0.02
    assert abs(x.std().item() - 0.5) < 0.02
    mean, std = numbanet.tensor([[0.0], [100.0]]), numbanet.tensor([1.0, 0.0, 1.0], dtype=numbanet.float32)
    y = numbanet.normal(mean, std)
    assert y.shape == (2, 3)
    assert y[:, 1].tolist() == [0, 100]
    assert (numbanet.normal(mean.double(), 1.0) - mean).abs().max() < 6
    assert numbanet.normal(2.0, numbanet.zeros(4)).tolist() == [2, 2, 2, 2]
    numbanet.manual_seed(3)
    assert (numbanet.normal(5.0, 0.5, (100, 100)) == x).all()
    assert numbanet.normal(0, 1, (2,), dtype=numbanet.float64, requires_grad=True).requires_grad


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ((0.0, 1.0), TypeError),
        ((numbanet.zeros(2), 1.0, (2,)), TypeError),
        ((0.0, -1.0, (2,)), RuntimeError),
        ((0.0, numbanet.tensor([1.0, -1.0])), RuntimeError),
    ],
)
def test_normal_refuses(arguments, kind):
    with pytest.raises(kind, match="normal: "):
        numbanet.normal(*arguments)


def test_course_notes_may_ask_for_cudnn():
    from numbanet.backends import cudnn

    assert cudnn.is_available() is False
    assert cudnn.version() is None


def test_a_device_that_there_is_not():
    with pytest.raises(RuntimeError, match="'gpu' is neither a device"):
        numbanet.zeros(1).to("gpu")
    assert numbanet.zeros(1).to("bfloat16").dtype == numbanet.bfloat16
    assert numbanet.zeros(1).to("float64").dtype == numbanet.float64


def test_methods_take_numpys_names():
    x = numbanet.arange(12.0).reshape(3, 4)
    assert x.argmax(axis=1).tolist() == [3, 3, 3]
    assert (x.sum(axis=0, keepdims=True) == x.sum(dim=0, keepdim=True)).all()
    assert x.mean(axis=1).shape == (3,)
    assert x.max(axis=1).values.tolist() == [3, 7, 11]
    assert x.softmax(axis=0).shape == (3, 4)
    with pytest.raises(TypeError):
        x.sum(axes=0)
