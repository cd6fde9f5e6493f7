#!/usr/bin/env python3
"""The classic first script in PyTorch, data path and all: the peer of bench/tutorial_job.py.

    pytorch_job.py FOLDER_OF_CIFAR10_BINARY [STEPS] [WORKERS] [DEVICE: cpu, cuda, or auto]

Images lie in memory as torchvision's CIFAR10 holds them; each is made a PIL image, Resize(224), ToTensor and
Normalize, and a DataLoader with WORKERS processes makes shuffled batches of 64. The net, its loss and Adam are those
of the recipe seed-cnn-224; the loss is read after every step, as such scripts do for their running mean. Prints
one JSON line: images a second over STEPS steps after two untimed ones, and the share of their time spent waiting
for batches.
"""

import json
import pathlib
import resource
import sys
import time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


WARM_UP = 2


class Pictures(Dataset):
    def __init__(self, folder):
        raw = np.concatenate([np.fromfile(p, np.uint8) for p in sorted(pathlib.Path(folder).glob("data_batch_*.bin"))])
        raw = raw.reshape(-1, 3073)
        self.labels = raw[:, 0].astype(np.int64)
        self.pixels = np.ascontiguousarray(raw[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.transform = transforms.Compose(
            [transforms.Resize(224), transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.pixels[i])), self.labels[i]


def main():
    folder = sys.argv[1]
    steps, workers = (int(sys.argv[k]) if len(sys.argv) > k else d for k, d in ((2, 20), (3, 0)))
    device = sys.argv[4] if len(sys.argv) > 4 else "cpu"
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 224 * 224, 10))
    net.to(device)
    opt, loss_of = torch.optim.Adam(net.parameters(), lr=0.001), nn.CrossEntropyLoss()
    loader = DataLoader(Pictures(folder), batch_size=64, shuffle=True, num_workers=workers, pin_memory=device == "cuda")
    batches = iter(loader)
    waited, total = 0.0, 0.0
    for k in range(WARM_UP + steps):
        if k == WARM_UP:
            waited, total, start = 0.0, 0.0, time.perf_counter()
        before = time.perf_counter()
        x, y = next(batches)
        waited += time.perf_counter() - before
        opt.zero_grad()
        loss = loss_of(net(x.to(device, non_blocking=True)), y.to(device, non_blocking=True))
        loss.backward()
        opt.step()
        total += loss.item()
    secs = time.perf_counter() - start
    print(json.dumps({
        "adapter": f"torch {torch.__version__} {device}, {workers} workers", "steps": steps,
        "images_per_sec": steps * 64 / secs, "input_share": waited / secs, "mean_loss": total / steps,
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
