"""Studies: paired runs, their table, picture and report, and how they go on."""

import errno
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from html import escape
from pathlib import Path

import numpy as np
import plp
import pytest
from plp._files import sole_writer
from plp._plain import to_plain
from plp.plots import history_figure
from plp.studies import space
from plp.studies.leases import held, is_held, let_end
from plp.studies.plots import study_figure
from plp.studies.records import folder_name
from plp.studies.report import choices
from plp.studies.runs import perform
from test_history import drawn, history

ROOT = Path(__file__).parents[2]
RECIPE = plp.Recipe(optimizer=plp.SGD(lr=0.05), batch_size=16)
SMALL = {"epochs": 1, "width": 1 / 16, "recipe": RECIPE, "threads": 1, "progress": False}
ITERATIONS = 3  # an epoch's; a fifth of the images is held out


@pytest.fixture(scope="module")
def synthetic():
    """A few images are enough to tell runs from each other."""
    return plp.datasets.synthetic(60, 20)


def made_up():
    """A study of two seeds without training: PLP is 2 points better with the first, 4 with the second."""
    settings = plp.Settings(
        train="CIFAR-100 train",
        train_images=50_000,
        test="CIFAR-100 test",
        test_images=10_000,
        classes=100,
        width=0.25,
        epochs=4,
        validation=0.2,
        recipe=plp.PAPER,
    )
    methods = {"sgd": plp.PAPER, "plp": replace(plp.PAPER, predictor=plp.PLP())}
    study = plp.Study(settings, methods)
    for seed, method, error in ((0, "sgd", 0.50), (0, "plp", 0.48), (1, "sgd", 0.52), (1, "plp", 0.48)):
        record = plp.History(history().epochs, 3, "", plp.Metrics(2.0, error, 0.2))
        study.runs.append(plp.Run("resnet18", method, seed, record, build="processor: <any>"))
    return study


def test_differences_are_paired_by_seed():
    study = made_up()
    assert study.differences("resnet18", "plp") == pytest.approx([0.02, 0.04])
    heading, sgd, plp_row = study.table()
    assert heading[-2:] == ["accuracy - sgd's [95 % interval]", "p (Holm)"] and sgd[-2:] == ["", ""]
    assert plp_row[3] == "52.00 ± 0.00" and sgd[3] == "49.00 ± 1.41"


def test_the_interval_is_students():
    """Two differences: mean 3, standard error 1, and the 97.5 % quantile of one degree of freedom is 12.706."""
    study = made_up()
    assert study.table()[2][-2:] == ["+3.00 [-9.71, +15.71]", "0.20"]
    assert "95 % confidence interval of their mean (Student's t)" in study.caption()
    study.runs = study.runs[:2]
    assert study.table()[0][-1] == "accuracy - sgd's" and study.table()[2][-1] == "+2.00"
    assert "interval" not in study.caption()


def test_a_run_without_its_partner_has_no_difference():
    study = made_up()
    del study.runs[2]
    assert study.differences("resnet18", "plp") == pytest.approx([0.02])


def test_the_verdict_is_what_the_interval_allows():
    """Two seeds with differences of 2 and 4 points leave anything open; four, all of about 2, do not."""
    study = made_up()
    assert study.verdict() == [
        "plp against sgd: undecided, the difference is between -9.71 and +15.71 points (95 % interval, n = 2, "
        "p = 0.20); an effect of one point would take about 16 more repeats."
    ]
    seeds = {seed: study.runs[0].history.test for seed in range(4)}
    for method, gain in (("sgd", 0), ("plp", 0.02)):
        for seed, test in seeds.items():
            best = replace(test, top1_error=test.top1_error - gain - 0.001 * seed * bool(gain))
            run = replace(study.runs[0], method=method, seed=seed)
            study.runs.append(replace(run, history=replace(run.history, test=best)))
    del study.runs[:4]
    assert study.verdict() == [
        "plp against sgd: better, by between +1.94 and +2.36 points (95 % interval, n = 4, p < 0.001)."
    ]
    study.methods = dict(reversed(study.methods.items()))
    study.methods["base"] = study.methods.pop("sgd")
    study.runs = [replace(run, method="base" if run.method == "sgd" else run.method) for run in study.runs]
    assert study.verdict()[0].startswith("base against plp: worse, by between -2.36 and -1.94 points (95 % interval, ")


def test_one_seed_allows_no_verdict():
    study = made_up()
    del study.runs[2:]
    assert study.verdict() == [
        "plp against sgd: one seed tells nothing, since seeds differ by as much, and has no interval."
    ]
    assert study.verdict()[0] in str(study)


def test_plp_is_held_against_its_control():
    study = made_up()
    control = study.settings.recipe.scaled(7 / 6)
    for name, recipe in (("sgd*7/6", control), ("sgd*2", study.settings.recipe.scaled(2))):
        study.methods[name] = recipe
        study.runs += [replace(run, method=name) for run in study.runs[:3:2]]
    assert study.control("plp") == "sgd*7/6" and study.control("sgd") is None
    assert [sentence.split(":")[0] for sentence in study.verdict()] == [
        "plp against sgd",
        "plp against sgd*7/6",
        "sgd*7/6 against sgd",
        "sgd*2 against sgd",
    ]


def test_failed_runs_are_named():
    study = made_up()
    study.runs[3] = plp.Run("resnet18", "plp", 1, plp.History(), "after 1 of 4 epochs: loss: found nan")
    assert study.table()[2][2] == "1 (1 failed)"
    assert "resnet18 plp seed 1: after 1 of 4 epochs: loss: found nan" in str(study)


def test_survives_json(tmp_path):
    study = made_up()
    study.save(tmp_path / "study.json")
    assert plp.Study.load(tmp_path / "study.json") == study
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def test_compare_on_images_of_another_size():
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 20, 20), np.uint8)
    train = plp.datasets.from_arrays(images, np.arange(60) % 3)
    study = plp.compare(methods=["plp"], train=train, **SMALL)
    assert len(study.runs) == 1 and study.runs[0].failure is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"settings": {}, "methods": {}, "runs": [1]}', "\xff", "[" * 100_000, "9" * 5_000]
)
def test_files_that_are_no_studies(tmp_path, text):
    (tmp_path / "study.json").write_text(text, encoding="latin-1")
    with pytest.raises(plp.Error, match="study.json is not a study"):
        plp.Study.load(tmp_path / "study.json")


