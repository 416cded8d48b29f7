"""Methods side by side: the same start and the same mini-batches for each, repeated over seeds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from numbers import Real
from pathlib import Path
from typing import Any

from .. import _plp
from .._checks import checked_integer, checked_seed, checked_type
from .._extras import require
from .._files import Place, sole_writer
from .._plain import from_plain, to_plain
from .._progress import FitProgress, StudyProgress
from ..datasets import Dataset
from ..model import Model
from ..options import PAPER, Recipe, by_name
from ..records import History, Progress
from ..training import Trainer
from .files import checkpoint_of, finish, opened, remove_strays, set_aside
from .records import Run, Settings, Study, checked_name, run_name

Networks = str | Sequence[str]
Methods = str | Sequence[str] | Mapping[str, Recipe | Mapping[str, Any]]


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
    after the running iteration and is raised as KeyboardInterrupt, whose ``study`` has the runs that are complete. A
    lack of memory ends it likewise, but returns the study, with a warning.

    Args:
        networks: architectures, as for :class:`plp.Model`.
        methods: names: an optimizer, ``"sgd"``, ``"demon"``, ``"adamw"``; a predictor, ``"plp"``, ``"lookahead"``,
            ``"ema"``, which is one with SGD; or both, ``"adamw+plp"``. Each also with a factor on the learning rate,
            such as ``"sgd*7/6"``, the control for PLP (where updates are locally constant, prediction is SGD with that
            rate). A name chooses optimizer and predictor in place of the recipe's; the recipe's options of an
            optimizer hold for one of its kind. Or a dict from names of one's own to recipes, or to what they change in
            ``recipe`` or in its optimizer: ``{"sgd": {}, "far": {"predictor": plp.PLP(step=2), "lr": 0.1}}``;
            :func:`plp.grid` makes such dicts of many.
        train, test: without a test set the table shows the validation images.
        epochs: of each run.
        repeats: runs of each method, each with another seed.
        recipe: what the methods have in common; the paper's by default.
        validation: fraction of the training images to hold out, to choose the best epoch; None or 0 for none.
        width: factor on every hidden channel count.
        seed: of the first repeat.
        threads: that compute; 0 for what :func:`plp.build_info` says.
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
        ModuleNotFoundError: SciPy is missing, which its intervals need; the message says what to install.
        KeyboardInterrupt: Ctrl-C; see above.
    """
    require("scipy", extra="studies")  # now, not after hours of training
    networks = [networks] if isinstance(networks, str) else list(dict.fromkeys(networks))
    recipes = _recipes(methods, recipe)
    checked_type("train", train, Dataset)
    checked_type("test", test, Dataset, type(None))
    if not isinstance(validation, Real | None):
        raise ValueError(f"validation is {validation!r:.40}, expected a fraction or None")
    epochs = checked_integer("epochs", epochs, least=1)
    seed = checked_seed(seed)
    seeds = range(seed, seed + checked_integer("repeats", repeats, least=1))

    def new_trainer(network: str, own: Recipe, seed: int) -> Trainer:
        model = Model(network, classes=train.classes, image_size=train.image_size, width=width, seed=seed)
        return Trainer(model, **vars(own), seed=seed, threads=threads)

    for network in networks:  # a mistake in the last method is reported before the first run
        model = Model(network, classes=train.classes, image_size=train.image_size, width=width)
        for own in recipes.values():
            Trainer(model, **vars(own), seed=seed, threads=threads)

    settings = Settings(
        train=train.name,
        train_images=len(train),
        test=test.name if test else None,
        test_images=len(test) if test else 0,
        classes=train.classes,
        width=float(width),
        epochs=epochs,
        validation=float(validation or 0),
        recipe=_as_kept(recipe),
    )
    path = None if path is None else Path(os.path.realpath(path))
    with sole_writer(path):
        study = opened(None if fresh else path, settings, {name: _as_kept(own) for name, own in recipes.items()})
        try:
            if path is not None:
                study.save(path)
                remove_strays(study, path)
            runs = {run_name(n, m, s): (n, m, own, s) for s, n, (m, own) in product(seeds, networks, recipes.items())}
            done = {run.name for run in study.runs}
            ahead = {name: run for name, run in runs.items() if name not in done}
            shown = StudyProgress([network for network, *_ in ahead.values()], len(runs), progress)
            for index, (name, (network, method, own, run_seed)) in enumerate(ahead.items()):
                history, failure = _train(
                    partial(new_trainer, network, own, run_seed),
                    {"train": train, "validation": validation, "test": test, "epochs": epochs},
                    shown.run(index, name if repeats > 1 else f"{network} {method}"),
                    None if path is None else checkpoint_of(study, name, path),
                )
                study.runs.append(Run(network, method, run_seed, history, failure, _plp.build_info()))
                if path is not None:
                    finish(study, name, path)
        except KeyboardInterrupt as interruption:
            study.interrupted = True
            interruption.study = study  # type: ignore[attr-defined]
            raise
        except MemoryError as error:
            if not study.runs:
                raise
            study.interrupted = True
            warnings.warn(f"the study ended early: {error}", RuntimeWarning, stacklevel=2)
    return study


