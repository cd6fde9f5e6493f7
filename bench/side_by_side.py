#!/usr/bin/env python3
"""Cases of `chainrule bench`, Chainrule and PyTorch in turn on this machine.

    side_by_side.py [--chainrule FILE] [--python FILE] [--rounds 5] [--repeats 5] [CASE ...]

CASE: seed-cnn-32, seed-cnn-224, cnn-32, mlp-fashion, mlp-30, or matmul-512, matmul-1024, matmul-2048; all but
cnn-32 unless told (its step takes seconds; ours also augments the images in it). Each round runs one process
of ours and one of PyTorch, each timing some repetitions after a warm-up. Printed: the median of the rounds'
medians, the largest peak of resident memory, and the ratio of the two. `--python` is an interpreter with
PyTorch. Needs `cargo build --release -p compute --bin chainrule` first.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = ["seed-cnn-32", "seed-cnn-224", "mlp-fashion", "mlp-30", "matmul-512", "matmul-1024", "matmul-2048"]


def lines(command):
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit(f"{command[0]} failed ({out.returncode}):\n{out.stderr}")
    return [json.loads(line) for line in out.stdout.strip().splitlines()]


def ours(args, case):
    name = "matmul" if case.startswith("matmul-") else case
    rows = lines([args.chainrule, "bench", name, "--backend", args.backend, "--repeats", str(args.repeats), "--json"])
    return next(r for r in rows if r["case"] == case.replace("matmul-", "matmul "))


def theirs(args, case):
    peer = str(ROOT / "bench/pytorch_step.py")
    return lines([args.python, peer, case, str(args.repeats), args.torch_device])[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--chainrule", default=str(ROOT / "target/release/chainrule"))
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for case in args.cases:
        runs = [(ours(args, case), theirs(args, case)) for _ in range(args.rounds)]
        report(case, *map(list, zip(*runs)))


def report(case, ours, theirs):
    if ours[0]["parameters"] != theirs[0]["parameters"]:
        sys.exit(f"{case}: the two nets differ: {ours[0]['parameters']} and {theirs[0]['parameters']} parameters")
    ms = [statistics.median(r["median_ms"] for r in runs) for runs in (ours, theirs)]
    mb = [max(r["peak_resident_bytes"] or 0 for r in runs) / 1e6 for runs in (ours, theirs)]
    print(f"{case}, medians of {len(ours)} rounds in turn")
    for name, runs, m, b in zip(("chainrule", "pytorch"), (ours, theirs), ms, mb):
        each = ", ".join(f"{r['median_ms']:.2f}" for r in runs)
        print(f"  {name:<10} {m:10.2f} ms  {b:7.0f} MB   {runs[0]['adapter']}   rounds: {each}")
    print(f"  ratio      {ms[0] / ms[1]:10.2f}     {mb[0] / mb[1]:7.2f}", flush=True)


if __name__ == "__main__":
    main()
