"""The plp command, end to end on small synthetic data."""

import csv
import dataclasses
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path

import plp
import plp.cli
import pytest
from plp.cli import main
from plp.options import NAMED_OPTIMIZERS, NAMED_PREDICTORS, OPTIMIZERS, PREDICTORS
from plp.studies.leases import held
from test_history import drawn
from test_study import made_up


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to be in, without CIFAR-100 and with a synthetic set that is small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLP_DATA", raising=False)
    monkeypatch.setattr("plp._download.user_cache_path", lambda *_, **__: tmp_path / "cache")
    synthetic = plp.datasets.synthetic
    monkeypatch.setattr(plp.datasets, "synthetic", lambda: synthetic(100, 40))
    return tmp_path


TRAIN = ["train", "resnet18", "--data", "synthetic", "--width", "0.0625", "--threads", "1", "--epochs"]
RESULTS = Path("results/resnet18-plp-seed-0")


SCREEN = {"TERM": "xterm", "COLUMNS": "160", "LINES": "24"}


def read(terminal):
    """What comes next on a terminal; nothing when no process has its other end any longer."""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""


def words(text):
    """Without the lines and the boxes that they stand in."""
    return re.sub(r"[ │\n]+", " ", text)


def interrupt(progress):
    raise KeyboardInterrupt


def epochs():
    return json.loads((RESULTS / "run.json").read_text())["run"]["history"]["epochs"]


def test_train_and_evaluate(capsys):
    assert main([*TRAIN, "1"]) == 0
    assert {path.name for path in RESULTS.iterdir()} == {
        "best.safetensors",
        "curves.png",
        "last.safetensors",
        "metrics.csv",
        "run.json",
    }
    assert drawn(RESULTS / "curves.png")
    assert "synthetic" in capsys.readouterr().err
    for model in (RESULTS, RESULTS / "best.safetensors"):
        assert main(["evaluate", str(model), "--data", "synthetic", "--threads", "1"]) == 0
        assert re.search(r"accuracy \d+\.\d\d%, top-1 error", capsys.readouterr().out)


def test_train_and_compare_watch_and_count_iterations(capsys):
    options = ["--watch", "--metrics", "iteration", "--batch-size", "16"]
    assert main([*TRAIN, "1", *options]) == 0
    assert drawn(RESULTS / "watched.png")
    assert plp.Watched.load(RESULTS / "watched.npz").iterations.tolist() == [3]
    assert len((RESULTS / "iterations.csv").read_text().splitlines()) == 1 + 5
    assert "watched.npz, curves.png, watched.png" in capsys.readouterr().err
    assert main(["compare", *TRAIN[1:], "1", *options, "--methods", "sgd"]) == 0
    assert "watch = true" in Path("results/compare/study.toml").read_text()
    assert Path("results/compare/resnet18-sgd-seed-0/iterations.csv").exists()
    assert "How parameters moved" in Path("results/compare/report.html").read_text()


@pytest.mark.parametrize("command", [["train"], ["compare"], ["evaluate", "model.safetensors"]])
def test_no_data_are_no_synthetic_data(command, capsys):
    plp.Model(width=1 / 16).save("model.safetensors")
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "no CIFAR-100 there; `plp download` fetches it; --data FOLDER names its place, --data synthetic" in error
    assert "data or " in error and "/cache" in error


def test_a_model_is_evaluated_on_the_data_that_it_knows(capsys):
    train, _ = plp.datasets.synthetic()
    ours = plp.datasets.from_arrays(train.images, train.labels, name="our photographs")
    for data, expected in ((ours, 1), (train, 0), (train[:50], 0), (None, 0)):
        model = plp.Model(width=1 / 16)
        if data:
            plp.Trainer(model, threads=1).fit(data, progress=False)
        model.save("model.safetensors")
        assert main(["evaluate", "model.safetensors", "--data", "synthetic"]) == expected
        told = "was trained on our photographs, found synthetic train: choose other --data" in capsys.readouterr().err
        assert told == bool(expected)


