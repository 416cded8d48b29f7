"""The ``plp`` command: train, compare, stop, merge, report, export, evaluate, download, profile, info."""

from __future__ import annotations

import csv
import io
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn, TypeAlias, Union

import numpy as np
import tomli_w
import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from . import Error, Model, Run, Study, Task, Trainer, __version__, build_info, compare, datasets, engine, merge, stop
from ._arguments import NAMED, REGISTRY, SCHEDULES, Choice, name_of, with_file, with_options
from ._checks import checked_integer
from ._download import ARCHIVES, cache
from ._extras import require
from ._files import make_folder, write_whole
from ._progress import FitProgress
from ._signals import interruptions
from ._tables import printable
from .datasets import Dataset
from .model import ARCHITECTURES
from .options import NAMED_OPTIMIZERS, NAMED_PREDICTORS, RECIPES, Recipe, Watch, by_name
from .schedules import Warmup
from .studies.leases import go_on, is_held
from .studies.metrics import ITERATIONS
from .studies.records import RUN_FILE, folder_name, read_run_data, run_of
from .studies.runs import KEPT, PICTURES, Found, forget, found, perform, with_display
from .studies.space import check_space, sizes_of
from .studies.tasks import BEST, task_of

METHODS = ", ".join([*NAMED_OPTIMIZERS, *NAMED_PREDICTORS])
DATASETS: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar100": ("cifar100", {}),
    "cifar100-coarse": ("cifar100", {"labels": "coarse"}),
    "cifar10": ("cifar10", {}),
}
DESCRIPTION = """\
Train image classifiers on a CPU, with and without parameter linear prediction.

`plp compare FILE.toml` takes options from a file; others may follow and win.
`plp compare` itself writes such a study.toml, with which a study is repeated.
`plp --tyro-print-completion bash` (zsh, tcsh) prints completions for a shell.
`plp --version` tells the version.
"""
QUICK_STUDY = {
    "recipe": "quick",
    "methods": "sgd,sgd*7/6,plp",
    "epochs": 6,
    "width": 0.125,
    "repeats": 3,
    "images": 5_000,
}


class Outcome(NamedTuple):
    """What a command has to show, once all its files are written, and what ended it early."""

    text: str
    error: BaseException | None = None


def command() -> NoReturn:
    """The program ``plp``."""
    for name in ("stdout", "stderr"):  # a program without a console has none
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
    status = main()
    if status == 128 + signal.SIGINT:  # a shell's loop over several commands ends only where one is seen to die of it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    with suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0; 1 after an error; 2 after a mistake in the arguments; after a signal 128 and its number: 130 after Ctrl-C, 143
    after SIGTERM, 129 after SIGHUP, 141 where nobody reads the output any longer.
    """
    with _encodable_output(), warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(f"plp: {message}")
        try:
            with interruptions():
                text, error = _parsed(sys.argv[1:] if arguments is None else arguments).run()
        except (Error, ValueError, OSError, ImportError, MemoryError, KeyboardInterrupt, SystemExit) as raised:
            text, error = "", raised
        shown = _show(text)
        return _status(error) or shown


def _status(error: BaseException | None) -> int:
    """Tells of an error; gives the exit status that stands for it."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):  # of the parser, which has said why
        return int(error.code or 0)
    if isinstance(error, KeyboardInterrupt):
        return 128 + getattr(error, "number", signal.SIGINT)
    if isinstance(error, BrokenPipeError):  # as other programs end where a pipe's reader, such as head, has seen enough
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError) and error.filename:
        _say(f"plp: {error.filename}: {error.strerror}")
    else:
        _say(f"plp: {error}")
    return 1


def _show(text: str) -> int:
    """Writes results to stdout; gives the exit status, as far as that decides it."""
    try:
        if text:
            print(printable(text))
        sys.stdout.flush()  # what the parser wrote, too
    except OSError as error:
        return _status(
            error if isinstance(error, BrokenPipeError) else OSError(f"the output cannot be written: {error.strerror}")
        )
    return 0


