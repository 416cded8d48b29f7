"""Runs of several methods side by side, and what they have in common."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import _plp
from .._extras import require
from .._files import Place, write_whole
from .._plain import APART, from_plain, to_plain
from ..options import PLP, Recipe
from ..records import History, Metrics
from ..watched import Watched
from .statistics import MOST_REPEATS, p_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDY_FILE = "study.json"
RUN_FILE = "run.json"
WATCHED = "watched.npz"

VERSION = 4
"""Of a study's and a run's file; raised with every change that a plp before it would not understand."""

FIRST_OF_RUNS = 3
"""The version since which runs have files of their own."""


@dataclass(frozen=True)
class Run:
    """One network trained once.

    ``failure`` is the library's message where the loss was no longer finite, ``build`` what :func:`plp.build_info` said
    then, ``engine`` and ``versions`` what else made it. ``command`` began on the machine ``host`` at ``started`` (ISO
    8601), and took so many ``seconds``, interruptions not counted. ``folder`` has its weights and metrics, where it has
    one.
    """

    network: str
    method: str
    seed: int
    history: History
    failure: str | None = None
    build: str = ""
    engine: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""
    host: str = ""
    processor: str = ""
    started: str = ""
    seconds: float = 0.0
    folder: Path | None = field(default=None, compare=False, metadata=APART)

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

    @property
    def last(self) -> Metrics | None:
        """The last model's metrics, on the same images; None where a file of an earlier version lacks them."""
        if self.history.test or not self.outcome:
            return self.history.last_test
        last = [epoch.validation or epoch.train for epoch in self.history if epoch.complete]
        return last[-1] if last else None

    @property
    def watched(self) -> Watched | None:
        """What a :class:`plp.Watch` has recorded, read from the run's folder; None where there was none.

        Raises:
            OSError: the file cannot be read.
            plp.Error: it is damaged.
        """
        file = self.folder and self.folder / WATCHED
        return Watched.load(file) if file and file.exists() else None

    def measured_as(self, other: Run) -> bool:
        """Whether two tries at a run measured the same, to the last bit, whatever time they took."""
        mine, theirs = (
            ([(epoch.train, epoch.validation) for epoch in run.history], run.history.test, run.failure)
            for run in (self, other)
        )
        return mine == theirs


