#!/bin/sh
# Fuzzes readers and sequences of calls, each for so many seconds, from seeds and from what earlier runs found worth keeping
# in .build/fuzz. Fails at the first input that ends the process, is wrong in the address sanitizer's eyes, takes longer than
# ten seconds or more than 2 GB, and leaves it in .build/fuzz: the program takes it as an argument.
#
#     sh Tests/Fuzz/run.sh SECONDS [TARGET …]
set -eu
cd "$(dirname "$0")/../.."
seconds=$1
shift
corpus=.build/fuzz
# Files that are written for every input had better be in memory.
[ -w /dev/shm ] && export TMPDIR=/dev/shm
export SWIFT_BACKTRACE=enable=no OPENBLAS_NUM_THREADS=1

python3 Tests/Fuzz/seeds.py $corpus
for target in ${*:-pickle cifar safetensors model checkpoint predictor calls}; do
    mkdir -p "$corpus/$target"
    PLP_FUZZ=$target PLP_FUZZ_SEEDS=$corpus/$target .build/address/release/fuzz -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -max_len=100000 -print_final_stats=1 -artifact_prefix="$corpus/$target-" "$corpus/$target" \
        >"$corpus/$target.log" 2>&1 || { tail -n 100 "$corpus/$target.log" >&2; exit 1; }
    sed -n 's/^#\([0-9]*\).*DONE *cov: \([0-9]*\).*corp: \([0-9]*\).*/\1 inputs, \2 places reached, \3 kept/p' "$corpus/$target.log" |
        sed "s/^/fuzz $target: /"
done
