"""Which part of an image a result comes from: receptive fields as measured, saliency, occlusion, Grad-CAM.

All run the network in evaluation mode and leave its parameters' ``.grad`` alone. They return NumPy arrays; ``pictures.py`` draws
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from numbanet import autograd, devices
from numbanet.autograd import enable_grad, no_grad
from numbanet.functional.activation import ReluFunction
from numbanet.inspect.trace import evaluating, layer_name, make_inputs, run_and_keep
from numbanet.nn import Module
from numbanet.nn.fused import separately
from numbanet.tensor import Tensor, wrap


def receptive_field_gradient(
    net: Module, input: Any, layer: str | Module | None = None, position: Sequence[int] | None = None
) -> np.ndarray:
    """What a pixel of a layer's output does see of the input: its gradient's size, pixel by pixel.

        g[i, j] = mean over n of (sum over c of |d (sum over k of y[n, k, position]) / d x[n, c, i, j]|)

    Where the computed field ends, this is zero. Within it, little of it is large: the effective receptive field.

    Args:
        net: a module.
        input: images (N, C, H, W) or sequences (N, C, L); or their shape, for normal random numbers (always the same).
        layer: a layer's dotted name, or the layer; None for the network's output.
        position: (row, column) in the layer's output; None for its middle.

    Returns:
        An array (H, W) or (L,).

    Raises:
        TypeError: if net is not a module.
        ValueError: for a layer that is not there or whose output has no such position, or an input that the network refuses.

    Reference: W. Luo et al., "Understanding the effective receptive field in deep convolutional neural networks" (2016),
    section 2.
    """
    return gradients_at("receptive_field_gradient", net, input, [layer], position)[0][0]


def gradients_at(
    caller: str, net: Module, input: Any, layers: Sequence[str | Module | None], position: Sequence[int] | None
) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """For each layer its ``receptive_field_gradient`` and the position that it is of; the network runs once."""
    names = [layer_name(caller, net, layer) for layer in layers]
    (x,) = make_inputs(caller, net, [input])
    if not isinstance(input, Tensor):
        noise = np.random.default_rng(0).standard_normal(tuple(x.shape))
        x = _as_tensor(noise, x)
    x = x.detach().requires_grad_()
    found = []
    for name, y in zip(names, run_and_keep(caller, net, x, names), strict=True):
        if y.ndim != x.ndim or y.ndim < 3:
            raise ValueError(
                f"{caller}: the output {tuple(y.shape)} of layer {name!r} has no positions to choose from: expected "
                f"{max(x.ndim, 3)} dimensions, as images {tuple(x.shape)} have"
            )
        sizes = tuple(y.shape)[2:]
        at = tuple(n // 2 for n in sizes) if position is None else tuple(position)
        if len(at) != len(sizes) or not all(0 <= i < n for i, n in zip(at, sizes, strict=True)):
            raise ValueError(f"{caller}: position {at} is not in the output {tuple(y.shape)} of layer {name!r}")
        with enable_grad():
            pixel = y[(slice(None), slice(None), *at)].sum()
        (gradient,) = autograd.grad(pixel, x, retain_graph=True)
        found.append((np.abs(gradient.cpu().numpy()).sum(1).mean(0), at))
    return found


def saliency(net: Module, image: Tensor, target: int | None = None, guided: bool = False) -> np.ndarray:
    """How much each pixel would change a class's score: the gradient of the score with respect to the image.

    Args:
        net: a classifier; its output is (1, classes).
        image: shape (1, C, H, W) or (C, H, W).
        target: the class; None for the one with the highest score.
        guided: guided backpropagation: rectified layers let no negative gradient pass. Sharper, but it shows edges of the
            image more than reasons of the network.

    Returns:
        (H, W): the largest absolute gradient among the channels.

    Raises:
        ValueError: for anything but one image, or a class that is not there.

    Reference: K. Simonyan et al., "Deep inside convolutional networks" (2013), section 3; J. Springenberg et al., "Striving
    for simplicity" (2014), section 3.4, for the guided form.
    """
    x = one_image("saliency", image).detach().requires_grad_()
    with separately() if guided else nullcontext():  # rectified layers of their own
        (scores,) = run_and_keep("saliency", net, x, [layer_name("saliency", net, None)])
    with enable_grad():
        score = scores[0, _target("saliency", scores, target)]
    if guided:
        for node in _nodes(score):
            if node.function is ReluFunction:
                node.register_hook(lambda results, grads: (results[0].clamp(min=0), *results[1:]))
    (gradient,) = autograd.grad(score, x)
    return np.abs(gradient.cpu().numpy()[0]).max(0)


def grad_cam(net: Module, image: Tensor, layer: str | Module, target: int | None = None) -> np.ndarray:
    """Where a layer's feature maps speak for a class.

        a[k] = mean over positions of d score / d A[k],    map = relu(sum over k of a[k] A[k])

    Args:
        net: a classifier; its output is (1, classes).
        image: shape (1, C, H, W) or (C, H, W).
        layer: dotted name of a layer with feature maps A (1, K, h, w), or the layer: most often the last of them.
        target: the class; None for the one with the highest score.

    Returns:
        (h, w), float, not negative, in units of the score.

    Raises:
        TypeError: if net is not a module.
        ValueError: for a layer that is not there or has no feature maps, anything but one image, or a class that is not there.

    Reference: R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization" (2017),
    section 3.
    """
    name = layer_name("grad_cam", net, layer)
    x = one_image("grad_cam", image).detach().requires_grad_()
    maps, scores = run_and_keep("grad_cam", net, x, [name, ""], pass_on=True)
    if maps.ndim != 4:
        raise ValueError(f"grad_cam: the output {tuple(maps.shape)} of layer {name!r} is no feature map (1, K, h, w)")
    with enable_grad():
        score = scores[0, _target("grad_cam", scores, target)]
    (gradient,) = autograd.grad(score, maps)
    weights = gradient.cpu().numpy()[0].mean((1, 2))
    return np.maximum(np.tensordot(weights, maps.detach().cpu().numpy()[0], 1), 0)


def occlusion_map(
    net: Module,
    image: Tensor,
    target: int | None = None,
    size: int = 8,
    stride: int = 4,
    value: float = 0.0,
    batch_size: int = 64,
) -> np.ndarray:
    """A class's probability while a square that moves over the image hides a part of it.

    Low where what matters is hidden.

    Args:
        net: a classifier; its output is (N, classes), scores before the softmax.
        image: shape (1, C, H, W) or (C, H, W).
        target: the class; None for the one with the highest score for the whole image.
        size: the square's side in pixels.
        stride: pixels from one place of the square to the next. Its middle goes over all of the image, so that at the border
            a part of it lies outside.
        value: what the hidden pixels become.
        batch_size: places that are tried at once.

    Returns:
        (rows, columns) of probabilities, for squares whose middles are at ``stride / 2 + i * stride``.

    Raises:
        ValueError: for anything but one image, a size or stride below 1, or a class that is not there.

    Reference: M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.2.
    """
    if min(size, stride, batch_size) < 1:
        raise ValueError(
            f"occlusion_map: size, stride and batch_size must be at least 1, got {size}, {stride}, {batch_size}"
        )
    image = one_image("occlusion_map", image)
    (scores,) = run_and_keep("occlusion_map", net, image, [layer_name("occlusion_map", net, None)])
    chosen = _target("occlusion_map", scores, target)
    pixels = image.detach().cpu().numpy()
    height, width = pixels.shape[2:]
    middles = [(r, c) for r in range(stride // 2, height, stride) for c in range(stride // 2, width, stride)]
    found: list[float] = []
    with evaluating(net), no_grad():
        for first in range(0, len(middles), batch_size):
            places = middles[first : first + batch_size]
            hidden = np.repeat(pixels, len(places), 0)
            for one, (r, c) in zip(hidden, places, strict=True):
                top, left = r - size // 2, c - size // 2
                one[:, max(top, 0) : top + size, max(left, 0) : left + size] = value
            found += probabilities(net(_as_tensor(hidden, image)))[:, chosen].tolist()
    return np.array(found).reshape(-1, len(range(stride // 2, width, stride)))


# ------------------------------------------------------------------------------------------------------------ helpers


def probabilities(scores: Tensor) -> np.ndarray:
    """The softmax of scores (N, classes), in float64."""
    values = scores.detach().cpu().numpy().astype(np.float64)
    values = np.exp(values - values.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)


def _as_tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return wrap(devices.to_device(np.ascontiguousarray(values, like.dtype), like.device))


def one_image(caller: str, image: Any) -> Tensor:
    if not isinstance(image, Tensor):
        raise TypeError(f"{caller}: expected an image as a tensor (1, C, H, W), got a {type(image).__name__}")
    if image.ndim == 3:
        return image.unsqueeze(0)
    if image.ndim != 4 or image.shape[0] != 1:
        raise ValueError(f"{caller}: expected one image, of shape (1, C, H, W) or (C, H, W), got {tuple(image.shape)}")
    return image


def _target(caller: str, scores: Tensor, target: int | None) -> int:
    """The class asked for, or the one with the highest score."""
    if scores.ndim != 2:
        raise ValueError(
            f"{caller}: expected a classifier's scores (1, classes), the network gives {tuple(scores.shape)}"
        )
    classes = int(scores.shape[1])
    if target is None:
        return int(scores.detach().cpu().numpy()[0].argmax())
    if not 0 <= target < classes:
        raise ValueError(f"{caller}: there is no class {target}; the network knows {classes}, from 0 on")
    return int(target)


def _nodes(tensor: Tensor) -> list[Any]:
    """All operations that lead to a tensor."""
    found: dict[Any, None] = {}
    waiting = [tensor._edge()[0]]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting += [following for following, _ in node.next_functions]
    return [node for node in found if hasattr(node, "function")]
