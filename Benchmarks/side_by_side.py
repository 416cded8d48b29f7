r"""Side by side with PyTorch: whole training steps and evaluation, and the memory they take.

    python side_by_side.py [--peer .venv-peer] [--networks …] [--rounds 9] [--batch-size 128] [--threads 2] [--width 1]
                           [--no-bfloat16] [--name side_by_side]

The library, PyTorch in float32 and PyTorch in bfloat16 autocast take turns, step by step, in processes that live as
long as the comparison: what is reported is the median of the ratios within a turn. Before any time is taken, all three
must agree on the loss of the first mini-batch from the same weights.

What a processor without AVX-512 does can be measured on one that has it, by what either side offers to leave it alone:

    PLP_TARGET_CPU=haswell make build
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OPENBLAS_CORETYPE=Haswell .venv/bin/python \
        Benchmarks/side_by_side.py --no-bfloat16 --name side_by_side_avx2
"""

import argparse
import os
import subprocess
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from measuring import NETWORKS, bars, cell, in_turns, machine, median, ratio, spread, table, workers, write

SIDES = {
    "plp float32": {"engine": "plp"},
    "PyTorch float32": {"engine": "pytorch", "precision": "float32"},
    "PyTorch bfloat16": {"engine": "pytorch", "precision": "bfloat16"},
}
OURS, *PEERS = SIDES
LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE")
ALLOCATOR = {"LD_PRELOAD": "libtcmalloc_minimal.so.4"}  # with which PyTorch is faster
TOLERANCE = {"PyTorch float32": 1e-4, "PyTorch bfloat16": 3e-2}  # of the loss, relative


def compare(options, network):
    print(f"{network} …", flush=True)
    peer = {"python": str(options.peer / "bin/python"), "environment": ALLOCATOR}
    sides = {name: {**side, **(peer if name in PEERS else {})} for name, side in options.sides.items()}
    common = {"batch_size": options.batch_size, "threads": options.threads}
    with workers(sides, network, options.width, **common) as all_sides:
        losses = {worker.name: worker.ask("train 1")["values"][0] for worker in all_sides}
        for name, loss in losses.items():
            if name in PEERS and not abs(loss - losses[OURS]) <= TOLERANCE[name] * losses[OURS]:
                raise SystemExit(f"{network}: the loss is {losses[OURS]} here and {loss} in {name}")
        training = in_turns(calls(all_sides, "train"), options.rounds)
        memory = {worker.name: worker.ask("memory") for worker in all_sides}
        evaluation = in_turns(calls(all_sides, "evaluate"), options.rounds)
        versions = [worker.version for worker in all_sides]
    return {"losses": losses, "training": training, "evaluation": evaluation, "memory": memory, "versions": versions}


def check_allocator():
    """The dynamic loader goes on without what it cannot preload."""
    complaint = subprocess.run(["true"], env={**os.environ, **ALLOCATOR}, stderr=subprocess.PIPE, text=True).stderr
    if complaint:
        raise SystemExit(f"{complaint}PyTorch would be slower than it can be: install Debian's libtcmalloc-minimal4")


def calls(workers, command):
    return {worker.name: partial(worker.seconds, command) for worker in workers}


def markdown(results, options):
    about = results["machine"]
    peers = [name for name in PEERS if name in options.sides]
    limits = "".join(f", `{name}={os.environ[name]}`" for name in LIMITS if name in os.environ)
    versions = next(iter(results["networks"].values()))["versions"]
    origin = "It is the machine's own."
    if (options.peer / "complete").exists():
        origin = (
            "It is PyPI's wheel in an environment of its own, made by `Benchmarks/make_peer.sh`; a small library that "
            "finds no device stands in for CUDA's, which the wheel wants to load and a processor never uses."
        )
    text = (
        f"# Side by side with PyTorch\n\n{about['date']}, {about['processor']}, {options.threads} threads, batch "
        f"{options.batch_size}, width {options.width:g}; {versions[0]}, {versions[1]}{limits}. Medians "
        f"of {options.rounds} turns; × is how many times as fast as that PyTorch the library is, the median of the "
        "ratios within a turn, and in brackets the lowest and the highest.\n\n"
        "PyTorch runs in eager mode (`torch.compile` is not among the sides) with channels last, fused SGD and "
        f"tcmalloc. {origin}\n"
    )
    for what in ("training", "evaluation"):
        rows = []
        for network, result in results["networks"].items():
            seconds = result[what]
            rates = [f"{options.batch_size / median(seconds[name]):.0f}" for name in options.sides]
            rows.append([network, *rates, *(cell(ratio(seconds[name], seconds[OURS]), 2) for name in peers)])
        header = [f"{what}, images/s", *options.sides, *(f"× {name}" for name in peers)]
        text += "\n" + table(header, rows)
    rows = [
        [network]
        + [f"{result['memory'][name]:.0f}" for name in options.sides]
        + [f"{result['memory'][OURS] / result['memory']['PyTorch float32']:.2f}"]
        for network, result in results["networks"].items()
    ]
    return text + "\n" + table(["peak memory in training, MB", *options.sides, "to PyTorch float32"], rows)


def picture(results, options):
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, what in zip(axes, ("training", "evaluation")):
        for position, (name, color) in enumerate(zip(options.sides, ("#0b6e4f", "#8d99ae", "#cdd3de"))):
            rates = [
                spread(options.batch_size / seconds for seconds in result[what][name])
                for result in results["networks"].values()
            ]
            places = [index + (position - (len(options.sides) - 1) / 2) * 0.27 for index in range(len(rates))]
            drawn = axis.bar(
                places,
                [rate["median"] for rate in rates],
                0.25,
                yerr=bars(rates),
                label=name,
                color=color,
                error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#444444"},
            )
            axis.bar_label(drawn, fmt="%.0f", fontsize=8)
        axis.set_xticks(range(len(results["networks"])), results["networks"])
        axis.set_title(f"{what}, images/s: median, lowest, highest of {options.rounds}", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, default=Path(".venv-peer"), help="virtual environment with PyTorch")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--no-bfloat16", action="store_true", help="leave out what needs AVX-512")
    parser.add_argument("--name", default="side_by_side", help="of the files in results/ (default: %(default)s)")
    options = parser.parse_args()
    check_allocator()
    options.sides = {name: side for name, side in SIDES.items() if not (options.no_bfloat16 and "bfloat16" in name)}
    results = {"machine": machine(), "networks": {network: compare(options, network) for network in options.networks}}
    write(options.name, results, markdown(results, options), picture(results, options))


if __name__ == "__main__":
    main()
