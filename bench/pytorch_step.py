#!/usr/bin/env python3
"""One case of `chainrule bench` in PyTorch, timed: the peer that it is put beside.

    pytorch_step.py CASE [REPEATS] [DEVICE: cpu, cuda, or auto for CUDA where it is]

CASE: seed-cnn-32, seed-cnn-224, cnn-32, mlp-fashion, mlp-30 (a training step: forward, loss, backward, optimiser; one
fixed batch already in memory, normalised, and the loss read after every step), or matmul-N (a product of
N x N). Eager mode. Prints one JSON line with the keys that `chainrule bench --json` uses.
"""

import json
import resource
import statistics
import sys
import time

import torch
from torch import nn

WARM_UP = 2


def seed_cnn(side):
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * side * side, 10))


def small_cnn():
    """The model `small-cnn` of compute/src/models/small_cnn.rs."""
    layers, before = [], 3
    for width in (64, 128, 256):
        for _ in range(2):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def mlp(*widths):
    layers = [nn.Flatten()]
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def adam(net):
    return torch.optim.Adam(net.parameters(), lr=0.001)


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)


# Network, shape of the batch, classes, optimiser, label smoothing.
CASES = {
    "seed-cnn-32": (lambda: seed_cnn(32), (64, 3, 32, 32), 10, adam, 0.0),
    "seed-cnn-224": (lambda: seed_cnn(224), (64, 3, 224, 224), 10, adam, 0.0),
    "cnn-32": (small_cnn, (128, 3, 32, 32), 10, sgd, 0.1),
    "mlp-fashion": (lambda: mlp(784, 256, 128, 10), (128, 1, 28, 28), 10, adam, 0.0),
    "mlp-30": (lambda: mlp(30, 64, 64, 2), (256, 30), 2, adam, 0.0),
}


def training_step(case, device):
    make, shape, classes, optimizer, smoothing = CASES[case]
    net = make().to(device)
    opt, loss_of = optimizer(net), nn.CrossEntropyLoss(label_smoothing=smoothing)
    x, y = torch.randn(*shape, device=device), torch.arange(shape[0], device=device) % classes

    def step():
        opt.zero_grad()
        loss = loss_of(net(x), y)
        loss.backward()
        opt.step()
        return loss.item()

    return step, sum(p.numel() for p in net.parameters())


def product(n, device):
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    return lambda: torch.mm(a, b)[0, 0].item(), None


def described(device):
    """What ran it; of CUDA also what stands for f32 there."""
    if device == "cpu":
        return f"torch {torch.__version__} cpu"
    tf32 = {"products": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32}
    short = " and ".join(name for name, on in tf32.items() if on) or "nothing"
    return f"torch {torch.__version__} {torch.cuda.get_device_name()}, tf32 in {short}"


def main():
    case = sys.argv[1]
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    if case.startswith("matmul-"):
        step, parameters = product(int(case.removeprefix("matmul-")), device)
    elif case in CASES:
        step, parameters = training_step(case, device)
    else:
        sys.exit(f"no case {case}; there are {', '.join(CASES)} and matmul-N")
    for _ in range(WARM_UP):
        step()
    ms = []  # reading the loss, or one element, waits for the device
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        ms.append((time.perf_counter() - start) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({
        "case": case, "backend": "pytorch", "adapter": described(device),
        "threads": torch.get_num_threads(), "min_ms": min(ms), "median_ms": statistics.median(ms), "max_ms": max(ms),
        "repeats": repeats, "peak_resident_bytes": peak, "parameters": parameters,
        "peak_device_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }))


if __name__ == "__main__":
    main()
