"""Studies whose runs are made in other processes: every executor gives the bits of the serial study, whatever dies."""

import io
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import plp
import pytest
from plp._progress import Board
from plp.studies import spreading
from plp.studies.executors import workers_of_a_machine
from plp.studies.metrics import standing
from plp.studies.runs import perform
from plp.studies.spreading import assigned, carry_out
from rich.console import Console

RECIPE = plp.Recipe(optimizer=plp.SGD(lr=0.05), batch_size=16)
STUDY = {"methods": ["sgd", "plp"], "epochs": 2, "repeats": 2, "width": 1 / 16, "recipe": RECIPE, "progress": False}


@pytest.fixture(scope="module")
def synthetic():
    return plp.datasets.synthetic(60, 20)


def numbers(study):
    """All that a study's runs measured, but for the time they took."""
    return {run.name: ([(e.train, e.validation) for e in run.history], run.history.test) for run in study.runs}


@pytest.fixture(scope="module")
def serial(synthetic):
    return numbers(plp.compare(train=synthetic[0], test=synthetic[1], **STUDY))


@pytest.fixture
def study(synthetic, tmp_path):
    train, test = synthetic
    return lambda **changes: plp.compare(**{"train": train, "test": test, "path": tmp_path, **STUDY, **changes})


@contextmanager
def processes():
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        yield executor


@contextmanager
def loky():
    executor = pytest.importorskip("loky").get_reusable_executor(2)
    yield executor
    executor.shutdown(kill_workers=True)


@contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor()


@pytest.mark.parametrize("made", [processes, loky, dask])
def test_every_executor_gives_the_serial_studys_bits(made, study, serial, tmp_path):
    with made() as executor:
        assert workers_of_a_machine(executor) == 2
        spread = study(executor=executor)
    assert numbers(spread) == serial and [run.name for run in spread.runs] == list(serial)
    assert plp.Study.load(tmp_path) == spread and not list(tmp_path.glob("*/lock"))


def test_arrays_are_sent_as_a_file(study, serial, synthetic, tmp_path):
    images = [plp.datasets.from_arrays(d.images, d.labels, 100, name=f"my {n}") for d, n in zip(synthetic, "ab")]
    spread = study(train=images[0], test=images[1], jobs=2)
    assert numbers(spread) == serial and len(list(tmp_path.glob("images-*.npz"))) == 2
    assert len(pickle.dumps(plp.Task.load(tmp_path / "resnet18-plp-seed-1"))) < 10_000
    assert numbers(study(train=images[0], test=images[1], jobs=2)) == serial


def test_processes_of_this_machine(synthetic, serial):
    train, test = synthetic
    assert numbers(plp.compare(train=train, test=test, jobs=2, **STUDY)) == serial


@pytest.mark.skipif(not shutil.which("mpiexec"), reason="needs mpiexec, of Debian's openmpi-bin for instance")
def test_mpi(synthetic, serial, tmp_path):
    pytest.importorskip("mpi4py")
    (tmp_path / "study.py").write_text(f"""
import plp
from mpi4py.futures import MPIPoolExecutor
if __name__ == "__main__":
    train, test = plp.datasets.synthetic(60, 20)
    recipe = plp.Recipe(optimizer=plp.SGD(lr=0.05), batch_size=16)
    study = {{**{ {k: v for k, v in STUDY.items() if k != "recipe"} }, "recipe": recipe}}
    with MPIPoolExecutor() as executor:
        plp.compare(train=train, test=test, path="study", executor=executor, **study)
""")
    command = ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures", "study.py"]
    allowed = dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_ALLOW_RUN_AS_ROOT"), "1")
    environment = {**os.environ, **allowed, "OMPI_MCA_rmaps_base_oversubscribe": "1"}  # of Open MPI
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert numbers(plp.Study.load(tmp_path / "study")) == serial


