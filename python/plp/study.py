"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds."""

from __future__ import annotations

import json
import os
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from glob import escape
from itertools import product
from math import sqrt
from numbers import Real
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from . import _plp
from ._checks import checked_integer, checked_seed, checked_type
from ._lock import sole_writer
from ._tables import text_table
from .datasets import Dataset
from .history import History, Metrics
from .model import Model
from .options import PAPER, Recipe, by_name, describe
from .training import Progress, Trainer

Networks = str | Sequence[str]
Methods = str | Sequence[str] | Mapping[str, Recipe | Mapping[str, Any]]
Place = str | os.PathLike[str]


@dataclass(frozen=True)
class Run:
    """One network trained once.

    ``failure`` is the library's message where the loss was no longer finite, ``build`` what :func:`plp.build_info` said
    then.
    """

    network: str
    method: str
    seed: int
    history: History
    failure: str | None = None
    build: str = ""

    @property
    def name(self) -> str:
        return run_name(self.network, self.method, self.seed)

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
    the ``baseline`` with the same seed, hence the same start and the same mini-batches. ``checkpoints`` are those of
    unfinished runs: names of files beside the study's, by names of runs.
    """

    settings: dict[str, Any]
    methods: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    interrupted: bool = False
    checkpoints: dict[str, str] = field(default_factory=dict)

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
        lines += [f"{run.name}: {run.failure}" for run in self.runs if run.failure]
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

    def plot(self, path: Place) -> None:
        """Draws every method's training loss, validation error and difference of validation accuracy to the baseline.

        The ending of ``path`` chooses the format.
        """
        from .plots import plot_study

        plot_study(self, path)

    def report(self, path: Place) -> None:
        """Writes one HTML page that needs no other file: table, picture, and the choices made, the paper's and ours."""
        from .report import write_report

        write_report(self, path)

    def save(self, path: Place) -> None:
        """Writes the study as JSON. An older file is replaced only when the new one is complete on disk."""
        data = {
            "settings": self.settings,
            "methods": self.methods,
            "runs": [{**asdict(run), "history": run.history.to_dict()} for run in self.runs],
            "checkpoints": self.checkpoints,
        }
        text = json.dumps(data, indent=1)
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Place) -> Study:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError, OSError: the file is not there, or cannot be read.
            plp.Error: it is not a study.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            runs = [Run(**{**run, "history": History.from_dict(run["history"])}) for run in data["runs"]]
            return cls(data["settings"], data["methods"], runs, checkpoints=dict(data.get("checkpoints", {})))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _plp.Error(f"{os.fspath(path)} is not a study that plp wrote: {error}") from None


