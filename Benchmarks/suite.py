"""The library by itself: images per second and peak memory over batch sizes, one thread and two, and what PLP costs.

    python suite.py [--networks …] [--batch-sizes 32 64 128 256 512] [--rounds 5] [--pairs 15]
                    [--width 1]
"""
import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from measuring import NETWORKS, Start, Worker, in_turns, machine, median, ratio, table, write  # noqa: E402


def sweep(network, options):
    """Images per second in training and evaluation, and megabytes, for each batch size; a process for each."""
    rows = []
    for batch_size in options.batch_sizes:
        with Start(network, batch_size, options.width) as start:
            with Worker("ours", start, network=network, batch_size=batch_size, width=options.width) as worker:
                training = median(in_turns([worker], "train", options.rounds)["ours"])
                memory = worker.ask("memory")
                evaluation = median(in_turns([worker], "evaluate", options.rounds)["ours"])
        rates = {"training": batch_size / training, "evaluation": batch_size / evaluation}
        rows.append({"batch_size": batch_size, **rates, "megabytes": memory})
    return rows


def versus(network, options, steps, **sides):
    """The second side's time over the first's, in turns of `steps` steps at batch 128."""
    with Start(network, 128, options.width) as start:
        common = {"network": network, "batch_size": 128, "width": options.width}
        workers = [Worker(name, start, **common, **side) for name, side in sides.items()]
        seconds = in_turns(workers, "train", options.pairs, steps)
        for worker in workers:
            worker.__exit__()
    return ratio(*(seconds[name] for name in reversed(sides)))


def measure(network, options):
    print(f"{network} …", flush=True)
    return {
        "batch_sizes": sweep(network, options),
        "one_thread_to_two": versus(network, options, 1, two={"threads": 2}, one={"threads": 1}),
        "plp_to_sgd": versus(network, options, 3, sgd={}, plp={"predictor": "plp"}),    # a turn is a cycle
    }


def markdown(results, options):
    about = results["machine"]
    text = f"# The library by itself\n\n{about['date']}, {about['processor']}, two threads, width {options.width:g}.\n"
    for what, title in [("training", "training, images/s"), ("evaluation", "evaluation, images/s"),
                        ("megabytes", "peak memory in training, MB")]:
        rows = [[network] + [f"{row[what]:.0f}" for row in result["batch_sizes"]]
                for network, result in results["networks"].items()]
        text += "\n" + table([title] + [f"batch {size}" for size in options.batch_sizes], rows)
    rows = [[network] + [f"{r['median']:.3f} ({r['lowest']:.3f}–{r['highest']:.3f}, n = {r['n']})"
                         for r in (result["one_thread_to_two"], result["plp_to_sgd"])]
            for network, result in results["networks"].items()]
    return text + "\n" + table(["time of a step at batch 128", "one thread : two", "PLP : SGD"], rows)


def picture(results):
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for network, result in results["networks"].items():
        sizes = [row["batch_size"] for row in result["batch_sizes"]]
        axes[0].plot(sizes, [row["training"] for row in result["batch_sizes"]], "o-", label=network)
        axes[1].plot(sizes, [row["megabytes"] for row in result["batch_sizes"]], "o-", label=network)
    for axis, title in zip(axes, ("training, images per second", "peak memory, MB")):
        axis.set(xscale="log", xlabel="batch size", ylim=(0, None))
        axis.set_xticks(sizes, sizes)
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
    parser.add_argument("--pairs", type=int, default=15, help="turns of the two comparisons")
    parser.add_argument("--width", type=float, default=1.0)
    options = parser.parse_args()
    results = {"machine": machine(), "networks": {network: measure(network, options) for network in options.networks}}
    write("suite", results, markdown(results, options), picture(results))


if __name__ == "__main__":
    main()