def mutations(data):
    """A study's plain data with one value after another taken out, or given another kind or size."""
    others = [None, True, "x", "", -1, 1.5, 10**400, [], {}, [[]], {"type": []}]

    def changed(value):
        if isinstance(value, dict | list):
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                without = value.copy()
                del without[key]
                yield without
                for part in [*others, *changed(value[key])]:
                    other = value.copy()
                    other[key] = part
                    yield other

    return changed(data)


def test_damage_to_a_study_is_an_error_and_nothing_else(tmp_path):
    study = made_up()
    study.runs = study.runs[:2]
    study.runs = [replace(run, history=replace(run.history, epochs=run.history.epochs[:1])) for run in study.runs]
    study.planned = ["resnet18 sgd seed 1"]
    study.save(tmp_path / "study.json")
    refused = read = 0
    for data in mutations(json.loads((tmp_path / "study.json").read_text())):
        (tmp_path / "study.json").write_text(json.dumps(data))
        try:
            study = plp.Study.load(tmp_path / "study.json")
        except plp.Error as error:
            assert "study.json is not a study that plp wrote: " in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert str(study) and choices(study)
            read += 1
    assert refused > 1000 and read > 100  # such as a run that is not there


def test_an_earlier_versions_study_is_read(tmp_path):
    """Recipes were not read as objects then, and named the type of all their parts."""
    path = ROOT / "docs" / "sgd_plp.json"
    study = plp.Study.load(path)
    assert study.methods["plp"] == replace(plp.QUICK, predictor=plp.PLP())
    assert study.settings.recipe == plp.QUICK and len(study.runs) == 12
    data = json.loads(path.read_text())
    data["methods"]["plp"]["optimizer"] = {"type": "DEMON", "lr": 0.1}
    data["methods"]["plp"]["predictor"] = {"type": "EMA", "decay": 0.99, "statistics": "kept"}
    (tmp_path / "study.json").write_text(json.dumps(data))
    recipe = plp.Study.load(tmp_path / "study.json").methods["plp"]
    assert recipe.optimizer == plp.SGD(lr=0.1, demon=True)
    assert recipe.predictor == plp.EMA(decay=0.99, warmup=False, statistics="kept")


def test_the_folder_of_an_earlier_version_goes_on(study, whole, tmp_path):
    """Its file held the runs; checkpoints lay beside it, which are left alone."""
    done = study(methods="sgd")
    data = json.loads((tmp_path / "study.json").read_text())
    shutil.rmtree(tmp_path / "resnet18-sgd-seed-0")
    data |= {"version": 2, "runs": [to_plain(done.runs[0])], "checkpoints": {"resnet18 plp seed 0": "x.checkpoint"}}
    del data["planned"]
    (tmp_path / "study.json").write_text(json.dumps(data))
    (tmp_path / "x.checkpoint").write_text("years of work")
    assert numbers(study()) == whole == numbers(plp.Study.load(tmp_path))
    assert (tmp_path / "x.checkpoint").exists() and not (tmp_path / "resnet18-sgd-seed-0").exists()
    with pytest.raises(ValueError, match="study.json, expected a folder, in which the study is study.json"):
        study(path=tmp_path / "study.json")


def test_a_later_versions_study_is_refused(tmp_path):
    made_up().save(tmp_path / "study.json")
    data = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps({**data, "version": 99}))
    with pytest.raises(plp.Error, match="found version 99, expected 1 to"):
        plp.Study.load(tmp_path / "study.json")


def test_plot(tmp_path):
    made_up().plot(tmp_path / "study.png")
    assert drawn(tmp_path / "study.png") and (tmp_path / "study.png").stat().st_size < 200_000
    with pytest.raises(ValueError, match="no complete run"):
        plp.Study(made_up().settings, {}).plot(tmp_path / "empty.png")


def test_the_picture_says_what_it_shows():
    (row,) = study_figure(made_up()).subfigs
    loss, _, difference, outcome = row.axes
    assert row.get_suptitle() == "resnet18, width 0.25; lines: means of n seeds, bands: ± their standard deviation"
    assert [line.get_label() for line in loss.lines] == ["sgd (n = 2)", "plp (n = 2)"]
    assert difference.get_ylabel() == "validation accuracy - sgd's, points"
    assert [line.get_label() for line in difference.lines] == ["plp (n = 2)", "sgd"]
    assert not any(difference.lines[0].get_ydata())  # the made-up runs have the same curves
    assert [label.get_text() for label in outcome.get_yticklabels()] == ["plp - sgd"]
    seeds, interval, mean, zero = (list(line.get_xdata()) for line in outcome.lines)
    assert (seeds, mean, zero) == (pytest.approx([2, 4]), pytest.approx([3]), [0, 0])
    assert interval == pytest.approx([-9.71, 15.71], abs=0.01)


def test_one_seed_has_a_point_and_no_interval():
    study = made_up()
    del study.runs[2:]
    outcome = study_figure(study).subfigs[0].axes[3]
    assert [list(line.get_xdata()) for line in outcome.lines] == [pytest.approx([2]), [0, 0]] and not outcome.texts


def test_many_methods_have_whiskers_in_place_of_bands():
    study = made_up()
    bands = study_figure(study).subfigs[0].axes[0].collections
    for name in ("a", "b", "c", "d"):
        study.methods[name] = plp.PAPER
        study.runs += [replace(run, method=name) for run in study.runs if run.method == "plp"]
    (row,) = study_figure(study).subfigs
    assert "whiskers: ± their standard deviation" in row.get_suptitle()
    assert (
        {type(c).__name__ for c in bands} != {type(c).__name__ for c in row.axes[0].collections} == {"LineCollection"}
    )


@pytest.mark.parametrize(("width", "columns"), [(12, 2), (4.5, 1)])
def test_panels_stack_where_there_is_no_room(tmp_path, width, columns):
    figure = made_up().plot(tmp_path / "study.png", width=width)
    assert (tmp_path / "study.png").exists() and figure.get_size_inches()[0] == width
    figure.canvas.draw()
    panels = [axes.get_tightbbox() for axes in figure.subfigs[0].axes]
    assert len({round(axes.get_position().x0, 2) for axes in figure.subfigs[0].axes}) == columns
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.width for box in panels)


def test_a_notebook_shows_pictures_and_tables():
    study = made_up()
    assert study.plot()._repr_png_().startswith(b"\x89PNG")
    assert "<td>plp</td>" in study._repr_html_() and "undecided, the difference is" in study._repr_html_()
    study.methods["<b>"] = plp.PAPER
    study.runs.append(replace(study.runs[0], method="<b>"))
    assert "<b>" not in study._repr_html_() and "&lt;b&gt;" in study._repr_html_()
    assert repr(study) == "<plp.Study of resnet18 by sgd, plp, <b>: 5 runs>"


