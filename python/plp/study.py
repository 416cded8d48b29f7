"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from . import _plp
from ._checks import checked_integer
from ._tables import text_table
from .datasets import Dataset
from .history import History, Metrics
from .model import Model
from .options import PAPER, Recipe, by_name, describe
from .training import Trainer

Methods = Sequence[str] | Mapping[str, Recipe | Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """One network trained once. ``failure`` is the library's message where the loss was no longer finite."""

    network: str
    method: str
    seed: int
    history: History
    failure: str | None = None

    @property
    def outcome(self) -> Metrics | None:
        """The best model's metrics: on the test set, or else the validation images, or else in training."""
        if self.failure or not self.history.epochs:
            return None
        best = self.history.best or self.history[-1]
        return self.history.test or best.validation or best.train


@dataclass
class Study:
    """Runs and what they have in common; prints as a table.

    A method's spread is the standard deviation over its repeats. Differences are paired: each repeat of a method minus
    the ``baseline`` with the same seed, hence the same start and the same mini-batches.
    """

    settings: dict[str, Any]
    methods: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    interrupted: bool = False

    @property
    def networks(self) -> list[str]:
        return list(dict.fromkeys(run.network for run in self.runs))

    @property
    def baseline(self) -> str:
        """The method the others are compared with: ``"sgd"``, or the first where that is not among them."""
        return "sgd" if "sgd" in self.methods else next(iter(self.methods))

    @property
    def chosen_epoch(self) -> str:
        """The epoch of a run whose model the table's numbers are of, in words."""
        return "the epoch with the best validation accuracy" if self.settings["validation"] else "the last epoch"

    @property
    def measured_on(self) -> str:
        """The images behind the table's numbers."""
        kind = "validation images" if self.settings["validation"] else "training images"
        return self.settings["test"] or f"{kind} of {self.settings['train']}"

    def outcomes(self, network: str, method: str) -> dict[int, Metrics]:
        """By seed, the best model's metrics of all runs that reached their end."""
        runs = (run for run in self.runs if (run.network, run.method) == (network, method))
        return {run.seed: run.outcome for run in runs if run.outcome}

    def differences(self, network: str, method: str) -> list[float]:
        """Accuracy minus the baseline's, for every seed that both have."""
        baseline = self.outcomes(network, self.baseline)
        mine = self.outcomes(network, method)
        return [metrics.accuracy - baseline[seed].accuracy for seed, metrics in mine.items() if seed in baseline]

    def table(self) -> list[list[str]]:
        """Rows of text, the heading first."""
        rows = [["network", "method", "runs", "accuracy %", "top-1 error", "top-5 error", "loss", "images/s"]]
        rows[0].append(f"accuracy - {self.baseline}'s" + (" [95 % interval]" if self._is_repeated else ""))
        for network in self.networks:
            for method in self.methods:
                runs = [run for run in self.runs if (run.network, run.method) == (network, method)]
                outcomes = self.outcomes(network, method).values()
                if not runs:
                    continue
                failures = sum(run.failure is not None for run in runs)
                differences = self.differences(network, method) if method != self.baseline else []
                rows.append(
                    [
                        network,
                        method,
                        f"{len(outcomes)}" + (f" ({failures} failed)" if failures else ""),
                        spread([100 * m.accuracy for m in outcomes], 2),
                        spread([m.top1_error for m in outcomes], 4),
                        spread([m.top5_error for m in outcomes], 4),
                        spread([m.loss for m in outcomes], 3),
                        f"{fmean(run.history.images_per_second for run in runs):,.0f}",
                        _with_interval([100 * d for d in differences]),
                    ]
                )
        return rows

    def __str__(self) -> str:
        lines = [text_table(self.table()), self.caption()]
        lines += [f"{run.network} {run.method} seed {run.seed}: {run.failure}" for run in self.runs if run.failure]
        return "\n".join(lines + (["(interrupted)"] if self.interrupted else []))

    @property
    def _is_repeated(self) -> bool:
        return any(len(self.outcomes(n, m)) > 1 for n in self.networks for m in self.methods)

    def caption(self) -> str:
        """What the table's numbers are."""
        means, interval = "", ""
        if self._is_repeated:
            means = "mean ± standard deviation over seeds; "
            interval = ", with the 95 % confidence interval of their mean (Student's t)"
        return (
            f"{means}{self.measured_on}, model of {self.chosen_epoch}, epochs: {self.settings['epochs']}; "
            f"differences in percentage points, same start and same mini-batches{interval}"
        )

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draws every method's training loss and validation error; the ending of ``path`` chooses the format."""
        from .plots import plot_study

        plot_study(self, path)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Writes one HTML page that needs no other file: table, picture, and the choices made, the paper's and ours."""
        from .report import write_report

        write_report(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the study as JSON. An older file is replaced only when the new one is complete on disk."""
        data = {
            "settings": self.settings,
            "methods": self.methods,
            "runs": [{**asdict(run), "history": run.history.to_dict()} for run in self.runs],
        }
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Study:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError, OSError: the file is not there, or cannot be read.
            plp.Error: it is not a study.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            runs = [Run(**{**run, "history": History.from_dict(run["history"])}) for run in data["runs"]]
            return cls(data["settings"], data["methods"], runs)
        except (ValueError, KeyError, TypeError) as error:
            raise _plp.Error(f"{os.fspath(path)} is not a study that plp wrote: {error}") from None


def compare(
    networks: Sequence[str] = ("resnet18",),
    methods: Methods = ("sgd", "sgd*7/6", "demon", "plp"),
    *,
    train: Dataset,
    test: Dataset | None = None,
    epochs: int = 10,
    repeats: int = 1,
    recipe: Recipe = PAPER,
    validation: float = 0.2,
    width: float = 1.0,
    seed: int = 0,
    threads: int = 0,
    path: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Study:
    """Trains every network with every method, ``repeats`` times, and puts the results side by side.

    Repeat r uses seed ``seed + r`` for the network and its training, the same for all methods. Ctrl-C ends the study
    after the running iteration and returns the runs that are complete.

    Args:
        networks: architectures, as for :class:`plp.Model`.
        methods: names: ``"sgd"``, ``"demon"``, ``"plp"``, ``"lookahead"``, ``"ema"``, each also with a factor on the
            learning rate, such as ``"sgd*7/6"``, the control for PLP (where updates are locally constant, prediction
            is SGD with that rate). Or a dict from names of one's own to recipes, or to what they change in ``recipe``:
            ``{"sgd": {}, "far": {"predictor": plp.PLP(step=2)}}``.
        train, test: without a test set the table shows the validation images.
        epochs: of each run.
        repeats: runs of each method, each with another seed.
        recipe: what the methods have in common; the paper's by default.
        validation: fraction of the training images to hold out, to choose the best epoch.
        width: factor on every hidden channel count.
        seed: of the first repeat.
        threads: that compute; 0 for one per processor.
        path: a JSON file that is written after each run. Where it exists, the study goes on from it: only runs that it
            lacks are made, so that repeats, methods and networks can be added later.
        progress: whether to show each run's progress.

    Raises:
        ValueError: an unknown method or network, an option out of its range, or a study of other settings at ``path``.
    """
    recipes = _recipes(methods, recipe)
    settings = {
        "train": train.name,
        "train_images": len(train),
        "test": test.name if test else None,
        "test_images": len(test) if test else 0,
        "classes": train.classes,
        "width": float(width),
        "epochs": checked_integer("epochs", epochs),
        "validation": float(validation),
        "recipe": describe(recipe),
        "version": _plp.version,
        "build": _plp.build_info(),
    }
    described = {name: describe(recipe) for name, recipe in recipes.items()}
    study = Study(settings, described)
    if path is not None and Path(path).exists():
        study = Study.load(path)
        _check_same(study, settings, described, path)
        study.methods = {**study.methods, **described}
    for network in networks:  # a mistake in the last method is reported before the first run
        for own in recipes.values():
            Trainer(Model(network, width=1 / 64), **{**vars(own), "batch_size": 1}, seed=seed)
    done = {(run.network, run.method, run.seed) for run in study.runs}

    for run_seed in range(seed, seed + checked_integer("repeats", repeats)):
        for network in networks:
            for method, own in recipes.items():
                if (network, method, run_seed) in done:
                    continue
                model = Model(network, classes=train.classes, width=width, seed=run_seed)
                trainer = Trainer(model, **vars(own), seed=run_seed, threads=threads)
                label = f"{network} {method}" + (f" seed {run_seed}" if repeats > 1 else "")
                failure = None
                try:
                    history = trainer.fit(
                        train, validation=validation, test=test, epochs=epochs, progress=label if progress else False
                    )
                except _plp.Error as error:
                    history, failure = trainer.history, str(error)
                if history.interrupted and not failure:
                    study.interrupted = True
                    return study
                study.runs.append(Run(network, method, run_seed, history, failure))
                if path is not None:
                    study.save(path)
    return study


def _recipes(methods: Methods, recipe: Recipe) -> dict[str, Recipe]:
    """Every method's own recipe, by name."""
    if isinstance(methods, Mapping):
        return {n: own if isinstance(own, Recipe) else replace(recipe, **own) for n, own in methods.items()}
    if isinstance(methods, str) or not methods:
        raise ValueError(f"methods is {methods!r}, expected a list of names or a dict")
    return {name: by_name(name, recipe) for name in methods}


def _check_same(study: Study, settings: dict[str, Any], methods: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Runs are only comparable where all but the machine is the same."""
    for name in settings.keys() - {"version", "build"}:
        if study.settings.get(name) != settings[name]:
            raise ValueError(
                f"{os.fspath(path)} holds a study whose {name} is {study.settings.get(name)}, "
                f"expected {settings[name]}: choose another file, or remove it"
            )
    for name in study.methods.keys() & methods.keys():
        if study.methods[name] != methods[name]:
            raise ValueError(f"{os.fspath(path)} holds another method of the name {name!r}: choose another name")


def spread(values: Sequence[float], digits: int) -> str:
    """A mean, and the standard deviation where there is more than one value."""
    if not values:
        return ""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


def _with_interval(differences: Sequence[float]) -> str:
    """Their mean, and its 95 % confidence interval where there is more than one."""
    if not differences:
        return ""
    mean = fmean(differences)
    if len(differences) == 1:
        return f"{mean:+.2f}"
    from scipy.special import stdtrit  # the quantile of Student's t; loaded here, since it takes its time

    half = stdtrit(len(differences) - 1, 0.975) * stdev(differences) / sqrt(len(differences))
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"
