#!/bin/sh
# The wheel in dist/ in bare roots of Debian 12 and 13: no OpenBLAS, no compiler, no Swift. All must come to the same bits,
# whatever NumPy they have and whatever they have imported before; how fast they were is printed, and for the reader to
# compare. Needs root; takes what it installs from where this machine's apt and pip do.
set -eu
cd "$(dirname "$0")/.."
peer=${1:-.venv-peer}
roots=$PWD/.build/roots
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

[ "$(id -u)" = 0 ] || { echo "check-wheel makes roots of Debian: run it as root" >&2; exit 1; }
command -v debootstrap >/dev/null || {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends debootstrap; }
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
mkdir -p "$roots" "$work/wheels"

# fetch VERSION PACKAGE…: wheels for a version of Python.
fetch() {
    python=$1
    shift
    .venv/bin/pip download --quiet --disable-pip-version-check --dest "$work/wheels" --only-binary=:all: \
        --implementation cp --python-version "$python" --abi "cp$(echo "$python" | tr -d .)" --abi abi3 --abi none \
        --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform any "$@"
}
wheel=$(ls dist/plp-*manylinux*.whl)
fetch 3.11 "$wheel" 'numpy==1.26.*'
fetch 3.11 "$wheel" 'numpy>=2' 'scipy' threadpoolctl
fetch 3.13 "$wheel" 'numpy>=2'

# in_root SUITE COMMAND…: with a /proc, and with nothing mounted that outlasts it.
in_root() {
    root=$roots/$1
    shift
    unshare --mount sh -c 'root=$1; shift
        mount --bind "$root" "$root" && mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/tmp"
        mkdir "$root/tmp/check" "$root/tmp/peer" && mount --bind "'"$work"'" "$root/tmp/check"
        [ ! -d "'"$peer"'" ] || mount --bind "'"$peer"'" "$root/tmp/peer"
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 ${CORE:+OPENBLAS_CORETYPE=$CORE} chroot "$root" "$@"' sh "$root" "$@"
}

cp Tests/check_wheel.py "$work"
for suite in bookworm trixie; do
    [ -e "$roots/$suite/complete" ] || {
        rm -rf "${roots:?}/$suite"
        debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$roots/$suite" "$mirror" >"$work/log" ||
            { cat "$work/log" >&2; exit 1; }
        touch "$roots/$suite/complete"
    }
    in_root $suite sh -c '! command -v gcc cc clang swift && ! find /usr/lib -name "*openblas*" | grep .' ||
        { echo "$suite is not bare" >&2; exit 1; }
done

# try SUITE NUMPY MODULE…: installs as a user does, once, and runs the program. PyTorch is found behind what is installed.
try() {
    suite=$1 site=/tmp/check/$1-$2
    numpy=$2
    shift 2
    [ -d "$work/${site##*/}" ] || in_root "$suite" sh -c "python3 -m venv $site
        $site/bin/pip install --quiet --disable-pip-version-check --no-index --find-links /tmp/check/wheels \
            plp 'numpy==$numpy.*' $([ $suite-$numpy != bookworm-2 ] || echo scipy threadpoolctl)
        echo /tmp/peer/lib/python3.11/site-packages >\$(echo $site/lib/python3.*/site-packages)/peer.pth"
    printf '%s: ' "$suite"
    in_root "$suite" $site/bin/python -W ignore /tmp/check/check_wheel.py "$@" >"$work/line"
    tee -a "$work/results" <"$work/line"
}
wide=$(grep -q ' avx512vl ' /proc/cpuinfo && echo SkylakeX || echo Haswell)
export CORE
for CORE in "" $wide; do # OpenBLAS's own choice, which is no kernel of use for processors newer than itself; and a good one
    echo "OpenBLAS's kernel: ${CORE:-its own choice}"
    : >"$work/results"
    try bookworm 1.26
    try bookworm 2
    try bookworm 2 scipy.linalg
    [ ! -e "$peer/complete" ] || try bookworm 2 torch scipy.linalg
    try trixie 2
    [ "$(cut -d ' ' -f 1 "$work/results" | sort -u | wc -l)" = 1 ] || { echo "bits differ" >&2; exit 1; }
done
in_root bookworm /tmp/check/bookworm-2/bin/plp compare --data synthetic 2>"$work/message" && exit 1
grep -q "^plp: [a-z]* is missing: pip install 'plp\[studies\]'" "$work/message" || { cat "$work/message" >&2; exit 1; }
in_root trixie /tmp/check/trixie-2/bin/plp info
