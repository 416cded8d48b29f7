"""Files under a limit of memory: what is read and written costs little more than what it becomes."""

import json
import struct
import subprocess
import sys

import plp
import pytest

PROGRAM = """
import resource, sys
import numpy as np, plp

def more_memory(megabytes):
    # Beside the 48 that the library keeps for what it does not ask for.
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + (megabytes + 48 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

def refused(call, error, text):
    try:
        call()
    except error as found:
        assert text in str(found), found
    else:
        sys.exit("not refused")

path = sys.argv[1]
"""


def run(program, path):
    subprocess.run([sys.executable, "-c", PROGRAM + program, path], check=True, timeout=120)


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    """A file of 34 million parameters, 130 MiB."""
    path = tmp_path_factory.mktemp("memory") / "vgg16"
    plp.Model("vgg16").save(path)
    return path


def test_a_model_is_loaded_and_saved_in_the_memory_of_one(vgg16):
    run(
        """
more_memory(100)
refused(lambda: plp.Model.load(path), MemoryError, "would take")
more_memory(150)
model = plp.Model.load(path)
more_memory(10)
model.save(path + "-again")
assert open(path, "rb").read(1 << 20) == open(path + "-again", "rb").read(1 << 20)
""",
        vgg16,
    )


def test_a_checkpoint_is_restored_in_the_memory_of_its_vectors(tmp_path):
    run(
        """
trainer = plp.Trainer(plp.Model("resnet18", seed=1), batch_size=1)  # 43 MiB of parameters, as much of momentum
trainer.step(np.zeros((1, 3, 32, 32), np.uint8), [0])
trainer.save(path)
trained = trainer.model.state_dict()["fc.weight"]
trainer = plp.Trainer(plp.Model("resnet18", seed=1), batch_size=1)
new = trainer.model.state_dict()["fc.weight"]
more_memory(60)
refused(lambda: trainer.restore(path), MemoryError, "would take")
assert (trainer.model.state_dict()["fc.weight"] == new).all()
more_memory(110)
trainer.restore(path)
assert (trainer.model.state_dict()["fc.weight"] == trained).all()
more_memory(10)
trainer.save(path)
""",
        tmp_path / "checkpoint",
    )


def test_a_run_for_which_memory_lacks_is_refused_before_there_is_a_folder(tmp_path):
    run(
        """
import os
from plp.cli import main
os.chdir(path)
recipe = plp.Recipe(batch_size=1)
train, test = plp.datasets.synthetic(2, 2)
more_memory(9000)
trainer = plp.Trainer(plp.Model("vgg16"), predictor=plp.PLP(), batch_size=1)
more_memory(250)  # beside a trainer: enough to measure its model, not with a copy of it that is the best
del trainer
options = "--data synthetic --images 2 --validation 0.5 --epochs 1 --batch-size 1".split()
assert main(["train", "vgg16", *options, "--output", "run"]) == 1
refused(lambda: plp.compare("vgg16", ["plp"], train=train, test=test, validation=0.5, recipe=recipe, path="study"),
        MemoryError, "would take")
assert os.listdir() == []
""",
        tmp_path,
    )


def test_a_fit_for_whose_best_model_memory_lacks_is_refused_before_its_first_iteration(tmp_path):
    run(
        """
train, _ = plp.datasets.synthetic(2, 2)
trainer = plp.Trainer(plp.Model("vgg16"), batch_size=1)
more_memory(100)
refused(lambda: trainer.fit(train, epochs=1, progress=False), MemoryError, "the best model would take")
more_memory(300)  # and nothing has happened: other data are taken
other = plp.datasets.synthetic(3, 3)[0]
assert trainer.fit(other, epochs=1, progress=False)[-1].complete
""",
        tmp_path,
    )


@pytest.mark.parametrize("at_once", [False, True])
def test_trainers_have_openblass_memory_whether_made_at_once_or_one_after_the_other(at_once, tmp_path):
    """A call that finds none tries for ever."""
    run(
        f"""
import os, threading
gate = threading.Barrier(8)

def data():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData:")) >> 10

def make():
    model = plp.Model("resnet18", width=1 / 8)
    if {at_once}:
        gate.wait()
    trainers.append(plp.Trainer(model, batch_size=2, threads=2))

more_memory(9000)
trainers = []
before = data()
threads = [threading.Thread(target=make) for _ in range(8)]
for thread in threads:
    thread.start()
    if not {at_once}:
        thread.join()
for thread in threads:
    thread.join()
grown = data() - before
assert grown < 200 or grown > 8 * min(2, len(os.sched_getaffinity(0))) * 128, grown  # none without a kernel
""",
        tmp_path,
    )


@pytest.mark.parametrize("configuration", [None, {"architecture": "vgg16"}])
def test_a_sparse_file_of_two_gigabytes_costs_nothing(configuration, tmp_path):
    size = 1 << 31
    header = {"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    if configuration:
        plp.Model(configuration["architecture"], width=0.1).save(tmp_path / "model")
        data = (tmp_path / "model").read_bytes()
        header["__metadata__"] = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    text = json.dumps(header).encode()
    with (tmp_path / "sparse").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(file.tell() + size)
    message = "tensor features.0.weight is missing" if configuration else "no plp.configuration found"
    run(f"more_memory(20)\nrefused(lambda: plp.Model.load(path), plp.Error, {message!r})", tmp_path / "sparse")
