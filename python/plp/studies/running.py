"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import product
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .._checks import (
    checked_colours,
    checked_integer,
    checked_number,
    checked_seed,
    checked_type,
    explains,
    in_brief,
)
from .._extras import require
from .._files import Place, sole_writer
from .._plain import from_plain, to_plain
from .._progress import Display, StudyProgress
from ..datasets import as_dataset
from ..options import PAPER, Recipe
from ..training import Callback, listed, one_of
from .executors import Processes, checked_executor, workers_of_a_machine
from .files import folder_of, opened
from .leases import Stopped, go_on
from .methods import Methods, names_of, recipes_of
from .records import STUDY_FILE, Settings, Study, folder_name
from .runs import Engine, perform, with_display
from .space import check_space, sizes_of
from .spreading import spread
from .tasks import Task
from .tasks import engine as own_engine

if TYPE_CHECKING:
    from ..datasets import Data

T = TypeVar("T")
Colours = tuple[float, float, float] | None
Networks = str | Sequence[str]


@explains(
    **dict.fromkeys(
        ["optimizer", "lr", "schedule", "batch_size", "augmentation"],
        "it is the recipe's: write recipe=plp.Recipe(optimizer=plp.SGD(lr=0.05), batch_size=64)",
    ),
    predictor='write methods=["sgd", "plp"]',
    seeds="write repeats=3",
    **dict.fromkeys(["n_jobs", "num_workers"], "write jobs=2"),
)
def compare(
    networks: Networks = ("resnet18",),
    methods: Methods = ("sgd", "sgd*7/6", "demon", "plp"),
    *,
    train: Data,
    test: Data | None = None,
    epochs: int = 10,
    repeats: int = 1,
    recipe: Recipe = PAPER,
    validation: float | None = 0.2,
    width: float = 1.0,
    dropout: float | None = None,
    mean: Colours = None,
    std: Colours = None,
    seed: int = 0,
    threads: int = 0,
    path: Place | None = None,
    fresh: bool = False,
    engine: Engine = own_engine,
    weights: bool = True,
    metrics: Literal["epoch", "iteration"] = "epoch",
    callback: Callback | Sequence[Callback] | None = None,
    executor: Any = None,
    jobs: int = 1,
    progress: bool = True,
) -> Study:
    """Trains every network with every method, ``repeats`` times, and puts the results side by side.

    Repeat r uses seed ``seed + r`` for the network and its training, the same for all methods. Ctrl-C ends the study
    after the running iteration and is raised as KeyboardInterrupt, whose ``study`` has the runs that are complete. A
    lack of memory ends it likewise, but returns the study, with a warning.

    Args:
        networks: architectures, as for :class:`plp.Model`.
        methods: names: an optimizer, ``"sgd"``, ``"demon"``, ``"adamw"``; a predictor, ``"plp"``, ``"lookahead"``,
            ``"ema"``, ``"swa"``, which is one with SGD; or both, ``"adamw+plp"``. Each also with a factor on the
            learning rate, such as ``"sgd*7/6"``, the control for PLP (where updates are locally constant, prediction is
            SGD with that rate). A name chooses optimizer and predictor in place of the recipe's; the recipe's options
            of an optimizer hold for one of its kind. Or a dict from names of one's own to recipes, or to what they
            change in ``recipe`` or in its optimizer: ``{"sgd": {}, "far": {"predictor": plp.PLP(step=2), "lr": 0.1}}``;
            :func:`plp.grid` makes such dicts of many.
        train, test: without a test set the table shows the validation images.
        epochs: of each run.
        repeats: runs of each method, each with another seed.
        recipe: what the methods have in common; the paper's by default.
        validation: fraction of the training images to hold out, to choose the best epoch; None or 0 for none.
        width: factor on every hidden channel count.
        dropout, mean, std: as for :class:`plp.Model`.
        seed: of the first repeat.
        threads: that compute; 0 for what :func:`plp.build_info` says.
        path: a folder for the study and a folder in it for each run: ``run.json``, which :meth:`plp.Task.load` reads,
            ``metrics.csv``, to which each epoch adds a line, ``best.safetensors`` and ``last.safetensors``, and
            ``watched.npz`` where its recipe has a :class:`plp.Watch`. Where there is a study, it goes on: only runs
            that it lacks are made, so that repeats, methods and networks can be added later. A checkpoint, written at
            each epoch's end and on Ctrl-C, keeps a run under way, which then goes on bit for bit. One that is damaged,
            of other data or options, or of another version of plp is kept under another name, with a warning, and its
            run starts anew. :func:`plp.stop` ends a study from elsewhere.
        fresh: whether to start anew in place of a study that is at ``path``, whose runs are removed.
        engine: what makes a run: see :class:`plp.Task`.
        weights: whether runs in folders keep their best and their last weights, twice the size of a model.
        metrics: ``"iteration"`` for ``iterations.csv`` beside ``metrics.csv``: a line for each iteration of training.
        callback: as for :meth:`plp.Trainer.fit`, a copy for each run. One that has a method ``of(task)`` gives what is
            to be called in that run.
        executor: makes the runs in other processes, on any machine: anything whose ``submit`` returns a
            :class:`concurrent.futures.Future`, such as a ProcessPoolExecutor, loky's, ``client.get_executor()`` of
            Dask, or mpi4py's MPIPoolExecutor. It needs a ``path`` that all its workers see. A run whose worker dies is
            reported, and goes on when compare is called again; with ``threads=0`` workers of a machine share it.
        jobs: so many runs at a time in processes of this machine, in place of an executor. A script then needs
            ``if __name__ == "__main__":`` before it calls compare.
        progress: whether to show each run's progress.

    Raises:
        ValueError: an unknown method or network, an option out of its range, a study of other settings or images at
            ``path``, or none for what only folders keep.
        FileNotFoundError, OSError: ``path`` cannot be written, its disk has too little room for what the runs keep, or
            another process goes on with that study; found before the first run. A run's checkpoint cannot be read.
        MemoryError: a network does not fit; found before the first run.
        ModuleNotFoundError: SciPy is missing, which its intervals need; the message says what to install.
        KeyboardInterrupt: Ctrl-C; see above.
    """
    require("scipy", extra="studies")  # now, not after hours of training
    networks = names_of("networks", networks)
    checked_type("recipe", recipe, Recipe)
    recipes = recipes_of(methods, recipe)
    train = as_dataset("train", train)
    test = None if test is None else as_dataset("test", test)
    if not isinstance(validation, Real | None):
        raise ValueError(f"validation is {in_brief(validation)}, expected a fraction or None")
    seed = checked_seed(seed)
    seeds = range(seed, seed + checked_integer("repeats", repeats, least=1))
    jobs = checked_integer("jobs", jobs, least=1)
    settings = _as_kept(
        Settings(
            train=train.name,
            train_images=len(train),
            test=test.name if test else None,
            test_images=len(test) if test else 0,
            classes=train.classes,
            width=checked_number("width", width),
            epochs=checked_integer("epochs", epochs, least=1),
            validation=validation or 0,
            recipe=recipe,
            dropout=None if dropout is None else checked_number("dropout", dropout),
            mean=checked_colours("mean", mean),
            std=checked_colours("std", std),
            train_checksum=train.checksum,
            test_checksum=test.checksum if test else "",
        )
    )
    callbacks = _checked_callbacks(callback)
    checked_type("weights", weights, bool)
    if not callable(engine):
        raise ValueError(f"engine is {in_brief(engine)}, expected a function of a plp.Task")
    _check_executor(executor, jobs)
    if jobs > 1:
        _check_sent("engine", engine)
        _check_sent("callback", [each for each in callbacks if not hasattr(each, "of")])
    _check_folder(path, recipes, metrics, executor)
    common = {name: getattr(settings, name) for name in ("width", "epochs", "validation", "dropout", "mean", "std")}
    common |= {"train": train, "test": test, "threads": threads, "weights": weights, "metrics": metrics}
    tasks = [
        Task(network=network, method=method, recipe=recipes[method], seed=each, **common)
        for each, network, method in product(seeds, networks, recipes)
    ]
    sizes = sizes_of([task for task in tasks if task.seed == seed]) if engine is own_engine else {}
    recipes = {name: _as_kept(own) for name, own in recipes.items()}

    with _workplace(path, executor, jobs) as (folder, executor):
        if executor is not None and folder:  # once, and not with every task that is sent
            train, test = train._kept(folder), test and test._kept(folder)
        tasks = [_placed(task, folder, recipe=recipes[task.method], train=train, test=test) for task in tasks]
        at_once = max(jobs, workers_of_a_machine(executor))
        if folder and fresh:  # while what is given up for it is still there
            check_space(folder, tasks, sizes, at_once)
        study = opened(folder, settings, recipes, [task.name for task in tasks], fresh)
        done = {run.name for run in study.runs}
        ahead = [_on_its_way(task, callbacks) for task in tasks if task.name not in done]
        if folder:
            check_space(folder, ahead, sizes, at_once)
            for asked in (folder, *(task.folder for task in ahead if task.folder)):
                go_on(asked)
        with _interruptions(study):
            if not ahead:
                with Display(progress) as display:
                    display.line("the study is complete already: nothing to train")
            elif executor is None:
                _one_by_one(study, ahead, len(tasks), engine, progress)
            else:
                spread(executor, study, ahead, len(tasks), engine, progress)
        if folder:
            go_on(folder)
        if path is None:  # that of several processes goes
            study.runs = [replace(run, folder=None) for run in study.runs]
    return study