def test_columns_that_a_terminal_has_no_room_for_stand_below(monkeypatch):
    study = made_up()
    wide = str(study).partition("\nmean ±")[0]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal, end = pty.openpty()
    with open(terminal), open(end, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        narrow = str(study).partition("\nmean ±")[0]
    assert max(map(len, wide.splitlines())) > 80 >= max(map(len, narrow.splitlines()))
    tables = [table.splitlines() for table in narrow.split("\n\n")]
    assert all(lines[0].startswith("network   method") and len(lines) == len(wide.splitlines()) for lines in tables)
    assert set(narrow.split()) == set(wide.split()) - {wide.splitlines()[1]} | {lines[1] for lines in tables}


def test_a_failed_seed_does_not_hide_the_others():
    study = made_up()
    study.runs[3] = plp.Run("resnet18", "plp", 1, plp.History(), "after 1 of 4 epochs: loss: found nan")
    loss, _, difference, _ = study_figure(study).subfigs[0].axes
    assert [line.get_label() for line in loss.lines] == ["sgd (n = 2)", "plp (n = 1)"]
    assert [len(line.get_xdata()) for line in loss.lines] == [4, 4]
    assert difference.lines[0].get_label() == "plp (n = 1)"


@pytest.mark.parametrize("epochs", [1, 2, 15])
def test_the_axis_is_of_whole_epochs(epochs):
    study = made_up()
    study.runs = [replace(run, history=history(epochs)) for run in study.runs]
    for figure in (study_figure(study), history_figure(history(epochs))):
        figure.canvas.draw()
        for axes in (figure.subfigs or [figure])[0].axes[:3]:
            low, high = axes.get_xlim()
            shown = [tick for tick in axes.get_xticks() if low <= tick <= high]
            assert shown and all(tick == round(tick) for tick in shown), shown


@pytest.mark.filterwarnings("error")
def test_failed_runs_alone_can_be_drawn():
    study = made_up()
    study.runs = [plp.Run("resnet18", "sgd", 0, history(), "after 1 of 4 epochs: loss: found nan")]
    assert not study_figure(study).subfigs[0].axes[0].lines


def test_compare(synthetic, tmp_path):
    train, test = synthetic
    path = tmp_path / "new"
    study = plp.compare(methods=["sgd", "plp"], train=train, test=test, path=path, **SMALL)
    assert [(run.method, run.seed) for run in study.runs] == [("sgd", 0), ("plp", 0)]
    assert str(study).count("resnet18") == 2
    assert json.loads((path / "study.json").read_text())["settings"]["epochs"] == 1

    longer = plp.compare(methods=["sgd", "plp"], train=train, test=test, path=path, repeats=2, **SMALL)
    assert longer.runs[:2] == study.runs and len(longer.runs) == 4
    assert plp.Study.load(path) == plp.Study.load(path / "study.json") == longer
    wider = plp.compare(methods=["ema"], train=train, test=test, path=path, **SMALL)
    assert list(wider.methods) == ["sgd", "plp", "ema"] and len(wider.runs) == 5
    with pytest.raises(ValueError, match="whose epochs is 1, expected 3"):
        plp.compare(methods=["sgd"], train=train, test=test, path=path, **{**SMALL, "epochs": 3})


def test_the_same_method_twice_is_the_same_run(synthetic):
    methods = {"one": {}, "two": {}, "control": {"optimizer": plp.SGD(lr=0.01)}}
    study = plp.compare(methods=methods, train=synthetic[0], test=synthetic[1], **SMALL)
    one, two, control = (run.history.test for run in study.runs)
    assert one == two != control
    assert study.baseline == "one"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["sgd", "adam"]}, "no method 'adam', expected .*, did you mean 'adamw'"),
        ({"methods": []}, "methods"),
        ({"methods": ["sgd", 3]}, "a method is 3, expected a name such as 'plp'"),
        ({"methods": ["sgd*"]}, r"method 'sgd\*' has the factor '', expected a number above 0"),
        ({"methods": ["sgd*1e400"]}, "has the factor '1e400'"),
        ({"methods": ["sgd*1e999999999"]}, "has the factor '1e999999999'"),
        ({"methods": ["sgd*-1"]}, "has the factor '-1'"),
        ({"methods": ["sgd*7/0"]}, "has the factor '7/0'"),
        (
            {"methods": {"sgd": {"momentun": 0.1}}},
            "'sgd' changes 'momentun', expected one of optimizer, .*, lr, momentum, .*, did you mean 'momentum'",
        ),
        ({"methods": {"adamw": {"optimizer": plp.AdamW(), "momentum": 0.5}}}, "changes 'momentum', expected one of"),
        ({"methods": {"sgd": None}}, "method 'sgd' is None, expected a recipe or a dict"),
        ({"methods": {"sgd": "plp"}}, "method 'sgd' is 'plp', expected a recipe or a dict"),
        ({"methods": {"sgd": {"optimizer": None}}}, "optimizer is None, expected SGD"),
        ({"methods": {0.01: {}}}, "a method's name is 0.01, expected printable text"),
        ({"methods": {"a\nb": {}}}, "a method's name is 'a.*b', expected printable text"),
        ({"methods": {" ": {}}}, "a method's name is ' ', expected printable text"),
        ({"repeats": 0}, "repeats is 0"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"methods": {"a": {}, "b": {"batch_size": 0}}}, "batch"),
        ({"methods": {"a": {}, "b": {"predictor": plp.PLP(coefficients=(1,))}}}, "coefficients: found .*expected 2 to"),
        ({"networks": ["resnet18", "alexnet"]}, "alexnet"),
        ({"methods": {"a": {}, "b": {"optimizer": plp.SGD(lr=-1)}}}, "-1"),
        ({"train": "data"}, "train is 'data', expected a dataset or a pair of images and labels"),
        ({"test": "data"}, "test is 'data', expected a dataset or a pair of images and labels"),
        ({"networks": []}, r"networks is \[\], expected a list of names"),
        ({"networks": 3}, "networks is 3, expected a list of names"),
        ({"methods": None}, "methods is None, expected a list of names or a dict"),
        ({"methods": {}}, "methods is {}, expected at least one"),
        ({"path": ""}, "path is '', expected a folder"),
        ({"weights": "no"}, "weights is 'no', expected bool"),
        ({"engine": "torch"}, "engine is 'torch', expected a function of a plp.Task"),
        ({"engine": lambda task: None, "jobs": 2}, "engine is <function .*, expected a function of a module"),
        ({"callback": lambda report: None, "jobs": 2}, r"callback is \[<function .*, expected a function of a module"),
        ({"executor": ProcessPoolExecutor}, "executor is the class ProcessPoolExecutor, expected one that was made"),
        ({"validation": "most"}, "validation is 'most', expected a fraction or None"),
    ],
)
def test_mistakes_are_found_before_the_first_run(synthetic, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        plp.compare(**{"train": synthetic[0], "path": tmp_path, **SMALL, **changes})
    assert not files(tmp_path)


def test_one_name_stands_for_a_list_of_one(synthetic):
    study = plp.compare("resnet18", "sgd", train=synthetic[0], validation=None, **SMALL)
    assert [run.name for run in study.runs] == ["resnet18 sgd seed 0"]
    assert study.settings.validation == 0 and study.runs[0].build == plp.build_info()


def test_an_unwritable_path_is_found_before_the_first_run(synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(plp.Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(FileNotFoundError, match="missing/study'"):
        plp.compare(train=synthetic[0], path=tmp_path / "missing" / "study", **SMALL)


def test_a_disk_that_is_too_small_is_found_before_the_first_run(study, disk, trained, tmp_path):
    """And one that has as much as is said to be needed is large enough."""
    with pytest.raises(OSError, match=r"too little room: about .* MB are needed .*, 0.5 MB are free: ") as error:
        study()
    assert error.value.filename == str(tmp_path) and not trained[0]
    needed = float(re.search(r"about ([0-9.]+) MB", str(error.value))[1]) * 1e6
    disk(1.2 * needed)  # a file of a model as small as this one is a good part names
    assert len(study().runs) == 2
    epochs = len(trained[0])
    disk(1.02 * shutil.disk_usage(tmp_path).used)
    assert len(study().runs) == 2 and len(trained[0]) == epochs  # what is complete needs nothing
    with pytest.raises(OSError, match="too little room"):
        study(repeats=2)
    with pytest.raises(OSError, match="too little room"):
        study(fresh=True)
    assert len(plp.Study.load(tmp_path).runs) == 2


def test_what_is_watched_and_told_by_iteration_needs_room_too(study, disk, tmp_path):
    def needed(**options):
        disk(1000)
        with pytest.raises(OSError, match="too little room") as error:
            study(methods="sgd", fresh=True, **options)
        return float(re.search(r"about ([0-9.]+) MB", str(error.value))[1]) * 1e6

    watching = {"metrics": "iteration", "recipe": replace(RECIPE, watch=plp.Watch(samples=1000))}
    before, more = needed(), needed(**watching)
    disk(1e9)
    folder = study(methods="sgd", **watching).runs[0].folder
    watched = (folder / "watched.npz").stat().st_size
    assert 2 * watched <= more - before <= 3 * watched + 2e6  # in two checkpoints; a watch has vectors of its own, too
    task = replace(plp.Task.load(folder), metrics="iteration")
    layers = len(plp.Model.load(folder / "last.safetensors").parameter_names)
    assert watched <= space._watched(task, layers) <= 1.1 * watched
    assert (size := (folder / "iterations.csv").stat().st_size) <= space._lines(task) <= 3 * size


def test_a_file_system_without_locks(study, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "not implemented")))
    with pytest.warns(RuntimeWarning, match="study.json: not implemented; no two processes must write it"):
        assert len(study(methods="sgd", epochs=1).runs) == 1


def test_numbers_of_numpy_are_options_too(synthetic, tmp_path):
    recipe = plp.Recipe(optimizer=plp.SGD(lr=np.float32(0.05)), batch_size=np.int64(16))
    averaging = plp.PLP(coefficients=np.array([0.5, 0.5]), period=np.int32(2))
    methods = {"sgd": {}, "averaging": {"predictor": averaging}}
    arguments = {**SMALL, "recipe": recipe, "epochs": np.int64(1), "validation": np.float32(0.25), "seed": np.uint8(3)}
    study = plp.compare(methods=methods, train=synthetic[0], path=tmp_path, **arguments)
    again = plp.compare(methods=methods, train=synthetic[0], path=tmp_path, **arguments)
    assert again == study and len(study.runs) == 2


def test_options_that_are_no_plain_numbers_survive(synthetic, tmp_path):
    own = {"optimizer": plp.SGD(lr=Fraction(1, 20)), "schedule": plp.schedules.MultiStep(range(2, 10))}
    arguments = {"methods": {"own": own}, "train": synthetic[0], "path": tmp_path, **SMALL}
    study = plp.compare(**arguments)
    assert plp.compare(**arguments) == study and len(study.runs) == 1
    assert study.methods["own"].schedule.milestones == tuple(range(2, 10))


def test_another_recipe_is_told_by_what_differs(study):
    study(methods="sgd", epochs=1)
    with pytest.raises(ValueError, match=r"whose recipe.optimizer.lr is 0.05, expected 0.1: choose another folder"):
        study(methods="sgd", epochs=1, recipe=replace(RECIPE, optimizer=plp.SGD(lr=0.1)))
    with pytest.raises(ValueError, match=r"another method of the name 'sgd', whose batch_size is 16, expected 32"):
        study(methods={"sgd": {"batch_size": 32}}, epochs=1)


@pytest.mark.parametrize("name", ["_base", "$\\alpha$", "$", "$\\foo$", "a_b^c", "%", "<b>&", "{0}", "日本", "-0.01"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_is_shown_as_it_is(tmp_path, name):
    study = made_up()
    study.methods[name] = study.methods.pop("plp")
    study.runs = [replace(run, method=name) if run.method == "plp" else run for run in study.runs]
    study.save(tmp_path / "study.json")
    study = plp.Study.load(tmp_path / "study.json")
    assert study.table()[2][1] == name
    figure = study_figure(study)
    figure.canvas.draw()
    legend = [text.get_text() for text in figure.subfigs[0].axes[0].get_legend().get_texts()]
    assert [text.replace("\\$", "$").strip() for text in legend] == ["sgd (n = 2)", f"{name} (n = 2)"]
    study.report(tmp_path / "report.html")
    assert f"<td>{escape(name)}</td>" in (tmp_path / "report.html").read_text()


def test_what_a_file_says_does_not_command_the_terminal(tmp_path):
    hostile, shown = "\x1b[2J\x9b", r"\x1b[2J\x9b"
    study = made_up()
    study.runs = [
        replace(
            run, network=f"net{hostile}", history=replace(run.history, data=f"data{hostile}"), failure=f"why{hostile}"
        )
        for run in study.runs
    ]
    study.save(tmp_path / "study.json")
    study = plp.Study.load(tmp_path / "study.json")
    assert f"net{shown}" in str(study) and f"why{shown}" in str(study) and f"data{shown}" in str(study.runs[0].history)
    assert not set(f"{study}{study.runs[0].history}") & set(hostile[:1] + hostile[-1:])


def test_a_file_without_runs_does_not_hold_to_its_settings(synthetic, tmp_path):
    with pytest.raises(ValueError, match="validation"):
        plp.compare(train=synthetic[0], path=tmp_path, validation=1.5, **SMALL)
    study = plp.compare(methods="sgd", train=synthetic[0], path=tmp_path, **SMALL)
    assert len(study.runs) == 1


def test_fresh_replaces_a_study(synthetic, tmp_path):
    arguments = {"methods": "sgd", "train": synthetic[0], "path": tmp_path}
    plp.compare(**arguments, **SMALL, repeats=2)
    study = plp.compare(**arguments, **{**SMALL, "epochs": 2}, fresh=True)
    assert plp.Study.load(tmp_path) == study and len(study.runs) == 1
    assert files(tmp_path) == [*COMPLETE, ".json"]


def test_a_diverging_method_does_not_end_the_study(synthetic):
    methods = {"far": {"optimizer": plp.SGD(lr=1000, weight_decay=1000)}, "sgd": {}}
    study = plp.compare(methods=methods, train=synthetic[0], **{**SMALL, "epochs": 3})
    assert study.runs[0].failure and study.runs[1].outcome


TWO = {**SMALL, "methods": ["sgd", "plp"], "epochs": 2}


class PowerCut(BaseException):
    """Ends the study as abruptly as an exception can."""


def numbers(study):
    """All that a study's runs measured, but for the time they took."""
    return {run.name: ([(e.train, e.validation) for e in run.history], run.history.test) for run in study.runs}


@pytest.fixture(scope="module")
def whole(synthetic):
    """What a study that is left alone comes to."""
    return numbers(plp.compare(train=synthetic[0], test=synthetic[1], **TWO))


@pytest.fixture
def study(synthetic, tmp_path):
    """A study in ``tmp_path``, to be called again and again."""
    train, test = synthetic
    return lambda **changes: plp.compare(**{"train": train, "test": test, "path": tmp_path, **TWO, **changes})


@pytest.fixture
def trained(monkeypatch):
    """A list of the epochs whose iterations were trained, and how to end them: {(method's predictor, epoch,
    iteration): exception}."""
    epochs, ends, fit = [], {}, plp.Trainer.fit

    def watched(trainer, *arguments, callback=None, **options):
        def on_iteration(progress):
            if progress.phase == "training":
                epochs.append(progress.epoch)
            if callback:
                callback(progress)
            place = (trainer.recipe.predictor is not None, progress.phase, progress.epoch, progress.iteration)
            if place in ends:
                raise ends.pop(place)

        return fit(trainer, *arguments, callback=on_iteration, **options)

    monkeypatch.setattr(plp.Trainer, "fit", watched)
    return epochs, ends


COMPLETE = [".csv", ".json", ".safetensors", ".safetensors"]
"""What a run's folder holds."""
BEGUN = [".csv", ".json", ".plp", ".safetensors", ".safetensors"]
"""What it holds where it was interrupted after an epoch."""


def files(folder):
    """What kinds of files a user sees in a study's folder: those of one run after the other, and the study's."""
    runs = sorted(path for path in folder.iterdir() if path.is_dir())
    return [
        suffix
        for place in [*runs, folder]
        for suffix in sorted(path.suffix for path in place.iterdir() if path.is_file() and path.name[0] != ".")
    ]


def interrupted(study, **options):
    """The study that Ctrl-C ended, as its exception has it."""
    with pytest.raises(KeyboardInterrupt) as raised:
        study(**options)
    return raised.value.study


@pytest.mark.parametrize(
    ("place", "iterations"),
    [
        (("training", 2, 2), ITERATIONS - 2),
        (("validation", 2, 1), 0),
        (("epoch end", 1, ITERATIONS), ITERATIONS),
        (("test", 2, 1), 0),
    ],
    ids=str,
)
def test_ctrl_c_keeps_the_run_under_way(study, trained, whole, tmp_path, place, iterations):
    epochs, ends = trained
    ends[True, *place] = KeyboardInterrupt()
    stopped = interrupted(study)
    assert stopped.interrupted and [run.method for run in stopped.runs] == ["sgd"]
    assert plp.Study.load(tmp_path).runs == stopped.runs
    found = files(tmp_path)
    assert found[:-5] in (BEGUN, BEGUN[1:]) and found[-5:] == [*COMPLETE, ".json"]
    epochs.clear()
    finished = study()
    assert numbers(finished) == whole and not finished.interrupted
    assert len(epochs) == iterations
    assert files(tmp_path) == [*COMPLETE, *COMPLETE, ".json"]
    for run in finished.runs:
        lines = (tmp_path / folder_name(run.name) / "metrics.csv").read_text().splitlines()
        assert [line.split(",")[:3] for line in lines[1:]] == [
            [str(epoch.epoch), str(epoch.learning_rate), str(epoch.seconds)] for epoch in run.history
        ]


def test_a_power_cut_costs_an_epoch_at_most(study, trained, whole, tmp_path):
    epochs, ends = trained
    ends[True, "training", 2, ITERATIONS] = PowerCut()
    with pytest.raises(PowerCut):
        study()
    epochs.clear()
    assert numbers(study()) == whole
    assert epochs == [2] * ITERATIONS and files(tmp_path) == [*COMPLETE, *COMPLETE, ".json"]


def test_other_runs_in_between_leave_it_alone(study, trained, whole, tmp_path):
    epochs, ends = trained
    ends[True, "epoch end", 1, ITERATIONS] = KeyboardInterrupt()
    interrupted(study)
    ends[False, "epoch end", 1, ITERATIONS] = KeyboardInterrupt()
    assert len(interrupted(study, methods="sgd", repeats=2).runs) == 1
    epochs.clear()
    assert numbers(study()) == whole and epochs == [2] * ITERATIONS
    assert len(list(tmp_path.glob("*/checkpoint.plp"))) == 1  # of the second seed, which this call did not ask for


def damaged(file, _):
    file.write_bytes(file.read_bytes()[:-1])


def of_another_method(file, train):
    save_checkpoint(file, train, plp.options.by_name("ema", RECIPE))


def of_other_images(file, train):
    save_checkpoint(file, train[:40], plp.options.by_name("plp", RECIPE))


def save_checkpoint(file, train, recipe):
    trainer = plp.Trainer(plp.Model("resnet18", width=1 / 16), **vars(recipe), threads=1)
    trainer.fit(train, validation=0.2, progress=False)
    trainer.save(file)


@pytest.mark.parametrize("spoil", [damaged, of_another_method, of_other_images])
def test_a_checkpoint_of_no_use_is_not_used(study, trained, whole, synthetic, tmp_path, spoil):
    epochs, ends = trained
    ends[True, "epoch end", 1, ITERATIONS] = KeyboardInterrupt()
    interrupted(study)
    (checkpoint,) = tmp_path.glob("*/checkpoint.plp")
    spoil(checkpoint, synthetic[0])
    spoilt = checkpoint.read_bytes()
    epochs.clear()
    with pytest.warns(RuntimeWarning, match=f"starts anew, its checkpoint is now .*{checkpoint.name}.*.unused: "):
        assert numbers(study()) == whole
    assert len(epochs) == 2 * ITERATIONS and files(tmp_path) == [*COMPLETE, ".unused", *COMPLETE, ".json"]
    (aside,) = tmp_path.glob("*/checkpoint.plp.*.unused")
    assert aside.read_bytes() == spoilt


def test_each_checkpoint_of_no_use_is_kept(study, trained, tmp_path):
    _, ends = trained
    for number in (1, 2):
        ends[True, "training", 2, 1] = KeyboardInterrupt()
        with nullcontext() if number == 1 else pytest.warns(RuntimeWarning, match="starts anew"):
            interrupted(study)
        (checkpoint,) = tmp_path.glob("*/checkpoint.plp")
        checkpoint.write_bytes(f"number {number}".encode())
    with pytest.warns(RuntimeWarning, match="starts anew"):
        study()
    assert {path.read_bytes() for path in tmp_path.glob("*/*.unused")} == {b"number 1", b"number 2"}


def test_a_checkpoint_that_cannot_be_read_stays(study, trained, tmp_path, monkeypatch):
    _, ends = trained
    ends[True, "epoch end", 1, ITERATIONS] = KeyboardInterrupt()
    interrupted(study)
    (checkpoint,) = tmp_path.glob("*/checkpoint.plp")
    before = checkpoint.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(plp.Trainer, "restore", lambda *_: (_ for _ in ()).throw(OSError("input/output error")))
        with pytest.raises(OSError, match="input/output"):
            study()
    assert checkpoint.read_bytes() == before and len(study().runs) == 2


def test_two_processes_do_not_write_one_study(study, tmp_path):
    with (
        sole_writer(tmp_path / "study.json"),
        pytest.raises(OSError, match="in use: another .*study.json"),
    ):
        study()
    assert len(study(methods="sgd").runs) == 1


def test_a_run_that_some_process_makes_is_not_made_twice(study, tmp_path):
    """A study that starts anew is told of it, one that goes on waits for that process, and takes what it made."""
    done = study(methods="sgd")
    folder = tmp_path / "resnet18-sgd-seed-0"
    with held(folder), pytest.raises(OSError, match="in use: another process makes this run"):
        study(methods="sgd", fresh=True)
    file = folder / "run.json"
    complete = file.read_text()
    file.write_text(json.dumps(json.loads(complete) | {"complete": False}))
    with held(folder):
        thread = threading.Thread(target=lambda: results.append(study(methods="sgd")))
        results = []
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        file.write_text(complete)
    thread.join()
    assert results == [done]


def test_a_lock_does_not_outlive_its_owner(tmp_path):
    program = "import os, sys; from pathlib import Path; from plp.studies.leases import held\n"
    program += "with held(Path('.')): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path).returncode == -9
    assert is_held(tmp_path)
    with held(tmp_path):
        pass
    assert not is_held(tmp_path)


def test_a_lock_of_another_machine_is_free_after_half_a_minute_without_a_sign_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr("plp.studies.leases.LEASE", 0.5)
    lock = tmp_path / "lock"
    with held(tmp_path):
        text = lock.read_text()
    lock.write_text(re.sub("host=.*", "host=elsewhere", text))
    with pytest.raises(OSError, match="in use: another process makes this run"), held(tmp_path):
        pass
    os.utime(lock, (0, 0))
    with held(tmp_path):
        assert "host=elsewhere" not in lock.read_text()


@pytest.mark.parametrize("wait", [False, True])
def test_a_lock_whose_owner_died_before_it_signed_is_free_after_half_a_minute(tmp_path, monkeypatch, wait):
    monkeypatch.setattr("plp.studies.leases.LEASE", 0.5)
    (tmp_path / "lock").touch()
    if not wait:
        with pytest.raises(OSError, match="in use: another process makes this run"), held(tmp_path):
            pass
        os.utime(tmp_path / "lock", (0, 0))
    with held(tmp_path, wait=wait):
        assert (tmp_path / "lock").read_text()
    (tmp_path / "lock").touch()
    let_end(tmp_path, lambda: None)
    assert not is_held(tmp_path)


def test_only_what_the_study_itself_left_is_removed(study, tmp_path):
    study(methods="sgd", epochs=1)
    folder = tmp_path / "resnet18-sgd-seed-0"
    mine = [folder / "notes.txt", folder / "run.json.partial", tmp_path / "thesis.tex", tmp_path / "x" / "metrics.csv"]
    (tmp_path / "x").mkdir()
    for path in mine:
        path.write_text("years of work")
    study(methods="plp", epochs=1, fresh=True)
    assert all(path.read_text() == "years of work" for path in mine)
    assert not (folder / "run.json").exists() and len(plp.Study.load(tmp_path).runs) == 1


@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "best.safetensors"])
def test_foreign_files_in_a_runs_folder_are_not_replaced(study, tmp_path, name):
    folder = tmp_path / "resnet18-sgd-seed-0"
    folder.mkdir()
    (folder / name).write_text("years of work")
    for fresh in (False, True):
        with pytest.raises((FileExistsError, plp.Error), match="not a run"):
            study(methods="sgd", epochs=1, fresh=fresh)
    assert (folder / name).read_text() == "years of work"


def test_a_run_and_a_study_do_not_share_a_folder(study, tmp_path):
    run = study(methods="sgd", epochs=1).runs[0]
    with pytest.raises(ValueError, match="which holds a run, expected a folder for a study"):
        study(path=run.folder)
    with pytest.raises(FileExistsError, match="holds a study, expected a folder for a run"):
        perform(replace(plp.Task.load(run.folder), folder=tmp_path), plp.engine)
    with pytest.raises(ValueError, match="expected a list of folders"):
        plp.merge(str(tmp_path))


def test_a_study_is_written_where_its_name_leads(study, trained, whole, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "study").symlink_to("elsewhere")
    _, ends = trained
    ends[True, "epoch end", 1, ITERATIONS] = KeyboardInterrupt()
    interrupted(study, path=tmp_path / "study")
    assert files(tmp_path / "elsewhere") == [*BEGUN, *COMPLETE, ".json"]
    assert numbers(study(path=tmp_path / "study")) == whole and (tmp_path / "study").is_symlink()


def test_a_study_is_stopped_from_elsewhere(study, whole, synthetic, tmp_path):
    """By a file, which is heard after an iteration, and of which nothing stays."""

    def stop(progress):
        if (progress.epoch, progress.iteration) == (2, 1):
            plp.stop(tmp_path)

    stopped = study(callback=stop)
    assert stopped.interrupted and not stopped.runs and files(tmp_path) == [*BEGUN, ".json"]
    assert json.loads((tmp_path / "resnet18-sgd-seed-0" / "run.json").read_text())["complete"] is False
    assert numbers(study()) == whole
    with pytest.raises(FileNotFoundError, match="neither a study nor a run"):
        plp.stop(tmp_path.parent)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_that_is_stopped_goes_on_with_its_study(study, whole, tmp_path, fresh):
    stopped = study(callback=lambda progress: plp.stop(tmp_path / "resnet18-sgd-seed-0"))
    assert stopped.interrupted and not stopped.runs
    assert numbers(study(fresh=fresh)) == whole and not list(tmp_path.glob("*/stop"))


def test_a_file_named_stop_beside_a_run_is_not_plps(study, tmp_path):
    task = plp.Task.load(study(methods="sgd", epochs=1).runs[0].folder)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "stop").touch()
    assert len(perform(replace(task, folder=tmp_path / "runs" / "run"), plp.engine).history) == 1


