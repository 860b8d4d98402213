"""Batch, group, layer, instance, RMS and local response norm."""

from typing import Any

from tests.bad_calls import Bad


def _call(name: str, shape: tuple[int, ...], *args: Any, **options: Any) -> Any:
    """Arguments that are functions make tensors from the library."""

    def call(library: Any) -> Any:
        made = [a(library) if callable(a) else a for a in args]
        named = {k: v(library) if callable(v) else v for k, v in options.items()}
        return getattr(library.nn.functional, name)(library.zeros(*shape), *made, **named)

    return call


def _ones(*shape: int, dtype: str = "float32") -> Any:
    return lambda library: library.ones(*shape, dtype=getattr(library, dtype))


def _layer(name: str, shape: tuple[int, ...], *args: Any, **options: Any) -> Any:
    return lambda library: getattr(library.nn, name)(*args, **options)(library.zeros(*shape))


IMAGE = (2, 4, 3, 3)
BAD = [
    Bad("batch_norm of a vector", _call("batch_norm", (4,), _ones(4), _ones(4)), RuntimeError, r"batch_norm: expected input of shape \(N, C, ...\), got \(4,\)"),
    Bad("batch_norm of one value per channel", _call("batch_norm", (1, 4), _ones(4), _ones(4), training=True), ValueError, r"batch_norm: expected more than 1 value per channel when training, got input \(1, 4\)"),
    Bad("batch_norm of one pixel", _call("batch_norm", (1, 4, 1, 1), None, None, training=True), ValueError, r"more than 1 value per channel .* \(1, 4, 1, 1\)"),
    Bad("batch_norm with other running statistics", _call("batch_norm", IMAGE, _ones(3), _ones(3)), RuntimeError, r"batch_norm: expected running_mean of shape \(4,\) .* got \(3,\)"),
    Bad("batch_norm with another weight", _call("batch_norm", IMAGE, _ones(4), _ones(4), _ones(3)), RuntimeError, r"expected weight of shape \(4,\) .* got \(3,\)"),
    Bad("batch_norm with another bias", _call("batch_norm", IMAGE, _ones(4), _ones(4), _ones(4), _ones(5)), RuntimeError, r"expected bias of shape \(4,\) .* got \(5,\)"),
    Bad("batch_norm evaluated without statistics", _call("batch_norm", IMAGE, None, None), RuntimeError, "batch_norm: running_mean and running_var are needed unless training=True"),
    Bad("batch_norm with half the statistics", _call("batch_norm", IMAGE, _ones(4), None, training=True), ValueError, "batch_norm: running_mean and running_var belong together"),
    Bad("batch_norm with a weight of doubles", _call("batch_norm", IMAGE, None, None, _ones(4, dtype="float64"), training=True), RuntimeError, "batch_norm: input is float32 but weight is float64"),
    Bad("batch_norm in training with an eps of 0", _call("batch_norm", IMAGE, None, None, training=True, eps=0.0), ValueError, "batch_norm: eps must be positive when training, got 0.0"),
    Bad("batch_norm with a negative eps", _call("batch_norm", IMAGE, _ones(4), _ones(4), eps=-1.0), ValueError, "batch_norm: eps must not be negative, got -1.0"),
    Bad("batch_norm without momentum", _call("batch_norm", IMAGE, _ones(4), _ones(4), training=True, momentum=None), TypeError, "batch_norm: momentum must be a float, got None"),
    Bad("batch_norm of ints", lambda library: library.nn.functional.batch_norm(library.zeros(2, 3).long(), None, None, training=True), RuntimeError, "batch_norm: expected input of a floating dtype, got int64"),
    Bad("batch_norm_relu of a vector", _call("batch_norm_relu", (4,), _ones(4), _ones(4)), RuntimeError, r"batch_norm_relu: expected input of shape \(N, C, ...\), got \(4,\)", torch=False),
    Bad("batch_norm_relu with another weight", _call("batch_norm_relu", IMAGE, _ones(4), _ones(4), _ones(3)), RuntimeError, r"batch_norm_relu: expected weight of shape \(4,\) .* got \(3,\)", torch=False),
    Bad("batch_norm_relu evaluated without statistics", _call("batch_norm_relu", IMAGE, None, None), RuntimeError, "batch_norm_relu: running_mean and running_var are needed unless training=True", torch=False),
    Bad("batch_norm_relu of something else to add", _call("batch_norm_relu", IMAGE, None, None, training=True, add=_ones(4, 3, 3)), RuntimeError, r"batch_norm_relu: expected add of input's shape \(2, 4, 3, 3\), got \(4, 3, 3\)", torch=False),
    Bad("batch_norm_relu of a number to add", _call("batch_norm_relu", IMAGE, None, None, training=True, add=1.0), TypeError, "batch_norm_relu: argument 'add' must be a Tensor, not float", torch=False),
    Bad("batch_norm_relu of ints to add", _call("batch_norm_relu", IMAGE, None, None, training=True, add=_ones(*IMAGE, dtype="int64")), RuntimeError, "batch_norm_relu: expected add of a floating dtype, got int64", torch=False),
    Bad("BatchNorm1d of images", _layer("BatchNorm1d", IMAGE, 4), ValueError, r"BatchNorm1d: expected 2D or 3D input \(got 4D input of shape \(2, 4, 3, 3\)\)"),
    Bad("BatchNorm2d of rows", _layer("BatchNorm2d", (2, 4, 3), 4), ValueError, r"BatchNorm2d: expected 4D input \(got 3D input of shape \(2, 4, 3\)\)"),
    Bad("BatchNorm2d of other channels", _layer("BatchNorm2d", IMAGE, 3), RuntimeError, r"expected running_mean of shape \(4,\) .* got \(3,\)"),
    Bad("BatchNorm1d of one sample", _layer("BatchNorm1d", (1, 4), 4), ValueError, r"got input \(1, 4\)"),
    Bad("group_norm of a vector", _call("group_norm", (4,), 2), RuntimeError, r"group_norm: expected input of shape \(N, C, ...\), got \(4,\)"),
    Bad("group_norm in no groups", _call("group_norm", IMAGE, 0), ZeroDivisionError, "group_norm: num_groups must be positive, got 0"),
    Bad("group_norm in uneven groups", _call("group_norm", IMAGE, 3), RuntimeError, r"group_norm: num_groups=3 must be positive and divide C=4 of input \(2, 4, 3, 3\)"),
    Bad("group_norm in fewer than no groups", _call("group_norm", IMAGE, -1), RuntimeError, "num_groups=-1 must be positive"),
    Bad("group_norm in a float of groups", _call("group_norm", IMAGE, 2.0), TypeError, "group_norm: num_groups must be an int, got 2.0"),
    Bad("group_norm with another weight", _call("group_norm", IMAGE, 2, _ones(3)), RuntimeError, r"group_norm: expected weight of shape \(4,\) for input \(2, 4, 3, 3\), got \(3,\)"),
    Bad("group_norm with a matrix of biases", _call("group_norm", IMAGE, 2, None, _ones(4, 1)), RuntimeError, r"expected bias of shape \(4,\) .* got \(4, 1\)"),
    Bad("group_norm of one value per group", _call("group_norm", (1, 4), 4), ValueError, r"group_norm: expected more than 1 value per channel when training, got input \(1, 4\) in 4 groups"),
    Bad("GroupNorm in uneven groups", lambda library: library.nn.GroupNorm(3, 4), ValueError, "num_groups=3 must divide num_channels=4|num_channels"),
    Bad("GroupNorm in no groups", lambda library: library.nn.GroupNorm(0, 4), ZeroDivisionError, "modulo"),
    Bad("layer_norm over nothing", _call("layer_norm", IMAGE, ()), RuntimeError, r"layer_norm: expected normalized_shape with at least one dimension, got \(\)"),
    Bad("layer_norm over another size", _call("layer_norm", IMAGE, (4,)), RuntimeError, r"layer_norm: expected input of shape \(..., 4\), got \(2, 4, 3, 3\)"),
    Bad("layer_norm over more than there is", _call("layer_norm", (3,), (3, 3)), RuntimeError, r"expected input of shape \(..., 3, 3\), got \(3,\)"),
    Bad("layer_norm over an int", _call("layer_norm", IMAGE, 3), TypeError, "layer_norm: normalized_shape must be a tuple of ints, got 3"),
    Bad("layer_norm over a text", _call("layer_norm", IMAGE, "3"), TypeError, "normalized_shape must be a tuple of ints, got '3'"),
    Bad("layer_norm with another weight", _call("layer_norm", IMAGE, (3,), _ones(4)), RuntimeError, r"layer_norm: expected weight of shape \(3,\) .* got \(4,\)"),
    Bad("layer_norm with a weight of doubles", _call("layer_norm", IMAGE, (3,), _ones(3, dtype="float64")), RuntimeError, "layer_norm: input is float32 but weight is float64"),
    Bad("LayerNorm of another size", _layer("LayerNorm", IMAGE, 4), RuntimeError, r"expected input of shape \(..., 4\)"),
    Bad("LayerNorm over a float", _layer("LayerNorm", IMAGE, 4.0), TypeError, "float"),
    Bad("rms_norm over nothing", _call("rms_norm", IMAGE, ()), RuntimeError, "rms_norm: expected normalized_shape with at least one dimension"),
    Bad("rms_norm over another size", _call("rms_norm", IMAGE, (4,)), RuntimeError, r"rms_norm: expected input of shape \(..., 4\), got \(2, 4, 3, 3\)"),
    Bad("rms_norm with another weight", _call("rms_norm", IMAGE, (3,), _ones(4)), RuntimeError, r"rms_norm: expected weight of shape \(3,\)"),
    Bad("rms_norm of ints", lambda library: library.nn.functional.rms_norm(library.zeros(2, 3).long(), (3,)), RuntimeError, "rms_norm: expected input of a floating dtype, got int64"),
    Bad("instance_norm of one pixel", _call("instance_norm", (2, 3, 1, 1)), ValueError, r"instance_norm: expected more than 1 spatial element when training, got input \(2, 3, 1, 1\)"),
    Bad("instance_norm of a matrix", _call("instance_norm", (2, 3)), ValueError, r"more than 1 spatial element .* \(2, 3\)"),
    Bad("instance_norm with another weight", _call("instance_norm", IMAGE, weight=_ones(3)), RuntimeError, r"instance_norm: expected weight of shape \(4,\) .* got \(3,\)"),
    Bad("instance_norm with other statistics", _call("instance_norm", IMAGE, _ones(3), _ones(3)), RuntimeError, r"expected running_mean of shape \(4,\) .* got \(3,\)"),
    Bad("instance_norm with half the statistics", _call("instance_norm", IMAGE, _ones(4), None), ValueError, "instance_norm: running_mean and running_var belong together"),
    Bad("instance_norm without any statistics", _call("instance_norm", IMAGE, use_input_stats=False), RuntimeError, "running_mean and running_var are needed when use_input_stats=False"),
    Bad("InstanceNorm2d of a matrix", _layer("InstanceNorm2d", (3, 3), 3), ValueError, r"InstanceNorm2d: expected 3D or 4D input \(got 2D input of shape \(3, 3\)\)"),
    Bad("InstanceNorm1d of images", _layer("InstanceNorm1d", IMAGE, 4), ValueError, "InstanceNorm1d: expected 2D or 3D input"),
    Bad("InstanceNorm2d of other channels", _layer("InstanceNorm2d", IMAGE, 3, affine=True), ValueError, "the size 4 at dim=1 is not num_features=3|num_features"),
    Bad("local_response_norm of a matrix", _call("local_response_norm", (3, 3), 2), ValueError, r"local_response_norm: expected input of shape \(N, C, ...\) with 3 or more dimensions, got \(3, 3\)"),
    Bad("local_response_norm over nothing", _call("local_response_norm", IMAGE, 0), RuntimeError, "local_response_norm: size must be positive, got 0"),
    Bad("local_response_norm over less than nothing", _call("local_response_norm", IMAGE, -1), RuntimeError, "size must be positive, got -1"),
    Bad("local_response_norm over a float", _call("local_response_norm", IMAGE, 2.0), TypeError, "local_response_norm: size must be an int, got 2.0"),
    Bad("local_response_norm over a text", _call("local_response_norm", IMAGE, "2"), TypeError, "size must be an int, got '2'"),
    Bad("LocalResponseNorm of a matrix", _layer("LocalResponseNorm", (3, 3), 2), ValueError, r"got \(3, 3\)"),
]  # fmt: skip
