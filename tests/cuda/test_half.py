"""Half precision on CUDA, a GPU or the simulator: the CPU's values, autocast, and checkpoints from one device to the other."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import amp, nn, optim, train
from numbanet.devices import SIMULATOR, cuda_is_available
from numbanet.kernels import launch
from numbanet.nn import functional as F

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not cuda_is_available(), reason="no GPU and no simulator (NUMBA_ENABLE_CUDASIM=1)"),
]
BF16, FP16 = numbanet.bfloat16, numbanet.float16


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    if SIMULATOR:
        monkeypatch.setattr(launch, "THREADS", 32)
        monkeypatch.setattr(launch, "TILE", 4)


def network():
    numbanet.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def batch(device="cpu"):
    rng = np.random.default_rng(0)
    x = numbanet.from_numpy(rng.standard_normal((3, 1, 4, 4)).astype(np.float32))
    return x.to(device), numbanet.tensor([0, 2, 1], device=device)


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
def test_half_tensors_do_there_what_they_do_here(dtype):
    x = numbanet.randn(3, 4).to(dtype)
    there = x.to("cuda")
    assert there.dtype == dtype and there.is_cuda and there.tolist() == x.tolist()
    for function in (
        lambda t: t + t * 2,
        lambda t: t.t().contiguous(),
        lambda t: t[numbanet.tensor([2, 0], device=t.device)],
        lambda t: t.sum(1),
        lambda t: t.float(),
        lambda t: t.double().to(dtype),
        lambda t: t @ t.t(),
        lambda t: t.long(),
        lambda t: numbanet.cat([t, t]),
        lambda t: t.clone().fill_(1.5),
    ):
        np.testing.assert_allclose(
            function(there).cpu().numpy().astype(np.float32),
            function(x).numpy().astype(np.float32),
            rtol=0.01,
            atol=0.02,
        )
    part = there.clone()
    part[:, 1] = 7
    assert part.cpu()[:, 1].tolist() == [7, 7, 7]
    assert str(there).startswith("tensor(") and "device='cuda:0'" in str(there)


@pytest.mark.parametrize("dtype", [None, BF16], ids=str)
def test_autocast_steps_there_and_here(dtype):
    """By CUDA's lists there, the CPU's here, and float16 with a scaled loss by default on CUDA."""
    losses, params = [], []
    for device in ("cpu", "cuda"):
        net = network().to(device)
        optimizer = optim.SGD(net.parameters(), lr=0.1)
        scaler = amp.GradScaler(init_scale=256.0, enabled=dtype is None)
        x, labels = batch(device)
        for _ in range(2):
            optimizer.zero_grad()
            with numbanet.autocast(device, dtype=dtype or FP16):
                scores = net(x)
                loss = F.cross_entropy(scores, labels)
                assert scores.dtype == (dtype or FP16) and loss.dtype == numbanet.float32
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        losses.append(loss.item())
        params.append(net[0].weight.detach().cpu().numpy())
        assert net[0].weight.grad.dtype == numbanet.float32
    np.testing.assert_allclose(*losses, rtol=0.02)
    np.testing.assert_allclose(*params, rtol=0.05, atol=0.02)


def test_cudas_lists():
    x = numbanet.randn(2, 2, device="cuda")
    here = numbanet.randn(2, 2)
    with numbanet.autocast("cuda"):
        assert numbanet.get_autocast_dtype("cuda") == FP16
        product = x @ x
        assert product.dtype == FP16 and (here @ here).dtype == numbanet.float32
        for name in ("exp", "log1p", "sum", "softmax", "cumsum", "pow"):
            given = {"softmax": (1,), "cumsum": (1,), "pow": (3,)}.get(name, ())
            assert getattr(product.abs(), name)(*given).dtype == numbanet.float32, name
        assert (product + 1).dtype == product.relu().dtype == FP16
        assert product.sum(dtype=FP16).dtype == FP16
        with pytest.raises(RuntimeError, match="use binary_cross_entropy_with_logits"):
            F.binary_cross_entropy(x.sigmoid(), x.sigmoid())
        with numbanet.autocast("cpu"):
            assert (here @ here).dtype == BF16 and (x @ x).dtype == FP16


@pytest.mark.parametrize("start, end", [("cpu", "cuda"), ("cuda", "cpu")])
def test_checkpoints_go_from_one_device_to_the_other(tmp_path, start, end):
    """In another precision, too, and with the optimiser's and the scaler's states."""
    loader = [batch()]
    first = train.Trainer(net := network(), optim.Adam(net.parameters()), device=start, amp="fp16", progress=False)
    first.scaler.update(64.0)
    first.fit(loader, epochs=1)
    first.save(tmp_path / "c")
    net = network()
    second = train.Trainer(net, optim.Adam(net.parameters()), device=end, amp="fp16", progress=False)
    second.resume(tmp_path / "c")
    assert second.scaler.state_dict() == first.scaler.state_dict() and second.scaler.get_scale() == 64
    for one, other in zip(first.net.state_dict().values(), second.net.state_dict().values(), strict=True):
        assert other.device.type == end and one.tolist() == other.tolist()
    second.fit(loader, epochs=2)
    assert {p.device.type for p in second.net.parameters()} == {end}
