"""Side by side with PyTorch: whole training steps and evaluation, and the memory they take.

    python side_by_side.py [--peer .venv-peer] [--networks …] [--rounds 9] [--batch-size 128] [--threads 2] [--width 1]

The library, PyTorch in float32 and PyTorch in bfloat16 autocast take turns, step by step, in processes that live as long
as the comparison: what is reported is the median of the ratios within a turn. Before any time is taken, all three must
agree on the loss of the first mini-batch from the same weights.
"""
import argparse
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from measuring import NETWORKS, in_turns, machine, median, ratio, table, workers, write  # noqa: E402

SIDES = {
    "plp float32": {"engine": "plp"},
    "PyTorch float32": {"engine": "pytorch", "precision": "float32"},
    "PyTorch bfloat16": {"engine": "pytorch", "precision": "bfloat16"},
}
OURS, *PEERS = SIDES
TOLERANCE = {"PyTorch float32": 1e-4, "PyTorch bfloat16": 3e-2}    # of the loss, relative


def compare(options, network):
    print(f"{network} …", flush=True)
    peer = {"python": str(options.peer / "bin/python"), "environment": {"LD_PRELOAD": "libtcmalloc_minimal.so.4"}}
    sides = {name: {**side, **(peer if name in PEERS else {})} for name, side in SIDES.items()}
    with workers(sides, network, options.batch_size, width=options.width, threads=options.threads) as all_sides:
        losses = {worker.name: worker.ask("train 1")["values"][0] for worker in all_sides}
        for name, tolerance in TOLERANCE.items():
            if not abs(losses[name] - losses[OURS]) <= tolerance * losses[OURS]:
                raise SystemExit(f"{network}: the loss is {losses[OURS]} here and {losses[name]} in {name}")
        training = in_turns({worker.name: partial(worker.seconds, "train") for worker in all_sides}, options.rounds)
        memory = {worker.name: worker.ask("memory") for worker in all_sides}
        evaluation = in_turns({worker.name: partial(worker.seconds, "evaluate") for worker in all_sides}, options.rounds)
        versions = [worker.version for worker in all_sides]
    return {"losses": losses, "training": training, "evaluation": evaluation, "memory": memory, "versions": versions}


def markdown(results, options):
    about = results["machine"]
    versions = next(iter(results["networks"].values()))["versions"]
    text = (
        f"# Side by side with PyTorch\n\n{about['date']}, {about['processor']}, {options.threads} threads, batch "
        f"{options.batch_size}, width {options.width:g}; {versions[0]}, {versions[1]} (channels last, fused SGD, tcmalloc). "
        f"Medians of {options.rounds} turns; × is how many times as fast as that PyTorch the library is, the median of "
        "the ratios within a turn, and in brackets the lowest and the highest.\n")
    for what in ("training", "evaluation"):
        rows = []
        for network, result in results["networks"].items():
            seconds = result[what]
            rates = [f"{options.batch_size / median(seconds[name]):.0f}" for name in SIDES]
            factors = [ratio(seconds[name], seconds[OURS]) for name in PEERS]
            rows.append([network, *rates] + [f"{f['median']:.2f} × ({f['lowest']:.2f}–{f['highest']:.2f})" for f in factors])
        header = [f"{what}, images/s", *SIDES, *(f"to {name}" for name in PEERS)]
        text += "\n" + table(header, rows)
    rows = [
        [network] + [f"{result['memory'][name]:.0f}" for name in SIDES]
        + [f"{result['memory'][OURS] / result['memory']['PyTorch float32']:.2f}"]
        for network, result in results["networks"].items()]
    return text + "\n" + table(["peak memory in training, MB", *SIDES, "to PyTorch float32"], rows)


def picture(results, options):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, what in zip(axes, ("training", "evaluation")):
        for position, (name, color) in enumerate(zip(SIDES, ("#0b6e4f", "#8d99ae", "#cdd3de"))):
            rates = [options.batch_size / median(r[what][name]) for r in results["networks"].values()]
            places = [index + (position - 1) * 0.27 for index in range(len(rates))]
            axis.bar_label(axis.bar(places, rates, 0.25, label=name, color=color), fmt="%.0f", fontsize=8)
        axis.set_xticks(range(len(results["networks"])), results["networks"])
        axis.set_title(f"{what}, images per second", fontsize=10)
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
    options = parser.parse_args()
    results = {"machine": machine(), "networks": {network: compare(options, network) for network in options.networks}}
    write("side_by_side", results, markdown(results, options), picture(results, options))


if __name__ == "__main__":
    main()
