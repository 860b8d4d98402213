"""Derivatives of functions of tensors, by the names and with the arguments of ``torch.autograd.functional``.

``func`` takes tensors and returns a tensor or a tuple of tensors; ``inputs`` is a tensor or a tuple. Results follow both:
a tensor where one was given, a tuple where a tuple was. Backward gives a vector times the Jacobian (``vjp``). The Jacobian
times a vector (``jvp``) comes from backward twice: v^T J is linear in v, so that its own gradient is J.

Reference: J. Townsend, "A new trick for calculating Jacobian vector products" (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbanet.autograd.tape import Variable, enable_grad, is_grad_enabled, set_grad_enabled
from numbanet.autograd.tape import grad as _grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

_OF_FUNCTION = "outputs of the user-provided function"


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The outputs, and the vector v times the Jacobian of ``func`` at ``inputs``.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple.
        v: of the outputs' shapes; may be left out where the output is one element (taken as 1).
        create_graph: make outputs and result differentiable.
        strict: raise where an output or a gradient does not depend on an input, instead of giving zeros.

    Returns:
        (outputs, v^T J), the second of the inputs' shapes.

    Raises:
        TypeError: for inputs, outputs or v that are not tensors.
        RuntimeError: for a v that is missing or of other shapes, and in strict mode.
    """
    with enable_grad():
        many_inputs, tensors = _tuple_of("vjp", inputs, "inputs")
        tensors = _separate(tensors, create_graph)
        many_outputs, outputs = _tuple_of("vjp", func(*tensors), _OF_FUNCTION)
        _check_outputs("vjp", outputs, strict)
        vectors = _vectors("vjp", v, outputs, "outputs", create_graph)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(outputs, tensors, vectors, create_graph)
        products = _filled("vjp", found, tensors, strict, create_graph, "the output")
    return _result(outputs, many_outputs, create_graph), _result(products, many_inputs, create_graph)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The outputs, and the Jacobian of ``func`` at ``inputs`` times the vector v.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors; its operations must be differentiable twice.
        inputs: a tensor or a tuple.
        v: of the inputs' shapes; may be left out where the input is one element (taken as 1).
        create_graph: make outputs and result differentiable.
        strict: raise where an output or a gradient does not depend on an input, instead of giving zeros.

    Returns:
        (outputs, J v), the second of the outputs' shapes.

    Raises:
        TypeError: for inputs, outputs or v that are not tensors.
        RuntimeError: for a v that is missing or of other shapes, and in strict mode.
    """
    with enable_grad():
        many_inputs, tensors = _tuple_of("jvp", inputs, "inputs")
        tensors = _separate(tensors, create_graph)
        vectors = _vectors("jvp", v, tensors, "inputs", create_graph, many_inputs)
        many_outputs, outputs = _tuple_of("jvp", func(*tensors), _OF_FUNCTION)
        _check_outputs("jvp", outputs, strict)
        cotangents = tuple([_zeros_like(output).requires_grad_() for output in outputs])
        linear = _gradients(outputs, tensors, cotangents, True)
        _check_gradients("jvp", linear, strict)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(linear, cotangents, vectors, create_graph)
        products = _filled("jvp", found, outputs, strict, create_graph, "the gradient")
    return _result(outputs, many_outputs, create_graph), _result(products, many_outputs, create_graph)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func`` at ``inputs``: one backward for each element of the outputs.

    Args:
        func: takes the inputs, returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple.
        create_graph: make the result differentiable.
        strict: raise where an output does not depend on an input, instead of giving zeros.
        vectorize: taken for PyTorch's sake; the same values either way.
        strategy: "reverse-mode"; there is no forward mode.

    Returns:
        For one output and one input a tensor of shape (output's shape, input's shape). A tuple of inputs gives a tuple of
        such, a tuple of outputs a tuple of these: ``jacobian[output][input]``.

    Raises:
        TypeError: for inputs or outputs that are not tensors.
        RuntimeError: in strict mode, and for ``strict`` with ``vectorize``.
        NotImplementedError: for strategy "forward-mode".
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(f"jacobian: expected strategy 'forward-mode' or 'reverse-mode', got {strategy!r}")
    if strategy == "forward-mode":
        raise NotImplementedError("jacobian: strategy 'forward-mode' is not supported, use 'reverse-mode'")
    if vectorize and strict:
        raise RuntimeError("jacobian: strict=True cannot be combined with vectorize=True")
    with enable_grad():
        many_inputs, tensors = _tuple_of("jacobian", inputs, "inputs")
        tensors = _separate(tensors, create_graph)
        many_outputs, outputs = _tuple_of("jacobian", func(*tensors), _OF_FUNCTION)
        _check_outputs("jacobian", outputs, strict)
        rows = tuple([_jacobian_of(i, output, tensors, create_graph, strict) for i, output in enumerate(outputs)])
    per_output = tuple([_result(row, many_inputs, create_graph) for row in rows])
    return per_output if many_outputs else per_output[0]


def _jacobian_of(position: int, output: Any, inputs: tuple[Any, ...], create_graph: bool, strict: bool) -> Any:
    """The Jacobians of one output with respect to each input."""
    from numbanet.functional import stack

    shape = tuple(output.shape)
    rows: list[list[Any]] = [[] for _ in inputs]
    for element in range(output.numel()):
        start = _zeros_like(output)
        start.view(-1)[element] = 1
        found = _gradients((output,), inputs, (start,), create_graph, retain_graph=True)
        for i, (gradient, tensor) in enumerate(zip(found, inputs, strict=True)):
            if gradient is None:
                if strict:
                    raise RuntimeError(
                        f"jacobian: output {position} of the function is independent of input {i}, which strict mode refuses"
                    )
                gradient = _zeros_like(tensor)
            elif strict and create_graph and not gradient.requires_grad:
                raise RuntimeError(
                    f"jacobian: the jacobian of the function is independent of input {i}, which strict mode with "
                    "create_graph=True refuses"
                )
            rows[i].append(gradient)
    return tuple(
        [
            stack(row).reshape(*shape, *tensor.shape) if row else tensor.detach().new_zeros((*shape, *tensor.shape))
            for row, tensor in zip(rows, inputs, strict=True)
        ]
    )


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a function of one element: the Jacobian of its gradient.

    Args:
        func: takes the inputs, returns a tensor of one element; its operations must be differentiable twice.
        inputs: a tensor or a tuple.
        create_graph: make the result differentiable.
        strict: raise where the function or its gradient does not depend on an input, instead of giving zeros.
        vectorize, outer_jacobian_strategy: as ``jacobian``'s vectorize and strategy.

    Returns:
        For one input a tensor of shape (input's shape, input's shape); for a tuple ``hessian[i][j]`` of shape
        (shape of input i, shape of input j).

    Raises:
        TypeError: for inputs or outputs that are not tensors.
        RuntimeError: for a function of other than one element, and in strict mode.
    """
    many_inputs, tensors = _tuple_of("hessian", inputs, "inputs")

    def gradient(*tensors: Any) -> tuple[Any, ...]:
        found = jacobian(lambda *t: _scalar("hessian", func(*t), strict)[0].reshape(()), tensors, create_graph=True)
        _check_jacobian("hessian", found, strict)
        return found

    rows = jacobian(gradient, tensors, create_graph, strict, vectorize, outer_jacobian_strategy)
    return rows if many_inputs else rows[0][0]


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The output of a function of one element, and the vector v times its Hessian.

    Args:
        func: takes the inputs, returns a tensor of one element; its operations must be differentiable twice.
        inputs: a tensor or a tuple.
        v: of the inputs' shapes; may be left out where the input is one element (taken as 1).
        create_graph: make output and result differentiable.
        strict: raise where the function or its gradient does not depend on an input, instead of giving zeros.

    Returns:
        (output, v^T H), the second of the inputs' shapes.

    Raises:
        TypeError: for inputs, outputs or v that are not tensors.
        RuntimeError: for a function of other than one element, a v that is missing or of other shapes, in strict mode.
    """
    with enable_grad():
        many_inputs, tensors = _tuple_of("vhp", inputs, "inputs")
        tensors = _separate(tensors, create_graph)
        vectors = _vectors("vhp", v, tensors, "inputs", create_graph, many_inputs)
        outputs = _scalar("vhp", func(*tensors), strict)
        gradient = _gradients(outputs, tensors, None, True)
        _check_jacobian("vhp", gradient, strict)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(gradient, tensors, vectors, create_graph)
        products = _filled("vhp", found, tensors, strict, create_graph, "the jacobian")
    return _result(outputs, False, create_graph), _result(products, many_inputs, create_graph)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The output of a function of one element, and its Hessian times the vector v.

    The Hessian is symmetric where the function is twice continuously differentiable: ``vhp`` then gives the same for less
    work. Arguments, result and errors are those of ``vhp``; operations must be differentiable three times.
    """
    with enable_grad():
        many_inputs, tensors = _tuple_of("hvp", inputs, "inputs")
        tensors = _separate(tensors, create_graph)
        vectors = _vectors("hvp", v, tensors, "inputs", create_graph, many_inputs)
        outputs = _scalar("hvp", func(*tensors), strict)
        gradient = _gradients(outputs, tensors, None, True)
        _check_jacobian("hvp", gradient, strict)
        cotangents = tuple([_zeros_like(tensor).requires_grad_() for tensor in tensors])
        linear = _gradients(gradient, tensors, cotangents, True)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _gradients(linear, cotangents, vectors, create_graph)
        products = _filled("hvp", found, tensors, strict, create_graph, "the hessian")
    return _result(outputs, False, create_graph), _result(products, many_inputs, create_graph)