def test_long_names(study, tmp_path):
    names = ["a" * 240, "a" * 241]
    assert [run.method for run in study(methods={name: {} for name in names}, epochs=1).runs] == names
    assert len(plp.Study.load(tmp_path).runs) == 2


def test_a_folder_whose_name_is_not_utf8_is_refused(study, tmp_path):
    with pytest.raises(ValueError, match="has a name that is not UTF-8"):
        study(path=os.fsencode(tmp_path).decode() + "/a\udcff")
    assert not list(tmp_path.iterdir())


def test_metrics_have_each_epoch_once(study, trained, tmp_path):
    """Whether the process was killed before or within the line of an epoch that the checkpoint has."""
    _, ends = trained
    ends[False, "epoch end", 2, ITERATIONS] = KeyboardInterrupt()
    interrupted(study, methods="sgd", epochs=3)
    file = tmp_path / "resnet18-sgd-seed-0" / "metrics.csv"
    whole, checkpoint = file.read_text(), (file.parent / "checkpoint.plp").read_bytes()
    for cut in (len(whole), len(whole) - 10, whole.index("\n2,") + 1, whole.index("\n1,"), 0):
        file.write_text(whole[:cut])
        run = json.loads((file.parent / "run.json").read_text()) | {"complete": False}
        (file.parent / "run.json").write_text(json.dumps(run))
        (file.parent / "checkpoint.plp").write_bytes(checkpoint)
        study(methods="sgd", epochs=3)
        lines = [line.split(",")[:6] for line in file.read_text().splitlines()]
        assert [line[0] for line in lines] == ["epoch", "1", "2", "3"] and lines[2] == whole.splitlines()[2].split(",")[
            :6
        ]


