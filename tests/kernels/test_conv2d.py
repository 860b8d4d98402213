"""Convolution kernels: references against the definition, twins against references, and the twins' own machinery."""

import itertools

import numba
import numpy as np
import pytest

from numbanet.devices import cuda, cuda_is_available
from numbanet.kernels import conv2d as module
from numbanet.kernels import conv2d_gather, conv2d_images, conv2d_pixels, conv2d_plan, launch, simd
from numbanet.kernels.conv2d import conv2d_forward, conv2d_grad_bias, conv2d_grad_input, conv2d_grad_weight
from tests.kernels.twins import pairwise

CHANNELS = 4
STRIDES, DILATIONS = ((1, 1), (2, 2), (2, 1)), ((1, 1), (2, 2), (1, 2))
PADDINGS, KERNELS = ((0, 0), (1, 1), (2, 1)), ((1, 1), (3, 3), (3, 2))
OPTIONS = list(itertools.product(STRIDES, DILATIONS, PADDINGS, KERNELS))


class Case:
    """Random arrays for one convolution; ``spare`` rows and columns are added to the output (implied padding)."""

    def __init__(self, x, out, kernel, stride=(1, 1), dilation=(1, 1), padding=(0, 0), groups=1, bias=True, spare=(0, 0),
                 dtype=np.float64, seed=0):  # fmt: skip
        random = np.random.default_rng(seed)
        size = [
            (x[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 + spare[i]
            for i in range(2)
        ]
        self.options = (*stride, *padding, *dilation, groups)
        self.x = random.standard_normal(x).astype(dtype)
        self.weight = random.standard_normal((out, x[1] // groups, *kernel)).astype(dtype)
        self.bias = random.standard_normal(out if bias else 0).astype(dtype)
        self.dy = random.standard_normal((x[0], out, *size)).astype(dtype)

    def calls(self):
        """(kernel, inputs, shape of the output, options) of the four kernels."""
        yield conv2d_forward, (self.x, self.weight, self.bias), self.dy.shape, self.options
        yield conv2d_grad_input, (self.dy, self.weight), self.x.shape, self.options
        yield conv2d_grad_weight, (self.dy, self.x, np.empty(0, self.x.dtype)), self.weight.shape, self.options
        yield conv2d_grad_bias, (self.dy,), self.weight.shape[:1], ()

    def check(self, run=None):
        """Compare the four twins with their references, which compute in float64."""
        for kernel, inputs, shape, options in self.calls():
            got, want = np.full(shape, np.nan, self.x.dtype), np.full(shape, np.nan)
            (run or type(kernel).__call__)(kernel, *inputs, got, *options)
            kernel.reference(*[a.astype(np.float64) for a in inputs], want, *options)
            assert_close(got, want, f"{kernel.name} {self.x.shape} {self.weight.shape} {options}")


def assert_close(got, want, what):
    tolerance = 3e-6 if got.dtype == np.float32 else 1e-14
    error = np.abs(got - want)  # NaN fails the comparison below
    assert got.size == 0 or error.max() <= tolerance * (10 + 10 * np.abs(want).max()), (
        f"{what}: off by {error.max()} at {np.unravel_index(error.argmax(), error.shape)}"
    )


def crossed(groups, **more):
    for stride, dilation, padding, kernel in OPTIONS:
        yield Case((2, CHANNELS, 7, 9), 8, kernel, stride, dilation, padding, groups, **more)


def run_on_device(kernel, *args):
    """Run a kernel's CUDA twin on copies of its arrays and bring the output back."""
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    copies = [cuda.to_device(a) for a in arrays]
    kernel(*copies, *args[len(arrays) :])
    arrays[-1][...] = copies[-1].copy_to_host()


# -------------------------------------------------------------------------------------------------- the references


def test_reference_is_the_definition():
    for case in [
        Case((2, 4, 4, 5), 4, (3, 2), (2, 1), (1, 2), (2, 1), 2),
        Case((1, 2, 3, 3), 2, (1, 1), (2, 2), (1, 1), (1, 0), 2, bias=False, spare=(1, 1)),
    ]:
        sh, sw, pt, pl, dh, dw, groups = case.options
        h, w, (out, per_group, kh, kw) = *case.x.shape[2:], case.weight.shape
        want = np.empty(case.dy.shape)
        for i, o, oy, ox in np.ndindex(want.shape):
            total = case.bias[o] if case.bias.size else 0.0
            for c, a, b in np.ndindex(per_group, kh, kw):
                iy, ix = oy * sh + a * dh - pt, ox * sw + b * dw - pl
                if 0 <= iy < h and 0 <= ix < w:
                    total += case.weight[o, c, a, b] * case.x[i, o // (out // groups) * per_group + c, iy, ix]
            want[i, o, oy, ox] = total
        got = np.full_like(want, np.nan)
        conv2d_forward.reference(case.x, case.weight, case.bias, got, *case.options)
        assert_close(got, want, "forward")


@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
def test_references_are_gradients(groups):
    """Central differences of <dy, y> along a random direction; exact but for rounding, since y is linear in each."""

    def loss(case, x, weight, bias):
        y = np.empty(case.dy.shape)
        conv2d_forward.reference(x, weight, bias, y, *case.options)
        return (case.dy * y).sum()

    for seed, case in enumerate(crossed(groups)):
        random = np.random.default_rng(seed)
        at = [case.x, case.weight, case.bias]
        for i, (kernel, inputs, shape, options) in enumerate(list(case.calls())[1:]):
            gradient, direction = np.full(shape, np.nan), random.standard_normal(shape)
            kernel.reference(*inputs, gradient, *options)
            ahead = loss(case, *[a + (j == i) * direction if j == i else a for j, a in enumerate(at)])
            behind = loss(case, *[a - (j == i) * direction if j == i else a for j, a in enumerate(at)])
            assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2, rel=1e-9, abs=1e-9), kernel.name


@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
def test_twins_agree_with_pytorch(groups):
    torch = pytest.importorskip("torch")
    for case in crossed(groups, dtype=np.float32):
        stride, padding, dilation = case.options[:2], case.options[2:4], case.options[4:6]
        x, weight, bias = (torch.from_numpy(a).requires_grad_() for a in (case.x, case.weight, case.bias))
        y = torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
        y.backward(torch.from_numpy(case.dy))
        for (kernel, inputs, shape, options), want in zip(
            case.calls(), (y.detach(), x.grad, weight.grad, bias.grad), strict=True
        ):
            got = np.full(shape, np.nan, np.float32)
            kernel(*inputs, got, *options)
            assert_close(got, want.numpy(), f"{kernel.name} {case.weight.shape} {options}")


# ------------------------------------------------------------------------------------------------------- CPU twins


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups", [1, 2, CHANNELS])
def test_options_crossed(groups, dtype):
    for case in crossed(groups, dtype=dtype):
        case.check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padding_per_side(dtype):
    """Bottom and right padding are whatever the output's size asks for, negative too."""
    for spare in itertools.product((-2, -1, 1, 4), repeat=2):
        for stride in ((1, 1), (3, 2)):
            Case((2, 3, 11, 10), 5, (3, 2), stride, padding=(1, 2), spare=spare, dtype=dtype).check()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_odd_shapes(dtype):
    for arguments in [
        dict(x=(0, 3, 5, 5), out=4, kernel=(3, 3)),  # an empty batch
        dict(x=(3, 2, 5, 4), out=7, kernel=(5, 4)),  # a single output pixel: matrix products
        dict(x=(3, 4, 5, 4), out=6, kernel=(5, 4), groups=2),
        dict(x=(1, 1, 1, 1), out=1, kernel=(1, 1), bias=False),
        dict(x=(2, 3, 2, 3), out=4, kernel=(7, 7), padding=(3, 3)),  # a kernel larger than the image
        dict(x=(2, 3, 4, 3), out=4, kernel=(1, 1), padding=(5, 6), stride=(3, 4)),  # outputs that see only padding
        dict(x=(2, 2, 9, 9), out=3, kernel=(2, 2), stride=(5, 4)),  # pixels that nobody reads
        dict(x=(2, 2, 40, 3), out=3, kernel=(3, 3), dilation=(17, 1)),
        dict(x=(2, 1, 3, 150), out=17, kernel=(1, 9), padding=(0, 40)),
        dict(x=(2, 6, 8, 8), out=18, kernel=(3, 3), groups=6, padding=(1, 1)),  # three outputs per group
        *(dict(x=(1, 2, 6, 6), out=out, kernel=(3, 3), padding=(1, 1)) for out in (2, 4, 6, 9, 10, 12, 20)),
        *(dict(x=(2, c, 5, 5), out=3, kernel=(2, 2)) for c in (5, 6, 8, 11)),  # tile heights of the transposed product
    ]:
        Case(dtype=dtype, **arguments).check()


LARGE = [
    dict(x=(3, 20, 19, 70), out=70, kernel=(3, 3), padding=(1, 1)),  # bands of rows, several parts of the channels
    dict(x=(9, 16, 7, 7), out=24, kernel=(3, 3), padding=(1, 1)),  # images that follow one another
    dict(x=(17, 6, 14, 14), out=16, kernel=(5, 5)),
    dict(x=(5, 1, 28, 28), out=6, kernel=(5, 5), padding=(2, 2)),
    dict(x=(2, 40, 14, 14), out=140, kernel=(1, 1)),
    dict(x=(2, 3, 50, 61), out=33, kernel=(7, 7), stride=(2, 2), padding=(3, 3)),
    dict(x=(2, 24, 30, 40), out=24, kernel=(3, 3), groups=24, padding=(1, 1)),
    dict(x=(2, 24, 30, 40), out=48, kernel=(3, 3), groups=12, stride=(2, 2), padding=(1, 1)),
    # 1x1 kernels whose weight's gradient reads x and dy in place; 10 and 50 channels are no whole number of tiles
    dict(x=(3, 20, 8, 8), out=24, kernel=(1, 1), groups=2),
    dict(x=(2, 50, 36, 40), out=24, kernel=(1, 1)),
]


@pytest.mark.parametrize("tight", [False, True])
def test_block_boundaries(tight, monkeypatch):
    """Larger shapes as they come, and with limits so tight that everything is cut into several blocks."""
    if tight:
        for name, value in {
            "_SCRATCH_BYTES": 12_000, "_RESULT_BYTES": 20_000, "_DEPTH": 40, "_WEIGHT_ROWS": 16, "_ROW_BYTES": 6000,
        }.items():  # fmt: skip
            assert hasattr(conv2d_pixels, name)
            monkeypatch.setattr(conv2d_pixels, name, value)
        assert hasattr(conv2d_plan, "RESULT_ROWS")
        monkeypatch.setattr(conv2d_plan, "RESULT_ROWS", 16)
    clear_plans()
    try:
        for arguments in LARGE:
            Case(dtype=np.float32, **arguments).check()
        if tight:
            for case in list(crossed(2, dtype=np.float32))[::5]:
                case.check()
    finally:
        clear_plans()


def clear_plans():
    for file in (module, conv2d_pixels):
        for name, value in vars(file).items():
            if name.endswith(("_plan", "_layouts")) and hasattr(value, "cache_clear"):
                value.cache_clear()


def test_scratch_is_never_trusted(monkeypatch):
    """What lay in the scratch before, NaN here, must not reach a result."""
    monkeypatch.setattr(conv2d_plan, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    for case in [*crossed(2, dtype=np.float32), *(Case(dtype=np.float32, **arguments) for arguments in LARGE)]:
        case.check()


IMAGES = [  # small images, many of them: 16, 8, 4 or 2 to a vector
    dict(x=(16, 6, 7, 7), out=8, kernel=(3, 3), padding=(1, 1)),
    dict(x=(19, 4, 6, 9), out=6, kernel=(5, 3), padding=(2, 0), groups=2),  # a last vector that is not full
    dict(x=(16, 8, 9, 8), out=4, kernel=(3, 2), dilation=(2, 1), padding=(2, 1)),
    dict(x=(33, 6, 7, 10), out=12, kernel=(3, 3), stride=(2, 2), padding=(1, 1)),
    dict(x=(16, 6, 10, 7), out=12, kernel=(3, 3), stride=(2, 1), padding=(1, 1)),
    dict(x=(16, 12, 9, 9), out=24, kernel=(2, 2), stride=(3, 3), groups=2),  # pixels that nobody reads
    dict(x=(16, 300, 3, 3), out=70, kernel=(3, 3), padding=(1, 1)),  # several blocks of channels
    dict(x=(64, 90, 5, 5), out=300, kernel=(2, 2), spare=(1, 1)),  # several parts of the rows
    dict(x=(48, 16, 4, 4), out=32, kernel=(1, 1), padding=(1, 2)),  # outputs that see only padding
    dict(x=(16, 6, 3, 2), out=8, kernel=(5, 5), padding=(3, 3)),  # a kernel larger than the image
    dict(x=(16, 4, 8, 8), out=6, kernel=(3, 3), spare=(-1, -2)),
    # depthwise
    dict(x=(17, 5, 9, 7), out=5, kernel=(3, 3), padding=(1, 1), groups=5),
    dict(x=(16, 5, 9, 14), out=5, kernel=(3, 3), stride=(2, 2), padding=(1, 1), groups=5),
    dict(x=(19, 3, 8, 11), out=3, kernel=(5, 4), stride=(1, 2), padding=(2, 3), groups=3),
    dict(x=(16, 3, 9, 12), out=3, kernel=(3, 3), stride=(2, 2), dilation=(1, 2), padding=(1, 2), groups=3),
    dict(x=(16, 2, 3, 1), out=2, kernel=(3, 3), stride=(2, 2), padding=(1, 4), groups=2),  # hardly a pixel in a row
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tight", [False, True])
def test_lanes_along_images(dtype, tight, monkeypatch):
    """Every pass that can take this way, also where the cost model would not; NaN in its scratch."""
    taken = []

    def cheapest(*plans):
        taken.append(plans[-1] is not None)
        return plans[-1] or plans[0]

    monkeypatch.setattr(module, "cheapest", cheapest)
    monkeypatch.setattr(conv2d_plan, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    if tight:
        monkeypatch.setattr(conv2d_images, "_DEPTH", 20)
        monkeypatch.setattr(conv2d_images, "_BAND_BYTES", 2000)
        monkeypatch.setattr(conv2d_images, "_WEIGHT_ROWS", 8)
    clear_plans()
    try:
        for arguments in IMAGES:
            case = Case(dtype=dtype, **arguments)
            case.check()
            got, want = np.full(case.weight.shape[:1], np.nan, dtype), np.empty(case.weight.shape[:1])
            conv2d_grad_weight(case.dy, case.x, got, np.empty_like(case.weight), *case.options)
            conv2d_grad_bias.reference(case.dy, want)
            assert_close(got, want, f"the bias's gradient beside the weight's, {case.x.shape}")
        assert sum(taken) >= 2 * len(IMAGES)
    finally:
        monkeypatch.undo()
        clear_plans()


@pytest.mark.parametrize("arguments", [LARGE[0], IMAGES[0]])
def test_bias_beside_the_weight(arguments):
    case = Case(dtype=np.float32, **arguments)
    got, want = np.full(case.weight.shape[:1], np.nan, np.float32), np.empty(case.weight.shape[:1])
    conv2d_grad_weight(case.dy, case.x, got, np.empty_like(case.weight), *case.options)
    conv2d_grad_weight.reference(case.dy, case.x, want, np.empty_like(case.weight), *case.options)
    assert_close(got, want, f"{case.x.shape}")


def test_lenet_takes_lanes_along_images():
    """The choice that LeNet's speed rests on."""
    if simd.VECTOR_BITS < 256:
        pytest.skip("with narrow vectors rows are long enough")
    x, weight, y = (256, 6, 14, 14), (16, 6, 5, 5), (256, 16, 10, 10)
    options = (1, 1, 0, 0, 1, 1), 1, 4
    assert module._forward_plan(x, weight, y, *options).body is conv2d_images._convolve
    assert module._grad_input_plan(y, weight, x, *options).body is conv2d_images._convolve
    assert module._grad_weight_plan(y, x, weight, *options).body is conv2d_images._weigh


def test_weight_gradients_of_1x1_kernels_read_in_place():
    """Two of the cases above do; 7 x 7 pixels are no whole number of vectors."""
    odd = dict(x=(3, 20, 7, 7), out=24, kernel=(1, 1))
    for arguments, in_place in [(LARGE[-2], 1), (LARGE[-1], 1), (odd, 0)]:
        case = Case(dtype=np.float32, **arguments)
        plan = conv2d_pixels.grad_weight_plan(
            case.dy.shape, case.x.shape, case.weight.shape, case.options[:6], case.options[6], 4
        )
        assert plan.fields[conv2d_pixels._IN_PLACE] == in_place


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_same_bits_with_any_number_of_threads():
    for arguments in [*LARGE, *IMAGES]:
        case, results = Case(dtype=np.float32, **arguments), []
        try:
            for threads in (1, 2, numba.config.NUMBA_NUM_THREADS):
                numba.set_num_threads(threads)
                outputs = [np.full(shape, np.nan, np.float32) for _, _, shape, _ in case.calls()]
                for output, (kernel, inputs, _, options) in zip(outputs, case.calls(), strict=True):
                    kernel(*inputs, output, *options)
                results.append(outputs)
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        for others in results[1:]:
            for a, b in zip(results[0], others, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_outside_of_the_arrays(dtype):
    """Arrays in the middle of buffers of NaN: none gets in, none is overwritten, inputs stay as they are."""

    def fenced(array):
        margin = 67  # odd, so that vectors are misaligned
        buffer = np.full(array.size + 2 * margin, np.nan, dtype)
        view = buffer[margin : margin + array.size].reshape(array.shape)
        view[...] = array
        return buffer, view

    def run(kernel, *args):
        arrays = [a for a in args if isinstance(a, np.ndarray)]
        buffers, views = zip(*map(fenced, arrays), strict=True)
        kernel(*views, *args[len(arrays) :])
        for buffer, view, array in zip(buffers, views, arrays, strict=True):
            assert np.isnan(buffer[:67]).all() and np.isnan(buffer[67 + view.size :]).all(), kernel.name
            if array is not arrays[-1]:
                np.testing.assert_array_equal(view, array)
        arrays[-1][...] = views[-1]

    for case in [*list(crossed(1, dtype=dtype))[::4], *list(crossed(CHANNELS, dtype=dtype))[::4]]:
        case.check(run)
    for arguments in [*LARGE, *IMAGES]:
        Case(dtype=dtype, **arguments).check(run)


def test_infinity_and_nan_go_where_the_sums_take_them():
    case = Case((2, 3, 9, 8), 5, (3, 3), padding=(1, 1), dtype=np.float32)
    case.x[0, 1, 4, 2], case.x[1, 2, 0, 7] = np.nan, np.inf
    y, want = (np.empty(case.dy.shape, np.float32) for _ in range(2))
    conv2d_forward(case.x, case.weight, case.bias, y, *case.options)
    conv2d_forward.reference(case.x, case.weight, case.bias, want, *case.options)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(want))
    np.testing.assert_array_equal(np.isnan(y), np.isnan(want))
    dw = np.empty_like(case.weight)
    conv2d_grad_weight(case.dy, case.x, np.empty(0, np.float32), dw, *case.options)
    assert not np.isfinite(dw[:, 1]).any() and not np.isfinite(dw[:, 2]).all() and np.isfinite(dw[:, 0]).all()


def test_float32_sums_are_accurate():
    """Long sums of positive numbers stay within a few roundings: nothing adds up half a million terms in a row."""
    random = np.random.default_rng(0)
    dy, x = (random.random((64, c, 96, 96), np.float32) for c in (1, 1))
    for kernel, inputs, shape, options in (
        (conv2d_grad_weight, (dy, x, np.empty(0, np.float32)), (1, 1, 1, 1), (1, 1, 0, 0, 1, 1, 1)),
        (conv2d_grad_bias, (dy,), (1,), ()),
    ):
        got, want = np.empty(shape, np.float32), np.empty(shape)
        kernel(*inputs, got, *options)
        kernel.reference(*[a.astype(np.float64) for a in inputs], want, *options)
        np.testing.assert_allclose(got, want, rtol=3e-6)


# ------------------------------------------------------------------------------------------------------ CUDA twins

# Every two values of two options meet, block sizes among them; small kernels for a small image.
PAIRS = pairwise((2, 3), (1, 2, CHANNELS), STRIDES, DILATIONS, PADDINGS, ((1, 1), (2, 2), (2, 1)))


@pytest.mark.cuda
@pytest.mark.skipif(not cuda_is_available(), reason="no CUDA")
@pytest.mark.parametrize("tile", [2, 3])
def test_cuda_twins(tile, monkeypatch):
    monkeypatch.setattr(launch, "TILE", tile)
    monkeypatch.setattr(launch, "THREADS", 2 * tile + 1)
    monkeypatch.setattr(conv2d_gather, "_MICRO", 2)
    monkeypatch.setattr(conv2d_gather, "_SPLIT_BLOCKS", 3)
    for number, (block, groups, stride, dilation, padding, kernel) in enumerate(PAIRS):
        if block != tile:
            continue
        dtype = (np.float32, np.float64)[number % 2]
        case = Case((1, CHANNELS, 4, 3), 4, kernel, stride, dilation, padding, groups, bias=number % 3 > 0, dtype=dtype)
        case.check(run_on_device)
    Case((0, 2, 3, 3), 2, (2, 2), dtype=np.float32).check(run_on_device)
    Case((1, 2, 3, 3), 4, (2, 2), groups=2, dtype=np.float32).check(run_on_device)  # depthwise, two outputs of each
    Case((3, 3, 3, 4), 5, (2, 2), dtype=np.float32, spare=(1, 0)).check(run_on_device)