def _say(text: str) -> None:
    """Writes a message to stderr; where that fails, there is nobody to tell."""
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def _encodable_output() -> Iterator[None]:
    """Within, what the encoding of stdout lacks is replaced, as Python does on stderr; "±" is not in each."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        with suppress(OSError):
            stream.reconfigure(errors=errors)


# ---- What the commands take: what is written here, and the options of what they choose ------------------------------

Colours = tuple[float, float, float] | None
CIFAR = "(default: CIFAR-100's)"
Flag = FlagCreatePairsOff[bool]
if TYPE_CHECKING:
    Network: TypeAlias = str
    DatasetName: TypeAlias = str
    RecipeName: TypeAlias = str
    ScheduleName: TypeAlias = str
    Layout: TypeAlias = str
else:
    Network, DatasetName, RecipeName = Literal[ARCHITECTURES], Literal[tuple(DATASETS)], Literal[tuple(RECIPES)]
    ScheduleName, Layout = Literal[tuple(SCHEDULES)], Literal[tuple(ARCHIVES["cifar100"])]


@dataclass(frozen=True, kw_only=True)
class WithData:
    data: Annotated[
        str | None,
        arg(
            metavar="FOLDER",
            help="that the data set is in; synthetic: images made by code",
            help_behavior_hint=f"(default: $PLP_DATA, else data/, else {cache()})",
        ),
    ] = None
    dataset: DatasetName = "cifar100"
    """which"""
    threads: int = 0
    """that compute; 0 for what `plp info` says"""

    def sets(self) -> tuple[Dataset, Dataset]:
        """The data set where it is found, or the synthetic one where that is asked for; says which."""
        if self.data == "synthetic":
            if self.dataset != type(self).dataset:
                raise ValueError(f"--data synthetic and --dataset {self.dataset} are given, expected one of them")
            train, test = datasets.synthetic()
        else:
            function, options = DATASETS[self.dataset]
            try:
                train, test = getattr(datasets, function)(self.data, **options)
            except FileNotFoundError as error:
                ways = "--data FOLDER names its place, --data synthetic takes images made by code"
                raise FileNotFoundError(error.errno, f"{error.strerror}; {ways}", error.filename) from None
        _say(f"{train.name}: {len(train):,} images, {test.name}: {len(test):,}")
        return train, test


@dataclass(frozen=True, kw_only=True)
class WithRuns(WithData):
    """What one run and several have in common."""

    recipe: RecipeName
    """which the defaults of the options below are from"""
    epochs: int = 10
    """passes over the training images"""
    width: float = 1.0
    """factor on every hidden channel count"""
    dropout: Annotated[
        float | None,
        arg(metavar="P", help="probability, wherever the network drops", help_behavior_hint="(default: its own)"),
    ] = None
    mean: Annotated[Colours, arg(metavar="R G B", help="of images, subtracted", help_behavior_hint=CIFAR)] = None
    std: Annotated[Colours, arg(metavar="R G B", help="divided by", help_behavior_hint=CIFAR)] = None
    images: Annotated[
        int | None,
        arg(
            metavar="N",
            help="to train on, the first ones",
            help_behavior_hint=lambda given: f"(default: {'all' if given == 'None' else given})",
        ),
    ] = None
    validation: float = 0.2
    """the fraction of them to hold out, by which the best epoch is chosen"""
    seed: int = 0
    """of the network and its training"""
    lr: Annotated[
        float | None,
        arg(metavar="X", help="learning rate of any optimizer", help_behavior_hint="(default: as below)"),
    ] = None
    batch_size: int
    """images in a mini-batch"""
    schedule: ScheduleName
    """how the learning rate moves"""
    warmup: float
    """of a linear rise of the learning rate in front of it"""
    metrics: Literal["epoch", "iteration"] = "epoch"
    """how often they are written: iterations.csv comes beside metrics.csv"""
    watch: Flag = False
    """record how the parameters move, and how far from PLP's prediction they come"""
    fresh: Flag = False
    """start anew, in place of what the output folder holds"""
    options: Any = None  #: those of optimizers, predictors, the schedule and augmentation, by their names

    def sets(self) -> tuple[Dataset, Dataset]:
        train, test = super().sets()
        return train if self.images is None else train[: checked_integer("images", self.images, least=1)], test

    def common(self) -> Recipe:
        """What the methods have in common; it does not depend on which they are."""
        recipe, schedule = RECIPES[self.recipe], getattr(self.options, self.schedule)
        optimizer = getattr(self.options, name_of(recipe.optimizer), recipe.optimizer)
        return Recipe(
            optimizer=optimizer if self.lr is None else replace(optimizer, lr=self.lr),
            schedule=Warmup(schedule, self.warmup) if self.warmup else schedule,
            batch_size=self.batch_size,
            augmentation=self.options.augmentation,
            watch=Watch() if self.watch else None,
        )

    def recipe_for(self, method: str) -> Recipe:
        """What a method is with these options."""
        named = by_name(method, RECIPES[self.recipe])
        optimizer = getattr(self.options, name_of(named.optimizer))
        predictor = named.predictor and getattr(self.options, name_of(named.predictor))
        return replace(by_name(method, replace(self.common(), optimizer=optimizer), self.lr), predictor=predictor)


