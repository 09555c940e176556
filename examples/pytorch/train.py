"""Trains a classifier of the digits in PyTorch and writes what examples/pytorch/main.rs reads.

python examples/pytorch/train.py        (needs torch, numpy and safetensors)
"""

from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn

torch.manual_seed(1)
data = Path(__file__).parent.parent / "data"
table = torch.tensor(numpy.loadtxt(data / "digits.csv.gz", delimiter=",", skiprows=1, dtype=numpy.float32))
x, labels = table[:, :64] / 16, table[:, 64].long()
train, test = slice(0, 1500), slice(1500, None)

model = nn.Sequential(
    nn.Linear(64, 64),
    nn.LayerNorm(64),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(64, 10),
)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(60):
    for rows in torch.randperm(1500).split(32):
        loss = nn.functional.cross_entropy(model(x[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

model.eval()
with torch.no_grad():
    y = model(x[test])
print("accuracy", (y.argmax(1) == labels[test]).double().mean().item())
save_file(model.state_dict(), data / "pytorch-digits.safetensors")
results = {"x": x[test].contiguous(), "y": y, "labels": labels[test].contiguous()}
save_file(results, data / "pytorch-digits-outputs.safetensors")
