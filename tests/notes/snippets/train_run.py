# ruff: noqa
train_ch6(net, train_iter, test_iter, num_epochs, lr, d2l.try_gpu())