# ------------------------------------------------------------------------------------------------- what they share


def _tuple_of(name: str, value: Any, what: str) -> tuple[bool, tuple[Any, ...]]:
    """(whether it was a tuple, the value as a tuple of tensors)."""
    many = isinstance(value, tuple)
    tensors = value if many else (value,)
    for position, tensor in enumerate(tensors):
        if not isinstance(tensor, Variable):
            where = f", at index {position}," if many else ""
            raise TypeError(
                f"{name}: {what} must be a tensor or a tuple of tensors, got{where} {type(tensor).__name__}"
            )
    return many, tensors


def _separate(tensors: tuple[Any, ...], create_graph: bool, need_graph: bool = True) -> tuple[Any, ...]:
    """Tensors of their own over the same values, so that inputs differ from the same tensors inside ``func``.

    They are tied to the given ones where the result is to be differentiated, else leaves.
    """
    return tuple(
        [t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_(need_graph) for t in tensors]
    )


def _vectors(
    name: str, v: Any, like: tuple[Any, ...], what: str, create_graph: bool, many: bool = True
) -> tuple[Any, ...] | None:
    """v as a tuple of the shapes of ``like``; None where it was left out and a single element makes it 1."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in like)
            raise RuntimeError(
                f"{name}: v can be left out only for a single element, but the {what} have shapes {shapes}"
            )
        return (like[0].detach().new_ones(tuple(like[0].shape)),)
    _, vectors = _tuple_of(name, v, "v")
    if len(vectors) != len(like):
        raise RuntimeError(f"{name}: v has {len(vectors)} tensors, expected {len(like)} to match the {what}")
    for position, (vector, tensor) in enumerate(zip(vectors, like, strict=True)):
        if tuple(vector.shape) != tuple(tensor.shape):
            raise RuntimeError(
                f"{name}: entry {position} of v has shape {tuple(vector.shape)}, expected {tuple(tensor.shape)}"
            )
    return _separate(vectors, create_graph, need_graph=False)


def _scalar(name: str, output: Any, strict: bool) -> tuple[Any]:
    """The output of a function that must have one element."""
    many, outputs = _tuple_of(name, output, _OF_FUNCTION)
    _check_outputs(name, outputs, strict)
    if many:
        raise RuntimeError(f"{name}: the function must return a single tensor, got a tuple of {len(outputs)}")
    if output.numel() != 1:
        raise RuntimeError(f"{name}: the function must return one element, got shape {tuple(output.shape)}")
    return (output,)


def _gradients(
    outputs: tuple[Any, ...],
    inputs: tuple[Any, ...],
    starts: tuple[Any, ...] | None,
    create_graph: bool,
    retain_graph: bool | None = None,
) -> tuple[Any, ...]:
    """``autograd.grad`` of the outputs that are there and depend on anything; None for inputs that are unused."""
    pairs = [
        (output, start)
        for output, start in zip(outputs, starts or (None,) * len(outputs), strict=True)
        if output is not None and output.requires_grad
    ]
    if not pairs:
        return (None,) * len(inputs)
    return _grad(
        [output for output, _ in pairs],
        list(inputs),
        [start for _, start in pairs],
        retain_graph,
        create_graph,
        allow_unused=True,
    )


def _filled(
    name: str,
    gradients: tuple[Any, ...],
    like: tuple[Any, ...],
    strict: bool,
    create_graph: bool,
    what: str,
) -> tuple[Any, ...]:
    """Zeros in the place of gradients that are None; errors in strict mode."""
    for position, gradient in enumerate(gradients):
        if strict and gradient is None:
            raise RuntimeError(
                f"{name}: {what} of the function is independent of input {position}, which strict mode refuses"
            )
        if strict and create_graph and not gradient.requires_grad:
            raise RuntimeError(
                f"{name}: the result is independent of input {position}, which strict mode with create_graph=True refuses"
            )
    return tuple([_zeros_like(t) if g is None else g for g, t in zip(gradients, like, strict=True)])


def _check_outputs(name: str, outputs: tuple[Any, ...], strict: bool) -> None:
    for position, output in enumerate(outputs):
        if strict and not output.requires_grad:
            raise RuntimeError(
                f"{name}: output {position} of the function does not require grad, which strict mode refuses"
            )


def _check_gradients(name: str, gradients: tuple[Any, ...], strict: bool) -> None:
    for position, gradient in enumerate(gradients):
        if strict and gradient is None:
            raise RuntimeError(
                f"{name}: the output of the function is independent of input {position}, which strict mode refuses"
            )
        if strict and not gradient.requires_grad:
            raise RuntimeError(
                f"{name}: the gradient of input {position} is independent of the inputs, which strict mode refuses"
            )


def _check_jacobian(name: str, gradients: tuple[Any, ...], strict: bool) -> None:
    for position, gradient in enumerate(gradients):
        if strict and (gradient is None or not gradient.requires_grad):
            raise RuntimeError(
                f"{name}: the jacobian of the function with respect to input {position} is independent of the input, which "
                "strict mode refuses"
            )


def _zeros_like(tensor: Any) -> Any:
    return tensor.detach().new_zeros(tuple(tensor.shape))


def _result(tensors: tuple[Any, ...], many: bool, create_graph: bool) -> Any:
    """A tuple or its only tensor, cut off from the graph unless that is wanted."""
    found = tensors if create_graph else tuple([tensor.detach() for tensor in tensors])
    return found if many else found[0]
