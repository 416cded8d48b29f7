"""Ctrl-C, and other signals that ask to end: within an iteration, with all kept, and as Python and shells expect it."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import plp
import plp.cli
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
try:
    trainer.fit(train, validation=0.2, test=test, epochs=10_000, callback=callback, progress=False)
except KeyboardInterrupt:
    history = trainer.history
assert history.interrupted and history[-1].epoch < 10_000 and history.test is None
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
try:
    trainer.fit(train, callback=callback, progress=False)
    sys.exit("not interrupted")
except KeyboardInterrupt:
    history = trainer.history
assert sent and seen[-1] <= sent[0] + 1, (sent, seen)
assert history.interrupted and [epoch.complete for epoch in history] == [False], history
assert seen == [*range(1, history[0].iterations + 1)], (seen, history)  # callbacks hear of the last one, too
"""

SEVERAL = """
import plp
train, _ = plp.datasets.synthetic(2000, 1)
for number in (1, 2):
    trainer = plp.Trainer(plp.Model("resnet18", width=1 / 16), batch_size=100)
    trainer.fit(train, epochs=10_000, callback=lambda p: p.epoch > 1 or print("training", flush=True), progress=False)
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
import os, plp
fit = plp.Trainer.fit
def announced(*arguments, **options):
    print("training", flush=True)
    fit(*arguments, **options)
plp.Trainer.fit = announced
train, test = plp.datasets.synthetic(2000, 100)
try:
    plp.compare(methods=["sgd", "plp"], train=train, test=test, epochs=10_000, width=1 / 8, path="study")
except KeyboardInterrupt as interruption:
    study = interruption.study
assert study.interrupted and study.runs == []
assert os.path.exists("study/resnet18-sgd-seed-0/checkpoint.plp")
print("usable", flush=True)
"""


@contextmanager
def running(command, folder, **options):
    """A process that hears Ctrl-C, also where the tests themselves run in the background and are made to ignore it.

    It is killed at the end, and after a minute, so that no test waits for it in vain.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    hear = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, cwd=folder, text=True, preexec_fn=hear, **{**pipes, **options})
    limit = threading.Timer(60, process.kill)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
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


@pytest.mark.parametrize("handler", ["goes on", "raises"])
def test_a_signal_while_a_callback_s_exception_waits_for_another_thread(handler, small, synthetic):
    images, heard, threads = np.zeros((8000, 3, 32, 32), np.uint8), [], []
    logits = np.zeros((len(images), 100), np.float32)

    def hear(*_):
        heard.append(int("3"))  # which fails where an exception is set
        if handler == "raises":
            raise KeyboardInterrupt

    def callback(progress):
        call = small._handle, images, plp._plp.UINT8, len(images), 1, logits  # a second or more
        threads.append(threading.Thread(target=plp._plp.model_logits, args=call))
        threads[0].start()
        while not logits.any():
            pass
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        raise LookupError("mine")

    before = signal.signal(signal.SIGALRM, hear)
    try:
        with pytest.raises(KeyboardInterrupt if handler == "raises" else LookupError):
            plp.Trainer(small).fit(synthetic[0], callback=callback, progress=False)
    finally:
        signal.signal(signal.SIGALRM, before)
        threads[0].join()
    assert heard == [3]


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


def test_the_rest_of_a_script_is_not_run(tmp_path):
    """As with any other program in Python, which dies of the signal, so that a shell's loop ends too."""
    with running([sys.executable, "-c", SEVERAL], tmp_path) as process:
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert process.returncode == -signal.SIGINT and errors.endswith("\nKeyboardInterrupt\n"), errors
    assert output.count("training") <= 20  # those of the first fit's first epoch


# ---- The commands ----------------------------------------------------------------------------------------------------

# With a line for each iteration, where it is no terminal.
COMMAND = [sys.executable, "-c", "import plp.cli; plp._progress._Lines.interval = 0; plp.cli.command()"]
OPTIONS = ["--data", "synthetic", "--epochs", "10000", "--width", "0.0625", "--output", "results"]
TRAIN = [*COMMAND, "train", *OPTIONS]
ENDS = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_keeps_the_run(number, tmp_path):
    with running(TRAIN, tmp_path) as process:
        assert any("loss" in line for line in process.stderr)  # of the first iteration
        process.send_signal(number)
        output, errors = process.communicate()
    assert process.returncode == ENDS[number], errors
    assert "(interrupted)" in output and "Traceback" not in errors
    run = json.loads((tmp_path / "results" / "run.json").read_text())["run"]
    (partial,) = run["history"]["epochs"][-1:]
    assert 0 < partial["iterations"] and not partial["complete"]
    with running(TRAIN, tmp_path) as process:
        assert "images" in process.stderr.readline()  # the data
        going_on = f"resnet18 plp: going on from epoch {partial['epoch']}, iteration {partial['iterations']}\n"
        assert process.stderr.readline() == going_on