# ---- What is asked for -----------------------------------------------------------------------------------------------


def _checked_callbacks(callback: Callback | Sequence[Callback] | None) -> list[Callback]:
    several = listed(callback)
    one_of([each for each in several if not hasattr(each, "of")])  # which raises
    return several


def _check_executor(executor: Any, jobs: int) -> None:
    if executor is None:
        return
    checked_executor(executor)
    if jobs > 1:
        raise ValueError(f"jobs is {jobs} and an executor is given, expected one of them")


def _check_sent(name: str, value: Any) -> None:
    """Other processes of ours are sent it by pickle."""
    try:
        pickle.dumps(value)
    except Exception as error:
        raise ValueError(
            f"{name} is {in_brief(value)}, expected a function of a module, which other processes can be sent: {error}"
        ) from None


def _check_folder(path: Place | None, recipes: Mapping[str, Recipe], metrics: str, executor: Any) -> None:
    """Some things need one."""
    if metrics not in ("epoch", "iteration"):
        raise ValueError(f"metrics is {in_brief(metrics)}, expected 'epoch' or 'iteration'")
    wants_folder = {
        "that all of the executor's workers see": executor is not None,
        "for metrics by iteration": metrics == "iteration",
        "for what a plp.Watch records": any(own.watch for own in recipes.values()),
    }
    for reason, is_wanted in wants_folder.items():
        if is_wanted and path is None:
            raise ValueError(f"path is None, expected a folder {reason}")


