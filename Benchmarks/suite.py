"""The library by itself: images per second and peak memory over batch sizes, one thread and two, and what PLP costs.

    python suite.py [--networks …] [--batch-sizes 32 64 128 256 512] [--rounds 5] [--pairs 15]
                    [--width 1]
"""
import argparse
from functools import partial
from statistics import mean

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from measuring import NETWORKS, at_once, in_turns, machine, median, ratio, table, workers, write  # noqa: E402


def sweep(network, options):
    """Images per second in training and evaluation, and megabytes, for each batch size; a process for each."""
    rows = []
    for batch_size in options.batch_sizes:
        with workers({"ours": {}}, network, batch_size, width=options.width) as (ours,):
            training = median(in_turns({"": partial(ours.seconds, "train")}, options.rounds)[""])
            memory = ours.ask("memory")
            evaluation = median(in_turns({"": partial(ours.seconds, "evaluate")}, options.rounds)[""])
        rates = {"training": batch_size / training, "evaluation": batch_size / evaluation}
        rows.append({"batch_size": batch_size, **rates, "megabytes": memory})
    return rows


def scaling(network, options):
    """How many times as fast two threads train as one, and what two processes of one thread each do together.

    The latter share nothing but the machine: what they fall short of 2 is the processors' and the memory's, not ours.
    """
    sides = {"one": {"threads": 1}, "other": {"threads": 1}, "two": {"threads": 2}}
    with workers(sides, network, 128, width=options.width) as (one, other, two):
        seconds = in_turns({
            "one": partial(one.seconds, "train"), "two": partial(two.seconds, "train"),
            "both": lambda: mean(answer["seconds"] for answer in at_once([one, other], "train 1")),
        }, options.pairs)
    return {"threads": ratio(seconds["one"], seconds["two"]),
            "processes": ratio([2 * value for value in seconds["one"]], seconds["both"])}


def prediction(network, options):
    """What PLP costs, in turns of a cycle: whole steps, and the updates alone, whose difference is all that it adds."""
    def cycle(worker):
        before = worker.ask("updates")
        seconds = worker.seconds("train", 3)
        return seconds, (worker.ask("updates") - before) / 3

    with workers({"sgd": {}, "plp": {"predictor": "plp"}}, network, 128, width=options.width) as both:
        turns = in_turns({worker.name: partial(cycle, worker) for worker in both}, options.pairs)
    steps = {name: [step for step, _ in values] for name, values in turns.items()}
    updates = {name: median(update for _, update in values) for name, values in turns.items()}
    return {"steps": ratio(steps["plp"], steps["sgd"]), "updates": updates,
            "added": 1 + (updates["plp"] - updates["sgd"]) / median(steps["sgd"])}


def measure(network, options):
    print(f"{network} …", flush=True)
    return {"batch_sizes": sweep(network, options), "scaling": scaling(network, options),
            "prediction": prediction(network, options)}


def markdown(results, options):
    about = results["machine"]
    text = f"# The library by itself\n\n{about['date']}, {about['processor']}, two threads, width {options.width:g}.\n"
    for what, title in [("training", "training, images/s"), ("evaluation", "evaluation, images/s"),
                        ("megabytes", "peak memory in training, MB")]:
        rows = [[network] + [f"{row[what]:.0f}" for row in result["batch_sizes"]]
                for network, result in results["networks"].items()]
        text += "\n" + table([title] + [f"batch {size}" for size in options.batch_sizes], rows)

    def spread(r):
        return f"{r['median']:.3f} ({r['lowest']:.3f}–{r['highest']:.3f}, n = {r['n']})"

    rows = [[network, spread(result["scaling"]["threads"]), spread(result["scaling"]["processes"])]
            for network, result in results["networks"].items()]
    text += ("\nTraining at batch 128 on two threads, and what two processes of one thread each reach together, which "
             "share nothing but the machine:\n\n"
             + table(["times as fast as one thread", "two threads", "two processes"], rows))
    rows = [[network, *(f"{result['prediction']['updates'][name] * 1e3:.2f}" for name in ("sgd", "plp")),
             f"{result['prediction']['added']:.4f}", spread(result["prediction"]["steps"])]
            for network, result in results["networks"].items()]
    return text + "\nWhat prediction costs at batch 128, in turns of three steps:\n\n" + table(
        ["a step", "update, SGD, ms", "update, PLP, ms", "PLP : SGD by the updates", "PLP : SGD, whole steps"], rows)


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
    parser.add_argument("--pairs", type=int, default=15, help="turns of the comparisons")
    parser.add_argument("--width", type=float, default=1.0)
    options = parser.parse_args()
    results = {"machine": machine(), "networks": {network: measure(network, options) for network in options.networks}}
    write("suite", results, markdown(results, options), picture(results))


if __name__ == "__main__":
    main()
