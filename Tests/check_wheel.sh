#!/bin/sh
# The wheel in dist/ in bare roots of Debian 12, 13 and what becomes 14: no OpenBLAS, no compiler, no Swift. All must come to
# the same bits, whatever Python and NumPy they have and whatever they have imported before; how fast they were is printed,
# and for the reader to compare. Needs root; takes what it installs from where this machine's apt and pip do.
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
for python in 3.13 3.14 3.15; do
    fetch $python "$wheel" 'numpy>=2'
done

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

# suite PYTHON: the Debian that has this version of Python. There is none with 3.12.
suite() {
    case $1 in
    3.11) echo bookworm ;;
    3.13) echo trixie ;;
    *) echo forky ;;
    esac
}

# bare SUITE [PACKAGES]: makes a root with its Python, as all since Debian 8 are made; debootstrap 12 does not know a 14.
bare() {
    root=$roots/$1
    [ -e "$root/complete" ] || {
        rm -rf "${root:?}"
        debootstrap --variant=minbase --include="python3,python3-venv${2:+,$2}" "$1" "$root" "$mirror" sid >"$work/log" ||
            { cat "$work/log" >&2; exit 1; }
        touch "$root/complete"
    }
    in_root "$1" sh -c '! command -v gcc cc clang swift && ! find /usr/lib -name "*openblas*" | grep .' ||
        { echo "$1 is not bare" >&2; exit 1; }
}
bare bookworm
bare trixie
bare forky python3.15,python3.15-venv

# try PYTHON NUMPY MODULE…: installs as a user does, once, and runs the program. Python 3.11 with NumPy 2 has company: SciPy,
# and PyTorch, which is found behind what is installed.
cp Tests/check_wheel.py "$work"
try() {
    python=$1 numpy=$2 site=/tmp/check/$1-$2
    shift 2
    [ -d "$work/${site##*/}" ] || in_root "$(suite "$python")" sh -c "python$python -m venv $site
        $site/bin/pip install --quiet --disable-pip-version-check --no-index --find-links /tmp/check/wheels plp 'numpy==$numpy.*'
        [ $python-$numpy != 3.11-2 ] || {
            $site/bin/pip install --quiet --disable-pip-version-check --no-index --find-links /tmp/check/wheels scipy threadpoolctl
            echo /tmp/peer/lib/python3.11/site-packages >$site/lib/python3.11/site-packages/peer.pth
        }"
    in_root "$(suite "$python")" $site/bin/python -W ignore /tmp/check/check_wheel.py "$@" >"$work/line"
    tee -a "$work/results" <"$work/line"
}
wide=$(grep -q ' avx512vl ' /proc/cpuinfo && echo SkylakeX || echo Haswell)
export CORE
for CORE in "" $wide; do # OpenBLAS's own choice, which is no kernel of use for processors newer than itself; and a good one
    echo "OpenBLAS's kernel: ${CORE:-its own choice}"
    : >"$work/results"
    try 3.11 1.26
    try 3.11 2
    try 3.11 2 scipy.linalg
    [ ! -e "$peer/complete" ] || try 3.11 2 torch scipy.linalg
    for python in 3.13 3.14 3.15; do
        try $python 2
    done
    [ "$(cut -d ' ' -f 1 "$work/results" | sort -u | wc -l)" = 1 ] || { echo "bits differ" >&2; exit 1; }
done
in_root trixie /tmp/check/3.13-2/bin/plp compare --data synthetic 2>"$work/message" && exit 1
grep -q "^plp: [a-z]* is missing: pip install 'plp\[studies\]'" "$work/message" || { cat "$work/message" >&2; exit 1; }
in_root forky /tmp/check/3.14-2/bin/plp info
