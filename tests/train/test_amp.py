"""Mixed precision in the trainer: it learns, keeps float32 weights, and its checkpoints fit any precision."""

from __future__ import annotations

import numpy as np
import pytest

import numbanet
from numbanet import io, train
from tests.train.test_trainer import blobs, loaders, trainer, weights

PRECISIONS = [None, "bf16", "fp16"]


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_it_learns_with_float32_weights(amp):
    t = trainer(amp=amp)
    history = t.fit(*loaders(), epochs=8)
    assert history[-1]["loss"] < 0.6 < history[0]["loss"]
    assert {p.dtype for p in t.net.parameters()} == {numbanet.float32}
    assert t.scaler.is_enabled() == (amp == "fp16")
    plain, half = train.evaluate(t.net, loaders()[1])["loss"], t.evaluate(loaders()[1])["loss"]
    assert half != plain  # it was computed under autocast
    assert half == pytest.approx(plain, abs=0.02)
    assert not numbanet.is_autocast_enabled()


def test_what_is_no_precision():
    with pytest.raises(ValueError, match="amp: expected None, 'bf16' or 'fp16', got 'fp8'"):
        trainer(amp="fp8")


def test_a_resumed_training_goes_on_with_its_loss_scale(tmp_path):
    path = tmp_path / "c.safetensors"
    whole, first = trainer(amp="fp16"), trainer(amp="fp16")
    whole.scaler.update(256.0)
    first.scaler.update(256.0)
    first.fit(*loaders(), epochs=2)
    first.save(path)
    second = trainer(seed=5, amp="fp16")
    second.resume(path)
    assert second.scaler.state_dict() == first.scaler.state_dict()
    assert second.scaler.get_scale() == 256
    assert second.scaler.state_dict()["_growth_tracker"] == 2 * 6
    assert io.load(path)["scaler"] == first.scaler.state_dict()
    for name, value in weights(first).items():
        np.testing.assert_array_equal(value, weights(second)[name])


@pytest.mark.parametrize("written", PRECISIONS)
@pytest.mark.parametrize("read", PRECISIONS)
def test_checkpoints_of_one_precision_go_on_in_another(tmp_path, written, read):
    first, second = trainer(amp=written), trainer(seed=3, amp=read)
    first.fit(*loaders(), epochs=1)
    first.save(tmp_path / "c")
    second.resume(tmp_path / "c")
    assert second.epoch == 1
    second.fit(*loaders(), epochs=2)
    assert {p.dtype for p in second.net.parameters()} == {numbanet.float32}


def test_a_half_network_takes_a_float32_checkpoint_and_back(tmp_path):
    first, second = trainer(), trainer(seed=3)
    first.fit(*loaders(), epochs=1)
    first.save(tmp_path / "c")
    second.net.bfloat16()
    second.resume(tmp_path / "c")
    assert {p.dtype for p in second.net.parameters()} == {numbanet.bfloat16}
    state = second.optimizer.state_dict()["state"][0]
    assert state["exp_avg"].dtype == numbanet.bfloat16
    x, labels = blobs().tensors
    loss = numbanet.nn.functional.cross_entropy(second.net(x.bfloat16()), labels)
    loss.backward()
    second.optimizer.step()
    second.save(tmp_path / "half")
    assert io.load(tmp_path / "half")["model"]["0.weight"].dtype == numbanet.bfloat16
    third = trainer(seed=4)
    third.resume(tmp_path / "half")
    for name, value in weights(second).items():
        np.testing.assert_array_equal(value.astype(np.float32), weights(third)[name])
