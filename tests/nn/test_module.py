"""Module: registration, walks, state, hooks, printing, copies, and kind errors."""

import copy
import pickle
import timeit
from collections import OrderedDict

import numpy as np
import pytest

import numbanet
from numbanet import nn
from tests.checks import assert_close, torch


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.scale = nn.Parameter(numbanet.ones(width))
        self.register_buffer("seen", numbanet.tensor(0))
        self.register_buffer("scratch", numbanet.zeros(2), persistent=False)
        self.act = nn.ReLU()
        self.note = "a block"

    def forward(self, x):
        return self.act(self.fc(x)) * self.scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Block()
        self.rest = nn.Sequential(Block(), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))

    def forward(self, x):
        return self.rest(self.first(x))


def test_what_is_assigned_decides_where_it_goes():
    block = Block()
    assert list(block._parameters) == ["scale"] and list(block._buffers) == ["seen", "scratch"]
    assert list(block._modules) == ["fc", "act"] and block.__dict__["note"] == "a block"
    assert isinstance(block.scale, nn.Parameter) and block.training


def test_names_walk_in_order_of_assignment():
    names = [n for n, _ in Net().named_parameters()]
    assert names == [
        "first.scale", "first.fc.weight", "first.fc.bias", "rest.0.scale", "rest.0.fc.weight", "rest.0.fc.bias",
        "rest.1.weight", "rest.1.bias", "rest.2.weight",
    ]  # fmt: skip
    assert [n for n, _ in Net().named_buffers()][:3] == ["first.seen", "first.scratch", "rest.0.seen"]
    assert [n for n, _ in Net().named_modules()][:5] == ["", "first", "first.fc", "first.act", "rest"]
    assert [n for n, _ in Net().named_children()] == ["first", "rest"]
    assert [n for n, _ in Net().named_parameters("model", recurse=False)] == []
    assert len(list(Net().parameters())) == 9 and len(list(Net().buffers())) == 7
    assert len(list(Net().modules())) == 10 and len(list(Net().children())) == 2


