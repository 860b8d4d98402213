# ruff: noqa
conv2d = nn.Conv2d(1,1, kernel_size=(1, 2), bias=False)