def test_train_on_a_terminal(folder):
    """A bar over the iterations, drawn in place, and a line that stays for each epoch."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "plp", *TRAIN, "1"]
    with subprocess.Popen(
        command, stdin=end, stdout=subprocess.PIPE, stderr=end, env={**os.environ, **SCREEN}
    ) as process:
        os.close(end)
        shown = "".join(iter(lambda: read(terminal), ""))
        process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0, shown
    metrics = r"loss \d\.\d{3}  accuracy +\d+\.\d\d%"
    assert re.search(rf"resnet18 plp epoch 1/1 .*━.* \d+ s left  {metrics}  \d+/63  [\d,]+ images/s", shown)
    assert re.search(rf"resnet18 plp epoch 1/1  {metrics}  validation +\d+\.\d\d%  [\d,]+ images/s\r?\n", shown)


def test_train_goes_on_unless_fresh(monkeypatch, capsys):
    fit = plp.Trainer.fit

    def interrupted(trainer, *arguments, callback, **options):
        def hear(progress):
            callback(progress)
            if progress.finished:
                raise KeyboardInterrupt

        return fit(trainer, *arguments, callback=hear, **options)

    with monkeypatch.context() as patch:
        patch.setattr(plp.Trainer, "fit", interrupted)
        assert main([*TRAIN, "2"]) == 130
    (first,) = epochs()
    assert main([*TRAIN, "2"]) == 0
    assert len(epochs()) == 2 and epochs()[0] == first
    assert "going on from the end of epoch 1" in capsys.readouterr().err
    assert main([*TRAIN, "2"]) == 0 and "complete already: nothing to train" in capsys.readouterr().err
    assert main([*TRAIN, "2", "--fresh"]) == 0
    assert len(epochs()) == 2 and epochs()[0] != first  # the same but for the time it took


def test_a_run_is_repeated_from_its_folder(capsys):
    """To the last bit, and elsewhere than where it is; options that it has of its own are none of the command's."""
    options = ["--method", "sgd+lookahead", "--sgd.nesterov", "--dropout", "0.1", "--mean", "0.5", "0.5", "0.5"]
    assert main([*TRAIN, "2", *options, "--images", "90", "--metrics", "iteration", "-o", "first"]) == 0
    assert main(["train", "--from", "first", "--threads", "1"]) == 0
    second = Path("results/resnet18-sgd+lookahead-seed-0")
    assert "as in first, to the last bit" in capsys.readouterr().err
    for name in ("best.safetensors", "last.safetensors"):
        assert (second / name).read_bytes() == Path("first", name).read_bytes()
    assert plp.Task.load(second).recipe == plp.Task.load("first").recipe
    assert len((second / "iterations.csv").read_text()) > 100
    assert main(["train", "--from", str(second)]) == 0 and Path(f"{second}-2").exists()
    capsys.readouterr()
    assert main(["train", "vgg16", "--from", "first", "--epochs", "3"]) == 2
    assert "train --from first: found vgg16 --epochs 3, expected no more than --thr" in capsys.readouterr().err
    assert main(["train", "--from", "nowhere"]) == 1 and "nowhere" in capsys.readouterr().err


def test_methods_are_an_optimizer_a_predictor_or_both(capsys):
    methods = "sgd,demon,adamw,ema,adamw+plp*2"
    small = ["--data", "synthetic", "--epochs", "1", "--width", "0.0625", "--threads", "1"]
    compare = ["compare", "--methods", methods, *small, "--lr", "0.25"]
    assert main(compare) == 0
    assert "adamw+plp*2" in capsys.readouterr().out
    recipes = json.loads(Path("results/compare/study.json").read_text())["methods"]
    assert list(recipes) == methods.split(",")
    rates = {name: (recipe["optimizer"]["type"], recipe["optimizer"]["lr"]) for name, recipe in recipes.items()}
    assert rates == {
        "sgd": ("SGD", 0.25),
        "demon": ("SGD", 0.25),
        "adamw": ("AdamW", 0.25),
        "ema": ("SGD", 0.25),
        "adamw+plp*2": ("AdamW", 0.5),
    }
    assert recipes["adamw+plp*2"]["predictor"]["type"] == "PLP" and not recipes["adamw"]["predictor"]
    assert main(["train", "--help"]) == 0
    assert "sgd, demon, adamw, plp, lookahead, ema, swa," in words(capsys.readouterr().out)


