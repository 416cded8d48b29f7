"""Runs of several methods side by side, and what they have in common."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import _plp
from .._extras import require
from .._files import Place, write_whole
from .._plain import from_plain, to_plain
from ..options import PLP, Recipe
from ..records import History, Metrics


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


@dataclass(frozen=True)
class Settings:
    """What all runs of a study have in common but for method, network and seed.

    ``train`` and ``test`` are the data sets' names, ``validation`` the fraction of the training images held out.
    """

    train: str
    train_images: int
    test: str | None
    test_images: int
    classes: int
    width: float
    epochs: int
    validation: float
    recipe: Recipe


@dataclass
class Study:
    """Runs and what they have in common; prints as a table.

    A method's spread is the standard deviation over its repeats. Differences are paired: each repeat of a method minus
    the ``baseline`` with the same seed, hence the same start and the same mini-batches. ``checkpoints`` are those of
    unfinished runs: names of files beside the study's, by names of runs.
    """

    settings: Settings
    methods: dict[str, Recipe]
    runs: list[Run] = field(default_factory=list)
    interrupted: bool = False
    checkpoints: dict[str, str] = field(default_factory=dict)

    @property
    def networks(self) -> list[str]:
        return list(dict.fromkeys(run.network for run in self.runs))

    @property
    def baseline(self) -> str:
        """The method the others are compared with: ``"sgd"``, or the first where that is not among them."""
        return "sgd" if "sgd" in self.methods else next(iter(self.methods), "sgd")

    @property
    def chosen_epoch(self) -> str:
        """The epoch of a run whose model the table's numbers are of, in words."""
        return "the epoch with the best validation accuracy" if self.settings.validation else "the last epoch"

    @property
    def measured_on(self) -> str:
        """The images behind the table's numbers."""
        kind = "validation images" if self.settings.validation else "training images"
        return self.settings.test or f"{kind} of {self.settings.train}"

    def outcomes(self, network: str, method: str) -> dict[int, Metrics]:
        """By seed, the best model's metrics of all runs that reached their end."""
        runs = (run for run in self.runs if (run.network, run.method) == (network, method))
        return {run.seed: run.outcome for run in runs if run.outcome}

    def differences(self, network: str, method: str, other: str | None = None) -> list[float]:
        """Accuracy minus another method's, the baseline's by default, for every seed that both have."""
        others = self.outcomes(network, other or self.baseline)
        mine = self.outcomes(network, method)
        return [metrics.accuracy - others[seed].accuracy for seed, metrics in mine.items() if seed in others]

    def control(self, method: str) -> str | None:
        """The control of a method with the paper's PLP: the same without it, at 7/6 of the learning rate."""
        own = self.methods[method]
        if own.predictor != PLP():
            return None
        scaled = replace(own, predictor=None).scaled(7 / 6)
        return next((name for name, other in self.methods.items() if other == scaled), None)

    @property
    def is_repeated(self) -> bool:
        """Whether any method has more than one outcome, so that spreads can be told."""
        return any(len(self.outcomes(n, m)) > 1 for n in self.networks for m in self.methods)

    # What a study looks like is decided in rooms above this one, which are entered only when somebody looks.

    def table(self) -> list[list[str]]:
        """Rows of text, the heading first."""
        from .table import table

        return table(self)

    def caption(self) -> str:
        """What the table's numbers are."""
        from .table import caption

        return caption(self)

    def verdict(self) -> list[str]:
        """A sentence for each method and network: what the differences to baseline and control allow to say."""
        from .table import verdict

        return verdict(self)

    def __str__(self) -> str:
        from .table import text

        return text(self)

    def plot(self, path: Place) -> None:
        """Draws every method's training loss, validation error and difference of validation accuracy to the baseline.

        The ending of ``path`` chooses the format.
        """
        require("matplotlib", extra="plots")
        from .plots import plot_study

        plot_study(self, path)

    def report(self, path: Place) -> None:
        """Writes one HTML page that needs no other file: table, picture, and the choices made, the paper's and ours."""
        require("matplotlib", extra="studies")
        from .report import write_report

        write_report(self, path)

    def save(self, path: Place) -> None:
        """Writes the study as JSON. An older file is replaced only when the new one is complete on disk."""
        data = {"version": VERSION, **to_plain(self)}
        del data["interrupted"]  # as whoever reads it, and may go on with it, is not
        write_whole(path, json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, path: Place) -> Study:
        """Reads what :meth:`save` wrote, now or in an earlier version.

        Raises:
            FileNotFoundError, OSError: the file is not there, or cannot be read.
            plp.Error: it is not a study, it is damaged, or of a later version.
        """
        try:
            study = from_plain(cls, _of_this_version(json.loads(Path(path).read_bytes())))
            for method in study.methods:
                checked_name(method)
            if foreign := [run.method for run in study.runs if run.method not in study.methods]:
                raise ValueError(f"found a run of {foreign[0]!r:.40}, which is not among its methods")
        except (ValueError, RecursionError) as error:
            raise _plp.Error(f"{os.fspath(path)} is not a study that plp wrote: {error}") from None
        return study


VERSION = 2
"""Of a study's file; raised with every change that a plp before it would not understand."""


def _of_this_version(data: Any) -> Any:
    """A study's file as plain data, as this version writes it; version 1 did not say its number."""
    if not isinstance(data, dict):
        raise ValueError(f"found {data!r:.40}, expected an object")
    version = data.pop("version", 1)
    if version not in (1, VERSION):
        raise ValueError(f"found version {version!r:.40}, expected 1 to {VERSION}")
    return _from_version_1(data) if version == 1 else data


def _from_version_1(value: Any) -> Any:
    """Recipes and augmentations named their type too, DEMON was an optimizer, and no EMA warmed up."""
    if isinstance(value, list):
        return [_from_version_1(part) for part in value]
    if not isinstance(value, dict):
        return value
    value = {name: _from_version_1(part) for name, part in value.items()}
    match value.get("type"):
        case "Recipe" | "Augmentation":
            del value["type"]
        case "DEMON":
            value |= {"type": "SGD", "demon": True}
        case "EMA":
            value = {"warmup": False} | value
    return value


def checked_name(method: object) -> str:
    """A method's name: tables, legends and files show it as it is."""
    if not isinstance(method, str) or not method.isprintable() or not method.strip():
        raise ValueError(f"a method's name is {method!r:.40}, expected printable text")
    return method


def run_name(network: str, method: str, seed: int) -> str:
    return f"{network} {method} seed {seed}"