def _parsed(arguments: Sequence[str]) -> Any:
    """The command, with its options."""
    if arguments[:1] == ["--version"]:
        print(f"plp {__version__}")
        raise SystemExit
    arguments = with_file(arguments)
    choice = Choice.of(arguments)
    choice.check()
    several: dict[str, Any] = QUICK_STUDY if choice.quick else {"recipe": "paper"}
    commands = [
        Annotated[Repetition, subcommand("train")]
        if choice.source
        else with_options(Train, choice, [choice.method], {"recipe": "quick"}),
        with_options(Compare, choice, (choice.methods or several.get("methods", Compare.methods)).split(","), several),
        *(
            Annotated[kind, subcommand(kind.__name__.lower())]
            for kind in (Stop, Merge, Report, Export, Evaluate, Download, Profile, Info)
        ),
    ]
    program: Any = Union[tuple(commands)]  # noqa: UP007
    parse = partial(tyro.cli, program, prog="plp", description=DESCRIPTION, args=arguments, registry=REGISTRY)
    if choice.source:  # where the parser would name other commands that have such options
        parsed, others = parse(return_unknown_args=True)
        if not others:
            return parsed
        if isinstance(parsed, Repetition):
            _say(
                f"plp: train --from {parsed.source}: found {shlex.join(others)}, "
                "expected no more than --threads, --fresh and --output: all else is that run's"
            )
            raise SystemExit(2)
    return parse()


# ---- The commands ----------------------------------------------------------------------------------------------------


