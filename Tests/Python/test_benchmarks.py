"""The simulated threads of Benchmarks/scaling.py, in cases that can be worked out by hand."""

import argparse
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "Benchmarks"))
import scaling  # noqa: E402
from crew import Pass, passes  # noqa: E402


def section(parts, needs=(), serial=0.0, backward=False):
    return {"needs": list(needs), "serial": serial, "loops": [{"parts": parts, "isBackward": backward}]}


@pytest.mark.parametrize(
    ("sections", "threads", "seconds"),
    [
        ([section([1.0] * 8, serial=0.25)], 1, 8.25),
        ([section([1.0] * 8, serial=0.25)], 4, 0.25 + 2 + 0.5),
        ([section([1.0] * 9)], 4, 3 + 0.5),  # a part more than four threads can do in two rounds
        ([section([3.0])], 4, 3.0),  # no loop of one part has a barrier
        ([section([1.0] * 6), section([1.0] * 6, needs=[0])], 4, 2 * (2 + 0.5)),
        ([section([1.0] * 6), section([1.0] * 6)], 4, 2 * (2 + 0.5)),  # few threads do one at a time
        ([section([1.0] * 8), section([1.0] * 7)], 5, 3 + 0.5),  # of more none waits while there is another loop
        # The long part is begun last, or first.
        ([section([1.0, 1.0, 1.0, 3.0])], 2, 1 + 3 + 0.5),
        ([section([1.0, 1.0, 1.0, 3.0], backward=True)], 2, 3 + 0.5),
        # Of three parts the second of two workers has two as its share, whichever way they are taken.
        ([section([4.0, 1.0, 1.0])], 2, 4 + 0.5),
        ([section([1.0, 1.0, 4.0], backward=True)], 2, 4 + 0.5),
        ([section([1.0, 4.0, 1.0], backward=True)], 2, 1 + 4 + 0.5),
    ],
)
def test_a_pass_takes(sections, threads, seconds):
    assert Pass(sections, threads, barrier=0.5).seconds() == pytest.approx(seconds)


def test_what_needs_all_before_it_divides_passes():
    step, loss = section([1.0]), {**section([1.0]), "needs": None}
    sections = [loss, step, {**step, "needs": [1]}, loss, step]
    assert [[each["needs"] for each in one] for one in passes(sections)] == [[[]], [[], [0]], [[]], [[]]]


def test_what_is_measured_stands_beside_what_is_predicted_for_as_many_cores(monkeypatch):
    monkeypatch.setattr(scaling, "CORES", 6)
    options = argparse.Namespace(threads=[2, 4, 64], shown=[16], rounds=1)
    parts = {"layer": "conv1", "operation": "convolution", **section([0.001] * 12)}
    recorded = {"sections": [parts], "steps": {"1": [0.013], "6": [0.1]}, "barriers": {"6": 0.0}, "vectors": "AVX2"}
    run = {"network": "resnet18", "batch_size": 128, **scaling.analyse(recorded, options)}
    report = scaling.markdown({"machine": scaling.machine(), "runs": [run]}, options)
    assert "ms on 6: predicted, measured |" in report and "| 12, 13 | 2, 100 |" in report
    assert "lost on 16 threads" in report
