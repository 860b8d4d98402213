"""Autocast and GradScaler: PyTorch's dtypes for every operator, float32 master weights, and a few training steps beside PyTorch's."""

from __future__ import annotations

import ast
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbanet
from numbanet import amp, nn, optim, precision
from numbanet.autograd.tape import current_autocast
from numbanet.utils.checkpoint import checkpoint
from tests.operators import FUNCTIONS, LAYERS, draw_all, make_layer, tensors_in
from tests.test_semantics import BOTH, needs_torch, torch

BF16, FP16, F32 = numbanet.bfloat16, numbanet.float16, numbanet.float32


@pytest.fixture(autouse=True)
def autocast_is_off_afterwards():
    yield
    assert current_autocast() is None


# ------------------------------------------------------------------------------------------------------- the lists


def cast(value: Any, half: bool) -> Any:
    """Floating tensors of either library in bfloat16 or float32."""
    if hasattr(value, "requires_grad"):
        return (value.detach().bfloat16() if half else value.detach().float()) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: cast(item, half) for key, item in value.items()}
    return type(value)([cast(item, half) for item in value]) if isinstance(value, list | tuple) else value


def dtypes_under_autocast(library: Any, case: tuple[str, str], half: bool) -> list[str]:
    kind, name = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "function":
            args, kwargs = cast(draw_all((FUNCTIONS[name].args, FUNCTIONS[name].kwargs), library, np.float32), half)
            with library.autocast("cpu"):
                results = FUNCTIONS[name].call(name, library, args, kwargs)
        else:
            layer = make_layer(name, LAYERS[name].args, LAYERS[name].kwargs, library, np.float32)
            inputs = cast(draw_all(LAYERS[name].inputs, library, np.float32), half)
            with library.autocast("cpu"):
                results = layer(*inputs)
    return [str(t.dtype).removeprefix("torch.") for t in tensors_in(results)]


@needs_torch
@pytest.mark.parametrize("case", BOTH, ids=lambda case: case[1])
def test_every_operator_gives_pytorchs_dtype_on_the_cpu(case):
    for half in (False, True):
        try:
            theirs = dtypes_under_autocast(torch, case, half)
        except Exception:  # PyTorch has no such operator in bfloat16
            continue
        assert dtypes_under_autocast(numbanet, case, half) == theirs, "bfloat16 in" if half else "float32 in"


def test_the_lists_name_public_operators_once():
    names = set(numbanet.functional.__dict__)
    for device in ("cpu", "cuda"):
        lists = [precision.LOWER[device], precision.FLOAT32[device], precision.WIDEST[device]]
        assert not frozenset().union(*lists) - names
        assert sum(map(len, lists)) == len(frozenset().union(*lists))


def test_code_above_functional_takes_listed_operators_from_the_package():
    """From a family's own file they would come past autocast."""
    listed = frozenset().union(*precision.LOWER.values(), *precision.FLOAT32.values(), *precision.WIDEST.values())
    wrong = []
    package = Path(numbanet.__file__).parent
    for file in sorted(package.rglob("*.py")):
        if file.parent.name == "functional" and file.name != "__init__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numbanet.functional."):
                wrong += [f"{file.name}: {alias.name}" for alias in node.names if alias.name in listed]
            if isinstance(node, ast.Import):
                wrong += [f"{file.name}: {a.name}" for a in node.names if a.name.startswith("numbanet.functional.")]
    assert not [w for w in wrong if w != "lbfgs.py: cat"], wrong  # an optimiser's step is no place for autocast


# -------------------------------------------------------------------------------------------------------- contexts


def test_contexts_nest_and_end():
    x = numbanet.randn(2, 2)
    assert not numbanet.is_autocast_enabled()
    with numbanet.autocast("cpu"):
        assert numbanet.is_autocast_enabled("cpu") and not numbanet.is_autocast_enabled("cuda")
        assert (x @ x).dtype == x.matmul(x).dtype == BF16
        with numbanet.autocast("cpu", enabled=False):
            assert (x @ x).dtype == F32 and not numbanet.is_autocast_enabled()
            with numbanet.autocast("cpu", dtype=FP16):
                assert (x @ x).dtype == numbanet.get_autocast_dtype("cpu") == FP16
        assert (x @ x).dtype == BF16
        with pytest.raises(ZeroDivisionError):
            with numbanet.autocast("cpu", dtype=FP16):
                raise ZeroDivisionError
        assert (x @ x).dtype == BF16
    assert (x @ x).dtype == F32


def test_a_decorator_and_a_thread_of_its_own():
    x, seen = numbanet.ones(2, 2), []

    @numbanet.autocast("cpu")
    def product(a):
        thread = threading.Thread(target=lambda: seen.append((a @ a).dtype))
        thread.start()
        thread.join()
        return a @ a

    assert product(x).dtype == BF16 and seen == [F32] and product.__name__ == "product"