OutputOfRun = Annotated[
    Path | None,
    arg(
        aliases=["-o"],
        metavar="FOLDER",
        help="for the run, which goes on from there",
        help_behavior_hint="(default: results/NETWORK-METHOD-seed-N, or that and -2, … where others have it)",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Train(WithRuns):
    """Train one network; given again, go on from its checkpoint."""

    network: Positional[Network] = "resnet18"
    """which to train"""
    method: Annotated[str, arg(metavar="NAME", help=f"{METHODS}, adamw+plp, sgd*7/6, …")] = "plp"
    output: OutputOfRun = None
    source: Annotated[
        Path | None,
        arg(
            name="from",
            metavar="FOLDER",
            help="of a run, to make it again bit for bit: its options in place of these",
            help_behavior_hint="(default: none)",
        ),
    ] = None  # a Repetition has it

    def run(self) -> Outcome:
        recipe = self.recipe_for(self.method)
        train, test = self.sets()
        task = Task(
            network=self.network,
            method=self.method,
            recipe=recipe,
            width=self.width,
            dropout=self.dropout,
            mean=self.mean,
            std=self.std,
            seed=self.seed,
            epochs=self.epochs,
            validation=self.validation,
            train=train,
            test=test,
            threads=self.threads,
            metrics=self.metrics,
        )
        return _outcome(*_trained(task, self.output, self.fresh))


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Train once more what a run's folder tells, bit for bit."""

    source: Annotated[Path, arg(name="from", metavar="FOLDER", help="of the run")]
    threads: int = 0
    """that compute; 0 for what `plp info` says"""
    fresh: Flag = False
    """start anew, in place of what the output folder holds"""
    output: OutputOfRun = None

    def run(self) -> Outcome:
        file = self.source / RUN_FILE
        data = read_run_data(file)
        metrics: Literal["epoch", "iteration"] = "iteration" if (self.source / ITERATIONS).exists() else "epoch"
        first, task = run_of(data, file), replace(task_of(data), threads=self.threads, metrics=metrics)
        run, error = _trained(task, self.output, self.fresh, besides=self.source)
        if run and not error:
            same = f"as in {self.source}, to the last bit"
            _say(same if run.measured_as(first) else f"not {same}: that was made by\n{first.build}")
        return _outcome(run, error)


def _trained(
    task: Task, output: Path | None, fresh: bool, besides: Path | None = None
) -> tuple[Run | None, BaseException | None]:
    """A run, as far as it came in its folder, and what ended it early; in a folder that is named after it by default,
    or a further one where others have that.
    """
    sizes = sizes_of([task])
    if output is None:
        folder, there = _place(task, fresh, besides)
    else:
        folder, there = output, None if fresh else found(output)
    make_folder(folder.parent, parents=True)
    for difference in there.differences(task) if there else ():
        raise ValueError(f"{folder} holds a run whose {difference}: choose another --output, or --fresh to lose it")
    if not (there and there.is_complete):
        check_space(folder.parent, [replace(task, folder=folder)], sizes)
    if fresh:
        forget(folder)
    make_folder(folder)
    go_on(folder)
    run: Run | None = None
    error: BaseException | None = None
    try:
        with FitProgress(f"{task.network} {task.method}") as display:
            run = perform(with_display(replace(task, folder=folder), display), engine, wait=False)
        if run.failure:
            error = Error(run.failure)
    except KeyboardInterrupt as interruption:
        run, error = getattr(interruption, "run", None), interruption
    except ValueError:
        with suppress(OSError):  # of a folder with something in it
            folder.rmdir()
        raise
    go_on(folder)
    if run:
        _say(f"{folder}/: {', '.join(_kept(run, folder))}")
    return run, error


def _place(task: Task, fresh: bool, besides: Path | None) -> tuple[Path, Found | None]:
    """The first folder that is free for a task, or has this very run already; and that, unless it is to start anew."""
    first = folder = Path("results") / folder_name(task.name)
    there: Found | None = None
    number = 1
    while True:
        with suppress(FileExistsError):
            there = None if fresh else found(folder)
            is_free = there is None or not any(there.differences(task))
            if is_free and not (besides and folder.resolve() == besides.resolve()):
                break
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    if folder != first:
        _say(f"{first}/ holds another run: this one goes to {folder}/")
    return folder, there


def _kept(run: Run, folder: Path) -> list[str]:
    """What a run's folder has to show, its pictures included, which are drawn now."""
    names = [name for name in (RUN_FILE, *KEPT) if (folder / name).exists()]
    watched = run.watched
    shown: list[Any] = [
        run.history if run.history.best else None,
        watched if watched and len(watched.iterations) else None,
    ]
    for name, what in zip(PICTURES, shown, strict=True):
        try:
            if what:
                what.plot(folder / name)
                names.append(name)
        except ModuleNotFoundError as missing:
            _say(f"plp: no {name}: {missing}")
    return names


def _outcome(run: Run | None, error: BaseException | None) -> Outcome:
    return Outcome(str(run.history) if run and run.history.epochs else "", error)


@dataclass(frozen=True, kw_only=True)
class Compare(WithRuns):
    """Train with several methods side by side; given again, make the runs that are missing."""

    networks: Annotated[Positional[tuple[Network, ...]], arg(metavar="NETWORK", help=f"{', '.join(ARCHITECTURES)}")] = (
        "resnet18",
    )
    quick: Flag = False
    """PLP, SGD and the control on a tiny ResNet18, in minutes"""
    methods: Annotated[str, arg(metavar="A,B,…", help=f"{METHODS}, adamw+plp, sgd*7/6, …")] = "sgd,sgd*7/6,demon,plp"
    repeats: int = 1
    """runs of each method, with seeds one apart"""
    jobs: int = 1
    """runs at a time, in processes that share the threads"""
    dask: Annotated[
        str | None,
        arg(
            metavar="ADDRESS",
            help="a scheduler of Dask's, such as tcp://10.0.0.1:8786, whose workers make the runs",
            help_behavior_hint="(default: none)",
        ),
    ] = None
    output: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER", help="for what it writes, and goes on from")] = Path(
        "results/compare"
    )

    def run(self) -> Outcome:
        if self.dask and self.jobs > 1:
            raise ValueError(f"--jobs {self.jobs} and --dask are given, expected one of them")
        methods = {name: self.recipe_for(name) for name in map(str.strip, self.methods.split(","))}
        for module in ("altair", "matplotlib"):  # for the report: told now, not after hours of training
            require(module, extra="studies")
        make_folder(self.output.parent, parents=True)
        train, test = self.sets()
        study: Study | None = None
        error: BaseException | None = None
        with _executor(self.dask) as executor:
            try:
                study = compare(
                    self.networks,
                    methods,
                    train=train,
                    test=test,
                    epochs=self.epochs,
                    repeats=self.repeats,
                    recipe=self.common(),
                    validation=self.validation,
                    width=self.width,
                    dropout=self.dropout,
                    mean=self.mean,
                    std=self.std,
                    seed=self.seed,
                    threads=self.threads,
                    metrics=self.metrics,
                    path=self.output,
                    fresh=self.fresh,
                    executor=executor,
                    jobs=self.jobs,
                )
            except KeyboardInterrupt as interruption:
                error, study = interruption, getattr(interruption, "study", None)
        if not study:
            return Outcome("", error)
        if study.interrupted and not error:
            error = Error("the study ended early: the same command again makes the runs that it lacks")
        write_whole(self.output / "study.toml", tomli_w.dumps(self._repeated()).encode())
        return Outcome(_drawn(study, self.output) if study.runs else "", error)

    def _repeated(self) -> dict[str, Any]:
        """The options that make the same study elsewhere."""
        elsewhere = ("quick", "output", "fresh", "threads", "jobs", "dask")
        own = {name: value for name, value in asdict(self).items() if name not in elsewhere}
        parts = {name: _given(part) for name, part in own.pop("options").items()}
        return _given(own) | parts


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None and name not in NAMED}


