"""The table of layers: numbers by hand arithmetic, every column's sum, and that looking changes nothing."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

import numbanet
from numbanet import models, nn
from numbanet.devices import cuda_is_available
from numbanet.functional import cat
from numbanet.inspect import profile, summary
from numbanet.kernels import conv2d as kernels
from numbanet.nn import functional as F
from numbanet.nn import init


def conv(inputs, outputs, size, h, w, groups=1, bias=True):
    """Parameters and multiply-adds by the notes' formulas."""
    parameters = (inputs // groups * size * size + bias) * outputs
    return parameters, inputs // groups * size * size * h * w * outputs


def linear(inputs, outputs):
    return (inputs + 1) * outputs, inputs * outputs


LENET = {
    "0": conv(1, 6, 5, 28, 28), "3": conv(6, 16, 5, 10, 10),
    "7": linear(400, 120), "9": linear(120, 84), "11": linear(84, 10),
}  # fmt: skip


def alexnet():
    """AlexNet as its paper has it on one GPU (Krizhevsky 2014), 224 x 224 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(inplace=True),
        nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000),
    )  # fmt: skip


ALEXNET = {
    "0": conv(3, 64, 11, 55, 55), "3": conv(64, 192, 5, 27, 27), "6": conv(192, 384, 3, 13, 13),
    "8": conv(384, 256, 3, 13, 13), "10": conv(256, 256, 3, 13, 13),
    "15": linear(9216, 4096), "18": linear(4096, 4096), "20": linear(4096, 1000),
}  # fmt: skip


@pytest.mark.parametrize(
    "make, shape, expected, parameters, field",
    [
        (models.lenet, (1, 28, 28), LENET, 61_706, (16, 4, 2)),
        (alexnet, (3, 224, 224), ALEXNET, 61_100_840, (195, 32, 66)),
    ],
    ids=["lenet", "alexnet"],
)
def test_known_networks(make, shape, expected, parameters, field):
    with init.skipped():
        net = make()
    found = summary(net, (1, *shape))
    counted = {row.name: (row.parameters, row.macs) for row in found.rows if row.macs}
    assert counted == expected
    assert found.parameters == sum(row.parameters for row in found.rows) == parameters
    assert found.macs == sum(macs for _, macs in expected.values())
    assert found.flops == 2 * found.macs
    pool = [row for row in found.rows if "Pool" in row.kind][-1]
    assert (pool.field.size, pool.field.stride, pool.field.padding) == tuple((n, n) for n in field)
    if make is alexnet:
        assert f"{found.macs / 1e9:.2f}" == "0.71"


def test_the_text_has_a_line_for_each_layer():
    lines = str(summary(models.lenet(), (2, 1, 28, 28))).splitlines()
    assert lines[0].split()[:5] == ["layer", "output", "shape", "parameters", "MACs"]
    assert lines[3].split()[:10] == ["0:", "Conv2d", "(2,", "6,", "28,", "28)", "156", "235", "k", "470"]
    assert [line.split()[:2] for line in lines if line.startswith("total")] == [["total", "61,706"]]
    assert "forward ms" not in lines[0]


def test_the_batch_multiplies_work_and_memory_but_not_parameters():
    one, four = (summary(models.lenet(), (n, 1, 28, 28)) for n in (1, 4))
    assert four.parameters == one.parameters
    assert (four.macs, four.activation_bytes, four.saved_bytes) == (
        4 * one.macs,
        4 * one.activation_bytes,
        4 * one.saved_bytes,
    )


def test_memory_is_counted_where_it_is_made():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Identity())
    found = summary(net, (1, 1, 10, 10))
    assert [row.activation_bytes for row in found.rows[1:]] == [2 * 64 * 4, 0, 2 * 64 * 4, 0, 0, 0]
    # The convolution keeps its input, the two ReLUs the numbers that they put out.
    assert found.saved_bytes == (100 + 128 + 128) * 4


class Branches(nn.Module):
    """A residual sum, a concatenation, a functional activation, and a layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.grouped = nn.Conv2d(4, 4, 5, padding=2, groups=2)
        self.up = nn.ConvTranspose2d(8, 3, 2, stride=2)
        self.spare = nn.Linear(7, 7)

    def forward(self, x):
        y = F.relu(self.twice(x)) + x
        return self.up(cat((self.twice(y), self.grouped(y)), 1))


def test_branches_shared_layers_and_layers_that_do_not_run():
    found = summary(Branches(), (1, 4, 6, 6))
    assert [(row.label, row.operation) for row in found.rows] == [
        ("Branches", False),
        ("twice: Conv2d", False),
        ("relu", True),
        ("add", True),
        ("twice: Conv2d (again)", False),
        ("grouped: Conv2d", False),
        ("cat", True),
        ("up: ConvTranspose2d", False),
    ]
    twice, again = found.rows[1], found.rows[4]
    assert (twice.parameters, again.parameters) == (4 * 4 * 9, 0)
    assert twice.macs == again.macs == 36 * 4 * 4 * 9
    assert (found["grouped"].parameters, found["grouped"].macs) == conv(4, 4, 5, 6, 6, groups=2)
    # Every pixel of the input meets the whole kernel: 8 channels in, 3 out, 2 x 2.
    assert (found["up"].parameters, found["up"].macs) == (8 * 3 * 4 + 3, 36 * 8 * 3 * 4)
    assert found["up"].output_shape == (1, 3, 12, 12)
    assert found.idle == ["spare"]
    assert sum(row.parameters for row in found.rows) + 56 == found.parameters
    assert "did not run: spare" in str(found)
    # 3 x 3, then 3 x 3 and 5 x 5 side by side: the larger counts.
    assert [row.field.size[0] for row in found.rows[1:7]] == [3, 3, 3, 5, 7, 7]


def test_products_of_matrices_count():
    class Attention(nn.Module):
        def forward(self, x):
            return numbanet.matmul(numbanet.softmax(numbanet.matmul(x, x.transpose(1, 2)), -1), x)

    found = summary(nn.Sequential(Attention()), (2, 5, 7))
    assert found["0"].macs == 2 * (5 * 5 * 7 + 5 * 5 * 7)
    assert found["0"].algorithm == "matmul"


def test_a_weight_that_is_used_without_calling_its_layer_counts_with_the_caller():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return F.linear(x, self.inner.weight, self.inner.bias)

    found = summary(nn.Sequential(Tied(), nn.Linear(4, 2)), (1, 4))
    assert {row.label: row.parameters for row in found.rows} == {"Sequential": 0, "0: Tied": 20, "1: Linear": 10}
    assert found.idle == []


def test_names_are_those_within_the_calling_module():
    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList([nn.Linear(4, 3)])
            self.up = nn.ModuleList([nn.Linear(3, 4)])

        def forward(self, x):
            return self.up[0](self.down[0](x))

    found = summary(nn.Sequential(Lists()), (1, 4))
    assert [row.label for row in found.rows[1:]] == ["0: Lists", "down.0: Linear", "up.0: Linear"]
    assert [row.name for row in found.rows[1:]] == ["0", "0.down.0", "0.up.0"]


@pytest.mark.cuda
@pytest.mark.skipif(not cuda_is_available(), reason="needs a GPU or the simulator")
def test_on_cuda():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten())
    here, there = summary(net, (1, 1, 5, 5)), summary(net.to("cuda"), (1, 1, 5, 5))
    assert there["0"].algorithm == "gather"
    assert (there.macs, there.activation_bytes) == (here.macs, here.activation_bytes)
    assert there.saved_bytes == here.saved_bytes


