"""A study's report: what it says, and how browsers show it."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from html import escape, unescape

import numpy as np
import plp
import pytest
import vl_convert
from matplotlib.image import imread
from plp.studies.charts import vega_lite
from plp.studies.report import choices
from test_grids import STEPS, study_of
from test_study import made_up


def test_report(tmp_path):
    made_up().report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert len(specs(page)) == 4 and "+3.00 [-9.71, +15.71]" in page and "Student&#39;s t" in page
    assert "<pre>processor: &lt;any&gt;</pre>" in page
    assert "our choice; the paper&#x27;s is not known" in page and "our choice; the paper&#x27;s: 100" in page
    of_the_page = re.sub("<script>.*?</script>", "", page, flags=re.S)
    assert "<link" not in of_the_page and "src=" not in of_the_page and "url(" not in of_the_page  # needs no other file


def specs(page):
    """The charts of a page, as Vega-Lite."""
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)]


def test_the_report_begins_with_the_verdict(tmp_path):
    made_up().report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    places = [
        "undecided, the difference is between",
        "accuracy %</th>",
        "accuracy on CIFAR-100 test, difference in points",
    ]
    places += ["training loss by epoch", "All answers", 'id="runs"', 'id="choices"', 'id="made"']
    found = [page.index(place) for place in places]
    assert found == sorted(found)


def test_each_chart_says_what_it_shows(tmp_path):
    made_up().report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    labels = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert len(labels) == 4 and all(unescape(label) == spec["description"] for label, spec in zip(labels, specs(page)))
    assert "plp - sgd +3.00 [-9.71, +15.71], p 0.20" in labels[0]


def test_epochs_are_whole(tmp_path):
    """Three of them, where an axis has room for more numbers."""
    study = made_up()
    study.runs = [replace(run, history=replace(run.history, epochs=run.history.epochs[:3])) for run in study.runs]
    study.report(tmp_path / "report.html")
    loss = specs((tmp_path / "report.html").read_text())[1]
    drawn = vl_convert.vegalite_to_svg({**loss, "width": 400}, vl_version=vega_lite())
    axis = drawn[drawn.index("X-axis") : drawn.index("Y-axis")]
    assert re.findall(r">(\d+)</text>", axis) == ["1", "2", "3"]


def test_a_grids_report_has_heat_maps(tmp_path):
    study_of(STEPS).report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert [spec["layer"][0]["mark"]["type"] for spec in specs(page)].count("rect") == 2
    assert "<title>resnet18: 13 methods</title>" in page


def test_what_is_missing_is_told(tmp_path):
    program = "import sys; sys.modules['altair'] = None; import plp; plp.Study.load(sys.argv[1]).report(sys.argv[2])"
    made_up().save(tmp_path / "study.json")
    command = [sys.executable, "-c", program, tmp_path / "study.json", tmp_path / "report.html"]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1 and "altair is missing: pip install 'plp[studies]' brings it" in failed.stderr


def test_the_report_tells_builds_apart(tmp_path):
    study = made_up()
    study.runs[3] = replace(study.runs[3], build="another")
    study.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "resnet18 sgd seed 0, resnet18 plp seed 0, resnet18 sgd seed 1:\nprocessor: &lt;any&gt;" in page
    assert "resnet18 plp seed 1:\nanother</pre>" in page


def test_the_report_tells_how_runs_were_made(tmp_path):
    study = made_up()
    for start, (index, run) in zip(("08:00", "08:10", "09:00", "09:30"), enumerate(study.runs)):
        began = datetime.fromisoformat(f"2026-11-27 {start}").astimezone().isoformat()
        made = {"command": f"plp compare <{index // 2}>", "host": "node7", "processor": "EPYC", "started": began}
        study.runs[index] = replace(run, **made, seconds=600.0, versions={"plp": "0.2.0", "numpy": "2.1"})
    study.report(tmp_path / "report.html")
    made = (tmp_path / "report.html").read_text().partition("<h2>How it was made</h2>")[2].partition("<h3>Build")[0]
    assert (
        "<p>4 runs, from 2026-11-27 08:00 to 2026-11-27 09:40, 1 h 40 min; 40 min of runs, 32 s of training.</p>"
        in made
    )
    assert (
        "<pre>plp compare &lt;1&gt;</pre>\n<ul><li>node7, EPYC</li><li>plp 0.2.0, numpy 2.1</li><li>2 runs, from"
        in made
    )
    study.runs = [replace(run, command="plp compare") for run in study.runs]
    study.report(tmp_path / "report.html")
    made = (tmp_path / "report.html").read_text().partition("<h2>How it was made</h2>")[2].partition("<h3>Build")[0]
    assert made.count("<pre>") == 1 and made.count("4 runs") == 1
    made_up().report(tmp_path / "report.html")  # of an early version
    assert "<p>4 runs, 32 s of training.</p>\n<h3>Build" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("optimizer", "source"),
    [
        (plp.SGD(lr=0.05), "the paper's"),
        (plp.SGD(demon=True), "the paper's"),
        (plp.AdamW(), "our choice; the paper's: SGD or DEMON, momentum 0.9, weight decay 1e-4"),
        (plp.SGD(weight_decay=5e-4), "our choice; the paper's: SGD or DEMON, momentum 0.9, weight decay 1e-4"),
    ],
    ids=str,
)
def test_the_report_knows_the_papers_optimizers(optimizer, source):
    study = made_up()
    study.settings = replace(study.settings, recipe=plp.Recipe(optimizer=optimizer))
    assert {row[0]: row[2] for row in choices(study)}["optimizer"] == source


@pytest.mark.parametrize(
    ("schedule", "lr", "source"),
    [
        (plp.schedules.Cyclic(), 0.001, "the paper's, the period our choice"),
        (plp.schedules.Cyclic(up=500, down=500), 0.001, "the paper's, the period our choice"),
        (plp.schedules.Cyclic(peak=10), 0.001, "our choice; the paper's: cyclic, 0.001 to 0.002"),
        (plp.schedules.Cyclic(), 0.01, "our choice; the paper's: cyclic, 0.001 to 0.002"),
        (plp.schedules.Cosine(), 0.001, "our choice; the paper's: cyclic, 0.001 to 0.002"),
    ],
    ids=str,
)
def test_the_report_knows_the_papers_learning_rate(schedule, lr, source):
    study = made_up()
    study.settings = replace(study.settings, recipe=plp.Recipe(optimizer=plp.SGD(lr=lr), schedule=schedule))
    assert {row[0]: row[2] for row in choices(study)}["learning rate"] == source


def test_the_report_without_validation():
    study = made_up()
    study.settings = replace(study.settings, validation=0.0)
    rows = {row[0]: row[1:] for row in choices(study)}
    assert rows["validation"] == ["none", "our choice; the paper's: 20 %, at random"]
    assert rows["optimal model"][0] == "of the last epoch" and "model of the last epoch" in study.caption()


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(BROWSER is None, reason="needs a Chromium")

# A page in a frame, since windows have a least width, that tells its own width, the frame's, the lines of the results'
# highest cell, and how many charts there are, all within their places.
FRAME = """<iframe style="width: {width}px; border: 0" srcdoc="{page}"></iframe>"""
MEASURES = """<script>
const lines = td => td.clientHeight / parseFloat(getComputedStyle(td).lineHeight);
const within = svg => svg.getBoundingClientRect().right <= svg.closest("figure").getBoundingClientRect().right + 1;
const report = () => {
  const drawn = [...document.querySelectorAll(".chart svg")];
  if (drawn.length < document.querySelectorAll(".chart").length) return setTimeout(report, 50);
  const highest = Math.max(...[...document.querySelectorAll(".numbers td")].map(lines));
  const [first] = document.querySelectorAll(".legend button");
  first.focus();
  first.click();
  const picked = views.every(view => view.signal("picked") === first.dataset.method);
  parent.document.title = JSON.stringify([document.documentElement.scrollWidth, innerWidth, highest, drawn.length,
    drawn.every(within), first.getAttribute("aria-pressed"), picked]);
};
report();
</script>"""


def browse(page, width, *options):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},1200", *options]
    command.append("--virtual-time-budget=20000")  # charts are drawn when it is over
    return subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120).stdout


@pytest.fixture
def page(tmp_path):
    """A report with all that is long: a build's description, a failure, a name; and what a run watched."""
    study = made_up()
    random, layers = np.random.default_rng(0), tuple(f"conv{n}_x.0.residual_function.0.weight" for n in range(60))
    moves, ways = random.random((40, 60, 3), np.float32), random.random((120, 60, 1), np.float32)
    plp.Watched(layers, 3 * np.arange(1, 41), moves, ways, expected_cosine=0.95).save(tmp_path / "watched.npz")
    study.runs[0] = replace(study.runs[0], folder=tmp_path)
    name = "sgd_with_a_name_that_has_no_space_in_it_at_all"
    study.methods[name] = study.methods["sgd"]
    build = "blas: OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY Cooperlake MAX_THREADS=64, " * 3
    study.runs = [replace(run, build=build) for run in study.runs]
    study.runs.append(replace(study.runs[0], method=name, failure="after 1 of 4 epochs: loss: found nan " * 5))
    study.report(tmp_path / "report.html")
    return tmp_path / "report.html"


@browser
@pytest.mark.parametrize("width", [390, 800, 1280, 2560])
def test_no_page_is_wider_than_its_window_and_no_number_is_broken(page, width):
    page.write_text(FRAME.format(width=width, page=escape(page.read_text() + MEASURES)))
    title = re.search("<title>(.*)</title>", browse(page, 2560, "--dump-dom"))[1]
    page_width, window, lines, charts, within, pressed, picked = json.loads(title)
    assert window == width and page_width <= window
    assert lines < 2 and charts == 4 + 5 and within
    assert pressed == "true" and picked


@browser
def test_a_printed_report(page, tmp_path):
    browse(page, 800, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'report.pdf'}")
    assert (tmp_path / "report.pdf").read_bytes().count(b"/Type /Page\n") in range(2, 9)


@browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_light_or_dark_as_its_reader_wants(page, tmp_path, scheme):
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browse(page, 800, f"--screenshot={tmp_path / 'page.png'}", *dark)
    pixels = imread(tmp_path / "page.png")[:, :, :3].mean(axis=2)
    paper, ink = (pixels > 0.9, pixels < 0.3) if scheme == "light" else (pixels < 0.1, pixels > 0.7)
    assert paper.mean() > 0.7 and ink.mean() > 0.01