@dataclass(frozen=True)
class Settings:
    """What all runs of a study have in common but for method, network and seed.

    ``train`` and ``test`` are the data sets' names, ``validation`` the fraction of the training images held out,
    ``dropout``, ``mean`` and ``std`` the network's, None for its own and CIFAR-100's. The checksums are
    :attr:`plp.datasets.Dataset.checksum`, empty without a test set, or where a file of an earlier version lacks them.
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
    dropout: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    train_checksum: str = ""
    test_checksum: str = ""


Verdict = Literal["better", "worse", "alike", "undecided", "one repeat"]

_DIGITS = {"points": 2, "nats": 3, "epochs": 1, "seconds": 1}


@dataclass(frozen=True)
class Answer:
    """One method against another, on one network and by one measure.

    ``differences`` are the method's values minus the other's, one for each of the ``seeds`` that both have, in
    ``unit``; points are hundredths of accuracy or error. ``interval`` is the 95 % confidence interval of their mean and
    ``p`` that of the paired t-test, both None for one repeat, or where all differences are the same, which leaves
    nothing to judge their spread by. ``corrected_p`` is Holm's correction for the ``comparisons`` on this network by
    this measure; the verdict goes by it. ``model`` is ``"optimal"``, that of the best epoch, or ``"last"``, and
    ``images`` what it was measured on. ``effect`` is the least difference that matters, where that was said: with
    ``"alike"`` the interval holds none as large. ``more_repeats`` is about how many more it takes until four of five
    such studies find an effect of that size, where undecided.
    """

    network: str
    method: str
    other: str
    measure: str
    model: str
    images: str
    unit: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None
    p: float | None
    corrected_p: float | None
    comparisons: int
    verdict: Verdict
    effect: float | None = None
    more_repeats: int | None = None

    @property
    def is_decided(self) -> bool:
        return self.verdict in ("better", "worse")

    @property
    def difference(self) -> str:
        """Their mean, and its interval where there is one."""
        limits = f" [{self._number(self.interval[0])}, {self._number(self.interval[1])}]" if self.interval else ""
        return f"{self._number(self.mean)}{limits}"

    def _number(self, value: float) -> str:
        return f"{value:+.{_DIGITS[self.unit]}f}"

    def __str__(self) -> str:
        by = "" if (self.measure, self.model) == ("accuracy", "optimal") else f", {self.measure}"
        model = f" of the {self.model} model" if by and self.model == "last" else ""
        return f"{self.method} against {self.other}{by}{model}: {self._in_words()}."

    def _in_words(self) -> str:
        n = len(self.seeds)
        if n == 1:
            return "one seed tells nothing, since seeds differ by as much, and has no interval"
        if self.interval is None:
            mean = f"{self._number(self.mean)} {self.unit}"
            return f"undecided, all n = {n} differences are {mean}, which has no interval"
        low, high = self.interval
        p = p_text(self.corrected_p)
        p = f"p {p}" if p.startswith("<") else f"p = {p}"
        corrected = f" by Holm for {self.comparisons} comparisons" if self.comparisons > 1 else ""
        limits = f"between {self._number(low)} and {self._number(high)} {self.unit}"
        source = f" (95 % interval, n = {n}, {p}{corrected})"
        match self.verdict:
            case "better" | "worse":
                return f"{self.verdict}, by {limits}{source}"
            case "alike":
                largest = max(abs(low), abs(high))
                return f"no difference larger than {largest:.{_DIGITS[self.unit]}f} {self.unit}; it is {limits}{source}"
        text = f"undecided, the difference is {limits}{source}"
        if self.effect is None or self.more_repeats is None:
            return text
        effect = f"an effect of {'one point' if self.effect == 1 else f'{self.effect:g} points'}"
        if not self.more_repeats:
            return f"{text}; {effect} would have shown in four of five such studies"
        more = "thousands of" if n + self.more_repeats >= MOST_REPEATS else f"about {self.more_repeats}"
        return f"{text}; {effect} would take {more} more repeat{'s' * (self.more_repeats > 1)}"


@dataclass
class Study:
    """Runs and what they have in common; prints as a table.

    A method's spread is the standard deviation over its repeats. Differences are paired: each repeat of a method minus
    the ``baseline`` with the same seed, hence the same start and the same mini-batches. ``planned`` are the names of
    all runs that were asked for, in their order, those that are not made yet included.
    """

    settings: Settings
    methods: dict[str, Recipe]
    runs: list[Run] = field(default_factory=list)
    interrupted: bool = False
    planned: list[str] = field(default_factory=list)

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
        """Accuracy minus another method's, the counterpart's by default, for every seed that both have."""
        others = self.outcomes(network, other or self.counterpart(method))
        mine = self.outcomes(network, method)
        return [metrics.accuracy - others[seed].accuracy for seed, metrics in mine.items() if seed in others]

    def counterpart(self, method: str) -> str:
        """What a method is held against: the same without prediction, where that is a method, or else the baseline."""
        recipes = self._unwatched
        own, baseline = recipes[method], recipes[self.baseline]
        without = replace(own, predictor=None)
        if method == self.baseline or without in (own, baseline):
            return self.baseline
        return next((name for name, other in recipes.items() if other == without), self.baseline)

    @property
    def _unwatched(self) -> dict[str, Recipe]:
        """The methods without a watch, which makes no other of one."""
        return {name: replace(recipe, watch=None) for name, recipe in self.methods.items()}

    @property
    def reference(self) -> str:
        """The counterpart of all methods, as it is called in headings."""
        counterparts = {self.counterpart(method) for method in self.methods}
        return f"{self.baseline}'s" if counterparts <= {self.baseline} else "its baseline's"

    def control(self, method: str) -> str | None:
        """The control of a method with the paper's PLP: the same without it, at 7/6 of the learning rate."""
        recipes = self._unwatched
        own = recipes[method]
        if own.predictor != PLP():
            return None
        scaled = replace(own, predictor=None).scaled(7 / 6)
        return next((name for name, other in recipes.items() if other == scaled), None)

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

    def answers(self, effect: float = 1.0, accuracies: Sequence[float] | None = None) -> tuple[Answer, ...]:
        """What the runs allow to say: each method against the baseline, and PLP against its control, pair by pair.

        By accuracy, errors and loss, of the optimal and of the last model on the images of the table (of the last one
        on those held out, where a run of an earlier version is among them); and by epochs and seconds until an accuracy
        was reached, as far as both of a pair reached it.
        ``print(*study.answers(), sep="\\n")`` has a sentence for each, ``pandas.DataFrame(study.answers())`` a row.

        Args:
            effect: the least difference that matters, in points of accuracy or error.
            accuracies: to be reached, fractions; None for the highest whole percent that all runs of a network reach.
        """
        require("scipy", extra="studies")
        from .answers import answers

        return answers(self, effect, accuracies)

    def __str__(self) -> str:
        from .table import text

        return text(self)

    def __repr__(self) -> str:
        networks, methods = ", ".join(self.networks) or "nothing", ", ".join(self.methods)
        return f"<plp.Study of {networks} by {methods}: {len(self.runs)} runs>"

    def _repr_html_(self) -> str:
        from .table import html

        return html(self)

    def plot(self, path: Place | None = None, *, width: float = 12.0) -> Figure:
        """Draws every method's training loss, validation error and differences to the baseline, with what they answer.

        Args:
            path: where to write it; its ending chooses the format. None for nowhere.
            width: in inches; below 8 one panel stands below the other.

        Returns:
            Matplotlib's figure, which a notebook shows.
        """
        require("matplotlib", extra="studies")
        from .plots import plot_study

        return plot_study(self, path, width)

    def report(self, path: Place) -> None:
        """Writes one HTML page that needs no other file: what the runs answer, and what was chosen by whom.

        Raises:
            ModuleNotFoundError: what makes the page is missing: it comes with ``pip install 'plp[studies]'``.
        """
        for module in ("altair", "jinja2", "matplotlib", "vl_convert"):
            require(module, extra="studies")
        from .report import write_report

        write_report(self, path)

    def save(self, path: Place) -> None:
        """Writes the study as one JSON file. An older file is replaced only when the new one is complete on disk."""
        data = {"version": VERSION, **to_plain(self)}
        del data["interrupted"]  # as whoever reads it, and may go on with it, is not
        write_whole(path, json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, path: Place) -> Study:
        """Reads what :func:`plp.compare` left in a folder, or :meth:`save` wrote, now or in an earlier version.

        Raises:
            FileNotFoundError, OSError: the file is not there, or cannot be read.
            plp.Error: it is not a study, it is damaged, or of a later version.
        """
        path = Path(path)
        if path.is_dir():
            path /= STUDY_FILE
        study = cls._from_file(path)
        if path.name == STUDY_FILE:
            made = {run.name: run for run in study.runs}
            for name in study.planned:
                file = path.parent / folder_name(name) / RUN_FILE
                if file.exists() and (run := read_run(file)) and run.method in study.methods:
                    made[run.name] = run
            study.runs = list(made.values())
            study.sort()
        return study

    @classmethod
    def _from_file(cls, path: Path) -> Study:
        """Without the runs that lie in folders beside it."""
        try:
            study = from_plain(cls, _of_this_version(json.loads(path.read_bytes())))
            for method in study.methods:
                checked_name(method)
            if foreign := [run.method for run in study.runs if run.method not in study.methods]:
                raise ValueError(f"found a run of {foreign[0]!r:.40}, which is not among its methods")
        except (ValueError, RecursionError) as error:
            raise _plp.Error(f"{os.fspath(path)} is not a study that plp wrote: {error}") from None
        return study

    def to_rows(self, *, epochs: bool = False) -> list[dict[str, Any]]:
        """A row for each run, all of the same columns: the metrics of its best and its last model, and what made it.

        Args:
            epochs: a row for each epoch of each run in place of that; see :meth:`plp.Epoch.to_row`.
        """
        rows = []
        for run in self.runs:
            known = {"network": run.network, "method": run.method, "seed": run.seed}
            if epochs:
                rows += [known | epoch.to_row() for epoch in run.history]
                continue
            names = ("loss", "top1_error", "top5_error", "accuracy")
            measured = {name: getattr(run.outcome, name, None) for name in names}
            measured |= {f"last_{name}": getattr(run.last, name, None) for name in names}
            made = {"best_epoch": run.history.best_epoch, "images_per_second": run.history.images_per_second}
            told = {name: getattr(run, name) for name in ("seconds", "failure", "engine", "host", "started")}
            rows.append(known | measured | made | told)
        return rows

    def to_dataframe(self, *, epochs: bool = False) -> Any:
        """:meth:`to_rows` as a ``pandas.DataFrame``.

        Raises:
            ModuleNotFoundError: there is no pandas.
        """
        require("pandas", "logs")
        from pandas import DataFrame

        return DataFrame(self.to_rows(epochs=epochs))

    def sort(self) -> None:
        """Brings the runs into the order in which they were asked for, whichever was made first."""
        place = {name: index for index, name in enumerate(self.planned)}
        self.runs.sort(key=lambda run: place.get(run.name, -1))


