# ruff: noqa
# Smaller than in the notes (10000 x 1000 x 2000), and the device is the one there is.
import torch
import time

print(torch.__version__)
print(torch.cuda.is_available())
a = torch.randn(100,20)
b = torch.randn(20,30)
t0 = time.time()
c = torch.matmul(a,b)
t1 = time.time()
print(a.device,t1-t0,c.norm(2))

device = torch.device('cpu')
a = a.to(device)
b = b.to(device)
c = torch.matmul(a,b)
print(a.device,c.norm(2))

import torch
print(torch.cuda.is_available())
from torch.backends import cudnn
print(cudnn.is_available())
print(cudnn.version())
