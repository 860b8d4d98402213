"""Fewer parameters and less work for the same view: small kernels, groups, depthwise separable convolutions.

    python examples/depthwise_separable.py [--epochs 5] [--images 5000] [--full] [--device cpu]

First single layers by the formulas

    parameters   (C_in / groups * K * K + 1) * C_out
    MACs          C_in / groups * K * K * H_out * W_out * C_out      (FLOPs: twice as many)

and by the clock; then two networks, equal but for their convolutions, trained on the 5,000 images of the embedded sample of
Fashion-MNIST (--images: on the first so many), with --full on all 60,000.
"""

import argparse
import time

import numbanet
from numbanet import nn, optim, train
from numbanet.data import DataLoader, FashionMNIST, TensorDataset, load_fashion_mnist_sample, transforms


def plain(inputs, outputs, kernel_size=3):
    return nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)


def separable(inputs, outputs, kernel_size=3):
    depthwise = nn.Conv2d(inputs, inputs, kernel_size, padding=kernel_size // 2, groups=inputs)
    pointwise = nn.Conv2d(inputs, outputs, kernel_size=1)
    return nn.Sequential(depthwise, pointwise)  # nn.DepthwiseSeparableConv2d does the same


def shuffled_groups(inputs, outputs, groups=4):
    # Groups never hear of one another, unless their channels are shuffled before the next layer.
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups), nn.ChannelShuffle(groups))


def costs(net, X):
    """Parameters and MACs of all convolutions in the network, for one image."""
    counted = []

    def count(conv, args, Y):
        K = conv.kernel_size[0] * conv.kernel_size[1]
        inputs = conv.in_channels // conv.groups
        height, width = Y.shape[2:]
        counted.append(((inputs * K + 1) * conv.out_channels, inputs * K * height * width * conv.out_channels))

    convs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [conv.register_forward_hook(count) for conv in convs]
    with numbanet.no_grad():
        net(X)
    for hook in hooks:
        hook.remove()
    parameters, macs = (sum(numbers) for numbers in zip(*counted))
    assert parameters == sum(p.numel() for conv in convs for p in conv.parameters())
    return parameters, macs


def milliseconds(net, X, repeats=10):
    """Of a forward and a backward pass: the shortest of some."""
    times = []
    for _ in range(repeats):
        X.grad = None
        start = time.perf_counter()
        net(X).sum().backward()
        X.grad[0, 0, 0, 0].item()  # waits for what a GPU still has to do
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def compare_layers(device):
    C = 64
    layers = {
        "one 5 x 5": plain(C, C, 5),
        "two 3 x 3, one after another": nn.Sequential(plain(C, C), plain(C, C)),
        "one 5 x 5, separable": separable(C, C, 5),
        "one 3 x 3": plain(C, C),
        "one 3 x 3 in 4 groups, shuffled": shuffled_groups(C, C),
        "one 3 x 3, separable": separable(C, C),
    }
    X = numbanet.randn(16, C, 28, 28, device=device, requires_grad=True)
    print(f"{C} to {C} channels of 28 x 28        parameters          MACs         FLOPs   ms for 16 images")
    for name, layer in layers.items():
        layer.to(device)
        parameters, macs = costs(layer, X[:1])
        print(f"{name:<33}{parameters:>12,}{macs:>14,}{2 * macs:>14,}{milliseconds(layer, X):>19.1f}")


def network(convolution):
    def block(inputs, outputs):
        return nn.Sequential(convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU())

    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        block(32, 64), nn.MaxPool2d(2),
        block(64, 128), block(128, 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def data(full, train, images=None):
    if full:
        return FashionMNIST(train=train, transform=transforms.ToTensor())
    X, y = load_fashion_mnist_sample(train)
    return TensorDataset(numbanet.tensor(X[:images, None]).float() / 255, numbanet.tensor(y[:images]))


def compare_networks(full, images, epochs, batch_size, device):
    test_loader = DataLoader(data(full, train=False), 250)
    results = {}
    for name, convolution in (("plain", plain), ("separable", separable)):
        numbanet.manual_seed(0)
        train_loader = DataLoader(data(full, train=True, images=images), batch_size, shuffle=True)
        net = network(convolution).to(device)
        parameters, macs = costs(net, numbanet.zeros(1, 1, 28, 28, device=device))
        print(f"\n{name} convolutions: {parameters:,} parameters, {macs:,} MACs for an image")
        start = time.perf_counter()
        trainer = train.Trainer(net, optim.Adam(net.parameters(), lr=0.003))
        trainer.fit(train_loader, epochs=epochs)
        seconds = (time.perf_counter() - start) / epochs
        accuracy = train.evaluate(net, test_loader)["accuracy"]
        print(f"{seconds:.1f} seconds for an epoch, test accuracy {accuracy:.3f}")
        results[name] = parameters, macs, seconds
    shares = [100 * b / a for a, b in zip(results["plain"], results["separable"])]
    print("\nseparable: {:.0f} % of the parameters, {:.0f} % of the MACs, {:.0f} % of the time".format(*shares))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--images", type=int, default=5000, help="how many images of the sample to train on")
    parser.add_argument("--full", action="store_true", help="train on all images of Fashion-MNIST")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    compare_layers(args.device)
    compare_networks(args.full, args.images, args.epochs, args.batch_size, args.device)