CLIENT = """
import faulthandler, sys, plp
from distributed import Client
if __name__ == "__main__":
    faulthandler.dump_traceback_later(180, exit=True)
    train, test = plp.datasets.synthetic(60, 20)
    recipe = plp.Recipe(optimizer=plp.SGD(lr=0.05), batch_size=16)
    with Client(sys.argv[1]) as client:
        plp.compare(methods=["sgd", "plp"], train=train, test=test, epochs=4, repeats=12, width=1 / 16, recipe=recipe,
                    path="study", executor=client.get_executor(), progress=False)
"""


def runs_done(folder):
    return sum('"complete": true' in file.read_text() for file in folder.glob("*/run.json"))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_study_survives_a_worker_and_its_client(synthetic, tmp_path):
    """24 runs on two workers of Dask's: one is killed in the middle, then the client, which is started again."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    folder = tmp_path / "study"
    with distributed.LocalCluster(**options) as cluster:
        command = [sys.executable, "-c", CLIENT, cluster.scheduler_address]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as client:
            try:
                wait_for(lambda: runs_done(folder) >= 4)
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
                wait_for(lambda: runs_done(folder) >= 8)
            finally:
                client.kill()
        assert runs_done(folder) < 24
        again = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert again.returncode == 0, (again.stderr, *folder.glob("*/lock"))
    spread = plp.Study.load(folder)
    train, test = synthetic
    serial = plp.compare(train=train, test=test, **{**STUDY, "epochs": 4, "repeats": 12})
    assert len(spread.runs) == 24 and numbers(spread) == numbers(serial)


def dies_with_plp(task):
    """An engine of a process that is killed while it makes PLP's runs."""
    if task.method == "plp":
        os.kill(os.getpid(), signal.SIGKILL)
    return plp.engine(task)


def test_a_worker_that_dies_ends_no_other_run(study, serial):
    with pytest.warns(RuntimeWarning, match="resnet18 plp seed [01]: ChildProcessError: its process died"):
        survivors = study(jobs=2, engine=dies_with_plp)
    assert [run.method for run in survivors.runs] == ["sgd", "sgd"] and "(interrupted)" in str(survivors)
    assert numbers(study(jobs=2)) == serial


def fails(task):
    raise RuntimeError("nothing works here")


def test_where_no_run_succeeds_the_first_error_is_raised(study):
    with pytest.raises(RuntimeError, match="nothing works"), pytest.warns(RuntimeWarning, match="nothing works"):
        study(executor=ThreadPoolExecutor(1), engine=fails)


STOPPED = """
import os, sys, plp
train, test = plp.datasets.synthetic(2000, 100)
if __name__ == "__main__":
    try:
        plp.compare(methods=["sgd", "plp"], train=train, epochs=10_000, width=1 / 8, path="study", jobs=2)
        sys.exit("not interrupted")
    except KeyboardInterrupt as interruption:
        assert interruption.study.interrupted and not interruption.study.runs
    print("usable", flush=True)
"""


def children(process):
    files = Path(f"/proc/{process.pid}/task").glob("*/children")  # of each thread
    return [child for file in files for child in file.read_text().split()]


@pytest.mark.parametrize("moment", ["while processes begin", "while they train"])
def test_ctrl_c_keeps_all_runs(moment, tmp_path):
    hear = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    (tmp_path / "study.py").write_text(STOPPED)
    command = [sys.executable, "study.py"]
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=hear, start_new_session=True, **pipes) as process:
        try:
            if moment == "while they train":
                wait_for(lambda: len(list(tmp_path.glob("study/*/checkpoint.plp"))) == 2)
            else:
                wait_for(lambda: len(children(process)) > 2)  # two, and multiprocessing's tracker
            os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, "usable\n") and "Traceback" not in errors, errors
    assert moment == "while processes begin" or "0 of 2 runs done" in errors
    assert (
        "ends after the running iterations" in errors
        and not list(tmp_path.glob("study/*/lock"))
        and not (tmp_path / "study/stop").exists()
    )


class Interrupting(ThreadPoolExecutor):
    """Whose user hits Ctrl-C when the second task is sent, and its future not yet returned."""

    futures: ClassVar[list[Future]] = []

    def submit(self, *call):
        self.futures.append(super().submit(self.begin, *call))
        if len(self.futures) == 2:
            signal.raise_signal(signal.SIGINT)
        return self.futures[-1]

    @staticmethod
    def begin(function, *arguments):
        time.sleep(1)  # as a process takes
        return function(*arguments)


