"""A residual block, and what its shortcut does to the gradient that reaches the first layer of a deep stack.

python examples/residual.py
"""

import numbanet
from numbanet import nn
from numbanet.nn import functional as F


class Residual(nn.Module):
    def __init__(self, input_channels, num_channels, use_1x1conv=False, strides=1, shortcut=True):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1 = nn.BatchNorm2d(num_channels)
        self.bn2 = nn.BatchNorm2d(num_channels)
        self.shortcut = shortcut

    def forward(self, X):
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        if self.conv3:
            X = self.conv3(X)
        if self.shortcut:
            Y += X
        return F.relu(Y)


X = numbanet.rand(4, 3, 6, 6)
print("same shape:     ", Residual(3, 3)(X).shape)
print("half the size:  ", Residual(3, 6, use_1x1conv=True, strides=2)(X).shape)

# Batch norm set to evaluation passes values through unchanged at first (mean 0, variance 1), so that what is seen is what
# the convolutions alone do to a gradient that goes through 24 of them.
for shortcut in (False, True):
    numbanet.manual_seed(0)
    first = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    net = nn.Sequential(
        first, *[Residual(8, 8, shortcut=shortcut) for _ in range(12)], nn.Flatten(), nn.Linear(288, 10)
    )
    net.eval()
    loss = F.cross_entropy(net(X), numbanet.tensor([0, 1, 2, 3]))
    loss.backward()
    kind = "with" if shortcut else "without"
    print(f"12 blocks {kind} shortcuts: gradient of the first layer {first.weight.grad.norm().item():.1e}")