def test_a_study_is_kept_too(tmp_path):
    with running([*COMMAND, "compare", "--methods", "sgd,plp", *OPTIONS], tmp_path) as process:
        assert any("loss" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 143, errors
    assert len(list(tmp_path.glob("results/*/checkpoint.plp"))) == 1


SAVING = """
import sys
from plp._signals import interruptions
try:
    with interruptions():
        try:
            print("begun", flush=True)
            sys.stdin.read()
        except KeyboardInterrupt:
            print("saving", flush=True)
            sys.stdin.read()
            print("saved", flush=True)
            raise
except KeyboardInterrupt as interruption:
    sys.exit(interruption.number)
"""


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_a_second_signal_ends_at_once(first, second, tmp_path):
    """But for SIGHUP: a terminal that closes sends it more than once."""
    with running([sys.executable, "-c", SAVING], tmp_path) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(first)
        assert process.stdout.readline() == "saving\n"
        process.send_signal(second)
        if second == signal.SIGHUP:
            time.sleep(0.2)
        else:
            process.wait()
        output, _ = process.communicate()
    assert (process.returncode, output) == ((first, "saved\n") if second == signal.SIGHUP else (-second, ""))


def test_what_is_ignored_stays_so_and_handlers_are_put_back(monkeypatch):
    """As under nohup; and a program that calls main() has handlers of its own."""
    mine = lambda *_: None  # noqa: E731
    before = [signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGTERM, mine)]
    seen = []
    monkeypatch.setattr(
        plp.cli, "build_info", lambda: seen.append([signal.getsignal(n) for n in (signal.SIGHUP, signal.SIGTERM)])
    )
    try:
        assert plp.cli.main(["info"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and signal.getsignal(signal.SIGTERM) is mine
    finally:
        for number, handler in zip((signal.SIGHUP, signal.SIGTERM), before):
            signal.signal(number, handler)
    ((hang_up, terminate),) = seen
    assert hang_up == signal.SIG_IGN and terminate is not mine


@pytest.mark.parametrize(("trap", "status"), [("-", -signal.SIGINT), ("''", 0)])
def test_while_modules_are_imported(trap, status, tmp_path):
    """A command that hears Ctrl-C ends without a word, and one that was started to ignore it goes on."""
    (tmp_path / "numpy.py").write_text(
        "import os, signal, sys\nos.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.path.remove({str(tmp_path)!r})\ndel sys.modules['numpy']\nimport numpy\n"
    )
    script = f"trap {trap} INT; exec {shlex.quote(sysconfig.get_path('scripts'))}/plp info"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with running(["sh", "-c", script], tmp_path, env=environment) as process:
        _, errors = process.communicate()
    assert (process.returncode, errors) == (status, "")


@contextmanager
def shell(command, folder):
    """A shell with a terminal of its own, as a person has one: its process, and the terminal's other end."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execvp("bash", ["bash", "-c", command])
    limit = threading.Timer(60, lambda: os.killpg(process, signal.SIGKILL))
    limit.start()
    try:
        yield process, terminal
    finally:
        limit.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)


def read_until(terminal, text):
    """What is written to a terminal until `text` is; to its end where that does not come."""
    seen = ""
    with suppress(OSError):  # which says that nobody has it open any longer
        while text not in seen:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


def test_ctrl_c_ends_a_shells_loop(tmp_path):
    """A shell goes on with the next command unless it sees that the one before died of Ctrl-C."""
    with shell(f"for n in 1 2; do {shlex.join(TRAIN)}; echo next; done", tmp_path) as (process, terminal):
        assert "loss" in read_until(terminal, "loss")
        os.write(terminal, b"\x03")
        seen = read_until(terminal, "next")
        os.close(terminal)
        os.waitpid(process, 0)
    assert "(interrupted)" in seen and "next" not in seen


def test_a_closed_terminal_keeps_the_run(tmp_path):
    """The kernel sends SIGHUP, the shell perhaps another, and nothing can be written any longer."""
    with shell(f"{shlex.join(TRAIN)}; true", tmp_path) as (process, terminal):
        assert "loss" in read_until(terminal, "loss")
        os.close(terminal)
        os.waitpid(process, 0)
        deadline = time.monotonic() + 30
        while not (tmp_path / "results" / "last.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
    assert {"checkpoint.plp", "run.json", "best.safetensors"} <= set(os.listdir(tmp_path / "results"))
