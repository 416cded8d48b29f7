"""The programs of README and of the pages, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".build/release"
MODULES = ("Base", "Kernels", "Networks", "Optimization", "Datasets", "Training")


def programs(page, language):
    """Those of a language on a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def output(language, program, folder):
    """What a program prints that is built, where it has to be, and run in a folder."""
    if language == "python":
        return run(sys.executable, "-c", program, cwd=folder)
    if not BUILT.exists():
        pytest.skip("needs a checkout in which `make build` has run")
    return {"c": _output_of_c, "swift": _output_of_swift}[language](program, folder)


def _output_of_c(program, folder):
    (folder / "program.c").write_text(program)
    os.symlink(BUILT / "libplp.so", folder / "libplp.so.0")
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", f"-Wl,-rpath,{folder}"]
    run("gcc", *options, "program.c", "libplp.so.0", "-o", "program", cwd=folder)
    return run("./program", cwd=folder)


def _output_of_swift(program, folder):
    (folder / "main.swift").write_text(program)
    # Of sources that are there: a build folder keeps the objects of those that were.
    sources = [(module, source) for module in MODULES for source in (ROOT / "Sources" / module).glob("*.swift")]
    objects = [BUILT / f"PLP{module}.build/{source.name}.o" for module, source in sources]
    paths = (BUILT / "Modules", ROOT / "Sources/CLinux", ROOT / "Sources/COpenBLAS")
    searched = [option for path in paths for option in ("-I", path)]
    run("swiftc", "main.swift", *objects, *searched, "-lopenblas", "-o", "program", cwd=folder)
    return run("./program", cwd=folder)
