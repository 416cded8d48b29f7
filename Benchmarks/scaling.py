"""How a training step would scale to many cores, on a machine that need not have them.

    python scaling.py [--networks …] [--batch-sizes 128 32] [--targets native haswell] [--threads 2 4 8 16 32 64]
                      [--rounds 9] [--name scaling]

A training step is made of layers' steps, two of which run at the same time where neither needs the other, and each is a
row of parallel loops with little between them. LoopBenchmark, built here with PLP_LOOP_TIMES=1, computes on one thread
and notes the shortest time of each part of each loop, and which steps each needs. From these follows what any number of
threads would take: crew.py deals out steps and parts by the rules of the library's threads, each loop costs a barrier,
as measured here with a thread on each core, and what lies between the loops is one thread's. So the prediction knows of
parts that are too few or too uneven and of what is serial. It knows nothing of memory and caches that many cores share,
nor that barriers of many threads cost more. Where there are cores, whole steps are measured beside it. What a layer's
step loses is told as if it ran alone.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path
from statistics import median

from crew import Pass, passes
from matplotlib.figure import Figure
from measuring import NETWORKS, machine, table, write

ROOT = Path(__file__).parents[1]
CORES = len(os.sched_getaffinity(0))


def build(target):
    """The benchmark's program for a processor, as Package.swift names it."""
    scratch = ROOT / ".build" / f"loops-{target}"
    command = ["swift", "build", "-c", "release", "--product", "LoopBenchmark", "--scratch-path", str(scratch)]
    environment = {**os.environ, "PLP_LOOP_TIMES": "1", "PLP_TARGET_CPU": target}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return scratch / "release/LoopBenchmark"


