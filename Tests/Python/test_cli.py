"""The plp command, end to end on small synthetic data."""

import json
import os
import pty
import re
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import plp
import plp.cli
import pytest
from plp._files import sole_writer
from plp.cli import main
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
RESULTS = Path("results/resnet18-plp-seed0")


SCREEN = {"TERM": "xterm", "COLUMNS": "160", "LINES": "24"}


def read(terminal):
    """What comes next on a terminal; nothing when no process has its other end any longer."""
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""


def interrupt(progress):
    raise KeyboardInterrupt


def epochs():
    return json.loads((RESULTS / "history.json").read_text())["epochs"]


def test_train_and_evaluate(capsys):
    assert main([*TRAIN, "1"]) == 0
    assert {path.name for path in RESULTS.iterdir()} == {
        ".checkpoint.plp.lock",
        "checkpoint.plp",
        "curves.png",
        "history.json",
        "model.safetensors",
    }
    assert drawn(RESULTS / "curves.png")
    assert "synthetic" in capsys.readouterr().err
    assert main(["evaluate", str(RESULTS / "model.safetensors"), "--data", "synthetic", "--threads", "1"]) == 0
    assert re.search(r"accuracy \d+\.\d\d%, top-1 error", capsys.readouterr().out)


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


def test_train_goes_on_unless_fresh():
    assert main([*TRAIN, "1"]) == 0
    (first,) = epochs()
    assert main([*TRAIN, "2"]) == 0
    assert len(epochs()) == 2 and epochs()[0] == first
    assert main([*TRAIN, "1", "--fresh"]) == 0
    assert len(epochs()) == 1 and epochs() != [first]  # the same but for the time it took


def test_results_are_replaced_and_not_written_over(folder):
    """What was there, by another name, stays what it was."""
    (folder / "before").mkdir()
    assert main([*TRAIN, "1"]) == 0
    names = [path.name for path in RESULTS.iterdir() if not path.name.startswith(".")]
    before = {name: (RESULTS / name).read_bytes() for name in names}
    for name in names:
        os.link(RESULTS / name, folder / "before" / name)
    assert main([*TRAIN, "2"]) == 0
    assert len(names) == 4 and not any(os.path.samefile(RESULTS / name, folder / "before" / name) for name in names)
    assert {name: (folder / "before" / name).read_bytes() for name in names} == before


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
    assert re.search(r"sgd, demon, adamw, plp,\s+lookahead, ema, adamw\+plp", capsys.readouterr().out)


@pytest.mark.parametrize("changes", [["--method", "sgd"], ["--seed", "1"], ["--width", "0.125"], ["--epochs", "1"]])
def test_train_keeps_another_runs_checkpoint(changes, capsys):
    there = ["--output", str(RESULTS)]
    assert main([*TRAIN, "2", *there]) == 0
    before = {path: path.read_bytes() for path in RESULTS.iterdir()}
    assert main([*TRAIN, "2", *there, *changes]) == 1
    assert capsys.readouterr().err.endswith(f"; choose another --output, or --fresh to lose what is in {RESULTS}\n")
    assert {path: path.read_bytes() for path in RESULTS.iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (["--method", "sgd*7/6"], "resnet18-sgd-7-6-seed0"),
        (["--seed", "1"], "resnet18-plp-seed1"),
        (["--width", "0.125"], "resnet18-plp-seed0-2"),
        (["--lr", "0.1"], "resnet18-plp-seed0-2"),
        (["--epochs", "1"], "resnet18-plp-seed0-2"),
    ],
)
def test_a_run_of_other_options_has_a_folder_of_its_own(changes, name, capsys):
    assert main([*TRAIN, "2"]) == 0
    before = {path: path.read_bytes() for path in RESULTS.iterdir()}
    assert main([*TRAIN, "2", *changes]) == 0
    assert {path.name for path in Path("results").iterdir()} == {RESULTS.name, name}
    assert {path: path.read_bytes() for path in RESULTS.iterdir()} == before
    told = f"{RESULTS}/ holds a run of other options: this one goes to results/{name}/" in capsys.readouterr().err
    assert told == name.endswith("-2")
    assert main([*TRAIN, "3", *(changes if changes[0] != "--epochs" else [])]) == 0  # goes on where its own is
    assert {path.name for path in Path("results").iterdir()} == {RESULTS.name, name}


def test_a_run_on_other_data_has_a_folder_of_its_own(monkeypatch):
    assert main([*TRAIN, "1"]) == 0
    train, test = plp.datasets.synthetic()
    monkeypatch.setattr(plp.datasets, "synthetic", lambda: (train[:80], test))
    assert main([*TRAIN, "1"]) == 0
    assert {path.name for path in Path("results").iterdir()} == {RESULTS.name, f"{RESULTS.name}-2"}