@pytest.mark.parametrize("place", [("training", 2, 2), ("epoch end", 1, ITERATIONS)], ids=str)
def test_metrics_by_iteration(study, trained, tmp_path, place):
    """As many as there are, once each, whether the run goes on from within an epoch or from its end."""

    def lines(folder):
        rows = [line.split(",") for line in (folder / "iterations.csv").read_text().splitlines()]
        assert rows[0] == "epoch,iteration,learning_rate,predicted,loss,top1_error,top5_error,seconds".split(",")
        return [row[:-1] for row in rows[1:]]

    folder, whole = tmp_path / "resnet18-plp-seed-0", tmp_path / "whole"
    (run,) = study(methods="plp", metrics="iteration", path=whole).runs
    rows = lines(whole / folder.name)
    assert [row[:2] for row in rows] == [[epoch, number] for epoch in "12" for number in "123"]
    assert [row[3] for row in rows] == ["0", "0", "1"] * 2
    losses = [float(row[4]) for row in rows]
    assert np.mean(losses[3:]) == pytest.approx(run.history[1].train.loss)

    trained[1][True, *place] = KeyboardInterrupt()
    interrupted(study, methods="plp", metrics="iteration")
    done = lines(folder)
    with open(folder / "iterations.csv", "a") as file:  # as a process leaves it that is killed after its checkpoint
        file.write(f"{place[1]},3,0.05,1,4.5,1.0,1.0,0.1\n" * (len(done) > 3) + "2,1")
    study(methods="plp", metrics="iteration")
    assert lines(folder) == rows and done == rows[: len(done)]

    for options, message in (({"metrics": "epochs"}, "metrics is 'epochs'"), ({"path": None}, "path is None")):
        with pytest.raises(ValueError, match=message):
            study(**{"metrics": "iteration", **options})


