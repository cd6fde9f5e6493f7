#!/usr/bin/env python3
"""The accuracy course of seed-cnn-32 on full CIFAR-10, Chainrule and PyTorch beside each other.

    accuracy.py FOLDER_OF_CIFAR10_BINARY [--chainrule FILE] [--python FILE] [--seeds 3] [--out FILE]

Trains both for ten epochs from each seed, each with its own initialisation and shuffling, and
prints test accuracy after each epoch: the mean over seeds, each seed, and the difference of the
means. The bounds that the project holds itself to are 4 points at epochs 1 to 5 and 1.5 at 6 to
10; exit code 1 if a mean is further away. `--out` keeps the figures as JSON.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EPOCHS = 10


def run(command, **env):
    out = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    if out.returncode != 0:
        sys.exit(f"{command[0]} failed ({out.returncode}):\n{out.stderr}")
    return out.stdout


def ours(args, seed, folder):
    run([args.chainrule, "train", "seed-cnn-32", "--backend", args.backend, "--out", folder,
         "--set", f"train.seed={seed}", "--set", f"train.epochs={EPOCHS}"])
    lines = [json.loads(line) for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [line["test_accuracy"] for line in lines if line["event"] == "epoch"]


def theirs(args, seed):
    script = str(ROOT / "bench/pytorch_seed_cnn.py")
    out = run([args.python, script, args.folder, str(seed), str(EPOCHS)])
    return [json.loads(line)["test_accuracy"] for line in out.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--chainrule", default=str(ROOT / "target/release/chainrule"))
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out")
    args = parser.parse_args()
    courses = {"chainrule": [], "pytorch": []}
    with tempfile.TemporaryDirectory() as runs:
        for seed in range(args.seeds):
            courses["chainrule"].append(ours(args, seed, f"{runs}/{seed}"))
            courses["pytorch"].append(theirs(args, seed))
            print(f"seed {seed} done", file=sys.stderr, flush=True)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(courses) + "\n")
    sys.exit(report(courses))


def report(courses):
    """Prints the table; 1 if a mean is out of bounds."""
    outside = 0
    print("| epoch | chainrule | pytorch | difference | chainrule's seeds | pytorch's seeds |")
    print("| ---: | ---: | ---: | ---: | --- | --- |")
    for epoch in range(EPOCHS):
        seeds = [[100 * course[epoch] for course in courses[name]] for name in ("chainrule", "pytorch")]
        means = [statistics.mean(s) for s in seeds]
        bound = 4.0 if epoch < 5 else 1.5
        outside |= abs(means[0] - means[1]) > bound
        each = [", ".join(f"{v:.2f}" for v in s) for s in seeds]
        print(f"| {epoch + 1} | {means[0]:.2f} | {means[1]:.2f} | {means[0] - means[1]:+.2f} | {each[0]} | {each[1]} |")
    return int(outside)


if __name__ == "__main__":
    main()
