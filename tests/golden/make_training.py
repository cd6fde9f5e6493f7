#!/usr/bin/env python3
"""Golden losses and gradients of the reference network, from PyTorch on the CPU.

    make_training.py FOLDER_WITH_data_batch_1.bin  (needs torch and numpy; writes training.json)

The network: Conv2d(3, 32, 3, padding 1), ReLU, flatten, Linear(32 H W, 10), cross-entropy,
Adam 0.001, batches of 64 in file order. Weights are Chainrule's own first weights for seed 0, made
here from their definition (compute/src/nn/init.rs), so that no large file need be kept. Images are
resized by f32 bilinear interpolation, as `F.interpolate(align_corners=False)` does it.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F

BATCH = 64


def mix(x):
    x = x.astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def key_of(name):
    h = 0x811C9DC5
    for b in name.encode():
        h = ((h ^ b) * 0x01000193) & 0xFFFFFFFF
    return h


def uniform(name, shape, fan_in, seed=0):
    """U(-b, b), b = 1 / sqrt(fan_in), from 24 bits keyed by (name, seed, 0, element)."""
    h = mix(np.array([key_of(name)], np.uint32))
    h = mix(h + np.uint32(seed))
    h = mix(h)
    i = np.arange(np.prod(shape), dtype=np.uint32)
    u = (mix(h + i) >> np.uint32(8)).astype(np.float64) / 16777216.0
    return torch.tensor(((2.0 * u - 1.0) / np.sqrt(fan_in)).astype(np.float32).reshape(shape))


def network(side):
    wide = 32 * side * side
    params = {
        "conv1.weight": uniform("conv1.weight", (32, 3, 3, 3), 27),
        "conv1.bias": uniform("conv1.bias", (32,), 27),
        "fc1.weight": uniform("fc1.weight", (10, wide), wide),
        "fc1.bias": uniform("fc1.bias", (10,), wide),
    }
    return {k: v.requires_grad_() for k, v in params.items()}


def forward(p, x):
    x = F.relu(F.conv2d(x, p["conv1.weight"], p["conv1.bias"], padding=1))
    return F.linear(x.flatten(1), p["fc1.weight"], p["fc1.bias"])


def batches(folder, steps):
    raw = np.fromfile(pathlib.Path(folder) / "data_batch_1.bin", np.uint8).reshape(10000, 3073)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    for k in range(steps):
        rows = raw[k * BATCH : (k + 1) * BATCH]
        labels = torch.tensor(rows[:, 0].astype(np.int64))
        pixels = torch.tensor(rows[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
        yield pixels, labels, mean, std


def gradients(side, x, labels):
    """The first batch's gradients in float64 (float32 ones differ from them by up to 2e-4), and for
    conv1.bias the sum of the absolute values of its terms, which cancel almost wholly."""
    p = {k: v.detach().double().requires_grad_() for k, v in network(side).items()}
    sizes = torch.zeros(32, dtype=torch.float64)
    for part, which in zip(x.split(8), labels.split(8)):
        y = F.conv2d(part.double(), p["conv1.weight"], p["conv1.bias"], padding=1)
        y.retain_grad()
        logits = F.linear(F.relu(y).flatten(1), p["fc1.weight"], p["fc1.bias"])
        F.cross_entropy(logits, which, reduction="sum").div(len(labels)).backward()
        sizes += y.grad.abs().sum((0, 2, 3))
    return {k: v.grad for k, v in p.items()}, sizes.tolist()


def train(folder, side, steps):
    p = network(side)
    opt = torch.optim.Adam(p.values(), lr=0.001)
    losses, first = [], None
    for pixels, labels, mean, std in batches(folder, steps):
        if side != 32:
            pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False)
        x = (pixels - mean) / std
        if first is None:
            first, sizes = gradients(side, x, labels)
        loss = F.cross_entropy(forward(p, x), labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
        print(side, len(losses), losses[-1], flush=True)
    few = {k: first[k].flatten().tolist() for k in ("conv1.weight", "conv1.bias", "fc1.bias")}
    few["fc1.weight[::997]"] = first["fc1.weight"].flatten()[::997].tolist()[:2000]
    return {"side": side, "losses": losses, "first_gradients": few, "bias_sizes": sizes}


def main():
    torch.manual_seed(0)
    folder = sys.argv[1]
    out = {
        "torch": torch.__version__,
        "runs": [train(folder, 32, 20), train(folder, 224, 5)],
    }
    here = pathlib.Path(__file__).parent / "training.json"
    here.write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
