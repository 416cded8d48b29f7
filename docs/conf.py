"""The documentation site: `make docs`."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "plp"
author = "The plp contributors"
copyright = f"2026, {author}"
release = version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]

extensions = ["myst_nb", "sphinx-mathjax-offline", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "hawkmoth"]
exclude_patterns = ["_build", "*.docc"]

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # the tutorial, which is kept without its outputs
nb_execution_raise_on_error = True
nb_execution_timeout = 300

autodoc_member_order = "bysource"
autodoc_mock_imports = ["torch"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False


hawkmoth_root = str(ROOT / "docs/_build/include")
hawkmoth_clang = [
    "-I" + subprocess.run(["gcc", "-print-file-name=include"], capture_output=True, text=True).stdout.strip()
]

html_theme = "furo"
html_title = f"plp {version}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_theme_options = {"dark_css_variables": {"charts": "invert(0.9) hue-rotate(180deg)", "images": "brightness(0.8)"}}
html_extra_path = ["_build/extra"]  # Swift's pages


def with_doc_comments(header):
    """plp.h with its comments as hawkmoth wants them: ``/**``, each before what it is about."""
    declarations = header[header.index("#ifndef PLP_H") :]
    behind = r"(?ms)^([ ]*)((?:(?!/\*)[^\n])*?\S)[ ]*/\* ((?:(?!\*/).)*) \*/$"
    return re.sub(r"(?m)^([ ]*)/\* (?!--)", r"\1/** ", re.sub(behind, r"\1/* \3 */\n\1\2", declarations))


def as_plain_text(app, lines, transform, options):
    """Comments of plp.h are prose, in which nothing is markup."""
    lines[:] = [re.sub(r"([\\`*|_])", r"\\\1", line.strip().removeprefix("* ")) for line in lines]


def with_code_blocks(app, what, name, object, options, lines):
    """What stands indented below a paragraph of a docstring is code, which Sphinx wants to be told."""
    result = []
    for line in lines:
        if line.startswith("    ") and result and not result[-1]:
            above = next((line for line in reversed(result) if line), "")
            if above and not above.startswith(" ") and not re.fullmatch(r"[A-Z]\w+:|::", above):
                result += ["::", ""]
        result.append(line)
    lines[:] = result


def setup(app):
    Path(hawkmoth_root).mkdir(parents=True, exist_ok=True)
    Path(hawkmoth_root, "plp.h").write_text(with_doc_comments((ROOT / "include/plp.h").read_text()))
    app.connect("hawkmoth-process-docstring", as_plain_text)
    app.connect("autodoc-process-docstring", with_code_blocks, priority=1)  # before napoleon reads it
