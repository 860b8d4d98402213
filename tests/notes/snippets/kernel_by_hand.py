# ruff: noqa
import torch
import torch.nn as nn

A = torch.tensor([[0, 1, 2],
                  [3, 4, 5],
                  [6, 7, 8]], dtype=torch.float)

kernel = torch.tensor([[[[0, 1],
                          [2, 3]]]], dtype=torch.float)

conv2d = nn.Conv2d(in_channels=1, out_channels=1, kernel_size=2, padding=1, bias=False, stride
    = (3,2))

with torch.no_grad():
    conv2d.weight = nn.Parameter(kernel)

A = A.reshape((1, 1) + A.shape)

B = conv2d(A)

print(A)
print(kernel)
print(B)
