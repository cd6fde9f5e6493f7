#!/usr/bin/env python3
"""One PyTorch training step of the reference net, timed: the peer of `chainrule bench`.

    pytorch_step.py SIDE [REPEATS] [DEVICE]

Conv2d(3, 32, 3, padding 1), ReLU, flatten, Linear, cross-entropy and Adam at 64 images of
SIDE x SIDE, eager mode, one fixed batch already in memory, the loss read after every step.
Prints one JSON line with the keys that `chainrule bench --json` uses.
"""

import json
import resource
import statistics
import sys
import time

import torch
from torch import nn

WARM_UP = 2


def main():
    side = int(sys.argv[1])
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * side * side, 10))
    net.to(device)
    opt = torch.optim.Adam(net.parameters(), lr=0.001)
    loss_of = nn.CrossEntropyLoss()
    x = torch.randn(64, 3, side, side, device=device)
    y = torch.arange(64, device=device) % 10

    def step():
        opt.zero_grad()
        loss = loss_of(net(x), y)
        loss.backward()
        opt.step()
        return loss.item()

    for _ in range(WARM_UP):
        step()
    ms = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        ms.append((time.perf_counter() - start) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({
        "case": f"seed-cnn-{side}", "backend": "pytorch", "adapter": f"torch {torch.__version__} {device}",
        "threads": torch.get_num_threads(), "min_ms": min(ms), "median_ms": statistics.median(ms), "max_ms": max(ms),
        "repeats": repeats, "peak_resident_bytes": peak,
        "parameters": sum(p.numel() for p in net.parameters()),
    }))


if __name__ == "__main__":
    main()