def test_shared_parameters_and_modules_are_listed_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight
            self.c = self.a

    tied = Tied()
    assert [n for n, _ in tied.named_parameters()] == ["a.weight", "a.bias", "b.bias"]
    assert len(list(tied.named_parameters(remove_duplicate=False))) == 6
    assert list(tied.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias"]
    twin = copy.deepcopy(tied)
    assert twin.b.weight is twin.a.weight and twin.c is twin.a and twin.a.weight is not tied.a.weight


def test_state_dict_round_trip():
    source, target = Net(), Net()
    state = source.state_dict()
    assert isinstance(state, OrderedDict) and "first.scratch" not in state and "rest.1.num_batches_tracked" in state
    assert not any(v.requires_grad for v in state.values())
    assert all(v.requires_grad for k, v in source.state_dict(keep_vars=True).items() if "weight" in k)
    result = target.load_state_dict(state)
    assert result == ([], []) and str(result) == "<All keys matched successfully>"
    for key, value in target.state_dict().items():
        assert_close(value, state[key], what=key)
    x = numbanet.randn(3, 4)
    assert_close(source.eval()(x).detach(), target.eval()(x).detach())
    assert next(iter(source.state_dict(prefix="m."))) == "m.first.scale"


def test_state_dict_shares_memory_with_the_module():
    layer = nn.Linear(2, 2)
    layer.state_dict()["weight"].fill_(3.0)
    assert (layer.weight.detach().numpy() == 3).all()


def test_load_state_dict_reports_everything_that_does_not_fit():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = net.state_dict()["0.bias"].numpy().copy()
    state = {
        "0.weight": numbanet.zeros(3, 5),
        "0.bias": numbanet.ones(3),
        "1.weight": numbanet.zeros(1, 3),
        "extra": numbanet.zeros(1),
    }
    with pytest.raises(RuntimeError) as error:
        net.load_state_dict(state)
    assert str(error.value) == (
        "Error(s) in loading state_dict for Sequential:"
        '\n\tMissing key(s) in state_dict: "1.bias". '
        '\n\tUnexpected key(s) in state_dict: "extra". '
        "\n\tsize mismatch for 0.weight: copying a param with shape (3, 5) from checkpoint, the shape in current model is (3, 2)."
    )
    assert_close(net[0].bias.detach(), before)  # nothing was changed
    del state["0.weight"]
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["0.weight", "1.bias"] and result.unexpected_keys == ["extra"]
    assert (net[0].bias.detach().numpy() == 1).all()
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like"):
        net.load_state_dict([1])
    with pytest.raises(RuntimeError, match=r'parameter named "0\.bias", expected a Tensor but received <class .int.>'):
        net.load_state_dict({"0.bias": 3}, strict=False)


def test_load_state_dict_takes_numpy_arrays_and_can_assign():
    layer = nn.Linear(2, 1)
    weight = np.array([[1.0, 2.0]], np.float64)
    layer.load_state_dict({"weight": weight, "bias": np.zeros(1, np.float32)})
    assert layer.weight.dtype == numbanet.float32 and layer.weight.tolist() == [[1.0, 2.0]]
    layer.load_state_dict({"weight": numbanet.from_numpy(weight), "bias": numbanet.zeros(1)}, assign=True)
    assert (
        layer.weight.dtype == numbanet.float64 and isinstance(layer.weight, nn.Parameter) and layer.weight.requires_grad
    )


def test_train_eval_apply_and_gradient_switches():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())
    order = []
    net.apply(lambda m: order.append(type(m).__name__))
    assert order[-1] == "Net" and order.index("Linear") < order.index("Block")
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(numbanet.randn(3, 4)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        net.train("yes")


def test_conversion_keeps_the_parameter_objects_and_the_integer_buffers():
    net = Net()
    before = list(net.parameters())
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.dtype == numbanet.float64 and p.requires_grad and p.is_leaf for p in net.parameters())
    assert net.first.seen.dtype == numbanet.int64 and net.rest[1].running_mean.dtype == numbanet.float64
    assert net(numbanet.randn(3, 4).double()).dtype == numbanet.float64
    net.float().to("cpu").cpu()
    assert net.to(numbanet.zeros(1).double()).first.scale.dtype == numbanet.float64
    assert net.to(numbanet.float32).first.scale.dtype == numbanet.float32
    assert net.type(numbanet.float64).first.scale.dtype == numbanet.float64
    with pytest.raises(TypeError, match="only accepts floating dtypes"):
        net.to(numbanet.int64)


def test_training_goes_on_after_conversion():
    layer = nn.Linear(2, 1)
    layer(numbanet.ones(1, 2)).sum().backward()
    layer.double()
    assert layer.weight.grad.dtype == numbanet.float64
    layer(numbanet.ones(1, 2).double()).sum().backward()
    assert_close(layer.weight.grad, np.full((1, 2), 2.0))


def test_get_by_dotted_name():
    net = Net()
    assert net.get_submodule("rest.0.fc") is net.rest[0].fc and net.get_submodule("") is net
    assert net.get_parameter("rest.0.fc.bias") is net.rest[0].fc.bias
    assert net.get_buffer("rest.1.running_var") is net.rest[1].running_var
    with pytest.raises(AttributeError, match="Sequential has no submodule '7'"):
        net.get_submodule("rest.7")
    with pytest.raises(AttributeError, match=r"Net has no parameter 'rest\.2\.bias'"):
        net.get_parameter("rest.2.bias")


def test_copies_and_pickles():
    net = Net()
    net(numbanet.randn(3, 4)).sum().backward()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert [n for n, _ in twin.named_parameters()] == [n for n, _ in net.named_parameters()]
        for a, b in zip(net.parameters(), twin.parameters(), strict=True):
            assert a is not b and isinstance(b, nn.Parameter) and b.requires_grad
            assert_close(b.detach(), a.detach())
        twin.first.scale.data.fill_(7.0)
        assert net.first.scale.tolist() == [1.0] * 4
        twin(numbanet.randn(3, 4)).sum().backward()