def test_complete_runs_on_other_images_are_not_taken(study, synthetic, tmp_path):
    study(methods="sgd", epochs=1)
    folder = tmp_path / "resnet18-sgd-seed-0"
    others = plp.datasets.from_arrays(synthetic[0].images[::-1], synthetic[0].labels, 100, name=synthetic[0].name)
    with pytest.raises(ValueError, match=r"sgd-seed-0 holds a run whose train.checksum is \w+, expected \w+"):
        perform(replace(plp.Task.load(folder), train=others, folder=folder), plp.engine)
    with pytest.raises(ValueError, match=r"holds a study whose train_checksum is \w+, expected \w+"):
        study(methods=["sgd", "plp"], epochs=1, train=others)


def test_the_last_model_is_measured_too(study, tmp_path, monkeypatch):
    evaluate, measured = plp.Trainer.evaluate, []
    monkeypatch.setattr(plp.Trainer, "evaluate", lambda *of: measured.append(of[1].name) or evaluate(*of))
    for validation, is_same in ((0.2, False), (0, True)):
        (run,) = study(methods="sgd", validation=validation, path=tmp_path / str(validation)).runs
        history = run.history
        assert (history.best_epoch == 2) == is_same
        assert measured.count("synthetic test") == 1  # at the end, and not where it is known
        assert history.last_test == run.last == plp.Study.load(run.folder.parent).runs[0].last
        test = plp.Task.load(run.folder).test
        assert plp.Model.load(run.folder / "last.safetensors").evaluate(test) == history.last_test
        assert history.last_test == history.test or not is_same
        assert plp.Study.load(run.folder.parent).to_rows()[0]["last_accuracy"] == history.last_test.accuracy
    (run,) = study(methods="sgd", test=None, path=tmp_path / "without").runs
    assert run.history.last_test is None and run.last == run.history[-1].validation


