"""The package's modules import each other in one direction: records at the bottom, what is shown of them above."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import plp
import pytest

PACKAGE = Path(plp.__file__).parent
NAMES = {
    ".".join(("plp", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
VIEWS = {
    "plp.plots",
    "plp.studies.answers",
    "plp.studies.charts",
    "plp.studies.curves",
    "plp.studies.plots",
    "plp.studies.report",
    "plp.studies.table",
}
RECORDS = {"plp.records", "plp.studies.records", "plp.watched"}


def imported(name, *, late):
    """The package's modules that one imports: as it is imported itself, types included, or late, by a function."""
    path = NAMES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or node.module.startswith("plp")):
            if (id(node) in inside) == late:
                base = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join([*base, *([node.module] if node.module else [])])
                for alias in node.names:  # a module of the package, or a name in it
                    inner = f"{module}.{alias.name}"
                    yield inner if inner in {*NAMES, "plp._plp"} else module


GRAPH = {name: set(imported(name, late=False)) - {"plp._plp"} for name in NAMES}


def below(name):
    """All that comes with a module."""
    found, ahead = set(), [name]
    while ahead:
        found |= (new := GRAPH.get(ahead.pop(), set()) - found)
        ahead += new
    return found


def test_no_module_is_imported_in_a_circle():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_records_rest_on_no_engine_and_no_screen():
    assert below("plp.records") | below("plp.studies.records") <= {
        *RECORDS,
        "plp._checks",
        "plp._extras",
        "plp._files",
        "plp._html",
        "plp._plain",
        "plp._tables",
        "plp.options",
        "plp.schedules",
        "plp.studies.statistics",
    }


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_only_what_shows_knows_how_it_is_shown(view):
    """But for the methods of records, which hand themselves over when called."""
    assert {name for name in NAMES if view in GRAPH[name]} <= VIEWS
    assert {name for name in NAMES if view in imported(name, late=True)} <= RECORDS


def test_no_circle_hides_in_a_function():
    """But for those same methods."""
    late = {(name, target) for name in NAMES for target in imported(name, late=True)}
    assert {target for name, target in late if name in below(target)} <= VIEWS


def test_the_package_comes_without_what_draws():
    program = "import sys, plp; sys.exit(bool({'matplotlib', 'altair', 'scipy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
