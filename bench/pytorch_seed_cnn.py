#!/usr/bin/env python3
"""The accuracy course of seed-cnn-32 in PyTorch, to set beside Chainrule's.

    pytorch_seed_cnn.py FOLDER_OF_CIFAR10_BINARY SEED [EPOCHS]

The same net, data, normalisation and optimiser as the shipped recipe; images stay in memory.
Prints one JSON line an epoch.
"""

import json
import pathlib
import sys
import time

import numpy as np
import torch
from torch import nn


def load(folder, names):
    raw = np.concatenate([np.fromfile(pathlib.Path(folder) / n, np.uint8) for n in names]).reshape(-1, 3073)
    x = torch.tensor(raw[:, 1:].reshape(-1, 3, 32, 32))
    return x, torch.tensor(raw[:, 0].astype(np.int64))


def main():
    folder, seed = sys.argv[1], int(sys.argv[2])
    epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    torch.manual_seed(seed)
    torch.set_num_threads(2)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    norm = lambda x: (x.float() / 255 - mean) / std
    x, y = load(folder, [f"data_batch_{i}.bin" for i in range(1, 6)])
    xt, yt = load(folder, ["test_batch.bin"])
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 32 * 32, 10))
    opt = torch.optim.Adam(net.parameters(), lr=0.001)
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(1, epochs + 1):
        start, total = time.time(), 0.0
        for rows in torch.randperm(len(x)).split(64):
            opt.zero_grad()
            loss = loss_of(net(norm(x[rows])), y[rows])
            loss.backward()
            opt.step()
            total += loss.item() * len(rows)
        secs = time.time() - start
        with torch.no_grad():
            right = sum((net(norm(a)).argmax(1) == b).sum().item() for a, b in zip(xt.split(500), yt.split(500)))
        line = {"peer": "pytorch", "torch": torch.__version__, "seed": seed, "epoch": epoch,
                "train_loss": total / len(x), "test_accuracy": right / len(xt), "secs": round(secs, 1)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
