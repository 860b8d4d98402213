# ruff: noqa
layer = Conv2D((2, 2))
out = layer(X)
out.sum().backward()
