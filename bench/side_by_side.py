#!/usr/bin/env python3
"""Training steps of the reference net, Chainrule and PyTorch in turn on this machine.

    side_by_side.py [--chainrule FILE] [--python FILE] [--rounds 5] [--repeats 5] [SIDE ...]

Each round runs one process of ours and one of PyTorch for each image side (32 and 224 unless
told), each timing some steps after a warm-up. Printed: for each side the median of the rounds'
medians, the largest peak of resident memory, and the ratio of the two. `--python` is an
interpreter with PyTorch. Needs `cargo build --release -p compute --bin chainrule` first.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def last_json(command):
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit(f"{command[0]} failed ({out.returncode}):\n{out.stderr}")
    return json.loads(out.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", nargs="*", type=int, default=[32, 224])
    parser.add_argument("--chainrule", default=str(ROOT / "target/release/chainrule"))
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    peer = str(ROOT / "bench/pytorch_step.py")
    for side in args.sides:
        ours, theirs = [], []
        for _ in range(args.rounds):
            repeats = str(args.repeats)
            ours.append(last_json([args.chainrule, "bench", f"seed-cnn-{side}", "--backend", args.backend,
                                   "--repeats", repeats, "--json"]))
            theirs.append(last_json([args.python, peer, str(side), repeats, args.torch_device]))
        report(side, ours, theirs)


def report(side, ours, theirs):
    if ours[0]["parameters"] != theirs[0]["parameters"]:
        sys.exit(f"side {side}: the two nets differ: {ours[0]['parameters']} and {theirs[0]['parameters']} parameters")
    ms = [statistics.median(r["median_ms"] for r in runs) for runs in (ours, theirs)]
    mb = [max(r["peak_resident_bytes"] for r in runs) / 1e6 for runs in (ours, theirs)]
    print(f"seed-cnn-{side}, batch 64, medians of {len(ours)} rounds in turn")
    for name, runs, m, b in zip(("chainrule", "pytorch"), (ours, theirs), ms, mb):
        each = ", ".join(f"{r['median_ms']:.1f}" for r in runs)
        print(f"  {name:<10} {m:9.1f} ms  {b:7.0f} MB   {runs[0]['adapter']}   rounds: {each}")
    print(f"  ratio      {ms[0] / ms[1]:9.2f}     {mb[0] / mb[1]:7.2f}", flush=True)


if __name__ == "__main__":
    main()