@contextmanager
def _executor(address: str | None) -> Iterator[Any]:
    """Of the scheduler of Dask's at an address; None for none."""
    if address is None:
        yield None
        return
    require("distributed", extra="cluster")
    from distributed import Client, KilledWorker

    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise OSError(f"--dask {address}: no scheduler answers there: {error}") from None
    with client:
        try:
            yield client.get_executor()
        except KilledWorker as error:
            raise ChildProcessError(f"--dask {address}: {error}") from None


def _drawn(study: Study, output: Path) -> str:
    """Draws a study, and gives it as text."""
    study.plot(output / "curves.png")
    study.report(output / "report.html")
    _say(f"{output}/: curves.png, report.html")
    return str(study)


Studies = Annotated[
    Positional[tuple[Path, ...]], arg(metavar="STUDY", help="what compare wrote; several are one, made in pieces")
]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """End a study, or a run, after the running iterations, on whatever machine they are."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="of the study or the run")]

    def run(self) -> Outcome:
        stop(self.folder)
        if not any(map(is_held, (self.folder, *self.folder.iterdir()))):
            return Outcome(f"{self.folder}: no run is under way there")
        return Outcome(f"{self.folder}: to end after the running iterations; the same command again goes on")


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Make one study of several that were made in pieces."""

    studies: Annotated[
        Positional[tuple[Path, ...]],
        arg(metavar="STUDY", help="folders that compare wrote", help_behavior_hint="(required)"),
    ]
    output: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER", help="for the study, to which all runs are copied")]

    def run(self) -> Outcome:
        return Outcome(str(merge(self.studies, self.output)))


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write a study as an HTML page and a picture beside it."""

    studies: Studies = (Path("results/compare"),)
    output: Annotated[
        Path | None,
        arg(
            aliases=["-o"],
            metavar="FOLDER",
            help="for both",
            help_behavior_hint="(default: that of the study; of several: results/report)",
        ),
    ] = None

    def run(self) -> Outcome:
        study = merge(self.studies)
        first = self.studies[0]
        beside = Path("results/report") if len(self.studies) > 1 else first if first.is_dir() else first.parent
        output = self.output or beside
        make_folder(output, parents=True)
        return Outcome(_drawn(study, output))


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a study as CSV, a line for each run."""

    studies: Studies = (Path("results/compare"),)
    epochs: Flag = False
    """a line for each epoch of each run"""
    output: Annotated[
        Path | None, arg(aliases=["-o"], metavar="FILE", help="for it", help_behavior_hint="(default: the terminal)")
    ] = None

    def run(self) -> Outcome:
        rows = merge(self.studies).to_rows(epochs=self.epochs)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        if self.output is None:
            return Outcome(text.getvalue().rstrip("\n"))
        write_whole(self.output, text.getvalue().encode())
        return Outcome(f"{self.output}: {len(rows)} lines")