def test_the_runs_of_an_earlier_version_are_read(study, whole, tmp_path):
    study()
    for file in [tmp_path / "study.json", *tmp_path.glob("*/run.json")]:
        data = json.loads(file.read_text())
        data["version"] = 3
        if "run" in data:
            del data["run"]["history"]["last_test"]
        file.write_text(json.dumps(data))
    read = study(repeats=1)
    assert numbers(read) == whole and read.runs[0].last is None
    assert {answer.images for answer in read.answers() if answer.model == "last"} == {"validation"}


def test_a_run_is_recreated_from_its_folder(study, tmp_path):
    run = study(methods="plp", epochs=1).runs[0]
    task = plp.Task.load(tmp_path / "resnet18-plp-seed-0")
    assert task.recipe == replace(RECIPE, predictor=plp.PLP()) and task.folder is None
    history = plp.engine(task)
    assert [(e.train, e.validation) for e in history] == [(e.train, e.validation) for e in run.history]
    assert history.test == run.history.test
    assert plp.Model.load(tmp_path / "resnet18-plp-seed-0" / "best.safetensors").evaluate(task.test) == history.test
    assert run.versions["plp"] == plp.__version__ and run.seconds > 0 and "pytest" in run.command
    images = plp.datasets.from_arrays(task.train.images, task.train.labels, name="mine")
    study(methods="sgd", path=tmp_path / "arrays", train=images, test=None, epochs=1)
    with pytest.raises(ValueError, match="'mine' is arrays, of which a file has only the name"):
        plp.Task.load(tmp_path / "arrays" / "resnet18-sgd-seed-0")