def test_ctrl_c_within_a_submission_loses_no_task(study, tmp_path):
    with pytest.raises(KeyboardInterrupt) as interruption:
        study(executor=Interrupting(1), epochs=100, path=tmp_path / "study")
    assert interruption.value.study.interrupted and [each.done() for each in Interrupting.futures] == [True, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---- One assignment --------------------------------------------------------------------------------------------------


@pytest.fixture
def task(synthetic, tmp_path):
    common = {"network": "resnet18", "width": 1 / 16, "seed": 0, "epochs": 2, "validation": 0.2, "threads": 1}
    train, test = synthetic
    return plp.Task(method="sgd", recipe=RECIPE, train=train, test=test, folder=tmp_path / "run", **common)


def test_a_task_that_is_repeated_is_done_once(task):
    """Whether one after the other or both at once, as Dask does where it takes a worker for dead."""
    with ThreadPoolExecutor(3) as threads:
        first, *others = threads.map(carry_out, [assigned(task, plp.engine, 0) for _ in range(3)])
    assert others == [first, first] == [carry_out(assigned(task, plp.engine, 0))] * 2


def test_a_run_tells_how_far_it_is_within_an_epoch(task):
    """From its first iteration on, and as long as it is made; what nobody can read is nothing."""
    seen = []
    file = task.folder / "progress.json"

    def look(report):
        if (report.phase, report.iteration) == ("training", 2):
            seen.append(standing(task.name, task.folder, task.epochs))

    perform(replace(task, callbacks=(look,)), plp.engine)
    assert [each.accuracy is None for each in seen] == [True, False]
    assert seen[0].epoch == 1 and (seen[1].epoch, bool(seen[1].place)) in {(1, False), (2, True)}
    assert re.fullmatch(r"[123]/3", seen[0].place) and seen[0].images_per_second > 0
    board = Console(width=100, record=True, file=io.StringIO())
    board.print(Board(0, 1, seen).drawn(100))
    assert re.search(rf"iteration .*\n{task.name} +1/2 +{seen[0].place} ", board.export_text())
    assert not file.exists() and standing(task.name, task.folder, task.epochs).place == ""
    for content in ("", "[]", "{}", '{"phase": [], "epoch": 1}', '{"phase": "test", "epoch": 1, "iteration": "x"}'):
        file.write_text(content)
        assert standing(task.name, task.folder, task.epochs).epoch == task.epochs


def test_equal_tasks_are_different_submissions(task):
    assert assigned(task, plp.engine, 0) != assigned(task, plp.engine, 0)


def test_workers_of_another_version_or_without_the_data_say_so(task):
    assignment = assigned(task, plp.engine, 0)
    with pytest.raises(plp.Error, match=f"has plp {plp.__version__}, the study is made by plp 0.0.1: all workers"):
        carry_out(replace(assignment, version="0.0.1"))
    source = replace(task.train._source, function="cifar100", arguments=("/nowhere", 0, 0))
    elsewhere = plp.datasets.from_arrays(task.train.images, task.train.labels)
    elsewhere._source = source
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        carry_out(assigned(replace(task, train=elsewhere), plp.engine, 0))


def test_workers_of_a_machine_share_its_threads(task, monkeypatch):
    seen = []
    monkeypatch.setattr(spreading, "perform", lambda task, *_: seen.append(task.threads))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cores = len(os.sched_getaffinity(0))
    for threads, share in ((0, 1), (0, 2), (0, 1000), (0, 0), (3, 2)):
        carry_out(assigned(replace(task, threads=threads), plp.engine, share))
    assert seen == [cores, max(1, cores // 2), 1, 0, 3]
    monkeypatch.setenv("PLP_NUM_THREADS", "2")
    carry_out(assigned(replace(task, threads=0), plp.engine, 2))
    assert seen[-1] == 0


class Client:
    """Looks like Dask's."""

    def submit(self, function, *arguments):
        return function

    def get_executor(self):
        return None


class AutoExecutor:
    """Looks like submitit's."""

    def submit(self, function, *arguments):
        return "a job"


AutoExecutor.__module__ = "submitit.auto.auto"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"executor": Client()}, r"pass client.get_executor\(\)"),
        ({"executor": AutoExecutor()}, "AutoExecutor of submitit, whose jobs are no concurrent.futures.Future: pass"),
        ({"executor": type("RayExecutor", (), {"__module__": "ray.util"})()}, "of ray, whose tasks are no"),
        ({"executor": 4}, "executor is int of builtins, expected something whose submit returns"),
        ({"executor": ThreadPoolExecutor(1), "path": None}, "path is None, expected a folder that all"),
        ({"executor": ThreadPoolExecutor(1), "jobs": 2}, "jobs is 2 and an executor is given"),
        ({"jobs": 0}, "jobs is 0"),
    ],
)
def test_what_is_no_executor(study, changes, message):
    with pytest.raises(ValueError, match=message):
        study(**changes)


