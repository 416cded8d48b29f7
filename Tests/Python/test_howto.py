"""The programs of the pages that tell how something is done, and the examples beside them, run as they stand there.

Those for PyTorch want a current one: test_torch.py runs them.
"""

import ast
import inspect
import operator
import os
import re
import sys

import numpy as np
import plp
import pytest
from programs import ROOT, output, programs, run


def output_of_commands(page, folder):
    """What the commands of a page print, those of one block after the other."""
    (block,) = programs(page, "sh")
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    return run("env", f"PATH={path}", "sh", "-euc", block, cwd=folder)


PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_calls_in_the_text_have_arguments_that_there_are(page):
    """Those of functions of plp, which programs show to run."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`(plp\.[^`]*\))`", text):
        for call in ast.walk(ast.parse(code.replace(", …", "").replace("\n", " "))):
            if isinstance(call, ast.Call) and (name := ast.unparse(call.func)).startswith("plp.") and "(" not in name:
                function = operator.attrgetter(name.removeprefix("plp."))(plp)
                given = {keyword.arg for keyword in call.keywords} - {None}
                assert not given or given <= inspect.signature(function).parameters.keys(), code


def test_tutorial(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "docs/tutorial.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # the site makes them
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "plp against sgd*7/6: " in printed


@pytest.mark.parametrize(
    ("number", "expected"), [(0, r"error 0\.0\d+"), (1, ""), (2, r"\[ 5\.  11\.5\]\n\[ 5\. 15\.\]")]
)
def test_numpy(number, expected, tmp_path):
    three = programs("docs/howto/numpy.md", "python")
    assert len(three) == 3
    assert re.fullmatch(expected, output("python", three[number], tmp_path).strip())


@pytest.mark.parametrize("language", ["c", "swift"])
def test_other_languages(language, tmp_path):
    (program,) = programs("docs/howto/c.md", language)
    found = [float(number) for number in re.findall(r"[\d.]+", output(language, program, tmp_path))]
    np.testing.assert_allclose(found, [1, 2], atol=0.01)


def test_watch(tmp_path):
    program, study = programs("docs/howto/watch.md", "python")
    printed = output("python", program, tmp_path)
    assert float(re.search(r"cosine ([\d.]+)\n", printed)[1]) > 0.5 and "gradients: 0.95" in printed
    assert (tmp_path / "watched.png").exists()
    assert re.search(r"resnet18 plp seed 0 0\.\d+\n", output("python", study, tmp_path))
    assert (tmp_path / "report.html").exists()


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


def test_threads(tmp_path):
    (program,) = programs("docs/howto/threads.md", "python")
    printed = output("python", program, tmp_path)
    assert "threads: " in printed and printed.endswith("True\n")
    found = re.findall("^threads: (.*)$", output_of_commands("docs/howto/threads.md", tmp_path), re.M)
    assert found[1].startswith("1, ") and found[2] == "1, of PLP_NUM_THREADS=1"


def test_own_images(tmp_path):
    arrays, folder, *_ = programs("docs/howto/images.md", "python")  # test_torch.py runs the others
    assert "test set, model of epoch" in output("python", arrays, tmp_path)

    pillow = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(0)
    for name, brightness in (("cat", 60), ("dog", 180)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.normal(brightness, 30, (80, 70, 3)).clip(0, 255).astype(np.uint8)
            pillow.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    assert re.search("^cat looks like (cat|dog)$", output("python", folder, tmp_path), re.M)


def test_cifar10(tmp_path):
    (program,) = programs("docs/howto/cifar.md", "python")
    folder = tmp_path / "data/cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        with open(folder / f"{name}.bin", "wb") as file:
            file.truncate(10_000 * 3_073)  # black images of the first class
    assert "CIFAR-10 train[:500]" in output("python", program, tmp_path)


def test_resume(tmp_path):
    (program,) = programs("docs/howto/resume.md", "python")
    assert output("python", program, tmp_path).endswith("True\n")
    printed = output_of_commands("docs/howto/resume.md", tmp_path)
    first, again = re.findall(r"^ +1 .*", printed, re.M)
    assert first == again  # the speed too: the epoch that was there is not made again


@pytest.mark.parametrize("number", range(2))
def test_weights(number, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "examples/python"))
    printed = output("python", programs("docs/howto/weights.md", "python")[number], tmp_path)
    if number:
        assert "parameters" in printed
    else:
        assert float(re.search("largest difference (.*)", printed)[1]) < 1e-3


def test_report(tmp_path):
    make, read = programs("docs/howto/report.md", "python")
    assert "plp against sgd*7/6: " in output("python", make, tmp_path)
    assert (tmp_path / "report.html").exists()
    assert output("python", read, tmp_path).count(" against ") == 3


def test_numpy_example(tmp_path):
    printed = run(sys.executable, ROOT / "examples/python/numpy_loop.py", cwd=tmp_path)
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]
    assert len(losses) == 3 and losses[-1] < 0.5