def test_attributes_can_be_deleted_and_replaced():
    block = Block()
    del block.act
    assert "act" not in block._modules and not hasattr(block, "act")
    block.act = nn.Identity()
    block.fc = None
    assert next(iter(block.named_children()))[0] == "act" and block.fc is None
    block.scale = None
    assert block._parameters["scale"] is None and "scale" not in block.state_dict()
    block.seen = numbanet.tensor(4)
    assert block.state_dict()["seen"].item() == 4
    del block.scratch
    block.note = nn.Linear(1, 1)  # a plain attribute becomes a module
    assert "note" in block._modules and "note" not in block.__dict__


# ---------------------------------------------------------------------------------------------------------- hooks


def test_forward_hooks_see_and_change_arguments_and_results():
    layer = nn.Identity()
    seen = []
    handles = [
        layer.register_forward_pre_hook(lambda m, args: seen.append(("before", args)) or (args[0] + 1,)),
        layer.register_forward_hook(lambda m, args, out: out * 10),
        layer.register_forward_hook(lambda m, args, out: seen.append(("after", out.item()))),
        layer.register_forward_hook(lambda m, args, out: out + 1, prepend=True),
        layer.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs), with_kwargs=True),
    ]
    assert layer(numbanet.tensor(2.0)).item() == 40
    assert seen[0][0] == "before" and seen[1] == ("after", 40.0) and seen[2] == {}
    for handle in handles:
        handle.remove()
    assert layer(numbanet.tensor(2.0)).item() == 2


def test_forward_pre_hook_with_keyword_arguments():
    class Scale(nn.Module):
        def forward(self, x, by=1):
            return x * by

    layer = Scale()
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": 5}), with_kwargs=True)
    assert layer(numbanet.tensor(2.0), by=3).item() == 10


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("input_needs_grad", [True, False])
def test_full_backward_hooks_get_both_gradients(input_needs_grad):
    def run(library, n):
        layer = n.Linear(3, 2)
        with library.no_grad():
            layer.weight.copy_(library.arange(6).reshape(2, 3).float())
        calls = []

        def hook(module, grad_input, grad_output):
            calls.append([None if g is None else g.tolist() for g in (*grad_input, *grad_output)])
            return None if grad_input[0] is None else (grad_input[0] * 2,)

        layer.register_full_backward_hook(hook)
        x = library.ones(1, 3)
        x.requires_grad_(input_needs_grad)
        (layer(x) * 3).sum().backward()
        return calls, None if x.grad is None else x.grad.tolist()

    calls, grad = run(numbanet, nn)
    assert calls == [[[[9.0, 15.0, 21.0]] if input_needs_grad else None, [[3.0, 3.0]]]]
    assert grad == ([[18.0, 30.0, 42.0]] if input_needs_grad else None)
    if torch is not None:
        assert (calls, grad) == run(torch, torch.nn)


def test_calling_a_module_without_hooks_costs_little():
    layer, x = nn.Identity(), object()
    once = min(timeit.repeat(lambda: layer(x), number=2000, repeat=5)) / 2000
    assert once < 5e-6  # some 0.2 us; the bound leaves room for a busy machine


# --------------------------------------------------------------------------------------------------- kind errors


def test_assigning_before_init_says_what_to_do():
    class Hasty(nn.Module):
        def __init__(self, part):
            self.part = part
            super().__init__()

    with pytest.raises(
        AttributeError,
        match=r"cannot assign modules before Module.__init__\(\) call: call super\(\).__init__\(\) first in Hasty",
    ):
        Hasty(nn.ReLU())
    with pytest.raises(AttributeError, match="cannot assign parameters before"):
        Hasty(nn.Parameter(numbanet.ones(1)))


def test_unknown_attributes_name_the_nearest():
    net = Net()
    with pytest.raises(
        AttributeError, match=r"'Net' object has no attribute 'paramters'. Did you mean: 'parameters'\?"
    ):
        net.paramters()
    with pytest.raises(AttributeError, match=r"'Net' object has no attribute 'frist'. Did you mean: 'first'\?"):
        net.frist  # noqa: B018
    with pytest.raises(AttributeError, match=r"^'Net' object has no attribute 'xyzzy'$"):
        net.xyzzy  # noqa: B018
    assert not hasattr(net, "weight")


