#!/usr/bin/env python3
"""Cases of `chainrule bench`, Chainrule and a peer in turn on this machine.

    side_by_side.py [--peer pytorch|burn-flex|burn-webgpu] [--backend cpu|gpu] [--rounds 5] [--repeats 5] [CASE ...]

CASE: seed-cnn-32, seed-cnn-224, cnn-32, mlp-fashion, mlp-30, or matmul-512, matmul-1024, matmul-2048; without any,
what the peer has of them but cnn-32 (its step takes seconds; ours also augments the images in it). Each round runs
one process of ours and one of the peer, each timing some repetitions after a warm-up. Printed: the median of the
rounds' medians, the largest peak of memory, and the ratio of the two; with --json one JSON line a case as well.
Where other processes kept cores busy meanwhile, that is printed too: such a ratio means nothing.

--chainrule FILE: the binary; `cargo build --release -p compute --bin chainrule` makes it.
--python FILE: an interpreter with PyTorch. With --backend gpu, PyTorch runs on CUDA where it has it.
--burn FILE: bench/burn built for that backend, by default where these put it, in bench/burn:
    cargo build --locked --release --features flex
    cargo build --locked --profile quick --features webgpu   (ten minutes)
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = ["seed-cnn-32", "seed-cnn-224", "mlp-fashion", "mlp-30", "matmul-512", "matmul-1024", "matmul-2048"]
PEERS = ["pytorch", "burn-flex", "burn-webgpu"]
# The backend of ours that a peer is put beside.
BESIDE = {"pytorch": "cpu", "burn-flex": "cpu", "burn-webgpu": "gpu"}
BURN = {"burn-flex": "target/burn/release/burn-step", "burn-webgpu": "target/burn/quick/burn-step"}


def lines(command):
    """The JSON lines that a program prints; its failure ends this one."""
    try:
        out = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    except OSError as e:
        sys.exit(f"{command[0]} cannot be run: {e.strerror}. {__doc__.split(chr(10) * 2)[-1]}")
    if out.returncode != 0:
        sys.exit(f"{command[0]} failed ({out.returncode}):\n{out.stderr}")
    return [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]


def busy_secs():
    """Of all cores, and of the programs that were run from here; None where the system does not tell."""
    try:
        words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq = (int(w) for w in words[:7])
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    all_cores = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return all_cores - children.ru_utime - children.ru_stime, time.time()


def others_cores(before):
    """Cores that others kept busy since `before`."""
    now = busy_secs()
    return None if before is None or now is None else max(0.0, now[0] - before[0]) / (now[1] - before[1])


def ours(args, case):
    name = "matmul" if case.startswith("matmul-") else case
    where = ["--backend", args.backend] + (["--device", args.device] if args.device else [])
    rows = lines([args.chainrule, "bench", name, *where, "--repeats", args.repeats, "--json"])
    return next(r for r in rows if r["case"] == case.replace("matmul-", "matmul "))


def theirs(args, case):
    if args.peer == "pytorch":
        return lines([args.python, ROOT / "bench/pytorch_step.py", case, args.repeats, args.torch_device])[-1]
    return lines([args.burn, args.peer.removeprefix("burn-"), case, args.repeats])[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--peer", choices=PEERS, default="pytorch")
    parser.add_argument("--chainrule", default=ROOT / "target/release/chainrule")
    parser.add_argument("--backend", choices=["cpu", "gpu"], help="of ours; by default the one like the peer's")
    parser.add_argument("--device", help="of ours: a GPU by its number or part of its name")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--torch-device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--burn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.backend = args.backend or BESIDE[args.peer]
    args.burn = args.burn or ROOT / BURN.get(args.peer, "")
    if args.torch_device == "auto" and args.backend == "cpu":
        args.torch_device = "cpu"
    for case in args.cases:
        before = busy_secs()
        runs = [(ours(args, case), theirs(args, case)) for _ in range(args.rounds)]
        report(case, args, others_cores(before), *map(list, zip(*runs)))


def megabytes(runs, key):
    return max((r.get(key) or 0) for r in runs) / 1e6


def report(case, args, others, ours, theirs):
    if ours[0]["parameters"] != theirs[0]["parameters"]:
        sys.exit(f"{case}: the two nets differ: {ours[0]['parameters']} and {theirs[0]['parameters']} parameters")
    both = (ours, theirs)
    ms = [statistics.median(r["median_ms"] for r in runs) for runs in both]
    # On a graphics card what counts is its memory, where the peer tells it.
    key = "peak_device_bytes" if theirs[0].get("peak_device_bytes") else "peak_resident_bytes"
    mb = [megabytes(runs, key) for runs in both]
    what = "of the device" if key == "peak_device_bytes" else "resident"
    print(f"{case}, medians of {len(ours)} rounds in turn; memory {what}")
    for name, runs, m, b in zip(("chainrule", args.peer), both, ms, mb):
        each = ", ".join(f"{r['median_ms']:.2f}" for r in runs)
        cold = max((r.get("first_ms") or 0) for r in runs)
        first = f"   first step {cold:.0f} ms" if cold else ""
        print(f"  {name:<12} {m:10.2f} ms  {b:7.0f} MB   {runs[0]['adapter']}   rounds: {each}{first}")
    print(f"  ratio        {ms[0] / ms[1]:10.2f}     {mb[0] / mb[1] if mb[1] else float('nan'):7.2f}", flush=True)
    if others is not None and others > 0.15:
        print(f"  other processes kept {others:.2f} cores busy: not a finding", flush=True)
    if args.json:
        print(json.dumps({
            "case": case, "peer": args.peer, "rounds": len(ours), "ms": ms, "memory_mb": mb, "ratio": ms[0] / ms[1],
            "others_cores": others, "adapters": [runs[0]["adapter"] for runs in both],
        }), flush=True)


if __name__ == "__main__":
    main()
