"""The plp command, end to end on small synthetic data."""

import json
import re

import plp
import pytest
from plp.cli import main
from test_history import drawn


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to be in, without CIFAR-100 and with a synthetic set that is small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLP_DATA", raising=False)
    synthetic = plp.datasets.synthetic
    monkeypatch.setattr(plp.datasets, "synthetic", lambda: synthetic(400, 100))
    return tmp_path


def test_train_resume_and_evaluate(folder, capsys):
    train = ["train", "resnet18", "--width", "0.0625", "--method", "plp", "--epochs"]
    assert main([*train, "1"]) == 0
    results = folder / "results"
    assert {path.name for path in results.iterdir()} == {
        "checkpoint.plp",
        "curves.png",
        "history.json",
        "model.safetensors",
    }
    assert drawn(results / "curves.png")
    assert "synthetic" in capsys.readouterr().err
    assert main([*train, "2", "--resume"]) == 0
    assert len(json.loads((results / "history.json").read_text())["epochs"]) == 2
    capsys.readouterr()
    assert main(["evaluate", "results/model.safetensors"]) == 0
    assert re.search(r"accuracy \d+\.\d\d%, top-1 error", capsys.readouterr().out)


def test_compare_and_report(folder, capsys):
    compare = ["compare", "--methods", "sgd,plp", "--epochs", "1", "--width", "0.0625", "--recipe", "quick"]
    assert main(compare) == 0
    assert capsys.readouterr().out.count("resnet18") == 2
    for name in ("curves.png", "report.html"):
        (folder / "results" / name).unlink()
    assert main(["report"]) == 0
    assert drawn(folder / "results" / "curves.png") and (folder / "results" / "report.html").exists()
    runs = plp.Study.load("results/study.json").runs
    assert main(compare) == 0
    assert plp.Study.load("results/study.json").runs == runs
    assert main([*compare, "--fresh"]) == 0
    assert plp.Study.load("results/study.json").runs != runs  # the same but for the time they took


def test_info_and_profile(capsys):
    assert main(["info"]) == 0
    assert f"plp {plp.__version__}" in capsys.readouterr().out
    assert main(["profile", "--width", "0.0625", "--batch-size", "8"]) == 0
    assert "images/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "nowhere"),
        (["train", "--method", "adam"], "no method 'adam'"),
        (["train", "--width", "-1"], "width"),
        (["train", "--lr", "nan"], "learning rate"),
        (["train", "--resume"], "checkpoint.plp"),
        (["compare", "alexnet"], "alexnet"),
        (["evaluate", "nothing.safetensors"], "nothing.safetensors"),
        (["report", "nothing.json"], "nothing.json"),
        (["download", "--url", "http://127.0.0.1:1/x.tar.gz"], "cannot reach"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("plp: ") and message in error


@pytest.mark.parametrize("arguments", [[], ["swim"], ["train", "lenet"], ["train", "--epochs", "x"]])
def test_usage(arguments):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