def _as_kept(value: T) -> T:
    """Options as they come back from a file: with Python's own numbers, and tuples."""
    return from_plain(type(value), to_plain(value))


# ---- Who makes it, and where -----------------------------------------------------------------------------------------


@contextmanager
def _workplace(path: Place | None, executor: Any, jobs: int) -> Iterator[tuple[Path | None, Any]]:
    """The study's folder, which nobody else writes within, and what makes runs in other processes; None for none."""
    with ExitStack() as stack:
        folder = None if path is None else folder_of(path)
        if jobs > 1:
            executor = stack.enter_context(Processes(jobs))
            folder = folder or Path(stack.enter_context(TemporaryDirectory(prefix="plp-")))
        stack.enter_context(sole_writer(folder and folder / STUDY_FILE))
        yield folder, executor


def _placed(task: Task, folder: Path | None, **changes: Any) -> Task:
    """A task with a folder of its own within a study's."""
    return replace(task, folder=folder and folder / folder_name(task.name), **changes)


def _on_its_way(task: Task, callbacks: Sequence[Callback]) -> Task:
    """A task with callbacks of its own."""
    own = (each.of(task) if hasattr(each, "of") else deepcopy(each) for each in callbacks)
    return replace(task, callbacks=tuple(own))


@contextmanager
def _interruptions(study: Study) -> Iterator[None]:
    """Within, runs are added to the study, which has those that are complete whatever ends it."""
    try:
        yield
    except Stopped:
        study.interrupted = True
    except KeyboardInterrupt as interruption:
        study.interrupted = True
        interruption.study = study  # type: ignore[attr-defined]
        raise
    except MemoryError as error:
        if not study.runs:
            raise
        study.interrupted = True
        warnings.warn(f"the study ended early: {error}", RuntimeWarning, stacklevel=5)
    finally:
        study.sort()


def _one_by_one(study: Study, tasks: Sequence[Task], total: int, engine: Engine, progress: bool) -> None:
    """Makes the runs here."""
    shown = StudyProgress([task.network for task in tasks], total, progress)
    for index, task in enumerate(tasks):
        with shown.run(index, task.name) as display:
            study.runs.append(perform(with_display(task, display), engine))
