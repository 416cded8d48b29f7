"""The package as others get it: installed elsewhere, its examples, its version."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import plp
import pytest
from plp.model import ARCHITECTURES
from plp.options import OPTIMIZERS, PREDICTORS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples" / "python").glob("*.py"))
for name in ("torch_engine.py", "torch_loop.py"):  # which test_torch.py runs
    EXAMPLES.remove(ROOT / "examples/python" / name)


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("pyproject.toml", '^version = "(.*)"'),
        ("examples/swift/Package.swift", 'exact: "(.*)"'),
        ("CITATION.cff", "^version: (.*)"),
    ],
)
def test_versions_agree(file, pattern):
    assert re.search(pattern, (ROOT / file).read_text(), re.M)[1] == plp.__version__


def test_all_names_exist_and_are_documented():
    for name in plp.__all__:
        if name not in {"__version__", "PAPER", "QUICK", "build_info"}:
            assert getattr(plp, name).__doc__, name


def test_every_name_is_in_the_reference():
    reference = (ROOT / "docs/api/python.md").read_text()
    found = set(re.findall(r"^\.\. auto\w+:: plp\.(\w+)$", reference, re.M))
    assert found == set(plp.__all__) - {"__version__"} | {"torch"}


def test_every_network_is_named_where_a_user_looks():
    header = re.search(r"const char \*architecture; +/\*(.*?)\*/", (ROOT / "include" / "plp.h").read_text(), re.S)
    docstring = re.search(r"architecture: (.*?)classes:", plp.Model.__doc__, re.S)
    for text in (header, docstring):
        assert re.findall(r'"(\w+)"', text[1]) == list(ARCHITECTURES)
    reference = (ROOT / "examples/python/torch_networks.py").read_text()
    assert set(re.findall(r'if name == "(\w+)"', reference)) == set(ARCHITECTURES)  # each is held against PyTorch


def test_every_method_is_named_where_a_user_looks():
    for kinds, name, owners in (
        (OPTIMIZERS, "optimizer", [plp.Trainer]),
        (PREDICTORS, "predictor", [plp.Trainer, plp.Prediction]),
    ):
        for owner in owners:
            text = re.search(rf"^ +{name}: (.*)", owner.__doc__, re.M)[1]
            assert re.findall(r"plp\.(\w+)", text) == [kind.__name__ for kind in kinds], owner


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples(example, tmp_path):
    if "import torch" in example.read_text():
        pytest.importorskip("torch")
    environment = {name: value for name, value in os.environ.items() if name != "PLP_DATA"}
    run(sys.executable, example, cwd=tmp_path, env=environment)


@pytest.fixture(scope="module")
def wheel_environment(tmp_path_factory):
    """An environment in which `import plp` finds what `make wheel` has built, and nothing else of this repository."""
    wheels = list((ROOT / "dist").glob("plp-*-cp311-abi3-manylinux_2_34_x86_64.whl"))
    if not wheels:
        pytest.skip("there is no wheel in dist/; `make wheel` builds it")
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, *wheels, "--no-deps", "--target", site)
    return {**os.environ, "PYTHONPATH": str(site)}


def test_wheel_works_from_another_folder(wheel_environment, tmp_path):
    program = "import plp; print(plp.__file__); print(plp.Model('resnet18', width=0.1))"
    printed = run(sys.executable, "-c", program, cwd=tmp_path, env=wheel_environment)
    assert printed.startswith(wheel_environment["PYTHONPATH"]) and "resnet18" in printed


def test_wheel_needs_no_openblas_of_the_system(wheel_environment):
    folder = Path(wheel_environment["PYTHONPATH"]) / "plp"
    libraries = [*folder.rglob("libplp.so.0")]
    assert len(libraries) == 2
    for library in libraries:
        printed = run("ldd", library)
        assert "blas" not in printed and "gfortran" not in printed and "not found" not in printed
    licences = [path.name for path in folder.parent.rglob("plp-*.dist-info/licenses/**/*") if path.is_file()]
    assert sorted(licences) == ["LICENSE", "OpenBLAS.txt", "Swift.txt"]


@pytest.mark.parametrize("without_avx512", [False, True])
def test_wheel_has_a_library_for_each_kind_of_processor(wheel_environment, tmp_path, without_avx512):
    """The loader takes the best that the processor runs; a tunable of glibc keeps AVX-512 from it."""
    tunables = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F"} if without_avx512 else {}
    wide = not without_avx512 and " avx512vl " in Path("/proc/cpuinfo").read_text()
    program = "import plp; print(plp.build_info()); print(plp.Model('resnet18', width=0.1))"
    printed = run(sys.executable, "-c", program, cwd=tmp_path, env=wheel_environment | tunables)
    assert f"vectors: {'AVX-512' if wide else 'AVX2'}\n" in printed


def build(folder):
    """The command that builds the extension below `folder`."""
    return [sys.executable, "setup.py", "build_ext", "--build-lib", folder / "lib", "--build-temp", folder / "temp"]


def test_a_build_carries_nothing_of_an_earlier_one(tmp_path):
    """The library for AVX-512 would be preferred to the one that is meant."""
    pytest.importorskip("setuptools", minversion="77")  # Debian's do not know pyproject.toml's form of the licence
    library = str(Path(plp.__file__).parent / "libplp.so.0")
    run(*build(tmp_path), cwd=ROOT, env={**os.environ, "PLP_LIBRARY": library, "PLP_LIBRARY_V4": library})
    assert len(list(tmp_path.rglob("libplp.so.0"))) == 2
    run(*build(tmp_path), cwd=ROOT, env={**os.environ, "PLP_LIBRARY": library})
    assert len(list(tmp_path.rglob("libplp.so.0"))) == 1


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """An sdist, unpacked."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("sdist")
    program = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    run(sys.executable, "-c", program, cwd=ROOT)
    (archive,) = folder.glob("plp-*.tar.gz")
    run("tar", "xf", archive, cwd=folder)
    return folder / archive.name.removesuffix(".tar.gz")