def test_depth_adds_up_what_is_further_down():
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), nn.Flatten(), nn.Linear(64, 2)
    )
    deep, shallow = summary(net, (1, 1, 8, 8)), summary(net, (1, 1, 8, 8), depth=1)
    assert [row.label for row in shallow.rows] == ["Sequential", "0: Sequential", "1: Flatten", "2: Linear"]
    for column in ("parameters", "macs", "activation_bytes"):
        assert getattr(shallow, column) == getattr(deep, column) == sum(getattr(row, column) for row in shallow.rows)
    assert shallow["0"].output_shape == (1, 4, 4, 4)
    assert shallow["0"].field.size == (5, 5)
    assert not shallow["0"].contains


def test_to_dict_is_json_and_to_csv_a_table():
    found = summary(models.lenet(), (1, 1, 28, 28))
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["macs"] == found.macs
    assert plain["rows"][1]["field"] == {"size": [5, 5], "stride": [1, 1], "padding": [2, 2], "whole": False}
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(rows) == len(found.rows)
    assert (rows[4]["name"], rows[4]["macs"], rows[4]["output_shape"], rows[4]["field"]) == (
        "3",
        "240000",
        "1x16x10x10",
        "14",
    )


def test_timing_is_measured_and_adds_up():
    found = summary(models.lenet(), (4, 1, 28, 28), timing=True, repeats=3)
    assert all(row.forward_ms > 0 and row.backward_ms > 0 for row in found.rows[1:])
    assert found.forward_ms == pytest.approx(sum(row.forward_ms for row in found.rows))
    assert found.backward_ms == pytest.approx(sum(row.backward_ms for row in found.rows[1:]))
    assert "backward ms" in str(found).splitlines()[0]
    folded = summary(Branches(), (1, 4, 6, 6), timing=True, repeats=1)
    assert [row.forward_ms is None for row in folded.rows] == [row.operation for row in folded.rows]
    assert all(row.backward_ms is not None for row in folded.rows[1:])


