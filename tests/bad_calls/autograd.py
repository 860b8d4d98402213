"""Bad calls of backward, grad and hooks, of derivatives of functions, and of what meets them in a training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.bad_calls import Bad


def leaf(library: Any, *shape: int) -> Any:
    return library.ones(*shape, requires_grad=True)


def saving(library: Any, change: Callable[[Any], Any] = lambda saved: None, gradients: int = 1) -> Any:
    """A function that saves its input and does nothing, applied to a view; then the saved tensor may be changed."""

    class Saving(library.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            ctx.saved_tensors  # noqa: B018
            return grad if gradients == 1 else (grad,) * gradients

    x = leaf(library, 2, 2).t()
    y = Saving.apply(x)
    change(x)
    return y


def second_backward(library: Any) -> Any:
    y = saving(library)
    y.backward(library.ones(2, 2))
    y.backward(library.ones(2, 2))


def changed_since(library: Any) -> Any:
    saving(library, lambda x: x.detach().fill_(2)).backward(library.ones(2, 2))


def one_gradient_too_many(library: Any) -> Any:
    saving(library, gradients=2).backward(library.ones(2, 2))


def no_leaf_off(library: Any) -> Any:
    y = leaf(library, 2, 2).t()
    y.requires_grad = False


def on_a_view(library: Any) -> Any:
    leaf(library, 2, 2).t().add_(1)


def function_of(name: str, *args: Any, **options: Any) -> Callable[[Any], Any]:
    """A derivative of the transpose, which runs no kernel, at a (2, 3) tensor."""

    def call(library: Any) -> Any:
        values = [library.ones(*a) if isinstance(a, tuple) else a for a in args]
        derive = getattr(library.autograd.functional, name)
        return derive(lambda x: x.t(), library.ones(2, 3), *values, **options)

    return call


def load(change: Callable[[dict[str, Any], Any], Any]) -> Callable[[Any], Any]:
    """A state_dict, changed, into a linear layer of 3 inputs and 2 outputs."""

    def call(library: Any) -> Any:
        layer = library.nn.Linear(3, 2)
        state = {name: library.zeros(*value.shape) for name, value in layer.state_dict().items()}
        change(state, library)
        return layer.load_state_dict(state)

    return call


def loader(**options: Any) -> Callable[[Any], Any]:
    return lambda library: library.utils.data.DataLoader([1, 2, 3], **options)


def functional(library: Any) -> Any:
    return library.autograd.functional


BAD = [
    Bad("backward of a tensor without a graph", lambda library: library.ones(1).backward(), RuntimeError, r"backward: a tensor of shape \(1,\) does not require grad"),
    Bad("backward of many elements", lambda library: leaf(library, 2, 3).t().backward(), RuntimeError, r"can be implied only for a tensor of one element, got shape \(3, 2\)"),
    Bad("a gradient of another shape", lambda library: leaf(library, 2, 3).t().backward(library.ones(2, 3)), RuntimeError, r"gradient has shape \(2, 3\), the tensor \(3, 2\)"),
    Bad("made under no_grad", lambda library: library.no_grad()(lambda: leaf(library, 1, 1).t())().backward(), RuntimeError, "does not require grad"),
    Bad("too few gradients", lambda library: library.autograd.backward([leaf(library, 1), leaf(library, 1)], [library.ones(1)]), RuntimeError, "got 2 tensors and 1 gradients"),
    Bad("a second backward", second_backward, RuntimeError, "second time.*retain_graph=True"),
    Bad("a saved value changed in place", changed_since, RuntimeError, r"shape \(2, 2\) that backward needs was modified by an in-place operation"),
    Bad("a function with too many gradients", one_gradient_too_many, RuntimeError, "backward returned 2 gradients, expected 1"),
    Bad("grad of an input without gradients", lambda library: library.autograd.grad(leaf(library, 1), library.ones(1)), RuntimeError, r"grad: input 0 of shape \(1,\) does not require grad"),
    Bad("grad of an unused input", lambda library: library.autograd.grad(leaf(library, 1), leaf(library, 2)), RuntimeError, r"grad: input 0 of shape \(2,\) was not used.*allow_unused=True"),
    Bad("grad of an output without a graph", lambda library: library.autograd.grad(library.ones(1), leaf(library, 1)), RuntimeError, r"grad: a tensor of shape \(1,\) does not require grad"),
    Bad("grad without gradients of many", lambda library: library.autograd.grad(leaf(library, 2), leaf(library, 2)), RuntimeError, r"one element, got shape \(2,\)"),
    Bad("integers that require gradients", lambda library: library.zeros(2, dtype=library.int64).requires_grad_(), RuntimeError, "only floating tensors can require gradients, got int64"),
    Bad("integers made to require gradients", lambda library: library.tensor([1, 2], requires_grad=True), RuntimeError, "only floating tensors can require gradients, got int64"),
    Bad("switching gradients off inside a graph", no_leaf_off, RuntimeError, "can be switched off only on leaves"),
    Bad("a leaf changed in place", lambda library: leaf(library, 2).add_(1), RuntimeError, r"add_: a leaf that requires grad is being changed in place, shape \(2,\)"),
    Bad("a view of a leaf changed in place", on_a_view, RuntimeError, "add_: a view of a leaf"),
    Bad("a leaf's elements assigned", lambda library: leaf(library, 2).__setitem__(0, 1.0), RuntimeError, "leaf that requires grad is being changed in place"),
    Bad("a hook without a graph", lambda library: library.ones(1).register_hook(print), RuntimeError, "register_hook: this tensor does not require grad"),
    Bad("retain_grad without a graph", lambda library: library.ones(1).retain_grad(), RuntimeError, "retain_grad: this tensor does not require grad"),
    Bad("numpy of a tensor in a graph", lambda library: leaf(library, 2).numpy(), RuntimeError, r"numpy: this tensor requires grad; call detach\(\).numpy\(\)"),
    Bad("item of many", lambda library: library.ones(2, 3).item(), RuntimeError, r"item: a tensor of 6 elements, shape \(2, 3\)"),
    Bad("item of none", lambda library: library.ones(0).item(), RuntimeError, "item: a tensor of 0 elements"),
    Bad("the truth of many", lambda library: bool(library.ones(2)), RuntimeError, "truth of a tensor of 2 elements"),
    Bad("ragged lists", lambda library: library.tensor([[1.0], [1.0, 2.0]]), ValueError, "expected sequences of equal lengths"),
    Bad("text as values", lambda library: library.tensor("abc"), TypeError, "tensor: cannot make a tensor from str"),
    Bad("no such device", lambda library: library.ones(1, device="tpux"), RuntimeError, "device: expected 'cpu', 'cuda' or 'cuda:INDEX', got 'tpux'"),
    Bad("a number as dtype", lambda library: library.ones(1, dtype=3), TypeError, "dtype"),
    Bad("a list from_numpy", lambda library: library.from_numpy([1.0]), TypeError, "from_numpy: expected a numpy.ndarray, got list"),
    Bad("jacobian of a list", lambda library: functional(library).jacobian(lambda x: x, [1.0]), TypeError, "jacobian: inputs must be a tensor or a tuple of tensors, got list"),
    Bad("jacobian of a tuple with a number", lambda library: functional(library).jacobian(lambda x, y: x, (library.ones(1), 2)), TypeError, "inputs .* at index 1, int"),
    Bad("jacobian of a function to a number", lambda library: functional(library).jacobian(lambda x: 3.0, library.ones(1)), TypeError, "outputs of the user-provided function .* got float"),
    Bad("jacobian, strict and vectorized", function_of("jacobian", strict=True, vectorize=True), RuntimeError, "strict=True cannot be combined with vectorize=True"),
    Bad("jacobian, unknown strategy", function_of("jacobian", strategy="sideways"), AssertionError, "strategy 'forward-mode' or 'reverse-mode', got 'sideways'"),
    Bad("vjp without v", function_of("vjp"), RuntimeError, r"vjp: v can be left out only for a single element, but the outputs have shapes \(3, 2\)"),
    Bad("vjp with v of another shape", function_of("vjp", (2, 3)), RuntimeError, r"entry 0 of v has shape \(2, 3\), expected \(3, 2\)"),
    Bad("vjp with a number as v", function_of("vjp", 1.0), TypeError, "vjp: v must be a tensor or a tuple of tensors, got float"),
    Bad("jvp without v", function_of("jvp"), RuntimeError, r"jvp: v can be left out only for a single element, but the inputs have shapes \(2, 3\)"),
    Bad("jvp with v of another shape", function_of("jvp", (3, 2)), RuntimeError, r"entry 0 of v has shape \(3, 2\), expected \(2, 3\)"),
    Bad("hessian of many elements", function_of("hessian"), RuntimeError, r"hessian: the function must return one element, got shape \(3, 2\)"),
    Bad("hessian of a tuple", lambda library: functional(library).hessian(lambda x: (x, x), library.ones(1)), RuntimeError, "must return a single tensor, got a tuple of 2"),
    Bad("vhp of many elements", function_of("vhp", (2, 3)), RuntimeError, r"vhp: the function must return one element, got shape \(3, 2\)"),
    Bad("hvp without v", function_of("hvp"), RuntimeError, "hvp: v can be left out only for a single element"),
    Bad("state with a missing weight", load(lambda state, _: state.pop("weight")), RuntimeError, "weight"),
    Bad("state with one too many", load(lambda state, library: state.update(extra=library.ones(1))), RuntimeError, "extra"),
    Bad("state of another shape", load(lambda state, library: state.update(weight=library.ones(3, 2))), RuntimeError, r"\(3, 2\)"),
    Bad("an optimizer of nothing", lambda library: library.optim.SGD([], lr=0.1), ValueError, "empty"),
    Bad("an optimizer of a tensor", lambda library: library.optim.SGD(leaf(library, 1), lr=0.1), TypeError, "Tensor"),
    Bad("an optimizer of numbers", lambda library: library.optim.SGD([1.0], lr=0.1), TypeError, "float"),
    Bad("an optimizer of a non-leaf", lambda library: library.optim.SGD([leaf(library, 2, 2).t()], lr=0.1), ValueError, "lea(f|ves)"),
    Bad("a negative learning rate", lambda library: library.optim.SGD([leaf(library, 1)], lr=-1.0), ValueError, "-1.0"),
    Bad("a loader with a batch of 0", loader(batch_size=0), ValueError, "batch_size.*0"),
    Bad("a loader with negative workers", loader(num_workers=-1), ValueError, "num_workers.*-1"),
    Bad("a loader with a sampler and shuffle", loader(sampler=[0, 1], shuffle=True), ValueError, "sampler"),
]  # fmt: skip
