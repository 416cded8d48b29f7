"""Ctrl-C: ends a fit within an iteration, and leaves history and model to work with."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import plp
import pytest

PROGRAM = """
import numpy as np, plp
train, test = plp.datasets.synthetic(2000, 100)
model = plp.Model("resnet18", width=1 / 8)
trainer = plp.Trainer(model, batch_size=100)
said = []
def callback(progress):
    if not said:
        said.append(print("training", flush=True))
history = trainer.fit(train, validation=0.2, test=test, epochs=10_000, callback=callback, progress=False)
assert history.interrupted and history[-1].epoch < 10_000
assert trainer.history == history
assert np.isfinite(model.logits(test.images[:2])).all()
trainer.best_model.save("model.safetensors")
history = trainer.fit(train, validation=0.2, epochs=len(history), progress=False)
assert not history.interrupted
print("usable", flush=True)
"""

# A signal at the third of 200 iterations of the only epoch: `third()` sends it or has it sent.
WITHIN = """
import os, signal, sys, threading
import plp
seen, sent = [], []
def send():
    sent.append(seen[-1])
    os.kill(os.getpid(), signal.SIGINT)
reached = threading.Event()
threading.Thread(target=lambda: reached.wait() and send(), daemon=True).start()
third = {"callback": send, "computation": reached.set}[sys.argv[1]]
def callback(progress):
    seen.append(progress.iteration)
    if len(seen) == 3:
        third()
train, _ = plp.datasets.synthetic(2000, 1)
trainer = plp.Trainer(plp.Model("resnet18", width=1 / 16), batch_size=10)
sys.setswitchinterval(60)  # the other thread gets the interpreter's lock when the library lets go of it, to compute
history = trainer.fit(train, callback=callback, progress=False)
assert sent and seen[-1] <= sent[0] + 1, (sent, seen)
assert history.interrupted and [epoch.complete for epoch in history] == [False], history
"""

EVALUATION = """
import sys, plp
test, _ = plp.datasets.synthetic(100_000, 1)  # minutes of computing
model = plp.Model("resnet18", width=1 / 2)
measuring = {"model": model, "trainer": plp.Trainer(model)}[sys.argv[1]]
print("training", flush=True)
try:
    measuring.evaluate(test)
except KeyboardInterrupt:
    assert len(model.logits(test.images[:2])) == 2
    print("usable", flush=True)
"""

STUDY = """
import plp
train, test = plp.datasets.synthetic(2000, 100)
print("training", flush=True)
study = plp.compare(methods=["sgd", "plp"], train=train, test=test, epochs=10_000, width=1 / 8, path="study.json")
assert study.interrupted and study.runs == []
print("usable", flush=True)
"""


@contextmanager
def running(command, folder):
    """A process that hears Ctrl-C, also where the tests themselves run in the background and are made to ignore it."""
    pipe = subprocess.PIPE
    hear = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True, preexec_fn=hear)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def interrupt(program, folder, *arguments):
    with running([sys.executable, "-c", program, *arguments], folder) as process:
        assert process.stdout.readline() == "training\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "usable\n"), errors
        return time.monotonic() - started


def test_fit(tmp_path):
    interrupt(PROGRAM, tmp_path)
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("place", ["callback", "computation"])
def test_within_an_iteration(place, tmp_path):
    with running([sys.executable, "-c", WITHIN, place], tmp_path) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_before_the_library_begins(small, synthetic, monkeypatch):
    """Nothing is trained then: to return a history as if all were done would be untrue."""
    monkeypatch.setattr("plp._plp.trainer_fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        plp.Trainer(small).fit(synthetic[0], progress=False)


def test_logits(small, monkeypatch):
    calls, compute = [], plp._plp.model_logits

    def interrupted(*arguments):
        compute(*arguments)
        calls.append(arguments[3])  # how many images
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(plp._plp, "model_logits", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            small.logits(np.zeros((3000, 3, 32, 32), np.uint8))
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [1024]


@pytest.mark.parametrize("what", ["model", "trainer"])
def test_evaluation(what, tmp_path):
    assert interrupt(EVALUATION, tmp_path, what) < 30


def test_study(tmp_path):
    assert interrupt(STUDY, tmp_path) < 30


def test_command_line(tmp_path):
    command = [
        sys.executable,
        "-m",
        "plp",
        "train",
        "--data",
        "synthetic",
        "--epochs",
        "10000",
        "--width",
        "0.0625",
        "--output",
        "results",
    ]
    with running(command, tmp_path) as process:
        assert process.stderr.readline()  # the data it found
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in output and "Traceback" not in errors
    assert (tmp_path / "results" / "checkpoint.plp").exists()
