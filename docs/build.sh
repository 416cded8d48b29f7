#!/bin/sh
# The documentation site, in docs/_build/html: build.sh MODULES, the folder of Swift's compiled modules. Whatever Sphinx warns
# of, such as a link between pages that leads nowhere, is an error.
set -eu
cd "$(dirname "$0")/.."
modules=$1
rm -rf docs/_build
mkdir -p docs/_build/graphs docs/_build/extra

# Swift's own pages, which Sphinx copies to where its own link to them.
for module in Base Datasets Networks Optimization Training; do
    swift symbolgraph-extract -module-name PLP$module -I "$modules" -I Sources/CLinux -I Sources/COpenBLAS \
        $(pkg-config --cflags openblas | sed 's/-I/-Xcc &/g') -target x86_64-unknown-linux-gnu \
        -minimum-access-level public -output-dir docs/_build/graphs
done
rm docs/_build/graphs/*@*.json
docc convert docs/PLPTraining.docc --fallback-display-name plp --fallback-bundle-identifier plp \
    --additional-symbol-graph-dir docs/_build/graphs --output-path docs/_build/extra/swift \
    --transform-for-static-hosting --hosting-base-path swift >docs/_build/docc.log 2>&1 || { cat docs/_build/docc.log >&2; exit 1; }

.venv/bin/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html