def test_what_is_left_alone():
    """float64, integers, what stands in no list, and a dtype that the caller names."""
    x = numbanet.ones(2, 2)
    with numbanet.autocast("cpu"):
        assert (x.double() @ x.double()).dtype == numbanet.float64
        assert (x + x).dtype == F32 and (x.bfloat16() + x).dtype == F32 and x.bfloat16().exp().dtype == BF16
        assert x.bfloat16().prod(0).dtype == F32
        assert x.bfloat16().prod(0, dtype=FP16).dtype == FP16
        assert nn.functional.pad(x.bfloat16(), (1, 1)).dtype == BF16
        assert nn.functional.pad(x.bfloat16(), (1, 1), mode="reflect").dtype == F32
        assert numbanet.cat([x, x.bfloat16()]).dtype == F32


def test_arguments():
    with pytest.raises(RuntimeError, match="device_type must be 'cpu' or 'cuda', got 'tpu'"):
        numbanet.autocast("tpu")
    with pytest.raises(ValueError, match="expected device_type of type str"):
        numbanet.autocast(None)
    with pytest.warns(UserWarning, match="dtype must be bfloat16 or float16, got float32"):
        with numbanet.autocast("cpu", dtype=F32):
            assert not numbanet.is_autocast_enabled()
    assert numbanet.cuda.amp.GradScaler is amp.GradScaler and amp.autocast is numbanet.autocast


# ------------------------------------------------------------------------------------------------ gradients, weights


def test_master_weights_get_float32_gradients_and_are_cast_once():
    layer = nn.Linear(3, 2)
    x = numbanet.randn(4, 3)
    with numbanet.autocast("cpu"):
        first, second = layer(x), layer(x)
        casts = {
            id(node)
            for out in (first, second)
            for node, _ in out.grad_fn.next_functions
            if node and node.name() == "ToBackward"
        }
        assert len(casts) == 2  # weight and bias
        with numbanet.no_grad():
            assert layer(x).requires_grad is False
        assert layer(x).requires_grad
        (first + second).float().sum().backward()  # inside: backward itself is not under autocast
    assert layer.weight.grad.dtype == layer.bias.grad.dtype == F32
    np.testing.assert_allclose(layer.weight.grad.numpy(), 2 * np.tile(x.numpy().sum(0), (2, 1)), rtol=0.02, atol=0.02)
    with numbanet.autocast("cpu", cache_enabled=False):
        outs = [layer(x), layer(x)]
        assert (
            len(
                {
                    id(node)
                    for out in outs
                    for node, _ in out.grad_fn.next_functions
                    if node and node.name() == "ToBackward"
                }
            )
            == 4
        )


def test_a_weight_that_changes_inside_the_context_is_cast_again():
    layer = nn.Linear(2, 2, bias=False)
    x = numbanet.ones(1, 2)
    with numbanet.autocast("cpu"):
        layer(x).float().sum().backward()
        optim.SGD(layer.parameters(), lr=1.0).step()
        after = layer(x).detach().float().numpy()
    np.testing.assert_allclose(after, layer(x).detach().numpy(), rtol=0.01, atol=0.01)


def test_checkpoints_compute_again_under_the_same_autocast():
    layer = nn.Linear(3, 3)
    x = numbanet.randn(2, 3)
    grads = []
    for run in (lambda: layer(x), lambda: checkpoint(layer, x, use_reentrant=False)):
        layer.zero_grad()
        with numbanet.autocast("cpu"):
            out = run().sigmoid()
        out.float().sum().backward()
        grads.append(layer.weight.grad.numpy().copy())
    np.testing.assert_array_equal(*grads)


def test_functions_of_ones_own():
    class Product(numbanet.autograd.Function):
        seen: list[Any] = []  # noqa: RUF012

        @staticmethod
        @amp.custom_fwd(device_type="cpu", cast_inputs=F32)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            Product.seen.append((a.dtype, numbanet.is_autocast_enabled()))
            return a @ b

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            a, b = ctx.saved_tensors
            Product.seen.append(numbanet.is_autocast_enabled())
            return grad @ b.t(), a.t() @ grad

    class Under(Product):
        forward = staticmethod(amp.custom_fwd(Product.forward.__wrapped__, device_type="cpu"))

    a = numbanet.randn(2, 2, requires_grad=True)
    with numbanet.autocast("cpu"):
        out = Product.apply(a.bfloat16(), a)
        assert out.dtype == F32
        out.sum().backward()
        assert Product.seen == [(F32, False), False]
        out = Under.apply(a, a)
        assert out.dtype == BF16
    out.float().sum().backward()
    assert Product.seen[2:] == [(F32, True), True]


