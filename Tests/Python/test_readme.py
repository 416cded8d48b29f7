"""README's programs, run as they stand there."""

import re

from programs import output, programs


def test_python(tmp_path):
    (program,) = programs("README.md", "python")
    printed = output("python", program, tmp_path)
    accuracy = re.search(r"test set, model of epoch \d: accuracy ([\d.]+)%", printed)[1]
    assert float(accuracy) > 5  # where chance is 1
    assert "plp against sgd*7/6: " in printed
    assert (tmp_path / "resnet18.safetensors").exists() and (tmp_path / "report.html").exists()


def test_c(tmp_path):
    (program,) = programs("README.md", "c")
    assert output("c", program, tmp_path).startswith("loss ")


def test_swift(tmp_path):
    (program,) = programs("README.md", "swift")
    assert output("swift", program, tmp_path)
    assert (tmp_path / "resnet18.safetensors").exists()
