"""Batch normalisation written by hand from tensor arithmetic, beside the layer that numbanet has.

    python examples/batch_norm_from_scratch.py           # the embedded sample
    python examples/batch_norm_from_scratch.py --full    # as in the notes: all 60,000 images

First both layers' outputs and gradients side by side, then LeNet trained with the handmade one.
"""

from _course import course

import numbanet
from numbanet import nn


def batch_norm(X, gamma, beta, moving_mean, moving_var, eps, momentum):
    if not numbanet.is_grad_enabled():  # prediction: the running statistics
        X_hat = (X - moving_mean) / numbanet.sqrt(moving_var + eps)
    else:  # training: the batch's statistics, over all axes but the channels'
        axes = (0,) if len(X.shape) == 2 else (0, 2, 3)
        mean = X.mean(dim=axes, keepdim=True)
        var = ((X - mean) ** 2).mean(dim=axes, keepdim=True)
        X_hat = (X - mean) / numbanet.sqrt(var + eps)
        moving_mean = momentum * moving_mean + (1.0 - momentum) * mean
        moving_var = momentum * moving_var + (1.0 - momentum) * var
    return gamma * X_hat + beta, moving_mean.data, moving_var.data


class BatchNorm(nn.Module):
    def __init__(self, num_features, num_dims):
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma = nn.Parameter(numbanet.ones(shape))
        self.beta = nn.Parameter(numbanet.zeros(shape))
        self.moving_mean = numbanet.zeros(shape)
        self.moving_var = numbanet.ones(shape)

    def forward(self, X):
        if self.moving_mean.device != X.device:
            self.moving_mean = self.moving_mean.to(X.device)
            self.moving_var = self.moving_var.to(X.device)
        Y, self.moving_mean, self.moving_var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, eps=1e-5, momentum=0.9
        )
        return Y


def compare():
    """The same images through both layers: what comes out, and the gradients that come back."""
    numbanet.manual_seed(0)
    X = numbanet.randn(8, 3, 5, 5) * 2 + 1
    weights = numbanet.randn(8, 3, 5, 5)  # of an arbitrary loss, so that the gradients are not all zero
    gradients = []
    for layer in (BatchNorm(3, num_dims=4), nn.BatchNorm2d(3)):
        X.requires_grad_()
        X.grad = None
        Y = layer(X)
        (Y * weights).sum().backward()
        gradients.append(X.grad)
        means, deviations = Y.mean(dim=(0, 2, 3)).data, Y.std(dim=(0, 2, 3)).data
        print(f"{layer.__class__.__name__}: means {means}, standard deviations {deviations}")
    print(f"largest difference between the two gradients: {(gradients[0] - gradients[1]).abs().max():.1e}")


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5), BatchNorm(6, num_dims=4), nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), BatchNorm(16, num_dims=4), nn.Sigmoid(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(256, 120), BatchNorm(120, num_dims=2), nn.Sigmoid(),
        nn.Linear(120, 84), BatchNorm(84, num_dims=2), nn.Sigmoid(),
        nn.Linear(84, 10),
    )  # fmt: skip


if __name__ == "__main__":
    compare()
    course(
        lenet,
        __doc__,
        full={"resize": 28, "batch_size": 256, "optimizer": "sgd", "lr": 1.0, "epochs": 10},
        sample={"resize": 28, "batch_size": 100, "optimizer": "sgd", "lr": 1.0, "epochs": 15},
    )