# ---- Files -----------------------------------------------------------------------------------------------------------


def read_run(file: Path) -> Run | None:
    """The run that a file tells of; None where that is not complete.

    Raises:
        OSError: it cannot be read.
        plp.Error: it is not a run, it is damaged, or of another version.
    """
    data = read_run_data(file)
    return run_of(data, file) if data.get("complete") is True else None


def run_of(data: dict[str, Any], file: Path) -> Run:
    """The run that a file's data tell of, complete or not; see :func:`read_run`."""
    try:
        return replace(from_plain(Run, data.get("run")), folder=file.parent)
    except ValueError as error:
        raise _plp.Error(f"{file} is not a run that plp wrote: {error}") from None


def read_run_data(file: Path) -> dict[str, Any]:
    """A run's file as plain data; see :func:`read_run`."""
    try:
        data = json.loads(file.read_bytes())
        if not isinstance(data, dict):
            raise ValueError(f"found {data!r:.40}, expected an object")
        if data.get("version") not in range(FIRST_OF_RUNS, VERSION + 1):
            raise ValueError(f"found version {data.get('version')!r:.40}, expected {FIRST_OF_RUNS} to {VERSION}")
    except (ValueError, RecursionError) as error:
        raise _plp.Error(f"{file} is not a run that plp wrote: {error}") from None
    return data


def _of_this_version(data: Any) -> Any:
    """A study's file as plain data, as this version writes it; version 1 did not say its number."""
    if not isinstance(data, dict):
        raise ValueError(f"found {data!r:.40}, expected an object")
    version = data.pop("version", 1)
    if version not in range(1, VERSION + 1):
        raise ValueError(f"found version {version!r:.40}, expected 1 to {VERSION}")
    if version < FIRST_OF_RUNS:
        data.pop("checkpoints", None)  # which lay beside it
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


def folder_name(run: str) -> str:
    """The name of a run's folder in that of its study: readable, and no two runs' the same."""
    name = re.sub(r"[^A-Za-z0-9_.+]+", "-", run)
    if name.replace("-", " ") != run or name.startswith(".") or len(name) > 200:  # something is lost, hidden, too long
        name = f"{name[:100]}-{hashlib.blake2b(run.encode(), digest_size=4).hexdigest()}"
    return name.lstrip(".")
