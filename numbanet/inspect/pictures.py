"""Pictures of what a network has learnt and of what it sees: filters, feature maps, receptive fields, attributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbanet.inspect.attribution import (
    grad_cam,
    gradients_at,
    occlusion_map,
    one_image,
    probabilities,
    saliency,
)
from numbanet.inspect.figures import Path, brightness, finish, grid_of, new_figure, show_image, to_array
from numbanet.inspect.receptive_field import by_axes, receptive_field
from numbanet.inspect.trace import layer_name, run_and_keep
from numbanet.nn import Module
from numbanet.tensor import Tensor

Layer = str | Module


def plot_filters(net: Module, layer: Layer | None = None, path: Path | None = None, limit: int = 64) -> Any:
    """Draw a convolution's kernels.

    Kernels for images of three channels are shown in colours, zero as grey; those of one channel each as a picture. For more
    channels the rows are filters and the columns input channels.

    Args:
        net: a module.
        layer: dotted name of a convolution, or the layer; None for the first that there is.
        path: the picture's file; None: write none.
        limit: how many kernels to show at most.

    Returns:
        The matplotlib figure.

    Raises:
        TypeError: if net is not a module.
        ValueError: for a layer that is not there, or has no kernels (out, in, rows, columns).
        ModuleNotFoundError: without matplotlib.
    """
    name = layer_name("plot_filters", net, layer)
    if layer is None:
        modules = [(n, m) for n, m in net.named_modules() if _kernels_of(m) is not None]
        if not modules:
            raise ValueError(f"plot_filters: the {type(net).__name__} has no convolution")
        name = modules[0][0]
    kernels = _kernels_of(net.get_submodule(name))
    if kernels is None:
        raise ValueError(f"plot_filters: layer {name!r} has no weight (out, in, rows, columns)")
    out, channels, kh, kw = kernels.shape
    large = float(np.abs(kernels).max()) or 1.0
    if channels in (1, 3):
        shown = kernels[:limit]
        rows, columns = grid_of(len(shown), 12)
        cells = [kernel / (2 * large) + 0.5 if channels == 3 else kernel[0] for kernel in shown]
    else:
        columns = min(channels, 12)
        rows = max(1, min(out, limit // columns))
        shown, cells = kernels[:rows], [plane for kernel in kernels[:rows] for plane in kernel[:columns]]
    count = f"{out} filters" if len(shown) == out else f"{len(shown)} of {out} filters"
    title = f"{_called(net, name)}: {count} of {kh} x {kw}"
    if channels not in (1, 3):
        title += f", {columns} of {channels} input channels" if columns < channels else f", {channels} input channels"
    figure = new_figure(max(4.6, 0.6 * columns + 1.2), 0.6 * rows + 0.6, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    mappable = None
    for axes, cell in zip(grid.flat, cells, strict=False):
        if cell.ndim == 3:
            axes.imshow(cell.transpose(1, 2, 0), interpolation="nearest")
        else:
            mappable = axes.imshow(cell, cmap="RdBu_r", vmin=-large, vmax=large, interpolation="nearest")
    _clear(grid)
    if channels not in (1, 3):
        figure.supylabel("filter", fontsize=10)
        figure.supxlabel("input channel", fontsize=10)
    if mappable is None:
        figure.supxlabel(f"red, green, blue; grey is 0, full colour {large:.2g}", fontsize=9)
    else:
        figure.colorbar(mappable, ax=grid, label="weight", fraction=0.08)
    return finish(figure, path)


def plot_feature_maps(net: Module, image: Tensor, layer: Layer, path: Path | None = None, limit: int = 32) -> Any:
    """Draw an image and what a layer makes of it, channel by channel, on one scale.

    Args:
        net: a module; it runs in evaluation mode.
        image: shape (1, C, H, W) or (C, H, W).
        layer: a layer's dotted name, or the layer; its output is (1, K, h, w).
        path: the picture's file; None: write none.
        limit: how many channels to show at most.

    Returns:
        The matplotlib figure.

    Raises:
        TypeError: if net is not a module, or image not a tensor.
        ValueError: for a layer that is not there, did not run or has no feature maps, or anything but one image.
        ModuleNotFoundError: without matplotlib.

    Reference: M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.
    """
    name = layer_name("plot_feature_maps", net, layer)
    x = one_image("plot_feature_maps", image)
    maps = to_array(run_and_keep("plot_feature_maps", net, x, [name])[0])
    if maps.ndim != 4:
        raise ValueError(f"plot_feature_maps: the output {maps.shape} of layer {name!r} is no feature map (1, K, h, w)")
    shown = maps[0, :limit]
    total, height, width = maps.shape[1:]
    count = f"{total} maps" if len(shown) == total else f"{len(shown)} of {total} maps"
    rows, columns = grid_of(len(shown))
    figure = new_figure(
        2.6 + columns + 0.8, max(rows, 2) + 0.6, f"{_called(net, name)}: {count} of {height} x {width} pixels"
    )
    left, right = figure.subfigures(1, 2, width_ratios=(2.6, columns + 0.8))
    axes = left.subplots()
    show_image(axes, to_array(x)[0])
    axes.set_title(f"input, {x.shape[2]} x {x.shape[3]} pixels", fontsize=9)
    grid = right.subplots(rows, columns, squeeze=False)
    large = float(np.abs(shown).max()) or 1.0
    signed = bool(shown.min() < 0)
    scale = dict(cmap="RdBu_r", vmin=-large, vmax=large) if signed else dict(cmap="viridis", vmin=0, vmax=large)
    mappable = None
    for axes, one in zip(grid.flat, shown, strict=False):
        mappable = axes.imshow(one, interpolation="nearest", **scale)
    _clear(grid)
    right.colorbar(mappable, ax=grid, label="activation", fraction=0.05)
    return finish(figure, path)


def plot_receptive_field(
    net: Module,
    input: Any,
    layers: Sequence[Layer],
    path: Path | None = None,
    position: Sequence[int] | None = None,
) -> Any:
    """Draw for layers what one pixel of their output sees: the computed field as a frame, the measured one as heat over the image.

    The heat is ``receptive_field_gradient``, by the square root, so that its edge is seen as well as its middle.

    Args:
        net: a module; it runs in evaluation mode.
        input: images (N, C, H, W), over which the gradient is averaged and of which the first is shown; or their shape.
        layers: names of layers, or layers: one panel for each.
        path: the picture's file; None: write none.
        position: (row, column) in the layers' outputs; None for the middle of each.

    Returns:
        The matplotlib figure.

    Raises:
        TypeError: if net is not a module.
        ValueError: for no layers or one that is not there or has no such position, or an input that the network refuses.
        ModuleNotFoundError: without matplotlib.

    Reference: W. Luo et al., "Understanding the effective receptive field in deep convolutional neural networks" (2016),
    figure 1; A. Araujo et al., "Computing receptive fields of convolutional neural networks" (2019).
    """
    if not layers:
        raise ValueError("plot_receptive_field: expected at least one layer")
    names = [layer_name("plot_receptive_field", net, layer) for layer in layers]
    heats = gradients_at("plot_receptive_field", net, input, names, position)
    fields = [receptive_field(net, input, name) for name in names]
    if len(fields[0].size) != 2:
        raise ValueError("plot_receptive_field: expected images (N, C, H, W)")
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    title = f"{type(net).__name__}: what one output pixel sees of the input, computed (frame) and measured (heat)"
    figure = new_figure(max(2.7 * columns + 0.9, 7.5), 3.1 * rows + 0.4, title)
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator

    grid = figure.subplots(rows, columns, squeeze=False)
    mappable = None
    for axes, name, (heat, at), field in zip(grid.flat, names, heats, fields, strict=False):
        if isinstance(input, Tensor):
            show_image(axes, to_array(input)[0])
        relative = heat / (heat.max() or 1.0)
        # Transparent where nothing is seen, so that the image stays visible.
        mappable = axes.imshow(
            relative, cmap="magma", norm=PowerNorm(0.5, 0, 1), alpha=np.clip(np.sqrt(relative) * 1.5, 0, 0.9)
            if isinstance(input, Tensor) else None, interpolation="nearest",
        )  # fmt: skip
        (top, bottom), (first, last) = field.window(at)
        frame = Rectangle(
            (first - 0.5, top - 0.5), last - first + 1, bottom - top + 1, fill=False, edgecolor="#19d3f3", linewidth=1.6
        )
        axes.add_patch(frame)
        height, width = heat.shape
        axes.set(
            xlim=(min(first, 0) - 1.5, max(last, width - 1) + 1.5),
            ylim=(max(bottom, height - 1) + 1.5, min(top, 0) - 1.5),
        )
        axes.set_facecolor("#e8eaed")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(f"{_called(net, name)}\nfield {field} px, stride {by_axes(field.stride)} px", fontsize=9)
        axes.tick_params(labelsize=7)
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    for axes in grid[:, 0]:
        axes.set_ylabel("row, pixels", fontsize=8)
    for axes in grid[-1, :]:
        axes.set_xlabel("column, pixels", fontsize=8)
    figure.colorbar(mappable, ax=grid, label="gradient, relative to its largest\n(square-root scale)", fraction=0.05)
    return finish(figure, path)


def plot_grad_cam(
    net: Module,
    images: Tensor,
    layer: Layer,
    path: Path | None = None,
    target: int | None = None,
    classes: Sequence[str] | None = None,
) -> Any:
    """Draw images and where a layer's maps speak for a class; see ``grad_cam``.

    Args:
        net: a classifier.
        images: shape (N, C, H, W), each a column of the picture, or one of (C, H, W).
        layer: dotted name of a layer with feature maps, or the layer.
        path: the picture's file; None: write none.
        target: the class; None for the one with the highest score, for each image its own.
        classes: the classes' names.

    Returns:
        The matplotlib figure. Each map is drawn relative to its largest value.

    Raises:
        ValueError, TypeError: as ``grad_cam``.
        ModuleNotFoundError: without matplotlib.
    """
    found = [grad_cam(net, x, layer, target) for x in _each("plot_grad_cam", images)]
    name = layer_name("plot_grad_cam", net, layer)
    maps = [one / (one.max() or 1.0) for one in found]
    title = f"Grad-CAM at layer {_called(net, name)}, {found[0].shape[0]} x {found[0].shape[1]} values"
    label = "evidence, relative to\nits largest"
    cover = tuple(images.shape)[-2:]
    return _over_images(title, net, images, target, classes, maps, cover, "inferno", label, path)


def plot_occlusion(
    net: Module,
    images: Tensor,
    path: Path | None = None,
    target: int | None = None,
    classes: Sequence[str] | None = None,
    size: int = 8,
    stride: int = 4,
    value: float = 0.0,
) -> Any:
    """Draw images and how probable a class is while a square hides a part of them; see ``occlusion_map``.

    Args:
        net: a classifier.
        images: shape (N, C, H, W), each a column of the picture, or one of (C, H, W).
        path: the picture's file; None: write none.
        target: the class; None for the one with the highest score, for each image its own.
        classes: the classes' names.
        size, stride, value: the square's side, its steps, and what it puts in the place of pixels.

    Returns:
        The matplotlib figure.

    Raises:
        ValueError, TypeError: as ``occlusion_map``.
        ModuleNotFoundError: without matplotlib.
    """
    maps = [occlusion_map(net, x, target, size, stride, value) for x in _each("plot_occlusion", images)]
    title = f"Occlusion: a square of {size} x {size} pixels hides a part, in steps of {stride}"
    cover = maps[0].shape[0] * stride, maps[0].shape[1] * stride
    label = "probability while\nthis place is hidden"
    return _over_images(title, net, images, target, classes, maps, cover, "viridis", label, path)


def plot_saliency(
    net: Module,
    images: Tensor,
    path: Path | None = None,
    target: int | None = None,
    classes: Sequence[str] | None = None,
    guided: bool = False,
) -> Any:
    """Draw images and how much each pixel would change a class's score; see ``saliency``.

    Args:
        net: a classifier.
        images: shape (N, C, H, W), each a column of the picture, or one of (C, H, W).
        path: the picture's file; None: write none.
        target: the class; None for the one with the highest score, for each image its own.
        classes: the classes' names.
        guided: guided backpropagation.

    Returns:
        The matplotlib figure. Each map is drawn relative to its largest value.

    Raises:
        ValueError, TypeError: as ``saliency``.
        ModuleNotFoundError: without matplotlib.
    """
    found = [saliency(net, x, target, guided) for x in _each("plot_saliency", images)]
    maps = [one / (one.max() or 1.0) for one in found]
    title = "Guided backpropagation" if guided else "Saliency: the gradient of the score by the pixels"
    label = "|gradient|, relative to\nits largest"
    return _over_images(title, net, images, target, classes, maps, maps[0].shape, "inferno", label, path, alone=True)


# ------------------------------------------------------------------------------------------------------------ helpers


def _each(caller: str, images: Any) -> list[Tensor]:
    """Images one by one, each (1, C, H, W)."""
    if isinstance(images, Tensor) and images.ndim == 4:
        return [images[i : i + 1] for i in range(images.shape[0])]
    return [one_image(caller, images)]


def _over_images(
    title: str,
    net: Module,
    images: Tensor,
    target: int | None,
    classes: Sequence[str] | None,
    maps: Sequence[np.ndarray],
    cover: tuple[int, ...],
    colors: str,
    label: str,
    path: Path | None,
    alone: bool = False,
) -> Any:
    """Images in a row, and under each a map over it (or alone) that covers so many of its rows and columns."""
    each = _each(title, images)
    count = len(each)
    figure = new_figure(max(1.7 * count + 1.4, 6.5), 4.0 if count > 1 else 3.6, title)
    grid = figure.subplots(*((2, count) if count > 1 else (1, 2))).reshape(2, count)
    mappable = None
    for x, values, above, below in zip(each, maps, *grid, strict=True):
        shares = probabilities(run_and_keep("plot", net, x, [""])[0])[0]
        chosen = int(shares.argmax()) if target is None else target
        name = classes[chosen] if classes is not None else f"class {chosen}"
        image = to_array(x)[0]
        height, width = image.shape[1:]
        show_image(above, image)
        above.set_title(f"{name}\nprobability {shares[chosen]:.2f}", fontsize=9)
        mappable = below.imshow(
            values,
            cmap=colors,
            vmin=0,
            vmax=1,
            extent=(-0.5, cover[1] - 0.5, cover[0] - 0.5, -0.5),
            interpolation="nearest" if alone else "bilinear",
        )
        if not alone:  # the image as light on the map, whose colours stay as they are where it is dark
            light = brightness(image)
            below.imshow(np.ones_like(light), cmap="gray", vmin=0, vmax=1, alpha=0.5 * light, interpolation="nearest")
        below.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    figure.colorbar(mappable, ax=grid, label=label, fraction=0.05, pad=0.02)
    return finish(figure, path)


def _kernels_of(module: Module) -> np.ndarray | None:
    """A convolution's weights (out, in, rows, columns)."""
    weight = module._parameters.get("weight")
    return to_array(weight) if weight is not None and weight.ndim == 4 else None


def _called(net: Module, name: str) -> str:
    """A layer's name and class."""
    kind = type(net.get_submodule(name)).__name__
    return f"{name}: {kind}" if name else kind


def _clear(grid: Any) -> None:
    """No ticks in a grid of small pictures, and no frame where there is none."""
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        if not axes.images:
            axes.axis("off")
