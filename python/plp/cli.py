"""The ``plp`` command: train, compare, evaluate, report, info, download, profile."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from . import Error, Model, Progress, Study, Trainer, __version__, build_info, compare, datasets
from ._download import cache
from ._extras import require
from ._files import sole_writer, write_whole
from ._signals import interruptions
from ._tables import printable
from .datasets import Dataset
from .model import ARCHITECTURES
from .options import NAMED_OPTIMIZERS, NAMED_PREDICTORS, RECIPES, Recipe, by_name

METHODS = ", ".join([*NAMED_OPTIMIZERS, *NAMED_PREDICTORS])
TRAIN = {"epochs": 10, "width": 1.0, "recipe": "quick"}
COMPARE = {"methods": "sgd,sgd*7/6,demon,plp", "epochs": 10, "width": 1.0, "recipe": "paper", "repeats": 1}
COMPARE_QUICK = {"methods": "sgd,sgd*7/6,plp", "epochs": 6, "width": 0.125, "recipe": "quick", "repeats": 3}
QUICK_IMAGES = 5_000


class Outcome(NamedTuple):
    """What a command has to show, once all its files are written, and what ended it early."""

    text: str
    error: BaseException | None = None


def command() -> NoReturn:
    """The program ``plp``."""
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
                options = _parser().parse_args(arguments)
                text, error = options.run(options)
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
    if isinstance(error, OSError) and error.filename:
        _say(f"plp: {error.filename}: {error.strerror}")
    else:
        _say(f"plp: {error}")
    return 1


def _show(text: str) -> int:
    """Writes results to stdout; gives the exit status, as far as that decides it."""
    if sys.stdout is None:  # a program without a console
        return 0
    try:
        if text:
            print(printable(text))
        sys.stdout.flush()  # what the parser wrote, too
    except BrokenPipeError:  # as other programs end where a pipe's reader, such as head, has seen enough
        return 128 + signal.SIGPIPE
    except OSError as error:
        _say(f"plp: the output cannot be written: {error.strerror}")
        return 1
    return 0


def _say(text: str) -> None:
    """Writes a message to stderr; where that fails, there is nobody to tell."""
    if sys.stderr is not None:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plp", description="Train image classifiers on a CPU, with and without parameter linear prediction."
    )
    parser.add_argument("--version", action="version", version=f"plp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    does = "Train one network. Given again, the command goes on from its checkpoint; with other options it starts anew."
    one = commands.add_parser("train", help="train one network", description=does)
    _add(one, "network", "which to train", "resnet18", nargs="?", choices=ARCHITECTURES)
    _add(one, "--method", f"{METHODS}, adamw+plp, sgd*7/6, …", "plp", metavar="NAME")
    _add_run(one, TRAIN)
    _add_output(one, "results/NETWORK-METHOD-seedN, or that and -2, … where it holds a run of other options")
    one.set_defaults(run=_train)

    does = "Train with several methods side by side. Given again, the command makes the runs that its study lacks."
    several = commands.add_parser("compare", help="train with several methods side by side", description=does)
    help = f"{', '.join(ARCHITECTURES)} (default: resnet18)"
    several.add_argument("networks", nargs="*", default=["resnet18"], metavar="network", help=help)
    several.add_argument("--quick", action="store_true", help="PLP, SGD and the control on a tiny ResNet18, in minutes")
    _add(several, "--methods", "as in train", COMPARE["methods"], COMPARE_QUICK["methods"], metavar="A,B,…")
    _add_run(several, COMPARE, COMPARE_QUICK)
    repeats = (COMPARE["repeats"], COMPARE_QUICK["repeats"])
    _add(several, "--repeats", "runs of each method, with seeds one apart", *repeats, type=int, metavar="N")
    _add_output(several, "results/compare", Path("results/compare"))
    several.set_defaults(run=_compare)

    evaluate = commands.add_parser("evaluate", help="measure a saved model on the test set")
    evaluate.add_argument("model", type=Path, help="a model.safetensors that plp wrote")
    _add_data(evaluate)
    _add_threads(evaluate)
    evaluate.set_defaults(run=_evaluate)

    report = commands.add_parser("report", help="write a study as an HTML page and a picture beside it")
    _add(report, "study", "what compare wrote", Path("results/compare"), nargs="?", type=Path)
    report.set_defaults(run=_report)

    download = commands.add_parser("download", help="fetch CIFAR-100")
    _add(download, "folder", "where to", cache(), nargs="?")
    _add(download, "--layout", "of the files", "python", choices=("python", "binary"))
    download.add_argument("--url", help="a mirror to fetch from; what arrives is checked all the same")
    download.set_defaults(run=_download)

    profile = commands.add_parser("profile", help="show where the time of a training step goes")
    _add(profile, "network", "which to time", "resnet18", nargs="?", choices=ARCHITECTURES)
    _add(profile, "--method", "as in train", "sgd", metavar="NAME")
    _add(profile, "--width", "factor on every channel count", 1.0, type=float, metavar="X")
    _add(profile, "--image-size", "pixels along a side", 32, type=int, metavar="N")
    _add(profile, "--batch-size", "images", 128, type=int, metavar="N")
    _add_threads(profile)
    profile.set_defaults(run=_profile)

    commands.add_parser("info", help="show version, build, threads and data").set_defaults(run=_info)
    return parser


def _add(parser: argparse.ArgumentParser, name: str, help: str, default: Any, quick: Any = None, **how: Any) -> None:
    """An argument whose help names its default. Where --quick has another, the command puts in the one that holds."""
    shown = f"(default: {default}{f', with --quick {quick}' if quick is not None else ''})"
    parser.add_argument(
        name, help=f"{help} {shown}".strip().replace("%", "%%"), default=default if quick is None else None, **how
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    help = f"of CIFAR-100 (default: $PLP_DATA, else data/, else {cache()}); synthetic: images made by code".replace(
        "%", "%%"
    )
    parser.add_argument("--data", metavar="FOLDER", help=help)


def _add_run(
    parser: argparse.ArgumentParser, defaults: Mapping[str, Any], quick: Mapping[str, Any] | None = None
) -> None:
    """What one run and several have in common."""

    def add(name: str, help: str, **how: Any) -> None:
        _add(parser, f"--{name}", help, defaults[name], quick and quick[name], **how)

    _add_data(parser)
    add("epochs", "passes over the training images", type=int, metavar="N")
    add("width", "factor on every channel count", type=float, metavar="X")
    add("recipe", "the paper's, or one that learns much in few epochs", choices=RECIPES)
    parser.add_argument("--lr", type=float, metavar="X", help="learning rate (default: the recipe's)")
    _add(parser, "--seed", "of the network and its training", 0, type=int, metavar="N")
    _add_threads(parser)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    _add(parser, "--threads", "that compute; 0 for what `plp info` says", 0, type=int, metavar="N")


def _add_output(parser: argparse.ArgumentParser, shown: str, default: Path | None = None) -> None:
    help = f"for what it writes, and goes on from (default: {shown})"
    parser.add_argument("--output", help=help, default=default, type=Path, metavar="FOLDER")
    parser.add_argument("--fresh", action="store_true", help="start anew, in place of what the output folder holds")


def _data(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """CIFAR-100 where it is found, or the synthetic set where that is asked for; says which."""
    if options.data == "synthetic":
        train, test = datasets.synthetic()
    else:
        try:
            train, test = datasets.cifar100(options.data)
        except FileNotFoundError as error:
            ways = "--data FOLDER names its place, --data synthetic takes images made by code"
            raise FileNotFoundError(error.errno, f"{error.strerror}; {ways}", error.filename) from None
    _say(f"{train.name}: {len(train):,} images, {test.name}: {len(test):,}")
    return train, test


def _recipe(options: argparse.Namespace) -> Recipe:
    recipe = RECIPES[options.recipe]
    return replace(recipe, optimizer=replace(recipe.optimizer, lr=options.lr)) if options.lr is not None else recipe


def _train(options: argparse.Namespace) -> Outcome:
    recipe = by_name(options.method, _recipe(options), options.lr)
    train, test = _data(options)

    def new_trainer() -> Trainer:
        size = {"classes": train.classes, "image_size": train.image_size, "width": options.width}
        model = Model(options.network, **size, seed=options.seed)
        return Trainer(model, **vars(recipe), seed=options.seed, threads=options.threads)

    output: Path = options.output or _folder(options, new_trainer, train)
    trainer = new_trainer()
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / "checkpoint.plp"
    with sole_writer(checkpoint):
        if options.fresh:
            checkpoint.unlink(missing_ok=True)
        goes_on = checkpoint.exists()
        try:
            if goes_on:
                trainer.restore(checkpoint)
            error = _fit(trainer, train, test, options, checkpoint)
        except (Error, ValueError) as mistake:
            ways = f"; choose another --output, or --fresh to lose what is in {output}"
            raise ValueError(f"{mistake}{ways if goes_on else ''}") from None
        _write_results(trainer, output)
    return Outcome(str(trainer.history), error)


def _folder(options: argparse.Namespace, new_trainer: Callable[[], Trainer], train: Dataset) -> Path:
    """Where a run lies that names no place: in a folder named after it, or a further one where others have that."""
    name = re.sub(r"[^\w.]+", "-", f"{options.network}-{options.method}-seed{options.seed}")
    first = folder = Path("results") / name
    number = 1
    while not (options.fresh or _is_of_this_run(folder / "checkpoint.plp", options, new_trainer(), train)):
        number += 1
        folder = first.with_name(f"{name}-{number}")
    if folder != first:
        _say(f"{first}/ holds a run of other options: this one goes to {folder}/")
    return folder


def _is_of_this_run(checkpoint: Path, options: argparse.Namespace, trainer: Trainer, train: Dataset) -> bool:
    """Whether a run may go on from a checkpoint, or start there since there is none."""
    try:
        trainer.restore(checkpoint)
    except ValueError:  # of another network, or other options
        return False
    except (Error, OSError):  # none, or one of which the run itself will say what is wrong with it
        return True
    history = trainer.history
    return history.data.startswith(f"{train.name}, {len(train)} images") and len(history) <= options.epochs


def _fit(
    trainer: Trainer, train: Dataset, test: Dataset, options: argparse.Namespace, checkpoint: Path
) -> Error | KeyboardInterrupt | None:
    """Trains and keeps the checkpoint up to date; gives what ended it early: an Error where the loss is not finite."""

    def save_each_epoch(progress: Progress) -> None:
        if progress.finished:
            trainer.save(checkpoint)

    label = f"{options.network} {options.method}"
    interruption = None
    try:
        trainer.fit(train, validation=0.2, test=test, epochs=options.epochs, callback=save_each_epoch, progress=label)
    except Error as error:
        return error
    except KeyboardInterrupt as raised:
        if not trainer.history.epochs:  # it came before anything was trained
            raise
        interruption = raised
    trainer.save(checkpoint)
    return interruption


def _write_results(trainer: Trainer, output: Path) -> None:
    history = trainer.history
    trainer.best_model.save(output / "model.safetensors")
    write_whole(output / "history.json", json.dumps(history.to_dict(), indent=1).encode())
    written = ["model.safetensors", "history.json"]
    if (output / "checkpoint.plp").exists():
        written.append("checkpoint.plp")
    if history.best:
        try:
            history.plot(output / "curves.png")
            written.append("curves.png")
        except ModuleNotFoundError as missing:
            _say(f"plp: no curves.png: {missing}")
    _say(f"{output}/: {', '.join(written)}")


def _compare(options: argparse.Namespace) -> Outcome:
    for name, value in (COMPARE_QUICK if options.quick else COMPARE).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for module in ("matplotlib", "altair"):  # now, not after hours of training
        require(module, extra="studies")
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    train, test = _data(options)
    if options.quick:
        train = train[:QUICK_IMAGES]
    recipe = _recipe(options)
    study: Study | None = None
    interruption = None
    try:
        study = compare(
            options.networks,
            {name: by_name(name, recipe, options.lr) for name in map(str.strip, options.methods.split(","))},
            train=train,
            test=test,
            epochs=options.epochs,
            repeats=options.repeats,
            recipe=recipe,
            width=options.width,
            seed=options.seed,
            threads=options.threads,
            path=output,
            fresh=options.fresh,
        )
    except KeyboardInterrupt as raised:
        interruption = raised
        study = getattr(raised, "study", None)
    return Outcome(_drawn(study, output) if study and study.runs else "", interruption)


def _drawn(study: Study, output: Path) -> str:
    """Draws a study, and gives it as text."""
    study.plot(output / "curves.png")
    study.report(output / "report.html")
    _say(f"{output}/: curves.png, report.html, study.json")
    return str(study)


def _evaluate(options: argparse.Namespace) -> Outcome:
    model = Model.load(options.model)
    train, test = _data(options)
    if model.trained_on and model.trained_on.partition("[")[0] != train.name:  # a part of the data counts as the whole
        raise ValueError(f"{options.model} was trained on {model.trained_on}, found {train.name}: choose other --data")
    metrics = model.evaluate(test, threads=options.threads)
    return Outcome(
        f"{model!r}\naccuracy {metrics.accuracy:.2%}, top-1 error {metrics.top1_error:.4f}, "
        f"top-5 error {metrics.top5_error:.4f}, loss {metrics.loss:.4f}"
    )


def _report(options: argparse.Namespace) -> Outcome:
    folder = options.study if options.study.is_dir() else options.study.parent
    return Outcome(_drawn(Study.load(options.study), folder))


def _download(options: argparse.Namespace) -> Outcome:
    return Outcome(str(datasets.download(options.folder, options.layout, url=options.url)))


def _profile(options: argparse.Namespace) -> Outcome:
    model = Model(options.network, image_size=options.image_size, width=options.width)
    recipe = replace(by_name(options.method, Recipe()), batch_size=options.batch_size)
    trainer = Trainer(model, **vars(recipe), threads=options.threads)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (recipe.batch_size, 3, model.image_size, model.image_size), np.uint8)
    labels = random.integers(0, model.classes, recipe.batch_size)
    trainer.step(images, labels)  # plans and allocates
    start = trainer.profile
    for _ in range(6):  # two cycles of a prediction
        trainer.step(images, labels)
    return Outcome(f"{model!r}\n{trainer.profile - start}")


def _info(options: argparse.Namespace) -> Outcome:
    text = f"plp {__version__}\n{build_info()}"
    try:
        found = datasets.find()
    except (Error, OSError) as error:  # of what there is of the data; the rest is shown all the same
        return Outcome(text, error)
    return Outcome(f"{text}\nCIFAR-100: {'found' if found else 'not found (`plp download` fetches it)'}")