def compare(
    networks: Networks = ("resnet18",),
    methods: Methods = ("sgd", "sgd*7/6", "demon", "plp"),
    *,
    train: Dataset,
    test: Dataset | None = None,
    epochs: int = 10,
    repeats: int = 1,
    recipe: Recipe = PAPER,
    validation: float | None = 0.2,
    width: float = 1.0,
    seed: int = 0,
    threads: int = 0,
    path: Place | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> Study:
    """Trains every network with every method, ``repeats`` times, and puts the results side by side.

    Repeat r uses seed ``seed + r`` for the network and its training, the same for all methods. Ctrl-C ends the study
    after the running iteration and returns the runs that are complete; so does, with a warning, a lack of memory.

    Args:
        networks: architectures, as for :class:`plp.Model`.
        methods: names: ``"sgd"``, ``"demon"``, ``"plp"``, ``"lookahead"``, ``"ema"``, each also with a factor on the
            learning rate, such as ``"sgd*7/6"``, the control for PLP (where updates are locally constant, prediction
            is SGD with that rate); a name chooses optimizer and predictor in place of the recipe's. Or a dict from
            names of one's own to recipes, or to what they change in ``recipe``:
            ``{"sgd": {}, "far": {"predictor": plp.PLP(step=2)}}``.
        train, test: without a test set the table shows the validation images.
        epochs: of each run.
        repeats: runs of each method, each with another seed.
        recipe: what the methods have in common; the paper's by default.
        validation: fraction of the training images to hold out, to choose the best epoch; None or 0 for none.
        width: factor on every hidden channel count.
        seed: of the first repeat.
        threads: that compute; 0 for one per processor.
        path: a JSON file that is written after each run. Where it exists, the study goes on from it: only runs that it
            lacks are made, so that repeats, methods and networks can be added later. A checkpoint beside it, written
            at each epoch's end and on Ctrl-C, keeps the run under way, which then goes on bit for bit. One that is
            damaged, of other data or options, or of another version of plp is kept under another name, with a warning,
            and its run starts anew.
        fresh: whether to start anew in place of a study that is at ``path``.
        progress: whether to show each run's progress.

    Raises:
        ValueError: an unknown method or network, an option out of its range, or a study of other settings at ``path``.
        FileNotFoundError, OSError: ``path`` cannot be written, or another process writes it; found before the first
            run. A run's checkpoint cannot be read.
        MemoryError: a network does not fit; found before the first run.
    """
    networks = [networks] if isinstance(networks, str) else list(dict.fromkeys(networks))
    recipes = _recipes(methods, recipe)
    checked_type("train", train, Dataset)
    checked_type("test", test, Dataset, type(None))
    if not isinstance(validation, Real | None):
        raise ValueError(f"validation is {validation!r:.40}, expected a fraction or None")
    settings = {
        "train": train.name,
        "train_images": len(train),
        "test": test.name if test else None,
        "test_images": len(test) if test else 0,
        "classes": train.classes,
        "width": float(width),
        "epochs": checked_integer("epochs", epochs, least=1),
        "validation": float(validation or 0),
        "recipe": describe(recipe),
    }
    described = {name: describe(own) for name, own in recipes.items()}
    seed = checked_seed(seed)
    seeds = range(seed, seed + checked_integer("repeats", repeats, least=1))

    def new_trainer(network: str, own: Recipe, seed: int) -> Trainer:
        model = Model(network, classes=train.classes, width=width, seed=seed)
        return Trainer(model, **vars(own), seed=seed, threads=threads)

    with sole_writer(path):
        study = _opened(None if fresh else path, settings, described)
        try:
            for network in networks:  # a mistake in the last method is reported before the first run
                model = Model(network, classes=train.classes, width=width)
                for own in recipes.values():
                    Trainer(model, **vars(own), seed=seed, threads=threads)
            if path is not None:
                study.save(path)
                _remove_strays(study, Path(path))
            done = {run.name for run in study.runs}
            for run_seed, network, (method, own) in product(seeds, networks, recipes.items()):
                name = run_name(network, method, run_seed)
                if name in done:
                    continue
                label = name if repeats > 1 else f"{network} {method}"
                history, failure = _train(
                    partial(new_trainer, network, own, run_seed),
                    {"train": train, "validation": validation, "test": test, "epochs": epochs},
                    label if progress else False,
                    None if path is None else _checkpoint(study, name, Path(path)),
                )
                if history.interrupted and not failure:
                    study.interrupted = True
                    break
                study.runs.append(Run(network, method, run_seed, history, failure, _plp.build_info()))
                if path is not None:
                    _finish(study, name, Path(path))
        except KeyboardInterrupt:
            study.interrupted = True
        except MemoryError as error:
            if not study.runs:
                raise
            study.interrupted = True
            warnings.warn(f"the study ended early: {error}", RuntimeWarning, stacklevel=2)
    return study


def run_name(network: str, method: str, seed: int) -> str:
    return f"{network} {method} seed {seed}"


def _recipes(methods: Methods, recipe: Recipe) -> dict[str, Recipe]:
    """Every method's own recipe, by name."""
    if isinstance(methods, Mapping):
        recipes = {n: own if isinstance(own, Recipe) else replace(recipe, **own) for n, own in methods.items()}
    else:
        names = [methods] if isinstance(methods, str) else methods
        recipes = {name: by_name(name, recipe) for name in names}
    if not recipes:
        raise ValueError(f"methods is {methods!r}, expected a list of names or a dict")
    return recipes


def _opened(path: Place | None, settings: dict[str, Any], methods: dict[str, Any]) -> Study:
    """The study at ``path``, with these methods beside its own; a new one where there is none, or nothing in it."""
    if path is not None and Path(path).exists():
        study = Study.load(path)
        if study.runs or any((Path(path).parent / name).exists() for name in study.checkpoints.values()):
            _check_same(study, settings, methods, path)
            study.methods = {**study.methods, **methods}
            return study
    return Study(settings, methods)


def _check_same(study: Study, settings: dict[str, Any], methods: dict[str, Any], path: Place) -> None:
    """Runs are only comparable where all but the machine is the same."""
    for name in settings:
        if study.settings.get(name) != settings[name]:
            raise ValueError(
                f"{os.fspath(path)} holds a study whose {name} is {study.settings.get(name)}, "
                f"expected {settings[name]}: choose another file, or start fresh"
            )
    for name in study.methods.keys() & methods.keys():
        if study.methods[name] != methods[name]:
            raise ValueError(f"{os.fspath(path)} holds another method of the name {name!r}: choose another name")


def _checkpoint(study: Study, name: str, path: Path) -> Path:
    """The checkpoint of a run that begins or goes on; named anew for each run, so that none passes for another's."""
    if name not in study.checkpoints:
        study.checkpoints[name] = f"{path.name}.{secrets.token_hex(4)}.checkpoint"
        study.save(path)
    return path.parent / study.checkpoints[name]


def _finish(study: Study, name: str, path: Path) -> None:
    """Writes the study with a run that is complete, and only then removes the run's checkpoint."""
    checkpoint = path.parent / study.checkpoints.pop(name)
    study.save(path)
    checkpoint.unlink(missing_ok=True)


def _remove_strays(study: Study, path: Path) -> None:
    """Removes checkpoints that no study names: their study was removed, or the process ended before they were."""
    for checkpoint in path.parent.glob(f"{escape(path.name)}.*.checkpoint"):
        if checkpoint.name not in study.checkpoints.values():
            checkpoint.unlink(missing_ok=True)


def _train(
    new_trainer: Callable[[], Trainer], data: dict[str, Any], label: str | bool, checkpoint: Path | None
) -> tuple[History, str | None]:
    """One run, from its checkpoint where there is one: its history, and why it failed."""
    trainer = new_trainer()
    goes_on = checkpoint is not None and _restored(trainer, checkpoint)

    def keep(progress: Progress) -> None:
        if checkpoint and progress.finished:
            trainer.save(checkpoint)

    try:
        history = trainer.fit(**data, callback=keep, progress=label)
    except ValueError as error:
        if checkpoint is None or not goes_on:
            raise
        _set_aside(checkpoint, error)  # of a run on other data
        return _train(new_trainer, data, label, checkpoint)
    except _plp.Error as error:
        return trainer.history, str(error)
    if checkpoint and history.interrupted:
        trainer.save(checkpoint)
    return history, None


def _restored(trainer: Trainer, checkpoint: Path) -> bool:
    """Whether there was a checkpoint that the trainer could be set to; where not, nothing has changed."""
    try:
        trainer.restore(checkpoint)
    except FileNotFoundError:
        return False
    except (ValueError, _plp.Error) as error:
        _set_aside(checkpoint, error)
        return False
    return True


def _set_aside(checkpoint: Path, error: Exception) -> None:
    """Keeps a checkpoint of no use to this study, which may have cost many hours, under a name that nothing removes."""
    aside = checkpoint.with_name(f"{checkpoint.name}.{secrets.token_hex(4)}.unused")
    checkpoint.rename(aside)
    warnings.warn(f"the run starts anew, its checkpoint is now {aside}: {error}", RuntimeWarning, stacklevel=2)


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
