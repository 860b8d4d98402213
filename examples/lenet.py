"""LeNet on Fashion-MNIST: the shapes after each layer, then training.

    python examples/lenet.py [--epochs 10] [--batch-size 64] [--lr 0.9] [--device cpu]

Without the full dataset on disk and without a network, a sample of 6,000 images serves.
"""

import argparse

import numbanet
from numbanet import nn, optim
from numbanet.data import load_data_fashion_mnist
from numbanet.train.notes import Accumulator, accuracy, evaluate_accuracy_gpu, init_weights


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, 10),
    )  # fmt: skip


def print_shapes(net):
    X = numbanet.rand(size=(1, 1, 28, 28), dtype=numbanet.float32)
    for layer in net:
        X = layer(X)
        print(layer.__class__.__name__, "output shape: \t", X.shape)


def train(net, train_iter, test_iter, num_epochs, lr, device):
    net.apply(init_weights)
    net.to(device)
    optimizer = optim.SGD(net.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss()
    for epoch in range(num_epochs):
        metric = Accumulator(3)  # sum of losses, right predictions, images
        net.train()
        for X, y in train_iter:
            X, y = X.to(device), y.to(device)
            optimizer.zero_grad()
            y_hat = net(X)
            l = loss(y_hat, y)  # noqa: E741
            l.backward()
            optimizer.step()
            metric.add(l.item() * X.shape[0], accuracy(y_hat, y), X.shape[0])
        test_acc = evaluate_accuracy_gpu(net, test_iter)
        print(
            f"epoch {epoch + 1}: loss {metric[0] / metric[2]:.3f}, train acc {metric[1] / metric[2]:.3f}, "
            f"test acc {test_acc:.3f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.9)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    net = lenet()
    print_shapes(net)
    train_iter, test_iter = load_data_fashion_mnist(args.batch_size)
    train(net, train_iter, test_iter, args.epochs, args.lr, args.device)
