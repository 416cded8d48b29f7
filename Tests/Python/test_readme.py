"""README's programs, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".build/release"
MODULES = ("Base", "Kernels", "Networks", "Optimization", "Datasets", "Training")


def program(language):
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    return blocks[0]


def run(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python(tmp_path):
    printed = run(sys.executable, "-c", program("python"), cwd=tmp_path)
    accuracy = re.search(r"test set, model of epoch \d: accuracy ([\d.]+)%", printed)[1]
    assert float(accuracy) > 5  # where chance is 1
    assert "plp against sgd*7/6: " in printed
    assert (tmp_path / "resnet18.safetensors").exists() and (tmp_path / "report.html").exists()


@pytest.mark.skipif(not BUILT.exists(), reason="needs a checkout in which `make build` has run")
def test_c(tmp_path):
    (tmp_path / "train.c").write_text(program("c"))
    os.symlink(BUILT / "libplp.so", tmp_path / "libplp.so.0")
    run(
        "gcc",
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        ROOT / "include",
        "train.c",
        "libplp.so.0",
        f"-Wl,-rpath,{tmp_path}",
        "-o",
        "train",
        cwd=tmp_path,
    )
    assert run("./train", cwd=tmp_path).startswith("loss ")


@pytest.mark.skipif(not BUILT.exists(), reason="needs a checkout in which `make build` has run")
def test_swift(tmp_path):
    (tmp_path / "main.swift").write_text(program("swift"))
    # Of sources that are there: a build folder keeps the objects of those that were.
    sources = [(module, source) for module in MODULES for source in (ROOT / "Sources" / module).glob("*.swift")]
    objects = [BUILT / f"PLP{module}.build/{source.name}.o" for module, source in sources]
    run(
        "swiftc",
        "main.swift",
        *objects,
        "-I",
        BUILT / "Modules",
        "-I",
        ROOT / "Sources/CLinux",
        "-I",
        ROOT / "Sources/COpenBLAS",
        "-lopenblas",
        "-o",
        "train",
        cwd=tmp_path,
    )
    assert run("./train", cwd=tmp_path)
    assert (tmp_path / "resnet18.safetensors").exists()
