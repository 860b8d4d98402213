"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

import copy
from collections import OrderedDict

import pytest

import numbanet
from numbanet import nn


def three():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def test_sequential_runs_in_order_and_indexes():
    net = three()
    x = numbanet.randn(4, 2)
    assert net(x).tolist() == net[2](net[1](net[0](x))).tolist()
    assert len(net) == 3 and net[-1] is net[2] and [m for m in net] == [net[0], net[1], net[2]]
    assert isinstance(net[:2], nn.Sequential) and list(net[1:]._modules) == ["1", "2"] and net[1:][0] is net[1]
    with pytest.raises(IndexError, match="index 3 is out of range for a Sequential of 3 modules"):
        net[3]


def test_sequential_from_an_ordered_dict():
    net = nn.Sequential(OrderedDict([("fc", nn.Linear(2, 3)), ("act", nn.ReLU())]))
    assert list(net.state_dict()) == ["fc.weight", "fc.bias"] and net.fc is net[0]


def test_sequential_grows_and_shrinks():
    net = three()
    last = nn.Sigmoid()
    assert net.append(last) is net and net[3] is last
    net.insert(1, nn.Tanh())
    assert [type(m).__name__ for m in net] == ["Linear", "Tanh", "ReLU", "Linear", "Sigmoid"]
    del net[0]
    assert list(net._modules) == ["0", "1", "2", "3"] and isinstance(net[0], nn.Tanh)
    assert net.pop(-1) is last and len(net) == 3
    net.extend([nn.Identity(), nn.Identity()])
    net[0] = nn.ReLU()
    assert isinstance(net[0], nn.ReLU) and len(net) == 5
    assert len(net + three()) == 8 and len(three() * 2) == 6
    net += three()
    assert len(net) == 8
    del net[2:]
    assert len(net) == 2
    with pytest.raises(TypeError, match="is not a Module subclass"):
        nn.Sequential(nn.Linear(1, 1), numbanet.relu)
    with pytest.raises(IndexError):
        net.insert(9, nn.ReLU())


def test_module_list():
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    assert len(layers) == 3 and layers[-1] is layers[2] and isinstance(layers[:2], nn.ModuleList)
    assert list(layers.state_dict())[:2] == ["0.weight", "0.bias"]
    layers.append(nn.ReLU()).extend([nn.Tanh()])
    layers.insert(0, nn.Identity())
    assert [type(m).__name__ for m in layers] == ["Identity", "Linear", "Linear", "Linear", "ReLU", "Tanh"]
    del layers[1]
    assert list(layers._modules) == ["0", "1", "2", "3", "4"] and len(layers + [nn.ReLU()]) == 6
    with pytest.raises(NotImplementedError):
        layers(1)


def test_module_dict():
    parts = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.ReLU()})
    assert list(parts) == ["a", "b"] == list(parts.keys()) and "a" in parts and len(parts) == 2
    assert list(parts.state_dict()) == ["a.weight", "a.bias"]
    parts["c"] = nn.Tanh()
    parts.update([("d", nn.Sigmoid())])
    assert isinstance(parts.pop("b"), nn.ReLU) and [k for k, _ in parts.items()] == ["a", "c", "d"]
    del parts["a"]
    assert len(list(parts.values())) == 2
    parts.clear()
    assert len(parts) == 0


def test_parameter_dict():
    a = nn.Parameter(numbanet.ones(2))
    values = nn.ParameterDict({"a": a, "scale": 3.0})
    values["b"] = numbanet.zeros(3, 1)
    assert (list(values), len(values), "b" in values, "c" in values) == (["a", "scale", "b"], 3, True, False)
    assert values["a"] is a is values.a is values.get("a")
    assert isinstance(values["b"], nn.Parameter)
    assert [n for n, _ in values.named_parameters()] == list(values.state_dict()) == ["a", "b"]
    assert repr(values) == (
        "ParameterDict(\n    (a): Parameter containing: [numbanet.float32 of size 2]\n    (scale): Object of type: float\n"
        "    (b): Parameter containing: [numbanet.float32 of size 3x1]\n)"
    )
    assert values.setdefault("scale", 5) == 3.0
    assert list(reversed(values)) == ["b", "scale", "a"]
    assert values.popitem()[0] == "b"
    assert values.pop("scale") == 3.0
    assert values.pop("scale", None) is None
    both = values | {"c": numbanet.ones(1)}
    assert (list(both), both["a"] is a, list({"c": 1} | values), list(values)) == (["a", "c"], True, ["c", "a"], ["a"])
    values |= {"a": numbanet.ones(4)}
    assert values["a"].shape == (4,)
    assert both["a"] is a
    assert list(values.fromkeys("xy")) == ["x", "y"]
    copied = copy.deepcopy(both)
    assert copied["a"] is not a
    assert list(copied) == ["a", "c"]
    assert both != both.copy()
    assert len({both, both.copy()}) == 2  # a module among others
    values.clear()
    assert not list(values.parameters())


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("a.b", KeyError, "contain"),
        (3, TypeError, "should be a string, got int"),
        ("forward", KeyError, "'forward' is an attribute of modules"),
        ("training", KeyError, "'training' is an attribute of modules"),
    ],
)
def test_names_that_a_parameter_dict_refuses(key, error, message):
    values = nn.ParameterDict()
    with pytest.raises(error, match=message):
        values[key] = numbanet.ones(1)
    assert not len(values)
    for take in (values.__getitem__, values.__delitem__, values.pop):
        with pytest.raises(KeyError):
            take("training")
    with pytest.raises(KeyError, match="is empty"):
        values.popitem()


def test_parameter_list():
    values = nn.ParameterList([nn.Parameter(numbanet.ones(2)), numbanet.zeros(3, 1)])
    assert len(values) == 2 and isinstance(values[1], nn.Parameter) and values[-1] is values[1]
    assert [n for n, _ in values.named_parameters()] == ["0", "1"]
    values.append(numbanet.ones(1))
    values += [numbanet.ones(4)]
    values[0] = nn.Parameter(numbanet.zeros(5))
    assert [p.numel() for p in values] == [5, 3, 1, 4] and len(values[1:3]) == 2
    assert "(1): Parameter containing: [numbanet.float32 of size 3x1]" in repr(values)
    with pytest.raises(IndexError):
        values[4]
