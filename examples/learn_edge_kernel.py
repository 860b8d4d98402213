"""Learn the kernel that finds vertical edges, from images and their edges alone.

    python examples/learn_edge_kernel.py           # from one drawn image
    python examples/learn_edge_kernel.py --full    # from the 60,000 photographs of Fashion-MNIST

Twenty steps are enough for the drawn image, a pass over the photographs for these.
"""

import argparse

import numbanet
from numbanet import nn
from numbanet.data import DataLoader, FashionMNIST, transforms


def learn(batches, lr):
    """Fit a kernel of 1 x 2 to images X and their edges Y, both (batch, channels, height, width)."""
    conv2d = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
    for i, (X, Y) in enumerate(batches):
        Y_hat = conv2d(X)
        l = ((Y_hat - Y) ** 2).sum() / len(X)  # noqa: E741
        conv2d.zero_grad()
        l.backward()
        conv2d.weight.data[:] -= lr * conv2d.weight.grad
        if (i + 1) % max(1, len(batches) // 10) == 0:
            print(f"step {i + 1}, loss {l:.3f}")
    print("learnt:", conv2d.weight.data.reshape((1, 2)), "exact: [[1., -1.]]")


def drawn():
    """A white image with a black band. Its edges: 1 from white to black, -1 from black to white."""
    X = numbanet.ones((6, 8))
    X[:, 2:6] = 0
    Y = numbanet.zeros((6, 7))
    Y[:, 1] = 1
    Y[:, -2] = -1
    print(X)
    print(Y)
    return X.reshape((1, 1) + X.shape), Y.reshape((1, 1) + Y.shape)


class Photographs:
    """Batches of Fashion-MNIST; each pixel less its right neighbour is the edge between them."""

    def __init__(self):
        self.loader = DataLoader(FashionMNIST(transform=transforms.ToTensor()), batch_size=200, shuffle=True)

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for X, _ in self.loader:
            yield X, X[..., :-1] - X[..., 1:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="learn from all 60,000 images of Fashion-MNIST")
    numbanet.manual_seed(0)
    if parser.parse_args().full:
        learn(Photographs(), lr=2e-3)
    else:
        learn([drawn()] * 20, lr=3e-2)
