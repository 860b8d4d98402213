"""LeNet-5 as its paper has it: the convolutional network that read cheques in the 1990s.

What was new: convolution, subsampling, convolution, subsampling, learnt as one by back-propagation from pixels to classes, with no
features made by hand. Most later networks dropped four things that are here: pooling with a coefficient and a bias to learn; a
second convolution in which each map sees only some of the maps before it; the scaled hyperbolic tangent; and output units that
measure how far 84 numbers are from a picture of the digit. ``models.lenet`` is what courses make of it.

Reference:
    LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, section II-B.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numbanet import nn
from numbanet.functional import cat
from numbanet.models.registry import register
from numbanet.nn import functional as F
from numbanet.tensor import Tensor, empty, from_numpy, zeros

__all__ = ["DigitDistance", "LeNet5", "ScaledTanh", "Subsampling", "TableConv2d", "lenet5"]

# Table I of the paper: the maps of S2 that each of the 16 maps of C3 sees. The first six maps see three neighbours, the next nine
# four, the last one all: fewer weights, and no two maps can learn the same.
CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# What the 84 units of F6 are to look like for each class: pictures of 7 x 12 pixels, drawn anew after the paper's figure 3. Digits that
# look alike have codes that are near, so that a reader of whole words can tell which mistakes are likely.
PICTURES = """
    ..###.. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
    .#...#. ..##... #.....# #.....# ....##. #...... .#....# ......# #.....# #.....#
    #.....# .#.#... #.....# ......# ...#.#. #...... #...... ......# #.....# #.....#
    #.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
    #.....# ...#... ......# ......# .#...#. #.####. #...... .....#. #.....# #....##
    #.....# ...#... .....#. ..####. #....#. ##....# #.####. ....#.. .#####. .####.#
    #.....# ...#... ....#.. ......# #....#. ......# ##....# ....#.. #.....# ......#
    #.....# ...#... ...#... ......# ####### ......# #.....# ...#... #.....# ......#
    #.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
    #.....# ...#... .#..... ......# .....#. ......# #.....# ..#.... #.....# ......#
    .#...#. ...#... #...... #.....# .....#. #.....# #.....# ..#.... #.....# #....#.
    ..###.. .#####. ####### .#####. .....#. .#####. .#####. ..#.... .#####. .####..
