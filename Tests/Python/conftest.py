"""What several tests share: small data, a small network, the real data where PLP_DATA names it."""

import os
import signal
import subprocess

import plp
import pytest

# Under nohup, commands that the tests start would inherit that they ignore it, which they respect.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def synthetic():
    """400 training and 100 test images, of 100 classes."""
    return plp.datasets.synthetic(400, 100)


@pytest.fixture
def small():
    """A ResNet18 that trains on a hundred images in an instant."""
    return plp.Model("resnet18", width=1 / 16, seed=1)


@pytest.fixture(scope="session")
def real():
    """The real CIFAR-100."""
    if not os.environ.get("PLP_DATA"):
        pytest.skip("needs the real CIFAR-100: set PLP_DATA to its folder")
    return plp.datasets.cifar100(os.environ["PLP_DATA"])


def mount(folder, options):
    """A disk of its own for a test, as far as that may be made here."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")


@pytest.fixture
def disk(tmp_path):
    """A function that gives the disk at ``tmp_path`` so many bytes."""
    mount(tmp_path, "size=500k")
    yield lambda size: mount(tmp_path, f"remount,size={size:.0f}")
    subprocess.run(["umount", "--lazy", tmp_path], check=True)