@pytest.mark.parametrize("changes", [["--method", "sgd"], ["--seed", "1"], ["--width", "0.125"], ["--epochs", "1"]])
def test_train_keeps_another_run(changes, capsys):
    there = ["--output", str(RESULTS)]
    assert main([*TRAIN, "2", *there]) == 0
    before = {path: path.read_bytes() for path in RESULTS.iterdir()}
    assert main([*TRAIN, "2", *there, *changes]) == 1
    assert capsys.readouterr().err.endswith(": choose another --output, or --fresh to lose it\n")
    assert {path: path.read_bytes() for path in RESULTS.iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (["--method", "sgd+plp"], "resnet18-sgd+plp-seed-0"),
        (["--seed", "1"], "resnet18-plp-seed-1"),
        (["--width", "0.125"], "resnet18-plp-seed-0-2"),
        (["--lr", "0.1"], "resnet18-plp-seed-0-2"),
        (["--epochs", "1"], "resnet18-plp-seed-0-2"),
    ],
)
def test_a_run_of_other_options_has_a_folder_of_its_own(changes, name, capsys):
    assert main([*TRAIN, "2"]) == 0
    before = {path: path.read_bytes() for path in RESULTS.iterdir()}
    assert main([*TRAIN, "2", *changes]) == 0
    assert {path.name for path in Path("results").iterdir()} == {RESULTS.name, name}
    assert {path: path.read_bytes() for path in RESULTS.iterdir()} == before
    told = f"{RESULTS}/ holds another run: this one goes to results/{name}/" in capsys.readouterr().err
    assert told == name.endswith("-2")
    assert main([*TRAIN, "2", *changes]) == 0  # goes on where its own is
    assert {path.name for path in Path("results").iterdir()} == {RESULTS.name, name}


def test_a_run_on_other_data_has_a_folder_of_its_own(monkeypatch):
    assert main([*TRAIN, "1"]) == 0
    train, test = plp.datasets.synthetic()
    monkeypatch.setattr(plp.datasets, "synthetic", lambda: (train[:80], test))
    assert main([*TRAIN, "1"]) == 0
    assert {path.name for path in Path("results").iterdir()} == {RESULTS.name, f"{RESULTS.name}-2"}


def test_train_keeps_files_that_are_none_of_its_own(capsys):
    RESULTS.mkdir(parents=True)
    (RESULTS / "metrics.csv").write_text("years of work")
    assert main([*TRAIN, "1", "--output", str(RESULTS)]) == 1
    assert "metrics.csv: not a run of plp's" in capsys.readouterr().err
    assert main([*TRAIN, "1"]) == 0 and Path(f"{RESULTS}-2/run.json").exists()
    assert [path.read_text() for path in RESULTS.iterdir()] == ["years of work"]


def test_a_file_in_a_folders_place_is_named(capsys):
    Path("file").touch()
    for command, place in (("train", "file"), ("train", "file/run"), ("compare", "file"), ("compare", "file/study")):
        assert main([command, "--data", "synthetic", "--width", "0.0625", "--images", "10", "-o", place]) == 1
        assert capsys.readouterr().err.endswith("file: found a file, expected a folder\n")


def test_train_keeps_a_folder_that_another_process_writes(capsys):
    RESULTS.mkdir(parents=True)
    with held(RESULTS):
        assert main([*TRAIN, "1"]) == 1
    assert capsys.readouterr().err.endswith(f"plp: {RESULTS}: in use: another process makes this run\n")
    assert main([*TRAIN, "1"]) == 0


