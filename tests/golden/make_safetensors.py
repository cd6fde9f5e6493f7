"""Writes pytorch.safetensors, the state_dict of a small net as PyTorch saves it, and
pytorch_tensors.json, its names, shapes and the bits of its numbers as f32 or u32.

Run: python make_safetensors.py (needs torch and safetensors).
"""

import json
import pathlib

import torch
from safetensors.torch import save_file

torch.manual_seed(3)
net = torch.nn.Sequential()
net.add_module("conv1", torch.nn.Conv2d(3, 4, 3, padding=1))
net.add_module("bn1", torch.nn.BatchNorm2d(4))
net.add_module("fc1", torch.nn.Linear(4 * 5 * 5, 10))
net.bn1(net.conv1(torch.randn(2, 3, 5, 5)))  # moves the running statistics and their counter
tensors = {k: v.detach().contiguous() for k, v in net.state_dict().items()}
numbers = torch.tensor([0.0, -0.0, 1.0, -2.5, 6.1e-5, 5.9e-8, 65504.0, 0.1, float("inf")])
tensors["extra.half"] = numbers.to(torch.float16)
tensors["extra.bfloat16"] = numbers.to(torch.bfloat16)
tensors["extra.double"] = torch.tensor([0.1, -1e300, 1e-60], dtype=torch.float64)
tensors["extra.bytes"] = torch.tensor([[0, 255, 7]], dtype=torch.uint8)

here = pathlib.Path(__file__).parent
save_file(tensors, here / "pytorch.safetensors", metadata={"format": "pt"})
rows = {}
for name, t in sorted(tensors.items()):
    if t.is_floating_point():
        kind, bits = "f32", t.float().reshape(-1).view(torch.int32).long() & 0xFFFFFFFF
    else:
        kind, bits = ("u8" if t.dtype == torch.uint8 else "u32"), t.reshape(-1).long()
    rows[name] = dict(kind=kind, shape=list(t.shape), bits=bits.tolist())
(here / "pytorch_tensors.json").write_text(json.dumps(rows) + "\n")
