"""What is shown while something runs: signs of life everywhere, and no run that ends because they cannot be shown."""

import io
import os
import pty
import subprocess
import sys

import plp
import pytest
from plp import _progress
from plp._progress import Bar, FitProgress, Pace, StudyProgress, clock, duration
from plp.records import Epoch, Metrics, Progress
from rich.console import Console
from test_interrupt import running

METRICS = Metrics(4.1234, 0.9, 0.7)


def report(phase="training", epoch=1, iteration=1, iterations=8, epochs=2):
    finished = Epoch(epoch, 0.05, 2.0, 150.0, METRICS, METRICS) if phase == "epoch end" else None
    return Progress(phase, epoch, epochs, iteration, iterations, 0.05, False, METRICS, METRICS, 1.0, 150.0, finished)


# ---- Where it cannot be shown ----------------------------------------------------------------------------------------

PROGRAM = """
import sys, plp
train, test = plp.datasets.synthetic(200, 100)
trainer = plp.Trainer(plp.Model("resnet18", width=1 / 16), batch_size=50)
def callback(progress):
    if progress.epoch == progress.iteration == 1:
        print("training", flush=True)
        sys.stdin.readline()
    if progress.finished:
        trainer.save(f"epoch{progress.epoch}")
if sys.argv[1] == "none":
    sys.stderr = None
elif sys.argv[1] == "closed":
    sys.stderr.close()
history = trainer.fit(train, test=test, epochs=2, callback=callback)
print(len(history), history.test is not None)
"""


@pytest.mark.parametrize("broken", ["pipe", "full disk", "terminal", "none", "closed"])
def test_a_display_that_fails_costs_nothing_else(broken, tmp_path):
    """Both epochs are trained and saved, the test set is measured, and what the program prints arrives."""
    other, end = {"terminal": pty.openpty, "full disk": lambda: (None, os.open("/dev/full", os.O_WRONLY))}.get(
        broken, os.pipe
    )()
    with running([sys.executable, "-c", PROGRAM, broken], tmp_path, stderr=end) as process:
        os.close(end)
        assert process.stdout.readline() == "training\n"
        if other is not None:
            os.close(other)  # the pipe has no reader any longer; the terminal is gone
        output, _ = process.communicate("\n", timeout=60)
    assert (process.returncode, output) == (0, "2 True\n")
    assert {path.name for path in tmp_path.iterdir()} == {"epoch1", "epoch2"}


def test_a_display_that_failed_stays_silent():
    class Full(io.StringIO):
        writes = 0

        def write(self, text):
            self.writes += 1
            raise OSError(28, "No space left on device")

    stream = Full()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with FitProgress("resnet18") as display:
            for iteration in range(1, 9):
                display.iteration(report("epoch end", epoch=iteration, epochs=9))
    assert stream.writes == 1


def test_what_a_callback_prints_goes_where_it_belongs(tmp_path):
    """A bar on stderr's terminal keeps away from a stdout that is redirected to a file."""
    program = """
import plp
train, _ = plp.datasets.synthetic(200, 1)
trainer = plp.Trainer(plp.Model("resnet18", width=1 / 16), batch_size=50)
trainer.fit(train, callback=lambda progress: print("result", progress.iteration))
"""
    terminal, end = pty.openpty()
    output = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=end, text=True, timeout=60
    ).stdout
    os.close(end)
    os.close(terminal)
    assert output.split("\n")[0] == "result 1"


# ---- Signs of life ---------------------------------------------------------------------------------------------------


def test_lines_in_a_file_begin_at_once_and_come_again(small, synthetic, capfd, monkeypatch):
    monkeypatch.setattr(_progress._Lines, "interval", 0.0)
    seen = []

    def callback(progress):
        if not seen:
            seen.append(capfd.readouterr().err)

    plp.Trainer(small, batch_size=50).fit(synthetic[0], validation=0.25, epochs=2, callback=callback)
    assert seen == ["resnet18 epoch 1/2  synthetic train, 400 images\n"]  # before the first iteration
    lines = capfd.readouterr().err.splitlines()
    assert lines[1].startswith("resnet18 epoch 1/2  ") and " s left  loss " in lines[1] and "  2/6  " in lines[1]
    assert any("epoch 2/2 validation" in line for line in lines)
    assert "left" not in lines[-1] and "images/s" in lines[-1]


def test_phases_that_measure_nothing_are_shown_too(small, synthetic, capfd, monkeypatch):
    monkeypatch.setattr(_progress._Lines, "interval", 0.0)
    trainer = plp.Trainer(small, batch_size=50, predictor=plp.EMA(statistics="recomputed"))
    trainer.fit(synthetic[0], validation=0.25, epochs=1)
    err = capfd.readouterr().err
    assert "epoch 1/1 statistics  " in err and "epoch 1/1 validation  " in err


def test_lines_in_a_file_are_few(small, synthetic, capfd):
    plp.Trainer(small, batch_size=50).fit(synthetic[0], epochs=2)
    assert len(capfd.readouterr().err.splitlines()) == 3  # its beginning, and one for each epoch


def test_going_on_is_said(small, synthetic, capfd):
    trainer = plp.Trainer(small, batch_size=50)
    trainer.fit(synthetic[0], epochs=3, callback=lambda progress: progress.epoch == 2 and progress.iteration == 3)
    capfd.readouterr()
    trainer.fit(synthetic[0], epochs=3, callback=lambda progress: bool(progress.finished))
    assert capfd.readouterr().err.startswith("resnet18: going on from epoch 2, iteration 3\nresnet18 epoch 2/3")
    trainer.fit(synthetic[0], epochs=3, progress="mine")
    assert capfd.readouterr().err.startswith("mine: going on from the end of epoch 2\nmine epoch 3/3")
    trainer.fit(synthetic[0], epochs=3)
    assert "resnet18: complete already: nothing to train\n" in capfd.readouterr().err


