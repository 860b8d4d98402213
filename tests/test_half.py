"""Tensors in half precision: every operator against float32 and against PyTorch's dtypes, and what tensors and modules offer."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet import dtypes, nn, optim
from numbanet.kernels import half as half_kernels
from numbanet.kernels.kernel import Kernel
from tests.operators import FUNCTIONS, LAYERS, draw_all, make_layer, run_example
from tests.test_semantics import ALL, BOTH, DIFFERENT, attempt, needs_torch, torch

BF16, FP16 = numbanet.bfloat16, numbanet.float16
HALVES = [BF16, FP16]
by_dtype = pytest.mark.parametrize("dtype", HALVES, ids=str)

# Operators of several steps, each rounded: how many roundings of the largest number their results may be away.
LOOSE = {
    "cdist": 3,
    "quadruplet_loss": 4,
    "triplet_margin_loss": 3,
    "triplet_margin_with_distance_loss": 3,
    "TripletMarginLoss": 3,
    "TripletMarginWithDistanceLoss": 3,
}


def widened(value: Any) -> Any:
    """The half tensors in nested lists, tuples and dicts as float32 leaves of the same values."""
    if isinstance(value, numbanet.Tensor):
        if not dtypes.is_half(value.dtype):
            return value
        wide = value.detach().float()
        return wide.requires_grad_() if value.requires_grad else wide
    if isinstance(value, dict):
        return {key: widened(item) for key, item in value.items()}
    return type(value)([widened(item) for item in value]) if isinstance(value, list | tuple) else value


def run(case: tuple[str, str], wide: bool) -> Any:
    """An example in bfloat16, or in float32 from the same (rounded) values."""
    kind, name = case
    given = (FUNCTIONS[name].args, FUNCTIONS[name].kwargs) if kind == "function" else LAYERS[name].inputs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "layer":
            made = make_layer(name, LAYERS[name].args, LAYERS[name].kwargs, numbanet, BF16)
            made = made.float() if wide else made
        numbanet.manual_seed(0)
        drawn = draw_all(given, numbanet, BF16)
        drawn = widened(drawn) if wide else drawn
        if kind == "function":
            return run_example(lambda g: FUNCTIONS[name].call(name, numbanet, *g), numbanet, drawn, False)
        return run_example(lambda g: made(*g[0]), numbanet, (drawn, list(made.parameters())), False)


# From the last to the first: where tests/test_semantics.py runs beside this file, each compiles half of the kernels for both.
@pytest.mark.parametrize("case", ALL[::-1], ids=lambda case: case[1])
def test_every_operator_in_bfloat16_is_float32_rounded_with_pytorchs_dtypes(case):
    ours, wide = run(case, False), run(case, True)
    limit = LOOSE.get(case[1], 1.5)
    for what in ("outputs", "gradients"):
        assert len(getattr(ours, what)) == len(getattr(wide, what))
        for found, exact in zip(getattr(ours, what), getattr(wide, what), strict=True):
            if exact is None:
                assert found is None
                continue
            found, exact = np.asarray(found), np.asarray(exact)
            assert found.shape == exact.shape
            if exact.dtype.kind != "f":
                np.testing.assert_array_equal(found, exact)
                continue
            found = found.astype(np.float64)
            sizes = abs(exact[np.isfinite(exact)])
            step = 2.0**-8 * limit * (1 + sizes.max(initial=0.0))
            np.testing.assert_allclose(found, exact, 2.0**-8 * limit, step, equal_nan=True, err_msg=what)
    if case in BOTH:
        theirs, error = attempt(case, torch, BF16)
        if error is None:
            assert [np.asarray(o).dtype for o in ours.outputs] == [np.asarray(o).dtype for o in theirs.outputs]
            if (case[1], "gradients") in DIFFERENT:
                return
            pairs = [
                (a, b) for a, b in zip(ours.gradients, theirs.gradients, strict=True) if not (a is None or b is None)
            ]
            assert [np.asarray(a).dtype for a, _ in pairs] == [np.asarray(b).dtype for _, b in pairs]


def test_no_kernel_writes_what_it_does_not_say(monkeypatch):
    """The table of outputs in kernels/half.py: what stands outside of it must come back as it was, or halves would be lost."""
    plain = Kernel.__call__
    seen, wrong = set(), set()

    def watched(self, *args):
        arrays = [a for a in args if type(a) is np.ndarray]
        written = half_kernels.OUTPUTS.get(self.name, 1)
        places = range(len(arrays))[-written:] if isinstance(written, int) else written
        said = [arrays[i] for i in places] if self.name not in ("to_float32", "from_float32", "cast") else arrays[-1:]
        before = [(a, a.tobytes()) for a in arrays if not any(np.may_share_memory(a, b) for b in said)]
        plain(self, *args)
        seen.add(self.name)
        wrong.update({self.name for a, bytes_ in before if a.tobytes() != bytes_})

    monkeypatch.setattr(Kernel, "__call__", watched)
    for case in ALL:
        run(case, True)
    x = numbanet.randn(3, 2, requires_grad=True)
    numbanet.maximum(x, x * 2).sum().backward()
    nn.BatchNorm1d(2).eval()(x).sum().backward()
    many = numbanet.randn(26, 3, requires_grad=True)  # by way of a matrix product
    numbanet.cdist(many, many.detach() + 1).sum().backward()
    assert not wrong
    assert set(half_kernels.OUTPUTS) - seen <= {name for name in Kernel.table if name.endswith("_step")}


# ------------------------------------------------------------------------------------------------------------ dtypes


@by_dtype
def test_promotion(dtype):
    x = numbanet.ones(2, dtype=dtype)
    assert (x + 1.5).dtype == (x * 2).dtype == (x + numbanet.arange(2)).dtype == (x > 0).to(dtype).dtype == dtype
    assert (x + x.float()).dtype == numbanet.float32
    assert (x + x.double()).dtype == numbanet.float64
    assert (x + numbanet.tensor(1.0)).dtype == dtype  # a 0-d tensor does not widen
    assert numbanet.promote_types(BF16, FP16) == numbanet.float32
    assert (x / 2).dtype == numbanet.true_divide(x, 2).dtype == dtype
    assert x.sum().dtype == x.mean().dtype == dtype
    assert x.sum(dtype=numbanet.float32).dtype == numbanet.float32


@needs_torch
@pytest.mark.parametrize("a", ["bfloat16", "float16", "float32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("b", ["bfloat16", "float16", "float64", "int32"])
def test_promote_types_is_pytorchs(a, b):
    ours = numbanet.promote_types(np.dtype(a), np.dtype(b))
    assert f"torch.{ours}" == str(torch.promote_types(getattr(torch, a), getattr(torch, b)))


def test_dtypes_by_name_and_limits():
    assert dtypes.as_dtype("bfloat16") == BF16 == numbanet.tensor([1.0]).bfloat16().dtype
    assert [float(numbanet.finfo(d).eps) for d in (BF16, FP16)] == [2.0**-7, 2.0**-10]
    assert float(numbanet.finfo(BF16).max) == 3.3895313892515355e38
    with pytest.raises(TypeError, match="finfo: expected a floating dtype, got int64"):
        numbanet.finfo(numbanet.int64)
    with pytest.raises(TypeError, match="not supported"):
        dtypes.as_dtype("V2")


# ----------------------------------------------------------------------------------------------------------- tensors


@by_dtype
def test_making_reading_and_printing(dtype):
    x = numbanet.tensor([[1.0, 2.5], [-3.0, 0.1]], dtype=dtype)
    assert x.is_floating_point() and x.itemsize == 2 and x.nbytes == 8
    assert x.tolist()[0] == [1.0, 2.5]
    assert isinstance(x[0, 1].item(), float)
    assert (
        repr(x)
        == f"tensor([[ 1.0000,  2.5000],\n        [-3.0000,  0.{'1001' if dtype == BF16 else '1000'}]], dtype=numbanet.{dtype})"
    )
    assert x.numpy().dtype == dtype
    assert numbanet.from_numpy(x.numpy()).dtype == dtype
    assert numbanet.tensor(x.numpy()).dtype == numbanet.tensor([x.numpy()[0, 0]]).dtype == dtype
    assert (x == x.float()).all() and (x[1] < 0).tolist() == [True, False]
    for made in (numbanet.zeros(2, dtype=dtype), numbanet.full((2,), 1.5, dtype=dtype), numbanet.arange(4, dtype=dtype),
                 numbanet.eye(2, dtype=dtype), numbanet.linspace(0, 1, 3, dtype=dtype), numbanet.randn(3, dtype=dtype),
                 numbanet.rand_like(x), numbanet.ones_like(x), x.new_zeros(2), x.clone()):  # fmt: skip
        assert made.dtype == dtype
    x[0, 0] = 7
    x += 1
    assert x[0].tolist() == [8.0, 3.5]
    assert x.fill_(2).sum().item() == 8
    assert pickle.loads(pickle.dumps(x)).dtype == copy.deepcopy(x).dtype == dtype
    large = numbanet.ones(1 << 16, dtype=dtype)  # from the pool of memory
    assert large.dtype == dtype and (large + large).float().sum().item() == 1 << 17


@by_dtype
def test_random_numbers_stay_below_one(dtype):
    x = numbanet.rand(20_000, dtype=dtype).float()
    assert 0.99 < x.max().item() < 1 and x.min().item() >= 0 and x.mean().item() == pytest.approx(0.5, abs=0.01)


@by_dtype
def test_long_sums_are_kept_in_float32(dtype):
    assert numbanet.ones(2000, dtype=dtype).sum().item() == 2000
    x = numbanet.ones(4, 1000, dtype=dtype)
    assert (x @ x.t())[0, 0].item() == 1000


@by_dtype
def test_casts_are_differentiable_and_gradients_take_their_leafs_dtype(dtype):
    x = numbanet.randn(3, requires_grad=True)
    w = numbanet.randn(3, dtype=dtype, requires_grad=True)
    (x.to(dtype) * w).sum().backward()
    assert x.grad.dtype == numbanet.float32 and w.grad.dtype == dtype

    class Wide(numbanet.autograd.Function):
        """A backward that gives float32 for a half input."""

        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad.float() * 2

    leaf = numbanet.ones(2, dtype=dtype, requires_grad=True)
    (Wide.apply(leaf) + 0).sum().backward()
    assert leaf.grad.dtype == dtype and leaf.grad.tolist() == [2, 2]


# ------------------------------------------------------------------------------------------- modules and optimisers


def test_modules_become_half_and_back():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    x = numbanet.randn(2, 1, 4, 4)
    for change, dtype in ((net.half, FP16), (net.bfloat16, BF16), (lambda: net.to(BF16), BF16)):
        change()
        assert {p.dtype for p in net.parameters()} == {dtype}
        assert net[1].num_batches_tracked.dtype == numbanet.int64
        out = net(x.to(dtype))
        assert out.dtype == dtype
        out.sum().backward()
        assert {p.grad.dtype for p in net.parameters()} == {dtype}
        net.zero_grad()
    assert net.float()(x).dtype == numbanet.float32


@by_dtype
@pytest.mark.parametrize("mixed", [True, False])
def test_normalisation_of_half_input_with_float32_or_half_weights(dtype, mixed):
    x = numbanet.randn(4, 3, 5).to(dtype).requires_grad_()
    for make in (lambda: nn.BatchNorm1d(3), lambda: nn.GroupNorm(1, 3), lambda: nn.LayerNorm(5)):
        layer = make() if mixed else make().to(dtype)
        out = layer(x)
        wide = make()(x.detach().float())
        assert out.dtype == dtype
        np.testing.assert_allclose(out.float().detach().numpy(), wide.detach().numpy(), rtol=0.02, atol=0.02)
        out.sum().backward()
        assert layer.weight.grad.dtype == layer.weight.dtype == (numbanet.float32 if mixed else dtype)
    with pytest.raises(RuntimeError, match="input is float32 but weight is"):
        nn.LayerNorm(5).to(dtype)(x.float())


@needs_torch
@by_dtype
@pytest.mark.parametrize(
    "name, options", [("SGD", {"momentum": 0.9}), ("SGD", {}), ("AdamW", {"eps": 1e-4}), ("RMSprop", {"eps": 1e-4})]
)
def test_optimisers_step_half_parameters_as_pytorch_does(name, options, dtype):
    """Nearly: here a step is computed in float32 and rounded once, there after each operation."""
    start, slope = (np.random.default_rng(i).standard_normal(40).astype(np.float32) for i in range(2))
    found = []
    for library in (numbanet, torch):
        p = library.from_numpy(start.copy()).to(getattr(library, str(dtype)))
        p = p.requires_grad_()
        optimizer = getattr(library.optim, name)([p], lr=0.1, **options)
        for _ in range(3):
            p.grad = library.from_numpy(slope.copy()).to(p.dtype)
            optimizer.step()
        assert str(p.dtype).endswith(str(dtype))
        state = optimizer.state_dict()["state"].get(0, {})
        assert all(str(v.dtype).endswith(str(dtype)) for k, v in state.items() if k != "step" and v is not None)
        found.append(p.detach().float().numpy())
    np.testing.assert_allclose(*found, rtol=0.02, atol=0.02)


def test_half_and_float32_parameters_in_one_optimiser_and_one_norm():
    a, b = numbanet.ones(3, requires_grad=True), numbanet.ones(3, dtype=FP16, requires_grad=True)
    a.grad, b.grad = numbanet.full((3,), 300.0), numbanet.full((3,), 400.0, dtype=FP16)  # 400^2 is beyond float16
    assert nn.utils.clip_grad_norm_([a, b], 5 * 3**0.5).item() == pytest.approx(500 * 3**0.5)
    np.testing.assert_allclose(b.grad.float().numpy(), 4, rtol=1e-3)
    optim.SGD([a, b], lr=0.5).step()
    np.testing.assert_allclose(a.detach().numpy(), -0.5, rtol=1e-3)
    np.testing.assert_allclose(b.detach().float().numpy(), -1, rtol=1e-3)
    assert b.dtype == FP16


def test_files(tmp_path):
    state = {
        "b": numbanet.tensor([1.0, 2.5], dtype=BF16),
        "h": numbanet.tensor([0.1], dtype=FP16),
        "n": numbanet.ones(2).numpy().astype(BF16),
    }
    numbanet.save(state, tmp_path / "halves")
    found = numbanet.load(tmp_path / "halves")
    for key, value in state.items():
        assert found[key].dtype == value.dtype and found[key].tolist() == value.tolist()
    net, other = nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2)
    numbanet.save(net.state_dict(), tmp_path / "net")
    other.load_state_dict(numbanet.load(tmp_path / "net"))  # takes the values in its own dtype, as PyTorch does
    assert other.weight.dtype == numbanet.float32 and (other.weight == net.weight.float()).all()
    net.load_state_dict(other.state_dict())
    assert net.weight.dtype == BF16


@needs_torch
def test_files_are_exchanged_with_pytorch(tmp_path):
    from safetensors.torch import load_file, save_file

    save_file(
        {"w": torch.tensor([1.0, 2.5], dtype=torch.bfloat16), "h": torch.tensor([0.1]).half()}, tmp_path / "theirs"
    )
    found = numbanet.load(tmp_path / "theirs")
    assert found["w"].dtype == BF16 and found["w"].tolist() == [1, 2.5] and found["h"].dtype == FP16
    numbanet.save(found, tmp_path / "ours")
    assert load_file(tmp_path / "ours")["w"].dtype == torch.bfloat16
    assert load_file(tmp_path / "ours")["h"].item() == found["h"].item()
