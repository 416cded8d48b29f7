#!/bin/sh
# Makes the virtual environment that PyTorch is measured in: make_peer.sh FOLDER. Does nothing where it is complete.
set -eu
folder=$1
[ -e "$folder/complete" ] && exit 0

# PyPI's build asks for CUDA's libraries, some 3 GB that a processor never uses, and does not load without them.
# One small library stands in for all of them: each function answers 100, cudaErrorNoDevice.
stand_in_for_cuda() (
    cd "$1"
    nm --dynamic --undefined-only *.so | sed -nE 's/.* U (_*(cu|nv|nccl)\w+)@?(.*)/\1 \3/p' | sort -u > symbols
    awk 'BEGIN { print "int no_device(void) { return 100; }" }
         { print "int " $1 "(void) __attribute__((alias(\"no_device\")));" }' symbols > no_device.c
    awk 'NF == 2 { names[$2] = names[$2] " " $1 ";" }
         END { for (version in names) print version " {" names[version] " };" }' symbols > versions
    cc -shared -fPIC -w -Wl,--version-script=versions -o libno_device.so no_device.c
    readelf --dynamic *.so | sed -nE 's/.*NEEDED.*\[(lib(cu|nv|nccl)[^]]*)\]$/\1/p' | sort -u |
        while read -r name; do ln -sf libno_device.so "$name"; done
    rm symbols versions no_device.c
)

/usr/bin/python3 -m venv "$folder"
pip="$folder/bin/pip --quiet --disable-pip-version-check"
$pip install "typing-extensions>=4.13" "setuptools>=77" filelock fsspec jinja2 matplotlib networkx numpy sympy
$pip install --no-deps torch torchvision # the latter for tests of data sets
libraries=$(echo "$folder"/lib/python3.*/site-packages/torch/lib)
[ ! -e "$libraries/libtorch_cuda.so" ] || stand_in_for_cuda "$libraries"
"$folder/bin/python" -c 'import torch; assert not torch.cuda.is_available(); print("PyTorch", torch.__version__)'
touch "$folder/complete"
