"""The ``plp`` command: train, compare, evaluate, report, info, download, profile."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import Error, Model, Progress, Study, Trainer, __version__, build_info, compare, datasets
from .datasets import Dataset
from .options import RECIPES, Recipe, by_name

ARCHITECTURES = ("resnet18", "vgg16", "googlenet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, 1 after an error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (Error, ValueError, OSError, MemoryError) as error:
        print(f"plp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plp", description="Train image classifiers on a CPU, with and without parameter linear prediction."
    )
    parser.add_argument("--version", action="version", version=f"plp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("train", help="train one network")
    _add_run(one, epochs=10, width=1.0, recipe="quick")
    one.add_argument("network", nargs="?", default="resnet18", choices=ARCHITECTURES)
    one.add_argument("--method", default="plp", metavar="NAME", help="sgd, demon, plp, lookahead, ema, sgd*7/6, …")
    one.add_argument("--output", type=Path, default=Path("results"), metavar="FOLDER")
    one.add_argument("--resume", action="store_true", help="go on from the output folder's checkpoint")
    one.set_defaults(run=_train)

    several = commands.add_parser("compare", help="train with several methods side by side")
    _add_run(several)  # the defaults depend on --quick
    several.add_argument("networks", nargs="*", default=["resnet18"], metavar="network", help=", ".join(ARCHITECTURES))
    several.add_argument("--methods", metavar="A,B,…", help="default: sgd,sgd*7/6,demon,plp")
    several.add_argument("--repeats", type=int, default=1, metavar="N")
    several.add_argument("--output", type=Path, default=Path("results"), metavar="FOLDER")
    several.add_argument("--fresh", action="store_true", help="start anew, not from the output folder's study")
    several.add_argument("--quick", action="store_true", help="SGD and PLP on a small ResNet18, in about three minutes")
    several.set_defaults(run=_compare)

    evaluate = commands.add_parser("evaluate", help="measure a saved model on the test set")
    _add_data(evaluate)
    evaluate.add_argument("model", type=Path)
    evaluate.set_defaults(run=_evaluate)

    report = commands.add_parser("report", help="write a study as an HTML page and a picture")
    report.add_argument("study", type=Path, nargs="?", default=Path("results/study.json"))
    report.set_defaults(run=_report)

    download = commands.add_parser("download", help="fetch CIFAR-100")
    download.add_argument("folder", nargs="?", default="data")
    download.add_argument("--layout", choices=("python", "binary"), default="python")
    download.add_argument("--url", help="a mirror to fetch from; what arrives is checked all the same")
    download.set_defaults(run=_download)

    profile = commands.add_parser("profile", help="show where the time of a training step goes")
    profile.add_argument("network", nargs="?", default="resnet18", choices=ARCHITECTURES)
    profile.add_argument("--method", default="sgd", metavar="NAME", help="as in train")
    profile.add_argument("--width", type=float, default=1.0, metavar="X")
    profile.add_argument("--batch-size", type=int, default=128, metavar="N")
    profile.set_defaults(run=_profile)

    commands.add_parser("info", help="show version, build and data").set_defaults(run=_info)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    help = "of CIFAR-100; else $PLP_DATA or data/; without either the synthetic set is used"
    parser.add_argument("--data", metavar="FOLDER", help=help)


def _add_run(
    parser: argparse.ArgumentParser, epochs: int | None = None, width: float | None = None, recipe: str | None = None
) -> None:
    _add_data(parser)
    parser.add_argument("--epochs", type=int, default=epochs, metavar="N")
    parser.add_argument("--width", type=float, default=width, metavar="X", help="factor on every channel count")
    help = "the paper's, or one that learns much in few epochs"
    parser.add_argument("--recipe", choices=RECIPES, default=recipe, help=help)
    parser.add_argument("--lr", type=float, metavar="X", help="learning rate, in place of the recipe's")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0 (the default): one per processor")


def _data(options: argparse.Namespace) -> tuple[Dataset, Dataset]:
    """CIFAR-100 where it is found, else the synthetic set; says which."""
    train, test = datasets.find(options.data) or datasets.synthetic()
    where = "" if train.name.startswith("CIFAR") else "; no CIFAR-100 in data/ (`plp download` fetches it)"
    print(f"{train.name}: {len(train):,} images, {test.name}: {len(test):,}{where}", file=sys.stderr)
    return train, test


def _recipe(options: argparse.Namespace) -> Recipe:
    recipe = RECIPES[options.recipe]
    return replace(recipe, optimizer=replace(recipe.optimizer, lr=options.lr)) if options.lr is not None else recipe


def _train(options: argparse.Namespace) -> int:
    recipe = by_name(options.method, _recipe(options))
    train, test = _data(options)
    model = Model(options.network, classes=train.classes, width=options.width, seed=options.seed)
    trainer = Trainer(model, **vars(recipe), seed=options.seed, threads=options.threads)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    if options.resume:
        trainer.restore(output / "checkpoint.plp")
    label = f"{options.network} {options.method}"

    def save_each_epoch(progress: Progress) -> None:
        if progress.finished:
            trainer.save(output / "checkpoint.plp")

    history = trainer.fit(
        train, validation=0.2, test=test, epochs=options.epochs, callback=save_each_epoch, progress=label
    )
    trainer.save(output / "checkpoint.plp")
    trainer.best_model.save(output / "model.safetensors")
    (output / "history.json").write_text(json.dumps(history.to_dict(), indent=1), encoding="utf-8")
    print(history)
    if history.best:
        history.plot(output / "curves.png")
    print(f"{output}/: model.safetensors, checkpoint.plp, history.json, curves.png", file=sys.stderr)
    return 130 if history.interrupted else 0


def _compare(options: argparse.Namespace) -> int:
    if options.quick:
        defaults = {"methods": "sgd,plp", "epochs": 5, "width": 0.25, "recipe": "quick"}
    else:
        defaults = {"methods": "sgd,sgd*7/6,demon,plp", "epochs": 10, "width": 1.0, "recipe": "paper"}
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        (output / "study.json").unlink(missing_ok=True)
    train, test = _data(options)
    if options.quick:
        train = train[:10_000]
    study = compare(
        options.networks,
        options.methods.split(","),
        train=train,
        test=test,
        epochs=options.epochs,
        repeats=options.repeats,
        recipe=_recipe(options),
        width=options.width,
        seed=options.seed,
        threads=options.threads,
        path=output / "study.json",
    )
    if study.runs:
        _show(study, output)
    return 130 if study.interrupted else 0


def _show(study: Study, output: Path) -> None:
    print(study)
    study.plot(output / "curves.png")
    study.report(output / "report.html")
    print(f"{output}/: curves.png, report.html, study.json", file=sys.stderr)


def _evaluate(options: argparse.Namespace) -> int:
    model = Model.load(options.model)
    _, test = _data(options)
    metrics = Trainer(model).evaluate(test)
    print(
        f"{model!r}\naccuracy {metrics.accuracy:.2%}, top-1 error {metrics.top1_error:.4f}, "
        f"top-5 error {metrics.top5_error:.4f}, loss {metrics.loss:.4f}"
    )
    return 0


def _report(options: argparse.Namespace) -> int:
    _show(Study.load(options.study), options.study.parent)
    return 0


def _download(options: argparse.Namespace) -> int:
    print(datasets.download(options.folder, options.layout, url=options.url))
    return 0


def _profile(options: argparse.Namespace) -> int:
    model = Model(options.network, width=options.width)
    recipe = replace(by_name(options.method, Recipe()), batch_size=options.batch_size)
    trainer = Trainer(model, **vars(recipe))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (recipe.batch_size, 3, 32, 32), np.uint8)
    labels = random.integers(0, model.classes, recipe.batch_size)
    trainer.step(images, labels)  # plans and allocates
    start = trainer.profile
    for _ in range(6):  # two cycles of a prediction
        trainer.step(images, labels)
    print(f"{model!r}\n{trainer.profile - start}")
    return 0


def _info(options: argparse.Namespace) -> int:
    found = datasets.find()
    print(f"plp {__version__}\n{build_info()}")
    print(f"CIFAR-100: {'found' if found else 'not found in data/ (`plp download` fetches it)'}")
    return 0
