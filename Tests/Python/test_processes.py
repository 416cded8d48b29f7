"""Forked children and processes that get no threads compute what any other process does, and never hang."""

import concurrent.futures
import hashlib
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import traceback
from functools import partial
from pathlib import Path

import numpy as np
import plp
import pytest

# Reported by Python since 3.12 for any fork beside threads; these tests are about just that.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def images():
    return plp.datasets.synthetic(64, 8)[0]


def trained(images, seed=0):
    """A hash of all that a short run leaves: the same bits on any number of threads, in any process."""
    model = plp.Model("vgg16", width=1 / 16, seed=seed)
    trainer = plp.Trainer(model, batch_size=16, threads=2)
    trainer.fit(images, validation=0.25, epochs=1, progress=False)
    logits = model.logits(images.images[:4])
    return hashlib.sha256(trainer.model.state_dict()["features.0.weight"].tobytes() + logits.tobytes()).hexdigest()


def in_child(work, seconds=60):
    """What `work` returns in a forked child, as text; fails if the child does not end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)  # ends a child that hangs
        try:
            os.write(writing, str(work()).encode())
            os._exit(0)
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
            os._exit(1)
    os.close(writing)
    with open(reading) as result:
        text = result.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"exit status {status}: {text}"
    return text


BEFORE = {
    "nothing": lambda images: None,
    "logits": lambda images: plp.Model("vgg16", width=1 / 16).logits(images.images[:4]),
    "evaluate": lambda images: plp.Model("vgg16", width=1 / 16).evaluate(images),
    "fit": trained,
}


@pytest.mark.parametrize("before", BEFORE)
def test_children_compute_the_same(images, before):
    BEFORE[before](images)
    results = {in_child(lambda: trained(images)) for _ in range(20)}
    assert results == {trained(images)}


def test_children_of_a_moment_at_which_another_thread_asks_for_memory():
    """More than there is: what was given and is untouched is looked through then, which takes its time."""
    model, large = plp.Model("resnet18"), plp.Model("resnet18", image_size=96)
    untouched = plp.Trainer(model, batch_size=256)
    is_over = threading.Event()

    def ask():
        while not is_over.is_set():
            with pytest.raises(MemoryError, match="would take"):
                plp.Trainer(large, batch_size=65_536)  # 3 TB

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            for _ in range(20):
                assert in_child(lambda: plp.Model("resnet18", width=1 / 4).parameter_count, seconds=20) != "0"
        finally:
            is_over.set()
        asking.result()
    del untouched


def test_children_are_the_first_to_compute():
    """Swift's runtime knows a thread by a number that is another one in a child: what is made when it is first used
    may not be first used by two threads at once there."""
    script = """
