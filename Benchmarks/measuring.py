"""What the benchmarks share: processes that take turns, the machine's description, and tables."""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import plp

HERE = Path(__file__).parent
RESULTS = HERE / "results"
NETWORKS = ("resnet18", "vgg16", "googlenet")


class Worker:
    """A process of worker.py. Only the one that is asked computes; the others sleep."""

    def __init__(self, name, start, python=sys.executable, environment=None, **options):
        options = {"engine": "plp", "threads": 2, "predictor": None, "precision": "float32", **options}
        command = [python, str(HERE / "worker.py"), json.dumps({**options, "start": start})]
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, **(environment or {})},
        )
        self.version = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def wait(self):
        """Until it can compute, when it tells the version of what computes."""
        self.version = self._answer()

    def ask(self, command):
        return at_once([self], command)[0]

    def seconds(self, command, steps=1):
        return self.ask(f"{command} {steps}")["seconds"] / steps

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: its process ended with status {self.process.wait()}")
        return json.loads(line)


def at_once(workers, command):
    """Their answers to a command that all work on at the same time."""
    for worker in workers:
        worker.process.stdin.write(f"{command}\n")
    return [worker._answer() for worker in workers]


@contextmanager
def start_file(network, width, images):
    """The weights and the images that all sides of a comparison start from, as a file."""
    random = np.random.default_rng(0)
    state = plp.Model(network, width=width, dropout=0.0, seed=0).state_dict()
    state["images"] = random.standard_normal((images, 3, 32, 32), np.float32)
    state["labels"] = random.integers(0, 100, images).astype(np.int32)
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **state)
        file.flush()
        yield file.name


@contextmanager
def workers(sides, network, width, **common):
    """The workers of {name: a side's own options}, all with the same start; `common` are options of all."""
    sides = {name: {"batch_size": 128, **common, **side} for name, side in sides.items()}
    images = max(side["batch_size"] for side in sides.values())
    with start_file(network, width, images) as start, ExitStack() as stack:
        started = [
            stack.enter_context(Worker(name, start, network=network, width=width, **side))
            for name, side in sides.items()
        ]
        for worker in started:
            worker.wait()
        yield started


def in_turns(sides, rounds):
    """{name: what that side measures, once a round}. The order turns with each round: drift hits all sides alike.

    A side is a function of nothing; a first call, which plans and allocates, does not count.
    """
    for measure in sides.values():
        measure()
    results = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            results[name].append(sides[name]())
    return results


def spread(values):
    values = list(values)
    return {"median": median(values), "lowest": min(values), "highest": max(values), "n": len(values)}


def ratio(slower, faster):
    """The spread of the pairs' ratios."""
    return spread(a / b for a, b in zip(slower, faster))


def machine():
    fields = dict(
        (part.strip() for part in line.split(":", 1))
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if ":" in line
    )
    wide = " AVX-512" if "avx512f" in fields["flags"] else ""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": fields["model name"] + wide,
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "library": plp.build_info(),
    }


def cell(values, digits):
    """A spread in a table: median (lowest–highest)."""
    middle, lowest, highest = (f"{values[name]:.{digits}f}" for name in ("median", "lowest", "highest"))
    return f"{middle} ({lowest}–{highest})"


def bars(spreads):
    """What pyplot calls yerr: how far the lowest and the highest lie from the medians."""
    return [
        [values["median"] - values["lowest"] for values in spreads],
        [values["highest"] - values["median"] for values in spreads],
    ]


def table(header, rows):
    """Markdown; the first column to the left, the others to the right."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def write(name, results, markdown, figure):
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(markdown)
    figure.savefig(RESULTS / f"{name}.png", dpi=150)
    print(markdown)