def test_a_disk_that_is_too_small_is_found_before_the_run(folder, disk, monkeypatch, capsys):
    monkeypatch.chdir(folder)  # again, now that the disk is there
    assert main([*TRAIN, "1"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch("plp: results: too little room: about [0-9.]+ MB are needed .*, 0.5 MB are free", error)
    disk(4e6)
    assert main([*TRAIN, "1"]) == 0
    disk(shutil.disk_usage(folder).used + 100e3)
    assert main([*TRAIN, "1"]) == 0  # it is complete


@pytest.mark.parametrize("complete", [False, True])
def test_a_loss_that_is_no_longer_finite_keeps_what_was_good(complete, monkeypatch, capsys):
    fit = plp.Trainer.fit

    def diverging(trainer, *arguments, callback, **options):
        with suppress(KeyboardInterrupt):
            fit(trainer, *arguments, callback=callback if complete else interrupt, **{**options, "epochs": 1})
        raise plp.Error("after 1 of 9 epochs: loss: found nan")

    assert main([*TRAIN, "1"]) == 0  # a run before, which --fresh gives up, its picture too
    monkeypatch.setattr(plp.Trainer, "fit", diverging)
    assert main([*TRAIN, "9", "--fresh"]) == 1
    assert capsys.readouterr().err.endswith("plp: after 1 of 9 epochs: loss: found nan\n")
    assert [epoch["complete"] for epoch in epochs()] == [complete]
    assert (RESULTS / "curves.png").exists() == complete
    assert plp.Model.load(RESULTS / "best.safetensors").width == 0.0625
    assert main([*TRAIN, "9"]) == 1 and "found nan" in capsys.readouterr().err  # as it would again


def test_train_names_only_what_it_wrote(monkeypatch, capsys):
    assert main([*TRAIN, "1"]) == 0
    kept = "run.json, metrics.csv, best.safetensors, last.safetensors"
    assert capsys.readouterr().err.endswith(f"{RESULTS}/: {kept}, curves.png\n")
    fit = plp.Trainer.fit
    monkeypatch.setattr(plp.Trainer, "fit", lambda *a, **o: fit(*a, **{**o, "callback": interrupt}))
    assert main([*TRAIN, "1", "--fresh"]) == 130  # before an epoch was complete: there is nothing to draw
    kept = "run.json, checkpoint.plp, best.safetensors, last.safetensors"
    assert capsys.readouterr().err.endswith(f"{RESULTS}/: {kept}\n")


def test_compare_and_report(folder, capsys):
    compare = ["compare", "--data", "synthetic", "--methods", "sgd, plp", "--epochs", "1", "--width", "0.0625"]
    results = folder / "results" / "compare"
    assert main(compare) == 0
    assert capsys.readouterr().out.count("resnet18") == 2
    for name in ("curves.png", "report.html"):
        (results / name).unlink()
    assert main(["report"]) == 0
    assert drawn(results / "curves.png") and (results / "report.html").exists()
    runs = plp.Study.load(results / "study.json").runs
    assert main(compare) == 0
    assert plp.Study.load(results / "study.json").runs == runs
    assert main([*compare, "--fresh"]) == 0
    assert plp.Study.load(results / "study.json").runs != runs  # the same but for the time they took


SMALL = ["--data", "synthetic", "--methods", "sgd,plp", "--epochs", "1", "--width", "0.0625", "--threads", "1"]


def outcomes(path):
    return {run.name: run.outcome for run in plp.Study.load(path).runs}


def test_pieces_of_a_study_are_reported_as_one(capsys):
    for seed in "01":
        assert main(["compare", *SMALL, "--seed", seed, "-o", seed]) == 0
    capsys.readouterr()
    assert main(["report", "0", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == "results/report/: curves.png, report.html\n" and Path("results/report/report.html").exists()
    assert "± " in out and "n = 2" in out  # of two seeds
    assert main(["merge", "0", "1", "-o", "both"]) == 0 and capsys.readouterr().out == out
    assert outcomes("both") == outcomes("0") | outcomes("1")
    assert main(["report", "both", "-o", "elsewhere"]) == 0 and Path("elsewhere/curves.png").exists()


def test_export(capsys):
    assert main(["compare", *SMALL]) == 0
    capsys.readouterr()
    assert main(["export"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    runs = plp.Study.load("results/compare").runs
    assert [(row["method"], float(row["accuracy"])) for row in rows] == [
        (run.method, run.outcome.accuracy) for run in runs
    ]
    assert main(["export", "results/compare", "--epochs", "-o", "epochs.csv"]) == 0
    (row, _) = csv.DictReader(Path("epochs.csv").read_text().splitlines())
    assert float(row["validation_loss"]) == runs[0].history[0].validation.loss


def test_a_study_is_stopped(monkeypatch, capsys):
    fit = plp.Trainer.fit

    def stopping(trainer, *arguments, callback, **options):
        def hear(progress):
            assert main(["stop", "results/compare"]) == 0
            return callback(progress)

        return fit(trainer, *arguments, callback=hear, **options)

    monkeypatch.setattr(plp.Trainer, "fit", stopping)
    assert main(["compare", *SMALL]) == 1
    assert "results/compare: to end after the running iterations" in capsys.readouterr().out
    assert not outcomes("results/compare") and not Path("results/compare/report.html").exists()
    assert main(["stop", "results/compare"]) == 0
    assert capsys.readouterr().out == "results/compare: no run is under way there\n"


def test_runs_in_several_processes_and_on_dasks_workers(monkeypatch):
    assert main(["compare", *SMALL, "-o", "here"]) == 0
    assert main(["compare", *SMALL, "-o", "jobs", "--jobs", "2"]) == 0
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(**options) as cluster:
        assert main(["compare", *SMALL, "-o", "dask", "--dask", cluster.scheduler_address]) == 0
    assert outcomes("here") == outcomes("jobs") == outcomes("dask")
    hosts = {plp.Study.load(name).runs[0].command for name in ("here", "dask")}
    assert len(hosts) == 1  # the client's, and not a worker's
    monkeypatch.setattr("plp._extras.find_spec", lambda name: None if name == "distributed" else name)
    assert main(["compare", *SMALL, "-o", "more", "--dask", "127.0.0.1:1"]) == 1


def dies(task):
    os.kill(os.getpid(), signal.SIGKILL)


def test_where_all_workers_of_dask_die_the_command_says_so(monkeypatch, capsys):
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    monkeypatch.setattr(plp.cli, "compare", partial(plp.compare, engine=dies))
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), distributed.LocalCluster(**options) as cluster:
        address = cluster.scheduler_address
        assert main(["compare", *SMALL, "--dask", address]) == 1
    assert re.search(f"plp: --dask {address}: .* all those workers died", capsys.readouterr().err)


def test_a_mistake_does_not_cost_the_study(folder):
    made_up().save(folder / "study.json")
    before = (folder / "study.json").read_bytes()
    assert main(["compare", "--data", "synthetic", "--methods", "sgd,adam", "--fresh", "--output", "."]) == 1
    assert (folder / "study.json").read_bytes() == before


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("train", ["(default: results/NETWORK-METHOD-seed-N,", "--epochs INT", "(default: 10)", "(default: quick)"]),
        ("train --recipe strong", ["(default: strong)", "--sgd.lr FLOAT", "(default: 0.1)", "(default: 60 120 160)"]),
        ("compare", ["(default: results/compare)", "(default: 10)", "(default: paper)"]),
        ("compare --quick", ["(default: 6)", "(default: quick)", "(default: 5000)", "(default: 'sgd,sgd*7/6,plp')"]),
        ("train --method adamw+lookahead", ["--adamw.betas FLOAT FLOAT", "(default: 0.9 0.999)", "--lookahead.rate"]),
    ],
)
def test_help_names_the_defaults(command, defaults, capsys):
    assert main([*command.split(), "--help"]) == 0
    text = words(capsys.readouterr().out)
    assert all(default in text for default in defaults)


def test_help_has_every_option(capsys):
    """Of whatever is chosen; and it fits a terminal of 80 columns."""
    chosen = [*OPTIMIZERS, *PREDICTORS, plp.Augmentation]
    methods = [name for name in (*NAMED_OPTIMIZERS, *NAMED_PREDICTORS)]
    for schedule in plp.schedules.Constant, plp.schedules.Cyclic, plp.schedules.MultiStep, plp.schedules.Cosine:
        name = schedule.__name__.lower()
        assert main(["compare", "--methods", ",".join(methods), "--schedule", name, "--help"]) == 0
        text = capsys.readouterr().out
        for kind in (*chosen, schedule):
            for field in dataclasses.fields(kind):
                option = f"--{kind.__name__.lower()}.{field.name.replace('_', '-')}"
                assert (option in text) == (option != "--sgd.demon")  # which the method demon has
        assert max(map(len, text.splitlines()[3:])) <= 80
        assert not {"``", ":class:", ":meth:", ":func:", "{None}"} & set(re.findall(r"``|:[a-z]+:|{None}", text))
    assert "--predictor" not in text


def test_swa_starts_at_three_quarters_of_a_run():
    """Wherever it is told otherwise, there; a run's folder has the iteration."""
    train = ["--data", "synthetic", "--width", "0.0625", "--batch-size", "8", "--epochs", "2", "--validation", "0.1"]
    assert main(["train", *train, "--method", "swa", "-o", "run"]) == 0
    assert plp.Task.load("run").recipe.predictor == plp.SWA(start=18)  # of 2 times 12, of 90 images
    assert main(["train", "--from", "run", "-o", "again"]) == 0
    assert plp.Task.load("again").recipe == plp.Task.load("run").recipe
    assert main(["compare", *train, "--methods", "sgd,swa", "--swa.start", "0.5", "-o", "study"]) == 0
    assert plp.Study.load("study").methods["swa"].predictor == plp.SWA(start=0.5)
    assert plp.Task.load("study/resnet18-swa-seed-0").recipe.predictor == plp.SWA(start=12)
    assert main(["compare", "study/study.toml", "-o", "second"]) == 0
    assert outcomes("second") == outcomes("study")
    assert main(["profile", "--method", "swa", "--width", "0.0625"]) == 0


def test_every_option_reaches_the_run():
    """From the command line; and from the file that the study leaves, whose study is the same."""
    everything = (
        "compare resnet18 --methods sgd,adamw+lookahead,plp*2 --data synthetic --recipe strong --epochs 1 --repeats 1 "
        "--width 0.0625 --images 90 --validation 0.1 --seed 3 --batch-size 30 --schedule multistep --warmup 0.5 "
        "--multistep.milestones 2 4 --multistep.factor 0.5 --multistep.total 0 --sgd.momentum 0.8 --sgd.nesterov "
        "--adamw.lr 0.003 --adamw.betas 0.8 0.99 --lookahead.rate 0.25 --lookahead.momentum reset --plp.period 4 "
        "--plp.coefficients -0.5 0.5 1 --augmentation.no-flip --augmentation.crop 2"
    )
    assert main([*everything.split(), "--output", "one"]) == 0
    first = plp.Study.load("one/study.json")
    common = {
        "schedule": plp.schedules.Warmup(plp.schedules.MultiStep((2, 4), 0.5), 0.5),
        "batch_size": 30,
        "augmentation": plp.Augmentation(crop=2, flip=False, rotation=15.0),
    }
    sgd = plp.SGD(lr=0.1, momentum=0.8, weight_decay=5e-4, nesterov=True)
    adamw = plp.AdamW(lr=0.003, betas=(0.8, 0.99))
    predictor = plp.PLP(coefficients=(-0.5, 0.5, 1.0), period=4)
    assert first.methods == {
        "sgd": plp.Recipe(optimizer=sgd, **common),
        "adamw+lookahead": plp.Recipe(optimizer=adamw, predictor=plp.Lookahead(rate=0.25, momentum="reset"), **common),
        "plp*2": plp.Recipe(optimizer=dataclasses.replace(sgd, lr=0.2), predictor=predictor, **common),
    }
    assert first.settings.train_images == 90 and first.settings.validation == 0.1
    assert main(["compare", "one/study.toml", "--output", "two"]) == 0
    again = plp.Study.load("two/study.json")
    assert (again.settings, again.methods) == (first.settings, first.methods)
    assert [run.history.epochs[0].train for run in again.runs] == [run.history.epochs[0].train for run in first.runs]
    assert Path("two/study.toml").read_text() == Path("one/study.toml").read_text()


def test_files_of_options():
    """What follows on the command line comes first; keys may have either line."""
    Path("run.toml").write_text(
        'network = "vgg16"\nmethod = "plp"\ndata = "synthetic"\nepochs = 9\nbatch-size = 20\nfresh = false\n'
        "[sgd]\nweight_decay = 0.5\nnesterov = false\n[plp]\ncoefficients = [-1, 1, 1]\n"
    )
    assert main(["train", "run.toml", "resnet18", "--epochs", "1", "--width", "0.0625", "--output", "run"]) == 0
    assert plp.Task.load("run").recipe == dataclasses.replace(
        plp.QUICK,
        optimizer=dataclasses.replace(plp.QUICK.optimizer, weight_decay=0.5),
        predictor=plp.PLP(coefficients=(-1.0, 1.0, 1.0)),
        batch_size=20,
    )


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (None, 1, "plp: study.toml: No such file"),
        ("epochs = ", 1, "plp: study.toml: Invalid value"),
        ("epoch = 3", 2, "--epochs"),
        ('epochs = "many"', 2, "--epochs"),
        ('methods = ["sgd", "adam"]', 1, "no method 'adam'"),
        ("[plp]\nstepp = 2", 2, "--plp.step"),
        ('networks = ["alexnet"]', 2, "alexnet"),
    ],
)
def test_wrong_files_of_options(content, status, message, capsys):
    if content is not None:
        Path("study.toml").write_text(content)
    assert main(["compare", "study.toml"]) == status
    assert message in capsys.readouterr().err


def test_completion(capsys):
    assert main(["--tyro-print-completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "--plp.step" in script and "--augmentation.rotation" in script
    assert re.findall("^complete .*", script, re.MULTILINE) == ["complete -F _tyro_plp plp"]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"plp {plp.__version__}\n"


def test_info_comes_before_the_data_is_read(folder, capsys):
    (folder / "data" / "cifar-100-binary").mkdir(parents=True)
    (folder / "data" / "cifar-100-binary" / "train.bin").write_bytes(b"damaged")
    assert main(["info"]) == 1
    assert f"plp {plp.__version__}" in capsys.readouterr().out


def test_info_and_profile(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert f"plp {plp.__version__}" in said and re.search("^threads: [1-9]", said, re.MULTILINE)
    assert main(["profile", "--width", "0.0625", "--image-size", "24", "--batch-size", "8", "--threads", "1"]) == 0
    assert "images/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "nowhere"),
        (["train", "--method", "sgd+pln"], "no method 'sgd+pln', expected sgd, demon,"),
        (["train", "--method", "ADAM*2"], "did you mean 'adamw'?"),
        (["train", "--data", "synthetic", "--method", "sgd*"], "method 'sgd*' has the factor ''"),
        (["train", "--data", "synthetic", "--width", "-1"], "width"),
        (["profile", "--threads", "-1"], "threads"),
        (["train", "--data", "synthetic", "--lr", "nan"], "learning rate"),
        (["train", "--data", "synthetic", "--epochs", "0"], "epochs"),
        (["train", "--data", "synthetic", "--batch-size", "70000"], "batch size"),
        (["train", "--data", "synthetic", "--width", "0.0625", "--epochs", "30000"], "epochs: found 30000, expected a"),
        (["train", "--data", "synthetic", "--validation", "1"], "validation is 1.0, expected a fraction"),
        (["train", "--data", "synthetic", "--validation", "nan"], "validation is nan, expected a fraction"),
        (["train", "--data", "synthetic", "--images", "2"], "validation is 0.2: of 2 images that leaves none"),
        (["compare", "--jobs", "2", "--dask", "tcp://127.0.0.1:1"], "--jobs 2 and --dask are given, expected one"),
        (["compare", "--data", "synthetic", "--validation", "0.999"], "of 100 images that leaves none for training"),
        (["train", "--data", "synthetic", "--images", "0"], "images is 0, expected a whole number of at least 1"),
        (["train", "--data", "nowhere", "--dataset", "cifar10"], "nowhere: found no CIFAR-10"),
        (["train", "--data", "synthetic", "--dataset", "cifar10"], "--data synthetic and --dataset cifar10 are given"),
        (["train", "--dataset", "cifar10"], "no CIFAR-10 there; `plp download --dataset cifar10` fetches it"),
        (["train", "--plp.step", "2", "--plp.coefficients", "1", "2"], "--plp.step, --plp.coefficients: step chooses"),
        (["compare", "--data", "synthetic", "--jobs", "0"], "jobs is 0"),
        (["stop", "nothing"], "nothing: neither a study nor a run"),
        (["merge", "nothing", "-o", "both"], "nothing"),
        (["export", "nothing"], "nothing"),
        (["evaluate", "nothing.safetensors"], "nothing.safetensors"),
        (["report", "nothing"], "nothing"),
        (["download", "--url", "http://127.0.0.1:1/x.tar.gz"], "cannot reach"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(arguments, message, folder, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("plp: ") and message in error
    assert {path.name for path in folder.rglob("*")} <= {"results", "cache"}


def test_no_scheduler_of_dask_answers(folder, capsys):
    dask = pytest.importorskip("dask")
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        arguments = ["compare", "--data", "synthetic", "--dask", "127.0.0.1:1"]
        test_errors_are_one_line_and_leave_nothing(arguments, "127.0.0.1:1: no scheduler", folder, capsys)


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ([], ["Expected one of {train, compare,"]),
        (["merge", "a", "b"], ["--output", "required"]),
        (["stop"], ["FOLDER", "required"]),
        (["swim"], ["swim", "train, compare,"]),
        (["train", "lenet"], ["'lenet'", "'resnet18', 'vgg16', 'googlenet'"]),
        (["compare", "alexnet"], ["alexnet"]),
        (["train", "--epochs", "x"], ["--epochs", "'x'"]),
        (["train", "--epoch", "3"], ["--epoch, 3", "--epochs"]),
        (["train", "--recipe", "weak"], ["--recipe", "weak", "strong"]),
        (["train", "--schedule", "multistep"], ["--multistep.milestones", "required"]),
        (["train", "--method", "sgd", "--plp.step", "2"], ["--plp.step"]),
        (["train", "--method"], ["--method"]),
        (["train", "--method", "sgd", "--sgd.demon"], ["--sgd.demon"]),
    ],
)
def test_usage(arguments, messages, capsys):
    assert main(arguments) == 2
    error = words(capsys.readouterr().err)
    assert all(message in error for message in messages)


# ---- Output that cannot be written, or should not be -----------------------------------------------------------------


@pytest.fixture
def study(folder):
    """A study with a ± in its table, of which there is nothing but the file."""
    small = ["--data", "synthetic", "--repeats", "2", "--epochs", "1", "--width", "0.0625"]
    assert main(["compare", "--methods", "sgd,plp", *small, "--output", "."]) == 0
    for name in ("curves.png", "report.html"):
        (folder / name).unlink()
    return folder / "study.json"


def plp_command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "plp", *arguments], stderr=subprocess.PIPE, **options)


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(study):
    """As `plp report | head` does; the files are written by then."""
    reader, writer = os.pipe()
    os.close(reader)
    result = plp_command("report", study.name, stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"./: curves.png, report.html\n")
    assert (study.parent / "report.html").exists()


def test_output_that_cannot_be_written_is_an_error(study):
    with open("/dev/full", "w") as full:
        result = plp_command("report", study.name, stdout=full)
    message = b"plp: the output cannot be written: No space left on device\n"
    assert (result.returncode, result.stderr.splitlines(True)[1:]) == (1, [message])
    assert (study.parent / "report.html").exists()


@pytest.mark.parametrize("place", ["stdout", "stderr"])
def test_messages_that_nobody_can_read_change_nothing(place, study):
    def without(*arguments):
        return plp_command(*arguments, preexec_fn=lambda: os.close({"stdout": 1, "stderr": 2}[place])).returncode

    assert without("report", study.name) == 0 and (study.parent / "report.html").exists()
    assert (without("train", "--help"), without("train", "lenet")) == (0, 2)


def test_help_that_cannot_be_written():
    reader, writer = os.pipe()
    os.close(reader)
    assert plp_command("train", "--help", stdout=writer).returncode == 141
    os.close(writer)
    with open("/dev/full", "w") as full:
        result = plp_command("train", "--help", stdout=full)
    assert result.returncode == 1 and b"No space left on device" in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_replaced(encoding, study):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    shown = [
        plp_command(*arguments, stdout=subprocess.PIPE, env=environment, check=True).stdout.decode(encoding)
        for arguments in (["report", study.name], ["train", "--help"])
    ]
    signs = {"ascii": "??", "latin-1": "±?", "utf-8": "±…"}[encoding]
    assert all(sign in text for sign, text in zip(signs, shown))


def test_control_characters_do_not_reach_the_terminal(study, capfd):
    """Those of names in files, in paths, and in what Python warns of."""
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m"
    study.write_text(study.read_text().replace('"synthetic test"', json.dumps(f"test{hostile}")))
    capfd.readouterr()
    assert main(["report", study.name]) == 0
    assert main(["evaluate", f"{hostile}.safetensors"]) == 1
    plp.cli._say(hostile)
    out, err = capfd.readouterr()
    assert r"test\x1b]0;owned\x07\x1b[2J\x9b31m" in out
    assert r"plp: \x1b]0;owned\x07\x1b[2J\x9b31m.safetensors" in err
    assert set(out + err) & {"\x1b", "\x07", "\x9b"} == set()


def test_warnings_of_a_command_are_one_line(folder, monkeypatch, capfd):
    monkeypatch.setattr(plp.cli, "build_info", lambda: warnings.warn("of\x1b[2J something", RuntimeWarning, 1))
    assert main(["info"]) == 0
    assert capfd.readouterr().err == "plp: of\\x1b[2J something\n"