"""


class ScaledTanh(nn.Module):
    """1.7159 tanh(2/3 x): odd, f(1) = 1, f(-1) = -1, and most curved there, where the targets are (appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * (x * (2 / 3)).tanh()


class Subsampling(nn.Module):
    """The sum of each 2 x 2 window, times a coefficient, plus a bias, both learnt: (N, C, H, W) -> (N, C, H/2, W/2).

    Args:
        channels: C, of which each has its own coefficient and bias.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(empty(channels))
        self.bias = nn.Parameter(empty(channels))
        nn.init.uniform_(self.weight, -2.4 / 4, 2.4 / 4)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        sums = F.avg_pool2d(x, 2, divisor_override=1)
        return sums * self.weight.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1)


class TableConv2d(nn.Module):
    """A convolution whose output maps see only the input maps that a table names: (N, C, H, W) -> (N, O, H-K+1, W-K+1).

    Args:
        in_channels: C.
        table: for each of the O output maps, the input maps that it sees.
        kernel_size: K.

    Attributes:
        weight: a kernel for each connection, in the table's order: (connections, K, K).
        bias: (O,).
    """

    places: Tensor

    def __init__(self, in_channels: int, table: Sequence[Sequence[int]], kernel_size: int) -> None:
        super().__init__()
        connections = sum(len(row) for row in table)
        self.weight = nn.Parameter(empty(connections, kernel_size, kernel_size))
        self.bias = nn.Parameter(empty(len(table)))
        # Where the kernel from input map c to output map o stands; where there is none, behind the last: a kernel of zeros.
        places = np.full((len(table), in_channels), connections)
        for o, row in enumerate(table):
            start = sum(len(r) for r in table[:o])
            places[o, list(row)] = range(start, start + len(row))
            bound = 2.4 / (len(row) * kernel_size**2)
            nn.init.uniform_(self.weight.data[start : start + len(row)], -bound, bound)
        nn.init.zeros_(self.bias)
        self.register_buffer("places", from_numpy(places), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        absent = zeros((1, *self.weight.shape[1:]), dtype=x.dtype, device=x.device)
        weight = cat((self.weight, absent))[self.places]  # (O, C, K, K)
        return F.conv2d(x, weight, self.bias)


class DigitDistance(nn.Module):
    """Scores from distances: minus the squared Euclidean distance from a class's picture, (N, 84) -> (N, classes).

    The paper's radial basis functions, with a sign, so that the largest is the best and cross-entropy is the paper's loss
    (its equation 9, without the constant there). Nothing is learnt here.

    Args:
        num_classes: at most 10, since there are pictures of the ten digits.

    Raises:
        ValueError: for more.
    """

    codes: Tensor

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        rows = [line.split() for line in PICTURES.split("\n") if line.strip()]
        pictures = [[1.0 if dot == "#" else -1.0 for row in rows for dot in row[digit]] for digit in range(10)]
        if not 1 <= num_classes <= len(pictures):
            raise ValueError(
                f"lenet5: there are pictures of 10 classes, num_classes={num_classes}; output='linear' takes any number"
            )
        self.register_buffer("codes", from_numpy(np.array(pictures[:num_classes], np.float32)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return -((x.unsqueeze(1) - self.codes) ** 2).sum(dim=2)


class LeNet5(nn.Module):
    """LeNet-5; see :func:`lenet5`."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1, output: str = "distance") -> None:
        super().__init__()
        if output not in ("distance", "linear"):
            raise ValueError(f"lenet5: output must be 'distance' or 'linear', got {output!r}")
        self.c1 = nn.Conv2d(in_channels, 6, kernel_size=5)
        self.s2 = Subsampling(6)
        self.c3 = TableConv2d(6, CONNECTIONS, kernel_size=5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)
        self.f6 = nn.Linear(120, 84)
        self.output = DigitDistance(num_classes) if output == "distance" else nn.Linear(84, num_classes)
        self.squash = ScaledTanh()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # appendix A: 2.4 over the number of inputs of a unit
                bound = 2.4 / module.weight[0].numel()
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.c1, self.s2, self.c3, self.s4, self.c5):
            x = self.squash(layer(x))
        return self.output(self.squash(self.f6(x.flatten(1))))


@register(input_shape=(1, 32, 32), lr=0.01, batch_size=32)
def lenet5(num_classes: int = 10, in_channels: int = 1, output: str = "distance") -> LeNet5:
    """LeNet-5 of 1998: 60,000 parameters, images (N, 1, 32, 32).

    ====== ================================= ============ ==========
    layer                                    output       parameters
    ====== ================================= ============ ==========
    c1     convolution 5 x 5                 6 x 28 x 28         156
    s2     subsampling                       6 x 14 x 14          12
    c3     convolution 5 x 5, by the table   16 x 10 x 10      1,516
    s4     subsampling                       16 x 5 x 5           32
    c5     convolution 5 x 5                 120 x 1 x 1      48,120
    f6     linear                            84               10,164
    output distance from pictures            10                    0
    ====== ================================= ============ ==========

    The paper's digits are 20 x 20 pixels in the middle of the image, with the ground at -0.1 and the ink at 1.175.

    Args:
        num_classes: number of outputs, at most 10 with "distance".
        in_channels: channels of the images.
        output: "distance", the paper's output units; or "linear", a linear layer for any number of classes.

    Raises:
        ValueError: for another output, or more than 10 classes with "distance".
    """
    return LeNet5(num_classes, in_channels, output)