@dataclass(frozen=True, kw_only=True)
class Evaluate(WithData):
    """Measure a saved model on the test set."""

    model: Positional[Path]
    """a safetensors file that plp wrote, or the folder of a run, for its best model"""

    def run(self) -> Outcome:
        model = Model.load(self.model / BEST if self.model.is_dir() else self.model)
        train, test = self.sets()
        # A part of the data counts as the whole.
        if model.trained_on and model.trained_on.partition("[")[0] != train.name:
            raise ValueError(
                f"{self.model} was trained on {model.trained_on}, found {train.name}: choose other --data or --dataset"
            )
        metrics = model.evaluate(test, threads=self.threads)
        return Outcome(
            f"{model!r}\naccuracy {metrics.accuracy:.2%}, top-1 error {metrics.top1_error:.4f}, "
            f"top-5 error {metrics.top5_error:.4f}, loss {metrics.loss:.4f}"
        )


@dataclass(frozen=True, kw_only=True)
class Download:
    """Fetch CIFAR-100 or CIFAR-10."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="where to")] = field(default_factory=cache)
    dataset: Annotated[Literal["cifar100", "cifar10"], arg(help="which")] = "cifar100"
    layout: Layout = "python"
    """of the files"""
    url: Annotated[
        str | None,
        arg(
            metavar="URL",
            help="a mirror to fetch from; what arrives is checked all the same",
            help_behavior_hint="(default: the University of Toronto's)",
        ),
    ] = None

    def run(self) -> Outcome:
        return Outcome(str(datasets.download(self.folder, self.layout, dataset=self.dataset, url=self.url)))


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Show where the time of a training step goes."""

    network: Positional[Network] = "resnet18"
    """which to time"""
    method: str = "sgd"
    """as in train"""
    width: float = 1.0
    """factor on every hidden channel count"""
    image_size: int = 32
    """pixels along a side"""
    batch_size: int = 128
    """images"""
    threads: int = 0
    """that compute; 0 for what `plp info` says"""

    def run(self) -> Outcome:
        model = Model(self.network, image_size=self.image_size, width=self.width)
        recipe = replace(by_name(self.method, Recipe()), batch_size=self.batch_size).in_run(0)
        trainer = Trainer(model, **vars(recipe), threads=self.threads)
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (recipe.batch_size, 3, model.image_size, model.image_size), np.uint8)
        labels = random.integers(0, model.classes, recipe.batch_size)
        trainer.step(images, labels)  # plans and allocates
        start = trainer.profile
        for _ in range(6):  # two cycles of a prediction
            trainer.step(images, labels)
        return Outcome(f"{model!r}\n{trainer.profile - start}")


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show version, build, threads and data."""

    def run(self) -> Outcome:
        text = f"plp {__version__}\n{build_info()}"
        try:
            found = datasets.find()
        except (Error, OSError) as error:  # of what there is of the data; the rest is shown all the same
            return Outcome(text, error)
        return Outcome(f"{text}\nCIFAR-100: {'found' if found else 'not found (`plp download` fetches it)'}")