def test_sources_have_all_that_the_library_is_built_from(sources):
    """Swift's package manager refuses a package that lacks a target's folder."""
    if not shutil.which("swift"):
        pytest.skip("needs Swift")
    describe = ["swift", "package", "--scratch-path", sources / ".build-described", "describe", "--type", "json"]
    described, here = (json.loads(run(*describe, cwd=folder)) for folder in (sources, ROOT))
    assert [target["sources"] for target in described["targets"]] == [target["sources"] for target in here["targets"]]
    assert (sources / "include/plp.h").exists() and (sources / "licenses/OpenBLAS.txt").exists()


def test_editable_install_imports(sources, tmp_path):
    """The library is beside the extension, among the sources."""
    program = (
        f"from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})"  # what `pip -e` calls
    )
    library = str(Path(plp.__file__).parent / "libplp.so.0")
    run(sys.executable, "-c", program, cwd=sources, env={**os.environ, "PLP_LIBRARY": library})
    program = "import plp; print(plp.__file__); print(plp.Model('resnet18', width=0.1))"
    printed = run(sys.executable, "-c", program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": sources / "python"})
    assert printed.startswith(str(sources)) and "resnet18" in printed


def test_what_brings_a_missing_extra_is_said(monkeypatch, small, synthetic, tmp_path):
    for name in ("matplotlib", "scipy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"matplotlib is missing: pip install 'plp\[plots\]' brings it"):
        plp.Trainer(small).history.plot(tmp_path / "curves.png")
    with pytest.raises(ModuleNotFoundError, match=r"scipy is missing: pip install 'plp\[studies\]' brings it"):
        plp.compare("resnet18", train=synthetic[0])


def test_only_what_it_says_is_needed():
    """The extension finds its library beside itself and needs no Swift; the library needs system libraries only."""
    folder = Path(plp.__file__).parent
    printed = run("ldd", folder / "_plp.abi3.so")
    assert str(folder / "libplp.so.0") in printed and "not found" not in printed
    assert "swift" not in printed.lower().replace(str(folder), "")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "there is no `swift` in PATH; install a Swift 6.3 toolchain"),
        ("echo Swift version 5.10.1", "Swift 6.3 or later is needed, `swift --version` says: Swift version 5.10.1"),
        ("exit 1", "Swift 6.3 or later is needed"),
    ],
)
def test_the_toolchain_is_asked_for(tmp_path, script, message):
    pytest.importorskip("setuptools", minversion="77")  # Debian's do not know pyproject.toml's form of the licence
    if script:
        (tmp_path / "swift").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "swift").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PLP_LIBRARY"} | {"PATH": str(tmp_path)}
    done = subprocess.run(build(tmp_path), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and message in done.stderr


def test_another_processor_is_refused(tmp_path):
    """For a program that `setarch` starts, this is a machine of 32 bits."""
    pytest.importorskip("setuptools", minversion="77")
    environment = {name: value for name, value in os.environ.items() if name != "PLP_LIBRARY"}
    command = ["setarch", "i686", *build(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and "plp: found Linux on i686, expected Linux on x86_64" in done.stderr


@pytest.mark.parametrize(
    ("found", "message"),
    [(("glibc", "2.31"), "found glibc 2.31, expected glibc 2.33 or later"), (("", ""), "found another C library")],
)
def test_another_c_library_is_refused(tmp_path, found, message):
    pytest.importorskip("setuptools", minversion="77")
    (tmp_path / "sitecustomize.py").write_text(f"import platform\nplatform.libc_ver = lambda: {found}\n")
    environment = {name: value for name, value in os.environ.items() if name != "PLP_LIBRARY"}
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(build(tmp_path), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and f"plp: {message}" in done.stderr
