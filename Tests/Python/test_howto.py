"""The programs of the pages that tell how something is done, and the examples beside them, run as they stand there.

Those for PyTorch want a current one: test_torch.py runs them.
"""

import re
import sys

import numpy as np
import pytest
from programs import ROOT, output, programs, run


@pytest.mark.parametrize("number", range(2))
def test_numpy(number, tmp_path):
    both = programs("docs/howto/numpy.md", "python")
    assert len(both) == 2
    printed = output("python", both[number], tmp_path)
    assert number == 1 or float(re.search(r"error ([\d.]+)", printed)[1]) < 0.1


@pytest.mark.parametrize("language", ["c", "swift"])
def test_other_languages(language, tmp_path):
    (program,) = programs("docs/howto/c.md", language)
    found = [float(number) for number in re.findall(r"[\d.]+", output(language, program, tmp_path))]
    np.testing.assert_allclose(found, [1, 2], atol=0.01)


def test_watch(tmp_path):
    (program,) = programs("docs/howto/watch.md", "python")
    printed = output("python", program, tmp_path)
    assert float(re.search(r"cosine ([\d.]+)\n", printed)[1]) > 0.5 and "gradients: 0.95" in printed
    assert (tmp_path / "watched.png").exists()


@pytest.mark.parametrize("number", range(2))
def test_start(number, tmp_path):
    both = programs("docs/start.md", "python")
    assert len(both) == 2
    assert output("python", both[number], tmp_path)
    assert (tmp_path / ("resnet18.safetensors", "report.html")[number]).exists()


def test_cluster(tmp_path):
    (program,) = programs("docs/howto/cluster.md", "python")
    (tmp_path / "study.py").write_text(program)
    assert "plp against sgd: " in run(sys.executable, "study.py", cwd=tmp_path)
    assert len(list(tmp_path.glob("study/*/best.safetensors"))) == 4


def test_numpy_example(tmp_path):
    printed = run(sys.executable, ROOT / "examples/python/numpy_loop.py", cwd=tmp_path)
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]
    assert len(losses) == 3 and losses[-1] < 0.5
