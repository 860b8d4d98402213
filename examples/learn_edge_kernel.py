"""Learn the kernel that finds vertical edges, from an image and its edges alone.

python examples/learn_edge_kernel.py
"""

import numbanet
from numbanet import nn

# A white image with a black band. Its edges: 1 from white to black, -1 from black to white.
X = numbanet.ones((6, 8))
X[:, 2:6] = 0
Y = numbanet.zeros((6, 7))
Y[:, 1] = 1
Y[:, -2] = -1
print(X)
print(Y)

# Layers take and give (batch, channels, height, width).
X = X.reshape((1, 1) + X.shape)
Y = Y.reshape((1, 1) + Y.shape)

conv2d = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
lr = 3e-2

for i in range(20):
    Y_hat = conv2d(X)
    l = (Y_hat - Y) ** 2  # noqa: E741
    conv2d.zero_grad()
    l.sum().backward()
    conv2d.weight.data[:] -= lr * conv2d.weight.grad
    if (i + 1) % 2 == 0:
        print(f"epoch {i + 1}, loss {l.sum():.3f}")

print("learnt:", conv2d.weight.data.reshape((1, 2)), "exact: [[1., -1.]]")