def test_a_misnamed_forward_is_explained():
    class Note(nn.Module):
        def forword(self, x):
            return x

    with pytest.raises(NotImplementedError, match='Module \\[Note\\] is missing the required "forward" function'):
        Note()(1)


@pytest.mark.parametrize(
    "act, error, message",
    [
        (
            lambda b: setattr(b, "scale", numbanet.ones(4)),
            TypeError,
            "cannot assign a Tensor as parameter 'scale' of Block",
        ),
        (lambda b: setattr(b, "fc", 3), TypeError, "cannot assign a int as child module 'fc' of Block"),
        (lambda b: setattr(b, "seen", 3), TypeError, "cannot assign a int as buffer 'seen' of Block"),
        (lambda b: b.register_parameter("w", numbanet.ones(1)), TypeError, "expected an nn.Parameter or None"),
        (
            lambda b: b.register_parameter("fc", nn.Parameter(numbanet.ones(1))),
            KeyError,
            "attribute 'fc' already exists",
        ),
        (lambda b: b.register_parameter("a.b", None), KeyError, 'contain ".", got: a.b'),
        (lambda b: b.register_buffer("", None), KeyError, "be empty string"),
        (lambda b: b.register_buffer(3, None), TypeError, "buffer name should be a string, got int"),
        (lambda b: b.register_buffer("x", [1]), TypeError, "cannot assign a list to buffer 'x'"),
        (lambda b: b.add_module("x", numbanet.relu), TypeError, "is not a Module subclass"),
        (lambda b: b.add_module("note", nn.ReLU()), KeyError, "attribute 'note' already exists"),
        (lambda b: nn.Parameter([1.0]), TypeError, "Parameter: expected a Tensor, got list"),
        (lambda b: nn.Parameter(numbanet.tensor([1])), RuntimeError, "only floating tensors can require gradients"),
    ],
)
def test_easily_made_mistakes(act, error, message):
    with pytest.raises(error) as caught:
        act(Block())
    assert message in str(caught.value)


def test_parameter():
    values = numbanet.tensor([1.0, 2.0])
    p = nn.Parameter(values)
    assert p.requires_grad and p.is_leaf and p.numpy is not None
    assert repr(p) == "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    values.fill_(5.0)
    assert p.tolist() == [5.0, 5.0]
    assert not nn.Parameter(values, requires_grad=False).requires_grad
    assert not nn.Parameter(numbanet.tensor([1]), requires_grad=False).requires_grad
    assert tuple(nn.Parameter().shape) == (0,)
    assert type(p * 2) is numbanet.Tensor and type(p.detach()) is numbanet.Tensor


def test_registering_asks_for_no_error_message(monkeypatch):
    """hasattr would: __getattr__ looks for names that come close on every miss, most of a deep network's making."""

    def asked(self, name):
        raise AssertionError(f"asked for {name}")

    monkeypatch.setattr(nn.Module, "_no_such_attribute", asked)
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Linear(2, 2))
    with pytest.raises(KeyError, match="attribute 'forward' already exists"):
        net.register_buffer("forward", None)
    with pytest.raises(KeyError, match="attribute 'training' already exists"):
        net.register_parameter("training", None)
    with pytest.raises(KeyError, match="attribute '0' already exists"):
        net.register_buffer("0", None)


@pytest.mark.parametrize("lib", [numbanet, *([torch] if torch else [])], ids=lambda lib: lib.__name__)
def test_old_files_lack_the_counts_of_batches(lib):
    net = lib.nn.Sequential(lib.nn.Linear(2, 3), lib.nn.BatchNorm1d(3))
    net[1].num_batches_tracked += 5
    old = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    result = net.load_state_dict(old)
    assert list(result.missing_keys) == [] and net[1].num_batches_tracked.item() == 5
    del old["1.running_mean"]
    with pytest.raises(RuntimeError, match="running_mean"):
        net.load_state_dict(old)


def test_the_bounds_of_relu6():
    assert (nn.ReLU6().min_val, nn.ReLU6().max_val) == (0.0, 6.0) and repr(nn.ReLU6()) == "ReLU6()"