import os, signal, plp
images = plp.datasets.synthetic(64, 8)[0]
for _ in range(40):
    if os.fork() == 0:
        signal.alarm(20)
        trainer = plp.Trainer(plp.Model("vgg16", width=1 / 16), batch_size=64, threads=2)
        trainer.step(images.images, images.labels)
        os._exit(0)
    assert os.wait()[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_the_parent_made_goes_on_in_the_child(images):
    model = plp.Model("vgg16", width=1 / 16)
    trainer = plp.Trainer(model, batch_size=16, threads=2)
    trainer.fit(images, epochs=1, progress=False)
    model.evaluate(images)

    def go_on():
        trainer.fit(images, epochs=2, progress=False)
        return trainer.history.epochs[1].train, model.evaluate(images).loss

    assert in_child(go_on) == in_child(go_on) == str(go_on())


def test_grandchildren(images):
    trained(images)
    expected = trained(images)
    assert in_child(lambda: (trained(images), in_child(lambda: trained(images)))) == str((expected, expected))


def trained_on_inherited(seed):
    return trained(inherited, seed)


@pytest.mark.parametrize("kind", ["Pool", "ProcessPoolExecutor"])
def test_pools_of_processes(images, kind):
    global inherited
    inherited = images
    expected = [trained(images, seed) for seed in range(4)]
    context = multiprocessing.get_context("fork")
    if kind == "Pool":
        with context.Pool(2) as pool:
            results = pool.map_async(trained_on_inherited, range(4)).get(timeout=120)
    else:
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            results = list(pool.map(trained_on_inherited, range(4), timeout=120))
    assert results == expected


def test_children_forked_in_the_middle_of_a_fit(images):
    """What the fit was changing is refused in the child; all else is as ever, also what other threads had not."""
    expected = trained(images)
    model = plp.Model("vgg16", width=1 / 16)
    trainer = plp.Trainer(model, batch_size=4, threads=2)
    enough = threading.Event()
    begun = threading.Event()

    def callback(progress):
        begun.set()
        return enough.is_set()

    fit = threading.Thread(
        target=trainer.fit, args=[images], kwargs={"epochs": 25_000, "callback": callback, "progress": False}
    )
    fit.start()
    begun.wait()

    def child():
        for use in [trainer.evaluate, model.evaluate, trainer.fit]:
            with pytest.raises(ValueError, match="that another thread was using when this process was forked"):
                use(images)
        return trained(images)

    try:
        assert {in_child(child) for _ in range(20)} == {expected}
    finally:
        enough.set()
        fit.join()


def test_children_forked_while_another_thread_reads_a_model(images):
    """What is only read is whole, and nobody in the child is waited for."""
    model = plp.Model("vgg16", width=1 / 16)
    expected = model.logits(images.images[:4])
    many, logits = np.zeros((30_000, 3, 32, 32), np.uint8), np.zeros((30_000, 100), np.float32)
    reading = threading.Thread(
        target=plp._plp.model_logits, args=(model._handle, many, plp._plp.UINT8, len(many), 1, logits)
    )
    reading.start()
    while not logits.any():
        pass

    def child():
        model.load_state_dict(model.state_dict())
        model.evaluate(images)
        return np.array_equal(model.logits(images.images[:4]), expected), logits[-1].any()

    assert {in_child(child) for _ in range(5)} == {"(True, False)"}
    reading.join()


def test_a_child_forked_in_a_callback(images):
    expected = trained(images)
    results = []
    trainer = plp.Trainer(plp.Model("vgg16", width=1 / 16), batch_size=16, threads=2)
    trainer.fit(
        images, epochs=1, progress=False, callback=lambda progress: results.append(in_child(lambda: trained(images)))
    )
    assert set(results) == {expected}


@pytest.mark.skipif(os.geteuid() != 0, reason="the limit binds other users than root only, whom only root can become")
@pytest.mark.parametrize("before", BEFORE)
def test_without_threads_the_caller_does_all_the_work(images, before):
    expected = trained(images)

    def child():
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        os.setuid(65_534)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        BEFORE[before](images)
        return trained(images)

    assert in_child(child) == expected


def build_info_in_child(prepare=lambda: None):
    """The line of threads in plp.build_info(), after `prepare` has changed the child."""

    def child():
        prepare()
        return next(line for line in plp.build_info().splitlines() if line.startswith("threads: "))

    return in_child(child)


def without_variables():
    for name in ["PLP_NUM_THREADS", "OMP_NUM_THREADS"]:
        os.environ.pop(name, None)


@pytest.fixture(scope="module")
def control_group():
    """Makes a control group, from a controller and what its files hold, by version."""
    made = []

    def make(controller, one, two):
        tops = [(Path("/sys/fs/cgroup", controller), one), (Path("/sys/fs/cgroup"), two)]
        for top, files in tops:
            group = top / f"plp-test-{os.getpid()}-{len(made)}"
            try:
                group.mkdir()
                made.append(group)
                for name, value in files.items():
                    (group / name).write_text(value)
                return group
            except OSError:
                continue
        pytest.skip(f"no control group of {controller} can be made")

    yield make
    for group in made:
        group.rmdir()


def join(group):
    (group / "cgroup.procs").write_text(str(os.getpid()))


def test_threads_by_default_are_the_processors_of_the_affinity_mask():
    def prepare():
        without_variables()
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    assert build_info_in_child(prepare) == "threads: 1, of the processors that this process may run on"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_threads_by_default_respect_a_quota(control_group):
    group = control_group("cpu", {"cpu.cfs_quota_us": "150000"}, {"cpu.max": "150000 100000"})

    def prepare():
        without_variables()
        join(group)

    found = build_info_in_child(prepare)
    assert found.startswith("threads: 1, of a quota of 1.5 processors, control group") and group.name in found


def test_threads_by_default_follow_the_variables_as_they_are_now():
    def child():
        without_variables()
        before = plp.build_info()
        os.environ["OMP_NUM_THREADS"] = "1"
        assert "threads: 1, of OMP_NUM_THREADS=1" in plp.build_info()
        os.environ["PLP_NUM_THREADS"] = "none"
        assert "; PLP_NUM_THREADS=none is ignored" in plp.build_info()
        without_variables()
        assert plp.build_info() == before

    in_child(child)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
@pytest.mark.parametrize("threads", [0, 1, 16])
def test_no_more_threads_than_processors_are_started(images, threads):
    def helpers(affinity):
        os.sched_setaffinity(0, affinity)
        without_variables()
        before = len(os.listdir("/proc/self/task"))
        # Helpers stay as long as the trainer whose steps they share.
        trainer = plp.Trainer(plp.Model("vgg16", width=1 / 16), batch_size=64, threads=threads)
        trainer.step(images.images, images.labels)
        return len(os.listdir("/proc/self/task")) - before

    two = sorted(os.sched_getaffinity(0))[:2]
    assert in_child(lambda: helpers(two[:1])) == "0"
    assert in_child(lambda: helpers(two)) == ("0" if threads == 1 else "1")


def load_saved(folder, images):
    model = plp.Model("vgg16", width=0.5)
    model.load_state_dict(model.state_dict())
    model.save(folder / "model.safetensors")
    plp.Model.load(folder / "model.safetensors")


def train_on_synthetic(folder, images):
    trainer = plp.Trainer(plp.Model("vgg16", width=0.25), batch_size=32, threads=2)
    trainer.fit(plp.datasets.synthetic(5000, 10)[1], validation=0.5, epochs=1, progress=False)


def evaluate_wide(folder, images):
    plp.Model("resnet18").evaluate(images)


def fits_or_not(work, *arguments):
    """What became of it: there is no third way."""
    try:
        work(*arguments)
    except MemoryError:
        return "MemoryError"
    return "success"


@pytest.mark.parametrize("work", [load_saved, train_on_synthetic, evaluate_wide])
@pytest.mark.parametrize(("kind", "size"), [("AS", "VmSize"), ("DATA", "VmData")])
def test_limits_of_the_process_are_errors(images, tmp_path, work, kind, size):
    """Neither the end of the process nor a wait without end, however much there is."""

    def child(megabytes):
        used = re.search(rf"{size}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        limit = (int(used[1]) << 10) + (megabytes << 20)
        resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (limit, limit))
        return fits_or_not(work, tmp_path, images)

    results = [in_child(partial(child, megabytes)) for megabytes in [50, 120, 250, 340, 500]]
    assert results[0] == "MemoryError" and set(results) <= {"MemoryError", "success"}


def test_a_control_group_without_memory_is_an_error(images, tmp_path, control_group):
    group = control_group("memory", {"memory.limit_in_bytes": "300M"}, {"memory.max": "300M"})

    def child():
        join(group)
        wide = fits_or_not(lambda: plp.Trainer(plp.Model("resnet18"), batch_size=128).fit(images, progress=False))
        model = plp.Model("resnet18", width=0.25)
        trainers = [plp.Trainer(model, batch_size=16, threads=1)]
        # What nobody has touched yet counts too.
        many = fits_or_not(lambda: trainers.extend(plp.Trainer(model, batch_size=64, threads=1) for _ in range(30)))
        count = len(trainers)
        del trainers[1:]
        trainers[0].fit(images, progress=False)
        return wide, many, count > 1

    assert in_child(child) == "('MemoryError', 'MemoryError', True)"
