# ruff: noqa
X = torch.arange(16, dtype=torch.float32).reshape((1, 1, 4, 4))
results = []

pool2d = nn.MaxPool2d((2, 3), padding=(1, 1), stride=(2, 3))
results.append(pool2d(X))

pool2d = nn.MaxPool2d(3, padding=1, stride=2)
results.append(pool2d(X))

pool2d = nn.MaxPool2d(3)
results.append(pool2d(X))

pool2d = nn.AvgPool2d(kernel_size=2, stride=2)
results.append(pool2d(X))

pool2d = nn.AvgPool2d(3, padding=1, stride=2)
results.append(pool2d(X))

X = torch.cat((X, X + 1), 1)
pool2d = nn.MaxPool2d(3, padding=1, stride=2)
results.append(pool2d(X))
