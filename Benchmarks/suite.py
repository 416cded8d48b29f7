"""The library by itself: images per second and peak memory over batch sizes, many threads and one, and what PLP costs.

    python suite.py [--networks …] [--batch-sizes 32 64 128 256 512] [--rounds 5] [--pairs 15]
                    [--threads …] [--width 1] [--name suite]

All batch sizes of a network are in memory together, some 11 GB for GoogLeNet at the default ones.
"""

import argparse
from functools import partial
from statistics import mean

from matplotlib.figure import Figure
from measuring import NETWORKS, at_once, bars, cell, in_turns, machine, median, ratio, spread, table, workers, write


def sweep(network, options):
    """Images per second in training and evaluation, and megabytes, for each batch size; a process for each.

    All sizes take turns, training and evaluating, so that none has the machine's better minutes.
    """
    sides = {size: {"batch_size": size, "threads": machine()["cores"]} for size in options.batch_sizes}
    with workers(sides, network, options.width) as sizes:
        megabytes = {}
        for worker in sizes:
            worker.ask("train 1")
            megabytes[worker.name] = worker.ask("memory")
        seconds = in_turns(
            {(worker.name, what): partial(worker.seconds, what) for worker in sizes for what in ("train", "evaluate")},
            options.rounds,
        )

    def rate(size, what):
        return spread(size / value for value in seconds[size, what])

    return [
        {
            "batch_size": size,
            "training": rate(size, "train"),
            "evaluation": rate(size, "evaluate"),
            "megabytes": megabytes[size],
        }
        for size in sides
    ]


def counts(cores):
    """Numbers of threads to measure by default: the powers of two, and all cores."""
    return sorted({cores, *(1 << power for power in range(1, cores.bit_length()) if 1 << power <= cores)} - {1})


def scaling(network, options):
    """{threads: how many times as fast they train as one, and what as many processes of one thread do together}.

    The latter share nothing but the machine: what they fall short of their number is the processors' and the memory's.
    """
    threads = options.threads
    most = max(threads, default=1)
    sides = {f"process {number}": {"threads": 1} for number in range(most)}
    sides |= {f"{count} threads": {"threads": count} for count in threads}
    with workers(sides, network, options.width) as sides:
        singles, shared = sides[:most], dict(zip(threads, sides[most:]))

        def together(count):
            return mean(answer["seconds"] for answer in at_once(singles[:count], "train 1"))

        measures = {"one": partial(singles[0].seconds, "train")}
        measures |= {("threads", count): partial(worker.seconds, "train") for count, worker in shared.items()}
        measures |= {("processes", count): partial(together, count) for count in threads}
        seconds = in_turns(measures, options.pairs)
    return {
        count: {
            "threads": ratio(seconds["one"], seconds["threads", count]),
            "processes": ratio([count * value for value in seconds["one"]], seconds["processes", count]),
        }
        for count in threads
    }


def prediction(network, options):
    """What PLP costs, in turns of a cycle: whole steps, and the updates alone, whose difference is all that it adds."""

    def cycle(worker):
        before = worker.ask("updates")
        seconds = worker.seconds("train", 3)
        return seconds, (worker.ask("updates") - before) / 3

    sides = {"sgd": {}, "plp": {"predictor": "plp"}}
    with workers(sides, network, options.width, threads=machine()["cores"]) as both:
        turns = in_turns({worker.name: partial(cycle, worker) for worker in both}, options.pairs)
    steps = {name: [step for step, _ in values] for name, values in turns.items()}
    updates = {name: median(update for _, update in values) for name, values in turns.items()}
    return {
        "steps": ratio(steps["plp"], steps["sgd"]),
        "updates": updates,
        "added": 1 + (updates["plp"] - updates["sgd"]) / median(steps["sgd"]),
    }


def measure(network, options):
    print(f"{network} …", flush=True)
    return {
        "batch_sizes": sweep(network, options),
        "scaling": scaling(network, options),
        "prediction": prediction(network, options),
    }


def markdown(results, options):
    about, networks = results["machine"], results["networks"].items()
    some = next(iter(results["networks"].values()))
    text = (
        f"# The library by itself\n\n{about['date']}, {about['processor']}, {about['cores']} threads, "
        f"width {options.width:g}. Medians, and in brackets the lowest and the highest.\n"
    )
    header = [f"batch {size}" for size in options.batch_sizes]
    for what in ("training", "evaluation"):
        rows = [[network, *(cell(row[what], 0) for row in result["batch_sizes"])] for network, result in networks]
        text += "\n" + table([f"{what}, images/s, n = {options.rounds}", *header], rows)
    rows = [[network, *(f"{row['megabytes']:.0f}" for row in result["batch_sizes"])] for network, result in networks]
    text += "\n" + table(["peak memory in training, MB", *header], rows)

    rows = [
        [network, count, *(cell(ratios[what], 3) for what in ("threads", "processes"))]
        for network, result in networks
        for count, ratios in result["scaling"].items()
    ]
    text += (
        "\nTraining at batch 128 on some threads, and what as many processes of one thread each reach together, which "
        "share nothing but the machine:\n\n"
        + table([f"times as fast as one thread, n = {options.pairs}", "number", "threads", "processes"], rows)
    )
    rows = [[network, *costs(result["prediction"])] for network, result in networks]
    return (
        text + "\nWhat prediction costs at batch 128, in turns of three steps. On a shared machine whole steps cannot "
        "resolve a difference this small, as their spread shows. So the updates, which are all that differs, are timed "
        "alone, and their difference is set against a whole step.\n\n"
        + table(
            [
                f"a step, n = {some['prediction']['steps']['n']}",
                "update, SGD, ms",
                "update, PLP, ms",
                "PLP : SGD by the updates",
                "PLP : SGD, whole steps",
            ],
            rows,
        )
    )


def costs(prediction):
    updates = (f"{prediction['updates'][name] * 1e3:.2f}" for name in ("sgd", "plp"))
    return [*updates, f"{prediction['added']:.4f}", cell(prediction["steps"], 3)]


def picture(results, options):
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for index, (network, result) in enumerate(results["networks"].items()):
        rates = [row["training"] for row in result["batch_sizes"]]
        medians = [rate["median"] for rate in rates]
        places = [size * 1.05**index for size in options.batch_sizes]  # or one network's bars would hide the other's
        axes[0].errorbar(places, medians, bars(rates), fmt="o-", capsize=2, elinewidth=1, label=network)
        axes[1].plot(options.batch_sizes, [row["megabytes"] for row in result["batch_sizes"]], "o-", label=network)
    titles = (f"training, images/s: median, lowest, highest of {options.rounds}", "peak memory, MB")
    for axis, title in zip(axes, titles):
        axis.set(xscale="log", xlabel="batch size", ylim=(0, None))
        axis.set_xticks(options.batch_sizes, options.batch_sizes)
        axis.minorticks_off()
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[32, 64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=5, help="steps of each batch size")
    parser.add_argument("--pairs", type=int, default=15, help="turns of the comparisons")
    parser.add_argument("--threads", nargs="+", type=int, default=counts(machine()["cores"]))
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--name", default="suite", help="of the files in results/ (default: %(default)s)")
    options = parser.parse_args()
    results = {"machine": machine(), "networks": {network: measure(network, options) for network in options.networks}}
    write(options.name, results, markdown(results, options), picture(results, options))


if __name__ == "__main__":
    main()
