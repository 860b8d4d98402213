# ruff: noqa
# Mended: init_weight, net.parameter, "for epoch in num_epoch", Accumulator(2) for three sums, y_hat that was never
# assigned, test_Acc, and the indentation of the last print.
def train_ch6(net,train_iter,test_iter,num_epoch,lr,device):
    def init_weights(m):
        if type(m) == nn.Linear or type(m) == nn.Conv2d:
            nn.init.xavier_uniform_(m.weight)
    net.apply(init_weights)
    print("train on", device)
    net.to(device)
    optimizer = torch.optim.SGD(net.parameters(),lr=lr)
    loss = nn.CrossEntropyLoss()
    for epoch in range(num_epoch):
        metric = d2l.Accumulator(3)
        net.train()
        for i,(X,y) in enumerate(train_iter):
            optimizer.zero_grad()
            X,y = X.to(device), y.to(device)
            y_hat = net(X)
            l = loss(y_hat,y)
            l.backward()
            optimizer.step()
            with torch.no_grad():
                metric.add(l*X.shape[0],d2l.accuracy(y_hat,y),X.shape[0])
            train_l = metric[0] / metric[2]
            train_acc = metric[1] / metric[2]
        test_acc = evaluate_accuracy_gpu(net,test_iter)
        print(f'loss {train_l:.3f}, train acc {train_acc:.3f},'
              f'test acc {test_acc:.3f}')
