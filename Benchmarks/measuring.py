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

    def __init__(self, name, start, python=sys.executable, environment={}, **options):
        options = {"engine": "plp", "width": 1.0, "threads": 2, "predictor": None, "precision": "float32", **options}
        command = [python, str(HERE / "worker.py"), json.dumps({**options, "start": str(start)})]
        self.name, self.batch_size = name, options["batch_size"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env={**os.environ, **environment})
        self.version = self._answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

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


class Start:
    """The weights and the mini-batch that all sides of a comparison start from, as a file."""

    def __init__(self, network, batch_size, width=1.0):
        random = np.random.default_rng(0)
        state = plp.Model(network, width=width, dropout=0.0, seed=0).state_dict()
        images = random.standard_normal((batch_size, 3, 32, 32), np.float32)
        labels = random.integers(0, 100, batch_size).astype(np.int32)
        self.file = tempfile.NamedTemporaryFile(suffix=".npz")
        np.savez(self.file, images=images, labels=labels, **state)
        self.file.flush()

    def __enter__(self):
        return self.file.name

    def __exit__(self, *_):
        self.file.close()


@contextmanager
def workers(sides, network, batch_size, **common):
    """The workers of {name: a side's own options}, all with the same start."""
    with Start(network, batch_size, common["width"]) as start, ExitStack() as stack:
        common |= {"network": network, "batch_size": batch_size}
        yield [stack.enter_context(Worker(name, start, **common, **side)) for name, side in sides.items()]


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


def ratio(slower, faster):
    """Median, lowest and highest of the pairs' ratios."""
    ratios = sorted(a / b for a, b in zip(slower, faster))
    return {"median": median(ratios), "lowest": ratios[0], "highest": ratios[-1], "n": len(ratios)}


def machine():
    fields = dict(
        (part.strip() for part in line.split(":", 1))
        for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    wide = " AVX-512" if "avx512f" in fields["flags"] else ""
    return {
        "date": datetime.date.today().isoformat(), "processor": fields["model name"] + wide,
        "cores": len(os.sched_getaffinity(0)), "system": platform.platform(), "library": plp.build_info()}


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