def _recipes(methods: Methods, recipe: Recipe) -> dict[str, Recipe]:
    """Every method's own recipe, by name."""
    if isinstance(methods, Mapping):
        recipes = {checked_name(name): _changed(name, recipe, own) for name, own in methods.items()}
    else:
        names = [methods] if isinstance(methods, str) else methods
        recipes = {name: by_name(name, recipe) for name in names}
    if not recipes:
        raise ValueError(f"methods is {methods!r}, expected a list of names or a dict")
    return recipes


def _changed(name: str, recipe: Recipe, own: Recipe | Mapping[str, Any]) -> Recipe:
    """A recipe as the method of that name has it."""
    if isinstance(own, Recipe):
        return own
    if not isinstance(own, Mapping):
        raise ValueError(f"method {name!r} is {own!r:.60}, expected a recipe or a dict of what it changes")
    changed = replace(recipe, **{part: value for part, value in own.items() if part in vars(recipe)})
    within = {option: value for option, value in own.items() if option not in vars(recipe)}
    options = vars(changed.optimizer)
    if unknown := [option for option in within if option not in options]:
        known = ", ".join([*vars(recipe), *options])
        raise ValueError(f"method {name!r} changes {unknown[0]!r:.40}, expected one of {known}")
    return replace(changed, optimizer=replace(changed.optimizer, **within))


def _as_kept(recipe: Recipe) -> Recipe:
    """As it comes back from a file: with Python's own numbers, and tuples."""
    return from_plain(Recipe, to_plain(recipe))


def _train(
    new_trainer: Callable[[], Trainer], data: dict[str, Any], progress: FitProgress, checkpoint: Path | None
) -> tuple[History, str | None]:
    """One run, from its checkpoint where there is one: its history, and why it failed."""
    trainer = new_trainer()
    goes_on = checkpoint is not None and _restored(trainer, checkpoint)

    def keep(report: Progress) -> None:
        if checkpoint and report.finished:
            trainer.save(checkpoint)

    try:
        return trainer.fit(**data, callback=keep, progress=progress), None
    except ValueError as error:
        if checkpoint is None or not goes_on:
            raise
        set_aside(checkpoint, error)  # of a run on other data
        return _train(new_trainer, data, progress, checkpoint)
    except _plp.Error as error:
        return trainer.history, str(error)
    except KeyboardInterrupt:
        if checkpoint:
            trainer.save(checkpoint)
        raise


def _restored(trainer: Trainer, checkpoint: Path) -> bool:
    """Whether there was a checkpoint that the trainer could be set to; where not, nothing has changed."""
    try:
        trainer.restore(checkpoint)
    except FileNotFoundError:
        return False
    except (ValueError, _plp.Error) as error:
        set_aside(checkpoint, error)
        return False
    return True
