"""Builds the Swift library, and the extension that carries it beside itself. All else is in pyproject.toml."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
LIBRARY = "libplp.so.0"  # its soname: the extension asks for this name, and finds it in its own folder
LIBRARY_V4 = f"glibc-hwcaps/x86-64-v4/{LIBRARY}"  # which the loader takes instead where the processor has AVX-512
NEEDED = (6, 3)
GLIBC_NEEDED = (2, 33)  # whose header tells what the processor has


def swift_library() -> Path:
    """Builds libplp, Swift's runtime included, and returns the file."""
    if (system := (platform.system(), platform.machine())) != ("Linux", "x86_64"):
        raise SystemExit(f"plp: found {' on '.join(system)}, expected Linux on x86_64: the kernels are written for it")
    libc, number = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, number.split("."))) < GLIBC_NEEDED:
        found = f"{libc} {number}".strip() or "another C library"
        raise SystemExit(f"plp: found {found}, expected glibc {'.'.join(map(str, GLIBC_NEEDED))} or later")
    if not shutil.which("swift"):
        raise SystemExit(
            "plp: there is no `swift` in PATH; install a Swift 6.3 toolchain from https://swift.org/install"
        )
    printed = subprocess.run(["swift", "--version"], capture_output=True, text=True).stdout
    version = re.search(r"Swift version (\d+)\.(\d+)", printed)
    if not version or tuple(map(int, version.groups())) < NEEDED:
        raise SystemExit(
            f"plp: Swift {'.'.join(map(str, NEEDED))} or later is needed, `swift --version` says: {printed.strip()}; "
            "install it from https://swift.org/install"
        )
    if not shutil.which("pkg-config") or subprocess.run(["pkg-config", "--exists", "openblas"]).returncode != 0:
        raise SystemExit("plp: OpenBLAS's header is missing: apt install libopenblas-dev pkg-config")
    command = ["swift", "build", "-c", "release", "--product", "plp"]
    subprocess.run(command, cwd=ROOT, check=True)
    folder = subprocess.run([*command, "--show-bin-path"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return Path(folder.strip()) / "libplp.so"


def carry(libraries: dict[str, Path | str], folder: Path) -> None:
    """Puts files under their names below a folder, and removes what an earlier build left there.

    The library for AVX-512 would be packed too, and preferred to the one that is meant.
    """
    shutil.rmtree(folder / Path(LIBRARY_V4).parts[0], ignore_errors=True)
    for name, library in libraries.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, folder / name)


class BuildWithLibrary(build_ext):
    def build_extension(self, extension: Extension) -> None:
        # PLP_LIBRARY names a libplp.so that is built already, PLP_LIBRARY_V4 one for processors with AVX-512 besides.
        self.libraries_carried = {LIBRARY: os.environ.get("PLP_LIBRARY") or swift_library()}
        if better := os.environ.get("PLP_LIBRARY_V4"):
            self.libraries_carried[LIBRARY_V4] = better
        folder = Path(self.get_ext_fullpath(extension.name)).parent
        carry(self.libraries_carried, folder)
        extension.extra_objects = [str(folder / LIBRARY)]
        super().build_extension(extension)

    def copy_extensions_to_source(self) -> None:
        """In an editable install the extension goes to the sources, and looks beside itself there."""
        super().copy_extensions_to_source()
        carry(self.libraries_carried, ROOT / "python/plp")


setup(
    ext_modules=[
        Extension(
            "plp._plp",
            ["python/plp/_plp.c"],
            depends=["include/plp.h"],
            include_dirs=["include"],
            extra_compile_args=["-std=c11"],
            runtime_library_dirs=["$ORIGIN"],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildWithLibrary},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
