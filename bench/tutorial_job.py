#!/usr/bin/env python3
"""The classic first script as a whole, Chainrule and PyTorch in turn on this machine: images of 32x32 in memory,
resized to 224x224, normalised, and the network of seed-cnn-224 trained on them at batch 64.

    tutorial_job.py [--data FOLDER] [--steps 12] [--rounds 3] [--workers 0,2] [--backend cpu] [--train] [--python FILE]

Ours is `chainrule bench seed-cnn-224 --job`, which drives the trainer as `chainrule train` does, over 50,000 images
of noise; the peer is bench/pytorch_job.py, once for each number of the loader's worker processes, over as many (--data:
a folder of CIFAR-10's binary files instead; the work does not depend on what images show). Both leave out their
first two steps. Printed: the median of the rounds' images a second, what share of the time went to batches, and what
multiple of the peer's ours is. With --train ours is a whole `chainrule train` on those files, and the images a second
that its summary states; it then also scores 10,000 test images, which takes longer than the steps and is not counted.
Needs `cargo build --release -p compute --bin chainrule`, and PyTorch and torchvision for --python.
"""

import argparse
import json
import pathlib
import random
import statistics
import sys
import tempfile

from side_by_side import ROOT, busy_secs, lines, others_cores

RECORD, RECORDS = 3073, 10_000
FILES = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]


def noise(place):
    """Images of noise in CIFAR-10's layout."""
    for number, name in enumerate(FILES):
        made = bytearray(random.Random(number).randbytes(RECORDS * RECORD))
        made[::RECORD] = bytes(k % 10 for k in range(RECORDS))
        (place / name).write_bytes(made)
    return place


def ours(args, data, place):
    where = ["--backend", args.backend] + (["--device", args.device] if args.device else [])
    if args.train:
        run = pathlib.Path(tempfile.mkdtemp(dir=place)) / "run"
        lines([args.chainrule, "train", "seed-cnn-224", *where, "--json", "--out", run,
               "--set", f"data.root={data}", "--set", f"train.steps={args.steps}"])
        summary = json.loads((run / "summary.json").read_text())
        return summary | {"images_per_sec": summary["times"]["images_per_sec"]}
    rows = lines([args.chainrule, "bench", "seed-cnn-224", "--job", *where, "--repeats", args.steps, "--json"])
    return next(r for r in rows if r["case"] == "job: seed-cnn-224")


def theirs(args, data, workers):
    device = "auto" if args.backend == "gpu" else "cpu"
    return lines([args.python, ROOT / "bench/pytorch_job.py", data, args.steps, workers, device])[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--chainrule", default=ROOT / "target/release/chainrule")
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--device", help="of ours: a GPU by its number or part of its name")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--python", default=sys.executable)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        data = args.data or noise(place)
        runs = {"chainrule": []} | {f"pytorch, {w} workers": [] for w in args.workers.split(",")}
        before = busy_secs()
        for _ in range(args.rounds):
            for name, done in runs.items():
                workers = name.removeprefix("pytorch, ").removesuffix(" workers")
                done.append(ours(args, data, place) if name == "chainrule" else theirs(args, data, workers))
        others = others_cores(before)
    report(args, runs, others)


def report(args, runs, others):
    print(f"seed-cnn-224 with its data path, {args.steps} steps of 64, medians of {args.rounds} rounds in turn")
    rate = {name: statistics.median(r["images_per_sec"] for r in done) for name, done in runs.items()}
    for name, done in runs.items():
        each = ", ".join(f"{r['images_per_sec']:.0f}" for r in done)
        mb = max(r["peak_resident_bytes"] or 0 for r in done) / 1e6
        shares = [r["input_share"] for r in done if "input_share" in r]
        share = f"   batches: {statistics.median(shares):.2%} of the time" if shares else ""
        print(f"  {name:<20} {rate[name]:8.1f} images/s  {mb:6.0f} MB   {done[0]['adapter']}   rounds: {each}{share}")
        if name != "chainrule":
            print(f"  {'':<20} ours is {rate['chainrule'] / rate[name]:.2f} times that")
    if others is not None and others > 0.15:
        print(f"  other processes kept {others:.2f} cores busy: not a finding")


if __name__ == "__main__":
    main()
