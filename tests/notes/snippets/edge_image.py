# ruff: noqa
X = torch.ones((6, 8))
X[:, 2:6] = 0
K = torch.tensor([[1.0, -1.0]])
edges = corr2d(X, K)
print(edges)

Y = torch.zeros((6, 7))
Y[:, 1] = 1
Y[:, -2] = -1