def test_weights_are_left_out_where_they_are_not_wanted(study, tmp_path):
    study(methods="sgd", epochs=1, weights=False)
    assert files(tmp_path) == [".csv", ".json", ".json"]


# ---- Engines and callbacks -------------------------------------------------------------------------------------------


def halves(task):
    """An engine that learns by halves, whatever its network."""
    epochs = []
    for epoch in range(1, task.epochs + 1):
        epochs.append(plp.Epoch(epoch, task.recipe.optimizer.lr, 1.0, 100.0, plp.Metrics(1.0, 0.5**epoch, 0.0)))
        if task.note(epochs[-1]):
            break
    return plp.History(tuple(epochs), epochs[-1].epoch, task.train.name, plp.Metrics(1.0, 0.5 ** len(epochs), 0.0))


def test_an_engine_of_ones_own(study, tmp_path):
    methods = {"sgd": {}, "halves": {}}

    def engine(task):
        return halves(task) if task.method == "halves" else plp.engine(task)

    theirs = study(methods=methods, engine=engine)
    assert theirs.runs[0].engine == "plp.studies.tasks.engine" or "engine" in theirs.runs[0].engine
    assert theirs.runs[1].outcome.top1_error == 0.25
    assert len((tmp_path / "resnet18-halves-seed-0" / "metrics.csv").read_text().splitlines()) == 3
    assert study(methods=methods, engine=engine) == theirs
    with pytest.raises(ValueError, match="the engine returned None, expected a plp.History"):
        study(engine=lambda task: None, path=None)
    failed = study(engine=lambda task: (_ for _ in ()).throw(plp.Error("loss: found nan")), path=None)
    assert [run.failure for run in failed.runs] == ["loss: found nan"] * 2


def test_an_engine_of_ones_own_is_interrupted_too(study, tmp_path):
    stopped = study(methods="sgd", engine=halves, callback=lambda progress: plp.stop(tmp_path))
    assert stopped.interrupted and not stopped.runs
    early = study(methods="sgd", engine=halves, callback=[lambda progress: progress.epoch == 1])
    assert len(early.runs[0].history) == 1


def test_each_run_has_callbacks_of_its_own(study):
    class Counting:
        def __init__(self):
            self.heard = 0

        def begin(self, history):
            begun.append(len(history))

        def __call__(self, progress):
            self.heard += 1
            counts.append(self.heard)

    class Named:
        def of(self, task):
            named.append(task.name)
            return lambda progress: progress.finished is not None

    begun, counts, named = [], [], []
    runs = study(callback=[Counting(), Named()]).runs
    assert begun == [0, 0] and counts.count(1) == 2 and named == [run.name for run in runs]
    assert all(len(run.history) == 1 and run.history.test for run in runs)
    assert len(study(callback=Named(), methods="sgd", path=None).runs[0].history) == 1
    with pytest.raises(ValueError, match="callback is 3, expected a function"):
        study(callback=[3])


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_between_runs_keeps_the_study(study, monkeypatch, error):
    """The second run's model is the third one made: the first is that of the check."""
    make, made = plp.Model.__init__, []

    def limited(*arguments, **options):
        made.append(1)
        if len(made) == 3:
            raise error("no more")
        make(*arguments, **options)

    monkeypatch.setattr(plp.Model, "__init__", limited)
    with pytest.warns(RuntimeWarning, match="no more") if error is MemoryError else nullcontext():
        stopped = study(path=None) if error is MemoryError else interrupted(study, path=None)
    assert stopped.interrupted and [run.method for run in stopped.runs] == ["sgd"]
