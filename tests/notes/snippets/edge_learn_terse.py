# ruff: noqa
# Mended: the update read conv2d.weight.data.grad, which is None. (No zero_grad: the gradients add up, and the kernel swings.)
X = X.reshape((1, 1, 6, 8))
Y = Y.reshape((1, 1, 6, 7))

for i in range(10):
    Y_hat = conv2d(X)
    l = (Y_hat - Y)**2
    l.sum().backward()
    conv2d.weight.data -= 3e-2*conv2d.weight.grad
    if(i+1)%2 == 0:
        print(f'batch{i+1},loss{l.sum():.3f}')