def test_train_says_what_to_do_about_a_damaged_checkpoint(capsys):
    RESULTS.mkdir(parents=True)
    (RESULTS / "checkpoint.plp").write_bytes(b"no checkpoint")
    assert main([*TRAIN, "1"]) == 1
    assert capsys.readouterr().err.endswith(f"; choose another --output, or --fresh to lose what is in {RESULTS}\n")
    assert main([*TRAIN, "1", "--fresh"]) == 0


def test_train_keeps_a_folder_that_another_process_writes(capsys):
    RESULTS.mkdir(parents=True)
    with sole_writer(RESULTS / "checkpoint.plp"):
        assert main([*TRAIN, "1"]) == 1
    message = f"plp: {Path.cwd() / RESULTS / 'checkpoint.plp'}: in use: another process writes it\n"
    assert capsys.readouterr().err.endswith(message)
    assert main([*TRAIN, "1"]) == 0


@pytest.mark.parametrize("complete", [False, True])
def test_a_loss_that_is_no_longer_finite_keeps_what_was_good(complete, monkeypatch, capsys):
    fit = plp.Trainer.fit

    def diverging(trainer, *arguments, callback, **options):
        with suppress(KeyboardInterrupt):
            fit(trainer, *arguments, callback=callback if complete else interrupt, **{**options, "epochs": 1})
        raise plp.Error("after 1 of 9 epochs: loss: found nan")

    assert main([*TRAIN, "1"]) == 0  # a run before, which --fresh gives up
    (RESULTS / "curves.png").unlink()
    monkeypatch.setattr(plp.Trainer, "fit", diverging)
    assert main([*TRAIN, "9", "--fresh"]) == 1
    assert capsys.readouterr().err.endswith("plp: after 1 of 9 epochs: loss: found nan\n")
    assert [epoch["complete"] for epoch in epochs()] == [complete]
    assert (RESULTS / "curves.png").exists() == complete
    assert plp.Model.load(RESULTS / "model.safetensors").width == 0.0625
    # The checkpoint is that of the last complete epoch.
    assert (RESULTS / "checkpoint.plp").exists() == complete


def test_train_names_only_what_it_wrote(monkeypatch, capsys):
    assert main([*TRAIN, "1"]) == 0
    assert "curves.png" in capsys.readouterr().err
    fit = plp.Trainer.fit
    monkeypatch.setattr(plp.Trainer, "fit", lambda *a, **o: fit(*a, **{**o, "callback": interrupt}))
    assert main([*TRAIN, "1", "--fresh"]) == 130  # before an epoch was complete: there is nothing to draw
    assert capsys.readouterr().err.endswith(": model.safetensors, history.json, checkpoint.plp\n")


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


def test_a_mistake_does_not_cost_the_study(folder):
    made_up().save(folder / "study.json")
    before = (folder / "study.json").read_bytes()
    assert main(["compare", "--data", "synthetic", "--methods", "sgd,adam", "--fresh", "--output", "."]) == 1
    assert (folder / "study.json").read_bytes() == before


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("train", ["default: results/NETWORK-METHOD-seedN,", "default: 10)", "default: quick)"]),
        ("compare", ["results/compare", "default: 10, with --quick 6)", "default: paper, with --quick quick)"]),
    ],
)
def test_help_names_the_defaults(command, defaults, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(default in text for default in defaults)
    assert "None" not in text and "False" not in text


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
        (["train", "--method", "adam"], "no method 'adam'"),
        (["train", "--data", "synthetic", "--method", "sgd*"], "method 'sgd*' has the factor ''"),
        (["train", "--data", "synthetic", "--width", "-1"], "width"),
        (["profile", "--threads", "-1"], "threads"),
        (["train", "--data", "synthetic", "--lr", "nan"], "learning rate"),
        (["train", "--data", "synthetic", "--epochs", "0"], "epochs"),
        (["compare", "--data", "synthetic", "alexnet"], "alexnet"),
        (["evaluate", "nothing.safetensors"], "nothing.safetensors"),
        (["report", "nothing"], "nothing"),
        (["download", "--url", "http://127.0.0.1:1/x.tar.gz"], "cannot reach"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("plp: ") and message in error


@pytest.mark.parametrize("arguments", [[], ["swim"], ["train", "lenet"], ["train", "--epochs", "x"]])
def test_usage(arguments):
    assert main(arguments) == 2


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
    assert (result.returncode, result.stderr) == (141, b"./: curves.png, report.html, study.json\n")
    assert (study.parent / "report.html").exists()


def test_output_that_cannot_be_written_is_an_error(study):
    with open("/dev/full", "w") as full:
        result = plp_command("report", study.name, stdout=full)
    message = b"plp: the output cannot be written: No space left on device\n"
    assert (result.returncode, result.stderr.splitlines(True)[1:]) == (1, [message])
    assert (study.parent / "report.html").exists()


@pytest.mark.parametrize("place", ["stdout", "stderr"])
def test_messages_that_nobody_can_read_change_nothing(place, study):
    result = plp_command("report", study.name, preexec_fn=lambda: os.close({"stdout": 1, "stderr": 2}[place]))
    assert result.returncode == 0 and (study.parent / "report.html").exists()


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