def record(program, target, network, batch_size, rounds):
    command = [program, network, batch_size, rounds, 1, CORES]
    environment = {**os.environ, **({"OPENBLAS_CORETYPE": "Haswell"} if target == "haswell" else {})}
    result = subprocess.run(list(map(str, command)), env=environment, check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def analyse(recorded, options):
    """What each section takes on each number of threads, and what the whole step does."""
    counts = sorted({1, CORES, *options.threads, *options.shown})
    barrier = recorded["barriers"][str(CORES)] if CORES > 1 else 0.0
    sections = []
    for section in recorded["sections"]:
        loops = section["loops"]
        section = {**section, "needs": []}
        sections.append(
            {
                "layer": section["layer"],
                "operation": section["operation"],
                "serial": section["serial"],
                "parts": [len(loop["parts"]) for loop in loops],
                "longest": [max(loop["parts"], default=0.0) for loop in loops],
                "seconds": {count: Pass([section], count, barrier).seconds() for count in counts},
            }
        )
    seconds = {
        count: sum(Pass(each, count, barrier).seconds() for each in passes(recorded["sections"])) for count in counts
    }
    steps = {int(count): times for count, times in recorded["steps"].items()}
    return {
        "vectors": recorded["vectors"],
        "barrier": barrier,
        "loops": sum(len(section["parts"]) for section in sections),
        "serial": sum(section["serial"] for section in sections) / seconds[1],
        "seconds": seconds,
        "speedup": {count: seconds[1] / seconds[count] for count in counts},
        "measured": {count: {"shortest": min(times), "median": median(times)} for count, times in steps.items()},
        "sections": sections,
    }


def abridged(parts):
    """Numbers of parts, with what is repeated written once: "36 × (56 216) 64"."""
    words = []
    while parts:
        repeats = []
        for size in range(1, 4):
            count = 1
            while parts[count * size : (count + 1) * size] == parts[:size]:
                count += 1
            repeats.append(((count - 1) * size, size, count))
        _, size, count = max(repeats, key=lambda repeat: repeat[0])
        word = " ".join(map(str, parts[:size]))
        words.append(word if count == 1 else f"{count} × {word}" if size == 1 else f"{count} × ({word})")
        parts = parts[count * size :]
    return " ".join(words)


def starving(results, threads, most=12):
    """Rows of the sections that lose most on a number of threads, with the share of a step's time that each loses."""

    def lost(section):
        return section["seconds"][threads] - section["seconds"][1] / threads

    sections = sorted(results["sections"], key=lost, reverse=True)[:most]
    return [
        [
            f"{section['layer']} {section['operation']}",
            abridged(section["parts"]),
            f"{section['seconds'][1] * 1e3:.2f}",
            f"{section['seconds'][1] / section['seconds'][threads]:.1f}",
            f"{lost(section) / results['seconds'][threads]:.1%}",
        ]
        for section in sections
    ]


def markdown(results, options):
    about = results["machine"]
    text = (
        f"# How a step scales\n\n{about['date']}, {about['processor']}, {about['cores']} cores. Predicted from the "
        f"shortest of {options.rounds} times of each part of each parallel loop, on one thread; "
        "`Benchmarks/scaling.py` says what such a prediction knows and what not.\n"
    )
    rows = []
    for run in results["runs"]:
        measured = {count: times["shortest"] * 1e3 for count, times in run["measured"].items()}
        rows.append(
            [
                f"{run['network']}, batch {run['batch_size']}, {run['vectors']}",
                run["loops"],
                f"{run['serial']:.2%}",
                *(f"{run['speedup'][count]:.1f}" for count in options.threads),
                f"{run['seconds'][1] * 1e3:.0f}, {measured[1]:.0f}",
                f"{run['seconds'][CORES] * 1e3:.0f}, {measured[CORES]:.0f}",
            ]
        )
    header = ["times as fast as one thread", "loops", "serial", *(f"{count} threads" for count in options.threads)]
    header += ["ms on 1: sum of parts, measured", f"ms on {CORES}: predicted, measured"]
    text += "\n" + table(header, rows)
    text += (
        f"\nA barrier of {CORES} threads takes {results['runs'][0]['barrier'] * 1e6:.1f} µs. Measured: the shortest of "
        f"{options.rounds} whole steps.\n"
    )
    for run in results["runs"]:
        for threads in options.shown:
            header = [f"{run['network']}, batch {run['batch_size']}, {run['vectors']}: lost on {threads} threads"]
            header += ["parts of each loop", "ms on 1", "times as fast", "of the step"]
            text += "\n" + table(header, starving(run, threads))
    return text


def picture(results, options):
    vectors = sorted({run["vectors"] for run in results["runs"]})
    figure = Figure(figsize=(4.5 * len(vectors), 3.6), layout="constrained")
    axes = figure.subplots(1, len(vectors), squeeze=False)[0]
    counts = [1, *options.threads]
    for axis, name in zip(axes, vectors):
        axis.plot(counts, counts, ":", color="#888888", linewidth=1)
        for run in (run for run in results["runs"] if run["vectors"] == name):
            color = f"C{NETWORKS.index(run['network'])}"
            line = "-" if run["batch_size"] == options.batch_sizes[0] else "--"
            label = f"{run['network']}, batch {run['batch_size']}"
            axis.plot(counts, [run["speedup"][count] for count in counts], line, color=color, label=label)
        axis.set(xscale="log", yscale="log", xlabel="threads")
        axis.set_xticks(counts, counts)
        axis.set_yticks(counts, counts)
        axis.minorticks_off()
        axis.set_title(f"times as fast as one thread, predicted, {name}", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[128, 32])
    parser.add_argument("--targets", nargs="+", default=["native", "haswell"], help="processors to build for")
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--shown", nargs="*", type=int, default=[16, 64], help="threads whose losses are listed")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--name", default="scaling", help="of the files in results/ (default: %(default)s)")
    options = parser.parse_args()
    runs = []
    for target in options.targets:
        program = build(target)
        for network in options.networks:
            for batch_size in options.batch_sizes:
                print(f"{network}, batch {batch_size}, {target} …", flush=True)
                recorded = record(program, target, network, batch_size, options.rounds)
                run = {"network": network, "batch_size": batch_size, "target": target}
                runs.append({**run, **analyse(recorded, options)})
    results = {"machine": machine(), "runs": runs}
    write(options.name, results, markdown(results, options), picture(results, options))


if __name__ == "__main__":
    main()
