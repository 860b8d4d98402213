"""Batch normalisation written by hand from tensor arithmetic, beside the layer that numbanet has.

python examples/batch_norm_from_scratch.py
"""

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
    print(
        f"{layer.__class__.__name__}: means {Y.mean(dim=(0, 2, 3)).data}, standard deviations {Y.std(dim=(0, 2, 3)).data}"
    )

print(f"largest difference between the two gradients: {(gradients[0] - gradients[1]).abs().max():.1e}")