def test_a_study_counts_its_runs(synthetic, capfd, tmp_path):
    study = {"train": synthetic[0], "epochs": 2, "width": 1 / 16, "path": tmp_path}
    study["recipe"] = plp.Recipe(batch_size=50)
    plp.compare(methods=["sgd"], **study)
    assert "run 1 of 1: resnet18 sgd seed 0 epoch 1/2" in capfd.readouterr().err
    plp.compare(methods=["sgd", "plp", "ema"], **study)
    lines = capfd.readouterr().err.splitlines()
    assert [line[:11] for line in lines] == ["run 2 of 3:"] * 3 + ["run 3 of 3:"] * 3
    assert ["study ends" in line for line in lines] == [False, True, True, False, False, False]
    plp.compare(methods=["sgd", "plp", "ema"], **study)
    assert capfd.readouterr().err == "the study is complete already: nothing to train\n"


def test_a_notebook():
    """A bar that is drawn anew in its place; the kernel's interrupt ends the cell, and the next one has the run."""
    pytest.importorskip("ipykernel")
    from jupyter_client.manager import start_new_kernel

    def messages(code):
        client.execute(code)
        while (message := client.get_iopub_msg(timeout=60))["content"].get("execution_state") != "idle":
            yield message["msg_type"], message["content"]

    manager, client = start_new_kernel()
    try:
        cell = """
import plp
trainer = plp.Trainer(plp.Model("resnet18", width=1 / 16), batch_size=50)
trainer.fit(plp.datasets.synthetic(2000, 1)[0], epochs=10_000)
print("the rest of the cell")
"""
        bars, seen = [], []
        for kind, content in messages(cell):
            seen.append((kind, content))
            if kind in ("display_data", "update_display_data"):
                bars.append((content["transient"]["display_id"], content["data"]["text/html"]))
                if len(bars) == 3:  # nothing, the beginning, an iteration
                    manager.interrupt_kernel()
        assert len({place for place, _ in bars}) == 1
        assert any("resnet18 epoch 1/10000" in bar and "━" in bar for _, bar in bars) and bars[-1][1] == ""
        assert seen[-1][0] == "error" and seen[-1][1]["ename"] == "KeyboardInterrupt"
        assert not any("the rest" in content.get("text", "") for _, content in seen)
        ((_, printed),) = (m for m in messages("print(trainer.history.interrupted)") if m[0] == "stream")
        assert printed["text"] == "True\n"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# ---- The time left ---------------------------------------------------------------------------------------------------


def test_the_time_left_is_that_of_a_steady_run():
    """2 s an iteration, 1 s one of validation, 3 s an epoch's end; the first iteration takes longer."""
    times = []
    for epoch in (1, 2, 3):
        times += [(report("training", epoch, i, 4, 3), 2.0) for i in (1, 2, 3, 4)]
        times += [(report("validation", epoch, i, 2, 3), 1.0) for i in (1, 2)]
        times += [(report("epoch end", epoch, 4, 4, 3), 3.0)]
    times += [(report("test", 3, i, 5, 3), 1.0) for i in (1, 2, 3, 4, 5)]
    pace, now, seen = Pace(), 100.0, []
    for heard, seconds in times:
        now += seconds
        pace.hear(heard, now)
        seen.append(pace.left(heard))
    assert seen[0] is None
    assert seen[1] == (4 + 16, 24)  # what comes after an epoch's training is not known yet
    assert seen[4] == (1 + 2 * (8 + 2), 3 * (8 + 2))
    left = [left for left, _ in seen[6:21]]
    assert left == [26, 24, 22, 20, 18, 17, 16, 13, 11, 9, 7, 5, 4, 3, 0]
    assert [whole for _, whole in seen[6:21]] == [39] * 15
    assert [left for left, _ in seen[21:]] == [4, 3, 2, 1, 0]


def test_the_end_of_a_study_counts_each_network_by_its_own_runs(monkeypatch):
    monkeypatch.setattr(_progress, "clock", lambda seconds: f"in {seconds:.0f} s")
    progress = StudyProgress(["vgg16", "resnet18", "vgg16"], 5, False)
    assert progress.run(0, "vgg16 sgd")._later(10, 100) == ["study ends in 210 s"]
    assert progress.run(1, "resnet18 sgd")._later(20, 30) == ["study ends in 120 s"]
    assert progress.run(2, "vgg16 plp")._later(90, 100) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3569, "59 min"), (3571, "1 h 0 min"), (5000, "1 h 23 min")]
    + [(86399, "1 d 0 h"), (273600, "3 d 4 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_clocks():
    assert len(clock(0)) == 5 and len(clock(6 * 86400)) == 9 and len(clock(40 * 86400)) == 6


# ---- Room ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 20, 3])
def test_a_bar_is_one_line_however_narrow_the_terminal(width):
    long, short = "run 3 of 12: resnet18 sgd*7/6 seed 1 epoch 3/100", "epoch 3/100"
    bar = Bar([long, short], 120, 313, ["1 h 20 min left", "loss 4.123", "accuracy 12.34%", "120/313", "142 images/s"])
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(bar.drawn(width))
    (line,) = console.file.getvalue().splitlines()
    assert len(line) <= width
    assert (long if width >= 100 else short if width >= 20 else "") in line
    assert width < 40 or "━" in line and "1 h 20 min left" in line
    assert width < 120 or "accuracy" in line