def test_a_submit_that_returns_something_else(study):
    class Other:
        def submit(self, function, argument):
            return "soon"

    with pytest.raises(ValueError, match="submit returned str of builtins, expected a concurrent.futures.Future"):
        study(executor=Other())


# ---- Studies in pieces -----------------------------------------------------------------------------------------------


def test_pieces_of_a_study_are_one(study, serial, tmp_path):
    for seed in (0, 1):
        study(path=tmp_path / f"{seed}", seed=seed, repeats=1)
    pieces = [tmp_path / "0", tmp_path / "1"]
    assert numbers(plp.merge(pieces)) == serial
    merged = plp.merge(pieces, tmp_path / "both")
    assert numbers(merged) == serial and plp.Study.load(tmp_path / "both") == merged
    assert plp.merge([tmp_path / "1"], tmp_path / "both") == merged  # which it has already
    interrupted = tmp_path / "both" / "resnet18-plp-seed-1" / "run.json"
    interrupted.write_text(interrupted.read_text().replace('"complete": true', '"complete": false'))
    assert len(plp.Study.load(tmp_path / "both").runs) == 3
    assert plp.merge(pieces, tmp_path / "both") == merged == plp.Study.load(tmp_path / "both")
    assert study(path=tmp_path / "both") == merged
    merged.save(tmp_path / "one.json")
    assert plp.merge([tmp_path / "one.json", *pieces]) == merged


def test_what_is_not_of_one_study_is_not_merged(study, synthetic, tmp_path):
    study(path=tmp_path / "a", repeats=1)
    study(path=tmp_path / "b", repeats=1, epochs=1)
    with pytest.raises(ValueError, match="b holds a study whose epochs is 1, expected 2: it cannot be merged with"):
        plp.merge([tmp_path / "a", tmp_path / "b"])
    other = plp.Study.load(tmp_path / "a")
    other.runs[0] = replace(other.runs[0], failure="found nan")
    other.save(tmp_path / "other.json")
    with pytest.raises(ValueError, match="resnet18 sgd seed 0 has another outcome in"):
        plp.merge([tmp_path / "a", tmp_path / "other.json"])
    earlier = plp.Study.load(tmp_path / "a")
    earlier.settings = replace(earlier.settings, train_checksum="", test_checksum="")
    earlier.save(tmp_path / "earlier.json")  # of a version that did not note them
    pieces = [tmp_path / "earlier.json", tmp_path / "a"]
    assert plp.merge(pieces).settings == plp.Study.load(tmp_path / "a").settings
    train = plp.datasets.from_arrays(synthetic[0].images[::-1], synthetic[0].labels, 100, name=synthetic[0].name)
    study(path=tmp_path / "c", seed=1, repeats=1, train=train)
    with pytest.raises(ValueError, match="c holds a study whose train_checksum is"):
        plp.merge([*pieces, tmp_path / "c"])
    with pytest.raises(ValueError, match="paths is empty"):
        plp.merge([])