# -------------------------------------------------------------------------------------------- training beside PyTorch


def lenet(library: Any) -> Any:
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, 3),
    )  # fmt: skip


def residual(library: Any) -> Any:
    nn = library.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

        def forward(self, x):
            y = library.relu(self.bn1(self.conv1(x)))
            return library.relu(self.bn2(self.conv2(y)) + x)

    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        Block(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 12)
    return (rng.standard_normal((12, 1, 12, 12)) * 0.3 + labels[:, None, None, None] - 1).astype(np.float32), labels


def train(library: Any, net: Any, steps: int, dtype: Any = None, scaler: Any = None) -> list[float]:
    x, labels = (library.from_numpy(a) for a in batch())
    optimizer = library.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with library.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            loss = library.nn.functional.cross_entropy(net(x), labels)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        losses.append(loss.item())
    return losses


@needs_torch
@pytest.mark.parametrize("make", [lenet, residual])
def test_losses_under_bfloat16_autocast_are_pytorchs(make):
    numbanet.manual_seed(0)
    ours, theirs = make(numbanet), make(torch)
    theirs.load_state_dict({k: torch.from_numpy(np.array(v.numpy())) for k, v in ours.state_dict().items()})
    found, wanted = train(numbanet, ours, 6, BF16), train(torch, theirs, 6, torch.bfloat16)
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02)
    assert {p.dtype for p in ours.parameters()} == {p.grad.dtype for p in ours.parameters()} == {F32}
    assert wanted[-1] < wanted[0]


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
def test_half_precision_learns_what_float32_learns(dtype):
    losses = []
    for each in (None, dtype):
        numbanet.manual_seed(0)
        scaler = amp.GradScaler(init_scale=1024.0) if each == FP16 else None
        losses.append(train(numbanet, residual(numbanet), 6, each, scaler))
    np.testing.assert_allclose(*losses, rtol=0.03, atol=0.03)


# ------------------------------------------------------------------------------------------------------ GradScaler


@needs_torch
def test_the_scale_moves_as_pytorchs():
    """Overflows, growth and what the parameters become, step by step."""
    slopes = [1.0, 2.0, np.inf, 1.0, np.nan, 1.0, 1.0, 1.0, 1.0, 1.0]
    runs = []
    for library in (numbanet, torch):
        p = library.ones(2, requires_grad=True)
        optimizer = library.optim.SGD([p], lr=0.1)
        scaler = library.amp.GradScaler(**({"device": "cpu"}), init_scale=8.0, growth_interval=3, backoff_factor=0.25)
        seen = []
        for slope in slopes:
            optimizer.zero_grad()
            scaler.scale((p * slope).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            seen.append((scaler.get_scale(), *p.detach().tolist()))
        runs.append((seen, scaler.state_dict()))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-6)
    assert runs[0][1] == runs[1][1]
    again = amp.GradScaler()
    again.load_state_dict(runs[1][1])
    assert again.state_dict() == runs[1][1]


def test_unscaling_once_and_by_hand():
    p = numbanet.ones(2, requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0)
    scaler = amp.GradScaler(init_scale=16.0)
    one, two = scaler.scale([p.sum(), (p * 3).sum()])
    (one + two).backward()
    assert p.grad.tolist() == [64, 64]
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert p.detach().tolist() == [-3, -3]
    with pytest.raises(RuntimeError, match=r"step\(\) has already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) is being called after step"):
        scaler.unscale_(optimizer)
    scaler.update()
    with pytest.raises(RuntimeError, match="Closure use"):
        scaler.step(optimizer, lambda: None)
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="No inf checks were recorded for this optimizer"):
        scaler.step(optimizer)


def test_refusals_and_a_scaler_that_is_off():
    for options in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(ValueError, match="GradScaler: "):
            amp.GradScaler(**options)
    p = numbanet.ones(2, dtype=FP16, requires_grad=True)
    p.grad = numbanet.ones(2, dtype=FP16)
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        amp.GradScaler().unscale_(optim.SGD([p], lr=1.0))
    with pytest.raises(RuntimeError, match="No inf checks were recorded prior to update"):
        amp.GradScaler().update()
    with pytest.raises(RuntimeError, match="source state dict is empty"):
        amp.GradScaler().load_state_dict({})
    off = amp.GradScaler(enabled=False)
    loss = p.sum()
    assert off.scale(loss) is loss and off.get_scale() == 1 and off.state_dict() == {} and not off.is_enabled()
    off.step(optim.SGD([p], lr=1.0))
    off.update()
    assert p.detach().tolist() == [0, 0]
    assert amp.GradScaler().scale(numbanet.tensor(1.0, dtype=FP16)).item() == 65536  # beyond float16
