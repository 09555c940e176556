"""Trains a network with a residual block and two heads in PyTorch, and exports what examples/onnx/main.rs reads.

python examples/onnx/train.py        (needs torch, onnxscript, numpy and safetensors)
"""

from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import nn


class Digits(nn.Module):
    """Which digit it is, and whether it is odd."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.stem = nn.Linear(64, 32)
        self.block = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.GELU(), nn.Dropout(0.2), nn.Linear(32, 32))
        self.digit = nn.Linear(32, 10)
        self.odd = nn.Linear(32, 1)

    def logits(self, x):
        h = nn.functional.silu(self.stem((x - self.mean) / self.std))
        h = h + self.block(h)
        return self.digit(h), self.odd(h)

    def forward(self, x):
        digit, odd = self.logits(x)
        return torch.softmax(digit, -1), torch.sigmoid(odd)


torch.manual_seed(1)
data = Path(__file__).parent.parent / "data"
table = torch.tensor(numpy.loadtxt(data / "digits.csv.gz", delimiter=",", skiprows=1, dtype=numpy.float32))
x, labels = table[:, :64], table[:, 64].long()
train, test = slice(0, 1500), slice(1500, 1600)

model = Digits(x[train].mean(0), x[train].std(0) + 1.0)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(40):
    for rows in torch.randperm(1500).split(32):
        digit, odd = model.logits(x[rows])
        loss = nn.functional.cross_entropy(digit, labels[rows])
        loss = loss + nn.functional.binary_cross_entropy_with_logits(odd[:, 0], (labels[rows] % 2).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

model.eval()
with torch.no_grad():
    digit, odd = model(x[test])
print("accuracy", (digit.argmax(1) == labels[test]).double().mean().item())
program = torch.onnx.export(
    model,
    (x[test],),
    input_names=["pixels"],
    output_names=["digit", "odd"],
    dynamic_shapes=({0: torch.export.Dim("batch")},),
    dynamo=True,
)
for node in program.model.graph:
    node.metadata_props.clear()  # where it stands in this file
program.save(data / "pytorch-heads.onnx")
results = {"x": x[test].contiguous(), "digit": digit, "odd": odd}
save_file(results, data / "pytorch-heads-outputs.safetensors")
