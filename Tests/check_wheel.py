"""A wheel in a place of its own: trains, evaluates, is interrupted and resumed; prints a hash and what it found.

    python check_wheel.py [MODULE …]

The modules are imported first, as those that bring an OpenBLAS or OpenMP of their own; how many threads they have must
be the same in the end.
"""

import hashlib
import sys
import sysconfig
import tempfile
from importlib import import_module
from pathlib import Path

first = [import_module(name) for name in sys.argv[1:]]

import numpy as np  # noqa: E402


def threads():
    """Of every library of numbers in the process but our own, and of PyTorch."""
    counts = []
    if first:
        from threadpoolctl import threadpool_info

        counts = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
        counts += [module.get_num_threads() for module in first if hasattr(module, "get_num_threads")]
    return sorted(counts, key=str)


np.ones((300, 300)) @ np.ones((300, 300))  # has NumPy's threads start
before = threads()

import plp  # noqa: E402

train, test = plp.datasets.synthetic(256, 64)
digest = hashlib.sha256()
speeds = []
for network in ("resnet18", "vgg16"):

    def trainer(network=network):
        model = plp.Model(network, width=0.125, seed=0)
        return plp.Trainer(model, optimizer=plp.SGD(lr=0.05), predictor=plp.PLP(), batch_size=32, seed=0)

    whole = trainer()
    history = whole.fit(train, test=test, epochs=2, progress=False)
    speeds.append(f"{network} {history[-1].images_per_second:.0f}")
    assert len(history) == 2 and np.isfinite(whole.evaluate(test).loss)

    half, rest = trainer(), trainer()
    half.fit(train, test=test, epochs=1, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        half.save(Path(folder) / "checkpoint.plp")
        rest.restore(Path(folder) / "checkpoint.plp")
        whole.model.save(Path(folder) / "model.safetensors")
        state = plp.Model.load(Path(folder) / "model.safetensors").state_dict()
    rest.fit(train, test=test, epochs=2, progress=False)
    for name, values in rest.model.state_dict().items():
        assert np.array_equal(values, state[name]), f"{network}: {name} is another after an interruption"
        digest.update(values.tobytes())

assert threads() == before, f"{before} before, {threads()} after"
libraries = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
blas = [path for path in sorted(libraries) if Path(path).name.startswith("lib") and "blas" in path]
assert all(Path(path).parent.name in ("numpy.libs", "scipy.libs") for path in blas), blas
vectors = next(line for line in plp.build_info().splitlines() if line.startswith("vectors"))
versions = ", ".join(f"{module.__name__} {getattr(module, '__version__', '')}".strip() for module in [*first, np])
python = sysconfig.get_python_version()
speed = f"images/s: {', '.join(speeds)}"
print(f"{digest.hexdigest()[:16]} Python {python}, {versions}, {vectors}, {speed}, threads: {before or 'not asked'}")
