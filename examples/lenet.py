"""LeNet on Fashion-MNIST: the shapes after each layer, then training.

    python examples/lenet.py           # the embedded sample
    python examples/lenet.py --full    # as in the notes: all 60,000 images

Here the training is written out; the scripts of the larger networks leave it to ``numbanet.train.Trainer``.
"""

from _course import load_data, print_shapes, settings

import numbanet
from numbanet import nn, optim
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


def train(net, train_iter, test_iter, num_epochs, optimizer, device):
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
    args = settings(
        __doc__,
        full={"resize": 28, "batch_size": 256, "optimizer": "sgd", "lr": 0.9, "epochs": 10},
        # Few images are few steps, in which plain gradient descent hardly leaves the plateau that sigmoids begin on.
        sample={"resize": 28, "batch_size": 32, "optimizer": "adam", "lr": 0.003, "epochs": 20},
    )
    numbanet.manual_seed(0)
    net = lenet()
    print_shapes(net, args.resize)
    net.apply(init_weights)
    net.to(args.device)
    kind = {"sgd": optim.SGD, "adam": optim.Adam}[args.optimizer]
    train(net, *load_data(args), args.epochs, kind(net.parameters(), lr=args.lr), args.device)