def test_profile_shows_shares():
    found = profile(models.lenet(), (4, 1, 28, 28), repeats=1)
    lines = str(found).splitlines()
    assert lines[0].split() == [
        "layer",
        "output",
        "shape",
        "forward",
        "ms",
        "backward",
        "ms",
        "share",
        "GFLOP/s",
        "forward",
    ]
    shares = [
        float(word.rstrip("%"))
        for line in lines[2:]
        if not line.startswith(("-", "total"))
        for word in line.split()
        if "%" in word
    ]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert found["0"].forward_ms > 0


def test_the_algorithms_are_those_that_run(monkeypatch):
    net = nn.Sequential(nn.Conv2d(6, 16, 5), nn.Conv2d(16, 16, 3, padding=1), nn.ConvTranspose2d(16, 8, 3, stride=2))
    shape = (16, 6, 14, 14)
    found = [row.algorithm for row in summary(net, shape).rows[1:]]
    ran = []
    run = kernels.run

    def watch(plan, *arrays):
        ran.append(plan.body.py_func.__module__.rpartition("_")[2])
        run(plan, *arrays)

    for module in (kernels, __import__("numbanet.kernels.conv_transpose2d", fromlist=["run"])):
        monkeypatch.setattr(module, "run", watch)
    outputs = [numbanet.zeros(shape, requires_grad=True)]
    for layer in net:
        outputs.append(layer(outputs[-1].detach().requires_grad_()))
    forward, expected = list(ran), []
    for k, y in enumerate(outputs[1:]):
        ran.clear()
        y.sum().backward()
        ways = [forward[k], *ran[:2]]
        expected.append(ways[0] if len(set(ways)) == 1 else "/".join(ways))
    assert found == expected
    assert any("images" in ways for ways in found)


def test_looking_changes_nothing():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 3))
    net[1].eval()
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    summary(net, (1, 1, 8, 8), timing=True, repeats=1)
    assert all(np.array_equal(before[name], value.numpy()) for name, value in net.state_dict().items())
    assert [m.training for m in net] == [True, False, True, True, True]
    assert all(p.grad is None for p in net.parameters())
    assert all(m._hooks is None or not (m._hooks.before or m._hooks.after) for m in net.modules())


def test_several_inputs_and_outputs():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, a, b):
            return {"sum": self.conv(a) + self.conv(b), "first": self.conv(a)}

    found = summary(Pair(), [(1, 1, 8, 8), (1, 1, 8, 8)])
    assert found.input_shapes == [(1, 1, 8, 8)] * 2
    assert [row.again for row in found.rows if row.kind == "Conv2d"] == [False, True, True]
    assert summary(models.lenet(), numbanet.zeros(1, 1, 28, 28)).macs == summary(models.lenet(), [1, 1, 28, 28]).macs


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: summary("lenet", (1, 1, 28, 28)), TypeError, "summary: net must be an nn.Module, got a str"),
        (lambda: summary(models.lenet(), (1, 0, 28, 28)), ValueError, r"the batch size first such as .*got \(1, 0, 28, 28\)"),
        (lambda: summary(models.lenet(), 28), ValueError, "expected a tensor, or its shape"),
        (lambda: summary(models.lenet(), (1, 1, 32, 32)), ValueError, r"input \(1, 1, 32, 32\) fails in Linear '7'.*576"),
        (lambda: summary(models.lenet(), (1, 3, 28, 28)), ValueError, r"fails in Conv2d '0'.*channels"),
        (lambda: summary(models.lenet(), (1, 1, 28, 28), depth=0), ValueError, "depth must be at least 1, got 0"),
        (lambda: profile(models.lenet(), (1, 1, 28, 28), repeats=0), ValueError, "repeats must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_row_that_is_not_there():
    with pytest.raises(KeyError, match="no layer 'conv9' ran"):
        summary(models.lenet(), (1, 1, 28, 28))["conv9"]


def test_what_the_input_does_not_reach_is_named():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            with numbanet.no_grad():
                x = self.frozen(x)
            return self.head(x)

    found = summary(Cut(), (1, 4))
    assert (found.macs, found.apart) == (0, ("frozen", "head"))
    assert "not counted, for nothing from the input reaches it (no_grad, detach?): frozen, head" in str(found)
    assert "parameters and buffers 120 B, 30 parameters trainable; 0 B wait" in str(found)
    frozen = nn.Sequential(nn.Linear(4, 2)).requires_grad_(False)
    assert summary(frozen, (1, 4)).apart == ()
    assert "parameters and buffers 0 B, 0 parameters" in str(summary(nn.Sequential(), (1, 4)))


def test_layers_in_a_plain_list_are_no_parameters():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(4, 4), nn.Linear(4, 2)]

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    found = summary(Listed(), (1, 4))
    assert (found.parameters, found.unregistered) == (0, 30)
    assert "30 numbers are learnt that are no parameters of the network" in str(found)
    assert summary(nn.Linear(4, 2), (1, 4)).unregistered == 0
